use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::Model;
use crate::features::FeatureShape;

impl Model {
    /// Logits of a batch of features: `[batch, num_classes]`, row-major.
    ///
    /// `values` holds clips of `input.bins * input.frames` values one after the other. Validation, evaluation,
    /// prediction and the server all come through here.
    ///
    /// On the CPU each clip runs as a batch of one, clips in parallel. A matrix product sums in another order
    /// when its number of rows changes, so this is what makes a clip's logits the same bits alone, in any batch
    /// and on any number of threads. Other devices get the whole batch at once.
    pub fn infer(&self, values: &[f32], input: FeatureShape, device: &Device) -> Vec<f32> {
        let clip = input.bins * input.frames;
        let run = |values: &[f32]| {
            let batch = values.len() / clip;
            let data = TensorData::new(values.to_vec(), [batch, input.bins, input.frames]);
            let logits = self.forward(Tensor::<3>::from_data(data, device));
            logits.into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default()
        };
        if is_cpu(device) { values.par_chunks_exact(clip).flat_map_iter(run).collect() } else { run(values) }
    }
}

#[cfg(feature = "flex")]
fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

#[cfg(not(feature = "flex"))]
fn is_cpu(_device: &Device) -> bool {
    false
}
