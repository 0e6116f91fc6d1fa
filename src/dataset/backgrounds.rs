//! Recordings that augmentation adds to clips.

use std::path::Path;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::prepare::recordings;
use super::{ClipSet, Entry, Error, FeatureCache, Manifest};
use crate::audio::{AudioConfig, Longer};
use crate::augment::{Augmentation, Backdrop};
use crate::features::{Extractor, FeatureConfig, FeatureKind};

/// The recordings behind the `background` entries of a list of augmentations, by where they come from.
#[derive(Debug, Clone, Default)]
pub struct Backgrounds(Vec<(Backdrop, ClipSet)>);

impl Backgrounds {
    /// Those of folders, at the rate and length of `audio`; decodes every one of them.
    ///
    /// # Errors
    /// [`Error::Folder`] for a folder without recordings and for one with a recording that cannot be decoded.
    pub fn of_folders<'a>(
        augmentations: impl IntoIterator<Item = &'a Augmentation>,
        audio: &AudioConfig,
    ) -> Result<Self, Error> {
        let extractor = extractor(audio)?;
        let set = |from: &Backdrop| match from {
            Backdrop::Folder(folder) => Some(of_folder(folder, &extractor)),
            Backdrop::Label(_) => None,
        };
        Self::collect(augmentations, set)
    }

    /// Those of labels, among the clips of `set`, beside those of folders.
    ///
    /// # Errors
    /// [`Error::Config`] for a label that no clip has.
    pub(super) fn with_labels(
        mut self,
        augmentations: &[Augmentation],
        set: &ClipSet,
        audio: &AudioConfig,
    ) -> Result<Self, Error> {
        let extractor = extractor(audio)?;
        let labelled = |from: &Backdrop| match from {
            Backdrop::Folder(_) => None,
            Backdrop::Label(label) => Some(set.with_label(label, &extractor)),
        };
        self.0.extend(Self::collect(augmentations, labelled)?.0);
        Ok(self)
    }

    fn collect<'a>(
        augmentations: impl IntoIterator<Item = &'a Augmentation>,
        set: impl Fn(&Backdrop) -> Option<Result<ClipSet, Error>>,
    ) -> Result<Self, Error> {
        let mut found: Vec<(Backdrop, ClipSet)> = Vec::new();
        for augmentation in augmentations {
            let Augmentation::Background { from, .. } = augmentation else { continue };
            if found.iter().any(|(known, _)| known == from) {
                continue;
            }
            if let Some(set) = set(from) {
                found.push((from.clone(), set?));
            }
        }
        Ok(Self(found))
    }

    /// A random part, of the length of a clip, of one of the recordings from there, which is repeated where it is shorter;
    /// none where these recordings are not known.
    ///
    /// # Errors
    /// [`Error::Audio`] when it cannot be decoded.
    pub fn draw(&self, from: &Backdrop, rng: &mut ChaCha8Rng) -> Result<Option<Vec<f32>>, Error> {
        let Some((_, set)) = self.0.iter().find(|(known, _)| known == from) else { return Ok(None) };
        let sound = set.sound(rng.random_range(0..set.len()))?;
        let len = set.shape().frames;
        let starts = if sound.len() > len { sound.len() - len + 1 } else { sound.len() };
        let start = rng.random_range(0..starts.max(1));
        let sample = |n: usize| sound.get((start + n) % sound.len().max(1)).copied().unwrap_or(0.0);
        Ok(Some((0..len).map(sample).collect()))
    }
}

/// Clips of samples, drawn from whole recordings, of which nothing is taken for silence.
fn extractor(audio: &AudioConfig) -> Result<Arc<Extractor>, Error> {
    let audio =
        AudioConfig { longer: Longer::RandomCrop, ..AudioConfig::new(audio.sample_rate, audio.clip_seconds) };
    let features = FeatureConfig { kind: FeatureKind::Waveform, ..FeatureConfig::default() };
    Ok(Arc::new(Extractor::new(&audio, &features)?))
}

/// Most bytes of decoded backgrounds that are kept.
const CACHE: usize = 256 << 20;

fn of_folder(folder: &Path, extractor: &Arc<Extractor>) -> Result<ClipSet, Error> {
    let refuse = |reason| Err(Error::Folder { path: folder.to_owned(), reason });
    let mut files = recordings(folder)?;
    files.sort();
    if files.is_empty() {
        return refuse("has no recordings to add as backgrounds; name another folder in augment".to_owned());
    }
    let entries = files.into_iter().map(|path| Entry { path, ..Entry::default() }).collect();
    let cache = Arc::new(FeatureCache::in_memory(CACHE));
    let set = ClipSet::of_sounds(Arc::new(Manifest::new(folder, entries)), extractor, Some(cache));
    let bad = set.check(&|_| {}).bad;
    match bad.first() {
        None => Ok(set),
        Some(first) => refuse(format!(
            "{} of its {} recordings cannot be used as backgrounds; the first: {}; take them out",
            bad.len(),
            set.len(),
            first.reason
        )),
    }
}
