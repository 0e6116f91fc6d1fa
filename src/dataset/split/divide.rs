use std::collections::BTreeSet;

use super::deal::Dealer;
use super::folds::by_fold;
use super::splits::{Splits, crossing_groups, labels_of, sorted};
use super::{Fractions, SplitConfig, TestClips};
use crate::dataset::{Entry, Error, Filter, Manifest, Split};
use crate::seed::Seed;

/// The part of each clip, and [`Dealer::remark`].
pub(super) type Parts = (Vec<Option<Split>>, Option<String>);

impl SplitConfig {
    /// Splits the clips of `manifest`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for what [`SplitConfig::validate`] refuses; [`Error::Filter`] for a column or value that
    /// no clip has; [`Error::Split`] when a fold does not exist, a part is empty, a class of valid or test is absent
    /// from train, or groups cross and that was not allowed.
    pub fn split(&self, manifest: &Manifest, seed: Seed) -> Result<Splits, Error> {
        self.validate()?;
        let entries = &manifest.entries;
        let order = sorted(entries);
        let (parts, remark) = match &self.resolved(manifest) {
            Self::Official { train_folds, valid_folds, test_folds, valid } => {
                by_fold(entries, &order, [train_folds, valid_folds, test_folds], *valid, seed)?
            }
            Self::Folds(folds) => {
                folds.from.check(entries, "split.from")?;
                folds.parts(entries, &order, seed)?
            }
            Self::Manifest { .. } => (entries.iter().map(|entry| entry.split).collect(), None),
            Self::Grouped(f) => f.parts(entries, &order, seed, |dealer, clips| dealer.grouped(clips))?,
            Self::Stratified(f) => {
                f.parts(entries, &order, seed, |dealer, clips| dealer.stratified(clips))?
            }
            Self::Shuffled(f) => f.parts(entries, &order, seed, |dealer, clips| dealer.shuffled(clips))?,
        };
        let mut splits = Splits::new(&order, &parts);
        self.check_parts(manifest, &splits)?;
        self.check_groups(entries, &mut splits)?;
        splits.warnings.extend(remark);
        splits.warnings.extend(self.passed_over(entries));
        splits.warn_of_absences(manifest);
        Ok(splits)
    }

