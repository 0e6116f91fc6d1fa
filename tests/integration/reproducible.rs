//! The same recipe, data and seed give the same weights, byte for byte, also when the run was stopped on its way.
//!
//! On the CPU this holds for any number of threads too. For the order of the clips and for dropout that is by
//! construction; for the matrix products of the tensor library it is an observation, which the first test repeats.

use std::collections::BTreeMap;

use crate::support::oido;
use crate::tones::Tones;

#[test]
fn one_and_three_threads_give_the_same_weights() {
    let tones = Tones::new();
    let train = |threads: &str| {
        let mut command = oido();
        command.current_dir(tones.path("")).env("RAYON_NUM_THREADS", threads);
        // Wider than the other tests train, so that products are divided among threads at all.
        let wide =
            ["--set", "features.n_mels=48", "--set", "model.dense=96", "--set", "training.batch_size=18"];
        let more = [&wide[..], &["--set", "training.epochs=2"]].concat();
        command.args(Tones::train(threads, &more)).assert().success();
        tones.weights(threads)
    };
    assert!(train("1") == train("3"));
}

/// Silence removal and windows drawn at random, out of recordings longer than a clip.
const DRAWN: [&str; 8] = [
    "--set",
    "audio={sample_rate=8000,clip_seconds=0.2,shorter=\"repeat\",longer={loudest_of=3},\
     silence=[{min_silence_len=20,silence_thresh=-30,keep_silence=5}]}",
    "--set",
    "features.n_fft=256",
    "--set",
    "features.win_length=256",
    "--set",
    "features.hop_length=100",
];

#[test]
fn drawn_windows_train_the_same_on_any_number_of_threads_and_after_resume() {
    let tones = Tones::new();
    let train = |out: &str, threads: &str, more: &[&str]| {
        let mut command = oido();
        command.current_dir(tones.path("")).env("RAYON_NUM_THREADS", threads);
        command.args(Tones::train(out, &[&DRAWN[..], more].concat())).assert().success();
    };
    train("one", "1", &["--set", "training.epochs=3"]);
    train("four", "4", &["--set", "training.epochs=3"]);
    assert!(tones.weights("one") == tones.weights("four"));
    train("resumed", "4", &["--set", "training.epochs=1", "--cache", "cache"]);
    assert!(tones.weights("one") != tones.weights("resumed"));
    train("resumed", "1", &["--set", "training.epochs=3", "--cache", "cache", "--resume"]);
    assert!(tones.weights("one") == tones.weights("resumed"));

    // Evaluation and prediction draw nothing: the same scores from the run, from its bundle, and every time.
    let evaluated = |threads: &str| -> BTreeMap<String, Vec<f32>> {
        let mut command = oido();
        command.current_dir(tones.path("")).env("RAYON_NUM_THREADS", threads).args(["evaluate", "one"]);
        command.assert().success();
        let mut reader = csv::Reader::from_path(tones.path("one/predictions.csv")).unwrap();
        let scores = |row: &csv::StringRecord| row.iter().skip(5).map(|x| x.parse().unwrap()).collect();
        reader.records().map(Result::unwrap).map(|row| (row[0].to_owned(), scores(&row))).collect()
    };
    let first = evaluated("1");
    assert_eq!((first.len(), &first), (9, &evaluated("4")));
    tones.ok(&["bundle", "one", "--out", "one.tar.gz"]);
    for (path, scores) in first {
        let predicted = tones.ok(&["predict", "one.tar.gz", &path, "--format", "json", "--top-k", "3"]);
        let row: serde_json::Value = serde_json::from_slice(&predicted.stdout).unwrap();
        assert_eq!(row["truncated"], true);
        for (label, score) in ["high", "low", "mid"].iter().zip(scores) {
            let found = row["scores"].as_array().unwrap().iter().find(|row| row["label"] == *label).unwrap();
            let found = found["score"].as_f64().unwrap() as f32;
            assert_eq!(found.to_bits(), score.to_bits(), "{path} {label}");
        }
    }
}

/// Stops a run after some steps.
struct StopAfter<'a> {
    steps: std::sync::atomic::AtomicUsize,
    stop: &'a std::sync::atomic::AtomicBool,
}

impl oido::training::Observer for StopAfter<'_> {
    fn event(&self, event: &oido::training::Event) {
        use std::sync::atomic::Ordering::SeqCst;
        if let oido::training::Event::Step { .. } = event
            && self.steps.fetch_sub(1, SeqCst) == 1
        {
            self.stop.store(true, SeqCst);
        }
    }
}

