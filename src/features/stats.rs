use serde::{Deserialize, Serialize};

use super::Features;

/// One mean and one standard deviation over all values of the training clips.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Mean.
    pub mean: f32,
    /// Standard deviation (of the population, as `numpy.std`), > 0.
    pub std: f32,
}

impl Stats {
    /// Replaces each value by `(value - mean) / std`.
    pub fn standardize(self, values: &mut [f32]) {
        values.iter_mut().for_each(|v| *v = (*v - self.mean) / self.std);
    }
}

/// Running mean and sum of squared deviations, in `f64`, from which [`Stats`] are computed.
///
/// To get the same result from any number of threads, make one accumulator for each clip with
/// [`StatsAccumulator::of`], in any order, and merge them in clip order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StatsAccumulator {
    count: u64,
    mean: f64,
    squares: f64,
}

impl StatsAccumulator {
    /// That of one clip (not standardised).
    pub fn of(features: &Features) -> Self {
        let values = || features.values.iter().map(|&value| f64::from(value));
        let count = features.values.len() as u64;
        let mean = values().sum::<f64>() / count.max(1) as f64;
        Self { count, mean, squares: values().map(|value| (value - mean).powi(2)).sum() }
    }

    /// Adds more clips. Formula of Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
    /// sample variances" (1979): no difference of large sums, so small deviations survive.
    pub fn merge(&mut self, other: Self) {
        let count = self.count + other.count;
        if count == 0 {
            return;
        }
        let shift = other.mean - self.mean;
        let share = other.count as f64 / count as f64;
        self.mean += shift * share;
        self.squares += other.squares + shift * shift * self.count as f64 * share;
        self.count = count;
    }

    /// Mean; 0 when nothing was added.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation of the population; 0 when nothing was added.
    pub fn std(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }

    /// Mean and standard deviation; `None` when nothing was added. Values that do not vary (beyond rounding) get a
    /// standard deviation of 1, so that standardising them gives 0.
    pub fn finish(self) -> Option<Stats> {
        let (mean, std) = (self.mean(), self.std());
        let varies = std > 1e-6 * mean.abs() && std > f64::from(f32::MIN_POSITIVE);
        (self.count > 0).then_some(Stats { mean: mean as f32, std: if varies { std as f32 } else { 1.0 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureShape;

    fn clip(values: &[f32]) -> Features {
        Features { shape: FeatureShape { bins: 1, frames: values.len() }, values: values.to_vec() }
    }

    fn stats(clips: &[&[f32]]) -> Option<Stats> {
        let mut all = StatsAccumulator::default();
        clips.iter().for_each(|c| all.merge(StatsAccumulator::of(&clip(c))));
        all.finish()
    }

    #[test]
    fn is_the_population_deviation_over_all_values() {
        // numpy.std([1, 2, 3, 4, 10]) = 3.16227766
        let found = stats(&[&[1.0, 2.0], &[3.0], &[4.0, 10.0]]).unwrap();
        assert!((found.mean - 4.0).abs() < 1e-7 && (found.std - 3.162_277_7).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn constant_values_become_zero() {
        for value in [0.0, -80.0, 1e-3, 0.1, 3e7] {
            let found = stats(&[&[value; 100], &[value; 7], &[]]).unwrap();
            let mut values = [value];
            found.standardize(&mut values);
            assert!(values[0].abs() < 1e-3, "{value}: {found:?} {values:?}");
        }
    }

    #[test]
    fn small_values_keep_their_deviation() {
        let found = stats(&[&[1e-6, 3e-6]]).unwrap();
        assert!((found.std - 1e-6).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_small_deviation_beside_a_large_mean_survives() {
        let found = stats(&[&[4096.0, 4096.5], &[4096.0, 4096.5]]).unwrap();
        assert!((found.std - 0.25).abs() < 1e-7, "{found:?}");
    }

    #[test]
    fn nothing_has_no_stats() {
        assert_eq!(stats(&[]), None);
        assert_eq!(stats(&[&[]]), None);
    }
}
