//! What a folder of Hugging Face says of its network and front end, beside the weights: `config.json` and
//! `preprocessor_config.json` of the Audio Spectrogram Transformer.

use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::Error;
use crate::files;
use crate::models::ModelConfig;

/// Most bytes of a description.
const MAX_BYTES: u64 = 4 << 20;
/// Options of the network that have the same names in oido.
const OPTIONS: [&str; 10] = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "patch_size",
    "frequency_stride",
    "time_stride",
    "max_length",
    "num_mel_bins",
    "layer_norm_eps",
];

/// What a folder says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The network and its options.
    pub model: ModelConfig,
    /// The front end that the weights were trained on, as `--set` has it: `features.preset=ast`.
    pub front_end: Vec<String>,
}

/// Reads the descriptions of `folder`; nothing when it has none, or one of a network that is not known.
///
/// # Errors
///
/// [`Error::File`] for a description that is damaged, or of a network that oido has in another form only.
pub fn described(folder: &Path) -> Result<Option<Described>, Error> {
    let path = folder.join("config.json");
    let Some(config) = read(&path)? else { return Ok(None) };
    if config.get("model_type").and_then(Value::as_str) != Some("audio-spectrogram-transformer") {
        return Ok(None);
    }
    let refuse = |key: &str, value: &Value| {
        let reason =
            format!("{key} = {value} is not what the network `ast` does; these weights cannot be used");
        Err(Error::file(&path, crate::text::printable(&reason)))
    };
    // What oido's network has once and for all.
    for (key, ours) in [("hidden_act", Value::from("gelu")), ("qkv_bias", Value::from(true))] {
        if let Some(other) = config.get(key).filter(|other| **other != ours) {
            return refuse(key, other);
        }
    }
    let mut model = Map::from_iter([("name".to_owned(), Value::from("ast"))]);
    let known = OPTIONS.iter().filter_map(|key| Some(((*key).to_owned(), config.get(*key)?.clone())));
    model.extend(known);
    let model = serde_json::from_value(model.into()).map_err(|e| Error::file(&path, e.to_string()))?;
    let front_end = match read(&folder.join("preprocessor_config.json"))? {
        Some(config) => front_end(&config),
        None => Vec::new(),
    };
    Ok(Some(Described { model, front_end }))
}

/// The front end of `ASTFeatureExtractor`, which divides by twice the standard deviation.
fn front_end(config: &Map<String, Value>) -> Vec<String> {
    let number = |key: &str| config.get(key).and_then(Value::as_f64);
    let whole = |section: &str, key: &str| {
        config.get(key).and_then(Value::as_u64).map(|value| format!("{section}={value}"))
    };
    let mut sets = vec!["features.preset=ast".to_owned()];
    sets.extend(whole("audio.sample_rate", "sampling_rate"));
    sets.extend(whole("features.n_mels", "num_mel_bins"));
    sets.extend(whole("features.frames", "max_length"));
    if config.get("do_normalize") == Some(&Value::Bool(false)) {
        sets.push("features.standardize=none".to_owned());
    } else {
        sets.extend(number("mean").map(|mean| format!("features.mean={mean:?}")));
        sets.extend(number("std").map(|std| format!("features.std={:?}", 2.0 * std)));
    }
    sets
}

/// A JSON object; nothing when there is no such file, or no folder for one.
fn read(path: &Path) -> Result<Option<Map<String, Value>>, Error> {
    let file = match files::open(path) {
        Ok(file) => file,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io(path, "open")(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, format!("more than {MAX_BYTES} bytes")));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::AudioConfig;
    use crate::features::{FeatureConfig, Stats};

    /// What a folder with these files says.
    fn told(config: &str, preprocessor: &str) -> Result<Option<Described>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        std::fs::write(folder.path().join("preprocessor_config.json"), preprocessor).unwrap();
        described(folder.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_front_end_is_the_presets_when_the_numbers_are_the_published_ones() {
        #[derive(serde::Deserialize)]
        struct Sections {
            audio: AudioConfig,
            features: FeatureConfig,
        }
        let told = told(
            r#"{"model_type": "audio-spectrogram-transformer", "hidden_size": 24, "num_attention_heads": 3}"#,
            r#"{"sampling_rate": 16000, "num_mel_bins": 128, "max_length": 1024, "mean": -4.2677393, "std": 4.5689974}"#,
        );
        let told = told.unwrap().unwrap();
        let model = serde_json::to_value(&told.model).unwrap();
        assert_eq!((&model["name"], &model["hidden_size"]), (&"ast".into(), &24.into()));
        let given: Sections = crate::config::parse("[audio]\n[features]\n", &told.front_end, "test").unwrap();
        assert_eq!(given.audio.sample_rate, 16_000);
        let usual: Sections =
            crate::config::parse("[audio]\nsample_rate = 16000\n[features]\npreset = 'ast'\n", &[], "test")
                .unwrap();
        assert_eq!(given.features.resolve(&given.audio), usual.features.resolve(&usual.audio));
        assert_eq!(given.features.fixed_stats(), Some(Stats { mean: -4.267_739_3, std: 9.137_995 }));
    }

    #[test]
    fn other_networks_and_other_forms_of_it_are_told_apart() {
        assert_eq!(told(r#"{"model_type": "wav2vec2"}"#, "{}"), Ok(None));
        let ast =
            |more: &str| told(&format!(r#"{{"model_type": "audio-spectrogram-transformer"{more}}}"#), "{}");
        assert_eq!(ast("").unwrap().unwrap().front_end, ["features.preset=ast"]);
        for (more, expected) in [
            (r#", "hidden_act": "relu""#, "config.json: hidden_act = \"relu\" is not what"),
            (r#", "qkv_bias": false"#, "config.json: qkv_bias = false"),
            (r#", "hidden_size": -1"#, "config.json: "),
            (r#", "hidden_size": "a""#, "config.json: "),
        ] {
            let error = ast(more).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
        assert!(told("[]", "{}").unwrap_err().contains("config.json: "));
        assert!(ast(r#"}"#).is_err());
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(described(folder.path()).unwrap(), None);
    }
}
