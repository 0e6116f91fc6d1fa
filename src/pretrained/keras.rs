//! Keras' files: `.h5` (weights or a whole model, Keras 2 and 3), `.weights.h5` and `.keras` (Keras 3).
//!
//! All are HDF5, read by `hdf5-pure`. The older kind calls its tensors by layer and variable; the newer by kind, number
//! and position (`layers/conv2d_1/vars/0`), and has the layer's name beside them or, before Keras 3.8, only in the
//! `config.json` of a `.keras` archive. Every tensor leaves here as `layer/variable`, see [`crate::models::Layout::Keras`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use hdf5_pure::{DType, Dataset, Datatype, DatatypeByteOrder, File, Group};
use serde_json::Value;

use super::tensors::{Collector, Kind, Tensors, floats};
use crate::archive::{self, Limits, Watch};
use crate::audio::contained;
use crate::text::printable;

/// Deepest group. Hard links can make circles.
const MAX_DEPTH: usize = 24;
/// Most groups and data sets that are looked at.
const MAX_OBJECTS: usize = 50_000;
/// Largest `config.json`.
const MAX_CONFIG: u64 = 64 << 20;
/// What a `.keras` archive may unpack to: three files and perhaps some assets, none compressed by Keras itself.
const LIMITS: Limits = Limits { entries: 1000, depth: 8, bytes: 4 << 30, ratio: 200 };

/// Groups of the newer kind in which the layers lie, the second one before Keras 3.
const LAYERS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];
/// Groups of the older kind that hold no weights.
const NO_WEIGHTS: [&str; 2] = ["optimizer_weights", "top_level_model_weights"];

/// Kinds of layers with variables; a layer called after its kind, with or without a number, was named by Keras.
const KINDS: [&str; 12] = [
    "conv1d",
    "conv2d",
    "depthwise_conv2d",
    "separable_conv2d",
    "dense",
    "batch_normalization",
    "layer_normalization",
    "normalization",
    "embedding",
    "lstm",
    "gru",
    "bidirectional",
];

/// A `.keras` archive → its tensors.
pub(super) fn read_archive(path: &Path) -> Result<Tensors, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let folder = tempfile::tempdir().map_err(|e| text(&e))?;
    let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| () };
    let unpacked = archive::unpack_zip(path, folder.path(), LIMITS, watch).map_err(without_path)?;
    let member = |name: &str| unpacked.path().join(name);
    if !member("model.weights.h5").is_file() {
        return Err("not a Keras archive: it lacks model.weights.h5".to_owned());
    }
    let config = member("config.json");
    let config = match std::fs::metadata(&config) {
        Ok(metadata) if metadata.len() > MAX_CONFIG => return Err("config.json is too large".to_owned()),
        Ok(_) => {
            let bytes = std::fs::read(&config).map_err(|e| text(&e))?;
            serde_json::from_slice(&bytes).map_err(|e| format!("config.json: {e}"))?
        }
        Err(_) => Value::Null,
    };
    read_h5(&member("model.weights.h5"), &config)
}

/// An archive's error without the archive's name, which the caller adds.
pub(super) fn without_path(error: archive::Error) -> String {
    match error {
        archive::Error::Archive { reason, .. } => reason,
        archive::Error::Entry { entry, reason, .. } => format!("entry `{entry}`: {reason}"),
        other => other.to_string(),
    }
}

/// A `.h5` file → its tensors; `config` is the description of the model that came with it, or null.
pub(super) fn read_h5(path: &Path, config: &Value) -> Result<Tensors, String> {
    contained(|| {
        let len = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut walk = Walk::default();
        walk.group(&file.root(), &mut Vec::new(), 0)?;
        walk.tensors(len, config)
    })
    .unwrap_or_else(|| Err("damaged: its reader gave up".to_owned()))
}

