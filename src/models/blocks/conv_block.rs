//! The convolution block of the urban-sounds study.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use oido_kernels::{self as kernels, Step};

use super::{BatchNormOptions, Count, InitRng, batch_norm, conv2d, keras};
use crate::models::published::Published;

/// Convolution 3 x 3 "same", ReLU, optional batch normalisation, maximum over 2 x 2 windows.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: Conv2d,
    batch_norm: Option<BatchNorm>,
}

impl ConvBlock {
    /// A stack of blocks on `c_in` input channels; `table` gives each block's channels, and whether batch
    /// normalisation follows its ReLU.
    pub fn stack(
        rng: &mut InitRng,
        mut c_in: usize,
        table: &[(usize, bool)],
        norm: BatchNormOptions,
        device: &Device,
    ) -> Vec<Self> {
        let mut blocks = Vec::with_capacity(table.len());
        for &(c_out, normalised) in table {
            blocks.push(Self {
                conv: conv2d(rng, [c_in, c_out], 3, device),
                batch_norm: normalised.then(|| batch_norm(c_out, norm, device)),
            });
            c_in = c_out;
        }
        blocks
    }

    /// What such a stack costs.
    pub fn count_stack(count: Count, table: &[(usize, bool)]) -> Count {
        table.iter().fold(count, |count, &(c_out, normalised)| {
            let count = count.conv(c_out, [3, 3]);
            if normalised { count.batch_norm() } else { count }.pool([2, 2])
        })
    }

    /// The place of a variable of the study's Keras model in a stack that is called `blocks`; the layer is the one of its
    /// kind with this number.
    pub fn keras_variable(
        table: &[(usize, bool)],
        (kind, number): (&str, usize),
        variable: &str,
    ) -> Option<Published> {
        match kind {
            "conv2d" if number < table.len() => {
                keras::conv_variable(&format!("blocks.{number}.conv"), variable)
            }
            "batch_normalization" => {
                let (block, _) = table.iter().enumerate().filter(|(_, block)| block.1).nth(number)?;
                keras::batch_norm_variable(&format!("blocks.{block}.batch_norm"), variable)
            }
            _ => None,
        }
    }

    /// `[batch, c_in, h, w]` → `[batch, c_out, h / 2, w / 2]`; an odd last row or column is dropped.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let norm = self.batch_norm.as_ref().map(Step::Norm);
        let steps: Vec<_> = [Step::Relu].into_iter().chain(norm).chain([Step::Maximum([2, 2])]).collect();
        kernels::conv2d_then(&self.conv, input, &steps)
    }
}
