//! Wav files whose header states wrong lengths: written to a pipe, or by a program that was stopped.

use std::io;

use super::source::Media;

/// Most chunks looked at before the data; real files have a handful.
const MAX_CHUNKS: usize = 64;

/// Shows the decoder lengths that fit the file: the RIFF chunk ends with the file, the data chunk at most there.
/// What the samples are is left alone.
///
/// A data length of 0 means "not yet known" (and the rest of the file is taken) only when the RIFF length agrees
/// that nothing follows.
pub(super) fn repair(media: &mut Media) -> io::Result<()> {
    let header = media.peek(0, 12)?;
    if header.len() < 12 || &header[..4] != b"RIFF" || &header[8..] != b"WAVE" {
        return Ok(());
    }
    let len = media.len();
    let riff_end = u64::from(u32_at(&header, 4)) + 8;
    let mut at = 12;
    for _ in 0..MAX_CHUNKS {
        let chunk = media.peek(at, 8)?;
        if chunk.len() < 8 {
            break;
        }
        let start = at + 8;
        let size = u64::from(u32_at(&chunk, 4));
        if &chunk[..4] == b"data" {
            let unknown = size == 0 && riff_end <= start;
            if unknown || start + size > len {
                media.patch(at + 4, length(len - start));
            }
            break;
        }
        at = start + size + size % 2;
    }
    media.patch(4, length(len - 8));
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn length(bytes: u64) -> [u8; 4] {
    // One less than all ones, which means "unknown".
    u32::try_from(bytes).unwrap_or(u32::MAX).min(u32::MAX - 1).to_le_bytes()
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
    fn a_shorter_data_chunk_is_believed() {
        assert_eq!(samples(None, Some(4000)), 2000);
    }

    #[test]
    fn bytes_after_the_end_are_no_chunk() {
        let data: Arc<[u8]> = Arc::from(&b"RIFF\0\0\0\0WAVE"[..]);
        assert!(decode(&Source::Bytes { name: "x", data }, &Limits::default()).is_err());
    }
}
