//! `esc-cnn`: the environmental-sounds study's own network, with or without attention.
//!
//! Initial weights are Keras' defaults: Glorot uniform, biases 0.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Dropout, DropoutConfig, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use oido_kernels::{self as kernels, Step};
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{BatchNormOptions, Count, InitRng, batch_norm, conv2d, linear};
use crate::features::FeatureShape;

/// Channels of the blocks.
const CHANNELS: [usize; 3] = [32, 64, 128];

/// Options of [`EscCnn`]. The study went from a first kernel of 7 to 3, from a dropout of .3 to .2 and to fewer dense
/// units; it does not say how many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EscCnnConfig {
    /// Side of the first block's square kernel, odd; the others have 3.
    pub first_kernel: usize,
    /// Units of the two dense layers.
    pub dense: [usize; 2],
    /// Dropout after each dense layer.
    pub dropout: f64,
    /// Whether the map is averaged with learned weights; without, it is flattened.
    pub attention: bool,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for EscCnnConfig {
    fn default() -> Self {
        Self {
            first_kernel: 3,
            dense: [256, 128],
            dropout: 0.2,
            attention: true,
            batch_norm: BatchNormOptions::default(),
        }
    }
}

/// Three blocks of convolution, batch normalisation, ReLU and maximum; attention; two dense layers.
#[derive(Module, Debug)]
pub struct EscCnn {
    blocks: Vec<Block>,
    attention: Option<Linear>,
    dense: Vec<Linear>,
    dropout: Dropout,
    output: Linear,
}

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    batch_norm: BatchNorm,
}

impl EscCnnConfig {
    fn kernel(&self, block: usize) -> usize {
        if block == 0 { self.first_kernel } else { 3 }
    }

    /// What goes into the first dense layer: the map, after attention one vector.
    fn pooled(&self, input: FeatureShape) -> Count {
        let mut count = Count::new([1, input.bins, input.frames]);
        for (block, channels) in CHANNELS.into_iter().enumerate() {
            count = count.conv(channels, [self.kernel(block); 2]).batch_norm().pool([2, 2]);
        }
        if self.attention { count.attention() } else { count.flatten() }
    }
}

impl Architecture for EscCnnConfig {
    fn options(&self) -> Options {
        Options {
            dropouts: vec![self.dropout],
            units: self.dense.to_vec(),
            kernels: vec![self.first_kernel],
            batch_norm: Some(self.batch_norm),
            least: [1 << CHANNELS.len(); 2],
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let [first, second] = self.dense;
        self.pooled(input).dense(first).dense(second).dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let mut c_in = 1;
        let mut blocks = Vec::new();
        for (block, c_out) in CHANNELS.into_iter().enumerate() {
            blocks.push(Block {
                conv: conv2d(rng, [c_in, c_out], self.kernel(block), device),
                batch_norm: batch_norm(c_out, self.batch_norm, device),
            });
            c_in = c_out;
        }
        let [first, second] = self.dense;
        Model::EscCnn(EscCnn {
            blocks,
            attention: self.attention.then(|| linear(rng, c_in, 1, device)),
            dense: vec![
                linear(rng, self.pooled(input).shape[0], first, device),
                linear(rng, first, second, device),
            ],
            dropout: DropoutConfig::new(self.dropout).init(),
            output: linear(rng, second, num_classes, device),
        })
    }
}

impl EscCnn {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let map = self.map(input);
        let x = match self.weights(&map) {
            Some(weights) => (positions(map) * weights).sum_dim(1).squeeze_dim::<2>(1),
            None => map.flatten(1, 3),
        };
        let hidden = |x, dense: &Linear| self.dropout.forward(kernels::linear_relu(dense, x));
        kernels::linear(&self.output, self.dense.iter().fold(x, hidden))
    }

    /// How much each place of the map counts, `[batch, bins / 8, frames / 8]`, 1 in all; none without attention.
    pub fn attention(&self, input: Tensor<3>) -> Option<Tensor<3>> {
        let map = self.map(input);
        let [batch, _, bins, frames] = map.dims();
        Some(self.weights(&map)?.reshape([batch, bins, frames]))
    }

    /// `[batch, 128, bins / 8, frames / 8]`.
    fn map(&self, input: Tensor<3>) -> Tensor<4> {
        let block = |x, block: &Block| {
            let steps = [Step::Norm(&block.batch_norm), Step::Relu, Step::Maximum([2, 2])];
            kernels::conv2d_then(&block.conv, x, &steps)
        };
        self.blocks.iter().fold(input.unsqueeze_dim::<4>(1), block)
    }

    /// Softmax over the places of `tanh(w x + b)` (additive attention with one learned query, Bahdanau et al. 2015),
    /// `[batch, places, 1]`.
    fn weights(&self, map: &Tensor<4>) -> Option<Tensor<3>> {
        let score = self.attention.as_ref()?;
        Some(softmax(kernels::tanh(kernels::linear(score, positions(map.clone()))), 1))
    }
}

/// `[batch, channels, h, w]` → `[batch, h * w, channels]`.
fn positions(map: Tensor<4>) -> Tensor<3> {
    map.flatten::<3>(2, 3).swap_dims(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};
    use burn::tensor::Distribution;

    #[test]
    fn attention_is_a_distribution_over_places_that_depends_on_the_input() {
        let device = Device::flex();
        let input = FeatureShape { bins: 24, frames: 40 };
        let mut rng = InitRng::new(Seed(1).rng(Purpose::Init, 0, 0));
        let Model::EscCnn(model) = EscCnnConfig::default().init(&mut rng, input, 5, &device) else {
            panic!()
        };
        let clips = Tensor::<3>::random([2, 24, 40], Distribution::Normal(0.0, 1.0), &device);
        let weights = model.attention(clips).unwrap();
        assert_eq!(weights.dims(), [2, 3, 5]);
        let weights: Vec<f32> = weights.into_data().try_to_vec().unwrap();
        for clip in weights.chunks(15) {
            assert!((clip.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        assert_ne!(weights[..15], weights[15..]);
        let plain = EscCnnConfig { attention: false, ..EscCnnConfig::default() };
        let Model::EscCnn(plain) = plain.init(&mut rng, input, 5, &device) else { panic!() };
        assert!(plain.attention(Tensor::zeros([1, 24, 40], &device)).is_none());
    }
}
