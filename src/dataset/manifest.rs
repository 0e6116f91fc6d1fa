use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Labels;

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights are fitted on these clips.
    Train,
    /// The epoch is chosen on these clips.
    Valid,
    /// Reported once, at the end.
    Test,
}

/// One clip.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// File, relative to the manifest's folder or absolute.
    pub path: PathBuf,
    /// Labels; exactly one for single-label data.
    pub labels: Vec<String>,
    /// The part it belongs to, when the source says so.
    pub split: Option<Split>,
    /// Official fold.
    pub fold: Option<u32>,
    /// Clips of one group (recording, speaker) never cross a split.
    pub group: Option<String>,
    /// Start within the file in seconds.
    pub start: Option<f64>,
    /// Duration in seconds.
    pub duration: Option<f64>,
    /// Further columns, kept as they are.
    pub extra: BTreeMap<String, String>,
}

/// A list of labelled clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Folder that relative paths start from.
    pub root: PathBuf,
    /// The clips.
    pub entries: Vec<Entry>,
    /// All labels that occur, sorted.
    pub labels: Labels,
}
