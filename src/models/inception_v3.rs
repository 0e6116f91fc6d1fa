//! `inception-v3`: blocks of parallel branches (Szegedy et al. 2016).
//!
//! | | torchvision and timm (`variant = "torch"`) | Keras (`variant = "keras"`) |
//! |---|---|---|
//! | scale of batch normalisation | yes | no |
//! | mean at the edge of a map | over 9 places, zeros outside | over the places inside |
//! | initial weights, the output layer too | normal, deviation 0.1 | Glorot uniform |
//!
//! The auxiliary classifier that torchvision trains beside it is left out.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use oido_kernels as kernels;

use super::Model;
use super::architecture::{Architecture, Options, Stage};
use super::backbone::BackboneConfig;
use super::blocks::vision::{Builder, ConvNorm, Convolution, Initial, Output, Padding, Variant, scaled};
use super::blocks::{Count, InitRng, Picture, PixelRange, global_mean, keras, max_3x3, mean_3x3};
use super::head::Head;
use super::published::{Layout, Published};
use crate::config::ConfigError;
use crate::features::FeatureShape;

/// Added to the variance by batch normalisation, in both libraries.
const EPSILON: f64 = 1e-3;
/// Of initial weights in torchvision.
const DEVIATION: f64 = 0.1;

/// The options as this network reads them.
pub(super) struct Design<'a>(pub(super) &'a BackboneConfig);

/// One layer of a table: torchvision's name, channels, kernel. Stride 2 goes without padding.
type Layer = (&'static str, usize, [usize; 2], usize);

/// One branch of a block.
struct Branch {
    /// What it begins with, besides the map as it is.
    pool: Pool,
    layers: Vec<Layer>,
    /// Layers on the same map after these, their results side by side.
    fork: Vec<Layer>,
}

/// Over 3 x 3 places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    None,
    /// Every second maximum.
    Max,
    /// Every mean.
    Mean,
}

/// The layers in front of the blocks; a maximum follows the third and the fifth.
const STEM: [(&str, usize, usize, usize, Padding); 5] = [
    ("Conv2d_1a_3x3", 32, 3, 2, Padding::Valid),
    ("Conv2d_2a_3x3", 32, 3, 1, Padding::Valid),
    ("Conv2d_2b_3x3", 64, 3, 1, Padding::Half),
    ("Conv2d_3b_1x1", 80, 1, 1, Padding::Valid),
    ("Conv2d_4a_3x3", 192, 3, 1, Padding::Valid),
];
/// How many of them stand in front of each maximum.
const STEM_GROUPS: [usize; 2] = [3, 2];

/// Names of the blocks, which are stages too.
const BLOCKS: [&str; 11] = [
    "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e",
    "Mixed_7a", "Mixed_7b", "Mixed_7c",
];

fn chain(layers: &[Layer]) -> Branch {
    Branch { pool: Pool::None, layers: layers.to_vec(), fork: vec![] }
}

fn pooled(pool: Pool, layers: &[Layer]) -> Branch {
    Branch { pool, ..chain(layers) }
}