/// All data sets of a file.
#[derive(Default)]
struct Walk {
    found: Vec<(Vec<String>, Dataset)>,
    /// Names of layers by the path of the group that stands for them, as the newer kind notes them.
    names: BTreeMap<Vec<String>, String>,
    objects: usize,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &mut Vec<String>, depth: usize) -> Result<(), String> {
        if depth == MAX_DEPTH {
            return Err(format!("its groups are more than {MAX_DEPTH} deep, or in a circle"));
        }
        for (name, dataset) in group.iter_datasets().map_err(|e| e.to_string())? {
            self.count()?;
            path.push(name);
            self.found.push((path.clone(), dataset));
            path.pop();
        }
        for (name, child) in group.iter_groups().map_err(|e| e.to_string())? {
            self.count()?;
            if name == "vars"
                && let Ok(attributes) = child.attrs()
                && let Some(layer) = attributes.get("name").and_then(|value| value.as_str())
            {
                self.names.insert(path.clone(), layer.to_owned());
            }
            path.push(name);
            self.group(&child, path, depth + 1)?;
            path.pop();
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.objects += 1;
        if self.objects > MAX_OBJECTS {
            return Err(format!("more than {MAX_OBJECTS} groups and data sets"));
        }
        Ok(())
    }

    /// Reads what are weights, in a file of `len` bytes, and names them.
    fn tensors(mut self, len: u64, config: &Value) -> Result<Tensors, String> {
        let newer = |path: &[String]| path.first().is_some_and(|first| LAYERS.contains(&first.as_str()));
        let is_newer = self.found.iter().any(|(path, _)| newer(path));
        let mut described = BTreeMap::new();
        describe(config, &mut Vec::new(), &mut described);
        described.append(&mut self.names);
        // Variables of each layer, since what the third of them is depends on how many there are.
        let mut lengths: BTreeMap<&[String], usize> = BTreeMap::new();
        for (path, _) in &self.found {
            *lengths.entry(&path[..path.len() - 1]).or_default() += 1;
        }
        let mut named = Vec::new();
        for (path, dataset) in &self.found {
            let parts = if path.iter().any(|part| part.contains("seed_generator")) {
                None
            } else if is_newer {
                newer(path).then(|| newer_name(path, &described, lengths[&path[..path.len() - 1]])).flatten()
            } else {
                older_name(path)
            };
            named.extend(parts.map(|parts| (parts, dataset)));
        }
        let numbers = numbers(named.iter().flat_map(|(parts, _)| parts.iter().map(String::as_str)));
        let mut collector = Collector::new(len);
        for (parts, dataset) in &named {
            let last = parts.len() - 1;
            let renamed = |(i, part): (usize, &String)| match numbers.get(part.as_str()) {
                Some(name) if i < last => name.clone(),
                _ => part.clone(),
            };
            let name = parts.iter().enumerate().map(renamed).collect::<Vec<_>>().join("/");
            take(&mut collector, name, dataset)?;
        }
        collector.finish()
    }
}

/// The older kind: `[model_weights/]LAYER/…/LAYER/VARIABLE:0` → layer and variable; whatever lies between, except the
/// cell of a recurrent layer, stays (layers within layers).
fn older_name(path: &[String]) -> Option<Vec<String>> {
    let path = if path.first().is_some_and(|first| first == "model_weights") { &path[1..] } else { path };
    let (group, rest) = path.split_first()?;
    if rest.is_empty() || NO_WEIGHTS.contains(&group.as_str()) {
        return None;
    }
    let start = rest.iter().position(|part| part == group).unwrap_or(0);
    let mut parts: Vec<String> =
        rest[start..].iter().filter(|part| !part.ends_with("_cell")).cloned().collect();
    if parts.len() < 2 {
        parts.insert(0, group.clone());
    }
    let variable = parts.last_mut()?;
    *variable = variable.split(':').next()?.to_owned();
    // Keras 2 says which kernel; the layer tells that already.
    if variable == "depthwise_kernel" && !parts.iter().any(|part| part.starts_with("separable")) {
        parts.pop();
        parts.push("kernel".to_owned());
    }
    Some(parts)
}

/// The newer kind: `layers/KIND[/layers/KIND…]/vars/NUMBER` → layers and variable.
fn newer_name(
    path: &[String],
    names: &BTreeMap<Vec<String>, String>,
    variables: usize,
) -> Option<Vec<String>> {
    let (number, owner) = path.split_last()?;
    let (vars, owner) = owner.split_last()?;
    let number = number.parse::<usize>().ok().filter(|_| vars == "vars")?;
    let mut parts = Vec::new();
    for end in 1..=owner.len() {
        let part = owner[end - 1].as_str();
        if !LAYERS.contains(&part) && part != "cell" {
            parts.push(names.get(&owner[..end]).cloned().unwrap_or_else(|| part.to_owned()));
        }
    }
    parts.push(variable(owner.last()?, number, variables));
    Some(parts)
}

