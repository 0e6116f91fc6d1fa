//! What training minimises.

use std::collections::BTreeMap;

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::tensors::tensor;
use crate::config::ConfigError;
use crate::dataset::Labels;
use crate::decision::Task;

/// Recipe key `training.loss`: a name, or a table of the name and its options.
///
/// With one label a clip probabilities are a softmax and the loss of a clip is a sum over its classes; with several
/// they are sigmoids, each class asks two outcomes, there and not there, and the loss of a clip is the mean over its
/// classes. Targets may be soft: the parts of a mixed clip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Cross-entropy of the softmax, `-sum(t ln p)`: one label a clip.
    CrossEntropy {},
    /// Binary cross-entropy of the sigmoids (`torch.nn.BCEWithLogitsLoss`): several labels a clip.
    Bce {},
    /// Focal loss (Lin et al. 2017, "Focal loss for dense object detection"): cross-entropy times `(1 - p)^gamma`, so that
    /// what is learnt counts less.
    Focal {
        /// How much less; 0 is cross-entropy. Default 2.
        #[serde(default = "gamma")]
        gamma: f64,
        /// Weight of labels that are there, 0 to 1; the others get `1 - alpha` (`torchvision.ops.sigmoid_focal_loss`). For
        /// several labels a clip. Default: both weigh 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<f64>,
    },
    /// Log-sum-exp pairwise ranking (Li, Song & Luo 2017, "Improving pairwise ranking for multi-label image
    /// classification"), `ln(1 + sum exp(x_v - x_u))` over every label `u` of the clip and every other class `v`: several
    /// labels a clip. A target above 0 is a label.
    Lsep {},
    /// L_q, generalised cross-entropy (Zhang & Sabuncu 2018), `(1 - p^q) / q`, for wrong labels: cross-entropy as `q` goes to
    /// 0, mean absolute error at 1.
    LQ {
        /// Above 0, at most 1. Default 0.7.
        #[serde(default = "q")]
        q: f64,
    },
    /// L_soft, soft bootstrapping (Reed et al. 2015), for wrong labels: cross-entropy with targets
    /// `beta t + (1 - beta) p`.
    LSoft {
        /// Trust in the labels, above 0, at most 1. Default 0.95.
        #[serde(default = "beta")]
        beta: f64,
    },
}

fn gamma() -> f64 {
    2.0
}

fn q() -> f64 {
    0.7
}

fn beta() -> f64 {
    0.95
}

impl Loss {
    /// The usual one.
    pub fn of(task: Task) -> Self {
        match task {
            Task::SingleLabel => Self::CrossEntropy {},
            Task::MultiLabel => Self::Bce {},
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy {} => "cross_entropy",
            Self::Bce {} => "bce",
            Self::Focal { .. } => "focal",
            Self::Lsep {} => "lsep",
            Self::LQ { .. } => "l_q",
            Self::LSoft { .. } => "l_soft",
        }
    }

    /// Refuses impossible options and a loss that does not fit the task.
    pub fn validate(self, task: Task) -> Result<(), ConfigError> {
        let refuse = |reason: String| Err(ConfigError::field("training.loss", reason));
        match (self, task) {
            (Self::CrossEntropy {}, Task::MultiLabel) => {
                return refuse(
                    "cross_entropy is for clips with one label; use bce, lsep, focal, l_q or l_soft, or task = \
                     \"single_label\""
                        .to_owned(),
                );
            }
            (Self::Bce {} | Self::Lsep {}, Task::SingleLabel) => {
                return refuse(format!(
                    "{} is for clips with several labels; use cross_entropy, focal, l_q or l_soft, or task = \
                     \"multi_label\"",
                    self.name()
                ));
            }
            (Self::Focal { alpha: Some(_), .. }, Task::SingleLabel) => {
                return refuse(
                    "alpha is for clips with several labels; use training.class_weights".to_owned(),
                );
            }
            _ => {}
        }
        match self {
            Self::Focal { gamma, .. } if !(gamma.is_finite() && gamma >= 0.0) => {
                refuse(format!("gamma {gamma} must be 0 or above"))
            }
            Self::Focal { alpha: Some(alpha), .. } if !(0.0..=1.0).contains(&alpha) => {
                refuse(format!("alpha {alpha} must be from 0 to 1"))
            }
            Self::LQ { q } if !(q > 0.0 && q <= 1.0) => {
                refuse(format!("q {q} must be above 0 and at most 1"))
            }
            Self::LSoft { beta } if !(beta > 0.0 && beta <= 1.0) => {
                refuse(format!("beta {beta} must be above 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }

    /// What an outcome costs whose target is `target`: `[batch, num_classes]`, from the logarithms of its probability and
    /// of the opposite's.
    fn of_outcome(
        self,
        target: Tensor<2>,
        log_p: Tensor<2>,
        log_not: impl FnOnce() -> Tensor<2>,
    ) -> Tensor<2> {
        match self {
            Self::CrossEntropy {} | Self::Bce {} | Self::Lsep {} => (target * log_p).neg(),
            Self::Focal { gamma, .. } => (target * (log_not() * gamma).exp() * log_p).neg(),
            Self::LQ { q } => target * ((log_p * q).exp().neg() + 1.0) / q,
            Self::LSoft { beta } => ((target * beta + log_p.clone().exp() * (1.0 - beta)) * log_p).neg(),
        }
    }
}

/// Recipe key `training.class_weights`: how much each class counts in the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassWeights {
    /// `"balanced"`: all labels / (classes x labels of the class), over the training clips, so that every class counts the
    /// same (scikit-learn's `compute_class_weight("balanced")`). A class without training clips gets 1.
    Rule(Balanced),
    /// By label, as in `{ siren = 2.0 }`; labels that are not named get 1.
    Given(BTreeMap<String, f64>),
}

/// The one rule there is for [`ClassWeights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balanced {
    /// As many as the others.
    Balanced,
}

impl ClassWeights {
    const FIELD: &str = "training.class_weights";

    /// Refuses weights that are no numbers above 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self::Given(weights) = self else { return Ok(()) };
        match weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight > 0.0)) {
            Some((label, weight)) => {
                Err(ConfigError::field(Self::FIELD, format!("{label} = {weight} must be above 0")))
            }
            None => Ok(()),
        }
    }

