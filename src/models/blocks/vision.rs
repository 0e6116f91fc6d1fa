//! Convolutions of the networks that were made for pictures, as torchvision and as Keras have them.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use oido_kernels::{self as kernels, Step};
use serde::{Deserialize, Serialize};

use super::init::{InitRng, glorot_uniform, normal, truncated_normal, uniform};
use super::shift_norm::ShiftNorm;
use super::{BatchNormOptions, Count, batch_norm, keras, linear, torch};
use crate::config::ConfigError;
use crate::models::published::{Layout, Published};

/// Largest multiple of the published number of channels.
const MAX_WIDTH: f64 = 4.0;
/// Share of the old moving statistics that batch normalisation keeps at each step. PyTorch's; Keras has 0.99 and more,
/// see [`BatchNormOptions::momentum`].
const MOMENTUM: f64 = 0.9;

/// Whose network: the same name is not the same network in both libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// torchvision's and timm's.
    Torch,
    /// `keras.applications`'.
    #[default]
    Keras,
}

impl Variant {
    /// The variant of the library whose names these are.
    pub fn of(layout: Layout) -> Self {
        match layout {
            Layout::Torch => Self::Torch,
            Layout::Keras => Self::Keras,
        }
    }
}

impl std::fmt::Display for Variant {
    /// As in recipes.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Torch => "torch",
            Self::Keras => "keras",
        })
    }
}

/// Zeros around the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// None.
    Valid,
    /// Half the kernel on every side, PyTorch's habit.
    Half,
    /// As many as give `ceil(size / stride)`, the odd one at the end: "same" of Keras.
    Same,
}

impl Padding {
    /// The padding that a library uses for layers that keep the size of the map or halve it.
    pub fn of(variant: Variant) -> Self {
        match variant {
            Variant::Torch => Self::Half,
            Variant::Keras => Self::Same,
        }
    }

    /// Places of a kernel along a side of `size`; 0 when it does not fit.
    pub fn places(self, size: usize, kernel: usize, stride: usize) -> usize {
        match self {
            Self::Valid => torch::steps(size, kernel, stride, 0),
            Self::Half => torch::steps(size, kernel, stride, kernel / 2),
            Self::Same => size.div_ceil(stride),
        }
    }

    /// In Burn's words, for odd kernels.
    pub fn config(self, [height, width]: [usize; 2]) -> PaddingConfig2d {
        match self {
            Self::Valid => PaddingConfig2d::Valid,
            Self::Half => PaddingConfig2d::Explicit(height / 2, width / 2, height / 2, width / 2),
            Self::Same => PaddingConfig2d::Same,
        }
    }
}

/// A convolution, to be counted ([`Count::convolution`]) or built ([`Builder::conv`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of its result.
    pub c_out: usize,
    /// `[height, width]`.
    pub kernel: [usize; 2],
    /// Places between two results.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: Padding,
    /// Whether each channel is convolved by itself; `c_out` is the number of channels then.
    pub depthwise: bool,
    /// Whether it has biases.
    pub bias: bool,
}

impl Convolution {
    /// Stride 1 and no biases.
    pub fn new(c_out: usize, kernel: [usize; 2], padding: Padding) -> Self {
        Self { c_out, kernel, stride: 1, padding, depthwise: false, bias: false }
    }

    /// One place, all channels; stride 1 and no biases.
    pub fn pointwise(c_out: usize) -> Self {
        Self::new(c_out, [1, 1], Padding::Valid)
    }

    /// Each channel by itself.
    pub fn depthwise(channels: usize, kernel: usize, padding: Padding) -> Self {
        Self { depthwise: true, ..Self::new(channels, [kernel, kernel], padding) }
    }

    /// With another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With biases.
    pub fn bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Channels under one kernel, of `c_in`.
    pub fn depth(&self, c_in: usize) -> usize {
        if self.depthwise { 1 } else { c_in }
    }
}