/// What variable `number` of `count` is, of a layer whose group is called `group`: its kind with a number.
fn variable(group: &str, number: usize, count: usize) -> String {
    let kind = kind(group).unwrap_or(group);
    let all: &[&str] = match kind {
        "batch_normalization" => &["gamma", "beta", "moving_mean", "moving_variance"],
        "layer_normalization" => &["gamma", "beta"],
        "normalization" => &["mean", "variance", "count"],
        "cell" => &["kernel", "recurrent_kernel", "bias"],
        _ => &["kernel", "bias"],
    };
    // Without gamma, or without gamma and beta: batch normalisation with `scale=False`, `center=False`.
    let first = if kind == "batch_normalization" { all.len().saturating_sub(count) } else { 0 };
    all.get(first + number).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The kind of a layer that Keras named: `conv2d` of `conv2d_12`.
fn kind(name: &str) -> Option<&'static str> {
    let stem = match name.rsplit_once('_') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    };
    KINDS.into_iter().find(|kind| *kind == stem)
}

/// New names of the layers that Keras named: by kind, counted from 0 in the order of their numbers.
fn numbers<'a>(parts: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let mut by_kind: BTreeMap<&str, BTreeSet<(u64, &str)>> = BTreeMap::new();
    for part in parts {
        if let Some(kind) = kind(part) {
            let number = part[kind.len()..].trim_start_matches('_').parse().unwrap_or(0);
            by_kind.entry(kind).or_default().insert((number, part));
        }
    }
    let mut renamed = BTreeMap::new();
    for (kind, names) in by_kind {
        for (i, (_, name)) in names.into_iter().enumerate() {
            renamed.insert(name, if i == 0 { kind.to_owned() } else { format!("{kind}_{i}") });
        }
    }
    renamed
}

/// Names of layers by the group that stands for them, from a model's description.
fn describe(config: &Value, path: &mut Vec<String>, names: &mut BTreeMap<Vec<String>, String>) {
    let Some(layers) = config["config"]["layers"].as_array().filter(|_| path.len() < MAX_DEPTH) else {
        return;
    };
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    path.push(LAYERS[0].to_owned());
    for layer in layers {
        let class = layer["class_name"].as_str().unwrap_or_default();
        let kind = snake_case(class.rsplit('>').next().unwrap_or(class));
        let count = used.entry(kind.clone()).or_default();
        path.push(if *count == 0 { kind } else { format!("{kind}_{count}") });
        *count += 1;
        if let Some(name) = layer["config"]["name"].as_str() {
            names.insert(path.clone(), name.to_owned());
        }
        describe(layer, path, names);
        path.pop();
    }
    path.pop();
}

/// `DepthwiseConv2D` → `depthwise_conv2d`, as Keras does it.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut text = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let after_lower = i > 0 && letters[i - 1].is_lowercase();
        let begins_word = i > 0 && letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_lower || begins_word) && !text.ends_with('_') {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Reads a data set as `name`.
fn take(collector: &mut Collector, name: String, dataset: &Dataset) -> Result<(), String> {
    let refuse = |reason: &str| format!("{}: {reason}", printable(&name));
    let shape = dataset.shape().map_err(|e| refuse(&e.to_string()))?;
    let shape: Vec<usize> =
        shape.into_iter().map(|extent| usize::try_from(extent).unwrap_or(usize::MAX)).collect();
    collector.reserve(&name, &shape)?;
    let values = values(dataset).map_err(|reason| refuse(&reason))?;
    collector.add(name, shape, values)
}

fn values(dataset: &Dataset) -> Result<Vec<f32>, String> {
    let text = |e: hdf5_pure::Error| e.to_string();
    let kind = match dataset.dtype().map_err(text)? {
        DType::F32 => return dataset.read_f32().map_err(text),
        DType::F64 => {
            return Ok(dataset.read_f64().map_err(text)?.into_iter().map(|value| value as f32).collect());
        }
        DType::I32 | DType::I64 | DType::U32 => {
            return Ok(dataset.read_i64().map_err(text)?.into_iter().map(|value| value as f32).collect());
        }
        DType::Other(_) => half_kind(dataset)?,
        other => return Err(format!("of type {other}; weights are floating point")),
    };
    Ok(floats(kind, &dataset.read_raw().map_err(text)?))
}

/// The two floating point numbers of 16 bits.
fn half_kind(dataset: &Dataset) -> Result<Kind, String> {
    match dataset.datatype().map_err(|e| e.to_string())? {
        Datatype::FloatingPoint { size: 2, byte_order: DatatypeByteOrder::LittleEndian, layout } => {
            match layout.mantissa_size {
                10 => return Ok(Kind::F16),
                7 => return Ok(Kind::BF16),
                _ => {}
            }
        }
        // What h5py makes of ml_dtypes' bfloat16.
        Datatype::Opaque { size: 2, .. } => return Ok(Kind::BF16),
        _ => {}
    }
    Err("of a number type that is not known; save it as float32".to_owned())
}
