//! Two sounds mixed so that each is heard with its share (Tokozume, Ushiku & Harada 2018, "Learning from between-class
//! examples for deep sound recognition").

use std::f64::consts::TAU;

use super::fft;

/// Share of the largest power below which a window counts no further: 80 dB.
const FLOOR: f64 = 1e-8;

/// `own` becomes `p own + (1 - p) other`, divided by `sqrt(p^2 + (1 - p)^2)`, with the `p` at which `own` is heard with the
/// given share: the paper's `1 / (1 + 10^((G1 - G2) / 20) (1 - share) / share)`, where `G1 - G2` is by how many dB it is the
/// louder one.
pub(super) fn mix(own: &mut [f32], other: &[f32], share: f64, sample_rate: u32) {
    let louder = (loudness(own, sample_rate) / loudness(other, sample_rate)).sqrt();
    let p = 1.0 / (1.0 + louder * (1.0 - share) / share);
    let norm = p.hypot(1.0 - p);
    let [own_factor, other_factor] = [p / norm, (1.0 - p) / norm];
    for (own, other) in own.iter_mut().zip(other) {
        *own = (f64::from(*own) * own_factor + f64::from(*other) * other_factor) as f32;
    }
}

/// A-weighted power of the loudest window of about 0.1 s (Hann, half overlapping), that of a full-scale sine at 1 kHz being
/// about 1/2.
fn loudness(samples: &[f32], sample_rate: u32) -> f64 {
    let len = (0.1 * f64::from(sample_rate)).log2().round().exp2() as usize;
    let weights: Vec<f64> =
        (0..=len / 2).map(|k| a_weighting(k as f64 * f64::from(sample_rate) / len as f64)).collect();
    let hann: Vec<f64> = (0..len).map(|n| 0.5 - 0.5 * (TAU * n as f64 / len as f64).cos()).collect();
    // Both halves of the spectrum, over the power of the window.
    let scale = 2.0 / (len as f64 * hann.iter().map(|w| w * w).sum::<f64>());
    let forward = fft::forward(len);
    let (mut frame, mut bins) = (forward.make_input_vec(), forward.make_output_vec());
    let last = samples.len().saturating_sub(len);
    let mut loudest: f64 = FLOOR;
    for start in (0..=last).step_by(len / 2) {
        frame.fill(0.0);
        let window = samples[start..].iter().zip(&hann);
        frame.iter_mut().zip(window).for_each(|(x, (sample, w))| *x = f64::from(*sample) * w);
        let _ = forward.process(&mut frame, &mut bins);
        let power: f64 = bins.iter().zip(&weights).map(|(bin, weight)| bin.norm_sqr() * weight).sum();
        loudest = loudest.max(scale * power);
    }
    loudest
}

/// Factor on the power at `hz` (IEC 61672-1, A).
fn a_weighting(hz: f64) -> f64 {
    let square = hz * hz;
    let corner = |hz: f64| square + hz * hz;
    let [low, mid, mid_high, high] = [20.598_997, 107.652_65, 737.862_23, 12_194.217].map(corner);
    let response = 12_194.217f64.powi(2) * square * square / (low * high * (mid * mid_high).sqrt());
    // 2 dB make it 1 at 1 kHz.
    10f64.powf(0.2) * response * response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, amplitude: f64) -> Vec<f32> {
        (0..16_000).map(|n| (amplitude * (TAU * hz * f64::from(n) / 16_000.0).sin()) as f32).collect()
    }

    /// Amplitude of `hz` in the samples.
    fn amplitude(samples: &[f32], hz: f64) -> f64 {
        let part = |phase: f64| -> f64 {
            let wave = |n: usize| (TAU * hz * n as f64 / 16_000.0 + phase).sin();
            samples.iter().enumerate().map(|(n, x)| f64::from(*x) * wave(n)).sum()
        };
        2.0 * part(0.0).hypot(part(TAU / 4.0)) / samples.len() as f64
    }

    #[test]
    fn weighting_is_that_of_librosa() {
        // librosa.A_weighting([50, 100, 1000, 4000, 10000]), librosa 0.11.0
        let golden =
            [(50.0, -30.2713), (100.0, -19.1424), (1000.0, 0.0003), (4000.0, 0.9636), (10000.0, -2.4914)];
        for (hz, decibels) in golden {
            assert!((10.0 * a_weighting(hz).log10() - decibels).abs() < 2e-3, "{hz} Hz");
        }
        assert!(a_weighting(0.0) < 1e-30);
    }

    #[test]
    fn the_loudest_moment_counts_as_it_is_heard() {
        assert!((loudness(&tone(1000.0, 1.0), 16_000) - 0.5).abs() < 0.01);
        let mut short = tone(1000.0, 0.2);
        short[6_000..].fill(0.0);
        assert!((loudness(&short, 16_000) - 0.02).abs() < 1e-3);
        assert!(loudness(&tone(50.0, 1.0), 16_000) < 2e-3);
        assert!(loudness(&[], 16_000) <= FLOOR && loudness(&tone(1000.0, 1.0)[..200], 16_000) > FLOOR);
    }

    #[test]
    fn a_soft_sound_is_raised_to_its_share() {
        for share in [0.2, 0.5, 0.8] {
            let mut mixed = tone(1000.0, 0.9);
            mix(&mut mixed, &tone(2000.0, 0.05), share, 16_000);
            let heard = [1000.0, 2000.0].map(|hz| amplitude(&mixed, hz) * a_weighting(hz).sqrt());
            let found = heard[0] / (heard[0] + heard[1]);
            assert!((found - share).abs() < 0.01, "{share}: {found}");
        }
        for (share, hz) in [(1.0, 1000.0), (0.0, 2000.0)] {
            let mut mixed = tone(1000.0, 0.5);
            mix(&mut mixed, &tone(2000.0, 0.5), share, 16_000);
            assert!((amplitude(&mixed, hz) - 0.5).abs() < 1e-6 && amplitude(&mixed, 3000.0 - hz) < 1e-6);
        }
        let mut silence = vec![0.0; 16_000];
        mix(&mut silence, &vec![0.0; 16_000], 0.5, 16_000);
        assert!(silence.iter().all(|x| *x == 0.0));
    }
}
