use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cache::{FeatureCache, Key};
use super::{Backgrounds, Batch, Entry, Error, Labels, Manifest};
use crate::augment::{self, Augmentation, Backdrop, Clip, Sounds};
use crate::config::ConfigError;
use crate::features::{Extractor, FeatureShape, Features, Stats, StatsAccumulator};
use crate::seed::{Purpose, Seed};

/// Clips of a manifest, chosen by index, that give features `[bins, frames]` and targets `[num_classes]`.
///
/// Everything is a pure function of the clip (and, for training, of seed and epoch): neither threads nor the cache
/// change a bit.
#[derive(Debug, Clone)]
pub struct ClipSet {
    manifest: Arc<Manifest>,
    indices: Vec<usize>,
    /// For each clip, the class indices of its labels.
    classes: Vec<Vec<usize>>,
    num_classes: usize,
    extractor: Arc<Extractor>,
    stats: Option<Stats>,
    augmentations: Vec<Augmentation>,
    backgrounds: Backgrounds,
    untouched_half: bool,
    cache: Option<Arc<FeatureCache>>,
    /// Fingerprint of what the cache keeps of the front end.
    front_end: [u8; 32],
}

/// How often a clip of another target is looked for before there is none.
const MOST_TRIES: usize = 1000;

/// A clip that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadClip {
    /// The file as the manifest names it.
    pub path: PathBuf,
    /// One sentence.
    pub reason: String,
}

/// What [`ClipSet::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Clips that cannot be used, in order.
    pub bad: Vec<BadClip>,
    /// For each clip the sha256 of its features: what is the same to the network has the same; none for a bad clip and
    /// for one whose features are one value, as silence's are.
    pub looks: Vec<Option<[u8; 32]>>,
}

impl ClipSet {
    /// The clips `manifest.entries[i]` for every `i` of `indices`, in that order.
    ///
    /// `extractor` must not standardise; see [`ClipSet::with_stats`].
    ///
    /// # Errors
    /// [`Error::UnknownLabel`] naming the first clip with a label that is not in `labels`.
    ///
    /// # Panics
    /// When an index is outside the manifest, which is a mistake of the caller.
    pub fn new(
        manifest: Arc<Manifest>,
        indices: Vec<usize>,
        labels: Arc<Labels>,
        extractor: Arc<Extractor>,
        cache: Option<Arc<FeatureCache>>,
    ) -> Result<Self, Error> {
        debug_assert!(extractor.stats().is_none(), "features would be standardised twice");
        let classes = indices
            .iter()
            .map(|&index| class_indices(&manifest.entries[index], &labels))
            .collect::<Result<_, _>>()?;
        let front_end = fingerprint(&extractor);
        let num_classes = labels.len();
        Ok(Self {
            manifest,
            indices,
            classes,
            num_classes,
            extractor,
            stats: None,
            augmentations: Vec::new(),
            backgrounds: Backgrounds::default(),
            untouched_half: false,
            cache,
            front_end,
        })
    }

    /// All entries of `manifest`, without targets, for [`ClipSet::sound`].
    pub(super) fn of_sounds(
        manifest: Arc<Manifest>,
        extractor: &Arc<Extractor>,
        cache: Option<Arc<FeatureCache>>,
    ) -> Self {
        let indices: Vec<usize> = (0..manifest.entries.len()).collect();
        Self {
            manifest,
            classes: vec![Vec::new(); indices.len()],
            indices,
            num_classes: 0,
            extractor: Arc::clone(extractor),
            stats: None,
            augmentations: Vec::new(),
            backgrounds: Backgrounds::default(),
            untouched_half: false,
            cache,
            front_end: fingerprint(extractor),
        }
    }

    /// The clips that carry `label`, for [`ClipSet::sound`] with another front end.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none.
    pub(super) fn with_label(&self, label: &str, extractor: &Arc<Extractor>) -> Result<Self, Error> {
        let mut set = Self::of_sounds(Arc::clone(&self.manifest), extractor, self.cache.clone());
        set.indices = self.indices.clone();
        set.indices.retain(|&i| self.manifest.entries[i].labels.iter().any(|own| own == label));
        set.classes.truncate(set.indices.len());
        if set.is_empty() {
            let reason = format!("no training clip has the label {label:?}; give one that some have");
            return Err(ConfigError::field("augment.from.label", reason).into());
        }
        Ok(set)
    }

