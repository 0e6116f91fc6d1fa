//! Listens to every recording once: who can be heard in which part, when they speak, and what is broken.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::activity::Activity;
use super::config::{Background, MixConfig, wrong};
use super::librispeech::{Sex, Speaker, TABLE, Tree, list};
use super::mixture::SAMPLE_RATE;
use super::plan::{Stream, possible_females, rng};
use crate::audio::{self, Colour, Limits, Source, Waveform};
use crate::dataset::decode_each::reason;
use crate::dataset::prepare::recordings;
use crate::dataset::{BadClip, Error, Split};
use crate::files::hex;
use crate::seed::Seed;

/// Where the data set has no subsets for the parts, one speaker in this many goes to valid, and to test.
const HELD_OUT: usize = 10;

/// What is to be mixed and how, found without decoding anything: who reads where, and who is heard in which part.
#[derive(Debug)]
pub struct Corpus {
    pub(super) config: MixConfig,
    pub(super) seed: Seed,
    tree: Tree,
    /// Of each speaker; none for those in subsets that nothing is asked of.
    parts: Vec<Option<Split>>,
    noises: Vec<NoiseRecording>,
}

/// What there is to mix.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the paths of utterances start from.
    pub root: PathBuf,
    /// Train, valid, test.
    pub pools: [Pool; 3],
    /// Hash of everything that draws depend on.
    pub fingerprint: String,
    /// What is odd, a sentence each.
    pub remarks: Vec<String>,
    /// Recordings that cannot be used.
    pub bad: Vec<BadClip>,
}

/// What is heard in one part.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Males and females, sorted by id.
    pub talkers: [Vec<Talker>; 2],
    /// One for each of [`MixConfig::noise`].
    pub noises: Vec<NoisePool>,
}

/// A speaker with enough to say.
#[derive(Debug)]
pub(super) struct Talker {
    pub id: String,
    pub utterances: Vec<Utterance>,
}

/// A recording that a cut can be taken from.
#[derive(Debug)]
pub(super) struct Utterance {
    pub path: String,
    pub activity: Activity,
}

/// A background to draw from.
#[derive(Debug)]
pub(super) enum NoisePool {
    Synthetic(Colour),
    /// Absolute path and seconds of each recording.
    Recordings(Vec<(PathBuf, f64)>),
}

impl Corpus {
    /// Lists the LibriSpeech tree under `root` and the noise folders.
    ///
    /// # Errors
    /// [`Error::Config`] for impossible settings, also when a part has too few speakers; [`Error::Layout`] when `root` is no LibriSpeech; [`Error::Io`] for a
    /// folder that cannot be read.
    pub fn list(root: &Path, config: &MixConfig, seed: Seed) -> Result<Self, Error> {
        config.validate()?;
        let mut tree = list(root)?;
        let parts = parts(&tree.speakers, config, seed, &mut tree.remarks);
        for part in Split::ALL.into_iter().filter(|part| config.size(*part) > 0) {
            let of = |sex: Sex| {
                let those = tree.speakers.iter().zip(&parts);
                those.filter(|(speaker, its)| speaker.sex == sex && **its == Some(part)).count()
            };
            for &count in &config.counts {
                possible_females(part, Sex::ALL.map(of), count, config.mode)?;
            }
        }
        let noises = noise_recordings(config, seed)?;
        Ok(Self { config: config.clone(), seed, tree, parts, noises })
    }

