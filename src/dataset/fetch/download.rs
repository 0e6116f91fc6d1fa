//! One file over HTTP(S), in as many attempts as it takes.
//!
//! The bytes go to `NAME.part`, beside it `NAME.part.tag` with what the server calls this version of the file (`ETag`
//! or `Last-Modified`). An attempt asks for what is missing, on the condition that the version is the same (RFC 9110,
//! 13.1.5 and 14.2); a server that sends everything, another version or no ranges is followed from the beginning.
//! Only a complete file whose size and md5 are those published gets its name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use crate::files::write_file;

use super::verify::{Published, verify};
use super::{Error, Event};

/// Redirects that are followed.
const REDIRECTS: u32 = 5;
/// The longest wait before another attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// No file is longer.
const MAX_FILE: u64 = 1 << 40;

/// How long to wait for a server, and how often to try again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection, and for each piece of the answer.
    pub silence: Duration,
    /// Attempts in a row that bring nothing, after the first.
    pub retries: u32,
    /// Before the second attempt; each further wait is twice as long, up to a minute.
    pub wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), retries: 5, wait: Duration::from_secs(1) }
    }
}

/// Downloads files.
pub(super) struct Downloader<'a> {
    agent: Agent,
    patience: Patience,
    stop: &'a AtomicBool,
    observer: &'a dyn Fn(Event),
}