    /// The same clips with features standardised to `(x - mean) / std`.
    pub fn with_stats(mut self, stats: Stats) -> Self {
        self.stats = Some(stats);
        self
    }

    /// The same clips, augmented where they are drawn for training: in [`ClipSet::drawn_clip`] and
    /// [`ClipSet::drawn_batch`], and nowhere else. `backgrounds` are those of folders.
    ///
    /// # Errors
    /// [`Error::Config`] when a background is of a label that no clip has.
    pub fn with_augmentations(
        mut self,
        augmentations: Vec<Augmentation>,
        backgrounds: Backgrounds,
    ) -> Result<Self, Error> {
        self.backgrounds = backgrounds.with_labels(&augmentations, &self, self.extractor.audio())?;
        self.augmentations = augmentations;
        Ok(self)
    }

    /// The same clips, but an epoch of training visits each twice: as it is, and augmented.
    pub fn with_untouched_half(mut self, untouched_half: bool) -> Self {
        self.untouched_half = untouched_half;
        self
    }

    /// Number of clips that an epoch of training draws: all, or twice as many; see [`ClipSet::with_untouched_half`]. Of
    /// the visits from 0 to this, those from [`ClipSet::len`] on are the augmented half.
    pub fn visits(&self) -> usize {
        if self.untouched_half { 2 * self.len() } else { self.len() }
    }

    /// Number of clips.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is no clip.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// For each clip, its index in the manifest.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The `i`-th clip of this set.
    pub fn entry(&self, i: usize) -> &Entry {
        &self.manifest.entries[self.indices[i]]
    }

    /// Shape of the features of every clip.
    pub fn shape(&self) -> FeatureShape {
        self.extractor.shape()
    }

    /// Length of every target.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Target of the `i`-th clip: 1 for each of its labels, else 0.
    pub fn target(&self, i: usize) -> Vec<f32> {
        let mut target = vec![0.0; self.num_classes];
        for &class in &self.classes[i] {
            target[class] = 1.0;
        }
        target
    }

    /// For each class, the positions of the clips that carry it.
    pub fn clips_of_classes(&self) -> Vec<Vec<usize>> {
        let mut clips = vec![Vec::new(); self.num_classes];
        for (position, classes) in self.classes.iter().enumerate() {
            classes.iter().for_each(|&class| clips[class].push(position));
        }
        clips
    }

    /// Features of the `i`-th clip as evaluation sees it, from the cache or by decoding it.
    ///
    /// # Errors
    /// [`Error::Audio`] naming the file, when it cannot be decoded.
    pub fn features(&self, i: usize) -> Result<Features, Error> {
        Ok(self.standardized(self.raw_features(i)?))
    }

    /// Features and target of a visit of training in `epoch`: those of [`ClipSet::features`] and [`ClipSet::target`], but where
    /// `audio.longer` draws, of a part of the recording that is a function of the seed, the epoch and the clip; and augmented,
    /// if `visit` is, as the seed, the epoch and its `place` in the order of the epoch decide, so that a clip that comes twice
    /// is not augmented twice the same. A clip whose waveform is augmented is decoded anew.
    ///
    /// # Errors
    /// As [`ClipSet::features`].
    pub fn drawn_clip(
        &self,
        visit: usize,
        seed: Seed,
        epoch: u64,
        place: usize,
    ) -> Result<(Features, Vec<f32>), Error> {
        let i = visit % self.len();
        let mut rng = seed.rng(Purpose::Augment, epoch, place as u64);
        let augmentations = if self.augments(visit) { self.augmentations.as_slice() } else { &[] };
        let chosen = augment::choose(augmentations, &mut rng);
        let (mut features, target) = if self.draws() || chosen.on_waveform() {
            let mut crop = seed.rng(Purpose::Crop, epoch, self.indices[i] as u64);
            let mut clip = Clip { samples: self.draw_sound(i, &mut crop)?, target: self.target(i) };
            chosen.waveform(&mut clip, self.extractor.sample_rate(), self, &mut rng)?;
            (self.standardized(self.extractor.features(clip.samples)), clip.target)
        } else {
            (self.features(i)?, self.target(i))
        };
        chosen.spectrogram(&mut features, &mut rng);
        Ok((features, target))
    }

    fn augments(&self, visit: usize) -> bool {
        !self.untouched_half || visit >= self.len()
    }

