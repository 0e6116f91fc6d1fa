//! `resnet50`: the residual network with 50 layers (He et al. 2016).
//!
//! | | torchvision (`variant = "torch"`) | Keras (`variant = "keras"`) |
//! |---|---|---|
//! | stride of a stage | in the 3 x 3 convolution ("v1.5") | in the first 1 x 1 convolution, as in the paper |
//! | biases of convolutions | no | yes |
//! | epsilon | 0.00001 | 0.00001001 |
//! | initial weights | He normal by `fan_out` | Glorot uniform |
//! | of dense layers | PyTorch's default | Glorot uniform |

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use oido_kernels::{self as kernels, Step};

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::backbone::BackboneConfig;
use super::blocks::vision::{Builder, ConvNorm, Convolution, Initial, Output, Padding, Variant, scaled};
use super::blocks::{Count, InitRng, Picture, PixelRange, global_mean, keras, max_3x3, torch};
use super::head::Head;
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Channels of the first layer.
const STEM: usize = 64;
/// Stages: channels inside the blocks, number of blocks, stride of the first one. A block's result has four times as
/// many channels.
const STAGES: [(usize, usize, usize); 4] = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)];
/// From channels inside a block to those of its result.
const EXPANSION: usize = 4;

/// The options as this network reads them.
pub(super) struct Design<'a>(pub(super) &'a BackboneConfig);

/// 7 x 7 convolution, maximum, four stages of bottleneck blocks, head.
#[derive(Module, Debug)]
pub struct ResNet50 {
    #[module(skip)]
    picture: Picture,
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Bottleneck>,
    layer2: Vec<Bottleneck>,
    layer3: Vec<Bottleneck>,
    layer4: Vec<Bottleneck>,
    head: Head,
}

/// 1 x 1, 3 x 3 and 1 x 1 convolutions beside a short cut.
#[derive(Module, Debug)]
struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
    downsample: Option<ConvNorm>,
}

/// The convolutions of one block.
struct Plan {
    inside: [Convolution; 3],
    downsample: Option<Convolution>,
}

