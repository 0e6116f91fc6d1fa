//! `oido submit`: a run or ensemble → the table that a Kaggle competition takes.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::json;

use super::predict::inputs::recordings;
use crate::cli::inputs_stay::refuse_to_replace;
use crate::cli::progress::task_bar;
use crate::cli::{Exit, Output};
use crate::experiments::{Models, Sample, Submission};

/// What a competition calls its example.
const SAMPLE: &str = "sample_submission.csv";

/// Arguments of `oido submit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  oido submit runs/ensemble --data freesound-audio-tagging-2019 --out submission.csv\n  \
                        oido submit runs/simple --sample sample_submission.csv --out submission.csv"
)]
pub struct Args {
    /// A run directory, or the folder of an ensemble.
    pub model: PathBuf,
    /// The test recordings: a folder of them, or that of the competition, with test and sample_submission.csv [default: the
    /// test clips that the run was judged on].
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The competition's example, whose clips and labels are checked and whose order is taken [default: the
    /// sample_submission.csv in --data].
    #[arg(long, value_name = "FILE")]
    pub sample: Option<PathBuf>,
    /// The table to write.
    #[arg(long, default_value = "submission.csv")]
    pub out: PathBuf,
    /// cpu, vulkan, wgpu or cuda:0.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Runs `oido submit`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let beside = args.data.as_ref().map(|data| data.join(SAMPLE)).filter(|path| path.is_file());
    let sample = args.sample.clone().or(beside).map(|path| Sample::read(&path)).transpose()?;
    let inputs = sample.iter().map(|sample| sample.path.as_path());
    refuse_to_replace(&args.out, inputs)?;
    let (submission, bad) = match &args.data {
        None => (Submission::of_predictions(&args.model)?, 0),
        Some(data) => score(args, data, sample.as_ref(), output)?,
    };
    let submission = match &sample {
        Some(sample) => submission.in_order_of(sample)?,
        None => submission,
    };
    submission.write(&args.out)?;
    let (clips, labels) = (submission.rows.len(), submission.labels.len());
    if output.json() {
        output.json_line(
            &json!({"out": args.out.display().to_string(), "clips": clips, "labels": labels, "bad": bad,
                "checked": sample.is_some()}),
        );
    } else {
        let checked = sample
            .as_ref()
            .map_or_else(String::new, |sample| format!(", labels and clips as in {}", sample.path.display()));
        output.data(&format!("{}: {clips} clips, {labels} labels{checked}", args.out.display()));
    }
    if bad == 0 {
        return Ok(Exit::Done);
    }
    output.say(&format!("{bad} recordings could not be used; their scores are 0"));
    Ok(Exit::BadInputs)
}

/// The scores of the recordings in `data`, and how many could not be used.
fn score(
    args: &Args,
    data: &Path,
    sample: Option<&Sample>,
    output: &Output,
) -> anyhow::Result<(Submission, usize)> {
    let folder = if data.join("test").is_dir() { data.join("test") } else { data.to_owned() };
    let files = match sample {
        Some(sample) if !sample.files.is_empty() => {
            sample.files.iter().map(|file| folder.join(file)).collect()
        }
        _ => recordings(&folder)?,
    };
    if files.is_empty() {
        bail!(
            "{}: there are no recordings in it; give --data with the folder of the test recordings",
            folder.display()
        );
    }
    if let Some(absent) = files.iter().find(|file| !file.is_file()) {
        bail!(
            "{}: there is no such file; give --data with the folder of the test recordings",
            absent.display()
        );
    }
    let models = Models::open(&args.model, &args.device)?;
    let bar = task_bar("scoring clips", files.len(), output);
    let bad = Cell::new(0);
    let submission = models.submission(
        &files,
        &|reason| {
            bad.set(bad.get() + 1);
            output.warn(reason);
        },
        &|done| bar.set_position(done as u64),
    )?;
    bar.finish_and_clear();
    Ok((submission, bad.get()))
}
