use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftNum, FftPlanner};

use super::config::{FeatureConfig, Framing, PadMode};
use super::lanes::{LANES, Lanes};
use super::window::window;

/// Bins that are brought from frame after frame to side by side at a time; what they need stays in the nearest cache.
const TILE: usize = 8;

/// Short-time Fourier transform, [`LANES`] frames at a time. In double precision where frames are as long as their window,
/// as Kaldi's and VGGish's are: the logarithm of their quietest bands would tell the rounding of the loudest.
#[derive(Debug)]
pub(super) enum Stft {
    Single(Transform<f32>),
    Double(Transform<f64>),
}

/// The transform in one precision.
///
/// Of an even number of real samples, those at even places are the real and the others the imaginary parts of half as
/// many complex numbers, whose transform is taken apart (Press et al., "Numerical Recipes", chapter "FFT of Single Real
/// Function").
pub(super) struct Transform<T> {
    n_fft: usize,
    /// Samples of a frame; up to `n_fft` zeros follow.
    samples: usize,
    /// A factor for each of them.
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
    /// Of `n_fft / 2` numbers; of `n_fft` where that is odd.
    fft: Arc<dyn Fft<T>>,
    /// `exp(-2 pi i k / n_fft) / i` for the first half of the bins.
    turns: Vec<Complex<T>>,
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
            Self::Single(transform) => transform.bins(),
            Self::Double(transform) => transform.bins(),
        }
    }

    /// Gives `|X|^power` of the first `frames` frames of `clip` to `sink`.
    #[inline(always)]
    pub(super) fn run(&self, clip: &[f32], frames: usize, sink: &mut impl Sink) {
        match self {
            Self::Single(transform) => transform.run(clip, frames, sink),
            Self::Double(transform) => transform.run(clip, frames, sink),
        }
    }
}

/// What becomes of the spectra. (Not a closure: only a function can be told to become a part of its caller, and then of
/// [`super::lanes::wide`].)
pub(super) trait Sink {
    /// Takes the spectra of the frames `block`, at most [`LANES`]: for each bin their values side by side. Of a block that
    /// is not full the rest means nothing.
    fn take(&mut self, block: Range<usize>, spectra: &[Lanes]);
}

impl<T: Real> Transform<T> {
    fn new(config: &FeatureConfig) -> Self {
        let FeatureConfig { n_fft, win_length, hop_length, .. } = *config;
        let mut window = window(config.window, win_length, config.periodic);
        let mut samples = win_length;
        if config.framing == Framing::NFft {
            // As `librosa.util.pad_center`.
            let left = (n_fft - win_length) / 2;
            window.splice(0..0, std::iter::repeat_n(0.0, left));
            samples = n_fft;
        }
        window.resize(samples, 0.0);
        let (padding, edges) = match (config.framing, config.pad_mode) {
            (Framing::NFft, _) if !config.center => (0, Edges::Zeros),
            (Framing::NFft, PadMode::Constant) => (n_fft as isize / 2, Edges::Zeros),
            (Framing::NFft, PadMode::Reflect) => (n_fft as isize / 2, Edges::Reflect),
            (Framing::WinLength, _) if config.snip_edges => (0, Edges::Zeros),
            (Framing::WinLength, _) => (win_length as isize / 2 - hop_length as isize / 2, Edges::Symmetric),
        };
        let conditioned = config.framing == Framing::WinLength;
        let real = |value: f64| T::from_f64(value).unwrap_or_else(T::zero);
        let turn = |bin: usize| {
            let (sin, cos) = (TAU * bin as f64 / n_fft as f64).sin_cos();
            Complex::new(real(-sin), real(-cos))
        };
        Self {
            n_fft,
            samples,
            window: window.into_iter().map(real).collect(),
            hop_length,
            padding,
            edges,
            remove_dc_offset: conditioned && config.remove_dc_offset,
            preemphasis: real(if conditioned { config.preemphasis } else { 0.0 }),
            magnitude: config.power < 1.5,
            fft: FftPlanner::new().plan_fft_forward(if n_fft.is_multiple_of(2) { n_fft / 2 } else { n_fft }),
            turns: (0..=n_fft / 4).map(turn).collect(),
        }
    }

