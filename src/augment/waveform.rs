//! On the samples of a clip.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::vocoder;
use crate::audio::{Colour, coloured};

fn uniform([low, high]: [f64; 2], rng: &mut ChaCha8Rng) -> f64 {
    rng.random_range(low..=high)
}

/// The amplitude of a level in dB.
fn amplitude(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Multiplies the samples by a factor drawn in dB.
pub(super) fn gain(samples: &mut [f32], db: [f64; 2], rng: &mut ChaCha8Rng) {
    let factor = amplitude(uniform(db, rng)) as f32;
    samples.iter_mut().for_each(|x| *x *= factor);
}

/// Changes the sign of every sample.
pub(super) fn invert(samples: &mut [f32]) {
    samples.iter_mut().for_each(|x| *x = -*x);
}

/// Moves the samples by up to `most` of them, later or earlier.
pub(super) fn shift(samples: &mut [f32], most: f64, wrap: bool, rng: &mut ChaCha8Rng) {
    let by = uniform([-most, most], rng).round();
    let later = by > 0.0;
    let by = (by.abs() as usize).min(samples.len());
    if later {
        samples.rotate_right(by);
    } else {
        samples.rotate_left(by);
    }
    if !wrap {
        let gap = if later { 0..by } else { samples.len() - by..samples.len() };
        samples[gap].fill(0.0);
    }
}

/// Faster by a factor drawn from `rate`; what is then too long is cut off, what is missing is silence.
pub(super) fn stretch(samples: &mut [f32], rate: [f64; 2], rng: &mut ChaCha8Rng) {
    let stretched = vocoder::stretch(samples, uniform(rate, rng));
    let kept = samples.len().min(stretched.len());
    samples[..kept].copy_from_slice(&stretched[..kept]);
    samples[kept..].fill(0.0);
}

/// Higher by semitones drawn from `range`.
pub(super) fn shift_pitch(samples: &mut [f32], range: [f64; 2], rng: &mut ChaCha8Rng) {
    samples.copy_from_slice(&vocoder::shift(samples, uniform(range, rng)));
}

/// Adds noise whose power is that of the samples divided by a ratio drawn in dB; none to silence.
pub(super) fn add_noise(
    samples: &mut [f32],
    colour: Colour,
    snr_db: [f64; 2],
    sample_rate: u32,
    rng: &mut ChaCha8Rng,
) {
    let snr = uniform(snr_db, rng);
    let noise = coloured(colour, rng, samples.len(), sample_rate);
    let signal: f64 = samples.iter().map(|x| f64::from(*x).powi(2)).sum();
    let power: f64 = noise.iter().map(|x| x * x).sum();
    if power <= 0.0 || !signal.is_finite() {
        return;
    }
    let factor = (signal / power).sqrt() / amplitude(snr);
    samples.iter_mut().zip(noise).for_each(|(x, noise)| *x += (noise * factor) as f32);
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are moved or copied stay exactly what they were")]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn rng(item: u64) -> ChaCha8Rng {
        Seed(1).rng(Purpose::Augment, 1, item)
    }

    fn ramp(len: usize) -> Vec<f32> {
        (1..=len).map(|x| x as f32 / len as f32).collect()
    }

    #[test]
    fn gain_is_in_its_range_and_reaches_both_halves() {
        let mut factors = Vec::new();
        for item in 0..50 {
            let mut samples = vec![0.5, -0.25];
            gain(&mut samples, [-6.0, 6.0], &mut rng(item));
            assert!((samples[0] + 2.0 * samples[1]).abs() < 1e-6);
            factors.push(samples[0] / 0.5);
        }
        assert!(factors.iter().all(|x| (0.501..1.996).contains(x)), "{factors:?}");
        assert!(factors.iter().any(|x| *x < 0.8) && factors.iter().any(|x| *x > 1.25));
        let mut samples = vec![1.0];
        gain(&mut samples, [20.0, 20.0], &mut rng(0));
        assert!((samples[0] - 10.0).abs() < 1e-5);
    }

    #[test]
    fn inverting_twice_is_nothing() {
        let mut samples = ramp(5);
        invert(&mut samples);
        assert_eq!(samples[4], -1.0);
        invert(&mut samples);
        assert_eq!(samples, ramp(5));
    }

    #[test]
    fn shifted_samples_leave_silence_or_come_in_again() {
        let (mut earlier, mut later) = (0, 0);
        for item in 0..40 {
            let (mut wrapped, mut silent) = (ramp(100), ramp(100));
            shift(&mut wrapped, 30.0, true, &mut rng(item));
            shift(&mut silent, 30.0, false, &mut rng(item));
            let first = wrapped.iter().position(|x| *x == ramp(100)[0]).unwrap();
            let mut expected = ramp(100);
            expected.rotate_right(first);
            assert_eq!(wrapped, expected);
            let zeros = silent.iter().filter(|x| **x == 0.0).count();
            assert_eq!(zeros, first.min(100 - first));
            assert!(zeros <= 30 && silent.iter().zip(&wrapped).all(|(s, w)| *s == 0.0 || s == w));
            earlier += usize::from(silent[99] == 0.0);
            later += usize::from(silent[0] == 0.0);
        }
        assert!(earlier > 5 && later > 5, "{earlier} {later}");
        shift(&mut [], 30.0, false, &mut rng(0));
    }

    /// Zero crossings upwards in the part of the samples.
    fn periods(samples: &[f32]) -> usize {
        samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count()
    }

    #[test]
    fn speed_and_pitch_change_apart() {
        let tone: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.2).sin()).collect();
        let (mut faster, mut higher) = (tone.clone(), tone.clone());
        stretch(&mut faster, [2.0, 2.0], &mut rng(0));
        assert!(faster[9_000..].iter().all(|x| x.abs() < 1e-3), "half as long");
        assert!(periods(&faster[1_000..7_000]).abs_diff(periods(&tone[1_000..7_000])) <= 2);
        shift_pitch(&mut higher, [12.0, 12.0], &mut rng(0));
        assert!(higher[13_000..15_000].iter().any(|x| x.abs() > 0.5), "as long");
        assert!(periods(&higher[4_000..12_000]).abs_diff(2 * periods(&tone[4_000..12_000])) <= 4);
    }

    #[test]
    fn noise_has_the_ratio_that_was_asked_for() {
        let clean: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.3).sin()).collect();
        let power = |samples: &[f32]| samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        for colour in [Colour::White, Colour::Pink] {
            for snr in [-5.0, 20.0] {
                let mut noisy = clean.clone();
                add_noise(&mut noisy, colour, [snr, snr], 8_000, &mut rng(3));
                let noise: Vec<f32> = noisy.iter().zip(&clean).map(|(n, c)| n - c).collect();
                let found = 10.0 * (power(&clean) / power(&noise)).log10();
                assert!((found - snr).abs() < 0.01, "{colour:?} {snr}: {found}");
            }
        }
        let mut silence = vec![0.0; 100];
        add_noise(&mut silence, Colour::Pink, [0.0, 0.0], 8_000, &mut rng(0));
        assert_eq!(silence, [0.0; 100]);
        add_noise(&mut [], Colour::White, [0.0, 0.0], 8_000, &mut rng(0));
    }
}
