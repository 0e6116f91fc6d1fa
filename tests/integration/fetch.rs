//! Data sets from a server to folders, on good days and bad ones.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use md5::{Digest, Md5};
use oido::dataset::fetch::*;
use oido::dataset::prepare::{Source, prepare};
use oido::files::hex;
use tempfile::TempDir;

use crate::packing::{split_zip, stored, tar_gz_of, zip, zipped};
use crate::support::oido;
use crate::tiny::tone;
use crate::web::{Reply, Request, Web};

fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// A data set of one archive with the folder `set`, which holds two recordings.
fn data_set(file: RemoteFile) -> DataSet {
    let part = Part {
        name: "all",
        choice: Choice::Always,
        files: std::slice::from_ref(leak(file)),
        root: "set",
        place: "set",
        documents: &[],
        contents: Contents { clips: 2, ending: ".wav", tables: &[] },
    };
    DataSet {
        name: "small",
        title: "Small",
        summary: "",
        licence: "",
        terms: "",
        terms_url: "",
        base: "http://127.0.0.1:1/official",
        record: None,
        about: None,
        folder: "set",
        parts: std::slice::from_ref(leak(part)),
        next: "",
    }
}

/// As published: with the size and md5 of `bytes`.
fn published(name: &'static str, bytes: &[u8]) -> RemoteFile {
    RemoteFile { name, path: name, size: Some(bytes.len() as u64), md5: Some(leak(md5(bytes))) }
}

/// About 100 kB that do not compress, so that positions in the file mean something.
fn content(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..100_000).map(|_| next()).collect()
}

fn archive() -> Vec<u8> {
    tar_gz_of(&[("set/a.wav", &content(1)), ("set/b.wav", b"short")])
}

/// A folder to fetch to.
struct Desk {
    folder: TempDir,
    options: Options,
    /// What was waited for, and why.
    waits: RefCell<Vec<String>>,
    stop: AtomicBool,
}

impl Desk {
    fn new(web: &Web) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            out: folder.path().join("data"),
            mirror: Some(web.url.clone()),
            keep_archives: false,
            patience: Patience {
                silence: Duration::from_millis(500),
                retries: 3,
                wait: Duration::from_millis(1),
            },
        };
        Self { folder, options, waits: RefCell::new(Vec::new()), stop: AtomicBool::new(false) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    fn fetch(&self, set: &DataSet) -> Result<PathBuf, Error> {
        let parts = set.choose(&[])?;
        let observer = |event: Event| {
            if let Event::Waiting { reason, .. } = event {
                self.waits.borrow_mut().push(reason.to_owned());
            }
        };
        fetch(set, &parts, &self.options, &observer, &self.stop)
    }

    fn error(&self, set: &DataSet) -> String {
        let error = self.fetch(set).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    /// The names in the data folder.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The set is there, whole, and nothing else is.
    fn is_complete(&self) {
        assert_eq!(self.names(), ["set"]);
        assert_eq!(fs::read(self.path("set/a.wav")).unwrap(), content(1));
        assert_eq!(fs::read(self.path("set/b.wav")).unwrap(), b"short");
    }
}

const E1: &str = "\"one\"";
const E2: &str = "\"two\"";

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let bytes = archive();
    let len = bytes.len();
    let set = data_set(published("set.tar.gz", &bytes));
    for cut in [0, 1, 100, len / 2, len - 1] {
        let bytes = bytes.clone();
        let web = Web::new(move |r| {
            let reply = Reply::file(r, &bytes, E1);
            if r.number == 0 { reply.cut(cut) } else { reply }
        });
        let desk = Desk::new(&web);
        assert_eq!(desk.fetch(&set).unwrap(), desk.path("set"));
        desk.is_complete();
        let requests = web.requests();
        let range = (cut > 0).then(|| format!("bytes={cut}-"));
        let second = Request {
            path: "/set.tar.gz".to_owned(),
            if_range: range.as_ref().map(|_| E1.to_owned()),
            range,
            number: 1,
        };
        assert_eq!(requests.len(), 2, "{cut}");
        assert_eq!(requests[1], second, "{cut}");
        assert_eq!(desk.waits.borrow().len(), 1);
    }
}

#[test]
fn many_interruptions_are_no_failure_as_long_as_bytes_come() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let step = bytes.len() / 20;
    let web = Web::new(move |r| Reply::file(r, &bytes, E1).cut(step));
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    desk.is_complete();
    assert!(web.requests().len() > 20);
}

