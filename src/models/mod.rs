//! `[batch, bins, frames]` → logits `[batch, num_classes]`. A raw wave has `bins = 1`.
//!
//! One architecture, one file; [`zoo`] is the table of all of them. Networks know no loss, no file and no
//! label. Weights leave and enter as safetensors ([`weights`]), and [`Inference`] is the one way from
//! features to logits outside training.

mod architecture;
mod ast;
mod backbone;
pub mod blocks;
mod cnn;
mod conformer;
mod crnn;
mod dense;
mod device;
mod efficientnet_b3;
mod error;
mod esc_cnn;
mod freeze;
mod head;
mod inception_v3;
mod infer;
mod lstm;
mod m34_res;
mod mobilenet_v2;
mod precision;
mod published;
mod resnet50;
mod simple;
mod spec_cnn;
mod vggish;
mod waveform_cnn;
pub mod weights;
pub mod zoo;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

pub use architecture::{Architecture, Options, Stage};
pub use ast::{Ast, AstConfig};
pub use backbone::BackboneConfig;
pub use blocks::vision::Variant;
pub use blocks::{Count, InitRng};
pub use cnn::{Cnn, CnnConfig};
pub use conformer::{Conformer, ConformerConfig};
pub use crnn::{Crnn, CrnnConfig};
pub use dense::{Dense, DenseConfig};
pub use device::device;
pub use efficientnet_b3::EfficientNetB3;
pub use error::Error;
pub use esc_cnn::{EscCnn, EscCnnConfig};
pub use head::{GapDense, GapDenseConfig, Head, HeadConfig};
pub use inception_v3::InceptionV3;
pub use infer::Inference;
pub use lstm::{LstmConfig, LstmNet};
pub use m34_res::{M34Res, M34ResConfig};
pub use mobilenet_v2::MobileNetV2;
pub use oido_kernels::{Adam, keep_memory};
pub use precision::{Precision, Products};
pub use published::{Axes, Layout, Published};
pub use resnet50::ResNet50;
pub use simple::{Simple, SimpleConfig};
pub use spec_cnn::{SpecCnn, SpecCnnConfig};
pub use vggish::{Postprocess, Vggish, VggishConfig};
pub use waveform_cnn::{Depth, WaveformCnn, WaveformCnnConfig};

use crate::config::ConfigError;
use crate::features::FeatureShape;
use crate::seed::{Purpose, Seed};

/// Most units of one layer, and most classes.
const MAX_UNITS: usize = 1 << 16;
/// Largest side of a kernel.
const MAX_KERNEL: usize = 63;
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
    /// See [`WaveformCnn`].
    M3(WaveformCnnConfig),
    /// See [`WaveformCnn`].
    M5(WaveformCnnConfig),
    /// See [`WaveformCnn`].
    M11(WaveformCnnConfig),
    /// See [`WaveformCnn`].
    M18(WaveformCnnConfig),
    /// See [`M34Res`].
    #[serde(rename = "m34-res")]
    M34Res(M34ResConfig),
    /// See [`SpecCnn`].
    #[serde(rename = "spec-1block")]
    Spec1Block(SpecCnnConfig),
    /// See [`SpecCnn`].
    #[serde(rename = "spec-2block")]
    Spec2Block(SpecCnnConfig),
    /// See [`SpecCnn`].
    #[serde(rename = "spec-4block")]
    Spec4Block(SpecCnnConfig),
    /// See [`Simple`].
    Simple(SimpleConfig),
    /// See [`EscCnn`].
    #[serde(rename = "esc-cnn")]
    EscCnn(EscCnnConfig),
    /// See [`ResNet50`].
    #[serde(rename = "resnet50")]
    ResNet50(BackboneConfig),
    /// See [`EfficientNetB3`].
    #[serde(rename = "efficientnet-b3")]
    EfficientNetB3(BackboneConfig),
    /// See [`InceptionV3`].
    #[serde(rename = "inception-v3")]
    InceptionV3(BackboneConfig),
    /// See [`MobileNetV2`].
    #[serde(rename = "mobilenet-v2")]
    MobileNetV2(BackboneConfig),
    /// See [`Vggish`].
    Vggish(VggishConfig),
    /// See [`Conformer`].
    Conformer(ConformerConfig),
    /// See [`Ast`].
    Ast(AstConfig),
}

