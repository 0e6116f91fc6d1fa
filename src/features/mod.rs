//! Samples → `[bins, frames]`: the only front end there is. Training, evaluation, prediction and server
//! call the same [`Extractor`], built from the same two sections of the recipe or bundle.
//!
//! ```text
//! samples ── without silence ── fit to the clip ─┬─ waveform     [1, samples]
//!                                                └─ stft → power ─┬─ spectrogram  [1 + n_fft/2, frames]
//!                                                                 └─ mel → log ─┬─ log_mel  [n_mels, frames]
//!                                                                               └─ dct ── mfcc  [n_mfcc, frames]
//! ```
//!
//! Kinds with an stft may be scaled to 0-255 within each clip, as a picture ([`Scale`]), and every kind
//! ends with `(value - mean) / std` when [`Stats`] are set: those of the training clips, or the fixed ones of
//! a network that was trained elsewhere. Words and numbers are librosa's, torchaudio's, Kaldi's and VGGish's, chosen by
//! a named [`Preset`]; a resolved [`FeatureConfig`] stores each number, so that a bundle does not depend on what a
//! preset means in a later version. Agreement with the libraries is tested against stored results
//! (`tests/fixtures/features`).

mod config;
mod extractor;
mod lanes;
mod log;
mod mel;
mod mfcc;
mod stats;
mod stft;
mod window;

pub use config::{
    DctNorm, FeatureConfig, FeatureKind, Framing, LogScale, MelAxis, MelNorm, MelScale, PadMode, Preset,
    Reference, Scale, Standardize, Window,
};
pub use extractor::{Extractor, FeatureShape, Features};
pub use mel::MelFilterBank;
pub use stats::{Stats, StatsAccumulator};
