//! The learning rate of every step: a function of where in the run the step is and of the epochs before it, so a
//! checkpoint needs nothing of it.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::recipe::Monitor;
use super::results::EpochRow;
use crate::config::ConfigError;

/// Recipe key `training.schedule`: a name, or a table of the name and its options. `learning_rate` is what every schedule
/// but `table` begins with, and the highest rate of `one_cycle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same rate in all steps.
    Constant {},
    /// Times `factor` every so many epochs (`torch.optim.lr_scheduler.StepLR`).
    Step {
        /// Epochs between two falls.
        every: usize,
        /// Default 0.1.
        #[serde(default = "tenth")]
        factor: f64,
    },
    /// Times `factor` every epoch (`ExponentialLR`).
    Exponential {
        /// For instance 0.95.
        factor: f64,
    },
    /// Along half a cosine from `learning_rate` to `min_lr`, over all steps after the warm-up (Loshchilov & Hutter 2017,
    /// without restarts; `CosineAnnealingLR`).
    Cosine {
        /// Rate after the last step. Default 0.
        #[serde(default)]
        min_lr: f64,
    },
    /// Up to `learning_rate` and down again, each along half a cosine (Smith & Topin 2018; `OneCycleLR` with
    /// `cycle_momentum=False`).
    OneCycle {
        /// Share of the steps that go up. Default 0.3.
        #[serde(default = "rise")]
        rise: f64,
        /// The first rate is `learning_rate` divided by this. Default 25.
        #[serde(default = "div_factor")]
        div_factor: f64,
        /// The last rate is the first divided by this. Default 10,000.
        #[serde(default = "final_div_factor")]
        final_div_factor: f64,
    },
    /// Times `factor` when validation stops improving (Keras' `ReduceLROnPlateau`).
    Plateau {
        /// Default 0.1.
        #[serde(default = "tenth")]
        factor: f64,
        /// Epochs without improvement before the rate falls. Default 10.
        #[serde(default = "patience")]
        patience: usize,
        /// Least change that is an improvement. Default 0.0001.
        #[serde(default = "min_delta")]
        min_delta: f64,
        /// Epochs after a fall in which nothing is counted. Default 0.
        #[serde(default)]
        cooldown: usize,
        /// Default 0.
        #[serde(default)]
        min_lr: f64,
        /// The figure that must improve. Default `loss`.
        #[serde(default = "loss")]
        monitor: Monitor,
    },
    /// A rate for each epoch: `rates = [[1, 0.001], [11, 0.0001]]` is 0.001 from epoch 1 on and 0.0001 from epoch 11 on (as
    /// Keras' `LearningRateScheduler`). `learning_rate` is not used.
    Table {
        /// Pairs of a first epoch and its rate; the epochs rise from 1.
        rates: Vec<(usize, f64)>,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

fn tenth() -> f64 {
    0.1
}

fn rise() -> f64 {
    0.3
}

fn div_factor() -> f64 {
    25.0
}

fn final_div_factor() -> f64 {
    1e4
}

fn patience() -> usize {
    10
}

fn min_delta() -> f64 {
    1e-4
}

fn loss() -> Monitor {
    Monitor::Loss
}

/// Where in a run, or in a stage of several, a step is.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Steps before it, from the beginning.
    pub step: usize,
    /// Steps in every epoch.
    pub steps_per_epoch: usize,
    /// Epochs there will be.
    pub epochs: usize,
    /// Finished epochs.
    pub rows: &'a [EpochRow],
}

