use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::codec::Law;
use crate::audio::Colour;
use crate::config::ConfigError;
use crate::decision::Task;
use crate::features::{Extractor, FeatureKind, FeatureShape};

/// One entry of the recipe's list `[[augment]]`, told apart by its `kind`.
///
/// `probability`, 0 to 1, is that with which it falls to a training clip; default 0.5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Augmentation {
    /// The clip is made louder or softer by as many dB as are drawn.
    Gain {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Range in dB, evenly. Default -6 to 6.
        #[serde(default = "gain_db")]
        db: [f64; 2],
    },
    /// The samples change their sign. Features of the power do not see it; networks on the waveform do.
    Polarity {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
    },
    /// The clip begins earlier or later.
    TimeShift {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Most seconds, to either side, evenly. Default 0.5.
        #[serde(default = "shift_seconds")]
        seconds: f64,
        /// Whether what leaves at one end comes in at the other; else silence does. Default false.
        #[serde(default)]
        wrap: bool,
    },
    /// The clip is faster or slower at the same pitch, by phase vocoder (`librosa.effects.time_stretch`). What is then too
    /// long is cut off at the end, what is missing is silence.
    TimeStretch {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Range of the speed, evenly, 0.25 to 4. Default 0.8 to 1.25.
        #[serde(default = "rate")]
        rate: [f64; 2],
    },
    /// The clip is higher or lower at the same speed, by phase vocoder and resampling (`librosa.effects.pitch_shift`).
    PitchShift {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Range in semitones, evenly, -24 to 24. Default -2 to 2.
        #[serde(default = "semitones")]
        semitones: [f64; 2],
    },
    /// Noise is added.
    Noise {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// `white`, `pink` or `brown`. Default white.
        #[serde(default = "white")]
        colour: Colour,
        /// Range of the ratio of the clip's power to that of the noise in dB, evenly. Default 10 to 30. Silence stays
        /// silent.
        #[serde(default = "snr_db")]
        snr_db: [f64; 2],
    },
    /// A recording of something else is added: a random part of one of several, equally likely, repeated where it is shorter
    /// than the clip.
    Background {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Which recordings: `{ folder = "..." }` or `{ label = "..." }`.
        from: Backdrop,
        /// Range of the ratio of the clip's power to that of the background in dB, evenly. Default 5 to 20. Silence stays
        /// silent.
        #[serde(default = "background_db")]
        snr_db: [f64; 2],
    },
    /// The clip is mixed with another training clip of another target so that each is heard with its share, which is drawn
    /// evenly from 0 to 1 (Tokozume et al. 2018, between-class learning).
    BetweenClass {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// The target of the mixture. Default linear, in these shares.
        #[serde(default)]
        labels: MixedLabels,
    },
    /// The clip is heard in a room: noise that dies away exponentially follows every sound (Moorer 1979).
    Reverberation {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Range of the seconds until the sound has fallen by 60 dB (RT60), evenly, 0.01 to 10. Default 0.2 to 0.8.
        #[serde(default = "reverberation_seconds")]
        seconds: [f64; 2],
        /// Range of the ratio of the direct sound's power to that of the reverberation in dB, evenly. Default 0 to 12.
        #[serde(default = "direct_db")]
        direct_db: [f64; 2],
    },
    /// The clip is filtered by a random curve, of straight lines over the mel axis (Nam et al. 2022, "FilterAugment").
    Equalizer {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Range of the gain in dB at each corner of the curve, evenly. Default -6 to 6.
        #[serde(default = "gain_db")]
        db: [f64; 2],
        /// Number of lines, 1 to 100. Default 4.
        #[serde(default = "lines")]
        bands: usize,
    },
    /// The clip has gone over a telephone line: 8 kHz, 300 to 3,400 Hz, 8 bits (ITU-T G.711).
    Telephone {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// `mu` or `a`. Default mu.
        #[serde(default)]
        law: Law,
    },
    /// The samples are rounded to fewer bits, without dither.
    BitDepth {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Fewest and most bits, all alike, 1 to 24. Default 6 to 12.
        #[serde(default = "bits")]
        bits: [u32; 2],
    },
    /// Time warp, frequency masks and time masks (Park et al. 2019, "SpecAugment"). The masked values become the mean of
    /// the clip's features, as in the paper, where that is 0.
    ///
    /// The width of a mask is drawn evenly from 0 to its most, its place evenly from those where it fits. The warp moves a
    /// moment at least `time_warp` frames from either end by up to that many frames and stretches what is before and
    /// behind it evenly, with linear interpolation (the paper bends an image, which is nearly the same in one dimension).
    SpecAugment {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Most frames by which a moment is moved (the paper's W). Default 0: no warp.
        #[serde(default)]
        time_warp: usize,
        /// Number of frequency masks (m_F). Default 2.
        #[serde(default = "masks")]
        freq_masks: usize,
        /// Most rows of a frequency mask (F). Default 16.
        #[serde(default = "freq_width")]
        freq_width: usize,
        /// Number of time masks (m_T). Default 2.
        #[serde(default = "masks")]
        time_masks: usize,
        /// Most frames of a time mask (T). Default 24.
        #[serde(default = "time_width")]
        time_width: usize,
        /// Most of a time mask as a share of all frames (p), 0 to 1. Default 1.
        #[serde(default = "whole")]
        time_share: f64,
    },
    /// Rectangles of the features become the mean of the clip's (Zhong et al. 2020, "Random erasing"), each of a height and
    /// width drawn evenly from 0 to their most, at a place drawn evenly from those where it fits.
    RandomMasks {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Number of rectangles. Default 4.
        #[serde(default = "rectangles")]
        masks: usize,
        /// Most rows of one. Default 16.
        #[serde(default = "freq_width")]
        freq_width: usize,
        /// Most frames of one. Default 24.
        #[serde(default = "time_width")]
        time_width: usize,
    },
    /// The spectrogram is turned about its middle like a picture, rows and frames counting alike; what comes in is the
    /// clip's smallest value.
    Rotation {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Most degrees to either side, evenly, up to 180. Default 5.
        #[serde(default = "degrees")]
        degrees: f64,
    },
    /// The spectrogram is enlarged about its middle like a picture; what comes in is the clip's smallest value.
    Zoom {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Range of the factor, evenly, 0.1 to 10. Default 0.9 to 1.1.
        #[serde(default = "factor")]
        factor: [f64; 2],
    },
    /// The spectrogram is moved by whole rows and frames; what comes in is the clip's smallest value.
    Translation {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Most of the rows, as a share of all, up or down, evenly. Default 0.05.
        #[serde(default = "freq_share")]
        freq: f64,
        /// Most of the frames, as a share of all, earlier or later, evenly. Default 0.1.
        #[serde(default = "time_share")]
        time: f64,
    },
    /// The clip becomes `lambda` times itself plus `1 - lambda` times another one of its batch (Zhang et al. 2018, "mixup"),
    /// on the features, with `lambda` from Beta(alpha, alpha), drawn for each clip.
    Mixup {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Above 0: small for mixtures of mostly one clip, 1 for all alike. Default 0.4.
        #[serde(default = "mixup_alpha")]
        alpha: f64,
        /// The target of the mixture. Default linear.
        #[serde(default)]
        labels: MixedLabels,
    },
    /// A rectangle of the features is that of another clip of the batch (Yun et al. 2019, "CutMix"): of `1 - lambda` of the
    /// area before it is cut off at the edges, `lambda` from Beta(alpha, alpha).
    Cutmix {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// As for mixup. Default 1.
        #[serde(default = "whole")]
        alpha: f64,
        /// The target of the mixture. Default linear, in the shares of the area.
        #[serde(default)]
        labels: MixedLabels,
    },
    /// Bands of rows and of frames are those of another clip of the batch (Kim, Han & Ko 2021, "SpecMix").
    Specmix {
        /// See [`Augmentation`].
        #[serde(default = "half")]
        probability: f64,
        /// Most bands of rows, and of frames; each number is drawn evenly from 1 to that. Default 3.
        #[serde(default = "bands")]
        bands: usize,
        /// Most of a band as a share of all rows, or frames (the paper's gamma); its width is drawn evenly from 0 to that.
        /// Default 0.3.
        #[serde(default = "band_width")]
        width: f64,
        /// The target of the mixture. Default linear, in the shares of the area.
        #[serde(default)]
        labels: MixedLabels,
    },
}

