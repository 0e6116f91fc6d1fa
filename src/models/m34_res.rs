//! `m34-res`: a residual network on the wave itself, 34 layers deep (Dai et al. 2016).
//!
//! Initial weights are PyTorch's defaults: uniform within `1 / sqrt(fan_in)`, biases too.

use burn::module::Module;
use burn::nn::conv::Conv1d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels::{self as kernels, Step};
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options};
use super::blocks::torch::{self, conv1d};
use super::blocks::{BatchNormOptions, Count, InitRng, batch_norm, max_over_time};
use crate::features::FeatureShape;

/// Samples under the first kernel: 5 ms at 16 kHz.
const FIRST_KERNEL: usize = 80;
/// Window and stride of the maximum before each stage.
const POOL: usize = 4;
/// Stages: how often the width of the first layer, and how many residual blocks.
const STAGES: [(usize, usize); 4] = [(1, 3), (2, 4), (4, 6), (8, 3)];

/// Options of [`M34Res`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct M34ResConfig {
    /// Channels of the first layer and stage; the next stages have two, four and eight times as many.
    pub channels: usize,
    /// Samples between two steps of the first layer; the paper has 4.
    pub stride: usize,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for M34ResConfig {
    fn default() -> Self {
        Self { channels: 48, stride: 16, batch_norm: BatchNormOptions::torch() }
    }
}

/// First layer, then four stages of residual blocks, each after a maximum over 4 steps; mean over time.
#[derive(Module, Debug)]
pub struct M34Res {
    conv: Conv1d,
    batch_norm: BatchNorm,
    stages: Vec<Vec<Residual>>,
    output: Linear,
}

/// Two convolutions with kernel 3 beside a short cut. Where the width doubles, the short cut brings zeros for the new
/// channels (option A of He et al. 2016), so that it has no weights; the paper leaves this open.
#[derive(Module, Debug)]
struct Residual {
    conv1: Conv1d,
    batch_norm1: BatchNorm,
    conv2: Conv1d,
    batch_norm2: BatchNorm,
}

impl M34ResConfig {
    fn width(&self, factor: usize) -> usize {
        self.channels.saturating_mul(factor)
    }
}

impl Architecture for M34ResConfig {
    fn options(&self) -> Options {
        let steps = POOL.pow(STAGES.len() as u32);
        let least = (steps - 1).saturating_mul(self.stride).saturating_add(FIRST_KERNEL);
        Options {
            units: vec![self.channels, self.width(8), self.stride],
            batch_norm: Some(self.batch_norm),
            least: [1, least],
            raw: true,
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let steps = torch::steps(input.frames, FIRST_KERNEL, self.stride, 0);
        let mut count = Count::new([1, 1, input.frames])
            .conv_to([self.channels, 1, steps], [1, FIRST_KERNEL])
            .batch_norm();
        for (factor, blocks) in STAGES {
            count = count.pool([1, POOL]);
            for _ in 0..2 * blocks {
                count = count.conv(self.width(factor), [1, 3]).batch_norm();
            }
        }
        count.global_pool().dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let norm = |channels| batch_norm(channels, self.batch_norm, device);
        let conv = conv1d(rng, [1, self.channels], FIRST_KERNEL, self.stride, 0, device);
        let mut c_in = self.channels;
        let mut stages = Vec::new();
        for (factor, blocks) in STAGES {
            let c_out = self.width(factor);
            let mut stage = Vec::new();
            for _ in 0..blocks {
                stage.push(Residual {
                    conv1: conv1d(rng, [c_in, c_out], 3, 1, 1, device),
                    batch_norm1: norm(c_out),
                    conv2: conv1d(rng, [c_out, c_out], 3, 1, 1, device),
                    batch_norm2: norm(c_out),
                });
                c_in = c_out;
            }
            stages.push(stage);
        }
        let output = torch::linear(rng, c_in, num_classes, device);
        Model::M34Res(M34Res { conv, batch_norm: norm(self.channels), stages, output })
    }
}

impl M34Res {
    /// `[batch, 1, samples]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let mut x = kernels::conv1d_then(&self.conv, input, &[Step::Norm(&self.batch_norm), Step::Relu]);
        for stage in &self.stages {
            x = stage.iter().fold(max_over_time(x, POOL), |x, block| block.forward(x));
        }
        kernels::linear(&self.output, kernels::global_mean(x))
    }
}

impl Residual {
    fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let x =
            kernels::conv1d_then(&self.conv1, input.clone(), &[Step::Norm(&self.batch_norm1), Step::Relu]);
        let x = kernels::conv1d_then(&self.conv2, x, &[Step::Norm(&self.batch_norm2)]);
        let [batch, channels, steps] = x.dims();
        let new = channels - input.dims()[1];
        let shortcut = if new == 0 {
            input
        } else {
            let zeros = Tensor::zeros([batch, new, steps], &input.device());
            Tensor::cat(vec![input, zeros], 1)
        };
        kernels::add_relu(x, shortcut)
    }
}
