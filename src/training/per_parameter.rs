//! Tensors that belong to the parameters of a network: gradients, and moving averages of weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Gradients, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::tensors::tensor;
use crate::config::ConfigError;

/// Recipe key `training.gradient_clipping`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientClipping {
    /// All gradients together are scaled down to this Euclidean norm (Pascanu et al. 2013;
    /// `torch.nn.utils.clip_grad_norm_`, Keras' `global_clipnorm`).
    Norm(f64),
    /// Every number is kept between minus this and this.
    Value(f64),
}

impl GradientClipping {
    /// Refuses limits that are no numbers above 0.
    pub fn validate(self) -> Result<(), ConfigError> {
        let (Self::Norm(limit) | Self::Value(limit)) = self;
        if limit.is_finite() && limit > 0.0 {
            return Ok(());
        }
        Err(ConfigError::field("training.gradient_clipping", format!("{limit} must be above 0")))
    }
}

/// One tensor for some of a module's parameters, on the device without automatic differentiation.
#[derive(Debug, Default)]
pub struct PerParameter(GradientsParams);

impl PerParameter {
    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For an optimiser.
    pub fn into_gradients(self) -> GradientsParams {
        self.0
    }

    /// Adds the gradients of `module` that a backward pass gave.
    pub fn add<M: Module>(&mut self, module: &M, gradients: Gradients) {
        let gradients = GradientsParams::from_grads(gradients, module);
        module.visit(&mut Add { to: &mut self.0, gradients });
    }

    /// Limits gradients.
    pub fn clip<M: Module>(&mut self, module: &M, clipping: GradientClipping) {
        match clipping {
            GradientClipping::Value(limit) => {
                module.visit(&mut Clamp { gradients: &mut self.0, limit });
            }
            GradientClipping::Norm(limit) => {
                let mut norm = Norm { gradients: &self.0, squares: 0.0 };
                module.visit(&mut norm);
                // PyTorch's small number against a division by nothing.
                let factor = limit / (norm.squares.sqrt() + 1e-6);
                if factor < 1.0 {
                    module.visit(&mut Scale { gradients: &mut self.0, factor });
                }
            }
        }
    }

    /// The trained weights of a module, as they are.
    pub fn weights<M: Module>(module: &M) -> Self {
        let mut weights = Self::default();
        weights.average(module, 0.0);
        weights
    }

    /// Moves towards the trained weights of `module`: `decay` of what is here, the rest of theirs.
    pub fn average<M: Module>(&mut self, module: &M, decay: f64) {
        module.visit(&mut Average { averages: &mut self.0, decay });
    }

    /// `module` with these tensors in the place of its own.
    pub fn put_into<M: Module>(&self, module: M) -> M {
        module.map(&mut Put { tensors: &self.0 })
    }

    /// As safetensors, by the ids of the parameters.
    pub fn to_bytes<M: Module>(&self, module: &M) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let mut collect = Collect { tensors: &self.0, found: Vec::new() };
        module.visit(&mut collect);
        let views = collect
            .found
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        safetensors::serialize(views, None)
    }

    /// What [`PerParameter::to_bytes`] wrote, for the same module; tensors of other parameters are left out.
    pub fn from_bytes<M: Module>(
        bytes: &[u8],
        module: &M,
        device: &Device,
    ) -> Result<Self, safetensors::SafeTensorError> {
        let mut restore =
            Restore { file: SafeTensors::deserialize(bytes)?, device, tensors: GradientsParams::new() };
        module.visit(&mut restore);
        Ok(Self(restore.tensors))
    }
}

struct Add<'a> {
    to: &'a mut GradientsParams,
    gradients: GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(new) = self.gradients.remove::<D>(param.id) else { return };
        let sum = match self.to.remove::<D>(param.id) {
            Some(old) => old + new,
            None => new,
        };
        self.to.register(param.id, sum);
    }
}

struct Clamp<'a> {
    gradients: &'a mut GradientsParams,
    limit: f64,
}

impl ModuleVisitor for Clamp<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.clamp(-self.limit, self.limit));
        }
    }
}

struct Norm<'a> {
    gradients: &'a GradientsParams,
    squares: f64,
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.squares += gradient.square().sum().into_data().iter::<f64>().sum::<f64>();
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor);
        }
    }
}

struct Average<'a> {
    averages: &'a mut GradientsParams,
    decay: f64,
}

impl ModuleVisitor for Average<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let weight = param.val().inner();
        let average = match self.averages.remove::<D>(param.id) {
            Some(old) => old * self.decay + weight * (1.0 - self.decay),
            None => weight,
        };
        self.averages.register(param.id, average);
    }
}

struct Put<'a> {
    tensors: &'a GradientsParams,
}

impl ModuleMapper for Put<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.tensors.get::<D>(param.id) {
            Some(tensor) => param.map(|_| tensor),
            None => param,
        }
    }
}

struct Collect<'a> {
    tensors: &'a GradientsParams,
    found: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(tensor) = self.tensors.get::<D>(param.id) {
            let data = tensor.into_data();
            let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
            self.found.push((param.id.val().to_string(), data.shape().to_vec(), bytes));
        }
    }
}

struct Restore<'a> {
    file: SafeTensors<'a>,
    device: &'a Device,
    tensors: GradientsParams,
}

impl ModuleVisitor for Restore<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Ok(view) = self.file.tensor(&param.id.val().to_string()) else { return };
        let Ok(shape) = <[usize; D]>::try_from(view.shape()) else { return };
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        self.tensors.register(param.id, tensor(shape, &values, self.device));
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;

    use super::super::tensors::floats;
    use super::*;

    #[test]
    fn comes_back_bit_by_bit_and_puts_weights_in_place() {
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        let linear = LinearConfig::new(5, 3).init(&device);
        let other = LinearConfig::new(5, 3).init(&device);
        let weights = PerParameter::weights(&linear);
        let bytes = weights.to_bytes(&linear).unwrap();
        let back = PerParameter::from_bytes(&bytes, &linear, &plain).unwrap();
        assert_eq!(back.to_bytes(&linear).unwrap(), bytes);
        let kept = floats(linear.weight.val().inner());
        assert_eq!(floats(back.put_into(linear.valid()).weight.val()), kept);
        // Another module has other parameters.
        assert!(PerParameter::from_bytes(&bytes, &other, &plain).unwrap().is_empty());
        assert!(PerParameter::from_bytes(b"no file", &linear, &plain).is_err());
    }

    #[test]
    fn gradients_of_two_batches_add_up() {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(2, 1).init(&device);
        let gradient = |times: usize| {
            let mut gradients = PerParameter::default();
            for _ in 0..times {
                let loss = linear.forward(tensor([1, 2], &[1.0, -2.0], &device)).sum();
                gradients.add(&linear, loss.backward());
            }
            floats(gradients.into_gradients().get::<2>(linear.weight.id).unwrap())
        };
        assert_eq!((gradient(1), gradient(2)), (vec![1.0, -2.0], vec![2.0, -4.0]));
    }
}