    /// Every file that is read: the table of speakers, their recordings and the noises.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let utterances = self.tree.speakers.iter().flat_map(|speaker| &speaker.utterances);
        let named = utterances.map(String::as_str).chain([TABLE]).map(|name| self.tree.root.join(name));
        named.chain(self.noises.iter().map(|noise| noise.path.clone()))
    }

    /// The folders that noise is taken from, absolute.
    pub(super) fn noise_folders(&self) -> impl Iterator<Item = PathBuf> {
        self.config.backgrounds().into_iter().filter_map(|background| match background {
            Background::Folder(folder) => std::path::absolute(folder).ok(),
            Background::Synthetic(_) => None,
        })
    }

    /// Listens to every recording; `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// [`Error::Stopped`] when `stop` was set on the way.
    pub(super) fn scan(
        self,
        progress: &(dyn Fn(usize, usize) + Sync),
        stop: &AtomicBool,
    ) -> Result<Scan, Error> {
        let Self { config, mut tree, parts, noises, .. } = self;
        let wanted = tree.speakers.iter().zip(parts).filter_map(|(speaker, part)| Some((speaker, part?)));
        let voices: Vec<(&Speaker, Split, &String)> = wanted
            .flat_map(|(speaker, part)| speaker.utterances.iter().map(move |path| (speaker, part, path)))
            .collect();

        let done = AtomicUsize::new(0);
        let ears = Ears { done: &done, total: voices.len() + noises.len(), progress, stop };
        let activity = |wave: &Waveform| Activity::of(&wave.samples, wave.sample_rate);
        let activities = ears.listen(&voices, |voice| tree.root.join(voice.2), activity)?;
        let length = |wave: &Waveform| (wave.peak() > 0.0).then(|| wave.seconds());
        let lengths = ears.listen(&noises, |noise| noise.path.clone(), length)?;

        let mut hash = Sha256::new();
        let mut pools = [(); 3].map(|()| Pool::new(&config));
        let (mut bad, mut damaged) = (Vec::new(), Vec::new());
        let mut reject = |path: PathBuf, reason: String| bad.push(BadClip { path, reason });
        for ((speaker, part, path), activity) in voices.into_iter().zip(activities) {
            match activity {
                Err(reason) => reject(path.into(), reason),
                Ok(Heard { facts: activity, damage }) => {
                    damaged.extend(damage.map(|reason| BadClip { path: path.into(), reason }));
                    hash.update(format!(
                        "{part:?} {} {:?} {path} {}\n",
                        speaker.id,
                        speaker.sex,
                        activity.len()
                    ));
                    hash.update(activity.bytes());
                    if activity.has(config.frames(), config.least_active()) {
                        pools[part as usize].add(speaker, Utterance { path: path.clone(), activity });
                    }
                }
            }
        }
        for (noise, length) in noises.into_iter().zip(lengths) {
            match length {
                Err(reason) => reject(noise.path, reason),
                Ok(Heard { facts: None, .. }) => {
                    reject(noise.path, "is digital silence, which is no background".to_owned())
                }
                Ok(Heard { facts: Some(seconds), damage }) => {
                    damaged.extend(damage.map(|reason| BadClip { path: noise.path.clone(), reason }));
                    hash.update(format!(
                        "{:?} {} {} {seconds}\n",
                        noise.part,
                        noise.background,
                        noise.path.display()
                    ));
                    if let NoisePool::Recordings(list) =
                        &mut pools[noise.part as usize].noises[noise.background]
                    {
                        list.push((noise.path, seconds));
                    }
                }
            }
        }
        if let Some(BadClip { path, reason }) = damaged.first() {
            let (count, path) = (damaged.len(), path.display());
            tree.remarks.push(format!(
                "{count} recordings are cut off or damaged in places, and kept; the first is {path}: {reason}"
            ));
        }
        let fingerprint = hex(&hash.finalize());
        Ok(Scan { root: tree.root, pools, fingerprint, remarks: tree.remarks, bad })
    }
}

/// What is kept of a recording.
struct Heard<F> {
    facts: F,
    /// Why something of it is missing.
    damage: Option<String>,
}

/// Decoding many files, in parallel, until told to stop.
struct Ears<'a> {
    done: &'a AtomicUsize,
    total: usize,
    progress: &'a (dyn Fn(usize, usize) + Sync),
    stop: &'a AtomicBool,
}

impl Ears<'_> {
    /// What `facts` keeps of each item's file, in order, or why it cannot be decoded.
    fn listen<T: Sync, F: Send>(
        &self,
        items: &[T],
        path: impl Fn(&T) -> PathBuf + Sync,
        facts: impl Fn(&Waveform) -> F + Sync,
    ) -> Result<Vec<Result<Heard<F>, String>>, Error> {
        let listen = |item: &T| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let path = path(item);
            let heard = audio::decode(&Source::Path(&path), &Limits::patient());
            let heard = heard.and_then(|(wave, info)| {
                let wave = audio::resample(wave, SAMPLE_RATE)?;
                Ok(Heard { facts: facts(&wave), damage: info.damage })
            });
            (self.progress)(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.total);
            Ok(heard.map_err(|error| reason(&error, &path)))
        };
        items.par_iter().map(listen).collect()
    }
}

impl Pool {
    /// Numbers of males and females.
    pub(super) fn people(&self) -> [usize; 2] {
        [0, 1].map(|sex| self.talkers[sex].len())
    }

