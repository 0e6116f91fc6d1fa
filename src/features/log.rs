use std::f64::consts::{LN_2, LOG10_E};

use super::config::{FeatureConfig, LogScale, Reference};
use super::lanes;

/// The logarithm of a spectrogram, as `librosa.power_to_db` and `torchaudio.transforms.AmplitudeToDB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Log {
    /// Leaves values as they are.
    None,
    /// Decibels.
    Db { multiplier: f64, reference: Reference, amin: f32, top_db: Option<f32> },
    /// `ln(x + offset)`.
    Ln { offset: f32 },
    /// `ln(max(x, amin))`.
    LnAmin { amin: f32 },
}

impl Log {
    /// The logarithm of a validated configuration.
    pub(super) fn new(config: &FeatureConfig) -> Self {
        match config.log {
            LogScale::None => Self::None,
            LogScale::Db => Self::Db {
                multiplier: 20.0 / config.power,
                reference: config.reference,
                amin: config.amin as f32,
                top_db: config.top_db.map(|db| db as f32),
            },
            LogScale::Ln => Self::Ln { offset: config.log_offset as f32 },
            LogScale::LnAmin => Self::LnAmin { amin: config.amin as f32 },
        }
    }

    /// Replaces non-negative powers or magnitudes of one clip. The clip's maximum may count, so this needs all of it.
    #[inline(always)]
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Ln { offset } => {
                for v in values {
                    *v = ln(*v + offset) as f32;
                }
            }
            Self::LnAmin { amin } => {
                for v in values {
                    *v = ln(v.max(amin)) as f32;
                }
            }
            Self::Db { multiplier, reference, amin, top_db } => {
                let db = |x: f32| (multiplier * LOG10_E * ln(x.max(amin))) as f32;
                let max = lanes::max(values);
                let zero = match reference {
                    Reference::Max => db(max),
                    Reference::Value(value) => db(value as f32),
                };
                let floor = top_db.map_or(f32::MIN, |top_db| db(max) - zero - top_db);
                for v in values {
                    *v = (db(*v) - zero).max(floor);
                }
            }
        }
    }
}

/// Natural logarithm of a positive, finite number within 1e-11 of itself or so: rounded to `f32` it is that of `f32::ln`,
/// but several are computed at once. With `x = 2^e m` and `m` around 1, `e ln 2 + 2 artanh((m - 1) / (m + 1))` by its
/// power series.
#[inline(always)]
fn ln(x: f32) -> f64 {
    const ONE: u64 = 1.0_f64.to_bits();
    const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    const MANTISSA: u64 = (1 << 52) - 1;
    // In `f64` even the smallest `f32` has an exponent of its own.
    let bits = f64::from(x).to_bits() + (ONE - SQRT_HALF);
    let exponent = (bits >> 52) as i32 - 1023;
    let m = f64::from_bits((bits & MANTISSA) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let t = s * s;
    let mut series = 0.0;
    for factor in [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0] {
        series = series * t + factor;
    }
    f64::from(exponent) * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(config: &FeatureConfig, values: &[f32]) -> Vec<f32> {
        let mut out = values.to_vec();
        Log::new(config).apply(&mut out);
        out
    }

    #[test]
    fn the_logarithm_is_that_of_the_library_for_every_size() {
        let tiny = f32::from_bits(1);
        let ladder = (0..59_000).map(|i| f32::from_bits(i * 35_747 + 1));
        let near_one = (-2000..2000).map(|i| 1.0 + i as f32 * f32::EPSILON);
        for x in ladder.chain(near_one).chain([tiny, f32::MIN_POSITIVE, 1.0, f32::MAX]) {
            let exact = f64::from(x).ln();
            assert!((ln(x) - exact).abs() <= 1e-11 * exact.abs(), "{x:e}: {} {exact}", ln(x));
        }
    }

    #[test]
    fn counts_decibels_below_the_maximum_down_to_top_db() {
        assert_eq!(
            apply(&FeatureConfig::default(), &[10.0, 1.0, 1e-3, 1e-9, 0.0]),
            [0.0, -10.0, -40.0, -80.0, -80.0]
        );
    }

    #[test]
    fn counts_decibels_from_a_fixed_reference_down_to_amin() {
        let config = FeatureConfig { reference: Reference::Value(1.0), top_db: None, ..Default::default() };
        assert_eq!(apply(&config, &[10.0, 1.0, 0.0]), [10.0, 0.0, -100.0]);
    }

    #[test]
    fn a_magnitude_has_twice_the_decibels() {
        let config = FeatureConfig { power: 1.0, ..Default::default() };
        assert_eq!(apply(&config, &[10.0, 1.0]), [0.0, -20.0]);
    }

    #[test]
    fn silence_is_zero_decibels_below_its_maximum() {
        assert_eq!(apply(&FeatureConfig::default(), &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn adds_the_offset_before_the_natural_logarithm() {
        let config = FeatureConfig { log: LogScale::Ln, log_offset: 1.0, ..Default::default() };
        assert_eq!(apply(&config, &[0.0]), [0.0]);
        assert!((apply(&config, &[std::f32::consts::E - 1.0])[0] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn raises_to_amin_before_the_natural_logarithm() {
        let config = FeatureConfig { log: LogScale::LnAmin, amin: 1.0, ..Default::default() };
        assert_eq!(apply(&config, &[0.0, 0.5, 1.0]), [0.0; 3]);
        assert!((apply(&config, &[std::f32::consts::E])[0] - 1.0).abs() < 1e-6);
    }
}
