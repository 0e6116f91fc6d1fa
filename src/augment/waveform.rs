//! On the samples of a clip.

use super::vocoder;

/// The amplitude of a level in dB.
fn amplitude(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Makes the samples louder by `db`.
pub(super) fn gain(samples: &mut [f32], db: f64) {
    let factor = amplitude(db) as f32;
    samples.iter_mut().for_each(|x| *x *= factor);
}

/// Changes the sign of every sample.
pub(super) fn invert(samples: &mut [f32]) {
    samples.iter_mut().for_each(|x| *x = -*x);
}

/// Moves the samples later by `by` of them, rounded; earlier where that is negative.
pub(super) fn shift(samples: &mut [f32], by: f64, wrap: bool) {
    let later = by > 0.0;
    let by = (by.abs().round() as usize).min(samples.len());
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

/// `rate` times as fast; what is then too long is cut off, what is missing is silence.
pub(super) fn stretch(samples: &mut [f32], rate: f64) {
    let stretched = vocoder::stretch(samples, rate);
    let kept = samples.len().min(stretched.len());
    samples[..kept].copy_from_slice(&stretched[..kept]);
    samples[kept..].fill(0.0);
}

/// Higher by `semitones`.
pub(super) fn shift_pitch(samples: &mut [f32], semitones: f64) {
    samples.copy_from_slice(&vocoder::shift(samples, semitones));
}

/// Adds `noise`, as many samples, at such a level that the power of the samples is `snr` dB above its own; nothing to silence.
pub(super) fn add(samples: &mut [f32], noise: &[f64], snr: f64) {
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
    use crate::audio::{Colour, coloured};
    use crate::seed::{Purpose, Seed};

    fn ramp(len: usize) -> Vec<f32> {
        (1..=len).map(|x| x as f32 / len as f32).collect()
    }

    #[test]
    fn twenty_decibels_are_ten_times_and_inverting_twice_is_nothing() {
        let mut samples = vec![1.0, -0.5];
        gain(&mut samples, 20.0);
        assert!((samples[0] - 10.0).abs() < 1e-5 && (samples[1] + 5.0).abs() < 1e-5);
        let mut samples = ramp(5);
        invert(&mut samples);
        assert_eq!(samples[4], -1.0);
        invert(&mut samples);
        assert_eq!(samples, ramp(5));
    }

    #[test]
    fn shifted_samples_leave_silence_or_come_in_again() {
        let shifted = |by: f64, wrap: bool| {
            let mut samples = [1.0, 2.0, 3.0, 4.0];
            shift(&mut samples, by, wrap);
            samples
        };
        assert_eq!(shifted(1.4, false), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(shifted(1.4, true), [4.0, 1.0, 2.0, 3.0]);
        assert_eq!(shifted(-1.6, false), [3.0, 4.0, 0.0, 0.0]);
        assert_eq!(shifted(-1.6, true), [3.0, 4.0, 1.0, 2.0]);
        assert_eq!(shifted(9.0, false), [0.0; 4]);
        shift(&mut [], 30.0, false);
    }

    /// Zero crossings upwards in the part of the samples.
    fn periods(samples: &[f32]) -> usize {
        samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count()
    }

    #[test]
    fn speed_and_pitch_change_apart() {
        let tone: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.2).sin()).collect();
        let (mut faster, mut higher) = (tone.clone(), tone.clone());
        stretch(&mut faster, 2.0);
        assert!(faster[9_000..].iter().all(|x| x.abs() < 1e-3), "half as long");
        assert!(periods(&faster[1_000..7_000]).abs_diff(periods(&tone[1_000..7_000])) <= 2);
        shift_pitch(&mut higher, 12.0);
        assert!(higher[13_000..15_000].iter().any(|x| x.abs() > 0.5), "as long");
        assert!(periods(&higher[4_000..12_000]).abs_diff(2 * periods(&tone[4_000..12_000])) <= 4);
    }

    #[test]
    fn noise_has_the_ratio_that_was_asked_for() {
        let clean: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.3).sin()).collect();
        let power = |samples: &[f32]| samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        for colour in [Colour::White, Colour::Pink] {
            let noise = coloured(colour, &mut Seed(1).rng(Purpose::Augment, 1, 3), clean.len(), 8_000);
            for snr in [-5.0, 20.0] {
                let mut noisy = clean.clone();
                add(&mut noisy, &noise, snr);
                let noise: Vec<f32> = noisy.iter().zip(&clean).map(|(n, c)| n - c).collect();
                let found = 10.0 * (power(&clean) / power(&noise)).log10();
                assert!((found - snr).abs() < 0.01, "{colour:?} {snr}: {found}");
            }
        }
        let mut silence = [0.0; 3];
        add(&mut silence, &[1.0, -1.0, 0.5], 0.0);
        assert_eq!(silence, [0.0; 3]);
        let mut sound = [1.0, 2.0];
        add(&mut sound, &[0.0, 0.0], 0.0);
        assert_eq!(sound, [1.0, 2.0], "silence is no noise");
        add(&mut [], &[], 0.0);
    }
}
