//! `oido cv`: a recipe → a run for each fold, and the figures over all of them.

use std::path::Path;

use serde_json::json;

use super::series::{Ended, MergeArgs, SeriesArgs};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::cli::{Exit, Output};
use crate::experiments::{self, CrossValidation, Kind, Parts};

/// Arguments of `oido cv`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  oido cv esc50/vggish --data ESC-50-master --out runs/vggish\n  \
                  oido cv recipe.toml --data manifest.csv --folds 5 --shard 2/5 --out part2\n  \
                  oido cv merge part1 part2 part3 part4 part5 --out runs/all"
)]
pub struct Args {
    /// Put the parts of a cross-validation together.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which runs, and where.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// Deal the clips to K grouped folds, for data that has none.
    #[arg(long, value_name = "K")]
    pub folds: Option<u32>,
}

/// What else there is.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Put the folds that shards trained together; parts that are missing, double or of another recipe, seed, data or
    /// program are refused.
    #[command(after_help = "Example:\n  oido cv merge part1 part2 --out runs/all")]
    Merge(MergeArgs),
}

/// Runs `oido cv`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(Command::Merge(merge)) = &args.command {
        return show(Parts::collect(&merge.parts, Kind::CrossValidation)?, &merge.out, output);
    }
    let recipe = args.series.recipe()?;
    let interrupt = Interrupt::install()?;
    let (data, command) = (args.series.data.as_deref(), args.series.whole_command());
    let progress = Progress::new(output);
    let told = (&progress as _, interrupt.flag());
    let series = experiments::cross_validation(&recipe, data, args.folds, &command, told)?;
    match args.series.run(&series, args.series.out(&recipe, "cv"), &interrupt, output)? {
        Ended::Complete(parts, dir) => show(*parts, &dir, output),
        Ended::With(exit) => Ok(exit),
    }
}

/// Writes the results and says what they are.
fn show(parts: Parts, dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let cv = CrossValidation::new(parts)?;
    cv.write(dir)?;
    let (over, pooled) = cv.headline();
    if output.json() {
        output.json_line(&json!({
            "figure": pooled.name, "over_folds": over, "pooled": pooled.value,
            "pooled_interval": pooled.interval, "out": dir.display().to_string(),
        }));
    } else {
        output.data(&cv.to_text());
        if let Some(over) = over {
            output.data(&format!(
                "{} {:.4} ± {:.4} over the folds; all clips together {:.4} (95 % interval {:.4} to {:.4})",
                pooled.name, over.mean, over.std, pooled.value, pooled.interval.low, pooled.interval.high
            ));
        }
    }
    output.say(&format!("report: {}", dir.join("report.html").display()));
    Ok(Exit::Done)
}
