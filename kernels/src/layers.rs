//! The layers, in terms of Burn's modules. Each is a kernel on the CPU back end, and Burn's own elsewhere.

use burn::module::RunningState;
use burn::nn::conv::{Conv1d, Conv2d};
use burn::nn::pool::{AvgPool2d, MaxPool1d, MaxPool1dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, Dropout, Linear};
use burn::tensor::activation::{self, relu};
use burn::tensor::{Device, Tensor};

#[cfg(feature = "flex")]
use crate::cpu::layers as cpu;

/// Whether tensors of this device are computed here.
pub(crate) fn ours(_device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *_device == Device::flex() || *_device == Device::flex().autodiff();
    #[cfg(not(feature = "flex"))]
    false
}

/// Returns what the kernel gives, if the tensor is computed here (and the layer is of a kind that the kernel knows).
macro_rules! on_cpu {
    ($x:expr $(, if $known:expr)? => $result:expr) => {
        #[cfg(feature = "flex")]
        if $crate::layers::ours(&$x.device()) $(&& $known)? {
            return $result;
        }
    };
}
pub(crate) use on_cpu;

/// [`Conv2d`]: `[batch, c_in, height, width]` → `[batch, c_out, height, width]`.
pub fn conv2d(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    conv2d_then(layer, x, &[])
}

/// [`Conv2d`] and [`relu`]: `[batch, c_in, height, width]` → `[batch, c_out, height, width]`.
pub fn conv2d_relu(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    conv2d_then(layer, x, &[Step::Relu])
}

fn conv2d_alone(layer: &Conv2d, x: Tensor<4>, negative_to_zero: bool) -> Tensor<4> {
    on_cpu!(x, if cpu::convolves(layer.groups, layer.weight.dims()) => cpu::conv2d(layer, x, negative_to_zero));
    stock(layer.forward(x), negative_to_zero)
}

/// [`Conv1d`]: `[batch, c_in, length]` → `[batch, c_out, length]`.
pub fn conv1d(layer: &Conv1d, x: Tensor<3>) -> Tensor<3> {
    conv1d_then(layer, x, &[])
}

/// [`Conv1d`] and [`relu`]: `[batch, c_in, length]` → `[batch, c_out, length]`.
pub fn conv1d_relu(layer: &Conv1d, x: Tensor<3>) -> Tensor<3> {
    conv1d_then(layer, x, &[Step::Relu])
}

fn conv1d_alone(layer: &Conv1d, x: Tensor<3>, negative_to_zero: bool) -> Tensor<3> {
    on_cpu!(x, if cpu::convolves(layer.groups, layer.weight.dims()) => cpu::conv1d(layer, x, negative_to_zero));
    stock(layer.forward(x), negative_to_zero)
}

/// What comes behind a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// [`batch_norm`].
    Norm(&'a BatchNorm),
    /// [`relu`].
    Relu,
    /// The maximum of each window of so many rows and columns (of a map of one axis: of one row), one beside the other; what
    /// does not fill a window is left out.
    Maximum([usize; 2]),
}

/// [`conv2d`] and the steps, in their order. Where nobody asks for gradients they are done in one go: see [`crate::Prepared`].
pub fn conv2d_then(layer: &Conv2d, x: Tensor<4>, steps: &[Step]) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(behind) = fusable(&x.device(), layer.groups, layer.weight.dims(), steps) {
        return cpu::conv2d_behind(layer, x, behind);
    }
    match steps {
        [Step::Relu, steps @ ..] => each_step(conv2d_alone(layer, x, true), steps, max_2d),
        steps => each_step(conv2d_alone(layer, x, false), steps, max_2d),
    }
}

/// [`conv1d`] and the steps: see [`conv2d_then`].
pub fn conv1d_then(layer: &Conv1d, x: Tensor<3>, steps: &[Step]) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(behind) = fusable(&x.device(), layer.groups, layer.weight.dims(), steps) {
        return cpu::conv1d_behind(layer, x, behind);
    }
    match steps {
        [Step::Relu, steps @ ..] => each_step(conv1d_alone(layer, x, true), steps, max_1d),
        steps => each_step(conv1d_alone(layer, x, false), steps, max_1d),
    }
}

fn max_2d(x: Tensor<4>, window: [usize; 2]) -> Tensor<4> {
    max_pool2d(&MaxPool2dConfig::new(window).with_strides(window).init(), x)
}

