//! Dealing clips to parts (train, valid and test, or folds) by shares: shuffled, stratified, or in whole groups.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::dataset::Entry;
use crate::seed::{Purpose, Seed};

/// Deals some of the clips `entries`. Its methods take indices into `entries`, sorted by path, and give the part of
/// each, a number below that of the shares.
pub(super) struct Dealer<'a> {
    /// All clips.
    pub(super) entries: &'a [Entry],
    /// The share of the clips that each part gets; they add up to 1.
    pub(super) shares: &'a [f64],
    /// Whether the first part is the one that trains: it gets the first clip or group of each label, for nothing
    /// else could learn it.
    pub(super) first_trains: bool,
    /// Decides.
    pub(super) seed: Seed,
    /// Which draw of the seed: 0 for parts or folds, 1 for the validation part within the training folds.
    pub(super) draw: u64,
}

impl Dealer<'_> {
    fn rng(&self, item: u64) -> ChaCha8Rng {
        self.seed.rng(Purpose::Split, self.draw, item)
    }

    /// What to say when the share that a part of `dealt` got is two points of a hundred, and more than a clip, off the one
    /// asked for.
    pub(super) fn remark(&self, dealt: &[usize]) -> Option<String> {
        let clips = dealt.len() as f64;
        let count = |part: usize| dealt.iter().filter(|&&p| p == part).count();
        let wanted = self.shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
        let (asked, got): (Vec<f64>, Vec<usize>) = wanted.map(|(part, share)| (*share, count(part))).unzip();
        let off =
            |(share, got): (&f64, &usize)| (*got as f64 - share * clips).abs() > (0.02 * clips).max(1.0);
        if !asked.iter().zip(&got).any(off) {
            return None;
        }
        let percent = |share: f64| format!("{:.0}", 100.0 * share);
        let join = |texts: Vec<String>| texts.join("/");
        Some(format!(
            "of the {clips} clips that are divided, {} % were asked for, and {} % ({}) came out, as few clips of a label \
             and whole groups cannot be divided more finely",
            join(asked.iter().map(|&share| percent(share)).collect()),
            join(got.iter().map(|&got| percent(got as f64 / clips)).collect()),
            join(got.iter().map(usize::to_string).collect()),
        ))
    }

    /// Plainly shuffles the clips; every part but the first gets its share, rounded.
    pub(super) fn shuffled(&self, clips: &[usize]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..clips.len()).collect();
        order.shuffle(&mut self.rng(0));
        let mut parts = vec![0; clips.len()];
        let mut rest = &order[..];
        for (part, share) in self.shares.iter().enumerate().skip(1).rev() {
            let count = (clips.len() as f64 * share).round() as usize;
            let (mine, others) = rest.split_at(count.min(rest.len()));
            mine.iter().for_each(|&at| parts[at] = part);
            rest = others;
        }
        parts
    }

    /// Gives every part its share of the clips of each label: exactly, to within one clip, when every clip has one
    /// label, and by iterative stratification when some have several.
    pub(super) fn stratified(&self, clips: &[usize]) -> Vec<usize> {
        let one_label = clips.iter().all(|&i| self.entries[i].labels.len() == 1);
        if one_label { self.by_class(clips) } else { self.by_label(clips) }
    }

    /// As [`Dealer::stratified`], but keeps groups whole where clips share one.
    pub(super) fn grouped(&self, clips: &[usize]) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        let mut recordings = clips.iter().flat_map(|&i| self.entries[i].recordings());
        if recordings.all(|recording| seen.insert(recording)) {
            self.stratified(clips)
        } else {
            self.by_group(clips)
        }
    }

    /// Deals the clips of each class by largest remainder, so each part gets its share to within one clip. What
    /// rounding owes a part in one class it gets in a later one.
    fn by_class(&self, clips: &[usize]) -> Vec<usize> {
        let mut classes: BTreeMap<&[String], Vec<usize>> = BTreeMap::new();
        for (at, &i) in clips.iter().enumerate() {
            classes.entry(&self.entries[i].labels).or_default().push(at);
        }
        let mut parts = vec![0; clips.len()];
        let mut owed = vec![0.0; self.shares.len()];
        for (class, mut members) in classes.into_values().enumerate() {
            members.shuffle(&mut self.rng(class as u64));
            let counts = largest_remainder(members.len(), self.shares, &mut owed);
            let dealt = counts.into_iter().enumerate().flat_map(|(part, n)| std::iter::repeat_n(part, n));
            members.into_iter().zip(dealt).for_each(|(at, part)| parts[at] = part);
        }
        parts
    }

    /// Iterative stratification of clips with several labels (Sechidis, Tsoumakas & Vlahavas 2011): the label with
    /// the fewest clips left is dealt next, so that rare ones are dealt while all parts are still open.
    ///
    /// They give a clip to the part that lacks most of that one label. Here, in the spirit of Szymański &
    /// Kajdanowicz (2017), all labels of the clip have a say, each the more the fewer clips of it are left: the clip
    /// goes where it brings the sum of (got - wanted)^2 / (still to come) down most, of equal parts to the one
    /// with most room. For clips with one label that is Sechidis' rule. Of one label the clips with most labels go
    /// first, as later ones can make up for them.
    fn by_label(&self, clips: &[usize]) -> Vec<usize> {
        let (labels, num_labels) = self.label_ids(clips);
        let mut order: Vec<usize> = (0..clips.len()).collect();
        order.shuffle(&mut self.rng(0));
        order.sort_by_key(|&at| Reverse(labels[at].len()));
        let mut of_label = vec![Vec::new(); num_labels];
        for &at in &order {
            labels[at].iter().for_each(|&label| of_label[label].push(at));
        }
        let mut left: Vec<usize> = of_label.iter().map(Vec::len).collect();
        let wants = |count: usize| self.shares.iter().map(|share| share * count as f64).collect::<Vec<_>>();
        let mut wanted: Vec<Vec<f64>> = left.iter().map(|&count| wants(count)).collect();
        let mut room = wants(clips.len());
        let mut is_taught = vec![!self.first_trains; num_labels];
        let mut parts = vec![None; clips.len()];
        while let Some(label) =
            (0..num_labels).filter(|&label| left[label] > 0).min_by_key(|&label| left[label])
        {
            for &at in &of_label[label] {
                if parts[at].is_some() {
                    continue;
                }
                let mine = &labels[at];
                let cost = |part: usize| -> f64 {
                    let cost = |&label: &usize| {
                        (1.0 - 2.0 * wanted[label][part]) / (self.shares[part] * left[label] as f64)
                    };
                    mine.iter().map(cost).sum()
                };
                let all_taught = mine.iter().all(|&label| is_taught[label]);
                let part = if all_taught { self.cheapest(cost, &room) } else { 0 };
                parts[at] = Some(part);
                room[part] -= 1.0;
                for &label in mine {
                    wanted[label][part] -= 1.0;
                    left[label] -= 1;
                    is_taught[label] |= part == 0;
                }
            }
        }
        parts.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Positions in `clips` of those that must stay together: clips with a common recording, directly or through others.
    /// A clip without one is a group of its own. Those come first; the others are in the order of their first recording.
    fn groups(&self, clips: &[usize]) -> Vec<Vec<usize>> {
        // Of every recording, an earlier one that it is heard together with; the first of a group is its own.
        let mut earlier: BTreeMap<&str, &str> = BTreeMap::new();
        for &i in clips {
            let mut firsts =
                self.entries[i].recordings().map(|name| first_of(&earlier, name)).collect::<Vec<_>>();
            firsts.sort_unstable();
            let Some(&first) = firsts.first() else { continue };
            earlier.extend(firsts.into_iter().map(|other| (other, first)));
        }
        let mut groups: BTreeMap<(Option<&str>, usize), Vec<usize>> = BTreeMap::new();
        for (at, &i) in clips.iter().enumerate() {
            let first = self.entries[i].recordings().next().map(|name| first_of(&earlier, name));
            groups.entry((first, if first.is_some() { 0 } else { at })).or_default().push(at);
        }
        groups.into_values().collect()
    }

    /// Deals whole groups, the largest first and equal ones in random order, each to the part where it brings the
    /// number of clips of its classes nearest to the wanted one. The measure is the chi-squared distance
    /// sum (got - wanted)^2 / wanted over classes and parts.
    fn by_group(&self, clips: &[usize]) -> Vec<usize> {
        let mut groups = self.groups(clips);
        groups.shuffle(&mut self.rng(0));
        groups.sort_by_key(|members| Reverse(members.len()));

        let (labels, num_labels) = self.label_ids(clips);
        let count = |members: &[usize]| {
            let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
            members
                .iter()
                .flat_map(|&at| &labels[at])
                .for_each(|&label| *counts.entry(label).or_default() += 1.0);
            counts
        };
        let total = count(&(0..clips.len()).collect::<Vec<_>>());
        let mut got = vec![vec![0.0; self.shares.len()]; num_labels];
        let mut parts = vec![0; clips.len()];
        for members in groups {
            let brings = count(&members);
            let is_new = self.first_trains && brings.keys().any(|&label| got[label][0] < 1.0);
            // What `part` adds to the distance by taking the group.
            let cost = |part: usize| -> f64 {
                let cost = |(&label, n): (&usize, &f64)| {
                    let wanted = self.shares[part] * total[&label];
                    n * (2.0 * (got[label][part] - wanted) + n) / wanted
                };
                brings.iter().map(cost).sum()
            };
            let best = self.open().min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
            let part = if is_new { 0 } else { best };
            members.iter().for_each(|&at| parts[at] = part);
            brings.iter().for_each(|(&label, n)| got[label][part] += n);
        }
        parts
    }

    /// Parts that get anything.
    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.shares.len()).filter(|&part| self.shares[part] > 0.0)
    }

    /// The open part of the lowest cost; of several (as good as) equal ones the first with most room.
    fn cheapest(&self, cost: impl Fn(usize) -> f64, room: &[f64]) -> usize {
        let mut best: Option<(usize, f64)> = None;
        for part in self.open() {
            let cost = cost(part);
            let is_better = best.is_none_or(|(other, least)| {
                cost < least - 1e-9 || (cost < least + 1e-9 && room[part] > room[other] + 1e-9)
            });
            if is_better {
                best = Some((part, cost));
            }
        }
        best.map_or(0, |(part, _)| part)
    }

    /// The labels of each clip as numbers in alphabetical order, and how many there are.
    fn label_ids(&self, clips: &[usize]) -> (Vec<Vec<usize>>, usize) {
        let names: BTreeSet<&String> = clips.iter().flat_map(|&i| &self.entries[i].labels).collect();
        let ids: BTreeMap<&String, usize> = names.into_iter().zip(0..).collect();
        let ids_of = |&i: &usize| {
            let mine: BTreeSet<usize> = self.entries[i].labels.iter().map(|label| ids[label]).collect();
            mine.into_iter().collect()
        };
        (clips.iter().map(ids_of).collect(), ids.len())
    }
}

