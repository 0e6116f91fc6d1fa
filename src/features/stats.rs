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

/// Sums from which [`Stats`] are computed.
///
/// To get the same result from any number of threads, make one accumulator for each clip with
/// [`StatsAccumulator::of`], in any order, and merge them in clip order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StatsAccumulator {
    count: u64,
    sum: f64,
    sum_of_squares: f64,
}

impl StatsAccumulator {
    /// The sums of one clip (not standardised).
    pub fn of(features: &Features) -> Self {
        let (sum, sum_of_squares) = features.values.iter().fold((0.0, 0.0), |(sum, squares), &value| {
            let value = f64::from(value);
            (sum + value, squares + value * value)
        });
        Self { count: features.values.len() as u64, sum, sum_of_squares }
    }

    /// Adds the sums of more clips.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.sum_of_squares += other.sum_of_squares;
    }

    /// Mean and standard deviation; `None` when nothing was added. Values that do not vary (beyond rounding) get a
    /// standard deviation of 1, so that standardising them gives 0.
    pub fn finish(self) -> Option<Stats> {
        if self.count == 0 {
            return None;
        }
        let mean = self.sum / self.count as f64;
        let std = (self.sum_of_squares / self.count as f64 - mean * mean).max(0.0).sqrt();
        let varies = std > 1e-6 * mean.abs() && std > f64::from(f32::MIN_POSITIVE);
        Some(Stats { mean: mean as f32, std: if varies { std as f32 } else { 1.0 } })
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
        for value in [0.0, -80.0, 1e-3, 3e7] {
            let found = stats(&[&[value; 100], &[value; 7]]).unwrap();
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
    fn nothing_has_no_stats() {
        assert_eq!(stats(&[]), None);
    }
}
