//! `oido sweep`: every combination is a run, and the best on validation comes first.

use std::fs;

use serde_json::Value;

use crate::tones::{Tones, data};

const SWEEP: [&str; 10] = [
    "sweep",
    "recipe.toml",
    "--data",
    "manifest.csv",
    "--set",
    "training.epochs=1",
    "--grid",
    "training.learning_rate=1e-5,3e-3",
    "--grid",
    "training.optimizer=adam,{name='sgd',momentum=0.9}",
];

fn sweep<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SWEEP, more].concat()
}

/// A table without the seconds, which differ.
fn table(tones: &Tones, name: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(tones.path(name)).unwrap();
    let seconds = reader.headers().unwrap().iter().position(|name| name == "seconds_per_epoch").unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>());
    let mut rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    rows.iter_mut().for_each(|row| {
        row.remove(seconds);
    });
    rows
}

#[test]
fn all_combinations_are_tried_and_sorted_by_validation_whoever_trains_them() {
    let tones = Tones::new();
    tones.ok(&sweep(&["--out", "whole"]));
    let rows = table(&tones, "whole/sweep.csv");
    assert_eq!(rows[0][..3], ["training.learning_rate", "training.optimizer", "val/accuracy"]);
    assert_eq!(rows.len(), 1 + 4);
    let values: Vec<f64> = rows[1..].iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(values.windows(2).all(|pair| pair[0] >= pair[1]) && values[0] > values[3], "{values:?}");
    for row in &rows[1..] {
        let run = tones.path("whole").join(row.last().unwrap());
        let recipe = fs::read_to_string(run.join("recipe.toml")).unwrap();
        let rate: f64 = row[0].parse().unwrap();
        assert!(
            recipe.contains(&format!("learning_rate = {rate}")) || recipe.contains("learning_rate = 1e-5"),
            "{recipe}"
        );
        assert_eq!(row[1].contains("sgd"), recipe.contains("name = \"sgd\""), "{recipe}");
        // Nobody looks at the test clips.
        let report: Value = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
        assert_eq!((&report["part"], report["accuracy"].as_f64()), (&"valid".into(), row[2].parse().ok()));
    }
    let markdown = fs::read_to_string(tones.path("whole/sweep.md")).unwrap();
    assert!(
        markdown.starts_with("| training.learning_rate | training.optimizer | val/accuracy |"),
        "{markdown}"
    );
    assert!(fs::read_to_string(tones.path("whole/compare.html")).unwrap().contains("<svg"));

    tones.ok(&sweep(&["--shard", "1/2", "--out", "one"]));
    tones.ok(&sweep(&["--shard", "2/2", "--out", "two"]));
    assert!(!tones.path("one/sweep.csv").exists());
    let output = tones.ok(&["sweep", "merge", "one", "two", "--out", "merged", "--json"]);
    assert_eq!(table(&tones, "merged/sweep.csv"), rows);
    let best: Value = serde_json::from_str(data(&output).lines().next().unwrap()).unwrap();
    assert_eq!(best["settings"]["training.learning_rate"], rows[1][0]);
    let error = tones.error(2, &["cv", "merge", "one", "two", "--out", "no"]);
    assert!(error.contains("one: it is part of a sweep, not of a cross-validation"), "{error}");
}

#[test]
fn impossible_grids_are_refused_before_anything_is_trained() {
    let tones = Tones::new();
    let refused = |code: i32, grids: &[&str], expected: &str| {
        let mut args = vec!["sweep", "recipe.toml", "--data", "manifest.csv", "--out", "out"];
        grids.iter().for_each(|grid| args.extend(["--grid", grid]));
        let output = tones.code(code, &args);
        assert!(crate::tones::talk(&output).contains(expected), "{}", crate::tones::talk(&output));
        assert!(!tones.path("out").exists());
    };
    refused(2, &[], "--grid <SECTION.KEY=A,B,…>");
    refused(2, &["training.epochs"], "give section.key=a,b,c");
    refused(4, &["training.epoch=1,2"], "unknown field `epoch`");
    refused(4, &["training.learning_rate=0.1,-1"], "training.learning_rate: -1 must be above 0");
    refused(
        4,
        &["training.monitor=loss,accuracy"],
        "training.monitor: runs that are told apart by different figures",
    );
    refused(4, &["seed=1,2", "seed=3"], "--grid seed: is there twice");
}
