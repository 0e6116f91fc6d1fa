//! Filters given by their gain at each frequency.

use std::cell::RefCell;

use realfft::RealFftPlanner;

thread_local! {
    static FFT: RefCell<RealFftPlanner<f64>> = RefCell::new(RealFftPlanner::new());
}

/// Multiplies the spectrum of all of `samples` at `sample_rate` Hz by `gain` of each frequency in Hz. Phases stay, and the
/// samples count as periodic: what a filter smears past one end comes in at the other.
pub fn filter(samples: &mut [f64], sample_rate: u32, gain: impl Fn(f64) -> f64) {
    let len = samples.len();
    if len == 0 {
        return;
    }
    let (forward, inverse) =
        FFT.with_borrow_mut(|fft| (fft.plan_fft_forward(len), fft.plan_fft_inverse(len)));
    let mut bins = forward.make_output_vec();
    // The plans made the lengths, so they fit and nothing here can fail.
    let _ = forward.process(samples, &mut bins);
    for (k, bin) in bins.iter_mut().enumerate() {
        *bin *= gain(k as f64 * f64::from(sample_rate) / len as f64) / len as f64;
    }
    let _ = inverse.process(&mut bins, samples);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    #[test]
    fn each_tone_gets_the_gain_of_its_frequency() {
        let tone = |hz: f64| (0..800).map(move |n| (TAU * hz * f64::from(n) / 8000.0 + 1.0).sin());
        let mut both: Vec<f64> = tone(500.0).zip(tone(2000.0)).map(|(a, b)| a + b).collect();
        filter(&mut both, 8000, |hz| if hz < 1000.0 { 0.5 } else { 0.0 });
        assert!(both.iter().zip(tone(500.0)).all(|(x, half)| (x - 0.5 * half).abs() < 1e-9));
        filter(&mut [], 8000, |_| 1.0);
    }
}
