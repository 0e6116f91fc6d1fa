//! ESC-50 (Piczak 2015): 2,000 clips of 5 s, 50 classes, 5 folds; ESC-10 is the part marked so.
//!
//! Takes of one Freesound clip (`src_file`) share a group.

use std::path::Path;

use super::{Entry, Error, Source, fold, metadata, read_table};

const TABLE: &str = "meta/esc50.csv";
const COLUMNS: [&str; 6] = ["filename", "fold", "category", "esc10", "src_file", "take"];

pub(super) fn entries(root: &Path) -> Result<Vec<Entry>, Error> {
    let path = metadata(root, Source::Esc50, TABLE)?;
    let entry = |row: super::Row| {
        let [file, number, category, esc10, clip, take] = &row.values[..] else {
            return Ok(Entry::default());
        };
        let extra = [("esc10", esc10), ("take", take)];
        Ok(Entry {
            path: format!("audio/{file}").into(),
            labels: vec![category.clone()],
            fold: Some(fold(&path, &row, number)?),
            group: Some(clip.clone()),
            extra: extra.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            ..Entry::default()
        })
    };
    read_table(&path, &COLUMNS)?.into_iter().map(entry).collect()
}
