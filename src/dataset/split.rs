//! Who trains, who chooses the epoch, who is reported. Groups (recordings, speakers) do not cross.
//!
//! A split is a pure function of the set of clips and the seed: clips are sorted by path first, so the order of the
//! manifest does not matter.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Entry, Error, Manifest, Split};
use crate::seed::{Purpose, Seed};

/// Recipe section `[split]`: `protocol = "..."` and that protocol's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case", deny_unknown_fields)]
pub enum SplitConfig {
    /// The folds of the data set. Recordings that its authors let cross are named in a warning.
    Official {
        /// Folds whose clips train.
        train_folds: Vec<u32>,
        /// Folds whose clips choose the epoch.
        valid_folds: Vec<u32>,
        /// Folds whose clips are reported; may be empty.
        #[serde(default)]
        test_folds: Vec<u32>,
    },
    /// The manifest's own `split` column.
    Manifest {
        /// Go on although groups cross, and mark every report. Default no.
        #[serde(default)]
        allow_leak: bool,
    },
    /// Groups stay whole; every class is spread over the parts as evenly as its groups allow.
    Grouped(Fractions),
    /// Every class is divided by the fractions; for data without groups.
    Stratified(Fractions),
    /// Plain shuffle of all clips. It leaks wherever recordings were cut into several clips.
    Shuffled(Fractions),
}

/// Shares of a random split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fractions {
    /// Share of the clips that choose the epoch. Default 0.15.
    pub valid: f64,
    /// Share of the clips that are reported. Default 0.15.
    pub test: f64,
    /// Go on although groups cross, and mark every report. Default no.
    pub allow_leak: bool,
}

impl Default for Fractions {
    fn default() -> Self {
        Self { valid: 0.15, test: 0.15, allow_leak: false }
    }
}

/// A split that was made: indices into the manifest, each part sorted by path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Splits {
    /// Clips that train.
    pub train: Vec<usize>,
    /// Clips that choose the epoch.
    pub valid: Vec<usize>,
    /// Clips that are reported.
    pub test: Vec<usize>,
    /// Whether clips of one group stand in several parts (other than in an official fold).
    pub leaking: bool,
    /// What the reader of a figure must know.
    pub warnings: Vec<String>,
}

impl SplitConfig {
    /// The protocol in words, for reports.
    pub fn describe(&self) -> String {
        let folds = |folds: &[u32]| folds.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
        let shares = |name: &str, f: &Fractions| {
            format!(
                "{name} {:.0}/{:.0}/{:.0} %",
                (1.0 - f.valid - f.test) * 100.0,
                f.valid * 100.0,
                f.test * 100.0
            )
        };
        match self {
            Self::Official { train_folds, valid_folds, test_folds } => {
                let mut text =
                    format!("official folds: train {}, valid {}", folds(train_folds), folds(valid_folds));
                if !test_folds.is_empty() {
                    text += &format!(", test {}", folds(test_folds));
                }
                text
            }
            Self::Manifest { .. } => "split column of the manifest".to_owned(),
            Self::Grouped(f) => shares("grouped", f),
            Self::Stratified(f) => shares("stratified", f),
            Self::Shuffled(f) => shares("shuffled", f),
        }
    }

