//! The layers, in terms of Burn's modules.

#[cfg(feature = "flex")]
use std::sync::{Arc, OnceLock};

use burn::module::RunningState;
use burn::nn::conv::{Conv1d, Conv2d};
use burn::nn::pool::{AvgPool2d, MaxPool1d, MaxPool2d};
use burn::nn::{BatchNorm, Linear};
#[cfg(feature = "flex")]
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

#[cfg(feature = "flex")]
use crate::elementwise::Function;

/// Whether tensors of this device are computed here.
#[cfg(feature = "flex")]
fn ours(device: &Device) -> bool {
    *device == Device::flex() || *device == Device::flex().autodiff()
}

#[cfg(not(feature = "flex"))]
fn ours(_device: &Device) -> bool {
    false
}

/// [`Conv2d`]: `[batch, c_in, height, width]` → `[batch, c_out, height, width]`.
pub fn conv2d(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    conv2d_then(layer, x, false)
}

/// [`Conv2d`] and [`relu`]: `[batch, c_in, height, width]` → `[batch, c_out, height, width]`.
pub fn conv2d_relu(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    conv2d_then(layer, x, true)
}

fn conv2d_then(layer: &Conv2d, x: Tensor<4>, negative_to_zero: bool) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        let [.., height, width] = x.dims();
        let geometry = crate::operators::Convolution {
            stride: layer.stride,
            dilation: layer.dilation,
            padding: padding_2d(&layer.padding, [height, width], layer.kernel_size, layer.stride),
            relu: negative_to_zero,
        };
        let bias = layer.bias.as_ref().map(|bias| bias.val());
        if let Some(result) = convolve(&x, layer.weight.val(), bias, layer.groups, geometry) {
            return result;
        }
    }
    stock(layer.forward(x), negative_to_zero)
}

/// [`Conv1d`]: `[batch, c_in, length]` → `[batch, c_out, length]`.
pub fn conv1d(layer: &Conv1d, x: Tensor<3>) -> Tensor<3> {
    conv1d_then(layer, x, false)
}

/// [`Conv1d`] and [`relu`]: `[batch, c_in, length]` → `[batch, c_out, length]`.
pub fn conv1d_relu(layer: &Conv1d, x: Tensor<3>) -> Tensor<3> {
    conv1d_then(layer, x, true)
}

fn conv1d_then(layer: &Conv1d, x: Tensor<3>, negative_to_zero: bool) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        let [.., length] = x.dims();
        let geometry = crate::operators::Convolution {
            stride: [1, layer.stride],
            dilation: [1, layer.dilation],
            padding: padding_2d(
                &padding_1d(&layer.padding),
                [1, length],
                [1, layer.kernel_size],
                [1, layer.stride],
            ),
            relu: negative_to_zero,
        };
        let bias = layer.bias.as_ref().map(|bias| bias.val());
        if let Some(result) = convolve(&x, layer.weight.val(), bias, layer.groups, geometry) {
            return result;
        }
    }
    stock(layer.forward(x), negative_to_zero)
}

/// The convolution of all channels, or of each by itself; nothing for other groups.
#[cfg(feature = "flex")]
fn convolve<const D: usize>(
    x: &Tensor<D>,
    weight: Tensor<D>,
    bias: Option<Tensor<1>>,
    groups: usize,
    geometry: crate::operators::Convolution,
) -> Option<Tensor<D>> {
    let channels = [x.dims()[1], weight.dims()[0]];
    if groups == 1 {
        Some(apply(x.clone(), weight, bias, geometry))
    } else if channels == [groups; 2] && !geometry.relu {
        Some(apply(x.clone(), weight, bias, crate::operators::Depthwise(geometry)))
    } else {
        None
    }
}

/// [`Linear`]: `[.., d_input]` → `[.., d_output]`.
pub fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    linear_then(layer, x, false)
}

/// [`Linear`] and [`relu`]: `[.., d_input]` → `[.., d_output]`.
pub fn linear_relu<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    linear_then(layer, x, true)
}

fn linear_then<const D: usize>(layer: &Linear, x: Tensor<D>, negative_to_zero: bool) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        let kernel = crate::operators::Linear { relu: negative_to_zero };
        return apply(x, layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), kernel);
    }
    stock(layer.forward(x), negative_to_zero)
}

