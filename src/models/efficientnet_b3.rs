//! `efficientnet-b3`: inverted residual blocks with weights of their channels, wider and deeper than the smallest one of
//! its family by fixed factors (Tan & Le 2019).
//!
//! | | torchvision, timm's `efficientnet_b3` (`variant = "torch"`) | Keras, timm's `tf_efficientnet_b3` (`variant = "keras"`) |
//! |---|---|---|
//! | padding | half the kernel | "same": with stride 2 an odd zero stands at the end |
//! | epsilon | 0.00001 | 0.001 |
//! | initial weights | normal, variance `2 / fan_out` | the same, truncated |
//! | of the output layer | uniform within `1 / sqrt(fan_out)` | the same |
//!
//! Keras' network begins with layers that bring pixels of 0 to 255 to a mean of 0 and a deviation of 1. Their numbers in
//! a file are left out: they are what `model.pixels` does, and other features are standardised before they get here.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::backbone::BackboneConfig;
use super::blocks::inverted_residual::{Activation, InvertedResidual, InvertedResidualConfig, timm_tensor};
use super::blocks::vision::{Builder, ConvNorm, Convolution, Initial, Output, Padding, Variant, scaled};
use super::blocks::{Count, InitRng, Picture, PixelRange, global_mean, keras, torch};
use super::head::Head;
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// How much wider than the smallest of the family.
const WIDTH: f64 = 1.2;
/// Channels of the smallest one's first convolution.
const STEM: usize = 32;
/// Channels of the smallest one's last convolution.
const LAST: usize = 1280;
/// Stages: expansion, kernel, stride of the first block, channels of the smallest of the family, blocks of this one.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 16, 2),
    (6, 3, 2, 24, 3),
    (6, 5, 2, 40, 3),
    (6, 3, 2, 80, 5),
    (6, 5, 1, 112, 5),
    (6, 5, 2, 192, 6),
    (6, 3, 1, 320, 2),
];
/// Blocks in all.
const BLOCKS: usize = 26;
/// The inside of a block's channel weights, as a share of the channels in front of the block.
const SQUEEZE: usize = 4;
/// Share of clips that the last block would be left out for; it grows from 0 at the first.
const DROP: f64 = 0.2;

/// The options as this network reads them.
pub(super) struct Design<'a>(pub(super) &'a BackboneConfig);

/// 3 x 3 convolution, 26 inverted residual blocks in seven stages, 1 x 1 convolution, head.
#[derive(Module, Debug)]
pub struct EfficientNetB3 {
    #[module(skip)]
    picture: Picture,
    stem: ConvNorm,
    stages: Vec<Vec<InvertedResidual>>,
    last: ConvNorm,
    head: Head,
}

