use std::ops::Range;

use pulp::NullaryFnOnce;
use serde::{Deserialize, Serialize};

use super::config::{FeatureConfig, FeatureKind};
use super::lanes::{Lanes, wide};
use super::log::Log;
use super::mel::{MelFilterBank, mel_corners};
use super::mfcc::Dct;
use super::stats::Stats;
use super::stft::{Sink, Stft};
use crate::audio::AudioConfig;
use crate::config::ConfigError;

/// Samples of greater magnitude than this, and those that are not finite, count as 0: every result is finite.
const MAX_SAMPLE: f32 = 1e9;

/// Shape of one clip's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureShape {
    /// Rows: mel bands, frequency bins, coefficients, or 1 for a raw waveform.
    pub bins: usize,
    /// Columns: spectrogram frames, or samples of a raw waveform.
    pub frames: usize,
}

/// Features of one clip, row-major `[bins, frames]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Rows and columns.
    pub shape: FeatureShape,
    /// `bins * frames` values, finite.
    pub values: Vec<f32>,
}

/// The front end: samples of any length → features of one shape.
///
/// One extractor may be used from many threads at once; a result depends on nothing but the samples.
#[derive(Debug)]
pub struct Extractor {
    audio: AudioConfig,
    config: FeatureConfig,
    pipeline: Pipeline,
    stats: Option<Stats>,
    shape: FeatureShape,
}

/// What happens after fitting.
#[derive(Debug)]
enum Pipeline {
    Waveform,
    Spectrogram { stft: Stft, log: Log },
    LogMel { stft: Stft, mel: MelFilterBank, log: Log },
    Mfcc { stft: Stft, mel: MelFilterBank, log: Log, dct: Dct },
}

impl Extractor {
    /// Builds the front end; refuses impossible combinations by field name.
    pub fn new(audio: &AudioConfig, features: &FeatureConfig) -> Result<Self, ConfigError> {
        features.validate(audio)?;
        let config = features.resolve(audio);
        let pipeline = Pipeline::new(audio, &config);
        let samples = audio.clip_samples();
        let frames = || config.frames.unwrap_or_else(|| config.frames_of(samples));
        let (bins, frames) = match config.kind {
            FeatureKind::Waveform => (1, samples),
            FeatureKind::Spectrogram => (config.n_fft / 2 + 1, frames()),
            FeatureKind::LogMel => (config.n_mels, frames()),
            FeatureKind::Mfcc => (config.n_mfcc, frames()),
        };
        let shape = FeatureShape { bins, frames };
        Ok(Self { audio: audio.clone(), config, pipeline, stats: None, shape })
    }

    /// The same front end, standardising with `stats`.
    pub fn with_stats(mut self, stats: Option<Stats>) -> Self {
        self.stats = stats;
        self
    }

    /// Shape of every result.
    pub fn shape(&self) -> FeatureShape {
        self.shape
    }

    /// Rate in Hz that samples must have.
    pub fn sample_rate(&self) -> u32 {
        self.audio.sample_rate
    }

    /// Time that the columns span, in seconds: the clip, or what `features.frames` makes of it.
    pub fn seconds(&self) -> f64 {
        let samples = match (self.config.kind, self.config.frames) {
            (FeatureKind::Waveform, _) | (_, None) => self.clip_samples(),
            (_, Some(frames)) => frames.saturating_mul(self.config.hop_length),
        };
        samples as f64 / f64::from(self.sample_rate())
    }

    /// Samples of one clip.
    pub fn clip_samples(&self) -> usize {
        self.audio.clip_samples()
    }

    /// What one clip is: rate, length, and how a recording is brought to it.
    pub fn audio(&self) -> &AudioConfig {
        &self.audio
    }

    /// The resolved configuration, every number written out.
    pub fn config(&self) -> &FeatureConfig {
        &self.config
    }

    /// The mean and standard deviation in use.
    pub fn stats(&self) -> Option<Stats> {
        self.stats
    }

