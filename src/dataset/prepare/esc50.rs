//! ESC-50 (Piczak 2015): 2,000 clips of 5 s, 50 classes, 5 folds; ESC-10 is the part marked so.
//!
//! Takes of one Freesound clip (`src_file`) share a group.

use std::path::Path;

use super::metadata::{Metadata, Row};
use super::{Entry, Error, Source};

const FOLDS: u32 = 5;
const TABLE: &str = "meta/esc50.csv";

/// The clips of ESC-50, or those of [`Source::Esc10`].
pub(super) fn entries(root: &Path, source: Source) -> Result<Vec<Entry>, Error> {
    let table = Metadata::of(source, root, TABLE)?;
    let [file, fold, category, esc10, clip, take] =
        table.columns(["filename", "fold", "category", "esc10", "src_file", "take"])?;
    let entry = |row: Row| {
        Ok(Entry {
            path: format!("audio/{}", row.text(file)?).into(),
            labels: vec![row.label(category)?],
            fold: Some(row.fold(fold, FOLDS)?),
            group: Some(row.text(clip)?.to_owned()),
            extra: [("esc10", esc10), ("take", take)]
                .map(|(name, column)| (name.to_owned(), row.get(column).to_owned()))
                .into(),
            ..Entry::default()
        })
    };
    let wanted = |row: &Row| source != Source::Esc10 || row.get(esc10).eq_ignore_ascii_case("true");
    table.rows().filter(wanted).map(entry).collect()
}
