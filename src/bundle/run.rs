//! A run directory → the parts of a bundle.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Table;

use crate::config;

use super::{BundleConfig, BundleParts, Error, Task};

/// Reads what a bundle needs from a run directory: the resolved recipe, the labels, the statistics of the training
/// clips, the best weights and, when the run has been evaluated, its report.
pub fn parts_of_run(run: &Path) -> Result<BundleParts, Error> {
    let bad = |reason: String| Error::Run { run: run.to_owned(), reason };
    if !run.join("recipe.toml").is_file() {
        return Err(bad("not a run directory (no recipe.toml); give the --out of `oido train`".to_owned()));
    }
    let mut recipe = config::read_table(&run.join("recipe.toml")).map_err(|e| bad(e.to_string()))?;
    let labels: crate::dataset::Labels = json(run, "labels.json")?;
    let weights = std::fs::read(run.join("weights").join("best.safetensors"))
        .map_err(|e| bad(format!("weights/best.safetensors: {e}; train at least one epoch first")))?;
    let metrics = if run.join("report.json").is_file() {
        json(run, "report.json")?
    } else {
        serde_json::Value::Object(serde_json::Map::new())
    };
    let name = recipe.get("name").and_then(toml::Value::as_str).unwrap_or("model").to_owned();
    Ok(BundleParts {
        config: BundleConfig {
            name,
            audio: section(run, &mut recipe, "audio")?,
            features: section(run, &mut recipe, "features")?,
            stats: json(run, "stats.json")?,
            model: section(run, &mut recipe, "model")?,
            num_classes: labels.len(),
            task: Task::SingleLabel,
            decision: section(run, &mut recipe, "decision")?,
        },
        labels,
        weights,
        metrics,
    })
}

/// One section of the recipe; an absent one is empty, so that its defaults apply.
fn section<T: DeserializeOwned>(run: &Path, recipe: &mut Table, name: &str) -> Result<T, Error> {
    let table = match recipe.remove(name) {
        Some(toml::Value::Table(table)) => table,
        _ => Table::new(),
    };
    config::parse(table, &format!("recipe.toml [{name}]"))
        .map_err(|e| Error::Run { run: run.to_owned(), reason: e.to_string() })
}

fn json<T: DeserializeOwned>(run: &Path, name: &str) -> Result<T, Error> {
    let bad = |reason: String| Error::Run { run: run.to_owned(), reason: format!("{name}: {reason}") };
    let text = std::fs::read(run.join(name)).map_err(|e| bad(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))
}
