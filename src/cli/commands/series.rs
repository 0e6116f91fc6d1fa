//! What `oido cv` and `oido sweep` have in common: several runs in one folder, in shards, put together.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use super::tracking::TrackingArgs;
use super::train::{command_line, command_words};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::cli::{Exit, Output};
use crate::experiments::{Error, Kind, Parts, Series, Shard, Site, Told};
use crate::training::Recipe;

/// Arguments of a command that makes several runs.
#[derive(Debug, clap::Args)]
pub struct SeriesArgs {
    /// Recipe: a TOML file, or the name of a built-in one such as `esc50/vggish`; a wrong name lists them.
    #[arg(required = true)]
    pub recipe: Option<PathBuf>,
    /// The data: a manifest CSV, or the root folder of the recipe's data set.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Change one field of the recipe, as in `--set training.epochs=3`; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Folder of all runs; the same command goes on with what is in it [default: `runs/NAME-cv` or `runs/NAME-sweep`].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Do only the i-th, (i+N)-th … run, i from 1; auto/N takes i from the job array of Kubernetes, Slurm or AWS Batch.
    #[arg(long, value_name = "i/N")]
    pub shard: Option<String>,
    /// cpu, vulkan, wgpu or cuda:0.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Folder that keeps features between runs [default: in memory, for each run anew].
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// Who follows each run.
    #[command(flatten)]
    pub tracking: TrackingArgs,
}

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// The folders that the shards filled.
    #[arg(required = true, value_name = "DIR")]
    pub parts: Vec<PathBuf>,
    /// Folder for the results; may be one of the parts.
    #[arg(long)]
    pub out: PathBuf,
}

/// How a command went on after its runs.
pub enum Ended {
    /// All runs of the series are there.
    Complete(Box<Parts>, PathBuf),
    /// Other shards are to come, or it was interrupted.
    With(Exit),
}

impl SeriesArgs {
    /// The recipe, with what `--set` changes.
    pub fn recipe(&self) -> anyhow::Result<Recipe> {
        let Some(recipe) = &self.recipe else { bail!("name a recipe") };
        Ok(Recipe::find(recipe, &self.sets)?)
    }

    /// The folder of the series.
    pub fn out(&self, recipe: &Recipe, suffix: &str) -> PathBuf {
        let usual = || PathBuf::from("runs").join(format!("{}-{suffix}", recipe.name));
        self.out.clone().unwrap_or_else(usual)
    }

    /// The command that makes the whole series, wherever and in whatever shards: what was typed, without those.
    pub fn whole_command(&self) -> String {
        let mut words = command_words();
        for flag in ["--out", "--shard", "--device", "--cache", "--mlflow", "--mlflow-experiment"] {
            let given = format!("{flag}=");
            words.retain(|word| !word.starts_with(&given));
            if let Some(at) = words.iter().position(|word| word == flag) {
                words.drain(at..(at + 2).min(words.len()));
            }
        }
        words.retain(|word| !["--json", "--quiet", "-q", "--tensorboard"].contains(&word.as_str()));
        words.join(" ")
    }

    /// Does the runs of this shard.
    pub fn run(
        &self,
        series: &Series,
        dir: PathBuf,
        interrupt: &Interrupt,
        output: &Output,
    ) -> Result<Ended, Error> {
        let environment = |name: &str| std::env::var(name).ok();
        let shard = self.shard.as_deref().map_or(Ok(Shard::ALL), |text| Shard::find(text, environment))?;
        let site = Site {
            data: self.data.clone(),
            dir: dir.clone(),
            device: self.device.clone(),
            cache: self.cache.clone(),
            command: command_line(),
            trackers: self.tracking.trackers()?,
        };
        let tell = |told: Told| tell(&told, &dir, output);
        let progress = Progress::new(output);
        if !series.run(shard, &site, (&progress, interrupt.flag()), &tell)? {
            output.say("stopped and saved; the same command goes on");
            return Ok(Ended::With(Exit::Interrupted(interrupt.exit_code())));
        }
        let missing = Parts::missing(&dir)?;
        if missing.is_empty() {
            let parts = Parts::collect(std::slice::from_ref(&dir), series.plan.kind)?;
            return Ok(Ended::Complete(Box::new(parts), dir));
        }
        let command = match series.plan.kind {
            Kind::CrossValidation => "oido cv",
            Kind::Sweep => "oido sweep",
        };
        output.say(&format!(
            "this shard is done; {} are not in {}; when all shards are done: {command} merge DIR… --out OUT",
            missing.join(", "),
            dir.display()
        ));
        Ok(Ended::With(Exit::Done))
    }
}

fn tell(told: &Told, dir: &std::path::Path, output: &Output) {
    match told {
        Told::Begins(name) => {
            output.say(&format!("{name}: {}", dir.join(name).display()));
            if output.json() {
                output.json_line(&json!({ "run": name, "state": "begins" }));
            }
        }
        Told::Finished { record, before } => {
            if *before {
                output.say(&format!("{}: finished before", record.name));
            }
            if output.json() {
                output.json_line(&json!({ "run": record.name, "state": "finished", "before": before,
                    "part": record.part, "figures": record.figures }));
            }
        }
    }
}
