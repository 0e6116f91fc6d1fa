//! The few signal-processing parts that all sources share. Time in seconds, frequency in Hz.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Rate and length of what is being made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    /// Samples a second.
    pub rate: f64,
    /// Number of samples.
    pub len: usize,
}

impl Canvas {
    pub(super) fn seconds(self) -> f64 {
        self.len as f64 / self.rate
    }

    /// `f(t)` for the time of every sample.
    pub(super) fn render(self, mut f: impl FnMut(f64) -> f64) -> Vec<f32> {
        (0..self.len).map(|n| f(n as f64 / self.rate) as f32).collect()
    }

    /// Times of events: the first within `first` seconds, then one gap drawn from `gaps` after another, as
    /// long as `room` seconds remain after the event.
    pub(super) fn onsets(self, rng: &mut ChaCha8Rng, first: f64, gaps: (f64, f64), room: f64) -> Vec<f64> {
        let mut times = vec![uniform(rng, 0.0, first)];
        loop {
            let next = times[times.len() - 1] + uniform(rng, gaps.0, gaps.1);
            if next + room > self.seconds() {
                return times;
            }
            times.push(next);
        }
    }
}

/// A number in `low..high`, all equally likely.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    rng.random_range(low..high)
}

/// A number in `low..high`, all ratios equally likely: for frequencies and times.
pub(super) fn log_uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    uniform(rng, low.ln(), high.ln()).exp()
}

/// White noise, uniform in -1..1.
pub(super) fn white(rng: &mut ChaCha8Rng) -> f64 {
    rng.random_range(-1.0..1.0)
}

/// Amplitude of a level in dB.
pub(in crate::dataset) fn amplitude(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Exponential decay that starts at 1 when `t` is 0; nothing before.
pub(super) fn decay(t: f64, time_constant: f64) -> f64 {
    if t < 0.0 { 0.0 } else { (-t / time_constant).exp() }
}

/// A sound that lasts from 0 to `duration`, with raised-cosine edges.
pub(super) fn gate(t: f64, duration: f64, attack: f64, release: f64) -> f64 {
    let edge = (t / attack).min((duration - t) / release).clamp(0.0, 1.0);
    0.5 - 0.5 * (TAU / 2.0 * edge).cos()
}

/// A sum of harmonics whose pitch may glide.
#[derive(Debug, Clone)]
pub(super) struct Harmonics {
    rate: f64,
    /// Amplitude of the first, second, … harmonic.
    amplitudes: Vec<f64>,
    phase: f64,
}

impl Harmonics {
    /// `count` harmonics that fall off as `k^-slope`.
    pub(super) fn new(canvas: Canvas, count: usize, slope: f64) -> Self {
        let amplitudes = (1..=count).map(|k| (k as f64).powf(-slope)).collect();
        Self { rate: canvas.rate, amplitudes, phase: 0.0 }
    }

    /// Each harmonic made stronger or weaker by up to `db`: the colour of an individual.
    pub(super) fn coloured(mut self, rng: &mut ChaCha8Rng, db: f64) -> Self {
        for amplitude_of_one in &mut self.amplitudes {
            *amplitude_of_one *= amplitude(uniform(rng, -db, db));
        }
        self
    }

    /// The next sample at `pitch` Hz; harmonics above 45 % of the sample rate are left out.
    pub(super) fn next(&mut self, pitch: f64) -> f64 {
        self.phase = (self.phase + pitch / self.rate).fract();
        let audible = ((0.45 * self.rate / pitch) as usize).min(self.amplitudes.len());
        // sin(kx) = 2 cos(x) sin((k-1)x) - sin((k-2)x)
        let (sine, cosine) = (TAU * self.phase).sin_cos();
        let (mut before, mut now, mut sum) = (0.0, sine, 0.0);
        for amplitude_of_one in &self.amplitudes[..audible] {
            sum += amplitude_of_one * now;
            (before, now) = (now, 2.0 * cosine * now - before);
        }
        sum
    }
}

/// Second-order filter in transposed direct form II; coefficients of Robert Bristow-Johnson's
/// "Audio EQ Cookbook".
#[derive(Debug, Clone)]
pub(super) struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    /// Lets `frequency` pass at 0 dB; `q` = frequency / bandwidth.
    pub(super) fn band_pass(canvas: Canvas, frequency: f64, q: f64) -> Self {
        let (_, alpha) = Self::angle(canvas, frequency, q);
        Self::normalised(canvas, frequency, q, [alpha, 0.0, -alpha])
    }

    /// Takes away what is above `frequency`, 12 dB an octave.
    pub(super) fn low_pass(canvas: Canvas, frequency: f64) -> Self {
        let (cosine, _) = Self::angle(canvas, frequency, BUTTERWORTH);
        let b = (1.0 - cosine) / 2.0;
        Self::normalised(canvas, frequency, BUTTERWORTH, [b, 2.0 * b, b])
    }

    /// Takes away what is below `frequency`, 12 dB an octave.
    pub(super) fn high_pass(canvas: Canvas, frequency: f64) -> Self {
        let (cosine, _) = Self::angle(canvas, frequency, BUTTERWORTH);
        let b = f64::midpoint(1.0, cosine);
        Self::normalised(canvas, frequency, BUTTERWORTH, [b, -2.0 * b, b])
    }

    /// The next sample.
    pub(super) fn next(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.state[0];
        self.state = [self.b[1] * x - self.a[0] * y + self.state[1], self.b[2] * x - self.a[1] * y];
        y
    }

    /// Cosine of the digital frequency, and the cookbook's alpha.
    fn angle(canvas: Canvas, frequency: f64, q: f64) -> (f64, f64) {
        let (sine, cosine) = (TAU * frequency.min(0.45 * canvas.rate) / canvas.rate).sin_cos();
        (cosine, sine / (2.0 * q))
    }

    fn normalised(canvas: Canvas, frequency: f64, q: f64, b: [f64; 3]) -> Self {
        let (cosine, alpha) = Self::angle(canvas, frequency, q);
        let a0 = 1.0 + alpha;
        Self { b: b.map(|x| x / a0), a: [-2.0 * cosine / a0, (1.0 - alpha) / a0], state: [0.0; 2] }
    }
}

