//! `dense`: the baseline that hears only how loud a spectrogram is on average.
//!
//! Initial weights are Keras' defaults: Glorot uniform, biases 0.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{Count, InitRng, linear};
use crate::features::FeatureShape;

/// Options of [`Dense`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseConfig {
    /// Units of the hidden layers.
    pub units: Vec<usize>,
    /// Dropout after each hidden layer but the last.
    pub dropout: f64,
}

impl Default for DenseConfig {
    fn default() -> Self {
        Self { units: vec![256, 256, 128, 64], dropout: 0.4 }
    }
}

/// Global average of the whole spectrogram (one value) and a stack of dense layers.
#[derive(Module, Debug)]
pub struct Dense {
    hidden: Vec<Linear>,
    output: Linear,
    dropout: Dropout,
}

impl Architecture for DenseConfig {
    fn options(&self) -> Options {
        Options { dropouts: vec![self.dropout], units: self.units.clone(), ..Options::default() }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let mean = Count::new([1, input.bins, input.frames]).global_pool();
        self.units.iter().fold(mean, |count, &units| count.dense(units)).dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let mut d_input = 1;
        let mut hidden = Vec::with_capacity(self.units.len());
        for &units in &self.units {
            hidden.push(linear(rng, d_input, units, device));
            d_input = units;
        }
        Model::Dense(Dense {
            hidden,
            output: linear(rng, d_input, num_classes, device),
            dropout: DropoutConfig::new(self.dropout).init(),
        })
    }
}

impl Dense {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let mut x: Tensor<2> = input.flatten::<2>(1, 2).mean_dim(1);
        for (i, layer) in self.hidden.iter().enumerate() {
            x = kernels::linear_relu(layer, x);
            if i + 1 < self.hidden.len() {
                x = self.dropout.forward(x);
            }
        }
        kernels::linear(&self.output, x)
    }
}
