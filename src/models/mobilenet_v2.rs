//! `mobilenet-v2`: inverted residual blocks with linear bottlenecks (Sandler et al. 2018).
//!
//! | | torchvision and timm (`variant = "torch"`) | Keras (`variant = "keras"`) |
//! |---|---|---|
//! | padding of 3 x 3 convolutions | half the kernel | "same": with stride 2 an odd zero stands at the end |
//! | epsilon | 0.00001 | 0.001 |
//! | initial weights | He normal by `fan_out` | Glorot uniform |
//! | of the output layer | normal, deviation 0.01 | Glorot uniform |

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::backbone::BackboneConfig;
use super::blocks::inverted_residual::{Activation, InvertedResidual, InvertedResidualConfig, timm_tensor};
use super::blocks::vision::{Builder, ConvNorm, Convolution, Initial, Output, Padding, Variant, scaled};
use super::blocks::{Count, InitRng, Picture, PixelRange, global_mean};
use super::head::Head;
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Channels of the first convolution.
const STEM: usize = 32;
/// Channels of the last convolution; a network narrower than the published one keeps them.
const LAST: usize = 1280;
/// Groups of blocks: expansion, channels, number of blocks, stride of the first one.
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
/// Blocks in all.
const BLOCKS: usize = 17;

/// The options as this network reads them.
pub(super) struct Design<'a>(pub(super) &'a BackboneConfig);

/// 3 x 3 convolution, 17 inverted residual blocks, 1 x 1 convolution, head.
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    #[module(skip)]
    picture: Picture,
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
    head: Head,
}

