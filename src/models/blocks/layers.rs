//! Burn layers with Keras' defaults.

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, TensorData};
use serde::{Deserialize, Serialize};

use super::init::{InitRng, glorot_uniform};

/// A dense layer `[.., d_input]` → `[.., d_output]`; Glorot uniform weights, zero bias.
pub fn linear(rng: &mut InitRng, d_input: usize, d_output: usize, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(d_input, d_output).with_initializer(Initializer::Zeros).init(device);
    let weights = glorot_uniform(rng, d_input * d_output, d_input, d_output);
    layer.weight = Param::from_data(TensorData::new(weights, [d_input, d_output]), device);
    layer
}

/// A square 2-D convolution with stride 1 and "same" padding; Glorot uniform weights, zero bias.
pub fn conv2d(rng: &mut InitRng, channels: [usize; 2], kernel: usize, device: &Device) -> Conv2d {
    let [c_in, c_out] = channels;
    let mut layer = Conv2dConfig::new(channels, [kernel, kernel])
        .with_padding(PaddingConfig2d::Same)
        .with_initializer(Initializer::Zeros)
        .init(device);
    let area = kernel * kernel;
    let weights = glorot_uniform(rng, c_in * c_out * area, c_in * area, c_out * area);
    layer.weight = Param::from_data(TensorData::new(weights, [c_out, c_in, kernel, kernel]), device);
    layer
}

/// Options of batch normalisation, in Keras' words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchNormOptions {
    /// Share of the old moving average kept at each step. Default 0.9, as PyTorch's (which calls it 0.1); Keras' 0.99
    /// needs some 500 steps to forget its start, more than the first ten epochs of a small data set have.
    pub momentum: f64,
    /// Added to the variance. Default 0.001, as Keras'.
    pub epsilon: f64,
}

impl BatchNormOptions {
    /// PyTorch's: momentum 0.9 (which it calls 0.1), epsilon 0.00001.
    pub fn torch() -> Self {
        Self { momentum: 0.9, epsilon: 1e-5 }
    }
}

impl Default for BatchNormOptions {
    fn default() -> Self {
        Self { momentum: 0.9, epsilon: 1e-3 }
    }
}

/// Batch normalisation over the channels of `[batch, channels, ..]`.
pub fn batch_norm(channels: usize, options: BatchNormOptions, device: &Device) -> BatchNorm {
    BatchNormConfig::new(channels)
        .with_momentum(1.0 - options.momentum)
        .with_epsilon(options.epsilon)
        .init(device)
}
