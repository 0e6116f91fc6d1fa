//! `conformer`: convolution between the halves of a transformer layer (Gulati et al. 2020), as torchaudio builds it.

use burn::module::{Module, Param};
use burn::nn::conv::Conv1d;
use burn::nn::{BatchNorm, Dropout, DropoutConfig, GroupNorm, GroupNormConfig, Linear};
use burn::tensor::activation::glu;
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::blocks::torch::{self, conv1d, depthwise_conv1d, linear};
use super::blocks::{
    self, BatchNormOptions, Count, InitRng, LayerNorm, batch_norm, check_heads, check_layers, check_steps,
};
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Added to the variance by layer normalisation (PyTorch's default).
const LAYER_NORM_EPSILON: f64 = 1e-5;

/// Options of [`Conformer`], in torchaudio's words; the default is Conformer (S) of the paper (whose kernel of 32 steps
/// cannot be centred: 31).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConformerConfig {
    /// Frames that make one step, side by side; what fills no step at the end is left out. As torchaudio's
    /// `conformer_rnnt` does it, in place of the paper's convolutions with stride.
    pub time_reduction: usize,
    /// Numbers of each step inside the network (torchaudio's `input_dim`; a dense layer brings the frames to it).
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Heads of the attention; they divide `hidden_size`.
    pub num_heads: usize,
    /// Units inside each feed-forward module.
    pub ffn_dim: usize,
    /// Steps under the kernel of the depthwise convolution, odd.
    pub depthwise_conv_kernel_size: usize,
    /// Whether the convolution module normalises each clip by itself (one group) instead of the batch.
    pub use_group_norm: bool,
    /// Whether the convolution module comes before the attention.
    pub convolution_first: bool,
    /// Dropout in every module.
    pub dropout: f64,
    /// Dropout on the weights of the attention. Default 0, as in the paper; torchaudio has `dropout` here too.
    pub attention_dropout: f64,
    /// Batch normalisation of the convolution module.
    pub batch_norm: BatchNormOptions,
}

impl Default for ConformerConfig {
    fn default() -> Self {
        Self {
            time_reduction: 4,
            hidden_size: 144,
            num_layers: 16,
            num_heads: 4,
            ffn_dim: 576,
            depthwise_conv_kernel_size: 31,
            use_group_norm: false,
            convolution_first: false,
            dropout: 0.1,
            attention_dropout: 0.0,
            batch_norm: BatchNormOptions::torch(),
        }
    }
}

/// Steps of some frames, each brought to `hidden_size` numbers; conformer layers; the mean over time is classified.
///
/// As in torchaudio the attention knows no positions (the paper's are relative ones): order is heard by the convolutions
/// only. Fresh weights are PyTorch's.
#[derive(Module, Debug)]
pub struct Conformer {
    input_projection: Linear,
    conformer_layers: Vec<Layer>,
    output: Linear,
    time_reduction: usize,
}

#[derive(Module, Debug)]
struct Layer {
    ffn1: FeedForward,
    self_attn_layer_norm: LayerNorm,
    self_attn: Attention,
    conv_module: Convolution,
    ffn2: FeedForward,
    final_layer_norm: LayerNorm,
    convolution_first: bool,
}

#[derive(Module, Debug)]
struct FeedForward {
    layer_norm: LayerNorm,
    linear1: Linear,
    linear2: Linear,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Attention {
    /// Queries, keys and values in one, `[hidden, 3 * hidden]`.
    in_proj: Linear,
    out_proj: Linear,
    attention_dropout: Dropout,
    dropout: Dropout,
    heads: usize,
}

#[derive(Module, Debug)]
struct Convolution {
    layer_norm: LayerNorm,
    pointwise1: Conv1d,
    depthwise: Conv1d,
    batch_norm: Option<BatchNorm>,
    group_norm: Option<GroupNorm>,
    pointwise2: Conv1d,
    dropout: Dropout,
}

impl ConformerConfig {
    /// Numbers of one step.
    fn inputs(&self, bins: usize) -> usize {
        bins.saturating_mul(self.time_reduction)
    }

    fn feed_forward(&self, rng: &mut InitRng, device: &Device) -> FeedForward {
        FeedForward {
            layer_norm: LayerNorm::new(self.hidden_size, LAYER_NORM_EPSILON, device),
            linear1: linear(rng, self.hidden_size, self.ffn_dim, device),
            linear2: linear(rng, self.ffn_dim, self.hidden_size, device),
            dropout: DropoutConfig::new(self.dropout).init(),
        }
    }