    fn bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    #[inline(always)]
    fn run(&self, clip: &[f32], frames: usize, sink: &mut impl Sink) {
        let zero = Complex::new(T::zero(), T::zero());
        let len = self.fft.len();
        let mut frame = vec![T::zero(); self.samples];
        let mut spectra = vec![zero; LANES * len];
        let mut scratch = vec![zero; self.fft.get_inplace_scratch_len()];
        let mut out = vec![Lanes([0.0; LANES]); self.bins()];
        for first in (0..frames).step_by(LANES) {
            let block = first..frames.min(first + LANES);
            for (index, spectrum) in block.clone().zip(spectra.chunks_exact_mut(len)) {
                let inside = self.inside(clip, index).filter(|_| !self.is_conditioned());
                match inside {
                    Some(samples) => self.fill(samples, spectrum),
                    None => {
                        self.samples(clip, index, &mut frame);
                        self.condition(&mut frame);
                        self.fill(&frame, spectrum);
                    }
                }
                self.fft.process_with_scratch(spectrum, &mut scratch);
            }
            if self.n_fft.is_multiple_of(2) {
                self.take_apart(&spectra, &mut out);
            } else {
                self.side_by_side(&spectra, &mut out);
            }
            sink.take(block, &out);
        }
    }

    /// Writes the windowed samples as complex numbers, and zeros after them.
    #[inline(always)]
    fn fill<S: Copy + Into<T>>(&self, samples: &[S], out: &mut [Complex<T>]) {
        let value = |(x, w): (&S, &T)| (*x).into() * *w;
        if !self.n_fft.is_multiple_of(2) {
            let mut values = samples.iter().zip(&self.window).map(value);
            out.fill_with(|| Complex::new(values.next().unwrap_or_else(T::zero), T::zero()));
            return;
        }
        let (pairs, last) = samples.as_chunks::<2>();
        let (windows, _) = self.window.as_chunks::<2>();
        let (filled, rest) = out.split_at_mut(pairs.len());
        for ((z, x), w) in filled.iter_mut().zip(pairs).zip(windows) {
            *z = Complex::new(value((&x[0], &w[0])), value((&x[1], &w[1])));
        }
        rest.fill(Complex::new(T::zero(), T::zero()));
        if let (Some(z), Some(x)) = (rest.first_mut(), last.first()) {
            z.re = value((x, &self.window[samples.len() - 1]));
        }
    }

    /// `|X|^power` from the transforms `Z` of [`LANES`] frames of `n_fft / 2 = m` numbers: with
    /// `E = (Z[k] + conj Z[m - k]) / 2`, that of the even samples, and `i O = (Z[k] - conj Z[m - k]) / 2`, that of the
    /// others, `X[k] = E + exp(-2 pi i k / n_fft) O` and `conj X[m - k] = E - exp(-2 pi i k / n_fft) O`.
    #[inline(always)]
    fn take_apart(&self, spectra: &[Complex<T>], out: &mut [Lanes]) {
        let last = self.fft.len() / 2;
        self.take_bins_apart::<1>(0, spectra, out);
        let mut first = 1;
        while first + TILE <= last + 1 {
            self.take_bins_apart::<TILE>(first, spectra, out);
            first += TILE;
        }
        (first..=last).for_each(|bin| self.take_bins_apart::<1>(bin, spectra, out));
    }

