//! UrbanSound8K (Salamon, Jacoby & Bello 2014): 8,732 clips of at most 4 s, 10 classes, 10 folds.
//!
//! The files are already cut; `start` and `end` of the metadata are positions in the Freesound recording and are
//! kept as the columns `recording_start` and `recording_end`, not used for reading. Clips of one recording share
//! `fsID`, which becomes the group.

use std::path::Path;

use super::metadata::{Metadata, Row};
use super::{Entry, Error, Source};

const FOLDS: u32 = 10;
const TABLE: &str = "metadata/UrbanSound8K.csv";

pub(super) fn entries(root: &Path) -> Result<Vec<Entry>, Error> {
    let table = Metadata::of(Source::UrbanSound8k, root, TABLE)?;
    let [file, recording, start, end, salience, fold, class] =
        table.columns(["slice_file_name", "fsID", "start", "end", "salience", "fold", "class"])?;
    let extra = [("recording_start", start), ("recording_end", end), ("salience", salience)];
    let entry = |row: Row| {
        let fold = row.fold(fold, FOLDS)?;
        Ok(Entry {
            path: format!("audio/fold{fold}/{}", row.text(file)?).into(),
            labels: vec![row.label(class)?],
            fold: Some(fold),
            group: Some(row.text(recording)?.to_owned()),
            extra: extra
                .iter()
                .map(|&(name, column)| (name.to_owned(), row.get(column).to_owned()))
                .collect(),
            ..Entry::default()
        })
    };
    table.rows().map(entry).collect()
}
