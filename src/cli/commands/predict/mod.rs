//! `oido predict`: recordings → labels.

pub(super) mod inputs;
mod rows;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use rayon::prelude::*;

use crate::audio::Limits;
use crate::bundle::{Clip, Error, Prediction, Predictor};
use crate::cli::inputs_stay::refuse_to_replace;
use crate::cli::{Exit, Output};
use crate::files::NewFile;
use crate::models::Precision;

use inputs::{Input, collect};
use rows::{Row, Rows};

/// Recordings decoded before the next ones are read: bounds memory, and rows appear early.
const CHUNK: usize = 64;

/// Arguments of `oido predict`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle, archive or folder.
    pub bundle: PathBuf,
    /// Recordings: files, folders (searched through), manifests (.csv with a `path` column), or - for stdin.
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// How answers are written; json is one line for each recording. [default: table]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Best scores to show.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: u32,
    /// Least score for a label, instead of the bundle's.
    #[arg(long)]
    pub threshold: Option<f32>,
    /// Word for a score below the threshold, instead of the bundle's.
    #[arg(long)]
    pub indeterminate: Option<String>,
    /// For long recordings: one answer for each window as long as a clip, one every so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub windows: Option<f64>,
    /// Where the network runs: cpu, vulkan, wgpu or cuda:0.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Numbers that the network multiplies: f32, or bf16, less exact, on processors with AVX-512 BF16.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Write to this file instead of stdout.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
    /// With a header line.
    Csv,
}

/// Runs `oido predict`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(hop) = args.windows
        && !(0.01..=600.0).contains(&hop)
    {
        bail!("--windows {hop}: give 0.01 to 600 seconds");
    }
    let predictor = Predictor::open(&args.bundle, &args.device)?.with_precision(args.precision)?;
    let mut decision = predictor.decision().clone();
    decision.threshold = args.threshold.unwrap_or(decision.threshold);
    decision.indeterminate = args.indeterminate.clone().unwrap_or(decision.indeterminate);
    // A mistake in the flags: unlike an impossible configuration, another command mends it.
    decision.validate_for(predictor.labels().names()).map_err(|error| anyhow!("{error}"))?;
    let predictor = predictor.with_decision(decision).with_limits(limits(args.windows.is_some()));

    let inputs = collect(&args.inputs)?;
    if args.windows.is_some() && inputs.iter().any(|input| input.start.or(input.duration).is_some()) {
        bail!("--windows cuts recordings itself; leave out the manifest's columns start and duration");
    }
    if let Some(out) = &args.out {
        let read = [args.bundle.as_path()].into_iter().chain(args.inputs.iter().map(PathBuf::as_path));
        refuse_to_replace(out, read.chain(inputs.iter().map(Input::path)))?;
    }
    let format = args.format.unwrap_or(if output.json() { Format::Json } else { Format::Table });
    let top_k = (args.top_k as usize).min(predictor.labels().len());
    let rows = Rows::new(format, top_k, &inputs, predictor.labels());
    let mut writer = Writer::new(args.out.as_deref(), output)?;
    writer.line(&rows.header())?;
    let mut failed = 0;
    for chunk in inputs.chunks(CHUNK) {
        for row in answer(&predictor, chunk, args.windows)? {
            if let Some(reason) = row.error() {
                failed += 1;
                output.warn(reason);
            }
            writer.line(&rows.line(&row))?;
        }
    }
    writer.finish()?;
    if failed == 0 {
        return Ok(Exit::Done);
    }
    output.say(&format!("{failed} of {} recordings could not be used", inputs.len()));
    Ok(Exit::BadInputs)
}

/// Long recordings may take longer than single clips.
fn limits(long: bool) -> Limits {
    if !long {
        return Limits::default();
    }
    Limits { max_seconds: 3600.0, ..Limits::patient() }
}

/// Rows of some recordings, in their order: decoded in parallel, scored together.
fn answer(predictor: &Predictor, inputs: &[Input], windows: Option<f64>) -> anyhow::Result<Vec<Row>> {
    if let Some(hop) = windows {
        return Ok(inputs.iter().flat_map(|input| windows_of(predictor, input, hop)).collect());
    }
    let prepared: Vec<Result<Clip, Error>> = inputs
        .par_iter()
        .map(|input| predictor.prepare_range(&input.source()?, input.start, input.duration))
        .collect();
    let mut clips = Vec::new();
    let prepared: Vec<Result<(), Error>> =
        prepared.into_iter().map(|clip| clip.map(|clip| clips.push(clip))).collect();
    let mut predictions = score(predictor, &clips).into_iter();
    let row = |(input, prepared): (&Input, Result<(), Error>)| {
        let prediction = match prepared {
            Ok(()) => predictions.next().context("an answer is missing")?,
            Err(error) => Err(error),
        };
        Ok(match prediction {
            Ok(prediction) => Row::one(input, prediction),
            Err(error) => Row::bad(input, &error),
        })
    };
    inputs.iter().zip(prepared).map(row).collect()
}

/// One answer a clip. When a batch fails, its clips are asked one by one, so that only the culprit fails.
fn score(predictor: &Predictor, clips: &[Clip]) -> Vec<Result<Prediction, Error>> {
    match predictor.score(clips) {
        Ok(predictions) => predictions.into_iter().map(Ok).collect(),
        Err(_) => clips.iter().map(|clip| predictor.score_one(clip)).collect(),
    }
}

/// Rows of one long recording.
fn windows_of(predictor: &Predictor, input: &Input, hop: f64) -> Vec<Row> {
    let source = input.source().map_err(Error::from);
    match source.and_then(|source| predictor.predict_windows(&source, hop)) {
        Ok(windows) => windows.into_iter().map(|window| Row::window(input, window)).collect(),
        Err(error) => vec![Row::bad(input, &error)],
    }
}

/// Where rows go: stdout, line by line, or a file that appears when it is complete.
enum Writer<'a> {
    Stdout(&'a Output),
    File(NewFile, PathBuf),
}

impl<'a> Writer<'a> {
    fn new(out: Option<&Path>, output: &'a Output) -> anyhow::Result<Self> {
        let Some(out) = out else { return Ok(Self::Stdout(output)) };
        let file = NewFile::create(out).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(Self::File(file, out.to_owned()))
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        match self {
            _ if line.is_empty() => Ok(()),
            Self::Stdout(output) => {
                output.data(line);
                Ok(())
            }
            Self::File(file, out) => {
                writeln!(file, "{line}").with_context(|| format!("cannot write {}", out.display()))
            }
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Self::File(file, out) = self {
            file.finish().with_context(|| format!("cannot write {}", out.display()))?;
        }
        Ok(())
    }
}
