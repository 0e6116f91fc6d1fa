//! Event files of TensorBoard, written by hand: records of TensorFlow's `TFRecord` (length, masked CRC-32C of the length, bytes,
//! masked CRC-32C of the bytes; `tensorflow/core/lib/io/record_writer.h`), each an `Event` message (`tensorflow/core/util/event.proto`)
//! in protocol buffers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::scalars;
use crate::training::results::EpochRow;

/// By which TensorBoard knows event files.
const MARK: &str = "tfevents";

/// What the first event says.
const VERSION: &str = "brain.Event:2";

/// Bytes before and after those of a record.
const HEAD: usize = 12;
const TAIL: usize = 4;

/// The event file of a run: a first event with the version, then one for each row of `results.csv`, whose number is the epoch.
#[derive(Debug, Clone)]
pub struct EventFile {
    path: PathBuf,
}

impl EventFile {
    /// The event file in `run`, or the name of a new one: `events.out.tfevents.SECONDS.oido`. Nothing is written.
    pub fn of_run(run: &Path) -> Self {
        let is_event_file =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(MARK));
        let there = std::fs::read_dir(run).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let path = there
            .filter(is_event_file)
            .min()
            .unwrap_or_else(|| run.join(format!("events.out.{MARK}.{}.oido", now().trunc())));
        Self { path }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file say `rows` and nothing else. What already stands there stays, with its times; what a killed run
    /// left half written, or wrote of an epoch that was then done again, is cut off. TensorBoard reads a file while it grows, so it
    /// is not written anew and renamed.
    pub fn sync(&self, rows: &[EpochRow]) -> io::Result<()> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", self.path.display()));
        self.write(rows).map_err(named)
    }

    fn write(&self, rows: &[EpochRow]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        let mut there = Vec::new();
        file.read_to_end(&mut there)?;
        let kept = kept(&there, rows);
        let mut new = Vec::new();
        if kept.bytes == 0 {
            new.extend(record(&version_event(now())));
        }
        for row in &rows[kept.rows..] {
            new.extend(record(&row_event(now(), row)));
        }
        append(&mut file, kept.bytes, &new)
    }
}

/// Cuts the file at `from` and writes `new` there.
fn append(file: &mut File, from: usize, new: &[u8]) -> io::Result<()> {
    if file.metadata()?.len() != from as u64 {
        file.set_len(from as u64)?;
    }
    file.seek(SeekFrom::Start(from as u64))?;
    file.write_all(new)
}

/// How much of a file is what it should be.
struct Kept {
    bytes: usize,
    rows: usize,
}

/// Of a file, the first event and those of the rows that are as they would be written now.
fn kept(bytes: &[u8], rows: &[EpochRow]) -> Kept {
    let mut kept = Kept { bytes: 0, rows: 0 };
    let Some(first) =
        payload(bytes).filter(|event| time_of(event).is_some_and(|t| **event == *version_event(t)))
    else {
        return kept;
    };
    kept.bytes = HEAD + first.len() + TAIL;
    for row in rows {
        let Some(event) = payload(&bytes[kept.bytes..]) else { break };
        if time_of(event).is_none_or(|time| *event != *row_event(time, row)) {
            break;
        }
        kept.bytes += HEAD + event.len() + TAIL;
        kept.rows += 1;
    }
    kept
}

/// The bytes of the first record; none when it is cut off or its sums are wrong.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    if word(8)? != masked(crc32c(&bytes[..8])) {
        return None;
    }
    let end = HEAD.checked_add(usize::try_from(length).ok()?)?;
    let payload = bytes.get(HEAD..end)?;
    (word(end)? == masked(crc32c(payload))).then_some(payload)
}

/// A record of these bytes.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(bytes);
    record.extend(masked(crc32c(bytes)).to_le_bytes());
    record
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// `Event.wall_time`, with which every event here begins.
fn time_of(event: &[u8]) -> Option<f64> {
    (event.first() == Some(&key(1, FIXED64)))
        .then(|| event.get(1..9)?.try_into().ok().map(f64::from_le_bytes))
        .flatten()
}