/// The branches of each block, in the order in which both libraries make their layers.
fn blocks() -> Vec<Vec<Branch>> {
    let one = |name, channels| (name, channels, [1, 1], 1);
    let a = |pool| {
        vec![
            chain(&[one("branch1x1", 64)]),
            chain(&[one("branch5x5_1", 48), ("branch5x5_2", 64, [5, 5], 1)]),
            chain(&[
                one("branch3x3dbl_1", 64),
                ("branch3x3dbl_2", 96, [3, 3], 1),
                ("branch3x3dbl_3", 96, [3, 3], 1),
            ]),
            pooled(Pool::Mean, &[one("branch_pool", pool)]),
        ]
    };
    let c = |inside| {
        vec![
            chain(&[one("branch1x1", 192)]),
            chain(&[
                one("branch7x7_1", inside),
                ("branch7x7_2", inside, [1, 7], 1),
                ("branch7x7_3", 192, [7, 1], 1),
            ]),
            chain(&[
                one("branch7x7dbl_1", inside),
                ("branch7x7dbl_2", inside, [7, 1], 1),
                ("branch7x7dbl_3", inside, [1, 7], 1),
                ("branch7x7dbl_4", inside, [7, 1], 1),
                ("branch7x7dbl_5", 192, [1, 7], 1),
            ]),
            pooled(Pool::Mean, &[one("branch_pool", 192)]),
        ]
    };
    let e = || {
        vec![
            chain(&[one("branch1x1", 320)]),
            Branch {
                fork: vec![("branch3x3_2a", 384, [1, 3], 1), ("branch3x3_2b", 384, [3, 1], 1)],
                ..chain(&[one("branch3x3_1", 384)])
            },
            Branch {
                fork: vec![("branch3x3dbl_3a", 384, [1, 3], 1), ("branch3x3dbl_3b", 384, [3, 1], 1)],
                ..chain(&[one("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, [3, 3], 1)])
            },
            pooled(Pool::Mean, &[one("branch_pool", 192)]),
        ]
    };
    let b = vec![
        chain(&[("branch3x3", 384, [3, 3], 2)]),
        chain(&[
            one("branch3x3dbl_1", 64),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 2),
        ]),
        pooled(Pool::Max, &[]),
    ];
    let d = vec![
        chain(&[one("branch3x3_1", 192), ("branch3x3_2", 320, [3, 3], 2)]),
        chain(&[
            one("branch7x7x3_1", 192),
            ("branch7x7x3_2", 192, [1, 7], 1),
            ("branch7x7x3_3", 192, [7, 1], 1),
            ("branch7x7x3_4", 192, [3, 3], 2),
        ]),
        pooled(Pool::Max, &[]),
    ];
    vec![a(32), a(64), a(64), b, c(128), c(160), c(160), c(192), d, e(), e()]
}

/// Layers in front of the blocks, blocks, head.
#[derive(Module, Debug)]
pub struct InceptionV3 {
    #[module(skip)]
    picture: Picture,
    stem: Vec<ConvNorm>,
    blocks: Vec<Vec<Tower>>,
    head: Head,
}

/// One branch, built.
#[derive(Module, Debug)]
struct Tower {
    layers: Vec<ConvNorm>,
    fork: Vec<ConvNorm>,
    #[module(skip)]
    pool: Pool,
    outside_counts: bool,
}

impl Design<'_> {
    fn picture(&self) -> Picture {
        let range = PixelRange::UNIT;
        self.0.picture(range)
    }

    fn stem(&self) -> [Convolution; 5] {
        STEM.map(|(_, channels, kernel, stride, padding)| {
            Convolution::new(scaled(channels, self.0.width), [kernel, kernel], padding).stride(stride)
        })
    }

    fn convolution(&self, &(_, channels, kernel, stride): &Layer) -> Convolution {
        let padding = if stride == 1 { Padding::Half } else { Padding::Valid };
        Convolution::new(scaled(channels, self.0.width), kernel, padding).stride(stride)
    }

    fn norm(&self, count: Count, conv: &Convolution) -> Count {
        let count = count.convolution(conv);
        if self.0.variant == Variant::Keras { count.batch_norm_without_scale() } else { count.batch_norm() }
    }

    /// The map after the branches of one block.
    fn count_block(&self, count: Count, branches: &[Branch]) -> Count {
        let towers = branches.iter().map(|branch| {
            let start = match branch.pool {
                Pool::Max => count.pool_3x3(Padding::Valid),
                Pool::None | Pool::Mean => count,
            };
            let layer = |count, layer| self.norm(count, &self.convolution(layer));
            let last = branch.layers.iter().fold(start, layer);
            if branch.fork.is_empty() {
                return last;
            }
            last.branches(branch.fork.iter().map(|fork| layer(last, fork)))
        });
        count.branches(towers)
    }

    /// Names here and torchvision's of all layers, in the order in which both libraries make them.
    fn layers() -> Vec<(String, String)> {
        let mut layers: Vec<_> = STEM
            .iter()
            .enumerate()
            .map(|(index, layer)| (format!("stem.{index}"), layer.0.to_owned()))
            .collect();
        for (block, branches) in blocks().iter().enumerate() {
            for (number, branch) in branches.iter().enumerate() {
                for (list, of) in [("layers", &branch.layers), ("fork", &branch.fork)] {
                    for (index, layer) in of.iter().enumerate() {
                        let here = format!("blocks.{block}.{number}.{list}.{index}");
                        layers.push((here, format!("{}.{}", BLOCKS[block], layer.0)));
                    }
                }
            }
        }
        layers
    }
}

impl Architecture for Design<'_> {
    fn options(&self) -> Options {
        self.0.options(75)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.0.check()
    }

    fn count(&self, input: FeatureShape, num_classes: usize) -> Count {
        let mut count = Count::new([self.0.input_channels, input.bins, input.frames]);
        let mut stem = self.stem().into_iter();
        for group in STEM_GROUPS {
            count = stem.by_ref().take(group).fold(count, |count, conv| self.norm(count, &conv));
            count = count.pool_3x3(Padding::Valid);
        }
        let map = blocks().iter().fold(count, |count, branches| self.count_block(count, branches));
        self.0.head.count(map, num_classes)
    }

    fn init(&self, rng: &mut InitRng, _: FeatureShape, num_classes: usize, device: &Device) -> Model {
        let keras = self.0.variant == Variant::Keras;
        let (initial, output) = if keras {
            (Initial::Glorot, Output::Dense)
        } else {
            (Initial::Normal(DEVIATION), Output::Normal(DEVIATION))
        };
        let variant = self.0.variant;
        let mut builder = Builder { rng, device, variant, initial, output, epsilon: EPSILON };
        let mut layer = |c_in: usize, conv: &Convolution| {
            if keras { builder.conv_shift(c_in, conv) } else { builder.conv_norm(c_in, conv) }
        };
        let mut c_in = self.0.input_channels;
        let mut follow = |c_in: &mut usize, conv: Convolution| {
            let built = layer(*c_in, &conv);
            *c_in = conv.c_out;
            built
        };
        let stem = self.stem().into_iter().map(|conv| follow(&mut c_in, conv)).collect();
        let mut built = Vec::new();
        for branches in blocks() {
            let mut towers = Vec::new();
            let mut c_out = 0;
            for branch in branches {
                let mut channels = c_in;
                let chain = branch.layers.iter().map(|layer| follow(&mut channels, self.convolution(layer)));
                let layers = chain.collect();
                let before = channels;
                let mut forks = Vec::new();
                for fork in &branch.fork {
                    channels = before;
                    forks.push(follow(&mut channels, self.convolution(fork)));
                }
                c_out += channels * forks.len().max(1);
                towers.push(Tower { layers, fork: forks, pool: branch.pool, outside_counts: !keras });
            }
            built.push(towers);
            c_in = c_out;
        }
        let head = self.0.head.init(&mut builder, c_in, num_classes);
        Model::InceptionV3(InceptionV3 { picture: self.picture(), stem, blocks: built, head })
    }

    fn stages(&self) -> Vec<Stage> {
        let block = |(index, name): (usize, &&str)| Stage::of(*name, [&format!("blocks.{index}")]);
        let whole = |name| Stage::of(name, [name]);
        let blocks = BLOCKS.iter().enumerate().map(block);
        [whole("stem")].into_iter().chain(blocks).chain([whole("head")]).collect()
    }

    /// torchvision's and timm's names, `Mixed_5b.branch5x5_1.conv.weight`; Keras numbers its layers.
    fn silent_options(&self) -> &'static [&'static str] {
        &["variant"]
    }

    fn published(&self, layout: Layout, name: &str) -> Option<Published> {
        match layout {
            Layout::Torch => {
                let (module, tensor) = name.rsplit_once('.')?;
                if module == "fc" {
                    return self.0.head.classifier(layout, tensor);
                }
                let (module, kind) = module.rsplit_once('.')?;
                let (here, _) = Self::layers().into_iter().find(|(_, published)| published == module)?;
                ConvNorm::torch_tensor(&here, kind, tensor)
            }
            Layout::Keras => {
                let (layer, variable) = name.split_once('/')?;
                if layer == "predictions" {
                    return self.0.head.classifier(layout, variable);
                }
                let (kind, number) = keras::numbered(layer)?;
                let kind = match kind {
                    "conv2d" => "conv",
                    "batch_normalization" => "bn",
                    _ => return None,
                };
                let (here, _) = Self::layers().into_iter().nth(number)?;
                ConvNorm::keras_variable(&here, kind, variable)
            }
        }
    }

    fn variant_of(&self, layout: Layout, _: &str) -> Option<Variant> {
        Some(Variant::of(layout))
    }

    /// The published classifier, when the head is another, and the auxiliary one.
    fn unused(&self, layout: Layout, name: &str) -> bool {
        match layout {
            Layout::Torch => name.starts_with("fc.") || name.starts_with("AuxLogits."),
            Layout::Keras => name.starts_with("predictions/"),
        }
    }
}

