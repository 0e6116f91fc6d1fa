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
    /// The folds of the data set. Recordings that its authors let cross are named in a warning; the split counts
    /// as leaking when such a recording has clips of one class on both sides.
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
    /// Groups stay whole; every class is spread over the parts as evenly as its groups allow (greedily, by
    /// chi-squared distance).
    Grouped(Fractions),
    /// Every class is divided by the fractions, to within one clip; for data without groups.
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
    /// Whether clips of one group stand in several parts (in official folds: clips of one class and group).
    /// Whoever reports a figure of such a split marks it.
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
        let order = sorted(entries);
        let parts: Vec<Option<Split>> = match self {
            Self::Official { train_folds, valid_folds, test_folds } => {
                by_fold(entries, &order, [train_folds, valid_folds, test_folds])?
            }
            Self::Manifest { .. } => order.iter().map(|&i| entries[i].split).collect(),
            Self::Grouped(f) => f.checked()?.deal_groups(entries, &order, seed),
            Self::Stratified(f) => f.checked()?.deal_classes(entries, &order, seed),
            Self::Shuffled(f) => f.checked()?.shuffle(order.len(), seed),
        };
        let mut splits = Splits::new(&order, parts);
        self.check_parts(manifest, &splits)?;
        self.check_groups(entries, &mut splits)?;
        splits.warn_of_absences(manifest);
        Ok(splits)
    }

    /// The same protocol, going on when groups cross; for looking at a split without using it.
    pub fn allowing_leaks(mut self) -> Self {
        match &mut self {
            Self::Official { .. } => {}
            Self::Manifest { allow_leak } => *allow_leak = true,
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.allow_leak = true,
        }
        self
    }

    fn check_parts(&self, manifest: &Manifest, splits: &Splits) -> Result<(), Error> {
        let asks_for_test = match self {
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.test > 0.0,
            Self::Official { .. } | Self::Manifest { .. } => false,
        };
        for (split, part) in splits.parts() {
            if part.is_empty() && (split != Split::Test || asks_for_test) {
                let advice = match self {
                    Self::Official { .. } => "name its folds",
                    Self::Manifest { .. } => {
                        "mark some in the manifest's split column, or choose another protocol"
                    }
                    _ => "give it a larger share, or more clips and groups",
                };
                return Err(Error::Split(format!("no clip is left for {}; {advice}", split.name())));
            }
        }
        let train = labels_of(manifest, &splits.train);
        let others = labels_of(manifest, &[&splits.valid[..], &splits.test].concat());
        let absent: Vec<_> = others.difference(&train).copied().collect();
        if absent.is_empty() {
            return Ok(());
        }
        Err(Error::Split(format!(
            "no training clip of the class {}; nothing could learn it",
            absent.join(", ")
        )))
    }

    fn check_groups(&self, entries: &[Entry], splits: &mut Splits) -> Result<(), Error> {
        if !matches!(self, Self::Official { .. }) && entries.iter().all(|e| e.recording().is_none()) {
            splits.warnings.push(
                "the manifest has no group column, so nobody can tell whether clips of one recording stand in \
                 more than one part"
                    .to_owned(),
            );
        }
        let crossing = crossing_groups(entries, splits);
        let Some(first) = crossing.first() else { return Ok(()) };
        let named = format!("{} have clips in more than one part ({})", count(&crossing), named(&crossing));
        let allowed = match self {
            Self::Official { .. } => {
                let same_class = splits.crossing(entries, |e| Some((e.recording()?, e.labels.as_slice())));
                if same_class.is_empty() {
                    splits
                        .warnings
                        .push(format!("{named}, of another class in each; the data set's own folds are so"));
                    return Ok(());
                }
                true
            }
            Self::Manifest { allow_leak } => *allow_leak,
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.allow_leak,
        };
        if !allowed {
            return Err(Error::Split(format!(
                "it leaks: {}, {first} for one, have clips in more than one part, so the figures would be too \
                 good; use protocol = \"grouped\" or \"official\", or accept it with allow_leak = true",
                count(&crossing)
            )));
        }
        splits.leaking = true;
        let (reported, part) =
            if splits.test.is_empty() { (&splits.valid, Split::Valid) } else { (&splits.test, Split::Test) };
        let train: BTreeSet<_> = splits.train.iter().filter_map(|&i| entries[i].recording()).collect();
        let has_sibling = |i: usize| entries[i].recording().is_some_and(|group| train.contains(group));
        let siblings = reported.iter().filter(|&&i| has_sibling(i)).count();
        splits.warnings.push(format!(
            "LEAKING SPLIT: {siblings} of the {} {} clips ({:.1} %) have a sibling of the same recording in train; \
             {named}",
            reported.len(),
            part.name(),
            100.0 * siblings as f64 / reported.len() as f64,
        ));
        Ok(())
    }
}

