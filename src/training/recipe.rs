//! What one experiment is: a TOML file with a section for each step of the pipeline.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::audio::AudioConfig;
use crate::augment::{self, Augmentation};
use crate::config::{self, ConfigError};
use crate::dataset::mix::MixConfig;
use crate::dataset::prepare::Source;
use crate::dataset::{Filter, SplitConfig};
use crate::decision::{DecisionConfig, Task};
use crate::features::{Extractor, FeatureConfig, Scale, Standardize};
use crate::files;
use crate::models::{ModelConfig, Precision, Stage};

use super::built_in::BUILT_IN;
use super::loss::{ClassWeights, Loss};
use super::optimizer::Optimizer;
use super::per_parameter::GradientClipping;
use super::results::EpochRow;
use super::schedule::Schedule;
use super::stages::TrainingStage;

/// An experiment, complete: task, data, split, audio, features, model, training and decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the experiment; a run directory is called after it.
    pub name: String,
    /// Seed of everything random. Default 42.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Whether a clip has exactly one label or any number of them. Default `single_label`.
    #[serde(default, skip_serializing_if = "Task::is_single_label")]
    pub task: Task,
    /// Where the recordings come from.
    #[serde(default)]
    pub data: DataConfig,
    /// Which clips train, choose the epoch, and are reported.
    pub split: SplitConfig,
    /// What one clip is.
    #[serde(default)]
    pub audio: AudioConfig,
    /// The front end.
    #[serde(default)]
    pub features: FeatureConfig,
    /// What is done to training clips, in order. Default nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augmentation>,
    /// The network.
    pub model: ModelConfig,
    /// How it is fitted.
    #[serde(default)]
    pub training: TrainingConfig,
    /// When the answer is "indeterminate".
    #[serde(default)]
    pub decision: DecisionConfig,
    /// Stages of training, one after the other; what they do not say is as above. Default: one stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<TrainingStage>,
}

/// Settings that came later are only written out where they are used: recipes of earlier runs stay as they were.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &f64) -> bool {
    *number <= 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(number: &usize) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

fn default_seed() -> u64 {
    42
}

/// Recipe section `[data]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Layout of the folder given with `--data`. Default: none, the data is a manifest CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Manifest CSV, or root folder when `source` is set; `--data` replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Which clips of the data there are for this experiment, as in `{ subset = ["curated"] }`. Default: all.
    #[serde(skip_serializing_if = "Filter::is_empty")]
    pub keep: Filter,
    /// What is drawn when `source` is `librispeech-mix`. Default: all of [`MixConfig`]'s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mix: Option<MixConfig>,
}

impl DataConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        match (&self.mix, self.source) {
            (None, _) => Ok(()),
            (Some(mix), Some(Source::LibrispeechMix)) => mix.validate(),
            (Some(_), _) => Err(ConfigError::field(
                "data.mix",
                "mixtures are drawn only with data.source = \"librispeech-mix\"",
            )),
        }
    }
}

