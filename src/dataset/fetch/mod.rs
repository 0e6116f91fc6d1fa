//! Public data sets, from their publishers' servers to folders that [`super::prepare`] reads.
//!
//! [`CATALOG`] knows addresses, sizes, checksums and terms. [`fetch`] downloads what is missing (interrupted downloads
//! go on where they ended), compares size and md5 with what is published, unpacks with [`crate::archive`], counts the
//! contents and only then puts the folder in its place. What is already there is not fetched again, and nothing that is
//! there is overwritten.

mod catalog;
mod contents;
mod download;
mod error;
mod record;
mod verify;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::archive::{self, Limits, Watch};
use crate::files::FolderLock;

pub use catalog::{CATALOG, Choice, Contents, DataSet, Part, RemoteFile};
pub use download::Patience;
pub use error::Error;

use download::Downloader;
use record::Record;
use verify::{Published, verify};

/// What an archive of a data set may unpack to. LibriSpeech's largest has 150,000 files; recordings barely shrink.
const LIMITS: Limits = Limits { entries: 400_000, depth: 8, bytes: 200_000_000_000, ratio: 100 };

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where archives and folders go.
    pub out: PathBuf,
    /// Address to fetch the files from instead of the publisher's, by their names. Checksums stay those published; a
    /// Zenodo record is looked for there as `NUMBER.json`.
    pub mirror: Option<String>,
    /// Whether the archives stay when they are unpacked.
    pub keep_archives: bool,
    /// With slow and broken connections.
    pub patience: Patience,
}

/// What happens while fetching.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The folder of a part is there and complete.
    Present {
        /// The folder.
        folder: &'a Path,
    },
    /// Bytes are coming.
    Downloading {
        /// The archive.
        file: &'a Path,
        /// Bytes there.
        done: u64,
        /// Bytes of the whole file, if known.
        total: Option<u64>,
    },
    /// An attempt failed, and another will be made.
    Waiting {
        /// The archive.
        file: &'a Path,
        /// What went wrong.
        reason: &'a str,
        /// How long until then.
        wait: Duration,
    },
    /// The checksum is computed.
    Checking {
        /// The archive.
        file: &'a Path,
        /// Bytes read.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
    /// An archive is there as published, fetched now or before.
    Fetched {
        /// The archive.
        file: &'a Path,
        /// Whether it was there before.
        before: bool,
        /// Its md5, when one is published.
        md5: Option<&'a str>,
    },
    /// Files are being written.
    Unpacking {
        /// The archive.
        file: &'a Path,
        /// Bytes written.
        done: u64,
    },
    /// A part is in its place.
    Placed {
        /// The folder.
        folder: &'a Path,
        /// Recordings in it.
        clips: usize,
    },
}

/// Fetches parts of a data set; returns its folder.
///
/// # Errors
///
/// [`Error`] names the file or address. Whatever came before it is kept, and the same call goes on from there.
pub fn fetch(
    set: &DataSet,
    parts: &[&Part],
    options: &Options,
    observer: &dyn Fn(Event),
    stop: &AtomicBool,
) -> Result<PathBuf, Error> {
    let mirror = options.mirror.as_deref().map(mirror_url).transpose()?;
    let https = mirror.is_none_or(|mirror| mirror.starts_with("https://"));
    let out = &options.out;
    fs::create_dir_all(out).map_err(Error::io(out, "make the folder"))?;
    let _lock = FolderLock::take(out).ok_or_else(|| Error::Busy { folder: out.to_owned() })?;
    remove_stagings(out)?;
    let downloader = Downloader::new(https, options.patience, stop, observer);
    let fetcher = Fetcher { set, mirror, options, downloader, observer, stop };
    let mut missing = Vec::new();
    for part in parts {
        let folder = out.join(part.place);
        if folder.exists() {
            contents::check(&folder, &part.contents).map_err(|reason| {
                Error::contents(&folder, format!("{reason}; move it away to fetch it again"))
            })?;
            observer(Event::Present { folder: &folder });
        } else {
            missing.push(*part);
        }
    }
    let record = match set.record.filter(|_| !missing.is_empty()) {
        Some(number) => Some(Record::fetch(&Record::url(number, mirror), &fetcher.downloader, out)?),
        None => None,
    };
    for part in missing {
        fetcher.part(part, record.as_ref())?;
    }
    Ok(out.join(set.folder))
}

/// Fetches one file as `path`, which must not exist; an interrupted download goes on where it ended. Nothing is known of
/// its size or checksum.
///
/// # Errors
///
/// [`Error::Absent`] or [`Error::Http`] when the server does not give it, [`Error::Busy`], [`Error::Stopped`], [`Error::Io`].
pub fn fetch_file(
    url: &str,
    path: &Path,
    patience: Patience,
    stop: &AtomicBool,
    observer: &dyn Fn(Event),
) -> Result<(), Error> {
    let https = url.starts_with("https://");
    let folder = crate::files::parent(path);
    let _lock = FolderLock::take(folder).ok_or_else(|| Error::Busy { folder: folder.to_owned() })?;
    Downloader::new(https, patience, stop, observer).fetch(url, path, &Published::default())
}

