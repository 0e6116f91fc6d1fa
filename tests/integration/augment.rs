//! Augmentation as a user reaches it: in a recipe, and on a sheet of pictures.

use std::sync::Arc;

use oido::audio::{AudioConfig, WavFormat, Waveform, write_wav};
use oido::augment::{Augmentation, Backdrop};
use oido::dataset::{Backgrounds, ClipSet, Entry, Manifest};
use oido::features::{Extractor, FeatureConfig, FeatureKind};
use oido::seed::Seed;

use crate::support::oido;
use crate::tones::Tones;

/// Every kind there is.
const EVERYTHING: &str = "augment=[{kind='gain'},{kind='polarity'},{kind='time_shift',seconds=0.1},\
    {kind='time_stretch'},{kind='pitch_shift',probability=0.2},{kind='noise',colour='pink'},\
    {kind='background',from={label='low'}},{kind='background',from={folder='clips/mid'}},{kind='between_class'},\
    {kind='reverberation'},{kind='equalizer'},{kind='telephone',probability=0.2},{kind='bit_depth'},\
    {kind='spec_augment',time_warp=3,freq_width=4,time_width=4},{kind='random_masks',freq_width=4,time_width=4},\
    {kind='rotation'},{kind='zoom'},{kind='translation'},\
    {kind='mixup'},{kind='cutmix',probability=0.2},{kind='specmix',probability=0.2}]";

#[test]
fn an_augmented_run_is_the_same_on_any_number_of_threads_and_after_resume() {
    let tones = Tones::new();
    let train = |out: &str, threads: &str, more: &[&str]| {
        let mut command = oido();
        command.current_dir(tones.path("")).env("RAYON_NUM_THREADS", threads);
        command.args(Tones::train(out, more)).assert().success();
    };
    let [one, two] = ["training.epochs=1", "training.epochs=2"];
    let everything = ["--set", EVERYTHING, "--set", "training.untouched_half=true", "--set"];
    train("whole", "1", &[&everything[..], &[two]].concat());
    train("resumed", "4", &[&everything[..], &[one, "--cache", "cache"]].concat());
    train("resumed", "4", &[&everything[..], &[two, "--cache", "cache", "--resume"]].concat());
    assert!(tones.weights("whole") == tones.weights("resumed"));
    train("plain", "4", &["--set", two]);
    assert!(tones.weights("whole") != tones.weights("plain"));
    let recipe = |run: &str| std::fs::read_to_string(tones.path(run).join("recipe.toml")).unwrap();
    assert!(!recipe("plain").contains("augment"), "recipes of earlier runs stay as they were");
    assert_eq!(recipe("whole").matches("[[augment]]").count(), 21);

    let other = ["--set", "augment=[{kind='mixup'}]", "--set", two, "--resume"];
    let error = tones.error(2, &Tones::train("whole", &other));
    assert!(error.contains("whole"), "{error}");
}

#[test]
fn what_cannot_be_done_to_clips_is_one_sentence() {
    let tones = Tones::new();
    std::fs::create_dir(tones.path("empty")).unwrap();
    std::fs::create_dir(tones.path("broken")).unwrap();
    std::fs::copy(tones.path("clips/low/00.wav"), tones.path("broken/a.wav")).unwrap();
    std::fs::write(tones.path("broken/b.wav"), "RIFF").unwrap();
    let background = |from: &str| format!("augment=[{{kind='background',from={{{from}}}}}]");
    for (code, set, expected) in [
        (4, "augment=[{kind='mixup',labels='or'}]".to_owned(), "augment[0].labels: "),
        (4, "training.untouched_half=true".to_owned(), "training.untouched_half: nothing is augmented"),
        (2, background("folder='none'"), ": cannot read the folder"),
        (2, background("folder='empty'"), "empty: has no recordings"),
        (2, background("folder='broken'"), "1 of its 2 recordings cannot be used"),
        (4, background("label='rain'"), "augment.from.label: no training clip has the label \"rain\""),
    ] {
        let error = tones.error(code, &Tones::train("new", &["--set", &set]));
        assert!(error.contains(expected), "{error}");
    }
}

