//! Figures of clips with several labels.

use super::classification::mean_over_clips;

/// Mean binary cross-entropy over all clips and classes, in nats: each class is a question of its own. `scores` are
/// probabilities, kept `f32::EPSILON` away from 0 and 1. A NaN score gives NaN, no clip too.
pub fn binary_log_loss(scores: &[f32], targets: &[f32], num_classes: usize) -> f64 {
    let eps = f64::from(f32::EPSILON);
    mean_over_clips(scores, targets, num_classes, |scores, target| {
        let of_class = |(score, target): (&f32, &f32)| {
            let (p, t) = (f64::from(*score).clamp(eps, 1.0 - eps), f64::from(*target));
            -(t * p.ln() + (1.0 - t) * (1.0 - p).ln())
        };
        scores.iter().zip(target).map(of_class).sum::<f64>() / num_classes as f64
    })
}

/// Average precision of each class over the clips, `sum((R_n - R_n-1) P_n)` over falling thresholds
/// (`sklearn.metrics.average_precision_score`); NaN for a class without clips. A NaN score ranks last.
pub fn average_precision(scores: &[f32], targets: &[f32], num_classes: usize) -> Vec<f64> {
    (0..num_classes)
        .map(|class| {
            let clips = scores.iter().zip(targets).skip(class).step_by(num_classes);
            of_class(clips.map(|(score, target)| (*score, *target > 0.5)).collect())
        })
        .collect()
}

/// From the score of each clip and whether it carries the class.
fn of_class(mut clips: Vec<(f32, bool)>) -> f64 {
    let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
    clips.sort_by(|a, b| key(b.0).total_cmp(&key(a.0)));
    let (mut hits, mut said, mut sum) = (0_u32, 0_u32, 0.0);
    // Clips with equal scores are said together.
    for equal in clips.chunk_by(|a, b| key(a.0) <= key(b.0)) {
        let more = equal.iter().filter(|(_, right)| *right).count() as u32;
        said += equal.len() as u32;
        hits += more;
        sum += f64::from(more) * f64::from(hits) / f64::from(said);
    }
    sum / f64::from(hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_one_threshold() {
        assert!((of_class(vec![(0.5, true), (0.5, false), (0.9, false)]) - 1.0 / 3.0).abs() < 1e-15);
        assert!((of_class(vec![(0.9, true), (0.1, true), (0.5, false)]) - 5.0 / 6.0).abs() < 1e-15);
        assert!(of_class(vec![(0.9, false)]).is_nan() && of_class(vec![]).is_nan());
    }

    #[test]
    fn each_class_is_a_question_of_its_own() {
        let loss = binary_log_loss(&[0.5, 0.25], &[1.0, 0.0], 2);
        assert!((loss - (2.0_f64.ln() + (4.0_f64 / 3.0).ln()) / 2.0).abs() < 1e-12, "{loss}");
        assert!(binary_log_loss(&[1.0, 0.0], &[0.0, 1.0], 2).is_finite());
        assert!(binary_log_loss(&[f32::NAN, 0.0], &[0.0, 1.0], 2).is_nan());
    }
}
