use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Error, Tensors, Terms, keras, safetensors, torch};
use crate::files::sha256_of;

/// Largest file: the largest network in double precision, or with the two moments of an optimiser.
const MAX_FILE: u64 = 4 << 30;

/// What Hugging Face calls files of weights, the better kind first.
pub(super) const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// The tensors of a published file.
#[derive(Debug, Clone)]
pub struct PublishedFile {
    /// The file with the weights; of a folder, the one in it.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// Its tensors, by the names it has for them.
    pub tensors: Tensors,
    /// What the folder says of their use, if it is a folder.
    pub terms: Terms,
}

/// Reads a file of weights, whatever its name, or a folder as Hugging Face has it.
///
/// # Errors
///
/// [`Error::File`] for what is damaged, hostile, too large or no weights; [`Error::Io`].
pub fn read(path: &Path) -> Result<PublishedFile, Error> {
    let (path, terms) = if path.is_dir() {
        (in_folder(path)?, Terms::of_folder(path))
    } else {
        (path.to_owned(), Terms::default())
    };
    let mut file = File::open(&path).map_err(Error::io(&path, "open"))?;
    let metadata = file.metadata().map_err(Error::io(&path, "read"))?;
    if !metadata.is_file() {
        return Err(Error::file(&path, "neither a file nor a folder"));
    }
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
    Ok(PublishedFile { path, sha256, tensors, terms })
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
