use serde::{Deserialize, Serialize};

use crate::metrics::{sigmoid, softmax};

/// What the scores mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Exactly one label a clip: scores are a softmax and sum to one.
    #[default]
    SingleLabel,
    /// Any number of labels a clip: every score is a sigmoid and stands for itself.
    MultiLabel,
}

impl Task {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleLabel => "single_label",
            Self::MultiLabel => "multi_label",
        }
    }

    /// Turns the logits of one clip, `[num_classes]`, into scores from 0 to 1, in place.
    pub fn activate(self, logits: &mut [f32]) {
        match self {
            Self::SingleLabel => softmax(logits),
            Self::MultiLabel => logits.iter_mut().for_each(|logit| *logit = sigmoid(*logit)),
        }
    }

    /// Whether it is the default, which is not written into recipes.
    pub fn is_single_label(&self) -> bool {
        *self == Self::SingleLabel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_shares_a_sum_of_one_and_several_do_not() {
        let (mut one, mut several) = ([2.0, 2.0, -1.0], [2.0, 2.0, -1.0]);
        Task::SingleLabel.activate(&mut one);
        Task::MultiLabel.activate(&mut several);
        assert!((one.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((several[0] - 0.880_797).abs() < 1e-6 && (several[2] - 0.268_941_4).abs() < 1e-6);
    }
}
