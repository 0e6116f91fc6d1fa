//! Batch normalisation without a scale, as Keras' Inception has it; Burn's always carries one.

use burn::module::{Flag, Module, Param, RunningState};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;

/// Batch normalisation (Ioffe & Szegedy 2015) that shifts but does not scale; all else as [`burn::nn::BatchNorm`].
#[derive(Module, Debug)]
pub(super) struct ShiftNorm {
    /// Added after normalisation, `[channels]`.
    pub beta: Param<Tensor<1>>,
    /// Whether a training step takes the statistics of its batch and moves the running ones.
    pub training: Param<Flag>,
    /// Moving mean, `[channels]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Moving variance, `[channels]`.
    pub running_var: RunningState<Tensor<1>>,
    momentum: f64,
    epsilon: f64,
}

impl ShiftNorm {
    /// No shift, mean 0, variance 1; `momentum` is the share of the new batch in the moving statistics.
    pub(super) fn new(channels: usize, epsilon: f64, momentum: f64, device: &Device) -> Self {
        Self {
            beta: Param::from_tensor(Tensor::zeros([channels], device)),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            momentum,
            epsilon,
        }
    }

    /// `[batch, channels, ..]` → the same shape, negative results as zero if asked.
    pub(super) fn forward<const D: usize>(&self, input: Tensor<D>, negative_to_zero: bool) -> Tensor<D> {
        let device = input.device();
        let affine = [Tensor::ones([self.beta.dims()[0]], &device), self.beta.val()];
        let running = [&self.running_mean, &self.running_var];
        if !(device.is_autodiff() && self.training.is_enabled()) {
            let fixed = running.map(|state| state.value().to_device(&device));
            return kernels::normalise(input, affine, fixed, self.epsilon, negative_to_zero);
        }
        let found = kernels::normalise_train(input, affine, self.epsilon, negative_to_zero);
        kernels::move_statistics(running, [found.mean, found.variance], self.momentum);
        found.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::BatchNormConfig;
    use burn::tensor::Distribution;

    #[test]
    fn is_batch_normalisation_with_a_scale_of_one() {
        let device = Device::flex().autodiff();
        let shift = ShiftNorm::new(3, 1e-3, 0.1, &device);
        let whole = BatchNormConfig::new(3).with_epsilon(1e-3).with_momentum(0.1).init(&device);
        let floats = |x: Tensor<4>| x.into_data().iter::<f32>().collect::<Vec<_>>();
        for _ in 0..3 {
            let x = Tensor::<4>::random([2, 3, 4, 5], Distribution::Normal(1.0, 2.0), &device);
            assert_eq!(floats(shift.forward(x.clone(), false)), floats(kernels::batch_norm(&whole, x)));
        }
        let (shift, whole) = (shift.valid(), whole.valid());
        let x = Tensor::<4>::random([2, 3, 4, 5], Distribution::Normal(1.0, 2.0), &Device::flex());
        assert_eq!(floats(shift.forward(x.clone(), false)), floats(kernels::batch_norm(&whole, x)));
    }
}
