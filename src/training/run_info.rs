//! `run.json`: what a run was and what it cost.

use serde::{Deserialize, Serialize};

use crate::decision::{DecisionConfig, Task};
use crate::pretrained::Started;

/// The content of `run.json`. Fields may be added; a reader takes the default for a missing one, and only
/// `name` is required.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunInfo {
    /// The recipe's name.
    pub name: String,
    /// The network's name in the zoo.
    #[serde(default)]
    pub model: String,
    /// All parameters of the network.
    #[serde(default)]
    pub parameters: u64,
    /// Those that training changes, of several stages the last one.
    #[serde(default)]
    pub trainable_parameters: u64,
    /// The recipe's seed.
    #[serde(default)]
    pub seed: u64,
    /// Epochs trained.
    #[serde(default)]
    pub epochs: usize,
    /// The epoch whose weights were kept, from 1, chosen on validation; 0 when none was finished.
    #[serde(default)]
    pub best_epoch: usize,
    /// Its share of right validation clips, 0 to 1.
    #[serde(default)]
    pub best_valid_accuracy: Option<f64>,
    /// Its label-weighted label-ranking average precision on validation, 0 to 1.
    #[serde(default)]
    pub best_valid_lwlrap: Option<f64>,
    /// Whether a clip has one label or several.
    #[serde(default)]
    pub task: Task,
    /// The weights it started from, when those were not random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Started>,
    /// The stages of training, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageInfo>,
    /// Wall time of the training in seconds.
    #[serde(default)]
    pub seconds: f64,
    /// Mean wall time of an epoch in seconds.
    #[serde(default)]
    pub seconds_per_epoch: f64,
    /// How the clips were split, in words.
    #[serde(default)]
    pub protocol: String,
    /// Whether a group (recording, speaker) crosses the split: the figures are too good then.
    #[serde(default)]
    pub leaking: bool,
    /// What the reader of a figure must know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The command that gives this run again.
    #[serde(default)]
    pub command: String,
    /// Programs that made it.
    #[serde(default)]
    pub versions: Versions,
    /// Where it was trained, `cpu` for instance.
    #[serde(default)]
    pub device: String,
    /// SHA-256 of the manifest, hexadecimal.
    #[serde(default)]
    pub manifest_sha256: String,
    /// Clips of each part.
    #[serde(default)]
    pub clips: ClipCounts,
    /// From scores to a decision.
    #[serde(default)]
    pub decision: DecisionConfig,
}

/// One of several stages of training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageInfo {
    /// Its name.
    pub name: String,
    /// Clips that trained in it.
    pub clips: usize,
    /// Numbers of the network that trained in it.
    pub trainable_parameters: u64,
    /// Epochs it took.
    pub epochs: usize,
    /// The epoch, counted through all stages, whose weights went on to the next stage or, from the last one, were kept.
    pub best_epoch: usize,
}

/// Versions of the programs that made a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// Of this program.
    pub oido: String,
    /// Of the tensor library.
    pub burn: String,
}

/// Number of clips of each part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipCounts {
    /// Weights were fitted on these.
    pub train: usize,
    /// The epoch was chosen on these.
    pub valid: usize,
    /// Reported once, at the end.
    pub test: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_from_json() {
        let info = RunInfo {
            name: "cnn".into(),
            best_valid_accuracy: Some(0.1 + 0.2),
            clips: ClipCounts { train: 3, valid: 2, test: 0 },
            ..Default::default()
        };
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<RunInfo>(&text).unwrap(), info);
    }

    #[test]
    fn only_the_name_is_required() {
        let info: RunInfo = serde_json::from_str(r#"{"name": "old", "from": "a later version"}"#).unwrap();
        assert_eq!(info.decision, DecisionConfig::default());
        assert!(serde_json::from_str::<RunInfo>("{}").unwrap_err().to_string().contains("name"));
    }
}
