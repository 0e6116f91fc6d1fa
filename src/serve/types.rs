//! Request and answer bodies, and their translation to and from the one internal [`Request`].

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Error, Options};
use crate::bundle::Prediction;

/// Scores in an answer when the request does not say, as Hugging Face's pipelines do.
const TOP_K: usize = 5;
/// Largest accepted `top_k`.
const MAX_TOP_K: i64 = 100_000;

/// What every dialect is translated to.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Recordings, each the bytes of a whole file.
    pub clips: Vec<Arc<[u8]>>,
    /// Whether the client sent a list, and gets one back.
    pub list: bool,
    /// Number of scores in each answer.
    pub top_k: usize,
    /// Threshold for this request instead of the bundle's.
    pub threshold: Option<f32>,
}

/// The answer: one prediction, or a list when a list was sent.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// For one recording.
    One(Box<Prediction>),
    /// For `instances`.
    Many {
        /// In the order of the instances.
        predictions: Vec<Prediction>,
    },
}

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The body is the recording.
    Audio,
    /// The body is JSON with the recording in base64.
    Json,
}

impl Dialect {
    /// By content type. No content type counts as bytes; the audio format itself is always recognised by its
    /// content, so a wrong label with right bytes is no problem.
    pub fn of(content_type: Option<&str>) -> Result<Self, Error> {
        let Some(content_type) = content_type else { return Ok(Self::Audio) };
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "audio/wav"
            | "audio/x-wav"
            | "audio/wave"
            | "audio/vnd.wave"
            | "audio/mpeg"
            | "audio/mp3"
            | "audio/flac"
            | "audio/x-flac"
            | "audio/ogg"
            | "application/ogg"
            | "audio/aiff"
            | "audio/x-aiff"
            | "application/octet-stream" => Ok(Self::Audio),
            "application/json" => Ok(Self::Json),
            _ => Err(Error::MediaType),
        }
    }

    /// Reads a body.
    pub fn request(self, body: Vec<u8>, options: &Options) -> Result<Request, Error> {
        match self {
            Self::Audio if body.is_empty() => {
                Err(Error::Malformed("the request body is empty; send a recording".to_owned()))
            }
            Self::Audio => {
                Ok(Request { clips: vec![body.into()], list: false, top_k: TOP_K, threshold: None })
            }
            Self::Json => json(&body, options),
        }
    }
}

/// `{"inputs": "<base64>", "parameters": {…}}` (Hugging Face) or `{"instances": [{"b64": "<base64>"}, …]}`
/// (TensorFlow Serving).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody<'a> {
    #[serde(borrow)]
    inputs: Option<Cow<'a, str>>,
    #[serde(borrow)]
    instances: Option<Vec<Instance<'a>>>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance<'a> {
    #[serde(borrow)]
    b64: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    top_k: Option<i64>,
    threshold: Option<f32>,
}

fn json(body: &[u8], options: &Options) -> Result<Request, Error> {
    let body: JsonBody = serde_json::from_slice(body).map_err(|e| json_error(&e))?;
    let (texts, list) = match (body.inputs, body.instances) {
        (Some(inputs), None) => (vec![inputs], false),
        (None, Some(instances)) => (instances.into_iter().map(|instance| instance.b64).collect(), true),
        _ => return malformed("give either \"inputs\" or \"instances\""),
    };
    if texts.is_empty() || texts.len() > options.max_instances {
        return malformed(&format!("{} instances; give 1 to {}", texts.len(), options.max_instances));
    }
    let top_k = match body.parameters.top_k {
        None => TOP_K,
        Some(k @ 1..=MAX_TOP_K) => usize::try_from(k).unwrap_or(TOP_K),
        Some(k) => return malformed(&format!("top_k is {k}; give 1 to {MAX_TOP_K}")),
    };
    let threshold = body.parameters.threshold;
    if threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
        return malformed("threshold must be a number from 0 to 1");
    }
    let clips = texts
        .iter()
        .enumerate()
        .map(|(i, text)| match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes.into()),
            Ok(_) => malformed(&format!("recording {i} is empty")),
            Err(_) => malformed(&format!("recording {i} is not valid base64")),
        })
        .collect::<Result<_, _>>()?;
    Ok(Request { clips, list, top_k, threshold })
}

