use std::path::PathBuf;

/// Why a recording cannot be used. Every message is one sentence that starts with the recording's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there, or may not be read.
    #[error("{name}: cannot read the file: {source}")]
    Read {
        /// The recording.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A directory, pipe, device or socket.
    #[error("{name}: is {what}, not an audio file")]
    NotAFile {
        /// The recording.
        name: String,
        /// "a directory", …
        what: &'static str,
    },
    /// Zero bytes.
    #[error("{name}: the file is empty (0 bytes)")]
    Empty {
        /// The recording.
        name: String,
    },
    /// A known format that oido does not decode.
    #[error(
        "{name}: is {format}, which oido does not decode; {advice} (wav, flac, aiff, mp3 and ogg vorbis are read)"
    )]
    Unsupported {
        /// The recording.
        name: String,
        /// The format's name with an article.
        format: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Not audio, or too damaged to give a single sample.
    #[error("{name}: cannot decode it as audio: {reason}")]
    Undecodable {
        /// The recording.
        name: String,
        /// One clause.
        reason: String,
    },
    /// The decoder panicked and was contained.
    #[error(
        "{name}: cannot decode it as audio: it makes the decoder fail (contained; nothing else is affected)"
    )]
    DecoderPanic {
        /// The recording.
        name: String,
    },
    /// One of [`super::Limits`] was reached.
    #[error("{name}: {reason}")]
    Limit {
        /// The recording.
        name: String,
        /// The limit and the value.
        reason: String,
    },
    /// A well-formed file without a single sample.
    #[error("{name}: contains no audio (0 samples)")]
    NoAudio {
        /// The recording.
        name: String,
    },
    /// A sample is NaN, infinite or absurdly large.
    #[error("{name}: sample {index} is {value}, which is not a sound; export the recording again")]
    BadSample {
        /// The recording.
        name: String,
        /// Position in the mono mix.
        index: usize,
        /// The value found.
        value: f32,
    },
    /// The requested part lies outside the recording, or is no part at all.
    #[error("{name}: {reason}")]
    Range {
        /// The recording.
        name: String,
        /// Which value, and what the recording has.
        reason: String,
    },
    /// The ratio of two sample rates is outside 1/64..=64.
    #[error("{name}: cannot resample from {from} Hz to {to} Hz; the ratio must lie within 1/64 and 64")]
    Ratio {
        /// The recording.
        name: String,
        /// Given rate in Hz.
        from: u32,
        /// Wanted rate in Hz.
        to: u32,
    },
    /// A wav file cannot be written.
    #[error("{path}: cannot write the wav file: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// The same error about the recording `recording` (for errors raised where the name is not known).
    pub(super) fn named(mut self, recording: &str) -> Self {
        if let Self::Ratio { name, .. } = &mut self {
            *name = recording.to_owned();
        }
        self
    }
}
