//! `simple`: the small tagger of the Freesound study.
//!
//! Initial weights are Keras' defaults: Glorot uniform, biases 0.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{BatchNormOptions, Count, InitRng, batch_norm, conv2d, linear, max_2x2, max_2x2_padded};
use crate::features::FeatureShape;

/// Largest value of features that are scaled like an image.
const WHITE: f32 = 255.0;
/// Channels of the two convolutions.
const CHANNELS: [usize; 2] = [32, 64];

/// Options of [`Simple`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimpleConfig {
    /// Side of the square kernels, odd.
    pub kernel: usize,
    /// Units of the dense layer.
    pub dense: usize,
    /// Dropout before the output; the study does not say how much.
    pub dropout: f64,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for SimpleConfig {
    fn default() -> Self {
        Self { kernel: 3, dense: 128, dropout: 0.5, batch_norm: BatchNormOptions::default() }
    }
}

/// Features of 0 to 255 divided by 255, then twice batch normalisation, convolution, ReLU and maximum; mean over the
/// map, batch normalisation, a dense layer.
#[derive(Module, Debug)]
pub struct Simple {
    batch_norm1: BatchNorm,
    conv1: Conv2d,
    batch_norm2: BatchNorm,
    conv2: Conv2d,
    batch_norm3: BatchNorm,
    dense: Linear,
    dropout: Dropout,
    output: Linear,
}

impl Architecture for SimpleConfig {
    fn options(&self) -> Options {
        Options {
            dropouts: vec![self.dropout],
            units: vec![self.dense],
            kernels: vec![self.kernel],
            batch_norm: Some(self.batch_norm),
            least: [4, 4],
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        self.count_with(Count::new([1, input.bins, input.frames]), num_classes, |count| count.pool([2, 2]))
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        Model::Simple(self.build(rng, 1, num_classes, device))
    }
}

impl SimpleConfig {
    /// The network for an image or map of `channels`.
    pub(super) fn build(
        &self,
        rng: &mut InitRng,
        channels: usize,
        num_classes: usize,
        device: &Device,
    ) -> Simple {
        let norm = |channels| batch_norm(channels, self.batch_norm, device);
        let [first, second] = CHANNELS;
        Simple {
            batch_norm1: norm(channels),
            conv1: conv2d(rng, [channels, first], self.kernel, device),
            batch_norm2: norm(first),
            conv2: conv2d(rng, [first, second], self.kernel, device),
            batch_norm3: norm(second),
            dense: linear(rng, second, self.dense, device),
            dropout: DropoutConfig::new(self.dropout).init(),
            output: linear(rng, self.dense, num_classes, device),
        }
    }

    /// What [`Simple::on_map`] costs after a map that was counted.
    pub(super) fn count_on_map(&self, map: Count, num_classes: usize) -> Count {
        self.count_with(map, num_classes, Count::pool_2x2_padded)
    }

    fn count_with(&self, start: Count, num_classes: usize, pool: impl Fn(Count) -> Count) -> Count {
        let block =
            |count: Count, &channels: &usize| pool(count.batch_norm().conv(channels, [self.kernel; 2]));
        let map = CHANNELS.iter().fold(start, block);
        map.global_pool().batch_norm().dense(self.dense).dense(num_classes)
    }
}

impl Simple {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        self.classify(input.unsqueeze_dim::<4>(1) / WHITE, max_2x2)
    }

    /// The network as the head of another one: `[batch, channels, h, w]` → `[batch, num_classes]`. The map is no image,
    /// so it is not divided; and it may be small, so that the maxima keep odd last rows and columns.
    pub(super) fn on_map(&self, map: Tensor<4>) -> Tensor<2> {
        self.classify(map, max_2x2_padded)
    }

    fn classify(&self, x: Tensor<4>, pool: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<2> {
        let x = kernels::batch_norm(&self.batch_norm1, x);
        let x = kernels::batch_norm(&self.batch_norm2, pool(kernels::conv2d_relu(&self.conv1, x)));
        let x = pool(kernels::conv2d_relu(&self.conv2, x));
        let x = self.batch_norm3.forward(x.mean_dims(&[2, 3]).squeeze_dim::<3>(3));
        let x = kernels::linear_relu(&self.dense, x.squeeze_dim::<2>(2));
        kernels::linear(&self.output, self.dropout.forward(x))
    }
}