    fn attention(&self, rng: &mut InitRng, device: &Device) -> Attention {
        let hidden = self.hidden_size;
        let mut out_proj = linear(rng, hidden, hidden, device);
        // PyTorch's attention starts without biases, and with Xavier uniform weights in front.
        out_proj.bias = Some(Param::from_tensor(Tensor::zeros([hidden], device)));
        Attention {
            in_proj: blocks::linear(rng, hidden, 3 * hidden, device),
            out_proj,
            attention_dropout: DropoutConfig::new(self.attention_dropout).init(),
            dropout: DropoutConfig::new(self.dropout).init(),
            heads: self.num_heads,
        }
    }

    fn convolution(&self, rng: &mut InitRng, device: &Device) -> Convolution {
        let hidden = self.hidden_size;
        let group_norm = || GroupNormConfig::new(1, hidden).init(device);
        Convolution {
            layer_norm: LayerNorm::new(hidden, LAYER_NORM_EPSILON, device),
            pointwise1: conv1d(rng, [hidden, 2 * hidden], 1, 1, 0, device),
            depthwise: depthwise_conv1d(rng, hidden, self.depthwise_conv_kernel_size, device),
            batch_norm: (!self.use_group_norm).then(|| batch_norm(hidden, self.batch_norm, device)),
            group_norm: self.use_group_norm.then(group_norm),
            pointwise2: conv1d(rng, [hidden, hidden], 1, 1, 0, device),
            dropout: DropoutConfig::new(self.dropout).init(),
        }
    }

    fn layer(&self, rng: &mut InitRng, device: &Device) -> Layer {
        let norm = || LayerNorm::new(self.hidden_size, LAYER_NORM_EPSILON, device);
        Layer {
            ffn1: self.feed_forward(rng, device),
            self_attn_layer_norm: norm(),
            self_attn: self.attention(rng, device),
            conv_module: self.convolution(rng, device),
            ffn2: self.feed_forward(rng, device),
            final_layer_norm: norm(),
            convolution_first: self.convolution_first,
        }
    }

    /// What one layer costs on `[hidden, 1, steps]`.
    fn count_layer(&self, count: Count) -> Count {
        let hidden = self.hidden_size;
        let feed_forward = |count: Count| count.layer_norm().conv(self.ffn_dim, [1, 1]).conv(hidden, [1, 1]);
        let count = feed_forward(count).layer_norm().self_attention().layer_norm();
        // The gate halves the channels again.
        let gated = count.conv(2 * hidden, [1, 1]).with(0, count.shape);
        let kernel = [1, self.depthwise_conv_kernel_size];
        let count = gated.depthwise_conv(kernel);
        let count = if self.use_group_norm { count.layer_norm() } else { count.batch_norm() };
        feed_forward(count.conv(hidden, [1, 1])).layer_norm()
    }
}

impl Architecture for ConformerConfig {
    fn options(&self) -> Options {
        Options {
            dropouts: vec![self.dropout, self.attention_dropout],
            units: vec![self.hidden_size, self.ffn_dim],
            kernels: vec![self.depthwise_conv_kernel_size],
            batch_norm: Some(self.batch_norm),
            // Burn's group normalisation wants three numbers of a clip.
            least: [1, self.time_reduction.saturating_mul(if self.use_group_norm { 3 } else { 1 })],
            ..Options::default()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.time_reduction == 0 {
            return Err(ConfigError::field("model.time_reduction", "0 frames make no step; give at least 1"));
        }
        check_layers(self.num_layers, "num_layers")?;
        check_heads(self.hidden_size, self.num_heads, ["hidden_size", "num_heads"])
    }

    fn check_input(&self, input: FeatureShape) -> Result<(), ConfigError> {
        check_steps(input.frames / self.time_reduction, self.num_heads)
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let (inputs, steps) = (self.inputs(input.bins), input.frames / self.time_reduction);
        let steps = Count::new([inputs, 1, steps]).conv(self.hidden_size, [1, 1]);
        let layers = steps.repeat(self.num_layers, |count| self.count_layer(count));
        layers.global_pool().dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model {
        Model::Conformer(Conformer {
            input_projection: linear(rng, self.inputs(input.bins), self.hidden_size, device),
            conformer_layers: (0..self.num_layers).map(|_| self.layer(rng, device)).collect(),
            output: linear(rng, self.hidden_size, num_classes, device),
            time_reduction: self.time_reduction,
        })
    }

    fn silent_options(&self) -> &'static [&'static str] {
        &["num_heads", "convolution_first"]
    }

    /// The projection of the steps, each layer, and the head.
    fn stages(&self) -> Vec<Stage> {
        let layer = |i| Stage { name: format!("layer{i}"), tensors: vec![format!("conformer_layers.{i}")] };
        let mut stages = vec![Stage::of("input", ["input_projection"])];
        stages.extend((0..self.num_layers).map(layer));
        stages.push(Stage::of("head", ["output"]));
        stages
    }

    /// `torchaudio.models.Conformer`; the layers around it, which torchaudio does not have, by oido's own names.
    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        if layout != Layout::Torch {
            return None;
        }
        let (layer, tensor) = name.rsplit_once('.')?;
        if let "input_projection" | "output" = layer {
            return torch::dense_tensor(layer, tensor);
        }
        let (number, part) = layer.strip_prefix("conformer_layers.")?.split_once('.')?;
        number.parse::<usize>().ok().filter(|number| *number < self.num_layers)?;
        let here = |part: &str| format!("conformer_layers.{number}.{part}");
        match (part, tensor) {
            ("self_attn_layer_norm" | "final_layer_norm" | "conv_module.layer_norm", _) => {
                torch::norm_tensor(&here(part), tensor)
            }
            ("self_attn", "in_proj_weight" | "in_proj_bias") => {
                torch::dense_tensor(&here("self_attn.in_proj"), tensor.strip_prefix("in_proj_")?)
            }
            ("self_attn.out_proj", _) => torch::dense_tensor(&here(part), tensor),
            ("ffn1.sequential.0" | "ffn2.sequential.0", _) => {
                torch::norm_tensor(&here(&part.replace("sequential.0", "layer_norm")), tensor)
            }
            ("ffn1.sequential.1" | "ffn2.sequential.1", _) => {
                torch::dense_tensor(&here(&part.replace("sequential.1", "linear1")), tensor)
            }
            ("ffn1.sequential.4" | "ffn2.sequential.4", _) => {
                torch::dense_tensor(&here(&part.replace("sequential.4", "linear2")), tensor)
            }
            ("conv_module.sequential.0", _) => torch::conv_tensor(&here("conv_module.pointwise1"), tensor),
            ("conv_module.sequential.2", _) => torch::conv_tensor(&here("conv_module.depthwise"), tensor),
            ("conv_module.sequential.3", _) if self.use_group_norm => {
                torch::norm_tensor(&here("conv_module.group_norm"), tensor)
            }
            ("conv_module.sequential.3", _) => {
                torch::batch_norm_tensor(&here("conv_module.batch_norm"), tensor)
            }
            ("conv_module.sequential.5", _) => torch::conv_tensor(&here("conv_module.pointwise2"), tensor),
            _ => None,
        }
    }
}

impl Conformer {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        kernels::linear(&self.output, self.embed(input))
    }

