//! A run directory → the parts of a bundle.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::dataset::Labels;
use crate::training::{Recipe, RunDir, RunInfo};

use super::{BundleConfig, BundleParts, Error};

/// Reads what a bundle needs from a run directory: the resolved recipe, the labels, the statistics of the training
/// clips, the best weights, what training began with and, when the run has been evaluated, its `report.json`.
pub fn parts_of_run(run: &Path) -> Result<BundleParts, Error> {
    let bad = |reason: String| Error::Run { run: run.to_owned(), reason };
    let files = RunDir::new(run);
    if !files.recipe().is_file() {
        return Err(bad("not a run directory (no recipe.toml); give the --out of `oido train`".to_owned()));
    }
    let recipe = Recipe::read(&files.recipe(), &[]).map_err(|e| bad(e.to_string()))?;
    let labels: Labels = json(run, &files.labels())?;
    let weights = std::fs::read(files.best_weights())
        .map_err(|e| bad(format!("weights/best.safetensors: {e}; train at least one epoch first")))?;
    let report = run.join("report.json");
    let metrics = if report.is_file() { json(run, &report)? } else { serde_json::json!({}) };
    let info: Option<RunInfo> = if files.info().is_file() { Some(json(run, &files.info())?) } else { None };
    Ok(BundleParts {
        config: BundleConfig {
            name: recipe.name,
            audio: recipe.audio,
            features: recipe.features,
            stats: json(run, &files.stats())?,
            model: recipe.model,
            num_classes: labels.len(),
            task: recipe.task,
            decision: recipe.decision,
        },
        labels,
        weights,
        metrics,
        started_from: info.and_then(|info| info.started_from),
    })
}

fn json<T: DeserializeOwned>(run: &Path, path: &Path) -> Result<T, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bad = |reason: String| Error::Run { run: run.to_owned(), reason: format!("{name}: {reason}") };
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))
}
