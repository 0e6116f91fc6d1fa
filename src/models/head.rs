//! From the map of a network that was made for pictures to classes.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::Tensor;
use oido_kernels as kernels;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::architecture::{Architecture, Options};
use super::blocks::vision::Builder;
use super::blocks::{Count, global_mean, keras, torch};
use super::published::{Layout, Published};
use super::simple::{Simple, SimpleConfig};

/// Recipe section `[model.head]`; without a `kind` it is `gap-dense`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HeadConfig {
    /// Mean over the map, dense layers, output.
    GapDense(GapDenseConfig),
    /// The Freesound study's small convolution network on the map; see [`Simple`].
    Simple(SimpleConfig),
}

/// Options of the head `gap-dense`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GapDenseConfig {
    /// Units of the dense layers with ReLU in front of the output; none gives the published classifier.
    pub units: Vec<usize>,
    /// Dropout after each of these layers, or on the mean when there are none.
    pub dropout: f64,
}

impl Default for GapDenseConfig {
    fn default() -> Self {
        Self { units: vec![256], dropout: 0.0 }
    }
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self::GapDense(GapDenseConfig::default())
    }
}

/// Reads a head; one that does not say its kind is `gap-dense`.
pub(super) fn read<'de, D: Deserializer<'de>>(section: D) -> Result<HeadConfig, D::Error> {
    let mut section = toml::Table::deserialize(section)?;
    section.entry("kind").or_insert_with(|| "gap-dense".into());
    section.try_into().map_err(|error: toml::de::Error| D::Error::custom(error.message()))
}

impl HeadConfig {
    /// The options that have limits.
    pub fn options(&self) -> Options {
        match self {
            Self::GapDense(config) => {
                Options { dropouts: vec![config.dropout], units: config.units.clone(), ..Options::default() }
            }
            Self::Simple(config) => Options { least: [1, 1], ..config.options() },
        }
    }

    /// What it costs after a map that was counted.
    pub fn count(&self, map: Count, num_classes: usize) -> Count {
        match self {
            Self::GapDense(config) => config
                .units
                .iter()
                .fold(map.global_pool(), |count, units| count.dense(*units))
                .dense(num_classes),
            Self::Simple(config) => config.count_on_map(map, num_classes),
        }
    }

    /// Builds it for a map of `channels`.
    pub fn init(&self, builder: &mut Builder, channels: usize, num_classes: usize) -> Head {
        match self {
            Self::GapDense(config) => {
                let mut d_input = channels;
                let mut hidden = Vec::new();
                for units in &config.units {
                    hidden.push(builder.dense(d_input, *units));
                    d_input = *units;
                }
                Head::GapDense(GapDense {
                    hidden,
                    dropout: DropoutConfig::new(config.dropout).init(),
                    output: builder.output(d_input, num_classes),
                })
            }
            Self::Simple(config) => {
                Head::Simple(config.build(builder.rng, channels, num_classes, builder.device))
            }
        }
    }

    /// The place of a tensor of the published classifier, when this head is that classifier.
    pub fn classifier(&self, layout: Layout, tensor: &str) -> Option<Published> {
        match self {
            Self::GapDense(config) if config.units.is_empty() => match layout {
                Layout::Torch => torch::dense_tensor("head.output", tensor),
                Layout::Keras => keras::dense_variable("head.output", tensor),
            },
            _ => None,
        }
    }
}

/// See [`HeadConfig`].
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a network; boxing would hide the modules from Burn")]
pub enum Head {
    /// Mean, dense layers, output.
    GapDense(GapDense),
    /// A small convolution network.
    Simple(Simple),
}

/// Mean over the map, dense layers with ReLU and dropout, output.
#[derive(Module, Debug)]
pub struct GapDense {
    hidden: Vec<Linear>,
    dropout: Dropout,
    output: Linear,
}

impl Head {
    /// `[batch, channels, h, w]` → `[batch, num_classes]`.
    pub fn forward(&self, map: Tensor<4>) -> Tensor<2> {
        match self {
            Self::GapDense(head) => head.forward(global_mean(map)),
            Self::Simple(head) => head.on_map(map),
        }
    }
}

impl GapDense {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if self.hidden.is_empty() {
            return kernels::linear(&self.output, self.dropout.forward(x));
        }
        let hidden = |x, dense: &Linear| self.dropout.forward(kernels::linear_relu(dense, x));
        kernels::linear(&self.output, self.hidden.iter().fold(x, hidden))
    }
}
