//! Label-weighted label-ranking average precision: the metric of DCASE 2019 task 2 and its Kaggle competition.

use rand::RngExt;

use super::Interval;
use crate::seed::{Purpose, Seed};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 1000;

/// Label-weighted label-ranking average precision (lwlrap; Fonseca et al. 2019, "Audio tagging with noisy labels and
/// minimal supervision"), counted clip by clip.
///
/// For every label of a clip: of the classes ranked down to it, the share that are labels of the clip too. The mean of
/// that over all labels of all clips, so every label weighs the same, whatever clip it is on. 0 to 1. It is
/// scikit-learn's `label_ranking_average_precision_score` with the number of labels as `sample_weight`, except for
/// equal scores: the competition's reference ranks by `argsort(scores)[::-1]`, so of equal scores the class with the
/// higher index stands first (with a stable sort), and so it does here. NaN ranks last. For clips with one label it is
/// the mean reciprocal rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Lwlrap {
    /// For each class, the sum of its precisions.
    precisions: Vec<f64>,
    /// For each class, the clips that carry it.
    clips: Vec<u64>,
}

impl Lwlrap {
    /// No clip yet.
    pub fn new(num_classes: usize) -> Self {
        Self { precisions: vec![0.0; num_classes], clips: vec![0; num_classes] }
    }

    /// From scores and targets, both row-major `[n, num_classes]`; a target above 0 is a label.
    pub fn from_scores(scores: &[f32], targets: &[f32], num_classes: usize) -> Self {
        let mut lwlrap = Self::new(num_classes);
        let classes = num_classes.max(1);
        for (scores, target) in scores.chunks_exact(classes).zip(targets.chunks_exact(classes)) {
            for (class, precision) in label_precisions(scores, target) {
                lwlrap.precisions[class] += precision;
                lwlrap.clips[class] += 1;
            }
        }
        lwlrap
    }

    /// Over all classes; NaN when no clip has a label.
    pub fn value(&self) -> f64 {
        self.precisions.iter().sum::<f64>() / self.clips.iter().sum::<u64>() as f64
    }

    /// Of one class: the mean precision at it over the clips that carry it; NaN when none does.
    pub fn of_class(&self, class: usize) -> f64 {
        self.precisions[class] / self.clips[class] as f64
    }

    /// 95 % interval of [`Lwlrap::value`] by the bootstrap over clips (percentiles of 1,000 resamples, drawn from
    /// `seed`), from the same scores and targets. Clips count as independent. 0 to 1 when no clip has a label.
    pub fn interval(scores: &[f32], targets: &[f32], num_classes: usize, seed: Seed) -> Interval {
        let classes = num_classes.max(1);
        let clips: Vec<(f64, usize)> = scores
            .chunks_exact(classes)
            .zip(targets.chunks_exact(classes))
            .map(|(scores, target)| precision_sum(scores, target))
            .filter(|(_, labels)| *labels > 0)
            .collect();
        if clips.is_empty() {
            return Interval { low: 0.0, high: 1.0 };
        }
        let mut rng = seed.rng(Purpose::Bootstrap, 0, 0);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let (sum, labels) = (0..clips.len()).fold((0.0, 0), |(sum, labels), _| {
                    let (precision, more) = clips[rng.random_range(0..clips.len())];
                    (sum + precision, labels + more)
                });
                sum / labels as f64
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
        Interval { low: at(0.025), high: at(0.975) }
    }
}

/// Of one clip: the sum of the precisions at its labels, and their number.
pub fn precision_sum(scores: &[f32], target: &[f32]) -> (f64, usize) {
    label_precisions(scores, target).fold((0.0, 0), |(sum, n), (_, precision)| (sum + precision, n + 1))
}

/// The labels of one clip with the precision at each: labels ranked up to it, itself included, by classes ranked up to it.
fn label_precisions<'a>(scores: &'a [f32], target: &'a [f32]) -> impl Iterator<Item = (usize, f64)> + 'a {
    let is_label = |class: &usize| target[*class] > 0.0;
    (0..scores.len()).filter(is_label).map(move |label| {
        let before = (0..scores.len()).filter(|&class| stands_before(scores, class, label));
        let (mut classes, mut labels) = (1.0, 1.0);
        for class in before {
            classes += 1.0;
            labels += f64::from(u8::from(is_label(&class)));
        }
        (label, labels / classes)
    })
}