/// What Burn's layer gave, and the activation.
fn stock<const D: usize>(x: Tensor<D>, negative_to_zero: bool) -> Tensor<D> {
    if negative_to_zero { relu(x) } else { x }
}

/// What batch normalisation in training gives.
pub struct Normalised<const D: usize> {
    /// The result.
    pub output: Tensor<D>,
    /// Mean of each channel over the batch, without gradient.
    pub mean: Tensor<1>,
    /// Biased variance of each channel over the batch, without gradient.
    pub variance: Tensor<1>,
}

/// [`BatchNorm`]: `[batch, channels, ..]` → the same shape.
pub fn batch_norm<const D: usize>(layer: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    batch_norm_then(layer, x, false)
}

/// [`BatchNorm`] and [`relu`]: `[batch, channels, ..]` → the same shape.
pub fn batch_norm_relu<const D: usize>(layer: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    batch_norm_then(layer, x, true)
}

fn batch_norm_then<const D: usize>(layer: &BatchNorm, x: Tensor<D>, negative_to_zero: bool) -> Tensor<D> {
    let device = x.device();
    if !ours(&device) {
        return stock(layer.forward(x), negative_to_zero);
    }
    let affine = [layer.gamma.val(), layer.beta.val()];
    if !(device.is_autodiff() && layer.training.is_enabled()) {
        let fixed = [&layer.running_mean, &layer.running_var].map(|state| state.value().to_device(&device));
        return normalise(x, affine, fixed, layer.epsilon, negative_to_zero);
    }
    let found = normalise_train(x, affine, layer.epsilon, negative_to_zero);
    move_statistics([&layer.running_mean, &layer.running_var], [found.mean, found.variance], layer.momentum);
    found.output
}

/// Moves running statistics towards those of a batch, of which `momentum` is the share.
pub fn move_statistics(running: [&RunningState<Tensor<1>>; 2], found: [Tensor<1>; 2], momentum: f64) {
    for (state, found) in running.into_iter().zip(found) {
        let old = state.value_sync().to_device(&found.device());
        state.update((old.mul_scalar(1.0 - momentum) + found.mul_scalar(momentum)).detach());
    }
}

/// Batch normalisation of `[batch, channels, ..]` with a scale, a shift, and a fixed mean and variance.
pub fn normalise<const D: usize>(
    x: Tensor<D>,
    [scale, shift]: [Tensor<1>; 2],
    [mean, variance]: [Tensor<1>; 2],
    epsilon: f64,
    negative_to_zero: bool,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        use crate::operation::Apply;
        let fixed = [mean, variance].map(|fixed| fixed.into_data().iter::<f32>().collect());
        let kernel = crate::operators::BatchNorm::fixed(fixed, epsilon, negative_to_zero);
        return (x, scale, shift).apply(Arc::new(kernel));
    }
    stock(burn::tensor::module::batch_norm(x, scale, shift, mean, variance, epsilon), negative_to_zero)
}

/// Batch normalisation of `[batch, channels, ..]` with a scale, a shift, and the mean and variance of the batch.
pub fn normalise_train<const D: usize>(
    x: Tensor<D>,
    [scale, shift]: [Tensor<1>; 2],
    epsilon: f64,
    negative_to_zero: bool,
) -> Normalised<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        use crate::operation::Apply;
        let device = x.device();
        let kernel = Arc::new(crate::operators::BatchNorm::of_batch(epsilon, negative_to_zero));
        let output = (x, scale, shift).apply(kernel.clone());
        let [mean, variance] = kernel.found().map(|values| Tensor::from_floats(values, &device));
        return Normalised { output, mean, variance };
    }
    let found = burn::tensor::module::batch_norm_train(x, scale, shift, epsilon);
    Normalised {
        output: stock(found.output, negative_to_zero),
        mean: found.mean.detach(),
        variance: found.variance.detach(),
    }
}

/// [`MaxPool2d`]: `[batch, channels, height, width]` → the maximum of each window.
pub fn max_pool2d(layer: &MaxPool2d, x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) && layer.dilation == [1, 1] && !layer.ceil_mode {
        let [.., height, width] = x.dims();
        let padding = padding_2d(&layer.padding, [height, width], layer.kernel_size, layer.stride);
        return pool(x, layer.kernel_size, layer.stride, padding, crate::operators::PoolOf::Maximum);
    }
    layer.forward(x)
}

