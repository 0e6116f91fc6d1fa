//! `oido ensemble`: several judged runs → one answer for each clip, judged in the same way.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::{Exit, Output};
use crate::experiments::{Ensemble, Mean};
use crate::text::table;

/// Arguments of `oido ensemble`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  oido ensemble runs/simple runs/resnet50 runs/mobilenet --mean geometric --out runs/ensemble"
)]
pub struct Args {
    /// Run directories that were judged on the same clips (`oido train` judges them on the test clips).
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// How scores become one.
    #[arg(long, value_enum, default_value = "arithmetic")]
    pub mean: MeanArg,
    /// Folder for predictions.csv, the report and ensemble.json.
    #[arg(long)]
    pub out: PathBuf,
}

/// [`Mean`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MeanArg {
    /// The mean of the scores.
    Arithmetic,
    /// The n-th root of their product.
    Geometric,
    /// The mean of the ranks of a clip's classes.
    Rank,
}

impl From<MeanArg> for Mean {
    fn from(mean: MeanArg) -> Self {
        match mean {
            MeanArg::Arithmetic => Self::Arithmetic,
            MeanArg::Geometric => Self::Geometric,
            MeanArg::Rank => Self::Rank,
        }
    }
}

/// Runs `oido ensemble`: each run's figure and the ensemble's on stdout, the report in `--out`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ensemble = Ensemble::of(&args.runs, args.mean.into())?;
    if let Some(run) = args.runs.iter().find(|run| same_folder(run, &args.out)) {
        anyhow::bail!("{} is one of the runs; give another --out", run.display());
    }
    ensemble.write(&args.out)?;
    let (figure, members) = ensemble.figures();
    if output.json() {
        let members =
            members.iter().map(|(run, value)| json!({"run": run.display().to_string(), figure.name: value}));
        output.json_line(&json!({
            "mean": Mean::from(args.mean).name(), figure.name: figure.value, "interval": figure.interval,
            "members": members.collect::<Vec<_>>(), "out": args.out.display().to_string(),
        }));
    } else {
        let mut rows = vec![vec!["run".to_owned(), figure.name.to_owned()]];
        rows.extend(
            members.iter().map(|(run, value)| vec![run.display().to_string(), format!("{value:.4}")]),
        );
        rows.push(vec!["ensemble".to_owned(), format!("{:.4}", figure.value)]);
        output.data(&table(&rows, 1).join("\n"));
    }
    output.say(&format!("report: {}", args.out.join("report.html").display()));
    Ok(Exit::Done)
}

fn same_folder(one: &std::path::Path, other: &std::path::Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
