//! When somebody speaks: an energy detector after ITU-T Recommendation P.56 (objective measurement of active speech
//! level), on frames of 20 ms.
//!
//! The threshold is the level that lies 15.9 dB (P.56's margin) below the mean level of everything above it, and
//! at least 6 dB above the recording's own noise floor (its tenth percentile), so a recording of steady noise holds no
//! speech. A frame is active when it reaches the threshold, and so are the five frames (100 ms) after it: P.56 holds
//! on for 200 ms; half of that spans the closure of a stop consonant, and a pause for breath stays a pause.

use std::ops::Range;

/// Length of a frame. Cuts begin at a whole number of frames.
pub(super) const FRAME_SECONDS: f64 = 0.02;

/// dB between the active level and the threshold.
const MARGIN: f64 = 15.9;
/// Least dB between the noise floor and the threshold.
const ABOVE_FLOOR: f64 = 6.0;
/// Share of the frames that lie below the noise floor.
const FLOOR_SHARE: usize = 10;
/// Frames that stay active after speech.
const HANGOVER: usize = 5;
/// Power of digital silence, for logarithms.
const SILENCE: f64 = 1e-13;

/// The level of every frame in which somebody speaks: one byte a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Activity {
    /// 0: nobody speaks. `n`: somebody does, at `(n - 255) / 2` dB of full scale.
    frames: Box<[u8]>,
}

impl Activity {
    /// Listens to a recording.
    pub(super) fn of(samples: &[f32], sample_rate: u32) -> Self {
        let frame = (FRAME_SECONDS * f64::from(sample_rate)).round().max(1.0) as usize;
        let power =
            |frame: &[f32]| frame.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / frame.len() as f64;
        let powers: Vec<f64> = samples.chunks_exact(frame).map(power).collect();
        let threshold = threshold(&powers);
        let mut held = 0;
        let mark = |power: &f64| {
            held = if *power >= threshold { HANGOVER + 1 } else { held };
            if held == 0 {
                return 0;
            }
            held -= 1;
            code(*power)
        };
        Self { frames: powers.iter().map(mark).collect() }
    }

    /// Number of frames.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// One byte a frame.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.frames
    }

    /// Whether somebody speaks in a frame.
    pub(super) fn is_active(&self, frame: usize) -> bool {
        self.frames.get(frame).is_some_and(|&code| code > 0)
    }

    /// Frames of `range` in which somebody speaks.
    pub(super) fn active(&self, range: Range<usize>) -> usize {
        range.filter(|&frame| self.is_active(frame)).count()
    }

    /// Whether some cut of `len` frames has at least `least` active ones.
    pub(super) fn has(&self, len: usize, least: usize) -> bool {
        if len > self.len() {
            return false;
        }
        let mut active = self.active(0..len);
        active >= least
            || (len..self.len()).any(|end| {
                active += usize::from(self.is_active(end));
                active -= usize::from(self.is_active(end - len));
                active >= least
            })
    }

    /// Mean power of the active frames of `range`; none when there is none.
    pub(super) fn power(&self, range: Range<usize>) -> Option<f64> {
        let codes = || self.frames.get(range.clone()).unwrap_or_default().iter().filter(|code| **code > 0);
        let sum: f64 = codes().map(|&code| 10f64.powf((f64::from(code) - 255.0) / 20.0)).sum();
        let count = codes().count();
        (count > 0).then(|| sum / count as f64)
    }
}

fn code(power: f64) -> u8 {
    (255.0 + 20.0 * power.max(SILENCE).log10()).round().clamp(1.0, 255.0) as u8
}

