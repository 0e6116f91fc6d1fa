//! A recipe → a run directory.

pub mod results;
pub mod run_info;
mod write;

pub use results::EpochRow;
pub use run_info::{ClipCounts, RunInfo, Versions};
pub use write::write_file;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A trained run on disk.
///
/// `recipe.toml` (resolved), `labels.json`, `stats.json` ([`crate::features::Stats`]), `results.csv` (one row an epoch),
/// `checkpoints/`, `weights/{best,last}.safetensors`, `run.json`; evaluation adds `predictions.csv`,
/// `report.{html,json}`, `confusion_matrix*.{svg,csv}`, `curves.svg`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDir(pub PathBuf);
