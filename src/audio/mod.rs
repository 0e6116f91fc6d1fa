//! Bytes → mono samples at one rate. Knows nothing of features, labels or networks.

mod config;
mod error;
mod waveform;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use config::AudioConfig;
pub use error::Error;
pub use waveform::Waveform;

/// Where a recording comes from.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// A file.
    Path(&'a Path),
    /// Bytes already in memory; `name` appears in errors.
    Bytes {
        /// What errors call this recording.
        name: &'a str,
        /// The whole file.
        data: Arc<[u8]>,
    },
}

/// Limits that keep a hostile file from taking memory or time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest decoded duration in seconds.
    pub max_seconds: f64,
    /// Longest wall time for one recording.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_seconds: 600.0, deadline: Duration::from_secs(2) }
    }
}

/// Decodes `source`, mixes it to mono and resamples it to `sample_rate`.
pub fn load(_source: &Source, _sample_rate: u32, _limits: &Limits) -> Result<Waveform, Error> {
    unimplemented!()
}

/// As [`load`], for the part of the recording from `start` (seconds) lasting `duration` (seconds).
pub fn load_range(
    _source: &Source,
    _start: Option<f64>,
    _duration: Option<f64>,
    _sample_rate: u32,
    _limits: &Limits,
) -> Result<Waveform, Error> {
    unimplemented!()
}
