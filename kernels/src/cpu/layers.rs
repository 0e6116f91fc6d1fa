//! The layers on the CPU back end: what Burn's modules say, as the operators take it.

use burn::module::Param;
use burn::nn::conv::{Conv1d, Conv2d};
use burn::nn::pool::{AvgPool2d, MaxPool1d, MaxPool2d};
use burn::nn::{BatchNorm, Linear, PaddingConfig1d, PaddingConfig2d};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::Precision;
use crate::cpu::elementwise::AdamStep;
pub use crate::cpu::elementwise::Function;
use crate::cpu::fused::{self, Affine, Fused, Parts};
use crate::cpu::map::{self, Map};
use crate::cpu::operation::{Apply, Done, WayBack};
use crate::cpu::operators::{self, Geometry};
use crate::cpu::pool::Divisor;
use crate::cpu::prepared::Key;
use crate::cpu::{prepared, winograd};

/// Whether there is a kernel for a convolution of so many groups: one, or one for each channel on both sides.
pub fn convolves<const D: usize>(groups: usize, weight: [usize; D]) -> bool {
    groups == 1 || [weight[0], weight[1]] == [groups, 1]
}

/// Of groups that [`convolves`] knows.
pub fn conv2d(layer: &Conv2d, x: Tensor<4>, relu: bool) -> Tensor<4> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    convolve(geometry_2d(layer, &x), layer.groups, relu, x, layer.weight.val(), bias)
}

/// As [`conv2d`].
pub fn conv1d(layer: &Conv1d, x: Tensor<3>, relu: bool) -> Tensor<3> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    convolve(geometry_1d(layer, &x), layer.groups, relu, x, layer.weight.val(), bias)
}

fn geometry_2d(layer: &Conv2d, x: &Tensor<4>) -> Geometry {
    let [.., height, width] = x.dims();
    let (stride, dilation) = (layer.stride, layer.dilation);
    let padding = padding_2d(&layer.padding, [height, width], layer.kernel_size, stride);
    Geometry { stride, dilation, padding }
}

fn geometry_1d(layer: &Conv1d, x: &Tensor<3>) -> Geometry {
    let size = [1, x.dims()[2]];
    let (stride, dilation) = ([1, layer.stride], [1, layer.dilation]);
    let padding = padding_2d(&padding_1d(&layer.padding), size, [1, layer.kernel_size], stride);
    Geometry { stride, dilation, padding }
}

fn convolve<const D: usize>(
    geometry: Geometry,
    groups: usize,
    relu: bool,
    x: Tensor<D>,
    weight: Tensor<D>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    if groups == 1 {
        return weighted(x, weight, bias, move |x, weight, bias| {
            operators::convolution(geometry, relu, x, weight, bias)
        });
    }
    let sums =
        weighted(x, weight, bias, move |x, weight, bias| operators::depthwise(geometry, x, weight, bias));
    if relu { each(sums.movedim(1, D - 1), Function::Relu).movedim(D - 1, 1) } else { sums }
}

pub fn linear<const D: usize>(layer: &Linear, x: Tensor<D>, relu: bool) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    // Packed weights are read much faster, but only what is kept is packed more than once for nothing.
    if x.device().is_autodiff() || !prepared::keeps() {
        return weighted(x, layer.weight.val(), bias, move |x, weight, bias| {
            operators::linear(relu, x, weight, bias)
        });
    }
    let precision = Precision::current();
    let key = Key { weight: layer.weight.id, norms: [None; 2], relu, precision, winograd: false };
    let weight = layer.weight.val();
    (x,).apply(move |[x], _| {
        let (x, sizes) = (x.to_contiguous(), weight.dims());
        let shape = operators::dense(x.layout().shape(), &sizes);
        let fused = prepared::get(key, || {
            Fused::dense(&shape, precision, &numbers(weight), bias.map(numbers).as_deref(), relu)
        });
        let output = fused.run(&shape, map::floats(&x), None);
        let sizes = operators::with_last(x.layout().shape(), shape.c_out);
        (map::tensor(output, &sizes), WayBack::new(|_, _| [None]))
    })
}

/// What follows a convolution in an order that one operation can do.
#[derive(Clone, Copy)]
pub struct Behind<'a> {
    pub before: Option<&'a BatchNorm>,
    pub relu: bool,
    pub after: Option<&'a BatchNorm>,
    pub window: Option<[usize; 2]>,
}

