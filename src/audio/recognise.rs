//! Formats that are refused by name. Looking for them first also keeps the decoder from finding "mp3" in the
//! middle of an archive or a film.

use super::Error;

/// Bytes looked at. An Ogg file names its codecs in its first pages.
pub(super) const HEAD: usize = 4096;

const CONVERT: &str = "convert it to wav or flac, for example with: ffmpeg -i INPUT output.flac";
const EXTRACT: &str = "unpack it and give the recordings inside";
const REPLACE: &str = "give the recording itself";

/// Offset, magic bytes, the format's name with an article, what to do.
const FORMATS: [(usize, &[u8], &str, &str); 26] = [
    (4, b"ftyp", "an MP4 or M4A file (AAC or ALAC)", CONVERT),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska file", CONVERT),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA or WMV file (ASF)", CONVERT),
    (0, b"caff", "an Apple Core Audio file (CAF)", CONVERT),
    (0, b"wvpk", "a WavPack file", CONVERT),
    (0, b"MAC ", "a Monkey's Audio file", CONVERT),
    (0, b"TTA1", "a True Audio file", CONVERT),
    (0, b"#!AMR", "an AMR file", CONVERT),
    (0, b".snd", "a Sun or NeXT sound (AU)", CONVERT),
    (0, b"RF64", "a 64-bit wav file (RF64)", CONVERT),
    (0, b"BW64", "a 64-bit wav file (BW64)", CONVERT),
    (0, b"riff\x2e\x91\xcf\x11", "a 64-bit wav file (W64)", CONVERT),
    (0, b"NIST_1A", "a NIST Sphere file", CONVERT),
    (0, b"FLV\x01", "a Flash video", CONVERT),
    (8, b"AVI ", "an AVI film", CONVERT),
    (0, b"MThd", "a MIDI file (notes, not sound)", CONVERT),
    (0, b"PK\x03\x04", "a zip archive", EXTRACT),
    (0, b"\x1f\x8b", "a gzip archive", EXTRACT),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", EXTRACT),
    (0, b"Rar!", "a rar archive", EXTRACT),
    (257, b"ustar", "a tar archive", EXTRACT),
    (0, b"\x89PNG", "a PNG image", REPLACE),
    (0, b"\xff\xd8\xff", "a JPEG image", REPLACE),
    (0, b"GIF8", "a GIF image", REPLACE),
    (0, b"%PDF", "a PDF document", REPLACE),
    (0, b"\x7fELF", "a program", REPLACE),
];

/// Refuses a recording whose first bytes belong to a format that is not decoded.
pub(super) fn refuse_known(name: &str, head: &[u8]) -> Result<(), Error> {
    let found = FORMATS
        .iter()
        .find(|(offset, magic, ..)| head.get(*offset..).is_some_and(|rest| rest.starts_with(magic)))
        .map(|(.., format, advice)| (*format, *advice))
        .or_else(|| ogg(head))
        .or_else(|| is_adts(head).then_some(("an AAC file (ADTS)", CONVERT)))
        .or_else(|| text(head));
    match found {
        Some((format, advice)) => Err(Error::Unsupported { name: name.to_owned(), format, advice }),
        None => Ok(()),
    }
}

/// Ogg is a container: look which codec its first pages announce.
fn ogg(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let contains = |magic: &[u8]| head.windows(magic.len()).any(|window| window == magic);
    if !head.starts_with(b"OggS") || contains(b"\x01vorbis") || contains(b"\x7fFLAC") {
        return None;
    }
    if contains(b"OpusHead") {
        Some(("an Ogg/Opus file", CONVERT))
    } else if contains(b"Speex   ") {
        Some(("an Ogg/Speex file", CONVERT))
    } else {
        None
    }
}

/// Two AAC frames in a row: sync word, layer 0, and a length that leads to the next sync word.
fn is_adts(head: &[u8]) -> bool {
    let sync = |at: usize| head.get(at) == Some(&0xff) && head.get(at + 1).is_some_and(|b| b & 0xf6 == 0xf0);
    if !sync(0) || head.len() < 7 {
        return false;
    }
    let length = (usize::from(head[3] & 3) << 11) | (usize::from(head[4]) << 3) | (usize::from(head[5]) >> 5);
    length >= 7 && sync(length)
}

/// Nothing but readable characters.
fn text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let readable = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character cut in two by the end of `head`.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    // A shorter "text" may as well be the beginning of a damaged recording.
    if readable.len() < 8 || readable.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let start = readable.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        Some(("a web page (a download that failed?)", REPLACE))
    } else if start.starts_with("version https://git-lfs") {
        Some(("a Git LFS pointer", "fetch the recording with: git lfs pull"))
    } else {
        Some(("a text file", REPLACE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &[u8]) -> Option<String> {
        refuse_known("x", head).err().map(|error| error.to_string())
    }

    #[test]
    fn formats_are_refused_by_name_with_advice() {
        for (head, format, advice) in [
            (&b"OggS\0\x02.......OpusHead"[..], "an Ogg/Opus file", "ffmpeg"),
            (b"\0\0\0\x20ftypM4A ", "an MP4 or M4A file", "ffmpeg"),
            (b"\x1a\x45\xdf\xa3\x01", "WebM", "ffmpeg"),
            (b"PK\x03\x04\x14\0", "a zip archive", "unpack"),
            (b"<!DOCTYPE html><html>", "a web page", "give the recording itself"),
            ("\u{feff}label,dé".as_bytes(), "a text file", "give the recording itself"),
            (b"\xff\xf1\x50\x80\x01\x1f\xfc\x00\xff\xf1", "an AAC file", "ffmpeg"),
        ] {
            let message = refused(head).unwrap();
            assert!(message.starts_with("x: is ") && message.contains(format), "{message}");
            assert!(message.contains(advice), "{message}");
        }
    }

    #[test]
    fn audio_and_rubbish_pass_on_to_the_decoder() {
        for head in [
            &b"RIFF\x24\0\0\0WAVEfmt "[..],
            b"fLaC\0\0\0\x22",
            b"ID3\x03\0\0\0\0\0\0",
            b"\xff\xfb\x90\x64\0\0\0\0",
            b"OggS\0\x02.......\x01vorbis OpusHead",
            b"FORM\0\0\0\0AIFFCOMM",
            b"RIFF",
            b"",
            &[0; 64],
        ] {
            assert_eq!(refused(head), None, "{head:?}");
        }
    }
}