fn max_1d(x: Tensor<3>, [_, window]: [usize; 2]) -> Tensor<3> {
    max_pool1d(&MaxPool1dConfig::new(window).with_stride(window).init(), x)
}

/// One after the other.
fn each_step<const D: usize>(
    x: Tensor<D>,
    steps: &[Step],
    maximum: fn(Tensor<D>, [usize; 2]) -> Tensor<D>,
) -> Tensor<D> {
    match steps {
        [] => x,
        [Step::Norm(norm), Step::Relu, steps @ ..] => each_step(batch_norm_relu(norm, x), steps, maximum),
        [Step::Norm(norm), steps @ ..] => each_step(batch_norm(norm, x), steps, maximum),
        [Step::Relu, steps @ ..] => each_step(relu(x), steps, maximum),
        [Step::Maximum(window), steps @ ..] => each_step(maximum(x, *window), steps, maximum),
    }
}

/// The steps as one operation of the CPU, where it can do that and no gradients are asked for.
#[cfg(feature = "flex")]
fn fusable<'a, const D: usize>(
    device: &Device,
    groups: usize,
    weight: [usize; D],
    steps: &[Step<'a>],
) -> Option<cpu::Behind<'a>> {
    if !ours(device) || device.is_autodiff() || !cpu::convolves(groups, weight) {
        return None;
    }
    let mut behind = cpu::Behind { before: None, relu: false, after: None, window: None };
    let mut steps = steps;
    if let [Step::Norm(norm), rest @ ..] = steps {
        (behind.before, steps) = (Some(*norm), rest);
    }
    if let [Step::Relu, rest @ ..] = steps {
        (behind.relu, steps) = (true, rest);
    }
    if let [Step::Norm(norm), rest @ ..] = steps {
        (behind.after, steps) = (Some(*norm), rest);
    }
    if let [Step::Maximum(window), rest @ ..] = steps {
        (behind.window, steps) = (Some(*window), rest);
    }
    let depthwise = groups > 1 && (behind.relu || behind.after.is_some() || behind.window.is_some());
    (steps.is_empty() && !depthwise).then_some(behind)
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
    on_cpu!(x => cpu::linear(layer, x, negative_to_zero));
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
    affine: [Tensor<1>; 2],
    fixed: [Tensor<1>; 2],
    epsilon: f64,
    negative_to_zero: bool,
) -> Tensor<D> {
    on_cpu!(x => cpu::normalise(x, affine, fixed, false, epsilon, negative_to_zero));
    let ([scale, shift], [mean, variance]) = (affine, fixed);
    stock(burn::tensor::module::batch_norm(x, scale, shift, mean, variance, epsilon), negative_to_zero)
}

/// Batch normalisation of `[batch, channels, ..]` with a scale, a shift, and the mean and variance of the batch.
pub fn normalise_train<const D: usize>(
    x: Tensor<D>,
    affine: [Tensor<1>; 2],
    epsilon: f64,
    negative_to_zero: bool,
) -> Normalised<D> {
    on_cpu!(x => {
        let [mean, variance] = cpu::statistics(x.clone());
        let found = [mean.clone(), variance.clone()];
        let output = cpu::normalise(x, affine, found, true, epsilon, negative_to_zero);
        Normalised { output, mean, variance }
    });
    let [scale, shift] = affine;
    let found = burn::tensor::module::batch_norm_train(x, scale, shift, epsilon);
    Normalised {
        output: stock(found.output, negative_to_zero),
        mean: found.mean.detach(),
        variance: found.variance.detach(),
    }
}

/// Layer normalisation (Ba et al. 2016) of the last axis, with a scale and a shift of that length.
pub fn layer_norm<const D: usize>(x: Tensor<D>, affine: [Tensor<1>; 2], epsilon: f64) -> Tensor<D> {
    on_cpu!(x => cpu::layer_norm(x, affine, epsilon));
    let [scale, shift] = affine;
    burn::tensor::module::layer_norm(x, scale, Some(shift), epsilon)
}

/// [`MaxPool2d`]: `[batch, channels, height, width]` → the maximum of each window.
pub fn max_pool2d(layer: &MaxPool2d, x: Tensor<4>) -> Tensor<4> {
    on_cpu!(x, if layer.dilation == [1, 1] && !layer.ceil_mode => cpu::max_pool2d(layer, x));
    layer.forward(x)
}