/// Least power of an active frame.
fn threshold(powers: &[f64]) -> f64 {
    let mut sorted = powers.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let Some(floor) = sorted.get(sorted.len() - sorted.len().div_ceil(FLOOR_SHARE)) else {
        return f64::INFINITY;
    };
    let margin = 10f64.powf(MARGIN / 10.0);
    let mut sum = 0.0;
    let mut threshold = f64::INFINITY;
    for (count, &power) in sorted.iter().enumerate() {
        sum += power;
        if sum > margin * power * (count + 1) as f64 {
            break;
        }
        threshold = power;
    }
    threshold.max(floor * 10f64.powf(ABOVE_FLOOR / 10.0)).max(SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Colour, coloured};
    use crate::seed::{Purpose, Seed};

    const RATE: u32 = 16_000;
    const FRAME: usize = 320;

    /// Noise of the given amplitudes, one for each stretch of ten frames (0.2 s).
    fn stretches(amplitudes: &[f64]) -> Vec<f32> {
        let mut rng = Seed(1).rng(Purpose::Mix, 0, 0);
        let noise = coloured(Colour::White, &mut rng, amplitudes.len() * 10 * FRAME, RATE);
        let peak = noise.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
        let value = |(n, x): (usize, &f64)| (amplitudes[n / (10 * FRAME)] * x / peak) as f32;
        noise.iter().enumerate().map(value).collect()
    }

    fn active_frames(activity: &Activity) -> String {
        (0..activity.len()).map(|frame| if activity.is_active(frame) { '#' } else { '.' }).collect()
    }

    #[test]
    fn speech_is_active_with_a_hangover_and_pauses_are_not() {
        let activity = Activity::of(&stretches(&[0.001, 0.5, 0.001, 0.2, 0.001, 0.001]), RATE);
        let pause = "#####.....";
        assert_eq!(
            active_frames(&activity),
            format!("..........##########{pause}##########{pause}..........")
        );
    }

    #[test]
    fn what_is_far_below_the_speech_is_not_speech() {
        // 26 dB below, and well above the noise floor.
        let activity = Activity::of(&stretches(&[0.5, 0.5, 0.025, 0.025, 0.0001, 0.0001]), RATE);
        assert_eq!(activity.active(25..60), 0);
        assert_eq!(activity.active(0..20), 20);
    }

    #[test]
    fn gain_changes_the_level_and_not_the_activity() {
        let loud = stretches(&[0.001, 0.8, 0.4, 0.001, 0.6, 0.001]);
        let quiet: Vec<f32> = loud.iter().map(|x| x / 8.0).collect();
        let (loud, quiet) = (Activity::of(&loud, RATE), Activity::of(&quiet, RATE));
        assert_eq!(active_frames(&loud), active_frames(&quiet));
        let fall = 10.0 * (loud.power(0..60).unwrap() / quiet.power(0..60).unwrap()).log10();
        assert!((fall - 18.06).abs() < 0.1, "{fall} dB");
    }

    #[test]
    fn the_power_is_that_of_the_active_frames() {
        let samples = stretches(&[0.001, 0.5, 0.5, 0.001]);
        let activity = Activity::of(&samples, RATE);
        let part = &samples[10 * FRAME..30 * FRAME];
        let exact = part.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / part.len() as f64;
        let error = 10.0 * (activity.power(10..30).unwrap() / exact).log10();
        assert!(error.abs() < 0.1, "{error} dB");
        assert_eq!(activity.power(0..10), None);
        assert_eq!(activity.power(35..99), None);
    }

    #[test]
    fn silence_and_steady_noise_hold_no_speech() {
        for samples in [vec![], vec![0.0; 10], vec![0.0; 16_000], stretches(&[0.3; 6])] {
            let activity = Activity::of(&samples, RATE);
            assert_eq!(activity.active(0..activity.len()), 0);
        }
    }

    #[test]
    fn a_cut_with_enough_speech_is_found_wherever_it_is() {
        let activity = Activity::of(&stretches(&[0.001, 0.001, 0.001, 0.5, 0.5, 0.001]), RATE);
        // 25 active frames, from 30 on.
        assert!(activity.has(25, 25) && activity.has(60, 25) && activity.has(30, 25));
        assert!(!activity.has(30, 26) && !activity.has(61, 1) && !activity.has(20, 21));
    }
}
