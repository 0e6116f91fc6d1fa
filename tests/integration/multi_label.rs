//! Clips with several labels, from the manifest to the server's answer: chords of three pitches.

use std::path::{Path, PathBuf};

use oido::audio::{WavFormat, Waveform, write_wav};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::oido;

/// Label and pitch in Hz.
const TONES: [(&str, f32); 3] = [("high", 2_500.0), ("low", 200.0), ("middle", 800.0)];

const RECIPE: &str = r#"
name = "chords"
task = "multi_label"

[split]
protocol = "stratified"
valid = 0.2
test = 0.2

[audio]
sample_rate = 8000
clip_seconds = 0.25

[features]
n_fft = 256
win_length = 256
hop_length = 128
n_mels = 16

[model]
name = "cnn"
dense = 16

[training]
epochs = 8
batch_size = 8
patience = 0

[decision]
threshold = 0.5
"#;

/// A folder with 70 chords, ten of each choice of pitches, `manifest.csv` and `recipe.toml`.
struct Chords(TempDir);

impl Chords {
    fn new() -> Self {
        let chords = Self(tempfile::tempdir().unwrap());
        let mut manifest = String::from("path,labels\n");
        for choice in 1..8 {
            let chosen: Vec<_> = (0..3).filter(|i| choice & (1 << i) > 0).map(|i| TONES[i]).collect();
            for take in 0..10 {
                let name = format!("{choice}-{take}.wav");
                chord(&chords.path(&name), &chosen, 1.0 + 0.01 * take as f32);
                let labels: Vec<&str> = chosen.iter().map(|(label, _)| *label).collect();
                manifest += &format!("{name},\"{}\"\n", labels.join(","));
            }
        }
        std::fs::write(chords.path("manifest.csv"), manifest).unwrap();
        std::fs::write(chords.path("recipe.toml"), RECIPE).unwrap();
        chords
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = oido().current_dir(self.0.path()).args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (data, talk) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {talk}");
        assert!(!talk.contains("panicked"), "{talk}");
        (data, talk)
    }

    fn train(&self, code: i32, out: &str, more: &[&str]) -> (String, String) {
        let args = ["train", "recipe.toml", "--data", "manifest.csv", "--out", out];
        self.run(code, &[&args[..], more].concat())
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

fn chord(path: &Path, tones: &[(&str, f32)], pitch: f32) {
    let wave = |t: usize| {
        let phase = |hz: f32| (std::f32::consts::TAU * hz * pitch * t as f32 / 8_000.0).sin();
        tones.iter().map(|(_, hz)| 0.2 * phase(*hz)).sum()
    };
    let waveform = Waveform { samples: (0..2_000).map(wave).collect(), sample_rate: 8_000 };
    write_wav(path, &waveform, WavFormat::Pcm16).unwrap();
}

#[test]
fn several_labels_go_through_training_report_bundle_and_prediction() {
    let chords = Chords::new();
    let (data, talk) = chords.train(0, "run", &[]);
    assert!(data.starts_with("test lwlrap ") && talk.contains("val_lwlrap="), "{data} {talk}");

    let rows = oido::training::results::read(&chords.path("run/results.csv")).unwrap();
    let info = chords.json("run/run.json");
    let best = rows.iter().map(|row| row.valid_lwlrap).fold(0.0, f64::max);
    let kept = &rows[info["best_epoch"].as_u64().unwrap() as usize - 1];
    assert!((kept.valid_lwlrap - best).abs() < 1e-12, "the epoch is chosen by lwlrap");
    assert!(best > 0.95 && rows[0].train_lwlrap > 0.3, "{best}");
    let recipe = std::fs::read_to_string(chords.path("run/recipe.toml")).unwrap();
    assert!(recipe.contains("monitor = \"lwlrap\"") && recipe.contains("name = \"bce\""), "{recipe}");

    let report = chords.json("run/report.json");
    assert_eq!((report["task"].as_str(), report["n"].as_u64()), (Some("multi_label"), Some(14)));
    assert!(report["lwlrap"].as_f64().unwrap() > 0.9, "{report:#}");
    assert!(report["classes"][0]["average_precision"].as_f64().unwrap() > 0.8);
    assert!(std::fs::read_to_string(chords.path("run/report.html")).unwrap().contains("lwlrap"));

    // One column a label, and scores that do not share a sum of 1.
    let mut reader = csv::Reader::from_path(chords.path("run/predictions.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    assert_eq!(header.iter().skip(5).collect::<Vec<_>>(), ["high", "low", "middle"]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let scores =
        |row: &csv::StringRecord| row.iter().skip(5).map(|x| x.parse().unwrap()).collect::<Vec<f32>>();
    assert!(rows.iter().any(|row| scores(row).iter().sum::<f32>() > 1.5));

    // The bundle gives the same bits, and every label that reaches the threshold.
    chords.run(0, &["bundle", "run", "--out", "bundle"]);
    assert_eq!(chords.json("bundle/config.json")["task"], "multi_label");
    assert!(std::fs::read_to_string(chords.path("bundle/README.md")).unwrap().contains("| lwlrap |"));
    for row in &rows {
        let (data, _) = chords.run(0, &["predict", "bundle", &row[0], "--format", "json"]);
        let answer: Value = serde_json::from_str(&data).unwrap();
        let found = answer["scores"].as_array().unwrap();
        for (label, score) in header.iter().skip(5).zip(scores(row)) {
            let of_label = found.iter().find(|found| found["label"] == label).unwrap();
            assert_eq!((of_label["score"].as_f64().unwrap() as f32).to_bits(), score.to_bits());
        }
        let labels: Vec<&str> =
            answer["labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        if labels.is_empty() {
            assert!(answer["indeterminate"] == true && answer["label"] == "indeterminate");
        } else {
            assert_eq!(labels.join(","), row[2], "what the report says was predicted");
        }
    }
    let (data, _) = chords.run(0, &["predict", "bundle", "7-0.wav", "--threshold", "0", "--format", "csv"]);
    assert_eq!(data.lines().nth(1).unwrap().split('"').nth(1).unwrap().split(',').count(), 3, "{data}");
}

#[test]
fn a_task_that_the_labels_do_not_fit_is_refused_before_anything_is_decoded() {
    let chords = Chords::new();
    let (_, talk) = chords.train(4, "run", &["--set", "task=single_label"]);
    assert!(talk.contains("error: task: 3-0.wav has 2 labels"), "{talk}");
    assert!(talk.contains("set task = \"multi_label\""), "{talk}");
    let (_, talk) = chords.train(4, "run", &["--set", "training.loss=cross_entropy", "--dry-run"]);
    assert!(talk.contains("training.loss: cross_entropy is for clips with one label"), "{talk}");
    let (_, talk) = chords.train(4, "run", &["--set", "training.class_weights={hihg=2.0}", "--dry-run"]);
    assert!(
        talk.contains("training.class_weights: `hihg` is no label; the data has high, low, middle"),
        "{talk}"
    );

    let manifest = std::fs::read_to_string(chords.path("manifest.csv")).unwrap();
    let alone: Vec<&str> = manifest.lines().filter(|line| line.matches(',').count() == 1).collect();
    std::fs::write(chords.path("manifest.csv"), alone.join("\n")).unwrap();
    let (_, talk) = chords.train(4, "run", &[]);
    assert!(talk.contains("task: every clip has exactly one label"), "{talk}");
    assert!(!chords.path("run").exists());
}
