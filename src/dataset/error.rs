use std::path::PathBuf;

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
