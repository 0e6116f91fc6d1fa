//! The layers, in terms of Burn's modules.

use burn::nn::conv::{Conv1d, Conv2d};
use burn::nn::{Linear, PaddingConfig1d, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

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
    if ours(&x.device()) && layer.groups == 1 {
        let [.., height, width] = x.dims();
        let kernel = crate::operators::Convolution {
            stride: layer.stride,
            dilation: layer.dilation,
            padding: padding_2d(&layer.padding, [height, width], layer.kernel_size, layer.stride),
            relu: negative_to_zero,
        };
        return apply(x, layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), kernel);
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
    if ours(&x.device()) && layer.groups == 1 {
        let padding = match layer.padding {
            PaddingConfig1d::Valid => PaddingConfig2d::Valid,
            PaddingConfig1d::Same => PaddingConfig2d::Same,
            PaddingConfig1d::Explicit(left, right) => PaddingConfig2d::Explicit(0, left, 0, right),
        };
        let [.., length] = x.dims();
        let kernel = crate::operators::Convolution {
            stride: [1, layer.stride],
            dilation: [1, layer.dilation],
            padding: padding_2d(&padding, [1, length], [1, layer.kernel_size], [1, layer.stride]),
            relu: negative_to_zero,
        };
        return apply(x, layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), kernel);
    }
    stock(layer.forward(x), negative_to_zero)
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

#[cfg(feature = "flex")]
fn apply<const D: usize, const W: usize>(
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
    kernel: impl crate::operation::Kernel,
) -> Tensor<D> {
    use crate::operation::Apply;
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
