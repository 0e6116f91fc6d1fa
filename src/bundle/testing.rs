//! A small real bundle and small real recordings, for tests.

use std::path::{Path, PathBuf};

use crate::audio::{AudioConfig, WavFormat, Waveform, write_wav};
use crate::dataset::Labels;
use crate::decision::{DecisionConfig, Task};
use crate::features::{Extractor, FeatureConfig, Stats};
use crate::models::{DenseConfig, ModelConfig};
use crate::seed::Seed;

use super::{BundleConfig, BundleParts, Predictor, pack};

/// A dense network over 16 mel bands of 0.5 s at 8 kHz, with random weights.
pub(crate) fn parts() -> BundleParts {
    let audio = AudioConfig::new(8_000, 0.5);
    let features = FeatureConfig {
        n_fft: 256,
        win_length: 256,
        hop_length: 128,
        n_mels: 16,
        ..FeatureConfig::default()
    };
    let labels = Labels::from_names(["bark", "drill", "siren"]);
    let model = ModelConfig::Dense(DenseConfig { units: vec![8], ..DenseConfig::default() });
    let device = crate::models::device("cpu").unwrap();
    let shape = Extractor::new(&audio, &features).unwrap().shape();
    let weights = model.init(shape, 3, Seed(3), &device).unwrap().to_safetensors().unwrap();
    BundleParts {
        config: BundleConfig {
            name: "tiny".to_owned(),
            audio,
            features,
            stats: Some(Stats { mean: -40.0, std: 20.0 }),
            model,
            num_classes: 3,
            task: Task::SingleLabel,
            decision: DecisionConfig::default(),
        },
        labels,
        weights,
        metrics: serde_json::json!({ "accuracy": 0.5 }),
        started_from: None,
    }
}

/// The bundle of [`parts`] as `tiny.tar.gz` in `folder`.
pub(crate) fn bundle(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.tar.gz");
    pack(&parts(), &path).unwrap();
    path
}

/// The bundle of [`parts`], loaded.
pub(crate) fn predictor() -> Predictor {
    let folder = tempfile::tempdir().unwrap();
    Predictor::open(&bundle(folder.path()), "cpu").unwrap()
}

/// A tone of `hz` for `seconds` at 8 kHz.
pub(crate) fn tone(hz: f32, seconds: f32) -> Waveform {
    let n = (8_000.0 * seconds) as usize;
    let samples = (0..n).map(|i| 0.5 * (i as f32 * hz * std::f32::consts::TAU / 8_000.0).sin()).collect();
    Waveform { samples, sample_rate: 8_000 }
}

/// The bytes of a wav file with [`tone`].
pub(crate) fn wav(hz: f32, seconds: f32) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    write_wav(file.path(), &tone(hz, seconds), WavFormat::Pcm16).unwrap();
    std::fs::read(file.path()).unwrap()
}