/// Everything with a history: momentum, a schedule that follows validation, averaged weights, gradients that wait. Before
/// them, after how many steps such a run is stopped, again and again.
const HISTORY: [(usize, &str); 4] = [
    (
        1,
        "training.optimizer={name=\"sgd\",momentum=0.9,nesterov=true,weight_decay=0.01}\n\
         training.schedule={name=\"plateau\",factor=0.5,patience=1,min_delta=0.5,cooldown=1}\n\
         training.warmup_epochs=0.5\ntraining.ema=0.9\ntraining.batch_size=6\ntraining.accumulate=2\n\
         training.sampler=balanced\ntraining.gradient_clipping={norm=0.5}\ntraining.class_weights=balanced\n\
         training.label_smoothing=0.1",
    ),
    (
        5,
        "training.optimizer={name=\"adamw\",weight_decay=0.1}\ntraining.schedule=cosine\ntraining.accumulate=3\n\
         training.gradient_clipping={value=0.01}\ntraining.loss=focal",
    ),
    (
        6,
        "training.optimizer=sgd\ntraining.learning_rate=0.1\ntraining.schedule=one_cycle\ntraining.ema=0.99\n\
         training.loss=l_q",
    ),
    // After every step of both stages, with the change from one to the other between two of them.
    (
        1,
        "augment=[{kind=\"noise\"},{kind=\"mixup\"}]\ntraining.ema=0.9\n\
         stages=[{name=\"half\",share=0.5,training={epochs=2,optimizer=\"sgd\",schedule=\"cosine\",accumulate=2}},\
         {name=\"whole\",augment=[],training={epochs=2,schedule={name=\"plateau\",patience=1,min_delta=0.5}}}]",
    ),
];

#[test]
fn a_run_with_a_history_that_is_stopped_again_and_again_gives_the_same_bytes() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    let tones = Tones::new();
    for (i, (steps, history)) in HISTORY.into_iter().enumerate() {
        let sets: Vec<String> =
            history.lines().map(str::to_owned).chain(["training.epochs=3".to_owned()]).collect();
        let recipe = oido::training::Recipe::read(&tones.path("recipe.toml"), &sets).unwrap();
        let run = |out: &str, resume: bool, steps: usize| {
            let options = oido::training::RunOptions {
                data: Some(tones.path("manifest.csv")),
                out: tones.path(out),
                resume,
                device: "cpu".to_owned(),
                cache: Some(tones.path("cache")),
                command: String::new(),
            };
            let stop = AtomicBool::new(false);
            let observer = StopAfter { steps: AtomicUsize::new(steps), stop: &stop };
            oido::training::train(&recipe, &options, &observer, &stop).unwrap();
            stop.load(SeqCst)
        };
        let (whole, parts) = (format!("whole{i}"), format!("parts{i}"));
        run(&whole, false, usize::MAX);
        let mut stops = 0;
        while run(&parts, stops > 0, steps) {
            stops += 1;
            assert!(stops < 30);
            if i == 0 && stops == 6 {
                // As if it had been killed before it saved: the step is made again.
                let mut saved: Vec<_> = std::fs::read_dir(tones.path(&parts).join("checkpoints"))
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                saved.sort();
                std::fs::remove_dir_all(saved.pop().unwrap()).unwrap();
            }
        }
        assert!(stops * steps >= 9, "{stops}");
        assert!(tones.weights(&parts) == tones.weights(&whole), "{history}");
        let rows = |run: &str| {
            let rows = oido::training::results::read(&tones.path(run).join("results.csv")).unwrap();
            rows.into_iter()
                .map(|row| oido::training::EpochRow { time: 0.0, clips_per_second: 0.0, ..row })
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(&parts), rows(&whole), "{history}");
        if i == 0 {
            let lr: Vec<f64> = rows(&whole).iter().map(|row| row.lr).collect();
            assert!(lr[2] < lr[1], "the plateau is felt: {lr:?}");
        }
        let weights = |run: &str| -> BTreeMap<_, _> {
            let files = std::fs::read_dir(tones.path(run).join("weights")).unwrap().map(Result::unwrap);
            files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect()
        };
        assert_eq!(weights(&whole).len(), if history.contains("stages") { 4 } else { 2 });
        assert!(weights(&parts) == weights(&whole), "{history}");
    }
}

