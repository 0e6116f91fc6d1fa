use burn::optim::{AdamConfig, AdamState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

#[cfg(feature = "flex")]
use crate::cpu::{elementwise::AdamStep, layers as cpu};
use crate::layers::on_cpu;

/// Adam (Kingma & Ba 2015) as [`burn::optim::Adam`] has it, to the same bits and with the same state; on the CPU in three passes
/// over the weights, on all threads.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    /// Decay of the average of gradients.
    pub beta_1: f32,
    /// Decay of the average of their squares.
    pub beta_2: f32,
    /// Added to the root of that.
    pub epsilon: f32,
}

impl Adam {
    #[cfg(feature = "flex")]
    fn step_on_cpu<const D: usize>(
        self,
        rate: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let momentum = state.map_or_else(
            || AdaptiveMomentumState::new(0, gradient.zeros_like(), gradient.zeros_like()),
            |state| state.momentum,
        );
        let time = momentum.time + 1;
        let first = cpu::move_average(momentum.moment_1, gradient.clone(), self.beta_1, false);
        let second = cpu::move_average(momentum.moment_2, gradient, self.beta_2, true);
        let root = (1.0 - self.beta_2.powi(time as i32)).sqrt();
        let factor = root / (1.0 - self.beta_1.powi(time as i32));
        let step = AdamStep { factor, epsilon: self.epsilon * root, rate: rate as f32 };
        let weights = cpu::adam(weights, [first.clone(), second.clone()], step);
        (weights, Some(AdamState::new(AdaptiveMomentumState::new(time, first, second))))
    }
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        on_cpu!(weights => self.step_on_cpu(rate, weights, gradient, state));
        let config = AdamConfig::new().with_beta_1(self.beta_1).with_beta_2(self.beta_2);
        config.with_epsilon(self.epsilon).build().step(rate, weights, gradient, state)
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        burn::optim::Adam::to_device(state, device)
    }
}
