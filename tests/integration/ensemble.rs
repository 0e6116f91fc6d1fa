//! `oido ensemble` and `oido submit`: the means, what they refuse, and the table of the competition.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oido::decision::Task;
use oido::evaluation::Predictions;
use oido::experiments::Mean;
use serde_json::Value;

use crate::tones::{PER_CLASS, Tones, data, talk};

/// The tones, and runs `a` and `b` with other seeds of the network on the same split, judged on its test clips.
fn runs() -> Tones {
    let tones = Tones::new();
    for (run, dense) in [("a", "model.dense=16"), ("b", "model.dense=12")] {
        tones.ok(&Tones::train(run, &["--set", "training.epochs=1", "--set", dense]));
    }
    tones
}

fn predictions(tones: &Tones, dir: &str) -> Predictions {
    Predictions::read(&tones.path(dir).join("predictions.csv")).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A table of a competition as strict as can be: exactly these columns and clips, each once, in this order, every score a plain
/// number from 0 to 1, no quotes, no carriage returns, a line end behind the last.
fn check_submission(path: &Path, labels: &[String], files: &[String]) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n') && !text.contains(['\r', '"', ' ', '\u{feff}']), "{text}");
    let mut lines = text.trim_end_matches('\n').split('\n');
    assert_eq!(lines.next().unwrap(), format!("fname,{}", labels.join(",")));
    let mut found = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), 1 + labels.len(), "{line}");
        found.push(cells[0].to_owned());
        for score in &cells[1..] {
            assert!(score.parse::<f64>().is_ok_and(|score| (0.0..=1.0).contains(&score)), "{line}");
        }
    }
    assert_eq!(found, files);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), files.len());
}

#[test]
fn runs_that_judged_the_same_clips_are_put_together_and_sent() {
    let tones = runs();
    the_scores_are_the_means_and_the_report_is_of_them(&tones);
    what_does_not_go_together_is_refused(&tones);
    a_submission_has_every_test_clip_once_in_the_order_of_the_sample(&tones);
}

