//! Samples → `[bins, frames]`: the only front end there is. Training, evaluation, prediction and server
//! call the same [`Extractor`], built from the same two sections of the recipe or bundle.

use serde::{Deserialize, Serialize};

use crate::audio::AudioConfig;
use crate::config::ConfigError;

/// Recipe section `[features]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureConfig {}

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
    /// `bins * frames` values.
    pub values: Vec<f32>,
}

/// One mean and one standard deviation over all values of the training clips.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Mean.
    pub mean: f32,
    /// Standard deviation, > 0.
    pub std: f32,
}

/// The front end.
#[derive(Debug)]
pub struct Extractor {}

impl Extractor {
    /// Builds the front end; refuses impossible combinations by field name.
    pub fn new(_audio: &AudioConfig, _features: &FeatureConfig) -> Result<Self, ConfigError> {
        unimplemented!()
    }

    /// The same front end, standardising with `stats`.
    pub fn with_stats(self, _stats: Option<Stats>) -> Self {
        unimplemented!()
    }

    /// Shape of every result.
    pub fn shape(&self) -> FeatureShape {
        unimplemented!()
    }

    /// Rate in Hz that samples must have.
    pub fn sample_rate(&self) -> u32 {
        unimplemented!()
    }

    /// Fits `samples` to the clip length and extracts.
    pub fn extract(&self, _samples: &[f32]) -> Features {
        unimplemented!()
    }
}
