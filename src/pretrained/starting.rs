//! `[training] weights`: what a run starts from.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::store::Store;
use super::tensors::{Tensor, Tensors};
use super::translate::{Outline, list};
use super::{Error, safetensors};
use crate::features::FeatureShape;
use crate::files::{self, sha256};
use crate::models::{Model, ModelConfig};

/// Weights to start from.
#[derive(Debug, Clone)]
pub struct Starting {
    /// As the recipe calls them.
    origin: String,
    sha256: String,
    /// The network they are of, as far as that is known.
    model: Option<ModelConfig>,
    /// Whether its options are those it was trained with, rather than those it was imported with.
    trained: bool,
    /// The front end that their publisher trained with, as `--set` of a recipe has it.
    front_end: Vec<String>,
    tensors: Tensors,
}

/// What became of starting weights.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Started {
    /// As the recipe calls them.
    pub weights: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Tensors that were taken from it.
    pub loaded: usize,
    /// Tensors of the network that begin at random and are trained anew: those of the head, or none.
    pub fresh: Vec<String>,
    /// What else must be known.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { weights, sha256, loaded, fresh, .. } = self;
        write!(f, "{weights} (sha256 {sha256}), {loaded} tensors")?;
        match list("trained anew", fresh.iter().cloned()) {
            Some(fresh) => write!(f, "; {fresh}"),
            None => write!(f, ", the head too"),
        }
    }
}

impl Starting {
    /// Finds what a recipe calls `weights`: a name in the store; a `.safetensors` file of oido, or a run directory,
    /// both recognised by a `/` or the ending.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::NoRun`] tell which command gets them; there is no other way to begin.
    pub fn find(weights: &str, model: &ModelConfig) -> Result<Self, Error> {
        let path = Path::new(weights);
        // A bundle is no name in the store either: it is told what to do with it.
        if !weights.contains(['/', '\\']) && !weights.ends_with(".safetensors") && !weights.ends_with(".gz") {
            return Self::stored(weights, model, &Store::open()?);
        }
        if !path.exists() {
            return Err(Error::NoRun { path: path.to_owned() });
        }
        if path.is_dir() { Self::run(weights, path) } else { Self::file(weights, path) }
    }

    fn stored(name: &str, model: &ModelConfig, store: &Store) -> Result<Self, Error> {
        if !store.holds(name) {
            let names: Vec<String> = store.list()?.into_iter().flatten().map(|meta| meta.name).collect();
            let known =
                if names.is_empty() { String::new() } else { format!(" (it holds {})", names.join(", ")) };
            let options = toml::Table::try_from(model).unwrap_or_default();
            let variant = options.get("variant").and_then(toml::Value::as_str);
            let variant = variant.map_or_else(String::new, |variant| format!(" --set variant={variant}"));
            let (store, model) = (store.folder().to_owned(), format!("{}{variant}", model.name()));
            return Err(Error::Absent { name: name.to_owned(), store, known, model });
        }
        let (meta, bytes) = store.get(name)?;
        let trained = meta.source.layout.is_none();
        let starting = Self::of(name, Some(meta.model), trained, &bytes, &store.folder().join(name))?;
        Ok(Self { front_end: meta.source.front_end, ..starting })
    }

    fn file(weights: &str, path: &Path) -> Result<Self, Error> {
        if !weights.ends_with(".safetensors") {
            let reason = "training starts from a name in the store, a run directory or a .safetensors file of oido; bring \
                          other files, and bundles, into the store with `oido import`";
            return Err(Error::file(path, reason));
        }
        let mut bytes = Vec::new();
        let read = files::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(Error::io(path, "read"))?;
        Self::of(weights, None, false, &bytes, path)
    }

    /// The best weights of a run.
    fn run(weights: &str, folder: &Path) -> Result<Self, Error> {
        /// The one section that matters here.
        #[derive(Deserialize)]
        struct Recipe {
            model: ModelConfig,
        }
        let recipe = folder.join("recipe.toml");
        if !recipe.is_file() {
            let reason = "not a run directory (no recipe.toml); bring other weights, and bundles, into the store with \
                          `oido import`";
            return Err(Error::file(folder, reason));
        }
        let recipe: Recipe = crate::config::read(&recipe, &[])?;
        let path = folder.join("weights/best.safetensors");
        let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
        Self::of(weights, Some(recipe.model), true, &bytes, &path)
    }