#[test]
fn another_run_goes_on_with_what_an_earlier_one_left() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let half = bytes.len() / 2;
    let served = bytes.clone();
    let web = Web::new(move |r| match r.number {
        0 => Reply::file(r, &served, E1).cut(half),
        1..=3 => Reply::new("503 Service Unavailable", &[], b""),
        _ => Reply::file(r, &served, E1),
    });
    let desk = Desk::new(&web);
    let error = desk.error(&set);
    assert!(error.contains("503 Service Unavailable") && error.contains("set.tar.gz.part"), "{error}");
    assert_eq!(fs::read(desk.path("set.tar.gz.part")).unwrap(), bytes[..half]);
    assert_eq!(web.requests().len(), 4);
    desk.fetch(&set).unwrap();
    assert_eq!(web.requests()[0].range, Some(format!("bytes={half}-")));
    desk.is_complete();
}

#[test]
fn a_complete_part_is_not_asked_for_again() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let web = Web::new(|_| Reply::new("500 Internal Server Error", &[], b""));
    let desk = Desk::new(&web);
    fs::create_dir(desk.path("")).unwrap();
    fs::write(desk.path("set.tar.gz.part"), bytes).unwrap();
    desk.fetch(&set).unwrap();
    assert_eq!(web.requests(), []);
    desk.is_complete();
}

#[test]
fn servers_without_ranges_or_versions_are_served_too() {
    let bytes = archive();
    let half = bytes.len() / 2;
    let set = data_set(published("set.tar.gz", &bytes));
    // Sends everything, whatever is asked for.
    let served = bytes.clone();
    let web = Web::new(move |r| {
        let reply = Reply::new("200 OK", &[], &served);
        if r.number == 0 { reply.cut(half) } else { reply }
    });
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    desk.is_complete();
    // Sends parts and no tag: the published size holds them together.
    let served = bytes.clone();
    let web = Web::new(move |r| {
        let reply = Reply::file(r, &served, "W/\"weak\"");
        if r.number == 0 { reply.cut(half) } else { reply }
    });
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    desk.is_complete();
    let second = &web.requests()[1];
    assert_eq!((second.range.as_deref(), &second.if_range), (Some(&*format!("bytes={half}-")), &None));
    // Neither a size is published nor a version named: what came cannot be trusted to belong to the rest.
    let unknown = data_set(RemoteFile { name: "set.tar.gz", path: "", size: None, md5: None });
    let served = bytes.clone();
    let web = Web::new(move |r| {
        let reply = Reply::new("200 OK", &[], &served);
        if r.number == 0 { reply.cut(half) } else { reply }
    });
    let desk = Desk::new(&web);
    desk.fetch(&unknown).unwrap();
    desk.is_complete();
    assert_eq!(web.requests()[1].range, None);
}

#[test]
fn another_version_of_the_file_starts_from_the_beginning() {
    let (old, new) = (content(9), archive());
    let set = data_set(published("set.tar.gz", &new));
    let half = new.len() / 2;
    // A server that knows If-Range, and one that does not.
    for honest in [true, false] {
        let (old, new) = (old.clone(), new.clone());
        let web = Web::new(move |r| match r.number {
            0 => Reply::new(
                "200 OK",
                &[("etag", E1), ("content-length", &new.len().to_string())],
                &old[..half],
            ),
            _ if honest => Reply::file(r, &new, E2),
            _ => Reply::file(&Request { if_range: None, ..r.clone() }, &new, E2),
        });
        let desk = Desk::new(&web);
        desk.fetch(&set).unwrap();
        desk.is_complete();
        assert_eq!(web.requests().len(), if honest { 2 } else { 3 });
    }
}

#[test]
fn a_part_that_is_too_long_or_lies_beyond_the_file_is_dropped() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let served = bytes.clone();
    let web = Web::new(move |r| Reply::file(r, &served, E1));
    let desk = Desk::new(&web);
    fs::create_dir(desk.path("")).unwrap();
    fs::write(desk.path("set.tar.gz.part"), vec![0; bytes.len() + 1]).unwrap();
    desk.fetch(&set).unwrap();
    desk.is_complete();
    // Without a published size only the server can tell: 416.
    let unknown = data_set(RemoteFile { name: "set.tar.gz", path: "", size: None, md5: None });
    let desk = Desk::new(&web);
    fs::create_dir(desk.path("")).unwrap();
    fs::write(desk.path("set.tar.gz.part"), vec![0; bytes.len() + 1]).unwrap();
    fs::write(desk.path("set.tar.gz.part.tag"), E1).unwrap();
    desk.fetch(&unknown).unwrap();
    desk.is_complete();
}

