//! The whole program on a few seconds of tones: prepare, train, resume, evaluate, bundle, predict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Settings that make an epoch take a fraction of a second.
const SMALL: [&str; 9] = [
    "audio.sample_rate=8000",
    "audio.clip_seconds=0.5",
    "features.n_fft=256",
    "features.hop_length=128",
    "features.n_mels=16",
    "model.dense=16",
    "training.epochs=4",
    "training.patience=0",
    "training.batch_size=8",
];

/// Three classes of tones, 20 recordings each, as class folders with a manifest beside them.
fn tones() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            for (label, hertz) in [("low", 200.0), ("middle", 800.0), ("high", 3000.0)] {
                fs::create_dir_all(folder.path().join("sounds").join(label)).unwrap();
                for i in 0..20 {
                    tone(
                        &folder.path().join(format!("sounds/{label}/{i:02}.wav")),
                        hertz * (1.0 + 0.01 * f64::from(i)),
                    );
                }
            }
            let sounds = folder.path().join("sounds");
            let manifest = folder.path().join("manifest.csv");
            let output =
                oido().args(["prepare", "folders"]).args([&sounds]).arg("--out").arg(&manifest).output();
            assert!(output.unwrap().status.success());
            folder
        })
        .path()
}

fn tone(path: &Path, hertz: f64) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for t in 0..4000 {
        let phase = std::f64::consts::TAU * hertz * f64::from(t) / 8000.0;
        writer.write_sample((phase.sin() * 8000.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// `oido train quickstart/cnn` on the tones; dropout is on.
fn train(out: &Path, more: &[&str]) -> Command {
    let mut command = oido();
    command.args(["train", "quickstart/cnn", "--data"]).arg(tones().join("manifest.csv"));
    command.args(["--set", "split={protocol=\"stratified\"}"]);
    SMALL.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    command.arg("--out").arg(out).args(more);
    command
}

fn oido() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("oido"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("weights/last.safetensors")).unwrap()
}

/// `results.csv` without the two columns of wall-clock time.
fn results(run: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(run.join("results.csv")).unwrap();
    let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let header = cells(text.lines().next().unwrap());
    let timed = |i: usize| ["time", "clips_per_second"].contains(&header[i].as_str());
    text.lines()
        .map(|line| cells(line).into_iter().enumerate().filter(|(i, _)| !timed(*i)).map(|(_, c)| c).collect())
        .collect()
}

#[test]
fn the_line_of_an_epoch_tells_how_long_the_network_waited_for_clips() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&mut train(&folder.path().join("run"), &["--set", "training.epochs=1", "--json"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let line: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    let (waited, time) = (line["waited"].as_f64().unwrap(), line["time"].as_f64().unwrap());
    assert!(waited > 0.0 && waited < time, "{line}");
}

/// The run that nothing interrupted; computed once.
fn reference() -> &'static Path {
    static RUN: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let output = run(&mut train(&folder.path().join("run"), &[]));
        assert!(output.status.success(), "{}", stderr(&output));
        folder
    });
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| folder.path().join("run"))
}