/// Divides `n` by `shares` into whole numbers, each its exact value rounded down or up. The parts that are rounded
/// up are those that lack most, counting what `owed` says they lack already; `owed` is brought up to date.
fn largest_remainder(n: usize, shares: &[f64], owed: &mut [f64]) -> Vec<usize> {
    let exact: Vec<f64> = shares.iter().map(|share| share * n as f64).collect();
    // A hair above, so that 0.15 * 20 is 3 and not 2.9999.
    let mut counts: Vec<usize> = exact.iter().map(|x| (x + 1e-9).floor() as usize).collect();
    let lack = |part: usize, counts: &[usize]| exact[part] - counts[part] as f64;
    let mut parts: Vec<(usize, f64)> = (0..shares.len()).map(|part| (part, lack(part, &counts))).collect();
    parts.sort_by(|&(a, x), &(b, y)| (y + owed[b]).total_cmp(&(x + owed[a])));
    let missing = n - counts.iter().sum::<usize>();
    let rounded_up = parts.into_iter().filter(|(_, lack)| *lack > 1e-6).take(missing);
    rounded_up.for_each(|(part, _)| counts[part] += 1);
    (0..shares.len()).for_each(|part| owed[part] += lack(part, &counts));
    counts
}

/// The first recording of the group that `name` belongs to.
fn first_of<'a>(earlier: &BTreeMap<&'a str, &'a str>, mut name: &'a str) -> &'a str {
    while let Some(&next) = earlier.get(name).filter(|next| **next != name) {
        name = next;
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{count, tagged, tags};
    use super::*;

    #[test]
    fn rounding_is_made_up_for_in_later_classes() {
        let mut owed = [0.0; 3];
        let counts: Vec<_> = (0..20).map(|_| largest_remainder(3, &[0.7, 0.15, 0.15], &mut owed)).collect();
        let total = |part: usize| counts.iter().map(|c| c[part]).sum::<usize>();
        assert_eq!([total(0), total(1), total(2)], [42, 9, 9]);
        assert!(counts.iter().all(|c| c.iter().sum::<usize>() == 3 && (2..=3).contains(&c[0])));
    }

    /// Ten seeds each, as in `compare_stratification.py`: the worst of ours beside the best of scikit-multilearn's.
    #[test]
    fn no_label_is_farther_from_its_share_than_with_scikit_multilearn() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dataset/stratification.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let clips: Vec<Vec<usize>> = serde_json::from_value(golden["clips"].clone()).unwrap();
        let manifest = tagged(&clips);
        let order: Vec<usize> = (0..clips.len()).collect();
        for (name, shares) in [("0.8/0.2", &[0.8, 0.2][..]), ("5 folds", &[0.2; 5])] {
            let largest = |seed: u64| -> f64 {
                let (entries, first_trains) = (&manifest.entries, shares.len() == 2);
                let dealer = Dealer { entries, shares, first_trains, seed: Seed(seed), draw: 0 };
                let parts = dealer.stratified(&order);
                let off = |label: &String, part: usize| {
                    let mine: Vec<usize> = order.iter().copied().filter(|&i| parts[i] == part).collect();
                    (count(&manifest, &mine, label) - shares[part] * count(&manifest, &order, label)).abs()
                };
                let labels = manifest.labels.names().iter();
                labels
                    .flat_map(|label| (0..shares.len()).map(move |part| off(label, part)))
                    .fold(0.0, f64::max)
            };
            let worst = (0..10).map(largest).fold(0.0, f64::max);
            for order in ["order 1", "order 2"] {
                let peer = &golden["scikit-multilearn"][format!("{name}, {order}")]["largest"];
                let peer: Vec<f64> = serde_json::from_value(peer.clone()).unwrap();
                let best = peer.into_iter().fold(f64::INFINITY, f64::min);
                assert!(worst <= best + 1e-9, "{name}: {worst} clips, {order} of scikit-multilearn {best}");
            }
        }
    }

    #[test]
    fn clips_that_share_a_speaker_directly_or_through_others_are_one_group() {
        let clip = |speakers: &[&str]| Entry {
            speaker_ids: speakers.iter().map(ToString::to_string).collect(),
            ..Entry::default()
        };
        let entries = [&["e", "f"][..], &["c", "d"], &[], &["b", "a"], &["f"], &["d", "b"], &[]].map(clip);
        let dealer = Dealer { entries: &entries, shares: &[1.0], first_trains: true, seed: Seed(1), draw: 0 };
        let groups = dealer.groups(&[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(groups, [vec![2], vec![6], vec![1, 3, 5], vec![0, 4]]);
        assert_eq!(dealer.groups(&[5, 4, 0]), [vec![0], vec![1, 2]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_label_is_spread_by_the_shares_however_labels_meet(
            tags in tags(), seed in 0..1000_u64, k in 2..6_usize,
        ) {
            let manifest = tagged(&tags);
            let clips: Vec<usize> = (0..tags.len()).collect();
            let even = vec![1.0 / k as f64; k];
            for (shares, first_trains) in [(&[0.8, 0.2][..], true), (&[0.7, 0.15, 0.15], true), (&even, false)] {
                let dealer =
                    Dealer { entries: &manifest.entries, shares, first_trains, seed: Seed(seed), draw: 0 };
                let parts = dealer.stratified(&clips);
                for label in manifest.labels.names() {
                    let total = count(&manifest, &clips, label);
                    for (part, share) in shares.iter().enumerate() {
                        let mine: Vec<usize> = clips.iter().copied().filter(|&i| parts[i] == part).collect();
                        let off = (count(&manifest, &mine, label) - share * total).abs();
                        prop_assert!(off < 3.0, "{} of {} in {:?}", off, total, shares);
                        if first_trains && part == 0 {
                            prop_assert!(count(&manifest, &mine, label) > 0.0);
                        }
                    }
                }
            }
        }
    }
}
