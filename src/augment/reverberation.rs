//! Rooms that are made: reverberation as noise that dies away exponentially (Moorer, "About this reverberation business",
//! Computer Music Journal 3, 1979; Polack's model of the late part of a room's answer, 1988).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::fft;

/// Adds what comes back from a room: `seconds` until the sound has fallen by 60 dB, the direct sound, which stays as it is,
/// `direct_db` above all that follows.
pub(super) fn reverberate(
    samples: &mut [f32],
    seconds: f64,
    direct_db: f64,
    sample_rate: u32,
    rng: &mut ChaCha8Rng,
) {
    let answer = answer(seconds * f64::from(sample_rate), samples.len(), direct_db, rng);
    if answer.is_empty() {
        return;
    }
    let len = (samples.len() + answer.len()).next_power_of_two();
    let (forward, inverse) = (fft::forward(len), fft::inverse(len));
    let transform = |part: &[f32]| {
        let mut padded = forward.make_input_vec();
        padded.iter_mut().zip(part).for_each(|(padded, x)| *padded = f64::from(*x));
        let mut bins = forward.make_output_vec();
        // The plans made the lengths, so they fit and nothing here can fail.
        let _ = forward.process(&mut padded, &mut bins);
        bins
    };
    let mut product = transform(samples);
    product.iter_mut().zip(transform(&answer)).for_each(|(sound, room)| *sound *= room / len as f64);
    let mut wet = inverse.make_output_vec();
    let _ = inverse.process(&mut product, &mut wet);
    samples.iter_mut().zip(wet).for_each(|(dry, wet)| *dry += wet as f32);
}

/// What follows the direct sound of one sample: white noise that falls by 60 dB in `decay` samples and ends there, at most
/// `most` samples; 0 at the direct sound itself.
fn answer(decay: f64, most: usize, direct_db: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let len = (decay as usize).min(most);
    let fall = 10f64.powf(-3.0 / decay);
    let mut level = 1.0;
    let mut noise = Vec::with_capacity(len);
    for n in 0..len {
        noise.push(if n == 0 { 0.0 } else { level * rng.random_range(-1.0..1.0) });
        level *= fall;
    }
    let power: f64 = noise.iter().map(|x| x * x).sum();
    if power <= 0.0 {
        return Vec::new();
    }
    let factor = 10f64.powf(-direct_db / 20.0) / power.sqrt();
    noise.into_iter().map(|x| (x * factor) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn rng(item: u64) -> ChaCha8Rng {
        Seed(4).rng(Purpose::Augment, 1, item)
    }

    fn energy_db(samples: &[f32]) -> f64 {
        10.0 * samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().log10()
    }

    #[test]
    fn a_click_stays_and_falls_by_sixty_decibels_in_its_time() {
        let mut click = vec![0.0; 8_000];
        click[100] = 1.0;
        reverberate(&mut click, 0.5, 3.0, 8_000, &mut rng(0));
        assert!((click[100] - 1.0).abs() < 1e-4 && click[..100].iter().all(|x| x.abs() < 1e-5));
        assert!((energy_db(&click[101..]) + 3.0).abs() < 0.05, "direct sound against the rest");
        // Two windows, half of the time apart.
        let fall = energy_db(&click[200..1_000]) - energy_db(&click[2_200..3_000]);
        assert!((fall - 30.0).abs() < 1.5, "{fall} dB");
    }

    #[test]
    fn sounds_are_convolved_and_rooms_differ() {
        let dry: Vec<f32> = (0..300).map(|n| ((n * n) as f32 * 0.01).sin()).collect();
        let mut wet = dry.clone();
        reverberate(&mut wet, 0.02, 0.0, 8_000, &mut rng(1));
        let answer = answer(160.0, 300, 0.0, &mut rng(1));
        for (n, x) in wet.iter().enumerate() {
            let sum: f32 = (0..=n.min(answer.len() - 1)).map(|k| answer[k] * dry[n - k]).sum();
            assert!((x - dry[n] - sum).abs() < 1e-5, "{n}");
        }
        let mut other = dry.clone();
        reverberate(&mut other, 0.02, 0.0, 8_000, &mut rng(2));
        assert!(wet != other);
        reverberate(&mut [], 0.5, 0.0, 8_000, &mut rng(0));
        reverberate(&mut [1.0], 0.5, 0.0, 8_000, &mut rng(0));
    }
}
