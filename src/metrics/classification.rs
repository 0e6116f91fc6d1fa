//! Figures that need no confusion matrix.

/// Index of the largest value; ties go to the lower index. NaN counts as smaller than every number, so a
/// broken score never wins. 0 when `values` is empty or holds only NaN.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] || (values[best].is_nan() && !value.is_nan()) {
            best = index;
        }
    }
    best
}

/// Turns one row of logits into probabilities, in place. The largest logit is subtracted first, so large
/// values do not overflow. A NaN makes the whole row NaN.
pub fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f64;
    for value in logits.iter_mut() {
        *value = (*value - max).exp();
        sum += f64::from(*value);
    }
    for value in logits {
        *value = (f64::from(*value) / sum) as f32;
    }
}

/// The probability of one logit, `1 / (1 + exp(-logit))`.
pub fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32
}

/// Whether the best score of one clip is that of a right class: one with the highest target, so the class of a clip
/// with one label, any label of a clip with several, and the greater part of a mixture.
pub fn is_hit(scores: &[f32], target: &[f32]) -> bool {
    scores.is_empty() || target[argmax(scores)] >= target[argmax(target)]
}

/// Share of clips whose best score is that of a right class ([`is_hit`]), 0 to 1. NaN for no clip.
pub fn accuracy(scores: &[f32], targets: &[f32], num_classes: usize) -> f64 {
    mean_over_clips(scores, targets, num_classes, |s, t| f64::from(is_hit(s, t)))
}

/// Share of clips with a right class (see [`is_hit`]) among the `k` best scores, 0 to 1. NaN for no clip.
///
/// Of equal scores the lower index is ranked first, as [`argmax`] does (scikit-learn ranks the higher first).
pub fn top_k_accuracy(scores: &[f32], targets: &[f32], num_classes: usize, k: usize) -> f64 {
    mean_over_clips(scores, targets, num_classes, |s, t| {
        let highest = t[argmax(t)];
        let rank = |class: usize| {
            s.iter().enumerate().filter(|&(i, value)| beats(i, *value, class, s[class])).count()
        };
        f64::from((0..t.len()).any(|class| t[class] >= highest && rank(class) < k))
    })
}

/// Whether class `i` with `value` is ranked before class `j` with `other`; NaN ranks last.
fn beats(i: usize, value: f32, j: usize, other: f32) -> bool {
    let key = |x: f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
    match key(value).total_cmp(&key(other)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => i < j,
    }
}

/// Mean of `-sum(target * ln(score))` over the clips, in nats. `scores` are probabilities; as in
/// scikit-learn's `log_loss` they are kept `f32::EPSILON` away from 0 and 1. A NaN score gives NaN.
pub fn log_loss(scores: &[f32], targets: &[f32], num_classes: usize) -> f64 {
    let eps = f64::from(f32::EPSILON);
    mean_over_clips(scores, targets, num_classes, |s, t| {
        -s.iter().zip(t).map(|(p, t)| f64::from(*t) * f64::from(*p).clamp(eps, 1.0 - eps).ln()).sum::<f64>()
    })
}

/// Mean of `of_clip(scores, target)` over the rows of both arrays.
pub(super) fn mean_over_clips(
    scores: &[f32],
    targets: &[f32],
    num_classes: usize,
    of_clip: impl Fn(&[f32], &[f32]) -> f64,
) -> f64 {
    assert_eq!(scores.len(), targets.len(), "scores and targets must have the same shape");
    let classes = num_classes.max(1);
    let sum: f64 =
        scores.chunks_exact(classes).zip(targets.chunks_exact(classes)).map(|(s, t)| of_clip(s, t)).sum();
    sum / (scores.len() / classes) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_wins_and_ties_go_to_the_lower_index() {
        assert_eq!(argmax(&[0.1, 0.7, 0.2]), 1);
        assert_eq!(argmax(&[0.4, 0.2, 0.4]), 0);
        assert_eq!(argmax(&[-3.0, -1.0]), 1);
    }

    #[test]
    fn nan_never_wins() {
        assert_eq!(argmax(&[f32::NAN, 0.1, f32::NAN, 0.2]), 3);
        assert_eq!(argmax(&[f32::NAN, f32::NEG_INFINITY]), 1);
        assert_eq!(argmax(&[f32::NAN, f32::NAN]), 0);
        assert_eq!(argmax(&[]), 0);
    }

    #[test]
    fn softmax_survives_large_logits() {
        let mut row = [1000.0, 1001.0, f32::NEG_INFINITY];
        softmax(&mut row);
        assert!((row[1] - 0.731_058_6).abs() < 1e-6 && row[2] == 0.0, "{row:?}");
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_nan_logit_is_not_hidden() {
        let mut row = [f32::NAN, 1.0];
        softmax(&mut row);
        assert!(row[0].is_nan() && row[1].is_nan());
        assert!(log_loss(&[f32::NAN, 1.0], &[1.0, 0.0], 2).is_nan());
    }

    #[test]
    fn counts_the_right_answers() {
        let scores = [0.9, 0.1, 0.2, 0.8, 0.7, 0.3];
        let targets = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        assert!((accuracy(&scores, &targets, 2) - 2.0 / 3.0).abs() < 1e-15);
        assert!((top_k_accuracy(&scores, &targets, 2, 1) - 2.0 / 3.0).abs() < 1e-15);
        assert!((top_k_accuracy(&scores, &targets, 2, 2) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn top_one_is_accuracy_also_for_ties_and_nan() {
        let scores = [0.5, 0.5, f32::NAN, 0.1, 0.3, 0.3, f32::NAN, f32::NAN];
        for targets in [[1., 0., 1., 0., 0., 1., 1., 0.], [0., 1., 0., 1., 1., 0., 0., 1.]] {
            let (a, b) = (accuracy(&scores, &targets, 2), top_k_accuracy(&scores, &targets, 2, 1));
            assert!((a - b).abs() < 1e-15, "{a} {b}");
        }
    }

    #[test]
    fn any_label_of_a_clip_is_a_right_answer_and_so_is_the_greater_part_of_a_mixture() {
        let target = [1.0, 0.0, 1.0];
        assert!(is_hit(&[0.1, 0.2, 0.3], &target) && !is_hit(&[0.1, 0.3, 0.2], &target));
        assert!((top_k_accuracy(&[0.1, 0.3, 0.2], &target, 3, 2) - 1.0).abs() < 1e-15);
        assert!(is_hit(&[0.9, 0.1], &[0.6, 0.4]) && !is_hit(&[0.1, 0.9], &[0.6, 0.4]));
    }

    #[test]
    fn a_sigmoid_survives_large_logits() {
        assert!((sigmoid(0.0) - 0.5).abs() < 1e-7 && sigmoid(-800.0) < 1e-30 && sigmoid(800.0) > 0.999_999);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn nothing_measured_is_not_zero() {
        assert!(accuracy(&[], &[], 3).is_nan());
        assert!(log_loss(&[], &[], 3).is_nan());
    }
}
