//! Mixtures of speakers from a small LibriSpeech of synthetic voices: what is drawn, what is written, what leaks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oido::audio::{WavFormat, Waveform, write_wav};
use oido::dataset::mix::{Corpus, MixConfig, MixFolder, Mixer, Mode};
use oido::dataset::{Entry, Error, Manifest, Split};
use oido::seed::Seed;
use tempfile::TempDir;

use crate::support::oido;

const RATE: u32 = 16_000;
/// A voice speaks for 0.8 s of every 1.2 s.
const SPOKEN: usize = 12_800;
const PERIOD: usize = 19_200;

/// Small enough for tests: 20 frames, of which 15 must be active.
fn small() -> MixConfig {
    MixConfig { train: 36, valid: 18, test: 18, seconds: 0.4, ..MixConfig::default() }
}

/// `LibriSpeech/` with `speakers` of each sex in each subset, two recordings of 2.4 s each, every speaker with a pitch
/// and a loudness of their own.
pub(crate) fn librispeech(subsets: &[&str], speakers: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("LibriSpeech");
    let mut table = String::from(";ID  |SEX| SUBSET           |MINUTES| NAME\n");
    for (s, subset) in subsets.iter().enumerate() {
        for speaker in 0..2 * speakers {
            let (id, sex) = (100 * (s + 1) + speaker, if speaker % 2 == 0 { "F" } else { "M" });
            table += &format!("{id} | {sex} | {subset} | 0.12 | Nobody\n");
            for take in 0..2 {
                let path = format!("{subset}/{id}/7/{id}-7-000{take}.wav");
                voice(
                    &root.join(path),
                    90.0 + 37.0 * speaker as f32,
                    0.5 / (1.0 + speaker as f32),
                    3_000 * take,
                );
            }
        }
    }
    fs::write(root.join("SPEAKERS.TXT"), table).unwrap();
    folder
}

fn voice(path: &Path, pitch: f32, amplitude: f32, shift: usize) {
    let sample = |n: usize| {
        let phase = std::f32::consts::TAU * pitch * n as f32 / RATE as f32;
        let speaks = (n + shift) % PERIOD < SPOKEN;
        let buzz = (phase.sin() + 0.5 * (2.0 * phase).sin()) / 1.5;
        if speaks { amplitude * buzz } else { 0.0005 * (n as f32 * 1.7).sin() }
    };
    let wave = Waveform { samples: (0..38_400).map(sample).collect(), sample_rate: RATE };
    write_wav(path, &wave, WavFormat::Pcm16).unwrap();
}

pub(crate) const OFFICIAL: [&str; 3] = ["train-clean-100", "dev-clean", "test-clean"];

fn mixer(root: &Path, config: &MixConfig, seed: u64) -> Result<Mixer, Error> {
    Mixer::new(Corpus::list(root, config, Seed(seed))?, &|_, _| (), &AtomicBool::new(false))
}

fn entries(mixer: &Mixer, part: Split) -> Vec<Entry> {
    mixer.manifest().unwrap().entries.into_iter().filter(|entry| entry.split == Some(part)).collect()
}

/// Every file beneath a folder with its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Spoils every recording, so that whatever is told in spite of it is told before anything is listened to.
fn silence(data: &Path) {
    let root = data.join("LibriSpeech");
    for path in tree(&root).into_keys().filter(|path| path.extension().is_some_and(|end| end == "wav")) {
        fs::write(root.join(path), "no sound").unwrap();
    }
}

fn run(folder: &Path, args: &[&str]) -> Output {
    oido().current_dir(folder).args(args).output().unwrap()
}