    fn of(
        origin: &str,
        model: Option<ModelConfig>,
        trained: bool,
        bytes: &[u8],
        path: &Path,
    ) -> Result<Self, Error> {
        let tensors = safetensors::read(bytes).map_err(|reason| Error::file(path, reason))?;
        let (origin, sha256) = (origin.to_owned(), sha256(bytes));
        Ok(Self { origin, sha256, model, trained, front_end: Vec::new(), tensors })
    }

    /// SHA-256 of the file the weights lie in.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The front end that the publisher trained with, as `--set` of a recipe has it; empty when nobody said.
    pub fn front_end(&self) -> &[String] {
        &self.front_end
    }

    /// Puts the weights into `network`, which is `model` for features of shape `input`. The head stays fresh as a whole
    /// when the weights have none, another, or one for other classes; everything else must fit.
    ///
    /// # Errors
    ///
    /// [`Error::Misfit`] naming the tensors, or the option by which the networks differ.
    pub fn load(
        self,
        network: Model,
        model: &ModelConfig,
        input: FeatureShape,
    ) -> Result<(Model, Started), Error> {
        let outline = Outline::new(model, input)?;
        let misfit = |problems| Error::Misfit {
            origin: self.origin.clone(),
            model: model.name().to_owned(),
            problems,
        };
        let warnings = match &self.model {
            Some(theirs) => differences(theirs, model, self.trained).map_err(misfit)?,
            None => Vec::new(),
        };
        let expected = network.shapes();
        let mut tensors = self.tensors.clone();
        let shape = |name: &String| tensors.get(name).map(|tensor| &tensor.shape);
        let heads = expected.keys().chain(tensors.keys()).filter(|name| outline.is_head(name));
        let fresh_head = heads.into_iter().any(|name| expected.get(name) != shape(name));
        let mut fresh = Vec::new();
        if fresh_head {
            fresh.extend(expected.keys().filter(|name| outline.is_head(name)).cloned());
            tensors.retain(|name, _| !outline.is_head(name));
        }
        let mut problems = Vec::new();
        let missing = expected.keys().filter(|name| !tensors.contains_key(*name) && !fresh.contains(name));
        problems.extend(list("missing", missing.cloned()));
        problems.extend(list("extra", tensors.keys().filter(|name| !expected.contains_key(*name)).cloned()));
        let misshapen = tensors.iter().filter_map(|(name, Tensor { shape, .. })| {
            let needed = expected.get(name).filter(|needed| *needed != shape)?;
            Some(format!("{name} has shape {shape:?} where {needed:?} is needed"))
        });
        problems.extend(misshapen.take(super::translate::SHOWN));
        if !problems.is_empty() {
            return Err(misfit(problems.join("; ")));
        }
        let loaded = tensors.len();
        let tensors = tensors.into_iter().map(|(name, Tensor { shape, values })| (name, (shape, values)));
        let network = network.load_tensors(tensors.collect())?;
        Ok((network, Started { weights: self.origin, sha256: self.sha256, loaded, fresh, warnings }))
    }
}

/// Options by which two networks differ, as warnings where those of the first are known to be what it was `trained` with.
/// Of another head, [`Started::fresh`] tells.
///
/// # Errors
///
/// See [`check_same`].
fn differences(theirs: &ModelConfig, ours: &ModelConfig, trained: bool) -> Result<Vec<String>, String> {
    check_same(theirs, ours)?;
    if !trained {
        return Ok(Vec::new());
    }
    let value = |model| toml::Table::try_from(model).map_err(|e| e.to_string());
    let (theirs, ours) = (value(theirs)?, value(ours)?);
    let warning = |(key, given): (&String, &toml::Value)| {
        let had = theirs.get(key).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let differs = key != "head" && had != given.to_string();
        differs.then(|| format!("the starting weights had model.{key} = {had}, the recipe has {given}"))
    };
    Ok(ours.iter().filter_map(warning).collect())
}

/// Refuses weights of another network than `ours`, or of one with other options of those that no shape tells.
///
/// # Errors
///
/// The option and its two values.
pub fn check_same(theirs: &ModelConfig, ours: &ModelConfig) -> Result<(), String> {
    if theirs.name() != ours.name() {
        return Err(format!("they are weights of {}", theirs.name()));
    }
    let value = |model| serde_json::to_value(model).map_err(|e| e.to_string());
    let (had, given) = (value(theirs)?, value(ours)?);
    match ours.silent_options().iter().find(|key| had[**key] != given[**key]) {
        None => Ok(()),
        Some(key) => Err(format!(
            "they are of {key} = {}, not of {}; the two compute different things",
            had[*key], given[*key]
        )),
    }
}