/// Where backgrounds come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backdrop {
    /// All recordings below this folder.
    Folder(PathBuf),
    /// The training clips with this label.
    Label(String),
}

/// The target of a mixture of two clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixedLabels {
    /// The same mixture of their targets.
    #[default]
    Linear,
    /// All labels of both, for clips with several labels.
    Or,
}

/// Where in the making of a batch an augmentation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// On the samples of a clip.
    Waveform,
    /// On its features, standardised.
    Spectrogram,
    /// On a batch.
    Batch,
}

fn half() -> f64 {
    0.5
}

fn gain_db() -> [f64; 2] {
    [-6.0, 6.0]
}

fn shift_seconds() -> f64 {
    0.5
}

fn rate() -> [f64; 2] {
    [0.8, 1.25]
}

fn semitones() -> [f64; 2] {
    [-2.0, 2.0]
}

fn white() -> Colour {
    Colour::White
}

fn snr_db() -> [f64; 2] {
    [10.0, 30.0]
}

fn masks() -> usize {
    2
}

fn freq_width() -> usize {
    16
}

fn time_width() -> usize {
    24
}

fn whole() -> f64 {
    1.0
}

fn mixup_alpha() -> f64 {
    0.4
}

fn background_db() -> [f64; 2] {
    [5.0, 20.0]
}

