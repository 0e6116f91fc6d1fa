//! `oido prepare` and `oido inspect` on small folders laid out as the data sets are.

use std::fs;
use std::path::Path;

use oido::dataset::{Manifest, Split};
use serde_json::Value;

use crate::support::oido;

/// A tenth of a second of a tone.
fn wav(path: &Path, frequency: f32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..800 {
        writer.write_sample((8000.0 * (frequency * n as f32 / 8000.0).sin()) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// What a command did: exit code, stdout, stderr.
fn run<const N: usize>(folder: &Path, args: [&str; N]) -> (i32, String, String) {
    let output = oido().current_dir(folder).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn urbansound8k(root: &Path) {
    let mut table = String::from("slice_file_name,fsID,start,end,salience,fold,classID,class\r\n");
    let mut frequency = 100.0;
    for fold in 1..=4 {
        for (class_id, class) in [(3, "dog_bark"), (8, "siren")] {
            let name = format!("{fold}{class_id}-{class_id}-0-0.wav");
            table += &format!("{name},{fold}{class_id},58.5,62.5,1,{fold},{class_id},{class}\r\n");
            // Fold 4 is listed and not there, as in an incomplete download.
            if fold < 4 {
                frequency += 500.0;
                wav(&root.join(format!("audio/fold{fold}/{name}")), frequency);
            }
        }
    }
    fs::create_dir_all(root.join("metadata")).unwrap();
    fs::write(root.join("metadata/UrbanSound8K.csv"), table).unwrap();
}

#[test]
fn an_incomplete_urbansound8k_gives_what_is_there_and_lists_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    urbansound8k(&folder.path().join("US8K"));
    let args = ["prepare", "urbansound8k", "US8K", "--out", "m/us8k.csv"];
    let (code, stdout, stderr) = run(folder.path(), args);
    assert_eq!((code, stdout.trim()), (3, "m/us8k.csv: 6 clips, 2 labels"), "{stderr}");
    assert!(stderr.contains("2 clips are left out: 0 cannot be decoded, 2 are missing"), "{stderr}");
    let manifest = Manifest::read(&folder.path().join("m/us8k.csv")).unwrap();
    assert_eq!(manifest.labels.names(), ["dog_bark", "siren"]);
    for entry in &manifest.entries {
        assert!(manifest.file(entry).is_file());
        // The position in the Freesound recording must never be taken for a part of the (already cut) file.
        assert_eq!((entry.start, entry.extra["recording_start"].as_str()), (None, "58.5"));
        assert_eq!(entry.group.as_deref(), entry.path.file_name().unwrap().to_str().unwrap().get(..2));
    }
    let bad = fs::read_to_string(folder.path().join("m/us8k.bad.csv")).unwrap();
    assert_eq!(bad.lines().nth(1), Some("audio/fold4/43-3-0-0.wav,the file is missing"));
    assert_eq!(bad.lines().count(), 3);

    for input in ["US8K/metadata/UrbanSound8K.csv", "US8K/audio/fold1/13-3-0-0.wav"] {
        let before = fs::read(folder.path().join(input)).unwrap();
        let (code, _, stderr) = run(folder.path(), ["prepare", "urbansound8k", "US8K", "--out", input]);
        assert!(code == 2 && stderr.contains("is there and is no manifest"), "{stderr}");
        assert_eq!(fs::read(folder.path().join(input)).unwrap(), before);
    }
}

#[test]
fn broken_clips_are_listed_left_out_and_never_fatal() {
    let folder = tempfile::tempdir().unwrap();
    wav(&folder.path().join("sounds/dog/deep/in/a.WAV"), 500.0);
    wav(&folder.path().join("sounds/siren/b.wav"), 900.0);
    fs::write(folder.path().join("sounds/siren/broken.wav"), "RIFF but no").unwrap();
    fs::write(folder.path().join("sounds/siren/notes.txt"), "not a clip").unwrap();
    fs::write(folder.path().join("sounds/siren/._b.wav"), "a leaving of macOS").unwrap();
    wav(&folder.path().join("sounds/no_class.wav"), 700.0);
    let (code, stdout, stderr) = run(folder.path(), ["prepare", "folders", "sounds", "--json"]);
    assert_eq!(code, 3, "{stderr}");
    let line: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&line["clips"], &line["bad"]), (&2.into(), &2.into()));
    assert_eq!(line["labels"], serde_json::json!(["dog", "siren"]));
    let bad = fs::read_to_string(folder.path().join("manifest.bad.csv")).unwrap();
    assert!(bad.contains("no_class.wav,it is not in a folder of a class"), "{bad}");
    assert!(bad.contains("siren/broken.wav,"), "{bad}");

    fs::remove_file(folder.path().join("sounds/siren/broken.wav")).unwrap();
    fs::remove_file(folder.path().join("sounds/no_class.wav")).unwrap();
    assert_eq!(run(folder.path(), ["prepare", "folders", "sounds"]).0, 0);
    assert!(!folder.path().join("manifest.bad.csv").exists(), "the old list is gone");
}

#[test]
fn folders_of_parts_are_told_from_a_class_named_train() {
    let folder = tempfile::tempdir().unwrap();
    for (i, path) in ["train/dog", "train/siren", "val/dog", "test/dog"].iter().enumerate() {
        wav(&folder.path().join("parts").join(path).join("a.wav"), 300.0 + 100.0 * i as f32);
    }
    for (i, path) in ["train", "dog", "ship"].iter().enumerate() {
        wav(&folder.path().join("vehicles").join(path).join("a.wav"), 300.0 + 100.0 * i as f32);
    }
    run(folder.path(), ["prepare", "folders", "parts", "--out", "parts.csv"]);
    let parts = Manifest::read(&folder.path().join("parts.csv")).unwrap();
    let splits: Vec<_> = parts.entries.iter().map(|e| e.split.unwrap()).collect();
    assert_eq!(splits, [Split::Test, Split::Train, Split::Train, Split::Valid]);
    assert_eq!(parts.labels.names(), ["dog", "siren"]);
    run(folder.path(), ["prepare", "folders", "vehicles", "--out", "vehicles.csv"]);
    let vehicles = Manifest::read(&folder.path().join("vehicles.csv")).unwrap();
    assert_eq!(vehicles.labels.names(), ["dog", "ship", "train"]);
    assert!(vehicles.entries.iter().all(|entry| entry.split.is_none()));

    wav(&folder.path().join("parts/extra/dog/a.wav"), 1000.0);
    let (code, _, stderr) = run(folder.path(), ["prepare", "folders", "parts"]);
    assert!(code == 2 && stderr.contains("beside the folder extra"), "{stderr}");
}

#[test]
fn a_table_with_other_columns_and_separators_is_read_as_told() {
    let folder = tempfile::tempdir().unwrap();
    wav(&folder.path().join("clips/a.wav"), 500.0);
    wav(&folder.path().join("clips/b.wav"), 900.0);
    let table =
        "\u{feff}fname;tags;part;who;start\r\na.wav;\"Bark,Dog\";Training;p1;12.5\r\nb.wav;Siren;val;p2;\r\n";
    fs::write(folder.path().join("list.csv"), table).unwrap();
    let args = ["prepare", "table", "list.csv", "--path-column", "fname", "--label-column", "tags"];
    let more = ["--split-column", "part", "--group-column", "who", "--audio-dir", "clips"];
    let output = oido().current_dir(folder.path()).args(args).args(more).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = Manifest::read(&folder.path().join("manifest.csv")).unwrap();
    assert_eq!(manifest.labels.names(), ["Bark", "Dog", "Siren"]);
    let [a, b] = &manifest.entries[..] else { panic!("{manifest:?}") };
    assert_eq!((a.split, b.split), (Some(Split::Train), Some(Split::Valid)));
    assert_eq!((a.path.to_str(), a.group.as_deref()), (Some("clips/a.wav"), Some("p1")));
    assert_eq!((a.start, a.extra["source_start"].as_str()), (None, "12.5"));

    for (text, args, expected) in [
        ("file,labels\na.wav,x\n", ["--path-column", "path"], "line 1: there is no column `path`"),
        ("path,labels\na.wav,\n", ["--path-column", "path"], "line 2: the column `labels` is empty"),
        ("path,labels,k\na.wav,x,one\n", ["--fold-column", "k"], "line 2: k is `one`"),
        ("path,labels,k\na.wav,x,dev\n", ["--split-column", "k"], "line 2: the part is `dev`"),
        ("path,labels\ngone.wav,x\n", ["--path-column", "path"], "not one of them is there"),
        ("path,labels\n", ["--path-column", "path"], "bad.csv: it lists no clips"),
        (
            "path,labels\r\na.wav,\"x,x\"\r\n",
            ["--path-column", "path"],
            "line 2: labels: `x,x` names the label `x` twice",
        ),
        (
            "path;labels\r\na.wav;x\r\n\r\nb.wav;\r\n",
            ["--path-column", "path"],
            "line 4: the column `labels` is empty",
        ),
    ] {
        fs::write(folder.path().join("bad.csv"), text).unwrap();
        let output = oido()
            .current_dir(folder.path())
            .args(["prepare", "table", "bad.csv"])
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_folder_of_another_layout_is_refused_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (source, expected) in [
        ("urbansound8k", "there is no metadata/UrbanSound8K.csv"),
        ("esc50", "there is no meta/esc50.csv"),
        ("folders", "there is no folder with recordings"),
    ] {
        let (code, _, stderr) = run(folder.path(), ["prepare", source, "empty"]);
        assert!(code == 2 && stderr.contains(expected), "{source}: {stderr}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written");
        let (code, _, stderr) = run(folder.path(), ["prepare", source, "typo"]);
        assert!(code == 2 && stderr.contains("typo: cannot read the folder"), "{source}: {stderr}");
    }
}

#[test]
fn folds_and_labels_that_the_data_set_cannot_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (source, table, rows, expected) in [
        (
            "esc50",
            "meta/esc50.csv",
            "filename,fold,target,category,esc10,src_file,take\r\na.wav,5,0,dog,True,7,A\r\nb.wav,99,0,dog,True,8,A\r\n",
            "esc50.csv, line 3: fold is 99, and the data set has the folds 1 to 5",
        ),
        (
            "esc50",
            "meta/esc50.csv",
            "filename,fold,target,category,esc10,src_file,take\na.wav,5,0,\"dog,cat\",True,7,A\n",
            "esc50.csv, line 2: category is `dog,cat`, which holds a comma",
        ),
        (
            "urbansound8k",
            "metadata/UrbanSound8K.csv",
            "slice_file_name,fsID,start,end,salience,fold,classID,class\na.wav,7,0,4,1,10,0,dog\nb.wav,8,0,4,1,0,0,dog\n",
            "UrbanSound8K.csv, line 3: fold is 0, and the data set has the folds 1 to 10",
        ),
    ] {
        let path = folder.path().join(table);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, rows).unwrap();
        let (code, _, stderr) = run(folder.path(), ["prepare", source, "."]);
        assert!(code == 2 && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn esc10_is_the_marked_part_of_esc50() {
    let folder = tempfile::tempdir().unwrap();
    let table = "filename,fold,target,category,esc10,src_file,take\n\
                 1-7-A-0.wav,1,0,dog,True,7,A\n1-7-B-0.wav,1,0,dog,True,7,B\n2-9-A-44.wav,2,44,engine,False,9,A\n";
    fs::create_dir_all(folder.path().join("meta")).unwrap();
    fs::write(folder.path().join("meta/esc50.csv"), table).unwrap();
    for (i, name) in ["1-7-A-0.wav", "1-7-B-0.wav", "2-9-A-44.wav"].iter().enumerate() {
        wav(&folder.path().join("audio").join(name), 500.0 + 100.0 * i as f32);
    }
    run(folder.path(), ["prepare", "esc50", ".", "--out", "all.csv"]);
    run(folder.path(), ["prepare", "esc50", ".", "--esc10", "--out", "ten.csv"]);
    let all = Manifest::read(&folder.path().join("all.csv")).unwrap();
    let ten = Manifest::read(&folder.path().join("ten.csv")).unwrap();
    assert_eq!((all.entries.len(), ten.entries.len()), (3, 2));
    assert_eq!((all.entries[2].fold, ten.entries[1].group.as_deref()), (Some(2), Some("7")));
    assert_eq!(ten.entries[1].extra["take"], "B");
}

#[test]
fn inspect_exits_1_when_the_split_leaks_else_3_when_a_clip_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    for (name, frequency) in [("a", 500.0), ("b", 700.0), ("c", 900.0)] {
        wav(&folder.path().join(name).with_extension("wav"), frequency);
    }
    let write = |text: &str| fs::write(folder.path().join("m.csv"), text).unwrap();
    let sound = "path,labels,split,group\na.wav,dog,train,1\nb.wav,dog,test,2\n";
    write(sound);
    let (code, stdout, stderr) = run(folder.path(), ["inspect", "m.csv"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("nothing suspicious found") && stdout.contains("8000 Hz: 2"), "{stdout}");

    write(&format!("{sound}c.wav,dog,test,1\n"));
    let (code, stdout, _) = run(folder.path(), ["inspect", "m.csv"]);
    assert!(code == 1 && stdout.contains("LEAKING SPLIT"), "{stdout}");
    assert!(stdout.contains("1: 2 clips in train and test, of one label"), "{stdout}");

    write(&format!("{sound}gone.wav,dog,test,3\n"));
    let (code, stdout, _) = run(folder.path(), ["inspect", "m.csv", "--json"]);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &found["unreadable"][0]["path"]), (3, &"gone.wav".into()));
    assert_eq!((&found["parts"]["train"], &found["leaking"]), (&1.into(), &false.into()));

    write(&format!("{sound}gone.wav,dog,test,1\n"));
    let (code, stdout, _) = run(folder.path(), ["inspect", "m.csv", "--html", "page.html"]);
    assert!(code == 1 && stdout.contains("1 clip that cannot be decoded\n  gone.wav: "), "{stdout}");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("1 recording in more than one part: the split leaks"), "{page}");
    let (code, _, stderr) = run(folder.path(), ["inspect", "m.csv", "--html", "a.wav"]);
    assert!(code == 2 && stderr.contains("a.wav would replace the input"), "{stderr}");

    write("path,label\na.wav,\n");
    let (code, _, stderr) = run(folder.path(), ["inspect", "m.csv"]);
    assert!(code == 2 && stderr.contains("m.csv, line 2: "), "{stderr}");
}