#[test]
fn a_file_of_another_size_is_refused_before_it_is_fetched() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let web = Web::new(|r| Reply::file(r, b"an error page", E1));
    let desk = Desk::new(&web);
    let error = desk.error(&set);
    let expected = format!("{} bytes are published and there are 13", bytes.len());
    assert!(error.contains("set.tar.gz: ") && error.contains(&expected), "{error}");
    assert_eq!((web.requests().len(), desk.names()), (1, vec![]));
    // What came before is not lost for it.
    let half = &bytes[..bytes.len() / 2];
    fs::write(desk.path("set.tar.gz.part"), half).unwrap();
    desk.error(&set);
    assert_eq!(fs::read(desk.path("set.tar.gz.part")).unwrap(), half);
    // One that never says how much it will send, and does not stop.
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000)).repeat(20);
    let web = Web::new(move |_| Reply::new("200 OK", &[("transfer-encoding", "chunked")], chunk.as_bytes()));
    let desk = Desk::new(&web);
    let error = desk.error(&set);
    assert!(error.contains(&format!("sends more than {} bytes", bytes.len())), "{error}");
}

#[test]
fn a_corrupted_file_is_named_and_never_unpacked() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let mut bad = bytes.clone();
    bad[bytes.len() / 2] ^= 1;
    let (served, got) = (bytes.clone(), md5(&bad));
    let web = Web::new(move |r| Reply::file(r, if r.number == 0 { &bad } else { &served }, E1));
    let desk = Desk::new(&web);
    let error = desk.error(&set);
    assert!(error.contains("set.tar.gz: ") && error.contains("run the command again"), "{error}");
    assert!(error.contains(&md5(&bytes)) && error.contains(&got), "{error}");
    assert_eq!(desk.names(), [""; 0], "nothing is kept of it");
    web.requests();
    // The server's first answer is bad again; its second is not.
    desk.error(&set);
    desk.fetch(&set).unwrap();
    desk.is_complete();
}

#[test]
fn statuses_are_told_and_only_passing_ones_are_tried_again() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    for (status, attempts) in [
        ("404 Not Found", 1),
        ("403 Forbidden", 1),
        ("500 Internal Server Error", 4),
        ("429 Too Many Requests", 4),
    ] {
        let web = Web::new(move |_| Reply::new(status, &[("retry-after", "0")], b"no"));
        let desk = Desk::new(&web);
        let error = desk.error(&set);
        assert!(error.starts_with(&web.url) && error.contains(status), "{error}");
        assert_eq!((web.requests().len(), desk.names()), (attempts, vec![]), "{status}");
    }
    let web = Web::new(move |r| match r.number {
        0 => Reply::new("502 Bad Gateway", &[], b""),
        1 => Reply::new("302 Found", &[("location", "/elsewhere")], b""),
        _ => Reply::file(r, &bytes, E1),
    });
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    desk.is_complete();
    assert_eq!(web.requests()[2].path, "/elsewhere");
}

#[test]
fn redirects_in_a_circle_end() {
    let set = data_set(published("set.tar.gz", b"x"));
    let web = Web::new(|_| Reply::new("302 Found", &[("location", "/set.tar.gz")], b""));
    let desk = Desk::new(&web);
    let error = desk.error(&set);
    assert!(error.contains("more than 5 redirects"), "{error}");
    assert_eq!(web.requests().len(), 6);
}

#[test]
fn a_redirect_off_the_web_is_named() {
    let set = data_set(published("set.tar.gz", b"x"));
    for location in ["file:///etc/passwd", "ftp://host/set.tar.gz"] {
        let web = Web::new(move |_| Reply::new("302 Found", &[("location", location)], b""));
        let error = Desk::new(&web).error(&set);
        let expected = format!("the server leads to {location}, which is neither https:// nor http://");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(web.requests().len(), 1);
    }
}

