//! `oido cv`: folds trained by one machine or by several, put together.

use std::fs;
use std::path::Path;

use oido::dataset::{Manifest, Split};
use serde_json::Value;

use crate::support::oido;
use crate::tones::{PER_CLASS, Tones, data, talk};

/// What a cross-validation writes beside its folds.
const RESULTS: [&str; 9] = [
    "cv.json",
    "cv.csv",
    "predictions.csv",
    "report.json",
    "report.html",
    "confusion_matrix.csv",
    "confusion_matrix.svg",
    "classification_report.txt",
    "confusion_matrix_normalized.csv",
];

const CV: [&str; 8] =
    ["cv", "recipe.toml", "--data", "manifest.csv", "--folds", "3", "--set", "training.epochs=2"];

fn cv<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CV, more].concat()
}

/// The tones with `whole`, three folds of one machine, and `part1` and `part2`, the same of two.
fn folds() -> Tones {
    let tones = Tones::new();
    tones.ok(&cv(&["--out", "whole"]));
    let said = talk(&tones.ok(&cv(&["--shard", "1/2", "--out", "part1"])));
    assert!(said.contains("fold-2 are not in part1") && !tones.path("part1/cv.json").exists(), "{said}");
    // The second of two jobs of a Kubernetes Indexed Job.
    let mut second = oido();
    second.env("JOB_COMPLETION_INDEX", "1").current_dir(tones.path(""));
    second.args(cv(&["--shard=auto/2", "--out", "part2"])).assert().success();
    tones
}

/// One test, as training the folds takes most of its time.
#[test]
fn folds_of_one_machine_and_of_two() {
    let tones = folds();
    shards_put_together_are_the_whole_byte_for_byte(&tones);
    every_clip_is_tested_once_and_nobody_chooses_on_the_test_fold(&tones);
    parts_that_are_missing_double_or_foreign_are_refused_by_name(&tones);
    the_same_command_does_only_what_is_left(&tones);
}

/// A copy of a folder beside it.
fn copy(tones: &Tones, from: &str, to: &str) {
    fn walk(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                walk(&path, &target);
            } else {
                fs::copy(&path, &target).unwrap();
            }
        }
    }
    walk(&tones.path(from), &tones.path(to));
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn shards_put_together_are_the_whole_byte_for_byte(tones: &Tones) {
    tones.ok(&["cv", "merge", "part2", "part1", "--out", "merged"]);
    for name in RESULTS {
        let (whole, merged) = (
            fs::read(tones.path("whole").join(name)).unwrap(),
            fs::read(tones.path("merged").join(name)).unwrap(),
        );
        assert!(!whole.is_empty() && whole == merged, "{name} differs");
    }
}