fn count(groups: &[String]) -> String {
    if groups.len() == 1 { "1 recording".to_owned() } else { format!("{} recordings", groups.len()) }
}

/// The first eight.
fn named(groups: &[String]) -> String {
    let rest = if groups.len() > 8 { ", …" } else { "" };
    groups.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ") + rest
}

fn labels_of<'a>(manifest: &'a Manifest, part: &[usize]) -> BTreeSet<&'a str> {
    part.iter().flat_map(|&i| manifest.entries[i].labels.iter().map(String::as_str)).collect()
}

/// Groups whose clips stand in more than one part, sorted.
pub fn crossing_groups(entries: &[Entry], splits: &Splits) -> Vec<String> {
    splits.crossing(entries, |entry| entry.recording()).into_iter().map(str::to_owned).collect()
}

impl Splits {
    /// The parts that the manifest's `split` column names; unlike [`SplitConfig::Manifest`] any parts will do, and
    /// leaks are only marked.
    pub fn from_column(manifest: &Manifest) -> Self {
        let order = sorted(&manifest.entries);
        let parts = order.iter().map(|&i| manifest.entries[i].split).collect();
        let splits = Self::new(&order, parts);
        let leaking = !crossing_groups(&manifest.entries, &splits).is_empty();
        Self { leaking, ..splits }
    }

    fn new(order: &[usize], parts: Vec<Option<Split>>) -> Self {
        let mut splits = Self::default();
        for (&i, part) in order.iter().zip(parts) {
            match part {
                Some(Split::Train) => splits.train.push(i),
                Some(Split::Valid) => splits.valid.push(i),
                Some(Split::Test) => splits.test.push(i),
                None => {}
            }
        }
        splits
    }

    /// Each part with its clips.
    pub fn parts(&self) -> [(Split, &[usize]); 3] {
        [(Split::Train, &self.train), (Split::Valid, &self.valid), (Split::Test, &self.test)]
    }

    /// Keys that clips of more than one part have, sorted.
    fn crossing<'a, K: Ord>(&self, entries: &'a [Entry], key: impl Fn(&'a Entry) -> Option<K>) -> Vec<K> {
        let mut parts: BTreeMap<K, BTreeSet<Split>> = BTreeMap::new();
        for (split, indices) in self.parts() {
            for key in indices.iter().filter_map(|&i| key(&entries[i])) {
                parts.entry(key).or_default().insert(split);
            }
        }
        parts.into_iter().filter(|(_, parts)| parts.len() > 1).map(|(key, _)| key).collect()
    }

    /// Says which classes are not reported on, and how many clips stand in no part.
    fn warn_of_absences(&mut self, manifest: &Manifest) {
        let all = labels_of(manifest, &self.train);
        let mut warnings = Vec::new();
        for (split, part) in self.parts() {
            let absent: Vec<_> = all.difference(&labels_of(manifest, part)).copied().collect();
            if !part.is_empty() && !absent.is_empty() {
                warnings.push(format!("no {} clip of the class {}", split.name(), absent.join(", ")));
            }
        }
        let used: usize = self.parts().iter().map(|(_, part)| part.len()).sum();
        if used < manifest.entries.len() {
            let unused = manifest.entries.len() - used;
            warnings.push(format!("{unused} of {} clips stand in no part", manifest.entries.len()));
        }
        self.warnings.extend(warnings);
    }
}

