//! Metadata tables of data sets: found, read by column name, with mistakes named by line.

use std::path::{Path, PathBuf};

use super::{Error, Source};
use crate::dataset::labels::labels_of_clip;
use crate::tables::{Record, Table};

/// A table with a header; values are trimmed.
pub(super) struct Metadata {
    path: PathBuf,
    header: csv::StringRecord,
    records: Vec<Record>,
}

impl Metadata {
    /// Reads `table` of the data set `source` under `root`, or says what was looked for.
    pub(super) fn of(source: Source, root: &Path, table: &str) -> Result<Self, Error> {
        let path = root.join(table);
        if path.is_file() {
            return Self::read(&path);
        }
        let reason = format!("there is no {table} in it; name the folder that holds it");
        Err(Error::Layout { path: root.to_owned(), source_name: source, reason })
    }

    /// Reads a table separated by commas, semicolons or tabs, whichever the header has most of.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let table = Table::with_any_separator(&bytes).map_err(Error::table(path))?;
        let header = table.header().clone();
        let records = table.records().collect::<Result<_, _>>().map_err(Error::table(path))?;
        Ok(Self { path: path.to_owned(), header, records })
    }

    /// Names of the columns.
    pub(super) fn header(&self) -> impl Iterator<Item = &str> {
        self.header.iter()
    }

    /// Position of the column `name`, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// Position of the column `name`, which must be there.
    pub(super) fn column(&self, name: &str) -> Result<usize, Error> {
        self.find(name).ok_or_else(|| {
            let found = self.header.iter().collect::<Vec<_>>().join(", ");
            let reason = format!("there is no column `{name}`; the header has: {found}");
            Error::Line { path: self.path.clone(), line: 1, reason }
        })
    }

    /// Positions of several columns, which must all be there.
    pub(super) fn columns<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N], Error> {
        let mut columns = [0; N];
        for (column, name) in columns.iter_mut().zip(names) {
            *column = self.column(name)?;
        }
        Ok(columns)
    }

    /// The rows in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { table: self, record })
    }
}

/// One row of a [`Metadata`] table.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    table: &'a Metadata,
    record: &'a Record,
}

impl<'a> Row<'a> {
    /// The value in `column`, possibly empty.
    pub(super) fn get(&self, column: usize) -> &'a str {
        self.record.values.get(column).unwrap_or("")
    }

    /// The value in `column`, which must not be empty.
    pub(super) fn text(&self, column: usize) -> Result<&'a str, Error> {
        let value = self.get(column);
        if value.is_empty() {
            return Err(self.error(format!("the column `{}` is empty", self.name(column))));
        }
        Ok(value)
    }

    /// The whole number in `column`.
    pub(super) fn number(&self, column: usize) -> Result<u32, Error> {
        let value = self.text(column)?;
        value
            .parse()
            .map_err(|_| self.error(format!("{} is `{value}`, not a whole number", self.name(column))))
    }

    /// The number in `column` of one of the data set's `folds` folds.
    pub(super) fn fold(&self, column: usize, folds: u32) -> Result<u32, Error> {
        let fold = self.number(column)?;
        if (1..=folds).contains(&fold) {
            return Ok(fold);
        }
        Err(self.error(format!(
            "{} is {fold}, and the data set has the folds 1 to {folds}; correct it",
            self.name(column)
        )))
    }

    /// The one label in `column`.
    pub(super) fn label(&self, column: usize) -> Result<String, Error> {
        let label = self.text(column)?;
        if label.contains(',') {
            let name = self.name(column);
            return Err(self.error(format!(
                "{name} is `{label}`, which holds a comma, as several labels do; rename it"
            )));
        }
        Ok(label.to_owned())
    }

    /// The labels in `column`: one, or several joined by commas.
    pub(super) fn labels(&self, column: usize) -> Result<Vec<String>, Error> {
        let named = |reason| self.error(format!("{}: {reason}", self.name(column)));
        labels_of_clip(self.text(column)?).map_err(named)
    }

    /// Number of its line.
    pub(super) fn line(&self) -> u64 {
        self.record.line
    }

    /// A mistake in this row.
    pub(super) fn error(&self, reason: String) -> Error {
        Error::Line { path: self.table.path.clone(), line: self.record.line, reason }
    }

    fn name(&self, column: usize) -> &str {
        self.table.header.get(column).unwrap_or("")
    }
}