fn reverberation_seconds() -> [f64; 2] {
    [0.2, 0.8]
}

fn direct_db() -> [f64; 2] {
    [0.0, 12.0]
}

fn lines() -> usize {
    4
}

fn bits() -> [u32; 2] {
    [6, 12]
}

fn rectangles() -> usize {
    4
}

fn degrees() -> f64 {
    5.0
}

fn factor() -> [f64; 2] {
    [0.9, 1.1]
}

fn freq_share() -> f64 {
    0.05
}

fn time_share() -> f64 {
    0.1
}

fn bands() -> usize {
    3
}

fn band_width() -> f64 {
    0.3
}

/// Most masks, bands or the like.
const MAX_NUMBER: usize = 100;
/// Gains and ratios in dB.
const DECIBELS: [f64; 2] = [-100.0, 100.0];

/// A key and what is wrong with it.
type Fault = (&'static str, String);

impl Augmentation {
    /// The kind, as it is written in a recipe.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gain { .. } => "gain",
            Self::Polarity { .. } => "polarity",
            Self::TimeShift { .. } => "time_shift",
            Self::TimeStretch { .. } => "time_stretch",
            Self::PitchShift { .. } => "pitch_shift",
            Self::Noise { .. } => "noise",
            Self::SpecAugment { .. } => "spec_augment",
            Self::Background { .. } => "background",
            Self::BetweenClass { .. } => "between_class",
            Self::Reverberation { .. } => "reverberation",
            Self::Equalizer { .. } => "equalizer",
            Self::Telephone { .. } => "telephone",
            Self::BitDepth { .. } => "bit_depth",
            Self::RandomMasks { .. } => "random_masks",
            Self::Rotation { .. } => "rotation",
            Self::Zoom { .. } => "zoom",
            Self::Translation { .. } => "translation",
            Self::Mixup { .. } => "mixup",
            Self::Cutmix { .. } => "cutmix",
            Self::Specmix { .. } => "specmix",
        }
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Gain { .. }
            | Self::Polarity { .. }
            | Self::TimeShift { .. }
            | Self::TimeStretch { .. }
            | Self::PitchShift { .. }
            | Self::Noise { .. }
            | Self::Background { .. }
            | Self::BetweenClass { .. }
            | Self::Reverberation { .. }
            | Self::Equalizer { .. }
            | Self::Telephone { .. }
            | Self::BitDepth { .. } => Stage::Waveform,
            Self::SpecAugment { .. }
            | Self::RandomMasks { .. }
            | Self::Rotation { .. }
            | Self::Zoom { .. }
            | Self::Translation { .. } => Stage::Spectrogram,
            Self::Mixup { .. } | Self::Cutmix { .. } | Self::Specmix { .. } => Stage::Batch,
        }
    }

    /// With which it falls to a clip, 0 to 1.
    pub fn probability(&self) -> f64 {
        match *self {
            Self::Gain { probability, .. }
            | Self::Polarity { probability }
            | Self::TimeShift { probability, .. }
            | Self::TimeStretch { probability, .. }
            | Self::PitchShift { probability, .. }
            | Self::Noise { probability, .. }
            | Self::SpecAugment { probability, .. }
            | Self::Background { probability, .. }
            | Self::BetweenClass { probability, .. }
            | Self::Reverberation { probability, .. }
            | Self::Equalizer { probability, .. }
            | Self::Telephone { probability, .. }
            | Self::BitDepth { probability, .. }
            | Self::RandomMasks { probability, .. }
            | Self::Rotation { probability, .. }
            | Self::Zoom { probability, .. }
            | Self::Translation { probability, .. }
            | Self::Mixup { probability, .. }
            | Self::Cutmix { probability, .. }
            | Self::Specmix { probability, .. } => probability,
        }
    }

    /// The key at fault and what is wrong with it.
    fn check(&self, task: Task, extractor: &Extractor) -> Result<(), Fault> {
        check_share("probability", self.probability())?;
        let shape = extractor.shape();
        match *self {
            Self::Polarity { .. } | Self::Telephone { .. } => Ok(()),
            Self::Gain { db, .. } => check_range("db", db, DECIBELS),
            Self::TimeStretch { rate, .. } => check_range("rate", rate, [0.25, 4.0]),
            Self::PitchShift { semitones, .. } => check_range("semitones", semitones, [-24.0, 24.0]),
            Self::TimeShift { seconds, .. } => {
                let clip = extractor.audio().clip_seconds;
                if seconds > 0.0 && seconds <= clip {
                    return Ok(());
                }
                Err(("seconds", format!("{seconds} must be above 0 and at most the {clip} s of a clip")))
            }
            Self::Noise { snr_db, .. } | Self::Background { snr_db, .. } => {
                check_range("snr_db", snr_db, DECIBELS)
            }
            Self::BetweenClass { labels, .. } => check_labels(labels, task),
            Self::Reverberation { seconds, direct_db, .. } => {
                check_range("seconds", seconds, [0.01, 10.0])?;
                check_range("direct_db", direct_db, DECIBELS)
            }
            Self::Equalizer { db, bands, .. } => {
                check_range("db", db, DECIBELS)?;
                check_number("bands", bands)
            }
            Self::BitDepth { bits, .. } => check_range("bits", bits.map(f64::from), [1.0, 24.0]),
            Self::SpecAugment {
                time_warp,
                freq_masks,
                freq_width,
                time_masks,
                time_width,
                time_share,
                ..
            } => {
                check_most("freq_masks", freq_masks, MAX_NUMBER, "that make sense")?;
                check_most("time_masks", time_masks, MAX_NUMBER, "that make sense")?;
                check_widths(freq_width, time_width, shape)?;
                check_most("time_warp", time_warp, shape.frames.saturating_sub(2) / 2, "frames it can be")?;
                check_share("time_share", time_share)
            }
            Self::RandomMasks { masks, freq_width, time_width, .. } => {
                check_number("masks", masks)?;
                check_widths(freq_width, time_width, shape)
            }
            Self::Rotation { degrees, .. } => {
                if degrees > 0.0 && degrees <= 180.0 {
                    return Ok(());
                }
                Err(("degrees", format!("{degrees} must be above 0 and at most 180")))
            }
            Self::Zoom { factor, .. } => check_range("factor", factor, [0.1, 10.0]),
            Self::Translation { freq, time, .. } => {
                check_share("freq", freq)?;
                check_share("time", time)
            }
            Self::Mixup { alpha, labels, .. } | Self::Cutmix { alpha, labels, .. } => {
                if !(alpha.is_finite() && alpha > 0.0) {
                    return Err(("alpha", format!("{alpha} must be above 0")));
                }
                check_labels(labels, task)
            }
            Self::Specmix { bands, width, labels, .. } => {
                check_number("bands", bands)?;
                check_share("width", width)?;
                check_labels(labels, task)
            }
        }
    }

    /// Whether it needs rows that are frequencies or the like.
    fn needs_rows(&self) -> bool {
        self.stage() == Stage::Spectrogram || matches!(self, Self::Cutmix { .. } | Self::Specmix { .. })
    }
}