/// A convolution of groups that [`convolves`] knows and what is behind it, without gradient. A depthwise one does with
/// normalisation only.
pub fn conv2d_behind(layer: &Conv2d, x: Tensor<4>, behind: Behind) -> Tensor<4> {
    let bias = layer.bias.as_ref();
    fused(geometry_2d(layer, &x), layer.groups, x, &layer.weight, bias, behind)
}

/// As [`conv2d_behind`].
pub fn conv1d_behind(layer: &Conv1d, x: Tensor<3>, behind: Behind) -> Tensor<3> {
    let bias = layer.bias.as_ref();
    fused(geometry_1d(layer, &x), layer.groups, x, &layer.weight, bias, behind)
}

fn fused<const D: usize>(
    geometry: Geometry,
    groups: usize,
    x: Tensor<D>,
    weight: &Param<Tensor<D>>,
    bias: Option<&Param<Tensor<1>>>,
    behind: Behind,
) -> Tensor<D> {
    let Behind { before, relu, after, window } = behind;
    let norms = [before, after].map(|norm| norm.map(|norm| norm.gamma.id));
    let id = weight.id;
    let (weight, bias) = (weight.val(), bias.map(|bias| bias.val()));
    let [before, after] = [before, after].map(|norm| norm.map(FixedNorm::of));
    (x,).apply(move |[x], _| {
        let input = Map::new(x);
        let shape = geometry.convolution(input.shape(), &weight.dims());
        let (precision, winograd) = (Precision::current(), winograd::suits(&shape));
        let key = Key { weight: id, norms, relu, precision, winograd };
        let fused = prepared::get(key, || {
            let parts = Parts {
                kernel: numbers(weight),
                bias: bias.map(numbers),
                before: before.map(FixedNorm::affine),
                relu,
                after: after.map(FixedNorm::affine),
            };
            Fused::new(&shape, precision, groups > 1, parts)
        });
        let output = fused.run(&shape, input.values(), window);
        let output = map::beside(&input, output, shape.c_out, fused::size(&shape, window));
        (output, WayBack::new(|_, _| [None]))
    })
}

/// Batch normalisation with the statistics it learned.
struct FixedNorm([Tensor<1>; 4], f64);

impl FixedNorm {
    fn of(norm: &BatchNorm) -> Self {
        let (mean, variance) = (norm.running_mean.value(), norm.running_var.value());
        Self([norm.gamma.val(), norm.beta.val(), mean, variance], norm.epsilon)
    }

