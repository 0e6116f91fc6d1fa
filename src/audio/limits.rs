use std::time::Duration;

/// Limits that keep a hostile recording from taking memory or time. `Default` holds the numbers oido promises.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Largest file in bytes. Default 1 GiB.
    pub max_file_bytes: u64,
    /// Longest decoded duration in seconds; decoding stops there with an error. Default 600.
    pub max_seconds: f64,
    /// Most decoded samples of the mono mix, which bounds memory at high rates: 600 s at up to 111 kHz. Default 2^26
    /// (256 MiB).
    pub max_samples: u64,
    /// Longest processor time for decoding one recording, checked at every read and every packet, so that a busy
    /// machine or a slow disk makes no recording bad. Default 2 s. Not measured outside Linux and macOS.
    pub processor: Duration,
    /// Longest wall time for the same, whatever it is spent on. Default 20 s.
    pub deadline: Duration,
    /// Most channels. Default 8.
    pub max_channels: usize,
    /// Lowest sample rate in Hz. Default 1,000.
    pub min_rate: u32,
    /// Highest sample rate in Hz. Default 384,000.
    pub max_rate: u32,
    /// Most seeks within the file. Default 10,000.
    pub max_seeks: u64,
    /// Most packets. Default 5,000,000.
    pub max_packets: u64,
    /// Most packets in a row that cannot be decoded. Default 100.
    pub max_decode_errors: u32,
    /// Most packets in a row that decode to nothing. Default 1,000.
    pub max_empty_packets: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_file_bytes: 1 << 30,
            max_seconds: 600.0,
            max_samples: 1 << 26,
            processor: Duration::from_secs(2),
            deadline: Duration::from_secs(20),
            max_channels: 8,
            min_rate: 1_000,
            max_rate: 384_000,
            max_seeks: 10_000,
            max_packets: 5_000_000,
            max_decode_errors: 100,
            max_empty_packets: 1_000,
        }
    }
}

impl Limits {
    /// A minute of processor time and ten of wall time: whoever goes through a data set waits rather than call a clip bad,
    /// which would change what is trained on and every mixture that is drawn.
    pub fn patient() -> Self {
        Self { processor: Duration::from_secs(60), deadline: Duration::from_secs(600), ..Self::default() }
    }

    /// Bytes that may be read from a file of `len` bytes: each about four times, and 1 MiB for tiny files.
    pub(super) fn max_bytes_read(&self, len: u64) -> u64 {
        len.saturating_mul(4).saturating_add(1 << 20)
    }

    /// Frames (samples of one channel) in the longest accepted recording at `rate` Hz.
    pub(super) fn max_frames(&self, rate: u32) -> u64 {
        ((self.max_seconds * f64::from(rate)) as u64).min(self.max_samples)
    }
}
