//! `ast`: the Audio Spectrogram Transformer (Gong, Chung & Glass 2021), as Hugging Face's
//! `ASTForAudioClassification`.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Dropout, DropoutConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use oido_kernels as kernels;
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::blocks::torch;
use super::blocks::{Count, InitRng, LayerNorm, check_heads, check_layers, check_steps, normal};
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Deviation of fresh weights.
const DEVIATION: f64 = 0.02;
/// Tokens in front of the patches: classification and distillation.
const TOKENS: usize = 2;

/// Options of [`Ast`], in the words of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AstConfig {
    /// Numbers of each token.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention; they divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Units inside each layer's two dense layers.
    pub intermediate_size: usize,
    /// Side of a square patch.
    pub patch_size: usize,
    /// Bins from one patch to the next.
    pub frequency_stride: usize,
    /// Frames from one patch to the next.
    pub time_stride: usize,
    /// Frames that the position embeddings were made for. Features may have others: the embeddings are adapted.
    pub max_length: usize,
    /// Bins that the position embeddings were made for; features may have others.
    pub num_mel_bins: usize,
    /// Added to the variance of layer normalisation.
    pub layer_norm_eps: f64,
    /// Dropout on the embedded patches and on what each half of a layer adds.
    pub dropout: f64,
    /// Dropout on the weights of the attention.
    pub attention_dropout: f64,
}

impl Default for AstConfig {
    /// The published base size: 86.6 M parameters with AudioSet's 527 classes.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            patch_size: 16,
            frequency_stride: 10,
            time_stride: 10,
            max_length: 1024,
            num_mel_bins: 128,
            layer_norm_eps: 1e-12,
            dropout: 0.0,
            attention_dropout: 0.0,
        }
    }
}

/// Overlapping patches of the spectrogram, a classification and a distillation token, pre-norm transformer layers; the
/// mean of the two tokens is classified.
///
/// Fresh weights as Hugging Face draws them: normal with deviation 0.02 for dense layers and patches, zeros for biases,
/// tokens and positions. Feature preset: `ast`.
#[derive(Module, Debug)]
pub struct Ast {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    layernorm: LayerNorm,
    classifier: Classifier,
}

#[derive(Module, Debug)]
struct Embeddings {
    /// `[1, 1, hidden]`.
    cls_token: Param<Tensor<3>>,
    /// `[1, 1, hidden]`.
    distillation_token: Param<Tensor<3>>,
    /// `[1, 2 + rows * columns of patches, hidden]`.
    position_embeddings: Param<Tensor<3>>,
    projection: Conv2d,
    dropout: Dropout,
    /// Rows and columns of patches that the positions were made for.
    grid: [usize; 2],
}

#[derive(Module, Debug)]
struct Layer {
    layernorm_before: LayerNorm,
    attention: Attention,
    layernorm_after: LayerNorm,
    intermediate: Linear,
    output: Linear,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    dropout: Dropout,
    heads: usize,
}

#[derive(Module, Debug)]
struct Classifier {
    layernorm: LayerNorm,
    dense: Linear,
}

impl AstConfig {
    /// Rows and columns of patches of `bins` x `frames`.
    fn grid(&self, bins: usize, frames: usize) -> [usize; 2] {
        let [rows, columns] = [(bins, self.frequency_stride), (frames, self.time_stride)]
            .map(|(size, stride)| torch::steps(size, self.patch_size, stride, 0));
        [rows, columns]
    }

    /// Tokens of a spectrogram.
    fn tokens(&self, bins: usize, frames: usize) -> usize {
        let [rows, columns] = self.grid(bins, frames);
        rows.saturating_mul(columns).saturating_add(TOKENS)
    }

    /// Tokens that have a position embedding.
    fn positions(&self) -> usize {
        self.tokens(self.num_mel_bins, self.max_length)
    }

    fn layer_norm(&self, device: &Device) -> LayerNorm {
        LayerNorm::new(self.hidden_size, self.layer_norm_eps, device)
    }
}