impl Tower {
    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let x = match self.pool {
            Pool::None => map,
            Pool::Max => max_3x3(map, Padding::Valid),
            Pool::Mean => mean_3x3(map, self.outside_counts),
        };
        let x = self.layers.iter().fold(x, |x, layer| layer.forward_relu(x));
        if self.fork.is_empty() {
            return x;
        }
        kernels::cat_channels(self.fork.iter().map(|layer| layer.forward_relu(x.clone())).collect())
    }
}

impl InceptionV3 {
    /// `[batch, bins, frames]` → `[batch, num_classes]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<2> {
        self.head.forward(self.map(input))
    }

    /// `[batch, bins, frames]` → the mean over the last map, `[batch, 2048]`.
    pub fn embed(&self, input: Tensor<3>) -> Tensor<2> {
        global_mean(self.map(input))
    }

    /// `[batch, 2048, h, w]`: 8 x 8 places for 299 x 299, one for 75 x 75.
    fn map(&self, input: Tensor<3>) -> Tensor<4> {
        let mut x = self.picture.forward(input);
        let mut stem = self.stem.iter();
        for group in STEM_GROUPS {
            x = stem.by_ref().take(group).fold(x, |x, layer| layer.forward_relu(x));
            x = max_3x3(x, Padding::Valid);
        }
        let block = |x: Tensor<4>, towers: &Vec<Tower>| {
            kernels::cat_channels(towers.iter().map(|tower| tower.forward(x.clone())).collect())
        };
        self.blocks.iter().fold(x, block)
    }
}
