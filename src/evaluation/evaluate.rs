//! A finished run, judged on the part of its data that its report is about.

use std::sync::Arc;

use super::json::read_json;
use super::{Error, Predictions, ReportInput, protocol, write_report};
use crate::dataset::{ClipLoader, ClipSet, Labels, Manifest, Order, Split};
use crate::decision::Task;
use crate::features::{Extractor, Stats};
use crate::metrics::{Interval, Lwlrap};
use crate::models::{self, Inference};
use crate::seed::Seed;
use crate::training::{self, Recipe, RunDir, RunInfo, results};

/// What an evaluation found, in short; the rest is in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Which part of the data.
    pub part: Split,
    /// What it is judged by, and the figure with its 95 % interval.
    pub figure: Figure,
    /// The scores of its clips.
    pub predictions: Predictions,
}

/// The one number a model is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// `accuracy` or, with several labels a clip, `lwlrap`.
    pub name: &'static str,
    /// 0 to 1.
    pub value: f64,
    /// Of 95 %: Wilson's, or by the bootstrap.
    pub interval: Interval,
}

impl Figure {
    /// Of the clips of `predictions`; `seed` draws the bootstrap.
    pub fn of(predictions: &Predictions, task: Task, seed: Seed) -> Self {
        match task {
            Task::SingleLabel => {
                let confusion = predictions.confusion();
                Self { name: "accuracy", value: confusion.accuracy(), interval: confusion.interval() }
            }
            Task::MultiLabel => {
                let (scores, targets) = (predictions.scores(), predictions.targets());
                let classes = predictions.labels.len();
                Self {
                    name: "lwlrap",
                    value: Lwlrap::from_scores(&scores, &targets, classes).value(),
                    interval: Lwlrap::interval(&scores, &targets, classes, seed),
                }
            }
        }
    }
}

/// Scores the clips of `part` with the best weights of a run and writes the report into the run directory. Without
/// `part`: the test clips, or the validation clips of a split that has no others.
///
/// # Errors
///
/// The first file of the run that is missing or damaged, or the first clip that cannot be read.
pub fn evaluate_run(run: &RunDir, part: Option<Split>, device: &str) -> Result<Evaluated, Error> {
    let info: RunInfo = read_json(&run.info())?;
    let recipe = Recipe::read(&run.recipe(), &[]).map_err(training::Error::from)?;
    let manifest = Manifest::read(&run.manifest()).map_err(training::Error::from)?;
    let part = part.unwrap_or(if info.clips.test > 0 { Split::Test } else { Split::Valid });
    let indices = (0..manifest.entries.len()).filter(|&i| manifest.entries[i].split == Some(part)).collect();

    let predictions = score_clips(run, &recipe, Arc::new(manifest), indices, device)?;
    let epochs = results::read(&run.results())?;
    write_report(
        run.path(),
        &ReportInput {
            title: &info.name,
            part: part.name(),
            protocol: &protocol(&info),
            warnings: &info.warnings,
            leaking: info.leaking,
            task: recipe.task,
            seed: Seed(recipe.seed),
            predictions: &predictions,
            epochs: &epochs,
            best_epoch: Some(info.best_epoch),
            decision: &recipe.decision,
        },
    )?;
    let figure = Figure::of(&predictions, recipe.task, Seed(recipe.seed));
    Ok(Evaluated { part, figure, predictions })
}

fn score_clips(
    run: &RunDir,
    recipe: &Recipe,
    manifest: Arc<Manifest>,
    indices: Vec<usize>,
    device: &str,
) -> Result<Predictions, Error> {
    let labels: Arc<Labels> = Arc::new(read_json(&run.labels())?);
    let stats: Stats = read_json(&run.stats())?;
    let extractor = Extractor::new(&recipe.audio, &recipe.features).map_err(training::Error::from)?;
    let device = models::device(device).map_err(training::Error::from)?;
    let model = recipe.model.blank(extractor.shape(), labels.len(), &device);
    let weights = run.best_weights();
    let bytes = std::fs::read(&weights).map_err(Error::io(&weights))?;
    let model =
        model.map_err(training::Error::from)?.load_safetensors(bytes).map_err(training::Error::from)?;

    let set = ClipSet::new(manifest, indices, Arc::clone(&labels), Arc::new(extractor), None)
        .map_err(training::Error::from)?
        .with_stats(stats);
    let loader = ClipLoader::new(Arc::new(set), recipe.training.batch_size, Order::Sequential);
    let scored = training::score(&Inference::new(model), &loader, &device).map_err(training::Error::from)?;
    let set = loader.set();
    let paths = (0..set.len()).map(|i| set.entry(i).path.display().to_string());
    Predictions::new(labels.names(), paths, &scored.scores(recipe.task), &scored.targets)
}
