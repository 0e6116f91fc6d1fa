//! `oido models`: the zoo as a table.

use serde_json::json;

use crate::cli::{Exit, Output};
use crate::models::{device, zoo::zoo};
use crate::seed::Seed;

/// Runs `oido models`.
pub fn run(output: &Output) -> anyhow::Result<Exit> {
    let device = device("cpu")?;
    let mut lines = vec![format!(
        "{:<8} {:>10} {:>12} {:>12}  {}",
        "model", "input", "parameters", "trainable", "what it is"
    )];
    for row in zoo() {
        let model = row.config.init(row.input, row.num_classes, Seed(0), &device)?;
        let count = model.count_parameters();
        let (name, bins, frames) = (row.config.name(), row.input.bins, row.input.frames);
        if output.json() {
            output.json_line(&json!({
                "name": name, "bins": bins, "frames": frames, "classes": row.num_classes,
                "parameters": count.total, "trainable_parameters": count.trainable,
                "summary": row.summary, "source": row.source,
            }));
        }
        let input = format!("{bins} x {frames}");
        lines.push(format!(
            "{name:<8} {input:>10} {:>12} {:>12}  {}",
            count.total, count.trainable, row.summary
        ));
    }
    if !output.json() {
        output.data(&lines.join("\n"));
    }
    Ok(Exit::Done)
}
