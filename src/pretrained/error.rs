use std::path::{Path, PathBuf};

use crate::config::ConfigError;

/// Why weights cannot be read, kept or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is damaged, hostile, too large or of no known format.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would do.
        reason: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Weights are of another network; the sentence names the tensors.
    #[error("{origin} does not fit {model}: {problems}")]
    Misfit {
        /// The file or the name in the store.
        origin: String,
        /// The network's name in the zoo.
        model: String,
        /// Tensors that are missing, extra or of another shape.
        problems: String,
    },
    /// A name or folder that the store cannot use.
    #[error("{0}")]
    Store(String),
    /// The store does not hold these weights.
    #[error(
        "no weights `{name}` in {}{known}; get them with `oido import FILE --model {model} --name {name}`",
        store.display()
    )]
    Absent {
        /// As the recipe calls them.
        name: String,
        /// The store's folder.
        store: PathBuf,
        /// What it holds, as a remark in brackets.
        known: String,
        /// The recipe's network, as arguments after `--model`.
        model: String,
    },
    /// A path that leads nowhere.
    #[error(
        "{0}: there is no such run or file; train that run first, with `oido train RECIPE --out {0}`",
        path.display()
    )]
    NoRun {
        /// As the recipe has it.
        path: PathBuf,
    },
    /// The options of the network are impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The network cannot be loaded.
    #[error(transparent)]
    Model(#[from] crate::models::Error),
}

impl Error {
    /// Whether these weights can never be used, however often the command is repeated.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Misfit { .. } | Self::Config(_))
    }

    pub(super) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }

    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}
