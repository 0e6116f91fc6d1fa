//! `oido train`: a recipe and data → a run directory with weights and a report.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::tracking::TrackingArgs;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::cli::{Exit, Output};
use crate::dataset;
use crate::evaluation;
use crate::features::Extractor;
use crate::models;
use crate::tracking;
use crate::training::fit::Ended;
use crate::training::{self, Event, Observer, Recipe, RunDir, RunOptions, StageInfo};

/// Arguments of `oido train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recipe: a TOML file, or the name of a built-in one such as `urbansound8k/cnn`; a wrong name lists them.
    pub recipe: PathBuf,
    /// The data: a manifest CSV, or the root folder of the recipe's data set.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Change one field of the recipe, as in `--set training.epochs=3`; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Cross-validation: test on fold K; folds that the recipe names for training and validation move on with it.
    #[arg(long, value_name = "K")]
    pub fold: Option<u32>,
    /// Run directory [default: `runs/NAME` after the recipe, `runs/NAME-foldK` with --fold, numbered when it exists].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Go on from the newest checkpoint in --out.
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// cpu, vulkan, wgpu or cuda:0.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Folder that keeps features between runs [default: in memory, for this run only].
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// Check everything that can be checked without training, and say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Who follows the run.
    #[command(flatten)]
    pub tracking: TrackingArgs,
}

/// Runs `oido train`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut recipe = Recipe::find(&args.recipe, &args.sets)?;
    let mut name = recipe.name.clone();
    if let Some(fold) = args.fold {
        name += &format!("-fold{fold}");
        recipe = recipe.with_test_fold(fold)?;
    }
    if args.dry_run {
        return dry_run(&recipe, args, output);
    }
    let out = args.out.clone().unwrap_or_else(|| free_directory(&name));
    train(&recipe, args.data.as_deref(), &out, args, output)
}

fn train(
    recipe: &Recipe,
    data: Option<&Path>,
    out: &Path,
    args: &Args,
    output: &Output,
) -> anyhow::Result<Exit> {
    let trackers = args.tracking.trackers()?;
    let interrupt = Interrupt::install()?;
    let options = RunOptions {
        data: data.map(Path::to_owned),
        out: out.to_owned(),
        resume: args.resume,
        device: args.device.clone(),
        cache: args.cache.clone(),
        command: command_line(),
    };
    let outcome = match tracking::train(recipe, &options, &trackers, &Progress::new(output), interrupt.flag())
    {
        Err(training::Error::Dataset(dataset::Error::Stopped)) => {
            output.say("stopped before training began");
            return Ok(Exit::Interrupted(interrupt.exit_code()));
        }
        outcome => outcome?,
    };
    for path in &outcome.damaged {
        output.warn(&format!("{} is damaged; went on from an older checkpoint", path.display()));
    }
    if outcome.ended == Ended::Interrupted {
        output.say(&format!("stopped and saved; go on with: {}", resume_command(args, out)));
        return Ok(Exit::Interrupted(interrupt.exit_code()));
    }
    let run_dir = RunDir::new(out);
    super::evaluate::show(&evaluation::evaluate_run(&run_dir, None, &args.device)?, &run_dir, output);
    Ok(Exit::Done)
}

fn dry_run(recipe: &Recipe, args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let shape = Extractor::new(&recipe.audio, &recipe.features)?.shape();
    output.data(&recipe.resolved().to_toml()?);
    output.say(&format!("the recipe is valid; features {} x {}", shape.bins, shape.frames));
    let plan = recipe.plan()?;
    let starting = training::starting(&plan)?;
    let device = models::device(&args.device)?;
    training::check_precision(&plan, &device)?;
    if args.data.is_some() || recipe.data.path.is_some() {
        let (progress, stop) = (Progress::new(output), AtomicBool::new(false));
        let prepared = training::prepare(recipe, args.data.as_deref(), &progress, &stop)?;
        let classes = prepared.labels.len();
        let trainable = |recipe: &Recipe| {
            recipe.model.trainable_parameters(shape, classes, &recipe.frozen_stages()?, &device)
        };
        prepared.splits.warnings.iter().for_each(|warning| output.warn(warning));
        output.say(&format!(
            "the data is valid: {}; {} classes, {} train, {} valid, {} test clips; {} has {} parameters, \
             {} of them trainable",
            prepared.split.describe(),
            classes,
            prepared.splits.train.len(),
            prepared.splits.valid.len(),
            prepared.splits.test.len(),
            recipe.model.name(),
            prepared.parameters,
            trainable(recipe)?,
        ));
        for (number, (planned, starting)) in plan.iter().zip(starting).enumerate() {
            let (_, started) = training::start(&planned.recipe, &prepared, starting, &device)?;
            if let Some(started) = &started {
                progress.event(&Event::Started(started));
            }
            if let Some(name) = planned.name() {
                let clips = planned.clips(&prepared)?.len();
                let trainable_parameters = trainable(&planned.recipe)? as u64;
                let name = name.to_owned();
                let info = StageInfo { name, clips, trainable_parameters, ..StageInfo::default() };
                progress.event(&Event::Stage { info: &info, number: number + 1, stages: plan.len() });
            }
        }
    }
    Ok(Exit::Done)
}

/// `runs/NAME`, or `runs/NAME2`, `runs/NAME3` … when that exists.
fn free_directory(name: &str) -> PathBuf {
    let numbered =
        |n: u32| Path::new("runs").join(if n == 1 { name.to_owned() } else { format!("{name}{n}") });
    (1..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(1))
}

/// The command that goes on with an interrupted run: what was typed, with what it left to a default.
fn resume_command(args: &Args, out: &Path) -> String {
    let mut command = command_line();
    if args.out.is_none() {
        command += &format!(" --out {}", out.display());
    }
    if !args.resume {
        command += " --resume";
    }
    command
}

/// The command as it was typed, for the report.
pub fn command_line() -> String {
    command_words().join(" ")
}

/// Its words, quoted where a shell needs it.
pub fn command_words() -> Vec<String> {
    let words = std::env::args().skip(1).map(|word| {
        if word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,".contains(c)) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    std::iter::once("oido".to_owned()).chain(words).collect()
}