/// Recipe section `[training]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Most epochs. Default 40.
    pub epochs: usize,
    /// Clips a batch; the last batch of an epoch may be smaller. Default 32.
    pub batch_size: usize,
    /// Batches whose gradients make up one step of the optimiser, as if they were one batch (but for batch normalisation,
    /// which sees each alone). Default 1.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// In which order training visits the clips. Default `shuffled`.
    #[serde(skip_serializing_if = "Sampler::is_shuffled")]
    pub sampler: Sampler,
    /// Whether every epoch visits each clip twice, as it is and augmented: the augmented half is added to the untouched one.
    /// Default false: once, augmented.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untouched_half: bool,
    /// How gradients change the weights. Default `adam`.
    #[serde(deserialize_with = "config::name_or_table")]
    pub optimizer: Optimizer,
    /// Learning rate, where the schedule begins. Default 0.001.
    pub learning_rate: f64,
    /// How the learning rate changes. Default `constant`.
    #[serde(deserialize_with = "config::name_or_table")]
    pub schedule: Schedule,
    /// Epochs, also parts of them, in which the learning rate rises in a line to what the schedule says. Default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub warmup_epochs: f64,
    /// A limit on gradients, `{ norm = 1.0 }` or `{ value = 0.5 }`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_clipping: Option<GradientClipping>,
    /// Exponential moving average of the weights: how much of the average stays at each step, 0.999 for instance (Polyak &
    /// Juditsky 1992). Validation, the weights that are kept and the bundle are of the average. Default 0: no average.
    #[serde(skip_serializing_if = "is_zero")]
    pub ema: f64,
    /// What is minimised. Default `cross_entropy` for one label a clip, `bce` for several.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "config::some_name_or_table")]
    pub loss: Option<Loss>,
    /// Share of every target that is spread evenly over all classes, or over there and not there for several labels a clip
    /// (Szegedy et al. 2016; as in Keras). 0 to 1, default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub label_smoothing: f64,
    /// How much each class counts in the loss. Default: all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Keras' `l2` on the kernels of all convolution and dense layers that train: times the sum of their squares is added
    /// to what is minimised, not to the losses that are reported. Default 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub l2: f64,
    /// What the best epoch is chosen by, on the validation clips. Default `accuracy` for one label a clip, `lwlrap` for
    /// several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Monitor>,
    /// Numbers that training steps multiply; validation has `f32` always. Default `f32`.
    #[serde(skip_serializing_if = "is_f32")]
    pub precision: Precision,
    /// What training starts from instead of random weights: a name in the store (`oido import`), a run directory or a
    /// `.safetensors` file of oido. `random` says that there are none, where the recipe (or the stage before) has some.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Early stopping: epochs without improvement before training ends; 0 never stops early. Default 10.
    pub patience: usize,
    /// Stages of the network (not of the training) that stay as they are: their names, ranges such as `..layer2`, the last ones in front of the
    /// head (`last 2`), or `backbone`; see [`ModelConfig::frozen_stages`]. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// The stages in front of the head that train with it, in the same words, in place of `frozen`. Default all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trainable: Vec<String>,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 40,
            batch_size: 32,
            accumulate: 1,
            sampler: Sampler::Shuffled,
            untouched_half: false,
            optimizer: Optimizer::default(),
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            warmup_epochs: 0.0,
            gradient_clipping: None,
            ema: 0.0,
            loss: None,
            label_smoothing: 0.0,
            class_weights: None,
            l2: 0.0,
            monitor: None,
            precision: Precision::F32,
            weights: None,
            patience: 10,
            frozen: Vec::new(),
            trainable: Vec::new(),
        }
    }
}

/// In which order training visits the clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Every clip once an epoch.
    #[default]
    Shuffled,
    /// Classes in turn, so that each comes equally often; see [`crate::dataset::Order::Balanced`].
    Balanced,
}

impl Sampler {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_shuffled(&self) -> bool {
        *self == Self::Shuffled
    }
}

/// What the best epoch is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Highest validation accuracy.
    Accuracy,
    /// Lowest validation loss.
    Loss,
    /// Highest macro F1 on validation.
    MacroF1,
    /// Highest label-weighted label-ranking average precision on validation.
    Lwlrap,
}

impl Monitor {
    /// The usual one.
    pub fn of(task: Task) -> Self {
        match task {
            Task::SingleLabel => Self::Accuracy,
            Task::MultiLabel => Self::Lwlrap,
        }
    }

    /// Its figure in a row of results.
    pub fn value(self, row: &EpochRow) -> f64 {
        match self {
            Self::Accuracy => row.valid_accuracy,
            Self::Loss => row.valid_loss,
            Self::MacroF1 => row.valid_macro_f1,
            Self::Lwlrap => row.valid_lwlrap,
        }
    }

    /// What just counts as an improvement over `best` by `delta`.
    pub fn improved(self, best: f64, delta: f64) -> f64 {
        match self {
            Self::Loss => best - delta,
            Self::Accuracy | Self::MacroF1 | Self::Lwlrap => best + delta,
        }
    }

    /// Whether `new` is strictly better than `old`.
    pub fn better(self, new: f64, old: f64) -> bool {
        match self {
            Self::Loss => new < old,
            Self::Accuracy | Self::MacroF1 | Self::Lwlrap => new > old,
        }
    }
}