    /// The bins `first..first + N` and their mirror images.
    #[inline(always)]
    fn take_bins_apart<const N: usize>(&self, first: usize, spectra: &[Complex<T>], out: &mut [Lanes]) {
        let half = self.fft.len();
        let mirrored = if first == 0 { 0 } else { half + 1 - N - first };
        let zeros = [[Complex::new(T::zero(), T::zero()); LANES]; N];
        let (mut z, mut mirror) = (zeros, zeros);
        for (lane, spectrum) in spectra.chunks_exact(half).enumerate() {
            let (from, mirrored) = (&spectrum[first..first + N], &spectrum[mirrored..mirrored + N]);
            for i in 0..N {
                z[i][lane] = from[i];
                mirror[i][lane] = mirrored[N - 1 - i];
            }
        }
        let one_half = T::one() / (T::one() + T::one());
        for (i, turn) in self.turns[first..first + N].iter().enumerate() {
            let (mut value, mut mirrored) = (Lanes([0.0; LANES]), Lanes([0.0; LANES]));
            for lane in 0..LANES {
                let (z, mirror) = (z[i][lane], mirror[i][lane].conj());
                let (even, turned) = (z + mirror, (z - mirror) * *turn);
                value.0[lane] = self.value((even + turned).scale(one_half));
                mirrored.0[lane] = self.value((even - turned).scale(one_half));
            }
            out[first + i] = value;
            out[half - first - i] = mirrored;
        }
    }

    /// `|X|^power` from the transforms of [`LANES`] frames of `n_fft` numbers.
    #[inline(always)]
    fn side_by_side(&self, spectra: &[Complex<T>], out: &mut [Lanes]) {
        for (lane, spectrum) in spectra.chunks_exact(self.n_fft).enumerate() {
            for (out, x) in out.iter_mut().zip(spectrum) {
                out.0[lane] = self.value(*x);
            }
        }
    }

    #[inline(always)]
    fn value(&self, x: Complex<T>) -> f32 {
        let power: f64 = (x.re * x.re + x.im * x.im).into();
        (if self.magnitude { power.sqrt() } else { power }) as f32
    }

    /// The sample of the clip with which frame `index` begins; negative before it.
    #[inline(always)]
    fn start(&self, index: usize) -> isize {
        (index * self.hop_length) as isize - self.padding
    }

    /// The samples of frame `index`, when none of them lies outside the clip.
    #[inline(always)]
    fn inside<'a>(&self, clip: &'a [f32], index: usize) -> Option<&'a [f32]> {
        let start = usize::try_from(self.start(index)).ok()?;
        clip.get(start..start + self.samples)
    }

    /// Copies the samples of frame `index` out of the padded clip.
    #[inline(always)]
    fn samples(&self, clip: &[f32], index: usize, frame: &mut [T]) {
        for (position, value) in (self.start(index)..).zip(frame) {
            *value = T::from(self.padded(clip, position));
        }
    }

    #[inline(always)]
    fn is_conditioned(&self) -> bool {
        self.remove_dc_offset || self.preemphasis != T::zero()
    }

    /// Takes away the mean and the share of the sample before (Kaldi's order).
    #[inline(always)]
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
            .field("n_fft", &self.n_fft)
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

    /// Keeps one frame.
    struct Frame {
        index: usize,
        values: Vec<f32>,
    }

    impl Sink for Frame {
        fn take(&mut self, block: Range<usize>, spectra: &[Lanes]) {
            if block.contains(&self.index) {
                self.values = spectra.iter().map(|bin| bin.0[self.index - block.start]).collect();
            }
        }
    }

    /// What the transform makes of frame `index`.
    fn frame<T: Real>(stft: &Transform<T>, clip: &[f32], index: usize) -> Vec<f32> {
        let mut found = Frame { index, values: Vec::new() };
        stft.run(clip, index + 1, &mut found);
        found.values
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
        for n_fft in [2, 4, 6, 7, 16, 25, 34, 400] {
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
        let frame = |snip_edges, index: usize| {
            let stft = double(&windows(4, snip_edges));
            let mut frame = [0.0; 4];
            stft.samples(&clip, index, &mut frame);
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
