//! Reading TOML: files, `--set section.key=value`, and errors that name the field.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A configuration that cannot be used, with the field at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A field has an impossible value.
    #[error("{field}: {reason}")]
    Field {
        /// Full name, `section.key`.
        field: String,
        /// What was given, what is wrong with it and what would do.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML, or a key is unknown or has the wrong type.
    #[error("{origin}: {message}")]
    Parse {
        /// A path, or where the text came from.
        origin: String,
        /// The parser's sentence, with line and column when known.
        message: String,
    },
}

impl ConfigError {
    /// Builds a [`ConfigError::Field`].
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }
}

/// Reads a TOML file into a table.
pub fn read_table(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|e: toml::de::Error| ConfigError::Parse {
        origin: path.display().to_string(),
        message: e.to_string().trim_end().to_owned(),
    })
}

/// Applies one `section.key=value` assignment. The value is read as TOML; if that fails, as a string,
/// so `--set model.name=cnn` needs no inner quotes.
pub fn apply_set(table: &mut Table, assignment: &str) -> Result<(), ConfigError> {
    let bad = |reason: &str| ConfigError::field(format!("--set {assignment}"), reason);
    let (key, text) = assignment.split_once('=').ok_or_else(|| bad("expected section.key=value"))?;
    let value = format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().filter(|k| !k.is_empty()).ok_or_else(|| bad("the key is empty"))?;
    let mut target = table;
    for part in parts {
        target = target
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| bad(&format!("{part} is a value, not a section")))?;
    }
    target.insert(last.to_owned(), value);
    Ok(())
}

/// Turns a table into a typed configuration; unknown keys are refused by the types
/// (`deny_unknown_fields`). `origin` names the file in the error.
pub fn parse<T: DeserializeOwned>(table: Table, origin: &str) -> Result<T, ConfigError> {
    // Through text once more, so that the error carries the key and the line of the offending value.
    let text = toml::to_string(&table)
        .map_err(|e| ConfigError::Parse { origin: origin.to_owned(), message: e.to_string() })?;
    toml::from_str(&text).map_err(|e| ConfigError::Parse {
        origin: origin.to_owned(),
        message: e.to_string().trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        epochs: usize,
        name: String,
    }

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn sets_numbers_strings_and_new_sections() {
        let mut t = table("[training]\nepochs = 1");
        apply_set(&mut t, "training.epochs=5").unwrap();
        apply_set(&mut t, "model.name=cnn").unwrap();
        assert_eq!(t["training"]["epochs"].as_integer(), Some(5));
        assert_eq!(t["model"]["name"].as_str(), Some("cnn"));
    }

    #[test]
    fn refuses_malformed_assignments() {
        let mut t = table("a = 1");
        for bad in ["novalue", "=1", "a.b=1"] {
            let error = apply_set(&mut t, bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse::<Section>(table("epochs = 1\nname = 'x'\nepoch = 2"), "r.toml").unwrap_err();
        assert!(error.to_string().contains("r.toml") && error.to_string().contains("epoch"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = parse::<Section>(table("epochs = 'ten'\nname = 'x'"), "r.toml").unwrap_err();
        assert!(error.to_string().contains("epochs"), "{error}");
        assert_eq!(parse::<Section>(table("epochs = 1\nname = 'x'"), "r").unwrap().name, "x");
        assert_eq!(parse::<Section>(table("epochs = 1\nname = 'x'"), "r").unwrap().epochs, 1);
    }
}
