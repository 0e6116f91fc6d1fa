//! Batch normalisation without a scale, as Keras' Inception has it; Burn's always carries one.

use burn::module::{Flag, Module, Param, RunningState};
use burn::tensor::module::{batch_norm, batch_norm_train};
use burn::tensor::{Device, Tensor};

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

    /// `[batch, channels, ..]` → the same shape.
    pub(super) fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let device = input.device();
        let (beta, scale) = (self.beta.val(), Tensor::ones([self.beta.dims()[0]], &device));
        if !(device.is_autodiff() && self.training.is_enabled()) {
            let [mean, var] =
                [&self.running_mean, &self.running_var].map(|state| state.value().to_device(&device));
            return batch_norm(input, scale, beta, mean, var, self.epsilon);
        }
        let result = batch_norm_train(input, scale, beta, self.epsilon);
        for (state, now) in [(&self.running_mean, result.mean), (&self.running_var, result.variance)] {
            let old = state.value_sync().to_device(&device);
            let new = old.mul_scalar(1.0 - self.momentum).add(now.detach().mul_scalar(self.momentum));
            state.update(new.detach());
        }
        result.output
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
            assert_eq!(floats(shift.forward(x.clone())), floats(whole.forward(x)));
        }
        let (shift, whole) = (shift.valid(), whole.valid());
        let x = Tensor::<4>::random([2, 3, 4, 5], Distribution::Normal(1.0, 2.0), &Device::flex());
        assert_eq!(floats(shift.forward(x.clone())), floats(whole.forward(x)));
    }
}
