use serde::{Deserialize, Serialize};

use super::config::{FeatureConfig, FeatureKind};
use super::log::Log;
use super::mel::{MelFilterBank, mel_corners};
use super::mfcc::Dct;
use super::stats::Stats;
use super::stft::Stft;
use crate::audio::{self, AudioConfig};
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
        let (bins, frames) = match config.kind {
            FeatureKind::Waveform => (1, samples),
            FeatureKind::Spectrogram => (config.n_fft / 2 + 1, config.frames(samples)),
            FeatureKind::LogMel => (config.n_mels, config.frames(samples)),
            FeatureKind::Mfcc => (config.n_mfcc, config.frames(samples)),
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

    /// Samples of one clip.
    pub fn clip_samples(&self) -> usize {
        self.audio.clip_samples()
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

    /// Fits `samples` (mono, at [`Extractor::sample_rate`]) to the clip length, extracts, and standardises when stats
    /// are set. Shorter clips are padded with zeros at the end, longer ones cut.
    pub fn extract(&self, samples: &[f32]) -> Features {
        let mut values = self.pipeline.run(fit(samples, self.clip_samples()), self.shape.frames);
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

/// `[1 + n_fft / 2, frames]`.
fn spectrogram(stft: &Stft, clip: &[f32], frames: usize) -> Vec<f32> {
    let mut values = vec![0.0; stft.bins() * frames];
    let (mut scratch, mut spectrum) = (stft.scratch(), vec![0.0; stft.bins()]);
    for frame in 0..frames {
        stft.frame(clip, frame, &mut scratch, &mut spectrum);
        write_column(&mut values, frames, frame, spectrum.iter().copied());
    }
    values
}

/// `[n_mels, frames]`.
fn log_mel(stft: &Stft, mel: &MelFilterBank, log: Log, clip: &[f32], frames: usize) -> Vec<f32> {
    let mut values = vec![0.0; mel.n_mels() * frames];
    let (mut scratch, mut spectrum) = (stft.scratch(), vec![0.0; stft.bins()]);
    for frame in 0..frames {
        stft.frame(clip, frame, &mut scratch, &mut spectrum);
        write_column(&mut values, frames, frame, mel.apply(&spectrum));
    }
    log.apply(&mut values);
    values
}

/// Writes one value into column `frame` of each row.
fn write_column(values: &mut [f32], frames: usize, frame: usize, column: impl Iterator<Item = f32>) {
    for (row, value) in values.chunks_exact_mut(frames).zip(column) {
        row[frame] = value;
    }
}

/// As [`crate::audio::fit`], with impossible samples silenced.
fn fit(samples: &[f32], len: usize) -> Vec<f32> {
    let mut clip = audio::fit(samples, len);
    clip.iter_mut().for_each(|x| *x = if x.abs() <= MAX_SAMPLE { *x } else { 0.0 });
    clip
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Preset;

    fn extractor(kind: FeatureKind, preset: Preset) -> Extractor {
        Extractor::new(&AudioConfig::default(), &FeatureConfig::preset(preset, kind)).unwrap()
    }

    fn all_kinds() -> impl Iterator<Item = Extractor> {
        use FeatureKind::{LogMel, Mfcc, Spectrogram, Waveform};
        [Waveform, Spectrogram, LogMel, Mfcc]
            .into_iter()
            .flat_map(|kind| [Preset::Librosa, Preset::Torchaudio].map(|preset| extractor(kind, preset)))
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