fn check_share(key: &'static str, value: f64) -> Result<(), Fault> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err((key, format!("{value} must be from 0 to 1"))) }
}

fn check_range(key: &'static str, [low, high]: [f64; 2], [least, most]: [f64; 2]) -> Result<(), Fault> {
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    Err((key, format!("[{low}, {high}] must be the lower and the higher end, from {least} to {most}")))
}

fn check_number(key: &'static str, number: usize) -> Result<(), Fault> {
    if (1..=MAX_NUMBER).contains(&number) {
        return Ok(());
    }
    Err((key, format!("{number} must be from 1 to {MAX_NUMBER}")))
}

fn check_most(key: &'static str, value: usize, most: usize, what: &str) -> Result<(), Fault> {
    if value <= most {
        return Ok(());
    }
    Err((key, format!("{value} is more than the {most} {what}; give less")))
}

fn check_widths(rows: usize, frames: usize, shape: FeatureShape) -> Result<(), Fault> {
    check_most("freq_width", rows, shape.bins, "rows of the features")?;
    check_most("time_width", frames, shape.frames, "frames of the features")
}

fn check_labels(labels: MixedLabels, task: Task) -> Result<(), Fault> {
    if labels == MixedLabels::Linear || !task.is_single_label() {
        return Ok(());
    }
    let reason = "a clip of a single_label task cannot have the labels of two; use \"linear\", or set \
                  task = \"multi_label\"";
    Err(("labels", reason.to_owned()))
}

