use serde::{Deserialize, Serialize};

use super::Stats;
use crate::audio::AudioConfig;
use crate::config::ConfigError;

/// Largest transform; longer than a second at any usual rate.
const MAX_N_FFT: usize = 65_536;
/// Most values one clip may have (512 MiB as `f32`).
const MAX_VALUES: usize = 1 << 27;

/// Recipe section `[features]`: how samples become `[bins, frames]`.
///
/// In TOML and JSON every key is optional: what is missing comes from the preset for that kind
/// ([`FeatureConfig::preset`]). A key that is unknown, or that has no effect on the chosen kind, is refused.
/// Writing a configuration lists each number that has an effect; reading it back gives the same extractor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Section", into = "Section")]
pub struct FeatureConfig {
    /// What to compute. Default `log_mel`.
    pub kind: FeatureKind,
    /// Whose defaults fill the keys that are not given. Default `librosa`.
    pub preset: Preset,
    /// Samples in one transform, any number from 2 (powers of two are fastest). librosa 2048, torchaudio 400, else the
    /// power of two from `win_length` on.
    pub n_fft: usize,
    /// Samples under the window; `<= n_fft`, its default with librosa and torchaudio, else 400 (25 ms at 16 kHz).
    pub win_length: usize,
    /// Samples between two frames. librosa 512, torchaudio `win_length / 2`, else 160 (10 ms at 16 kHz).
    pub hop_length: usize,
    /// Window. Default `hann`, kaldi `povey`.
    pub window: Window,
    /// Whether the window is periodic (one period of its formula, as for spectra) or symmetric (its last sample equals
    /// its first). Default true; false for kaldi and ast.
    pub periodic: bool,
    /// What a frame takes from the clip. `n_fft` for librosa and torchaudio, else `win_length`.
    pub framing: Framing,
    /// Framing `n_fft`: whether frame `t` is centred on sample `t * hop_length` (the clip is padded by `n_fft / 2` on
    /// both sides) instead of starting there. Default true.
    pub center: bool,
    /// What the padding of `center` holds. librosa `constant` (zeros), torchaudio `reflect`.
    pub pad_mode: PadMode,
    /// Framing `win_length`: whether frame `t` starts at sample `t * hop_length` and only whole frames count; otherwise
    /// there is a frame for each whole `hop_length` (rounded), with its middle in the middle of it, and the clip is
    /// mirrored at its ends, first and last sample included. Default true.
    pub snip_edges: bool,
    /// Framing `win_length`: whether the mean of each frame's samples is taken from them. Default false; true for kaldi
    /// and ast.
    pub remove_dc_offset: bool,
    /// Framing `win_length`: how much of the sample before is taken from each sample of a frame (the first counts as its
    /// own), in [0, 1]. Default 0; 0.97 for kaldi and ast.
    pub preemphasis: f64,
    /// Exponent of the magnitude: 1 or 2. Default 2, the power spectrogram; vggish 1.
    pub power: f64,
    /// Mel bands. Default 128, kaldi 23, vggish 64.
    pub n_mels: usize,
    /// Lowest frequency of the mel bands in Hz. Default 0, kaldi and ast 20, vggish 125.
    pub fmin: f64,
    /// Highest frequency of the mel bands in Hz; `None` is half the sample rate, the default; vggish 7500.
    pub fmax: Option<f64>,
    /// Mel formula. librosa `slaney`, else `htk`.
    pub mel_scale: MelScale,
    /// Scaling of the mel filters. librosa `slaney` (unit area), else `none` (unit height).
    pub mel_norm: MelNorm,
    /// Axis on which the sides of the mel triangles are straight. librosa and torchaudio `hz`, else `mel`.
    pub mel_axis: MelAxis,
    /// Logarithm. Default `none` for spectrograms, `db` for log_mel and mfcc; kaldi and ast `ln_amin`, vggish `ln`.
    pub log: LogScale,
    /// `db`: what counts as 0 dB (key `ref`). `max` for log_mel with the librosa preset, otherwise 1.
    pub reference: Reference,
    /// `db` and `ln_amin`: values below count as this. Default 1e-10; 2^-23 (1.19e-7) for kaldi and ast.
    pub amin: f64,
    /// `db`: values further than this below the clip's maximum are raised to there; `None` (`"none"` in a file) does
    /// not raise. Default 80 for librosa and for the mfcc of torchaudio, otherwise off.
    pub top_db: Option<f64>,
    /// `ln`: added before the logarithm. Default 1e-6, vggish 0.01.
    pub log_offset: f64,
    /// Coefficients kept. librosa 20, torchaudio 40.
    pub n_mfcc: usize,
    /// Scaling of the cosine transform. Default `ortho`.
    pub dct_norm: DctNorm,
    /// Sinusoidal liftering of the coefficients; 0 is none, the default.
    pub lifter: f64,
    /// What becomes of the finished values of a clip, before they are standardised. Default `none`; not written then.
    pub scale: Scale,
    /// Frames of the result: later ones are cut, missing ones are columns of 0 (before standardisation). `None`
    /// (`"none"` in a file), the default, keeps what the clip gives; ast 1024.
    pub frames: Option<usize>,
    /// Where the mean and the standard deviation come from. Default `training`; ast `fixed`, vggish `none`.
    pub standardize: Standardize,
    /// `fixed`: the mean.
    pub mean: f64,
    /// `fixed`: what differences from the mean are divided by. That of ast is twice the standard deviation of its
    /// training set, as its authors have it.
    pub std: f64,
}

