//! What is wrong, in words: one wording for the terminal and the page.

use std::path::Path;

use super::{Clue, Crossing, Duplicates, Inspection, NearDuplicate, Shortcut, Trap, TrapSummary};
use crate::dataset::BadClip;

/// One kind of thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Whether it makes the split leak.
    pub leak: bool,
    /// What and how often, for instance "3 silent clips".
    pub title: String,
    /// Each of them, the worst first. Holds file names and labels as they are.
    pub items: Vec<String>,
}

impl Inspection {
    /// Everything that is wrong, the worst first; empty when nothing suspicious was found.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut add = |leak: bool, items: Vec<String>, one: &str, many: &str| {
            if !items.is_empty() {
                let title = format!("{} {}", items.len(), if items.len() == 1 { one } else { many });
                findings.push(Finding { leak, title, items });
            }
        };
        let parts = !self.parts.is_empty();
        add(
            parts,
            self.groups_across_parts.iter().map(crossing).collect(),
            "recording in more than one part",
            "recordings in more than one part",
        );
        add(
            !parts,
            self.groups_across_folds.iter().map(crossing).collect(),
            "recording in more than one fold",
            "recordings in more than one fold",
        );
        let crosses = |in_parts: bool, in_folds: bool| if parts { in_parts } else { in_folds };
        let mut pairs: Vec<&NearDuplicate> = self.near_duplicates.iter().collect();
        pairs.sort_by_key(|pair| (!crosses(pair.across_parts, pair.across_folds), !pair.labels_differ));
        add(
            pairs.iter().any(|pair| crosses(pair.across_parts, pair.across_folds)),
            pairs.into_iter().map(near_duplicate).collect(),
            "pair of clips with the same sound",
            "pairs of clips with the same sound",
        );
        let mut sets: Vec<&Duplicates> = self.duplicates.iter().collect();
        sets.sort_by_key(|set| (!crosses(set.across_parts, set.across_folds), !set.labels_differ));
        add(
            sets.iter().any(|set| crosses(set.across_parts, set.across_folds) && !set.one_recording),
            sets.into_iter().map(duplicates).collect(),
            "set of clips with the same samples",
            "sets of clips with the same samples",
        );
        let similar = self.similar_labels.iter().map(|(a, b)| format!("{a:?} and {b:?}")).collect();
        add(false, similar, "pair of labels that look like one", "pairs of labels that look like one");
        let bad = |clips: &[BadClip]| {
            clips.iter().map(|clip| format!("{}: {}", clip.path.display(), clip.reason)).collect::<Vec<_>>()
        };
        add(false, bad(&self.unreadable), "clip that cannot be decoded", "clips that cannot be decoded");
        add(false, bad(&self.damaged), "damaged clip", "damaged clips");
        findings.extend(self.traps.iter().map(trap));
        let items: Vec<String> =
            self.shortcuts.iter().filter(|shortcut| shortcut.suspicious).map(shortcut).collect();
        if !items.is_empty() {
            let title = "labels can be guessed without listening".to_owned();
            findings.push(Finding { leak: false, title, items });
        }
        findings
    }
}

fn crossing(crossing: &Crossing) -> String {
    let Crossing { group, places, clips, same_label } = crossing;
    let labels = if *same_label { "of one label" } else { "of another label in each, which misleads" };
    format!("{group}: {clips} clips in {}, {labels}", places.join(" and "))
}

fn near_duplicate(pair: &NearDuplicate) -> String {
    let [a, b] = &pair.paths;
    let place = match pair.offset {
        offset if offset.abs() < 0.005 => "at the same place".to_owned(),
        offset if offset < 0.0 => format!("{:.2} s earlier in the second", -offset),
        offset => format!("{offset:.2} s later in the second"),
    };
    format!(
        "{} and {}: {:.2} s, {place} (correlation {:.2}{})",
        clip(a, pair.starts[0]),
        clip(b, pair.starts[1]),
        pair.seconds,
        pair.correlation,
        traits(pair.labels_differ, pair.across_parts, pair.across_folds),
    )
}

/// The file, and where in it the clip begins when the manifest says so.
fn clip(path: &Path, start: Option<f64>) -> String {
    match start {
        None => path.display().to_string(),
        Some(start) => format!("{} from {start} s", path.display()),
    }
}

fn duplicates(same: &Duplicates) -> String {
    let paths: Vec<String> =
        same.paths.iter().zip(&same.starts).map(|(path, start)| clip(path, *start)).collect();
    let traits = traits(same.labels_differ, same.across_parts, same.across_folds);
    format!("{} ({} clips{traits})", paths.join(", "), paths.len())
}

fn traits(labels_differ: bool, across_parts: bool, across_folds: bool) -> String {
    let traits = [
        (labels_differ, ", labelled differently"),
        (across_parts, ", in several parts"),
        (across_folds, ", in several folds"),
    ];
    traits.into_iter().filter_map(|(holds, name)| holds.then_some(name)).collect()
}

fn trap(summary: &TrapSummary) -> Finding {
    let (one, many) = match summary.trap {
        Trap::Silent => ("silent clip", "silent clips"),
        Trap::Constant => ("clip of one constant value", "clips of one constant value"),
        Trap::Clipped => ("clipped clip", "clipped clips"),
        Trap::ZeroPadded => ("clip padded with zeros", "clips padded with zeros"),
        Trap::Repeated => ("clip that repeats itself", "clips that repeat themselves"),
        Trap::BandLimited => ("band-limited clip", "band-limited clips"),
    };
    let typical = summary.typical_of.iter().map(|typical| {
        let (share, elsewhere) = (100.0 * typical.share, 100.0 * typical.elsewhere);
        format!("typical of {}: {share:.0} % of its clips, {elsewhere:.0} % of the others", typical.label)
    });
    let clips = summary.clips.iter().map(|clip| {
        let value = clip.value;
        let how = match summary.trap {
            Trap::Silent | Trap::Constant => format!("level {value:.0} dB"),
            Trap::Clipped => format!("{:.2} % of the samples", 100.0 * value),
            Trap::ZeroPadded => format!("{:.0} % of it", 100.0 * value),
            Trap::Repeated => format!("anew after {value:.2} s"),
            Trap::BandLimited => format!("nothing above {value:.0} Hz"),
        };
        format!("{}: {how}", self::clip(&clip.path, clip.start))
    });
    let count = summary.clips.len();
    Finding {
        leak: false,
        title: format!("{count} {}", if count == 1 { one } else { many }),
        items: typical.chain(clips).collect(),
    }
}

fn shortcut(shortcut: &Shortcut) -> String {
    let Shortcut { clue, accuracy, interval, chance, tested, .. } = shortcut;
    let percent = |share: &f64| 100.0 * share;
    format!(
        "{} alone names {:.1} % of {tested} clips (95 % interval {:.1} to {:.1} %; the most frequent label {:.1} %)",
        clue.name(),
        percent(accuracy),
        percent(&interval.low),
        percent(&interval.high),
        percent(chance),
    )
}

impl Clue {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loudness => "loudness",
            Self::Duration => "duration",
            Self::ZeroPadding => "zero padding",
            Self::Repetition => "the period of repetition",
            Self::Bandwidth => "bandwidth",
            Self::Format => "the file format",
        }
    }
}
