//! Where bytes come from, and the budget they are read under.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use symphonia::core::io::MediaSource;

use super::{Error, Limits};

/// Where a recording comes from.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// A file.
    Path(&'a Path),
    /// Bytes already in memory; `name` appears in errors.
    Bytes {
        /// What errors call this recording.
        name: &'a str,
        /// The whole file.
        data: Arc<[u8]>,
    },
}

impl Source<'_> {
    /// What errors call this recording.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Path(path) => path.to_string_lossy(),
            Self::Bytes { name, .. } => Cow::Borrowed(name),
        }
    }

    /// Opens a regular, non-empty file (or the bytes) of acceptable size. The clock starts here.
    pub(super) fn open(&self, limits: &Limits) -> Result<Media, Error> {
        let name = || self.name().into_owned();
        let (bytes, len): (Box<dyn Bytes>, u64) = match self {
            Self::Path(path) => {
                let (file, len) = open_file(path)?;
                (Box::new(file), len)
            }
            Self::Bytes { data, .. } => (Box::new(Cursor::new(Arc::clone(data))), data.len() as u64),
        };
        if len == 0 {
            return Err(Error::Empty { name: name() });
        }
        if len > limits.max_file_bytes {
            let reason = format!("has {len} bytes; the limit is {}", limits.max_file_bytes);
            return Err(Error::Limit { name: name(), reason });
        }
        Ok(Media::new(bytes, len, limits))
    }
}

/// Opens a regular file. Anything else is refused before it is opened, because opening a pipe can block.
fn open_file(path: &Path) -> Result<(File, u64), Error> {
    let name = path.display().to_string();
    let read = |source| Error::Read { name: name.clone(), source };
    let metadata = std::fs::metadata(path).map_err(read)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { what: kind(&metadata), name });
    }
    Ok((File::open(path).map_err(read)?, metadata.len()))
}

#[cfg(unix)]
fn kind(metadata: &std::fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind(metadata: &std::fs::Metadata) -> &'static str {
    if metadata.is_dir() { "a directory" } else { "a device" }
}

/// Anything bytes can be read from.
pub(super) trait Bytes: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> Bytes for T {}

/// What is left of the limits while one recording is decoded; shared by the reader and the decoding loop, which run in
/// the thread that opened it.
#[derive(Debug)]
pub(super) struct Budget {
    started: Instant,
    file_len: u64,
    /// Processor time of this thread when it began.
    used_before: Duration,
    limits: Limits,
    max_bytes_read: u64,
    bytes_read: AtomicU64,
    seeks: AtomicU64,
    exceeded: OnceLock<String>,
}

impl Budget {
    fn new(len: u64, limits: &Limits) -> Self {
        Self {
            started: Instant::now(),
            file_len: len,
            used_before: processor_time(),
            max_bytes_read: limits.max_bytes_read(len),
            limits: limits.clone(),
            bytes_read: AtomicU64::new(0),
            seeks: AtomicU64::new(0),
            exceeded: OnceLock::new(),
        }
    }

    /// Bytes of the file.
    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The limit that was exceeded first, as a clause. Symphonia may take the reader's error for the end of the
    /// file, so the decoding loop asks here.
    pub(super) fn exceeded(&self) -> Option<&str> {
        self.exceeded.get().map(String::as_str)
    }

    /// Fails once too much time has passed or been used.
    pub(super) fn check_time(&self) -> io::Result<()> {
        let Limits { processor, deadline, .. } = self.limits;
        let elapsed = self.started.elapsed();
        if elapsed > deadline {
            let seconds = deadline.as_secs_f64();
            return Err(self.exceed(format!("decoding takes longer than the limit of {seconds} s")));
        }
        // A thread uses no more than the time that passes, which is known without asking the system.
        if elapsed > processor && processor_time().saturating_sub(self.used_before) > processor {
            let seconds = processor.as_secs_f64();
            return Err(
                self.exceed(format!("decoding uses more processor time than the limit of {seconds} s"))
            );
        }
        Ok(())
    }

    fn count_bytes(&self, bytes: usize) -> io::Result<()> {
        let before = self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) > self.max_bytes_read {
            let limit = self.max_bytes_read;
            return Err(self.exceed(format!("decoding reads the file again and again (over {limit} bytes)")));
        }
        Ok(())
    }

    fn count_seek(&self) -> io::Result<()> {
        if self.seeks.fetch_add(1, Ordering::Relaxed) >= self.limits.max_seeks {
            let limit = self.limits.max_seeks;
            return Err(self.exceed(format!("decoding jumps within the file more than {limit} times")));
        }
        Ok(())
    }

    fn exceed(&self, reason: String) -> io::Error {
        // The first reason stays.
        let _ = self.exceeded.set(reason.clone());
        io::Error::other(reason)
    }
}

/// Processor time that this thread has used, where the system tells.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn processor_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn processor_time() -> Duration {
    Duration::ZERO
}

/// The opened recording: reads and seeks under a [`Budget`], never past the length it had when it was opened.
pub(super) struct Media {
    bytes: Box<dyn Bytes>,
    len: u64,
    position: u64,
    budget: Arc<Budget>,
    /// Bytes shown instead of the file's own: corrected header fields (see `chunk_lengths`).
    patches: Vec<(u64, [u8; 4])>,
}

impl Media {
    fn new(bytes: Box<dyn Bytes>, len: u64, limits: &Limits) -> Self {
        Self { bytes, len, position: 0, budget: Arc::new(Budget::new(len, limits)), patches: Vec::new() }
    }

