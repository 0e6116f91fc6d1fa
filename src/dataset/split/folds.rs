use std::collections::{BTreeMap, BTreeSet};

use super::Folds;
use super::deal::Dealer;
use super::divide::{Parts, pool};
use super::splits::sorted;
use crate::dataset::{Entry, Error, Filter, Manifest, Split};
use crate::seed::Seed;

/// Deals the clips of `manifest` to folds 1 to `k`, in whole groups and stratified; the fold of each clip. Clips
/// that are marked `test` get none. They are the folds of [`Folds`] with the same seed.
///
/// # Errors
///
/// [`Error::Split`] when `k` is below 2 or there are fewer clips or groups than folds.
pub fn deal_folds(manifest: &Manifest, k: u32, seed: Seed) -> Result<Vec<Option<u32>>, Error> {
    let (folds, _) =
        fold_of_each(&manifest.entries, &sorted(&manifest.entries), k, &Filter::default(), seed)?;
    Ok(folds)
}

/// The fold of each clip of `entries`, and the clips that only train. `order`: the clips sorted by path.
fn fold_of_each(
    entries: &[Entry],
    order: &[usize],
    k: u32,
    from: &Filter,
    seed: Seed,
) -> Result<(Vec<Option<u32>>, Vec<usize>), Error> {
    if k as usize > entries.len() {
        return Err(Error::Split(format!(
            "{k} folds of {} clips; give at most as many as clips",
            entries.len()
        )));
    }
    if k < 2 {
        return Err(Error::Split(format!("{k} folds leave none to train on; ask for at least 2")));
    }
    let unmarked: Vec<usize> =
        order.iter().copied().filter(|&i| entries[i].split != Some(Split::Test)).collect();
    let (clips, others) = pool(entries, &unmarked, from);
    let shares = vec![1.0 / f64::from(k); k as usize];
    let dealer = Dealer { entries, shares: &shares, first_trains: false, seed, draw: 0 };
    let dealt = dealer.grouped(&clips);
    let used: BTreeSet<usize> = dealt.iter().copied().collect();
    if used.len() < shares.len() {
        let reason = format!("{k} folds of {} clips: some would be empty; ask for fewer", clips.len());
        return Err(Error::Split(format!("{reason}, or check the groups, which stay whole")));
    }
    let mut folds = vec![None; entries.len()];
    clips.iter().zip(dealt).for_each(|(&i, fold)| folds[i] = Some(fold as u32 + 1));
    Ok((folds, others))
}

impl Folds {
    /// The part of each clip.
    pub(super) fn parts(&self, entries: &[Entry], order: &[usize], seed: Seed) -> Result<Parts, Error> {
        let (folds, others) = fold_of_each(entries, order, self.k, &self.from, seed)?;
        let mut parts = vec![None; entries.len()];
        others.iter().for_each(|&i| parts[i] = Some(Split::Train));
        let test = Some(self.test_fold);
        order.iter().filter(|&&i| folds[i] == test).for_each(|&i| parts[i] = Some(Split::Test));
        let rest: Vec<usize> =
            order.iter().copied().filter(|&i| folds[i].is_some() && folds[i] != test).collect();
        let remark = hold_out(entries, &rest, self.valid, seed, &mut parts);
        Ok((parts, remark))
    }
}

