//! Whether a folder holds what a part of a data set must hold.

use std::fs;
use std::io;
use std::path::Path;

use crate::tables::Table;

use super::Contents;

/// Counts recordings and rows of tables in `folder`; says what is wrong.
pub(super) fn check(folder: &Path, contents: &Contents) -> Result<(), String> {
    let clips = count(folder, contents.ending).map_err(|e| format!("cannot be read: {e}"))?;
    if clips != contents.clips {
        let (ending, expected) = (contents.ending, contents.clips);
        return Err(format!("holds {clips} {ending} files where there must be {expected}"));
    }
    for (table, expected) in contents.tables {
        let rows = rows(&folder.join(table)).map_err(|why| format!("{table} in it cannot be read: {why}"))?;
        if rows != *expected {
            return Err(format!("{table} in it has {rows} rows where there must be {expected}"));
        }
    }
    Ok(())
}

/// Files in a folder, at any depth, whose names end so. `._*` are notes of macOS about a file, not files.
fn count(folder: &Path, ending: &str) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            count += self::count(&entry.path(), ending)?;
        } else {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            count += usize::from(name.ends_with(ending) && !name.starts_with("._"));
        }
    }
    Ok(count)
}

/// Rows of a table after its header.
fn rows(path: &Path) -> Result<usize, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let table = Table::new(&bytes).map_err(|mistake| mistake.to_string())?;
    table
        .records()
        .try_fold(0, |rows, record| record.map(|_| rows + 1))
        .map_err(|mistake| mistake.to_string())
}
