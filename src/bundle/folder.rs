//! Members ↔ a folder, under the rules of the archive.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::files::parent;

use super::manifest::verify;
use super::members::{Members, check_complete, check_size, known};
use super::{Error, Manifest};

/// Reads the members of a folder and checks them against the manifest; links and special files are refused, never followed.
pub(super) fn read(bundle: &Path) -> Result<(Members, Manifest), Error> {
    let mut members = Members::new();
    for entry in fs::read_dir(bundle).map_err(|e| Error::io(bundle, "list the folder", e))? {
        let entry = entry.map_err(|e| Error::io(bundle, "list the folder", e))?;
        let name = known(bundle, &entry.file_name().to_string_lossy())?;
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path).map_err(|e| Error::io(&path, "read", e))?;
        if !metadata.file_type().is_file() {
            return Err(Error::member(bundle, name, "not a regular file (links are not followed)"));
        }
        check_size(bundle, name, metadata.len())?;
        let mut content = Vec::with_capacity(metadata.len() as usize + 1);
        fs::File::open(&path)
            .and_then(|file| file.take(metadata.len() + 1).read_to_end(&mut content))
            .map_err(|e| Error::io(&path, "read", e))?;
        members.insert(name, content);
    }
    check_complete(bundle, &members)?;
    let manifest = verify(bundle, &members)?;
    Ok((members, manifest))
}

/// Writes a new folder (missing ones above it are made): staged beside the target and renamed, so a half-written bundle never has its name.
pub(super) fn write(members: &Members, out: &Path) -> Result<(), Error> {
    if out.exists() {
        return Err(Error::bundle(out, "exists already; give another --out, or remove the folder first"));
    }
    let parent = parent(out);
    let staged = fs::create_dir_all(parent)
        .and_then(|()| tempfile::Builder::new().prefix(".oido-bundle-").tempdir_in(parent))
        .map_err(|e| Error::io(parent, "create a folder in", e))?;
    let inside = staged.path().join("bundle");
    let written = fs::create_dir(&inside).and_then(|()| {
        for (name, content) in members {
            let path = inside.join(name);
            fs::write(&path, content)?;
            fs::File::open(&path)?.sync_all()?;
        }
        fs::rename(&inside, out)
    });
    written.map_err(|e| Error::io(out, "write", e))
}
