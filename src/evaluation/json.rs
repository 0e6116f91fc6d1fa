use std::path::Path;

use serde::de::DeserializeOwned;

use super::Error;

/// Reads a JSON file of a run.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Json { path: path.to_owned(), message: e.to_string() })
}