/// Refuses impossible strengths, and an order that is not the one in which they can be worked through: waveform,
/// spectrogram, mixing.
pub fn validate(list: &[Augmentation], task: Task, extractor: &Extractor) -> Result<(), ConfigError> {
    for (i, augmentation) in list.iter().enumerate() {
        let refuse =
            |key: &str, reason: String| Err(ConfigError::field(format!("augment[{i}].{key}"), reason));
        let kind = augmentation.kind();
        if let Err((key, reason)) = augmentation.check(task, extractor) {
            return refuse(key, format!("{reason} ({kind})"));
        }
        if augmentation.needs_rows() && extractor.config().kind == FeatureKind::Waveform {
            let reason = format!("{kind} works on spectrograms and features.kind is waveform; take it out");
            return refuse("kind", reason);
        }
        if let Some(before) = list[..i].iter().find(|before| before.stage() > augmentation.stage()) {
            let before = before.kind();
            let reason = format!(
                "{kind} cannot come after {before}: waveforms are changed first, then spectrograms, then clips are mixed; \
                 put it before"
            );
            return refuse("kind", reason);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::AudioConfig;
    use crate::features::FeatureConfig;

    #[derive(Debug, Deserialize)]
    struct List {
        augment: Vec<Augmentation>,
    }

    const KINDS: [&str; 20] = [
        "gain",
        "polarity",
        "time_shift",
        "time_stretch",
        "pitch_shift",
        "noise",
        "background",
        "between_class",
        "reverberation",
        "equalizer",
        "telephone",
        "bit_depth",
        "spec_augment",
        "random_masks",
        "rotation",
        "zoom",
        "translation",
        "mixup",
        "cutmix",
        "specmix",
    ];

    fn check(text: &str, task: Task, kind: FeatureKind) -> Result<(), String> {
        let list: List = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let features = FeatureConfig { kind, ..FeatureConfig::default() };
        let extractor = Extractor::new(&AudioConfig::default(), &features).unwrap();
        validate(&list.augment, task, &extractor).map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        check(text, Task::SingleLabel, FeatureKind::LogMel).unwrap_err()
    }

    #[test]
    fn every_kind_is_usable_with_its_defaults_and_written_as_it_is_read() {
        for kind in KINDS {
            let from = if kind == "background" { "from = { label = 'rain' }\n" } else { "" };
            let text = format!("[[augment]]\nkind = \"{kind}\"\n{from}");
            check(&text, Task::SingleLabel, FeatureKind::LogMel).unwrap();
            let list: List = toml::from_str(&text).unwrap();
            assert_eq!(list.augment[0].kind(), kind);
            assert!((list.augment[0].probability() - 0.5).abs() < f64::EPSILON);
            let written = toml::to_string(&list.augment[0]).unwrap();
            assert_eq!(toml::from_str::<Augmentation>(&written).unwrap(), list.augment[0]);
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        for (text, expected) in [
            ("kind = 'gain'\nprobability = 1.5", "augment[0].probability: 1.5 must be from 0 to 1 (gain)"),
            ("kind = 'gain'\ndb = [3.0, -3.0]", "augment[0].db: [3, -3] must be the lower"),
            ("kind = 'time_stretch'\nrate = [0.2, 1.0]", "augment[0].rate: [0.2, 1] must be the lower and"),
            ("kind = 'pitch_shift'\nsemitones = [0.0, 25.0]", "augment[0].semitones: [0, 25] must be"),
            ("kind = 'noise'\nsnr_db = [0.0, nan]", "augment[0].snr_db: [0, NaN]"),
            (
                "kind = 'time_shift'\nseconds = 4.5",
                "augment[0].seconds: 4.5 must be above 0 and at most the 4 s",
            ),
            ("kind = 'spec_augment'\nfreq_width = 129", "freq_width: 129 is more than the 128 rows"),
            ("kind = 'spec_augment'\ntime_width = 174", "time_width: 174 is more than the 173 frames"),
            ("kind = 'spec_augment'\ntime_warp = 86", "time_warp: 86 is more than the 85 frames"),
            ("kind = 'spec_augment'\ntime_masks = 101", "time_masks: 101 is more than the 100"),
            ("kind = 'spec_augment'\ntime_share = -1.0", "time_share: -1 must be"),
            ("kind = 'background'", "missing field `from`"),
            ("kind = 'background'\nfrom = { file = 'x' }", "unknown variant `file`"),
            ("kind = 'between_class'\nlabels = 'or'", "augment[0].labels: a clip of a single_label task"),
            ("kind = 'reverberation'\nseconds = [0.0, 1.0]", "augment[0].seconds: [0, 1] must be"),
            ("kind = 'reverberation'\ndirect_db = [2.0, 1.0]", "augment[0].direct_db: [2, 1] must be"),
            ("kind = 'equalizer'\nbands = 0", "augment[0].bands: 0 must be from 1 to 100 (equalizer)"),
            ("kind = 'telephone'\nlaw = 'b'", "unknown variant `b`"),
            ("kind = 'bit_depth'\nbits = [0, 8]", "augment[0].bits: [0, 8] must be"),
            ("kind = 'random_masks'\nmasks = 101", "augment[0].masks: 101 must be"),
            ("kind = 'random_masks'\nfreq_width = 129", "freq_width: 129 is more than the 128 rows"),
            ("kind = 'rotation'\ndegrees = 181.0", "augment[0].degrees: 181 must be above 0"),
            ("kind = 'zoom'\nfactor = [0.0, 1.0]", "augment[0].factor: [0, 1] must be"),
            ("kind = 'translation'\ntime = 1.1", "augment[0].time: 1.1 must be from 0 to 1"),
            ("kind = 'specmix'\nwidth = 2.0", "augment[0].width: 2 must be from 0 to 1"),
            ("kind = 'specmix'\nlabels = 'or'", "augment[0].labels: a clip of a single_label task"),
            ("kind = 'mixup'\nalpha = 0.0", "augment[0].alpha: 0 must be above 0 (mixup)"),
            ("kind = 'mixup'\nlabels = 'or'", "augment[0].labels: a clip of a single_label task"),
            ("kind = 'echo'", "unknown variant `echo`"),
            ("kind = 'gain'\nseconds = 1.0", "unknown field `seconds`"),
        ] {
            let error = refusal(&format!("[[augment]]\n{text}\n"));
            assert!(error.contains(expected), "{error}");
        }
        let or = "[[augment]]\nkind = 'mixup'\nlabels = 'or'";
        check(or, Task::MultiLabel, FeatureKind::LogMel).unwrap();
    }

    #[test]
    fn an_order_that_cannot_be_kept_is_refused() {
        let list = |kinds: [&str; 2]| kinds.map(|kind| format!("[[augment]]\nkind = '{kind}'\n")).concat();
        let error = refusal(&list(["spec_augment", "gain"]));
        assert!(error.starts_with("augment[1].kind: gain cannot come after spec_augment"), "{error}");
        assert!(refusal(&list(["mixup", "spec_augment"])).contains("after mixup"));
        check(&list(["gain", "spec_augment"]), Task::SingleLabel, FeatureKind::LogMel).unwrap();
    }

    #[test]
    fn waveforms_have_no_rows_to_mask() {
        let error = check(
            "[[augment]]\nkind = 'spec_augment'\nfreq_width = 1\n",
            Task::SingleLabel,
            FeatureKind::Waveform,
        );
        assert!(error.unwrap_err().contains("features.kind is waveform"));
        check("[[augment]]\nkind = 'mixup'\n", Task::SingleLabel, FeatureKind::Waveform).unwrap();
    }
}
