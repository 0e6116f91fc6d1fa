//! `vggish`: the network that turns 0.96 s of sound into 128 numbers (Hershey et al. 2017), as Google released it.

use burn::module::{Module, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use oido_kernels::{self as kernels, Step};
use serde::{Deserialize, Serialize};

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::blocks::torch::{self, conv3x3, linear};
use super::blocks::{Count, InitRng};
use super::published::{Axes, Layout, Published};
use crate::features::FeatureShape;

/// Frames of one example: 0.96 s.
const FRAMES: usize = 96;
/// Convolutions of each stage, and how often the width of the first stage they have; a maximum follows each stage.
const STAGES: [(usize, usize); 4] = [(1, 1), (1, 2), (2, 4), (2, 8)];
/// Places of the convolutions and dense layers among the layers of torchvggish.
const TORCH_CONV: [&str; 6] = ["0", "3", "6", "8", "11", "13"];
const TORCH_DENSE: [&str; 3] = ["0", "2", "4"];
/// The processed embedding is cut to this range on both sides of 0.
const CLIP: f64 = 2.0;
/// Largest value of a byte.
const BYTE: f64 = 255.0;

/// Options of [`Vggish`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VggishConfig {
    /// Channels of the first stage; later ones have two, four and eight times as many. Published weights have 64.
    pub channels: usize,
    /// Units of the two dense layers in front of the embedding. Published weights have 4096.
    pub units: usize,
    /// Numbers of the embedding. Published weights have 128.
    pub embedding: usize,
    /// What becomes of the embedding of each example.
    pub postprocess: Postprocess,
    /// Units of dense layers with ReLU between the embedding and the output.
    pub dense: Vec<usize>,
    /// Dropout on what goes into the output layer.
    pub dropout: f64,
}

/// What becomes of the embedding of an example, as AudioSet and YouTube-8M publish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Postprocess {
    /// Nothing.
    #[default]
    None,
    /// Principal components, whitened, cut to -2 to 2. The matrix and the mean come from a file of weights (until then
    /// they are one and zero) and are not trained.
    Pca,
    /// The same as whole numbers from 0 to 255. Rounding has no gradient: only what follows the embedding learns.
    Quantized,
}

impl Default for VggishConfig {
    fn default() -> Self {
        Self {
            channels: 64,
            units: 4096,
            embedding: 128,
            postprocess: Postprocess::None,
            dense: vec![],
            dropout: 0.0,
        }
    }
}

/// A VGG of six convolutions on examples of 96 frames. A clip of several examples (frames that fill no example are left
/// out, as in `vggish_input.waveform_to_examples`) is classified from the mean of their embeddings.
///
/// ReLU follows the embedding too, as in torchvggish; Google's later release leaves it out and asks for it in front of a
/// classifier. Fresh weights are PyTorch's, as torchvggish makes them (the original draws all from a normal distribution
/// of deviation 0.01, which vanishes through nine layers without a large corpus). Feature preset: `vggish`, 64 bins; with
/// another number of bins the network is built to fit, but published weights do not.
#[derive(Module, Debug)]
pub struct Vggish {
    features: Vec<Conv2d>,
    embeddings: Vec<Linear>,
    pproc: Option<Pca>,
    dense: Vec<Linear>,
    dropout: Dropout,
    output: Linear,
}

/// Projection on principal components: `matrix (x - means)`. Statistics of the corpus it was fitted to, never trained.
#[derive(Module, Debug)]
struct Pca {
    /// `[components, embedding]`.
    pca_eigen_vectors: RunningState<Tensor<2>>,
    /// `[embedding]`.
    pca_means: RunningState<Tensor<1>>,
    /// Whether the result is rounded to bytes.
    quantized: bool,
}

impl VggishConfig {
    /// The map of one example after the last stage, `[channels, 6 steps, bins / 16]`.
    fn map(&self, bins: usize) -> Count {
        let mut count = Count::new([1, FRAMES, bins]);
        for (convs, factor) in STAGES {
            for _ in 0..convs {
                count = count.conv(self.channels.saturating_mul(factor), [3, 3]);
            }
            count = count.pool([2, 2]);
        }
        count
    }
}

impl Architecture for VggishConfig {
    fn options(&self) -> Options {
        let units = [self.channels, self.channels.saturating_mul(8), self.units, self.embedding];
        Options {
            dropouts: vec![self.dropout],
            units: [&units[..], &self.dense].concat(),
            least: [1 << STAGES.len(), FRAMES],
            ..Options::default()
        }
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let example =
            self.map(input.bins).flatten().dense(self.units).dense(self.units).dense(self.embedding);
        let example = match self.postprocess {
            Postprocess::None => example,
            Postprocess::Pca | Postprocess::Quantized => example.projection(),
        };
        let clip = example.on_parts(input.frames / FRAMES);
        self.dense.iter().fold(clip, |count, &units| count.dense(units)).dense(num_classes)
    }

    fn init(&self, rng: &mut InitRng, input: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let mut c_in = 1;
        let mut features = Vec::new();
        for (convs, factor) in STAGES {
            for _ in 0..convs {
                let c_out = self.channels * factor;
                features.push(conv3x3(rng, [c_in, c_out], device));
                c_in = c_out;
            }
        }
        let mut stack = |sizes: &[usize]| -> Vec<Linear> {
            sizes.windows(2).map(|size| linear(rng, size[0], size[1], device)).collect()
        };
        let flat = self.map(input.bins).flatten().shape[0];
        let embeddings = stack(&[flat, self.units, self.units, self.embedding]);
        let mut head = stack(&[&[self.embedding], &self.dense[..], &[num_classes]].concat());
        let output = head.remove(self.dense.len());
        Model::Vggish(Vggish {
            features,
            embeddings,
            pproc: Pca::identity(self.postprocess, self.embedding, device),
            dense: head,
            dropout: DropoutConfig::new(self.dropout).init(),
            output,
        })
    }