fn talk(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn rms(samples: &[f32]) -> f64 {
    (samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

#[test]
fn every_beginning_of_a_part_is_balanced_over_counts_and_sexes() {
    let data = librispeech(&OFFICIAL, 3);
    let mixer = mixer(data.path(), &small(), 1).unwrap();
    assert_eq!(mixer.remarks, [""; 0]);
    let train = entries(&mixer, Split::Train);
    for length in [1, 2, 7, 24, 35, 36] {
        let mut counts: BTreeMap<&str, usize> = ["1", "2", "3"].map(|label| (label, 0)).into();
        let mut sexes: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        for all in ["M", "F", "MM", "MF", "FF", "MMM", "MMF", "MFF", "FFF"] {
            sexes.insert((all.len(), all), 0);
        }
        for entry in &train[..length] {
            let sex = entry.extra["speakers_sex"].as_str();
            *counts.get_mut(entry.labels[0].as_str()).unwrap() += 1;
            *sexes.get_mut(&(sex.len(), sex)).unwrap() += 1;
        }
        let spread = |values: Vec<usize>| values.iter().max().unwrap() - values.iter().min().unwrap();
        assert!(spread(counts.values().copied().collect()) <= 1, "{counts:?}");
        for count in 1..=3 {
            let of = sexes.iter().filter(|((n, _), _)| *n == count).map(|(_, clips)| *clips).collect();
            assert!(spread(of) <= 1, "{sexes:?}");
        }
    }
    let orders: BTreeSet<String> =
        train.chunks(3).map(|c| c.iter().map(|e| e.labels[0].as_str()).collect()).collect();
    assert!(orders.len() > 2, "the order of the counts is not random: {orders:?}");
}

#[test]
fn speakers_are_different_people_and_stay_in_their_part() {
    let data = librispeech(&OFFICIAL, 3);
    let mixer = mixer(data.path(), &small(), 1).unwrap();
    for (part, prefix) in [(Split::Train, "train"), (Split::Valid, "dev"), (Split::Test, "test")] {
        let mut heard = BTreeSet::new();
        for entry in entries(&mixer, part) {
            let mixture = entry.mixture.as_ref().unwrap();
            let ids: BTreeSet<&String> = entry.speaker_ids.iter().collect();
            let count: usize = entry.labels[0].parse().unwrap();
            assert_eq!((ids.len(), mixture.voices.len()), (count, count));
            for (voice, id) in mixture.voices.iter().zip(&entry.speaker_ids) {
                let path = voice.path.to_str().unwrap();
                assert!(path.starts_with(prefix) && path.contains(&format!("/{id}/")), "{path} {id}");
            }
            let males = entry.speaker_ids.iter().filter(|id| id.parse::<usize>().unwrap() % 2 == 1).count();
            assert_eq!((entry.extra["M"].parse(), entry.extra["F"].parse()), (Ok(males), Ok(count - males)));
            assert_eq!(entry.extra["speakers_sex"], "M".repeat(males) + &"F".repeat(count - males));
            heard.extend(entry.speaker_ids);
        }
        assert_eq!(heard.len(), 6, "{part:?}: not everybody is heard");
    }
}

#[test]
fn everybody_is_heard_and_all_at_once() {
    let data = librispeech(&OFFICIAL, 3);
    let config = MixConfig { counts: vec![1, 3, 5], min_overlap: 0.5, ..small() };
    let mixer = mixer(data.path(), &config, 1).unwrap();
    for entry in mixer.manifest().unwrap().entries {
        let mixture = entry.mixture.unwrap();
        // From how the voices were made, not from what the detector says; it may hold on for 0.1 s, and a frame counts
        // in which somebody begins or ends.
        let speaks = |frame: usize| {
            mixture.voices.iter().filter(move |voice| {
                let take = usize::from(voice.path.to_str().unwrap().ends_with("1.wav"));
                let n = (voice.start * f64::from(RATE)).round() as usize + 320 * frame + 320;
                (n + 3_000 * take) % PERIOD < SPOKEN + 1_600 + 640
            })
        };
        let mut active: BTreeMap<&Path, usize> = BTreeMap::new();
        (0..20).flat_map(speaks).for_each(|voice| *active.entry(&voice.path).or_default() += 1);
        assert_eq!(active.len(), mixture.voices.len());
        assert!(active.values().all(|&frames| frames >= 15), "{active:?}");
        let together = (0..20).filter(|&frame| speaks(frame).count() == mixture.voices.len()).count();
        assert!(together >= 10, "{together} frames in which all speak");
    }
}

#[test]
fn the_level_tells_the_number_of_speakers_only_when_they_are_averaged() {
    let data = librispeech(&OFFICIAL, 3);
    // One loudness for all, so that only the number of speakers changes it.
    for subset in OFFICIAL {
        for id in fs::read_dir(data.path().join("LibriSpeech").join(subset)).unwrap() {
            let id = id.unwrap().file_name().into_string().unwrap();
            let pitch = 80.0 + 7.3 * id.parse::<f32>().unwrap() % 200.0;
            for take in 0..2 {
                let path = format!("LibriSpeech/{subset}/{id}/7/{id}-7-000{take}.wav");
                voice(&data.path().join(path), pitch, 0.4, 3_000 * take);
            }
        }
    }
    let accuracy = |mode: Mode| {
        let config =
            MixConfig { train: 200, valid: 1, test: 1, counts: vec![1, 3], mode, seconds: 0.2, ..small() };
        let mixer = mixer(data.path(), &config, 3).unwrap();
        let manifest = mixer.manifest().unwrap();
        let level = |entry: &Entry| {
            let level = 20.0 * rms(&manifest.decode(entry).unwrap().0.samples).log10();
            if mode == Mode::LevelEqualised {
                let drawn = entry.mixture.as_ref().unwrap().level.unwrap();
                assert!((level - drawn).abs() < 0.01 && (-40.0..=-25.0).contains(&level), "{level} {drawn}");
            }
            (level, entry.labels[0] == "3")
        };
        let mut clips: Vec<(f64, bool)> = manifest.entries[..200].iter().map(level).collect();
        clips.sort_by(|a, b| a.0.total_cmp(&b.0));
        // The best threshold, either way round.
        let mut right = clips.iter().filter(|(_, many)| *many).count();
        let mut best = right.max(200 - right);
        for (_, many) in clips {
            right = if many { right - 1 } else { right + 1 };
            best = best.max(right).max(200 - right);
        }
        best as f64 / 200.0
    };
    let (average, equalised) = (accuracy(Mode::Average), accuracy(Mode::LevelEqualised));
    assert!(average > 0.75, "{average}");
    // The best of all thresholds on the very clips it is chosen on is a little above a half.
    assert!(equalised < 0.6, "{equalised}");
}

#[test]
fn average_is_the_mean_of_the_cuts_and_nothing_else() {
    let data = librispeech(&OFFICIAL, 2);
    let mixer = mixer(data.path(), &MixConfig { mode: Mode::Average, ..small() }, 5).unwrap();
    let manifest = mixer.manifest().unwrap();
    let mut same_speaker = false;
    for entry in &manifest.entries {
        let mixture = entry.mixture.as_ref().unwrap();
        assert!(mixture.room.is_none() && mixture.noise.is_none() && mixture.level.is_none());
        same_speaker |= entry.speaker_ids.iter().collect::<BTreeSet<_>>().len() < entry.speaker_ids.len();
        let cut = |path: &Path, start: f64| {
            let clip =
                Entry { path: path.to_owned(), start: Some(start), duration: Some(0.4), ..Entry::default() };
            manifest.decode(&clip).unwrap().0.samples
        };
        let cuts: Vec<Vec<f32>> = mixture.voices.iter().map(|voice| cut(&voice.path, voice.start)).collect();
        for (n, x) in manifest.decode(entry).unwrap().0.samples.into_iter().enumerate() {
            let mean = cuts.iter().map(|cut| cut[n]).sum::<f32>() / cuts.len() as f32;
            assert!((x - mean).abs() < 1e-6);
        }
    }
    assert!(same_speaker, "the original draws anybody, the same person too");
}

#[test]
fn mixtures_depend_on_the_seed_and_their_number_alone() {
    let data = librispeech(&OFFICIAL, 3);
    let noise = vec!["pink".to_owned(), "white".to_owned()];
    let config = MixConfig { noise, reverb: true, ..small() };
    let rows = |config: &MixConfig, seed| mixer(data.path(), config, seed).unwrap();
    let first = rows(&config, 1).manifest().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(|| rows(&config, 1).manifest().unwrap()), first);
    let shorter = rows(&MixConfig { train: 10, ..config.clone() }, 1);
    assert_eq!(entries(&shorter, Split::Train), first.entries[..10]);
    let other = rows(&config, 2).manifest().unwrap();
    assert!(first.entries.iter().zip(&other.entries).all(|(a, b)| a.mixture != b.mixture));
    let different: BTreeSet<String> = first.entries.iter().map(|e| format!("{:?}", e.mixture)).collect();
    assert_eq!(different.len(), first.entries.len());
}

#[test]
fn files_hold_what_the_rows_of_a_virtual_manifest_render() {
    let data = librispeech(&OFFICIAL, 2);
    let args = [
        "prepare",
        "librispeech-mix",
        ".",
        "--train=12",
        "--valid=4",
        "--test=4",
        "--seconds=0.4",
        "--counts=0,1,2",
    ];
    let more = ["--noise=brown", "--snr=5..15", "--reverb"];
    let with = |out: &[&str]| {
        let output = run(data.path(), &[&args[..], &more, out].concat());
        assert!(output.status.success(), "{}", talk(&output));
    };
    with(&["--out", "files"]);
    with(&["--out", "elsewhere/virtual.csv", "--virtual"]);
    assert_eq!(fs::read_dir(data.path().join("elsewhere")).unwrap().count(), 1, "nothing but the manifest");
    let files = Manifest::read(&data.path().join("files/manifest.csv")).unwrap();
    let rendered = Manifest::read(&data.path().join("elsewhere/virtual.csv")).unwrap();
    assert_eq!((files.entries.len(), rendered.entries.len()), (20, 20));
    assert_eq!(files.labels.names(), ["0", "1", "2"]);
    for (file, row) in files.entries.iter().zip(&rendered.entries) {
        assert_eq!((&file.labels, file.split, &file.speaker_ids), (&row.labels, row.split, &row.speaker_ids));
        assert!(file.path.ends_with(row.path.file_name().unwrap()) && file.mixture.is_none());
        let (stored, info) = files.decode(file).unwrap();
        assert_eq!((info.sample_rate, info.channels, stored.samples.len()), (RATE, 1, 6_400));
        let exact = rendered.decode(row).unwrap().0.samples;
        assert!(rms(&exact) > 0.009, "{}", file.path.display());
        for (stored, exact) in stored.samples.iter().zip(&exact) {
            assert!((stored - exact).abs() <= 0.5 / 32_768.0);
        }
        let columns =
            ["sources", "offsets", "gains"].map(|name| file.extra.get(name).map_or("", String::as_str));
        let count: usize = file.labels[0].parse().unwrap();
        assert!(
            columns.iter().all(|c| c.split(';').filter(|v| !v.is_empty()).count() == count),
            "{columns:?}"
        );
        assert!(file.extra["noise"].starts_with("brown ") && file.extra.contains_key("room"));
        assert_eq!(file.extra.contains_key("snr"), count > 0);
    }
    let names: Vec<&Path> = files.entries.iter().map(|e| e.path.as_path()).collect();
    let last =
        ["train/Audio_Train12.wav", "valid/Audio_Validation1.wav", "test/Audio_Test4.wav"].map(Path::new);
    assert!(last.iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let data = librispeech(&OFFICIAL, 2);
    let config = MixConfig { counts: vec![1, 2], ..small() };
    let mixer = mixer(data.path(), &config, 1).unwrap();
    let corpus = Corpus::list(data.path(), &config, Seed(1)).unwrap();
    let claim = |folder: &Path| MixFolder::claim(folder, &corpus).unwrap();
    let write =
        |folder: &Path| mixer.write_clips(&claim(folder), &|_| (), &AtomicBool::new(false)).map(|_| ());
    let (whole, stopped) = (data.path().join("whole"), data.path().join("stopped"));
    write(&whole).unwrap();
    let expected = tree(&whole);
    assert_eq!(expected.len(), 36 + 18 + 18 + 2);
    for files in [0, 1, 30] {
        let (stop, made) = (AtomicBool::new(files == 0), AtomicUsize::new(0));
        let progress = |_| {
            if made.fetch_add(1, Ordering::Relaxed) + 1 >= files {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let error = mixer.write_clips(&claim(&stopped), &progress, &stop).unwrap_err();
        assert!(matches!(error, Error::Stopped));
        let left = tree(&stopped);
        assert!(left.len() < expected.len() && !left.contains_key(Path::new("manifest.csv")), "{files}");
        assert!(left.iter().all(|(path, bytes)| expected[path] == *bytes), "{files}: a file is not whole");
    }
    // As after kill -9 and a full disk: a file that was being written, and one that is cut off.
    fs::write(stopped.join("train/.writing-abc"), "half").unwrap();
    fs::write(stopped.join("train/Audio_Train1.wav"), "RIFF").unwrap();
    write(&stopped).unwrap();
    assert!(tree(&stopped) == expected);
    write(&stopped).unwrap();
    assert!(tree(&stopped) == expected);
}

#[test]
fn a_folder_with_other_settings_or_other_things_is_refused_and_left_alone() {
    let data = librispeech(&OFFICIAL, 2);
    let args = [
        "prepare",
        "librispeech-mix",
        "LibriSpeech",
        "--valid=2",
        "--test=2",
        "--seconds=0.4",
        "--counts=1,2",
    ];
    let with = |more: &[&str]| run(data.path(), &[&args[..], more].concat());
    assert!(with(&["--train=4", "--out=mix"]).status.success());
    let before = tree(&data.path().join("mix"));
    for (more, expected) in [
        (["--train=4", "--seed=7"], "seed was 42, is 7"),
        (["--train=5", "--seed=42"], "train was 4, is 5"),
        (["--train=4", "--level=-50..-30"], "level was [-40.0, -25.0], is [-50.0, -30.0]"),
    ] {
        let output = with(&[&more[..], &["--out=mix"]].concat());
        let text = talk(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("mix: it holds mixtures made with other settings") && text.contains(expected),
            "{text}"
        );
    }
    voice(&data.path().join("LibriSpeech/train-clean-100/100/7/100-7-0000.wav"), 90.0, 0.5, 800);
    let text = talk(&with(&["--train=4", "--out=mix"]));
    assert!(text.contains("recordings was"), "another recording of the same name: {text}");
    assert!(tree(&data.path().join("mix")) == before);

    let output = with(&["--train=4", "--out=LibriSpeech"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(talk(&output).contains("LibriSpeech: it holds something else; choose another --out"));
    assert_eq!(fs::read_dir(data.path().join("LibriSpeech")).unwrap().count(), 4);
}

#[test]
fn what_is_wrong_with_the_folder_is_told_before_anything_is_listened_to() {
    let data = librispeech(&OFFICIAL, 2);
    let noises = data.path().join("noises");
    (0..3).for_each(|i| voice(&noises.join(format!("{i}.wav")), 1000.0, 0.2, 0));
    let with = |args: &[&str]| {
        let common = ["prepare", "librispeech-mix", ".", "--train=4", "--valid=1", "--test=1"];
        run(data.path(), &[&common[..], &["--seconds=0.4", "--counts=1,2"], args].concat())
    };
    assert!(with(&["--out=mix"]).status.success());
    silence(data.path());
    assert!(talk(&with(&["--out=new"])).contains("--counts: train has 0 male and 0 female speakers"));
    assert!(talk(&with(&["--out=new", "--counts=9"])).contains("--counts: train has 2 male and 2 female"));
    let recording = "LibriSpeech/train-clean-100/100/7/100-7-0000.wav";
    let locked = data.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let other = fs::File::open(&locked).unwrap();
    other.lock().unwrap();
    let in_a_file = format!("--out={recording}");
    let below_a_file = format!("--out={recording}/mix");
    let before = tree(data.path());
    for (args, expected) in [
        (
            &["--out=mix", "--seed=7"][..],
            "mix: it holds mixtures made with other settings (seed was 42, is 7)",
        ),
        (&["--out=LibriSpeech"], "LibriSpeech: it holds something else; choose another --out"),
        (&["--out=locked"], "locked: another oido is writing mixtures to it; wait for that one"),
        (&["--out=noises/mix", "--noise=noises"], "noises, where noise is taken from; choose another --out"),
        (&[&in_a_file], "it is no folder; choose another --out"),
        (&[&below_a_file], "cannot make the folder"),
        (&[&below_a_file, "--virtual"], "cannot write"),
        (&[&in_a_file, "--virtual"], "would replace the input"),
        (&["--out=LibriSpeech/SPEAKERS.TXT", "--virtual"], "would replace the input"),
        (&["--out=noises/1.wav", "--virtual", "--noise=noises"], "would replace the input"),
        (&["--out=LibriSpeech", "--virtual"], "LibriSpeech: cannot write: is a directory"),
    ] {
        let output = with(args);
        let text = talk(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
    assert!(tree(data.path()) == before);
}

#[cfg(unix)]
#[test]
fn a_folder_is_written_to_by_one_at_a_time() {
    let data = librispeech(&OFFICIAL, 2);
    let config = MixConfig { counts: vec![1, 2], ..small() };
    let corpus = Corpus::list(data.path(), &config, Seed(1)).unwrap();
    let mixer = mixer(data.path(), &config, 1).unwrap();
    let folder = data.path().join("mix");
    let first = MixFolder::claim(&folder, &corpus).unwrap();
    // What the first is writing now must not be taken for the rest of a killed run.
    fs::write(folder.join(".writing-abc"), "half").unwrap();
    let error = MixFolder::claim(&folder, &corpus).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "mix: another oido is writing mixtures to it; wait for that one, or choose another --out"
        ),
        "{error}"
    );
    assert!(folder.join(".writing-abc").exists());
    mixer.write_clips(&first, &|_| (), &AtomicBool::new(false)).unwrap();
    drop(first);
    MixFolder::claim(&folder, &corpus).unwrap();
    assert!(!folder.join(".writing-abc").exists());
}

#[test]
fn impossible_settings_are_one_sentence() {
    let data = librispeech(&OFFICIAL, 1);
    for (args, expected) in [
        (&["--counts=3"][..], "--counts: train has 1 male and 1 female speakers"),
        (&["--counts=0,1"], "--counts: a mixture of 0 speakers is noise alone"),
        (&["--noise=purple"], "--noise: purple is neither white, pink, brown nor a folder"),
        (&["--mode=average", "--reverb"], "--mode: average"),
        (&["--level=-30..-10"], "--level: -30 to -10"),
        (&["--seconds=2.5"], "--counts: train has 0 male and 0 female speakers"),
        (&["--counts=2", "--min-active=0.5", "--min-overlap=1"], "--min-overlap: 2 speakers"),
    ] {
        let common =
            ["prepare", "librispeech-mix", ".", "--out=mix", "--seconds=2", "--counts=1,2", "--train=9"];
        let kept = common
            .iter()
            .filter(|word| args.iter().all(|arg| arg.split('=').next() != word.split('=').next()));
        let output = run(data.path(), &kept.chain(args).copied().collect::<Vec<_>>());
        let text = talk(&output);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {text}");
        assert!(
            text.lines().any(|line| line.starts_with("error: ") && line.contains(expected)),
            "{args:?}: {text}"
        );
        assert!(!data.path().join("mix/manifest.csv").exists());
    }
    let output = run(data.path(), &["prepare", "librispeech-mix", ".", "--out=mix", "--snr=5"]);
    assert!(talk(&output).contains("write it as LOW..HIGH"));
    let output = run(data.path(), &["prepare", "librispeech-mix", "absent", "--out=mix"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(talk(&output).contains("absent: this is no LibriSpeech folder: there is no SPEAKERS.TXT"));
}

#[test]
fn one_subset_is_divided_by_speakers_and_broken_recordings_are_listed() {
    let data = librispeech(&["dev-clean"], 6);
    fs::write(data.path().join("LibriSpeech/dev-clean/100/7/100-7-0000.wav"), "no sound").unwrap();
    let cut = data.path().join("LibriSpeech/dev-clean/101/7/101-7-0001.wav");
    fs::write(&cut, &fs::read(&cut).unwrap()[..50_000]).unwrap();
    fs::create_dir_all(data.path().join("LibriSpeech/dev-clean/999/1")).unwrap();
    fs::write(data.path().join("LibriSpeech/dev-clean/999/1/999-1-0000.flac"), "").unwrap();
    let args = [
        "prepare",
        "librispeech-mix",
        ".",
        "--train=20",
        "--valid=10",
        "--test=10",
        "--seconds=0.4",
        "--counts=1,2",
    ];
    let output = run(data.path(), &[&args[..], &["--out=v.csv", "--virtual"]].concat());
    let text = talk(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("all speakers were divided: 4 train, 4 valid, 4 test"), "{text}");
    assert!(text.contains("dev-clean/999: SPEAKERS.TXT does not tell this speaker"), "{text}");
    assert!(text.contains("1 recordings are left out; all are listed in v.bad.csv"), "{text}");
    let kept = "1 recordings are cut off or damaged in places, and kept; the first is";
    assert!(text.contains(&format!("{kept} dev-clean/101/7/101-7-0001.wav: ")), "{text}");
    assert!(fs::read_to_string(data.path().join("v.bad.csv")).unwrap().contains("100-7-0000.wav"));
    let manifest = Manifest::read(&data.path().join("v.csv")).unwrap();
    let mut parts: BTreeMap<&str, BTreeSet<Option<Split>>> = BTreeMap::new();
    for entry in &manifest.entries {
        for id in &entry.speaker_ids {
            parts.entry(id).or_default().insert(entry.split);
        }
    }
    assert!(parts.values().all(|parts| parts.len() == 1), "{parts:?}");
    // A part made by itself has the same speakers.
    let test =
        ["--train=0", "--valid=0", "--test=10", "--seconds=0.4", "--counts=1,2", "--out=t.csv", "--virtual"];
    run(data.path(), &[&["prepare", "librispeech-mix", "."][..], &test].concat());
    let test = Manifest::read(&data.path().join("t.csv")).unwrap().entries;
    let in_test: Vec<&Entry> = manifest.entries.iter().filter(|e| e.split == Some(Split::Test)).collect();
    assert!(test.iter().map(|e| &e.speaker_ids).eq(in_test.iter().map(|e| &e.speaker_ids)));
    let inspected = run(data.path(), &["inspect", "v.csv"]);
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stdout));
}

#[test]
fn noise_recordings_stay_in_one_part() {
    let data = librispeech(&OFFICIAL, 1);
    let noises = data.path().join("noises");
    for i in 0..5 {
        voice(&noises.join(format!("{i}.wav")), 1000.0 + 10.0 * i as f32, 0.2, 0);
    }
    let noise = || vec![noises.to_str().unwrap().to_owned()];
    let config = MixConfig { counts: vec![0, 1], noise: noise(), ..small() };
    let mut parts: BTreeMap<PathBuf, BTreeSet<Option<Split>>> = BTreeMap::new();
    let manifest = mixer(data.path(), &config, 9).unwrap().manifest().unwrap();
    for entry in &manifest.entries {
        let mixture = entry.mixture.as_ref().unwrap();
        let noise = mixture.files().nth(mixture.voices.len()).unwrap();
        parts.entry(noise.to_owned()).or_default().insert(entry.split);
        assert!(rms(&manifest.decode(entry).unwrap().0.samples) > 0.009);
    }
    assert!(parts.len() == 5 && parts.values().all(|parts| parts.len() == 1), "{parts:?}");

    // With three recordings each part has one, and one of them is no use.
    let silent = Waveform { samples: vec![0.0; 800], sample_rate: RATE };
    write_wav(&noises.join("0.wav"), &silent, WavFormat::Pcm16).unwrap();
    fs::remove_file(noises.join("1.wav")).unwrap();
    fs::remove_file(noises.join("2.wav")).unwrap();
    let error = mixer(data.path(), &config, 9).unwrap_err().to_string();
    assert!(error.contains("data.mix.noise: no recording of a folder can be used for"), "{error}");
    fs::remove_file(noises.join("3.wav")).unwrap();
    let error = mixer(data.path(), &config, 9).unwrap_err().to_string();
    assert!(error.contains("noises has 2 recordings for 3 parts"), "{error}");
}

#[test]
fn a_speaker_planted_across_the_split_is_found() {
    let data = librispeech(&OFFICIAL, 2);
    let args = [
        "prepare",
        "librispeech-mix",
        ".",
        "--train=12",
        "--valid=6",
        "--test=6",
        "--seconds=0.4",
        "--counts=1,2",
    ];
    for (out, more) in [("mix", &["--out=mix"][..]), (".", &["--out=manifest.csv", "--virtual"])] {
        assert!(run(data.path(), &[&args[..], more].concat()).status.success());
        let path = data.path().join(out).join("manifest.csv");
        let sound = run(data.path(), &["inspect", path.to_str().unwrap()]);
        assert_eq!(sound.status.code(), Some(0), "{}", String::from_utf8_lossy(&sound.stdout));
        let mut manifest = Manifest::read(&path).unwrap();
        let stranger = manifest.entries[0].speaker_ids[0].clone();
        let test = manifest.entries.iter_mut().find(|entry| entry.split == Some(Split::Test)).unwrap();
        test.speaker_ids[0].clone_from(&stranger);
        manifest.write(&path).unwrap();
        let leaking = run(data.path(), &["inspect", path.to_str().unwrap()]);
        let text = String::from_utf8(leaking.stdout).unwrap();
        assert_eq!(leaking.status.code(), Some(1), "{text}");
        assert!(text.contains("LEAKING SPLIT") && text.contains(&format!("{stranger}: ")), "{text}");
    }
    // An utterance that crosses although the names of the speakers do not tell.
    let path = data.path().join("manifest.csv");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let utterance =
        |line: &str| line.split("\"\"path\"\":\"\"").nth(1).unwrap().split("\"\"").next().unwrap().to_owned();
    let last = lines[lines.len() - 1];
    let planted = last.replace(&utterance(last), &utterance(lines[1]));
    fs::write(&path, text.replace(last, &planted)).unwrap();
    let leaking = run(data.path(), &["inspect", "manifest.csv"]);
    assert!(String::from_utf8_lossy(&leaking.stdout).contains(&utterance(lines[1])));
}

/// Recipe of a tiny network on tiny mixtures.
const RECIPE: &str = r#"
name = "speakers"
[split]
protocol = "manifest"
[audio]
sample_rate = 16000
clip_seconds = 0.4
[features]
kind = "log_mel"
n_mels = 16
[model]
name = "dense"
[training]
epochs = 1
"#;

#[test]
fn a_recipe_draws_the_same_mixtures_as_a_virtual_manifest() {
    let data = librispeech(&OFFICIAL, 2);
    let args = [
        "prepare",
        "librispeech-mix",
        ".",
        "--out=v.csv",
        "--virtual",
        "--train=12",
        "--valid=4",
        "--test=4",
    ];
    assert!(run(data.path(), &[&args[..], &["--seconds=0.4", "--counts=1,2"]].concat()).status.success());
    let drawn = "[data]\nsource = \"librispeech-mix\"\npath = \".\"\n\
                 [data.mix]\ntrain = 12\nvalid = 4\ntest = 4\nseconds = 0.4\ncounts = [1, 2]\n";
    fs::write(data.path().join("drawn.toml"), format!("{RECIPE}{drawn}")).unwrap();
    fs::write(data.path().join("listed.toml"), RECIPE).unwrap();
    let train = |args: &[&str]| {
        let output = run(data.path(), &[&["train"][..], args].concat());
        assert!(output.status.success(), "{}", talk(&output));
    };
    // One more speaker that nobody can hear; the draw is the same without.
    let broken = data.path().join("LibriSpeech/train-clean-100/998/1/998-1-0000.flac");
    fs::create_dir_all(broken.parent().unwrap()).unwrap();
    fs::write(&broken, "no sound").unwrap();
    let table = data.path().join("LibriSpeech/SPEAKERS.TXT");
    fs::write(&table, fs::read_to_string(&table).unwrap() + "998 | F | train-clean-100 | 1 | Nobody\n")
        .unwrap();
    train(&["drawn.toml", "--out=drawn"]);
    let info = fs::read_to_string(data.path().join("drawn/run.json")).unwrap();
    assert!(
        info.contains("1 recordings are left out of the mixtures") && info.contains("998-1-0000.flac"),
        "{info}"
    );
    fs::remove_file(&broken).unwrap();
    train(&["listed.toml", "--data=v.csv", "--out=listed"]);
    for file in ["weights/best.safetensors", "predictions.csv", "manifest.csv"] {
        let read = |run: &str| fs::read(data.path().join(run).join(file)).unwrap();
        assert!(read("drawn") == read("listed"), "{file}");
    }
    let predictions = fs::read_to_string(data.path().join("drawn/predictions.csv")).unwrap();
    assert_eq!(predictions.lines().count(), 5, "{predictions}");
    let recipe = fs::read_to_string(data.path().join("drawn/recipe.toml")).unwrap();
    assert!(recipe.contains("min_overlap = 0.25"), "defaults are written out: {recipe}");
    // What the network says of a mixture that is rendered is what it says of the file.
    let bundled = run(data.path(), &["bundle", "drawn", "--out=b.tar.gz"]);
    assert!(bundled.status.success(), "{}", talk(&bundled));
    let files = ["--out=files", "--train=12", "--valid=4", "--test=4", "--seconds=0.4", "--counts=1,2"];
    assert!(run(data.path(), &[&["prepare", "librispeech-mix", "."][..], &files].concat()).status.success());
    let predict = |manifest: &str| {
        let output = run(data.path(), &["predict", "b.tar.gz", manifest, "--format=csv"]);
        assert!(output.status.success(), "{}", talk(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let (rendered, stored) = (predict("v.csv"), predict("files/manifest.csv"));
    assert_eq!((rendered.lines().count(), stored.lines().count()), (21, 21));
    let labels = |text: &str| -> Vec<String> {
        text.lines().map(|l| l.split(',').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(labels(&rendered), labels(&stored));
    // What the clips are made of makes the run: others cannot take it over.
    let args = ["drawn.toml", "--out=drawn", "--resume", "--set", "data.mix.train=13"];
    let other = run(data.path(), &[&["train"][..], &args].concat());
    assert!(talk(&other).contains("its recipe or data differ"));
    let wrong = run(data.path(), &["train", "listed.toml", "--data=v.csv", "--set", "data.mix.train=3"]);
    assert_eq!(wrong.status.code(), Some(4));
    assert!(talk(&wrong).contains("data.mix: mixtures are drawn only with data.source"), "{}", talk(&wrong));
}

#[test]
fn mixtures_that_cannot_be_trained_on_are_refused_before_they_are_drawn() {
    let data = librispeech(&OFFICIAL, 2);
    let args = ["prepare", "librispeech-mix", ".", "--train=4", "--valid=1", "--test=1", "--counts=1,2"];
    let listed = ["--seconds=0.5", "--out=v.csv", "--virtual"];
    assert!(run(data.path(), &[&args[..], &listed].concat()).status.success());
    let drawn = "[data]\nsource = \"librispeech-mix\"\npath = \".\"\n\
                 [data.mix]\nseconds = 0.4\ncounts = [1, 2]\n";
    fs::write(data.path().join("drawn.toml"), format!("{RECIPE}{drawn}")).unwrap();
    fs::write(data.path().join("listed.toml"), RECIPE).unwrap();
    let listed = ["listed.toml", "--data=v.csv", "--dry-run", "--set", "audio.clip_seconds=0.5"];
    let output = run(data.path(), &[&["train"][..], &listed].concat());
    assert!(output.status.success(), "{}", talk(&output));
    silence(data.path());
    fs::create_dir(data.path().join("old")).unwrap();
    fs::write(data.path().join("old/notes.txt"), "of somebody").unwrap();
    let long = "audio.clip_seconds: 0.4 s is less than the 0.5 s of the mixtures";
    for (args, code, expected) in [
        (&["listed.toml", "--data=v.csv"][..], 4, long),
        (&["drawn.toml", "--set", "data.mix.seconds=0.5"], 4, long),
        (&["drawn.toml", "--set", "data.mix.seconds=0.5", "--dry-run"], 4, long),
        (&["drawn.toml", "--set", "data.mix.counts=[1]"], 4, "needs at least 2 classes"),
        (&["drawn.toml", "--set", "data.mix.valid=0"], 4, "data.mix.valid: 0 leaves nothing"),
        (&["drawn.toml", "--set", "data.mix.counts=[1, 9]"], 4, "data.mix.counts: train has 2 male"),
        (&["drawn.toml", "--out=old"], 2, "old already holds a run or something else"),
        (&["drawn.toml", "--out=v.csv/run"], 2, "v.csv/run/recipe.toml"),
    ] {
        let output = run(data.path(), &[&["train"][..], args].concat());
        let text = talk(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
    assert!(fs::read_dir(data.path().join("runs")).map_or(0, Iterator::count) == 0, "an empty run is left");
}

/// Programs that are stopped need signals.
#[cfg(unix)]
#[test]
fn a_killed_or_interrupted_command_goes_on_to_the_same_bytes() {
    use std::process::{Command, Stdio};
    let data = librispeech(&OFFICIAL, 2);
    let args = [
        "prepare",
        "librispeech-mix",
        ".",
        "--train=400",
        "--valid=9",
        "--test=9",
        "--seconds=0.4",
        "--counts=1,2",
    ];
    assert!(run(data.path(), &[&args[..], &["--out=whole"]].concat()).status.success());
    let out = data.path().join("stopped");
    for (signal, files, code) in [("KILL", 1, None), ("INT", 50, Some(130)), ("TERM", 90, Some(143))] {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oido"));
        command
            .current_dir(data.path())
            .args(args)
            .arg("--out=stopped")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let train = out.join("train");
        while child.try_wait().unwrap().is_none() && fs::read_dir(&train).map_or(0, Iterator::count) < files {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(
            Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success()
        );
        assert_eq!(child.wait().unwrap().code(), code, "{signal}: ended before it was stopped");
        assert!(!out.join("manifest.csv").exists());
    }
    assert!(run(data.path(), &[&args[..], &["--out=stopped"]].concat()).status.success());
    assert!(tree(&out) == tree(&data.path().join("whole")));
}
