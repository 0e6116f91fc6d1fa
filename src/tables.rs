//! CSV text → records, each with the number of its line.
//!
//! Every table that somebody else may have written is read here, so that a mistake is named by the line that an editor
//! shows: whether lines end as on Unix, Windows or old Macs, after a byte order mark, after empty lines, and after
//! quoted fields that hold line ends.

use csv::{ErrorKind, Position, StringRecord};

/// What is wrong with a table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Mistake {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it and what to do.
    pub reason: String,
}

/// One record after the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the line that it begins in, from 1.
    pub line: u64,
    /// Its values.
    pub values: StringRecord,
}

/// A table with a header; every record has as many values as the header.
#[derive(Debug)]
pub struct Table<'a> {
    reader: csv::Reader<&'a [u8]>,
    header: StringRecord,
    lines: Lines<'a>,
}

impl<'a> Table<'a> {
    /// The table in `bytes`, separated by commas. White space around values does not count.
    ///
    /// # Errors
    ///
    /// A header that is not UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Mistake> {
        Self::read(bytes, csv::ReaderBuilder::new().trim(csv::Trim::All))
    }

    /// As [`Table::new`], separated by commas, semicolons or tabs, whichever the header has most of.
    ///
    /// # Errors
    ///
    /// As [`Table::new`].
    pub fn with_any_separator(bytes: &'a [u8]) -> Result<Self, Mistake> {
        let separator = separator(without_mark(bytes));
        Self::read(bytes, csv::ReaderBuilder::new().trim(csv::Trim::All).delimiter(separator))
    }

    /// As [`Table::new`]; white space around values belongs to them.
    ///
    /// # Errors
    ///
    /// As [`Table::new`].
    pub fn untrimmed(bytes: &'a [u8]) -> Result<Self, Mistake> {
        Self::read(bytes, &csv::ReaderBuilder::new())
    }

    fn read(bytes: &'a [u8], builder: &csv::ReaderBuilder) -> Result<Self, Mistake> {
        let text = without_mark(bytes);
        let mut lines = Lines { text, at: 0, line: 1 };
        let mut reader = builder.from_reader(text);
        let header = reader.headers().map_err(|error| mistake(&error, &mut lines))?.clone();
        Ok(Self { reader, header, lines })
    }

    /// Names of the columns.
    pub fn header(&self) -> &StringRecord {
        &self.header
    }

    /// The records in order.
    ///
    /// # Errors
    ///
    /// Of each record: another number of values than the header has, or text that is not UTF-8.
    pub fn records(self) -> impl Iterator<Item = Result<Record, Mistake>> {
        let mut lines = self.lines;
        self.reader.into_records().map(move |record| {
            let mut values = record.map_err(|error| mistake(&error, &mut lines))?;
            let line = lines.of(values.position());
            // The reader's own line is wrong after Windows line ends and empty lines.
            values.set_position(None);
            Ok(Record { line, values })
        })
    }
}

/// Counts lines as far as it was asked.
#[derive(Debug)]
struct Lines<'a> {
    text: &'a [u8],
    /// Bytes that are counted.
    at: usize,
    /// Number of the line that they end in.
    line: u64,
}

impl Lines<'_> {
    /// The line of the record at `position`, which the reader gives as the end of the record before; not before the
    /// line of the last call.
    fn of(&mut self, position: Option<&Position>) -> u64 {
        let end = position.map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
        while let Some(&byte) = self.text.get(self.at) {
            let is_end = matches!(byte, b'\r' | b'\n');
            if self.at >= end && !is_end {
                break;
            }
            self.at += 1;
            let is_half = byte == b'\r' && self.text.get(self.at) == Some(&b'\n');
            self.line += u64::from(is_end && !is_half);
        }
        self.line
    }
}

fn mistake(error: &csv::Error, lines: &mut Lines) -> Mistake {
    let reason = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "it has {len} fields and the header has {expected_len}; look for a missing or superfluous separator or \
             quotation mark"
        ),
        ErrorKind::Utf8 { err, .. } => {
            format!("field {} is not UTF-8; save the table as UTF-8", err.field() + 1)
        }
        _ => error.to_string(),
    };
    Mistake { line: lines.of(error.position()), reason }
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

fn separator(text: &[u8]) -> u8 {
    let header = text.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or(text);
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

    fn lines(text: &str) -> Vec<u64> {
        Table::new(text.as_bytes()).unwrap().records().map(|record| record.unwrap().line).collect()
    }

    #[test]
    fn lines_are_those_of_an_editor_whatever_their_ends() {
        let table = "a,b\n1,2\n\n\n\"x\ny\",3\n4,\"z\"\n5,6";
        for mark in ["", "\u{feff}"] {
            for end in ["\n", "\r\n", "\r"] {
                let text = format!("{mark}{}", table.replace('\n', end));
                assert_eq!(lines(&text), [2, 5, 7, 8], "{text:?}");
            }
        }
        assert_eq!(lines("\r\n\r\na\r\n1\r\n"), [4], "empty lines above the header");
        assert_eq!(lines("a\r\n1\n2\r3\r\n\n4"), [2, 3, 4, 6], "ends of all kinds");
        assert_eq!(lines("a,b\n"), [0; 0]);
    }

    #[test]
    fn a_record_that_does_not_fit_is_named_by_its_line() {
        let mistake = |text: &[u8]| {
            let records = Table::new(text).and_then(|table| table.records().collect::<Result<Vec<_>, _>>());
            records.unwrap_err().to_string()
        };
        let short = mistake(b"a,b\r\n\"1\r\n1\",2\r\n3\r\n");
        assert!(short.starts_with("line 4: it has 1 fields and the header has 2"), "{short}");
        let latin = mistake(b"a,b\r\n1,2\r\nd\xf6g,2\r\n");
        assert_eq!(latin, "line 3: field 1 is not UTF-8; save the table as UTF-8");
        assert_eq!(mistake(b"a,\xff\n"), "line 1: field 2 is not UTF-8; save the table as UTF-8");
    }

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

    #[test]
    fn white_space_belongs_to_values_only_where_asked() {
        let first = |table: Table| table.records().next().unwrap().unwrap().values[0].to_owned();
        assert_eq!(first(Table::new(b" a ,b\n x ,y\n").unwrap()), "x");
        assert_eq!(first(Table::untrimmed(b"a,b\n x ,y\n").unwrap()), " x ");
    }
}