/// Starts training and waits until `epochs` epochs stand in `results.csv`.
fn start(out: &Path, epochs: usize) -> Child {
    let child = train(out, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while fs::read_to_string(out.join("results.csv")).map_or(0, |text| text.lines().count()) < epochs + 1 {
        assert!(Instant::now() < deadline, "no epoch in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn resume(out: &Path) -> Output {
    run(&mut train(out, &["--resume"]))
}

fn same_as_reference(out: &Path) {
    assert!(weights(out) == weights(reference()), "the weights differ from the uninterrupted run");
    assert_eq!(results(out), results(reference()));
}

#[test]
fn pipeline_from_folders_to_predictions() {
    let run_dir = reference();
    for file in [
        "recipe.toml",
        "labels.json",
        "stats.json",
        "manifest.csv",
        "results.csv",
        "run.json",
        "report.html",
        "report.json",
        "predictions.csv",
        "confusion_matrix.csv",
        "confusion_matrix.svg",
        "confusion_matrix_normalized.csv",
        "classification_report.txt",
        "classification_report.json",
        "curves.svg",
        "weights/best.safetensors",
        "weights/last.safetensors",
    ] {
        assert!(fs::metadata(run_dir.join(file)).is_ok_and(|m| m.len() > 0), "{file}");
    }
    assert_eq!(results(run_dir).len(), 1 + 4);
    let info: serde_json::Value =
        serde_json::from_slice(&fs::read(run_dir.join("run.json")).unwrap()).unwrap();
    assert_eq!((info["epochs"].as_u64(), info["model"].as_str()), (Some(4), Some("cnn")));
    assert!(info["command"].as_str().unwrap().starts_with("oido train quickstart/cnn"));
    let recipe = fs::read_to_string(run_dir.join("recipe.toml")).unwrap();
    assert!(recipe.contains("fmax = 4000.0") && recipe.contains("top_db = 80.0"), "{recipe}");

    let evaluated = run(oido().args(["evaluate", "--json"]).arg(run_dir));
    let line: serde_json::Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    assert_eq!((line["split"].as_str(), line["clips"].as_u64()), (Some("test"), Some(9)));
    assert!(line["accuracy"].as_f64().unwrap() >= 0.9, "{line}");

    let bundle = tempfile::tempdir().unwrap();
    let bundle = bundle.path().join("tones.tar.gz");
    assert!(run(oido().arg("bundle").arg(run_dir).arg("--out").arg(&bundle)).status.success());
    let sound = tones().join("sounds/high/07.wav");
    let predicted = run(oido().arg("predict").arg(&bundle).arg(&sound).args(["--format", "json"]));
    let line: serde_json::Value = serde_json::from_slice(&predicted.stdout).unwrap();
    assert_eq!(line["best_label"], "high");
}

#[test]
fn the_same_seed_gives_the_same_weights_on_any_number_of_threads_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let (again, other) = (folder.path().join("again"), folder.path().join("other"));
    assert!(run(train(&again, &[]).env("RAYON_NUM_THREADS", "1")).status.success());
    same_as_reference(&again);
    assert!(run(&mut train(&other, &["--set", "seed=43"])).status.success());
    assert!(weights(&other) != weights(reference()));
}

#[cfg(unix)]
#[test]
fn sigterm_saves_and_the_resumed_run_is_the_same_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let _ = fs::remove_dir_all(&out);
        let mut child = start(&out, 1);
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        // A run that was through before the signal came has nothing to resume.
        assert!([Some(code), Some(0)].contains(&status.code()), "{status}");
        assert!(resume(&out).status.success());
        same_as_reference(&out);
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for epochs in [1, 2, 3] {
        let _ = fs::remove_dir_all(&out);
        let mut child = start(&out, epochs);
        child.kill().unwrap();
        child.wait().unwrap();
        let output = resume(&out);
        assert!(output.status.success(), "{}", stderr(&output));
        same_as_reference(&out);
    }
    let left = fs::read_dir(out.join("checkpoints")).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"))
    });
    assert_eq!(left.count(), 0, "staged checkpoints are left behind");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_nothing_whole_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(run(&mut train(&out, &["--set", "training.epochs=3"])).status.success());
    let mut checkpoints: Vec<_> =
        fs::read_dir(out.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    assert_eq!(checkpoints.len(), 2);
    let damage = |path: &Path| {
        let file = path.join("model.bpk");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
    };
    damage(&checkpoints[1]);
    let output = resume(&out);
    assert!(output.status.success() && stderr(&output).contains("is damaged"), "{}", stderr(&output));
    same_as_reference(&out);

    for entry in fs::read_dir(out.join("checkpoints")).unwrap() {
        damage(&entry.unwrap().path());
    }
    let output = resume(&out);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none of 2 checkpoints is whole"), "{}", stderr(&output));
}

