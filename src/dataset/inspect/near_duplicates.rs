use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use super::candidates::{Candidate, candidates};
use super::crossings::{Places, same_recording};
use super::facts::at_rate;
use super::fingerprint::{Fingerprint, HOP, RATE};
use super::verify::{Overlap, Verifier};
use crate::dataset::Manifest;

/// Two clips that hold the same sound, for at least about 0.2 s: the one is a copy of the other in another format,
/// louder, trimmed or padded, or both were cut from one recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearDuplicate {
    /// The two clips, in the order of the manifest.
    pub paths: [PathBuf; 2],
    /// Where each begins in its file, in seconds, as the manifest says.
    pub starts: [Option<f64>; 2],
    /// Seconds by which the sound stands later in the second clip than in the first.
    pub offset: f64,
    /// Seconds that both have of it.
    pub seconds: f64,
    /// Normalised cross-correlation of the waves within, 200 to 2,000 Hz: 0.8 to 1.
    pub correlation: f64,
    /// Whether they are labelled differently.
    pub labels_differ: bool,
    /// Whether they stand in several parts.
    pub across_parts: bool,
    /// Whether they stand in several folds.
    pub across_folds: bool,
}

/// What comparing fingerprints gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Pairs of clips that are not known to be of one recording.
    pub pairs: Vec<NearDuplicate>,
    /// Pairs of clips of one recording, which overlap as far as fingerprints tell.
    pub within_recordings: usize,
}

/// Looks for pairs among `clips` (numbers in the manifest) with the fingerprints `prints`. Of a recording or sound that
/// many clips hold, the pairs found connect the clips; they need not be all pairs. `progress` is told, from any thread,
/// how many of how many pairs have been verified.
pub(super) fn near_duplicates(
    manifest: &Manifest,
    places: &Places,
    clips: &[usize],
    prints: &[Fingerprint],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Found {
    let entries = &manifest.entries;
    let known = |a: usize, b: usize| same_recording(&entries[clips[a]], &entries[clips[b]]);
    let (within, unknown): (Vec<_>, Vec<_>) =
        candidates(prints, known).into_iter().partition(|pair| known(pair.a, pair.b));
    let verifier = Verifier::new();
    let done = AtomicUsize::new(0);
    let wave = |clip: usize| {
        let (wave, _) = manifest.decode(&entries[clips[clip]]).ok()?;
        at_rate(wave)
    };
    // Candidates are sorted, so those of one first clip stand together and it is decoded once.
    let verify = |pairs: &[Candidate]| -> Vec<(Candidate, Overlap)> {
        let first = wave(pairs[0].a);
        let overlap = |pair: &Candidate| {
            let (first, second) = (first.as_ref()?, wave(pair.b)?);
            let Range { start, end } = Fingerprint::samples(pair.from, pair.to);
            let stretch = first.get(start..end.min(first.len()))?;
            let found =
                verifier.overlap(stretch, &second, start as isize + pair.offset as isize * HOP as isize)?;
            Some((*pair, Overlap { offset: found.offset - start as f64 / f64::from(RATE), ..found }))
        };
        let found = pairs.iter().filter_map(overlap).collect();
        progress(done.fetch_add(pairs.len(), Ordering::Relaxed) + pairs.len(), unknown.len());
        found
    };
    let by_first: Vec<&[Candidate]> = unknown.chunk_by(|x, y| x.a == y.a).collect();
    let found: Vec<Vec<(Candidate, Overlap)>> = by_first.into_par_iter().map(verify).collect();
    let pair = |(pair, overlap): (Candidate, Overlap)| {
        let (a, b) = (clips[pair.a], clips[pair.b]);
        NearDuplicate {
            paths: [entries[a].path.clone(), entries[b].path.clone()],
            starts: [entries[a].start, entries[b].start],
            offset: overlap.offset,
            seconds: overlap.seconds,
            correlation: overlap.correlation,
            labels_differ: entries[a].labels != entries[b].labels,
            across_parts: places.across_parts(&[a, b]),
            across_folds: places.across_folds(&[a, b]),
        }
    };
    Found { pairs: found.into_iter().flatten().map(pair).collect(), within_recordings: within.len() }
}
