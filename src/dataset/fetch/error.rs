use std::path::{Path, PathBuf};

use crate::archive;

/// Why a data set is not fetched. Every message is one sentence that names the file or the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The server cannot be reached, or does not give the file.
    #[error("{url}: {reason}")]
    Http {
        /// What was asked for.
        url: String,
        /// What went wrong and what to do.
        reason: String,
    },
    /// The server has no such file.
    #[error("{url}: the server answers 404 Not Found; look whether the address is right")]
    Absent {
        /// What was asked for.
        url: String,
    },
    /// A file has another size than its publisher says.
    #[error("{}: {expected} bytes are published and there are {got}; {advice}", file.display())]
    Size {
        /// The file.
        file: PathBuf,
        /// Bytes as published.
        expected: u64,
        /// Bytes found or announced.
        got: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A file has another checksum than its publisher says.
    #[error("{}: the published md5 is {expected} and that of the file is {got}; {advice}", file.display())]
    Checksum {
        /// The file.
        file: PathBuf,
        /// As published, in lower-case hexadecimal.
        expected: String,
        /// That of the file.
        got: String,
        /// What to do.
        advice: &'static str,
    },
    /// The list of files that the publisher keeps cannot be used.
    #[error("{url}: not a Zenodo record with the size and md5 of {file}; report this, or fetch it by hand")]
    Record {
        /// Address of the record.
        url: String,
        /// The file that was looked for.
        file: String,
    },
    /// What was unpacked, or lies there, is not the data set.
    #[error("{}: {reason}", path.display())]
    Contents {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another program is fetching to the same folder.
    #[error("{}: another oido is fetching to it; wait for that one, or give another --out", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// An archive cannot be unpacked.
    #[error("{source}; {advice}")]
    Archive {
        /// Why.
        source: archive::Error,
        /// What to do.
        advice: &'static str,
    },
    /// It was asked to stop; the same command goes on from there.
    #[error("stopped; the same command goes on from there")]
    Stopped,
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
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(super) fn contents(path: &Path, reason: String) -> Self {
        Self::Contents { path: path.to_owned(), reason }
    }

    pub(super) fn archive(source: archive::Error, advice: &'static str) -> Self {
        match source {
            archive::Error::Stopped { .. } => Self::Stopped,
            source => Self::Archive { source, advice },
        }
    }
}