/// What the features of a clip are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// The samples themselves, `[1, samples]`.
    Waveform,
    /// Magnitudes of the short-time Fourier transform to the `power`, `[1 + n_fft / 2, frames]`.
    Spectrogram,
    /// Logarithm of the mel spectrogram, `[n_mels, frames]`.
    #[default]
    LogMel,
    /// Mel-frequency cepstral coefficients, `[n_mfcc, frames]`.
    Mfcc,
}

/// Whose defaults fill the keys that are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// `librosa.stft`, `librosa.feature.melspectrogram` + `power_to_db(ref=np.max)`, `librosa.feature.mfcc`.
    #[default]
    Librosa,
    /// `torchaudio.transforms.Spectrogram`, `MelSpectrogram` + `AmplitudeToDB`, `MFCC`.
    Torchaudio,
    /// `torchaudio.compliance.kaldi.fbank`, after Kaldi's `compute-fbank-feats`, without dither and without its energy
    /// column (only `log_mel`). Lengths are those at 16 kHz.
    Kaldi,
    /// The front end of the Audio Spectrogram Transformer (Gong, Chung & Glass 2021; `transformers.ASTFeatureExtractor`):
    /// Kaldi's with a Hann window, 128 bands, 1024 frames and a fixed mean and deviation (only `log_mel`, 16 kHz).
    Ast,
    /// The front end of VGGish (Hershey et al. 2017; `vggish_input.waveform_to_examples`): logarithm of 64 mel bands of
    /// the magnitude (only `log_mel`, 16 kHz).
    Vggish,
}

/// Window functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// `0.5 - 0.5 cos`.
    #[default]
    Hann,
    /// `0.54 - 0.46 cos`.
    Hamming,
    /// `0.42 - 0.5 cos + 0.08 cos 2x`.
    Blackman,
    /// Kaldi's: `hann` to the power of 0.85.
    Povey,
}

/// What a frame takes from the clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// As many samples as the transform has, with the window in their middle (librosa, torchaudio).
    #[default]
    NFft,
    /// As many samples as the window has; zeros follow, up to `n_fft` (Kaldi, TensorFlow).
    WinLength,
}

/// What lies outside the clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zeros.
    #[default]
    Constant,
    /// The clip mirrored at its first and last sample, which are not repeated.
    Reflect,
}

/// Formula between Hz and mel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelScale {
    /// Linear to 1 kHz, logarithmic above (Slaney's Auditory Toolbox, 1998).
    #[default]
    Slaney,
    /// `2595 log10(1 + f / 700)` (O'Shaughnessy; the HTK book).
    Htk,
}

/// Scaling of the triangles of a mel filter bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelNorm {
    /// Unit area: height `2 / (upper - lower)` in 1/Hz.
    #[default]
    Slaney,
    /// Unit height.
    None,
}

/// Axis on which the sides of the mel triangles are straight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelAxis {
    /// Frequency.
    #[default]
    Hz,
    /// Mel.
    Mel,
}

/// Logarithm of a spectrogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogScale {
    /// None.
    None,
    /// Decibels: `10 log10(max(x, amin) / max(ref, amin))` of powers, 20 of magnitudes.
    #[default]
    Db,
    /// Natural: `ln(x + log_offset)`.
    Ln,
    /// Natural: `ln(max(x, amin))`.
    LnAmin,
}

/// What counts as 0 dB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reference {
    /// The clip's largest value; `"max"` in a file.
    Max,
    /// A fixed value; a number in a file.
    Value(f64),
}

/// Scaling of the cosine transform (type II).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DctNorm {
    /// Orthonormal.
    #[default]
    Ortho,
    /// Twice the sum.
    None,
}

/// What becomes of the finished values of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// They stay.
    #[default]
    None,
    /// The range from the clip's smallest to its largest value becomes 0 to 255, the range of a picture's pixels; a
    /// clip whose values are all the same becomes 0. (Not rounded to whole numbers.)
    Image,
}

/// Where the mean and the standard deviation of [`super::Stats`] come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardize {
    /// All values of the training clips.
    #[default]
    Training,
    /// The keys `mean` and `std`, as a network that was trained elsewhere wants them.
    Fixed,
    /// Nowhere: values stay as they are.
    None,
}

impl Default for FeatureConfig {
    /// 128 mel bands in dB below the clip's maximum, as `librosa`.
    fn default() -> Self {
        Self::preset(Preset::default(), FeatureKind::default())
    }
}