fn the_scores_are_the_means_and_the_report_is_of_them(tones: &Tones) {
    let (a, b) = (predictions(tones, "a"), predictions(tones, "b"));
    for (name, mean) in
        [("arithmetic", Mean::Arithmetic), ("geometric", Mean::Geometric), ("rank", Mean::Rank)]
    {
        let output = tones.ok(&["ensemble", "a", "b", "--mean", name, "--out", name, "--json"]);
        let both = predictions(tones, name);
        for ((row, a), b) in both.rows.iter().zip(&a.rows).zip(&b.rows) {
            assert_eq!((&row.path, &row.target), (&a.path, &a.target));
            assert_eq!(row.scores, mean.of(Task::SingleLabel, &[&a.scores, &b.scores]));
            assert!((row.scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let report = json(&tones.path(name).join("report.json"));
        assert_eq!((&report["part"], report["n"].as_u64()), (&"test".into(), Some(both.rows.len() as u64)));
        let line: Value = serde_json::from_str(&data(&output)).unwrap();
        assert_eq!(line["accuracy"], report["accuracy"]);
        assert_eq!(line["members"][1]["accuracy"], json(&tones.path("b/report.json"))["accuracy"]);
        let info = json(&tones.path(name).join("ensemble.json"));
        assert_eq!((&info["mean"], info["members"].as_array().unwrap().len()), (&name.into(), 2));
    }
    assert!(tones.path("rank/report.html").is_file());
    let html = fs::read_to_string(tones.path("rank/report.html")).unwrap();
    assert!(html.contains("Mean ranks order the classes"));
}

fn what_does_not_go_together_is_refused(tones: &Tones) {
    let refused = |runs: &[&str], expected: &str| {
        let error = tones.error(2, &[&["ensemble"], runs, &["--out", "no"]].concat());
        assert!(error.contains(expected), "{runs:?}: {error}");
        assert!(!tones.path("no").exists());
    };
    refused(&["a"], "a: one run is no ensemble");
    refused(&["a", "clips"], "clips: it was not judged; run `oido evaluate clips` first");
    tones.ok(&Tones::train("other", &["--set", "training.epochs=1", "--set", "seed=8"]));
    refused(&["a", "other"], "other: it does not go with a: clip ");
    fs::create_dir_all(tones.path("valid")).unwrap();
    for file in ["report.json", "predictions.csv"] {
        fs::copy(tones.path("a").join(file), tones.path("valid").join(file)).unwrap();
    }
    let report = fs::read_to_string(tones.path("valid/report.json")).unwrap();
    fs::write(tones.path("valid/report.json"), report.replace("\"part\": \"test\"", "\"part\": \"valid\""))
        .unwrap();
    refused(&["a", "valid"], "it was judged on valid clips, there on test clips");
    fs::write(tones.path("valid/report.json"), &report).unwrap();
    let table = fs::read_to_string(tones.path("valid/predictions.csv")).unwrap();
    fs::write(tones.path("valid/predictions.csv"), table.replacen(".wav,low,", ".wav,high,", 1)).unwrap();
    refused(&["a", "valid"], "the right labels of ");
    fs::write(tones.path("valid/predictions.csv"), table.lines().take(4).collect::<Vec<_>>().join("\n"))
        .unwrap();
    refused(&["a", "valid"], "it judged 3 clips, there are 9 there");
    let error = tones.error(2, &["ensemble", "a", "b", "--out", "a"]);
    assert!(error.contains("a is one of the runs; give another --out"), "{error}");
}

fn a_submission_has_every_test_clip_once_in_the_order_of_the_sample(tones: &Tones) {
    // As a competition lays its data out; the last recordings of every class, under names of their own.
    let names = |n: std::ops::Range<usize>| -> Vec<String> { n.map(|i| format!("{i:08x}.wav")).collect() };
    fs::create_dir_all(tones.path("kaggle/test")).unwrap();
    for (i, name) in names(0..9).iter().enumerate() {
        let from =
            tones.path(format!("clips/{}/{:02}.wav", ["low", "mid", "high"][i % 3], PER_CLASS - 1 - i / 3));
        fs::copy(from, tones.path("kaggle/test").join(name)).unwrap();
    }
    let mut files = names(0..9);
    files.reverse();
    let labels = ["high", "low", "mid"].map(str::to_owned);
    let rows: String = files.iter().map(|file| format!("{file},0,0,0\n")).collect();
    let sample = |rows: &str| {
        fs::write(tones.path("kaggle/sample_submission.csv"), format!("fname,{}\n{rows}", labels.join(",")))
            .unwrap();
    };
    sample(&rows);
    let submit = ["submit", "geometric", "--data", "kaggle"];
    let said = data(&tones.ok(&submit));
    assert!(
        said.contains(
            "submission.csv: 9 clips, 3 labels, labels and clips as in kaggle/sample_submission.csv"
        ),
        "{said}"
    );
    check_submission(&tones.path("submission.csv"), &labels, &files);
    // The same scores as the program gives to everybody.
    for run in ["a", "b"] {
        tones.ok(&["submit", run, "--data", "kaggle", "--out", &format!("{run}.csv")]);
        tones.ok(&["bundle", run, "--out", &format!("{run}.tar.gz")]);
    }
    let scores = |name: &str| -> Vec<f32> {
        let text = fs::read_to_string(tones.path(name)).unwrap();
        text.lines().nth(1).unwrap().split(',').skip(1).map(|score| score.parse().unwrap()).collect()
    };
    let clip = format!("kaggle/test/{}", files[0]);
    let predicted = data(&tones.ok(&["predict", "a.tar.gz", &clip, "--format", "json"]));
    let line: Value = serde_json::from_str(&predicted).unwrap();
    for score in line["scores"].as_array().unwrap() {
        let at = labels.iter().position(|label| label == score["label"].as_str().unwrap()).unwrap();
        assert!((f64::from(scores("a.csv")[at]) - score["score"].as_f64().unwrap()).abs() < 1e-6);
    }
    assert_eq!(
        scores("submission.csv"),
        Mean::Geometric.of(Task::SingleLabel, &[&scores("a.csv"), &scores("b.csv")])
    );
    // From the judged test clips, without recordings. Those of different classes share names, which a competition could not
    // tell apart.
    let error = tones.error(2, &["submit", "arithmetic"]);
    assert!(error.contains("arithmetic: two test clips are called "), "{error}");
    let table = tones.path("arithmetic/predictions.csv");
    let named = labels.iter().fold(fs::read_to_string(&table).unwrap(), |text, label| {
        text.replace(&format!("clips/{label}/"), &format!("clips/{label}_"))
    });
    fs::write(&table, named).unwrap();
    tones.ok(&["submit", "arithmetic", "--out", "judged.csv"]);
    let judged = predictions(tones, "arithmetic").rows;
    let name = |path: &str| Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
    check_submission(
        &tones.path("judged.csv"),
        &labels,
        &judged.iter().map(|row| name(&row.path)).collect::<Vec<_>>(),
    );
    tones.ok(&["evaluate", "b", "--split", "valid"]);
    let error = tones.error(2, &["submit", "b"]);
    assert!(error.contains("b: its predictions are not of test clips"), "{error}");

    // A recording that is broken has zeros, and is told.
    fs::write(tones.path("kaggle/test/00000003.wav"), b"RIFF").unwrap();
    let output = tones.code(3, &submit);
    assert!(
        talk(&output).contains("00000003.wav") && talk(&output).contains("their scores are 0"),
        "{}",
        talk(&output)
    );
    check_submission(&tones.path("submission.csv"), &labels, &files);
    assert!(
        fs::read_to_string(tones.path("submission.csv")).unwrap().contains("\n00000003.wav,0.0,0.0,0.0\n")
    );
    for (rows, expected) in [
        (format!("{rows}0000000f.wav,0,0,0\n"), "0000000f.wav: there is no such file"),
        (format!("{rows}{}", rows.lines().next().unwrap()), "the clip `00000008.wav` is there twice"),
    ] {
        sample(&rows);
        let error = tones.error(2, &submit);
        assert!(error.contains(expected), "{error}");
    }
    fs::write(tones.path("sample.csv"), "fname,high,low,siren\n").unwrap();
    let error = tones.error(2, &["submit", "a", "--data", "kaggle/test", "--sample", "sample.csv"]);
    assert!(error.contains("sample.csv: the model does not know the label `siren`"), "{error}");
    fs::write(tones.path("sample.csv"), "fname,high,low\n").unwrap();
    let error = tones.error(2, &["submit", "a", "--data", "kaggle/test", "--sample", "sample.csv"]);
    assert!(error.contains("the model's label `mid` has no column"), "{error}");
}
