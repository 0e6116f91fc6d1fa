use std::path::{Path, PathBuf};

use super::Error;
use crate::files::write_file;

/// Where the files of a run lie.
///
/// Training writes `recipe.toml` (resolved), `labels.json`, `stats.json`, `manifest.csv`, `splits.json`,
/// `results.csv` (one row an epoch), `checkpoints/`, `weights/{best,last}.safetensors` (and `stage-NAME.safetensors` for each
/// of several stages) and `run.json`; evaluation adds `predictions.csv`, `report.{html,json}`, `confusion_matrix*.{svg,csv}` and `curves.svg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Names a directory; nothing is read or created.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The resolved recipe.
    pub fn recipe(&self) -> PathBuf {
        self.0.join("recipe.toml")
    }

    /// Class names in output order.
    pub fn labels(&self) -> PathBuf {
        self.0.join("labels.json")
    }

    /// Mean and standard deviation of the training features.
    pub fn stats(&self) -> PathBuf {
        self.0.join("stats.json")
    }

    /// The clips, with absolute paths.
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest.csv")
    }

    /// One row an epoch.
    pub fn results(&self) -> PathBuf {
        self.0.join("results.csv")
    }

    /// What ran, where, and what came of it.
    pub fn info(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Checkpoints to resume from.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Weights of the best epoch on validation, with several stages of the newest one.
    pub fn best_weights(&self) -> PathBuf {
        self.0.join("weights/best.safetensors")
    }

    /// Weights of the best epoch of one of several stages; [`RunDir::best_weights`] are those of the last one.
    pub fn stage_weights(&self, stage: &str) -> PathBuf {
        self.0.join(format!("weights/stage-{stage}.safetensors"))
    }

    /// Weights of the last epoch.
    pub fn last_weights(&self) -> PathBuf {
        self.0.join("weights/last.safetensors")
    }
}

/// [`write_file`] with the file named in the error.
pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_file(path, bytes).map_err(Error::io(path))
}