/// A second of a real recording at 22,050 Hz (ESC-10), from the fixtures of the features.
fn recording(name: &str) -> Vec<f32> {
    let path = format!("{}/tests/fixtures/features/clip_{name}.npy", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let sample = |pair: &[u8]| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0;
    bytes[header..].chunks_exact(2).map(sample).collect()
}

#[test]
fn a_recording_stands_over_its_background_by_the_ratio_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, samples: Vec<f32>| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_wav(&path, &Waveform { samples, sample_rate: 22_050 }, WavFormat::Pcm16).unwrap();
    };
    let (dog, rooster) = (recording("dog"), recording("rooster"));
    write("dog.wav", dog.clone());
    // Too short, so that it must be repeated.
    write("outside/day/rooster.wav", rooster[..8_000].to_vec());
    let entry = Entry { path: "dog.wav".into(), labels: vec!["dog".into()], ..Entry::default() };
    let manifest = Manifest::new(folder.path(), vec![entry]);
    let audio = AudioConfig::new(22_050, 1.0);
    let features = FeatureConfig { kind: FeatureKind::Waveform, ..FeatureConfig::default() };
    let extractor = Arc::new(Extractor::new(&audio, &features).unwrap());
    let labels = Arc::new(manifest.labels.clone());
    let plain = ClipSet::new(Arc::new(manifest), vec![0], labels, extractor, None).unwrap();
    let power = |samples: &[f32]| samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    for snr in [0.0, 15.0] {
        let list = vec![Augmentation::Background {
            probability: 1.0,
            from: Backdrop::Folder(folder.path().join("outside")),
            snr_db: [snr, snr],
        }];
        let backgrounds = Backgrounds::of_folders(&list, &audio).unwrap();
        let set = plain.clone().with_augmentations(list, backgrounds).unwrap();
        let mut drawn = Vec::new();
        for epoch in 1..4 {
            let (mixed, target) = set.drawn_clip(0, Seed(1), epoch, 0).unwrap();
            assert_eq!(target, [1.0]);
            let added: Vec<f32> = mixed.values.iter().zip(&dog).map(|(mixed, dog)| mixed - dog).collect();
            let found = 10.0 * (power(&dog) / power(&added)).log10();
            assert!((found - snr).abs() < 0.01, "{found} dB, not {snr}");
            let repeats = added.iter().zip(&added[8_000..]).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(repeats, "the background is the recording, again and again");
            drawn.push(mixed.values);
        }
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2], "another part each time");
    }
}

#[test]
fn the_sheet_shows_what_was_done() {
    let tones = Tones::new();
    let wav = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/audio/s16.wav");
    let draw = |more: &[&str]| {
        let short = "audio.clip_seconds=0.5";
        let arguments = ["features", wav, "--augment", "--out", "sheet.svg", "--set", short, "--set"];
        let output = tones.ok(&[&arguments[..], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        (std::fs::read_to_string(tones.path("sheet.svg")).unwrap(), said)
    };
    let list =
        "augment=[{kind='noise'},{kind='between_class'},{kind='spec_augment',time_width=9},{kind='mixup'}]";
    let (sheet, said) = draw(&[list]);
    assert_eq!(sheet.matches("<svg ").count(), 1 + 6, "one before, two entries, three draws");
    assert!(sheet.contains(">spec_augment<") && sheet.contains(">draw 3: "));
    assert!(
        said.contains("mixup is not drawn: it mixes clips") && said.contains("between_class is"),
        "{said}"
    );
    assert_eq!(sheet, draw(&[list]).0);
    assert_ne!(sheet, draw(&[list, "--set", "seed=1"]).0);
    let (sheet, said) = draw(&[list, "--with", "clips/low/00.wav"]);
    assert_eq!(sheet.matches("<svg ").count(), 1 + 8, "{said}");
    assert!(!said.contains("not drawn") && sheet.contains(" of it stays<"), "{said}");
    assert!(sheet.contains(">between_class: 0.") && sheet.contains(">mixup: 0."));

    for (out, set, expected) in [
        ("sheet.csv", list, ".svg"),
        ("sheet.svg", "seed=1", "the recipe has no [[augment]]"),
        ("sheet.svg", "augment=[{kind='gain',db=[1.0,0.0]}]", "augment[0].db: "),
    ] {
        let command = ["features", wav, "--augment", "--out", out, "--set", set];
        let output = oido().current_dir(tones.path("")).args(command).assert().failure();
        let error = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(error.contains(expected), "{error}");
    }
}