    /// Splits the clips of `manifest`.
    ///
    /// # Errors
    ///
    /// [`Error::Split`] when a fold does not exist or is used twice, train or valid is empty, a class of valid or
    /// test is absent from train, the fractions are impossible, or groups cross and that was not allowed.
    pub fn split(&self, manifest: &Manifest, seed: Seed) -> Result<Splits, Error> {
        let entries = &manifest.entries;
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&a, &b| position(&entries[a]).cmp(&position(&entries[b])));
        let part: Vec<Option<Split>> = match self {
            Self::Official { train_folds, valid_folds, test_folds } => {
                by_fold(entries, &order, [train_folds, valid_folds, test_folds])?
            }
            Self::Manifest { .. } => order.iter().map(|&i| entries[i].split).collect(),
            Self::Grouped(f) => f.checked()?.deal(entries, &order, seed, group_of),
            Self::Stratified(f) => f.checked()?.deal(entries, &order, seed, |_, i| i.to_string()),
            Self::Shuffled(f) => f.checked()?.shuffle(order.len(), seed),
        };
        let mut splits = Splits::default();
        for (&i, part) in order.iter().zip(part) {
            match part {
                Some(Split::Train) => splits.train.push(i),
                Some(Split::Valid) => splits.valid.push(i),
                Some(Split::Test) => splits.test.push(i),
                None => {}
            }
        }
        splits.check_parts(manifest)?;
        self.check_groups(entries, &mut splits)?;
        Ok(splits)
    }

    fn check_groups(&self, entries: &[Entry], splits: &mut Splits) -> Result<(), Error> {
        let crossing = crossing_groups(entries, splits);
        let Some(first) = crossing.first() else { return Ok(()) };
        let all = crossing.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        let named = format!("{} recordings have clips in more than one part ({all})", crossing.len());
        let allowed = match self {
            Self::Official { .. } => {
                splits.warnings.push(format!("{named}; the data set's own folds have them so"));
                return Ok(());
            }
            Self::Manifest { allow_leak } => *allow_leak,
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.allow_leak,
        };
        if !allowed {
            return Err(Error::Split(format!(
                "it leaks: {} recordings, {first} for one, have clips in more than one part, so the figures would \
                 be too good; use protocol = \"grouped\" or \"official\", or accept it with allow_leak = true",
                crossing.len()
            )));
        }
        splits.leaking = true;
        let (reported, name) =
            if splits.test.is_empty() { (&splits.valid, "valid") } else { (&splits.test, "test") };
        let train: BTreeSet<_> = splits.train.iter().filter_map(|&i| entries[i].group.as_deref()).collect();
        let siblings =
            reported.iter().filter(|&&i| entries[i].group.as_deref().is_some_and(|g| train.contains(g)));
        let share = 100.0 * siblings.count() as f64 / reported.len() as f64;
        splits.warnings.push(format!(
            "LEAKING SPLIT: {named}; {share:.1} % of the {name} clips have a sibling of the same recording in train"
        ));
        Ok(())
    }
}

/// Groups whose clips stand in more than one part, sorted.
pub fn crossing_groups(entries: &[Entry], splits: &Splits) -> Vec<String> {
    let mut parts: BTreeMap<&str, BTreeSet<Split>> = BTreeMap::new();
    for (split, indices) in
        [(Split::Train, &splits.train), (Split::Valid, &splits.valid), (Split::Test, &splits.test)]
    {
        for group in indices.iter().filter_map(|&i| entries[i].group.as_deref()) {
            parts.entry(group).or_default().insert(split);
        }
    }
    parts.into_iter().filter(|(_, parts)| parts.len() > 1).map(|(group, _)| group.to_owned()).collect()
}

impl Splits {
    fn check_parts(&self, manifest: &Manifest) -> Result<(), Error> {
        for (name, part) in [("train", &self.train), ("valid", &self.valid)] {
            if part.is_empty() {
                return Err(Error::Split(format!("no clip is left for {name}")));
            }
        }
        let labels = |part: &[usize]| -> BTreeSet<&str> {
            part.iter().flat_map(|&i| manifest.entries[i].labels.iter().map(String::as_str)).collect()
        };
        let train = labels(&self.train);
        let absent: Vec<_> =
            labels(&[&self.valid[..], &self.test].concat()).difference(&train).copied().collect();
        if absent.is_empty() {
            return Ok(());
        }
        Err(Error::Split(format!(
            "no training clip of the class {}; nothing could learn it",
            absent.join(", ")
        )))
    }
}

fn position(entry: &Entry) -> (&std::path::Path, u64) {
    (&entry.path, entry.start.map_or(0, f64::to_bits))
}

fn group_of(entry: &Entry, i: usize) -> String {
    // A clip without a group is a group of its own.
    entry.group.as_ref().map_or_else(|| format!("clip {i}"), |group| format!("group {group}"))
}

fn by_fold(entries: &[Entry], order: &[usize], parts: [&Vec<u32>; 3]) -> Result<Vec<Option<Split>>, Error> {
    let existing: BTreeSet<u32> = entries.iter().filter_map(|entry| entry.fold).collect();
    let mut part_of = BTreeMap::new();
    for (split, folds) in Split::ALL.into_iter().zip(parts) {
        for &fold in folds {
            if !existing.contains(&fold) {
                return Err(Error::Split(format!(
                    "fold {fold} is asked for in split.{}_folds, the data has folds {existing:?}",
                    split.name()
                )));
            }
            if let Some(other) = part_of.insert(fold, split) {
                return Err(Error::Split(format!(
                    "fold {fold} is in {} and in {}",
                    other.name(),
                    split.name()
                )));
            }
        }
    }
    Ok(order.iter().map(|&i| part_of.get(&entries[i].fold?).copied()).collect())
}