/// [`MaxPool1d`]: `[batch, channels, length]` → the maximum of each window.
pub fn max_pool1d(layer: &MaxPool1d, x: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) && layer.dilation == 1 && !layer.ceil_mode {
        let [.., length] = x.dims();
        let (window, stride) = ([1, layer.kernel_size], [1, layer.stride]);
        let padding = padding_2d(&padding_1d(&layer.padding), [1, length], window, stride);
        return pool(x, window, stride, padding, crate::operators::PoolOf::Maximum);
    }
    layer.forward(x)
}

/// [`AvgPool2d`]: `[batch, channels, height, width]` → the mean of each window.
pub fn avg_pool2d(layer: &AvgPool2d, x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) && !layer.ceil_mode {
        let [.., height, width] = x.dims();
        let padding = padding_2d(&layer.padding, [height, width], layer.kernel_size, layer.stride);
        let of = crate::operators::PoolOf::Mean(layer.count_include_pad);
        return pool(x, layer.kernel_size, layer.stride, padding, of);
    }
    layer.forward(x)
}

/// The mean of each channel: `[batch, channels, ..]` → `[batch, channels]`.
pub fn global_mean<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        use crate::operation::Apply;
        return x.apply(Arc::new(crate::operators::GlobalMean::default()));
    }
    x.flatten::<3>(2, D - 1).mean_dim(2).squeeze_dim::<2>(2)
}

/// One direction of an LSTM (Hochreiter & Schmidhuber 1997, with forget gate) over `x`, `[batch, steps, d_input]`: what it puts
/// out at each step, `[batch, steps, d_hidden]`.
///
/// `kernel` is `[d_input, 4 * d_hidden]`, `recurrent` `[d_hidden, 4 * d_hidden]`, `bias` `[4 * d_hidden]`; gates stand in Keras' order:
/// input, forget, cell, output. The state before the first step is zero; with `reverse` the last step comes first.
pub fn lstm(
    x: Tensor<3>,
    kernel: Tensor<2>,
    recurrent: Tensor<2>,
    bias: Tensor<1>,
    reverse: bool,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        use crate::operation::Apply;
        let states = OnceLock::new();
        return (x, kernel, recurrent, bias).apply(Arc::new(crate::operators::Lstm { reverse, states }));
    }
    let [batch, steps, _] = x.dims();
    let d_hidden = recurrent.dims()[0];
    let mut hidden = Tensor::<2>::zeros([batch, d_hidden], &x.device());
    let mut cell = hidden.clone();
    let mut outputs = Vec::with_capacity(steps);
    let order: Vec<usize> = if reverse { (0..steps).rev().collect() } else { (0..steps).collect() };
    for t in order {
        let gates = x.clone().narrow(1, t, 1).squeeze_dim::<2>(1).matmul(kernel.clone())
            + hidden.matmul(recurrent.clone())
            + bias.clone().unsqueeze();
        let gate = |i: usize| gates.clone().narrow(1, i * d_hidden, d_hidden);
        cell = sigmoid(gate(1)) * cell + sigmoid(gate(0)) * tanh(gate(2));
        hidden = sigmoid(gate(3)) * tanh(cell.clone());
        outputs.push(hidden.clone().unsqueeze_dim::<3>(1));
    }
    if reverse {
        outputs.reverse();
    }
    Tensor::cat(outputs, 1)
}

/// The exact Gaussian error linear unit of each value, [`burn::tensor::activation::gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        return each_by(x, Function::Gelu);
    }
    burn::tensor::activation::gelu(x)
}

/// `x * sigmoid(x)` of each value, [`burn::tensor::activation::silu`].
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        return each_by(x, Function::Swish);
    }
    burn::tensor::activation::silu(x)
}

/// Each value, but at least 0 and at most 6.
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        return each_by(x, Function::Relu6);
    }
    x.clamp(0.0, 6.0)
}

#[cfg(feature = "flex")]
fn each_by<const D: usize>(x: Tensor<D>, function: Function) -> Tensor<D> {
    use crate::operation::Apply;
    x.apply(Arc::new(crate::operators::Each(function)))
}

/// The softmax of the last axis.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        use crate::operation::Apply;
        return x.apply(Arc::new(crate::operators::Softmax));
    }
    burn::tensor::activation::softmax(x, D - 1)
}

/// Products of matrices, `[.., rows, depth]` by `[.., depth, columns]`; the leading axes are the same.
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&a.device()) && a.dims()[..D - 2] == b.dims()[..D - 2] {
        use crate::operation::Apply;
        return (a, b).apply(Arc::new(crate::operators::Products));
    }
    a.matmul(b)
}

