//! `lstm`: two recurrent layers over the frames of a spectrogram.
//!
//! Initial weights are Keras' defaults: Glorot uniform, recurrent ones orthogonal, biases 0, of the forget gates 1.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{Count, InitRng, Lstm, linear};
use crate::features::FeatureShape;

/// Options of [`LstmNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LstmConfig {
    /// Units of the first recurrent layer and of the second.
    pub units: [usize; 2],
    /// Units of the dense layer.
    pub dense: usize,
    /// Dropout before the output.
    pub dropout: f64,
}

impl Default for LstmConfig {
    fn default() -> Self {
        Self { units: [128, 64], dense: 128, dropout: 0.3 }
    }
}

/// Frames in time order, each a vector of `bins` values; the state after the last frame is classified.
///
/// The published code reshaped `[bins, frames]` to `[frames, bins]` without transposing, which scrambles time;
/// here it is transposed.
#[derive(Module, Debug)]
pub struct LstmNet {
    lstm1: Lstm,
    lstm2: Lstm,
    dense: Linear,
    dropout: Dropout,
    output: Linear,
}

impl Architecture for LstmConfig {
    fn options(&self) -> Options {
        Options {
            dropouts: vec![self.dropout],
            units: [&self.units[..], &[self.dense]].concat(),
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let [first, second] = self.units;
        let sequence = Count::new([1, input.bins, input.frames]).lstm(first).lstm(second);
        sequence.last_step().dense(self.dense).dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let [first, second] = self.units;
        Model::Lstm(LstmNet {
            lstm1: Lstm::new(rng, input.bins, first, device),
            lstm2: Lstm::new(rng, first, second, device),
            dense: linear(rng, second, self.dense, device),
            dropout: DropoutConfig::new(self.dropout).init(),
            output: linear(rng, self.dense, num_classes, device),
        })
    }
}

impl LstmNet {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let sequence = self.lstm1.forward(input.swap_dims(1, 2), false);
        let x = kernels::linear_relu(&self.dense, self.lstm2.last(sequence, false));
        kernels::linear(&self.output, self.dropout.forward(x))
    }
}