    fn check_parts(&self, manifest: &Manifest, splits: &Splits) -> Result<(), Error> {
        let asks_for_test = match self {
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.test != TestClips::Share(0.0),
            Self::Official { test_folds, .. } => !test_folds.is_empty(),
            Self::Folds(_) => true,
            Self::Manifest { .. } => false,
        };
        for (split, part) in splits.parts() {
            if part.is_empty() && (split != Split::Test || asks_for_test) {
                let advice = match self {
                    Self::Official { .. } => "name its folds",
                    Self::Manifest { .. } => {
                        "mark some in the manifest's split column, or choose another protocol"
                    }
                    Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f)
                        if split == Split::Test && f.test == TestClips::Manifest =>
                    {
                        "mark some in the manifest's split column, or give split.test a share"
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
        let draws = !matches!(self, Self::Official { valid: None, .. });
        let without = entries.iter().filter(|e| e.recordings().next().is_none()).count();
        if draws && without > 0 {
            let who = if without == entries.len() {
                "the manifest has no group column".to_owned()
            } else {
                format!("{without} of {} clips have no group", entries.len())
            };
            splits.warnings.push(format!(
                "{who}, so nobody can tell whether clips of one recording stand in more than one part"
            ));
        }
        let crossing = crossing_groups(entries, splits);
        let Some(first) = crossing.first() else { return Ok(()) };
        let named = format!("{} clips in more than one part ({})", have(&crossing), named(&crossing));
        if matches!(self, Self::Official { .. }) {
            let same_class = splits.crossing(entries, |e| {
                e.recordings().flat_map(|recording| e.labels.iter().map(move |label| (recording, label)))
            });
            if same_class.is_empty() {
                let why = "of another class in each, as the folds are";
                splits.warnings.push(format!("{named}, {why}"));
                return Ok(());
            }
        }
        if !self.allows_leak() {
            return Err(Error::Split(format!(
                "it leaks: {} clips in more than one part, {first} for one, so the figures would be too good; use \
                 protocol = \"grouped\" or \"official\", or accept it with allow_leak = true",
                have(&crossing)
            )));
        }
        splits.leaking = true;
        let (reported, part) =
            if splits.test.is_empty() { (&splits.valid, Split::Valid) } else { (&splits.test, Split::Test) };
        let train: BTreeSet<_> = splits.train.iter().flat_map(|&i| entries[i].recordings()).collect();
        let has_sibling = |i: usize| entries[i].recordings().any(|recording| train.contains(recording));
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

    /// What the data set's authors laid down and this protocol passes over.
    fn passed_over(&self, entries: &[Entry]) -> Option<String> {
        match self {
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) if f.test != TestClips::Manifest => {
                let marked = entries.iter().filter(|entry| entry.split == Some(Split::Test)).count();
                (marked > 0).then(|| {
                    format!(
                        "the manifest marks {marked} clips as test, and this split deals them out like any other; \
                         split.test = \"manifest\" keeps them"
                    )
                })
            }
            Self::Folds(_) if entries.iter().any(|entry| entry.fold.is_some()) => Some(
                "the data has folds of its own, which others report on; protocol = \"official\" uses them"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Fractions {
    /// The part of each clip, dealt by `deal`. `order`: the clips sorted by path.
    fn parts(
        &self,
        entries: &[Entry],
        order: &[usize],
        seed: Seed,
        deal: impl Fn(&Dealer, &[usize]) -> Vec<usize>,
    ) -> Result<Parts, Error> {
        self.from.check(entries, "split.from")?;
        let mut parts = vec![None; entries.len()];
        let is_kept = |i: usize| self.test == TestClips::Manifest && entries[i].split == Some(Split::Test);
        let (test, rest): (Vec<usize>, Vec<usize>) = order.iter().partition(|&&i| is_kept(i));
        let (clips, others) = pool(entries, &rest, &self.from);
        test.iter().for_each(|&i| parts[i] = Some(Split::Test));
        others.iter().for_each(|&i| parts[i] = Some(Split::Train));
        let dealer = Dealer { entries, shares: &self.shares(), first_trains: true, seed, draw: 0 };
        let dealt = deal(&dealer, &clips);
        let remark = dealer.remark(&dealt);
        clips.iter().zip(dealt).for_each(|(&i, part)| parts[i] = Some(Split::ALL[part]));
        Ok((parts, remark))
    }
}

/// Tells the clips that are dealt to parts from those that only train: clips that `from` does not want, and their
/// siblings.
pub(super) fn pool(entries: &[Entry], clips: &[usize], from: &Filter) -> (Vec<usize>, Vec<usize>) {
    let outside = clips.iter().filter(|&&i| !from.matches(&entries[i]));
    let bound: BTreeSet<&str> = outside.flat_map(|&i| entries[i].recordings()).collect();
    let is_free = |i: usize| {
        from.matches(&entries[i]) && !entries[i].recordings().any(|recording| bound.contains(recording))
    };
    clips.iter().partition(|&&i| is_free(i))
}

fn have(groups: &[String]) -> String {
    if groups.len() == 1 { "1 recording has".to_owned() } else { format!("{} recordings have", groups.len()) }
}

/// The first eight.
fn named(groups: &[String]) -> String {
    let rest = if groups.len() > 8 { ", …" } else { "" };
    groups.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ") + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::seq::SliceRandom;

    use super::super::Folds;
    use super::super::testing::{all, clips, count, manifest, many, official, tagged, tags};
    use super::*;
    use crate::seed::Purpose;

    fn grouped() -> SplitConfig {
        SplitConfig::Grouped(Fractions::default())
    }

    #[test]
    fn recordings_that_cross_official_folds_are_named_not_refused() {
        let mut manifest = many();
        manifest.entries[0].group = Some("known-crosser".into());
        manifest.entries[599].group = Some("known-crosser".into());
        manifest.entries[0].fold = Some(1);
        manifest.entries[599].fold = Some(2);
        let config = official(&[1, 3], &[2], &[]);
        let splits = config.split(&manifest, Seed(1)).unwrap();
        assert!(splits.warnings[0].contains("known-crosser"), "{:?}", splits.warnings);
        assert!(!splits.leaking);
    }

    #[test]
    fn a_class_that_nobody_trains_on_is_refused() {
        let mut manifest = many();
        manifest.entries.iter_mut().filter(|e| e.labels[0] == "class4").for_each(|e| e.fold = Some(2));
        let config = official(&[1, 3], &[2], &[]);
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
        let config = official(&[1, 3], &[2], &[]);
        let splits = config.split(&manifest, Seed(1)).unwrap();
        assert!(splits.leaking && splits.warnings[0].contains("(same)"), "{:?}", splits.warnings);
    }

    #[test]
    fn clips_without_groups_and_clips_in_no_part_are_told() {
        let mut manifest = many();
        let config = official(&[1], &[2], &[]);
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
            [
                "of the 200 clips that are divided, 70/15/15 % were asked for, and 85/8/8 % (170/15/15) came out, as few \
                 clips of a label and whole groups cannot be divided more finely",
                "no valid clip of the class class0",
                "no test clip of the class class0"
            ]
        );
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

    /// Clips 0 to 99 are curated, the others noisy; of the curated ones the first 20 are the test part.
    fn subsets() -> Manifest {
        let mut manifest = many();
        for (i, entry) in manifest.entries.iter_mut().enumerate() {
            entry.group = None;
            entry.split = (i < 20).then_some(Split::Test);
            entry.extra.insert("subset".to_owned(), if i < 100 { "curated" } else { "noisy" }.to_owned());
        }
        manifest
    }

    #[test]
    fn the_test_part_of_the_manifest_can_be_kept() {
        let manifest = subsets();
        let kept = Fractions { valid: 0.2, test: TestClips::Manifest, ..Fractions::default() };
        for config in [
            SplitConfig::Grouped(kept.clone()),
            SplitConfig::Stratified(kept.clone()),
            SplitConfig::Shuffled(kept),
        ] {
            let splits = config.split(&manifest, Seed(1)).unwrap();
            assert_eq!(splits.test, (0..20).collect::<Vec<_>>());
            assert_eq!((splits.train.len(), splits.valid.len()), (464, 116));
        }
        let mixed = SplitConfig::Stratified(Fractions::default()).split(&manifest, Seed(1)).unwrap();
        assert!(mixed.warnings.iter().any(|w| w.contains("marks 20 clips as test")), "{:?}", mixed.warnings);
        let mut unmarked = manifest;
        unmarked.entries.iter_mut().for_each(|entry| entry.split = None);
        let kept = Fractions { test: TestClips::Manifest, ..Fractions::default() };
        let error = SplitConfig::Stratified(kept).split(&unmarked, Seed(1)).unwrap_err().to_string();
        assert!(error.contains("no clip is left for test; mark some"), "{error}");
    }

    #[test]
    fn one_subset_validates_while_the_other_only_trains() {
        let mut manifest = subsets();
        let from = Filter::on("subset", &["curated"]);
        let fractions = Fractions { valid: 0.2, test: TestClips::Manifest, from, ..Fractions::default() };
        let config = SplitConfig::Stratified(fractions.clone());
        let splits = config.split(&manifest, Seed(1)).unwrap();
        assert_eq!((splits.train.len(), splits.valid.len(), splits.test.len()), (564, 16, 20));
        assert!(splits.valid.iter().all(|&i| (20..100).contains(&i)));
        // A curated clip of a noisy recording would leak.
        manifest.entries[20..]
            .iter_mut()
            .enumerate()
            .for_each(|(i, entry)| entry.group = Some(format!("{}", i % 540)));
        let splits = config.split(&manifest, Seed(1)).unwrap();
        assert!(
            splits.valid.iter().all(|&i| (20..100).contains(&i))
                && crossing_groups(&manifest.entries, &splits).is_empty()
        );
        let wrong =
            SplitConfig::Stratified(Fractions { from: Filter::on("subset", &["curate"]), ..fractions });
        let error = wrong.split(&manifest, Seed(1)).unwrap_err().to_string();
        assert!(
            error.contains("split.from: no clip has `curate` in the column `subset`; it has curated, noisy"),
            "{error}"
        );
    }

    #[test]
    fn impossible_splits_are_refused() {
        let error =
            SplitConfig::Manifest { allow_leak: false }.split(&many(), Seed(1)).unwrap_err().to_string();
        assert!(error.contains("no clip is left for train"), "{error}");
        let error = official(&[1], &[], &[]).split(&many(), Seed(1)).unwrap_err().to_string();
        assert!(error.contains("split.valid_folds"), "{error}");
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
            let test_share = TestClips::Share(test);
            let config = SplitConfig::Stratified(Fractions { valid, test: test_share, ..Fractions::default() });
            let splits = config.split(&manifest, Seed(seed));
            // A test share of next to nothing can leave the part empty, which is refused.
            prop_assume!(splits.is_ok() || test > 0.01);
            let splits = splits.unwrap();
            prop_assert_eq!(all(&splits), (0..clips.len()).collect::<Vec<_>>());
            for label in manifest.labels.names() {
                let count = |part: &[usize]| count(&manifest, part, label);
                let total = count(&all(&splits));
                for ((_, part), share) in splits.parts().into_iter().zip([1.0 - valid - test, valid, test]) {
                    prop_assert!((count(part) - share * total).abs() < 1.0 + 1e-6);
                }
            }
        }

        #[test]
        fn clips_with_several_labels_are_divided_within_three_clips_of_every_share(
            tags in tags(), seed in 0..1000_u64,
        ) {
            let manifest = tagged(&tags);
            let splits = SplitConfig::Stratified(Fractions::default()).split(&manifest, Seed(seed)).unwrap();
            prop_assert_eq!(all(&splits), (0..tags.len()).collect::<Vec<_>>());
            for label in manifest.labels.names() {
                let total = count(&manifest, &all(&splits), label);
                for ((_, part), share) in splits.parts().into_iter().zip([0.7, 0.15, 0.15]) {
                    prop_assert!((count(&manifest, part, label) - share * total).abs() < 3.0);
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
                SplitConfig::Grouped(fractions.clone()),
                SplitConfig::Stratified(fractions.clone()),
                SplitConfig::Shuffled(fractions),
                SplitConfig::Folds(Folds { k: 3, test_fold: 2, valid: 0.2, from: Filter::default() }),
                SplitConfig::Official {
                    train_folds: vec![],
                    valid_folds: vec![],
                    test_folds: vec![2],
                    valid: Some(0.2),
                },
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
