//! `oido models`: the zoo as a table; `oido models NAME`: the stages of one network.

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::json;

use crate::cli::{Exit, Output};
use crate::models;
use crate::models::zoo::{ZooRow, zoo};
use crate::text;

/// Arguments of `oido models`.
#[derive(Debug, Parser)]
pub struct Args {
    /// Only this network, with the stages that `training.frozen` and `training.trainable` of a recipe can name.
    name: Option<String>,
}

/// Runs `oido models`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let zoo = zoo();
    let Some(name) = &args.name else {
        list(&zoo, output);
        return Ok(Exit::Done);
    };
    let Some(row) = zoo.iter().find(|row| row.config.name() == name) else {
        let names: Vec<_> = zoo.iter().map(|row| row.config.name()).collect();
        bail!("`{}` is no network; there are {}", text::printable(name), names.join(", "));
    };
    list(std::slice::from_ref(row), output);
    if !output.json() {
        stages(row, output)?;
    }
    Ok(Exit::Done)
}

fn list(zoo: &[ZooRow], output: &Output) {
    let header = ["model", "what it is", "source", "input", "parameters", "trainable", "multiply-adds"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for row in zoo {
        let count = row.config.count(row.input, row.num_classes);
        let (name, bins, frames) = (row.config.name(), row.input.bins, row.input.frames);
        if output.json() {
            let stages: Vec<_> = row.config.stages().into_iter().map(|stage| stage.name).collect();
            output.json_line(&json!({
                "name": name, "bins": bins, "frames": frames, "classes": row.num_classes,
                "parameters": count.parameters(), "trainable_parameters": count.trainable,
                "multiply_adds": count.multiply_adds, "summary": row.summary, "source": row.source,
                "stages": stages,
            }));
        }
        rows.push(vec![
            name.to_owned(),
            row.summary.to_owned(),
            row.source.to_owned(),
            format!("{bins} x {frames}"),
            count.parameters().to_string(),
            count.trainable.to_string(),
            format!("{:.1} M", count.multiply_adds as f64 / 1e6),
        ]);
    }
    if !output.json() {
        output.data(&text::table(&rows, 3).join("\n"));
    }
}

fn stages(row: &ZooRow, output: &Output) -> anyhow::Result<()> {
    let stages = row.config.stages();
    if stages.is_empty() {
        output.data("\nno stages: it is trained whole");
        return Ok(());
    }
    let device = models::device("cpu")?;
    let model = row.config.blank(row.input, row.num_classes, &device).context("the zoo's own row")?;
    let mut rows = vec![vec!["stage".to_owned(), "parameters".to_owned()]];
    rows.extend(stages.iter().map(|stage| vec![stage.name.clone(), model.parameters_of(stage).to_string()]));
    output.data(&format!("\n{}", text::table(&rows, 1).join("\n")));
    Ok(())
}
