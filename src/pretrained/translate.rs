//! Published tensors → the tensors of one network, every one of them accounted for.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::tensors::{Tensor, Tensors};
use crate::features::FeatureShape;
use crate::models::{self, Layout, ModelConfig, Stage, Variant};
use crate::text::printable;

/// Names of one kind that an error tells.
pub(super) const SHOWN: usize = 6;
/// Parts of a name that may be a wrapper's: `module.`, `model.backbone.`, the name of a Keras model.
const MAX_PREFIX: usize = 3;
/// PyTorch's count of training steps beside each batch normalisation; nothing reads it.
const COUNTERS: &str = "num_batches_tracked";

/// Which tensors a network has.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The shape of each tensor for two classes.
    shapes: BTreeMap<String, Vec<usize>>,
    /// Tensors of the head, and the axis that depends on the number of classes, if one does.
    head: BTreeMap<String, Option<usize>>,
    /// The stage that is the head, in networks with stages.
    head_stage: Option<Stage>,
}

impl Outline {
    /// Builds the network twice to see which tensors depend on the number of classes.
    pub fn new(model: &ModelConfig, input: FeatureShape) -> Result<Self, Error> {
        let device = models::device("cpu")?;
        let shapes = |classes| Ok::<_, Error>(model.blank(input, classes, &device)?.shapes());
        let (two, three) = (shapes(2)?, shapes(3)?);
        let differs =
            |name: &String, shape: &[usize]| shape.iter().zip(three.get(name)?).position(|(a, b)| a != b);
        let head_stage = model.stages().pop();
        let mut head = BTreeMap::new();
        for (name, shape) in &two {
            let axis = differs(name, shape);
            if axis.is_some() || head_stage.as_ref().is_some_and(|stage| stage.contains(name)) {
                head.insert(name.clone(), axis);
            }
        }
        Ok(Self { shapes: two, head, head_stage })
    }

    /// Whether the tensor belongs to the head, of this network or of one with another head: the last stage of the network,
    /// or, where it has no stages, the layer that is another for another number of classes.
    pub fn is_head(&self, name: &str) -> bool {
        self.head.contains_key(name) || self.head_stage.as_ref().is_some_and(|stage| stage.contains(name))
    }

    /// The shape the tensor has for `classes` classes.
    fn shape(&self, name: &str, classes: Option<usize>) -> Vec<usize> {
        let mut shape = self.shapes[name].clone();
        if let (Some(Some(axis)), Some(classes)) = (self.head.get(name), classes) {
            shape[*axis] = classes;
        }
        shape
    }
}

/// What to leave out.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeaveOut<'a> {
    /// The head.
    pub head: bool,
    /// Tensors whose published names begin with one of these.
    pub prefixes: &'a [String],
}

/// The tensors of a network, taken from a published file.
#[derive(Debug, Clone)]
pub struct Translated {
    /// By the network's names; complete, but for the head it may lack as a whole.
    pub tensors: Tensors,
    /// Whose names and axes the file has; nothing when they are already the network's.
    pub layout: Option<Layout>,
    /// Classes of the head; nothing when there is none.
    pub num_classes: Option<usize>,
    /// Published names of what was left out.
    pub left_out: Vec<String>,
}

/// The variant of `model` that a published file is of, whatever `model` says; `None` when its names do not tell.
///
/// # Errors
///
/// One sentence when the file is of another network.
pub fn variant_of(
    published: &Tensors,
    model: &ModelConfig,
    outline: &Outline,
) -> Result<Option<Variant>, String> {
    let names: Vec<&str> = published.keys().map(String::as_str).collect();
    Ok(Names::find(&names, model, outline)?.variant(&names))
}