#[test]
fn inspect_looks_at_the_split_of_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from("path,labels,group\n");
    for i in 0..40 {
        wav(&folder.path().join(format!("{i}.wav")), 300.0 + 50.0 * i as f32);
        table += &format!("{i}.wav,{},{}\n", ["dog", "siren"][i % 2], i / 4);
    }
    fs::write(folder.path().join("m.csv"), table).unwrap();
    for (protocol, expected) in [("grouped", 0), ("shuffled", 1)] {
        let recipe = format!("name = 'x'\n[split]\nprotocol = '{protocol}'\n[model]\nname = 'cnn'\n");
        fs::write(folder.path().join("r.toml"), recipe).unwrap();
        let (code, stdout, stderr) = run(folder.path(), ["inspect", "m.csv", "--split-from", "r.toml"]);
        assert_eq!(code, expected, "{protocol}: {stdout}{stderr}");
        assert_eq!(
            stderr.contains("have a sibling of the same recording in train"),
            expected == 1,
            "{stderr}"
        );
    }
    let kept = "name = 'x'\n[data.keep]\ngroup = ['0', '1', '2', '3', '4']\n[split]\nprotocol = 'grouped'\n\
                valid = 0.2\ntest = 0.2\n[model]\nname = 'cnn'\n";
    fs::write(folder.path().join("r.toml"), kept).unwrap();
    let (code, stdout, stderr) = run(folder.path(), ["inspect", "m.csv", "--split-from", "r.toml", "--json"]);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &found["clips"]), (0, &20.into()), "{stderr}");
}

#[test]
fn synth_writes_a_city_that_inspect_finds_nothing_wrong_with() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["prepare", "synth", "city", "--per-class", "5", "--seed", "7", "--out", "city.csv"];
    let (code, stdout, stderr) = run(folder.path(), args);
    assert_eq!((code, stdout.trim()), (0, "city.csv: 50 clips, 10 labels"), "{stderr}");
    let (code, stdout, _) = run(folder.path(), ["inspect", "city.csv"]);
    assert!(code == 0 && stdout.contains("nothing suspicious found"), "{stdout}");
}
