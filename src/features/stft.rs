use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{FftNum, RealFftPlanner, RealToComplex};

use super::config::{FeatureConfig, Framing, PadMode};
use super::window::window;

/// Short-time Fourier transform, one frame at a time. In double precision where frames are as long as their window, as
/// Kaldi's and VGGish's are: the logarithm of their quietest bands would tell the rounding of the loudest.
#[derive(Debug)]
pub(super) enum Stft {
    Single(Transform<f32>),
    Double(Transform<f64>),
}

/// The transform in one precision.
pub(super) struct Transform<T> {
    window: Vec<T>,
    hop_length: usize,
    /// Samples before the clip in the first frame; negative when the frame starts inside.
    padding: isize,
    edges: Edges,
    remove_dc_offset: bool,
    /// 0 for none.
    preemphasis: T,
    /// Magnitudes instead of powers.
    magnitude: bool,
    fft: Arc<dyn RealToComplex<T>>,
}

/// `f32` or `f64`.
pub(super) trait Real: FftNum + From<f32> + Into<f64> {}

impl Real for f32 {}
impl Real for f64 {}

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
struct Scratch<T> {
    frame: Vec<T>,
    spectrum: Vec<Complex<T>>,
    fft: Vec<Complex<T>>,
}

impl Stft {
    /// Plans the transform of a validated configuration.
    pub(super) fn new(config: &FeatureConfig) -> Self {
        match config.framing {
            Framing::NFft => Self::Single(Transform::new(config)),
            Framing::WinLength => Self::Double(Transform::new(config)),
        }
    }

    /// Frequency bins, `1 + n_fft / 2`.
    pub(super) fn bins(&self) -> usize {
        match self {
            Self::Single(transform) => transform.fft.complex_len(),
            Self::Double(transform) => transform.fft.complex_len(),
        }
    }

    /// Gives the number and the `|X|^power` (`bins` values) of each of the first `frames` frames of `clip` to `each`.
    pub(super) fn run(&self, clip: &[f32], frames: usize, each: impl FnMut(usize, &[f32])) {
        match self {
            Self::Single(transform) => transform.run(clip, frames, each),
            Self::Double(transform) => transform.run(clip, frames, each),
        }
    }
}

impl<T: Real> Transform<T> {
    fn new(config: &FeatureConfig) -> Self {
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
        let real = |value: f64| T::from_f64(value).unwrap_or_else(T::zero);
        Self {
            window: window.into_iter().map(real).collect(),
            hop_length,
            padding,
            edges,
            remove_dc_offset: conditioned && config.remove_dc_offset,
            preemphasis: real(if conditioned { config.preemphasis } else { 0.0 }),
            magnitude: config.power < 1.5,
            fft: RealFftPlanner::new().plan_fft_forward(n_fft),
        }
    }

    fn run(&self, clip: &[f32], frames: usize, mut each: impl FnMut(usize, &[f32])) {
        let mut scratch = Scratch {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            fft: self.fft.make_scratch_vec(),
        };
        let mut out = vec![0.0; self.fft.complex_len()];
        for frame in 0..frames {
            self.frame(clip, frame, &mut scratch, &mut out);
            each(frame, &out);
        }
    }

    /// Writes `|X|^power` of frame `index` of `clip` into `out` (`bins` values).
    fn frame(&self, clip: &[f32], index: usize, scratch: &mut Scratch<T>, out: &mut [f32]) {
        // The transform overwrote the buffer: all of it is written again.
        let (frame, zeros) = scratch.frame.split_at_mut(self.window.len());
        self.samples(clip, (index * self.hop_length) as isize - self.padding, frame);
        self.condition(frame);
        frame.iter_mut().zip(&self.window).for_each(|(value, window)| *value = *value * *window);
        zeros.fill(T::zero());
        #[expect(clippy::expect_used, reason = "all three buffers were made by this plan")]
        self.fft
            .process_with_scratch(&mut scratch.frame, &mut scratch.spectrum, &mut scratch.fft)
            .expect("buffer lengths of the plan");
        for (out, x) in out.iter_mut().zip(&scratch.spectrum) {
            let power: f64 = (x.re * x.re + x.im * x.im).into();
            *out = if self.magnitude { power.sqrt() } else { power } as f32;
        }
    }