#[test]
fn the_publishers_address_must_be_https_also_behind_redirects() {
    let web = Web::new(|_| Reply::new("200 OK", &[], b""));
    let mut desk = Desk::new(&web);
    desk.options.mirror = None;
    let set = DataSet { base: leak(web.url.clone()), ..data_set(published("set.tar.gz", b"x")) };
    let error = desk.error(&set);
    assert!(error.contains("is not https"), "{error}");
    assert_eq!(web.requests(), []);
    for mirror in ["ftp://x", "http://", "https:///x", "http://["] {
        desk.options.mirror = Some(mirror.to_owned());
        assert!(
            desk.error(&set).contains("must begin with https:// or http:// and name a server"),
            "{mirror}"
        );
    }
}

#[test]
fn a_connection_that_falls_silent_is_given_up_and_made_anew() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let half = bytes.len() / 2;
    let web = Web::new(move |r| match r.number {
        0 => Reply::file(r, &bytes, E1).silent_after(half),
        // Silent before the head of the answer, too.
        1 => Reply::nothing(),
        _ => Reply::file(r, &bytes, E1),
    });
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    desk.is_complete();
    let ranges: Vec<_> = web.requests().into_iter().map(|r| r.range).collect();
    assert_eq!(ranges[1..], [Some(format!("bytes={half}-")), Some(format!("bytes={half}-"))]);
    let waits = desk.waits.borrow();
    assert!(waits.len() == 2 && waits.iter().all(|reason| reason.contains("timeout")), "{waits:?}");
}

#[test]
fn nobody_there_is_an_error_after_a_few_attempts() {
    let set = data_set(published("set.tar.gz", b"x"));
    let web = Web::new(|_| Reply::new("200 OK", &[], b""));
    let mut desk = Desk::new(&web);
    // A port nobody has: the system's choice of a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    desk.options.mirror = Some(format!("http://127.0.0.1:{port}/"));
    let error = desk.error(&set);
    assert!(error.starts_with(&format!("http://127.0.0.1:{port}/set.tar.gz: ")), "{error}");
    assert_eq!(desk.waits.borrow().len(), 3);
}

#[test]
fn when_stopped_what_came_is_kept() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let half = bytes.len() / 2;
    let web = Web::new(move |r| {
        let reply = Reply::file(r, &bytes, E1);
        if r.number == 0 { reply.cut(half) } else { reply }
    });
    let desk = Desk::new(&web);
    let parts = set.choose(&[]).unwrap();
    let stop = |event: Event| {
        if matches!(event, Event::Waiting { .. }) {
            desk.stop.store(true, Ordering::Relaxed);
        }
    };
    let stopped = fetch(&set, &parts, &desk.options, &stop, &desk.stop).unwrap_err();
    assert!(matches!(stopped, Error::Stopped));
    assert_eq!(fs::metadata(desk.path("set.tar.gz.part")).unwrap().len(), half as u64);
    desk.stop.store(false, Ordering::Relaxed);
    // And once more while it is unpacked: the archive is kept then.
    let stop = |event: Event| {
        if matches!(event, Event::Unpacking { .. }) {
            desk.stop.store(true, Ordering::Relaxed);
        }
    };
    let stopped = fetch(&set, &parts, &desk.options, &stop, &desk.stop).unwrap_err();
    assert!(matches!(stopped, Error::Stopped));
    assert_eq!(desk.names(), ["set.tar.gz"]);
    desk.stop.store(false, Ordering::Relaxed);
    desk.fetch(&set).unwrap();
    assert_eq!(web.requests().len(), 2, "the finished archive is recognised");
    assert_eq!(desk.names(), ["set", "set.tar.gz"], "what was there before stays");
}

#[test]
fn archives_stay_when_asked_and_bad_ones_of_the_user_are_not_touched() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let served = bytes.clone();
    let web = Web::new(move |r| Reply::file(r, &served, E1));
    let mut desk = Desk::new(&web);
    desk.options.keep_archives = true;
    desk.fetch(&set).unwrap();
    assert_eq!(desk.names(), ["set", "set.tar.gz"]);
    assert_eq!(fs::read(desk.path("set.tar.gz")).unwrap(), bytes);
    fs::remove_dir_all(desk.path("set")).unwrap();
    web.requests();
    fs::write(desk.path("set.tar.gz"), "mine").unwrap();
    let error = desk.error(&set);
    assert!(error.contains("there are 4; delete it and run the command again"), "{error}");
    assert_eq!(fs::read(desk.path("set.tar.gz")).unwrap(), b"mine");
    assert_eq!((web.requests(), desk.names()), (vec![], vec!["set.tar.gz".to_owned()]));
}