/// How the weights of convolutions begin; biases begin at zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// Glorot uniform, Keras' default. For depthwise convolutions Keras takes the number of channels into `fan_in`.
    Glorot,
    /// Normal with variance `2 / fan_out` (He et al. 2015), torchvision's for its residual and mobile networks. PyTorch
    /// takes all channels of a depthwise convolution into `fan_out`.
    KaimingFanOut,
    /// Normal with variance `2 / fan_out`, drawn again beyond two deviations: Keras' for its EfficientNets.
    TruncatedFanOut,
    /// Normal with this deviation, torchvision's for its Inception: it draws again beyond 2, twenty deviations, which never
    /// happens.
    Normal(f64),
}

impl Initial {
    fn values(self, rng: &mut InitRng, c_in: usize, conv: &Convolution) -> Vec<f32> {
        let area = conv.kernel[0] * conv.kernel[1];
        let len = conv.c_out * conv.depth(c_in) * area;
        let (keras_out, torch_out) =
            (if conv.depthwise { area } else { conv.c_out * area }, conv.c_out * area);
        match self {
            Self::Glorot => glorot_uniform(rng, len, c_in * area, keras_out),
            Self::KaimingFanOut => normal(rng, len, (2.0 / torch_out as f64).sqrt()),
            Self::TruncatedFanOut => truncated_normal(rng, len, (2.0 / keras_out as f64).sqrt()),
            Self::Normal(deviation) => normal(rng, len, deviation),
        }
    }
}

/// How the weights of the output layer begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// As every dense layer of the library: Glorot uniform and zero biases, or PyTorch's default.
    Dense,
    /// Normal with this deviation, and zero biases.
    Normal(f64),
    /// Uniform within `1 / sqrt(fan_out)`, and zero biases.
    UniformFanOut,
}

/// Builds layers of one network.
pub struct Builder<'a> {
    /// The stream of its initial weights.
    pub rng: &'a mut InitRng,
    /// Where its tensors live.
    pub device: &'a Device,
    /// Whose network.
    pub variant: Variant,
    /// Initial weights of its convolutions.
    pub initial: Initial,
    /// Initial weights of its output layer.
    pub output: Output,
    /// Added to the variance by batch normalisation.
    pub epsilon: f64,
}

impl Builder<'_> {
    /// A convolution of `c_in` channels.
    pub fn conv(&mut self, c_in: usize, conv: &Convolution) -> Conv2d {
        let [height, width] = conv.kernel;
        let mut layer = Conv2dConfig::new([c_in, conv.c_out], conv.kernel)
            .with_stride([conv.stride; 2])
            .with_groups(if conv.depthwise { c_in } else { 1 })
            .with_padding(conv.padding.config(conv.kernel))
            .with_bias(conv.bias)
            .with_initializer(Initializer::Zeros)
            .init(self.device);
        let values = self.initial.values(self.rng, c_in, conv);
        let shape = [conv.c_out, conv.depth(c_in), height, width];
        layer.weight = Param::from_data(TensorData::new(values, shape), self.device);
        layer
    }

    /// Batch normalisation with the network's epsilon.
    pub fn batch_norm(&self, channels: usize) -> BatchNorm {
        batch_norm(channels, BatchNormOptions { momentum: MOMENTUM, epsilon: self.epsilon }, self.device)
    }

    /// A convolution and its batch normalisation.
    pub fn conv_norm(&mut self, c_in: usize, conv: &Convolution) -> ConvNorm {
        ConvNorm { conv: self.conv(c_in, conv), bn: Norm::Whole(self.batch_norm(conv.c_out)) }
    }

    /// A convolution and a batch normalisation that only shifts.
    pub fn conv_shift(&mut self, c_in: usize, conv: &Convolution) -> ConvNorm {
        let bn = ShiftNorm::new(conv.c_out, self.epsilon, 1.0 - MOMENTUM, self.device);
        ConvNorm { conv: self.conv(c_in, conv), bn: Norm::Shift(bn) }
    }

    /// A dense layer as the library begins it: Glorot uniform and zero biases, or PyTorch's default.
    pub fn dense(&mut self, d_input: usize, d_output: usize) -> Linear {
        match self.variant {
            Variant::Torch => torch::linear(self.rng, d_input, d_output, self.device),
            Variant::Keras => linear(self.rng, d_input, d_output, self.device),
        }
    }

    /// The output layer.
    pub fn output(&mut self, d_input: usize, num_classes: usize) -> Linear {
        let len = d_input * num_classes;
        let weights = match self.output {
            Output::Dense => return self.dense(d_input, num_classes),
            Output::Normal(deviation) => normal(self.rng, len, deviation),
            Output::UniformFanOut => uniform(self.rng, len, (1.0 / num_classes as f64).sqrt()),
        };
        let mut layer =
            LinearConfig::new(d_input, num_classes).with_initializer(Initializer::Zeros).init(self.device);
        layer.weight = Param::from_data(TensorData::new(weights, [d_input, num_classes]), self.device);
        layer
    }
}

