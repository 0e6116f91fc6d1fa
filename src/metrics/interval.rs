/// A proportion's confidence interval, both ends in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// 95 % confidence interval of the proportion `successes / trials` (Wilson 1927, without continuity
/// correction; `statsmodels.stats.proportion.proportion_confint(method="wilson")`).
///
/// It never leaves 0..=1 and is not empty at 0 % or 100 %. It counts clips as independent, which clips cut
/// from one recording are not: then it is too narrow. (0, 1) for no trial.
pub fn wilson(successes: u64, trials: u64) -> Interval {
    /// The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
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
}
