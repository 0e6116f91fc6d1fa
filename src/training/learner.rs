//! The network with everything that its training has gathered.

use burn::module::Module;
use burn::optim::ModuleOptimizer;

use super::per_parameter::PerParameter;
use crate::models::Model;

/// What training changes. All of it is in a checkpoint.
pub struct Learner {
    /// The network, on the device with automatic differentiation.
    pub model: Model,
    /// The optimiser with its moments.
    pub optimizer: ModuleOptimizer,
    /// Gradients of the batches since its last step.
    pub gradients: PerParameter,
    /// The moving average of the weights that train, if there is one.
    pub average: Option<PerParameter>,
}

impl Learner {
    /// Before the first step.
    pub fn new(model: Model, optimizer: ModuleOptimizer, averages: bool) -> Self {
        let average = averages.then(|| PerParameter::weights(&model));
        Self { model, optimizer, gradients: PerParameter::default(), average }
    }

    /// The network as it is judged and kept, on the device without automatic differentiation: with the averaged weights,
    /// where there are any.
    pub fn judged(&self) -> Model {
        let model = self.model.valid();
        match &self.average {
            Some(average) => average.put_into(model),
            None => model,
        }
    }
}
