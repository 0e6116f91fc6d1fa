//! `cnn`: four convolution blocks and a dense head on the flattened map.
//!
//! Initial weights are Keras' defaults: Glorot uniform, biases 0.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{
    BatchNormOptions, ConvBlock, Count, InitRng, check_input_channels, image, keras, linear,
};
use super::published::{Axes, Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Channels of each block, and whether batch normalisation follows its ReLU.
const BLOCKS: [(usize, bool); 4] = [(32, false), (64, true), (128, false), (256, true)];

/// Options of [`Cnn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CnnConfig {
    /// Channels that the features are repeated to, 1 or 3 as for networks made for colour pictures. Default 1; not
    /// written then.
    #[serde(skip_serializing_if = "is_one")]
    pub input_channels: usize,
    /// Units of the dense layer.
    pub dense: usize,
    /// Dropout before the output.
    pub dropout: f64,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for CnnConfig {
    fn default() -> Self {
        Self { input_channels: 1, dense: 256, dropout: 0.5, batch_norm: BatchNormOptions::default() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(channels: &usize) -> bool {
    *channels == 1
}

/// The convolutional network of the urban-sounds study.
#[derive(Module, Debug)]
pub struct Cnn {
    input_channels: usize,
    blocks: Vec<ConvBlock>,
    dense: Linear,
    dropout: Dropout,
    output: Linear,
}

impl CnnConfig {
    /// The map after the last block.
    fn map(&self, input: FeatureShape) -> Count {
        ConvBlock::count_stack(Count::new([self.input_channels, input.bins, input.frames]), &BLOCKS)
    }
}

impl Architecture for CnnConfig {
    fn options(&self) -> Options {
        Options {
            dropouts: vec![self.dropout],
            units: vec![self.dense],
            batch_norm: Some(self.batch_norm),
            least: [1 << BLOCKS.len(); 2],
            ..Options::default()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_input_channels(self.input_channels)
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        self.map(input).flatten().dense(self.dense).dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model {
        Model::Cnn(Cnn {
            input_channels: self.input_channels,
            blocks: ConvBlock::stack(rng, self.input_channels, &BLOCKS, self.batch_norm, device),
            dense: linear(rng, self.map(input).flatten().shape[0], self.dense, device),
            dropout: DropoutConfig::new(self.dropout).init(),
            output: linear(rng, self.dense, num_classes, device),
        })
    }

    /// The study's Keras model, whose layers Keras named.
    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        let (layer, variable) = name.split_once('/').filter(|_| layout == Layout::Keras)?;
        match keras::numbered(layer)? {
            ("dense", 0) if variable == "kernel" => {
                let channels = BLOCKS[BLOCKS.len() - 1].0;
                Some(Published::with("dense.weight", Axes::Flattened { channels }))
            }
            ("dense", 0) => keras::dense_variable("dense", variable),
            ("dense", 1) => keras::dense_variable("output", variable),
            layer => ConvBlock::keras_variable(&BLOCKS, layer, variable),
        }
    }
}

impl Cnn {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let x = image(input, self.input_channels);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = kernels::linear_relu(&self.dense, x.flatten::<2>(1, 3));
        kernels::linear(&self.output, self.dropout.forward(x))
    }
}
