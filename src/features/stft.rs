use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::config::{FeatureConfig, Framing, PadMode};
use super::window::window;

/// Short-time Fourier transform, one frame at a time.
pub(super) struct Stft {
    window: Vec<f32>,
    hop_length: usize,
    /// Samples before the clip in the first frame; negative when the frame starts inside.
    padding: isize,
    edges: Edges,
    remove_dc_offset: bool,
    preemphasis: f32,
    /// Magnitudes instead of powers.
    magnitude: bool,
    fft: Arc<dyn RealToComplex<f32>>,
}

/// What lies outside the clip.
#[derive(Debug, Clone, Copy)]
enum Edges {
    /// Zeros.
    Zeros,
    /// The clip mirrored at its first and last sample, which are not repeated.
    Reflect,
    /// The clip mirrored so that its first and last sample are repeated.
    Symmetric,
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
        let FeatureConfig { n_fft, win_length, hop_length, .. } = *config;
        let mut window = window(config.window, win_length, config.periodic);
        if config.framing == Framing::NFft {
            // As `librosa.util.pad_center`.
            let left = (n_fft - win_length) / 2;
            window.splice(0..0, std::iter::repeat_n(0.0, left));
            window.resize(n_fft, 0.0);
        }
        let (padding, edges) = match (config.framing, config.pad_mode) {
            (Framing::NFft, _) if !config.center => (0, Edges::Zeros),
            (Framing::NFft, PadMode::Constant) => (n_fft as isize / 2, Edges::Zeros),
            (Framing::NFft, PadMode::Reflect) => (n_fft as isize / 2, Edges::Reflect),
            (Framing::WinLength, _) if config.snip_edges => (0, Edges::Zeros),
            (Framing::WinLength, _) => (win_length as isize / 2 - hop_length as isize / 2, Edges::Symmetric),
        };
        let conditioned = config.framing == Framing::WinLength;
        Self {
            window,
            hop_length,
            padding,
            edges,
            remove_dc_offset: conditioned && config.remove_dc_offset,
            preemphasis: if conditioned { config.preemphasis as f32 } else { 0.0 },
            magnitude: config.power < 1.5,
            fft: RealFftPlanner::new().plan_fft_forward(n_fft),
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
        // The transform overwrote the buffer: all of it is written again.
        let (frame, zeros) = scratch.frame.split_at_mut(self.window.len());
        self.samples(clip, (index * self.hop_length) as isize - self.padding, frame);
        self.condition(frame);
        frame.iter_mut().zip(&self.window).for_each(|(value, window)| *value *= window);
        zeros.fill(0.0);
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

    /// Copies the padded clip from its sample `start` on.
    fn samples(&self, clip: &[f32], start: isize, frame: &mut [f32]) {
        let inside = usize::try_from(start).ok().and_then(|from| clip.get(from..from + frame.len()));
        match inside {
            Some(samples) => frame.copy_from_slice(samples),
            None => {
                for (position, value) in (start..).zip(frame) {
                    *value = self.padded(clip, position);
                }
            }
        }
    }

    /// Takes away the mean and the share of the sample before (Kaldi's order).
    fn condition(&self, frame: &mut [f32]) {
        if self.remove_dc_offset {
            let mean = frame.iter().map(|&x| f64::from(x)).sum::<f64>() / frame.len() as f64;
            frame.iter_mut().for_each(|x| *x = (f64::from(*x) - mean) as f32);
        }
        if self.preemphasis > 0.0 {
            let mut before = frame.first().copied().unwrap_or(0.0);
            for x in frame {
                let sample = *x;
                *x -= self.preemphasis * before;
                before = sample;
            }
        }
    }

    /// Sample `position` of the padded clip, whose first own sample is 0.
    fn padded(&self, clip: &[f32], position: isize) -> f32 {
        let len = clip.len() as isize;
        let index = match self.edges {
            _ if (0..len).contains(&position) => position,
            Edges::Zeros => return 0.0,
            Edges::Reflect if position < 0 => -position,
            Edges::Reflect => 2 * len - 2 - position,
            Edges::Symmetric if position < 0 => -position - 1,
            Edges::Symmetric => 2 * len - 1 - position,
        };
        usize::try_from(index).ok().and_then(|i| clip.get(i)).copied().unwrap_or(0.0)
    }
}

impl std::fmt::Debug for Stft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stft")
            .field("window", &self.window.len())
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
        let all = |config: FeatureConfig| {
            let stft = stft(&config);
            (-3..8).map(|i| stft.padded(&clip, i)).collect::<Vec<f32>>()
        };
        assert_eq!(all(config(6, PadMode::Constant)), [0., 0., 0., 1., 2., 3., 4., 5., 0., 0., 0.]);
        assert_eq!(all(config(6, PadMode::Reflect)), [4., 3., 2., 1., 2., 3., 4., 5., 4., 3., 2.]);
        assert_eq!(all(windows(6, false)), [3., 2., 1., 1., 2., 3., 4., 5., 5., 4., 3.]);
    }

    /// Frames of the window's length, hop 3.
    fn windows(win_length: usize, snip_edges: bool) -> FeatureConfig {
        let config = config(win_length, PadMode::Constant);
        FeatureConfig { n_fft: 8, framing: Framing::WinLength, snip_edges, ..config }
    }

    #[test]
    fn a_frame_of_the_windows_length_starts_at_its_hop_or_has_its_middle_in_it() {
        let clip = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let frame = |snip_edges, index: isize| {
            let stft = stft(&windows(4, snip_edges));
            let mut frame = [0.0; 4];
            stft.samples(&clip, index * 3 - stft.padding, &mut frame);
            frame
        };
        assert_eq!((frame(true, 0), frame(true, 1)), ([1., 2., 3., 4.], [4., 5., 6., 7.]));
        // Hops 0..3 and 3..6: a window of 4 begins one sample (4 / 2 - 3 / 2) before.
        assert_eq!((frame(false, 0), frame(false, 1)), ([1., 1., 2., 3.], [3., 4., 5., 6.]));
    }

    #[test]
    fn the_mean_goes_before_the_sample_before() {
        let stft = stft(&FeatureConfig { remove_dc_offset: true, preemphasis: 0.5, ..windows(4, true) });
        let mut frame = [1.0, 2.0, 3.0, 6.0];
        stft.condition(&mut frame);
        for (value, expected) in frame.iter().zip([-1.0, 0.0, 0.5, 3.0]) {
            assert!((value - expected).abs() < 1e-6, "{frame:?}");
        }
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
