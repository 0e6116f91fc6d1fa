//! PyTorch's `.pth` and `.pt`: a zip archive with a pickle and the numbers beside it since 1.6, one stream of pickles
//! and numbers before (most of torchvision's and torchvggish's files). The pickle is read as data, see [`super::pickle`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::keras::without_path;
use super::pickle::{MAX_PICKLE, Storage, Values, View};
use super::tensors::{Collector, MAX_ELEMENTS, Tensors, floats};
use crate::archive::{self, Limits, Watch};
use crate::text::printable;

/// Where training programs put the network's tensors when they save other things beside them; the first that is there
/// is taken.
const STATE_DICTS: [&str; 6] =
    ["state_dict", "model_state_dict", "model_state", "model", "net", "state_dict_ema"];
/// What a checkpoint may unpack to: two files, and one for each tensor.
const LIMITS: Limits = Limits { entries: 200_000, depth: 8, bytes: 4 << 30, ratio: 200 };
/// Most numbers that are read, those of a storage again for each tensor that does not follow another one of it.
const MAX_READ: usize = 4 * MAX_ELEMENTS;
/// What the older kind begins with, after the opcodes for a protocol and a long number.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only version of the older kind.
const VERSION: i64 = 1001;

/// A checkpoint → its tensors, those of the network only where it holds more.
pub(super) fn read(path: &Path, start: &[u8]) -> Result<Tensors, String> {
    if start.starts_with(b"PK\x03\x04") { zipped(path) } else { streamed(path) }
}

fn zipped(path: &Path) -> Result<Tensors, String> {
    let failed = |e: std::io::Error| e.to_string();
    let folder = tempfile::tempdir().map_err(failed)?;
    let watch = Watch { stop: &AtomicBool::new(false), progress: &|_| () };
    let unpacked = archive::unpack_zip(path, folder.path(), LIMITS, watch).map_err(without_path)?;
    // Everything lies in one folder, which is called after the file as it was saved.
    let mut roots = std::fs::read_dir(unpacked.path()).map_err(failed)?.flatten().map(|entry| entry.path());
    let Some(root) = roots.find(|root| root.join("data.pkl").is_file()) else {
        return Err("neither a PyTorch checkpoint nor a .keras archive: it lacks data.pkl".to_owned());
    };
    if std::fs::read(root.join("byteorder")).is_ok_and(|order| order != b"little") {
        return Err("it was saved on a machine with another order of bytes".to_owned());
    }
    let pickle = root.join("data.pkl");
    if std::fs::metadata(&pickle).map_err(failed)?.len() > MAX_PICKLE as u64 {
        return Err(format!("data.pkl has more than {MAX_PICKLE} bytes"));
    }
    let (values, _) = Values::read(&std::fs::read(&pickle).map_err(failed)?)?;
    let len = std::fs::metadata(path).map_err(failed)?.len();
    collect(len, &values, |storage| {
        // A key is a number, and never a path.
        if !storage.key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("its storage has no plain name".to_owned());
        }
        std::fs::read(root.join("data").join(&*storage.key)).map_err(|e| format!("data/{}: {e}", storage.key))
    })
}

