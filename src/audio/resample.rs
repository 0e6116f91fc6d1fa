//! Whole-clip sample rate conversion by FFT.
//!
//! The filter is a sinc within a Kaiser window, 768 samples of the lower rate long: flat (within 0.0001 dB) up to 0.97 of the
//! lower Nyquist frequency and more than 150 dB down from that frequency on, which is below the noise of 24 bits. It has
//! no delay: sample `i` of the result stands at `i / to` seconds, as in `librosa.resample`.
//!
//! A block of samples is transformed, its spectrum multiplied by the filter's, cut off or continued with zeros to the length
//! that the block has at the other rate, and transformed back (overlap-save; Crochiere & Rabiner, "Multirate Digital Signal
//! Processing", 1983). The filter is real, so that two blocks go through at once: one as the real, one as the imaginary part.

use std::cell::RefCell;
use std::f64::consts::PI;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::{Error, Waveform};

/// Largest accepted ratio between two rates, either way.
const MAX_RATIO: u64 = 64;

/// Half the length of the filter, in samples of the lower rate.
const HALF: f64 = 384.0;

/// The middle of the filter's slope, in parts of the lower Nyquist frequency.
const CUTOFF: f64 = 0.985;

/// Shape of the window: Kaiser's for 165 dB.
const BETA: f64 = 0.1102 * (165.0 - 8.7);

/// A transform has at least so many samples at the higher rate. More would be done with less overlap, but not stay in the
/// second cache.
const TRANSFORM: usize = 8192;

/// Resamplers kept ready on each thread, and the longest transform of one that is kept: building one costs as much as
/// resampling several clips, but rates without a common factor need transforms of several seconds.
const KEPT: usize = 4;
const KEPT_TRANSFORM: usize = 1 << 15;

thread_local! {
    static READY: RefCell<Vec<Resampler>> = const { RefCell::new(Vec::new()) };
}

/// Resamples `waveform` to `sample_rate` Hz. The result has `ceil(n * to / from)` samples, as in librosa; with
/// equal rates the samples are returned as they are, bit for bit.
///
/// Deterministic: the same samples and rates give the same bits on one machine, on any thread.
pub fn resample(waveform: Waveform, sample_rate: u32) -> Result<Waveform, Error> {
    let Waveform { samples, sample_rate: from } = waveform;
    if from == sample_rate {
        return Ok(Waveform { samples, sample_rate });
    }
    let (low, high) = (u64::from(from.min(sample_rate)), u64::from(from.max(sample_rate)));
    if low == 0 || high > MAX_RATIO * low {
        return Err(Error::Ratio { name: "audio".to_owned(), from, to: sample_rate });
    }
    if samples.is_empty() {
        return Ok(Waveform { samples, sample_rate });
    }
    let mut resampler = take([from, sample_rate]).unwrap_or_else(|| Resampler::new([from, sample_rate]));
    let resampled = resampler.run(&samples);
    keep(resampler);
    Ok(Waveform { samples: resampled, sample_rate })
}

/// `ceil(n * to / from)` in whole numbers.
fn resampled_len(n: usize, [from, to]: [u32; 2]) -> usize {
    (n as u128 * u128::from(to)).div_ceil(u128::from(from)) as usize
}

fn take(rates: [u32; 2]) -> Option<Resampler> {
    READY.with_borrow_mut(|ready| {
        let at = ready.iter().position(|kept| kept.rates == rates)?;
        Some(ready.remove(at))
    })
}

fn keep(resampler: Resampler) {
    if resampler.input.len().max(resampler.output.len()) > KEPT_TRANSFORM {
        return;
    }
    READY.with_borrow_mut(|ready| {
        if ready.len() == KEPT {
            ready.remove(0);
        }
        ready.push(resampler);
    });
}

/// What one pair of rates needs. Two numbers stand for the first and for the second rate.
struct Resampler {
    rates: [u32; 2],
    /// Samples that a transform adds to the result.
    block: [usize; 2],
    /// Samples of a transform before the block, and behind it.
    margin: [usize; 2],
    /// The filter at each frequency both rates have; with the factor that the transforms leave out.
    response: Vec<f32>,
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
    input: Vec<Complex<f32>>,
    output: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Resampler {
    fn new(rates: [u32; 2]) -> Self {
        let divisor = gcd(rates[0], rates[1]);
        // Blocks and margins are whole numbers of periods, after which samples of both rates stand at the same time.
        let period = rates.map(|rate| (rate / divisor) as usize);
        let margin = (HALF / period[0].min(period[1]) as f64).ceil() as usize;
        let enough =
            |periods: &usize| periods * period[0].max(period[1]) >= TRANSFORM && *periods >= 4 * margin;
        // Lengths that are transformed quickly.
        let periods = (0..).flat_map(|i| [2 << i, 3 << i]).find(enough).unwrap_or(4 * margin);
        let [transform, transformed] = period.map(|period| periods * period);
        let mut planner = FftPlanner::new();
        let forward = planner.plan_fft_forward(transform);
        let inverse = planner.plan_fft_inverse(transformed);
        let scratch = forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len());
        let zeros = |len| vec![Complex::new(0.0, 0.0); len];
        Self {
            rates,
            block: period.map(|period| (periods - 2 * margin) * period),
            margin: period.map(|period| margin * period),
            response: response(rates, transform, transform.min(transformed).div_ceil(2)),
            forward,
            inverse,
            input: zeros(transform),
            output: zeros(transformed),
            scratch: zeros(scratch),
        }
    }

