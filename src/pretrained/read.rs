use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Tensors, Terms, keras, safetensors, torch};
use crate::files::{self, sha256_of};
use crate::text::printable;

/// Largest file: the largest network in double precision, or with the two moments of an optimiser.
const MAX_FILE: u64 = 4 << 30;

/// What Hugging Face calls files of weights, the better kind first.
pub(super) const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// The tensors of a published file, or of several that belong together.
#[derive(Debug, Clone)]
pub struct PublishedTensors {
    /// The files with the weights; of a folder, the one in it.
    pub files: Vec<SourceFile>,
    /// The tensors, by the names that the files have for them.
    pub tensors: Tensors,
    /// What the folder says of their use, if it is a folder.
    pub terms: Terms,
}

/// A file that weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name; of a file in a folder that was given, with that folder's.
    pub name: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// The names of `files`, as errors and lists show them.
pub(super) fn names(files: &[SourceFile]) -> String {
    files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(" + ")
}

impl PublishedTensors {
    /// The files' names.
    pub fn origin(&self) -> String {
        names(&self.files)
    }

    /// Adds what another file holds, which must be other tensors.
    fn join(mut self, other: Self) -> Result<Self, Error> {
        for (name, tensor) in other.tensors {
            if self.tensors.contains_key(&name) {
                let (name, theirs) = (printable(&name), &other.files[0].name);
                return Err(Error::Store(format!(
                    "{theirs} has the tensor {name}, as {} has",
                    self.origin()
                )));
            }
            self.tensors.insert(name, tensor);
        }
        self.files.extend(other.files);
        self.terms.licence = self.terms.licence.or(other.terms.licence);
        Ok(self)
    }
}

/// Reads a file of weights, whatever its name, or a folder as Hugging Face has it.
///
/// # Errors
///
/// [`Error::File`] for what is damaged, hostile, too large or no weights; [`Error::Io`].
pub fn read(given: &Path) -> Result<PublishedTensors, Error> {
    let (path, terms) = if given.is_dir() {
        (in_folder(given)?, Terms::of_folder(given))
    } else {
        (given.to_owned(), Terms::default())
    };
    let mut file = files::open(&path).map_err(Error::io(&path, "open"))?;
    let metadata = file.metadata().map_err(Error::io(&path, "read"))?;
    if metadata.len() > MAX_FILE {
        return Err(Error::file(&path, format!("{} bytes, the limit is {MAX_FILE}", metadata.len())));
    }
    let mut start = Vec::new();
    file.by_ref().take(9).read_to_end(&mut start).map_err(Error::io(&path, "read"))?;
    let tensors = match format(&path, &start) {
        Format::Keras => keras::read_archive(&path),
        Format::Hdf5 => keras::read_h5(&path, &Value::Null),
        Format::Safetensors => {
            let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
            safetensors::read(&bytes)
        }
        Format::Torch => torch::read(&path, &start),
    };
    let tensors = tensors.map_err(|reason| Error::file(&path, reason))?;
    let sha256 = sha256_of(&path).map_err(Error::io(&path, "read"))?;
    let last = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = Some(last(given)).filter(|folder| path != given && !folder.is_empty());
    let name = folder.into_iter().chain([last(&path)]).collect::<Vec<_>>().join("/");
    Ok(PublishedTensors { files: vec![SourceFile { name, sha256 }], tensors, terms })
}

/// [`read`] for files that hold parts of one network.
///
/// # Errors
///
/// Those of [`read`]; [`Error::Store`] for a tensor that is in two of them, or no files at all.
pub fn read_together(paths: &[PathBuf]) -> Result<PublishedTensors, Error> {
    let mut read = paths.iter().map(|path| read(path));
    let first = read.next().ok_or_else(|| Error::Store("no files of weights".to_owned()))??;
    read.try_fold(first, |all, next| all.join(next?))
}

enum Format {
    Keras,
    Hdf5,
    Safetensors,
    Torch,
}

/// By content; the two kinds of zip archive by the name's ending.
fn format(path: &Path, start: &[u8]) -> Format {
    let is_keras = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("keras"));
    match start {
        [b'P', b'K', 3, 4, ..] if is_keras => Format::Keras,
        [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => Format::Hdf5,
        [.., b'{'] if start.len() == 9 => Format::Safetensors,
        _ => Format::Torch,
    }
}

/// The file of weights of a Hugging Face folder.
fn in_folder(folder: &Path) -> Result<PathBuf, Error> {
    let holds = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    if let Some(path) = WEIGHT_FILES.into_iter().find_map(holds) {
        return Ok(path);
    }
    let reason = if holds("model.safetensors.index.json").is_some() {
        "its weights are split into several files; join them into one model.safetensors"
    } else {
        "a folder without model.safetensors or pytorch_model.bin; give a file, or a Hugging Face folder"
    };
    Err(Error::file(folder, reason))
}
