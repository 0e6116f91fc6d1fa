//! What cheap recording and transmission leave of a sound: fewer bits, a telephone line (ITU-T G.711).

use serde::{Deserialize, Serialize};

use crate::audio::{Waveform, filter, resample};

/// How the samples of a telephone line are coded in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// The law of North America and Japan.
    #[default]
    Mu,
    /// The law of Europe and most other countries.
    A,
}

/// Rate of a telephone line in Hz.
const LINE: u32 = 8_000;
/// Its band in Hz: nothing below the first and above the last, all between the second and the third.
const BAND: [f64; 4] = [200.0, 300.0, 3_400.0, 3_800.0];

impl Law {
    /// A sample, full scale 1, as it is after coding and decoding: that of the eight segments' 16 steps in whose middle
    /// it is decoded.
    fn round_trip(self, x: f64) -> f64 {
        // Magnitudes are in steps of the smallest segment, which differ by a factor of two.
        let (scale, bias, most) = match self {
            Self::Mu => (8192.0, 33.0, 8158.0),
            Self::A => (4096.0, 0.0, 4095.0),
        };
        let magnitude = (x.abs() * scale).min(most) + bias;
        let segment = magnitude.max(32.0).log2().floor();
        let step = (segment - 4.0).exp2();
        let decoded = ((magnitude / step).floor() + 0.5) * step - bias;
        (decoded / scale).copysign(x)
    }
}

/// Rounds samples to `bits` bits, full scale 1.
pub(super) fn quantize(samples: &mut [f32], bits: u32) {
    let steps = f64::from(bits - 1).exp2();
    for x in samples {
        *x = ((f64::from(*x) * steps).round().clamp(-steps, steps - 1.0) / steps) as f32;
    }
}

/// Sends samples over a telephone line: 8 kHz (where the rate is higher), 300 to 3,400 Hz, 8 bits by `law`.
pub(super) fn telephone(samples: &mut [f32], law: Law, sample_rate: u32) {
    let len = samples.len();
    let rate = sample_rate.min(LINE);
    // Only ratios are refused that no two rates of a recipe and a telephone line have.
    let Ok(sent) = resample(Waveform { samples: samples.to_vec(), sample_rate }, rate) else { return };
    let mut line: Vec<f64> = sent.samples.into_iter().map(f64::from).collect();
    filter(&mut line, rate, |hz| edge(hz, BAND[0], BAND[1]) * (1.0 - edge(hz, BAND[2], BAND[3])));
    let heard = line.into_iter().map(|x| law.round_trip(x) as f32).collect();
    let Ok(heard) = resample(Waveform { samples: heard, sample_rate: rate }, sample_rate) else { return };
    samples.copy_from_slice(&heard.samples[..len]);
}

/// From 0 at `low` to 1 at `high`, as half a period of a cosine.
fn edge(hz: f64, low: f64, high: f64) -> f64 {
    let share = ((hz - low) / (high - low)).clamp(0.0, 1.0);
    0.5 - 0.5 * (std::f64::consts::PI * share).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::f64::consts::TAU;

    #[test]
    fn laws_are_those_of_ffmpeg() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/augment/g711.json")).unwrap();
        for (law, key) in [(Law::Mu, "mu"), (Law::A, "a")] {
            let pairs: Vec<[f64; 2]> = serde_json::from_value(golden[key].clone()).unwrap();
            assert!(pairs.len() == 128);
            for [sample, decoded] in pairs {
                let ours = law.round_trip(sample / 32768.0) * 32768.0;
                assert!((ours - decoded).abs() < 1e-9, "{law:?} {sample}: {ours}, not {decoded}");
            }
        }
    }

    fn tone(hz: f64, rate: u32) -> Vec<f32> {
        (0..rate).map(|n| (0.5 * (TAU * hz * f64::from(n) / f64::from(rate)).sin()) as f32).collect()
    }

    fn level(samples: &[f32]) -> f64 {
        let middle = &samples[samples.len() / 4..3 * samples.len() / 4];
        middle.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / middle.len() as f64
    }

    #[test]
    fn a_line_carries_its_band_with_the_noise_of_eight_bits() {
        for rate in [6_000, 8_000, 22_050] {
            for (hz, passes) in [(100.0, false), (1_037.0, true), (2_511.0, true), (5_000.0, false)] {
                if 2.0 * hz >= f64::from(rate) {
                    continue;
                }
                for law in [Law::Mu, Law::A] {
                    let (clean, mut sent) = (tone(hz, rate), tone(hz, rate));
                    telephone(&mut sent, law, rate);
                    let kept = level(&sent) / level(&clean);
                    assert!(if passes { (kept - 1.0).abs() < 0.03 } else { kept < 1e-3 }, "{hz} Hz: {kept}");
                    let noise: Vec<f32> = sent.iter().zip(&clean).map(|(a, b)| a - b).collect();
                    let ratio = 10.0 * (level(&clean) / level(&noise)).log10();
                    assert!(!passes || (30.0..48.0).contains(&ratio), "{rate} {hz} {law:?}: {ratio} dB");
                }
            }
        }
        telephone(&mut [], Law::Mu, 22_050);
    }

    #[test]
    fn each_bit_is_worth_six_decibels() {
        for (bits, decibels) in [(4, 23.9), (8, 48.0), (12, 72.1)] {
            let (clean, mut rounded) = (tone(437.3, 8_000), tone(437.3, 8_000));
            clean.iter().zip(&mut rounded).for_each(|(x, y)| *y = 1.6 * x);
            let clean = rounded.clone();
            quantize(&mut rounded, bits);
            let noise: Vec<f32> = rounded.iter().zip(&clean).map(|(a, b)| a - b).collect();
            let ratio = 10.0 * (level(&clean) / level(&noise)).log10();
            assert!((ratio - decibels).abs() < 1.5, "{bits} bits: {ratio} dB");
        }
        let mut ends = [-1.0, 1.0, 2.0, f32::MIN];
        quantize(&mut ends, 1);
        assert_eq!(ends.map(f32::to_bits), [-1.0f32, 0.0, 0.0, -1.0].map(f32::to_bits));
    }
}