/// Indices of the clips sorted by path and start.
fn sorted(entries: &[Entry]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|&a, &b| position(&entries[a]).cmp(&position(&entries[b])));
    order
}

fn position(entry: &Entry) -> (&std::path::Path, u64) {
    (&entry.path, entry.start.map_or(0, f64::to_bits))
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

    /// Train, valid, test; they add up to 1.
    fn shares(&self) -> [f64; 3] {
        [1.0 - self.valid - self.test, self.valid, self.test]
    }

    /// Deals the clips of each class (clips with several labels: of each set of labels) by largest remainder, so
    /// each part gets its share to within one clip. What rounding owes a part in one class it gets in a later one.
    fn deal_classes(&self, entries: &[Entry], order: &[usize], seed: Seed) -> Vec<Option<Split>> {
        let mut classes: BTreeMap<&[String], Vec<usize>> = BTreeMap::new();
        for (at, &i) in order.iter().enumerate() {
            classes.entry(&entries[i].labels).or_default().push(at);
        }
        let mut parts = vec![None; order.len()];
        let mut owed = [0.0; 3];
        for (class, mut clips) in classes.into_values().enumerate() {
            clips.shuffle(&mut seed.rng(Purpose::Split, 0, class as u64));
            let counts = largest_remainder(clips.len(), self.shares(), &mut owed);
            let dealt =
                Split::ALL.into_iter().zip(counts).flat_map(|(split, n)| std::iter::repeat_n(split, n));
            clips.into_iter().zip(dealt).for_each(|(at, split)| parts[at] = Some(split));
        }
        parts
    }

    /// Deals whole groups, the largest first and equal ones in random order, each to the part where it brings the
    /// number of clips of its classes nearest to the wanted one. The measure is the chi-squared distance
    /// sum (got - wanted)^2 / wanted over classes and parts. The first group of a class goes to train.
    fn deal_groups(&self, entries: &[Entry], order: &[usize], seed: Seed) -> Vec<Option<Split>> {
        let mut groups: BTreeMap<(Option<&str>, usize), Vec<usize>> = BTreeMap::new();
        for (at, &i) in order.iter().enumerate() {
            // A clip without a group is a group of its own.
            let group = entries[i].recording();
            groups.entry((group, if group.is_some() { 0 } else { at })).or_default().push(at);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.shuffle(&mut seed.rng(Purpose::Split, 0, 0));
        groups.sort_by_key(|members| std::cmp::Reverse(members.len()));

        let count = |members: &[usize]| {
            let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
            for label in members.iter().flat_map(|&at| &entries[order[at]].labels) {
                *counts.entry(label).or_default() += 1.0;
            }
            counts
        };
        let shares = self.shares();
        let total = count(&(0..order.len()).collect::<Vec<_>>());
        let mut got: BTreeMap<&str, [f64; 3]> = total.keys().map(|&label| (label, [0.0; 3])).collect();
        let mut parts = vec![None; order.len()];
        for members in groups {
            let brings = count(&members);
            let is_new = brings.keys().any(|label| got[label][0] < 1.0);
            // What `part` adds to the distance by taking the group.
            let cost = |part: usize| -> f64 {
                let cost = |(label, n): (&&str, &f64)| {
                    let wanted = shares[part] * total[label];
                    n * (2.0 * (got[label][part] - wanted) + n) / wanted
                };
                brings.iter().map(cost).sum()
            };
            let open = (0..3).filter(|&part| shares[part] > 0.0);
            let best = open.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
            let part = if is_new { 0 } else { best };
            members.iter().for_each(|&at| parts[at] = Some(Split::ALL[part]));
            for (label, n) in brings {
                if let Some(counts) = got.get_mut(label) {
                    counts[part] += n;
                }
            }
        }
        parts
    }
}

/// Divides `n` by `shares` into whole numbers, each its exact value rounded down or up. The parts that are rounded
/// up are those that lack most, counting what `owed` says they lack already; `owed` is brought up to date.
fn largest_remainder(n: usize, shares: [f64; 3], owed: &mut [f64; 3]) -> [usize; 3] {
    let exact = shares.map(|share| share * n as f64);
    // A hair above, so that 0.15 * 20 is 3 and not 2.9999.
    let mut counts = exact.map(|x| (x + 1e-9).floor() as usize);
    let lack = |part: usize, counts: &[usize; 3]| exact[part] - counts[part] as f64;
    let mut parts = [0, 1, 2].map(|part| (part, lack(part, &counts)));
    parts.sort_by(|&(a, x), &(b, y)| (y + owed[b]).total_cmp(&(x + owed[a])));
    let rounded_up =
        parts.into_iter().filter(|(_, lack)| *lack > 1e-6).take(n - counts.iter().sum::<usize>());
    rounded_up.for_each(|(part, _)| counts[part] += 1);
    (0..3).for_each(|part| owed[part] += lack(part, &counts));
    counts
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
    fn official_folds_that_share_clips_of_one_class_and_recording_are_marked() {
        let mut manifest = many();
        for i in [0, 5] {
            manifest.entries[i].group = Some("same".into());
            manifest.entries[i].fold = Some(1 + i as u32 / 5);
        }
        let config =
            SplitConfig::Official { train_folds: vec![1, 3], valid_folds: vec![2], test_folds: vec![] };
        let splits = config.split(&manifest, Seed(1)).unwrap();
        assert!(splits.leaking && splits.warnings[0].contains("(same)"), "{:?}", splits.warnings);
    }

    #[test]
    fn clips_without_groups_and_clips_in_no_part_are_told() {
        let mut manifest = many();
        let config = SplitConfig::Official { train_folds: vec![1], valid_folds: vec![2], test_folds: vec![] };
        assert_eq!(config.split(&manifest, Seed(1)).unwrap().warnings, ["195 of 600 clips stand in no part"]);
        manifest.entries.iter_mut().for_each(|entry| entry.group = None);
        let splits = SplitConfig::Stratified(Fractions::default()).split(&manifest, Seed(1)).unwrap();
        assert!(splits.warnings[0].contains("no group column") && !splits.leaking, "{:?}", splits.warnings);
    }

    #[test]
    fn a_class_with_few_groups_trains_first_and_its_absence_elsewhere_is_told() {
        let clips: Vec<_> = (0..200).map(|i| (i % 2, if i % 2 == 0 { 1000 } else { i / 10 })).collect();
        let splits = grouped().split(&manifest(&clips), Seed(1)).unwrap();
        assert!(splits.train.len() >= 100);
        assert_eq!(
            splits.warnings,
            ["no valid clip of the class class0", "no test clip of the class class0"]
        );
    }

    #[test]
    fn the_sections_of_recipes_are_read_and_mistakes_refused() {
        let read = |text: &str| toml::from_str::<SplitConfig>(text).map_err(|e| e.to_string());
        assert_eq!(read("protocol = 'grouped'").unwrap(), grouped());
        let Ok(SplitConfig::Shuffled(f)) = read("protocol = 'shuffled'\ntest = 0.2\nallow_leak = true")
        else {
            panic!("shuffled")
        };
        assert!(f.allow_leak && (f.test - 0.2).abs() < 1e-9);
        for (text, expected) in [
            ("protocol = 'random'", "random"),
            ("protocol = 'grouped'\ntets = 0.2", "tets"),
            ("protocol = 'official'\ntrain_folds = [1]", "valid_folds"),
            ("protocol = 'official'\ntrain_folds = [1]\nvalid_folds = [2]\nvalid = 0.1", "valid"),
            ("protocol = 'manifest'\nfolds = 3", "folds"),
        ] {
            assert!(read(text).unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn rounding_is_made_up_for_in_later_classes() {
        let mut owed = [0.0; 3];
        let counts: Vec<_> = (0..20).map(|_| largest_remainder(3, [0.7, 0.15, 0.15], &mut owed)).collect();
        let total = |part: usize| counts.iter().map(|c| c[part]).sum::<usize>();
        assert_eq!([total(0), total(1), total(2)], [42, 9, 9]);
        assert!(counts.iter().all(|c| c.iter().sum::<usize>() == 3 && (2..=3).contains(&c[0])));
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

    fn all(splits: &Splits) -> Vec<usize> {
        let mut all = [&splits.train[..], &splits.valid, &splits.test].concat();
        all.sort_unstable();
        all
    }

    fn clips() -> impl Strategy<Value = Vec<(usize, usize)>> {
        proptest::collection::vec((0..4_usize, 0..12_usize), 200..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn grouped_parts_cover_all_clips_and_share_no_group(clips in clips(), seed in 0..1000_u64) {
            let manifest = manifest(&clips);
            let splits = grouped().split(&manifest, Seed(seed)).unwrap();
            prop_assert!(crossing_groups(&manifest.entries, &splits).is_empty());
            prop_assert_eq!(all(&splits), (0..clips.len()).collect::<Vec<_>>());
            for (part, share) in [(&splits.valid, 0.15), (&splits.test, 0.15), (&splits.train, 0.7)] {
                let got = part.len() as f64 / clips.len() as f64;
                prop_assert!((got - share).abs() < 0.05, "{} instead of {}", got, share);
            }
        }

        #[test]
        fn stratified_parts_are_within_one_clip_of_their_share_in_every_class(
            clips in clips(), seed in 0..1000_u64, valid in 0.05..0.4_f64, test in 0.0..0.4_f64,
        ) {
            let mut manifest = manifest(&clips);
            manifest.entries.iter_mut().for_each(|entry| entry.group = None);
            let config = SplitConfig::Stratified(Fractions { valid, test, allow_leak: false });
            let splits = config.split(&manifest, Seed(seed));
            // A test share of next to nothing can leave the part empty, which is refused.
            prop_assume!(splits.is_ok() || test > 0.01);
            let splits = splits.unwrap();
            prop_assert_eq!(all(&splits), (0..clips.len()).collect::<Vec<_>>());
            for label in manifest.labels.names() {
                let count =
                    |part: &[usize]| part.iter().filter(|&&i| &manifest.entries[i].labels[0] == label).count() as f64;
                let total = count(&all(&splits));
                for ((_, part), share) in splits.parts().into_iter().zip([1.0 - valid - test, valid, test]) {
                    prop_assert!((count(part) - share * total).abs() < 1.0 + 1e-6);
                }
            }
        }

        #[test]
        fn the_order_of_the_manifest_changes_nothing(
            clips in clips(), seed in 0..1000_u64, order in 0..1000_u64,
        ) {
            let manifest = manifest(&clips);
            let mut other = manifest.clone();
            other.entries.shuffle(&mut Seed(order).rng(Purpose::Order, 0, 0));
            let fractions = Fractions { allow_leak: true, ..Fractions::default() };
            for config in [
                SplitConfig::Grouped(fractions),
                SplitConfig::Stratified(fractions),
                SplitConfig::Shuffled(fractions),
            ] {
                let paths = |m: &Manifest| {
                    let splits = config.split(m, Seed(seed)).unwrap();
                    splits.parts().map(|(_, p)| p.iter().map(|&i| m.entries[i].path.clone()).collect::<Vec<_>>())
                };
                prop_assert_eq!(paths(&manifest), paths(&other));
            }
        }
    }
}