    /// The four stages of convolutions, the layers of the embedding, and the head.
    fn stages(&self) -> Vec<Stage> {
        let mut first = 0;
        let convs = |(number, (convs, _)): (usize, (usize, usize))| {
            let tensors = (first..first + convs).map(|i| format!("features.{i}")).collect();
            first += convs;
            Stage { name: format!("conv{}", number + 1), tensors }
        };
        let mut stages: Vec<Stage> = STAGES.into_iter().enumerate().map(convs).collect();
        stages.push(Stage::of("embeddings", ["embeddings", "pproc"]));
        stages.push(Stage::of("head", ["dense", "output"]));
        stages
    }

    /// torchvggish: `features.0` to `features.13`, `embeddings.0` to `embeddings.4`, and its file of principal
    /// components, with or without `pproc.` in front. The classifier, which nobody published, has oido's own names.
    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        if layout != Layout::Torch {
            return None;
        }
        let (layer, tensor) = name.rsplit_once('.').unwrap_or(("", name));
        let place = |places: &[&str], number: &str| places.iter().position(|place| *place == number);
        match (layer, tensor) {
            ("" | "pproc", "pca_eigen_vectors") => self.pca("pca_eigen_vectors", Axes::Same),
            ("" | "pproc", "pca_means") => self.pca("pca_means", Axes::Flat),
            ("output", _) => torch::dense_tensor(layer, tensor),
            _ => match layer.split_once('.')? {
                ("features", i) => {
                    torch::conv_tensor(&format!("features.{}", place(&TORCH_CONV, i)?), tensor)
                }
                ("embeddings", i) => {
                    torch::dense_tensor(&format!("embeddings.{}", place(&TORCH_DENSE, i)?), tensor)
                }
                ("dense", _) => torch::dense_tensor(layer, tensor),
                _ => None,
            },
        }
    }

    fn unused(&self, layout: Layout, name: &str) -> bool {
        layout == Layout::Torch && name.trim_start_matches("pproc.").starts_with("pca_")
    }
}

impl VggishConfig {
    fn pca(&self, tensor: &str, axes: Axes) -> Option<Published> {
        (self.postprocess != Postprocess::None).then(|| Published::with(format!("pproc.{tensor}"), axes))
    }
}

impl Vggish {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        let x = self.embed(input);
        let x = match &self.pproc {
            // Back to the range that was cut, so that the classifier sees numbers of usual size.
            Some(Pca { quantized: true, .. }) => x * (2.0 * CLIP / BYTE) - CLIP,
            _ => x,
        };
        let x = self.dense.iter().fold(x, |x, dense| kernels::linear_relu(dense, x));
        kernels::linear(&self.output, self.dropout.forward(x))
    }

    /// The mean of the embeddings of a clip's examples, `[batch, embedding]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        self.embed_examples(input).mean_dim(1).squeeze_dim(1)
    }

    /// The embedding of each example of a clip, `[batch, examples, embedding]`.
    pub fn embed_examples(&self, input: Tensor<3>) -> Tensor<3> {
        let [batch, bins, frames] = input.dims();
        let examples = frames / FRAMES;
        // The network was made for time from top to bottom.
        let x = input.narrow(2, 0, examples * FRAMES).reshape([batch, bins, examples, FRAMES]);
        let x = x.permute([0, 2, 3, 1]).reshape([batch * examples, 1, FRAMES, bins]);
        let mut layers = self.features.iter();
        let x = STAGES.iter().fold(x, |x, (convs, _)| {
            let x = layers.by_ref().take(convs - 1).fold(x, |x, conv| kernels::conv2d_relu(conv, x));
            let steps = [Step::Relu, Step::Maximum([2, 2])];
            layers.by_ref().take(1).fold(x, |x, conv| kernels::conv2d_then(conv, x, &steps))
        });
        // As TensorFlow flattens: time, frequency, channels.
        let x = x.permute([0, 2, 3, 1]).flatten::<2>(1, 3);
        let x = self.embeddings.iter().fold(x, |x, dense| kernels::linear_relu(dense, x));
        let x = match &self.pproc {
            Some(pca) => pca.forward(x),
            None => x,
        };
        let width = x.dims()[1];
        x.reshape([batch, examples, width])
    }
}

impl Pca {
    /// A projection that changes nothing; none when none is asked for.
    fn identity(postprocess: Postprocess, size: usize, device: &Device) -> Option<Self> {
        (postprocess != Postprocess::None).then(|| Self {
            pca_eigen_vectors: RunningState::new(Tensor::eye(size, device)),
            pca_means: RunningState::new(Tensor::zeros([size], device)),
            quantized: postprocess == Postprocess::Quantized,
        })
    }

    /// `[examples, embedding]` → the same shape.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let centred = x - self.pca_means.value().unsqueeze();
        let x = centred.matmul(self.pca_eigen_vectors.value().transpose()).clamp(-CLIP, CLIP);
        if self.quantized { ((x + CLIP) * (BYTE / (2.0 * CLIP))).round() } else { x }
    }
}