    fn affine(self) -> Affine {
        Affine::of(self.0.map(numbers), self.1)
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A kernel of an input, weights and perhaps a bias.
fn weighted<const D: usize, const W: usize>(
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
    kernel: impl FnOnce(FlexTensor, FlexTensor, Option<FlexTensor>) -> Done<3> + 'static,
) -> Tensor<D> {
    match bias {
        Some(bias) => (x, weight, bias).apply(|[x, weight, bias], _| kernel(x, weight, Some(bias))),
        None => (x, weight).apply(|[x, weight], _| {
            let (output, back) = kernel(x, weight, None);
            (output, back.without_third())
        }),
    }
}

/// Mean and biased variance of each channel, without gradient.
pub fn statistics<const D: usize>(x: Tensor<D>) -> [Tensor<1>; 2] {
    let found = (x.detach(),).apply::<2>(|[x], _| operators::statistics(x));
    [0, 1].map(|row| found.clone().narrow(0, row, 1).squeeze_dim::<1>(0))
}

/// With the statistics of each channel, which are `of_batch`, those of `x` itself, or fixed.
pub fn normalise<const D: usize>(
    x: Tensor<D>,
    [scale, shift]: [Tensor<1>; 2],
    statistics: [Tensor<1>; 2],
    of_batch: bool,
    epsilon: f64,
    relu: bool,
) -> Tensor<D> {
    let statistics = statistics.map(|values| values.into_data().iter::<f32>().collect());
    let how = operators::BatchNorm { statistics, of_batch, epsilon, relu };
    (x, scale, shift).apply(|inputs, _| operators::batch_norm(how, inputs))
}

pub fn layer_norm<const D: usize>(x: Tensor<D>, [scale, shift]: [Tensor<1>; 2], epsilon: f64) -> Tensor<D> {
    (x, scale, shift).apply(move |inputs, _| operators::layer_norm(epsilon, inputs))
}

/// A pooling without dilation that rounds its size down.
pub fn max_pool2d(layer: &MaxPool2d, x: Tensor<4>) -> Tensor<4> {
    maximum(&layer.padding, layer.kernel_size, layer.stride, x)
}

/// As [`max_pool2d`].
pub fn max_pool1d(layer: &MaxPool1d, x: Tensor<3>) -> Tensor<3> {
    maximum(&padding_1d(&layer.padding), [1, layer.kernel_size], [1, layer.stride], x)
}

fn maximum<const D: usize>(
    padding: &PaddingConfig2d,
    window: [usize; 2],
    stride: [usize; 2],
    x: Tensor<D>,
) -> Tensor<D> {
    let geometry = pooling(padding, window, stride, &x);
    (x,).apply(move |[x], tracked| operators::maximum(geometry, window, x, tracked))
}

/// As [`max_pool2d`].
pub fn avg_pool2d(layer: &AvgPool2d, x: Tensor<4>) -> Tensor<4> {
    let window = layer.kernel_size;
    let geometry = pooling(&layer.padding, window, layer.stride, &x);
    let divisor = if layer.count_include_pad { Divisor::Padded } else { Divisor::Inside };
    (x,).apply(move |[x], _| operators::average(geometry, window, divisor, x))
}

fn pooling<const D: usize>(
    padding: &PaddingConfig2d,
    window: [usize; 2],
    stride: [usize; 2],
    x: &Tensor<D>,
) -> Geometry {
    let size = if let [_, _, height, width] = x.dims()[..] { [height, width] } else { [1, x.dims()[2]] };
    Geometry { stride, dilation: [1, 1], padding: padding_2d(padding, size, window, stride) }
}

pub fn global_mean<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    (x,).apply(|[x], _| operators::global_mean(x))
}

pub fn lstm(
    x: Tensor<3>,
    kernel: Tensor<2>,
    recurrent: Tensor<2>,
    bias: Tensor<1>,
    reverse: bool,
) -> Tensor<3> {
    (x, kernel, recurrent, bias).apply(move |inputs, _| operators::lstm(reverse, inputs))
}

pub fn each<const D: usize>(x: Tensor<D>, function: Function) -> Tensor<D> {
    (x,).apply(move |[x], _| operators::each(function, x))
}

pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    (x,).apply(|[x], _| operators::softmax(x))
}

pub fn attention(qkv: [Tensor<3>; 3], heads: usize) -> Tensor<3> {
    let [q, k, v] = qkv;
    (q, k, v).apply(move |inputs, _| operators::attention(heads, inputs))
}

/// With the same leading axes on both sides.
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    (a, b).apply(|inputs, _| operators::products(inputs))
}

pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>, relu: bool) -> Tensor<D> {
    let sum =
        (a.movedim(1, D - 1), b.movedim(1, D - 1)).apply::<D>(move |inputs, _| operators::sum(relu, inputs));
    sum.movedim(D - 1, 1)
}

pub fn scale_channels(x: Tensor<4>, factors: Tensor<2>) -> Tensor<4> {
    (x.movedim(1, 3), factors).apply::<4>(|inputs, _| operators::scale(inputs)).movedim(3, 1)
}

fn padding_1d(padding: &PaddingConfig1d) -> PaddingConfig2d {
    match *padding {
        PaddingConfig1d::Valid => PaddingConfig2d::Valid,
        PaddingConfig1d::Same => PaddingConfig2d::Same,
        PaddingConfig1d::Explicit(left, right) => PaddingConfig2d::Explicit(0, left, 0, right),
    }
}

/// Zeros above, left, below, right. "Same" gives `ceil(size / stride)` results, an odd zero below or to the right.
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

pub fn move_average<const D: usize>(
    average: Tensor<D>,
    x: Tensor<D>,
    decay: f32,
    squares: bool,
) -> Tensor<D> {
    (average, x).apply(move |[average, x], _| operators::move_average(decay, squares, average, x))
}

pub fn adam<const D: usize>(weights: Tensor<D>, averages: [Tensor<D>; 2], step: AdamStep) -> Tensor<D> {
    let [first, second] = averages;
    (weights, first, second)
        .apply(move |[weights, first, second], _| operators::adam(step, weights, first, second))
}
