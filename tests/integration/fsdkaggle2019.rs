//! `oido prepare fsdkaggle2019` on rows of the official tables, in both layouts, and the splits of the study.

use std::fs;
use std::path::{Path, PathBuf};

use oido::audio::{WavFormat, Waveform, write_wav};
use oido::dataset::{Manifest, Split};
use tempfile::TempDir;

use crate::support::oido;

const KNOWN_BAD: [&str; 6] = ["1d44b0bd", "6a1f682a", "7752cc8a", "77b925c2", "c7db12aa", "f76181c4"];

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dataset/fsdkaggle2019");
    fs::read_to_string(folder.join(name)).unwrap()
}

fn vocabulary() -> Vec<String> {
    fixture("vocabulary.csv").lines().map(|line| line.split(',').nth(1).unwrap().to_owned()).collect()
}

/// A folder with a short recording for every row of every table; the first lasts as long as the longest clip of the
/// data set, the others as long as the shortest.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn zenodo() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (table, audio) in [
            ("train_curated", "audio_train_curated"),
            ("train_noisy", "audio_train_noisy"),
            ("test", "audio_test"),
        ] {
            let name = format!("{table}_post_competition.csv");
            folder.write(&format!("FSDKaggle2019.meta/{name}"), &fixture(&name));
            folder.clips(&format!("FSDKaggle2019.{audio}"), &fixture(&name));
        }
        folder.write("FSDKaggle2019.meta/vocabulary.csv", &fixture("vocabulary.csv"));
        folder
    }

    /// As during the competition: two columns, and no truth for the test clips.
    fn kaggle() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for subset in ["train_curated", "train_noisy"] {
            let table = two_columns(&fixture(&format!("{subset}_post_competition.csv")));
            folder.write(&format!("{subset}.csv"), &table);
            folder.clips(subset, &table);
        }
        folder.clips("test", &fixture("test_post_competition.csv"));
        folder.write("sample_submission.csv", &format!("fname,{}\n", vocabulary().join(",")));
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn clips(&self, folder: &str, table: &str) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for (i, line) in table.lines().skip(1).enumerate() {
            let path = self.path(folder).join(line.split(',').next().unwrap());
            let seconds = if i == 0 { 57.6 } else { 0.3 };
            let samples = (0..(8_000.0 * seconds) as usize).map(|t| 0.5 * (t as f32 * 0.3).sin()).collect();
            write_wav(&path, &Waveform { samples, sample_rate: 8_000 }, WavFormat::Pcm16).unwrap();
        }
    }

    /// Exit code and what was said.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let output = oido().current_dir(self.0.path()).args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn prepare(&self, args: &[&str]) -> (Manifest, String) {
        let (code, said) = self.run(&[&["prepare", "fsdkaggle2019", ".", "--out", "m.csv"], args].concat());
        assert_eq!(code, 0, "{said}");
        (Manifest::read(&self.path("m.csv")).unwrap(), said)
    }
}

/// The columns `fname` and `labels` of a table.
fn two_columns(table: &str) -> String {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["fname", "labels"]).unwrap();
    reader.records().for_each(|row| writer.write_record(row.unwrap().iter().take(2)).unwrap());
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

fn of<'a>(manifest: &'a Manifest, name: &str) -> &'a oido::dataset::Entry {
    manifest.entries.iter().find(|entry| entry.path.ends_with(name)).unwrap()
}

#[test]
fn the_official_tables_give_80_labels_in_the_order_of_a_submission() {
    let folder = Folder::zenodo();
    let (manifest, said) = folder.prepare(&[]);
    assert_eq!(manifest.labels.names(), vocabulary());
    let count = |subset: &str| manifest.entries.iter().filter(|e| e.extra["subset"] == subset).count();
    assert_eq!((count("curated"), count("noisy"), count("test")), (145, 20, 20));
    for name in KNOWN_BAD {
        assert!(said.contains(&format!("{name}.wav: it")), "{name}: {said}");
        assert!(manifest.entries.iter().all(|entry| !entry.path.to_str().unwrap().contains(name)));
    }
    let curated = of(&manifest, "ac9e7a91.wav");
    assert_eq!(
        (curated.labels.as_slice(), curated.split),
        (&["Church_bell".to_owned()][..], Some(Split::Train))
    );
    assert_eq!(
        (curated.group.as_deref(), curated.extra["license"].as_str()),
        (Some("freesound-65579"), "CC-BY-NC")
    );
    let noisy = of(&manifest, "00116cd2.wav");
    assert_eq!(noisy.labels, ["Marimba_and_xylophone", "Glockenspiel"]);
    assert_eq!((noisy.group.as_deref(), noisy.split), (Some("flickr-7810360920"), Some(Split::Train)));
    let test = of(&manifest, "2d5dcc5d.wav");
    assert_eq!(
        (test.labels.len(), test.split, test.extra["usage"].as_str()),
        (2, Some(Split::Test), "Public")
    );

    let (kept, said) = folder.prepare(&["--keep-known-bad", "--no-check"]);
    assert_eq!(kept.entries.len(), manifest.entries.len() + 6);
    assert!(!said.contains("1d44b0bd"), "{said}");
}