    /// Samples of the `i`-th clip at the front end's rate and length; where `audio.longer` draws, of a part drawn from `rng`.
    ///
    /// # Errors
    /// [`Error::Audio`] naming the file, when it cannot be decoded.
    fn draw_sound(&self, i: usize, rng: &mut ChaCha8Rng) -> Result<Vec<f32>, Error> {
        let sound = if self.draws() { self.sound(i)? } else { self.decode(i)? };
        Ok(self.extractor.audio().draw(&sound, rng))
    }

    /// The clips at `positions`, stacked in that order; decoded in parallel.
    ///
    /// # Errors
    /// That of the first clip, in the order of `positions`, that cannot be used.
    pub fn batch(&self, positions: &[usize]) -> Result<Batch, Error> {
        self.stack(positions, |_, i| Ok((self.features(i)?, self.target(i))))
    }

    /// [`ClipSet::drawn_clip`] for each of `visits`, stacked in that order and then mixed with one another where
    /// augmentations do that. `place` is that of the first one in the order of the epoch.
    ///
    /// # Errors
    /// As [`ClipSet::batch`].
    pub fn drawn_batch(
        &self,
        visits: &[usize],
        seed: Seed,
        epoch: u64,
        place: usize,
    ) -> Result<Batch, Error> {
        let draw = |row, visit| self.drawn_clip(visit, seed, epoch, place + row);
        let Batch { mut inputs, mut targets, shape, .. } = self.stack(visits, draw)?;
        let augmented: Vec<bool> = visits.iter().map(|&visit| self.augments(visit)).collect();
        let mut rng = seed.rng(Purpose::MixClips, epoch, place as u64);
        augment::mix(&self.augmentations, &mut inputs, &mut targets, shape, &augmented, &mut rng);
        let clips = visits.iter().map(|visit| visit % self.len()).collect();
        Ok(Batch { clips, inputs, targets, shape })
    }

    /// `clip(row, i)` for each `i` of `clips`, in parallel.
    fn stack(
        &self,
        clips: &[usize],
        clip: impl Fn(usize, usize) -> Result<(Features, Vec<f32>), Error> + Sync,
    ) -> Result<Batch, Error> {
        let FeatureShape { bins, frames } = self.shape();
        let rows: Vec<_> = clips.par_iter().enumerate().map(|(row, &i)| clip(row, i)).collect();
        let mut inputs = Vec::with_capacity(clips.len() * bins * frames);
        let mut targets = Vec::with_capacity(clips.len() * self.num_classes);
        for row in rows {
            let (features, target) = row?;
            inputs.extend_from_slice(&features.values);
            targets.extend_from_slice(&target);
        }
        Ok(Batch { clips: clips.to_vec(), inputs, targets, shape: [clips.len(), bins, frames] })
    }

    /// One mean and one standard deviation over all values of all clips before standardisation, of the parts that are
    /// evaluated.
    ///
    /// Clips are read in parallel; their sums are added in the order of the clips, so the number of
    /// threads does not change the result.
    ///
    /// # Errors
    /// That of the first clip that cannot be decoded; [`Error::NoClips`] when there is none at all.
    pub fn stats(&self) -> Result<Stats, Error> {
        let sums = |i| Ok(StatsAccumulator::of(&self.raw_features(i)?));
        let clips: Vec<Result<_, Error>> = (0..self.len()).into_par_iter().map(sums).collect();
        let mut total = StatsAccumulator::default();
        for clip in clips {
            total.merge(clip?);
        }
        total.finish().ok_or(Error::NoClips)
    }

    /// Decodes and extracts every clip once, in parallel. `progress` is called, from any thread, with the number of
    /// clips done so far. This fills the cache.
    pub fn check(&self, progress: &(dyn Fn(usize) + Sync)) -> Checked {
        let done = AtomicUsize::new(0);
        let check = |i: usize| {
            let result = self.raw_features(i);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            let bad = |error: Error| BadClip { path: self.entry(i).path.clone(), reason: error.to_string() };
            result.map(|features| look(&features)).map_err(bad)
        };
        let checked: Vec<Result<_, BadClip>> = (0..self.len()).into_par_iter().map(check).collect();
        let (mut bad, mut looks) = (Vec::new(), Vec::with_capacity(checked.len()));
        for clip in checked {
            match clip {
                Ok(look) => looks.push(look),
                Err(clip) => {
                    bad.push(clip);
                    looks.push(None);
                }
            }
        }
        Checked { bad, looks }
    }

    /// Whether training draws parts of recordings, so that features of a clip are not the same in every epoch.
    fn draws(&self) -> bool {
        self.extractor.audio().longer.draws()
    }

