use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::crossings::{Places, same_recording};
use crate::dataset::Entry;

/// Clips with the same samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicates {
    /// The clips, sorted.
    pub paths: Vec<PathBuf>,
    /// Where each begins in its file, in seconds, as the manifest says.
    pub starts: Vec<Option<f64>>,
    /// Whether they are labelled differently.
    pub labels_differ: bool,
    /// Whether they stand in several parts.
    pub across_parts: bool,
    /// Whether they stand in several folds.
    pub across_folds: bool,
    /// Whether they are known to be of one recording.
    pub one_recording: bool,
}

/// Clips with equal content, two and more, each set and the sets in order of the first clip.
pub(super) fn same_content(contents: &[Option<[u8; 32]>]) -> Vec<Vec<usize>> {
    let mut same: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for (clip, content) in contents.iter().enumerate() {
        if let Some(content) = content {
            same.entry(*content).or_default().push(clip);
        }
    }
    let mut sets: Vec<Vec<usize>> = same.into_values().filter(|clips| clips.len() > 1).collect();
    sets.sort_unstable();
    sets
}

pub(super) fn duplicates(entries: &[Entry], places: &Places, clips: &[usize]) -> Duplicates {
    let mut sorted: Vec<&Entry> = clips.iter().map(|&clip| &entries[clip]).collect();
    let start = |entry: &Entry| entry.start.unwrap_or(0.0);
    sorted.sort_by(|a, b| a.path.cmp(&b.path).then(start(a).total_cmp(&start(b))));
    let labels = clips.iter().map(|&clip| entries[clip].labels.iter().collect::<BTreeSet<_>>());
    Duplicates {
        paths: sorted.iter().map(|entry| entry.path.clone()).collect(),
        starts: sorted.iter().map(|entry| entry.start).collect(),
        labels_differ: labels.collect::<BTreeSet<_>>().len() > 1,
        across_parts: places.across_parts(clips),
        across_folds: places.across_folds(clips),
        one_recording: clips.iter().all(|&clip| same_recording(&entries[clips[0]], &entries[clip])),
    }
}
