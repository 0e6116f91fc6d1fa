//! `[batch, bins, frames]` → logits `[batch, num_classes]`. A raw wave has `bins = 1`.
//!
//! One architecture, one file; [`zoo`] is the table of all of them. Networks know no loss, no file and no
//! label. Weights leave and enter as safetensors ([`weights`]), and [`Model::infer`] is the one way from
//! features to logits outside training.

pub mod blocks;
mod cnn;
mod crnn;
mod dense;
mod device;
mod error;
mod infer;
mod lstm;
pub mod weights;
pub mod zoo;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

pub use cnn::{Cnn, CnnConfig};
pub use crnn::{Crnn, CrnnConfig};
pub use dense::{Dense, DenseConfig};
pub use device::device;
pub use error::Error;
pub use lstm::{LstmConfig, LstmNet};

use crate::config::ConfigError;
use crate::features::FeatureShape;
use crate::seed::{Purpose, Seed};

/// Recipe section `[model]`: `name = "cnn"` and that model's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum ModelConfig {
    /// See [`Dense`].
    Dense(DenseConfig),
    /// See [`Cnn`].
    Cnn(CnnConfig),
    /// See [`LstmNet`].
    Lstm(LstmConfig),
    /// See [`Crnn`].
    Crnn(CrnnConfig),
}

/// Any network of the zoo.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a process; boxing would hide the modules from Burn")]
pub enum Model {
    /// See [`Dense`].
    Dense(Dense),
    /// See [`Cnn`].
    Cnn(Cnn),
    /// See [`LstmNet`].
    Lstm(LstmNet),
    /// See [`Crnn`].
    Crnn(Crnn),
}

impl ModelConfig {
    /// The model's name in files and flags.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Cnn(_) => "cnn",
            Self::Lstm(_) => "lstm",
            Self::Crnn(_) => "crnn",
        }
    }

    /// Refuses options and inputs the network cannot work with.
    pub fn validate(&self, input: FeatureShape, num_classes: usize) -> Result<(), ConfigError> {
        if num_classes < 2 {
            return Err(ConfigError::field(
                "model",
                format!("a classifier needs at least 2 classes, the data has {num_classes}"),
            ));
        }
        let (dropout, units, norm, least) = match self {
            Self::Dense(c) => (c.dropout, c.units.clone(), None, 1),
            Self::Cnn(c) => (c.dropout, vec![c.dense], Some(c.batch_norm), CnnConfig::LEAST_INPUT),
            Self::Lstm(c) => (c.dropout, [&c.units[..], &[c.dense]].concat(), None, 1),
            Self::Crnn(c) => (c.dropout, vec![c.units, c.dense], Some(c.batch_norm), CrnnConfig::LEAST_INPUT),
        };
        if !(0.0..1.0).contains(&dropout) {
            return Err(ConfigError::field("model.dropout", format!("{dropout} is outside [0, 1)")));
        }
        if units.contains(&0) {
            return Err(ConfigError::field("model", "a layer of 0 units; give at least 1"));
        }
        if let Some(norm) = norm
            && !((0.0..=1.0).contains(&norm.momentum) && norm.epsilon.is_finite() && norm.epsilon > 0.0)
        {
            return Err(ConfigError::field(
                "model.batch_norm",
                format!("momentum {} must be in [0, 1] and epsilon {} above 0", norm.momentum, norm.epsilon),
            ));
        }
        if input.bins.min(input.frames) < least {
            return Err(ConfigError::field(
                "model.name",
                format!(
                    "{} needs at least {least} bins and {least} frames, [features] gives {} x {}",
                    self.name(),
                    input.bins,
                    input.frames
                ),
            ));
        }
        Ok(())
    }

    /// Builds the network with fresh weights: a pure function of the configuration, the shapes and the seed.
    pub fn init(
        &self,
        input: FeatureShape,
        num_classes: usize,
        seed: Seed,
        device: &Device,
    ) -> Result<Model, ConfigError> {
        self.validate(input, num_classes)?;
        let rng = &mut seed.rng(Purpose::Init, 0, 0);
        Ok(match self {
            Self::Dense(config) => Model::Dense(config.init(rng, num_classes, device)),
            Self::Cnn(config) => Model::Cnn(config.init(rng, input, num_classes, device)),
            Self::Lstm(config) => Model::Lstm(config.init(rng, input, num_classes, device)),
            Self::Crnn(config) => Model::Crnn(config.init(rng, input, num_classes, device)),
        })
    }
}

impl Model {
    /// `[batch, bins, frames]` → logits `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        match self {
            Self::Dense(model) => model.forward(input),
            Self::Cnn(model) => model.forward(input),
            Self::Lstm(model) => model.forward(input),
            Self::Crnn(model) => model.forward(input),
        }
    }
}