impl Design<'_> {
    fn picture(&self) -> Picture {
        let range = match self.0.variant {
            Variant::Torch => PixelRange::IMAGENET,
            Variant::Keras => PixelRange::CENTRED,
        };
        self.0.picture(range)
    }

    fn bias(&self) -> bool {
        self.0.variant == Variant::Keras
    }

    fn stem(&self) -> Convolution {
        Convolution::new(scaled(STEM, self.0.width), [7, 7], Padding::Half).stride(2).bias(self.bias())
    }

    /// The stages' blocks.
    fn plans(&self) -> Vec<Vec<Plan>> {
        let bias = self.bias();
        let stage = |(channels, blocks, stride): (usize, usize, usize)| {
            let channels = scaled(channels, self.0.width);
            let pointwise = |c_out| Convolution::pointwise(c_out).bias(bias);
            let block = |index: usize| {
                let stride = if index == 0 { stride } else { 1 };
                let (first, second) =
                    if self.0.variant == Variant::Keras { (stride, 1) } else { (1, stride) };
                Plan {
                    inside: [
                        pointwise(channels).stride(first),
                        Convolution::new(channels, [3, 3], Padding::Half).stride(second).bias(bias),
                        pointwise(EXPANSION * channels),
                    ],
                    downsample: (index == 0).then(|| pointwise(EXPANSION * channels).stride(stride)),
                }
            };
            (0..blocks).map(block).collect()
        };
        STAGES.into_iter().map(stage).collect()
    }

    /// Whether stage `layer`, from 1, has a block of this number, from 0.
    fn has_block(layer: usize, block: usize) -> bool {
        layer.checked_sub(1).and_then(|stage| STAGES.get(stage)).is_some_and(|(_, blocks, _)| block < *blocks)
    }

    /// torchvision's and timm's names, `layer1.0.downsample.0.weight`.
    fn torch(&self, name: &str) -> Option<Published> {
        let (module, tensor) = name.rsplit_once('.')?;
        let layer = |place: &str, kind: &str| match kind.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "conv" => torch::conv_tensor(place, tensor),
            "bn" => torch::batch_norm_tensor(place, tensor),
            _ => None,
        };
        match module.split('.').collect::<Vec<_>>()[..] {
            ["conv1" | "bn1"] => layer(module, module),
            ["fc"] => self.0.head.classifier(Layout::Torch, tensor),
            [stage, block, ref rest @ ..] => {
                let number = stage.strip_prefix("layer")?.parse().ok()?;
                if !Self::has_block(number, block.parse().ok()?) {
                    return None;
                }
                match rest {
                    ["conv1" | "conv2" | "conv3" | "bn1" | "bn2" | "bn3"] => layer(module, rest[0]),
                    ["downsample", "0"] if block == "0" => {
                        layer(&format!("{stage}.0.downsample.conv"), "conv")
                    }
                    ["downsample", "1"] if block == "0" => layer(&format!("{stage}.0.downsample.bn"), "bn"),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Keras' names, `conv2_block1_0_conv/kernel`: stages from 2, blocks from 1, the short cut is layer 0.
    fn keras(&self, name: &str) -> Option<Published> {
        let (layer, variable) = name.split_once('/')?;
        let place = |place: &str, kind| match kind {
            "conv" => keras::conv_variable(place, variable),
            "bn" => keras::batch_norm_variable(place, variable),
            _ => None,
        };
        match layer.split('_').collect::<Vec<_>>()[..] {
            ["conv1", kind] => place(&format!("{kind}1"), kind),
            ["predictions"] => self.0.head.classifier(Layout::Keras, variable),
            [stage, block, number, kind] => {
                let stage = stage.strip_prefix("conv")?.parse::<usize>().ok()?.checked_sub(1)?;
                let block = block.strip_prefix("block")?.parse::<usize>().ok()?.checked_sub(1)?;
                let within = format!("layer{stage}.{block}");
                match number {
                    _ if !Self::has_block(stage, block) => None,
                    "0" if block == 0 => place(&format!("{within}.downsample.{kind}"), kind),
                    "1" | "2" | "3" => place(&format!("{within}.{kind}{number}"), kind),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl Architecture for Design<'_> {
    fn options(&self) -> Options {
        self.0.options(32)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.0.check()
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let stem = Count::new([self.0.input_channels, input.bins, input.frames]).convolution(&self.stem());
        let block = |count: Count, plan: &Plan| {
            let count = match &plan.downsample {
                // The short cut first, from the same map; its result has another shape.
                Some(conv) => count.beside(|count| count.convolution(conv).batch_norm()),
                None => count,
            };
            plan.inside.iter().fold(count, |count, conv| count.convolution(conv).batch_norm())
        };
        let map = self.plans().iter().flatten().fold(stem.batch_norm().pool_3x3(Padding::Half), block);
        self.0.head.count(map, num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let variant = self.0.variant;
        let (initial, epsilon) = match variant {
            Variant::Torch => (Initial::KaimingFanOut, 1e-5),
            Variant::Keras => (Initial::Glorot, 1.001e-5),
        };
        let mut builder = Builder { rng, device, variant, initial, output: Output::Dense, epsilon };
        let stem = self.stem();
        let conv1 = builder.conv(self.0.input_channels, &stem);
        let mut c_in = stem.c_out;
        let mut stages = self.plans().into_iter().map(|plans| {
            let block = |plan: Plan| {
                let block = Bottleneck::new(&mut builder, c_in, &plan);
                c_in = plan.inside[2].c_out;
                block
            };
            plans.into_iter().map(block).collect::<Vec<_>>()
        });
        let mut stage = || stages.next().unwrap_or_default();
        let (layer1, layer2, layer3, layer4) = (stage(), stage(), stage(), stage());
        Model::ResNet50(ResNet50 {
            picture: self.picture(),
            conv1,
            bn1: builder.batch_norm(stem.c_out),
            layer1,
            layer2,
            layer3,
            layer4,
            head: self.0.head.init(&mut builder, c_in, num_classes),
        })
    }

    fn stages(&self) -> Vec<Stage> {
        let stem = Stage::of("stem", ["conv1", "bn1"]);
        let named = ["layer1", "layer2", "layer3", "layer4", "head"].map(|name| Stage::of(name, [name]));
        [stem].into_iter().chain(named).collect()
    }

    fn silent_options(&self) -> &'static [&'static str] {
        &["variant"]
    }

    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        match layout {
            Layout::Torch => self.torch(name),
            Layout::Keras => self.keras(name),
        }
    }

    fn variant_of(&self, layout: Layout, _: &str) -> Option<Variant> {
        Some(Variant::of(layout))
    }

    /// The published classifier, when the head is another.
    fn unused(&self, layout: Layout, name: &str) -> bool {
        match layout {
            Layout::Torch => name.starts_with("fc."),
            Layout::Keras => name.starts_with("predictions/"),
        }
    }
}

impl Bottleneck {
    fn new(builder: &mut Builder, c_in: usize, plan: &Plan) -> Self {
        let [first, second, third] = &plan.inside;
        Self {
            conv1: builder.conv(c_in, first),
            bn1: builder.batch_norm(first.c_out),
            conv2: builder.conv(first.c_out, second),
            bn2: builder.batch_norm(second.c_out),
            conv3: builder.conv(second.c_out, third),
            bn3: builder.batch_norm(third.c_out),
            downsample: plan.downsample.as_ref().map(|conv| builder.conv_norm(c_in, conv)),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = kernels::conv2d_then(&self.conv1, input.clone(), &[Step::Norm(&self.bn1), Step::Relu]);
        let x = kernels::conv2d_then(&self.conv2, x, &[Step::Norm(&self.bn2), Step::Relu]);
        let x = kernels::conv2d_then(&self.conv3, x, &[Step::Norm(&self.bn3)]);
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(input),
            None => input,
        };
        kernels::add_relu(x, shortcut)
    }
}

impl ResNet50 {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        self.head.forward(self.map(input))
    }

    /// `[batch, bins, frames]` → the mean over the last map, `[batch, 2048]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        global_mean(self.map(input))
    }

    /// `[batch, 2048, bins / 32, frames / 32]`, sides rounded up.
    fn map(&self, input: Tensor<3>) -> Tensor<4> {
        let picture = self.picture.forward(input);
        let x = kernels::conv2d_then(&self.conv1, picture, &[Step::Norm(&self.bn1), Step::Relu]);
        let x = max_3x3(x, Padding::Half);
        let blocks = [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten();
        blocks.fold(x, |x, block| block.forward(x))
    }
}
