//! Everything that is known of a manifest, in one value.

use std::collections::BTreeMap;

use serde::Serialize;

use super::counts::{self, Bin, Durations, LabelSummary, SpeakerSummary, Tally, tally};
use super::crossings::{Crossing, Places, crossings};
use super::duplicates::{Duplicates, duplicates, same_content};
use super::facts::{Examiner, Facts};
use super::near_duplicates::{NearDuplicate, near_duplicates};
use super::shortcuts::{Shortcut, shortcuts};
use super::traps::{TrapSummary, traps};
use crate::dataset::decode_each::decode_each;
use crate::dataset::{BadClip, Entry, Manifest, Split, Splits};

/// What [`inspect`] found. Clips are named by the manifest's path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Rows of the manifest.
    pub clips: usize,
    /// Each label in order.
    pub labels: Vec<LabelSummary>,
    /// Clips of each fold.
    pub folds: BTreeMap<u32, usize>,
    /// Clips of each part.
    pub parts: BTreeMap<Split, usize>,
    /// Clips of each subset, from the manifest's column of that name.
    pub subsets: BTreeMap<String, usize>,
    /// Clips by number and sexes of the speakers, from the manifest's columns `speakers` and `speakers_sex`.
    pub speakers: Vec<SpeakerSummary>,
    /// Durations of the readable clips; none when there is none.
    pub seconds: Option<Durations>,
    /// Their histogram.
    pub durations: Vec<Bin>,
    /// Readable clips by sample rate in Hz.
    pub sample_rates: BTreeMap<u32, usize>,
    /// Readable clips by number of channels.
    pub channels: BTreeMap<usize, usize>,
    /// Readable clips by codec.
    pub codecs: BTreeMap<String, usize>,
    /// Clips that cannot be decoded.
    pub unreadable: Vec<BadClip>,
    /// Clips that are cut off or damaged in places.
    pub damaged: Vec<BadClip>,
    /// Silent, constant, clipped, zero-padded and band-limited clips; a trap without clips is left out.
    pub traps: Vec<TrapSummary>,
    /// What a classifier reaches that sees only loudness, duration and the like.
    pub shortcuts: Vec<Shortcut>,
    /// Clips with the same samples, silent and constant ones left out.
    pub duplicates: Vec<Duplicates>,
    /// Other clips with the same sound that are not known to be of one recording. Of a set of [`Self::duplicates`] the
    /// first in the manifest stands for all.
    pub near_duplicates: Vec<NearDuplicate>,
    /// Pairs of clips of one recording that overlap, as far as fingerprints tell.
    pub overlaps_within_recordings: usize,
    /// Recordings with clips in several parts.
    pub groups_across_parts: Vec<Crossing>,
    /// Recordings with clips in several folds.
    pub groups_across_folds: Vec<Crossing>,
    /// Labels that are probably one label spelt in two ways.
    pub similar_labels: Vec<(String, String)>,
    /// Whether sound crosses the split; see [`inspect`].
    pub leaking: bool,
}

/// How far [`inspect`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many clips are decoded.
    Decoded(usize),
    /// So many of so many pairs that may share sound are decoded again and compared.
    Compared(usize, usize),
}

