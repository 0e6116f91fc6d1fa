//! A network over a set of clips: logits and targets, in the order of the set.

use burn::tensor::Device;

use crate::dataset::{ClipLoader, Error};
use crate::decision::Task;
use crate::models::Inference;

/// Logits and targets of every clip of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// `[clips, num_classes]`, before the activation.
    pub logits: Vec<f32>,
    /// `[clips, num_classes]`.
    pub targets: Vec<f32>,
    /// Number of classes.
    pub num_classes: usize,
}

impl Scored {
    /// Scores from 0 to 1: what the task makes of each row of the logits.
    pub fn scores(&self, task: Task) -> Vec<f32> {
        let mut scores = self.logits.clone();
        scores.chunks_exact_mut(self.num_classes).for_each(|row| task.activate(row));
        scores
    }
}

/// Runs a network over the clips of `loader` (which must be sequential). The way in which validation, evaluation and
/// prediction score a clip is one: [`Inference::logits`].
pub fn score(network: &Inference, loader: &ClipLoader, device: &Device) -> Result<Scored, Error> {
    let input = loader.set().shape();
    let mut scored =
        Scored { logits: Vec::new(), targets: Vec::new(), num_classes: loader.set().num_classes() };
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        scored.logits.extend(network.logits(&batch.inputs, input, device));
        scored.targets.extend(batch.targets);
    }
    Ok(scored)
}
