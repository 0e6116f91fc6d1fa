//! Functions of one number, written so that loops over them become loops over vectors: no branch, no table, no call.
//!
//! Polynomials are minimax fits of their own, in the sense of the relative error, by iteratively reweighted least squares
//! (Lawson 1961). Where a number is not one, neither is the result.

/// 1.5 * 2^23: added to a small number it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `2^(n - 1)` and `e^r - 1`, where `x = n * ln 2 + r` and `r` is small. (`2^n` may be too large for a number.)
#[inline(always)]
fn reduced(x: f32) -> (f32, f32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, of which the first has so few digits that its product with `n` is exact.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let q = 0.041_668_39 + r * (0.008_368_717 + r * 0.001_381_459_9);
    let tail = r + r * r * (0.499_999_94 + r * (0.166_665_21 + r * q));
    // The exponent of a number has an offset of 127; what `ROUND` has above the low bits is shifted out.
    let factor = f32::from_bits((shifted.to_bits() << 23).wrapping_add(126 << 23));
    (factor, tail)
}

#[inline(always)]
fn clamped(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^x` to a relative error of 2e-7; below -87 the result becomes zero.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // At the lower end `factor` is zero, at the upper one the result is infinite.
    let (factor, tail) = reduced(clamped(x, -87.5, 89.0));
    (factor + factor * tail) * 2.0
}

/// The logistic function, `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, to the same relative error near zero too.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let (factor, tail) = reduced(2.0 * clamped(x, -9.1, 9.1));
    let (factor, tail) = (2.0 * factor, 2.0 * factor * tail);
    let less_one = tail + (factor - 1.0);
    less_one / (less_one + 2.0)
}

/// Density and distribution function of the standard normal distribution.
///
/// `erfc(z) = e^(-z²) * t * Q(t)` with `t = 1 / (1 + z / 2)`, the form of Hastings 1955.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.5 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let q =
        -0.028_280_394 + t * (0.280_465_5 + t * (-0.489_292_65 + t * (0.285_583_76 + t * -0.059_275_325)));
    let q = 0.282_085_03 + t * (0.282_399_68 + t * (0.242_926_45 + t * (0.203_387_87 + t * q)));
    let tail = 0.5 * bell * t * q;
    (bell * 0.398_942_3, if x > 0.0 { 1.0 - tail } else { tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error of `got` over a range.
    fn error(low: f32, high: f32, got: impl Fn(f32) -> f32, wanted: impl Fn(f64) -> f64) -> f64 {
        let steps = 400_000;
        (0..=steps)
            .map(|i| low + (high - low) * i as f32 / steps as f32)
            .filter(|x| *x != 0.0)
            .map(|x| {
                let wanted = wanted(f64::from(x));
                ((f64::from(got(x)) - wanted) / wanted).abs()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn relative_errors_are_small() {
        for range in [1e-3, 1.0, 20.0, 86.0] {
            let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
            for (name, got, wanted) in [
                ("exp", exp as fn(f32) -> f32, f64::exp as fn(f64) -> f64),
                ("sigmoid", sigmoid, logistic),
                ("tanh", tanh, f64::tanh),
            ] {
                let found = error(-range, range, got, wanted);
                assert!(found < 3e-7, "{name} within {range}: {found:.1e}");
            }
        }
    }

    /// Φ by Simpson's rule on the density, from far below.
    #[test]
    fn normal_distribution() {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (step, mut sum) = (1e-3, 0.0);
        let mut x = -14.0;
        while x < 6.0 {
            sum += (density(x) + 4.0 * density(x + step / 2.0) + density(x + step)) * step / 6.0;
            x += step;
            if x < -12.0 {
                continue;
            }
            let (bell, share) = normal(x as f32);
            let wanted = [density(f64::from(x as f32)), sum + density(x) * (f64::from(x as f32) - x)];
            // The rounding of x² alone makes this much.
            let tolerance = 4e-7 + 1e-7 * x * x;
            for (got, wanted) in [bell, share].into_iter().zip(wanted) {
                assert!((f64::from(got) - wanted).abs() <= tolerance * wanted, "{x}: {got}, not {wanted}");
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        let inf = f32::INFINITY;
        assert_eq!([exp(-inf), exp(-100.0), exp(0.0), exp(inf), exp(89.0)], [0.0, 0.0, 1.0, inf, inf]);
        assert!((f64::from(exp(88.7)) / f64::from(88.7_f32).exp() - 1.0).abs() < 3e-7);
        assert_eq!([sigmoid(-inf), sigmoid(0.0), sigmoid(inf)], [0.0, 0.5, 1.0]);
        assert_eq!([tanh(-inf), tanh(0.0), tanh(inf)], [-1.0, 0.0, 1.0]);
        assert_eq!([normal(-inf), normal(inf)], [(0.0, 0.0), (0.0, 1.0)]);
        assert!(
            [exp(f32::NAN), sigmoid(f32::NAN), tanh(f32::NAN), normal(f32::NAN).1].iter().all(|x| x.is_nan())
        );
    }
}