/// Why an attempt did not finish the file.
enum Failure {
    /// Another attempt may; not before the wait the server asks for.
    Again(String, Option<Duration>),
    /// None will.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

fn again(reason: impl Into<String>) -> Failure {
    Failure::Again(reason.into(), None)
}

impl<'a> Downloader<'a> {
    /// `https`: follow no other addresses.
    pub(super) fn new(
        https: bool,
        patience: Patience,
        stop: &'a AtomicBool,
        observer: &'a dyn Fn(Event),
    ) -> Self {
        let agent = Agent::config_builder()
            .https_only(https)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.silence))
            .timeout_connect(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .timeout_per_write(Some(patience.silence))
            .user_agent(concat!("oido/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, patience, stop, observer }
    }

    /// Fetches `url` as the file `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] or [`Error::Http`] when the server does not give it, [`Error::Size`] and [`Error::Checksum`] when
    /// it is not what is published (a whole file with another checksum is not kept), [`Error::Stopped`]; else what came is kept.
    pub(super) fn fetch(&self, url: &str, path: &Path, published: &Published) -> Result<(), Error> {
        let mut part = Part::open(path)?;
        let mut most = part.have;
        let mut failures = 0;
        while let Err(failure) = self.attempt(url, &mut part, published) {
            let (reason, asked) = match failure {
                Failure::Final(error) => return Err(part.give_up(error)),
                Failure::Again(reason, asked) => (reason, asked),
            };
            if part.have > most {
                (most, failures) = (part.have, 0);
            }
            if failures == self.patience.retries {
                let kept = part.path.display();
                let reason = match part.have {
                    0 => format!("{reason}; look whether the network is there, and run the command again"),
                    _ => format!("{reason}; what came is in {kept}, and the same command goes on from there"),
                };
                return Err(part.give_up(Error::Http { url: url.to_owned(), reason }));
            }
            let wait = self.patience.wait.saturating_mul(2_u32.saturating_pow(failures));
            let wait = asked.unwrap_or(wait).min(LONGEST_WAIT);
            failures += 1;
            (self.observer)(Event::Waiting { file: path, reason: &reason, wait });
            self.sleep(wait)?;
        }
        part.file.sync_all().map_err(Error::io(&part.path, "write"))?;
        let advice = "nothing of it was kept; run the command again";
        let total = part.have;
        let checking = |done| (self.observer)(Event::Checking { file: path, done, total });
        let checked = verify(&mut part.file, path, published, advice, self.stop, &checking);
        if let Err(Error::Size { .. } | Error::Checksum { .. }) = checked {
            part.discard()?;
        }
        checked?;
        std::fs::rename(&part.path, path).map_err(Error::io(path, "write"))?;
        remove(&part.tag_path)
    }

    /// Asks for what is missing and writes what comes.
    fn attempt(&self, url: &str, part: &mut Part, published: &Published) -> Result<(), Failure> {
        if published.size.is_some_and(|size| part.have > size) {
            part.restart()?;
        }
        if part.have > 0 && published.size == Some(part.have) {
            return Ok(());
        }
        let tag = part.tag();
        // Without a version to name, only the published size tells that the rest belongs to the beginning.
        if tag.is_none() && published.size.is_none() {
            part.restart()?;
        }
        let response = self.ask(url, part.have, tag.as_deref())?;
        let end = begin(url, &response, part, published, tag.as_deref())?;
        self.receive(response.into_body(), part, end)
    }

    /// Asks for `url` from byte `have` on, wherever the server leads.
    fn ask(&self, url: &str, have: u64, tag: Option<&str>) -> Result<Response<Body>, Failure> {
        let refuse = |reason: String| Failure::Final(Error::Http { url: url.to_owned(), reason });
        let mut place = url.to_owned();
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&place);
            if have > 0 {
                request = request.header(header::RANGE, format!("bytes={have}-"));
                if let Some(tag) = tag {
                    request = request.header(header::IF_RANGE, tag);
                }
            }
            let response = request.call().map_err(|error| failure(url, &error))?;
            let location =
                response.headers().get(header::LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location else { return Ok(response) };
            let location = String::from_utf8_lossy(location.as_bytes());
            place = redirected(&place, &location).map_err(refuse)?;
        }
        Err(refuse(format!("more than {REDIRECTS} redirects; look whether the address is right")))
    }

    /// Writes a body to the end of the part, which must come to `end` bytes, if that is known.
    fn receive(&self, body: Body, part: &mut Part, end: Option<u64>) -> Result<(), Failure> {
        let most = end.unwrap_or(MAX_FILE);
        let mut body = body.into_with_config().limit(u64::MAX).reader();
        let mut block = vec![0; 1 << 16];
        let mut shown = Instant::now();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped.into());
            }
            let n = match body.read(&mut block) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => return Err(again(format!("interrupted: {error}"))),
            };
            if part.have + n as u64 > most {
                part.restart()?;
                return Err(again(format!("the server sends more than {most} bytes")));
            }
            part.append(&block[..n])?;
            if shown.elapsed() > Duration::from_millis(100) {
                shown = Instant::now();
                (self.observer)(Event::Downloading { file: &part.name, done: part.have, total: end });
            }
        }
        (self.observer)(Event::Downloading { file: &part.name, done: part.have, total: end });
        match end {
            Some(end) if part.have < end => {
                Err(again(format!("the connection ended after {} of {end} bytes", part.have)))
            }
            _ => Ok(()),
        }
    }

    /// Waits, and looks whether to stop.
    fn sleep(&self, wait: Duration) -> Result<(), Error> {
        let until = Instant::now() + wait;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// Where `location` leads from `place`, which is an absolute address (RFC 3986, 5.2.2; a server takes `..` out itself).
fn redirected(place: &str, location: &str) -> Result<String, String> {
    let location = location.split('#').next().unwrap_or(location);
    let (scheme, rest) = place.split_once("://").unwrap_or(("https", place));
    let path = rest.split(['?', '#']).next().unwrap_or(rest);
    let host = path.split('/').next().unwrap_or(path);
    let folder = path.rsplit_once('/').map_or(host, |(folder, _)| folder);
    let named = location.split(['/', '?']).next().and_then(|start| start.split_once(':'));
    match named.map(|(scheme, _)| scheme.to_ascii_lowercase()) {
        Some(scheme) if !matches!(scheme.as_str(), "http" | "https") => Err(format!(
            "the server leads to {location}, which is neither https:// nor http://; look whether the address is right"
        )),
        Some(_) => Ok(location.to_owned()),
        None if location.starts_with("//") => Ok(format!("{scheme}:{location}")),
        None if location.starts_with('/') => Ok(format!("{scheme}://{host}{location}")),
        None if location.starts_with('?') => Ok(format!("{scheme}://{path}{location}")),
        None => Ok(format!("{scheme}://{folder}/{location}")),
    }
}

/// Looks at the head of an answer; afterwards the body is what follows the part. Returns the size of the whole file.
fn begin(
    url: &str,
    response: &Response<Body>,
    part: &mut Part,
    published: &Published,
    tag: Option<&str>,
) -> Result<Option<u64>, Failure> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let http = |reason: String| Error::Http { url: url.to_owned(), reason };
    if text(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(http("the server sends it compressed once more; use another --mirror".to_owned()).into());
    }
    let status = response.status();
    let end = match status {
        StatusCode::OK => text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        StatusCode::PARTIAL_CONTENT => {
            let range = text(header::CONTENT_RANGE).and_then(content_range);
            let other = tag.zip(text(header::ETAG)).is_some_and(|(tag, etag)| is_strong(tag) && tag != etag);
            match range {
                Some((start, end)) if start == part.have && part.have > 0 && !other => Some(end),
                _ => {
                    part.restart()?;
                    return Err(again("the server sends another part than was asked for"));
                }
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            // When the size is published, the part is not too long, and it is the server that has another file.
            if published.size.is_none() {
                part.restart()?;
            }
            return Err(again("the server has fewer bytes than came before"));
        }
        StatusCode::NOT_FOUND => return Err(Error::Absent { url: url.to_owned() }.into()),
        _ => {
            let reason = format!("the server answers {status}");
            let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            if busy || status.is_server_error() {
                let wait = text(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
                return Err(Failure::Again(reason, wait.map(Duration::from_secs)));
            }
            return Err(http(format!("{reason}; look whether the address is right")).into());
        }
    };
    if let Some((expected, got)) = published.size.zip(end).filter(|(expected, got)| expected != got) {
        let (file, advice) = (part.name.clone(), "the server has another file; give another --mirror");
        return Err(Error::Size { file, expected, got, advice }.into());
    }
    if status == StatusCode::OK {
        part.restart()?;
    }
    if part.have == 0 {
        let etag = text(header::ETAG).filter(|etag| is_strong(etag));
        part.mark(etag.or_else(|| text(header::LAST_MODIFIED)))?;
    }
    Ok(published.size.or(end))
}

/// Whether an entity tag promises equal bytes; dates and weak tags do not.
fn is_strong(tag: &str) -> bool {
    tag.starts_with('"')
}

/// First byte and size of the whole from `bytes FIRST-LAST/SIZE`.
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()?))
}

