//! `spec-1block`, `spec-2block`, `spec-4block`: small convolutional networks on a spectrogram, of the
//! speaker-counting study.
//!
//! Initial weights are PyTorch's defaults: uniform within `1 / sqrt(fan_in)`, biases too.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels::{self as kernels, Step};
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::{BatchNormOptions, Count, InitRng, batch_norm, torch};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Options of a [`SpecCnn`]; how many blocks it has is in its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecCnnConfig {
    /// Channels of each block. Default, as in the study: 32, from the third block on 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<usize>>,
    /// Dropout after each of the last so many blocks. The study has .2 and .4 for two blocks; it says that there are
    /// three for four blocks, here .2, .3 and .4, and that there is one for one block, here .2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropouts: Option<Vec<f64>>,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for SpecCnnConfig {
    fn default() -> Self {
        Self { channels: None, dropouts: None, batch_norm: BatchNormOptions::torch() }
    }
}

impl SpecCnnConfig {
    /// These options for a network of `blocks` blocks.
    pub(super) fn of(&self, blocks: usize) -> Blocks {
        let channels = (0..blocks).map(|block| if block < 2 { 32 } else { 64 });
        let dropouts: &[f64] = match blocks {
            1 => &[0.2],
            2 => &[0.2, 0.4],
            _ => &[0.2, 0.3, 0.4],
        };
        Blocks {
            blocks,
            channels: self.channels.clone().unwrap_or_else(|| channels.collect()),
            dropouts: self.dropouts.clone().unwrap_or_else(|| dropouts.to_vec()),
            batch_norm: self.batch_norm,
        }
    }
}

/// Every number of one network.
pub(super) struct Blocks {
    blocks: usize,
    channels: Vec<usize>,
    dropouts: Vec<f64>,
    batch_norm: BatchNormOptions,
}

/// Blocks of convolution 3 x 3 "same", batch normalisation, ReLU, maximum over 2 x 2 and dropout; mean over the map.
#[derive(Module, Debug)]
pub struct SpecCnn {
    blocks: Vec<Block>,
    output: Linear,
}

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    batch_norm: BatchNorm,
    dropout: Dropout,
}

impl Architecture for Blocks {
    fn options(&self) -> Options {
        Options {
            dropouts: self.dropouts.clone(),
            units: self.channels.clone(),
            batch_norm: Some(self.batch_norm),
            least: [1 << self.blocks; 2],
            ..Options::default()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, numbers: usize| {
            let reason = format!("{numbers} numbers, the network has {} blocks", self.blocks);
            Err(ConfigError::field(format!("model.{key}"), reason))
        };
        if self.channels.len() != self.blocks {
            return refuse("channels", self.channels.len());
        }
        if self.dropouts.len() > self.blocks {
            return refuse("dropouts", self.dropouts.len());
        }
        Ok(())
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let start = Count::new([1, input.bins, input.frames]);
        let block = |count: Count, &c_out: &usize| count.conv(c_out, [3, 3]).batch_norm().pool([2, 2]);
        self.channels.iter().fold(start, block).global_pool().dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let mut c_in = 1;
        let mut blocks = Vec::with_capacity(self.blocks);
        let without = self.blocks - self.dropouts.len();
        let dropouts = std::iter::repeat_n(&0.0, without).chain(&self.dropouts);
        for (&c_out, &dropout) in self.channels.iter().zip(dropouts) {
            blocks.push(Block {
                conv: torch::conv3x3(rng, [c_in, c_out], device),
                batch_norm: batch_norm(c_out, self.batch_norm, device),
                dropout: DropoutConfig::new(dropout).init(),
            });
            c_in = c_out;
        }
        Model::SpecCnn(SpecCnn { blocks, output: torch::linear(rng, c_in, num_classes, device) })
    }
}

impl SpecCnn {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let block = |x, block: &Block| {
            let steps = [Step::Norm(&block.batch_norm), Step::Relu, Step::Maximum([2, 2])];
            kernels::each(kernels::conv2d_then(&block.conv, x, &steps), |x| block.dropout.forward(x))
        };
        let x = self.blocks.iter().fold(input.unsqueeze_dim::<4>(1), block);
        let [batch, channels, ..] = x.dims();
        kernels::linear(&self.output, x.mean_dims(&[2, 3]).reshape([batch, channels]))
    }
}
