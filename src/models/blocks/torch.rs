//! Layers with PyTorch's initial weights: uniform within `1 / sqrt(fan_in)`, biases too (`kaiming_uniform_` with
//! `a = sqrt(5)`, after He et al. 2015); and where the tensors of PyTorch's layers belong.

use burn::module::Param;
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig1d, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};

use super::init::{self, InitRng};
use crate::models::published::{Axes, Published};

/// A dense layer `[.., d_input]` → `[.., d_output]`.
pub fn linear(rng: &mut InitRng, d_input: usize, d_output: usize, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(d_input, d_output).with_initializer(Initializer::Zeros).init(device);
    layer.weight = uniform(rng, [d_input, d_output], d_input, device);
    layer.bias = Some(uniform(rng, [d_output], d_input, device));
    layer
}

/// A 1-D convolution of `channels` (in, out) with zero padding of `padding` steps on both sides.
pub fn conv1d(
    rng: &mut InitRng,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    device: &Device,
) -> Conv1d {
    let [c_in, c_out] = channels;
    let mut layer = Conv1dConfig::new(c_in, c_out, kernel)
        .with_stride(stride)
        .with_padding(PaddingConfig1d::Explicit(padding, padding))
        .with_initializer(Initializer::Zeros)
        .init(device);
    layer.weight = uniform(rng, [c_out, c_in, kernel], c_in * kernel, device);
    layer.bias = Some(uniform(rng, [c_out], c_in * kernel, device));
    layer
}

/// A 1-D convolution with stride 1 and "same" padding that keeps the channels apart; `kernel` is odd.
pub fn depthwise_conv1d(rng: &mut InitRng, channels: usize, kernel: usize, device: &Device) -> Conv1d {
    let mut layer = Conv1dConfig::new(channels, channels, kernel)
        .with_groups(channels)
        .with_padding(PaddingConfig1d::Explicit(kernel / 2, kernel / 2))
        .with_initializer(Initializer::Zeros)
        .init(device);
    layer.weight = uniform(rng, [channels, 1, kernel], kernel, device);
    layer.bias = Some(uniform(rng, [channels], kernel, device));
    layer
}

/// A 2-D convolution of `channels` (in, out), 3 x 3, stride 1, "same" padding.
pub fn conv3x3(rng: &mut InitRng, channels: [usize; 2], device: &Device) -> Conv2d {
    let [c_in, c_out] = channels;
    let mut layer = Conv2dConfig::new(channels, [3, 3])
        .with_padding(PaddingConfig2d::Same)
        .with_initializer(Initializer::Zeros)
        .init(device);
    layer.weight = uniform(rng, [c_out, c_in, 3, 3], 9 * c_in, device);
    layer.bias = Some(uniform(rng, [c_out], 9 * c_in, device));
    layer
}

/// Steps that a 1-D convolution gives; 0 when the kernel does not fit.
pub fn steps(length: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    match length.saturating_add(2 * padding).checked_sub(kernel) {
        Some(room) => room / stride.max(1) + 1,
        None => 0,
    }
}

/// Where a tensor of a PyTorch convolution belongs that is called `layer` here.
pub fn conv_tensor(layer: &str, tensor: &str) -> Option<Published> {
    let name = format!("{layer}.{tensor}");
    matches!(tensor, "weight" | "bias").then(|| Published::with(name, Axes::Same))
}

/// Where a tensor of a PyTorch dense layer belongs that is called `layer` here.
pub fn dense_tensor(layer: &str, tensor: &str) -> Option<Published> {
    let axes = match tensor {
        "weight" => Axes::Transposed,
        "bias" => Axes::Same,
        _ => return None,
    };
    Some(Published::with(format!("{layer}.{tensor}"), axes))
}

/// Where a tensor of a PyTorch layer or group normalisation belongs that is called `layer` here.
pub fn norm_tensor(layer: &str, tensor: &str) -> Option<Published> {
    let tensor = match tensor {
        "weight" => "gamma",
        "bias" => "beta",
        _ => return None,
    };
    Some(Published::with(format!("{layer}.{tensor}"), Axes::Same))
}

/// Where a tensor of a PyTorch batch normalisation belongs that is called `layer` here.
pub fn batch_norm_tensor(layer: &str, tensor: &str) -> Option<Published> {
    match tensor {
        "running_mean" | "running_var" => Some(Published::same(format!("{layer}.{tensor}"))),
        _ => norm_tensor(layer, tensor),
    }
}

fn uniform<const D: usize>(
    rng: &mut InitRng,
    shape: [usize; D],
    fan_in: usize,
    device: &Device,
) -> Param<Tensor<D>> {
    let values = init::uniform(rng, shape.iter().product(), 1.0 / (fan_in as f64).sqrt());
    Param::from_data(TensorData::new(values, shape), device)
}
