//! `oido predict`.

use std::path::Path;

use assert_cmd::Command;
use oido::audio::{Source, WavFormat, write_wav};
use oido::bundle::Predictor;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::support::oido;
use crate::tiny;

fn predict(bundle: &Path) -> Command {
    let mut command = oido();
    command.arg("predict").arg(bundle);
    command
}

/// The JSON lines a command printed.
pub(crate) fn lines(command: &mut Command, code: i32) -> Vec<Value> {
    let assert = command.assert().code(code);
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn scores_are_those_of_the_library_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let files = tiny::recordings(&folder.path().join("clips"), 33);
    let rows = lines(predict(&bundle).args(["--format", "json", "--top-k", "99"]).args(&files), 0);
    let predictor = Predictor::open(&bundle, "cpu").unwrap();
    assert_eq!(rows.len(), files.len());
    for (file, row) in files.iter().zip(&rows) {
        let prediction = predictor.predict(&Source::Path(file)).unwrap();
        assert_eq!(row["path"], file.to_str().unwrap());
        assert_eq!(row["label"], prediction.label.as_str());
        let bits: Vec<u32> = scores(row).iter().map(|score| score.to_bits()).collect();
        assert_eq!(bits, prediction.scores.iter().map(|s| s.score.to_bits()).collect::<Vec<_>>());
    }
    let different: std::collections::BTreeSet<u32> =
        rows.iter().map(|row| scores(row)[0].to_bits()).collect();
    assert!(different.len() > 20, "the recordings must differ for this test to mean anything");
}

/// All scores of a row.
pub(crate) fn scores(row: &Value) -> Vec<f32> {
    row["scores"].as_array().unwrap().iter().map(|s| s["score"].as_f64().unwrap() as f32).collect()
}

#[test]
fn bad_recordings_are_rows_in_their_place_and_exit_3() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let clips = folder.path().join("clips");
    tiny::recordings(&clips, 70);
    std::fs::write(clips.join("05.wav"), "text, not sound").unwrap();
    std::fs::write(clips.join("06.wav"), "").unwrap();
    let missing = folder.path().join("missing.wav");
    let mut command = predict(&bundle);
    command.args(["--format", "json"]).arg(&clips).arg(&missing);
    let rows = lines(&mut command, 3);
    assert_eq!(rows.len(), 71);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row.get("error").is_some(), [5, 6, 70].contains(&i), "{row}");
    }
    assert!(rows[5]["path"].as_str().unwrap().ends_with("05.wav"));
    let assert = command.assert().code(3);
    assert.stderr(contains("05.wav").and(contains("missing.wav")).and(contains("3 of 71 recordings")));
}

#[test]
fn csv_has_a_column_for_everything_in_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    tiny::recordings(&folder.path().join("clips"), 2);
    std::fs::write(folder.path().join("clips/x, \"y\".wav"), "no sound").unwrap();
    let out = folder.path().join("out.csv");
    let mut command = predict(&bundle);
    command.args(["--format", "csv", "--top-k", "2", "--out"]).arg(&out).arg(folder.path().join("clips"));
    command.assert().code(3).stdout("");
    let mut reader = csv::Reader::from_path(&out).unwrap();
    let header = reader.headers().unwrap().clone();
    assert_eq!(
        header.iter().collect::<Vec<_>>().join(","),
        "path,start,end,label,score,indeterminate,seconds,truncated,label_1,score_1,label_2,score_2,error"
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(&rows[0][4], &rows[0][9], "the best score twice");
    assert!(rows[2][0].ends_with("x, \"y\".wav") && !rows[2][12].is_empty() && rows[2][4].is_empty());
}

#[test]
fn the_table_is_for_people_and_cannot_control_their_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let file = folder.path().join("a\u{1b}[31mb.wav");
    write_wav(&file, &tiny::tone(300.0, 2.0, 8_000), WavFormat::Pcm16).unwrap();
    let assert = predict(&bundle).arg(&file).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.starts_with("recording") && text.contains("2.0+") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_threshold_and_its_word_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let files = tiny::recordings(folder.path(), 1);
    let ask = |threshold: &str| {
        let args = ["--format", "json", "--threshold", threshold, "--indeterminate", "indeterminado"];
        lines(predict(&bundle).args(args).args(&files), 0).remove(0)
    };
    assert_eq!(ask("1")["label"], "indeterminado");
    let low = ask("0");
    assert_eq!((&low["label"], &low["indeterminate"]), (&low["best_label"], &Value::Bool(false)));
    predict(&bundle).args(["--threshold", "2"]).args(&files).assert().code(2).stderr(contains("threshold"));
}

#[test]
fn stdin_manifests_and_windows() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let clips = folder.path().join("clips");
    let files = tiny::recordings(&clips, 2);
    let json = |command: &mut Command| lines(command.args(["--format", "json"]), 0);
    let file = json(predict(&bundle).arg(&files[1])).remove(0);
    let piped = json(predict(&bundle).arg("-").write_stdin(std::fs::read(&files[1]).unwrap())).remove(0);
    assert_eq!((&piped["path"], &piped["scores"]), (&Value::from("stdin"), &file["scores"]));

    let manifest = folder.path().join("list.csv");
    std::fs::write(&manifest, "label,path,start,duration\nx,clips/01.wav,,\ny,clips/01.wav,0.1,0.2\n")
        .unwrap();
    let rows = json(predict(&bundle).arg(&manifest));
    assert_eq!(rows[0]["scores"], file["scores"]);
    assert!((rows[1]["seconds"].as_f64().unwrap() - 0.2).abs() < 1e-6 && rows[1]["start"] == 0.1);
    std::fs::write(&manifest, "file\nx.wav\n").unwrap();
    predict(&bundle).arg(&manifest).assert().code(2).stderr(contains("no column `path`"));
    std::fs::write(&manifest, "\u{feff}path,start\r\nclips/01.wav,0\r\nclips/01.wav,x\r\n").unwrap();
    predict(&bundle).arg(&manifest).assert().code(2).stderr(contains("line 3: \"x\" is not a number"));

    let long = folder.path().join("long.wav");
    write_wav(&long, &tiny::tone(300.0, 1.3, 8_000), WavFormat::Pcm16).unwrap();
    let rows = json(predict(&bundle).args(["--windows", "0.5"]).arg(&long));
    let times: Vec<_> =
        rows.iter().map(|r| (r["start"].as_f64().unwrap(), r["end"].as_f64().unwrap())).collect();
    assert_eq!(times, [(0.0, 0.5), (0.5, 1.0), (1.0, 1.3)]);
    assert_eq!(rows[0]["scores"], json(predict(&bundle).arg(&long))[0]["scores"]);
}

#[test]
fn exit_codes_tell_a_bad_bundle_from_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    predict(&bundle).arg(&empty).assert().code(2).stderr(contains("no recordings found"));
    predict(Path::new("no.tar.gz")).arg(&empty).assert().code(4).stderr(contains("no such file"));
    let text = folder.path().join("text.tar.gz");
    std::fs::write(&text, "text").unwrap();
    predict(&text).arg(&empty).assert().code(4).stderr(contains("not a .tar.gz"));
    predict(&bundle).args(["--device", "abacus"]).arg(&empty).assert().code(2).stderr(contains("abacus"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_went_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let clips = folder.path().join("clips");
    tiny::recordings(&clips, 66);
    let oido = assert_cmd::cargo::cargo_bin!("oido");
    let script = format!(
        "{{ {} predict {} {} --format json; echo code $? >&2; }} | head -1",
        oido.display(),
        bundle.display(),
        clips.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.trim(), "code 0");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}
