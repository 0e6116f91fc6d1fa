use burn::tensor::Device;

use super::Model;
use super::blocks::vision::Variant;
use super::blocks::{BatchNormOptions, Count, InitRng};
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// What the configuration of every architecture can tell and do.
pub trait Architecture {
    /// The options that have limits.
    fn options(&self) -> Options;

    /// Refuses combinations of options that [`Options`] cannot express.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Refuses features whose shape makes the network use more memory than its parameters tell.
    fn check_input(&self, _input: FeatureShape) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Shapes and sizes, layer by layer, for features of shape `input`.
    fn count(&self, input: FeatureShape, num_classes: usize) -> Count;

    /// The network with fresh weights drawn from `rng`.
    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model;

    /// The parts of the network that can be frozen, in the order in which a clip passes them: together all tensors, each
    /// in one stage. Empty for networks that are only ever trained whole.
    fn stages(&self) -> Vec<Stage> {
        Vec::new()
    }

    /// The place in this network of the tensor `name` of a published file; `None` when it is not part of it, and
    /// always for networks nobody published weights of.
    fn published(&self, _layout: Layout, _name: &str) -> Option<Published> {
        None
    }

    /// Options by which the network computes something else while its tensors keep their shapes: weights fit one value.
    fn silent_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// The variant of this network that a published file with a tensor of this name is of; `None` where the name does not
    /// tell, and for networks without variants.
    fn variant_of(&self, _layout: Layout, _name: &str) -> Option<Variant> {
        None
    }

    /// Whether the network does without the tensor that a published file calls `name`: an auxiliary classifier, for
    /// instance. Any other tensor that has no place is a sign of another network.
    fn unused(&self, _layout: Layout, _name: &str) -> bool {
        false
    }
}

/// A part of a network that can be frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name in recipes.
    pub name: String,
    /// Names, or beginnings of names up to a dot, of its tensors.
    pub tensors: Vec<String>,
}

impl Stage {
    /// A stage of these tensors.
    pub fn of<const N: usize>(name: impl Into<String>, tensors: [&str; N]) -> Self {
        Self { name: name.into(), tensors: tensors.map(str::to_owned).to_vec() }
    }

    /// Whether the tensor `name` belongs to it.
    pub fn contains(&self, name: &str) -> bool {
        let within = |start: &String| name.strip_prefix(start).is_some_and(|rest| rest.starts_with('.'));
        self.tensors.iter().any(within)
    }
}

/// Options of an architecture that are checked before it is built.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Shares of values that dropout sets to zero.
    pub dropouts: Vec<f64>,
    /// Units or channels of layers that can be chosen.
    pub units: Vec<usize>,
    /// Sides of square kernels that keep the size of the map.
    pub kernels: Vec<usize>,
    /// Batch normalisation.
    pub batch_norm: Option<BatchNormOptions>,
    /// Fewest bins and frames.
    pub least: [usize; 2],
    /// Whether the network hears the wave itself: it takes one bin only.
    pub raw: bool,
    /// Whether the features must be pixels of 0 to 255.
    pub pixels: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dropouts: vec![],
            units: vec![],
            kernels: vec![],
            batch_norm: None,
            least: [1, 1],
            raw: false,
            pixels: false,
        }
    }
}
