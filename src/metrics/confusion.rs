use super::{Interval, argmax, wilson};

/// Which class was taken for which: `counts[true][predicted]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    num_classes: usize,
    counts: Vec<u64>,
}

/// A kind of mistake: clips of class `target` that were called `predicted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfusedPair {
    /// The true class.
    pub target: usize,
    /// What it was taken for.
    pub predicted: usize,
    /// Number of clips.
    pub count: u64,
}

impl Confusion {
    /// No clip yet.
    pub fn new(num_classes: usize) -> Self {
        Self { num_classes, counts: vec![0; num_classes * num_classes] }
    }

    /// From scores and one-hot targets, both row-major `[n, num_classes]`.
    pub fn from_scores(scores: &[f32], targets: &[f32], num_classes: usize) -> Self {
        let mut confusion = Self::new(num_classes);
        let rows = num_classes.max(1);
        for (score, target) in scores.chunks_exact(rows).zip(targets.chunks_exact(rows)) {
            confusion.add(argmax(target), argmax(score));
        }
        confusion
    }

    /// Counts one clip. Both are class indices below `num_classes`.
    pub fn add(&mut self, target: usize, predicted: usize) {
        assert!(target < self.num_classes && predicted < self.num_classes, "class index out of range");
        self.counts[target * self.num_classes + predicted] += 1;
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Clips of class `target` that were called `predicted`.
    pub fn count(&self, target: usize, predicted: usize) -> u64 {
        self.counts[target * self.num_classes + predicted]
    }

    /// [`Confusion::count`] as a share of all clips of class `target`, 0 to 1; 0 for a class without clips.
    pub fn share(&self, target: usize, predicted: usize) -> f64 {
        ratio(self.count(target, predicted), self.support(target))
    }

    /// Clips of class `target`.
    pub fn support(&self, target: usize) -> u64 {
        (0..self.num_classes).map(|p| self.count(target, p)).sum()
    }

    /// Clips called `predicted`.
    pub fn predicted(&self, predicted: usize) -> u64 {
        (0..self.num_classes).map(|t| self.count(t, predicted)).sum()
    }

    /// All clips.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Clips on the diagonal.
    pub fn correct(&self) -> u64 {
        (0..self.num_classes).map(|c| self.count(c, c)).sum()
    }

    /// Share of correct clips, 0 to 1; NaN for no clip.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.total() as f64
    }

    /// 95 % interval of [`Confusion::accuracy`].
    pub fn interval(&self) -> Interval {
        wilson(self.correct(), self.total())
    }

    /// Every kind of mistake that happened, the most frequent first; equal counts in class order.
    pub fn mistakes(&self) -> Vec<ConfusedPair> {
        let mut pairs: Vec<ConfusedPair> = (0..self.num_classes)
            .flat_map(|target| (0..self.num_classes).map(move |predicted| (target, predicted)))
            .filter(|&(target, predicted)| target != predicted && self.count(target, predicted) > 0)
            .map(|(target, predicted)| ConfusedPair {
                target,
                predicted,
                count: self.count(target, predicted),
            })
            .collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        pairs
    }
}

/// `part / whole`, 0 when `whole` is 0 (scikit-learn's `zero_division=0`).
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Confusion {
        let mut confusion = Confusion::new(3);
        for (target, predicted) in [(0, 0), (0, 1), (1, 1), (2, 1), (2, 1), (2, 2)] {
            confusion.add(target, predicted);
        }
        confusion
    }

    #[test]
    fn rows_are_true_and_columns_predicted() {
        let c = example();
        assert_eq!((c.count(0, 1), c.count(1, 0)), (1, 0));
        assert_eq!((c.support(2), c.predicted(1), c.total(), c.correct()), (3, 4, 6, 3));
        assert!((c.share(2, 1) - 2.0 / 3.0).abs() < 1e-15);
        assert!((c.accuracy() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn the_most_frequent_mistake_comes_first() {
        let pairs = example().mistakes();
        assert_eq!(pairs[0], ConfusedPair { target: 2, predicted: 1, count: 2 });
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn takes_the_best_score_of_each_row() {
        let c = Confusion::from_scores(&[0.9, 0.1, 0.4, 0.6], &[1.0, 0.0, 1.0, 0.0], 2);
        assert_eq!((c.count(0, 0), c.count(0, 1), c.total()), (1, 1, 2));
    }

    #[test]
    fn a_class_without_clips_has_shares_of_zero() {
        assert!(Confusion::new(2).share(0, 1).abs() < 1e-15);
    }
}
