use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::config::{FeatureConfig, PadMode};
use super::window::centred_window;

/// Short-time Fourier transform, one frame at a time.
pub(super) struct Stft {
    window: Vec<f32>,
    hop_length: usize,
    /// Samples before the clip in the first frame.
    padding: usize,
    pad_mode: PadMode,
    /// Magnitudes instead of powers.
    magnitude: bool,
    fft: Arc<dyn RealToComplex<f32>>,
}

/// Buffers for one frame. They hold nothing between frames.
pub(super) struct Scratch {
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
}

impl Stft {
    /// Plans the transform of a validated configuration.
    pub(super) fn new(config: &FeatureConfig) -> Self {
        Self {
            window: centred_window(config.window, config.win_length, config.n_fft),
            hop_length: config.hop_length,
            padding: if config.center { config.n_fft / 2 } else { 0 },
            pad_mode: config.pad_mode,
            magnitude: config.power < 1.5,
            fft: RealFftPlanner::new().plan_fft_forward(config.n_fft),
        }
    }

    /// Frequency bins, `1 + n_fft / 2`.
    pub(super) fn bins(&self) -> usize {
        self.fft.complex_len()
    }

    /// Buffers for [`Stft::frame`].
    pub(super) fn scratch(&self) -> Scratch {
        Scratch {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            fft: self.fft.make_scratch_vec(),
        }
    }

    /// Writes `|X|^power` of frame `index` of `clip` into `out` (`bins` values).
    pub(super) fn frame(&self, clip: &[f32], index: usize, scratch: &mut Scratch, out: &mut [f32]) {
        self.windowed(clip, index * self.hop_length, &mut scratch.frame);
        #[expect(clippy::expect_used, reason = "all three buffers were made by this plan")]
        self.fft
            .process_with_scratch(&mut scratch.frame, &mut scratch.spectrum, &mut scratch.fft)
            .expect("buffer lengths of the plan");
        for (power, x) in out.iter_mut().zip(&scratch.spectrum) {
            *power = x.re * x.re + x.im * x.im;
        }
        if self.magnitude {
            out.iter_mut().for_each(|power| *power = power.sqrt());
        }
    }

    /// Multiplies the window with the clip from `start`, counted in the padded clip.
    fn windowed(&self, clip: &[f32], start: usize, frame: &mut [f32]) {
        let inside = start.checked_sub(self.padding).and_then(|from| clip.get(from..from + frame.len()));
        if let Some(samples) = inside {
            for ((value, window), sample) in frame.iter_mut().zip(&self.window).zip(samples) {
                *value = window * sample;
            }
        } else {
            for (i, (value, window)) in frame.iter_mut().zip(&self.window).enumerate() {
                *value = window * self.padded(clip, start + i);
            }
        }
    }

    /// Sample `position` of the padded clip.
    fn padded(&self, clip: &[f32], position: usize) -> f32 {
        let index = match (self.pad_mode, position.checked_sub(self.padding)) {
            (_, Some(inside)) if inside < clip.len() => Some(inside),
            (PadMode::Constant, _) => None,
            (PadMode::Reflect, None) => Some(self.padding - position),
            (PadMode::Reflect, Some(beyond)) => (2 * clip.len()).checked_sub(beyond + 2),
        };
        index.and_then(|i| clip.get(i)).copied().unwrap_or(0.0)
    }
}

impl std::fmt::Debug for Stft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stft")
            .field("n_fft", &self.window.len())
            .field("hop_length", &self.hop_length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stft(config: &FeatureConfig) -> Stft {
        Stft::new(config)
    }

    fn config(n_fft: usize, pad_mode: PadMode) -> FeatureConfig {
        FeatureConfig { n_fft, win_length: n_fft, hop_length: 3, pad_mode, ..Default::default() }
    }

    /// `|X|^2` by the definition, in `f64`.
    fn naive(frame: &[f64], bin: usize) -> f64 {
        let n = frame.len() as f64;
        let (re, im) = frame.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, x)| {
            let angle = -2.0 * std::f64::consts::PI * bin as f64 * i as f64 / n;
            (re + x * angle.cos(), im + x * angle.sin())
        });
        re * re + im * im
    }

    #[test]
    fn equals_the_definition_for_any_length() {
        for n_fft in [2, 7, 16, 25, 400] {
            let stft = stft(&config(n_fft, PadMode::Constant));
            let clip: Vec<f32> = (0..n_fft * 2).map(|i| ((i * i % 17) as f32 - 8.0) / 8.0).collect();
            let start = n_fft / 2 / 3 + 1;
            let mut out = vec![0.0; stft.bins()];
            stft.frame(&clip, start, &mut stft.scratch(), &mut out);
            let from = start * 3 - n_fft / 2;
            let frame: Vec<f64> =
                (0..n_fft).map(|i| f64::from(stft.window[i]) * f64::from(clip[from + i])).collect();
            let scale = out.iter().fold(1.0_f32, |a, &b| a.max(b));
            for (bin, &value) in out.iter().enumerate() {
                let error = (f64::from(value) - naive(&frame, bin)).abs() / f64::from(scale);
                assert!(error < 1e-5, "n_fft {n_fft} bin {bin}: {error}");
            }
        }
    }

    #[test]
    fn pads_with_zeros_or_mirrors() {
        let clip = [1.0, 2.0, 3.0, 4.0, 5.0];
        let all = |pad_mode| {
            let stft = stft(&config(6, pad_mode));
            (0..11).map(|i| stft.padded(&clip, i)).collect::<Vec<f32>>()
        };
        assert_eq!(all(PadMode::Constant), [0., 0., 0., 1., 2., 3., 4., 5., 0., 0., 0.]);
        assert_eq!(all(PadMode::Reflect), [4., 3., 2., 1., 2., 3., 4., 5., 4., 3., 2.]);
    }

    #[test]
    fn magnitude_is_the_root_of_power() {
        let clip: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
        let frame = |power| {
            let stft = stft(&FeatureConfig { power, ..config(16, PadMode::Constant) });
            let mut out = vec![0.0; stft.bins()];
            stft.frame(&clip, 4, &mut stft.scratch(), &mut out);
            out
        };
        for (power, magnitude) in frame(2.0).iter().zip(frame(1.0)) {
            assert!((power.sqrt() - magnitude).abs() < 1e-6);
        }
    }
}
