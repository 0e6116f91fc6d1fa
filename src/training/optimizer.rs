//! How gradients change the weights.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::models::Adam;

/// Recipe key `training.optimizer`: a name, or a table of the name and its options.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2015), with Keras' constants.
    Adam {
        /// Decay of the first moment. Default 0.9.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the second moment. Default 0.999.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the second moment, as in PyTorch. Default 1e-7.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019): before each step, the weights shrink by
    /// `learning rate x weight_decay` of themselves (`torch.optim.AdamW`). Only tensors of at least two dimensions do, so
    /// neither biases nor normalisation.
    AdamW {
        /// Decay of the first moment. Default 0.9.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the second moment. Default 0.999.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the second moment, as in PyTorch. Default 1e-7.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// How fast weights shrink. Default 0.01.
        #[serde(default = "weight_decay")]
        weight_decay: f64,
    },
    /// Stochastic gradient descent (`torch.optim.SGD`).
    Sgd {
        /// Share of the last step that goes on. Default 0.
        #[serde(default)]
        momentum: f64,
        /// Nesterov's momentum, which looks ahead (Sutskever et al. 2013). Default false.
        #[serde(default)]
        nesterov: bool,
        /// How fast weights shrink, decoupled from the gradient as in `adamw`. Default 0.
        #[serde(default)]
        weight_decay: f64,
    },
}

fn beta_1() -> f64 {
    0.9
}

fn beta_2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-7
}

fn weight_decay() -> f64 {
    0.01
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam { beta_1: beta_1(), beta_2: beta_2(), epsilon: epsilon() }
    }
}

impl Optimizer {
    /// Refuses impossible options.
    pub fn validate(self) -> Result<(), ConfigError> {
        let refuse = |reason: String| Err(ConfigError::field("training.optimizer", reason));
        match self {
            Self::Adam { beta_1, beta_2, epsilon } | Self::AdamW { beta_1, beta_2, epsilon, .. } => {
                if let Some(beta) = [beta_1, beta_2].into_iter().find(|beta| !(0.0..1.0).contains(beta)) {
                    return refuse(format!("beta {beta} must be from 0 to below 1"));
                }
                if !(epsilon.is_finite() && epsilon > 0.0) {
                    return refuse(format!("epsilon {epsilon} must be above 0"));
                }
            }
            Self::Sgd { momentum, nesterov, .. } => {
                if !(0.0..1.0).contains(&momentum) {
                    return refuse(format!("momentum {momentum} must be from 0 to below 1"));
                }
                if nesterov && momentum <= 0.0 {
                    return refuse("nesterov needs a momentum above 0, 0.9 for instance".to_owned());
                }
            }
        }
        let decay = self.weight_decay();
        if !(decay.is_finite() && decay >= 0.0) {
            return refuse(format!("weight_decay {decay} must be 0 or above"));
        }
        Ok(())
    }

    /// The same without any history.
    pub fn init(self) -> ModuleOptimizer {
        match self {
            Self::Adam { beta_1, beta_2, epsilon } | Self::AdamW { beta_1, beta_2, epsilon, .. } => {
                Adam { beta_1: beta_1 as f32, beta_2: beta_2 as f32, epsilon: epsilon as f32 }.into()
            }
            Self::Sgd { momentum, nesterov, .. } => {
                let momentum = (momentum > 0.0).then(|| {
                    MomentumConfig::new().with_momentum(momentum).with_dampening(0.0).with_nesterov(nesterov)
                });
                SgdConfig::new().with_momentum(momentum).init()
            }
        }
    }

    /// One step: the module with the weights that follow from these gradients.
    pub fn step<M: Module>(
        self,
        optimizer: &mut ModuleOptimizer,
        module: M,
        gradients: GradientsParams,
        learning_rate: f64,
    ) -> M {
        let module = match self.weight_decay() {
            decay if decay > 0.0 => module.map(&mut Shrink { factor: 1.0 - learning_rate * decay }),
            _ => module,
        };
        optimizer.step(learning_rate, module, gradients)
    }

    fn weight_decay(self) -> f64 {
        match self {
            Self::Adam { .. } => 0.0,
            Self::AdamW { weight_decay, .. } | Self::Sgd { weight_decay, .. } => weight_decay,
        }
    }
}

/// Multiplies all trained tensors of two dimensions and more.
struct Shrink {
    factor: f64,
}

impl ModuleMapper for Shrink {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 || !param.is_require_grad() {
            return param;
        }
        param.map(|tensor| Tensor::from_inner(tensor.inner() * self.factor).require_grad())
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;
    use serde_json::Value;

    use super::super::fit::ema_decay;
    use super::super::per_parameter::{GradientClipping, PerParameter};
    use super::super::tensors::{floats, tensor};
    use super::*;

    fn numbers(value: &Value) -> Vec<f32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn close(ours: &[f32], golden: &Value, case: &Value) {
        // Keras adds its epsilon before the moments are corrected, which shows in the fifth digit.
        let tolerance = if case["by"] == "keras" { 5e-5 } else { 1e-5 };
        for (ours, golden) in ours.iter().zip(numbers(golden)) {
            assert!((ours - golden).abs() < tolerance, "{}: {ours}, not {golden}", case["optimizer"]);
        }
    }

    #[test]
    fn twenty_steps_are_those_of_pytorch_and_keras() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/training/optimizers.json")).unwrap();
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 17);
        for case in cases {
            let config: Optimizer = serde_json::from_value(case["optimizer"].clone()).unwrap();
            config.validate().unwrap();
            let clipping: Option<GradientClipping> = case
                .get("gradient_clipping")
                .map(|clipping| serde_json::from_value(clipping.clone()).unwrap());
            let rate = case["learning_rate"].as_f64().unwrap();
            let mut linear: Linear = LinearConfig::new(4, 3).init(&device);
            linear.weight = Param::from_tensor(tensor([4, 3], &numbers(&golden["weight"]), &device));
            linear.bias = Some(Param::from_tensor(tensor([3], &numbers(&golden["bias"]), &device)));
            let mut optimizer = config.init();
            let mut average = PerParameter::weights(&linear);
            for update in 1..=20 {
                let inputs = tensor([8, 4], &numbers(&golden["inputs"]), &device);
                let targets = tensor([8, 3], &numbers(&golden["targets"]), &device);
                let loss = (linear.forward(inputs) - targets).square().mean();
                let mut gradients = PerParameter::default();
                gradients.add(&linear, loss.backward());
                if let Some(clipping) = clipping {
                    gradients.clip(&linear, clipping);
                }
                linear = config.step(&mut optimizer, linear, gradients.into_gradients(), rate);
                if let Some(ema) = case["ema"].as_f64() {
                    average.average(&linear, ema_decay(ema, update));
                }
            }
            let mut judged = linear.valid();
            if case["ema"].is_number() {
                judged = average.put_into(judged);
            }
            close(&floats(judged.weight.val()), &case["weight"], case);
            close(&floats(judged.bias.unwrap().val()), &case["bias"], case);
        }
    }
}