impl Design<'_> {
    fn picture(&self) -> Picture {
        let range = match self.0.variant {
            Variant::Torch => PixelRange::IMAGENET,
            Variant::Keras => PixelRange::UNIT,
        };
        self.0.picture(range)
    }

    fn stem(&self) -> Convolution {
        Convolution::new(scaled(STEM, self.0.width), [3, 3], Padding::of(self.0.variant)).stride(2)
    }

    fn blocks(&self) -> Vec<InvertedResidualConfig> {
        let mut c_in = scaled(STEM, self.0.width);
        let mut blocks = Vec::with_capacity(BLOCKS);
        for (expansion, channels, number, stride) in GROUPS {
            let c_out = scaled(channels, self.0.width);
            for index in 0..number {
                blocks.push(InvertedResidualConfig {
                    channels: [c_in, c_out],
                    expansion,
                    kernel: 3,
                    stride: if index == 0 { stride } else { 1 },
                    padding: Padding::of(self.0.variant),
                    squeeze: None,
                    drop: 0.0,
                    activation: Activation::Relu6,
                });
                c_in = c_out;
            }
        }
        blocks
    }

    fn last(&self) -> Convolution {
        Convolution::pointwise(scaled(LAST, self.0.width.max(1.0)))
    }

    /// torchvision's names, `features.2.conv.1.0.weight`, and timm's, `blocks.1.0.conv_dw.weight`.
    fn torch(&self, name: &str) -> Option<Published> {
        let (module, tensor) = name.rsplit_once('.')?;
        let place = |part: &str, kind: &str| ConvNorm::torch_tensor(part, kind, tensor);
        match module.split('.').collect::<Vec<_>>()[..] {
            ["classifier", "1"] | ["classifier"] => self.0.head.classifier(Layout::Torch, tensor),
            ["features", "0", kind] => place("stem", kind),
            ["features", "18", kind] => place("last", kind),
            ["conv_stem"] => place("stem", "conv"),
            ["bn1"] => place("stem", "bn"),
            ["conv_head"] => place("last", "conv"),
            ["bn2"] => place("last", "bn"),
            ["features", number, "conv", ref rest @ ..] => {
                let block = number.parse::<usize>().ok()?.checked_sub(1).filter(|block| *block < BLOCKS)?;
                // The first block has no convolution to more channels, so that its others come one earlier.
                let part =
                    |index: &str| index.parse::<usize>().ok().map(|index| index + usize::from(block == 0));
                match (rest, part(rest.first()?)?) {
                    ([_, kind], 0) => place(&format!("blocks.{block}.expand"), kind),
                    ([_, kind], 1) => place(&format!("blocks.{block}.depthwise"), kind),
                    ([_], 2) => place(&format!("blocks.{block}.project"), "conv"),
                    ([_], 3) => place(&format!("blocks.{block}.project"), "bn"),
                    _ => None,
                }
            }
            ["blocks", group, index, layer] => {
                let (group, index) = (group.parse::<usize>().ok()?, index.parse::<usize>().ok()?);
                GROUPS.get(group).filter(|(_, _, number, _)| index < *number)?;
                let block = GROUPS[..group].iter().map(|(_, _, number, _)| number).sum::<usize>() + index;
                timm_tensor(&format!("blocks.{block}"), layer, tensor, block > 0)
            }
            _ => None,
        }
    }

    /// Keras' names, `block_1_expand_BN/gamma`; the first block is `expanded_conv`.
    fn keras(&self, name: &str) -> Option<Published> {
        let (layer, variable) = name.split_once('/')?;
        let (block, part) = match layer {
            "Conv1" => return ConvNorm::keras_variable("stem", "conv", variable),
            "bn_Conv1" => return ConvNorm::keras_variable("stem", "bn", variable),
            "Conv_1" => return ConvNorm::keras_variable("last", "conv", variable),
            "Conv_1_bn" => return ConvNorm::keras_variable("last", "bn", variable),
            "predictions" => return self.0.head.classifier(Layout::Keras, variable),
            _ => match layer.strip_prefix("expanded_conv_") {
                Some(part) => (0, part),
                None => {
                    let (number, part) = layer.strip_prefix("block_")?.split_once('_')?;
                    (number.parse::<usize>().ok().filter(|block| (1..BLOCKS).contains(block))?, part)
                }
            },
        };
        let (part, kind) = match part.strip_suffix("_BN") {
            Some(part) => (part, "bn"),
            None if part == "depthwise" => (part, "depthwise"),
            None => (part, "conv"),
        };
        match part {
            "expand" if block == 0 => None,
            "expand" | "depthwise" | "project" => {
                ConvNorm::keras_variable(&format!("blocks.{block}.{part}"), kind, variable)
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
        let image = Count::new([self.0.input_channels, input.bins, input.frames]);
        let stem = ConvNorm::count(image, &self.stem());
        let map = self.blocks().iter().fold(stem, |count, block| block.count(count));
        self.0.head.count(ConvNorm::count(map, &self.last()), num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let variant = self.0.variant;
        let (initial, output, epsilon) = match variant {
            Variant::Torch => (Initial::KaimingFanOut, Output::Normal(0.01), 1e-5),
            Variant::Keras => (Initial::Glorot, Output::Dense, 1e-3),
        };
        let mut builder = Builder { rng, device, variant, initial, output, epsilon };
        let stem = builder.conv_norm(self.0.input_channels, &self.stem());
        let plans = self.blocks();
        let c_in = plans.last().map_or(0, |block| block.channels[1]);
        let blocks = plans.iter().map(|block| block.init(&mut builder)).collect();
        let last = builder.conv_norm(c_in, &self.last());
        let head = self.0.head.init(&mut builder, self.last().c_out, num_classes);
        Model::MobileNetV2(MobileNetV2 { picture: self.picture(), stem, blocks, last, head })
    }

    /// The study counts blocks from 1; `last` is its stage 18.
    fn stages(&self) -> Vec<Stage> {
        let block = |block: usize| Stage::of(format!("block{}", block + 1), [&format!("blocks.{block}")]);
        let whole = |name| Stage::of(name, [name]);
        [whole("stem")]
            .into_iter()
            .chain((0..BLOCKS).map(block))
            .chain([whole("last"), whole("head")])
            .collect()
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
            Layout::Torch => name.starts_with("classifier."),
            Layout::Keras => name.starts_with("predictions/"),
        }
    }
}

impl MobileNetV2 {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        self.head.forward(self.map(input))
    }

    /// `[batch, bins, frames]` → the mean over the last map, `[batch, 1280]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        global_mean(self.map(input))
    }

    /// `[batch, 1280, bins / 32, frames / 32]`, sides rounded up.
    fn map(&self, input: Tensor<3>) -> Tensor<4> {
        let act = |x| Activation::Relu6.forward(x);
        let x = act(self.stem.forward(self.picture.forward(input)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        act(self.last.forward(x))
    }
}
