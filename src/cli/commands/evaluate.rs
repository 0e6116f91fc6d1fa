//! `oido evaluate`: a run → its report.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use crate::cli::{Exit, Output};
use crate::dataset::Split;
use crate::evaluation::{self, Evaluated, Figure};
use crate::training::RunDir;

/// Arguments of `oido evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directory of `oido train`.
    pub run: PathBuf,
    /// Part of the data: test or valid [default: test, or valid when the split has no test part].
    #[arg(long, value_name = "PART")]
    pub split: Option<String>,
    /// cpu, vulkan, wgpu or cuda:0.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Runs `oido evaluate`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let split = match args.split.as_deref() {
        None => None,
        Some("test") => Some(Split::Test),
        Some("valid") => Some(Split::Valid),
        Some(other) => bail!("--split {other}: use test or valid"),
    };
    let run_dir = RunDir::new(&args.run);
    let evaluated = evaluation::evaluate_run(&run_dir, split, &args.device)?;
    show(&evaluated, &run_dir, output);
    Ok(Exit::Done)
}

/// Says what was found and where the report is.
pub fn show(evaluated: &Evaluated, run_dir: &RunDir, output: &Output) {
    let (part, clips) = (evaluated.part.name(), evaluated.predictions.rows.len());
    let Figure { name, value, interval } = evaluated.figure;
    if output.json() {
        output.json_line(&json!({
            "split": part, "clips": clips, name: value, "interval": [interval.low, interval.high],
        }));
    } else {
        output.data(&format!(
            "{part} {name} {value:.4} (95 % interval {:.4} to {:.4}, {clips} clips)",
            interval.low, interval.high
        ));
    }
    output.say(&format!("report: {}", run_dir.path().join("report.html").display()));
}
