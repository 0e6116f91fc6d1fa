use std::f64::consts::PI;

use super::config::{DctNorm, FeatureConfig};

/// The cosine transform (type II) from mel bands to cepstral coefficients, with liftering folded in; as
/// `scipy.fft.dct`, `librosa.feature.mfcc` and `torchaudio.functional.create_dct`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dct {
    n_mels: usize,
    /// Row-major `[n_mfcc, n_mels]`.
    matrix: Vec<f32>,
}

impl Dct {
    /// The transform of a validated configuration.
    pub(super) fn new(config: &FeatureConfig) -> Self {
        let n = config.n_mels as f64;
        let matrix = (0..config.n_mfcc)
            .flat_map(|k| {
                let scale = match config.dct_norm {
                    DctNorm::None => 2.0,
                    DctNorm::Ortho if k == 0 => (1.0 / n).sqrt(),
                    DctNorm::Ortho => (2.0 / n).sqrt(),
                } * lift(k, config.lifter);
                (0..config.n_mels).map(move |m| (scale * (PI * k as f64 * (m as f64 + 0.5) / n).cos()) as f32)
            })
            .collect();
        Self { n_mels: config.n_mels, matrix }
    }

    /// `[n_mels, frames]` → `[n_mfcc, frames]`.
    #[inline(always)]
    pub(super) fn apply(&self, mel: &[f32], frames: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.matrix.len() / self.n_mels * frames];
        for (row, weights) in out.chunks_exact_mut(frames).zip(self.matrix.chunks_exact(self.n_mels)) {
            for (band, weight) in mel.chunks_exact(frames).zip(weights) {
                for (sum, value) in row.iter_mut().zip(band) {
                    *sum += weight * value;
                }
            }
        }
        out
    }
}

/// `1 + (L / 2) sin(pi (k + 1) / L)`, or 1 without liftering.
fn lift(k: usize, lifter: f64) -> f64 {
    if lifter > 0.0 { 1.0 + lifter / 2.0 * (PI * (k + 1) as f64 / lifter).sin() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(n_mels: usize, dct_norm: DctNorm, lifter: f64) -> FeatureConfig {
        FeatureConfig { n_mels, n_mfcc: n_mels, dct_norm, lifter, ..Default::default() }
    }

    #[test]
    fn orthonormal_keeps_the_energy_of_a_frame() {
        let frame = [1.0, -2.0, 3.0, 0.5];
        let out = Dct::new(&config(4, DctNorm::Ortho, 0.0)).apply(&frame, 1);
        let energy = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
        assert!((energy(&frame) - energy(&out)).abs() < 1e-5);
    }

    #[test]
    fn unscaled_is_twice_the_sum() {
        let out = Dct::new(&config(2, DctNorm::None, 0.0)).apply(&[1.0, 3.0], 1);
        assert!((out[0] - 8.0).abs() < 1e-6);
        assert!((out[1] + 2.0 * 2.0_f32.sqrt()).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn frames_do_not_mix() {
        let dct = Dct::new(&config(2, DctNorm::Ortho, 0.0));
        let both = dct.apply(&[1.0, 5.0, 3.0, 7.0], 2);
        let second = dct.apply(&[5.0, 7.0], 1);
        assert_eq!(vec![both[1], both[3]], second);
    }

    #[test]
    fn liftering_scales_each_coefficient() {
        let plain = Dct::new(&config(4, DctNorm::Ortho, 0.0)).apply(&[1.0, 2.0, 4.0, 8.0], 1);
        let lifted = Dct::new(&config(4, DctNorm::Ortho, 2.0)).apply(&[1.0, 2.0, 4.0, 8.0], 1);
        // sin(pi / 2) = 1 doubles the first, sin(pi) = 0 leaves the second.
        assert!((lifted[0] - 2.0 * plain[0]).abs() < 1e-5 && (lifted[1] - plain[1]).abs() < 1e-5);
    }
}
