use std::path::PathBuf;

use crate::config::ConfigError;

/// Why a run cannot start or go on. What was already written stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be used.
    #[error(transparent)]
    Dataset(#[from] crate::dataset::Error),
    /// The network cannot be built or loaded.
    #[error(transparent)]
    Model(#[from] crate::models::Error),
    /// The weights to start from are not there or do not fit.
    #[error("training.weights: {0}")]
    Weights(#[from] crate::pretrained::Error),
    /// A file of the run cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Clips that cannot be read; training does not start with holes in its data.
    #[error(
        "{count} of {total} clips cannot be used, so training did not start; the first is {first}; \
         run `oido inspect` on the manifest for all of them and mend or remove them, or have `oido prepare` leave them out"
    )]
    BadClips {
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// The first, with its reason.
        first: String,
    },
    /// `results.csv` cannot be written.
    #[error(transparent)]
    Results(#[from] super::results::ResultsError),
    /// No data was named.
    #[error("no data: give --data with {expected}, or set data.path in the recipe")]
    NoData {
        /// What would do.
        expected: String,
    },
    /// The run directory already holds a run.
    #[error(
        "{path} already holds a run or something else; add --resume to go on with a run, or choose another --out"
    )]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// `--resume` on something that is not that run.
    #[error("{path} cannot be resumed: {reason}")]
    Resume {
        /// The directory.
        path: PathBuf,
        /// What differs or lacks.
        reason: String,
    },
    /// The loss is not a number any more.
    #[error(
        "the loss became {loss} in epoch {epoch}, step {step}; {kept}; try a smaller training.learning_rate or training.gradient_clipping = {{ norm = 1.0 }}"
    )]
    NotFinite {
        /// NaN or infinity.
        loss: f64,
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
        /// What is left of the epochs before.
        kept: String,
    },
}

impl Error {
    /// Turns an I/O error into one that names its file.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