    fn run(&mut self, samples: &[f32]) -> Vec<f32> {
        let len = resampled_len(samples.len(), self.rates);
        let mut resampled = Vec::with_capacity(len.next_multiple_of(2 * self.block[1]));
        for pair in 0.. {
            if resampled.len() >= len {
                break;
            }
            self.read(samples, pair);
            self.forward.process_with_scratch(&mut self.input, &mut self.scratch);
            self.filter();
            self.inverse.process_with_scratch(&mut self.output, &mut self.scratch);
            let blocks = &self.output[self.margin[1]..][..self.block[1]];
            resampled.extend(blocks.iter().map(|z| z.re));
            resampled.extend(blocks.iter().map(|z| z.im));
        }
        resampled.truncate(len);
        resampled
    }

    /// Brings two neighbouring blocks and their margins side by side; before and after the clip there are zeros.
    fn read(&mut self, samples: &[f32], pair: usize) {
        let first = (2 * pair * self.block[0]) as isize - self.margin[0] as isize;
        let second = first + self.block[0] as isize;
        let inside = |start: isize| samples.get(usize::try_from(start).ok()?..)?.get(..self.input.len());
        if let (Some(first), Some(second)) = (inside(first), inside(second)) {
            for (z, (re, im)) in self.input.iter_mut().zip(first.iter().zip(second)) {
                *z = Complex::new(*re, *im);
            }
            return;
        }
        self.input.fill(Complex::new(0.0, 0.0));
        for (start, set) in [(first, set_re as fn(&mut _, _)), (second, set_im)] {
            let (before, skipped) = (start.min(0).unsigned_abs(), start.max(0).unsigned_abs());
            let there = samples.get(skipped..).unwrap_or_default();
            self.input.iter_mut().skip(before).zip(there).for_each(|(z, sample)| set(z, *sample));
        }
    }

    /// The spectrum at the first rate → filtered, at the second.
    fn filter(&mut self) {
        self.output.fill(Complex::new(0.0, 0.0));
        let bins = self.response.len();
        let pass =
            |(output, (input, factor)): (&mut Complex<f32>, (&Complex<f32>, &f32))| *output = input * factor;
        self.output.iter_mut().zip(self.input.iter().zip(&self.response)).for_each(pass);
        // The negative frequencies, from the last on.
        let [from, to] = [self.input.len(), self.output.len()].map(|len| len + 1 - bins);
        let factors = self.response[1..].iter().rev();
        self.output[to..].iter_mut().zip(self.input[from..].iter().zip(factors)).for_each(pass);
    }
}

fn set_re(z: &mut Complex<f32>, value: f32) {
    z.re = value;
}

fn set_im(z: &mut Complex<f32>, value: f32) {
    z.im = value;
}