/// A function of each value by itself, such as an activation, of a map `[batch, channels, ..]`: on the CPU it sees the values as
/// they stand, `[batch, .., channels]`, so that nothing is copied.
pub fn each<const D: usize>(x: Tensor<D>, of: impl FnOnce(Tensor<D>) -> Tensor<D>) -> Tensor<D> {
    if ours(&x.device()) { of(x.movedim(1, D - 1)).movedim(D - 1, 1) } else { of(x) }
}

/// The sum of two maps `[batch, channels, ..]` of one shape.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    add_then(a, b, false)
}

/// The sum of two maps `[batch, channels, ..]` of one shape, and [`relu`].
pub fn add_relu<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    add_then(a, b, true)
}

fn add_then<const D: usize>(a: Tensor<D>, b: Tensor<D>, negative_to_zero: bool) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&a.device()) {
        use crate::operation::Apply;
        let sum = Arc::new(crate::operators::Sum { relu: negative_to_zero });
        return (a.movedim(1, D - 1), b.movedim(1, D - 1)).apply::<D>(sum).movedim(D - 1, 1);
    }
    stock(a + b, negative_to_zero)
}

/// Each channel of a map `[batch, channels, height, width]` times its factor, `[batch, channels]`.
pub fn scale_channels(x: Tensor<4>, factors: Tensor<2>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        use crate::operation::Apply;
        let scale = Arc::new(crate::operators::Scale);
        return (x.movedim(1, 3), factors).apply::<4>(scale).movedim(3, 1);
    }
    x * factors.unsqueeze_dims(&[2, 3])
}

/// The logistic function of each value.
pub fn sigmoid<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        return each_by(x, Function::Sigmoid);
    }
    burn::tensor::activation::sigmoid(x)
}

/// The hyperbolic tangent of each value.
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ours(&x.device()) {
        return each_by(x, Function::Tanh);
    }
    burn::tensor::activation::tanh(x)
}

/// The channels of all maps `[batch, channels, ..]`, one after the other.
pub fn cat_channels<const D: usize>(maps: Vec<Tensor<D>>) -> Tensor<D> {
    if maps.iter().all(|map| ours(&map.device())) {
        let last = maps.into_iter().map(|map| map.movedim(1, D - 1)).collect();
        Tensor::cat(last, D - 1).movedim(D - 1, 1)
    } else {
        Tensor::cat(maps, 1)
    }
}

#[cfg(feature = "flex")]
fn pool<const D: usize>(
    x: Tensor<D>,
    window: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    of: crate::operators::PoolOf,
) -> Tensor<D> {
    use crate::operation::Apply;
    x.apply(Arc::new(crate::operators::Pool { window, stride, padding, of, seen: OnceLock::new() }))
}

#[cfg(feature = "flex")]
fn padding_1d(padding: &PaddingConfig1d) -> PaddingConfig2d {
    match *padding {
        PaddingConfig1d::Valid => PaddingConfig2d::Valid,
        PaddingConfig1d::Same => PaddingConfig2d::Same,
        PaddingConfig1d::Explicit(left, right) => PaddingConfig2d::Explicit(0, left, 0, right),
    }
}

#[cfg(feature = "flex")]
fn apply<const D: usize, const W: usize>(
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
    kernel: impl crate::operation::Kernel,
) -> Tensor<D> {
    use crate::operation::Apply;
    let kernel = Arc::new(kernel);
    match bias {
        Some(bias) => (x, weight, bias).apply(kernel),
        None => (x, weight).apply(kernel),
    }
}

/// Zeros above, left, below, right. "Same" gives `ceil(size / stride)` results, an odd zero below or to the right.
#[cfg(feature = "flex")]
fn padding_2d(
    padding: &PaddingConfig2d,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
) -> [usize; 4] {
    match *padding {
        PaddingConfig2d::Valid => [0; 4],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [top, left, bottom, right],
        PaddingConfig2d::Same => {
            let [vertical, horizontal] = [0, 1].map(|axis: usize| {
                let reach = (size[axis].div_ceil(stride[axis]) - 1) * stride[axis] + kernel[axis];
                reach.saturating_sub(size[axis])
            });
            let [top, left] = [vertical / 2, horizontal / 2];
            [top, left, vertical - top, horizontal - left]
        }
    }
}
