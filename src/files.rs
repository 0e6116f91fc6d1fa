//! Files written whole or not at all, files mapped into memory, and their fingerprints.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// Writes a whole file at once: a reader sees the old content or the new, never a part, and a failure
/// leaves the old one. Missing folders are made.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(content.as_ref())?;
    file.finish()
}

/// How the names of files that are being written begin.
const UNFINISHED: &str = ".writing-";

/// Whether a file of that name is one that is being written, or that a killed process left half written.
pub fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Removes what a killed process left half written in `folder`; a folder that is not there has nothing in it.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_unfinished(&entry.file_name()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A folder that is kept for this program until this is dropped, however the program ends.
#[derive(Debug)]
pub struct FolderLock {
    /// Nothing where the system cannot lock a folder: everybody gets it then.
    _file: Option<File>,
}

impl FolderLock {
    /// Takes a folder that exists; nothing when another program has it.
    pub fn take(folder: &Path) -> Option<Self> {
        let Ok(file) = File::open(folder) else { return Some(Self { _file: None }) };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(_)) => Some(Self { _file: None }),
            Ok(()) => Some(Self { _file: Some(file) }),
        }
    }
}

/// Tells before long work whether the file `path` can be written after it; leaves nothing but its folder.
pub fn check_writable(path: &Path) -> io::Result<()> {
    NewFile::create(path).map(drop)
}

/// A file that is written bit by bit and appears when it is complete. The bytes go to a temporary file beside it,
/// to the disk, then take its name; dropped before [`NewFile::finish`], it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins the file `path`; missing folders are made. A folder of that name is told here, before the work is done, and
    /// so is a device or pipe, which would be replaced by a file.
    pub fn create(path: &Path) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                return Err(io::Error::other("it is a device, pipe or socket; give the name of a file"));
            }
            _ => {}
        }
        let folder = parent(path);
        std::fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            // As for any new file, the umask decides; the default of a temporary file is 0600.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.prefix(UNFINISHED).tempfile_in(folder)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Gives the file its name, in place of an older one.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.finish_unsynced()
    }

    /// As [`NewFile::finish`], without waiting for the disk: for one of many files that can be made again. It is whole
    /// whatever happens to the program; after a power cut it may be missing or empty.
    pub fn finish_unsynced(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The folder a file lies in; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a file, and nothing that only looks like one: a pipe would keep the program waiting for whoever writes to it.
pub fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is a folder, device, pipe or socket; give a file"));
    }
    File::open(path)
}

/// The bytes of a file where the system keeps them, without a copy of one's own. An empty file has none.
///
/// For files that nobody changes once they have their name, as [`NewFile`] writes them; and only for as long as it takes
/// to copy out what is wanted.
#[allow(unsafe_code, reason = "a mapped file is beyond what the compiler can see")]
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the bytes must not change while they are borrowed. Programs of this house write a file under another name and
    // rename it: a file that is replaced or removed stays what it was for those who have it mapped. A stranger who writes
    // into it at that very moment changes numbers that no digest was taken of, and one who cuts it ends the program, as
    // the system does when mapped bytes are gone; the bytes are only copied, and any bits are a number.
    unsafe { Mmap::map(file) }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// [`sha256`] of a file, read in pieces.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&block[..n]),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_content_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, "a long first text").unwrap();
        write_file(&path, "second").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_mapped_file_stays_what_it_was_when_it_is_replaced_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, "first").unwrap();
        let mapped = map(&File::open(&path).unwrap()).unwrap();
        write_file(&path, "the second, longer text").unwrap();
        assert_eq!(&mapped[..], b"first");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&mapped[..], b"first");
        write_file(&path, "").unwrap();
        assert!(map(&File::open(&path).unwrap()).unwrap().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_the_usual_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        write_file(&ours, "x").unwrap();
        std::fs::write(&usual, "x").unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }

    #[test]
    fn a_file_appears_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.txt");
        let mut file = NewFile::create(&path).unwrap();
        write!(file, "one").unwrap();
        assert!(!path.exists());
        write!(file, ", two").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one, two");
        drop(NewFile::create(&path).unwrap());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_taken_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::take(folder.path()).is_none());
        drop(first);
        assert!(FolderLock::take(folder.path()).is_some());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::mem::forget(NewFile::create(&folder.path().join("a.txt")).unwrap());
        write_file(&folder.path().join("b.txt"), "whole").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        remove_unfinished(folder.path()).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["b.txt"]);
        remove_unfinished(&folder.path().join("absent")).unwrap();
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        assert_eq!(parent(Path::new("a.txt")), Path::new("."));
        assert_eq!(parent(Path::new("x/a.txt")), Path::new("x"));
    }

    #[test]
    fn digests_are_lower_case_hexadecimal() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = write_file(&path, "x").unwrap_err().to_string();
        assert!(error.contains("device, pipe or socket"), "{error}");
        assert!(path.metadata().unwrap().file_type().is_socket());
    }

    #[test]
    fn a_failure_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write_file(&path, "x").is_err());
        assert!(NewFile::create(&path).is_err(), "told before anything is written");
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