fn every_clip_is_tested_once_and_nobody_chooses_on_the_test_fold(tones: &Tones) {
    let all = Manifest::read(&tones.path("manifest.csv")).unwrap();
    let mut tested = Vec::new();
    for fold in 1..=3 {
        let run = tones.path(format!("whole/fold-{fold}"));
        let parts = Manifest::read(&run.join("manifest.csv")).unwrap();
        let of = |split| {
            let clips = parts.entries.iter().filter(move |entry| entry.split == Some(split));
            clips.map(|entry| entry.path.clone()).collect::<Vec<_>>()
        };
        let (valid, test) = (of(Split::Valid), of(Split::Test));
        assert_eq!(of(Split::Train).len() + valid.len() + test.len(), all.entries.len());
        assert!(!valid.is_empty() && valid.iter().all(|clip| !test.contains(clip)));
        assert_eq!(json(&run.join("report.json"))["part"], "test");
        tested.extend(test);
    }
    tested.sort();
    tested.dedup();
    assert_eq!(tested.len(), 3 * PER_CLASS);

    let report = json(&tones.path("whole/report.json"));
    assert_eq!(report["n"], 3 * PER_CLASS);
    let cv = json(&tones.path("whole/cv.json"));
    let folds: Vec<f64> =
        cv["folds"].as_array().unwrap().iter().map(|fold| fold["accuracy"].as_f64().unwrap()).collect();
    let mean = folds.iter().sum::<f64>() / 3.0;
    let over = &cv["over_folds"]["accuracy"];
    assert!((over["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{cv}");
    let half = 4.302_652_729_749_462 * over["std"].as_f64().unwrap() / 3.0_f64.sqrt();
    assert!((over["interval"]["low"].as_f64().unwrap() - (mean - half).max(0.0)).abs() < 1e-9, "{cv}");
    assert_eq!((&cv["pooled"]["n"], &cv["pooled"]["accuracy"]), (&report["n"], &report["accuracy"]));
    assert_eq!(cv["pooled"]["accuracy_interval"], report["accuracy_interval"]);

    let table = fs::read_to_string(tones.path("whole/cv.csv")).unwrap();
    let first: Vec<&str> = table.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(first, ["fold", "1", "2", "3", "mean", "std", "low", "high"]);
    let page = fs::read_to_string(tones.path("whole/report.html")).unwrap();
    assert!(page.contains("nested cross-validation, 3 folds") && page.contains("over the folds"));
}

fn the_same_command_does_only_what_is_left(tones: &Tones) {
    copy(tones, "whole", "again");
    // One fold was killed before its last checkpoint, the results of another were replaced by those on validation.
    let killed = tones.path("again/fold-2");
    for left in ["member.json", "report.json", "predictions.csv", "run.json"] {
        fs::remove_file(killed.join(left)).unwrap();
    }
    let newest = fs::read_dir(killed.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    fs::remove_dir_all(newest).unwrap();
    tones.ok(&["evaluate", "again/fold-3", "--split", "valid"]);
    let error = tones.error(2, &["cv", "merge", "again", "--out", "nothing"]);
    assert!(error.contains("fold-3: its predictions.csv is not the one that was judged"), "{error}");
    let trained = |fold: u32| {
        let weights = tones.path(format!("again/fold-{fold}/weights/last.safetensors"));
        fs::metadata(weights).unwrap().modified().unwrap()
    };
    let before = [1, 3].map(trained);
    let output = tones.ok(&cv(&["--out", "again", "--json"]));
    let lines: Vec<Value> = data(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let finished: Vec<(&str, bool)> = lines
        .iter()
        .filter(|line| line["state"] == "finished")
        .map(|line| (line["run"].as_str().unwrap(), line["before"].as_bool().unwrap()))
        .collect();
    assert_eq!(finished, [("fold-1", true), ("fold-2", false), ("fold-3", false)]);
    assert_eq!(before, [1, 3].map(trained), "finished folds were trained again");
    assert_eq!(lines.iter().filter(|line| line["epoch"].is_number()).count(), 1, "one epoch was left");
    assert_eq!(lines.last().unwrap()["figure"], "accuracy");
    for name in ["cv.csv", "predictions.csv", "confusion_matrix.csv"] {
        assert!(
            fs::read(tones.path("again").join(name)).unwrap()
                == fs::read(tones.path("whole").join(name)).unwrap()
        );
    }
}

fn parts_that_are_missing_double_or_foreign_are_refused_by_name(tones: &Tones) {
    let merge = |parts: &[&str], expected: &str| {
        let error = tones.error(2, &[&["cv", "merge"], parts, &["--out", "refused"]].concat());
        assert!(error.contains(expected), "{parts:?}: {error}");
        assert!(!tones.path("refused").exists());
    };
    merge(&["part2"], "part2: 2 of 3 runs are missing or not finished: fold-1, fold-3;");
    merge(&["part1", "part2", "whole"], "whole/fold-1: the same run is in part1/fold-1 too");
    merge(&["part1", "part1"], "the same run is in part1/fold-1 too");
    merge(&["part1", "clips"], "clips: there is no plan.json in it");

    copy(tones, "part2", "foreign");
    let plan = tones.path("foreign/plan.json");
    let own = fs::read_to_string(&plan).unwrap();
    for (from, to, expected) in [
        ("\"version\": \"", "\"version\": \"9.", "another program version: 9."),
        ("\"seed\": 7", "\"seed\": 8", "another seed: 8 here, 7 there"),
        ("epochs = 2", "epochs = 3", "another recipe: training.epochs = 3 here, training.epochs = 2 there"),
        ("\"data_sha256\": \"", "\"data_sha256\": \"f", "another data: 36 clips with sha256 f"),
        ("cross_validation", "sweep", "another kind: sweep here, cross-validation there"),
    ] {
        let changed = own.replacen(from, to, 1);
        assert_ne!(changed, own, "{from}");
        fs::write(&plan, changed).unwrap();
        merge(
            &["part1", "foreign"],
            &format!("foreign: it does not belong with part1, as it has {expected}"),
        );
    }
    fs::write(&plan, own).unwrap();
    let member = tones.path("foreign/fold-2/member.json");
    let text = fs::read_to_string(&member).unwrap().replace("\"plan_sha256\": \"", "\"plan_sha256\": \"0");
    fs::write(&member, text).unwrap();
    merge(&["part1", "foreign"], "foreign/fold-2: it is a run of another cross-validation");

    // And a folder is not gone on with by another recipe.
    let error = tones.error(2, &cv(&["--out", "part1", "--set", "model.dense=8"]));
    assert!(error.contains("another recipe: model.dense = 16 then, model.dense = 8 now"), "{error}");
    let error = tones.error(2, &cv(&["--out", "clips"]));
    assert!(error.contains("clips: there is no plan.json in it"), "{error}");
}

#[test]
fn folds_come_from_the_data_and_without_any_it_says_what_to_do() {
    let tones = Tones::new();
    let args = ["cv", "recipe.toml", "--data", "manifest.csv", "--set", "training.epochs=1", "--out", "out"];
    let error = tones.error(4, &args);
    assert!(error.contains("neither the recipe's split nor the data has folds; give --folds 5"), "{error}");
    for (shard, expected) in
        [("4/3", "job 4, counted from 1"), ("x", "give i/N"), ("auto/3", "no job of an array")]
    {
        let error = tones.error(4, &cv(&["--out", "out", "--shard", shard]));
        assert!(error.contains(&format!("--shard {shard}: ")) && error.contains(expected), "{error}");
    }
    assert!(!tones.path("out").exists());
    tones.ok(&["prepare", "folders", "clips", "--out", "manifest.csv", "--folds", "2"]);
    tones.ok(&args);
    let fold = fs::read_to_string(tones.path("out/fold-2/recipe.toml")).unwrap();
    assert!(fold.contains("protocol = \"official\"") && fold.contains("test_folds = [2]"), "{fold}");
    assert_eq!(json(&tones.path("out/cv.json"))["folds"].as_array().unwrap().len(), 2);
}