/// Pickles of a mark, a version, the machine, the checkpoint and the keys of its storages; then the storages.
fn streamed(path: &Path) -> Result<Tensors, String> {
    const UNKNOWN: &str =
        "no file of weights that is known: neither PyTorch's, safetensors, nor Keras' (HDF5)";
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut at = 0;
    let mut next = || {
        let (values, len) = Values::read(&bytes[at..])?;
        at += len;
        Ok::<_, String>((values, at))
    };
    if !bytes[..bytes.len().min(32)].windows(MAGIC.len()).any(|window| window == MAGIC) {
        // A bare pickle is not what PyTorch writes; if it is an attack, that is what to tell.
        let is_pickle = matches!(bytes.first(), Some(0x80 | b'c'));
        return Err(if is_pickle { next().err() } else { None }.unwrap_or_else(|| UNKNOWN.to_owned()));
    }
    next()?;
    let (version, _) = next()?;
    if version.int() != Some(VERSION) {
        return Err(format!("of a version that is not known; {VERSION} is"));
    }
    let (machine, _) = next()?;
    if machine.bool_at("little_endian") == Some(false) {
        return Err("it was saved on a machine with another order of bytes".to_owned());
    }
    let (values, _) = next()?;
    let (keys, end) = next()?;
    let keys = keys.texts().ok_or("damaged: the list of its storages cannot be read")?;
    let sizes: HashMap<&str, Option<usize>> =
        values.storages().map(|storage| (&*storage.key, storage.number_size())).collect();
    // Each storage is its length as eight bytes, and its numbers.
    let (mut places, mut at) = (HashMap::new(), end);
    for key in keys {
        let len =
            bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|len| u64::from_le_bytes(*len));
        let size =
            sizes.get(key.as_str()).copied().flatten().ok_or("damaged: a storage of an unknown type")?;
        let len = len.and_then(|len| usize::try_from(len).ok()?.checked_mul(size));
        let content =
            len.and_then(|len| bytes.get(at + 8..)?.get(..len)).ok_or("damaged: it ends within a storage")?;
        places.insert(key, content);
        at += 8 + content.len();
    }
    collect(bytes.len() as u64, &values, |storage| {
        places
            .get(&*storage.key)
            .map(|content| content.to_vec())
            .ok_or_else(|| "its storage is missing".to_owned())
    })
}

/// Reads every tensor of a file of `len` bytes; `content` gives those of a storage.
fn collect(
    len: u64,
    values: &Values,
    content: impl Fn(&Storage) -> Result<Vec<u8>, String>,
) -> Result<Tensors, String> {
    let mut collector = Collector::new(len);
    let mut read = 0;
    // Tensors that share a storage follow each other: it is read once.
    let mut last: Option<(Storage, Vec<f32>)> = None;
    for (name, view) in values.tensors(&STATE_DICTS)? {
        let refuse = |reason: String| format!("{}: {reason}", printable(&name));
        collector.reserve(&name, &view.shape)?;
        let numbers = match &last {
            Some((storage, numbers)) if *storage == view.storage => numbers,
            _ => {
                let kind = view.storage.kind().map_err(refuse)?;
                let bytes = match &view.storage.content {
                    Some(bytes) => bytes.to_vec(),
                    None => content(&view.storage).map_err(refuse)?,
                };
                let numbers = floats(kind, &bytes);
                read = numbers.len().saturating_add(read);
                if read > MAX_READ {
                    return Err("its tensors show the same numbers over and over".to_owned());
                }
                &last.insert((view.storage.clone(), numbers)).1
            }
        };
        let shown =
            shown(&view, numbers).ok_or_else(|| refuse("it reaches beyond its storage".to_owned()))?;
        collector.add(name, view.shape, shown)?;
    }
    collector.finish()
}

/// The numbers a tensor shows, in row-major order.
fn shown(view: &View, numbers: &[f32]) -> Option<Vec<f32>> {
    let View { offset, shape, stride, .. } = view;
    if shape.contains(&0) {
        return Some(Vec::new());
    }
    let reach = shape
        .iter()
        .zip(stride)
        .try_fold(*offset, |reach, (extent, stride)| reach.checked_add((extent - 1).checked_mul(*stride)?))?;
    numbers.get(reach)?;
    let mut dense = 1;
    let in_order = shape.iter().zip(stride).rev().all(|(extent, stride)| {
        let here = *stride == dense || *extent == 1;
        dense *= extent;
        here
    });
    if in_order {
        return Some(numbers[*offset..=reach].to_vec());
    }
    let mut places = vec![*offset];
    for (extent, stride) in shape.iter().zip(stride) {
        places = places.iter().flat_map(|place| (0..*extent).map(move |i| place + i * stride)).collect();
    }
    Some(places.into_iter().map(|place| numbers[place]).collect())
}
