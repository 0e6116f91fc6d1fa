//! UrbanSound8K (Salamon, Jacoby & Bello 2014): 8,732 clips of at most 4 s, 10 classes, 10 folds.
//!
//! The files are already cut; `start` and `end` of the metadata are positions in the Freesound recording and are
//! kept as columns, not used for reading. Clips of one recording share `fsID`, which becomes the group.

use std::path::Path;

use super::{Entry, Error, Source, fold, metadata, read_table};

const TABLE: &str = "metadata/UrbanSound8K.csv";
const COLUMNS: [&str; 7] = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "class"];

pub(super) fn entries(root: &Path) -> Result<Vec<Entry>, Error> {
    let path = metadata(root, Source::UrbanSound8k, TABLE)?;
    let entry = |row: super::Row| {
        let [file, recording, start, end, salience, number, class] = &row.values[..] else {
            return Ok(Entry::default());
        };
        let extra = [("recording_start", start), ("recording_end", end), ("salience", salience)];
        Ok(Entry {
            path: format!("audio/fold{number}/{file}").into(),
            labels: vec![class.clone()],
            fold: Some(fold(&path, &row, number)?),
            group: Some(recording.clone()),
            extra: extra.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            ..Entry::default()
        })
    };
    read_table(&path, &COLUMNS)?.into_iter().map(entry).collect()
}