/// Flattest pass band of a second-order filter.
const BUTTERWORTH: f64 = std::f64::consts::FRAC_1_SQRT_2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    const CANVAS: Canvas = Canvas { rate: 8_000.0, len: 8_000 };

    /// Amplitude of a sine of `frequency` Hz after `filter` has settled.
    fn gain(mut filter: Biquad, frequency: f64) -> f64 {
        let wave = CANVAS.render(|t| filter.next((TAU * frequency * t).sin()));
        f64::from(wave[4_000..].iter().fold(0.0f32, |peak, x| peak.max(x.abs())))
    }

    #[test]
    fn filters_pass_and_stop_what_their_names_say() {
        assert!((gain(Biquad::band_pass(CANVAS, 1000.0, 4.0), 1000.0) - 1.0).abs() < 0.01);
        assert!(gain(Biquad::band_pass(CANVAS, 1000.0, 4.0), 250.0) < 0.1);
        assert!((gain(Biquad::low_pass(CANVAS, 1000.0), 1000.0) - BUTTERWORTH).abs() < 0.01);
        assert!(gain(Biquad::low_pass(CANVAS, 500.0), 2000.0) < 0.07);
        assert!((gain(Biquad::high_pass(CANVAS, 1000.0), 1000.0) - BUTTERWORTH).abs() < 0.01);
        assert!(gain(Biquad::high_pass(CANVAS, 2000.0), 500.0) < 0.07);
    }

    #[test]
    fn harmonics_are_the_sum_of_sines_below_the_limit() {
        let mut harmonics = Harmonics::new(CANVAS, 10, 1.0);
        let wave = CANVAS.render(|_| harmonics.next(1000.0));
        // 45 % of 8,000 Hz is 3,600 Hz: three harmonics are left.
        for (n, &x) in wave.iter().enumerate().take(100) {
            let angle = TAU * 1000.0 * (n + 1) as f64 / 8_000.0;
            let expected: f64 = (1..=3).map(|k| (f64::from(k) * angle).sin() / f64::from(k)).sum();
            assert!((f64::from(x) - expected).abs() < 1e-5, "{n}: {x} {expected}");
        }
    }

    #[test]
    fn onsets_keep_their_distances_and_leave_room() {
        for item in 0..50 {
            let mut rng = Seed(1).rng(Purpose::Synth, 0, item);
            let times = CANVAS.onsets(&mut rng, 0.3, (0.1, 0.2), 0.25);
            assert!(times[0] < 0.3 && times[times.len() - 1] <= 0.75);
            assert!(times.windows(2).all(|pair| (0.1..0.2).contains(&(pair[1] - pair[0]))));
        }
    }
}
