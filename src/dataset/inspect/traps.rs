use std::path::PathBuf;

use serde::Serialize;

use super::facts::Facts;
use crate::dataset::Manifest;
use crate::metrics::wilson;

/// A trait of a label when its share of such clips exceeds that of the other labels by so much, and by more than
/// chance explains (the 95 % intervals do not touch).
const TYPICAL: f64 = 0.25;

/// What a clip can be that its label does not say. The numbers that decide stand in `samples.rs` and `bandwidth.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trap {
    /// No sample above -80 dB of full scale. Its value: the level in dB.
    Silent,
    /// One value throughout, not zero: a broken cable or converter. Its value: the level in dB.
    Constant,
    /// Cut off at its extremes. Its value: the share of samples in runs of three and more at an extreme.
    Clipped,
    /// Exact zeros at its ends. Its value: their share of the clip.
    ZeroPadded,
    /// Filled up by repeating its beginning. Its value: the seconds after which it begins anew.
    Repeated,
    /// Nothing above a frequency well below half the sample rate. Its value: that frequency in Hz.
    BandLimited,
}

/// The clips in one trap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrapSummary {
    /// The trap.
    pub trap: Trap,
    /// Its clips, in the order of the manifest.
    pub clips: Vec<TrappedClip>,
    /// Labels of which many more clips than of the others are in it: a model can take the trap for the label.
    pub typical_of: Vec<TypicalLabel>,
}

/// A clip in a trap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrappedClip {
    /// The file as the manifest names it.
    pub path: PathBuf,
    /// Where in it the clip begins, in seconds, as the manifest says.
    pub start: Option<f64>,
    /// How much; see [`Trap`].
    pub value: f64,
}

/// A label that a trap gives away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TypicalLabel {
    /// The label.
    pub label: String,
    /// Share of its clips in the trap.
    pub share: f64,
    /// Share of the clips without this label.
    pub elsewhere: f64,
}

impl Trap {
    /// All traps, in order.
    pub const ALL: [Self; 6] =
        [Self::Silent, Self::Constant, Self::Clipped, Self::ZeroPadded, Self::Repeated, Self::BandLimited];

    fn value(self, facts: &Facts) -> Option<f64> {
        let samples = &facts.samples;
        match self {
            Self::Silent => samples.silent.then_some(samples.level),
            Self::Constant => samples.constant.then_some(samples.level),
            Self::Clipped => samples.clipped,
            Self::ZeroPadded => samples.padded.then_some(samples.padding),
            Self::Repeated => facts.period,
            Self::BandLimited => facts.band_limit,
        }
    }
}

/// The traps that have clips.
pub(super) fn traps(manifest: &Manifest, facts: &[Option<&Facts>]) -> Vec<TrapSummary> {
    let summary = |trap: Trap| {
        let values: Vec<Option<f64>> = facts.iter().map(|facts| trap.value((*facts)?)).collect();
        let clip = |(i, value): (usize, &Option<f64>)| {
            let entry = &manifest.entries[i];
            Some(TrappedClip { path: entry.path.clone(), start: entry.start, value: (*value)? })
        };
        TrapSummary {
            trap,
            clips: values.iter().enumerate().filter_map(clip).collect(),
            typical_of: typical_of(manifest, facts, &values),
        }
    };
    Trap::ALL.into_iter().map(summary).filter(|summary| !summary.clips.is_empty()).collect()
}

fn typical_of(manifest: &Manifest, facts: &[Option<&Facts>], values: &[Option<f64>]) -> Vec<TypicalLabel> {
    let judge = |label: &String| {
        // (clips in the trap, clips) with and without the label.
        let (mut with, mut without) = ((0_u64, 0_u64), (0_u64, 0_u64));
        for (i, entry) in manifest.entries.iter().enumerate().filter(|(i, _)| facts[*i].is_some()) {
            let side = if entry.labels.contains(label) { &mut with } else { &mut without };
            side.0 += u64::from(values[i].is_some());
            side.1 += 1;
        }
        let share = |(trapped, clips): (u64, u64)| trapped as f64 / clips.max(1) as f64;
        let (mine, elsewhere) = (share(with), share(without));
        let clear = wilson(with.0, with.1).low > wilson(without.0, without.1).high;
        let typical = clear && without.1 > 0 && mine - elsewhere >= TYPICAL;
        typical.then(|| TypicalLabel { label: label.clone(), share: mine, elsewhere })
    };
    manifest.labels.names().iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Entry;
    use crate::dataset::inspect::facts::testing::facts;

    #[test]
    fn a_trap_of_one_label_gives_it_away() {
        let clip = |i: usize, label: &str, padding: f64| {
            let entry =
                Entry { path: format!("{i}.wav").into(), labels: vec![label.into()], ..Entry::default() };
            let mut facts = facts();
            (facts.samples.padding, facts.samples.padded) = (padding, padding > 0.0);
            (entry, facts)
        };
        // 9 of 10 dogs, 2 of 20 others; and one clip of a rare label.
        let clips = (0..30).map(|i| match i {
            0..10 => clip(i, "dog", if i < 9 { 0.5 } else { 0.0 }),
            _ => clip(i, "rain", if i < 12 { 0.1 } else { 0.0 }),
        });
        let (entries, facts): (Vec<_>, Vec<_>) = clips.chain([clip(30, "rare", 0.5)]).unzip();
        let manifest = Manifest::new("", entries);
        let [found] = &traps(&manifest, &facts.iter().map(Some).collect::<Vec<_>>())[..] else { panic!() };
        assert_eq!((found.trap, found.clips.len()), (Trap::ZeroPadded, 12));
        assert_eq!(found.clips[9], TrappedClip { path: "10.wav".into(), start: None, value: 0.1 });
        let [typical] = &found.typical_of[..] else { panic!("{:?}", found.typical_of) };
        assert_eq!(typical.label, "dog", "one clip of a label proves nothing");
        assert!((typical.share - 0.9).abs() < 1e-9 && (typical.elsewhere - 3.0 / 21.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_read_is_in_no_trap() {
        let entries = vec![Entry { labels: vec!["dog".into()], ..Entry::default() }];
        assert_eq!(traps(&Manifest::new("", entries), &[None]), []);
    }
}