    /// The mel filters, for kinds that have them.
    pub fn mel_filter_bank(&self) -> Option<&MelFilterBank> {
        match &self.pipeline {
            Pipeline::LogMel { mel, .. } | Pipeline::Mfcc { mel, .. } => Some(mel),
            Pipeline::Waveform | Pipeline::Spectrogram { .. } => None,
        }
    }

    /// Frequency of each row in Hz: the bin's, or the centre of the mel band; `None` where rows are no frequencies.
    pub fn row_hz(&self) -> Option<Vec<f64>> {
        let rate = f64::from(self.sample_rate());
        match self.config.kind {
            FeatureKind::Spectrogram => {
                Some((0..self.shape.bins).map(|bin| bin as f64 * rate / self.config.n_fft as f64).collect())
            }
            FeatureKind::LogMel => {
                Some(mel_corners(self.sample_rate(), &self.config)[1..=self.shape.bins].to_vec())
            }
            FeatureKind::Waveform | FeatureKind::Mfcc => None,
        }
    }

    /// Features of a recording as evaluation, prediction and server see it: `samples` (mono, at
    /// [`Extractor::sample_rate`]) without silence, [`AudioConfig::fit`] to the clip length, [`Extractor::features`].
    /// (Training goes the same way, with [`AudioConfig::draw`] in the place of `fit`.)
    pub fn extract(&self, samples: &[f32]) -> Features {
        self.features(self.audio.fit(&self.audio.without_silence(samples)))
    }

    /// Features of a clip, standardised when stats are set. It should have [`Extractor::clip_samples`]: a longer one is
    /// cut, a shorter one followed by zeros.
    pub fn features(&self, mut clip: Vec<f32>) -> Features {
        clip.resize(self.clip_samples(), 0.0);
        clip.iter_mut().for_each(|x| *x = if x.abs() <= MAX_SAMPLE { *x } else { 0.0 });
        let frames = match self.config.kind {
            FeatureKind::Waveform => self.shape.frames,
            _ => self.config.frames_of(clip.len()).min(self.shape.frames),
        };
        let mut values = wide(Run { pipeline: &self.pipeline, clip, frames });
        self.config.scale.apply(&mut values);
        let mut values = widen(values, frames, self.shape.frames);
        if let Some(stats) = self.stats {
            stats.standardize(&mut values);
        }
        Features { shape: self.shape, values }
    }
}

impl Pipeline {
    fn new(audio: &AudioConfig, config: &FeatureConfig) -> Self {
        let log = Log::new(config);
        let stft = || Stft::new(config);
        let mel = || MelFilterBank::new(audio.sample_rate, config);
        match config.kind {
            FeatureKind::Waveform => Self::Waveform,
            FeatureKind::Spectrogram => Self::Spectrogram { stft: stft(), log },
            FeatureKind::LogMel => Self::LogMel { stft: stft(), mel: mel(), log },
            FeatureKind::Mfcc => Self::Mfcc { stft: stft(), mel: mel(), log, dct: Dct::new(config) },
        }
    }

    #[inline(always)]
    fn run(&self, clip: Vec<f32>, frames: usize) -> Vec<f32> {
        match self {
            Self::Waveform => clip,
            Self::Spectrogram { stft, log } => {
                let mut values = spectrogram(stft, &clip, frames);
                log.apply(&mut values);
                values
            }
            Self::LogMel { stft, mel, log } => log_mel(stft, mel, *log, &clip, frames),
            Self::Mfcc { stft, mel, log, dct } => dct.apply(&log_mel(stft, mel, *log, &clip, frames), frames),
        }
    }
}

/// A pipeline and what it works on.
struct Run<'a> {
    pipeline: &'a Pipeline,
    clip: Vec<f32>,
    frames: usize,
}

impl NullaryFnOnce for Run<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Vec<f32> {
        self.pipeline.run(self.clip, self.frames)
    }
}

/// `[1 + n_fft / 2, frames]`.
#[inline(always)]
fn spectrogram(stft: &Stft, clip: &[f32], frames: usize) -> Vec<f32> {
    let mut bins = Bins { frames, values: vec![0.0; stft.bins() * frames] };
    stft.run(clip, frames, &mut bins);
    bins.values
}