#[test]
fn what_is_there_is_not_fetched_and_not_overwritten() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let web = Web::new(move |r| Reply::file(r, &bytes, E1));
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    web.requests();
    desk.fetch(&set).unwrap();
    fs::remove_file(desk.path("set/b.wav")).unwrap();
    fs::write(desk.path("set/._b.wav"), "a note of macOS").unwrap();
    let error = desk.error(&set);
    assert!(error.contains("holds 1 .wav files where there must be 2; move it away"), "{error}");
    assert_eq!(web.requests(), []);
    assert_eq!(fs::read(desk.path("set/a.wav")).unwrap(), content(1));
}

#[cfg(unix)]
#[test]
fn two_programs_do_not_fetch_to_one_folder_and_the_rests_of_killed_ones_go() {
    let bytes = archive();
    let set = data_set(published("set.tar.gz", &bytes));
    let web = Web::new(move |r| Reply::file(r, &bytes, E1));
    let desk = Desk::new(&web);
    fs::create_dir_all(desk.path(".unpacking-x/set")).unwrap();
    fs::write(desk.path(".unpacking-x/set/a.wav"), "half").unwrap();
    let other = fs::File::open(desk.path("")).unwrap();
    other.lock().unwrap();
    let error = desk.error(&set);
    assert!(error.contains("data: another oido is fetching to it"), "{error}");
    assert_eq!((web.requests(), desk.names()), (vec![], vec![".unpacking-x".to_owned()]));
    drop(other);
    desk.fetch(&set).unwrap();
    desk.is_complete();
}