impl Design<'_> {
    fn picture(&self) -> Picture {
        let range = PixelRange::IMAGENET;
        self.0.picture(range)
    }

    fn scaled(&self, channels: usize) -> usize {
        scaled(channels, WIDTH * self.0.width)
    }

    fn stem(&self) -> Convolution {
        Convolution::new(self.scaled(STEM), [3, 3], Padding::of(self.0.variant)).stride(2)
    }

    fn plans(&self) -> Vec<Vec<InvertedResidualConfig>> {
        let mut c_in = self.scaled(STEM);
        let mut before = 0;
        let mut stages = Vec::with_capacity(STAGES.len());
        for (expansion, kernel, stride, channels, blocks) in STAGES {
            let c_out = self.scaled(channels);
            let mut stage = Vec::with_capacity(blocks);
            for index in 0..blocks {
                stage.push(InvertedResidualConfig {
                    channels: [c_in, c_out],
                    expansion,
                    kernel,
                    stride: if index == 0 { stride } else { 1 },
                    padding: Padding::of(self.0.variant),
                    squeeze: Some((c_in / SQUEEZE).max(1)),
                    drop: DROP * before as f64 / BLOCKS as f64,
                    activation: Activation::Silu,
                });
                c_in = c_out;
                before += 1;
            }
            stages.push(stage);
        }
        stages
    }

    fn last(&self) -> Convolution {
        Convolution::pointwise(self.scaled(LAST))
    }

    /// The name here of a block, both numbers from 0.
    fn block(stage: usize, index: usize) -> Option<String> {
        STAGES.get(stage).filter(|(.., blocks)| index < *blocks)?;
        Some(format!("stages.{stage}.{index}"))
    }

    /// torchvision's names, `features.2.0.block.1.0.weight`, and timm's, `blocks.1.0.conv_dw.weight`.
    fn torch(&self, name: &str) -> Option<Published> {
        let (module, tensor) = name.rsplit_once('.')?;
        let place = |part: &str, kind: &str| ConvNorm::torch_tensor(part, kind, tensor);
        match module.split('.').collect::<Vec<_>>()[..] {
            ["classifier", "1"] | ["classifier"] => self.0.head.classifier(Layout::Torch, tensor),
            ["features", "0", kind] => place("stem", kind),
            ["features", "8", kind] => place("last", kind),
            ["conv_stem"] => place("stem", "conv"),
            ["bn1"] => place("stem", "bn"),
            ["conv_head"] => place("last", "conv"),
            ["bn2"] => place("last", "bn"),
            ["features", stage, index, "block", part, kind] => {
                let stage = stage.parse::<usize>().ok()?.checked_sub(1)?;
                let block = Self::block(stage, index.parse().ok()?)?;
                // The first stage has no convolution to more channels, so that its others come one earlier.
                match (part.parse::<usize>().ok()? + usize::from(stage == 0), kind) {
                    (0, _) => place(&format!("{block}.expand"), kind),
                    (1, _) => place(&format!("{block}.depthwise"), kind),
                    (2, "fc1") => torch::conv_tensor(&format!("{block}.squeeze.reduce"), tensor),
                    (2, "fc2") => torch::conv_tensor(&format!("{block}.squeeze.expand"), tensor),
                    (3, _) => place(&format!("{block}.project"), kind),
                    _ => None,
                }
            }
            ["blocks", stage, index, ref layer @ ..] => {
                let stage = stage.parse().ok()?;
                let block = Self::block(stage, index.parse().ok()?)?;
                timm_tensor(&block, &layer.join("."), tensor, stage > 0)
            }
            _ => None,
        }
    }

    /// Keras' names, `block2a_expand_conv/kernel`.
    fn keras(&self, name: &str) -> Option<Published> {
        let (layer, variable) = name.split_once('/')?;
        let place = |part: &str, kind: &str| ConvNorm::keras_variable(part, kind, variable);
        let (block, part) = match layer {
            "stem_conv" => return place("stem", "conv"),
            "stem_bn" => return place("stem", "bn"),
            "top_conv" => return place("last", "conv"),
            "top_bn" => return place("last", "bn"),
            "predictions" => return self.0.head.classifier(Layout::Keras, variable),
            _ => layer.strip_prefix("block")?.split_once('_')?,
        };
        let [stage, letter] = block.as_bytes() else { return None };
        let (stage, index) = (stage.checked_sub(b'1')?, letter.checked_sub(b'a')?);
        let block = Self::block(stage.into(), index.into())?;
        match part {
            "expand_conv" | "expand_bn" if stage == 0 => None,
            "expand_conv" => place(&format!("{block}.expand"), "conv"),
            "expand_bn" => place(&format!("{block}.expand"), "bn"),
            "dwconv" => place(&format!("{block}.depthwise"), "depthwise"),
            "bn" => place(&format!("{block}.depthwise"), "bn"),
            "se_reduce" => keras::conv_variable(&format!("{block}.squeeze.reduce"), variable),
            "se_expand" => keras::conv_variable(&format!("{block}.squeeze.expand"), variable),
            "project_conv" => place(&format!("{block}.project"), "conv"),
            "project_bn" => place(&format!("{block}.project"), "bn"),
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
        let map = self.plans().iter().flatten().fold(stem, |count, block| block.count(count));
        self.0.head.count(ConvNorm::count(map, &self.last()), num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let (initial, epsilon) = match self.0.variant {
            Variant::Torch => (Initial::KaimingFanOut, 1e-5),
            Variant::Keras => (Initial::TruncatedFanOut, 1e-3),
        };
        let (variant, output) = (self.0.variant, Output::UniformFanOut);
        let mut builder = Builder { rng, device, variant, initial, output, epsilon };
        let stem = builder.conv_norm(self.0.input_channels, &self.stem());
        let plans = self.plans();
        let c_in = plans.iter().flatten().last().map_or(0, |block| block.channels[1]);
        let mut stage = |stage: &Vec<InvertedResidualConfig>| {
            stage.iter().map(|block| block.init(&mut builder)).collect()
        };
        let stages = plans.iter().map(&mut stage).collect();
        let last = builder.conv_norm(c_in, &self.last());
        let head = self.0.head.init(&mut builder, self.last().c_out, num_classes);
        Model::EfficientNetB3(EfficientNetB3 { picture: self.picture(), stem, stages, last, head })
    }

    fn stages(&self) -> Vec<Stage> {
        let stage = |stage: usize| Stage::of(format!("stage{}", stage + 1), [&format!("stages.{stage}")]);
        let whole = |name| Stage::of(name, [name]);
        let stages = (0..STAGES.len()).map(stage);
        [whole("stem")].into_iter().chain(stages).chain([whole("last"), whole("head")]).collect()
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

    /// timm has both variants, `efficientnet_b3` and Keras' as `tf_efficientnet_b3`, with the same names.
    fn variant_of(&self, layout: Layout, name: &str) -> Option<Variant> {
        (layout == Layout::Keras || name.starts_with("features.")).then_some(Variant::of(layout))
    }

    /// The published classifier, when the head is another; what Keras brings pixels to a mean of 0 with.
    fn unused(&self, layout: Layout, name: &str) -> bool {
        match layout {
            Layout::Torch => name.starts_with("classifier."),
            Layout::Keras => name.starts_with("predictions/") || name.starts_with("normalization"),
        }
    }
}

impl EfficientNetB3 {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        self.head.forward(self.map(input))
    }

    /// `[batch, bins, frames]` → the mean over the last map, `[batch, 1536]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        global_mean(self.map(input))
    }

    /// `[batch, 1536, bins / 32, frames / 32]`, sides rounded up.
    fn map(&self, input: Tensor<3>) -> Tensor<4> {
        let act = |x| Activation::Silu.forward(x);
        let x = act(self.stem.forward(self.picture.forward(input)));
        let x = self.stages.iter().flatten().fold(x, |x, block| block.forward(x));
        act(self.last.forward(x))
    }
}
