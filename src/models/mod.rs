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

/// Most units of one layer, and most classes.
const MAX_UNITS: usize = 1 << 16;
/// Most numbers in one network: 1 GiB of weights. A bundle is a stranger's; without a limit, one line of it could take
/// all memory there is.
const MAX_PARAMETERS: usize = 1 << 28;

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
        if num_classes > MAX_UNITS {
            return Err(ConfigError::field(
                "model",
                format!("{num_classes} classes, the limit is {MAX_UNITS}"),
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
        if let Some(units) = units.iter().find(|units| **units > MAX_UNITS) {
            let reason = format!("a layer of {units} units; give at most {MAX_UNITS}");
            return Err(ConfigError::field("model", reason));
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
        let parameters = self.parameters(input, num_classes);
        if parameters > MAX_PARAMETERS {
            return Err(ConfigError::field(
                "model",
                format!(
                    "{parameters} parameters with features of {} x {}, the limit is {MAX_PARAMETERS}; use fewer units, \
                     bins or frames",
                    input.bins, input.frames
                ),
            ));
        }
        Ok(())
    }

    /// Numbers in the network, from the configuration alone; nothing is allocated.
    pub fn parameters(&self, input: FeatureShape, num_classes: usize) -> usize {
        match self {
            Self::Dense(config) => config.parameters(num_classes),
            Self::Cnn(config) => config.parameters(input, num_classes),
            Self::Lstm(config) => config.parameters(input, num_classes),
            Self::Crnn(config) => config.parameters(input, num_classes),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: FeatureShape = FeatureShape { bins: 40, frames: 100 };

    #[test]
    fn parameters_are_counted_without_building_the_network() {
        let device = device("cpu").unwrap();
        for row in zoo::zoo() {
            let built = row.config.init(INPUT, 7, Seed(0), &device).unwrap().count_parameters().total;
            assert_eq!(row.config.parameters(INPUT, 7), built, "{}", row.config.name());
        }
    }

    #[test]
    fn a_network_that_would_not_fit_in_memory_is_refused() {
        let wide = |units| ModelConfig::Dense(DenseConfig { units, ..Default::default() });
        let reason = |model: &ModelConfig, input| model.validate(input, 10).unwrap_err().to_string();
        wide(vec![MAX_UNITS]).validate(INPUT, 10).unwrap();
        for units in [MAX_UNITS + 1, usize::MAX] {
            assert!(
                reason(&wide(vec![units]), INPUT).contains(&format!("{units} units; give at most 65536"))
            );
        }
        assert!(reason(&wide(vec![MAX_UNITS; 2]), INPUT).contains("the limit is 268435456"));
        // The largest clip that the front end allows.
        let large = FeatureShape { bins: 32_769, frames: 4_096 };
        for row in zoo::zoo().into_iter().filter(|row| row.config.name() == "cnn") {
            assert!(reason(&row.config, large).contains("use fewer units, bins or frames"));
        }
        assert!(wide(vec![8]).validate(INPUT, MAX_UNITS + 1).is_err());
    }
}