/// Removes what killed programs left half unpacked.
fn remove_stagings(out: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(out).map_err(Error::io(out, "read"))? {
        let entry = entry.map_err(Error::io(out, "read"))?;
        if entry.file_name().to_string_lossy().starts_with(archive::STAGING) {
            fs::remove_dir_all(entry.path()).map_err(Error::io(&entry.path(), "remove"))?;
        }
    }
    Ok(())
}

/// The address without a slash at its end.
fn mirror_url(url: &str) -> Result<&str, Error> {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if is_web
        && url.parse::<ureq::http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()))
    {
        return Ok(url.trim_end_matches('/'));
    }
    Err(Error::Option(format!(
        "the mirror {url:?} is no address; it must begin with https:// or http:// and name a server"
    )))
}

struct Fetcher<'a> {
    set: &'a DataSet,
    mirror: Option<&'a str>,
    options: &'a Options,
    downloader: Downloader<'a>,
    observer: &'a dyn Fn(Event),
    stop: &'a AtomicBool,
}

impl Fetcher<'_> {
    /// Fetches, unpacks and places a part.
    fn part(&self, part: &Part, record: Option<&Record>) -> Result<(), Error> {
        let (mut volumes, mut fresh, mut vouched) = (Vec::new(), Vec::new(), true);
        for file in part.files {
            let published = match record {
                Some(record) => record.published(file.name)?,
                None => Published { size: file.size, md5: file.md5.map(str::to_owned) },
            };
            vouched &= published.md5.is_some();
            let (path, before) = self.file(file, &published)?;
            if !before {
                fresh.push(path.clone());
            }
            volumes.push(path);
        }
        // An archive that was here before is somebody's, and stays.
        let remove_fresh =
            || fresh.iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io(path, "remove")));
        let advice = match (vouched, fresh.is_empty()) {
            (true, _) => "the archive is the published one, so report this",
            (false, true) => "delete the archive and run the command again",
            (false, false) => "the archive was removed; run the command again",
        };
        let unpacked = self.unpack(part, &volumes, advice);
        let useless = !vouched && matches!(unpacked, Err(Error::Archive { .. } | Error::Contents { .. }));
        if useless || (unpacked.is_ok() && !self.options.keep_archives) {
            remove_fresh()?;
        }
        unpacked
    }

    /// The file as published, and whether it was there before.
    fn file(&self, file: &RemoteFile, published: &Published) -> Result<(PathBuf, bool), Error> {
        let path = self.options.out.join(file.name);
        let before = path.exists();
        if before {
            let total = published.size.unwrap_or_default();
            let checking = |done| (self.observer)(Event::Checking { file: &path, done, total });
            let mut opened = File::open(&path).map_err(Error::io(&path, "open"))?;
            verify(
                &mut opened,
                &path,
                published,
                "delete it and run the command again",
                self.stop,
                &checking,
            )?;
        } else {
            let url = match self.mirror {
                Some(mirror) => format!("{mirror}/{}", file.name),
                None => format!("{}/{}", self.set.base, file.path),
            };
            self.downloader.fetch(&url, &path, published)?;
        }
        (self.observer)(Event::Fetched { file: &path, before, md5: published.md5.as_deref() });
        Ok((path, before))
    }

    /// Unpacks beside the target, counts, and moves: the documents first, so that a folder that is there is complete.
    fn unpack(&self, part: &Part, volumes: &[PathBuf], advice: &'static str) -> Result<(), Error> {
        let out = &self.options.out;
        let volumes: Vec<&Path> = volumes.iter().map(PathBuf::as_path).collect();
        let last = volumes.last().copied().unwrap_or(out);
        let progress = |done| (self.observer)(Event::Unpacking { file: last, done });
        let watch = Watch { stop: self.stop, progress: &progress };
        let staging =
            archive::unpack(&volumes, out, LIMITS, watch).map_err(|error| Error::archive(error, advice))?;
        let root = staging.path().join(part.root);
        contents::check(&root, &part.contents)
            .map_err(|reason| Error::contents(&last.join(part.root), format!("{reason}; {advice}")))?;
        for document in part.documents {
            let (from, to) = (staging.path().join(document), out.join(document));
            if from.is_file() && !to.exists() {
                place(&from, &to)?;
            }
        }
        let folder = out.join(part.place);
        if folder.exists() {
            return Err(Error::contents(
                &folder,
                "it has appeared meanwhile; it is left as it is".to_owned(),
            ));
        }
        place(&root, &folder)?;
        (self.observer)(Event::Placed { folder: &folder, clips: part.contents.clips });
        Ok(())
    }
}

/// Moves within one file system.
fn place(from: &Path, to: &Path) -> Result<(), Error> {
    let parent = crate::files::parent(to);
    fs::create_dir_all(parent).map_err(Error::io(parent, "make the folder"))?;
    fs::rename(from, to).map_err(Error::io(to, "write"))
}
