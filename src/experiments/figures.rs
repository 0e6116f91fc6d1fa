use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use super::plan::read_json;
use crate::decision::Task;
use crate::metrics::MeanAndDeviation;

/// What a run reached on the clips it was judged on, as in its `report.json`. What was not measured is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Share of clips whose best score is that of a right class, 0 to 1.
    pub accuracy: Option<f64>,
    /// Share with a right class among the five best scores, 0 to 1; none up to five classes.
    pub top_5_accuracy: Option<f64>,
    /// Mean of the classes' F1, 0 to 1.
    pub macro_f1: Option<f64>,
    /// Label-weighted label-ranking average precision, 0 to 1.
    pub lwlrap: Option<f64>,
    /// Mean cross-entropy, binary for clips with several labels, in nats.
    pub log_loss: Option<f64>,
}

impl Figures {
    /// Their names, in order.
    pub const NAMES: [&str; 5] = ["accuracy", "top_5_accuracy", "macro_f1", "lwlrap", "log_loss"];

    /// Of the report in a run directory.
    pub(super) fn read(run: &Path) -> Result<Self, Error> {
        read_json(&run.join("report.json"))
    }

    /// In the order of [`Figures::NAMES`].
    pub fn values(&self) -> [Option<f64>; 5] {
        [self.accuracy, self.top_5_accuracy, self.macro_f1, self.lwlrap, self.log_loss]
    }

    /// The one by which runs of a task are judged.
    pub fn main(&self, task: Task) -> Option<f64> {
        match task {
            Task::SingleLabel => self.accuracy,
            Task::MultiLabel => self.lwlrap,
        }
    }

    /// Mean, deviation and interval of each figure over `runs`, none where a run lacks it. Intervals of shares end at 0
    /// and 1.
    pub fn over(runs: &[Self]) -> [Option<MeanAndDeviation>; 5] {
        std::array::from_fn(|figure| {
            let values: Vec<f64> = runs.iter().filter_map(|run| run.values()[figure]).collect();
            let complete = !runs.is_empty() && values.len() == runs.len();
            complete.then(|| within(MeanAndDeviation::of(&values), Self::NAMES[figure]))
        })
    }
}

/// No share is below 0 or above 1; a loss has no upper end.
fn within(mut figure: MeanAndDeviation, name: &str) -> MeanAndDeviation {
    figure.interval.low = figure.interval.low.max(0.0);
    if name != "log_loss" {
        figure.interval.high = figure.interval.high.min(1.0);
    }
    figure
}
