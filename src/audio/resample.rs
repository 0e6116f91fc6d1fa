//! Whole-clip sample rate conversion by FFT (rubato's synchronous resampler).
//!
//! The filter is a windowed sinc (squared Blackman-Harris) of at least 1,024 samples at the lower rate: flat up
//! to 0.97 of the lower Nyquist frequency, and far below the noise of 24 bits beyond it. The filter's delay is
//! removed, so that sample `i` of the result stands at `i / to` seconds, as in `librosa.resample`.

use std::cell::RefCell;

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use super::{Error, Waveform};

/// Largest accepted ratio between two rates, either way.
const MAX_RATIO: u64 = 64;

/// Length of the anti-aliasing filter in samples of the lower rate (rounded up to fit the ratio).
const FILTER_LEN: usize = 1024;

/// Resamplers kept ready on each thread, and the longest block (samples) of one that is kept: building one costs
/// as much as resampling several clips, but rates without a common factor need blocks of a whole second.
const KEPT: usize = 4;
const KEPT_BLOCK: usize = 1 << 15;

thread_local! {
    static READY: RefCell<Vec<(u32, u32, Fft<f32>)>> = const { RefCell::new(Vec::new()) };
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
    let ratio = || Error::Ratio { name: "audio".to_owned(), from, to: sample_rate };
    let (low, high) = (u64::from(from.min(sample_rate)), u64::from(from.max(sample_rate)));
    if low == 0 || high > MAX_RATIO * low {
        return Err(ratio());
    }
    if samples.is_empty() {
        return Ok(Waveform { samples, sample_rate });
    }
    let mut resampler =
        take(from, sample_rate).map_or_else(|| build(from, sample_rate), Some).ok_or_else(ratio)?;
    let input = InterleavedSlice::new(&samples, 1, samples.len()).map_err(|_| ratio())?;
    // Resets the resampler first, trims its delay and flushes its tail.
    let output = resampler.process_all(&input, samples.len(), None).map_err(|_| ratio())?;
    keep(from, sample_rate, resampler);
    let mut resampled = output.take_data();
    resampled.resize(resampled_len(samples.len(), from, sample_rate), 0.0);
    Ok(Waveform { samples: resampled, sample_rate })
}

/// `ceil(n * to / from)` in whole numbers.
fn resampled_len(n: usize, from: u32, to: u32) -> usize {
    (n as u128 * u128::from(to)).div_ceil(u128::from(from)) as usize
}

fn build(from: u32, to: u32) -> Option<Fft<f32>> {
    let (from, to) = (from as usize, to as usize);
    // A block is a whole number of periods of the two rates. The filter's delay is half a block: an even number
    // of periods makes it whole at both rates. With an odd one the result is half a sample late or early, which
    // costs 40 dB (48,000 -> 22,050 Hz: blocks of 2,240 and 1,029).
    let (period_in, period_out) = (from / gcd(from, to), to / gcd(from, to));
    let periods = FILTER_LEN.div_ceil(period_in.min(period_out)).next_multiple_of(2);
    let block = periods * period_in;
    Fft::new_custom(from, to, block, 1, 1, WindowFunction::BlackmanHarris2, FixedSync::Both).ok()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn take(from: u32, to: u32) -> Option<Fft<f32>> {
    READY.with_borrow_mut(|ready| {
        let at = ready.iter().position(|(f, t, _)| (*f, *t) == (from, to))?;
        Some(ready.remove(at).2)
    })
}

fn keep(from: u32, to: u32, resampler: Fft<f32>) {
    if resampler.fft_size_in().max(resampler.fft_size_out()) > KEPT_BLOCK {
        return;
    }
    READY.with_borrow_mut(|ready| {
        if ready.len() == KEPT {
            ready.remove(0);
        }
        ready.push((from, to, resampler));
    });
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
    fn a_sine_keeps_90_db_up_to_95_percent_of_the_lower_nyquist_frequency() {
        for (from, to) in RATES {
            let nyquist = f64::from(from.min(to)) / 2.0;
            for part in [0.002, 0.1, 0.37, 0.6, 0.85, 0.95] {
                let snr = snr(from, to, part * nyquist);
                assert!(snr >= 90.0, "{from} -> {to} at {part} of Nyquist: {snr:.1} dB");
            }
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
