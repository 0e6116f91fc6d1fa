//! `oido sweep`: a recipe and settings to try → a run for each combination, and a table of them.

use std::path::Path;

use anyhow::bail;

use super::series::{Ended, MergeArgs, SeriesArgs};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::cli::{Exit, Output};
use crate::experiments::{self, Grid, Kind, Parts, Sweep};
use crate::training::Recipe;

/// Arguments of `oido sweep`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  oido sweep fsdkaggle2019/simple --grid training.learning_rate=1e-2,1e-3,3e-4,1e-5 \\\n    \
                  --grid \"training.optimizer=adam,{name='sgd',momentum=0.9}\" --data freesound-audio-tagging-2019 --out runs/rates\n  \
                  oido sweep esc.toml --grid model.first_kernel=3,5,7 --data ESC-50-master --shard 1/3 --out part1\n  \
                  oido sweep merge part1 part2 part3 --out runs/kernels"
)]
pub struct Args {
    /// Put the parts of a sweep together.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which runs, and where.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// A field of the recipe and the values to try, as in training.batch_size=16,32,64; may be repeated, all combinations are
    /// tried.
    #[arg(long = "grid", value_name = "SECTION.KEY=A,B,…", required = true)]
    pub grids: Vec<Grid>,
}

/// What else there is.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Put the runs that shards trained together; parts that are missing, double or of another recipe, seed, data or
    /// program are refused.
    #[command(after_help = "Example:\n  oido sweep merge part1 part2 --out runs/all")]
    Merge(MergeArgs),
}

/// Runs `oido sweep`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(Command::Merge(merge)) = &args.command {
        return show(Parts::collect(&merge.parts, Kind::Sweep)?, &merge.out, output);
    }
    let base = args.series.recipe()?;
    let Some(path) = &args.series.recipe else { bail!("name a recipe") };
    let with = |settings: &[String]| Recipe::find(path, &[&args.series.sets, settings].concat());
    let interrupt = Interrupt::install()?;
    let (data, command) = (args.series.data.as_deref(), args.series.whole_command());
    let progress = Progress::new(output);
    let told = (&progress as _, interrupt.flag());
    let series = experiments::sweep(&with, &args.grids, data, &command, told)?;
    match args.series.run(&series, args.series.out(&base, "sweep"), &interrupt, output)? {
        Ended::Complete(parts, dir) => show(*parts, &dir, output),
        Ended::With(exit) => Ok(exit),
    }
}

/// Writes the table and shows it.
fn show(parts: Parts, dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let sweep = Sweep::new(parts)?;
    sweep.write(dir)?;
    if output.json() {
        sweep.to_json().iter().for_each(|line| output.json_line(line));
    } else {
        output.data(&sweep.to_text());
    }
    output.say(&format!(
        "wrote {} and, with the curves, {}",
        dir.join("sweep.csv").display(),
        dir.join("compare.html").display()
    ));
    Ok(Exit::Done)
}