#[test]
fn another_list_of_stages_cannot_take_over_a_run() {
    let tones = Tones::new();
    let stages =
        |epochs: usize| format!("stages=[{{name=\"a\",training={{epochs={epochs}}}}},{{name=\"b\"}}]");
    let short = ["--set", "training.epochs=1", "--set"];
    tones.ok(&Tones::train("run", &[&short[..], &[&stages(1)]].concat()));
    let error = tones.error(2, &Tones::train("run", &[&["--resume"], &short[..], &[&stages(2)]].concat()));
    assert!(error.contains("(stages.a.training.epochs = 1, now 2)"), "{error}");
    let error = tones.error(2, &Tones::train("run", &["--resume", "--set", "training.epochs=1"]));
    assert!(error.contains("stages.a.name = \"a\", now nothing"), "{error}");
}

#[test]
fn a_schedule_that_leads_to_the_end_cannot_be_prolonged() {
    let tones = Tones::new();
    let cosine = ["--set", "training.schedule=cosine", "--set", "training.epochs=1"];
    tones.ok(&Tones::train("run", &cosine));
    let more = ["--resume", "--set", "training.schedule=cosine", "--set", "training.epochs=2"];
    let error = tones.error(2, &Tones::train("run", &more));
    assert!(error.contains("recipe or data differ"), "{error}");
}