impl Fractions {
    fn checked(&self) -> Result<&Self, Error> {
        let whole = |x: f64| (0.0..1.0).contains(&x);
        if whole(self.valid) && self.valid > 0.0 && whole(self.test) && self.valid + self.test < 1.0 {
            return Ok(self);
        }
        Err(Error::Split(format!(
            "split.valid = {} and split.test = {} must be shares of the clips that leave some for train",
            self.valid, self.test
        )))
    }

    fn shuffle(&self, clips: usize, seed: Seed) -> Vec<Option<Split>> {
        let mut order: Vec<usize> = (0..clips).collect();
        order.shuffle(&mut seed.rng(Purpose::Split, 0, 0));
        let test = (clips as f64 * self.test).round() as usize;
        let valid = (clips as f64 * self.valid).round() as usize;
        let mut parts = vec![Some(Split::Train); clips];
        order[..test].iter().for_each(|&i| parts[i] = Some(Split::Test));
        order[test..(test + valid).min(clips)].iter().for_each(|&i| parts[i] = Some(Split::Valid));
        parts
    }

    /// Deals whole groups, in random order and the largest first, each to the part that lacks most of what the group
    /// brings: for every class a part wants its share of the clips.
    fn deal(
        &self,
        entries: &[Entry],
        order: &[usize],
        seed: Seed,
        group_of: impl Fn(&Entry, usize) -> String,
    ) -> Vec<Option<Split>> {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, &i) in order.iter().enumerate() {
            groups.entry(group_of(&entries[i], at)).or_default().push(at);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.shuffle(&mut seed.rng(Purpose::Split, 0, 0));
        groups.sort_by_key(|members| std::cmp::Reverse(members.len()));

        let labels = |at: usize| entries[order[at]].labels.iter().map(String::as_str);
        let mut wanted: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
        let shares = [1.0 - self.valid - self.test, self.valid, self.test];
        for label in (0..order.len()).flat_map(labels) {
            let entry = wanted.entry(label).or_default();
            (0..3).for_each(|part| entry[part] += shares[part]);
        }
        let mut parts = vec![None; order.len()];
        for members in groups {
            let lack = |part: usize| -> f64 {
                members
                    .iter()
                    .flat_map(|&at| labels(at))
                    .map(|label| wanted[label][part] / shares[part].max(1e-9))
                    .sum()
            };
            let open = (0..3).filter(|&part| shares[part] > 0.0);
            // Of equal parts the first: train.
            let part =
                open.reduce(|best, next| if lack(next) > lack(best) { next } else { best }).unwrap_or(0);
            for &at in &members {
                parts[at] = Some(Split::ALL[part]);
                for label in labels(at) {
                    if let Some(entry) = wanted.get_mut(label) {
                        entry[part] -= 1.0;
                    }
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `clips`: class and group of each.
    fn manifest(clips: &[(usize, usize)]) -> Manifest {
        let entry = |(i, &(class, group)): (usize, &(usize, usize))| Entry {
            path: format!("{i:04}.wav").into(),
            labels: vec![format!("class{class}")],
            group: Some(format!("{class}-{group}")),
            fold: Some(group as u32 % 3 + 1),
            ..Entry::default()
        };
        Manifest::new("", clips.iter().enumerate().map(entry).collect())
    }

    fn many() -> Manifest {
        manifest(&(0..600).map(|i| (i % 5, i / 15)).collect::<Vec<_>>())
    }

    fn grouped() -> SplitConfig {
        SplitConfig::Grouped(Fractions::default())
    }

    #[test]
    fn folds_are_taken_as_asked() {
        let config =
            SplitConfig::Official { train_folds: vec![1, 3], valid_folds: vec![2], test_folds: vec![] };
        let (manifest, splits) = (many(), config.split(&many(), Seed(1)).unwrap());
        assert!(splits.valid.iter().all(|&i| manifest.entries[i].fold == Some(2)));
        assert_eq!(splits.train.len() + splits.valid.len(), 600);
        assert!(splits.warnings.is_empty() && !splits.leaking);
        assert_eq!(config.describe(), "official folds: train 1+3, valid 2");
    }

    #[test]
    fn recordings_that_cross_official_folds_are_named_not_refused() {
        let mut manifest = many();
        manifest.entries[0].group = Some("known-crosser".into());
        manifest.entries[599].group = Some("known-crosser".into());
        manifest.entries[0].fold = Some(1);
        manifest.entries[599].fold = Some(2);
        let config =
            SplitConfig::Official { train_folds: vec![1, 3], valid_folds: vec![2], test_folds: vec![] };
        let splits = config.split(&manifest, Seed(1)).unwrap();
        assert!(splits.warnings[0].contains("known-crosser"), "{:?}", splits.warnings);
        assert!(!splits.leaking);
    }

    #[test]
    fn impossible_splits_are_refused() {
        let official = |train: &[u32], valid: &[u32]| SplitConfig::Official {
            train_folds: train.to_vec(),
            valid_folds: valid.to_vec(),
            test_folds: vec![],
        };
        let fractions = |valid, test| SplitConfig::Stratified(Fractions { valid, test, allow_leak: true });
        for (config, expected) in [
            (official(&[1, 9], &[2]), "fold 9"),
            (official(&[1, 2], &[2]), "fold 2 is in train and in valid"),
            (official(&[1], &[]), "no clip is left for valid"),
            (fractions(0.5, 0.5), "leave some for train"),
            (fractions(0.0, 0.1), "split.valid = 0"),
            (fractions(f64::NAN, 0.1), "split.valid"),
            (SplitConfig::Manifest { allow_leak: false }, "no clip is left for train"),
        ] {
            let error = config.split(&many(), Seed(1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_class_that_nobody_trains_on_is_refused() {
        let mut manifest = many();
        manifest.entries.iter_mut().filter(|e| e.labels[0] == "class4").for_each(|e| e.fold = Some(2));
        let config =
            SplitConfig::Official { train_folds: vec![1, 3], valid_folds: vec![2], test_folds: vec![] };
        assert!(config.split(&manifest, Seed(1)).unwrap_err().to_string().contains("class4"));
    }

    #[test]
    fn a_leaking_shuffle_is_refused_unless_allowed_and_then_marked() {
        let refused = SplitConfig::Shuffled(Fractions::default()).split(&many(), Seed(42)).unwrap_err();
        assert!(refused.to_string().contains("allow_leak"), "{refused}");
        let allowed = SplitConfig::Shuffled(Fractions { allow_leak: true, ..Fractions::default() });
        let splits = allowed.split(&many(), Seed(42)).unwrap();
        assert!(splits.leaking && splits.warnings[0].starts_with("LEAKING SPLIT"), "{:?}", splits.warnings);
        assert_eq!((splits.train.len(), splits.valid.len(), splits.test.len()), (420, 90, 90));
    }

    #[test]
    fn stratified_is_within_one_clip_of_its_shares_in_every_class() {
        let mut manifest = many();
        manifest.entries.iter_mut().for_each(|entry| entry.group = None);
        let splits = SplitConfig::Stratified(Fractions::default()).split(&manifest, Seed(3)).unwrap();
        for label in manifest.labels.names() {
            let count =
                |part: &[usize]| part.iter().filter(|&&i| &manifest.entries[i].labels[0] == label).count();
            for (part, share) in [(&splits.train, 84.0), (&splits.valid, 18.0), (&splits.test, 18.0)] {
                assert!((count(part) as f64 - share).abs() <= 1.0, "{label}: {}", count(part));
            }
        }
    }

    #[test]
    fn the_seed_decides_and_the_order_of_the_manifest_does_not() {
        let manifest = many();
        let mut reversed = manifest.clone();
        reversed.entries.reverse();
        let paths = |m: &Manifest, seed| -> Vec<_> {
            grouped().split(m, Seed(seed)).unwrap().valid.iter().map(|&i| m.entries[i].path.clone()).collect()
        };
        assert_eq!(paths(&manifest, 1), paths(&reversed, 1));
        assert_ne!(paths(&manifest, 1), paths(&manifest, 2));
    }

    proptest! {
        #[test]
        fn grouped_parts_cover_all_clips_and_share_no_group(
            clips in proptest::collection::vec((0..4_usize, 0..12_usize), 200..400), seed in 0..1000_u64,
        ) {
            let manifest = manifest(&clips);
            let splits = grouped().split(&manifest, Seed(seed)).unwrap();
            prop_assert!(crossing_groups(&manifest.entries, &splits).is_empty());
            let mut all = [&splits.train[..], &splits.valid, &splits.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..clips.len()).collect::<Vec<_>>());
            let share = splits.valid.len() as f64 / clips.len() as f64;
            prop_assert!((0.05..0.3).contains(&share), "{}", share);
        }
    }
}