    /// Copies the padded clip from its sample `start` on.
    fn samples(&self, clip: &[f32], start: isize, frame: &mut [T]) {
        let inside = usize::try_from(start).ok().and_then(|from| clip.get(from..from + frame.len()));
        match inside {
            Some(samples) => {
                frame.iter_mut().zip(samples).for_each(|(value, sample)| *value = T::from(*sample));
            }
            None => {
                for (position, value) in (start..).zip(frame) {
                    *value = T::from(self.padded(clip, position));
                }
            }
        }
    }

    /// Takes away the mean and the share of the sample before (Kaldi's order).
    fn condition(&self, frame: &mut [T]) {
        if self.remove_dc_offset {
            let sum = frame.iter().fold(T::zero(), |sum, x| sum + *x);
            let mean = T::from_usize(frame.len()).map_or_else(T::zero, |len| sum / len);
            frame.iter_mut().for_each(|x| *x = *x - mean);
        }
        if self.preemphasis != T::zero() {
            let mut before = frame.first().copied().unwrap_or_else(T::zero);
            for x in frame {
                let sample = *x;
                *x = sample - self.preemphasis * before;
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

impl<T> std::fmt::Debug for Transform<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform")
            .field("window", &self.window.len())
            .field("hop_length", &self.hop_length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(config: &FeatureConfig) -> Transform<f32> {
        Transform::new(config)
    }

    fn double(config: &FeatureConfig) -> Transform<f64> {
        Transform::new(config)
    }

    /// What the transform makes of frame `index`.
    fn frame<T: Real>(stft: &Transform<T>, clip: &[f32], index: usize) -> Vec<f32> {
        let mut found = Vec::new();
        stft.run(clip, index + 1, |_, spectrum| found = spectrum.to_vec());
        found
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
            let stft = single(&config(n_fft, PadMode::Constant));
            let clip: Vec<f32> = (0..n_fft * 2).map(|i| ((i * i % 17) as f32 - 8.0) / 8.0).collect();
            let start = n_fft / 2 / 3 + 1;
            let out = frame(&stft, &clip, start);
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
            let stft = double(&config);
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
            let stft = double(&windows(4, snip_edges));
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
        let stft = double(&FeatureConfig { remove_dc_offset: true, preemphasis: 0.5, ..windows(4, true) });
        let mut frame = [1.0, 2.0, 3.0, 6.0];
        stft.condition(&mut frame);
        for (value, expected) in frame.iter().zip([-1.0, 0.0, 0.5, 3.0]) {
            assert!((value - expected).abs() < 1e-6, "{frame:?}");
        }
    }

    #[test]
    fn magnitude_is_the_root_of_power() {
        let clip: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
        let at = |power| {
            let stft = single(&FeatureConfig { power, ..config(16, PadMode::Constant) });
            frame(&stft, &clip, 4)
        };
        for (power, magnitude) in at(2.0).iter().zip(at(1.0)) {
            assert!((power.sqrt() - magnitude).abs() < 1e-6);
        }
    }

    /// A loud tone: single precision would put its rounding into the other bins.
    #[test]
    fn frames_of_the_windows_length_keep_what_is_quiet_beside_what_is_loud() {
        let n = 512;
        let clip: Vec<f32> =
            (0..n).map(|i| (i as f64 * std::f64::consts::TAU * 32.0 / n as f64).sin() as f32).collect();
        let config = FeatureConfig {
            n_fft: n,
            win_length: n,
            hop_length: n,
            framing: Framing::WinLength,
            ..config(n, PadMode::Constant)
        };
        let exact: Vec<f64> =
            clip.iter().zip(&double(&config).window).map(|(x, w)| f64::from(*x) * w).collect();
        let Stft::Double(stft) = Stft::new(&config) else { panic!() };
        for (bin, value) in frame(&stft, &clip, 0).into_iter().enumerate() {
            let expected = naive(&exact, bin);
            let error = (f64::from(value) - expected).abs();
            assert!(error <= 1e-6 * expected + 1e-20, "bin {bin}: {value} {expected}");
        }
    }
}