/// Any network of the zoo.
#[derive(Module, Debug)]
pub enum Model {
    /// See [`Dense`].
    Dense(Dense),
    /// See [`Cnn`].
    Cnn(Cnn),
    /// See [`LstmNet`].
    Lstm(LstmNet),
    /// See [`Crnn`].
    Crnn(Crnn),
    /// See [`WaveformCnn`].
    WaveformCnn(WaveformCnn),
    /// See [`M34Res`].
    M34Res(M34Res),
    /// See [`SpecCnn`].
    SpecCnn(SpecCnn),
    /// See [`Simple`].
    Simple(Simple),
    /// See [`EscCnn`].
    EscCnn(EscCnn),
    /// See [`ResNet50`].
    ResNet50(ResNet50),
    /// See [`EfficientNetB3`].
    EfficientNetB3(EfficientNetB3),
    /// See [`InceptionV3`].
    InceptionV3(InceptionV3),
    /// See [`MobileNetV2`].
    MobileNetV2(MobileNetV2),
    /// See [`Vggish`].
    Vggish(Vggish),
    /// See [`Conformer`].
    Conformer(Conformer),
    /// See [`Ast`].
    Ast(Ast),
}

impl ModelConfig {
    /// The model's name in files and flags.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Cnn(_) => "cnn",
            Self::Lstm(_) => "lstm",
            Self::Crnn(_) => "crnn",
            Self::M3(_) => "m3",
            Self::M5(_) => "m5",
            Self::M11(_) => "m11",
            Self::M18(_) => "m18",
            Self::M34Res(_) => "m34-res",
            Self::Spec1Block(_) => "spec-1block",
            Self::Spec2Block(_) => "spec-2block",
            Self::Spec4Block(_) => "spec-4block",
            Self::Simple(_) => "simple",
            Self::EscCnn(_) => "esc-cnn",
            Self::ResNet50(_) => "resnet50",
            Self::EfficientNetB3(_) => "efficientnet-b3",
            Self::InceptionV3(_) => "inception-v3",
            Self::MobileNetV2(_) => "mobilenet-v2",
            Self::Vggish(_) => "vggish",
            Self::Conformer(_) => "conformer",
            Self::Ast(_) => "ast",
        }
    }

    /// What this configuration can tell and do.
    fn architecture(&self) -> Box<dyn Architecture + '_> {
        match self {
            Self::Dense(config) => Box::new(config.clone()),
            Self::Cnn(config) => Box::new(config.clone()),
            Self::Lstm(config) => Box::new(config.clone()),
            Self::Crnn(config) => Box::new(config.clone()),
            Self::M3(config) => Box::new(config.deep(Depth::M3)),
            Self::M5(config) => Box::new(config.deep(Depth::M5)),
            Self::M11(config) => Box::new(config.deep(Depth::M11)),
            Self::M18(config) => Box::new(config.deep(Depth::M18)),
            Self::M34Res(config) => Box::new(config.clone()),
            Self::Spec1Block(config) => Box::new(config.of(1)),
            Self::Spec2Block(config) => Box::new(config.of(2)),
            Self::Spec4Block(config) => Box::new(config.of(4)),
            Self::Simple(config) => Box::new(config.clone()),
            Self::EscCnn(config) => Box::new(config.clone()),
            Self::ResNet50(config) => Box::new(resnet50::Design(config)),
            Self::EfficientNetB3(config) => Box::new(efficientnet_b3::Design(config)),
            Self::InceptionV3(config) => Box::new(inception_v3::Design(config)),
            Self::MobileNetV2(config) => Box::new(mobilenet_v2::Design(config)),
            Self::Vggish(config) => Box::new(config.clone()),
            Self::Conformer(config) => Box::new(config.clone()),
            Self::Ast(config) => Box::new(config.clone()),
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
        let architecture = self.architecture();
        let Options { dropouts, units, kernels, batch_norm, least, raw, pixels: _ } = architecture.options();
        if let Some(dropout) = dropouts.iter().find(|dropout| !(0.0..1.0).contains(*dropout)) {
            return Err(ConfigError::field("model.dropout", format!("{dropout} is outside [0, 1)")));
        }
        if units.contains(&0) {
            return Err(ConfigError::field("model", "a layer of 0 units; give at least 1"));
        }
        if let Some(units) = units.iter().find(|units| **units > MAX_UNITS) {
            let reason = format!("a layer of {units} units; give at most {MAX_UNITS}");
            return Err(ConfigError::field("model", reason));
        }
        if let Some(kernel) = kernels.iter().find(|kernel| *kernel % 2 == 0 || **kernel > MAX_KERNEL) {
            let reason = format!("a kernel of {kernel}; give an odd number up to {MAX_KERNEL}");
            return Err(ConfigError::field("model", reason));
        }
        if let Some(norm) = batch_norm
            && !((0.0..=1.0).contains(&norm.momentum) && norm.epsilon.is_finite() && norm.epsilon > 0.0)
        {
            return Err(ConfigError::field(
                "model.batch_norm",
                format!("momentum {} must be in [0, 1] and epsilon {} above 0", norm.momentum, norm.epsilon),
            ));
        }
        architecture.check()?;
        self.validate_input(input, least, raw)?;
        architecture.check_input(input)?;
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

    fn validate_input(&self, input: FeatureShape, least: [usize; 2], raw: bool) -> Result<(), ConfigError> {
        let (name, given) = (self.name(), format!("{} x {}", input.bins, input.frames));
        let reason = if raw && input.bins != 1 {
            format!(
                "{name} hears the wave itself and [features] gives {given}; set features.kind = \"waveform\""
            )
        } else if input.bins < least[0] || input.frames < least[1] {
            format!(
                "{name} needs at least {} bins and {} frames, [features] gives {given}",
                least[0], least[1]
            )
        } else {
            return Ok(());
        };
        Err(ConfigError::field("model.name", reason))
    }

    /// Whether the network takes features that are pixels of 0 to 255 and brings them to its own range itself.
    pub fn takes_pixels(&self) -> bool {
        self.architecture().options().pixels
    }

    /// Shapes and sizes from the configuration alone; nothing is allocated.
    pub fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        self.architecture().count(input, num_classes)
    }

    /// Numbers in the network, as Keras counts.
    pub fn parameters(&self, input: FeatureShape, num_classes: usize) -> usize {
        self.count(input, num_classes).parameters()
    }

    /// The place in this network of a tensor of a published file; `None` when it is not part of it.
    pub fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        self.architecture().published(layout, name)
    }

    /// Options by which the network computes something else while its tensors keep their shapes.
    pub fn silent_options(&self) -> &'static [&'static str] {
        self.architecture().silent_options()
    }

    /// The variant of this network that a published file with a tensor of this name is of, where the name tells.
    pub fn variant_of(&self, layout: Layout, name: &str) -> Option<Variant> {
        self.architecture().variant_of(layout, name)
    }

    /// Whose network it is, of those that are not the same in all libraries.
    pub fn variant(&self) -> Option<Variant> {
        match self {
            Self::ResNet50(config)
            | Self::EfficientNetB3(config)
            | Self::InceptionV3(config)
            | Self::MobileNetV2(config) => Some(config.variant),
            _ => None,
        }
    }

    /// The same network as `variant` has it; networks without variants stay as they are.
    pub fn with_variant(mut self, variant: Variant) -> Self {
        match &mut self {
            Self::ResNet50(config)
            | Self::EfficientNetB3(config)
            | Self::InceptionV3(config)
            | Self::MobileNetV2(config) => config.variant = variant,
            _ => {}
        }
        self
    }

    /// Whether the network does without the tensor that a published file calls `name`.
    pub fn unused(&self, layout: Layout, name: &str) -> bool {
        self.architecture().unused(layout, name)
    }

    /// Builds the network with fresh weights: a pure function of the configuration, the shapes and the seed.
    pub fn init(
        &self,
        input: FeatureShape,
        num_classes: usize,
        seed: Seed,
        device: &Device,
    ) -> Result<Model, ConfigError> {
        self.build(InitRng::new(seed.rng(Purpose::Init, 0, 0)), input, num_classes, device)
    }

    /// As [`ModelConfig::init`] without the time that drawing takes: the network for weights that are loaded at once, or for
    /// a look at its shapes. What would be drawn is zero.
    pub fn blank(
        &self,
        input: FeatureShape,
        num_classes: usize,
        device: &Device,
    ) -> Result<Model, ConfigError> {
        self.build(InitRng::none(), input, num_classes, device)
    }

    fn build(
        &self,
        mut rng: InitRng,
        input: FeatureShape,
        num_classes: usize,
        device: &Device,
    ) -> Result<Model, ConfigError> {
        self.validate(input, num_classes)?;
        Ok(self.architecture().init(&mut rng, input, num_classes, device))
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
            Self::WaveformCnn(model) => model.forward(input),
            Self::M34Res(model) => model.forward(input),
            Self::SpecCnn(model) => model.forward(input),
            Self::Simple(model) => model.forward(input),
            Self::EscCnn(model) => model.forward(input),
            Self::ResNet50(model) => model.forward(input),
            Self::EfficientNetB3(model) => model.forward(input),
            Self::InceptionV3(model) => model.forward(input),
            Self::MobileNetV2(model) => model.forward(input),
            Self::Vggish(model) => model.forward(input),
            Self::Conformer(model) => model.forward(input),
            Self::Ast(model) => model.forward(input),
        }
    }

    /// `[batch, bins, frames]` → one vector a clip, what the head is given (of networks for pictures the mean over the
    /// last map); `None` for networks without such a vector.
    pub fn embed(&self, input: Tensor<3>) -> Option<Tensor<2>> {
        match self {
            Self::ResNet50(model) => Some(model.embed(input)),
            Self::EfficientNetB3(model) => Some(model.embed(input)),
            Self::InceptionV3(model) => Some(model.embed(input)),
            Self::MobileNetV2(model) => Some(model.embed(input)),
            Self::Vggish(model) => Some(model.embed(input)),
            Self::Conformer(model) => Some(model.embed(input)),
            Self::Ast(model) => Some(model.embed(input)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: FeatureShape = FeatureShape { bins: 40, frames: 100 };

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