/// The part of each clip that the named folds (train, valid, test) give it.
pub(super) fn by_fold(
    entries: &[Entry],
    order: &[usize],
    named: [&[u32]; 3],
    valid: Option<f64>,
    seed: Seed,
) -> Result<Parts, Error> {
    let existing: BTreeSet<u32> = entries.iter().filter_map(|entry| entry.fold).collect();
    if existing.is_empty() {
        return Err(Error::Split(
            "the manifest has no folds, its column `fold` is missing or empty; use protocol = \"folds\" with a \
             number k, or \"grouped\", or write folds with `oido prepare … --folds 5`"
                .to_owned(),
        ));
    }
    let mut part_of = BTreeMap::new();
    for (split, folds) in Split::ALL.into_iter().zip(named) {
        for &fold in folds {
            if !existing.contains(&fold) {
                let existing: Vec<_> = existing.iter().map(u32::to_string).collect();
                return Err(Error::Split(format!(
                    "fold {fold} is asked for in split.{}_folds, the data has the folds {}",
                    split.name(),
                    existing.join(", ")
                )));
            }
            part_of.insert(fold, split);
        }
    }
    let mut parts: Vec<Option<Split>> =
        entries.iter().map(|entry| part_of.get(&entry.fold?).copied()).collect();
    let remark = valid.and_then(|valid| {
        let train: Vec<usize> = order.iter().copied().filter(|&i| parts[i] == Some(Split::Train)).collect();
        hold_out(entries, &train, valid, seed, &mut parts)
    });
    Ok((parts, remark))
}

