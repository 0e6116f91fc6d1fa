//! A folder as its publisher laid it out → a [`Manifest`]. One layout, one file.
//!
//! Listing decodes nothing; [`Found::check`] decodes everything once. What is missing or broken is reported and left
//! out, never fatal.

mod esc50;
mod folders;
mod fsdkaggle2019;
mod metadata;
mod table;
mod urbansound8k;

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::decode_each::decode_each;
use super::mix::{self, MixConfig};
use super::{BadClip, Entry, Error, Manifest};
use crate::seed::Seed;

pub(super) use folders::recordings;
pub use fsdkaggle2019::{FsdKaggle2019Config, prepare_fsdkaggle2019};
pub use table::{TableConfig, prepare_table};

/// A layout on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// UrbanSound8K: `metadata/UrbanSound8K.csv`, `audio/fold1` to `fold10`.
    UrbanSound8k,
    /// ESC-50: `meta/esc50.csv`, `audio`.
    Esc50,
    /// The ten classes of ESC-50 that are marked `esc10`.
    Esc10,
    /// FSDKaggle2019: `train_curated.csv` and its neighbours (Kaggle), or `FSDKaggle2019.meta` (Zenodo).
    Fsdkaggle2019,
    /// A folder for each class, at most with folders train, valid and test above.
    Folders,
    /// LibriSpeech: `SPEAKERS.TXT`, `train-clean-100/SPEAKER/CHAPTER/*.flac` and so on, mixed (see [`mix`]).
    #[serde(rename = "librispeech-mix")]
    LibrispeechMix,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::UrbanSound8k => "UrbanSound8K",
            Self::Esc50 | Self::Esc10 => "ESC-50",
            Self::Fsdkaggle2019 => "FSDKaggle2019",
            Self::Folders => "folder-per-class",
            Self::LibrispeechMix => "LibriSpeech",
        })
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The clips that are there (and, when checked, can be decoded), sorted by path.
    pub manifest: Manifest,
    /// Clips that are listed but missing, or broken; sorted by path.
    pub bad: Vec<BadClip>,
    /// Clips that the data set's authors declare unusable, left out; sorted by path.
    pub excluded: Vec<BadClip>,
    /// Clips in the manifest that are cut off or damaged in places; known when checked.
    pub damaged: Vec<BadClip>,
    /// What else must be known, a sentence each.
    pub remarks: Vec<String>,
}

/// Reads the layout `source` under `root`; decodes nothing.
///
/// # Errors
///
/// [`Error::Layout`] when `root` is laid out differently, saying what was looked for; [`Error::Line`] for a mistake
/// in the metadata; [`Error::NoFiles`] when not one of the listed files is there.
pub fn prepare(source: Source, root: &Path) -> Result<Found, Error> {
    must_be_folder(root)?;
    let listing = match source {
        Source::UrbanSound8k => urbansound8k::entries(root)?.into(),
        Source::Esc50 | Source::Esc10 => esc50::entries(root, source)?.into(),
        Source::Fsdkaggle2019 => return prepare_fsdkaggle2019(root, &FsdKaggle2019Config::default()),
        Source::Folders => folders::listing(root)?,
        Source::LibrispeechMix => return mixed(root),
    };
    found(root, root, listing)
}

/// Tells a folder that is not there from one that is laid out differently.
fn must_be_folder(root: &Path) -> Result<(), Error> {
    std::fs::read_dir(root).map(drop).map_err(Error::io(root, "read the folder"))
}

/// The mixtures of [`MixConfig::default`] and seed 42.
fn mixed(root: &Path) -> Result<Found, Error> {
    let corpus = mix::Corpus::list(root, &MixConfig::default(), Seed(42))?;
    let mixer = mix::Mixer::new(corpus, &|_, _| (), &AtomicBool::new(false))?;
    let (manifest, remarks) = (mixer.manifest()?, mixer.warnings());
    Ok(Found { manifest, bad: mixer.bad, excluded: Vec::new(), damaged: Vec::new(), remarks })
}

/// What a layout says is there.
#[derive(Debug, Default)]
struct Listing {
    entries: Vec<Entry>,
    bad: Vec<BadClip>,
    excluded: Vec<BadClip>,
    remarks: Vec<String>,
}

impl From<Vec<Entry>> for Listing {
    fn from(entries: Vec<Entry>) -> Self {
        Self { entries, ..Self::default() }
    }
}

/// Tells the files that are there from those that are not; `origin` is what listed them.
fn found(root: &Path, origin: &Path, listing: Listing) -> Result<Found, Error> {
    let Listing { mut entries, mut bad, excluded, remarks } = listing;
    // Stable: of rows with one path the first counts.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let listed = entries.len();
    let first = entries.first().map(|entry| entry.path.clone());
    let mut there: Vec<Entry> = Vec::with_capacity(listed);
    for entry in entries {
        let reason = if there.last().is_some_and(|last| last.path == entry.path) {
            "it is listed more than once; the first row counts"
        } else if root.join(&entry.path).is_file() {
            there.push(entry);
            continue;
        } else {
            "the file is missing"
        };
        bad.push(BadClip { path: entry.path, reason: reason.to_owned() });
    }
    match (there.is_empty(), first, bad.first()) {
        (false, ..) => {}
        (true, Some(first), _) => {
            return Err(Error::NoFiles { path: origin.to_owned(), listed, first: root.join(first) });
        }
        (true, None, bad) => {
            let reason = match bad {
                Some(BadClip { path, reason }) => {
                    format!("not one clip can be used; the first is {}: {reason}", path.display())
                }
                None => "it lists no clips; look whether its table has rows after the header".to_owned(),
            };
            return Err(Error::Folder { path: origin.to_owned(), reason });
        }
    }
    bad.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Found { manifest: Manifest::new(root, there), bad, excluded, damaged: Vec::new(), remarks })
}

impl Found {
    /// Which clips of the data set are not in the manifest, and why, for whoever works with it: a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.remarks.clone();
        if !self.excluded.is_empty() {
            let names: Vec<_> = self.excluded.iter().map(|clip| clip.path.display().to_string()).collect();
            let (count, names) = (names.len(), names.join(", "));
            warnings.push(format!(
                "{count} clips that the data set's authors declare unusable are left out: {names}"
            ));
        }
        if let Some(first) = self.bad.first() {
            let (count, path, reason) = (self.bad.len(), first.path.display(), &first.reason);
            warnings.push(format!(
                "{count} listed clips are left out as they are missing or not usable; the first is {path}: {reason}"
            ));
        }
        warnings
    }

    /// Decodes every clip once, in parallel, and moves those that cannot be decoded to [`Found::bad`].
    /// `progress` is told, from any thread, how many are done.
    pub fn check(self, progress: &(dyn Fn(usize) + Sync)) -> Self {
        let Self { manifest, mut bad, excluded, mut damaged, remarks } = self;
        let checked = decode_each(&manifest, progress, |_, info| info.damage);
        let mut good = Vec::with_capacity(checked.len());
        for (entry, result) in manifest.entries.into_iter().zip(checked) {
            match result {
                Ok(damage) => {
                    damaged.extend(damage.map(|reason| BadClip { path: entry.path.clone(), reason }));
                    good.push(entry);
                }
                Err(reason) => bad.push(BadClip { path: entry.path, reason }),
            }
        }
        bad.sort_by(|a, b| a.path.cmp(&b.path));
        Self { manifest: Manifest::new(manifest.root, good), bad, excluded, damaged, remarks }
    }
}