#[test]
fn an_archive_without_checksum_is_removed_when_it_is_bad() {
    let file = |name| RemoteFile { name, path: "", size: None, md5: None };
    let hostile = zip(&[zipped("set/a.wav", b"x"), zipped("../b.wav", b"x")]);
    let short = zip(&[zipped("set/a.wav", b"x")]);
    for (bytes, expected) in [
        (hostile, "not a plain relative path; the archive was removed"),
        (short, "x.zip/set: holds 1 .wav files where there must be 2; the archive was removed"),
        (zip(&[zipped("other/a.wav", b"x")]), "x.zip/set: cannot be read: "),
        (b"<html>".to_vec(), "not a .zip archive"),
    ] {
        let web = Web::new(move |r| Reply::file(r, &bytes, E1));
        let desk = Desk::new(&web);
        let error = desk.error(&data_set(file("x.zip")));
        assert!(error.contains(expected), "{error}");
        assert_eq!(desk.names(), [""; 0]);
        assert_eq!(fs::read_dir(desk.folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_published_archive_that_is_hostile_is_refused_all_the_same() {
    let bytes = tar_gz_of(&[("set/a.wav", b"x"), ("../b.wav", b"x")]);
    let set = data_set(published("set.tar.gz", &bytes));
    let web = Web::new(move |r| Reply::file(r, &bytes, E1));
    let desk = Desk::new(&web);
    let error = desk.error(&set);
    assert!(error.contains("entry `../b.wav`") && error.ends_with("so report this"), "{error}");
    assert_eq!(desk.names(), ["set.tar.gz"]);
}

/// Serves files by name.
fn serve(files: Vec<(String, Vec<u8>)>) -> Web {
    let files = Arc::new(files);
    Web::new(move |r| match files.iter().find(|(name, _)| r.path == format!("/{name}")) {
        Some((_, bytes)) => Reply::file(r, bytes, E1),
        None => Reply::new("404 Not Found", &[], b""),
    })
}

#[test]
fn subsets_are_fetched_one_by_one_and_share_their_documents() {
    let audio = |name: &str| (format!("LibriSpeech/{name}/1/2/1-2-0000.flac"), content(3));
    let subset = |name: &'static str| {
        let (path, bytes) = audio(name);
        tar_gz_of(&[(&path, &bytes), ("LibriSpeech/SPEAKERS.TXT", name.as_bytes()), ("LibriSpeech/x", b"")])
    };
    let part = |name: &'static str, choice, bytes: &[u8]| Part {
        name,
        choice,
        files: std::slice::from_ref(leak(published(leak(format!("{name}.tar.gz")), bytes))),
        root: leak(format!("LibriSpeech/{name}")),
        place: leak(format!("LibriSpeech/{name}")),
        documents: &["LibriSpeech/SPEAKERS.TXT", "LibriSpeech/README.TXT"],
        contents: Contents { clips: 1, ending: ".flac", tables: &[] },
    };
    let (dev, test) = (subset("dev-clean"), subset("test-clean"));
    let parts = vec![part("dev-clean", Choice::Default, &dev), part("test-clean", Choice::Asked, &test)];
    let set = DataSet { folder: "LibriSpeech", parts: leak(parts), ..data_set(published("x", b"")) };
    let web = serve(vec![("dev-clean.tar.gz".to_owned(), dev), ("test-clean.tar.gz".to_owned(), test)]);
    let desk = Desk::new(&web);
    assert_eq!(desk.fetch(&set).unwrap(), desk.path("LibriSpeech"));
    assert_eq!(web.requests().len(), 1);
    assert_eq!(fs::read(desk.path("LibriSpeech/SPEAKERS.TXT")).unwrap(), b"dev-clean");
    assert!(!desk.path("LibriSpeech/test-clean").exists() && !desk.path("LibriSpeech/x").exists());

    let both = set.choose(&["test-clean".to_owned(), "dev-clean".to_owned()]).unwrap();
    assert_eq!(both.iter().map(|part| part.name).collect::<Vec<_>>(), ["dev-clean", "test-clean"]);
    fetch(&set, &both, &desk.options, &|_| (), &desk.stop).unwrap();
    assert_eq!(web.requests().len(), 1, "the first is there");
    assert!(desk.path("LibriSpeech/test-clean/1/2/1-2-0000.flac").is_file());
    assert_eq!(fs::read(desk.path("LibriSpeech/SPEAKERS.TXT")).unwrap(), b"dev-clean", "not overwritten");
    let error = set.choose(&["dev".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("no subset `dev`; there are: dev-clean, test-clean"), "{error}");
}

#[test]
fn a_split_zip_is_checked_by_its_zenodo_record_volume_by_volume() {
    let clips: Vec<Vec<u8>> = (4..6).map(content).collect();
    let entries = [
        stored("noisy/a.wav", &clips[0]),
        zipped("noisy/b.wav", &clips[1]),
        zipped("noisy/t.csv", b"x\n1\n2\n"),
    ];
    let volumes = split_zip(&entries, 50_000, false);
    assert_eq!(volumes.len(), 5);
    let names: Vec<String> =
        (1..volumes.len()).map(|i| format!("noisy.z{i:02}")).chain(["noisy.zip".to_owned()]).collect();
    let recorded = |name: &String| RemoteFile { name: leak(name.clone()), path: "", size: None, md5: None };
    let part = Part {
        name: "noisy",
        choice: Choice::Always,
        files: leak(names.iter().map(recorded).collect::<Vec<_>>()),
        root: "noisy",
        place: "Set/noisy",
        documents: &[],
        contents: Contents { clips: 2, ending: ".wav", tables: &[("t.csv", 2)] },
    };
    let parts = std::slice::from_ref(leak(part));
    let set = DataSet { record: Some(77), folder: "Set", parts, ..data_set(published("x", b"")) };
    let listed = |(name, bytes): (&String, &Vec<u8>)| serde_json::json!({ "key": name, "size": bytes.len(), "checksum": format!("md5:{}", md5(bytes)) });
    let record =
        serde_json::json!({ "id": 77, "files": names.iter().zip(&volumes).map(listed).collect::<Vec<_>>() });
    let mut files: Vec<(String, Vec<u8>)> = names.iter().cloned().zip(volumes).collect();
    files.push(("77.json".to_owned(), record.to_string().into_bytes()));

    let web = serve(files.clone());
    let desk = Desk::new(&web);
    desk.fetch(&set).unwrap();
    assert_eq!(desk.names(), ["Set"]);
    assert_eq!(fs::read(desk.path("Set/noisy/a.wav")).unwrap(), clips[0]);
    assert_eq!(fs::read(desk.path("Set/noisy/b.wav")).unwrap(), clips[1]);
    assert_eq!(web.requests()[0].path, "/77.json");
    desk.fetch(&set).unwrap();
    assert_eq!(web.requests(), [], "the record is not needed any more");

    let mut bad = files.clone();
    bad[2].1[17] ^= 1;
    let desk = Desk::new(&serve(bad));
    let error = desk.error(&set);
    assert!(error.contains("noisy.z03: the published md5"), "{error}");
    assert_eq!(desk.names(), ["noisy.z01", "noisy.z02"], "the good volumes are kept");

    for record in ["", "[]", "{\"files\": []}", &record.to_string().replace("md5:", "sha1:")] {
        files.last_mut().unwrap().1 = record.as_bytes().to_vec();
        let desk = Desk::new(&serve(files.clone()));
        let error = desk.error(&set);
        assert!(error.contains("/77.json: not a Zenodo record with the size and md5 of"), "{error}");
        assert_eq!(desk.names(), [""; 0]);
    }
}

#[test]
fn the_catalogue_is_consistent() {
    for set in CATALOG {
        assert!(set.base.starts_with("https://") && set.terms_url.starts_with("https://"), "{}", set.name);
        assert!(!set.terms.contains("  "), "{}", set.terms);
        let next = set.next.replace("{}", set.folder);
        oido::cli::Cli::try_parse_from(next.split(' ')).unwrap_or_else(|e| panic!("{next}: {e}"));
        let usual = set.choose(&[]).unwrap();
        assert!(set.bytes(&usual).is_some() && !usual.is_empty(), "{}", set.name);
        for part in set.parts {
            assert!(part.place.starts_with(set.folder), "{}", part.place);
            assert!(part.files.iter().all(|file| file.size.is_some() == file.md5.is_some()));
            for md5 in part.files.iter().filter_map(|file| file.md5) {
                assert!(
                    md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                );
            }
        }
    }
    let librispeech = DataSet::find("librispeech").unwrap();
    let usual = librispeech.choose(&[]).unwrap();
    assert_eq!(
        usual.iter().map(|part| part.name).collect::<Vec<_>>(),
        ["train-clean-100", "dev-clean", "test-clean"]
    );
    assert_eq!(librispeech.bytes(&usual), Some((7_071_899_769, false)));
    let fsd = DataSet::find("fsdkaggle2019").unwrap();
    let curated = fsd.choose(&["curated".to_owned()]).unwrap();
    assert_eq!(curated.iter().map(|part| part.name).collect::<Vec<_>>(), ["meta", "doc", "curated"]);
    assert_eq!(fsd.bytes(&curated), None);
}

/// ESC-50 as GitHub packs it, with short clips.
fn esc50() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.wav");
    oido::audio::write_wav(&path, &tone(440.0, 0.01, 8_000), oido::audio::WavFormat::Pcm16).unwrap();
    let clip = fs::read(path).unwrap();
    let mut table = "filename,fold,target,category,esc10,src_file,take\n".to_owned();
    let mut entries = vec![zipped("ESC-50-master/", b""), zipped("ESC-50-master/audio/", b"")];
    for i in 0..2000 {
        let (fold, class) = (i % 5 + 1, i % 50);
        let name = format!("{fold}-{i}-A-{class}.wav");
        table += &format!(
            "{name},{fold},{class},class{class},{},{i},A\n",
            if class < 10 { "True" } else { "False" }
        );
        entries.push(zipped(&format!("ESC-50-master/audio/{name}"), &clip));
    }
    entries.push(zipped("ESC-50-master/meta/esc50.csv", table.as_bytes()));
    zip(&entries)
}

/// Standard output and error of a finished command.
fn talk(assert: assert_cmd::assert::Assert) -> (String, String) {
    let output = assert.get_output();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn esc50_comes_through_the_command_line_and_is_prepared() {
    let bytes = esc50();
    let half = bytes.len() / 2;
    let web = Web::new(move |r| {
        let reply = Reply::file(r, &bytes, E1);
        if r.number == 0 { reply.cut(half) } else { reply }
    });
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = oido();
        command.current_dir(folder.path()).args(["fetch", "esc50", "--mirror", &web.url]).args(args);
        command
    };
    let (out, said) = talk(run(&[]).assert().code(2));
    assert!(said.contains("CC BY-NC 3.0") && said.contains("about 650.00 MB in 1 file"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("error: esc50: its terms of use are not accepted") && out.is_empty(), "{said}");
    assert!(web.requests().is_empty() && !folder.path().join("data").exists());

    let (out, said) = talk(run(&["--accept-terms", "--keep-archives"]).assert().code(0));
    assert_eq!(out, "data/ESC-50-master\n");
    assert!(said.contains("trying again in 1 s") && said.contains("without checksum"), "{said}");
    assert!(said.ends_with("next: oido prepare esc50 data/ESC-50-master --out esc50.csv\n"), "{said}");
    assert!(folder.path().join("data/ESC-50-master.zip").is_file());
    let prepared = prepare(Source::Esc10, &folder.path().join("data/ESC-50-master")).unwrap();
    assert_eq!((prepared.manifest.entries.len(), prepared.manifest.labels.len()), (400, 10));
    oido()
        .current_dir(folder.path())
        .args(["prepare", "esc50", "data/ESC-50-master", "--out", "esc50.csv", "--no-check"])
        .assert()
        .code(0);

    web.requests();
    let (out, _) = talk(run(&["--accept-terms", "--json"]).assert().code(0));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], serde_json::json!({ "event": "present", "folder": "data/ESC-50-master" }));
    assert_eq!(lines[1]["next"], "oido prepare esc50 data/ESC-50-master --out esc50.csv");
    assert!(web.requests().is_empty());
}

#[test]
fn the_command_line_lists_and_names_mistakes() {
    let (text, said) = talk(oido().arg("fetch").assert().code(0));
    assert_eq!(talk(oido().args(["fetch", "esc50", "--list"]).assert().code(0)).0, text);
    for words in [
        ["urbansound8k", "6.02 GB", "CC BY-NC 3.0", "https://urbansounddataset.weebly.com"],
        ["esc50", "about 650.00 MB", "CC BY-NC", "https://github.com/karolpiczak/ESC-50"],
        ["fsdkaggle2019", "about 26.90 GB", "11", "https://zenodo.org/records/3612637"],
        ["librispeech", "7.07 GB", "CC BY 4.0", "https://www.openslr.org/12"],
    ] {
        let line = text.lines().find(|line| line.starts_with(words[0])).unwrap();
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert!(text.contains("librispeech --subset: train-clean-100 (6.39 GB), dev-clean"), "{text}");
    assert!(said.is_empty());
    let (json, _) = talk(oido().args(["fetch", "--json"]).assert().code(0));
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[3]["bytes"]), (4, &serde_json::json!(7_071_899_769_u64)));

    for (args, code, expected) in [
        (&["fetch", "mnist"][..], 2, "urbansound8k, esc50, fsdkaggle2019, librispeech"),
        (&["fetch", "librispeech", "--subset", "dev"], 2, "no subset `dev`"),
        (&["fetch", "urbansound8k", "--subset", "fold1"], 2, "no subset `fold1`; there are: none"),
        (&["fetch", "esc50", "--accept-terms", "--mirror", "x"], 2, "must begin with https://"),
        (&["fetch", "urbansound8k"], 2, "fill in the form at"),
        (&["fetch", "--subset", "curated"], 2, "--subset is for fetching: name the data set"),
        (&["fetch", "librispeech", "--list", "--subset", "dev-clean"], 2, "--subset is for fetching"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (_, said) = talk(oido().current_dir(folder.path()).args(args).assert().code(code));
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_part_that_the_next_run_goes_on_with() {
    let bytes = esc50();
    let len = bytes.len();
    let web = Web::new(move |r| {
        let reply = Reply::file(r, &bytes, E1);
        if r.number == 0 { reply.silent_after(len / 2) } else { reply }
    });
    let folder = tempfile::tempdir().unwrap();
    let command = |web: &Web| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("oido"));
        command
            .current_dir(folder.path())
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null());
        command.args(["fetch", "esc50", "--accept-terms", "--mirror", &web.url]);
        command
    };
    let mut child = command(&web).spawn().unwrap();
    let part = folder.path().join("data/ESC-50-master.zip.part");
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    while length(&part) < len as u64 / 2 {
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The first asks; the second, as the server is silent, ends it at once.
    for _ in 0..2 {
        let killed = std::process::Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(length(&part), len as u64 / 2);
    assert!(command(&web).status().unwrap().success());
    assert_eq!(web.requests()[1].range, Some(format!("bytes={}-", len / 2)));
    assert!(folder.path().join("data/ESC-50-master/meta/esc50.csv").is_file() && !part.exists());
}
