use serde::{Deserialize, Serialize};

use crate::audio::AudioConfig;
use crate::config::ConfigError;
use crate::decision::{DecisionConfig, Task};
use crate::features::{FeatureConfig, Stats};
use crate::models::ModelConfig;

/// `config.json`: everything between a recording and a decision, every number written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// Name of the experiment the model comes from.
    pub name: String,
    /// Sample rate and clip length.
    pub audio: AudioConfig,
    /// The front end, resolved: no number is left to a preset.
    pub features: FeatureConfig,
    /// Mean and standard deviation over the training clips; `null` when features are used as they are.
    pub stats: Option<Stats>,
    /// The network.
    pub model: ModelConfig,
    /// Outputs of the network; equal to the number of labels.
    pub num_classes: usize,
    /// What the scores mean.
    pub task: Task,
    /// Threshold and the word for "no decision".
    pub decision: DecisionConfig,
}

impl BundleConfig {
    /// Refuses values no bundle can have, by field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.audio.validate()?;
        self.features.validate(&self.audio)?;
        self.decision.validate()?;
        if let Some(stats) = self.stats
            && !(stats.mean.is_finite() && stats.std.is_finite() && stats.std > 0.0)
        {
            return Err(ConfigError::field(
                "stats",
                format!("mean {} and std {} must be finite and std above 0", stats.mean, stats.std),
            ));
        }
        Ok(())
    }
}
