//! `[batch, bins, frames]` → logits `[batch, num_classes]`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Recipe section `[model]`: `name = "cnn"` and that model's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum ModelConfig {
    /// Placeholder.
    Dense {},
}

impl ModelConfig {
    /// Builds the network with fresh weights.
    pub fn init(
        &self,
        _input: FeatureShape,
        _num_classes: usize,
        _device: &Device,
    ) -> Result<Model, ConfigError> {
        unimplemented!()
    }
}

/// Any network of the zoo.
#[derive(Module, Debug)]
pub enum Model {
    /// Placeholder.
    Dense(burn::nn::Linear),
}

impl Model {
    /// `[batch, bins, frames]` → logits `[batch, num_classes]`.
    pub fn forward(&self, _input: Tensor<3>) -> Tensor<2> {
        unimplemented!()
    }

    /// Logits of a batch of features, `[batch, num_classes]`, row-major.
    ///
    /// The one inference function: a clip gives the same bits alone and in any batch (on CPU).
    /// `values` holds `batch` clips of `input.bins * input.frames` values.
    pub fn infer(&self, _values: &[f32], _input: FeatureShape, _device: &Device) -> Vec<f32> {
        unimplemented!()
    }

    /// Weights by name → the network. Data only: opening weights never runs code.
    pub fn load_safetensors(self, _bytes: &[u8]) -> Result<Self, Error> {
        unimplemented!()
    }

    /// The weights as safetensors, names sorted: equal weights give equal bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }
}

/// A device by name: `cpu`, `vulkan`, `wgpu` or `cuda:0`; refused with one sentence when this build lacks it.
pub fn device(_name: &str) -> Result<Device, Error> {
    unimplemented!()
}

/// Why a network cannot be built, loaded or placed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Weights do not fit.
    #[error("weights: {0}")]
    Weights(String),
    /// The device is not available.
    #[error("device {name}: {reason}")]
    Device {
        /// As asked for.
        name: String,
        /// What to do.
        reason: String,
    },
}
