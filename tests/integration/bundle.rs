//! `oido bundle`.

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::oido;
use crate::tiny;

#[test]
fn packs_a_run_and_lists_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = tiny::run_dir(folder.path());
    let out = folder.path().join("x.tar.gz");
    oido().arg("bundle").arg(&run).arg("--out").arg(&out).assert().success().stdout(contains("x.tar.gz"));
    let first = std::fs::read(&out).unwrap();
    oido().arg("bundle").arg(&run).arg("--out").arg(&out).assert().success();
    assert_eq!(std::fs::read(&out).unwrap(), first, "equal runs give equal bytes");
    let listed = oido().arg("bundle").arg(&out).assert().success();
    listed.stdout(
        contains("cnn, 6 classes").and(contains("model.safetensors")).and(contains("8000 Hz, 0.5 s")),
    );
    oido().args(["--json", "bundle"]).arg(&out).assert().success().stdout(contains("\"fmax\":4000.0"));
}

#[test]
fn a_folder_is_a_bundle_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = tiny::run_dir(folder.path());
    let out = folder.path().join("model");
    oido().arg("bundle").arg(&run).arg("--out").arg(&out).assert().success();
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.starts_with("---\n") && card.contains("pipeline_tag: audio-classification"), "{card}");
    oido().arg("bundle").arg(&out).assert().success();
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = tiny::run_dir(folder.path());
    let out = folder.path().join("x.tar.gz");
    std::fs::remove_file(run.join("weights/best.safetensors")).unwrap();
    let packed = oido().arg("bundle").arg(&run).arg("--out").arg(&out).assert().code(2);
    packed.stderr(contains("best.safetensors").and(contains("train at least one epoch")));
    oido().arg("bundle").arg(&run).assert().code(2).stderr(contains("give --out"));
    let not_a_run = oido().arg("bundle").arg(folder.path()).arg("--out").arg(&out).assert().code(2);
    not_a_run.stderr(contains("no recipe.toml"));
    assert!(!out.exists());
}

#[test]
fn a_damaged_bundle_is_a_permanent_failure_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let mut bytes = std::fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&bundle, bytes).unwrap();
    let listed = oido().arg("bundle").arg(&bundle).assert().code(4);
    let error = String::from_utf8(listed.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with("error: bundle ") && error.lines().count() == 1, "{error}");
    oido().args(["bundle", "no/such.tar.gz"]).assert().code(4).stderr(contains("no such file or folder"));
}
