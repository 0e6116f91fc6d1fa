//! Archives into files below one new folder, inside limits. Knows no data set and no bundle.
//!
//! [`unpack`] reads `.tar.gz` and `.zip`, also a `.zip` split into volumes, as a stream, and writes into a fresh
//! folder that disappears unless the whole archive was good. What is refused: anything but regular files and folders
//! (links, devices, sparse files); names that are not relative, not UTF-8 or not plain on every system; two names that
//! are one on a disk that ignores case; more entries, bytes or depth than [`Limits`] allows; sizes or checksums that
//! disagree; bytes that belong to nothing.

mod error;
mod folder;
mod limits;
mod tar_gz;
mod volumes;
mod zip;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

pub use error::Error;
pub use limits::{Limited, Limits, only_zeros};

use folder::Folder;

/// What the names of folders begin with that are not complete. A killed program leaves them.
pub const STAGING: &str = ".unpacking-";

/// Who looks on while an archive is unpacked.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asks to stop; what was unpacked so far is removed.
    pub stop: &'a AtomicBool,
    /// Told how many bytes were unpacked so far.
    pub progress: &'a dyn Fn(u64),
}

/// Unpacks an archive into a fresh folder in `beside`, which is removed again when the returned handle is dropped.
/// `volumes` are the files of the archive in their order: one, or those of a split `.zip`, which ends with `.zip`.
/// Files get mode 0644; dates and owners are not kept.
///
/// # Errors
///
/// [`Error`] for what the module's description names, for a format that is neither `.tar.gz` nor `.zip`, and when
/// asked to stop. Nothing is left behind.
pub fn unpack(volumes: &[&Path], beside: &Path, limits: Limits, watch: Watch) -> Result<TempDir, Error> {
    let Some(archive) = volumes.last() else {
        return Err(Error::archive(beside, "there is no archive to unpack"));
    };
    let name = archive.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if volumes.len() == 1 && (name.ends_with(".tar.gz") || name.ends_with(".tgz")) {
        into_folder(archive, beside, limits, watch, |folder| tar_gz::unpack(archive, limits, folder))
    } else if name.ends_with(".zip") {
        into_folder(archive, beside, limits, watch, |folder| zip::unpack(volumes, archive, limits, folder))
    } else {
        Err(Error::archive(archive, "neither a .tar.gz nor a .zip archive"))
    }
}

/// [`unpack`] of a zip archive that is called something else.
pub fn unpack_zip(archive: &Path, beside: &Path, limits: Limits, watch: Watch) -> Result<TempDir, Error> {
    into_folder(archive, beside, limits, watch, |folder| zip::unpack(&[archive], archive, limits, folder))
}

/// Fills a fresh folder in `beside`.
fn into_folder(
    archive: &Path,
    beside: &Path,
    limits: Limits,
    watch: Watch,
    unpack: impl FnOnce(&mut Folder) -> Result<(), Error>,
) -> Result<TempDir, Error> {
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(beside)
        .map_err(Error::io(beside, "make a folder in it"))?;
    unpack(&mut Folder::new(staging.path(), archive, limits, watch))?;
    Ok(staging)
}
