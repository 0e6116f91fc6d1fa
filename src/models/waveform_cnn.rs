//! `m3`, `m5`, `m11`, `m18`: convolutional networks on the wave itself.
//!
//! Dai et al. 2016, "Very deep convolutional neural networks for raw waveforms", with the widths and the stride of
//! the speaker-counting study as defaults; `channels = 256` (m3), 128 (m5), 64 (m11, m18) and `stride = 4` are the
//! paper's.
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
use super::blocks::{BatchNormOptions, Count, InitRng, batch_norm};
use super::published::{Layout, Published};
use crate::features::FeatureShape;

/// Samples under the first kernel: 5 ms at 16 kHz.
const FIRST_KERNEL: usize = 80;
/// Window and stride of the maximum.
const POOL: usize = 4;
/// Groups of layers that are pooled; at the paper's rate the fifth works on 32 steps and is averaged at once.
const POOLED_GROUPS: usize = 4;

/// Options of [`WaveformCnn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaveformCnnConfig {
    /// Channels of the first layer; later groups have one, two, four and eight times as many.
    pub channels: usize,
    /// Samples between two steps of the first layer.
    pub stride: usize,
    /// Batch normalisation.
    pub batch_norm: BatchNormOptions,
}

impl Default for WaveformCnnConfig {
    fn default() -> Self {
        Self { channels: 32, stride: 16, batch_norm: BatchNormOptions::torch() }
    }
}

/// How deep: the number of layers with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 3.
    M3,
    /// 5.
    M5,
    /// 11.
    M11,
    /// 18.
    M18,
}

impl Depth {
    /// Groups of layers: how often the width of the first layer, and how many layers.
    fn groups(self) -> &'static [(usize, usize)] {
        match self {
            Self::M3 => &[(1, 1), (1, 1)],
            Self::M5 => &[(1, 1), (1, 1), (2, 1), (4, 1)],
            Self::M11 => &[(1, 1), (1, 2), (2, 2), (4, 3), (8, 2)],
            Self::M18 => &[(1, 1), (1, 4), (2, 4), (4, 4), (8, 4)],
        }
    }
}

/// First layer with a kernel of 80 samples, then groups of layers with kernel 3; each layer is convolution, batch
/// normalisation, ReLU. The maximum over 4 steps follows each of the first four groups, the mean over time the last.
#[derive(Module, Debug)]
pub struct WaveformCnn {
    groups: Vec<Vec<Layer>>,
    output: Linear,
}

/// Convolution, batch normalisation, ReLU.
#[derive(Module, Debug)]
struct Layer {
    conv: Conv1d,
    batch_norm: BatchNorm,
}

impl WaveformCnnConfig {
    /// These options at one depth.
    pub(super) fn deep(&self, depth: Depth) -> Deep<'_> {
        Deep(depth, self)
    }
}

/// The options at one depth.
pub(super) struct Deep<'a>(Depth, &'a WaveformCnnConfig);

impl Deep<'_> {
    /// Channels of each layer, group by group.
    fn widths(&self) -> Vec<Vec<usize>> {
        let width = |factor: usize| self.1.channels.saturating_mul(factor);
        self.0.groups().iter().map(|&(factor, layers)| vec![width(factor); layers]).collect()
    }

    /// Kernel, stride and padding of the layers of a group.
    fn kernel(&self, group: usize) -> [usize; 3] {
        if group == 0 { [FIRST_KERNEL, self.1.stride, 0] } else { [3, 1, 1] }
    }
}

impl Architecture for Deep<'_> {
    fn options(&self) -> Options {
        let pooled = self.0.groups().len().min(POOLED_GROUPS);
        // As many steps after the first layer as leave one after the last maximum.
        let steps = POOL.pow(pooled as u32);
        let least = (steps - 1).saturating_mul(self.1.stride).saturating_add(FIRST_KERNEL);
        Options {
            units: [self.widths().concat(), vec![self.1.stride]].concat(),
            batch_norm: Some(self.1.batch_norm),
            least: [1, least],
            raw: true,
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let mut count = Count::new([1, 1, input.frames]);
        for (group, widths) in self.widths().into_iter().enumerate() {
            let [kernel, stride, padding] = self.kernel(group);
            for width in widths {
                let steps = torch::steps(count.shape[2], kernel, stride, padding);
                count = count.conv_to([width, 1, steps], [1, kernel]).batch_norm();
            }
            if group < POOLED_GROUPS {
                count = count.pool([1, POOL]);
            }
        }
        count.global_pool().dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let mut c_in = 1;
        let mut groups = Vec::new();
        for (group, widths) in self.widths().into_iter().enumerate() {
            let [kernel, stride, padding] = self.kernel(group);
            let mut layer = |c_out: usize| {
                let conv = conv1d(rng, [c_in, c_out], kernel, stride, padding, device);
                c_in = c_out;
                Layer { conv, batch_norm: batch_norm(c_out, self.1.batch_norm, device) }
            };
            groups.push(widths.into_iter().map(&mut layer).collect());
        }
        Model::WaveformCnn(WaveformCnn { groups, output: torch::linear(rng, c_in, num_classes, device) })
    }

    /// The names of PyTorch's own example of these networks: layers `conv1`, `bn1`, `conv2`, …, then `fc1`.
    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        let (layer, tensor) = name.split_once('.').filter(|_| layout == Layout::Torch)?;
        if layer == "fc1" {
            return torch::dense_tensor("output", tensor);
        }
        let (kind, number) = layer.split_at_checked(if layer.starts_with("conv") { 4 } else { 2 })?;
        let mut index = number.parse::<usize>().ok()?.checked_sub(1)?;
        let mut groups = self.0.groups().iter().map(|(_, layers)| *layers).enumerate();
        let (group, _) = groups.find(|&(_, layers)| match index.checked_sub(layers) {
            Some(left) => {
                index = left;
                false
            }
            None => true,
        })?;
        let field = format!("groups.{group}.{index}");
        match kind {
            "conv" => torch::conv_tensor(&format!("{field}.conv"), tensor),
            "bn" => torch::batch_norm_tensor(&format!("{field}.batch_norm"), tensor),
            _ => None,
        }
    }
}

impl WaveformCnn {
    /// `[batch, 1, samples]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let mut x = input;
        for (i, group) in self.groups.iter().enumerate() {
            let Some((last, layers)) = group.split_last() else { continue };
            let x_last = layers.iter().fold(x, |x, layer| layer.forward(x, &[]));
            x = last.forward(x_last, if i < POOLED_GROUPS { &[Step::Maximum([1, POOL])] } else { &[] });
        }
        kernels::linear(&self.output, kernels::global_mean(x))
    }
}

impl Layer {
    fn forward(&self, x: Tensor<3>, then: &[Step]) -> Tensor<3> {
        let steps = [&[Step::Norm(&self.batch_norm), Step::Relu], then].concat();
        kernels::conv1d_then(&self.conv, x, &steps)
    }
}