/// Whether class `i` is ranked before class `j`.
fn stands_before(scores: &[f32], i: usize, j: usize) -> bool {
    let key = |class: usize| if scores[class].is_nan() { f32::NEG_INFINITY } else { scores[class] };
    key(i) > key(j) || (key(i) >= key(j) && i > j)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition word for word: sort the classes, walk down, and look at every place where a label stands.
    fn by_brute_force(scores: &[f32], targets: &[f32], classes: usize) -> f64 {
        let (mut sum, mut labels) = (0.0, 0);
        for (scores, target) in scores.chunks(classes).zip(targets.chunks(classes)) {
            let mut ranked: Vec<usize> = (0..classes).collect();
            ranked.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            ranked.reverse();
            let mut hits = 0;
            for (place, class) in ranked.into_iter().enumerate() {
                if target[class] > 0.0 {
                    hits += 1;
                    labels += 1;
                    sum += f64::from(hits) / (place + 1) as f64;
                }
            }
        }
        sum / f64::from(labels)
    }

    #[test]
    fn equals_brute_force_on_a_thousand_random_matrices() {
        let mut rng = Seed(19).rng(Purpose::Synth, 0, 0);
        for matrix in 0..1000 {
            let (clips, classes) = (rng.random_range(1..12), rng.random_range(2..30));
            // Every other matrix has few different scores, so that many are equal.
            let levels = if matrix % 2 == 0 { 1 << 20 } else { 4 };
            let scores: Vec<f32> =
                (0..clips * classes).map(|_| rng.random_range(0..levels) as f32 / levels as f32).collect();
            let targets: Vec<f32> =
                (0..clips * classes).map(|_| f32::from(u8::from(rng.random_range(0..5) == 0))).collect();
            let (ours, expected) = (
                Lwlrap::from_scores(&scores, &targets, classes).value(),
                by_brute_force(&scores, &targets, classes),
            );
            assert!((ours - expected).abs() < 1e-12 || (ours.is_nan() && expected.is_nan()), "{matrix}");
        }
    }

    #[test]
    fn the_second_of_two_classes_with_one_label_gets_a_half() {
        let lwlrap = Lwlrap::from_scores(&[0.9, 0.1, 0.2, 0.8], &[0.0, 1.0, 0.0, 1.0], 2);
        assert!((lwlrap.value() - 0.75).abs() < 1e-15);
        assert!((lwlrap.of_class(1) - 0.75).abs() < 1e-15 && lwlrap.of_class(0).is_nan());
    }

    #[test]
    fn of_equal_scores_the_higher_index_stands_first_and_nan_last() {
        let one = |scores: &[f32], target: &[f32]| precision_sum(scores, target);
        assert_eq!(one(&[0.5, 0.5, 0.5], &[0.0, 0.0, 1.0]), (1.0, 1));
        assert_eq!(one(&[0.5, 0.5, 0.5], &[1.0, 0.0, 0.0]), (1.0 / 3.0, 1));
        assert_eq!(one(&[f32::NAN, 0.0], &[1.0, 0.0]), (0.5, 1));
    }

    #[test]
    fn a_clip_without_labels_does_not_count_and_nothing_measured_is_not_zero() {
        assert_eq!(precision_sum(&[0.1, 0.2], &[0.0, 0.0]), (0.0, 0));
        assert!(Lwlrap::from_scores(&[0.1, 0.2], &[0.0, 0.0], 2).value().is_nan());
        assert_eq!(Lwlrap::interval(&[], &[], 2, Seed(1)), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn the_interval_holds_the_value_and_is_the_same_every_time() {
        let mut rng = Seed(3).rng(Purpose::Synth, 1, 0);
        let scores: Vec<f32> = (0..200 * 5).map(|_| rng.random_range(0.0..1.0)).collect();
        let targets: Vec<f32> = (0..200 * 5).map(|i| f32::from(u8::from(i % 5 == i / 5 % 5))).collect();
        let value = Lwlrap::from_scores(&scores, &targets, 5).value();
        let interval = Lwlrap::interval(&scores, &targets, 5, Seed(7));
        assert!(interval.low < value && value < interval.high, "{interval:?} {value}");
        assert!((0.04..0.2).contains(&(interval.high - interval.low)), "{interval:?}");
        assert_eq!(interval, Lwlrap::interval(&scores, &targets, 5, Seed(7)));
    }
}