/// A convolution followed by batch normalisation.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    bn: Norm,
}

/// With a scale or without.
#[derive(Module, Debug)]
enum Norm {
    Whole(BatchNorm),
    Shift(ShiftNorm),
}

impl ConvNorm {
    /// What it costs.
    pub fn count(count: Count, conv: &Convolution) -> Count {
        count.convolution(conv).batch_norm()
    }

    /// `[batch, c_in, h, w]` → `[batch, c_out, h', w']`, no activation.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.bn {
            Norm::Whole(bn) => kernels::conv2d_then(&self.conv, x, &[Step::Norm(bn)]),
            Norm::Shift(bn) => bn.forward(kernels::conv2d(&self.conv, x), false),
        }
    }

    /// [`ConvNorm::forward`] and ReLU.
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.bn {
            Norm::Whole(bn) => kernels::conv2d_then(&self.conv, x, &[Step::Norm(bn), Step::Relu]),
            Norm::Shift(bn) => bn.forward(kernels::conv2d(&self.conv, x), true),
        }
    }

    /// The place of a PyTorch tensor in the layer that is called `place` here; `kind` is `conv` or `bn`, or their number in
    /// a sequence.
    pub fn torch_tensor(place: &str, kind: &str, tensor: &str) -> Option<Published> {
        match kind {
            "conv" | "0" => torch::conv_tensor(&format!("{place}.conv"), tensor),
            "bn" | "1" => torch::batch_norm_tensor(&format!("{place}.bn"), tensor),
            _ => None,
        }
    }

    /// The place of a variable of Keras; `kind` is `conv`, `depthwise` or `bn`.
    pub fn keras_variable(place: &str, kind: &str, variable: &str) -> Option<Published> {
        match kind {
            "conv" => keras::conv_variable(&format!("{place}.conv"), variable),
            "depthwise" => keras::depthwise_variable(&format!("{place}.conv"), variable),
            "bn" => keras::batch_norm_variable(&format!("{place}.bn"), variable),
            _ => None,
        }
    }
}

/// `channels` times `width`, to a multiple of 8 that is at least 0.9 of it (Sandler et al. 2018).
pub fn scaled(channels: usize, width: f64) -> usize {
    let wide = channels as f64 * width;
    let near = (((wide + 4.0) / 8.0).floor() * 8.0).max(8.0);
    (if near < 0.9 * wide { near + 8.0 } else { near }) as usize
}