impl FeatureConfig {
    /// All numbers of `preset` for `kind`; `fmax` follows the sample rate where the preset has none.
    pub fn preset(preset: Preset, kind: FeatureKind) -> Self {
        let librosa = Self::librosa(kind);
        match preset {
            Preset::Librosa => librosa,
            Preset::Torchaudio => Self {
                preset,
                n_fft: 400,
                win_length: 400,
                hop_length: 200,
                pad_mode: PadMode::Reflect,
                mel_scale: MelScale::Htk,
                mel_norm: MelNorm::None,
                reference: Reference::Value(1.0),
                top_db: (kind == FeatureKind::Mfcc).then_some(80.0),
                n_mfcc: 40,
                ..librosa
            },
            Preset::Kaldi => Self {
                window: Window::Povey,
                periodic: false,
                remove_dc_offset: true,
                preemphasis: 0.97,
                n_mels: 23,
                fmin: 20.0,
                log: LogScale::LnAmin,
                amin: f64::from(f32::EPSILON),
                ..Self::speech(preset, kind)
            },
            Preset::Ast => Self {
                preset,
                window: Window::Hann,
                n_mels: 128,
                frames: Some(1024),
                standardize: Standardize::Fixed,
                mean: -4.267_739_3,
                std: 2.0 * 4.568_997_4,
                ..Self::preset(Preset::Kaldi, kind)
            },
            Preset::Vggish => Self {
                power: 1.0,
                n_mels: 64,
                fmin: 125.0,
                fmax: Some(7500.0),
                log: LogScale::Ln,
                log_offset: 0.01,
                standardize: Standardize::None,
                ..Self::speech(preset, kind)
            },
        }
    }

    fn librosa(kind: FeatureKind) -> Self {
        Self {
            kind,
            preset: Preset::Librosa,
            n_fft: 2048,
            win_length: 2048,
            hop_length: 512,
            window: Window::Hann,
            periodic: true,
            framing: Framing::NFft,
            center: true,
            pad_mode: PadMode::Constant,
            snip_edges: true,
            remove_dc_offset: false,
            preemphasis: 0.0,
            power: 2.0,
            n_mels: 128,
            fmin: 0.0,
            fmax: None,
            mel_scale: MelScale::Slaney,
            mel_norm: MelNorm::Slaney,
            mel_axis: MelAxis::Hz,
            log: if kind.has_mel() { LogScale::Db } else { LogScale::None },
            reference: if kind == FeatureKind::Mfcc { Reference::Value(1.0) } else { Reference::Max },
            amin: 1e-10,
            top_db: Some(80.0),
            log_offset: 1e-6,
            n_mfcc: 20,
            dct_norm: DctNorm::Ortho,
            lifter: 0.0,
            scale: Scale::None,
            frames: None,
            standardize: Standardize::Training,
            mean: 0.0,
            std: 1.0,
        }
    }

    /// What Kaldi and VGGish share: windows of 25 ms every 10 ms at 16 kHz, and the mel bands of HTK.
    fn speech(preset: Preset, kind: FeatureKind) -> Self {
        Self {
            preset,
            n_fft: 512,
            win_length: 400,
            hop_length: 160,
            framing: Framing::WinLength,
            mel_scale: MelScale::Htk,
            mel_norm: MelNorm::None,
            mel_axis: MelAxis::Mel,
            reference: Reference::Value(1.0),
            top_db: None,
            ..Self::librosa(kind)
        }
    }

    /// The same with every number that depends on the sample rate written out (`fmax`).
    pub fn resolve(&self, audio: &AudioConfig) -> Self {
        let mut resolved = self.clone();
        if self.kind.has_mel() {
            resolved.fmax.get_or_insert(f64::from(audio.sample_rate) / 2.0);
        }
        resolved
    }

    /// Mean and standard deviation that are known without training clips; `None` when these decide.
    pub fn fixed_stats(&self) -> Option<Stats> {
        match self.standardize {
            Standardize::Training => None,
            Standardize::Fixed => Some(Stats { mean: self.mean as f32, std: self.std as f32 }),
            Standardize::None => Some(Stats { mean: 0.0, std: 1.0 }),
        }
    }

    /// Refuses impossible numbers and combinations, by field. Only what has an effect is looked at.
    pub fn validate(&self, audio: &AudioConfig) -> Result<(), ConfigError> {
        audio.validate()?;
        self.validate_preset(audio)?;
        if self.kind.has_stft() {
            self.validate_frames(audio)?;
        }
        if self.kind.has_mel() {
            self.validate_mel(audio)?;
        }
        if self.kind.has_stft() {
            self.validate_log()?;
        }
        if self.kind == FeatureKind::Mfcc {
            check((1..=self.n_mels).contains(&self.n_mfcc), "n_mfcc", || {
                format!("{} is outside 1..={}, the number of mel bands (n_mels)", self.n_mfcc, self.n_mels)
            })?;
            check(self.lifter >= 0.0 && self.lifter.is_finite(), "lifter", || {
                format!("{} must be 0 (none) or a positive number", self.lifter)
            })?;
        }
        if self.standardize == Standardize::Fixed {
            let in_f32 = |value: f64| value.abs() <= f64::from(f32::MAX);
            check(in_f32(self.mean), "mean", || format!("{} must be a finite number", self.mean))?;
            check(positive(self.std), "std", || format!("{} must be a positive number", self.std))?;
        }
        Ok(())
    }

