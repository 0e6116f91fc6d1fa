//! An easy task to train on: three pitches as folders of short recordings, and a recipe for them.

use std::path::{Path, PathBuf};
use std::process::Output;

use oido::audio::{WavFormat, write_wav};
use tempfile::TempDir;

use crate::support::oido;
use crate::tiny::tone;

/// Class and lowest pitch in Hz.
const CLASSES: [(&str, f32); 3] = [("low", 200.0), ("mid", 600.0), ("high", 1_300.0)];

/// Recordings of each class.
pub(crate) const PER_CLASS: usize = 12;

/// A network with convolutions, batch normalisation and dropout; four steps an epoch, the last one smaller.
const RECIPE: &str = r#"
name = "tones"
seed = 7

[split]
protocol = "stratified"
valid = 0.25
test = 0.25

[audio]
sample_rate = 8000
clip_seconds = 0.5

[features]
n_fft = 512
win_length = 512
hop_length = 250
n_mels = 16

[model]
name = "cnn"
dense = 16

[training]
epochs = 4
batch_size = 5
patience = 0
"#;

/// A folder with `clips/LABEL/NN.wav`, `manifest.csv` and `recipe.toml`; commands run in it.
pub(crate) struct Tones(TempDir);

impl Tones {
    pub(crate) fn new() -> Self {
        let tones = Self(tempfile::tempdir().unwrap());
        for (label, hz) in CLASSES {
            std::fs::create_dir_all(tones.path("clips").join(label)).unwrap();
            for i in 0..PER_CLASS {
                let path = tones.path("clips").join(label).join(format!("{i:02}.wav"));
                write_wav(&path, &tone(hz + 9.0 * i as f32, 0.5, 8_000), WavFormat::Pcm16).unwrap();
            }
        }
        std::fs::write(tones.path("recipe.toml"), RECIPE).unwrap();
        tones.ok(&["prepare", "folders", "clips"]);
        tones
    }

    /// Something in the folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The arguments of `oido train` for the run directory `out`.
    pub(crate) fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["train", "recipe.toml", "--data", "manifest.csv", "--out", out];
        args.extend(more);
        args
    }

    /// Runs `oido` in the folder and expects the exit code; a panic is a failure whatever the code.
    pub(crate) fn code(&self, code: i32, args: &[&str]) -> Output {
        let output = oido().current_dir(self.0.path()).args(args).output().unwrap();
        let talk = talk(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {talk}");
        assert!(!talk.contains("panicked"), "{args:?}: {talk}");
        output
    }

    /// [`Tones::code`] for success.
    pub(crate) fn ok(&self, args: &[&str]) -> Output {
        self.code(0, args)
    }

    /// Runs `oido`, expects the exit code, and returns its one sentence beginning with `error:`.
    pub(crate) fn error(&self, code: i32, args: &[&str]) -> String {
        let talk = talk(&self.code(code, args));
        let errors: Vec<&str> = talk.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((errors.len(), talk.lines().last()), (1, errors.first().copied()), "{talk}");
        errors[0].to_owned()
    }

    /// The bytes of a run's last weights.
    pub(crate) fn weights(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.path(run).join("weights/last.safetensors")).unwrap()
    }
}

/// What was written to stderr.
pub(crate) fn talk(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What was written to stdout.
pub(crate) fn data(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
