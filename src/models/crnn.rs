//! `crnn`: convolution blocks, then a recurrent layer over what is left of time.
//!
//! Initial weights are Keras' defaults: Glorot uniform, recurrent ones orthogonal, biases 0, of the forget gates 1.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{BatchNormOptions, ConvBlock, Count, InitRng, Lstm, keras, linear};
use super::published::{Axes, Layout, Published};
use crate::features::FeatureShape;

/// Channels of each block, and whether batch normalisation follows its ReLU.
const BLOCKS: [(usize, bool); 3] = [(32, false), (64, true), (128, true)];

/// Options of [`Crnn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrnnConfig {
    /// Units of the recurrent layer, in each direction.
    pub units: usize,
    /// Whether a second recurrent layer hears the steps backwards; both last states are classified. Default false.
    pub bidirectional: bool,
    /// Units of the dense layer.
    pub dense: usize,
    /// Dropout before the output.
    pub dropout: f64,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for CrnnConfig {
    fn default() -> Self {
        Self {
            units: 128,
            bidirectional: false,
            dense: 128,
            dropout: 0.3,
            batch_norm: BatchNormOptions::default(),
        }
    }
}

/// Convolutional recurrent network: 128 x 173 becomes 21 steps of 16 bins x 128 channels. With a layer in each direction
/// (Schuster & Paliwal 1997) the state of the forward one after the last step and that of the backward one after the
/// first stand side by side, as in Keras' `Bidirectional`.
#[derive(Module, Debug)]
pub struct Crnn {
    blocks: Vec<ConvBlock>,
    lstm: Lstm,
    lstm_backward: Option<Lstm>,
    dense: Linear,
    dropout: Dropout,
    output: Linear,
}

impl CrnnConfig {
    /// Numbers of the last states of all directions.
    fn state_size(&self) -> usize {
        if self.bidirectional { self.units.saturating_mul(2) } else { self.units }
    }

    /// The map after the last block.
    fn map(input: FeatureShape) -> Count {
        ConvBlock::count_stack(Count::new([1, input.bins, input.frames]), &BLOCKS)
    }
}

impl Architecture for CrnnConfig {
    fn options(&self) -> Options {
        Options {
            dropouts: vec![self.dropout],
            units: vec![self.units, self.dense],
            batch_norm: Some(self.batch_norm),
            least: [1 << BLOCKS.len(); 2],
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let map = Self::map(input);
        let mut count = map.lstm(self.units);
        if self.bidirectional {
            count = count.with(0, map.shape).lstm(self.units);
        }
        let states = [self.state_size(), 1, 1];
        count.with(0, states).dense(self.dense).dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let [channels, bins, _] = Self::map(input).shape;
        Model::Crnn(Crnn {
            blocks: ConvBlock::stack(rng, 1, &BLOCKS, self.batch_norm, device),
            lstm: Lstm::new(rng, channels * bins, self.units, device),
            lstm_backward: self.bidirectional.then(|| Lstm::new(rng, channels * bins, self.units, device)),
            dense: linear(rng, self.state_size(), self.dense, device),
            dropout: DropoutConfig::new(self.dropout).init(),
            output: linear(rng, self.dense, num_classes, device),
        })
    }

    /// The study's Keras model, whose layers Keras named; with two directions a `Bidirectional` around its `LSTM`.
    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        let (layer, variable) = name.rsplit_once('/').filter(|_| layout == Layout::Keras)?;
        let lstm = match layer.split_once('/') {
            None if layer == "lstm" && !self.bidirectional => Some("lstm"),
            Some(("bidirectional", part)) if self.bidirectional => match part.split('_').next()? {
                "forward" => Some("lstm"),
                "backward" => Some("lstm_backward"),
                _ => None,
            },
            _ => None,
        };
        if let Some(lstm) = lstm {
            // Keras' columns are bins of channels.
            let channels = BLOCKS[BLOCKS.len() - 1].0;
            return keras::lstm_variable(lstm, variable, Axes::Flattened { channels });
        }
        match keras::numbered(layer)? {
            ("dense", 0) => keras::dense_variable("dense", variable),
            ("dense", 1) => keras::dense_variable("output", variable),
            layer => ConvBlock::keras_variable(&BLOCKS, layer, variable),
        }
    }
}

impl Crnn {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let x = self.blocks.iter().fold(input.unsqueeze_dim::<4>(1), |x, block| block.forward(x));
        // [batch, channels, bins, steps] → [batch, steps, channels * bins]
        let x = x.flatten::<3>(1, 2).swap_dims(1, 2);
        let mut states = vec![self.lstm.last(x.clone(), false)];
        states.extend(self.lstm_backward.iter().map(|lstm| lstm.last(x.clone(), true)));
        let x = kernels::linear_relu(&self.dense, Tensor::cat(states, 1));
        kernels::linear(&self.output, self.dropout.forward(x))
    }
}