    /// Refuses a preset where its numbers would mean something else.
    fn validate_preset(&self, audio: &AudioConfig) -> Result<(), ConfigError> {
        let name = match self.preset {
            Preset::Librosa | Preset::Torchaudio => return Ok(()),
            Preset::Kaldi => "kaldi",
            Preset::Ast => "ast",
            Preset::Vggish => "vggish",
        };
        check(self.kind == FeatureKind::LogMel, "preset", || {
            format!("\"{name}\" is only for kind = \"log_mel\"; use librosa or torchaudio")
        })?;
        check(self.preset == Preset::Kaldi || audio.sample_rate == 16_000, "preset", || {
            format!(
                "\"{name}\" is defined at 16000 Hz; set audio.sample_rate = 16000, not {}",
                audio.sample_rate
            )
        })
    }

    fn validate_frames(&self, audio: &AudioConfig) -> Result<(), ConfigError> {
        let samples = audio.clip_samples();
        check((2..=MAX_N_FFT).contains(&self.n_fft), "n_fft", || {
            format!("{} samples is outside 2..={MAX_N_FFT}", self.n_fft)
        })?;
        check((1..=self.n_fft).contains(&self.win_length), "win_length", || {
            format!("{} samples is outside 1..={}, the transform (n_fft)", self.win_length, self.n_fft)
        })?;
        check(self.hop_length >= 1, "hop_length", || "0 samples; at least 1 is needed".into())?;
        match self.framing {
            Framing::NFft => self.validate_centre(audio, samples)?,
            Framing::WinLength => self.validate_windows(audio, samples)?,
        }
        let most = MAX_VALUES / (self.n_fft / 2 + 1);
        let frames = self.frames_of(samples);
        check(frames <= most, "hop_length", || {
            format!(
                "{} samples makes {frames} frames of {} bins a clip; use a longer hop",
                self.hop_length,
                self.n_fft / 2 + 1
            )
        })?;
        let frames = self.frames.unwrap_or(1);
        check((1..=most).contains(&frames), "frames", || format!("{frames} is outside 1..={most}"))?;
        #[expect(clippy::float_cmp, reason = "only these two exact values are meant")]
        let known = self.power == 1.0 || self.power == 2.0;
        check(known, "power", || format!("{} must be 1 (magnitude) or 2 (power)", self.power))
    }

    fn validate_centre(&self, audio: &AudioConfig, samples: usize) -> Result<(), ConfigError> {
        check(self.center || samples >= self.n_fft, "center", || {
            format!(
                "false needs clips of at least n_fft = {} samples, and audio.clip_seconds = {} gives {samples}",
                self.n_fft, audio.clip_seconds
            )
        })?;
        let mirrored = self.center && self.pad_mode == PadMode::Reflect;
        check(!mirrored || samples > self.n_fft / 2, "pad_mode", || {
            format!(
                "reflect needs clips of more than n_fft / 2 = {} samples, and audio.clip_seconds = {} gives {samples}",
                self.n_fft / 2,
                audio.clip_seconds
            )
        })
    }

    fn validate_windows(&self, audio: &AudioConfig, samples: usize) -> Result<(), ConfigError> {
        check(samples >= self.win_length, "framing", || {
            format!(
                "win_length needs clips of at least win_length = {} samples, and audio.clip_seconds = {} gives {samples}",
                self.win_length, audio.clip_seconds
            )
        })?;
        check(self.frames_of(samples) >= 1, "hop_length", || {
            format!("{} samples is more than twice the clip's {samples}: no frame is left", self.hop_length)
        })?;
        check((0.0..=1.0).contains(&self.preemphasis), "preemphasis", || {
            format!("{} is outside [0, 1]", self.preemphasis)
        })
    }

    fn validate_mel(&self, audio: &AudioConfig) -> Result<(), ConfigError> {
        let bins = self.n_fft / 2 + 1;
        let nyquist = f64::from(audio.sample_rate) / 2.0;
        let fmax = self.fmax.unwrap_or(nyquist);
        check((1..=bins).contains(&self.n_mels), "n_mels", || {
            format!("{} bands is outside 1..={bins}, the bins of n_fft = {}", self.n_mels, self.n_fft)
        })?;
        check(fmax > 0.0 && fmax <= nyquist, "fmax", || {
            format!("{fmax} Hz is outside (0, {nyquist}], half of audio.sample_rate")
        })?;
        check(self.fmin >= 0.0 && self.fmin < fmax, "fmin", || {
            format!("{} Hz is outside [0, {fmax}), the highest frequency (fmax)", self.fmin)
        })?;
        check(self.log != LogScale::None, "log", || {
            "none is only for kind = \"spectrogram\"; log_mel and mfcc need \"db\", \"ln\" or \"ln_amin\""
                .into()
        })
    }