/// Runs that are stopped need signals.
#[cfg(unix)]
mod stopped {
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, SystemTime};

    use crate::tones::Tones;

    /// Long enough to be stopped several times.
    const EPOCHS: [&str; 2] = ["--set", "training.epochs=12"];

    fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        Tones::train(out, &[&EPOCHS[..], more].concat())
    }

    /// The same number of epochs in two stages.
    const STAGES: [&str; 2] = [
        "--set",
        "stages=[{name=\"half\",share=0.5,training={epochs=6}},\
         {name=\"whole\",training={epochs=6,optimizer=\"adamw\",ema=0.9}}]",
    ];

    /// Starts training and comes back, the run going on, when so many more epochs are finished.
    fn start(tones: &Tones, args: &[&str], epochs: usize) -> Child {
        start_until(tones, args, "epoch=", epochs)
    }

    /// Starts training and comes back when a line with this word was said so many times.
    fn start_until(tones: &Tones, args: &[&str], word: &str, times: usize) -> Child {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oido"));
        command.current_dir(tones.path("")).args(args).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.as_mut().unwrap()).lines().map(Result::unwrap);
        let mut said = lines.filter(|line| line.contains(word));
        assert!(said.nth(times - 1).is_some(), "ended before it was stopped");
        child
    }

    /// Sends a signal by name and returns the exit code.
    fn signal(mut child: Child, name: &str) -> Option<i32> {
        let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        // Whatever it still says must find a reader.
        let mut rest = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut rest).unwrap();
        assert!(!rest.contains("panicked"), "{rest}");
        child.wait().unwrap().code()
    }

    /// `results.csv` without wall-clock columns.
    fn results(tones: &Tones, run: &str) -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_path(tones.path(run).join("results.csv")).unwrap();
        let header = reader.headers().unwrap().clone();
        let clock = |name: &str| ["time", "clips_per_second"].contains(&name);
        let row = |record: csv::StringRecord| {
            let cells = header.iter().zip(&record).filter(|(name, _)| !clock(name));
            cells.map(|(_, cell)| cell.to_owned()).collect()
        };
        reader.records().map(|record| row(record.unwrap())).collect()
    }

    fn same_run(tones: &Tones, run: &str, whole: &str) {
        assert_eq!(results(tones, run), results(tones, whole));
        assert_eq!(results(tones, run).len(), 12);
        for file in std::fs::read_dir(tones.path(whole).join("weights")).unwrap() {
            let name = file.unwrap().file_name();
            let bytes = |run: &str| std::fs::read(tones.path(run).join("weights").join(&name)).unwrap();
            assert!(bytes(run) == bytes(whole), "{} differs", name.display());
        }
    }

    /// Checkpoints, oldest first.
    fn checkpoints(tones: &Tones, run: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(tones.path(run).join("checkpoints")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn a_run_that_was_asked_to_stop_goes_on_as_if_nothing_had_happened() {
        let tones = Tones::new();
        tones.ok(&train("whole", &[]));
        for (name, code, args) in
            [("TERM", 143, train("run", &[])), ("INT", 130, train("run", &["--resume"]))]
        {
            assert_eq!(signal(start(&tones, &args, 1), name), Some(code));
            let newest = checkpoints(&tones, "run").pop().unwrap();
            // In the middle of an epoch, where also the moving statistics of batch normalisation are in motion.
            assert!(!newest.to_string_lossy().ends_with("step-00000"), "{}", newest.display());
        }
        tones.ok(&train("run", &["--resume"]));
        same_run(&tones, "run", "whole");
    }

    /// In every part of the run, somewhere within an epoch: where, the clock says.
    fn twenty_kills(stages: &[&str]) {
        let tones = Tones::new();
        tones.ok(&train("whole", stages));
        let rows = oido::training::results::read(&tones.path("whole/results.csv")).unwrap();
        for kill in 0..20 {
            let (run, epochs) = (format!("run{kill}"), kill * rows.len() / 20);
            let mut child = match epochs {
                0 => start_until(&tones, &train(&run, stages), " classes; clips: ", 1),
                _ => start(&tones, &train(&run, stages), epochs),
            };
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
            let share = f64::from(nanos / 1_000 % 1_000) / 1_000.0;
            std::thread::sleep(Duration::from_secs_f64(rows[epochs].time * share));
            child.kill().unwrap();
            child.wait().unwrap();
            tones.ok(&train(&run, &[stages, &["--resume"]].concat()));
            same_run(&tones, &run, "whole");
        }
    }

    #[test]
    #[ignore = "minutes; for changes of checkpoints and stages"]
    fn twenty_kills_of_one_stage_leave_no_trace() {
        twenty_kills(&[]);
    }

    #[test]
    #[ignore = "minutes; for changes of checkpoints and stages"]
    fn twenty_kills_of_two_stages_leave_no_trace() {
        twenty_kills(&STAGES);
    }

    #[test]
    fn a_run_of_two_stages_that_was_killed_in_either_goes_on() {
        let tones = Tones::new();
        tones.ok(&train("whole", &STAGES));
        for epochs in [3, 8] {
            let mut child = start(&tones, &train("run", &STAGES), epochs);
            child.kill().unwrap();
            child.wait().unwrap();
            tones.ok(&train("run", &[&STAGES[..], &["--resume"]].concat()));
            same_run(&tones, "run", "whole");
            std::fs::remove_dir_all(tones.path("run")).unwrap();
        }
    }

    #[test]
    fn a_run_that_was_killed_at_any_moment_goes_on() {
        let tones = Tones::new();
        tones.ok(&train("whole", &[]));
        let rows = oido::training::results::read(&tones.path("whole/results.csv")).unwrap();
        let epoch = rows.iter().map(|row| row.time).sum::<f64>() / rows.len() as f64;
        let mut moments = Vec::new();
        for more in [&[][..], &["--resume"], &["--resume"]] {
            let mut child = start(&tones, &train("run", more), 1);
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
            // Up to an epoch and a half after one is finished: in a step, in validation or in a save.
            let moment = 1.5 * epoch * f64::from(nanos / 1_000 % 1_000) / 1_000.0;
            std::thread::sleep(Duration::from_secs_f64(moment));
            child.kill().unwrap();
            child.wait().unwrap();
            moments.push(moment);
        }
        println!("killed these seconds after an epoch: {moments:?}");

        // As a run leaves it that is killed while it saves.
        let staged = tones.path("run/checkpoints/.tmp-left");
        std::fs::create_dir(&staged).unwrap();
        std::fs::write(staged.join("model.bpk"), "half").unwrap();
        tones.ok(&train("run", &["--resume"]));
        same_run(&tones, "run", "whole");
        assert!(!staged.exists());
        assert_eq!(checkpoints(&tones, "run").len(), 2);
    }
}

#[test]
fn a_run_goes_on_longer_but_not_with_another_network_or_front_end() {
    let tones = Tones::new();
    let short = ["--set", "training.epochs=1"];
    tones.ok(&Tones::train("run", &short));
    let recipe = || std::fs::read_to_string(tones.path("run/recipe.toml")).unwrap();
    let before = recipe();
    for set in ["model.dense=17", "features.n_mels=32", "seed=8"] {
        let error = tones.error(2, &Tones::train("run", &["--resume", "--set", set]));
        assert!(error.contains("cannot be resumed") && error.contains("recipe or data differ"), "{error}");
        assert_eq!(recipe(), before, "{set}: a refused run was changed");
    }
    let error = tones.error(2, &Tones::train("run", &["--resume", "--set", "model.dense=17"]));
    assert!(error.contains("(model.dense = 16, now 17)"), "{error}");
    // More epochs of the same run are no other run.
    tones.ok(&Tones::train("run", &["--resume", "--set", "training.epochs=2"]));
    tones.ok(&Tones::train("whole", &["--set", "training.epochs=2"]));
    assert!(tones.weights("run") == tones.weights("whole"));
}