#[test]
fn another_recipe_cannot_take_over_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(run(&mut train(&out, &["--set", "training.epochs=1"])).status.success());
    let before = fs::read(out.join("recipe.toml")).unwrap();

    let twice = run(&mut train(&out, &[]));
    assert!(
        stderr(&twice).contains("already holds a run or something else; add --resume"),
        "{}",
        stderr(&twice)
    );
    for set in ["training.learning_rate=0.5", "model.dense=8"] {
        let other = run(&mut train(&out, &["--resume", "--set", set]));
        assert_eq!(other.status.code(), Some(2));
        assert!(stderr(&other).contains("its recipe or data differ"), "{set}: {}", stderr(&other));
    }
    assert_eq!(fs::read(out.join("recipe.toml")).unwrap(), before, "the refused recipe was written");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&mut train(&folder.path().join("run"), &["--set", "training.learning_rate=1e30"]));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the loss became") && text.contains("in epoch 1, step"), "{text}");
    assert!(text.contains("no epoch was finished; try a smaller training.learning_rate"), "{text}");
}

#[test]
fn a_fixed_mean_and_deviation_take_the_place_of_the_training_clips() {
    let folder = tempfile::tempdir().unwrap();
    let stats = |name: &str, sets: &[&str]| -> serde_json::Value {
        let out = folder.path().join(name);
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        assert!(run(train(&out, &sets).args(["--set", "training.epochs=1"])).status.success());
        serde_json::from_slice(&fs::read(out.join("stats.json")).unwrap()).unwrap()
    };
    let fixed = ["features.standardize=fixed", "features.mean=-4.5", "features.std=9.25"];
    assert_eq!(stats("fixed", &fixed), serde_json::json!({ "mean": -4.5, "std": 9.25 }));
    let none = stats("none", &["features.standardize=none"]);
    assert_eq!(none, serde_json::json!({ "mean": 0.0, "std": 1.0 }));
}

#[test]
fn l2_keeps_the_kernels_small_and_stays_out_of_the_losses() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = run(&mut train(&out, &["--set", "training.l2=0.5"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let squares = |run: &Path| {
        let bytes = weights(run);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let kernel = |name: &str| file.tensor(name).unwrap().data().to_vec();
        let values = |bytes: Vec<u8>| {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let names = file.names().into_iter().filter(|name| name.ends_with(".weight"));
        names.flat_map(|name| -> Vec<f32> { values(kernel(name)) }).map(|x| f64::from(x).powi(2)).sum::<f64>()
    };
    let (with, without) = (squares(&out), squares(reference()));
    assert!(with < 0.8 * without, "{with} {without}");
    // The penalty would be tens in the first epoch.
    let loss: f64 = results(&out)[1][1].parse().unwrap();
    assert!(results(&out)[0][1] == "train/loss" && loss < 5.0, "{loss}");
    assert!(fs::read_to_string(out.join("recipe.toml")).unwrap().contains("l2 = 0.5"));
}

#[test]
fn early_stopping_ends_a_run_that_no_longer_improves() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let sets = ["--set", "training.epochs=60", "--set", "training.patience=2"];
    assert!(run(&mut train(&out, &sets)).status.success());
    let info: serde_json::Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(info["epochs"].as_u64().unwrap(), info["best_epoch"].as_u64().unwrap() + 2, "{info}");
}

#[test]
fn a_broken_clip_stops_training_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("manifest.csv");
    let mut text = String::from("path,labels,split\n");
    for (i, split) in ["train", "train", "valid", "valid"].iter().enumerate() {
        let label = ["a", "b"][i % 2];
        tone(&folder.path().join(format!("{i}.wav")), 500.0);
        text += &format!("{i}.wav,{label},{split}\n");
    }
    fs::write(folder.path().join("0.wav"), "no sound at all").unwrap();
    fs::write(&manifest, text).unwrap();
    let out = folder.path().join("run");
    let mut command = oido();
    command.args(["train", "quickstart/dense", "--set", "split={protocol=\"manifest\"}", "--data"]);
    let output = run(command.arg(&manifest).arg("--out").arg(&out));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("1 of 4 clips cannot be used") && text.contains("0.wav"), "{text}");
    assert!(!out.exists());
}