/// `[n_mels, frames]`.
#[inline(always)]
fn log_mel(stft: &Stft, mel: &MelFilterBank, log: Log, clip: &[f32], frames: usize) -> Vec<f32> {
    let mut bands = Bands { mel, frames, values: vec![0.0; mel.n_mels() * frames] };
    stft.run(clip, frames, &mut bands);
    log.apply(&mut bands.values);
    bands.values
}

/// Keeps spectra as rows of `frames` values.
struct Bins {
    frames: usize,
    values: Vec<f32>,
}

impl Sink for Bins {
    #[inline(always)]
    fn take(&mut self, block: Range<usize>, spectra: &[Lanes]) {
        for (row, bin) in self.values.chunks_exact_mut(self.frames).zip(spectra) {
            row[block.clone()].copy_from_slice(&bin.0[..block.len()]);
        }
    }
}

/// Keeps the mel bands of spectra as rows of `frames` values.
struct Bands<'a> {
    mel: &'a MelFilterBank,
    frames: usize,
    values: Vec<f32>,
}

impl Sink for Bands<'_> {
    #[inline(always)]
    fn take(&mut self, block: Range<usize>, spectra: &[Lanes]) {
        for (band, row) in self.values.chunks_exact_mut(self.frames).enumerate() {
            row[block.clone()].copy_from_slice(&self.mel.apply(band, spectra).0[..block.len()]);
        }
    }
}