/// Decodes every clip once, in parallel, and those that may share sound again. `splits` says who trains, validates and
/// tests; without a split, [`Splits::from_column`]. `progress` is told, from any thread, how far it is. The result does
/// not depend on threads.
///
/// The manifest leaks when recordings stand in several parts, or copies do that are not known to be of one recording;
/// without any part, in several folds. That counts a recording with another label in each place too, as the official
/// folds of UrbanSound8K have five: it does not flatter a figure ([`Splits::leaking`] leaves it out), but it crosses. Memory: about 1 kB a second of sound, and as much again while pairs are
/// looked for.
pub fn inspect(manifest: &Manifest, splits: &Splits, progress: &(dyn Fn(Step) + Sync)) -> Inspection {
    let entries = &manifest.entries;
    let places = Places::new(entries, splits);
    let examiner = Examiner::new();
    let decoded = |done| progress(Step::Decoded(done));
    let mut examined = decode_each(manifest, &decoded, |wave, info| examiner.examine(wave, info));

    let content = |facts: &Result<Facts, String>| {
        facts.as_ref().ok().filter(|facts| facts.has_sound()).map(|facts| facts.content)
    };
    let same = same_content(&examined.iter().map(content).collect::<Vec<_>>());
    // The first of each set stands for all.
    let mut alone = vec![true; entries.len()];
    same.iter().flat_map(|clips| &clips[1..]).for_each(|&clip| alone[clip] = false);
    let clips: Vec<usize> = (0..entries.len()).filter(|&i| alone[i] && examined[i].is_ok()).collect();
    let prints: Vec<_> = clips
        .iter()
        .filter_map(|&i| examined[i].as_mut().ok().map(|facts| std::mem::take(&mut facts.fingerprint)))
        .collect();
    let compared = |done, all| progress(Step::Compared(done, all));
    let near = near_duplicates(manifest, &places, &clips, &prints, &compared);

    let facts: Vec<Option<&Facts>> = examined.iter().map(|facts| facts.as_ref().ok()).collect();
    let readable = || facts.iter().flatten();
    let everything: Vec<usize> = (0..entries.len()).collect();
    let all = Tally::of(&everything, entries, &places);
    let seconds: Vec<f64> = readable().map(|facts| facts.info.seconds).collect();
    let named = |reason: &dyn Fn(&Result<Facts, String>) -> Option<String>| -> Vec<BadClip> {
        let bad =
            |(entry, facts): (&Entry, &_)| Some(BadClip { path: entry.path.clone(), reason: reason(facts)? });
        entries.iter().zip(&examined).filter_map(bad).collect()
    };
    let mut duplicates: Vec<Duplicates> =
        same.iter().map(|clips| duplicates(entries, &places, clips)).collect();
    duplicates.sort_by(|a, b| a.paths.cmp(&b.paths));
    let labels: Vec<LabelSummary> =
        manifest.labels.names().iter().map(|label| summary(label, entries, &places, &facts)).collect();
    let clips_of_label: Vec<usize> = labels.iter().map(|label| label.clips.clips).collect();
    let mut found = Inspection {
        clips: entries.len(),
        labels,
        folds: all.folds,
        parts: all.parts,
        subsets: all.subsets,
        speakers: counts::speakers(entries, &places),
        durations: counts::histogram(&seconds),
        seconds: counts::durations(seconds),
        sample_rates: tally(readable().map(|facts| facts.info.sample_rate)),
        channels: tally(readable().map(|facts| facts.info.channels)),
        codecs: tally(readable().map(|facts| facts.info.codec.clone())),
        unreadable: named(&|facts| facts.as_ref().err().cloned()),
        damaged: named(&|facts| facts.as_ref().ok().and_then(|facts| facts.info.damage.clone())),
        traps: traps(manifest, &facts),
        shortcuts: shortcuts(manifest, &places, &facts),
        duplicates,
        near_duplicates: near.pairs,
        overlaps_within_recordings: near.within_recordings,
        groups_across_parts: crossings(entries, |i| {
            places.parts[i].map(|part| (part, part.name().to_owned()))
        }),
        groups_across_folds: crossings(entries, |i| places.folds[i].map(|fold| (fold, fold.to_string()))),
        similar_labels: manifest
            .labels
            .similar(&clips_of_label)
            .into_iter()
            .map(|(a, b)| (a.into(), b.into()))
            .collect(),
        leaking: false,
    };
    found.leaking = found.findings().iter().any(|finding| finding.leak);
    found
}