#[test]
fn the_layout_of_the_competition_gives_the_same_clips_without_the_test_part() {
    let folder = Folder::kaggle();
    let (manifest, _) = folder.prepare(&[]);
    assert_eq!((manifest.entries.len(), manifest.labels.names()), (165, &vocabulary()[..]));
    assert!(manifest.entries.iter().all(|entry| entry.group.is_none() && entry.split == Some(Split::Train)));
    folder.write("test_post_competition.csv", &fixture("test_post_competition.csv"));
    let (manifest, _) = folder.prepare(&["--no-check"]);
    assert_eq!(of(&manifest, "test/2d5dcc5d.wav").extra["subset"], "test");
}

#[test]
fn subsets_that_were_not_fetched_are_told_and_those_that_are_incomplete_are_listed() {
    let folder = Folder::zenodo();
    let (noisy, test) = ("FSDKaggle2019.audio_train_noisy", "FSDKaggle2019.audio_test");
    fs::remove_dir_all(folder.path(noisy)).unwrap();
    fs::remove_dir_all(folder.path(test)).unwrap();
    let (manifest, said) = folder.prepare(&["--no-check"]);
    assert!(manifest.entries.len() == 145 && manifest.entries.iter().all(|e| e.extra["subset"] == "curated"));
    for (subset, missing) in [("noisy", noisy), ("test", test)] {
        let told = format!(
            "the subset {subset} is not there, as {missing} is missing; `oido fetch fsdkaggle2019 --subset {subset}`"
        );
        assert_eq!(said.matches(&told).count(), 1, "{said}");
    }
    let (_, said) = folder.prepare(&["--no-check", "--subset", "curated"]);
    assert!(!said.contains("is not there"), "{said}");

    let fails = |args: &[&str], expected: i32, reason: &str| {
        let (code, said) = folder.run(&[&["prepare", "fsdkaggle2019", ".", "--no-check"], args].concat());
        assert!(code == expected && said.contains(reason), "{code}: {said}");
    };
    fails(&["--subset", "curated,noisy"], 2, "the subset noisy is not there");
    fs::create_dir(folder.path(noisy)).unwrap();
    fails(&[], 3, "20 clips are left out");
    fs::remove_dir_all(folder.path("FSDKaggle2019.audio_train_curated")).unwrap();
    fs::remove_dir(folder.path(noisy)).unwrap();
    fails(&[], 2, "of no subset there are both the table and the folder");
}

#[test]
fn labels_that_are_not_those_of_a_submission_are_refused() {
    let folder = Folder::kaggle();
    let fails = |expected: &str| {
        let (code, said) = folder.run(&["prepare", "fsdkaggle2019", "."]);
        assert!(code == 2 && said.contains(expected), "{said}");
    };
    let mut names = vocabulary();
    names.swap(0, 1);
    folder.write("sample_submission.csv", &format!("fname,{}\n", names.join(",")));
    fails("sample_submission.csv, line 1: `Accordion` stands before `Accelerating_and_revving_and_vroom`");
    names.swap(0, 1);
    names.push("Zither".to_owned());
    folder.write("sample_submission.csv", &format!("fname,{}\n", names.join(",")));
    fails("sample_submission.csv, line 1: no clip of the tables has the label `Zither`");
    names.truncate(79);
    folder.write("sample_submission.csv", &format!("fname,{}\n", names.join(",")));
    fails("the label `Zipper_(clothing)` is not one of the data set's");
    fs::remove_file(folder.path("train_curated.csv")).unwrap();
    fs::remove_file(folder.path("train_noisy.csv")).unwrap();
    fails("this is no FSDKaggle2019 folder: there is no train_curated.csv");
}

const STUDY: &str = r#"
name = "study"
task = "multi_label"
[data]
source = "fsdkaggle2019"
[split]
protocol = "stratified"
valid = 0.4
test = "manifest"
from = { subset = ["curated"] }
[audio]
sample_rate = 16000
clip_seconds = 3.0
[model]
name = "cnn"
"#;

