//! Metadata tables of data sets: found, read by column name, with mistakes named by line.

use std::path::{Path, PathBuf};

use super::{Error, Source};

/// A table with a header; values are trimmed.
pub(super) struct Metadata {
    path: PathBuf,
    header: csv::StringRecord,
    records: Vec<csv::StringRecord>,
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

    /// Reads a table separated by commas, semicolons or tabs, whichever the header has most of. A byte order mark
    /// and Windows line ends are accepted.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let bad = |error: csv::Error| Error::Line {
            path: path.to_owned(),
            line: error.position().map_or(1, csv::Position::line),
            reason: error.to_string(),
        };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(separator(text)).trim(csv::Trim::All).from_reader(text);
        let header = reader.headers().map_err(bad)?.clone();
        let records = reader.records().collect::<Result<_, _>>().map_err(bad)?;
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
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    /// The value in `column`, possibly empty.
    pub(super) fn get(&self, column: usize) -> &'a str {
        self.record.get(column).unwrap_or("")
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

    /// A mistake in this row.
    pub(super) fn error(&self, reason: String) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        Error::Line { path: self.table.path.clone(), line, reason }
    }

    fn name(&self, column: usize) -> &str {
        self.table.header.get(column).unwrap_or("")
    }
}

fn separator(text: &[u8]) -> u8 {
    let header = text.split(|&b| b == b'\n').next().unwrap_or(text);
    let count = |separator: u8| {
        let mut quoted = false;
        let is_separator = |&&b: &&u8| {
            quoted ^= b == b'"';
            b == separator && !quoted
        };
        header.iter().filter(is_separator).count()
    };
    // Of equal counts the first: the comma.
    [b',', b';', b'\t']
        .into_iter()
        .reduce(|best, next| if count(next) > count(best) { next } else { best })
        .unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_found_outside_quotes() {
        for (header, expected) in [
            ("a,b,c\n1;2;3;4\n", b','),
            ("a;b;c\r\n", b';'),
            ("a\tb", b'\t'),
            ("\"a;b;c\",d\n", b','),
            ("single\n", b','),
            ("", b','),
        ] {
            assert_eq!(separator(header.as_bytes()), expected, "{header:?}");
        }
    }
}
