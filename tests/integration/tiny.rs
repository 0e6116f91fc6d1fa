//! A small real bundle, the run directory it could come from, and small recordings.

use std::path::{Path, PathBuf};

use oido::audio::{AudioConfig, WavFormat, Waveform, write_wav};
use oido::bundle::{BundleConfig, BundleParts, pack};
use oido::dataset::Labels;
use oido::decision::{DecisionConfig, Task};
use oido::features::{Extractor, FeatureConfig, Stats};
use oido::models::{CnnConfig, ModelConfig, device};
use oido::seed::Seed;

/// A narrow cnn over 16 mel bands of 0.5 s at 8 kHz, with random weights.
pub(crate) fn parts() -> BundleParts {
    let audio = AudioConfig::new(8_000, 0.5);
    let features = FeatureConfig {
        n_fft: 256,
        win_length: 256,
        hop_length: 128,
        n_mels: 16,
        ..FeatureConfig::default()
    };
    let labels = Labels::from_names(["bark", "drill", "hum", "horn", "shot", "siren"]);
    let model = ModelConfig::Cnn(CnnConfig { dense: 8, ..CnnConfig::default() });
    let shape = Extractor::new(&audio, &features).unwrap().shape();
    let device = device("cpu").unwrap();
    let weights = model.init(shape, labels.len(), Seed(5), &device).unwrap().to_safetensors().unwrap();
    BundleParts {
        config: BundleConfig {
            name: "tiny".to_owned(),
            audio,
            features,
            stats: Some(Stats { mean: -40.0, std: 20.0 }),
            model,
            num_classes: labels.len(),
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

/// A run directory with the model of [`parts`].
pub(crate) fn run_dir(folder: &Path) -> PathBuf {
    let parts = parts();
    let run = folder.join("run");
    std::fs::create_dir_all(run.join("weights")).unwrap();
    let recipe = oido::training::Recipe::find(Path::new("quickstart/cnn"), &[]).unwrap();
    let config = parts.config;
    let recipe = oido::training::Recipe {
        name: config.name,
        audio: config.audio,
        features: config.features,
        model: config.model,
        decision: config.decision,
        ..recipe
    };
    let write = |name: &str, content: &[u8]| std::fs::write(run.join(name), content).unwrap();
    write("recipe.toml", recipe.to_toml().unwrap().as_bytes());
    write("labels.json", &serde_json::to_vec(&parts.labels).unwrap());
    write("stats.json", &serde_json::to_vec(&config.stats).unwrap());
    write("weights/best.safetensors", &parts.weights);
    run
}

/// A tone with two overtones, `seconds` long, at `rate` Hz.
pub(crate) fn tone(hz: f32, seconds: f32, rate: u32) -> Waveform {
    let wave = |t: f32| (t.sin() + 0.5 * (2.0 * t).sin() + 0.25 * (3.1 * t).sin()) / 2.0;
    let n = (rate as f32 * seconds) as usize;
    let samples = (0..n).map(|i| wave(i as f32 * hz * std::f32::consts::TAU / rate as f32)).collect();
    Waveform { samples, sample_rate: rate }
}

/// Writes `n` different recordings, `00.wav` and on, into `folder`.
pub(crate) fn recordings(folder: &Path, n: usize) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).unwrap();
    (0..n)
        .map(|i| {
            let path = folder.join(format!("{i:02}.wav"));
            // Other rates too, so that resampling is part of what must agree.
            let rate = if i % 3 == 0 { 11_025 } else { 8_000 };
            write_wav(&path, &tone(90.0 + 57.0 * i as f32, 0.5, rate), WavFormat::Pcm16).unwrap();
            path
        })
        .collect()
}