impl Recipe {
    /// Reads a recipe file, applies `--set section.key=value` assignments and validates the result.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let Text { text, origin, folder } = Text::read(path)?;
        Self::assemble(&text, sets, &origin, &folder)
    }

    /// Reads the recipe file `path`, or, when there is no such file, the built-in recipe of that name.
    pub fn find(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let Text { text, origin, folder } = Text::find(path)?;
        Self::assemble(&text, sets, &origin, &folder)
    }

    /// The same recipe with fold `fold` reported; see [`SplitConfig::with_test_fold`].
    pub fn with_test_fold(self, fold: u32) -> Result<Self, ConfigError> {
        Ok(Self { split: self.split.with_test_fold(fold)?, ..self })
    }

    /// As [`Recipe::read`], from a text; `origin` names it in errors.
    pub fn parse(text: &str, sets: &[String], origin: &str) -> Result<Self, ConfigError> {
        Self::assemble(text, sets, origin, Path::new(""))
    }

    /// Puts the text over the one that it `extends`, if it does; files of that kind are looked for in `folder`.
    fn assemble(text: &str, sets: &[String], origin: &str, folder: &Path) -> Result<Self, ConfigError> {
        let extends = text.parse::<Table>().is_ok_and(|table| table.contains_key(EXTENDS));
        let recipe: Self = if extends {
            let origin = format!("{origin} with what it extends");
            config::assemble(whole(text, &origin, folder, 0)?, sets, &origin)?
        } else {
            config::parse(text, sets, origin)?
        };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as TOML, every default written out.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|e| ConfigError::field("recipe", e.to_string()))
    }

    /// The same recipe with every number of the front end written out, those that follow from others too.
    pub fn resolved(&self) -> Self {
        let mut data = self.data.clone();
        if data.source == Some(Source::LibrispeechMix) {
            data.mix.get_or_insert_default();
        }
        let training = self.training.resolved(self.task);
        let stages = self.resolved_stages();
        Self { data, features: self.features.resolve(&self.audio), training, stages, ..self.clone() }
    }

    /// The stages of the network that training leaves as they are.
    pub fn frozen_stages(&self) -> Result<Vec<Stage>, ConfigError> {
        self.model.frozen_stages(&self.training.frozen, &self.training.trainable)
    }

    /// Everything that can be checked without data.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() || self.name.contains(['/', '\\']) {
            return Err(ConfigError::field("name", format!("`{}` cannot name a run directory", self.name)));
        }
        self.split.validate()?;
        self.data.validate()?;
        self.audio.validate()?;
        self.decision.validate()?;
        self.training.validate(self.task)?;
        let extractor = Extractor::new(&self.audio, &self.features)?;
        augment::validate(&self.augment, self.task, &extractor)?;
        if self.training.untouched_half && self.augment.is_empty() {
            let reason =
                "nothing is augmented, so both halves would be the same; list [[augment]], or leave it out";
            return Err(ConfigError::field("training.untouched_half", reason));
        }
        self.frozen_stages()?;
        let features = extractor.config();
        if self.model.takes_pixels()
            && (features.scale != Scale::Image || features.standardize != Standardize::None)
        {
            let reason = "the features are not pixels of 0 to 255; set features.scale = \"image\" and \
                          features.standardize = \"none\", or leave it out";
            return Err(ConfigError::field("model.pixels", reason));
        }
        // The number of classes is the data's; two are the least any network accepts.
        self.model.validate(extractor.shape(), 2)?;
        self.validate_stages()
    }
}

/// The word for no weights of elsewhere.
const RANDOM: &str = "random";
/// The top-level key that names the recipe of which only the differences follow.
const EXTENDS: &str = "extends";
/// How many recipes may extend one another.
const MAX_DEPTH: usize = 8;

/// A recipe's text, what errors call it, and the folder where it lies.
struct Text {
    text: Cow<'static, str>,
    origin: String,
    folder: PathBuf,
}

impl Text {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let folder = files::parent(path).to_owned();
        Ok(Self { text: text.into(), origin: path.display().to_string(), folder })
    }

    fn find(path: &Path) -> Result<Self, ConfigError> {
        if path.exists() {
            return Self::read(path);
        }
        let name = path.to_string_lossy();
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Ok(Self { text: (*text).into(), origin: name.into_owned(), folder: PathBuf::new() });
        }
        let folder = |name: &'static str| name.split('/').next().unwrap_or_default();
        let near = BUILT_IN
            .iter()
            .map(|(name, _)| *name)
            .filter(|known| name.starts_with(&format!("{}/", folder(known))));
        let near: Vec<&str> = near.collect();
        let names = if near.is_empty() {
            let folders: BTreeSet<&str> = BUILT_IN.iter().map(|(name, _)| folder(name)).collect();
            format!(
                "those of {}; the name of one with a / lists it",
                folders.into_iter().collect::<Vec<_>>().join(", ")
            )
        } else {
            near.join(", ")
        };
        let reason = format!("there is no such file; built-in recipes are {names}");
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, reason);
        Err(ConfigError::Read { path: path.to_owned(), source })
    }
}