    /// The mean over time after the last layer, `[batch, hidden_size]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        let [batch, bins, frames] = input.dims();
        let (together, steps) = (self.time_reduction, frames / self.time_reduction);
        let x = input.narrow(2, 0, steps * together).swap_dims(1, 2).reshape([batch, steps, together * bins]);
        let x = kernels::linear(&self.input_projection, x);
        let x = self.conformer_layers.iter().fold(x, |x, layer| layer.forward(x));
        x.mean_dim(1).squeeze_dim(1)
    }
}

impl Layer {
    /// `[batch, steps, hidden]` → the same shape, as every part.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let attended =
            |x: Tensor<3>| x.clone() + self.self_attn.forward(self.self_attn_layer_norm.forward(x));
        let convolved = |x: Tensor<3>| x.clone() + self.conv_module.forward(x);
        let x = x.clone() + self.ffn1.forward(x) * 0.5;
        let x = if self.convolution_first { attended(convolved(x)) } else { convolved(attended(x)) };
        let x = x.clone() + self.ffn2.forward(x) * 0.5;
        self.final_layer_norm.forward(x)
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = kernels::silu(kernels::linear(&self.linear1, self.layer_norm.forward(x)));
        self.dropout.forward(kernels::linear(&self.linear2, self.dropout.forward(x)))
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = x.dims()[2];
        let all = kernels::linear(&self.in_proj, x);
        let qkv = [0, 1, 2].map(|part| all.clone().narrow(2, part * hidden, hidden));
        self.dropout.forward(kernels::linear(
            &self.out_proj,
            kernels::attention(qkv, self.heads, &self.attention_dropout),
        ))
    }
}

impl Convolution {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.layer_norm.forward(x).swap_dims(1, 2);
        let x = kernels::conv1d(&self.depthwise, glu(kernels::conv1d(&self.pointwise1, x), 1));
        let x = match (&self.batch_norm, &self.group_norm) {
            (Some(norm), _) => kernels::batch_norm(norm, x),
            (None, Some(norm)) => norm.forward(x),
            (None, None) => x,
        };
        self.dropout.forward(kernels::conv1d(&self.pointwise2, kernels::silu(x))).swap_dims(1, 2)
    }
}