fn malformed<T>(text: &str) -> Result<T, Error> {
    Err(Error::Malformed(text.to_owned()))
}

/// The parser's own sentences name types of the program, so only the place is passed on.
fn json_error(error: &serde_json::Error) -> Error {
    let place = format!("line {}, column {}", error.line(), error.column());
    Error::Malformed(if error.is_data() {
        format!(
            "the JSON is not what is expected ({place}): give {{\"inputs\": \"BASE64\", \"parameters\": \
             {{\"top_k\": 5}}}} or {{\"instances\": [{{\"b64\": \"BASE64\"}}]}}"
        )
    } else {
        format!("the body is not valid JSON ({place})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Request, Error> {
        Dialect::Json.request(body.as_bytes().to_vec(), &Options::default())
    }

    #[test]
    fn both_json_dialects_become_the_same_request() {
        let one = read(r#"{"inputs": "AAEC", "parameters": {"top_k": 3, "threshold": 0.5}}"#).unwrap();
        assert_eq!((one.clips[0].as_ref(), one.list, one.top_k), ([0, 1, 2].as_slice(), false, 3));
        assert_eq!(one.threshold, Some(0.5));
        let many = read(r#"{"instances": [{"b64": "AAEC"}, {"b64": "AA=="}]}"#).unwrap();
        assert_eq!((many.clips.len(), many.list, many.top_k), (2, true, 5));
        assert_eq!(many.clips[0], one.clips[0]);
    }

    #[test]
    fn nonsense_is_refused_without_internals() {
        let deep = "[".repeat(10_000);
        let wide = format!("{{{}\"z\":0}}", (0..1000).map(|i| format!("\"k{i}\":0,")).collect::<String>());
        let many =
            format!("{{\"instances\":[{}{{\"b64\":\"AA==\"}}]}}", "{\"b64\":\"AA==\"},".repeat(100_000));
        let bodies = [
            "",
            "null",
            "{}",
            "[]",
            "{\"inputs\": NaN}",
            "{\"inputs\": 3}",
            "{\"inputs\": \"@@\"}",
            "{\"inputs\": \"\"}",
            "{\"instances\": []}",
            "{\"instances\": [{}]}",
            "{\"instances\": [\"AA==\"]}",
            "{\"inputs\": \"AA==\", \"instances\": [{\"b64\": \"AA==\"}]}",
            "{\"inputs\": \"AA==\", \"inputs\": \"AA==\"}",
            "{\"inputs\": \"AA==\", \"parameters\": {\"top_k\": -1}}",
            "{\"inputs\": \"AA==\", \"parameters\": {\"top_k\": 0}}",
            "{\"inputs\": \"AA==\", \"parameters\": {\"top_k\": 9223372036854775808}}",
            "{\"inputs\": \"AA==\", \"parameters\": {\"topk\": 1}}",
            "{\"inputs\": \"AA==\", \"parameters\": {\"threshold\": 1.5}}",
            "{\"inputs\": \"AA==\", \"parameters\": {\"threshold\": 1e400}}",
            "{\"inputs\": \"AA==\"} trailing",
            &deep,
            &wide,
            &many,
        ];
        for body in bodies {
            let shown: String = body.chars().take(60).collect();
            let Error::Malformed(text) = read(body).expect_err(&shown) else { panic!("{shown}") };
            assert!(text.len() < 250 && !text.contains("i64") && !text.contains("struct"), "{shown}: {text}");
        }
    }

    #[test]
    fn content_types() {
        for good in [None, Some("audio/wav"), Some("Audio/X-WAV; codecs=1"), Some("application/octet-stream")]
        {
            assert_eq!(Dialect::of(good), Ok(Dialect::Audio));
        }
        assert_eq!(Dialect::of(Some("application/json; charset=utf-8")), Ok(Dialect::Json));
        for bad in ["text/plain", "", "audio", "application/x-www-form-urlencoded", "image/png"] {
            assert_eq!(Dialect::of(Some(bad)), Err(Error::MediaType), "{bad}");
        }
        assert!(Dialect::Audio.request(Vec::new(), &Options::default()).is_err());
    }
}