    /// One weight for each label; `counts` are the training clips that carry it.
    ///
    /// # Errors
    ///
    /// A label that the data does not have.
    pub fn of(&self, labels: &Labels, counts: &[usize]) -> Result<Vec<f32>, ConfigError> {
        match self {
            Self::Rule(Balanced::Balanced) => {
                let all = counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
                Ok(counts.iter().map(|&n| if n == 0 { 1.0 } else { (all / n as f64) as f32 }).collect())
            }
            Self::Given(weights) => {
                let mut all = vec![1.0; labels.len()];
                for (label, weight) in weights {
                    let Some(index) = labels.index(label) else {
                        let reason =
                            format!("`{label}` is no label; the data has {}", labels.names().join(", "));
                        return Err(ConfigError::field(Self::FIELD, reason));
                    };
                    all[index] = *weight as f32;
                }
                Ok(all)
            }
        }
    }
}

/// A loss with all it needs to judge clips.
#[derive(Debug, Clone)]
pub struct Objective {
    /// What the scores mean.
    pub task: Task,
    /// What is minimised.
    pub loss: Loss,
    /// Share of every target that is spread evenly, over all classes or over there and not there (`tf.keras.losses`).
    pub label_smoothing: f64,
    /// One for each class; none counts all the same.
    pub class_weights: Option<Vec<f32>>,
}

impl Objective {
    /// The loss of each clip, `[batch]`, from logits and targets `[batch, num_classes]`.
    pub fn losses(&self, logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        if let Loss::Lsep {} = self.loss {
            return lsep(logits, targets);
        }
        let [_, num_classes] = logits.dims();
        let outcomes = match self.task {
            Task::SingleLabel => num_classes,
            Task::MultiLabel => 2,
        };
        let targets = match self.label_smoothing {
            smoothing if smoothing > 0.0 => targets * (1.0 - smoothing) + smoothing / outcomes as f64,
            _ => targets,
        };
        let costs = match self.task {
            Task::SingleLabel => {
                let log_p = log_softmax(logits, 1);
                // A probability of nearly 1 has no opposite in single precision.
                let log_not = || (log_p.clone().exp().neg() + 1.0).clamp_min(1e-8).log();
                self.loss.of_outcome(targets, log_p.clone(), log_not)
            }
            Task::MultiLabel => {
                let (log_p, log_not) = (log_sigmoid(logits.clone()), log_sigmoid(logits.neg()));
                let [there, not] = match self.loss {
                    Loss::Focal { alpha: Some(alpha), .. } => [alpha, 1.0 - alpha],
                    _ => [1.0, 1.0],
                };
                let not_there = targets.clone().neg() + 1.0;
                self.loss.of_outcome(targets, log_p.clone(), || log_not.clone()) * there
                    + self.loss.of_outcome(not_there, log_not.clone(), || log_p) * not
            }
        };
        let costs = match &self.class_weights {
            Some(weights) => {
                let device = costs.device();
                costs * tensor([1, num_classes], weights, &device)
            }
            None => costs,
        };
        match self.task {
            Task::SingleLabel => costs.sum_dim(1).squeeze_dim(1),
            Task::MultiLabel => costs.mean_dim(1).squeeze_dim(1),
        }
    }

