use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::metrics::argmax;

/// Recipe section `[decision]`; stored in the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionConfig {
    /// A best score below this gives [`DecisionConfig::indeterminate`]. Range 0 to 1, default 0.6.
    /// A score equal to the threshold is accepted.
    pub threshold: f32,
    /// The word printed instead of a label. Default `indeterminate`; the original project said `indeterminado`.
    pub indeterminate: String,
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self { threshold: 0.6, indeterminate: "indeterminate".to_owned() }
    }
}

impl DecisionConfig {
    /// Refuses a threshold outside 0..=1 and an empty word.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(ConfigError::field(
                "decision.threshold",
                format!("{} is not a probability; give a number from 0 to 1", self.threshold),
            ));
        }
        if self.indeterminate.trim().is_empty() {
            return Err(ConfigError::field("decision.indeterminate", "the word is empty"));
        }
        Ok(())
    }

    /// As [`DecisionConfig::validate`], and refuses a word that is one of the labels: nobody could tell the two apart.
    pub fn validate_for(&self, labels: &[String]) -> Result<(), ConfigError> {
        if labels.contains(&self.indeterminate) {
            let reason = format!("`{}` is one of the labels; choose another word", self.indeterminate);
            return Err(ConfigError::field("decision.indeterminate", reason));
        }
        self.validate()
    }

    /// Index of the best score, and whether it reaches the threshold. Ties go to the lower index.
    /// `None` when `scores` is empty. NaN never wins over a number, and is never accepted.
    pub fn decide(&self, scores: &[f32]) -> Option<Decision> {
        let index = argmax(scores);
        let score = *scores.get(index)?;
        Some(Decision { index, score, indeterminate: score.is_nan() || score < self.threshold })
    }

    /// For clips with several labels: the indices of all scores that reach the threshold, best first, ties in the order
    /// of the labels. NaN never does.
    pub fn accepted(&self, scores: &[f32]) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] >= self.threshold).collect();
        indices.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        indices
    }
}

/// The outcome of [`DecisionConfig::decide`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Index of the best label, also when the decision is indeterminate.
    pub index: usize,
    /// Its score.
    pub score: f32,
    /// Whether the score is below the threshold.
    pub indeterminate: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_is_accepted() {
        let config = DecisionConfig::default();
        assert!(!config.decide(&[0.6, 0.4]).unwrap().indeterminate);
        assert!(config.decide(&[0.599, 0.401]).unwrap().indeterminate);
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        assert_eq!(DecisionConfig::default().decide(&[0.1, 0.4, 0.4]).unwrap().index, 1);
        assert_eq!(DecisionConfig::default().decide(&[]), None);
    }

    #[test]
    fn nan_is_never_accepted() {
        let config = DecisionConfig::default();
        assert!(config.decide(&[f32::NAN, f32::NAN]).unwrap().indeterminate);
        let decision = config.decide(&[f32::NAN, 0.7]).unwrap();
        assert!(decision.index == 1 && !decision.indeterminate);
    }

    #[test]
    fn every_label_that_reaches_the_threshold_is_accepted_best_first() {
        let config = DecisionConfig::default();
        assert_eq!(config.accepted(&[0.6, 0.2, 0.9, f32::NAN, 0.6, 0.599]), [2, 0, 4]);
        assert_eq!(config.accepted(&[0.1, 0.2]), [0usize; 0]);
    }

    #[test]
    fn refuses_a_word_that_is_a_label() {
        let config = DecisionConfig { indeterminate: "dog".into(), ..Default::default() };
        assert!(config.validate_for(&["cat".into(), "dog".into()]).is_err());
        assert!(config.validate_for(&["cat".into()]).is_ok());
    }

    #[test]
    fn refuses_impossible_values() {
        for threshold in [-0.1, 1.1, f32::NAN] {
            let config = DecisionConfig { threshold, ..Default::default() };
            assert!(config.validate().unwrap_err().to_string().contains("decision.threshold"));
        }
        assert!(DecisionConfig { indeterminate: " ".into(), ..Default::default() }.validate().is_err());
    }
}
