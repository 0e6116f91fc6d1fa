//! Wav and aiff files whose header states wrong lengths: written to a pipe, cut off, or left by a program that was
//! stopped. Symphonia refuses most of them; libsndfile and ffmpeg read what is there, and so do we.

use std::io;

use super::source::Media;

/// Most chunks looked at before the samples; real files have a handful.
const MAX_CHUNKS: usize = 64;

/// How a chunked container is written.
struct Layout {
    /// Name of the chunk that holds the samples.
    samples: &'static [u8; 4],
    decode: fn([u8; 4]) -> u32,
    encode: fn(u32) -> [u8; 4],
}

const WAV: Layout = Layout { samples: b"data", decode: u32::from_le_bytes, encode: u32::to_le_bytes };
const AIFF: Layout = Layout { samples: b"SSND", decode: u32::from_be_bytes, encode: u32::to_be_bytes };

/// Shows the decoder lengths that fit the file: the container ends with the file, the samples at most there. What
/// the samples are is left alone.
///
/// A length of 0 means "not yet known" (and the rest of the file is taken) only when the container's own length
/// agrees that nothing follows. Returns a clause about what is missing when more is announced than there is.
pub(super) fn repair(media: &mut Media) -> io::Result<Option<String>> {
    let header = media.peek(0, 12)?;
    let layout = match (header.get(..4), header.get(8..)) {
        (Some(b"RIFF"), Some(b"WAVE")) => WAV,
        (Some(b"FORM"), Some(b"AIFF" | b"AIFC")) => AIFF,
        _ => return Ok(None),
    };
    let len = media.len();
    let container_end = u64::from(layout.length(&header)) + 8;
    media.patch(4, layout.field(len - 8));
    let mut at = 12;
    for _ in 0..MAX_CHUNKS {
        let chunk = media.peek(at, 8)?;
        if chunk.len() < 8 {
            break;
        }
        let (start, size) = (at + 8, u64::from(layout.length(&chunk)));
        if chunk.starts_with(layout.samples) {
            let there = len - start;
            let unknown = size == u64::from(u32::MAX) || (size == 0 && container_end <= start);
            if unknown || size > there {
                media.patch(at + 4, layout.field(there));
            }
            let missing = !unknown && size > there;
            return Ok(
                missing.then(|| format!("its header announces {size} bytes of sound, {there} are there"))
            );
        }
        at = start + size + size % 2;
    }
    Ok(None)
}

impl Layout {
    /// The length in a chunk's first eight bytes (name, length).
    fn length(&self, chunk: &[u8]) -> u32 {
        (self.decode)([chunk[4], chunk[5], chunk[6], chunk[7]])
    }

    fn field(&self, bytes: u64) -> [u8; 4] {
        // One less than all ones, which means "unknown".
        (self.encode)(u32::try_from(bytes).unwrap_or(u32::MAX).min(u32::MAX - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::audio::{Limits, Source, decode};

    /// A mono 16-bit wav of 3,000 samples, with the RIFF and data lengths overwritten.
    fn samples(riff: Option<u32>, data: Option<u32>) -> usize {
        let mut bytes = Vec::new();
        bytes.extend(b"RIFF\x94\x17\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x70\x17\0\0");
        bytes.resize(44 + 6000, 1);
        if let Some(riff) = riff {
            bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        }
        if let Some(data) = data {
            bytes[40..44].copy_from_slice(&data.to_le_bytes());
        }
        let source = Source::Bytes { name: "x", data: bytes.into() };
        decode(&source, &Limits::default()).map_or(0, |(wave, _)| wave.samples.len())
    }

    #[test]
    fn wrong_lengths_give_what_is_there() {
        assert_eq!(samples(None, None), 3000);
        for riff in [0, 36, 6036, 1 << 20, u32::MAX] {
            for data in [6000, 6001, 1 << 20, u32::MAX] {
                assert_eq!(samples(Some(riff), Some(data)), 3000, "riff {riff} data {data}");
            }
        }
    }

    #[test]
    fn a_data_length_of_zero_is_unknown_only_when_the_riff_length_agrees() {
        assert_eq!(samples(Some(36), Some(0)), 3000);
        assert_eq!(samples(Some(0), Some(0)), 3000);
        assert_eq!(samples(None, Some(0)), 0);
    }

    #[test]
    fn a_shorter_chunk_is_believed() {
        assert_eq!(samples(None, Some(4000)), 2000);
    }

    #[test]
    fn bytes_after_the_end_are_no_chunk() {
        let data: Arc<[u8]> = Arc::from(&b"RIFF\0\0\0\0WAVE"[..]);
        assert!(decode(&Source::Bytes { name: "x", data }, &Limits::default()).is_err());
    }
}
