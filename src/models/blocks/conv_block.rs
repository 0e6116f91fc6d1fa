//! The convolution block of the urban-sounds study.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use super::{BatchNormOptions, batch_norm, conv2d};

/// Convolution 3 x 3 "same", ReLU, optional batch normalisation, maximum over 2 x 2 windows.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: Conv2d,
    batch_norm: Option<BatchNorm>,
    pool: MaxPool2d,
}

impl ConvBlock {
    /// A stack of blocks on one input channel; `table` gives each block's channels, and whether batch
    /// normalisation follows its ReLU.
    pub fn stack(
        rng: &mut ChaCha8Rng,
        table: &[(usize, bool)],
        norm: BatchNormOptions,
        device: &Device,
    ) -> Vec<Self> {
        let mut c_in = 1;
        let mut blocks = Vec::with_capacity(table.len());
        for &(c_out, normalised) in table {
            blocks.push(Self {
                conv: conv2d(rng, [c_in, c_out], 3, device),
                batch_norm: normalised.then(|| batch_norm(c_out, norm, device)),
                pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            });
            c_in = c_out;
        }
        blocks
    }

    /// Numbers in such a stack: 9 weights for each pair of channels, a bias, and four of batch normalisation (scale,
    /// shift, moving mean and variance).
    pub fn stack_parameters(table: &[(usize, bool)]) -> usize {
        let c_in = [1].into_iter().chain(table.iter().map(|block| block.0));
        let block = |(c_in, &(c_out, normalised)): (usize, &(usize, bool))| {
            c_out * (9 * c_in + 1 + if normalised { 4 } else { 0 })
        };
        c_in.zip(table).map(block).sum()
    }

    /// `[batch, c_in, h, w]` → `[batch, c_out, h / 2, w / 2]`; an odd last row or column is dropped.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = relu(self.conv.forward(input));
        if let Some(norm) = &self.batch_norm {
            x = norm.forward(x);
        }
        self.pool.forward(x)
    }
}

/// Length of an axis after `blocks` blocks.
pub fn pooled(length: usize, blocks: usize) -> usize {
    length >> blocks
}