/// Finds the place of every tensor.
///
/// # Errors
///
/// One sentence naming the tensors that are missing, extra, or of another shape, or the variant that the file is of: where
/// the shapes are the same, another variant would compute something else without a word.
pub fn translate(
    published: Tensors,
    model: &ModelConfig,
    outline: &Outline,
    leave_out: LeaveOut,
) -> Result<Translated, String> {
    let asked = |name: &str| leave_out.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
    let (mut left_out, mut left) = (Vec::new(), Vec::new());
    for (name, tensor) in published {
        match (name.ends_with(COUNTERS), asked(&name)) {
            (true, _) => {}
            (false, true) => left_out.push(name),
            (false, false) => left.push((name, tensor)),
        }
    }
    if let Some(prefix) =
        leave_out.prefixes.iter().find(|prefix| !left_out.iter().any(|name| name.starts_with(*prefix)))
    {
        return Err(format!(
            "none of its tensors begins with `{}`, which is to be left out",
            printable(prefix)
        ));
    }
    let all: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
    let names = Names::find(&all, model, outline)?;
    if let (Some(theirs), Some(ours)) = (names.variant(&all), model.variant())
        && theirs != ours
    {
        return Err(format!("by its names it is of the variant `{theirs}`, not of `{ours}`"));
    }
    let (mut tensors, mut extra, mut problems) = (Tensors::new(), Vec::new(), Vec::new());
    for (name, tensor) in left {
        let Some((place, turned)) = names.place(&name, tensor) else {
            if names.unused(&name) {
                left_out.push(name)
            } else {
                extra.push(name)
            }
            continue;
        };
        if leave_out.head && outline.is_head(&place) {
            left_out.push(name);
            continue;
        }
        match turned {
            Err(shape) => {
                problems.push(format!("{} has shape {shape:?}, which does not turn", printable(&name)))
            }
            Ok(turned) => {
                if tensors.insert(place.clone(), turned).is_some() {
                    problems.push(format!("two tensors belong to {place}"));
                }
            }
        }
    }
    let head = outline.head.iter().filter_map(|(name, axis)| tensors.get(name)?.shape.get((*axis)?)).copied();
    let num_classes = head.clone().next();
    if head.clone().any(|classes| Some(classes) != num_classes) {
        problems.push(format!("its head is for {:?} classes at once", head.collect::<BTreeSet<_>>()));
    }
    let has_head = tensors.keys().any(|name| outline.is_head(name));
    let needed = |name: &&String| !outline.is_head(name) || has_head;
    let missing = outline.shapes.keys().filter(needed).filter(|name| !tensors.contains_key(*name));
    problems.splice(0..0, list("missing", missing.cloned()));
    problems.splice(0..0, list("extra", extra.into_iter()));
    for (name, tensor) in &tensors {
        let expected = outline.shape(name, num_classes);
        if tensor.shape != expected {
            problems.push(format!("{name} has shape {:?} where {expected:?} is needed", tensor.shape));
        }
    }
    if problems.is_empty() {
        Ok(Translated { tensors, layout: names.layout, num_classes, left_out })
    } else {
        Err(shortened(&problems))
    }
}

/// Whose names a file has, and what stands before all of them.
struct Names<'a> {
    model: &'a ModelConfig,
    outline: &'a Outline,
    layout: Option<Layout>,
    prefix: String,
}

impl<'a> Names<'a> {
    /// The layout and prefix by which most tensors are known.
    fn find(tensors: &[&str], model: &'a ModelConfig, outline: &'a Outline) -> Result<Self, String> {
        let layouts = [None, Some(Layout::Torch), Some(Layout::Keras)];
        let candidates = layouts.into_iter().flat_map(|layout| {
            prefixes(tensors).into_iter().map(move |prefix| Self { model, outline, layout, prefix })
        });
        let mut best = None;
        for names in candidates {
            let known = tensors.iter().filter(|name| names.knows(name)).count();
            if known > best.as_ref().map_or(0, |(most, _)| *most) {
                best = Some((known, names));
            }
        }
        best.map(|(_, names)| names).ok_or_else(|| {
            let first = tensors.iter().take(3).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
            format!(
                "none of its {} tensors ({first}, …) is one of this network, as far as is known",
                tensors.len()
            )
        })
    }

    /// The name without the prefix, if it has it.
    fn short<'b>(&self, name: &'b str) -> &'b str {
        name.strip_prefix(self.prefix.as_str()).unwrap_or(name)
    }

    fn knows(&self, name: &str) -> bool {
        let name = self.short(name);
        match self.layout {
            None => self.outline.shapes.contains_key(name),
            Some(layout) => self.model.published(layout, name).is_some(),
        }
    }

    /// Where a tensor belongs, and the tensor with its axes turned, or its shape when they do not turn.
    fn place(&self, name: &str, tensor: Tensor) -> Option<(String, Result<Tensor, Vec<usize>>)> {
        let name = self.short(name);
        let Some(layout) = self.layout else {
            return self.outline.shapes.contains_key(name).then(|| (name.to_owned(), Ok(tensor)));
        };
        // Names of both variants are known; this one may be without the tensor.
        let place = self
            .model
            .published(layout, name)
            .filter(|place| self.outline.shapes.contains_key(&place.name))?;
        let Tensor { shape, values } = tensor;
        let turned = place.axes.apply(&shape, values).map(|(shape, values)| Tensor { shape, values });
        Some((place.name, turned.ok_or(shape)))
    }

    /// The variant that these names tell.
    fn variant(&self, names: &[&str]) -> Option<Variant> {
        let layout = self.layout?;
        names.iter().find_map(|name| self.model.variant_of(layout, self.short(name)))
    }

    fn unused(&self, name: &str) -> bool {
        self.layout.is_some_and(|layout| self.model.unused(layout, self.short(name)))
    }
}

/// What stands before at least half of the names, nothing first.
fn prefixes(tensors: &[&str]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in tensors {
        for (at, _) in name.match_indices(['.', '/']).take(MAX_PREFIX) {
            *counts.entry(&name[..=at]).or_default() += 1;
        }
    }
    let common = counts.into_iter().filter(|(_, count)| 2 * count >= tensors.len());
    std::iter::once(String::new()).chain(common.map(|(prefix, _)| prefix.to_owned())).collect()
}

/// `missing a, b and 3 more`, or nothing.
pub(super) fn list(what: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.map(|name| printable(&name)).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    match (names.len(), more) {
        (0, _) => None,
        (_, 0) => Some(format!("{what}: {shown}")),
        _ => Some(format!("{what}: {shown} and {more} more")),
    }
}

fn shortened(problems: &[String]) -> String {
    let shown = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
