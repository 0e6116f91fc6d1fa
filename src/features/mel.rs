use super::config::{FeatureConfig, MelAxis, MelNorm, MelScale};
use super::lanes::{LANES, Lanes};

/// Triangular filters with corners equally spaced in mel, applied only where they are not zero.
///
/// As `librosa.filters.mel`; `torchaudio.functional.melscale_fbanks` computes the same in `f32` (for even `n_fft`
/// and sample rates: it takes the last bin for half the rate, rounded down). With sides that are straight in mel, as
/// `torchaudio.compliance.kaldi.get_mel_banks` and `mel_features.spectrogram_to_mel_matrix` of VGGish.
#[derive(Debug, Clone, PartialEq)]
pub struct MelFilterBank {
    bins: usize,
    filters: Vec<Filter>,
    weights: Vec<f32>,
}

/// One filter: its weights and the first bin they belong to.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    first_bin: usize,
    weights: std::ops::Range<usize>,
}

impl MelFilterBank {
    /// The filters of a validated configuration at `sample_rate` Hz.
    pub fn new(sample_rate: u32, config: &FeatureConfig) -> Self {
        let rate = f64::from(sample_rate);
        let bins = config.n_fft / 2 + 1;
        let corners = mel_corners(sample_rate, config);
        let mut bank = Self { bins, filters: Vec::with_capacity(config.n_mels), weights: Vec::new() };
        let place = |hz: f64| match config.mel_axis {
            MelAxis::Hz => hz,
            MelAxis::Mel => config.mel_scale.hz_to_mel(hz),
        };
        for corner in corners.windows(3) {
            let height = match config.mel_norm {
                MelNorm::None => 1.0,
                MelNorm::Slaney => 2.0 / (corner[2] - corner[0]),
            };
            let [left, middle, right] = [place(corner[0]), place(corner[1]), place(corner[2])];
            bank.push((0..bins).map(|bin| {
                let x = place(bin as f64 * rate / config.n_fft as f64);
                let up = (x - left) / (middle - left);
                let down = (right - x) / (right - middle);
                (height * up.min(down).max(0.0)) as f32
            }));
        }
        bank
    }

    /// Appends a filter given by all its weights, keeping those from the first to the last that is not zero.
    fn push(&mut self, weights: impl Iterator<Item = f32>) {
        let all: Vec<f32> = weights.collect();
        let first_bin = all.iter().position(|&w| w > 0.0).unwrap_or(0);
        let end_bin = all.iter().rposition(|&w| w > 0.0).map_or(first_bin, |last| last + 1);
        let from = self.weights.len();
        self.weights.extend(&all[first_bin..end_bin]);
        self.filters.push(Filter { first_bin, weights: from..self.weights.len() });
    }

    /// Number of filters.
    pub fn n_mels(&self) -> usize {
        self.filters.len()
    }

    /// Filters that cover no frequency bin: their band is constant for every sound. Happens when `n_mels` is large
    /// for `n_fft`.
    pub fn empty_filters(&self) -> Vec<usize> {
        (0..self.n_mels()).filter(|&i| self.filters[i].weights.is_empty()).collect()
    }

    /// All weights, row-major `[n_mels, bins]`.
    pub fn dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.n_mels() * self.bins];
        for (row, filter) in dense.chunks_exact_mut(self.bins).zip(&self.filters) {
            let weights = &self.weights[filter.weights.clone()];
            row[filter.first_bin..filter.first_bin + weights.len()].copy_from_slice(weights);
        }
        dense
    }

    /// Energies of some frames in band `band`, from their spectra of `bins` values side by side.
    #[inline(always)]
    pub(super) fn apply(&self, band: usize, spectra: &[Lanes]) -> Lanes {
        let Filter { first_bin, weights } = &self.filters[band];
        let mut sums = [0.0; LANES];
        for (weight, values) in self.weights[weights.clone()].iter().zip(&spectra[*first_bin..]) {
            for (sum, value) in sums.iter_mut().zip(&values.0) {
                *sum += weight * value;
            }
        }
        Lanes(sums)
    }
}

/// Corners of the triangles in Hz, `n_mels + 2` of them: band `i` rises from corner `i` to `i + 1` and falls to `i + 2`.
pub(super) fn mel_corners(sample_rate: u32, config: &FeatureConfig) -> Vec<f64> {
    let scale = config.mel_scale;
    let low = scale.hz_to_mel(config.fmin);
    let high = scale.hz_to_mel(config.fmax.unwrap_or(f64::from(sample_rate) / 2.0));
    let step = (high - low) / (config.n_mels + 1) as f64;
    (0..config.n_mels + 2).map(|i| scale.mel_to_hz(low + step * i as f64)).collect()
}

/// Slaney: mel a Hz below the break, and from there the natural logarithm of the frequency ratio a mel.
const SLANEY_HZ_PER_MEL: f64 = 200.0 / 3.0;
const SLANEY_BREAK_HZ: f64 = 1000.0;
const SLANEY_BREAK_MEL: f64 = SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL;

fn slaney_log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

impl MelScale {
    /// Hz → mel.
    pub fn hz_to_mel(self, hz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Slaney if hz < SLANEY_BREAK_HZ => hz / SLANEY_HZ_PER_MEL,
            Self::Slaney => SLANEY_BREAK_MEL + (hz / SLANEY_BREAK_HZ).ln() / slaney_log_step(),
        }
    }

    /// Mel → Hz.
    pub fn mel_to_hz(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < SLANEY_BREAK_MEL => mel * SLANEY_HZ_PER_MEL,
            Self::Slaney => SLANEY_BREAK_HZ * ((mel - SLANEY_BREAK_MEL) * slaney_log_step()).exp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_know_their_published_points() {
        assert!((MelScale::Htk.hz_to_mel(1000.0) - 999.985_5).abs() < 1e-3);
        assert!((MelScale::Slaney.hz_to_mel(1000.0) - 15.0).abs() < 1e-12);
        assert!((MelScale::Slaney.hz_to_mel(6400.0) - 42.0).abs() < 1e-12);
    }

    #[test]
    fn scales_invert() {
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hz in [0.0, 60.0, 999.0, 1000.0, 1001.0, 11_025.0] {
                assert!((scale.mel_to_hz(scale.hz_to_mel(hz)) - hz).abs() < 1e-9, "{scale:?} {hz}");
            }
        }
    }

    #[test]
    fn sparse_application_equals_the_dense_product() {
        let bank = MelFilterBank::new(22_050, &FeatureConfig::default());
        let value = |bin: usize, lane: usize| ((bin * (lane + 1)) % 13) as f32;
        let spectra: Vec<Lanes> =
            (0..1025).map(|bin| Lanes(std::array::from_fn(|lane| value(bin, lane)))).collect();
        for (band, row) in bank.dense().chunks_exact(1025).enumerate() {
            for (lane, found) in bank.apply(band, &spectra).0.into_iter().enumerate() {
                let exact: f64 = (0..1025).map(|bin| f64::from(row[bin]) * f64::from(value(bin, lane))).sum();
                assert!((f64::from(found) - exact).abs() <= 1e-6 * exact.max(1e-3), "{found} {exact}");
            }
        }
    }

    #[test]
    fn names_filters_that_cover_no_bin() {
        let config = FeatureConfig { n_fft: 512, win_length: 512, ..Default::default() };
        let empty = MelFilterBank::new(44_100, &config).empty_filters();
        assert!((8..=12).contains(&empty.len()), "{empty:?}");
        assert!(MelFilterBank::new(22_050, &FeatureConfig::default()).empty_filters().is_empty());
    }
}
