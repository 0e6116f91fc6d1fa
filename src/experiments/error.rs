use std::path::PathBuf;

use crate::config::ConfigError;

/// Why runs cannot be made or put together. What was already written stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipe or option is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A run failed.
    #[error("{member}: {source}")]
    Run {
        /// Which run.
        member: String,
        /// Why.
        source: crate::training::Error,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Training(#[from] crate::training::Error),
    /// A run cannot be judged, or its report not be written.
    #[error(transparent)]
    Evaluation(#[from] crate::evaluation::Error),
    /// A run cannot be packed or its network not be asked.
    #[error(transparent)]
    Bundle(#[from] crate::bundle::Error),
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Folders that do not hold what they should, or do not belong together.
    #[error("{path}: {reason}", path = path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl Error {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(super) fn folder(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Folder { path: path.into(), reason: reason.into() }
    }

    /// Whether the same command can never work.
    pub fn is_permanent(&self) -> bool {
        use crate::dataset::Error::{Config, Filter, Split};
        use crate::training;
        let training = |error: &training::Error| match error {
            training::Error::Config(_) => true,
            training::Error::Dataset(error) => matches!(error, Config(_) | Filter { .. } | Split(_)),
            training::Error::Weights(error) => error.is_permanent(),
            _ => false,
        };
        match self {
            Self::Config(_) => true,
            Self::Run { source, .. } => training(source),
            Self::Training(error) => training(error),
            Self::Bundle(error) => error.is_permanent(),
            _ => false,
        }
    }
}