/// Sorts what can go wrong before an answer.
fn failure(url: &str, error: &ureq::Error) -> Failure {
    use ureq::Error as E;
    let reason = match error {
        E::RequireHttpsOnly(_) => "the address, or one it leads to, is not https".to_owned(),
        error => error.to_string(),
    };
    match error {
        E::Io(_) | E::Timeout(_) | E::HostNotFound | E::ConnectionFailed | E::Protocol(_) => again(reason),
        _ => Failure::Final(Error::Http { url: url.to_owned(), reason }),
    }
}

/// An unfinished file.
struct Part {
    file: File,
    /// What it will be called.
    name: PathBuf,
    path: PathBuf,
    tag_path: PathBuf,
    /// Its length.
    have: u64,
}

impl Part {
    fn open(name: &Path) -> Result<Self, Error> {
        let with = |ending: &str| {
            let mut path = name.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        let (path, tag_path) = (with(".part"), with(".part.tag"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(Error::io(&path, "open"))?;
        let have = file.seek(SeekFrom::End(0)).map_err(Error::io(&path, "read"))?;
        Ok(Self { file, name: name.to_owned(), path, tag_path, have })
    }

    /// What the server called the version of the bytes that are there.
    fn tag(&self) -> Option<String> {
        let tag = std::fs::read_to_string(&self.tag_path).ok()?;
        (self.have > 0 && !tag.is_empty()).then_some(tag)
    }

    fn mark(&self, tag: Option<&str>) -> Result<(), Error> {
        match tag {
            Some(tag) => write_file(&self.tag_path, tag).map_err(Error::io(&self.tag_path, "write")),
            None => remove(&self.tag_path),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write"))?;
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Back to nothing.
    fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(Error::io(&self.path, "write"))?;
        self.have = 0;
        Ok(())
    }

    /// Leaves no file behind that has nothing in it; returns the error.
    fn give_up(&mut self, error: Error) -> Error {
        if self.have == 0 {
            // The error that is told is the one that came first.
            let _ = self.discard();
        }
        error
    }

    /// Removes what came.
    fn discard(&mut self) -> Result<(), Error> {
        remove(&self.path)?;
        remove(&self.tag_path)
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, "remove")(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_as_a_browser_does_but_only_on_the_web() {
        let from = "https://host:1/a/b.zip?x=/y";
        for (location, expected) in [
            ("http://other/c", "http://other/c"),
            ("HTTPS://other/c#top", "HTTPS://other/c"),
            ("//other/c", "https://other/c"),
            ("/c?d=e:f", "https://host:1/c?d=e:f"),
            ("c/d:e", "https://host:1/a/c/d:e"),
            ("?c", "https://host:1/a/b.zip?c"),
        ] {
            assert_eq!(redirected(from, location).unwrap(), expected);
        }
        assert_eq!(redirected("http://host", "c").unwrap(), "http://host/c");
        for location in ["file:///etc/passwd", "FTP://host/c", "data:,x", "javascript:x"] {
            assert!(redirected(from, location).unwrap_err().contains(location));
        }
    }

    #[test]
    fn a_content_range_must_name_the_whole_size() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 10)));
        for bad in ["", "bytes */10", "bytes 5-9/*", "bytes 5/10", "items 5-9/10", "bytes -5-9/10"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
