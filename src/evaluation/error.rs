use std::io;
use std::path::PathBuf;

use crate::training::results::ResultsError;

/// Why a report or comparison cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A table of predictions that is none.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1; the header is line 1.
        line: u64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Predictions from which no report can be computed.
    #[error("{clip}: {reason}")]
    Prediction {
        /// The clip, or "the predictions".
        clip: String,
        /// What is wrong.
        reason: String,
    },
    /// The run cannot be scored.
    #[error(transparent)]
    Run(#[from] crate::training::Error),
    /// A JSON file that is not what its name says.
    #[error("{path}: {message}; is this the directory of a finished run?", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's sentence.
        message: String,
    },
    /// `results.csv` cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A page cannot be rendered.
    #[error("the page {name} cannot be rendered: {message}")]
    Page {
        /// The template.
        name: &'static str,
        /// Why.
        message: String,
    },
}

impl Error {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
