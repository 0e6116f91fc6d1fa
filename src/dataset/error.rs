use std::path::{Path, PathBuf};

use crate::tables::Mistake;

/// Why labelled sounds cannot be used. Every message names the file or the clip.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A clip cannot be decoded.
    #[error(transparent)]
    Audio(#[from] crate::audio::Error),
    /// A clip carries a label that is not among the classes.
    #[error("{}: the label {label:?} is not one of the classes ({known}); correct the manifest", path.display())]
    UnknownLabel {
        /// The clip.
        path: PathBuf,
        /// The label.
        label: String,
        /// All classes.
        known: String,
    },
    /// A table has a mistake.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The table.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A folder is not laid out as its data set is.
    #[error("{}: this is no {source_name} folder: {reason}", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// The data set.
        source_name: super::prepare::Source,
        /// What was looked for.
        reason: String,
    },
    /// Files are listed, and not one of them is there.
    #[error(
        "{}: lists {listed} clips and not one of them is there; looked for {} and so on",
        path.display(),
        first.display()
    )]
    NoFiles {
        /// The folder or table.
        path: PathBuf,
        /// Number of clips listed.
        listed: usize,
        /// The first file looked for.
        first: PathBuf,
    },
    /// A folder lacks what is asked for, or is taken by something else.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is in it or not, and what to do.
        reason: String,
    },
    /// A split is impossible or leaks.
    #[error("the split cannot be made: {0}")]
    Split(String),
    /// A filter names a column or value that no clip has.
    #[error("{field}: {reason}")]
    Filter {
        /// The recipe's name for it.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// The caller's stop flag was set; what is written stays.
    #[error("stopped on request")]
    Stopped,
    /// There is nothing to compute from.
    #[error(
        "there are no clips to compute the mean and standard deviation from; choose a split that has some"
    )]
    NoClips,
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
}

impl Error {
    /// Names the file of a mistake in a table.
    pub(super) fn table(path: &Path) -> impl Fn(Mistake) -> Self {
        move |Mistake { line, reason }| Self::Line { path: path.to_owned(), line, reason }
    }

    /// Turns an I/O error into one that names its file and what was tried.
    pub fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }
}
