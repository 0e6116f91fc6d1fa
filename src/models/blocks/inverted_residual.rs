//! The block of the mobile networks: wide inside, narrow between (Sandler et al. 2018), with weights of its channels in
//! the EfficientNets (Hu et al. 2018; Tan & Le 2019).

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;

use super::vision::{Builder, ConvNorm, Convolution, Padding};
use super::{Count, torch};
use crate::models::published::Published;
use oido_kernels as kernels;

/// One block, to be counted or built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvertedResidualConfig {
    /// Channels before and after.
    pub channels: [usize; 2],
    /// Times as many channels inside as before; 1 leaves the first convolution out.
    pub expansion: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// Padding of the depthwise convolution.
    pub padding: Padding,
    /// Channels that the weights of the channels go through; none in MobileNetV2.
    pub squeeze: Option<usize>,
    /// Share of clips for which a training step leaves the block out (stochastic depth, Huang et al. 2016).
    pub drop: f64,
    /// Between the convolutions.
    pub activation: Activation,
}

/// What follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Between 0 and 6.
    Relu6,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
}

impl Activation {
    /// Each value by itself.
    pub fn forward(self, x: Tensor<4>) -> Tensor<4> {
        kernels::each(x, |x| match self {
            Self::Relu6 => kernels::relu6(x),
            Self::Silu => kernels::silu(x),
        })
    }
}

/// 1 x 1 convolution to more channels, depthwise convolution, weights of the channels, 1 x 1 convolution to few; added to
/// its input where the shapes are the same.
#[derive(Module, Debug)]
pub struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    squeeze: Option<SqueezeExcitation>,
    project: ConvNorm,
    drop: Dropout,
    residual: bool,
    #[module(skip)]
    activation: Activation,
}

/// A weight between 0 and 1 for each channel, from the means of all.
#[derive(Module, Debug)]
struct SqueezeExcitation {
    reduce: Conv2d,
    expand: Conv2d,
}

impl InvertedResidualConfig {
    fn inside(&self) -> usize {
        self.channels[0] * self.expansion
    }

    fn expand(&self) -> Option<Convolution> {
        (self.expansion != 1).then(|| Convolution::pointwise(self.inside()))
    }

    fn depthwise(&self) -> Convolution {
        Convolution::depthwise(self.inside(), self.kernel, self.padding).stride(self.stride)
    }

    fn weights(&self) -> Option<[Convolution; 2]> {
        self.squeeze
            .map(|channels| [channels, self.inside()].map(|c_out| Convolution::pointwise(c_out).bias(true)))
    }

    fn project(&self) -> Convolution {
        Convolution::pointwise(self.channels[1])
    }

    /// What it costs.
    pub fn count(&self, count: Count) -> Count {
        let count = self.expand().map_or(count, |conv| ConvNorm::count(count, &conv));
        let count = ConvNorm::count(count, &self.depthwise());
        let count = match self.weights() {
            Some([reduce, expand]) => {
                count.beside(|count| count.global_pool().convolution(&reduce).convolution(&expand))
            }
            None => count,
        };
        ConvNorm::count(count, &self.project())
    }

    /// Builds it.
    pub fn init(&self, builder: &mut Builder) -> InvertedResidual {
        let [c_in, c_out] = self.channels;
        let inside = self.inside();
        InvertedResidual {
            expand: self.expand().map(|conv| builder.conv_norm(c_in, &conv)),
            depthwise: builder.conv_norm(inside, &self.depthwise()),
            squeeze: self.weights().map(|[reduce, expand]| SqueezeExcitation {
                reduce: builder.conv(inside, &reduce),
                expand: builder.conv(reduce.c_out, &expand),
            }),
            project: builder.conv_norm(inside, &self.project()),
            drop: DropoutConfig::new(self.drop).init(),
            residual: self.stride == 1 && c_in == c_out,
            activation: self.activation,
        }
    }
}

impl InvertedResidual {
    /// `[batch, c_in, h, w]` → `[batch, c_out, h / stride, w / stride]`, sides rounded up.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let act = |x| self.activation.forward(x);
        let x = match &self.expand {
            Some(expand) => act(expand.forward(input.clone())),
            None => input.clone(),
        };
        let mut x = act(self.depthwise.forward(x));
        if let Some(squeeze) = &self.squeeze {
            let mean = kernels::global_mean(x.clone()).unsqueeze_dims(&[2, 3]);
            let factors = kernels::conv2d(&squeeze.expand, act(kernels::conv2d(&squeeze.reduce, mean)));
            x = kernels::scale_channels(x, kernels::sigmoid(factors.flatten(1, 3)));
        }
        let x = self.project.forward(x);
        if self.residual { kernels::add(input, self.stochastic(x)) } else { x }
    }

    /// In training, zero for some clips and larger for the others.
    fn stochastic(&self, x: Tensor<4>) -> Tensor<4> {
        if self.drop.prob == 0.0 || !x.device().is_autodiff() {
            return x;
        }
        let clips = Tensor::ones([x.dims()[0], 1, 1, 1], &x.device());
        x * self.drop.forward(clips)
    }
}

/// Where timm's tensor `name` of a block belongs that is called `block` here; `conv_pw`, `bn1`, `se.conv_reduce`, ….
pub fn timm_tensor(block: &str, name: &str, tensor: &str, expands: bool) -> Option<Published> {
    let (part, kind) = match (name, expands) {
        ("conv_pw", true) => ("expand", "conv"),
        ("bn1", true) => ("expand", "bn"),
        ("conv_dw", _) => ("depthwise", "conv"),
        ("bn2", true) | ("bn1", false) => ("depthwise", "bn"),
        ("conv_pwl", true) | ("conv_pw", false) => ("project", "conv"),
        ("bn3", true) | ("bn2", false) => ("project", "bn"),
        ("se.conv_reduce", _) => return torch::conv_tensor(&format!("{block}.squeeze.reduce"), tensor),
        ("se.conv_expand", _) => return torch::conv_tensor(&format!("{block}.squeeze.expand"), tensor),
        _ => return None,
    };
    ConvNorm::torch_tensor(&format!("{block}.{part}"), kind, tensor)
}
