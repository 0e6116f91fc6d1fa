//! A folder as its publisher laid it out → a [`Manifest`]. One layout, one file.

mod esc50;
mod urbansound8k;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{BadClip, Entry, Error, Manifest};
use crate::audio::{self, Limits};

/// A layout on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// UrbanSound8K: `metadata/UrbanSound8K.csv`, `audio/fold1` to `fold10`.
    UrbanSound8k,
    /// ESC-50: `meta/esc50.csv`, `audio`.
    Esc50,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::UrbanSound8k => "UrbanSound8K",
            Self::Esc50 => "ESC-50",
        })
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The clips that are there (and, when checked, can be decoded), sorted by path.
    pub manifest: Manifest,
    /// Clips that are listed but missing or broken.
    pub bad: Vec<BadClip>,
}

/// Reads the layout `source` under `root`; decodes nothing.
pub fn prepare(source: Source, root: &Path) -> Result<Found, Error> {
    let entries = match source {
        Source::UrbanSound8k => urbansound8k::entries(root)?,
        Source::Esc50 => esc50::entries(root)?,
    };
    let (mut there, missing): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| root.join(&entry.path).is_file());
    let reason = "the file is missing";
    let bad = missing.into_iter().map(|e| BadClip { path: e.path, reason: reason.to_owned() }).collect();
    there.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Found { manifest: Manifest::new(root, there), bad })
}

impl Found {
    /// Decodes every clip once, in parallel, and moves those that cannot be decoded to [`Found::bad`].
    /// `progress` is told how many are done.
    pub fn check(self, progress: &(dyn Fn(usize) + Sync)) -> Self {
        let Self { manifest, mut bad } = self;
        let done = AtomicUsize::new(0);
        let decode = |entry: &Entry| -> Option<String> {
            let path: PathBuf = manifest.root.join(&entry.path);
            let result = audio::decode(&audio::Source::Path(&path), &Limits::default());
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            result.err().map(|error| error.to_string())
        };
        let reasons: Vec<Option<String>> = manifest.entries.par_iter().map(decode).collect();
        let mut good = Vec::with_capacity(reasons.len());
        for (entry, reason) in manifest.entries.into_iter().zip(reasons) {
            match reason {
                None => good.push(entry),
                Some(reason) => bad.push(BadClip { path: entry.path, reason }),
            }
        }
        Self { manifest: Manifest::new(manifest.root, good), bad }
    }
}

/// A row of a metadata table: its line and the values of the columns asked for, in that order.
struct Row {
    line: u64,
    values: Vec<String>,
}

/// Reads a metadata table, columns found by name.
fn read_table(path: &Path, columns: &[&str]) -> Result<Vec<Row>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let line = |line: u64, reason: String| Error::Line { path: path.to_owned(), line, reason };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&bytes[..]);
    let header = reader.headers().map_err(|e| line(1, e.to_string()))?.clone();
    let find = |name: &&str| {
        header.iter().position(|h| h == *name).ok_or_else(|| line(1, format!("no column `{name}`")))
    };
    let at = columns.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|e| line(e.position().map_or(0, csv::Position::line), e.to_string()))?;
        let values = at.iter().map(|&i| record[i].to_owned()).collect();
        Ok(Row { line: record.position().map_or(0, csv::Position::line), values })
    };
    reader.records().map(row).collect()
}

/// A fold number, or an error that names table and line.
fn fold(path: &Path, row: &Row, value: &str) -> Result<u32, Error> {
    value.parse().map_err(|_| Error::Line {
        path: path.to_owned(),
        line: row.line,
        reason: format!("fold is `{value}`, not a whole number"),
    })
}

/// The metadata table of a data set, or an error that says what was looked for.
fn metadata(root: &Path, source: Source, table: &str) -> Result<PathBuf, Error> {
    let path = root.join(table);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Layout {
        path: root.to_owned(),
        source_name: source,
        reason: format!("there is no {table} in it; name the folder that holds it"),
    })
}