    fn standardized(&self, mut features: Features) -> Features {
        if let Some(stats) = self.stats {
            stats.standardize(&mut features.values);
        }
        features
    }

    /// Features before standardisation, of the part of the recording that is evaluated.
    fn raw_features(&self, i: usize) -> Result<Features, Error> {
        let of = |sound: &[f32]| self.extractor.features(self.extractor.audio().fit(sound));
        if self.draws() {
            return Ok(of(&self.sound(i)?));
        }
        self.cached(i, |shape| shape == self.shape(), || Ok(of(&self.decode(i)?)))
    }

    /// The whole recording without its silence, for draws.
    ///
    /// # Errors
    /// [`Error::Audio`] naming the file, when it cannot be decoded.
    pub(super) fn sound(&self, i: usize) -> Result<Vec<f32>, Error> {
        let one_row = |samples: Vec<f32>| Features {
            shape: FeatureShape { bins: 1, frames: samples.len() },
            values: samples,
        };
        Ok(self.cached(i, |shape| shape.bins == 1, || Ok(one_row(self.decode(i)?)))?.values)
    }

    /// What the cache holds of the `i`-th clip, if `fits` its shape; otherwise made and kept.
    fn cached(
        &self,
        i: usize,
        fits: impl Fn(FeatureShape) -> bool,
        make: impl FnOnce() -> Result<Features, Error>,
    ) -> Result<Features, Error> {
        let entry = self.entry(i);
        let Some(cache) = &self.cache else { return make() };
        let Some(key) = Key::new(&self.front_end, &self.manifest, entry) else { return make() };
        if let Some(found) = cache.get(&key).filter(|found| fits(found.shape)) {
            return Ok(found);
        }
        let made = make()?;
        cache.put(&key, &made);
        Ok(made)
    }

    /// Samples of the `i`-th clip at the front end's rate, without silence.
    fn decode(&self, i: usize) -> Result<Vec<f32>, Error> {
        let waveform = self.manifest.load(self.entry(i), self.extractor.sample_rate())?;
        Ok(self.extractor.audio().without_silence(&waveform.samples).into_owned())
    }
}

/// Clips in which training finds others to mix in: those of the same set.
impl Sounds for ClipSet {
    type Error = Error;

    fn background(&self, from: &Backdrop, rng: &mut ChaCha8Rng) -> Result<Option<Vec<f32>>, Error> {
        self.backgrounds.draw(from, rng)
    }

    fn other(&self, target: &[f32], rng: &mut ChaCha8Rng) -> Result<Option<Clip>, Error> {
        for _ in 0..MOST_TRIES {
            let i = rng.random_range(0..self.len());
            let other = self.target(i);
            if other != target {
                return Ok(Some(Clip { samples: self.draw_sound(i, rng)?, target: other }));
            }
        }
        Ok(None)
    }
}

fn look(features: &Features) -> Option<[u8; 32]> {
    let first = features.values.first()?.to_bits();
    if features.values.iter().all(|value| value.to_bits() == first) {
        return None;
    }
    let mut hash = Sha256::new();
    features.values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    Some(hash.finalize().into())
}

fn class_indices(entry: &Entry, labels: &Labels) -> Result<Vec<usize>, Error> {
    let class = |label: &String| {
        labels.index(label).ok_or_else(|| Error::UnknownLabel {
            path: entry.path.clone(),
            label: label.clone(),
            known: labels.names().join(", "),
        })
    };
    entry.labels.iter().map(class).collect()
}

/// What two front ends with the same fingerprint keep in the cache is the same: a hash of the program's version, of every
/// setting that matters to it, and of what becomes of a fixed noise, so that a change of the code shows too.
fn fingerprint(extractor: &Extractor) -> [u8; 32] {
    let audio = extractor.audio();
    let mut rng = Seed(0).rng(Purpose::Synth, 0, 0);
    let noise: Vec<f32> = (0..4096).map(|_| rng.random_range(-1.0..1.0)).collect();
    let (settings, values) = if audio.longer.draws() {
        let sound = audio.without_silence(&noise).into_owned();
        (format!("sound {} {:?}", audio.sample_rate, audio.silence), sound)
    } else {
        (format!("features {audio:?} {:?}", extractor.config()), extractor.extract(&noise).values)
    };
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(settings);
    for value in values {
        hash.update(value.to_le_bytes());
    }
    hash.finalize().into()
}