impl Architecture for AstConfig {
    fn options(&self) -> Options {
        let [hidden, inner] = [self.hidden_size, self.intermediate_size];
        Options {
            dropouts: vec![self.dropout, self.attention_dropout],
            units: vec![hidden, inner],
            least: [self.patch_size; 2],
            ..Options::default()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: String| Err(ConfigError::field(format!("model.{key}"), reason));
        let patch = self.patch_size;
        let strides = [("frequency_stride", self.frequency_stride), ("time_stride", self.time_stride)];
        for (key, size) in [("patch_size", patch)].into_iter().chain(strides) {
            if size == 0 {
                return refuse(key, "0 must be at least 1".to_owned());
            }
        }
        for (key, size) in [("num_mel_bins", self.num_mel_bins), ("max_length", self.max_length)] {
            if size < patch {
                return refuse(key, format!("{size} is less than a patch (patch_size = {patch})"));
            }
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps.is_finite()) {
            return refuse("layer_norm_eps", format!("{} must be above 0", self.layer_norm_eps));
        }
        check_layers(self.num_hidden_layers, "num_hidden_layers")?;
        check_heads(self.hidden_size, self.num_attention_heads, ["hidden_size", "num_attention_heads"])
    }

    fn check_input(&self, input: FeatureShape) -> Result<(), ConfigError> {
        check_steps(self.tokens(input.bins, input.frames), self.num_attention_heads)
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let [rows, columns] = self.grid(input.bins, input.frames);
        let patches =
            Count::new([1, input.bins, input.frames]).conv_to([hidden, rows, columns], [self.patch_size; 2]);
        let numbers = hidden.saturating_mul(self.positions().saturating_add(TOKENS));
        let layer = |count: Count| {
            let count = count.layer_norm().self_attention().layer_norm();
            count.conv(inner, [1, 1]).conv(hidden, [1, 1])
        };
        let sequence = patches
            .with(numbers, [hidden, 1, self.tokens(input.bins, input.frames)])
            .repeat(self.num_hidden_layers, layer);
        sequence.layer_norm().global_pool().layer_norm().dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let (hidden, inner, patch) = (self.hidden_size, self.intermediate_size, self.patch_size);
        let zeros = |tokens| Param::from_tensor(Tensor::zeros([1, tokens, hidden], device));
        let mut projection = Conv2dConfig::new([1, hidden], [patch; 2])
            .with_stride([self.frequency_stride, self.time_stride])
            .with_padding(PaddingConfig2d::Valid)
            .with_initializer(Initializer::Zeros)
            .init(device);
        projection.weight = drawn(rng, [hidden, 1, patch, patch], device);
        let embeddings = Embeddings {
            cls_token: zeros(1),
            distillation_token: zeros(1),
            position_embeddings: zeros(self.positions()),
            projection,
            dropout: DropoutConfig::new(self.dropout).init(),
            grid: self.grid(self.num_mel_bins, self.max_length),
        };
        let layers = (0..self.num_hidden_layers)
            .map(|_| Layer {
                layernorm_before: self.layer_norm(device),
                attention: Attention {
                    query: dense(rng, hidden, hidden, device),
                    key: dense(rng, hidden, hidden, device),
                    value: dense(rng, hidden, hidden, device),
                    output: dense(rng, hidden, hidden, device),
                    dropout: DropoutConfig::new(self.attention_dropout).init(),
                    heads: self.num_attention_heads,
                },
                layernorm_after: self.layer_norm(device),
                intermediate: dense(rng, hidden, inner, device),
                output: dense(rng, inner, hidden, device),
                dropout: DropoutConfig::new(self.dropout).init(),
            })
            .collect();
        Model::Ast(Ast {
            embeddings,
            layers,
            layernorm: self.layer_norm(device),
            classifier: Classifier {
                layernorm: self.layer_norm(device),
                dense: dense(rng, hidden, num_classes, device),
            },
        })
    }

    fn silent_options(&self) -> &'static [&'static str] {
        &["num_attention_heads", "frequency_stride", "time_stride", "layer_norm_eps"]
    }

    /// What makes tokens, each layer (the last one with the normalisation after it), and the head.
    fn stages(&self) -> Vec<Stage> {
        let layer = |i| Stage { name: format!("layer{i}"), tensors: vec![format!("layers.{i}")] };
        let mut stages = vec![Stage::of("embeddings", ["embeddings"])];
        stages.extend((0..self.num_hidden_layers).map(layer));
        stages[self.num_hidden_layers].tensors.push("layernorm".to_owned());
        stages.push(Stage::of("head", ["classifier"]));
        stages
    }

    /// Hugging Face's names, as its files have them (`audio_spectrogram_transformer.encoder.layer.0 …`).
    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        if layout != Layout::Torch {
            return None;
        }
        let (layer, tensor) = name.rsplit_once('.')?;
        if let Some(part) = layer.strip_prefix("classifier.") {
            return match part {
                "layernorm" => torch::norm_tensor(layer, tensor),
                "dense" => torch::dense_tensor(layer, tensor),
                _ => None,
            };
        }
        let layer = layer.strip_prefix("audio_spectrogram_transformer.")?;
        match (layer, tensor) {
            ("embeddings", "cls_token" | "distillation_token" | "position_embeddings") => {
                Some(Published::same(format!("embeddings.{tensor}")))
            }
            ("embeddings.patch_embeddings.projection", _) => {
                torch::conv_tensor("embeddings.projection", tensor)
            }
            ("layernorm", _) => torch::norm_tensor("layernorm", tensor),
            _ => {
                let (number, part) = layer.strip_prefix("encoder.layer.")?.split_once('.')?;
                number.parse::<usize>().ok().filter(|number| *number < self.num_hidden_layers)?;
                let dense = |part: &str| torch::dense_tensor(&format!("layers.{number}.{part}"), tensor);
                match part {
                    "layernorm_before" | "layernorm_after" => {
                        torch::norm_tensor(&format!("layers.{number}.{part}"), tensor)
                    }
                    "attention.attention.query" => dense("attention.query"),
                    "attention.attention.key" => dense("attention.key"),
                    "attention.attention.value" => dense("attention.value"),
                    "attention.output.dense" => dense("attention.output"),
                    "intermediate.dense" => dense("intermediate"),
                    "output.dense" => dense("output"),
                    _ => None,
                }
            }
        }
    }
}

