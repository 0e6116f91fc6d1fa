//! Layer normalisation that the kernels can run: Burn's keeps its epsilon to itself.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;

/// Layer normalisation (Ba et al. 2016) of the last axis, as [`burn::nn::LayerNorm`] with a bias.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Multiplied after normalisation, `[size]`.
    pub gamma: Param<Tensor<1>>,
    /// Added after that, `[size]`.
    pub beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Scale 1 and shift 0 for vectors of `size` numbers.
    pub fn new(size: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: Param::from_tensor(Tensor::ones([size], device)),
            beta: Param::from_tensor(Tensor::zeros([size], device)),
            epsilon,
        }
    }

    /// `[.., size]` → the same shape.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        kernels::layer_norm(input, [self.gamma.val(), self.beta.val()], self.epsilon)
    }
}