#[test]
fn a_dry_run_writes_nothing_and_impossible_recipes_exit_with_4() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = run(&mut train(&out, &["--dry-run"]));
    assert!(
        output.status.success() && stderr(&output).contains("3 classes, 42 train, 9 valid, 9 test clips"),
        "{}",
        stderr(&output)
    );
    assert!(!out.exists());
    for (set, word) in [
        ("training.epoch=3", "epoch"),
        ("training.epochs=0", "training.epochs"),
        ("model.name=resnet9", "resnet9"),
        ("split={protocol=\"official\",train_folds=[1],valid_folds=[2]}", "fold"),
        ("nonsense", "section.key=value"),
    ] {
        let output = run(&mut train(&out, &["--set", set]));
        assert_eq!(output.status.code(), Some(4), "{set}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{set}: {}", stderr(&output));
        assert!(!out.exists(), "{set}");
    }
    let output = run(oido().args(["train", "quickstart/cnn", "--out"]).arg(&out));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("give --data"), "{}", stderr(&output));
}

/// `oido train` of a narrow network for pictures whose first blocks are frozen.
fn train_frozen(out: &Path, epochs: usize, more: &[&str]) -> Command {
    let mut command = oido();
    command.args(["train", "quickstart/cnn", "--data"]).arg(tones().join("manifest.csv"));
    let epochs = format!("training.epochs={epochs}");
    for set in [
        "split={protocol=\"stratified\"}",
        "audio.sample_rate=8000",
        "audio.clip_seconds=0.5",
        "features.n_fft=256",
        "features.hop_length=96",
        "features.n_mels=32",
        "model={name=\"mobilenet-v2\",width=0.125}",
        "training.frozen=[\"..block11\", \"last\"]",
        "training.patience=0",
        "training.batch_size=8",
        &epochs,
    ] {
        command.args(["--set", set]);
    }
    command.arg("--out").arg(out).args(more);
    command
}

#[test]
fn frozen_stages_stay_as_they_are_and_a_resumed_run_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    assert!(run(&mut train_frozen(&whole, 2, &[])).status.success());
    assert!(run(&mut train_frozen(&parts, 1, &[])).status.success());
    let first = weights(&parts);
    let output = run(&mut train_frozen(&parts, 2, &["--resume"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let last = weights(&parts);
    assert_eq!(last, weights(&whole));

    let (first, last) = (
        safetensors::SafeTensors::deserialize(&first).unwrap(),
        safetensors::SafeTensors::deserialize(&last).unwrap(),
    );
    let mut trained = 0;
    for (name, view) in last.tensors() {
        let frozen = match name.strip_prefix("blocks.").map(|rest| rest.split('.').next().unwrap()) {
            Some(block) => block.parse::<usize>().unwrap() < 11,
            None => !name.starts_with("head."),
        };
        assert_eq!(frozen, view.data() == first.tensor(&name).unwrap().data(), "{name}");
        if !frozen && !name.contains(".running_") {
            trained += view.shape().iter().product::<usize>();
        }
    }
    let info: serde_json::Value = serde_json::from_slice(&fs::read(parts.join("run.json")).unwrap()).unwrap();
    assert_eq!(info["trainable_parameters"], trained);
    let warnings = info["warnings"].as_array().unwrap();
    let said = |w: &&serde_json::Value| w.as_str().unwrap().contains("frozen with the random weights");
    assert!(warnings.iter().find(said).unwrap().as_str().unwrap().ends_with("block10, block11, last"));

    let output = run(&mut train_frozen(&parts, 1, &["--dry-run"]));
    assert!(stderr(&output).contains(&format!("{trained} of them trainable")), "{}", stderr(&output));
    let output = run(&mut train_frozen(&parts, 1, &["--dry-run", "--set", "training.frozen=[\"block18\"]"]));
    assert!(
        stderr(&output).contains("`block18` is no stage") && stderr(&output).contains("block17, last, head")
    );
}
