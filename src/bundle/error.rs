use std::path::{Path, PathBuf};

use crate::audio;
use crate::models;

/// Why a bundle cannot be packed, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bundle is damaged, hostile or from another version; trying again cannot help.
    #[error("bundle {}: {member}: {reason}", bundle.display())]
    Member {
        /// The file or folder.
        bundle: PathBuf,
        /// The member at fault.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bundle as a whole is unusable.
    #[error("bundle {}: {reason}", bundle.display())]
    Bundle {
        /// The file or folder.
        bundle: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A run directory lacks something a bundle needs.
    #[error("run {}: {reason}", run.display())]
    Run {
        /// The run directory.
        run: PathBuf,
        /// What is missing and what to do.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read`, `write`, …
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The device is not available.
    #[error(transparent)]
    Device(models::Error),
    /// The recording cannot be used; the bundle is fine.
    #[error(transparent)]
    Audio(#[from] audio::Error),
    /// The network answered with NaN or infinity.
    #[error(
        "the network's answer is not a number; its weights are damaged or the recording is far out of range"
    )]
    NotFinite,
    /// Loading panicked and was contained.
    #[error("loading the model failed: it makes the program panic (see above); the bundle cannot be used")]
    LoadPanic,
}

impl Error {
    /// Whether the bundle itself is at fault, so that no other input and no later attempt can succeed.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Member { .. } | Self::Bundle { .. } | Self::LoadPanic)
    }

    pub(super) fn member(bundle: &Path, member: &str, reason: impl Into<String>) -> Self {
        Self::Member { bundle: bundle.to_owned(), member: member.to_owned(), reason: reason.into() }
    }

    pub(super) fn bundle(bundle: &Path, reason: impl Into<String>) -> Self {
        Self::Bundle { bundle: bundle.to_owned(), reason: reason.into() }
    }

    pub(super) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }
}
