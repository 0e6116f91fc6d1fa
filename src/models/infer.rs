use burn::tensor::{Device, Tensor, TensorData};
use oido_kernels::{Precision, Prepared};
use rayon::prelude::*;

use super::Model;
use crate::features::FeatureShape;

/// Most clips that one thread takes at a time on the CPU; bounds memory, changes no score.
const CLIPS: usize = 8;

/// A network that answers: its weights stay as they are, so what its layers make of them (see [`Prepared`]) is made once.
#[derive(Debug)]
pub struct Inference {
    model: Model,
    prepared: Prepared,
    precision: Precision,
}

impl Inference {
    /// Of a network that is not being trained.
    pub fn new(model: Model) -> Self {
        Self { model, prepared: Prepared::default(), precision: Precision::default() }
    }

    /// The same network with other numbers to multiply.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Logits of a batch of features: `[batch, num_classes]`, row-major.
    ///
    /// `values` holds clips of `input.bins * input.frames` values one after the other. Validation, evaluation,
    /// prediction and the server all come through here.
    ///
    /// On the CPU the clips are shared out among the threads. A clip's logits are the same bits alone, in any batch and on any
    /// number of threads: no kernel sums over clips, or in an order that depends on their number. Other devices get the
    /// whole batch at once.
    pub fn logits(&self, values: &[f32], input: FeatureShape, device: &Device) -> Vec<f32> {
        let clip = input.bins * input.frames;
        let run = |values: &[f32]| {
            let batch = values.len() / clip;
            let data = TensorData::new(values.to_vec(), [batch, input.bins, input.frames]);
            let input = Tensor::<3>::from_data(data, device);
            let logits = self.prepared.run(|| self.precision.run(|| self.model.forward(input)));
            logits.into_data().convert::<f32>().try_to_vec::<f32>().unwrap_or_default()
        };
        if !is_cpu(device) {
            return run(values);
        }
        let share = (values.len() / clip).div_ceil(rayon::current_num_threads()).clamp(1, CLIPS);
        values.par_chunks(share * clip).flat_map_iter(run).collect()
    }
}

#[cfg(feature = "flex")]
pub(super) fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

#[cfg(not(feature = "flex"))]
pub(super) fn is_cpu(_device: &Device) -> bool {
    false
}
