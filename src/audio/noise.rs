//! Noise that is made: white, pink and brown.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::filter::filter;

/// The spectrum of a synthetic noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The same power at every frequency.
    White,
    /// Power falls by 3 dB an octave: the same in every octave, as in rain or a fan.
    Pink,
    /// Power falls by 6 dB an octave, as in traffic far away.
    Brown,
}

impl Colour {
    /// All colours with their words in recipes and flags.
    pub const ALL: [(&str, Self); 3] = [("white", Self::White), ("pink", Self::Pink), ("brown", Self::Brown)];

    /// Exponent of the amplitude over frequency.
    fn slope(self) -> f64 {
        match self {
            Self::White => 0.0,
            Self::Pink => -0.5,
            Self::Brown => -1.0,
        }
    }
}

/// Below this frequency in Hz no colour rises any further.
const LOWEST: f64 = 20.0;

/// `len` samples of noise at `sample_rate` Hz: white noise (uniform) whose spectrum is multiplied by `f^slope` (Timmer &
/// König, "On generating power law noise", A&A 300, 1995), without a mean. Its level has no meaning.
pub fn coloured(colour: Colour, rng: &mut ChaCha8Rng, len: usize, sample_rate: u32) -> Vec<f64> {
    let mut samples: Vec<f64> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
    filter(&mut samples, sample_rate, |frequency| {
        if frequency > 0.0 { (frequency.max(LOWEST) / LOWEST).powf(colour.slope()) } else { 0.0 }
    });
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use realfft::RealFftPlanner;

    use crate::seed::{Purpose, Seed};

    fn made(colour: Colour, seed: u64) -> Vec<f64> {
        coloured(colour, &mut Seed(seed).rng(Purpose::Mix, 0, 0), 32_000, 16_000)
    }

    /// Mean power of one octave above `low` Hz.
    fn octave(samples: &[f64], low: f64) -> f64 {
        let plan = RealFftPlanner::<f64>::new().plan_fft_forward(samples.len());
        let mut bins = plan.make_output_vec();
        plan.process(&mut samples.to_vec(), &mut bins).unwrap();
        let bin = |frequency: f64| (frequency * samples.len() as f64 / 16_000.0) as usize;
        bins[bin(low)..bin(2.0 * low)].iter().map(|b| b.norm_sqr()).sum::<f64>()
    }

    #[test]
    fn power_falls_as_the_colour_says() {
        for (colour, decibels) in [(Colour::White, 3.0), (Colour::Pink, 0.0), (Colour::Brown, -3.0)] {
            let noise = made(colour, 7);
            let rise = 10.0 * (octave(&noise, 2000.0) / octave(&noise, 1000.0)).log10();
            assert!((rise - decibels).abs() < 0.6, "{colour:?}: {rise} dB");
            assert!(noise.iter().sum::<f64>().abs() < 1e-6 && noise == made(colour, 7));
            assert!(noise != made(colour, 8));
        }
    }
}