    fn validate_log(&self) -> Result<(), ConfigError> {
        let wrong = |value: f64| format!("{value} must be a positive number");
        match self.log {
            LogScale::None => Ok(()),
            LogScale::Db => {
                if let Reference::Value(value) = self.reference {
                    check(positive(value), "ref", || wrong(value) + " or \"max\"")?;
                }
                check(positive(self.amin), "amin", || wrong(self.amin))?;
                let top_db = self.top_db.unwrap_or(80.0);
                check(positive(top_db), "top_db", || wrong(top_db) + " or \"none\"")
            }
            LogScale::Ln => check(positive(self.log_offset), "log_offset", || wrong(self.log_offset)),
            LogScale::LnAmin => check(positive(self.amin), "amin", || wrong(self.amin)),
        }
    }

    /// Frames that a clip of `samples` samples gives.
    pub(super) fn frames_of(&self, samples: usize) -> usize {
        let whole = |samples: usize, frame: usize| 1 + samples.saturating_sub(frame) / self.hop_length;
        match self.framing {
            Framing::NFft if self.center => whole(samples + self.n_fft / 2 * 2, self.n_fft),
            Framing::NFft => whole(samples, self.n_fft),
            Framing::WinLength if self.snip_edges => whole(samples, self.win_length),
            Framing::WinLength => (samples + self.hop_length / 2) / self.hop_length,
        }
    }
}

impl FeatureKind {
    /// Whether the kind is computed from a spectrogram.
    pub(super) fn has_stft(self) -> bool {
        self != Self::Waveform
    }

    /// Whether the kind is computed from a mel spectrogram.
    pub(super) fn has_mel(self) -> bool {
        matches!(self, Self::LogMel | Self::Mfcc)
    }
}

impl Scale {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Replaces the values of one clip.
    pub(super) fn apply(self, values: &mut [f32]) {
        if self == Self::None {
            return;
        }
        let min = values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let range = max - min;
        let pixel = |value: f32| if range > 0.0 { (value - min) / range * 255.0 } else { 0.0 };
        values.iter_mut().for_each(|value| *value = pixel(*value));
    }
}

/// Whether a number stays one, and above 0, in single precision.
fn positive(value: f64) -> bool {
    value >= f64::from(f32::MIN_POSITIVE) && value <= f64::from(f32::MAX)
}

fn check(holds: bool, key: &str, reason: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::field(format!("features.{key}"), reason())) }
}

/// The section as it stands in a file: a key is absent when it is left to the preset (reading) or has no effect
/// on the kind (writing).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    kind: FeatureKind,
    preset: Preset,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_fft: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    win_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hop_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    periodic: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<Framing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    center: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_mode: Option<PadMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snip_edges: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remove_dc_offset: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preemphasis: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_mels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fmin: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fmax: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mel_scale: Option<MelScale>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mel_norm: Option<MelNorm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mel_axis: Option<MelAxis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogScale>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<NumberOr<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amin: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_db: Option<NumberOr<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_offset: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_mfcc: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dct_norm: Option<DctNorm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifter: Option<f64>,
    #[serde(skip_serializing_if = "Scale::is_none")]
    scale: Scale,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<NumberOr<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    standardize: Option<Standardize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    std: Option<f64>,
}

/// A number, or a word with a meaning of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number or a word in quotes")]
enum NumberOr<T> {
    Number(T),
    Word(String),
}

impl<T> NumberOr<T> {
    /// The number, or `None` for `word`; any other word is refused.
    fn number_unless(self, word: &str, key: &str) -> Result<Option<T>, ConfigError> {
        match self {
            Self::Number(value) => Ok(Some(value)),
            Self::Word(given) if given == word => Ok(None),
            Self::Word(given) => Err(ConfigError::field(
                format!("features.{key}"),
                format!("\"{given}\" is neither a number nor \"{word}\""),
            )),
        }
    }

    /// The number, or `word`.
    fn or(number: Option<T>, word: &str) -> Self {
        number.map_or_else(|| Self::Word(word.to_owned()), Self::Number)
    }
}

impl Section {
    /// The keys that are present.
    fn keys(&self) -> Result<Vec<String>, ConfigError> {
        toml::Table::try_from(self)
            .map(|table| table.into_iter().map(|(key, _)| key).collect())
            .map_err(|e| ConfigError::field("features", e.to_string()))
    }
}

impl TryFrom<Section> for FeatureConfig {
    type Error = ConfigError;