/// `Event { wall_time = 1, file_version = 3 }`.
fn version_event(time: f64) -> Vec<u8> {
    let mut event = vec![key(1, FIXED64)];
    event.extend(time.to_le_bytes());
    bytes_field(&mut event, 3, VERSION.as_bytes());
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } … } }`.
fn row_event(time: f64, row: &EpochRow) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in scalars(row) {
        let mut value = Vec::new();
        bytes_field(&mut value, 1, tag.as_bytes());
        value.push(key(2, FIXED32));
        value.extend((number as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &value);
    }
    let mut event = vec![key(1, FIXED64)];
    event.extend(time.to_le_bytes());
    event.push(key(2, VARINT));
    varint(&mut event, row.epoch as u64);
    bytes_field(&mut event, 5, &summary);
    event
}

/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Of a field below 16.
fn key(field: u8, wire_type: u8) -> u8 {
    (field << 3) | wire_type
}

fn bytes_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(key(field, BYTES));
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// CRC-32C (Castagnoli), bit by bit of a table.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut crc, mut bit) = (i as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc: u32, byte| (crc >> 8) ^ TABLE[((crc as u8) ^ byte) as usize])
}

/// TensorFlow's mask, for sums of data that holds sums.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: usize) -> EpochRow {
        EpochRow {
            epoch,
            train_loss: 1.0 / epoch as f64,
            valid_loss: f64::NAN,
            lr: 1e-3,
            ..EpochRow::default()
        }
    }

    fn rows(n: usize) -> Vec<EpochRow> {
        (1..=n).map(row).collect()
    }

    /// Every record of a file must be whole; the steps.
    fn steps(bytes: &[u8]) -> Vec<u8> {
        let (mut at, mut steps) = (0, Vec::new());
        while at < bytes.len() {
            let event = payload(&bytes[at..]).unwrap();
            if event[9] == key(2, VARINT) {
                steps.push(event[10]);
            }
            at += HEAD + event.len() + TAIL;
        }
        steps
    }

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        // RFC 3720, appendix B.4, and the check value of the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_is_byte_for_byte_that_of_tensorboard() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/tensorboard/golden.json")).unwrap();
        let hex = |bytes: &[u8]| crate::files::hex(bytes);
        assert_eq!(hex(&record(&version_event(1.5))), golden["version"].as_str().unwrap());
        let row = EpochRow {
            epoch: 300,
            stage: Some("curated".to_owned()),
            time: 20.25,
            train_loss: 0.5,
            train_accuracy: 0.25,
            train_lwlrap: f64::NAN,
            valid_loss: 2.0,
            valid_accuracy: 0.75,
            valid_top_5_accuracy: 1.0,
            valid_macro_f1: 0.3,
            valid_lwlrap: 0.6,
            lr: 0.001,
            clips_per_second: 123.0,
        };
        assert_eq!(hex(&record(&row_event(1234.75, &row))), golden["row"].as_str().unwrap());
    }

    #[test]
    fn no_step_is_doubled_or_lost_wherever_a_run_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = EventFile::of_run(folder.path());
        (1..=4).for_each(|n| file.sync(&rows(n)).unwrap());
        let whole = std::fs::read(file.path()).unwrap();
        assert_eq!(steps(&whole), [1, 2, 3, 4]);
        for cut in 0..=whole.len() {
            std::fs::write(file.path(), &whole[..cut]).unwrap();
            file.sync(&rows(5)).unwrap();
            let bytes = std::fs::read(file.path()).unwrap();
            assert_eq!(steps(&bytes), [1, 2, 3, 4, 5], "cut at {cut}");
            assert_eq!(EventFile::of_run(folder.path()).path(), file.path());
        }
        // Epoch 3 was done again, and took another time.
        std::fs::write(file.path(), &whole).unwrap();
        let mut again = rows(3);
        again[2].time = 9.0;
        file.sync(&again).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(steps(&bytes), [1, 2, 3]);
        let same = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
        assert!(same > whole.len() / 3, "the events before are as they were");
    }

    #[test]
    fn what_is_no_event_file_is_begun_anew_and_what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.1.other");
        std::fs::write(&path, b"\xff\xff\xff\xff\xff\xff\xff\xff no record").unwrap();
        let file = EventFile::of_run(folder.path());
        assert_eq!(file.path(), path);
        file.sync(&rows(1)).unwrap();
        assert_eq!(steps(&std::fs::read(&path).unwrap()), [1]);
        let error = EventFile::of_run(&folder.path().join("absent")).sync(&rows(1)).unwrap_err().to_string();
        assert!(error.contains("absent/events.out.tfevents."), "{error}");
    }
}