/// The filter at the first `bins` frequencies of a transform of `len` samples at the first rate.
fn response([from, to]: [u32; 2], len: usize, bins: usize) -> Vec<f32> {
    let step = f64::from(from.min(to)) / f64::from(from);
    let half = (HALF / step) as usize;
    let tap = |i: usize| {
        let x = PI * CUTOFF * step * i as f64;
        let sinc = if i == 0 { 1.0 } else { x.sin() / x };
        let place = i as f64 * step / HALF;
        CUTOFF * step * sinc * bessel(BETA * (1.0 - place * place).max(0.0).sqrt()) / bessel(BETA)
    };
    let mut taps = vec![Complex::new(0.0, 0.0); len];
    for i in 0..=half {
        let value = Complex::new(tap(i) / len as f64, 0.0);
        // As many before zero as after it.
        taps[i] = value;
        taps[(len - i) % len] = value;
    }
    FftPlanner::new().plan_fft_forward(len).process(&mut taps);
    taps[..bins].iter().map(|z| z.re as f32).collect()
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1.. {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn sine(rate: u32, hz: f64, n: usize) -> Vec<f32> {
        (0..n).map(|i| (0.5 * (TAU * hz * i as f64 / f64::from(rate)).sin()) as f32).collect()
    }

    fn resampled(samples: Vec<f32>, from: u32, to: u32) -> Vec<f32> {
        resample(Waveform { samples, sample_rate: from }, to).unwrap().samples
    }

    /// Signal-to-noise ratio in dB against the analytic sine, away from the edges.
    fn snr(from: u32, to: u32, hz: f64) -> f64 {
        let got = resampled(sine(from, hz, 2 * from as usize), from, to);
        let (mut signal, mut noise) = (0.0, 0.0);
        for (i, x) in got.iter().enumerate().take(got.len() * 3 / 4).skip(got.len() / 4) {
            let ideal = 0.5 * (TAU * hz * i as f64 / f64::from(to)).sin();
            signal += ideal * ideal;
            noise += (f64::from(*x) - ideal).powi(2);
        }
        10.0 * (signal / noise).log10()
    }

    const RATES: [(u32, u32); 8] = [
        (44_100, 22_050),
        (48_000, 22_050),
        (16_000, 22_050),
        (22_050, 16_000),
        (96_000, 22_050),
        (8_000, 22_050),
        (11_025, 22_050),
        (44_100, 16_000),
    ];

    #[test]
    fn a_sine_keeps_110_db_up_to_97_percent_of_the_lower_nyquist_frequency() {
        for (from, to) in RATES {
            let nyquist = f64::from(from.min(to)) / 2.0;
            for part in [0.002, 0.1, 0.37, 0.6, 0.85, 0.95, 0.97] {
                let snr = snr(from, to, part * nyquist);
                assert!(snr >= 110.0, "{from} -> {to} at {part} of Nyquist: {snr:.1} dB");
            }
        }
    }

    /// Gain in dB of the filter's frequencies from `low` to `high`, in parts of the lower Nyquist frequency.
    fn gains(rates: [u32; 2], low: f64, high: f64) -> impl Iterator<Item = f64> {
        let len = 1 << 16;
        let nyquist = len as f64 / 2.0 * f64::from(rates[0].min(rates[1])) / f64::from(rates[0]);
        let response = response(rates, len, len / 2);
        let range = (low * nyquist).ceil() as usize..=((high * nyquist) as usize).min(len / 2 - 1);
        range.map(move |bin| 20.0 * (f64::from(response[bin].abs()) * len as f64).log10())
    }

    #[test]
    fn the_filter_is_flat_to_97_percent_and_silent_from_the_lower_nyquist_frequency_on() {
        for (from, to) in [(44_100, 22_050), (16_000, 22_050), (96_000, 22_050)] {
            let ripple = gains([from, to], 0.0, 0.97).map(f64::abs).fold(0.0, f64::max);
            assert!(ripple < 1e-4, "{from} -> {to}: {ripple} dB");
            let loudest = gains([from, to], 1.0, f64::INFINITY).fold(f64::MIN, f64::max);
            assert!(loudest < -150.0, "{from} -> {to}: {loudest} dB");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_removed() {
        for (from, to) in [(44_100, 22_050), (48_000, 22_050), (22_050, 16_000)] {
            let hz = f64::from(to) / 2.0 * 1.05;
            let got = resampled(sine(from, hz, 2 * from as usize), from, to);
            let middle = &got[got.len() / 4..got.len() * 3 / 4];
            let peak = middle.iter().fold(0.0f32, |p, x| p.max(x.abs()));
            assert!(peak < 0.5 * 1e-5, "{from} -> {to}: alias of {peak}");
        }
    }

    #[test]
    fn the_length_is_exact() {
        for (from, to) in RATES {
            for n in [1, 2, 10, 319, 320, 1023, 4096, 44_100, 88_201] {
                let expected = (n * u64::from(to)).div_ceil(u64::from(from)) as usize;
                assert_eq!(resampled(vec![0.1; n as usize], from, to).len(), expected, "{n}: {from} -> {to}");
            }
        }
        assert!(resampled(vec![], 8_000, 22_050).is_empty());
    }

    #[test]
    fn short_clips_keep_their_sound() {
        let one = resampled(vec![0.5], 44_100, 22_050);
        assert!((one[0] - 0.25).abs() < 0.02, "{one:?}");
        let ten = resampled(sine(16_000, 500.0, 10), 16_000, 22_050);
        assert!(ten.iter().any(|x| x.abs() > 0.3), "{ten:?}");
    }

    #[test]
    fn equal_rates_change_nothing() {
        let samples = vec![0.1, f32::MIN_POSITIVE, -3.5];
        assert_eq!(resampled(samples.clone(), 22_050, 22_050), samples);
    }

    #[test]
    fn a_used_resampler_leaves_no_trace() {
        let samples = sine(48_000, 440.0, 5_000);
        let first = resampled(samples.clone(), 48_000, 22_050);
        for rate in [8_000, 16_000, 44_100, 96_000, 48_000] {
            resampled(vec![1.0; 3_001], rate, 22_050);
        }
        let elsewhere = std::thread::spawn({
            let samples = samples.clone();
            move || resampled(samples, 48_000, 22_050)
        });
        assert_eq!(resampled(samples, 48_000, 22_050), first);
        assert_eq!(elsewhere.join().unwrap(), first);
    }

    #[test]
    fn rates_without_a_common_factor_work() {
        assert_eq!(resampled(vec![0.0; 50_000], 44_101, 22_050).len(), 25_000);
    }

    #[test]
    fn absurd_ratios_are_refused() {
        for (from, to) in [(1_000, 64_001), (64_001, 1_000), (0, 8_000), (8_000, 0)] {
            let error = resample(Waveform { samples: vec![0.0], sample_rate: from }, to).unwrap_err();
            assert!(error.to_string().contains(&format!("from {from} Hz to {to} Hz")), "{error}");
        }
        assert_eq!(resampled(vec![0.0], 1_000, 64_000).len(), 64);
    }
}