/// [`MaxPool1d`]: `[batch, channels, length]` → the maximum of each window.
pub fn max_pool1d(layer: &MaxPool1d, x: Tensor<3>) -> Tensor<3> {
    on_cpu!(x, if layer.dilation == 1 && !layer.ceil_mode => cpu::max_pool1d(layer, x));
    layer.forward(x)
}

/// [`AvgPool2d`]: `[batch, channels, height, width]` → the mean of each window.
pub fn avg_pool2d(layer: &AvgPool2d, x: Tensor<4>) -> Tensor<4> {
    on_cpu!(x, if !layer.ceil_mode => cpu::avg_pool2d(layer, x));
    layer.forward(x)
}

/// The mean of each channel: `[batch, channels, ..]` → `[batch, channels]`.
pub fn global_mean<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    on_cpu!(x => cpu::global_mean(x));
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
    on_cpu!(x => cpu::lstm(x, kernel, recurrent, bias, reverse));
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

/// The exact Gaussian error linear unit of each value, [`activation::gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(x => cpu::each(x, cpu::Function::Gelu));
    activation::gelu(x)
}

/// `x * sigmoid(x)` of each value, [`activation::silu`].
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(x => cpu::each(x, cpu::Function::Swish));
    activation::silu(x)
}

/// Each value, but at least 0 and at most 6.
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(x => cpu::each(x, cpu::Function::Relu6));
    x.clamp(0.0, 6.0)
}

/// The logistic function of each value.
pub fn sigmoid<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(x => cpu::each(x, cpu::Function::Sigmoid));
    activation::sigmoid(x)
}

/// The hyperbolic tangent of each value.
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(x => cpu::each(x, cpu::Function::Tanh));
    activation::tanh(x)
}

/// The softmax of the last axis.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    on_cpu!(x => cpu::softmax(x));
    activation::softmax(x, D - 1)
}

/// Products of matrices, `[.., rows, depth]` by `[.., depth, columns]`; the leading axes are the same.
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    on_cpu!(a, if a.dims()[..D - 2] == b.dims()[..D - 2] => cpu::matmul(a, b));
    a.matmul(b)
}

/// Scaled dot-product attention (Vaswani et al. 2017) of `heads` parts of the vectors each for itself: queries, keys and
/// values `[batch, steps, size]` → the same shape. Dropout falls on the weights.
pub fn attention(qkv: [Tensor<3>; 3], heads: usize, dropout: &Dropout) -> Tensor<3> {
    let [batch, steps, size] = qkv[0].dims();
    let device = qkv[0].device();
    let drops = dropout.prob > 0.0 && dropout.training.is_enabled() && device.is_autodiff();
    on_cpu!(qkv[0], if !drops => cpu::attention(qkv, heads));
    let part = size / heads;
    // [batch, heads, steps, part]
    let [q, k, v] = qkv.map(|x| x.reshape([batch, steps, heads, part]).swap_dims(1, 2));
    let weights = softmax(matmul(q / (part as f64).sqrt(), k.swap_dims(2, 3)));
    let weights = if drops { dropout.forward(weights) } else { weights };
    matmul(weights, v).swap_dims(1, 2).reshape([batch, steps, size])
}

/// A function of each value by itself, such as an activation, of a map `[batch, channels, ..]`: on the CPU it sees the values as
/// they stand, `[batch, .., channels]`, so that nothing is copied.
pub fn each<const D: usize>(x: Tensor<D>, of: impl FnOnce(Tensor<D>) -> Tensor<D>) -> Tensor<D> {
    if ours(&x.device()) { of(x.movedim(1, D - 1)).movedim(D - 1, 1) } else { of(x) }
}

/// The sum of two maps `[batch, channels, ..]` of one shape.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    on_cpu!(a => cpu::add(a, b, false));
    a + b
}

/// The sum of two maps `[batch, channels, ..]` of one shape, and [`relu`].
pub fn add_relu<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    on_cpu!(a => cpu::add(a, b, true));
    relu(a + b)
}

/// Each channel of a map `[batch, channels, height, width]` times its factor, `[batch, channels]`.
pub fn scale_channels(x: Tensor<4>, factors: Tensor<2>) -> Tensor<4> {
    on_cpu!(x => cpu::scale_channels(x, factors));
    x * factors.unsqueeze_dims(&[2, 3])
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