    fn try_from(section: Section) -> Result<Self, ConfigError> {
        let given = section.keys()?;
        let preset = Self::preset(section.preset, section.kind);
        let (n_fft, win_length) = match preset.framing {
            Framing::NFft => {
                let n_fft = section.n_fft.unwrap_or(preset.n_fft);
                (n_fft, section.win_length.unwrap_or(n_fft))
            }
            Framing::WinLength => {
                let win_length = section.win_length.unwrap_or(preset.win_length);
                let n_fft = || win_length.min(MAX_N_FFT).next_power_of_two();
                (section.n_fft.unwrap_or_else(n_fft), win_length)
            }
        };
        let hop_length = match section.preset {
            Preset::Torchaudio => win_length / 2,
            _ => preset.hop_length,
        };
        let config = Self {
            kind: section.kind,
            preset: section.preset,
            n_fft,
            win_length,
            hop_length: section.hop_length.unwrap_or(hop_length),
            window: section.window.unwrap_or(preset.window),
            periodic: section.periodic.unwrap_or(preset.periodic),
            framing: section.framing.unwrap_or(preset.framing),
            center: section.center.unwrap_or(preset.center),
            pad_mode: section.pad_mode.unwrap_or(preset.pad_mode),
            snip_edges: section.snip_edges.unwrap_or(preset.snip_edges),
            remove_dc_offset: section.remove_dc_offset.unwrap_or(preset.remove_dc_offset),
            preemphasis: section.preemphasis.unwrap_or(preset.preemphasis),
            power: section.power.unwrap_or(preset.power),
            n_mels: section.n_mels.unwrap_or(preset.n_mels),
            fmin: section.fmin.unwrap_or(preset.fmin),
            fmax: section.fmax.or(preset.fmax),
            mel_scale: section.mel_scale.unwrap_or(preset.mel_scale),
            mel_norm: section.mel_norm.unwrap_or(preset.mel_norm),
            mel_axis: section.mel_axis.unwrap_or(preset.mel_axis),
            log: section.log.unwrap_or(preset.log),
            reference: match section.reference {
                None => preset.reference,
                Some(given) => given.number_unless("max", "ref")?.map_or(Reference::Max, Reference::Value),
            },
            amin: section.amin.unwrap_or(preset.amin),
            top_db: match section.top_db {
                None => preset.top_db,
                Some(given) => given.number_unless("none", "top_db")?,
            },
            log_offset: section.log_offset.unwrap_or(preset.log_offset),
            n_mfcc: section.n_mfcc.unwrap_or(preset.n_mfcc),
            dct_norm: section.dct_norm.unwrap_or(preset.dct_norm),
            lifter: section.lifter.unwrap_or(preset.lifter),
            scale: section.scale,
            frames: match section.frames {
                None => preset.frames,
                Some(given) => given.number_unless("none", "frames")?,
            },
            standardize: section.standardize.unwrap_or(preset.standardize),
            mean: section.mean.unwrap_or(preset.mean),
            std: section.std.unwrap_or(preset.std),
        };
        let used = Section::from(config.clone()).keys()?;
        match given.into_iter().find(|key| !used.contains(key)) {
            Some(key) => Err(ConfigError::field(
                format!("features.{key}"),
                "has no effect with the kind, framing, center, log and standardize of this section; remove it",
            )),
            None => Ok(config),
        }
    }
}