#[test]
fn a_recipe_says_how_the_study_divided_its_clips() {
    let folder = Folder::zenodo();
    let says = |change: &str, expected: &str| {
        let recipe = match change.split_once(" -> ") {
            Some((from, to)) => STUDY.replace(from, to),
            None => STUDY.to_owned(),
        };
        folder.write("study.toml", &recipe);
        let (code, said) = folder.run(&["train", "study.toml", "--data", ".", "--dry-run"]);
        assert!(said.contains(expected), "{code}: {said}");
    };
    // Noisy and 60 % of the curated clips train, the rest of the curated ones validate (80 and 20 in the study;
    // of some labels there are two clips here).
    says(
        "",
        "stratified, 60/40 % asked for of subset curated, all else trains, test as in the manifest; 80 classes, 94 train, 71 valid, 20 test",
    );
    // What the clips allowed, and which clips are not there, stands beside it.
    says("", "of the 145 clips that are divided, 60/40 % were asked for, and 51/49 % (74/71) came out");
    says(
        "",
        "6 clips that the data set's authors declare unusable are left out: FSDKaggle2019.audio_train_curated/1d44b0bd.wav",
    );
    // The subset that is chosen here holds none of the labels that only others have.
    says(
        "from = { subset = [\"curated\"] } -> [data.keep]\nsubset = [\"noise\"]",
        "data.keep: no clip has `noise`",
    );
}

#[test]
fn folds_are_written_for_people_who_want_them() {
    let folder = Folder::zenodo();
    let (manifest, _) = folder.prepare(&["--no-check", "--folds", "3"]);
    let count = |fold| manifest.entries.iter().filter(|entry| entry.fold == fold).count();
    assert_eq!(count(None), 20, "test clips stand in no fold");
    assert!([1, 2, 3].iter().all(|&fold| (50..=60).contains(&count(Some(fold)))));
    assert!(manifest.entries.iter().all(|entry| entry.fold.is_none() == (entry.split == Some(Split::Test))));
    let (again, _) = folder.prepare(&["--no-check", "--folds", "3", "--seed", "1"]);
    assert_ne!(again, manifest);
    let (code, said) = folder.run(&["prepare", "fsdkaggle2019", ".", "--folds", "1"]);
    assert!(code == 2 && said.contains("--folds"), "{said}");
}

const TINY: &str = r#"
name = "tiny"
task = "multi_label"
[data]
source = "fsdkaggle2019"
[split]
protocol = "stratified"
valid = 0.4
test = "manifest"
allow_leak = true
[audio]
sample_rate = 8000
clip_seconds = 0.5
[features]
n_fft = 256
win_length = 256
hop_length = 128
n_mels = 16
[model]
name = "cnn"
dense = 8
[training]
epochs = 1
"#;

#[test]
fn a_run_on_the_folder_tells_what_it_leaves_out_and_keeps_every_label_as_it_is() {
    let folder = Folder::zenodo();
    folder.write("tiny.toml", TINY);
    fs::remove_file(folder.path("FSDKaggle2019.audio_train_noisy/00116cd2.wav")).unwrap();
    let (code, said) = folder.run(&["train", "tiny.toml", "--data", ".", "--out", "run"]);
    assert_eq!(code, 0, "{said}");
    let info: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("run/run.json")).expect(&said)).unwrap();
    let warnings = info["warnings"].to_string();
    for told in [
        "6 clips that the data set's authors declare unusable are left out: FSDKaggle2019.audio_train_curated/1d44b0bd.wav, ",
        "1 listed clips are left out as they are missing or not usable; the first is \
         FSDKaggle2019.audio_train_noisy/00116cd2.wav: the file is missing",
    ] {
        assert_eq!(
            (warnings.matches(told).count(), said.matches(told).count()),
            (1, 1),
            "{told}: {warnings}: {said}"
        );
    }

    let (code, said) = folder.run(&["bundle", "run", "--out", "tiny.tar.gz"]);
    assert_eq!(code, 0, "{said}");
    let predict = |format: &str| {
        let clips = folder.path("FSDKaggle2019.audio_test/2d5dcc5d.wav");
        let args = ["predict", "tiny.tar.gz", "--top-k", "99", "--format", format];
        let output = oido().current_dir(folder.0.path()).args(args).arg(clips).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let csv = predict("csv");
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let header = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let ranked = header.iter().zip(&row).filter(|(column, _)| column.starts_with("label_"));
    let mut names: Vec<&str> = ranked.map(|(_, name)| name).collect();
    names.sort_unstable();
    assert_eq!(names, vocabulary());
    let json: serde_json::Value = serde_json::from_slice(&predict("json")).unwrap();
    let mut names: Vec<_> =
        json["scores"].as_array().unwrap().iter().map(|score| score["label"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, vocabulary());
    for name in ["Accelerating_and_revving_and_vroom", "Hi-hat", "Zipper_(clothing)"] {
        assert!(names.contains(&name), "{name}");
    }
}