    /// The budget, to be checked while decoding.
    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Shows `bytes` at `offset` from now on.
    pub(super) fn patch(&mut self, offset: u64, bytes: [u8; 4]) {
        self.patches.push((offset, bytes));
    }

    /// Up to `n` bytes from `offset`; fewer at the end of the file.
    pub(super) fn peek(&mut self, offset: u64, n: usize) -> io::Result<Vec<u8>> {
        self.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(n);
        self.by_ref().take(n as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Media {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.budget.check_time()?;
        let left = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let n = self.bytes.read(&mut buffer[..wanted])?;
        self.budget.count_bytes(n)?;
        for (offset, bytes) in &self.patches {
            for (at, byte) in (*offset..).zip(bytes) {
                if let Some(i) = at.checked_sub(self.position).filter(|i| *i < n as u64) {
                    buffer[i as usize] = *byte;
                }
            }
        }
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Media {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.budget.count_seek()?;
        self.position = match to {
            // From the length at opening time, not from wherever a growing file ends now.
            SeekFrom::End(delta) => {
                let position = self.len.checked_add_signed(delta);
                self.bytes.seek(SeekFrom::Start(position.ok_or(io::ErrorKind::InvalidInput)?))?
            }
            to => self.bytes.seek(to)?,
        };
        Ok(self.position)
    }
}

impl MediaSource for Media {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros without end, `step` bytes a read, each after some time of sleep.
    struct Endless {
        step: usize,
        sleep: Duration,
    }
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(self.sleep);
            let n = self.step.min(buffer.len());
            buffer[..n].fill(0);
            Ok(n)
        }
    }
    impl Seek for Endless {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }

    fn bytes(data: &[u8]) -> Media {
        Media::new(Box::new(Cursor::new(data.to_vec())), data.len() as u64, &Limits::default())
    }

    #[test]
    fn rereading_is_bounded() {
        let mut media = bytes(&[0; 1000]);
        let reads = (0..).take_while(|_| media.peek(0, 1000).is_ok()).count();
        assert_eq!(reads, (4 * 1000 + (1 << 20)) / 1000);
        assert!(media.budget().exceeded().unwrap().contains("again and again"));
    }

    #[test]
    fn seeks_are_bounded() {
        let mut media = bytes(&[0; 10]);
        assert_eq!((0..).take_while(|_| media.seek(SeekFrom::Start(1)).is_ok()).count(), 10_000);
    }

    /// Reads until the budget says why not.
    fn exhaust(limits: &Limits, sleep: Duration) -> String {
        let mut media = Media::new(Box::new(Endless { step: 1, sleep }), u64::MAX, limits);
        let mut buffer = [0; 64];
        while media.read(&mut buffer).is_ok() {}
        media.budget().exceeded().unwrap().to_owned()
    }

    #[test]
    fn an_endless_source_ends_at_the_deadline() {
        let limits = Limits { deadline: Duration::from_millis(50), ..Limits::default() };
        let reason = exhaust(&limits, Duration::from_millis(1));
        assert_eq!(reason, "decoding takes longer than the limit of 0.05 s");
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    #[test]
    fn an_endless_source_ends_when_its_processor_time_is_used() {
        let limits = Limits { processor: Duration::from_millis(20), ..Limits::default() };
        let reason = exhaust(&limits, Duration::ZERO);
        assert_eq!(reason, "decoding uses more processor time than the limit of 0.02 s");
    }

    #[test]
    fn waiting_uses_no_processor_time() {
        // Five times the limit is slept; the reads themselves take microseconds.
        let limits = Limits { processor: Duration::from_millis(20), ..Limits::default() };
        let sleep = Duration::from_millis(10);
        let mut media = Media::new(Box::new(Endless { step: 1, sleep }), 10, &limits);
        let mut all = Vec::new();
        media.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn patches_cover_exactly_their_bytes_whatever_the_read_size() {
        let data: Vec<u8> = (0..32).collect();
        let mut expected = data.clone();
        expected[5..9].copy_from_slice(b"wxyz");
        for size in 1..=32 {
            let mut media = bytes(&data);
            media.patch(5, *b"wxyz");
            let mut read = Vec::new();
            let mut buffer = vec![0; size];
            loop {
                match media.read(&mut buffer).unwrap() {
                    0 => break,
                    n => read.extend_from_slice(&buffer[..n]),
                }
            }
            assert_eq!(read, expected, "read size {size}");
        }
    }

    #[test]
    fn a_file_is_never_read_past_the_length_it_was_opened_with() {
        let endless = Endless { step: 64, sleep: Duration::ZERO };
        let mut media = Media::new(Box::new(endless), 100, &Limits::default());
        let mut all = Vec::new();
        media.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn what_is_not_a_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| Source::Path(path).open(&Limits::default()).err().unwrap().to_string();
        assert!(open(dir.path()).ends_with("is a directory, not an audio file"));
        assert!(open(&dir.path().join("none.wav")).contains("none.wav: cannot read the file: "));
        let empty = dir.path().join("empty.wav");
        std::fs::write(&empty, b"").unwrap();
        assert!(open(&empty).ends_with("empty.wav: the file is empty (0 bytes)"));
        let limits = Limits { max_file_bytes: 3, ..Limits::default() };
        let error = Source::Bytes { name: "x", data: Arc::from([0u8; 4]) }.open(&limits).err().unwrap();
        assert_eq!(error.to_string(), "x: has 4 bytes; the limit is 3");
    }
}