/// The text as a table, put over the recipe that it extends.
fn whole(text: &str, origin: &str, folder: &Path, depth: usize) -> Result<Table, ConfigError> {
    let refuse = |reason: String| Err(ConfigError::Parse { origin: origin.to_owned(), message: reason });
    let mut own = config::table(text, origin)?;
    let Some(extended) = own.remove(EXTENDS) else { return Ok(own) };
    let Some(extended) = extended.as_str() else {
        return refuse(format!(
            "extends = {extended} is no name; give a built-in recipe or a file beside this one"
        ));
    };
    if !own.contains_key("name") {
        return refuse(format!(
            "it has the name of {extended}, which it extends; give it a `name` of its own"
        ));
    }
    if depth == MAX_DEPTH {
        return refuse(format!("more than {MAX_DEPTH} recipes extend one another, or one extends itself"));
    }
    let beside = folder.join(extended);
    let base = Text::find(if beside.is_file() { &beside } else { Path::new(extended) })?;
    let mut table = whole(&base.text, &base.origin, &base.folder, depth + 1)?;
    config::overlay(&mut table, own);
    Ok(table)
}

impl TrainingConfig {
    /// The weights of elsewhere that training starts from.
    pub fn starting_weights(&self) -> Option<&str> {
        self.weights.as_deref().filter(|weights| *weights != RANDOM)
    }

    /// The same with the defaults that follow from the task written out.
    pub(super) fn resolved(&self, task: Task) -> Self {
        Self {
            loss: Some(self.loss.unwrap_or(Loss::of(task))),
            monitor: Some(self.monitor.unwrap_or(Monitor::of(task))),
            ..self.clone()
        }
    }