impl Schedule {
    /// Refuses impossible options. `warmup` is in epochs.
    pub fn validate(&self, epochs: usize, warmup: f64) -> Result<(), ConfigError> {
        let refuse = |reason: String| Err(ConfigError::field("training.schedule", reason));
        let factor = match self {
            Self::Step { every: 0, .. } => return refuse("every = 0 never ends; give at least 1".to_owned()),
            Self::Step { factor, .. } | Self::Exponential { factor } => Some(*factor),
            Self::Plateau { patience: 0, .. } => {
                return refuse("patience = 0 waits for nothing; give at least 1".to_owned());
            }
            Self::Plateau { min_delta, .. } if !(min_delta.is_finite() && *min_delta >= 0.0) => {
                return refuse(format!("min_delta {min_delta} must be 0 or above"));
            }
            Self::Plateau { factor, .. } => Some(*factor),
            _ => None,
        };
        if let Some(factor) = factor.filter(|factor| !(*factor > 0.0 && *factor <= 1.0)) {
            return refuse(format!("factor {factor} must be above 0 and at most 1"));
        }
        match self {
            Self::Cosine { min_lr } | Self::Plateau { min_lr, .. }
                if !(min_lr.is_finite() && *min_lr >= 0.0) =>
            {
                refuse(format!("min_lr {min_lr} must be 0 or above"))
            }
            Self::OneCycle { rise, .. } if !(*rise > 0.0 && *rise < 1.0) => {
                refuse(format!("rise {rise} must be between 0 and 1"))
            }
            Self::OneCycle { div_factor, final_div_factor, .. }
                if ![div_factor, final_div_factor].iter().all(|div| div.is_finite() && **div >= 1.0) =>
            {
                refuse("div_factor and final_div_factor must be at least 1".to_owned())
            }
            Self::OneCycle { .. } if warmup > 0.0 => {
                refuse("one_cycle warms up itself; leave training.warmup_epochs out".to_owned())
            }
            Self::Table { rates } => match rates.first() {
                None => refuse("rates is empty; give pairs such as [[1, 0.001], [11, 0.0001]]".to_owned()),
                Some((first, _)) if *first != 1 => {
                    refuse(format!("rates begin with epoch {first}; the first must be 1"))
                }
                Some(_) => match rates.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
                    Some(pair) => refuse(format!("epoch {} stands after {} in rates", pair[1].0, pair[0].0)),
                    None => match rates.iter().find(|(_, rate)| !(rate.is_finite() && *rate > 0.0)) {
                        Some((epoch, rate)) => {
                            refuse(format!("the rate {rate} of epoch {epoch} must be above 0"))
                        }
                        None => Ok(()),
                    },
                },
            },
            _ if warmup >= epochs as f64 => Err(ConfigError::field(
                "training.warmup_epochs",
                format!("{warmup} of {epochs} epochs leaves none to train at the full rate; give less"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the rate of a step depends on how many epochs there will be.
    pub fn knows_the_end(&self) -> bool {
        matches!(self, Self::Cosine { .. } | Self::OneCycle { .. })
    }

    /// The rate of the step at `moment`. During the first `warmup` epochs it rises in a line, step by step, to what
    /// the schedule says (Goyal et al. 2017).
    pub fn rate(&self, learning_rate: f64, warmup: f64, moment: &Moment) -> f64 {
        let steps = moment.steps_per_epoch.max(1);
        let warmup_steps = (warmup * steps as f64).round() as usize;
        let rate = self.full_rate(learning_rate, warmup_steps, moment);
        if moment.step < warmup_steps { rate * (moment.step + 1) as f64 / warmup_steps as f64 } else { rate }
    }

    fn full_rate(&self, learning_rate: f64, warmup_steps: usize, moment: &Moment) -> f64 {
        let steps = moment.steps_per_epoch.max(1);
        let epoch = moment.step / steps;
        let last = (moment.epochs * steps).max(1) - 1;
        match self {
            Self::Constant {} => learning_rate,
            Self::Step { every, factor } => learning_rate * factor.powi((epoch / every) as i32),
            Self::Exponential { factor } => learning_rate * factor.powi(epoch as i32),
            Self::Cosine { min_lr } => {
                let (done, all) =
                    (moment.step.saturating_sub(warmup_steps), last + 1 - warmup_steps.min(last));
                half_cosine(learning_rate, *min_lr, done as f64 / all as f64)
            }
            Self::OneCycle { rise, div_factor, final_div_factor } => {
                let (step, last, first) = (moment.step as f64, last as f64, learning_rate / div_factor);
                let top = (rise * (last + 1.0) - 1.0).max(0.0);
                if step <= top && top > 0.0 {
                    half_cosine(first, learning_rate, step / top)
                } else {
                    half_cosine(learning_rate, first / final_div_factor, (step - top) / (last - top).max(1.0))
                }
            }
            Self::Plateau { .. } => self.after(learning_rate, &moment.rows[..epoch.min(moment.rows.len())]),
            Self::Table { rates } => {
                let now = rates.iter().rev().find(|(from, _)| *from <= epoch + 1);
                now.map_or(learning_rate, |(_, rate)| *rate)
            }
        }
    }

    /// The rate of `plateau` after these epochs, step by step as Keras' callback does it.
    fn after(&self, learning_rate: f64, rows: &[EpochRow]) -> f64 {
        let Self::Plateau { factor, patience, min_delta, cooldown, min_lr, monitor } = self else {
            return learning_rate;
        };
        let (mut rate, mut best, mut waited, mut resting) = (learning_rate, None, 0, 0_usize);
        for row in rows {
            let value = monitor.value(row);
            if resting > 0 {
                resting -= 1;
                waited = 0;
            }
            if best.is_none_or(|best| monitor.better(value, monitor.improved(best, *min_delta))) {
                best = Some(value);
                waited = 0;
            } else if resting == 0 {
                waited += 1;
                if waited >= *patience && rate > *min_lr {
                    rate = (rate * factor).max(*min_lr);
                    resting = *cooldown;
                    waited = 0;
                }
            }
        }
        rate
    }
}

/// From `start` at 0 to `end` at 1.
fn half_cosine(start: f64, end: f64, part: f64) -> f64 {
    end + (start - end) * (1.0 + (PI * part).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rates_are_those_of_pytorch_and_keras() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/training/schedules.json")).unwrap();
        let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        let rows: Vec<EpochRow> = numbers(&golden["losses"])
            .into_iter()
            .zip(numbers(&golden["accuracies"]))
            .enumerate()
            .map(|(i, (valid_loss, valid_accuracy))| EpochRow {
                epoch: i + 1,
                valid_loss,
                valid_accuracy,
                ..EpochRow::default()
            })
            .collect();
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 11);
        for case in cases {
            let schedule: Schedule = serde_json::from_value(case["schedule"].clone()).unwrap();
            let warmup = case["warmup_epochs"].as_f64().unwrap();
            schedule.validate(12, warmup).unwrap();
            for (step, golden) in numbers(&case["rates"]).into_iter().enumerate() {
                let moment = Moment { step, steps_per_epoch: 5, epochs: 12, rows: &rows[..step / 5] };
                let rate = schedule.rate(0.01, warmup, &moment);
                // Keras keeps its rate in single precision.
                assert!(
                    (rate - golden).abs() < 1e-6 * golden + 1e-12,
                    "{schedule:?}, step {step}: {rate}, not {golden}"
                );
            }
        }
    }

    #[test]
    fn a_warm_up_rises_in_a_line_and_may_be_part_of_an_epoch() {
        let rates: Vec<f64> = (0..6)
            .map(|step| Moment { step, steps_per_epoch: 8, epochs: 2, rows: &[] })
            .map(|moment| Schedule::Constant {}.rate(1.0, 0.5, &moment))
            .collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }
}
