//! Initial weights, drawn from oido's own seeded streams so that a seed means the same
//! weights on every device and platform.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Where the initial weights of a network come from.
#[derive(Debug)]
pub struct InitRng(Option<ChaCha8Rng>);

impl InitRng {
    /// Weights are drawn from `rng`.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self(Some(rng))
    }

    /// Nothing is drawn, and what would be is zero: for a network whose weights are loaded at once. Zeros cost no time and
    /// no memory until somebody reads them.
    pub fn none() -> Self {
        Self(None)
    }

    fn values(&mut self, len: usize, draw: impl Fn(&mut ChaCha8Rng) -> f32) -> Vec<f32> {
        match &mut self.0 {
            Some(rng) => (0..len).map(|_| draw(rng)).collect(),
            None => vec![0.0; len],
        }
    }
}

/// Glorot (Xavier) uniform: `U(-a, a)` with `a = sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010).
pub(super) fn glorot_uniform(rng: &mut InitRng, len: usize, fan_in: usize, fan_out: usize) -> Vec<f32> {
    uniform(rng, len, (6.0 / (fan_in + fan_out) as f64).sqrt())
}

/// Uniform in `[-limit, limit)`.
pub(super) fn uniform(rng: &mut InitRng, len: usize, limit: f64) -> Vec<f32> {
    let limit = limit as f32;
    rng.values(len, |rng| rng.random_range(-limit..limit))
}

/// A `[rows, cols]` matrix, `rows <= cols`, whose rows are orthonormal (Saxe et al. 2013): Gaussian rows made
/// orthogonal one after the other (modified Gram-Schmidt, in f64).
pub(super) fn orthogonal(rng: &mut InitRng, rows: usize, cols: usize) -> Vec<f32> {
    let Some(rng) = &mut rng.0 else { return vec![0.0; rows * cols] };
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(rows);
    while basis.len() < rows {
        let mut row: Vec<f64> = (0..cols).map(|_| gaussian(rng)).collect();
        for done in &basis {
            let dot: f64 = row.iter().zip(done).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(done).for_each(|(a, b)| *a -= dot * b);
        }
        let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A row that is (almost) a combination of the others is drawn again.
        if norm > 1e-6 {
            row.iter_mut().for_each(|a| *a /= norm);
            basis.push(row);
        }
    }
    basis.into_iter().flatten().map(|a| a as f32).collect()
}

/// Normal with mean 0.
pub(in crate::models) fn normal(rng: &mut InitRng, len: usize, deviation: f64) -> Vec<f32> {
    rng.values(len, |rng| (deviation * gaussian(rng)) as f32)
}

/// Normal with mean 0, drawn again beyond two deviations, and then as wide as `deviation` says (Keras' truncated
/// normal).
pub(super) fn truncated_normal(rng: &mut InitRng, len: usize, deviation: f64) -> Vec<f32> {
    /// Deviation of a standard normal variable between -2 and 2.
    const TRUNCATED: f64 = 0.879_625_661_034_239_8;
    rng.values(len, |rng| {
        loop {
            let draw = gaussian(rng);
            if draw.abs() <= 2.0 {
                return (deviation / TRUNCATED * draw) as f32;
            }
        }
    })
}

/// A standard normal draw (Box-Muller).
fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn rng() -> InitRng {
        InitRng::new(Seed(1).rng(Purpose::Init, 0, 0))
    }

    #[test]
    fn without_a_stream_everything_is_zero() {
        let none = &mut InitRng::none();
        let drawn = [
            glorot_uniform(none, 24, 4, 6),
            uniform(none, 24, 1.0),
            orthogonal(none, 4, 6),
            normal(none, 24, 1.0),
            truncated_normal(none, 24, 1.0),
        ];
        assert_eq!(drawn, std::array::from_fn(|_| vec![0.0; 24]));
    }

    #[test]
    fn glorot_stays_within_its_limit_and_fills_it() {
        let mut rng = rng();
        let values = glorot_uniform(&mut rng, 10_000, 100, 50);
        let limit = 0.2_f32;
        assert!(values.iter().all(|v| v.abs() <= limit));
        assert!(values.iter().any(|v| *v > 0.19) && values.iter().any(|v| *v < -0.19));
    }

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        let mut rng = rng();
        let (rows, cols) = (16, 64);
        let m = orthogonal(&mut rng, rows, cols);
        for i in 0..rows {
            for j in 0..rows {
                let dot: f32 = (0..cols).map(|c| m[i * cols + c] * m[j * cols + c]).sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot - expected).abs() < 1e-5, "{i},{j}: {dot}");
            }
        }
    }
}
