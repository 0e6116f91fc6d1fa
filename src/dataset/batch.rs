/// Clips stacked for one step of training or one call of inference.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Positions in the [`ClipSet`](super::ClipSet), in the order of the rows below.
    pub clips: Vec<usize>,
    /// Features, row-major `[batch, bins, frames]`.
    pub inputs: Vec<f32>,
    /// Targets, row-major `[batch, num_classes]`: one-hot, multi-hot for clips with several labels, or in between for
    /// mixed clips.
    pub targets: Vec<f32>,
    /// `[batch, bins, frames]`.
    pub shape: [usize; 3],
}

impl Batch {
    /// Number of clips.
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    /// Whether there is no clip.
    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }
}
