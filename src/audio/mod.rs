//! Bytes → mono samples at one rate. Knows nothing of features, labels or networks.
//!
//! ```text
//! Source (path or bytes) → recognise → decode (Symphonia, contained) → mono mix → resample → Waveform
//! Waveform → without silence → fit, or draw for training → clip of the length in [`AudioConfig`]
//! ```
//!
//! **Audio is hostile until decoded.** A recording can be empty, cut off, something else under a false name, or
//! made to break the decoder. Everything between the bytes and the samples therefore runs inside [`Limits`]: the
//! bytes read, the seeks, the packets, the decoded seconds, the processor time and the wall time are bounded, a panic
//! of the decoder is contained, and samples that are not finite are refused. What remains possible is a loop inside
//! the decoder that reads nothing: no library can stop that from within the process, so a server must run decoding
//! where a stuck thread can be given up.
//!
//! **The same sound gives the same samples.** wav and flac decode bit for bit as libsndfile does (and therefore
//! like each other); mp3 is trimmed of the encoder's delay and padding when the file states them; nothing depends
//! on threads, earlier calls or the file's name. A recording cut off in the middle, or damaged in places, gives
//! what can be decoded and says so in [`Info::damage`]; it is refused only when nothing can be decoded.

mod chunk_lengths;
mod clip;
mod config;
mod contain;
mod decode;
mod encode;
mod error;
mod filter;
mod limits;
mod noise;
mod pcm;
mod recognise;
mod resample;
mod silence;
mod source;
mod waveform;

pub use clip::{Longer, Shorter, Windows, windows};
pub use config::AudioConfig;
pub(crate) use contain::contained;
pub use decode::{Info, decode, decode_range};
pub use encode::{WavFormat, encode_wav, pcm16_len, write_wav};
pub use error::Error;
pub use filter::filter;
pub use limits::Limits;
pub use noise::{Colour, coloured};
pub use resample::resample;
pub use silence::{SilenceRule, remove_silence};
pub use source::Source;
pub use waveform::Waveform;

/// Decodes `source`, mixes it to mono and resamples it to `sample_rate` Hz.
pub fn load(source: &Source, sample_rate: u32, limits: &Limits) -> Result<Waveform, Error> {
    load_range(source, None, None, sample_rate, limits)
}

/// As [`load`], for the part of the recording from `start` (seconds, default 0) lasting `duration` (seconds,
/// default to the end).
pub fn load_range(
    source: &Source,
    start: Option<f64>,
    duration: Option<f64>,
    sample_rate: u32,
    limits: &Limits,
) -> Result<Waveform, Error> {
    let (waveform, _) = decode_range(source, start, duration, limits)?;
    resample(waveform, sample_rate).map_err(|error| error.named(&source.name()))
}