impl From<FeatureConfig> for Section {
    fn from(config: FeatureConfig) -> Self {
        let stft = config.kind.has_stft();
        let mel = config.kind.has_mel();
        let (n_fft, windows) =
            (stft && config.framing == Framing::NFft, stft && config.framing == Framing::WinLength);
        let db = stft && config.log == LogScale::Db;
        let ln = stft && config.log == LogScale::Ln;
        let amin = db || (stft && config.log == LogScale::LnAmin);
        let mfcc = config.kind == FeatureKind::Mfcc;
        let fixed = config.standardize == Standardize::Fixed;
        Self {
            kind: config.kind,
            preset: config.preset,
            n_fft: stft.then_some(config.n_fft),
            win_length: stft.then_some(config.win_length),
            hop_length: stft.then_some(config.hop_length),
            window: stft.then_some(config.window),
            periodic: stft.then_some(config.periodic),
            framing: stft.then_some(config.framing),
            center: n_fft.then_some(config.center),
            pad_mode: (n_fft && config.center).then_some(config.pad_mode),
            snip_edges: windows.then_some(config.snip_edges),
            remove_dc_offset: windows.then_some(config.remove_dc_offset),
            preemphasis: windows.then_some(config.preemphasis),
            power: stft.then_some(config.power),
            n_mels: mel.then_some(config.n_mels),
            fmin: mel.then_some(config.fmin),
            fmax: config.fmax.filter(|_| mel),
            mel_scale: mel.then_some(config.mel_scale),
            mel_norm: mel.then_some(config.mel_norm),
            mel_axis: mel.then_some(config.mel_axis),
            log: stft.then_some(config.log),
            reference: db.then(|| match config.reference {
                Reference::Max => NumberOr::or(None, "max"),
                Reference::Value(value) => NumberOr::Number(value),
            }),
            amin: amin.then_some(config.amin),
            top_db: db.then(|| NumberOr::or(config.top_db, "none")),
            log_offset: ln.then_some(config.log_offset),
            n_mfcc: mfcc.then_some(config.n_mfcc),
            dct_norm: mfcc.then_some(config.dct_norm),
            lifter: mfcc.then_some(config.lifter),
            scale: if stft { config.scale } else { Scale::None },
            frames: stft.then(|| NumberOr::or(config.frames, "none")),
            standardize: Some(config.standardize),
            mean: fixed.then_some(config.mean),
            std: fixed.then_some(config.std),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FeatureConfig, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap().validate(&AudioConfig::default()).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_section_is_the_default() {
        assert_eq!(parse("").unwrap(), FeatureConfig::default());
    }

    #[test]
    fn presets_hold_the_numbers_of_their_libraries() {
        let librosa = parse("kind = 'mfcc'").unwrap();
        assert_eq!((librosa.n_fft, librosa.hop_length, librosa.n_mels, librosa.n_mfcc), (2048, 512, 128, 20));
        assert_eq!((librosa.reference, librosa.top_db), (Reference::Value(1.0), Some(80.0)));
        let torchaudio = parse("kind = 'mfcc'\npreset = 'torchaudio'").unwrap();
        assert_eq!((torchaudio.n_fft, torchaudio.hop_length), (400, 200));
        assert_eq!((torchaudio.n_mels, torchaudio.n_mfcc), (128, 40));
        assert_eq!((torchaudio.mel_scale, torchaudio.mel_norm), (MelScale::Htk, MelNorm::None));
        assert_eq!(parse("preset = 'torchaudio'").unwrap().top_db, None);
        let kaldi = parse("preset = 'kaldi'").unwrap();
        assert_eq!((kaldi.n_fft, kaldi.win_length, kaldi.hop_length, kaldi.n_mels), (512, 400, 160, 23));
        assert_eq!((kaldi.window, kaldi.periodic, kaldi.log), (Window::Povey, false, LogScale::LnAmin));
        let ast = parse("preset = 'ast'").unwrap();
        assert_eq!((ast.n_mels, ast.frames, ast.window), (128, Some(1024), Window::Hann));
        assert_eq!(ast.fixed_stats(), Some(Stats { mean: -4.267_739_3, std: 9.137_995 }));
        let vggish = parse("preset = 'vggish'").unwrap();
        assert_eq!((vggish.n_mels, vggish.fmax, vggish.log), (64, Some(7500.0), LogScale::Ln));
        assert_eq!(vggish.fixed_stats(), Some(Stats { mean: 0.0, std: 1.0 }));
        assert_eq!(librosa.fixed_stats(), None);
    }

    #[test]
    fn lengths_that_are_not_given_follow_n_fft_as_in_the_library() {
        let librosa = parse("n_fft = 1024").unwrap();
        assert_eq!((librosa.win_length, librosa.hop_length), (1024, 512));
        let torchaudio = parse("preset = 'torchaudio'\nn_fft = 1024\nwin_length = 600").unwrap();
        assert_eq!((torchaudio.win_length, torchaudio.hop_length), (600, 300));
        let kaldi = parse("preset = 'kaldi'\nwin_length = 600").unwrap();
        assert_eq!((kaldi.n_fft, kaldi.hop_length), (1024, 160));
        assert_eq!(parse("preset = 'kaldi'\nn_fft = 400").unwrap().n_fft, 400);
    }

    #[test]
    fn the_resolved_section_lists_every_number_and_reads_back_the_same() {
        let audio = AudioConfig::default();
        for text in [
            "",
            "kind = 'waveform'",
            "kind = 'spectrogram'\nn_fft = 400\nhop_length = 200\nlog = 'db'\nref = 2\ntop_db = 'none'",
            "kind = 'mfcc'\npreset = 'torchaudio'\nlog = 'ln'\nlifter = 22\ncenter = false",
            "n_mels = 64\nfmin = 20\nfmax = 8000.5\ntop_db = 60",
            "scale = 'image'",
            "kind = 'waveform'\nscale = 'none'",
            "preset = 'kaldi'\nsnip_edges = false\nn_fft = 400",
            "preset = 'ast'",
            "preset = 'ast'\nframes = 'none'\nstandardize = 'training'",
            "preset = 'vggish'\nframes = 384",
            "framing = 'win_length'\nremove_dc_offset = true\nwindow = 'povey'\nmel_axis = 'mel'",
            "kind = 'waveform'\nstandardize = 'fixed'\nmean = 0.5\nstd = 2",
        ] {
            let resolved = parse(text).unwrap().resolve(&audio);
            let written = toml::to_string(&resolved).unwrap();
            assert_eq!(parse(&written).unwrap(), resolved, "{written}");
            let json = serde_json::to_string(&resolved).unwrap();
            assert_eq!(serde_json::from_str::<FeatureConfig>(&json).unwrap(), resolved, "{json}");
        }
        let all = toml::to_string(&FeatureConfig::default().resolve(&audio)).unwrap();
        for line in [
            "ref = \"max\"",
            "top_db = 80.0",
            "fmax = 11025.0",
            "win_length = 2048",
            "fmin = 0.0",
            "framing = \"n_fft\"",
            "frames = \"none\"",
            "standardize = \"training\"",
        ] {
            assert!(all.lines().any(|l| l == line), "{line} is not in\n{all}");
        }
        assert!(!all.contains("n_mfcc") && !all.contains("\nscale") && !all.contains("log_offset"), "{all}");
    }

    #[test]
    fn refuses_unknown_keys_and_keys_without_effect() {
        for (text, key) in [
            ("n_mel = 64", "n_mel"),
            ("kind = 'waveform'\nn_fft = 512", "features.n_fft"),
            ("n_mfcc = 13", "features.n_mfcc"),
            ("kind = 'waveform'\nscale = 'image'", "features.scale"),
            ("scale = 'picture'", "image"),
            ("log_offset = 1.0", "features.log_offset"),
            ("center = false\npad_mode = 'reflect'", "features.pad_mode"),
            ("preset = 'kaldi'\ncenter = false", "features.center"),
            ("preemphasis = 0.97", "features.preemphasis"),
            ("mean = 1.0", "features.mean"),
            ("preset = 'ast'\nstandardize = 'none'\nstd = 1.0", "features.std"),
            ("preset = 'vggish'\namin = 1e-5", "features.amin"),
            ("kind = 'waveform'\nframes = 10", "features.frames"),
            ("frames = 'all'", "features.frames"),
            ("preset = 'yamnet'", "yamnet"),
            ("top_db = 'off'", "features.top_db"),
            ("ref = 'min'", "features.ref"),
            ("kind = 'mel'", "mel"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn refuses_impossible_numbers_by_field_and_value() {
        for (text, field, value) in [
            ("n_fft = 0", "features.n_fft", "0"),
            ("n_fft = 100000", "features.n_fft", "100000"),
            ("win_length = 4096", "features.win_length", "4096"),
            ("hop_length = 0", "features.hop_length", "0"),
            ("n_mels = 0", "features.n_mels", "0"),
            ("n_fft = 64\nn_mels = 34", "features.n_mels", "34"),
            ("fmax = 12000", "features.fmax", "12000"),
            ("fmin = 9000\nfmax = 8000", "features.fmin", "9000"),
            ("fmin = -1", "features.fmin", "-1"),
            ("power = 3", "features.power", "3"),
            ("amin = 0", "features.amin", "0"),
            ("ref = -1", "features.ref", "-1"),
            ("top_db = 0", "features.top_db", "0"),
            ("log = 'ln'\nlog_offset = 0", "features.log_offset", "0"),
            ("log = 'none'", "features.log", "none"),
            ("kind = 'mfcc'\nn_mfcc = 129", "features.n_mfcc", "129"),
            ("kind = 'mfcc'\nlifter = -1", "features.lifter", "-1"),
            ("fmax = nan", "features.fmax", "NaN"),
            ("frames = 0", "features.frames", "0"),
            ("frames = 1000000000", "features.frames", "1000000000"),
            ("preset = 'kaldi'\npreemphasis = 1.5", "features.preemphasis", "1.5"),
            ("preset = 'kaldi'\nwin_length = 100000", "features.win_length", "100000"),
            ("preset = 'kaldi'\nsnip_edges = false\nhop_length = 200000", "features.hop_length", "200000"),
            ("preset = 'kaldi'\nkind = 'spectrogram'", "features.preset", "kaldi"),
            ("preset = 'vggish'", "features.preset", "22050"),
            ("standardize = 'fixed'\nstd = 0", "features.std", "0"),
            ("standardize = 'fixed'\nmean = inf", "features.mean", "inf"),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(field) && error.contains(value), "{text}: {error}");
        }
    }

    #[test]
    fn refuses_clips_too_short_to_mirror_or_to_hold_a_frame() {
        let audio = AudioConfig { clip_seconds: 0.04, ..Default::default() };
        for (text, field) in [
            ("pad_mode = 'reflect'", "features.pad_mode"),
            ("center = false", "features.center"),
            ("preset = 'kaldi'\nwin_length = 883", "features.framing"),
        ] {
            let error = parse(text).unwrap().validate(&audio).unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("882"), "{error}");
        }
        assert!(parse("").unwrap().validate(&audio).is_ok());
    }

    #[test]
    fn refuses_features_that_would_fill_the_memory() {
        assert!(refusal("hop_length = 1\nn_fft = 65536").starts_with("features.hop_length"));
    }

    #[test]
    fn odd_lengths_are_fine() {
        parse("n_fft = 401").unwrap().validate(&AudioConfig::default()).unwrap();
    }
}