    fn new(config: &MixConfig) -> Self {
        let pool = |background| match background {
            Background::Synthetic(colour) => NoisePool::Synthetic(colour),
            Background::Folder(_) => NoisePool::Recordings(Vec::new()),
        };
        Self { talkers: Default::default(), noises: config.backgrounds().into_iter().map(pool).collect() }
    }

    /// Speakers come one after the other.
    fn add(&mut self, speaker: &Speaker, utterance: Utterance) {
        let talkers = &mut self.talkers[speaker.sex as usize];
        match talkers.last_mut().filter(|last| last.id == speaker.id) {
            Some(talker) => talker.utterances.push(utterance),
            None => talkers.push(Talker { id: speaker.id.clone(), utterances: vec![utterance] }),
        }
    }
}

/// The part of each speaker: that of its subsets, when there is one for every part that is asked for; else speakers of
/// both sexes are dealt, a tenth to valid and to test, and where there are enough as many as the largest mixture needs. They
/// are dealt to all parts whatever is asked for, so that parts made one by one have different speakers too.
fn parts(
    speakers: &[Speaker],
    config: &MixConfig,
    seed: Seed,
    remarks: &mut Vec<String>,
) -> Vec<Option<Split>> {
    let is_asked = |part: &Split| config.size(*part) > 0;
    let has_subset = |part: &Split| speakers.iter().any(|speaker| speaker.part == Some(*part));
    if Split::ALL.iter().filter(|part| is_asked(part)).all(has_subset) {
        return speakers.iter().map(|speaker| speaker.part.filter(is_asked)).collect();
    }
    let mut parts = vec![None; speakers.len()];
    let most = config.counts.iter().copied().max().unwrap_or(0);
    for sex in Sex::ALL {
        let mut those: Vec<usize> = (0..speakers.len()).filter(|&i| speakers[i].sex == sex).collect();
        those.shuffle(&mut rng(seed, Split::Train, Stream::Speakers(sex), 0));
        let held_out = (those.len() / HELD_OUT).max(most.min(those.len() / 3));
        for (i, part) in those.into_iter().zip(deal(held_out)) {
            parts[i] = Some(part);
        }
    }
    let count =
        |part: Split| format!("{} {}", parts.iter().filter(|p| **p == Some(part)).count(), part.name());
    let counts = Split::ALL.map(count);
    remarks.push(format!(
        "there is not a subset (train-*, dev-*, test-*) for every part, so all speakers were divided: {}",
        counts.join(", ")
    ));
    parts.into_iter().map(|part| part.filter(is_asked)).collect()
}

/// Valid and test `held_out` times each, then train without end.
fn deal(held_out: usize) -> impl Iterator<Item = Split> {
    let held_out = [Split::Valid, Split::Test].map(|part| std::iter::repeat_n(part, held_out));
    held_out.into_iter().flatten().chain(std::iter::repeat(Split::Train))
}

/// A recording of a noise folder.
#[derive(Debug)]
struct NoiseRecording {
    background: usize,
    part: Split,
    path: PathBuf,
}

/// The recordings of every noise folder for the parts that are asked for, dealt over all parts: none is heard in two.
fn noise_recordings(config: &MixConfig, seed: Seed) -> Result<Vec<NoiseRecording>, Error> {
    let mut all = Vec::new();
    for (background, folder) in config.backgrounds().into_iter().enumerate() {
        let Background::Folder(folder) = folder else { continue };
        if !folder.is_dir() {
            let reason =
                format!("{} is neither white, pink, brown nor a folder of recordings", folder.display());
            return Err(wrong("noise", reason).into());
        }
        let folder = std::path::absolute(&folder).map_err(Error::io(&folder, "find"))?;
        let mut paths = recordings(&folder)?;
        if paths.len() < 3 {
            let (folder, has) = (folder.display(), paths.len());
            let reason = format!("{folder} has {has} recordings for 3 parts, and none may be heard in two");
            return Err(wrong("noise", reason).into());
        }
        paths.sort();
        paths.shuffle(&mut rng(seed, Split::Train, Stream::Noises, background as u64));
        let held_out = (paths.len() / HELD_OUT).max(1);
        let dealt = paths.into_iter().zip(deal(held_out)).filter(|(_, part)| config.size(*part) > 0);
        all.extend(dealt.map(|(path, part)| NoiseRecording { background, part, path: folder.join(path) }));
    }
    Ok(all)
}
