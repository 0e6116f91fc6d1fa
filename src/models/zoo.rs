//! The one table of architectures: `oido models` prints it, and one test runs over every row.

use super::{CnnConfig, CrnnConfig, DenseConfig, LstmConfig, ModelConfig};
use crate::features::FeatureShape;

/// One architecture.
#[derive(Debug, Clone)]
pub struct ZooRow {
    /// The model with its default options.
    pub config: ModelConfig,
    /// Input of the study it comes from.
    pub input: FeatureShape,
    /// Classes of that study.
    pub num_classes: usize,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
}

/// Every architecture.
pub fn zoo() -> Vec<ZooRow> {
    let urban = |config, summary| ZooRow {
        config,
        input: FeatureShape { bins: 128, frames: 173 },
        num_classes: 10,
        summary,
        source: "urban-sounds study on UrbanSound8K (Salamon et al. 2014)",
    };
    vec![
        urban(ModelConfig::Dense(DenseConfig::default()), "mean of the spectrogram, five dense layers"),
        urban(ModelConfig::Cnn(CnnConfig::default()), "four convolution blocks, dense head"),
        urban(ModelConfig::Lstm(LstmConfig::default()), "two recurrent layers over the frames"),
        urban(ModelConfig::Crnn(CrnnConfig::default()), "three convolution blocks, one recurrent layer"),
    ]
}