fn summary(label: &str, entries: &[Entry], places: &Places, facts: &[Option<&Facts>]) -> LabelSummary {
    let mine: Vec<usize> =
        (0..entries.len()).filter(|&i| entries[i].labels.iter().any(|name| name == label)).collect();
    LabelSummary {
        label: label.to_owned(),
        clips: Tally::of(&mine, entries, places),
        seconds: counts::durations(
            mine.iter().filter_map(|&i| facts[i]).map(|facts| facts.info.seconds).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::super::traps::Trap;
    use super::*;
    use crate::audio::{WavFormat, Waveform, write_wav};
    use std::path::Path;

    fn write(folder: &Path, name: &str, frequency: f32, seconds: f32) {
        let samples = (0..(8000.0 * seconds) as usize).map(|n| 0.5 * (frequency * n as f32).sin()).collect();
        write_wav(&folder.join(name), &Waveform { samples, sample_rate: 8000 }, WavFormat::Pcm16).unwrap();
    }

    fn entry(path: &str, label: &str, split: Split, group: &str) -> Entry {
        Entry {
            path: path.into(),
            labels: vec![label.into()],
            split: Some(split),
            fold: Some(split as u32 + 1),
            group: Some(group.into()),
            ..Entry::default()
        }
    }

    fn look(manifest: &Manifest) -> Inspection {
        inspect(manifest, &Splits::from_column(manifest), &|_| ())
    }

    #[test]
    fn everything_that_is_wrong_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.wav", 0.1, 0.5);
        write(folder.path(), "same_as_a.wav", 0.1, 0.5);
        write(folder.path(), "b.wav", 0.2, 1.0);
        write(folder.path(), "c.wav", 0.3, 2.0);
        write(folder.path(), "quiet1.wav", 0.0, 0.25);
        write(folder.path(), "quiet2.wav", 0.0, 0.25);
        std::fs::write(folder.path().join("broken.wav"), "not audio").unwrap();
        let manifest = Manifest::new(
            folder.path(),
            vec![
                entry("a.wav", "siren", Split::Train, "1"),
                entry("same_as_a.wav", "drill", Split::Test, "2"),
                entry("b.wav", "siren", Split::Train, "3"),
                entry("c.wav", "Siren", Split::Valid, "3"),
                entry("quiet1.wav", "drill", Split::Train, "4"),
                entry("quiet2.wav", "drill", Split::Train, "4"),
                entry("broken.wav", "drill", Split::Train, "5"),
            ],
        );
        let found = look(&manifest);
        assert_eq!(found.unreadable.len(), 1);
        assert_eq!(found.unreadable[0].path, Path::new("broken.wav"));
        assert!(!found.unreadable[0].reason.contains("broken.wav"), "{}", found.unreadable[0].reason);
        let [TrapSummary { trap: Trap::Silent, clips, .. }] = &found.traps[..] else {
            panic!("{:?}", found.traps)
        };
        let silent: Vec<_> = clips.iter().map(|clip| clip.path.as_path()).collect();
        assert_eq!(silent, [Path::new("quiet1.wav"), Path::new("quiet2.wav")]);
        let [same] = &found.duplicates[..] else { panic!("{:?}", found.duplicates) };
        assert_eq!(same.paths, [Path::new("a.wav"), Path::new("same_as_a.wav")]);
        assert!(same.labels_differ && same.across_parts && same.across_folds);
        let [crossing] = &found.groups_across_parts[..] else { panic!("{:?}", found.groups_across_parts) };
        assert_eq!((crossing.group.as_str(), crossing.clips, crossing.same_label), ("3", 2, false));
        assert_eq!(crossing.places, ["train", "valid"]);
        assert_eq!(found.groups_across_folds[0].places, ["1", "2"]);
        assert_eq!(found.similar_labels, [("Siren".to_owned(), "siren".to_owned())]);
        assert!(found.leaking && found.damaged.is_empty());
        let seconds = found.seconds.unwrap();
        assert!((seconds.min - 0.25).abs() < 1e-9 && (seconds.max - 2.0).abs() < 1e-9, "{seconds:?}");
        assert!((seconds.median - 0.5).abs() < 1e-9 && (seconds.total - 4.5).abs() < 1e-9, "{seconds:?}");
        assert_eq!((found.sample_rates[&8000], found.channels[&1], found.codecs.len()), (6, 6, 1));
        assert_eq!(found.parts[&Split::Train], 5);
    }

    #[test]
    fn sound_data_leaks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.wav", 0.1, 0.5);
        write(folder.path(), "b.wav", 0.2, 0.5);
        let manifest = Manifest::new(
            folder.path(),
            vec![entry("a.wav", "siren", Split::Train, "1"), entry("b.wav", "siren", Split::Test, "2")],
        );
        let found = look(&manifest);
        assert!(!found.leaking && found.duplicates.is_empty() && found.groups_across_folds.is_empty());
        assert_eq!(found.findings(), []);
    }

    #[test]
    fn parts_of_one_long_file_are_one_recording() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "long.wav", 0.1, 2.0);
        let half = |start, split| Entry {
            start: Some(start),
            duration: Some(0.7),
            group: None,
            ..entry("long.wav", "siren", split, "")
        };
        let manifest = Manifest::new(folder.path(), vec![half(0.0, Split::Train), half(1.0, Split::Test)]);
        let found = look(&manifest);
        assert!(found.leaking && found.groups_across_parts[0].same_label);
        assert!((found.seconds.unwrap().total - 1.4).abs() < 1e-3);
    }

    fn fixture(name: &str) -> String {
        format!("{}/tests/fixtures/audio/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    /// Entries without a group.
    fn stranger(path: &str, label: &str, split: Split) -> Entry {
        Entry { group: None, ..entry(path, label, split, "") }
    }

    fn write_samples(folder: &Path, name: &str, samples: Vec<f32>) {
        write_wav(&folder.join(name), &Waveform { samples, sample_rate: 8000 }, WavFormat::Pcm16).unwrap();
    }

    #[test]
    fn copies_in_other_formats_leak() {
        let clips = [
            ("long.flac", Split::Train, "chirp"),
            ("long.mp3", Split::Test, "chirp"),
            ("long.ogg", Split::Train, "Chirp"),
        ];
        let entries = clips.map(|(name, split, label)| stranger(&fixture(name), label, split)).to_vec();
        let found = look(&Manifest::new("", entries));
        let pairs: Vec<_> = found.near_duplicates.iter().map(|p| (p.across_parts, p.labels_differ)).collect();
        assert_eq!(pairs, [(true, false), (false, true)], "{:?}", found.near_duplicates);
        assert!(found.near_duplicates.iter().all(|p| p.correlation > 0.99 && p.offset.abs() < 1e-3));
        assert!(found.leaking && found.duplicates.is_empty());
        let findings = found.findings();
        assert!(
            findings[0].leak && findings[0].title == "2 pairs of clips with the same sound",
            "{findings:?}"
        );
        assert!(findings[0].items[0].ends_with("(correlation 1.00, in several parts, in several folds)"));
        assert!(findings[0].items[1].ends_with("(correlation 1.00, labelled differently)"), "{findings:?}");
    }

    #[test]
    fn a_quieter_piece_leaks_unless_it_is_known_to_be_of_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let sound = noise(1, 8_000);
        write_samples(folder.path(), "whole.wav", sound.clone());
        write_samples(folder.path(), "piece.wav", sound[2_017..6_500].iter().map(|x| 0.1 * x).collect());
        let mut entries = vec![
            stranger("whole.wav", "rain", Split::Train),
            stranger("piece.wav", "rain", Split::Test),
            stranger("whole.wav", "rain", Split::Train),
        ];
        entries[2].path = "./whole.wav".into();
        let found = look(&Manifest::new(folder.path(), entries.clone()));
        let [pair] = &found.near_duplicates[..] else { panic!("{:?}", found.near_duplicates) };
        assert_eq!(pair.paths, [Path::new("whole.wav"), Path::new("piece.wav")]);
        assert!((pair.offset + 2_017.0 / 8_000.0).abs() < 1e-4 && pair.seconds > 0.5, "{pair:?}");
        assert!(found.leaking && !found.duplicates[0].across_parts && found.duplicates[0].paths.len() == 2);

        // Of one recording, and all of them train.
        for entry in &mut entries {
            (entry.group, entry.split) = (Some("1".into()), Some(Split::Train));
        }
        let found = look(&Manifest::new(folder.path(), entries));
        assert_eq!((found.near_duplicates.len(), found.overlaps_within_recordings), (0, 1));
        assert!(!found.leaking);
    }

    #[test]
    fn without_parts_the_folds_are_the_split() {
        let folder = tempfile::tempdir().unwrap();
        let sound = noise(1, 4_000);
        write_samples(folder.path(), "a.wav", sound.clone());
        write_samples(folder.path(), "b.wav", noise(2, 4_000));
        write_samples(folder.path(), "copy.wav", sound[100..].to_vec());
        let look = |entries: &[Entry]| look(&Manifest::new(folder.path(), entries.to_vec()));
        let in_fold = |path: &str, label: &str, fold: u32, group: &str| Entry {
            split: None,
            fold: Some(fold),
            ..entry(path, label, Split::Train, group)
        };
        // UrbanSound8K has recordings in two folds, of another class in each.
        let official = [in_fold("a.wav", "drill", 1, "7"), in_fold("copy.wav", "hammer", 2, "7")];
        let found = look(&official);
        assert!(found.leaking && found.groups_across_folds.len() == 1 && found.findings()[0].leak);
        assert!(!found.groups_across_folds[0].same_label);
        let alone = Entry { group: None, ..official[1].clone() };
        assert!(look(&[official[0].clone(), alone]).leaking, "a copy without a group");
        assert!(look(&[in_fold("a.wav", "drill", 1, "7"), in_fold("b.wav", "drill", 2, "7")]).leaking);
        assert!(look(&[in_fold("a.wav", "drill", 1, "7"), in_fold("copy.wav", "hammer", 2, "8")]).leaking);
        assert!(!look(&[in_fold("a.wav", "drill", 1, "7"), in_fold("copy.wav", "drill", 1, "8")]).leaking);
        // With parts, folds do not matter.
        let all_train = official.map(|entry| Entry { split: Some(Split::Train), group: None, ..entry });
        assert!(!look(&all_train).leaking);
    }

    #[test]
    fn a_constant_offset_is_no_sound() {
        let folder = tempfile::tempdir().unwrap();
        // Fading noise and then the offset alone, at a rate that is converted.
        for (name, seed) in [("a.wav", 1), ("b.wav", 2)] {
            let fading = noise(seed, 12_800).into_iter().enumerate();
            let fading = fading.map(|(i, x)| 0.3 * x * (-(i as f32) / 4_000.0).exp());
            let samples = fading.chain(std::iter::repeat_n(0.0, 19_200)).map(|x| x + 0.3).collect();
            let wave = Waveform { samples, sample_rate: 16_000 };
            write_wav(&folder.path().join(name), &wave, WavFormat::Pcm16).unwrap();
        }
        let entries = vec![stranger("a.wav", "dog", Split::Train), stranger("b.wav", "rain", Split::Test)];
        let found = look(&Manifest::new(folder.path(), entries));
        assert_eq!((found.near_duplicates.len(), found.leaking), (0, false), "{:?}", found.near_duplicates);
    }

    #[test]
    fn rows_of_one_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let sound = noise(1, 8_000);
        write_samples(folder.path(), "other.wav", [noise(2, 8_000), sound.clone()].concat());
        write_samples(folder.path(), "long.wav", [sound.clone(), sound, vec![0.0; 8_000]].concat());
        let row = |path: &str, start: f64| Entry {
            start: Some(start),
            duration: Some(1.0),
            ..stranger(path, "rain", Split::Train)
        };
        let rows =
            vec![row("long.wav", 0.0), row("long.wav", 1.0), row("long.wav", 2.0), row("other.wav", 0.5)];
        let found = look(&Manifest::new(folder.path(), rows));
        let text: String = found.findings().into_iter().flat_map(|finding| finding.items).collect();
        assert!(text.contains("long.wav from 0 s, long.wav from 1 s (2 clips)"), "{text}");
        assert!(text.contains("long.wav from 2 s: level"), "{text}");
        assert!(text.contains("long.wav from 0 s and other.wav from 0.5 s: "), "{text}");
        assert_eq!(found.near_duplicates[0].starts, [Some(0.0), Some(0.5)]);
    }

    #[test]
    fn threads_change_nothing() {
        let names = ["long.flac", "long.mp3", "s16.wav", "s16_stereo.flac", "vbr.mp3", "vorbis.ogg"];
        let entries = names.map(|name| stranger(&fixture(name), "chirp", Split::Train)).to_vec();
        let manifest = Manifest::new("", entries);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            serde_json::to_string(&pool.install(|| look(&manifest))).unwrap()
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn speakers_and_subsets_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.wav", 0.1, 0.5);
        let extra = |speakers: &str, sexes: &str| {
            let columns = [("speakers", speakers), ("speakers_sex", sexes), ("subset", "curated")];
            columns.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        let clip = |path: &str, speakers, sexes| Entry {
            extra: extra(speakers, sexes),
            ..stranger(path, speakers, Split::Train)
        };
        let entries =
            vec![clip("a.wav", "2", "MF"), clip("./a.wav", "2", "FM"), clip("././a.wav", "10", "MMMMMMMMMM")];
        let found = look(&Manifest::new(folder.path(), entries));
        let rows: Vec<_> =
            found.speakers.iter().map(|row| (row.speakers, row.sexes.as_str(), row.clips.clips)).collect();
        assert_eq!(rows, [(2, "FM", 2), (10, "MMMMMMMMMM", 1)]);
        assert_eq!(found.speakers[0].clips.parts[&Split::Train], 2);
        assert_eq!((found.subsets["curated"], found.labels[1].clips.subsets["curated"]), (3, 2));
    }
}
