//! What the samples of a clip tell without any transform.

/// A clip whose samples all lie below this is silent: -80 dB of full scale, 3 steps of 16 bits. Nothing can be learnt
/// from it, and most front ends turn it into their floor.
const SILENCE: f32 = 1e-4;
/// A clip is clipped when it has at least so many runs ...
const RUNS: usize = 3;
/// ... of at least so many samples at its largest or smallest value. Waves that were not cut off are round on top:
/// they reach their extreme once, and stay there for two samples at most.
const RUN: usize = 3;
/// Quieter extremes are no sign of clipping: few steps are left there, and many samples are equal by rounding.
const LOUD: f32 = 0.1;
/// A clip is padded when exact zeros at its ends last at least so many seconds. Microphones give no exact zeros: a
/// shorter stretch can be a fade, or a codec's.
const PADDING_SECONDS: f64 = 0.1;
/// ... and are at least this share of the clip.
const PADDING_SHARE: f64 = 0.02;

/// See the constants of this file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Samples {
    /// Root mean square in dB of full scale, at least -100.
    pub level: f64,
    /// Nothing above -80 dB.
    pub silent: bool,
    /// One value throughout (within -80 dB), which is not zero.
    pub constant: bool,
    /// Share of samples in runs at the extremes, when there are enough.
    pub clipped: Option<f64>,
    /// Share of exact zeros at the two ends; 0 for a silent clip.
    pub padding: f64,
    /// Whether that is padding.
    pub padded: bool,
}

impl Samples {
    pub(super) fn new(samples: &[f32], sample_rate: u32) -> Self {
        let (low, high) = extremes(samples);
        let silent = low.abs().max(high.abs()) < SILENCE;
        let flat = high - low < SILENCE;
        let zeros = if silent { 0 } else { zeros_at_the_ends(samples) };
        let padding = zeros as f64 / samples.len().max(1) as f64;
        let energy = energy(samples);
        Self {
            level: (10.0 * (energy / samples.len().max(1) as f64).log10()).max(-100.0),
            silent,
            constant: flat && !silent,
            clipped: if flat { None } else { clipped(samples, low, high) },
            padding,
            padded: zeros as f64 >= PADDING_SECONDS * f64::from(sample_rate) && padding >= PADDING_SHARE,
        }
    }
}

/// The smallest and the largest sample. Eight at a time, as the processor can.
fn extremes(samples: &[f32]) -> (f32, f32) {
    let (eights, rest) = samples.as_chunks::<8>();
    let (mut lows, mut highs) = ([f32::MAX; 8], [f32::MIN; 8]);
    for eight in eights {
        for i in 0..8 {
            lows[i] = lows[i].min(eight[i]);
            highs[i] = highs[i].max(eight[i]);
        }
    }
    let low = lows.iter().chain(rest).fold(f32::MAX, |low, x| low.min(*x));
    (low, highs.iter().chain(rest).fold(f32::MIN, |high, x| high.max(*x)))
}

/// The sum of squares, eight at a time.
fn energy(samples: &[f32]) -> f64 {
    let (eights, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for eight in eights {
        for i in 0..8 {
            sums[i] += f64::from(eight[i]).powi(2);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
}

fn zeros_at_the_ends(samples: &[f32]) -> usize {
    let zeros = |samples: &mut dyn Iterator<Item = &f32>| samples.take_while(|x| **x == 0.0).count();
    zeros(&mut samples.iter()) + zeros(&mut samples.iter().rev())
}

#[expect(clippy::float_cmp, reason = "clipping makes samples exactly equal")]
fn clipped(samples: &[f32], low: f32, high: f32) -> Option<f64> {
    let at = |x: f32| (x == high && high >= LOUD) || (x == low && low <= -LOUD);
    // A wave of few steps has as many runs below its extremes.
    let below = |x: f32| !at(x) && (x > high / 2.0 || x < low / 2.0);
    let (mut count, mut clipped, mut others) = (0, 0, 0);
    for run in samples.chunk_by(|x, y| x == y).filter(|run| run.len() >= RUN) {
        if at(run[0]) {
            (count, clipped) = (count + 1, clipped + run.len());
        } else {
            others += usize::from(below(run[0]));
        }
    }
    (count >= RUNS && count > others).then(|| clipped as f64 / samples.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(n: usize, amplitude: f32, step: f32) -> Vec<f32> {
        // Rounded to 16 bits, as files are.
        (0..n).map(|i| (amplitude * (step * i as f32 + 0.1).sin() * 32_768.0).round() / 32_768.0).collect()
    }

    #[test]
    fn a_sound_is_in_no_trap() {
        let found = Samples::new(&sine(8_000, 0.5, 0.3), 8_000);
        assert!((found.level - -9.03).abs() < 0.01, "{found:?}");
        assert_eq!(found, Samples { level: found.level, ..Samples::default() });
    }

    #[test]
    fn silence_begins_at_80_db() {
        assert!(Samples::new(&sine(800, 0.9e-4, 0.3), 8_000).silent);
        assert!(!Samples::new(&sine(800, 2e-4, 0.3), 8_000).silent);
        let nothing = Samples::new(&[0.0; 800], 8_000);
        assert!(nothing.silent && !nothing.constant && !nothing.padded && nothing.level < -99.9);
    }

    #[test]
    fn one_value_throughout_is_constant() {
        assert!(Samples::new(&[0.25; 800], 8_000).constant);
        assert!(!Samples::new(&[0.25, 0.26], 8_000).constant);
    }

    #[test]
    fn cut_tops_are_clipped_whatever_the_level_is() {
        let cut = |limit: f32| -> Vec<f32> {
            sine(8_000, 1.0, 0.02).into_iter().map(|x| 0.3 * x.clamp(-limit, limit)).collect()
        };
        let share = Samples::new(&cut(0.9), 8_000).clipped.unwrap();
        assert!((share - 0.287).abs() < 0.01, "{share}");
        assert_eq!(Samples::new(&cut(1.0), 8_000).clipped, None);
        let quiet: Vec<f32> = cut(0.9).into_iter().map(|x| 0.1 * x).collect();
        assert_eq!(Samples::new(&quiet, 8_000).clipped, None, "few steps are left of quiet sounds");
    }

    #[test]
    fn a_wave_of_few_steps_is_not_clipped() {
        let coarse: Vec<f32> = sine(8_000, 0.9, 0.02).into_iter().map(|x| (x * 8.0).round() / 8.0).collect();
        assert_eq!(Samples::new(&coarse, 8_000).clipped, None);
    }

    #[test]
    fn exact_zeros_at_either_end_are_padding() {
        let padded = |head: usize, tail: usize| {
            let mut samples = vec![0.0; head];
            samples.extend(sine(8_000, 0.5, 0.3));
            samples.extend(vec![0.0; tail]);
            Samples::new(&samples, 8_000)
        };
        let both = padded(1_000, 1_000);
        assert!(both.padded && (both.padding - 0.2).abs() < 1e-3, "{both:?}");
        assert!(padded(0, 900).padded && padded(900, 0).padded);
        assert!(!padded(300, 300).padded, "less than 0.1 s");
        let hiss: Vec<f32> = (0..2_000).map(|i| if i % 2 == 0 { 3e-5 } else { -3e-5 }).collect();
        assert!(!Samples::new(&[hiss, sine(8_000, 0.5, 0.3)].concat(), 8_000).padded, "no exact zeros");
    }
}
