//! Cross-validation from the command line: folds in the manifest or dealt by the recipe, and `train --fold`.

use std::fs;

use oido::dataset::Manifest;
use serde_json::Value;

use crate::tones::Tones;

/// The recipe of the tones with another section `[split]`, for one short epoch.
fn recipe(tones: &Tones, split: &str) {
    let text = fs::read_to_string(tones.path("recipe.toml")).unwrap();
    let rest = text.split("[audio]").nth(1).unwrap();
    fs::write(tones.path("cv.toml"), format!("name = \"cv\"\nseed = 7\n[split]\n{split}\n[audio]{rest}"))
        .unwrap();
}

#[test]
fn a_run_reports_the_fold_it_was_asked_for_and_writes_down_which_folds_trained() {
    let tones = Tones::new();
    tones.ok(&["prepare", "folders", "clips", "--out", "manifest.csv", "--folds", "4"]);
    let column = Manifest::read(&tones.path("manifest.csv")).unwrap();
    recipe(&tones, "protocol = \"official\"\nvalid = 0.25");
    let train = |more: &[&str]| {
        let args = ["train", "cv.toml", "--data", "manifest.csv", "--fold", "2", "--out", "run"];
        tones.ok(&[&args, more].concat());
    };
    train(&["--set", "training.epochs=1"]);
    let resolved = fs::read_to_string(tones.path("run/recipe.toml")).unwrap();
    assert!(
        resolved.contains("train_folds = [1, 3, 4]") && resolved.contains("test_folds = [2]"),
        "{resolved}"
    );
    let report: Value = serde_json::from_slice(&fs::read(tones.path("run/report.json")).unwrap()).unwrap();
    assert_eq!(
        report["protocol"]["split"],
        "official folds: test 2, train 1+3+4 less about 25 % valid, grouped"
    );
    let parts = Manifest::read(&tones.path("run/manifest.csv")).unwrap();
    for (entry, clip) in parts.entries.iter().zip(&column.entries) {
        assert_eq!(entry.split.unwrap().name() == "test", clip.fold == Some(2), "{}", entry.path.display());
    }
    // The same words go on with the run.
    train(&["--resume", "--set", "training.epochs=2"]);
    assert_eq!(fs::read_to_string(tones.path("run/results.csv")).unwrap().lines().count(), 3);
}

#[test]
fn folds_that_the_recipe_deals_are_those_that_prepare_writes() {
    let tones = Tones::new();
    tones.ok(&["prepare", "folders", "clips", "--out", "folds.csv", "--folds", "4", "--seed", "7"]);
    let column = Manifest::read(&tones.path("folds.csv")).unwrap();
    recipe(&tones, "protocol = \"folds\"\nk = 4\nvalid = 0.25");
    let output = tones.ok(&[
        "train",
        "cv.toml",
        "--data",
        "manifest.csv",
        "--fold",
        "3",
        "--set",
        "training.epochs=1",
        "--json",
    ]);
    assert!(tones.path("runs/cv-fold3/report.json").is_file(), "{}", crate::tones::talk(&output));
    let parts = Manifest::read(&tones.path("runs/cv-fold3/manifest.csv")).unwrap();
    for (entry, clip) in parts.entries.iter().zip(&column.entries) {
        assert_eq!(entry.split.unwrap().name() == "test", clip.fold == Some(3), "{}", entry.path.display());
    }
}

#[test]
fn a_fold_or_recipe_that_does_not_exist_is_named_with_those_that_do() {
    let tones = Tones::new();
    recipe(&tones, "protocol = \"folds\"\nk = 4");
    let fails = |code: i32, args: &[&str], expected: &str| {
        let error = tones.error(code, args);
        assert!(error.contains(expected), "{args:?}: {error}");
    };
    fails(4, &["train", "cv.toml", "--dry-run", "--fold", "5"], "--fold 5: split.k = 4 has the folds 1 to 4");
    fails(4, &["train", "recipe.toml", "--dry-run", "--fold", "1"], "--fold 1: this protocol has no folds");
    fails(
        4,
        &["train", "urbansound8k/cn"],
        "urbansound8k/cn: cannot read the configuration: there is no such file",
    );
    fails(
        4,
        &["train", "urbansound8k/cn"],
        "built-in recipes are urbansound8k/cnn, urbansound8k/cnn_shuffled, urbansound8k/crnn",
    );
    fails(
        4,
        &["train", "urban/cnn"],
        "those of esc50, fsdkaggle2019, librispeech-mix, quickstart, urbansound8k",
    );
    let data = ["train", "quickstart/cnn", "--data", "manifest.csv", "--dry-run"];
    fails(4, &data, "the manifest has no folds");
    fs::write(tones.path("f.csv"), "path,labels,fold\nclips/low/00.wav,low,1\n").unwrap();
    let own = ["prepare", "table", "f.csv", "--fold-column", "fold", "--out", "o.csv", "--folds", "3"];
    fails(2, &own, "--folds: the data set has folds of its own");
}