/// Divides `clips` into train and, a share of `valid`, valid: in whole groups and stratified. Gives [`Dealer::remark`].
fn hold_out(
    entries: &[Entry],
    clips: &[usize],
    valid: f64,
    seed: Seed,
    parts: &mut [Option<Split>],
) -> Option<String> {
    let shares = [1.0 - valid, valid];
    let dealer = Dealer { entries, shares: &shares, first_trains: true, seed, draw: 1 };
    let dealt = dealer.grouped(clips);
    let remark = dealer.remark(&dealt);
    clips.iter().zip(dealt).for_each(|(&i, part)| parts[i] = Some(Split::ALL[part]));
    remark
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{all, clips, count, manifest, many, official, tagged, tags};
    use super::super::{SplitConfig, Splits, crossing_groups};
    use super::*;

    fn nested(test: u32, valid: f64) -> SplitConfig {
        SplitConfig::Official {
            train_folds: vec![],
            valid_folds: vec![],
            test_folds: vec![test],
            valid: Some(valid),
        }
    }

    fn folds(k: u32, test_fold: u32) -> SplitConfig {
        SplitConfig::Folds(Folds { k, test_fold, valid: 0.2, from: Filter::default() })
    }

    #[test]
    fn folds_are_taken_as_asked() {
        let (manifest, config) = (many(), official(&[1, 3], &[2], &[]));
        let splits = config.split(&many(), Seed(1)).unwrap();
        assert!(splits.valid.iter().all(|&i| manifest.entries[i].fold == Some(2)));
        assert_eq!(splits.train.len() + splits.valid.len(), 600);
        assert!(splits.warnings.is_empty() && !splits.leaking);
    }

    #[test]
    fn validation_within_the_training_folds_never_touches_the_test_fold() {
        let manifest = many();
        let splits = nested(2, 0.2).split(&manifest, Seed(1)).unwrap();
        assert_eq!(all(&splits), (0..600).collect::<Vec<_>>());
        assert!((0..600).all(|i| (manifest.entries[i].fold == Some(2)) == splits.test.contains(&i)));
        assert!(crossing_groups(&manifest.entries, &splits).is_empty());
        let share = splits.valid.len() as f64 / (splits.valid.len() + splits.train.len()) as f64;
        assert!((share - 0.2).abs() < 0.04, "{share}");
        assert!(splits.warnings.is_empty(), "{:?}", splits.warnings);
    }

    #[test]
    fn folds_that_are_not_there_are_named() {
        let error = official(&[1, 9], &[2], &[]).split(&many(), Seed(1)).unwrap_err().to_string();
        assert!(
            error.contains("fold 9 is asked for in split.train_folds, the data has the folds 1, 2, 3"),
            "{error}"
        );
        let mut none = many();
        none.entries.iter_mut().for_each(|entry| entry.fold = None);
        let all = SplitConfig::Official {
            train_folds: vec![],
            valid_folds: vec![],
            test_folds: vec![],
            valid: Some(0.2),
        };
        for config in [official(&[1], &[2], &[]), nested(1, 0.2), all] {
            let error = config.split(&none, Seed(1)).unwrap_err().to_string();
            assert!(
                error.contains("the manifest has no folds") && error.contains("protocol = \"folds\""),
                "{error}"
            );
        }
        for k in [1, 200] {
            assert!(deal_folds(&many(), k, Seed(1)).unwrap_err().to_string().contains("folds"));
        }
    }

    #[test]
    fn every_clip_is_tested_in_one_fold_and_the_column_holds_the_same_folds() {
        let manifest = many();
        let column = deal_folds(&manifest, 5, Seed(3)).unwrap();
        let splits: Vec<Splits> = (1..=5).map(|k| folds(5, k).split(&manifest, Seed(3)).unwrap()).collect();
        for (i, fold) in column.iter().enumerate() {
            let tested: Vec<u32> = (1..=5).filter(|&k| splits[k as usize - 1].test.contains(&i)).collect();
            assert_eq!(tested, [fold.unwrap()]);
        }
        assert!(splits[0].warnings[0].contains("folds of its own"), "{:?}", splits[0].warnings);
    }

    #[test]
    fn clips_marked_test_stand_in_no_fold() {
        let mut manifest = many();
        manifest.entries.iter_mut().for_each(|entry| (entry.fold, entry.group) = (None, None));
        manifest.entries[..50].iter_mut().for_each(|entry| entry.split = Some(Split::Test));
        let column = deal_folds(&manifest, 5, Seed(3)).unwrap();
        assert!(column[..50].iter().all(Option::is_none) && column[50..].iter().all(Option::is_some));
        let splits = folds(5, 1).split(&manifest, Seed(3)).unwrap();
        assert!(all(&splits).iter().all(|&i| i >= 50) && all(&splits).len() == 550);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn folds_keep_groups_whole_and_classes_even(clips in clips(), seed in 0..1000_u64, k in 2..6_u32) {
            let manifest = manifest(&clips);
            let column = deal_folds(&manifest, k, Seed(seed)).unwrap();
            let mut fold_of = BTreeMap::new();
            for (entry, fold) in manifest.entries.iter().zip(&column) {
                prop_assert_eq!(*fold_of.entry(entry.recording()).or_insert(*fold), *fold);
            }
            for label in manifest.labels.names() {
                let total = count(&manifest, &(0..clips.len()).collect::<Vec<_>>(), label);
                let largest = fold_of.keys().map(|group| {
                    let of_group = |e: &&Entry| e.recording() == *group && &e.labels[0] == label;
                    manifest.entries.iter().filter(of_group).count()
                }).max().unwrap();
                for fold in 1..=k {
                    let mine: Vec<usize> = (0..clips.len()).filter(|&i| column[i] == Some(fold)).collect();
                    let off = (count(&manifest, &mine, label) - total / f64::from(k)).abs();
                    prop_assert!(off <= largest as f64, "{} off, largest group {}", off, largest);
                }
            }
        }

        #[test]
        fn nested_parts_share_no_group_and_teach_every_class(clips in clips(), seed in 0..1000_u64, fold in 1..4_u32) {
            let manifest = manifest(&clips);
            for config in [nested(fold, 0.2), folds(4, fold)] {
                let splits = config.split(&manifest, Seed(seed)).unwrap();
                prop_assert!(crossing_groups(&manifest.entries, &splits).is_empty());
                prop_assert_eq!(all(&splits).len(), clips.len());
                let held = splits.valid.len() as f64 / (splits.valid.len() + splits.train.len()) as f64;
                prop_assert!((held - 0.2).abs() < 0.07, "{}", held);
                prop_assert!(manifest.labels.names().iter().all(|l| count(&manifest, &splits.train, l) > 0.0));
            }
        }

        #[test]
        fn the_order_of_the_manifest_and_the_test_fold_change_no_fold(tags in tags(), seed in 0..1000_u64) {
            let manifest = tagged(&tags);
            let mut reversed = manifest.clone();
            reversed.entries.reverse();
            let folds = deal_folds(&manifest, 4, Seed(seed)).unwrap();
            let mut again = deal_folds(&reversed, 4, Seed(seed)).unwrap();
            again.reverse();
            prop_assert_eq!(folds, again);
        }
    }
}