/// Refuses `model.width` outside (0, 4].
pub fn check_width(width: f64) -> Result<(), ConfigError> {
    if width > 0.0 && width <= MAX_WIDTH {
        return Ok(());
    }
    let reason =
        format!("{width} is no multiple of the published channels; give more than 0 and at most {MAX_WIDTH}");
    Err(ConfigError::field("model.width", reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn builder<'a>(rng: &'a mut InitRng, device: &'a Device) -> Builder<'a> {
        let (variant, initial, output) = (Variant::Torch, Initial::Glorot, Output::Dense);
        Builder { rng, device, variant, initial, output, epsilon: 1e-5 }
    }

    #[test]
    fn a_convolution_has_as_many_places_as_its_padding_says() {
        let device = Device::flex();
        let mut rng = InitRng::new(Seed(1).rng(Purpose::Init, 0, 0));
        let mut builder = builder(&mut rng, &device);
        for padding in [Padding::Valid, Padding::Half, Padding::Same] {
            for (kernel, stride) in
                [([3, 3], 1), ([3, 3], 2), ([5, 5], 2), ([7, 7], 2), ([1, 7], 1), ([1, 1], 2)]
            {
                for size in [[8, 11], [7, 9], [15, 16]] {
                    let conv = Convolution::new(2, kernel, padding).stride(stride);
                    let built =
                        builder.conv(1, &conv).forward(Tensor::zeros([1, 1, size[0], size[1]], &device));
                    let count = Count::new([1, size[0], size[1]]).convolution(&conv);
                    assert_eq!(built.dims()[1..], count.shape, "{conv:?} {size:?}");
                    assert_eq!(count.trainable, 2 * kernel[0] * kernel[1]);
                }
            }
        }
        assert_eq!(
            Count::new([1, 3, 3]).convolution(&Convolution::new(2, [5, 5], Padding::Valid)).shape,
            [2, 0, 0]
        );
    }

    #[test]
    fn depthwise_weights_count_one_channel() {
        let count =
            Count::new([6, 4, 4]).convolution(&Convolution::depthwise(6, 3, Padding::Half).bias(true));
        assert_eq!((count.trainable, count.multiply_adds), (6 * 9 + 6, 6 * 9 * 16));
    }

    #[test]
    fn initial_weights_have_the_spread_of_their_source() {
        let mut rng = InitRng::new(Seed(1).rng(Purpose::Init, 0, 0));
        let conv = Convolution::new(64, [3, 3], Padding::Half);
        let depthwise = Convolution::depthwise(4096, 3, Padding::Half);
        for (initial, conv, c_in, variance) in [
            (Initial::Glorot, conv, 32, 2.0 / (9.0 * 96.0)),
            (Initial::KaimingFanOut, conv, 32, 2.0 / (9.0 * 64.0)),
            (Initial::TruncatedFanOut, conv, 32, 2.0 / (9.0 * 64.0)),
            (Initial::Normal(0.1), conv, 32, 0.01),
            (Initial::Glorot, depthwise, 4096, 2.0 / (9.0 * 4097.0)),
            (Initial::KaimingFanOut, depthwise, 4096, 2.0 / (9.0 * 4096.0)),
            (Initial::TruncatedFanOut, depthwise, 4096, 2.0 / 9.0),
        ] {
            let values = initial.values(&mut rng, c_in, &conv);
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
            let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((square / variance - 1.0).abs() < 0.05, "{initial:?}: {square} {variance}");
            assert!(mean.abs() < 0.05 * variance.sqrt(), "{initial:?}: {mean}");
        }
    }

    #[test]
    fn the_output_layer_begins_as_its_source() {
        let device = Device::flex();
        let mut rng = InitRng::new(Seed(1).rng(Purpose::Init, 0, 0));
        let mut builder = builder(&mut rng, &device);
        for (output, variance, biased) in [
            (Output::Dense, 1.0 / (3.0 * 500.0), true),
            (Output::Normal(0.01), 0.0001, false),
            (Output::UniformFanOut, 1.0 / (3.0 * 20.0), false),
        ] {
            builder.output = output;
            let layer = builder.output(500, 20);
            let weights: Vec<f32> = layer.weight.val().into_data().iter::<f32>().collect();
            let square = weights.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 10_000.0;
            assert!((square / variance - 1.0).abs() < 0.05, "{output:?}: {square} {variance}");
            let bias = layer.bias.unwrap().val().into_data();
            assert_eq!(bias.iter::<f32>().any(|b| b != 0.0), biased, "{output:?}");
        }
    }

    #[test]
    fn widths_are_multiples_of_eight() {
        assert_eq!([0.125, 0.35, 1.0, 1.4].map(|width| scaled(32, width)), [8, 16, 32, 48]);
        assert_eq!(scaled(24, 0.5), 16);
        for width in [0.0, -1.0, 4.5, f64::NAN] {
            assert!(check_width(width).is_err());
        }
    }
}
