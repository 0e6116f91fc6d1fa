//! One run, from a recipe and data to trained weights in a run directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

use super::checkpoint::{Saved, State};
use super::fit::{Ended, Fit};
use super::learner::Learner;
use super::loss::{ClassWeights, Loss, Objective};
use super::recipe::Sampler;
use super::run_dir::save;
use super::{ClipCounts, Error, Event, Observer, Planned, Recipe, RunDir, RunInfo, StageInfo, Versions};
use crate::audio::AudioConfig;
use crate::config::{self, ConfigError};
use crate::dataset::mix::{Corpus, MixConfig, Mixer};
use crate::dataset::prepare::{self, Source};
use crate::dataset::{
    Backgrounds, Checked, ClipLoader, ClipSet, Entry, FeatureCache, Labels, Manifest, Order, SplitConfig,
    Splits,
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

impl Prepared {
    /// Some of its clips, features through `cache`, not yet standardised.
    fn set(&self, clips: &[usize], cache: &Arc<FeatureCache>) -> Result<ClipSet, Error> {
        let (manifest, labels, extractor) =
            (self.manifest.clone(), self.labels.clone(), self.extractor.clone());
        Ok(ClipSet::new(manifest, clips.to_vec(), labels, extractor, Some(Arc::clone(cache)))?)
    }
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
    recipe.model.validate(extractor.shape(), labels.len())?;
    let parameters = recipe.model.parameters(extractor.shape(), labels.len());
    let mut prepared =
        Prepared { manifest: Arc::new(manifest), split, splits, labels, extractor, parameters };
    let warnings = check_plan(&recipe.plan()?, &prepared)?;
    prepared.splits.warnings.extend(warnings);
    Ok(prepared)
}

/// Refuses stages that do not fit the clips, before anything is decoded. Gives what must be known of them.
fn check_plan(plan: &[Planned], prepared: &Prepared) -> Result<Vec<String>, Error> {
    let mut unused: BTreeSet<usize> = prepared.splits.train.iter().copied().collect();
    for planned in plan {
        planned.clips(prepared)?.iter().for_each(|clip| _ = unused.remove(clip));
        if let Some(weights) = &planned.recipe.training.class_weights {
            weights.of(&prepared.labels, &[])?;
        }
    }
    let mut warnings = Vec::new();
    if let Some(Planned { recipe, .. }) =
        plan.first().filter(|first| first.recipe.training.starting_weights().is_none())
    {
        let frozen: Vec<String> = recipe.frozen_stages()?.into_iter().map(|stage| stage.name).collect();
        if !frozen.is_empty() {
            warnings.push(format!(
                "stages that are frozen with the random weights they begin with, as nothing trained them before: {}",
                frozen.join(", ")
            ));
        }
    }
    if !unused.is_empty() {
        let (unused, all) = (unused.len(), prepared.splits.train.len());
        warnings.push(format!("{unused} of {all} training clips are in no stage"));
    }
    Ok(warnings)
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

/// The clips of a recipe's data, before [`DataConfig::keep`](super::DataConfig) and the split, and what must be known of
/// how they came about.
pub fn read_data(
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

/// The weights each stage starts from, where it names any; they must be there.
pub fn starting(plan: &[Planned]) -> Result<Vec<Option<Starting>>, Error> {
    let find = |Planned { recipe, .. }: &Planned| {
        let weights = recipe.training.starting_weights();
        Ok(weights.map(|weights| Starting::find(weights, &recipe.model)).transpose()?)
    };
    plan.iter().map(find).collect()
}

/// The network as a stage begins: random, or with the weights it starts from.
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

/// Refuses a plan with a `training.precision` that this device or processor does not have.
pub fn check_precision(plan: &[Planned], device: &Device) -> Result<(), Error> {
    Ok(plan.iter().try_for_each(|planned| planned.recipe.training.precision.on(device).map(|_| ()))?)
}

/// Trains `recipe` and fills the run directory. `stop`, once set, saves and ends the run after the current step.
pub fn train(
    recipe: &Recipe,
    options: &RunOptions,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let device = models::device(&options.device)?;
    let plan = recipe.plan()?;
    check_precision(&plan, &device)?;
    let run_dir = RunDir::new(&options.out);
    let empty = std::fs::read_dir(run_dir.path()).is_ok_and(|mut entries| entries.next().is_none());
    if !options.resume && run_dir.path().exists() && !empty {
        return Err(Error::Exists { path: options.out.clone() });
    }
    check_writable(&run_dir)?;
    let mut starting = starting(&plan)?;
    let augmentations = plan.iter().flat_map(|planned| &planned.recipe.augment);
    let backgrounds = Backgrounds::of_folders(augmentations, &recipe.audio)?;
    let mut prepared = prepare(recipe, options.data.as_deref(), observer, stop)?;
    let recipe = &Recipe { split: prepared.split.clone(), ..recipe.clone() };
    let fingerprint = fingerprint(recipe, &prepared, &starting)?;
    let saved = if options.resume { Saved::find(&run_dir.checkpoints())? } else { None };
    let same = |state: &State| state.fingerprint == fingerprint && state.finished.len() < plan.len();
    if let Some(saved) = saved.as_ref().filter(|saved| !same(&saved.state)) {
        return Err(Error::Resume { path: saved.path.clone(), reason: another_run(&run_dir, recipe) });
    }
    let mut state = match &saved {
        Some(saved) => saved.state.clone(),
        None => State::start(fingerprint),
    };
    let now = state.finished.len();
    let (mut learner, of_now) = begin(&plan[now], starting[now].take(), &prepared, &device)?;
    // What became of the weights that stages name. Those of later ones are tried too: now they are refused in time.
    let started = plan.iter().zip(&starting).enumerate().map(|(number, (planned, weights))| match weights {
        _ if number == now => Ok(of_now.clone()),
        Some(weights) => Ok(begin(planned, Some(weights.clone()), &prepared, &device)?.1),
        None => Ok(None),
    });
    let started: Vec<Option<Started>> = started.collect::<Result<_, Error>>()?;
    let mut damaged = Vec::new();
    if let Some(saved) = saved {
        damaged.clone_from(&saved.damaged);
        learner = saved.learner(&learner, &device)?;
    } else if let Some(started) = &started[0] {
        observer.event(&Event::Started(started));
    }

    let cache = Arc::new(match &options.cache {
        Some(folder) => FeatureCache::on_disk(folder)?,
        None => FeatureCache::in_memory(MEMORY_CACHE),
    });
    let all: Vec<usize> = prepared.splits.parts().into_iter().flat_map(|(_, part)| part.to_vec()).collect();
    let looks = check(&prepared.set(&all, &cache)?, observer)?;
    prepared.split.check_twins(&prepared.manifest.entries, &mut prepared.splits, &looks)?;
    observer.event(&Event::Ready(&prepared));

    let stats = match prepared.extractor.config().fixed_stats() {
        Some(stats) => stats,
        None => prepared.set(&prepared.splits.train, &cache)?.stats()?,
    };
    write_inputs(&run_dir, recipe, &prepared, stats)?;

    let valid = Arc::new(prepared.set(&prepared.splits.valid, &cache)?.with_stats(stats));
    let shared = Shared {
        prepared: &prepared,
        cache,
        stats,
        backgrounds,
        valid,
        run_dir: &run_dir,
        device: &device,
        observer,
        stop,
    };
    let (ended, stage) = loop {
        let number = state.finished.len();
        let (ended, stage);
        (ended, stage, state) = shared.train(&plan, learner, state)?;
        let Some(next) = plan.get(number + 1).filter(|_| ended != Ended::Interrupted) else {
            break (ended, stage);
        };
        if let Some(started) = &started[number + 1] {
            observer.event(&Event::Started(started));
        }
        learner = match next.recipe.training.weights {
            Some(_) => begin(next, starting[number + 1].take(), &prepared, &device)?.0,
            None => go_on(next, &run_dir.stage_weights(&stage.name), &prepared, &device)?,
        };
        state.next_stage(stage);
    };
    let started = started.into_iter().take(state.finished.len() + 1).flatten().last();
    write_info(&run_dir, recipe, &prepared, (stage, started), options, &state)?;
    Ok(Outcome { ended, state, prepared, damaged })
}

/// What the stages of a run have in common.
struct Shared<'a> {
    prepared: &'a Prepared,
    cache: Arc<FeatureCache>,
    stats: Stats,
    /// Those of folders.
    backgrounds: Backgrounds,
    /// Validation clips, the same in all stages.
    valid: Arc<ClipSet>,
    run_dir: &'a RunDir,
    device: &'a Device,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
}

impl Shared<'_> {
    /// Trains the stage that `state` is in, to its end. Gives also what there is to say of it.
    fn train(
        &self,
        plan: &[Planned],
        learner: Learner,
        state: State,
    ) -> Result<(Ended, StageInfo, State), Error> {
        let (number, labels) = (state.finished.len(), &self.prepared.labels);
        let planned = &plan[number];
        let (recipe, training) = (&planned.recipe, &planned.recipe.training);
        let clips = planned.clips(self.prepared)?;
        let info = StageInfo {
            name: planned.name().unwrap_or_default().to_owned(),
            clips: clips.len(),
            trainable_parameters: learner.model.trainable_parameters(&recipe.frozen_stages()?) as u64,
            ..StageInfo::default()
        };
        if planned.stage.is_some() {
            let (number, stages) = (number + 1, plan.len());
            self.observer.event(&Event::Stage { info: &info, number, stages });
        }
        let set = self.prepared.set(&clips, &self.cache)?.with_stats(self.stats);
        let objective = objective(recipe, &set, labels)?;
        let set = set.with_augmentations(recipe.augment.clone(), self.backgrounds.clone())?;
        let set = Arc::new(set.with_untouched_half(training.untouched_half));
        let seed = Seed(recipe.seed);
        let order = match training.sampler {
            Sampler::Shuffled => Order::Shuffled(seed),
            Sampler::Balanced => Order::Balanced(seed),
        };
        let fit = Fit {
            config: training,
            objective: &objective,
            labels,
            seed,
            run_dir: self.run_dir,
            stage: planned.name(),
            train: &ClipLoader::new(set, training.batch_size, order),
            valid: &ClipLoader::new(Arc::clone(&self.valid), training.batch_size, Order::Sequential),
            device: self.device,
            precision: training.precision.on(self.device)?,
            observer: self.observer,
            stop: self.stop,
        };
        let (ended, state) = fit.run(learner, state)?;
        let epochs = state.rows.len() - state.epochs_before();
        let info = StageInfo { epochs, best_epoch: state.best_epoch.unwrap_or(0), ..info };
        Ok((ended, info, state))
    }
}

/// The learner of a stage before its first step, with the weights that the stage names, or random ones.
fn begin(
    planned: &Planned,
    starting: Option<Starting>,
    prepared: &Prepared,
    device: &Device,
) -> Result<(Learner, Option<Started>), Error> {
    let (model, started) = start(&planned.recipe, prepared, starting, &device.clone().autodiff())?;
    Ok((learner(model, &planned.recipe)?, started))
}

/// As [`begin`], with the best weights of the stage before.
fn go_on(planned: &Planned, weights: &Path, prepared: &Prepared, device: &Device) -> Result<Learner, Error> {
    let bytes = std::fs::read(weights).map_err(Error::io(weights))?;
    let (model, _) = start(&planned.recipe, prepared, None, &device.clone().autodiff())?;
    learner(model.load_safetensors(bytes)?, &planned.recipe)
}

fn learner(model: Model, recipe: &Recipe) -> Result<Learner, Error> {
    let (model, training) = (model.freeze(&recipe.frozen_stages()?), &recipe.training);
    Ok(Learner::new(model, training.optimizer.init(), training.ema > 0.0))
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
    (stage, started_from): (StageInfo, Option<Started>),
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
        trainable_parameters: stage.trainable_parameters,
        seed: recipe.seed,
        epochs: state.rows.len(),
        best_epoch: best.map_or(0, |row| row.epoch),
        best_valid_accuracy: best.map(|row| row.valid_accuracy),
        best_valid_lwlrap: best.map(|row| row.valid_lwlrap),
        task: recipe.task,
        started_from,
        stages: if recipe.stages.is_empty() { Vec::new() } else { [&state.finished[..], &[stage]].concat() },
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

/// The resolved recipe without what may change when a run goes on: where its data lie, and the number of epochs (a finished
/// run may be prolonged, unless its learning rates led to its end or it has several stages).
fn of_the_run(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.resolved();
    if !recipe.training.schedule.knows_the_end() && recipe.stages.is_empty() {
        recipe.training.epochs = 0;
    }
    recipe.data.path = None;
    recipe
}

/// sha256 of what makes two runs the same run: [`of_the_run`], the clips with their parts, and the weights it started from.
fn fingerprint(recipe: &Recipe, prepared: &Prepared, starting: &[Option<Starting>]) -> Result<String, Error> {
    let mut text = format!("{}\n{}", of_the_run(recipe).to_toml()?, manifest_sha256(&prepared.manifest));
    for starting in starting.iter().flatten() {
        text += &format!("\n{}", starting.sha256());
    }
    Ok(sha256(text.as_bytes()))
}

/// Why the run that is in `run_dir` cannot go on with `recipe`.
fn another_run(run_dir: &RunDir, recipe: &Recipe) -> String {
    let table = |recipe: &Recipe| toml::Table::try_from(of_the_run(recipe)).unwrap_or_default();
    let differences = match Recipe::read(&run_dir.recipe(), &[]) {
        Ok(old) => config::differences(&table(&old), &table(recipe)),
        Err(_) => Vec::new(),
    };
    let named = match &differences[..] {
        [] => String::new(),
        few @ ([_] | [_, _] | [_, _, _]) => format!(" ({})", few.join("; ")),
        many => format!(" ({}; and {} more)", many[..2].join("; "), many.len() - 2),
    };
    format!("its recipe or data differ from the ones given{named}; use the same, or another --out")
}

/// sha256 over the clips: file name, labels, part, position and what a mixture is made of, in order. Folders do not
/// count, so the same data under another root is the same data.
pub fn manifest_sha256(manifest: &Manifest) -> String {
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
