//! One run, from a recipe and data to trained weights in a run directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

use super::checkpoint::{self, State};
use super::fit::{Ended, Fit};
use super::learner::Learner;
use super::loss::{ClassWeights, Loss, Objective};
use super::recipe::Sampler;
use super::run_dir::save;
use super::{ClipCounts, Error, Event, Observer, Recipe, RunDir, RunInfo, Versions};
use crate::audio::AudioConfig;
use crate::config::{self, ConfigError};
use crate::dataset::mix::{Corpus, MixConfig, Mixer};
use crate::dataset::prepare::{self, Source};
use crate::dataset::{
    Checked, ClipLoader, ClipSet, Entry, FeatureCache, Labels, Manifest, Order, SplitConfig, Splits,
};
use crate::decision::Task;
use crate::features::{Extractor, Stats};
use crate::files::{self, sha256};
use crate::models::{self, Model};
use crate::pretrained::{Started, Starting};
use crate::seed::Seed;

/// Features (or recordings to draw from) kept in memory between epochs when no cache folder is given, in bytes.
const MEMORY_CACHE: usize = 4 << 30;

/// The tensor library, as pinned in `Cargo.toml`.
const BURN_VERSION: &str = "0.22.1";

/// What a run needs to know besides its recipe.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Manifest CSV or data set root; overrides the recipe's `data.path`.
    pub data: Option<PathBuf>,
    /// Run directory.
    pub out: PathBuf,
    /// Go on from the newest checkpoint.
    pub resume: bool,
    /// Device by name; see [`models::device`].
    pub device: String,
    /// Folder for features between runs; `None` keeps them in memory.
    pub cache: Option<PathBuf>,
    /// The command that was typed, for the record.
    pub command: String,
}

/// Data, split and front end, ready to train.
#[derive(Debug)]
pub struct Prepared {
    /// All clips, paths absolute, the split written in.
    pub manifest: Arc<Manifest>,
    /// The protocol, with the folds that train named.
    pub split: SplitConfig,
    /// Who trains, validates and tests.
    pub splits: Splits,
    /// Classes in output order.
    pub labels: Arc<Labels>,
    /// The front end, not yet standardising.
    pub extractor: Arc<Extractor>,
    /// Numbers the network carries.
    pub parameters: usize,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why the loop ended.
    pub ended: Ended,
    /// Rows of results and the best epoch.
    pub state: State,
    /// Data and split.
    pub prepared: Prepared,
    /// Checkpoints that were damaged and passed over when resuming.
    pub damaged: Vec<PathBuf>,
}

