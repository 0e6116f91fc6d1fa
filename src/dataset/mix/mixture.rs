//! One mixture, described completely: a row of a manifest.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audio::Colour;
use crate::dataset::synth::Room;

/// Rate in Hz of every mixture: that of LibriSpeech.
pub const SAMPLE_RATE: u32 = 16_000;

/// Longest mixture in seconds.
pub(super) const MAX_SECONDS: f64 = 60.0;

/// Most voices of one mixture.
pub(super) const MAX_VOICES: usize = 20;

/// What a mixture is made of; see [`Mixture::render`] for how. In a manifest it is the column `mixture`, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Its length.
    pub seconds: f64,
    /// Who speaks; may be nobody.
    pub voices: Vec<Voice>,
    /// The place in which all voices are heard; none: as they were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// What is heard beside the voices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// RMS of the whole in dB of full scale; none: what comes out of the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
}

/// A part of one person's recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// The recording, relative to the manifest's folder or absolute.
    pub path: PathBuf,
    /// Where the part begins, in seconds.
    pub start: f64,
    /// Factor on its samples.
    pub gain: f64,
}

/// A background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// What is heard.
    pub sound: Sound,
    /// Power of the summed voices over that of the noise, in dB; none where nobody speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr: Option<f64>,
}

/// Where a background comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Sound {
    /// Made.
    Synthetic {
        /// Its spectrum.
        colour: Colour,
        /// The same seed makes the same samples.
        seed: u64,
    },
    /// Recorded; repeated when it ends before the mixture does.
    Recording {
        /// The recording, relative to the manifest's folder or absolute.
        path: PathBuf,
        /// Where the part begins, in seconds.
        start: f64,
    },
}

impl Mixture {
    /// Reads the JSON of a manifest and refuses numbers that no mixture has.
    ///
    /// # Errors
    /// A clause that names the value.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mixture: Self = serde_json::from_str(json).map_err(|error| format!("mixture: {error}"))?;
        mixture.check().map_err(|reason| format!("mixture: {reason}"))?;
        Ok(mixture)
    }

    fn check(&self) -> Result<(), String> {
        // NaN and infinities are no JSON, so only ranges are left to look at.
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} is {value}, outside {low}..={high}"))
        };
        within("seconds", self.seconds, 0.001, MAX_SECONDS)?;
        within("the number of voices", self.voices.len() as f64, 0.0, MAX_VOICES as f64)?;
        for voice in &self.voices {
            within("start", voice.start, 0.0, 1e6)?;
            within("gain", voice.gain, -1e6, 1e6)?;
        }
        if let Some(room) = &self.room {
            within("room.size", room.size, 0.01, 10.0)?;
            within("room.reverberation_time", room.reverberation_time, 0.01, 10.0)?;
            within("room.damping", room.damping, 0.0, 0.99)?;
            within("room.wet", room.wet, 0.0, 10.0)?;
        }
        if self.voices.is_empty() && self.noise.is_none() {
            return Err("there are neither voices nor noise, so nothing is heard".to_owned());
        }
        if let Some(noise) = &self.noise {
            if noise.snr.is_some() == self.voices.is_empty() {
                return Err("noise.snr belongs to noise beside voices, and only there".to_owned());
            }
            within("noise.snr", noise.snr.unwrap_or(0.0), -100.0, 100.0)?;
            if let Sound::Recording { start, .. } = noise.sound {
                within("noise.sound.start", start, 0.0, 1e6)?;
            }
        }
        within("level", self.level.unwrap_or(0.0), -120.0, 0.0)
    }

    /// Samples of the rendered mixture.
    pub fn samples(&self) -> usize {
        samples(self.seconds)
    }

    /// Every file it is made from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let noise = self.noise.as_ref().and_then(|noise| match &noise.sound {
            Sound::Recording { path, .. } => Some(path.as_path()),
            Sound::Synthetic { .. } => None,
        });
        self.voices.iter().map(|voice| voice.path.as_path()).chain(noise)
    }

    /// The same mixture with its files named by `place(file)`.
    pub fn relocated(&self, place: impl Fn(&Path) -> PathBuf) -> Self {
        let mut mixture = self.clone();
        for voice in &mut mixture.voices {
            voice.path = place(&voice.path);
        }
        if let Some(Noise { sound: Sound::Recording { path, .. }, .. }) = &mut mixture.noise {
            *path = place(path);
        }
        mixture
    }
}

/// Samples in `seconds` of a mixture.
pub(super) fn samples(seconds: f64) -> usize {
    (seconds * f64::from(SAMPLE_RATE)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"seconds":1.0,"voices":[{"path":"a/1.flac","start":1.48,"gain":0.25}],"room":{"size":1.0,"reverberation_time":0.4,"damping":0.2,"wet":0.3},"noise":{"sound":{"path":"n.wav","start":0.0},"snr":12.5},"level":-31.25}"#;

    const VOICE: &str = r#"{"path":"a/1.flac","start":1.48,"gain":0.25}"#;

    #[test]
    fn the_json_reads_back_to_itself() {
        let mixture = Mixture::parse(FULL).unwrap();
        assert_eq!(serde_json::to_string(&mixture).unwrap(), FULL);
        assert_eq!(mixture.files().collect::<Vec<_>>(), ["a/1.flac", "n.wav"].map(Path::new));
        let moved = mixture.relocated(|path| Path::new("/data").join(path));
        assert_eq!(moved.files().collect::<Vec<_>>(), ["/data/a/1.flac", "/data/n.wav"].map(Path::new));
        let synthetic = r#"{"colour":"pink","seed":18446744073709551615}"#;
        let noise =
            Mixture::parse(&FULL.replace(r#"{"path":"n.wav","start":0.0}"#, synthetic)).unwrap().noise;
        let expected = Sound::Synthetic { colour: Colour::Pink, seed: u64::MAX };
        assert_eq!(noise.unwrap().sound, expected);
    }

    #[test]
    fn what_no_mixture_has_is_named() {
        for (old, new, expected) in [
            ("\"seconds\":1.0", "\"seconds\":-1", "seconds is -1"),
            ("\"seconds\":1.0", "\"seconds\":1e300", "seconds is"),
            ("\"start\":1.48", "\"start\":-0.5", "start is -0.5"),
            ("\"gain\":0.25", "\"gian\":0.25", "gian"),
            ("\"gain\":0.25", "\"gain\":NaN", "mixture: "),
            ("\"size\":1.0", "\"size\":1e9", "room.size is"),
            ("\"snr\":12.5", "\"snr\":1e9", "noise.snr is"),
            ("\"level\":-31.25", "\"level\":20", "level is 20"),
            ("\"path\":\"n.wav\"", "\"colour\":\"grey\"", "mixture: "),
            (",\"snr\":12.5", "", "noise.snr belongs to noise beside voices"),
            (VOICE, "", "noise.snr belongs to noise beside voices"),
        ] {
            assert!(FULL.contains(old), "{old}");
            let error = Mixture::parse(&FULL.replace(old, new)).unwrap_err();
            assert!(error.starts_with("mixture: ") && error.contains(expected), "{new}: {error}");
        }
        let error = Mixture::parse(r#"{"seconds":1.0,"voices":[]}"#).unwrap_err();
        assert!(error.contains("neither voices nor noise"), "{error}");
        Mixture::parse(&FULL.replace(VOICE, "").replace(",\"snr\":12.5", "")).unwrap();
    }
}
