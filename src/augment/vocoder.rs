//! Time stretch and pitch shift by phase vocoder (Flanagan & Golden 1966; Laroche & Dolson 1999), as `librosa.effects`
//! has them: periodic Hann windows of 2,048 samples every 512, centred, with zeros outside.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealToComplex};

use super::fft;
use crate::audio::{Waveform, resample};

const WINDOW: usize = 2048;
const HOP: usize = 512;
const BINS: usize = WINDOW / 2 + 1;

/// `rate` times as fast at the same pitch (`librosa.effects.time_stretch`): `round(n / rate)` samples.
pub(super) fn stretch(samples: &[f32], rate: f64) -> Vec<f32> {
    let samples: Vec<f64> = samples.iter().map(|&x| f64::from(x)).collect();
    stretch_exactly(&samples, rate).into_iter().map(|x| x as f32).collect()
}

/// Higher by `steps` semitones at the same speed (`librosa.effects.pitch_shift`): stretched, then resampled to the same
/// number of samples.
pub(super) fn shift(samples: &[f32], steps: f64) -> Vec<f32> {
    let rate = 2f64.powf(-steps / 12.0);
    let slower = stretch(samples, rate);
    let [from, to] = fraction(1.0 / rate);
    // Ratios within an octave or two are always accepted.
    let mut shifted = match resample(Waveform { samples: slower, sample_rate: from }, to) {
        Ok(wave) => wave.samples,
        Err(_) => samples.to_vec(),
    };
    shifted.resize(samples.len(), 0.0);
    shifted
}

/// Whole numbers of at most some thousands whose quotient is `value`, by its continued fraction.
fn fraction(value: f64) -> [u32; 2] {
    const MOST: f64 = 4096.0;
    let (mut before, mut last) = ([0.0, 1.0], [1.0, 0.0]);
    let mut rest = value;
    loop {
        let whole = rest.floor();
        let next = [whole * last[0] + before[0], whole * last[1] + before[1]];
        if next.iter().any(|x| *x > MOST) {
            break;
        }
        (before, last) = (last, next);
        if rest - whole < 1e-9 {
            break;
        }
        rest = 1.0 / (rest - whole);
    }
    last.map(|x| x as u32)
}

fn stretch_exactly(samples: &[f64], rate: f64) -> Vec<f64> {
    let mut analysis = Analysis::new(samples);
    let mut synthesis = Synthesis::new((samples.len() as f64 / rate).round_ties_even() as usize);
    let (mut at, mut left, mut right) = (0, analysis.frame(0), analysis.frame(1));
    let mut phases: Vec<Complex<f64>> = left.iter().map(|polar| polar.direction).collect();
    let count = (analysis.count as f64 / rate).ceil() as usize;
    for t in 0..count.min(synthesis.frames()) {
        // Read every `rate` frames: magnitudes between two neighbours, phases that go on at the speed measured there. (Whole
        // turns between two frames make no difference to either, so phases are complex numbers of magnitude 1.)
        let from = t as f64 * rate;
        while at < from as usize {
            at += 1;
            left = std::mem::replace(&mut right, analysis.frame(at + 1));
        }
        let share = from.fract();
        for (((bin, phase), left), right) in
            synthesis.spectrum.iter_mut().zip(&mut phases).zip(&left).zip(&right)
        {
            *bin = *phase * ((1.0 - share) * left.magnitude + share * right.magnitude);
            *phase *= right.direction * left.direction.conj();
            // One step of Newton's method keeps the magnitude at 1 over a long clip.
            *phase *= 1.5 - 0.5 * phase.norm_sqr();
        }
        synthesis.add(t);
    }
    synthesis.finish()
}

fn hann() -> Vec<f64> {
    (0..WINDOW).map(|n| 0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos()).collect()
}

/// A complex number: `magnitude * direction`, the direction of 0 being 1.
#[derive(Debug, Clone, Copy)]
struct Polar {
    magnitude: f64,
    direction: Complex<f64>,
}

impl Polar {
    fn new(x: Complex<f64>) -> Self {
        let magnitude = x.norm_sqr().sqrt();
        let direction = if magnitude > 0.0 { x / magnitude } else { Complex::new(1.0, 0.0) };
        Self { magnitude, direction }
    }
}

/// Samples → windowed frames' spectra.
struct Analysis {
    padded: Vec<f64>,
    count: usize,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
}

impl Analysis {
    fn new(samples: &[f64]) -> Self {
        let mut padded = vec![0.0; samples.len() + WINDOW];
        padded[WINDOW / 2..WINDOW / 2 + samples.len()].copy_from_slice(samples);
        let fft = fft::forward(WINDOW);
        let (frame, spectrum) = (fft.make_input_vec(), fft.make_output_vec());
        Self { padded, count: samples.len() / HOP + 1, window: hann(), fft, frame, spectrum }
    }

    /// Frame `t`; behind the last one, silence.
    fn frame(&mut self, t: usize) -> Vec<Polar> {
        if t >= self.count {
            return vec![Polar::new(Complex::default()); BINS];
        }
        let samples = self.padded[t * HOP..].iter().zip(&self.window);
        self.frame.iter_mut().zip(samples).for_each(|(x, (sample, weight))| *x = sample * weight);
        // The plan made the lengths, so they fit and nothing here can fail.
        let _ = self.fft.process(&mut self.frame, &mut self.spectrum);
        self.spectrum.iter().copied().map(Polar::new).collect()
    }
}

