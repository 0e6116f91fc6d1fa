//! Any table of file names and labels: the user names the columns.

use std::path::{Path, PathBuf};

use super::metadata::{Metadata, Row};
use super::{Entry, Error, Found, Listing, found};
use crate::dataset::Split;
use crate::dataset::manifest::COLUMNS;

/// Which column of a table means what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// Column of file names. Default `path`.
    pub path: String,
    /// Column of labels; several are joined by commas. Default `labels`.
    pub labels: String,
    /// Column of parts: train, valid (or val, validation) and test. Default none.
    pub split: Option<String>,
    /// Column of fold numbers. Default none.
    pub fold: Option<String>,
    /// Column of groups (recording, speaker). Default none.
    pub group: Option<String>,
    /// Folder that file names start from. Default: the folder of the table.
    pub audio_dir: Option<PathBuf>,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            path: "path".to_owned(),
            labels: "labels".to_owned(),
            split: None,
            fold: None,
            group: None,
            audio_dir: None,
        }
    }
}

/// Reads the table at `path` (separated by commas, semicolons or tabs); decodes nothing. Other columns are kept;
/// one whose name means something in a manifest becomes `source_NAME`, so that it cannot be mistaken for it.
///
/// # Errors
///
/// [`Error::Line`] naming the line of the first mistake; [`Error::NoFiles`] when no listed file is there.
pub fn prepare_table(path: &Path, config: &TableConfig) -> Result<Found, Error> {
    let table = Metadata::read(path)?;
    let chosen = |name: &Option<String>| name.as_deref().map(|name| table.column(name)).transpose();
    let [file, labels] = table.columns([&config.path, &config.labels])?;
    let (split, fold, group) = (chosen(&config.split)?, chosen(&config.fold)?, chosen(&config.group)?);
    let used = [Some(file), Some(labels), split, fold, group];
    let extra: Vec<(usize, String)> = table
        .header()
        .enumerate()
        .filter(|(column, name)| !used.contains(&Some(*column)) && !name.is_empty())
        .map(|(column, name)| (column, extra_name(name)))
        .collect();
    let entry = |row: Row| -> Result<Entry, Error> {
        let kept = extra.iter().map(|(column, name)| (name.clone(), row.get(*column).to_owned()));
        Ok(Entry {
            path: row.text(file)?.into(),
            labels: row.labels(labels)?,
            split: split.map(|column| part(&row, row.text(column)?)).transpose()?,
            fold: fold.map(|column| row.number(column)).transpose()?,
            group: group.map(|column| row.text(column).map(str::to_owned)).transpose()?,
            extra: kept.filter(|(_, value)| !value.is_empty()).collect(),
            ..Entry::default()
        })
    };
    let entries: Vec<Entry> = table.rows().map(entry).collect::<Result<_, _>>()?;
    let folder = config.audio_dir.as_deref().or(path.parent()).unwrap_or(Path::new(""));
    found(folder, path, Listing::from(entries))
}

fn extra_name(name: &str) -> String {
    if COLUMNS.contains(&name) || name == "label" { format!("source_{name}") } else { name.to_owned() }
}

fn part(row: &Row, word: &str) -> Result<Split, Error> {
    split_word(word).ok_or_else(|| {
        row.error(format!("the part is `{word}`; train, valid (or val, validation) and test are known"))
    })
}

/// The part that a word of some data set means, in any case.
pub(super) fn split_word(word: &str) -> Option<Split> {
    match word.to_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "valid" | "val" | "validation" => Some(Split::Valid),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}