/// A dense layer with normal weights and zero bias.
fn dense(rng: &mut InitRng, d_input: usize, d_output: usize, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(d_input, d_output).with_initializer(Initializer::Zeros).init(device);
    layer.weight = drawn(rng, [d_input, d_output], device);
    layer
}

fn drawn<const D: usize>(rng: &mut InitRng, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let values = normal(rng, shape.iter().product(), DEVIATION);
    Param::from_data(TensorData::new(values, shape), device)
}

impl Ast {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let x = self.embed(input);
        kernels::linear(&self.classifier.dense, self.classifier.layernorm.forward(x))
    }

    /// The mean of the classification and the distillation token after the last layer, `[batch, hidden_size]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        let x = self.layers.iter().fold(self.embeddings.forward(input), |x, layer| layer.forward(x));
        // Normalisation looks at each token alone: the others need none.
        self.layernorm.forward(x.narrow(1, 0, TOKENS)).mean_dim(1).squeeze_dim(1)
    }
}

impl Embeddings {
    /// `[batch, bins, frames]` → `[batch, 2 + patches, hidden]`, patches row by row.
    fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let patches = kernels::conv2d(&self.projection, input.unsqueeze_dim(1));
        let [batch, hidden, rows, columns] = patches.dims();
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let token = |token: &Param<Tensor<3>>| token.val().expand([batch, 1, hidden]);
        let x = Tensor::cat(vec![token(&self.cls_token), token(&self.distillation_token), patches], 1);
        self.dropout.forward(x + self.positions([rows, columns]))
    }

    /// The position embeddings for `grid` rows and columns of patches, `[1, 2 + patches, hidden]`: on an axis with fewer
    /// patches than they were made for the middle ones, on an axis with more interpolated linearly (the authors' way).
    fn positions(&self, grid: [usize; 2]) -> Tensor<3> {
        let positions = self.position_embeddings.val();
        if grid == self.grid {
            return positions;
        }
        let [_, tokens, hidden] = positions.dims();
        let [rows, columns] = self.grid;
        let fixed = positions.clone().narrow(1, 0, TOKENS);
        let map = positions.narrow(1, TOKENS, tokens - TOKENS).reshape([rows, columns * hidden]);
        let device = map.device();
        let map = resampling(rows, grid[0], &device).matmul(map);
        let map =
            map.reshape([grid[0], columns, hidden]).swap_dims(0, 1).reshape([columns, grid[0] * hidden]);
        let map = resampling(columns, grid[1], &device).matmul(map);
        let map = map.reshape([grid[1], grid[0], hidden]).swap_dims(0, 1);
        Tensor::cat(vec![fixed, map.reshape([1, grid[0] * grid[1], hidden])], 1)
    }
}

/// The matrix `[to, from]` that makes `to` positions of `from`: those in the middle, or linear interpolation between the
/// centres of places of equal size, the ends kept (PyTorch's `bilinear` without aligned corners).
fn resampling(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        if to <= from {
            row[from / 2 - to / 2 + i] = 1.0;
        } else {
            let place = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let (left, share) = (place as usize, place.fract() as f32);
            row[left] += 1.0 - share;
            row[(left + 1).min(from - 1)] += share;
        }
    }
    Tensor::from_data(TensorData::new(matrix, [to, from]), device)
}

impl Layer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let attended = self.attention.forward(self.layernorm_before.forward(x.clone()));
        let x = x + self.dropout.forward(attended);
        let inner =
            kernels::gelu(kernels::linear(&self.intermediate, self.layernorm_after.forward(x.clone())));
        x + self.dropout.forward(kernels::linear(&self.output, inner))
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let qkv = [&self.query, &self.key, &self.value].map(|layer| kernels::linear(layer, x.clone()));
        kernels::linear(&self.output, kernels::attention(qkv, self.heads, &self.dropout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_cut_to_the_middle_or_interpolated() {
        let device = Device::flex();
        let row = |from, to, i: usize| -> Vec<f32> {
            let all: Vec<f32> = resampling(from, to, &device).into_data().try_to_vec().unwrap();
            all[i * from..][..from].to_vec()
        };
        assert_eq!(row(5, 3, 0), [0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(row(101, 50, 0).iter().position(|w| *w > 0.0), Some(25));
        // Twice as many: a quarter of the way between neighbours, the ends kept.
        assert_eq!(row(2, 4, 0), [1.0, 0.0]);
        assert_eq!(row(2, 4, 1), [0.75, 0.25]);
        assert_eq!(row(2, 4, 3), [0.0, 1.0]);
    }
}