/// Spectra → samples: windowed frames added up, divided by the sum of the squared windows (Griffin & Lim 1984).
struct Synthesis {
    len: usize,
    sum: Vec<f64>,
    weight: Vec<f64>,
    window: Vec<f64>,
    fft: Arc<dyn ComplexToReal<f64>>,
    /// What [`Synthesis::add`] adds.
    spectrum: Vec<Complex<f64>>,
    frame: Vec<f64>,
}

impl Synthesis {
    fn new(len: usize) -> Self {
        let fft = fft::inverse(WINDOW);
        let total = len.next_multiple_of(HOP) + 2 * WINDOW;
        let (spectrum, frame) = (fft.make_input_vec(), fft.make_output_vec());
        Self { len, sum: vec![0.0; total], weight: vec![0.0; total], window: hann(), fft, spectrum, frame }
    }

    /// Frames that reach into the result.
    fn frames(&self) -> usize {
        (self.len + WINDOW).div_ceil(HOP)
    }

    /// Adds the spectrum as frame `t`.
    fn add(&mut self, t: usize) {
        // A real signal has none there, and the transform insists.
        self.spectrum[0].im = 0.0;
        self.spectrum[BINS - 1].im = 0.0;
        let _ = self.fft.process(&mut self.spectrum, &mut self.frame);
        let places = self.sum[t * HOP..].iter_mut().zip(&mut self.weight[t * HOP..]);
        for (((sum, weight), x), w) in places.zip(&self.frame).zip(&self.window) {
            *sum += x / WINDOW as f64 * w;
            *weight += w * w;
        }
    }

    fn finish(self) -> Vec<f64> {
        let part = WINDOW / 2..WINDOW / 2 + self.len;
        let value = |(x, weight): (&f64, &f64)| if *weight > f64::MIN_POSITIVE { x / weight } else { *x };
        self.sum[part.clone()].iter().zip(&self.weight[part]).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// That of `tests/fixtures/augment/make_vocoder.py`.
    fn signal() -> Vec<f64> {
        let value = |n: usize| {
            let t = n as f64 / 8000.0;
            0.4 * (TAU * 220.0 * t).sin()
                + 0.2 * (TAU * (500.0 + 300.0 * t) * t + 1.0).sin()
                + 0.1 * (TAU * 1370.0 * t).sin() * (-3.0 * t).exp()
                + if n == 2500 { 0.8 } else { 0.0 }
        };
        (0..6000).map(value).collect()
    }

    /// Root of the mean squared difference to the golden samples, and the largest one.
    fn difference(ours: &[f64], case: &Value) -> (f64, f64) {
        assert_eq!(ours.len() as u64, case["samples"].as_u64().unwrap());
        let golden: Vec<f64> = serde_json::from_value(case["every_7th"].clone()).unwrap();
        let differences: Vec<f64> =
            ours.iter().step_by(7).zip(&golden).map(|(ours, golden)| (ours - golden).abs()).collect();
        assert_eq!(differences.len(), golden.len());
        let square = differences.iter().map(|x| x * x).sum::<f64>() / golden.len() as f64;
        (square.sqrt(), differences.into_iter().fold(0.0, f64::max))
    }

    #[test]
    fn stretching_is_that_of_librosa_and_shifting_close_to_it() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/augment/vocoder.json")).unwrap();
        for case in golden["stretched"].as_array().unwrap() {
            let rate = case["rate"].as_f64().unwrap();
            let (_, most) = difference(&stretch_exactly(&signal(), rate), case);
            assert!(most < 2e-6, "rate {rate}: {most}");
        }
        let samples: Vec<f32> = signal().into_iter().map(|x| x as f32).collect();
        for case in golden["shifted"].as_array().unwrap() {
            let steps = case["steps"].as_f64().unwrap();
            let ours: Vec<f64> = shift(&samples, steps).into_iter().map(f64::from).collect();
            let (mean, most) = difference(&ours, case);
            // Another filter when resampling: the click and the ends show it. Found: 1.2e-3, at most 1.5e-2.
            assert!(mean < 2e-3 && most < 2e-2, "{steps} semitones: {mean}, at most {most}");
        }
    }

    #[test]
    fn fractions_are_close_and_small() {
        for value in [0.5, 1.0, 1.25, 2f64.powf(1.0 / 12.0), 2f64.powf(-7.0 / 12.0), 3.999] {
            let [over, under] = fraction(value);
            assert!((f64::from(over) / f64::from(under) - value).abs() < 1e-6, "{value}: {over} / {under}");
        }
    }

    #[test]
    fn short_and_silent_clips_stay_so() {
        for len in [0, 1, 100] {
            assert_eq!(stretch(&vec![0.0; len], 0.8).len(), (len as f64 / 0.8).round_ties_even() as usize);
            assert_eq!(shift(&vec![0.0; len], 3.0), vec![0.0; len]);
        }
    }
}