/// Reads the data and splits it; decodes nothing, except to draw mixtures: then every recording is listened to once,
/// which `observer` sees and `stop` ends.
pub fn prepare(
    recipe: &Recipe,
    data: Option<&Path>,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Prepared, Error> {
    let (manifest, warnings) = read_data(recipe, data, observer, stop)?;
    let mut manifest = recipe.data.keep.apply(manifest, "data.keep")?;
    check_task(recipe.task, &manifest.entries)?;
    let split = recipe.split.resolved(&manifest);
    let mut splits = split.split(&manifest, Seed(recipe.seed))?;
    splits.warnings.extend(warnings);
    let labels = Arc::new(manifest.labels.clone());
    let extractor = Arc::new(Extractor::new(&recipe.audio, &recipe.features)?);
    let absolute = |path: &Path| {
        let path = manifest.root.join(path);
        std::path::absolute(&path).unwrap_or(path)
    };
    for entry in &mut manifest.entries {
        *entry = Entry { split: None, ..entry.relocated(absolute) };
    }
    for (split, indices) in splits.parts() {
        indices.iter().for_each(|&i| manifest.entries[i].split = Some(split));
    }
    recipe.decision.validate_for(labels.names())?;
    if let Some(weights) = &recipe.training.class_weights {
        weights.of(&labels, &[])?;
    }
    recipe.model.validate(extractor.shape(), labels.len())?;
    let frozen: Vec<String> = recipe.frozen_stages()?.into_iter().map(|stage| stage.name).collect();
    if !frozen.is_empty() && recipe.training.weights.is_none() {
        splits.warnings.push(format!(
            "stages that are frozen with the random weights they begin with, as nothing trained them before: {}",
            frozen.join(", ")
        ));
    }
    let parameters = recipe.model.parameters(extractor.shape(), labels.len());
    Ok(Prepared { manifest: Arc::new(manifest), split, splits, labels, extractor, parameters })
}

/// Refuses clips with another number of labels than the task has.
fn check_task(task: Task, entries: &[Entry]) -> Result<(), ConfigError> {
    let another = entries.iter().find(|entry| entry.labels.len() != 1);
    match (task, another) {
        (Task::SingleLabel, Some(entry)) => {
            let (path, labels) = (entry.path.display(), entry.labels.len());
            let reason = format!(
                "{path} has {labels} labels and a clip of a single_label task has one; set task = \"multi_label\""
            );
            Err(ConfigError::field("task", reason))
        }
        (Task::MultiLabel, None) => {
            let reason = "every clip has exactly one label, which multi_label does not make use of; leave task out, or \
                          give data whose clips have several";
            Err(ConfigError::field("task", reason))
        }
        _ => Ok(()),
    }
}

/// The clips, and what must be known of how they came about.
fn read_data(
    recipe: &Recipe,
    data: Option<&Path>,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<(Manifest, Vec<String>), Error> {
    let source = recipe.data.source;
    let Some(path) = data.or(recipe.data.path.as_deref()) else {
        let expected = match source {
            Some(source) => format!("the {source} folder"),
            None => "a manifest CSV".to_owned(),
        };
        return Err(Error::NoData { expected });
    };
    let manifest = match source {
        // A manifest that was prepared before is taken whatever the recipe's layout.
        Some(Source::LibrispeechMix) if path.is_dir() => {
            let mix = recipe.data.mix.clone().unwrap_or_default();
            check_drawn(&mix, recipe)?;
            let progress = |done, total| observer.event(&Event::Checked { done, total });
            let corpus = Corpus::list(path, &mix, Seed(recipe.seed))?;
            let mixer = Mixer::new(corpus, &progress, stop)?;
            return Ok((mixer.manifest()?, mixer.warnings()));
        }
        Some(source) if path.is_dir() => {
            let found = prepare::prepare(source, path)?;
            let warnings = found.warnings();
            return Ok((found.manifest, warnings));
        }
        _ => Manifest::read(path)?,
    };
    let mixtures = manifest.entries.iter().filter_map(|entry| entry.mixture.as_ref());
    check_heard(mixtures.map(|mixture| mixture.seconds).fold(0.0, f64::max), &recipe.audio)?;
    Ok((manifest, Vec::new()))
}

/// Refuses mixtures that this recipe cannot be trained on, before they are drawn.
fn check_drawn(mix: &MixConfig, recipe: &Recipe) -> Result<(), Error> {
    check_heard(mix.seconds, &recipe.audio)?;
    let extractor = Extractor::new(&recipe.audio, &recipe.features)?;
    recipe.model.validate(extractor.shape(), mix.counts.len())?;
    let parts = [("train", mix.train), ("valid", mix.valid)];
    let is_split = matches!(recipe.split, SplitConfig::Manifest { .. });
    if let Some((part, _)) = parts.into_iter().find(|(_, size)| is_split && *size == 0) {
        let reason = "0 leaves nothing to train on or to choose the epoch by; give at least 1";
        return Err(ConfigError::field(format!("data.mix.{part}"), reason).into());
    }
    Ok(())
}

/// Refuses mixtures of `seconds` that are longer than a clip: their label counts everybody, whoever is heard in the part.
fn check_heard(seconds: f64, audio: &AudioConfig) -> Result<(), ConfigError> {
    if (seconds * f64::from(audio.sample_rate)).round() as usize <= audio.clip_samples() {
        return Ok(());
    }
    let reason = format!(
        "{} s is less than the {seconds} s of the mixtures, whose labels count people that are then not heard; give at \
         least {seconds}, or make shorter mixtures",
        audio.clip_seconds
    );
    Err(ConfigError::field("audio.clip_seconds", reason))
}

/// The weights the recipe starts from, if it names any; they must be there.
pub fn starting(recipe: &Recipe) -> Result<Option<Starting>, Error> {
    let weights = recipe.training.weights.as_deref();
    Ok(weights.map(|weights| Starting::find(weights, &recipe.model)).transpose()?)
}

/// The network as training begins: random, or with the weights it starts from.
pub fn start(
    recipe: &Recipe,
    prepared: &Prepared,
    starting: Option<Starting>,
    device: &Device,
) -> Result<(Model, Option<Started>), Error> {
    let shape = prepared.extractor.shape();
    let model = recipe.model.init(shape, prepared.labels.len(), Seed(recipe.seed), device)?;
    let Some(starting) = starting else { return Ok((model, None)) };
    let other = other_front_end(recipe, starting.front_end())?;
    let (model, mut started) = starting.load(model, &recipe.model, shape)?;
    started.warnings.extend(other);
    Ok((model, Some(started)))
}

/// Which of `front_end`, the settings that the publisher of weights trained with, the recipe has otherwise. The number of
/// frames is left out: networks that say it adapt to others.
fn other_front_end(recipe: &Recipe, front_end: &[String]) -> Result<Vec<String>, Error> {
    let text = recipe.to_toml()?;
    let changes = |set: &&String| {
        let with: Result<Recipe, _> = config::parse(&text, &[(*set).clone()], "recipe");
        !with.is_ok_and(|with| with.features == recipe.features && with.audio == recipe.audio)
    };
    let warning = |set: &String| {
        format!("the starting weights were trained on features of {set}, which the recipe has otherwise")
    };
    Ok(front_end
        .iter()
        .filter(|set| !set.starts_with("features.frames="))
        .filter(changes)
        .map(warning)
        .collect())
}

/// Trains `recipe` and fills the run directory. `stop`, once set, saves and ends the run after the current step.
pub fn train(
    recipe: &Recipe,
    options: &RunOptions,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let device = models::device(&options.device)?;
    let precision = recipe.training.precision.on(&device)?;
    let run_dir = RunDir::new(&options.out);
    let empty = std::fs::read_dir(run_dir.path()).is_ok_and(|mut entries| entries.next().is_none());
    if !options.resume && run_dir.path().exists() && !empty {
        return Err(Error::Exists { path: options.out.clone() });
    }
    check_writable(&run_dir)?;
    let starting = starting(recipe)?;
    let mut prepared = prepare(recipe, options.data.as_deref(), observer, stop)?;
    let recipe = &Recipe { split: prepared.split.clone(), ..recipe.clone() };
    let fingerprint = fingerprint(recipe, &prepared, starting.as_ref())?;
    let seed = Seed(recipe.seed);
    let (model, started) = start(recipe, &prepared, starting, &device.clone().autodiff())?;
    let frozen = recipe.frozen_stages()?;
    let model = model.freeze(&frozen);
    let training = &recipe.training;
    let mut learner = Learner::new(model, training.optimizer.init(), training.ema > 0.0);
    let mut state = State::start(fingerprint.clone());
    let mut damaged = Vec::new();
    if options.resume
        && let Some(loaded) = checkpoint::load(&run_dir.checkpoints(), &fingerprint, &learner, &device)?
    {
        (learner, state, damaged) = (loaded.learner, loaded.state, loaded.damaged);
    } else if let Some(started) = &started {
        observer.event(&Event::Started(started));
    }
    let trainable = learner.model.trainable_parameters(&frozen);

    let cache = Arc::new(match &options.cache {
        Some(folder) => FeatureCache::on_disk(folder)?,
        None => FeatureCache::in_memory(MEMORY_CACHE),
    });
    let (manifest, labels) = (Arc::clone(&prepared.manifest), Arc::clone(&prepared.labels));
    let extractor = Arc::clone(&prepared.extractor);
    let set = |indices: &[usize]| {
        let (manifest, labels, extractor) = (manifest.clone(), labels.clone(), extractor.clone());
        ClipSet::new(manifest, indices.to_vec(), labels, extractor, Some(Arc::clone(&cache)))
    };
    let all: Vec<usize> = prepared.splits.parts().into_iter().flat_map(|(_, part)| part.to_vec()).collect();
    let looks = check(&set(&all)?, observer)?;
    prepared.split.check_twins(&manifest.entries, &mut prepared.splits, &looks)?;
    let splits = &prepared.splits;
    observer.event(&Event::Ready(&prepared));

    let train_set = set(&splits.train)?;
    let stats = match prepared.extractor.config().fixed_stats() {
        Some(stats) => stats,
        None => train_set.stats()?,
    };
    write_inputs(&run_dir, recipe, &prepared, stats)?;

    let objective = objective(recipe, &train_set, &labels)?;
    let batch_size = training.batch_size;
    let order = match training.sampler {
        Sampler::Shuffled => Order::Shuffled(seed),
        Sampler::Balanced => Order::Balanced(seed),
    };
    let train_set = Arc::new(train_set.with_stats(stats).with_augmentations(recipe.augment.clone()));
    let valid_set = Arc::new(set(&splits.valid)?.with_stats(stats));
    let fit = Fit {
        config: training,
        objective: &objective,
        labels: &labels,
        seed,
        run_dir: &run_dir,
        train: &ClipLoader::new(train_set, batch_size, order),
        valid: &ClipLoader::new(valid_set, batch_size, Order::Sequential),
        device: &device,
        precision,
        observer,
        stop,
    };
    let (ended, state) = fit.run(learner, state)?;
    write_info(&run_dir, recipe, &prepared, (trainable, started), options, &state)?;
    Ok(Outcome { ended, state, prepared, damaged })
}

/// What the recipe minimises; `train` are the clips by which classes are balanced.
fn objective(recipe: &Recipe, train: &ClipSet, labels: &Labels) -> Result<Objective, ConfigError> {
    let training = &recipe.training;
    let weights = |weights: &ClassWeights| {
        weights.of(labels, &train.clips_of_classes().iter().map(Vec::len).collect::<Vec<_>>())
    };
    Ok(Objective {
        task: recipe.task,
        loss: training.loss.unwrap_or(Loss::of(recipe.task)),
        label_smoothing: training.label_smoothing,
        class_weights: training.class_weights.as_ref().map(weights).transpose()?,
    })
}

/// Refuses a run directory that nothing can be written to, before hours of work for it. A new one is not left empty.
fn check_writable(run_dir: &RunDir) -> Result<(), Error> {
    let path = run_dir.recipe();
    files::check_writable(&path).map_err(Error::io(&path))?;
    // Only an empty one goes.
    let _ = std::fs::remove_dir(run_dir.path());
    Ok(())
}

/// Decodes every clip once; stops when one cannot be used. Gives [`crate::dataset::Checked::looks`].
fn check(set: &ClipSet, observer: &dyn Observer) -> Result<Vec<Option<[u8; 32]>>, Error> {
    let total = set.len();
    let Checked { bad, looks } = set.check(&|done| observer.event(&Event::Checked { done, total }));
    match bad.first() {
        None => Ok(looks),
        Some(first) => Err(Error::BadClips { count: bad.len(), total, first: first.reason.clone() }),
    }
}

/// What the run is made of, so that it can be evaluated and bundled from its directory alone.
fn write_inputs(run_dir: &RunDir, recipe: &Recipe, prepared: &Prepared, stats: Stats) -> Result<(), Error> {
    let json = |path: PathBuf, value: serde_json::Result<Vec<u8>>| {
        let bytes = value.map_err(|e| Error::io(&path)(e.into()))?;
        save(&path, &bytes)
    };
    save(&run_dir.recipe(), recipe.resolved().to_toml()?.as_bytes())?;
    json(run_dir.labels(), serde_json::to_vec_pretty(&*prepared.labels))?;
    json(run_dir.stats(), serde_json::to_vec_pretty(&stats))?;
    prepared.manifest.write(&run_dir.manifest())?;
    Ok(())
}

/// `run.json`: what ran, where, and what came of it.
fn write_info(
    run_dir: &RunDir,
    recipe: &Recipe,
    prepared: &Prepared,
    (trainable, started_from): (usize, Option<Started>),
    options: &RunOptions,
    state: &State,
) -> Result<(), Error> {
    let seconds: f64 = state.rows.iter().map(|row| row.time).sum();
    let best = state.best_row();
    let mut warnings = prepared.splits.warnings.clone();
    warnings.extend(started_from.iter().flat_map(|started| started.warnings.clone()));
    let info = RunInfo {
        name: recipe.name.clone(),
        model: recipe.model.name().to_owned(),
        parameters: prepared.parameters as u64,
        trainable_parameters: trainable as u64,
        seed: recipe.seed,
        epochs: state.rows.len(),
        best_epoch: best.map_or(0, |row| row.epoch),
        best_valid_accuracy: best.map(|row| row.valid_accuracy),
        best_valid_lwlrap: best.map(|row| row.valid_lwlrap),
        task: recipe.task,
        started_from,
        seconds,
        seconds_per_epoch: if state.rows.is_empty() { 0.0 } else { seconds / state.rows.len() as f64 },
        protocol: recipe.split.describe(),
        leaking: prepared.splits.leaking,
        warnings,
        command: options.command.clone(),
        versions: Versions { oido: env!("CARGO_PKG_VERSION").to_owned(), burn: BURN_VERSION.to_owned() },
        device: options.device.clone(),
        manifest_sha256: manifest_sha256(&prepared.manifest),
        clips: ClipCounts {
            train: prepared.splits.train.len(),
            valid: prepared.splits.valid.len(),
            test: prepared.splits.test.len(),
        },
        decision: recipe.decision.clone(),
    };
    let path = run_dir.info();
    let bytes = serde_json::to_vec_pretty(&info).map_err(|e| Error::io(&path)(e.into()))?;
    save(&path, &bytes)
}

/// sha256 of what makes two runs the same run: everything in the resolved recipe but the number of epochs (a finished run
/// may be prolonged, unless its learning rates led to its end), the clips with their parts, and the weights it started from.
fn fingerprint(recipe: &Recipe, prepared: &Prepared, starting: Option<&Starting>) -> Result<String, Error> {
    let mut recipe = recipe.resolved();
    if !recipe.training.schedule.knows_the_end() {
        recipe.training.epochs = 0;
    }
    recipe.data.path = None;
    let mut text = format!("{}\n{}", recipe.to_toml()?, manifest_sha256(&prepared.manifest));
    if let Some(starting) = starting {
        text += &format!("\n{}", starting.sha256());
    }
    Ok(sha256(text.as_bytes()))
}

/// sha256 over the clips: file name, labels, part, position and what a mixture is made of, in order. Folders do not
/// count, so the same data under another root is the same data.
fn manifest_sha256(manifest: &Manifest) -> String {
    let mut text = String::new();
    for entry in &manifest.entries {
        let entry = entry.relocated(|path| path.file_name().unwrap_or_default().into());
        let (name, start, duration) = (entry.path.to_string_lossy(), entry.start, entry.duration);
        text += &format!("{name}\t{:?}\t{:?}\t{start:?}\t{duration:?}\n", entry.labels, entry.split);
        if let Some(mixture) = entry.mixture {
            text += &format!("{mixture:?}\n");
        }
    }
    sha256(text.as_bytes())
}
