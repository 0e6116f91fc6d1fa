/// A confidence interval; that of a proportion has both ends in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// 95 % confidence interval of the proportion `successes / trials` (Wilson 1927, without continuity
/// correction; `statsmodels.stats.proportion.proportion_confint(method="wilson")`).
///
/// It never leaves 0..=1 and is not empty at 0 % or 100 %. It counts clips as independent, which clips cut
/// from one recording are not: then it is too narrow. (0, 1) for no trial.
pub fn wilson(successes: u64, trials: u64) -> Interval {
    if trials == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2n = Z * Z / n;
    let centre = (p + z2n / 2.0) / (1.0 + z2n);
    let half = Z / (1.0 + z2n) * (p * (1.0 - p) / n + z2n / (4.0 * n)).sqrt();
    // At the ends, rounding leaves something of centre - half.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == trials { 1.0 } else { (centre + half).min(1.0) };
    Interval { low, high }
}

/// 97.5 % quantiles of Student's t distribution with 1 to 30 degrees of freedom (`scipy.stats.t.ppf`).
const STUDENT_T: [f64; 30] = [
    12.706_204_736_174_694,
    4.302_652_729_749_462,
    3.182_446_305_283_708,
    2.776_445_105_197_793,
    2.570_581_835_636_315,
    2.446_911_851_144_979,
    2.364_624_251_592_784,
    2.306_004_135_204_166,
    2.262_157_162_798_205,
    2.228_138_851_986_274,
    2.200_985_160_091_639,
    2.178_812_829_667_229,
    2.160_368_656_462_791,
    2.144_786_687_917_804,
    2.131_449_545_559_776,
    2.119_905_299_221_255,
    2.109_815_577_833_316,
    2.100_922_040_241_038,
    2.093_024_054_408_308,
    2.085_963_447_265_864,
    2.079_613_844_727_68,
    2.073_873_067_904_025,
    2.068_657_610_419_049,
    2.063_898_561_628_025,
    2.059_538_552_753_297,
    2.055_529_438_642_873,
    2.051_830_516_480_285,
    2.048_407_141_795_245,
    2.045_229_642_132_703,
    2.042_272_456_301_238,
];

/// Mean, standard deviation and the interval of the mean of a figure that was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct MeanAndDeviation {
    /// Arithmetic mean; NaN for no value.
    pub mean: f64,
    /// Sample standard deviation, with n - 1; NaN for fewer than two values.
    pub std: f64,
    /// 95 % interval of the mean by Student's t with n - 1 degrees of freedom (Student 1908), ends may lie beyond 0 and 1;
    /// NaN for fewer than two values.
    pub interval: Interval,
}

impl MeanAndDeviation {
    /// Of `values`, which the interval takes to be independent and normal. Figures of the folds of one cross-validation share
    /// training clips: then the interval is too narrow (Bengio & Grandvalet 2004).
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let (std, half) = match values.len() {
            0 | 1 => (f64::NAN, f64::NAN),
            n_values => {
                let std = (squares / (n - 1.0)).sqrt();
                (std, student_t(n_values - 1) * std / n.sqrt())
            }
        };
        Self { mean, std, interval: Interval { low: mean - half, high: mean + half } }
    }
}

/// The 97.5 % quantile for `degrees` >= 1 of freedom; above 30 by the expansion around the normal quantile (Abramowitz &
/// Stegun 26.7.5), to 1e-7.
fn student_t(degrees: usize) -> f64 {
    if let Some(t) = STUDENT_T.get(degrees - 1) {
        return *t;
    }
    let (z, v) = (Z, degrees as f64);
    let terms = [
        z,
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z)
            / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| sum / v + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_empty_and_never_outside() {
        let none = wilson(0, 10);
        assert!(none.low <= 0.0);
        assert!(none.high > 0.2);
        let all = wilson(10, 10);
        assert!((1.0..=1.0).contains(&all.high));
        assert!(all.low < 0.8);
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn narrows_with_the_number_of_clips() {
        let (few, many) = (wilson(8, 10), wilson(800, 1000));
        assert!(many.high - many.low < (few.high - few.low) / 5.0);
    }

    #[test]
    fn the_mean_of_folds_has_students_interval() {
        // scipy.stats.t.interval(0.95, 4, loc=numpy.mean(x), scale=scipy.stats.sem(x))
        let folds = MeanAndDeviation::of(&[0.70, 0.75, 0.80, 0.72, 0.78]);
        assert!((folds.mean - 0.75).abs() < 1e-12 && (folds.std - 0.041231056256176644).abs() < 1e-12);
        assert!((folds.interval.low - 0.6988048818387914).abs() < 1e-12, "{folds:?}");
        assert!((folds.interval.high - 0.8011951181612086).abs() < 1e-12, "{folds:?}");
        let one = MeanAndDeviation::of(&[0.7]);
        assert!(one.std.is_nan() && one.interval.low.is_nan() && (one.mean - 0.7).abs() < 1e-15);
    }

    #[test]
    fn the_quantiles_of_many_degrees_of_freedom_are_scipys() {
        let golden = [(31, 2.039_513_446_396_408), (40, 2.021_075_390_306_273), (99, 1.984_216_951_586_417)];
        for (degrees, t) in golden {
            assert!((student_t(degrees) - t).abs() < 1e-7, "{degrees}: {}", student_t(degrees));
        }
    }
}