    fn validate(&self, task: Task) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: String| Err(ConfigError::field(format!("training.{key}"), reason));
        if self.epochs == 0 {
            return refuse("epochs", "0 trains nothing; give at least 1".into());
        }
        if self.batch_size == 0 {
            return refuse("batch_size", "0 is not a batch; give at least 1".into());
        }
        if self.accumulate == 0 {
            return refuse("accumulate", "0 batches never make a step; give at least 1".into());
        }
        self.optimizer.validate()?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse("learning_rate", format!("{} must be above 0", self.learning_rate));
        }
        if !(self.warmup_epochs.is_finite() && self.warmup_epochs >= 0.0) {
            return refuse("warmup_epochs", format!("{} must be 0 or above", self.warmup_epochs));
        }
        self.schedule.validate(self.epochs, self.warmup_epochs)?;
        self.gradient_clipping.map_or(Ok(()), GradientClipping::validate)?;
        if !(0.0..1.0).contains(&self.ema) {
            return refuse("ema", format!("{} must be from 0 to below 1; 0.999 is usual", self.ema));
        }
        let loss = self.loss.unwrap_or(Loss::of(task));
        loss.validate(task)?;
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return refuse("label_smoothing", format!("{} must be from 0 to below 1", self.label_smoothing));
        }
        if loss == (Loss::Lsep {}) && (self.label_smoothing > 0.0 || self.class_weights.is_some()) {
            let reason =
                "lsep compares labels with other classes and knows neither label_smoothing nor class_weights";
            return refuse("loss", reason.into());
        }
        self.class_weights.as_ref().map_or(Ok(()), ClassWeights::validate)?;
        if !(self.l2.is_finite() && self.l2 >= 0.0) {
            return refuse("l2", format!("{} must be 0 or above", self.l2));
        }
        if self.weights.as_ref().is_some_and(String::is_empty) {
            return refuse("weights", "an empty name; leave the key out to start from random weights".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "name = 'x'\n[split]\nprotocol = 'manifest'\n[model]\nname = 'cnn'\n";

    fn recipe(text: &str, sets: &[&str]) -> Result<Recipe, ConfigError> {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        Recipe::parse(text, &sets, "recipe.toml")
    }

    #[test]
    fn the_defaults_are_those_of_the_urban_sounds_study() {
        let recipe = recipe(MINIMAL, &[]).unwrap();
        assert_eq!((recipe.seed, recipe.training.epochs, recipe.training.batch_size), (42, 40, 32));
        let shape = Extractor::new(&recipe.audio, &recipe.features).unwrap().shape();
        assert_eq!((shape.bins, shape.frames), (128, 173));
        assert!((recipe.decision.threshold - 0.6).abs() < 1e-6);
    }

    #[test]
    fn the_written_form_reads_back_to_the_same_recipe() {
        let first = recipe(MINIMAL, &["training.epochs=3", "decision.indeterminate=indeterminado"]).unwrap();
        let again = recipe(&first.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(first, again);
        assert_eq!(first.to_toml().unwrap(), again.to_toml().unwrap());
    }

    #[test]
    fn a_recipe_may_say_only_what_is_otherwise_than_in_another() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let read = |name: &str, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
            Recipe::read(&folder.path().join(name), &sets).map_err(|e| e.to_string())
        };
        write("wide.toml", "extends = 'urbansound8k/cnn'\nname = 'wide'\n[model]\ndense = 512\n");
        write("sgd.toml", "extends = 'wide.toml'\nname = 'sgd'\n[training]\noptimizer = 'sgd'\n");
        write("crnn.toml", "extends = 'wide.toml'\nname = 'x'\n[model]\nname = 'crnn'\n");
        let cnn = Recipe::find(Path::new("urbansound8k/cnn"), &[]).unwrap();
        let sgd = read("sgd.toml", &["training.epochs=3"]).unwrap();
        let model = ModelConfig::Cnn(crate::models::CnnConfig { dense: 512, ..Default::default() });
        assert_eq!((sgd.name.as_str(), &sgd.model, sgd.training.epochs), ("sgd", &model, 3));
        assert!(matches!(sgd.training.optimizer, Optimizer::Sgd { .. }));
        assert_eq!((&sgd.split, &sgd.features, &sgd.decision), (&cnn.split, &cnn.features, &cnn.decision));
        // Another network has other options: none of the first is left.
        assert_eq!(read("crnn.toml", &[]).unwrap().model.name(), "crnn");
        let text = sgd.to_toml().unwrap();
        assert!(!text.contains("extends"));
        assert_eq!(Recipe::parse(&text, &[], "run").unwrap(), sgd);

        write("nameless.toml", "extends = 'wide.toml'\n");
        write("loop.toml", "extends = 'loop.toml'\nname = 'loop'\n");
        write("lost.toml", "extends = 'urbansound8k/cn'\nname = 'lost'\n");
        write("number.toml", "extends = 3\nname = 'number'\n");
        write("typo.toml", "extends = 'wide.toml'\nname = 'typo'\n[training]\nepoch = 3\n");
        for (name, expected) in [
            ("nameless.toml", "give it a `name` of its own"),
            ("loop.toml", "one extends itself"),
            ("lost.toml", "urbansound8k/cn: cannot read the configuration: there is no such file"),
            ("number.toml", "extends = 3 is no name"),
            ("typo.toml", "typo.toml with what it extends: `epoch = 3`: unknown field `epoch`"),
        ] {
            let error = read(name, &[]).unwrap_err();
            assert!(error.contains(expected) && !error.contains(", line "), "{error}");
        }
    }

    #[test]
    fn several_labels_bring_their_own_loss_and_monitor() {
        let recipe = recipe(MINIMAL, &["task=multi_label"]).unwrap();
        assert_eq!(recipe.training.loss, None);
        let text = recipe.resolved().to_toml().unwrap();
        assert!(text.contains("task = \"multi_label\"") && text.contains("monitor = \"lwlrap\""), "{text}");
        let again = super::Recipe::parse(&text, &[], "again").unwrap();
        assert_eq!(again.training.loss, Some(Loss::Bce {}));
        for (loss, expected) in [
            ("training.loss=cross_entropy", "cross_entropy is for clips with one label"),
            ("training.loss={name='focal',alpha=2.0}", "alpha 2"),
        ] {
            let error = super::tests::recipe(MINIMAL, &["task=multi_label", loss]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let both = ["task=multi_label", "training.loss=lsep", "training.label_smoothing=0.1"];
        assert!(super::tests::recipe(MINIMAL, &both).unwrap_err().to_string().contains("lsep compares"));
    }

    #[test]
    fn a_network_that_takes_pixels_needs_features_that_are_pixels() {
        let network = "model={name='mobilenet-v2', pixels=true}";
        let (image, plain) = ("features.scale='image'", "features.standardize='none'");
        for sets in [&[network][..], &[network, image], &[network, plain]] {
            let error = recipe(MINIMAL, sets).unwrap_err().to_string();
            assert!(error.starts_with("model.pixels") && error.contains("features.scale"), "{error}");
        }
        recipe(MINIMAL, &[network, image, plain]).unwrap();
    }

    #[test]
    fn mistakes_are_named_by_field() {
        for (set, expected) in [
            ("training.epochs=0", "training.epochs"),
            ("training.batch_size=0", "training.batch_size"),
            ("training.learning_rate=-1.0", "training.learning_rate"),
            ("training.l2=-0.1", "training.l2"),
            ("training.loss=bce", "training.loss: bce is for clips with several labels"),
            ("training.loss=hinge", "unknown variant `hinge`"),
            ("training.loss={name='focal',gamma=-1}", "gamma -1"),
            ("training.loss={name='focal',alpha=0.5}", "training.loss: alpha is for"),
            ("training.loss={name='l_q',q=0}", "q 0"),
            ("training.loss={name='l_soft',beta=2}", "beta 2"),
            ("training.loss={name='cross_entropy',q=0.5}", "unknown field `q`"),
            ("training.label_smoothing=1", "training.label_smoothing"),
            ("training.accumulate=0", "training.accumulate"),
            ("training.optimizer=sdg", "unknown variant `sdg`"),
            ("training.optimizer={name='sgd',nesterov=true}", "nesterov needs a momentum"),
            ("training.optimizer={name='sgd',momentum=1.0}", "momentum 1 "),
            ("training.optimizer={name='adam',weight_decay=0.1}", "unknown field `weight_decay`"),
            ("training.optimizer={name='adamw',weight_decay=-1}", "weight_decay -1"),
            ("training.optimizer={name='adamw',beta_1=1}", "beta 1 "),
            ("training.optimizer={name='adam',epsilon=0}", "epsilon 0"),
            ("training.schedule=step", "missing field `every`"),
            ("training.schedule={name='step',every=0}", "every = 0"),
            ("training.schedule={name='exponential',factor=1.5}", "factor 1.5"),
            ("training.schedule={name='cosine',min_lr=-1}", "min_lr -1"),
            ("training.schedule={name='one_cycle',rise=1}", "rise 1"),
            ("training.schedule={name='one_cycle',div_factor=0.5}", "div_factor"),
            ("training.schedule={name='plateau',patience=0}", "patience = 0"),
            ("training.schedule={name='table',rates=[]}", "rates is empty"),
            ("training.schedule={name='table',rates=[[2,0.1]]}", "begin with epoch 2"),
            ("training.schedule={name='table',rates=[[1,0.1],[1,0.2]]}", "epoch 1 stands after 1"),
            ("training.schedule={name='table',rates=[[1,0.0]]}", "the rate 0 of epoch 1"),
            ("training.warmup_epochs=40", "training.warmup_epochs: 40 of 40"),
            ("training.gradient_clipping={norm=0.0}", "training.gradient_clipping: 0"),
            ("training.gradient_clipping={most=1.0}", "unknown variant `most`"),
            ("training.ema=1.0", "training.ema: 1"),
            ("training.sampler=random", "unknown variant `random`"),
            ("training.class_weights={dog=0.0}", "training.class_weights: dog = 0"),
            ("task=multi_labels", "unknown variant `multi_labels`"),
            ("training.epoch=3", "epoch"),
            ("training.precision=f16", "training.precision"),
            ("training.frozen=['stem']", "training.frozen"),
            ("training.weights=\"\"", "training.weights"),
            ("model.name=resnet5000", "resnet5000"),
            ("model.dropout=1.5", "model.dropout"),
            ("decision.threshold=2.0", "decision.threshold"),
            ("audio.clip_seconds=0.05", "model.name"),
            ("name=a/b", "name"),
        ] {
            let error = recipe(MINIMAL, &[set]).unwrap_err().to_string();
            assert!(error.contains(expected), "{set}: {error}");
        }
    }
}