    /// The mean loss of clips outside training; logits and targets are row-major `[n, num_classes]`. NaN for no clip.
    pub fn mean(&self, logits: &[f32], targets: &[f32], num_classes: usize, device: &Device) -> f64 {
        let shape = [logits.len() / num_classes.max(1), num_classes];
        let losses = self.losses(tensor(shape, logits, device), tensor(shape, targets, device));
        let losses = losses.into_data();
        losses.iter::<f32>().map(f64::from).sum::<f64>() / shape[0] as f64
    }
}

/// `ln(1 + sum_v sum_u exp(x_v - x_u))` = `softplus(ln sum_v exp(x_v) + ln sum_u exp(-x_u))`; a clip with all labels or
/// none costs nothing.
fn lsep(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let is_label = targets.greater_scalar(0.0);
    let others = log_sum_exp(logits.clone(), is_label.clone().bool_not());
    let labels = log_sum_exp(logits.neg(), is_label);
    log_sigmoid((others + labels).neg()).neg().squeeze_dim(1)
}

/// Over the values of each row that `of` marks, `[batch, 1]`; nearly minus infinity where it marks none.
fn log_sum_exp(values: Tensor<2>, of: Tensor<2, burn::tensor::Bool>) -> Tensor<2> {
    let values = values.mask_fill(of.bool_not(), -1e30);
    let most = values.clone().detach().max_dim(1);
    (values - most.clone()).exp().sum_dim(1).log() + most
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use serde_json::Value;

    use super::super::tensors::floats;
    use super::*;

    fn golden() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/training/losses.json")).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn close(ours: &[f32], golden: &[f32], what: &str) {
        assert_eq!(ours.len(), golden.len());
        for (ours, golden) in ours.iter().zip(golden) {
            assert!((ours - golden).abs() < 2e-6 * golden.abs().max(1.0), "{what}: {ours}, not {golden}");
        }
    }

    #[test]
    fn losses_and_gradients_are_those_of_pytorch() {
        let golden = golden();
        let device = Device::flex().autodiff();
        let logits = numbers(&golden["logits"]);
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 20);
        for case in cases {
            let objective = Objective {
                task: serde_json::from_value(case["task"].clone()).unwrap(),
                loss: serde_json::from_value(case["loss"].clone()).unwrap(),
                label_smoothing: case["label_smoothing"].as_f64().unwrap_or(0.0),
                class_weights: case.get("class_weights").map(numbers),
            };
            objective.loss.validate(objective.task).unwrap();
            let logits = tensor([4, 5], &logits, &device).require_grad();
            let losses =
                objective.losses(logits.clone(), tensor([4, 5], &numbers(&case["targets"]), &device));
            close(&floats(losses.clone().inner()), &numbers(&case["losses"]), &case["loss"].to_string());
            let gradients = losses.mean().backward();
            let gradient = floats(logits.grad(&gradients).unwrap());
            close(&gradient, &numbers(&case["gradient"]), &format!("gradient of {case}"));
        }
    }

    #[test]
    fn the_loss_of_a_clip_does_not_depend_on_its_batch() {
        let (golden, device) = (golden(), Device::flex());
        let (logits, targets) = (numbers(&golden["logits"]), numbers(&golden["cases"][10]["targets"]));
        let objective = Objective {
            task: Task::MultiLabel,
            loss: Loss::Bce {},
            label_smoothing: 0.0,
            class_weights: None,
        };
        let alone = |i: usize| objective.mean(&logits[i..i + 5], &targets[i..i + 5], 5, &device);
        let together = objective.mean(&logits, &targets, 5, &device);
        let mean = [0, 5, 10, 15].map(alone).iter().sum::<f64>() / 4.0;
        assert!((mean - together).abs() < 1e-15, "{mean} {together}");
        assert!(objective.mean(&[], &[], 5, &device).is_nan());
    }

    #[test]
    fn balanced_classes_weigh_the_same_and_absent_ones_one() {
        let labels = Labels::from_names(["a", "b", "c"]);
        let balanced: ClassWeights = serde_json::from_str("\"balanced\"").unwrap();
        // scikit-learn: 12 / (2 * [8, 4]) were there only two classes; the third stays in the count of classes.
        assert_eq!(balanced.of(&labels, &[8, 4, 0]).unwrap(), [0.5, 1.0, 1.0]);
        let given: ClassWeights = serde_json::from_str("{\"c\": 3.0}").unwrap();
        assert_eq!(given.of(&labels, &[8, 4, 0]).unwrap(), [1.0, 1.0, 3.0]);
        let given: ClassWeights = serde_json::from_str("{\"d\": 3.0}").unwrap();
        let error = given.of(&labels, &[]).unwrap_err().to_string();
        assert_eq!(error, "training.class_weights: `d` is no label; the data has a, b, c");
    }
}