/// Rows of `frames` values → rows of `wanted`, at least as many; zeros follow.
fn widen(values: Vec<f32>, frames: usize, wanted: usize) -> Vec<f32> {
    if frames == wanted {
        return values;
    }
    let mut wide = Vec::with_capacity(values.len() / frames * wanted);
    for row in values.chunks_exact(frames) {
        wide.extend_from_slice(row);
        wide.extend(std::iter::repeat_n(0.0, wanted - frames));
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Longer;
    use crate::features::{Preset, Scale};
    use crate::seed::{Purpose, Seed};

    fn extractor(kind: FeatureKind, preset: Preset) -> Extractor {
        Extractor::new(&AudioConfig::default(), &FeatureConfig::preset(preset, kind)).unwrap()
    }

    fn all_kinds() -> impl Iterator<Item = Extractor> {
        use FeatureKind::{LogMel, Mfcc, Spectrogram, Waveform};
        [Waveform, Spectrogram, LogMel, Mfcc]
            .into_iter()
            .flat_map(|kind| [Preset::Librosa, Preset::Torchaudio].map(|preset| extractor(kind, preset)))
            .chain([Preset::Kaldi, Preset::Ast, Preset::Vggish].map(speech))
    }

    /// One second at 16 kHz.
    fn speech(preset: Preset) -> Extractor {
        let audio = AudioConfig { sample_rate: 16_000, clip_seconds: 1.0, ..AudioConfig::default() };
        Extractor::new(&audio, &FeatureConfig::preset(preset, FeatureKind::LogMel)).unwrap()
    }

    #[test]
    fn frames_are_cut_or_followed_by_columns_of_zero() {
        let samples: Vec<f32> = (0..16_000).map(|i| (i as f32 * 0.01).sin()).collect();
        let whole = speech(Preset::Kaldi).extract(&samples);
        assert_eq!(whole.shape, FeatureShape { bins: 23, frames: 98 });
        for frames in [1, 50, 98, 120] {
            let config = FeatureConfig { frames: Some(frames), ..speech(Preset::Kaldi).config().clone() };
            let audio = AudioConfig { sample_rate: 16_000, clip_seconds: 1.0, ..AudioConfig::default() };
            let extractor = Extractor::new(&audio, &config).unwrap();
            assert!((extractor.seconds() - frames as f64 / 100.0).abs() < 1e-9);
            let found = extractor.extract(&samples);
            assert_eq!(found.shape, FeatureShape { bins: 23, frames });
            for (row, full) in found.values.chunks(frames).zip(whole.values.chunks(98)) {
                let kept = frames.min(98);
                assert_eq!(row[..kept], full[..kept]);
                assert!(row[kept..].iter().all(|&v| v == 0.0));
            }
        }
    }

    #[test]
    fn four_seconds_are_128_by_173() {
        let extractor = Extractor::new(&AudioConfig::default(), &FeatureConfig::default()).unwrap();
        assert_eq!(extractor.shape(), FeatureShape { bins: 128, frames: 173 });
        assert_eq!(extractor.extract(&[0.5; 100]).values.len(), 128 * 173);
    }

    #[test]
    fn every_kind_keeps_its_shape_and_stays_finite() {
        let hostile = [f32::NAN, f32::INFINITY, f32::MAX, -1e30, 1e9, -1.0];
        let cases: [&[f32]; 6] = [&[], &[0.0; 88_200], &[0.25; 88_200], &[1.0], &hostile, &[1e-30; 3]];
        for extractor in all_kinds() {
            for samples in cases {
                let features = extractor.extract(samples);
                let expected = extractor.shape().bins * extractor.shape().frames;
                assert_eq!(features.values.len(), expected, "{:?}", extractor.config().kind);
                assert!(features.values.iter().all(|v| v.is_finite()), "{:?}", extractor.config());
            }
        }
    }

    #[test]
    fn pads_short_clips_with_zeros_and_cuts_long_ones() {
        let extractor = extractor(FeatureKind::Waveform, Preset::Librosa);
        let short = extractor.extract(&[1.0, 2.0]).values;
        assert_eq!((short.len(), &short[..3]), (88_200, &[1.0, 2.0, 0.0][..]));
        let mut long = vec![0.5; 88_200];
        long.push(9.0);
        assert_eq!(extractor.extract(&long), extractor.extract(&long[..88_200]));
    }

    #[test]
    fn standardises_when_stats_are_set() {
        let samples: Vec<f32> = (0..88_200).map(|i| (i as f32 * 0.01).sin()).collect();
        let plain = extractor(FeatureKind::LogMel, Preset::Librosa);
        let stats = Stats { mean: -30.0, std: 15.0 };
        let standard = extractor(FeatureKind::LogMel, Preset::Librosa).with_stats(Some(stats));
        for (a, b) in plain.extract(&samples).values.iter().zip(standard.extract(&samples).values) {
            assert!(((a + 30.0) / 15.0 - b).abs() < 1e-6);
        }
    }

    #[test]
    fn the_image_scale_makes_each_clip_0_to_255_before_it_is_standardised() {
        use FeatureKind::{LogMel, Mfcc, Spectrogram};
        let samples: Vec<f32> = (0..88_200).map(|i| (i as f32 * i as f32 * 1e-6).sin()).collect();
        for kind in [Spectrogram, LogMel, Mfcc] {
            let plain = extractor(kind, Preset::Librosa).extract(&samples).values;
            let config =
                FeatureConfig { scale: Scale::Image, ..FeatureConfig::preset(Preset::Librosa, kind) };
            let image = Extractor::new(&AudioConfig::default(), &config).unwrap();
            let pixels = image.extract(&samples).values;
            let (min, max) = plain.iter().fold((f32::MAX, f32::MIN), |(a, b), &x| (a.min(x), b.max(x)));
            for (value, pixel) in plain.iter().zip(&pixels) {
                assert!((0.0..=255.0).contains(pixel));
                assert!(((value - min) / (max - min) * 255.0 - pixel).abs() < 1e-3, "{kind:?}");
            }
            assert!(pixels.contains(&0.0) && pixels.contains(&255.0), "{kind:?}");
            let standard = image.with_stats(Some(Stats { mean: 100.0, std: 50.0 })).extract(&samples).values;
            assert!(standard.iter().zip(&pixels).all(|(a, b)| (a - (b - 100.0) / 50.0).abs() < 1e-5));
        }
        let config = FeatureConfig { scale: Scale::Image, ..Default::default() };
        let image = Extractor::new(&AudioConfig::default(), &config).unwrap();
        assert_eq!(image.extract(&[]).values, vec![0.0; 128 * 173], "a constant clip");
    }

    /// Three seconds at 16 kHz, silence removed, short recordings repeated, of long ones the loudest of three windows; 80
    /// mel bands as `tf.signal` makes them (HTK formula, unit height, `ln(x + 1e-6)`), no padding:
    /// `1 + (48000 - 1024) / 512 = 92` frames.
    #[test]
    fn the_front_end_of_the_freesound_study_makes_80_by_92() {
        #[derive(serde::Deserialize)]
        struct Recipe {
            audio: AudioConfig,
            features: FeatureConfig,
        }
        let Recipe { audio, features } = toml::from_str(
            r#"
            [audio]
            sample_rate = 16000
            clip_seconds = 3
            shorter = "repeat"
            longer = { loudest_of = 3 }

            [[audio.silence]]
            min_silence_len = 500
            silence_thresh = -45
            keep_silence = 250

            [features]
            kind = "log_mel"
            n_fft = 1024
            hop_length = 512
            center = false
            power = 1
            n_mels = 80
            mel_scale = "htk"
            mel_norm = "none"
            log = "ln"
            scale = "image"
            "#,
        )
        .unwrap();
        let extractor = Extractor::new(&audio, &features).unwrap();
        assert_eq!(extractor.shape(), FeatureShape { bins: 80, frames: 92 });
        // A second of sound after two of silence is heard three times over.
        let sound = |i: usize| if i < 32_000 { 0.0 } else { (i as f32 * 0.3).sin() };
        let samples: Vec<f32> = (0..48_000).map(sound).collect();
        let values = extractor.extract(&samples).values;
        let quiet = values.chunks_exact(92).flat_map(|row| &row[..60]).filter(|pixel| **pixel < 1.0).count();
        assert!(quiet < 80 * 60 / 3, "{quiet}");
        let unpolished = Extractor::new(&AudioConfig::new(16_000, 3.0), &features).unwrap();
        let values = unpolished.extract(&samples).values;
        assert!(values.chunks_exact(92).all(|row| row[..60].iter().all(|pixel| *pixel < 1.0)));
    }

    #[test]
    fn training_draws_where_evaluation_does_not() {
        let audio = AudioConfig { longer: Longer::RandomCrop, ..AudioConfig::new(8_000, 0.1) };
        let extractor =
            Extractor::new(&audio, &FeatureConfig::preset(Preset::Librosa, FeatureKind::Waveform)).unwrap();
        let samples: Vec<f32> = (0..8_000_u16).map(|i| f32::from(i) / 8_000.0).collect();
        let mut rng = Seed(5).rng(Purpose::Crop, 0, 0);
        let mut draw = || extractor.features(extractor.audio().draw(&samples, &mut rng)).values;
        let drawn = draw();
        assert_ne!(drawn, draw());
        assert!(drawn.windows(2).all(|pair| pair[1] > pair[0]), "800 samples in a row");
        assert_eq!(extractor.extract(&samples).values, samples[3_600..4_400]);
    }

    #[test]
    fn rows_know_their_frequency() {
        let log_mel = extractor(FeatureKind::LogMel, Preset::Librosa).row_hz().unwrap();
        assert_eq!(log_mel.len(), 128);
        assert!(log_mel[0] > 0.0 && log_mel.is_sorted() && log_mel[127] < 11_025.0);
        let bins = extractor(FeatureKind::Spectrogram, Preset::Librosa).row_hz().unwrap();
        assert!(bins[0].abs() < 1e-9 && (bins[1024] - 11_025.0).abs() < 1e-9, "{bins:?}");
        assert_eq!(extractor(FeatureKind::Mfcc, Preset::Librosa).row_hz(), None);
    }

    #[test]
    fn a_tone_lights_up_its_own_band() {
        let extractor = extractor(FeatureKind::LogMel, Preset::Librosa);
        let tone = |hz: f32| -> usize {
            let samples: Vec<f32> =
                (0..88_200).map(|i| (std::f32::consts::TAU * hz * i as f32 / 22_050.0).sin()).collect();
            let values = extractor.extract(&samples).values;
            (0..128).max_by(|&a, &b| values[a * 173 + 80].total_cmp(&values[b * 173 + 80])).unwrap()
        };
        let (low, high) = (tone(440.0), tone(4400.0));
        assert!(low < 30 && high > 70, "{low} {high}");
    }
}
