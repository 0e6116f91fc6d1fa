use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::{Entry, Error, Manifest};
use crate::features::{FeatureShape, Features};
use crate::files::{self, NewFile, hex};

/// First bytes of every entry on disk; the last one is the version of the layout.
const MAGIC: &[u8; 8] = b"OIDOFEA\x01";
/// Magic, bins, frames, digest.
const HEADER: usize = 8 + 4 + 4 + 32;

/// Features that were extracted before: of the same file, the same part of it and the same front end.
///
/// What is kept are the features *before* standardisation, bit for bit, so one cache serves every fold. Where training
/// draws another part of a recording in every epoch, it is what the draws are made from instead: the decoded,
/// resampled recording without its silence, `[1, samples]`.
/// A clip is recognised by a sha256 over its absolute path, its size and time of modification (in
/// nanoseconds), its start and duration, and the fingerprint of the front end. Hashing the content
/// instead would cost a read of the whole corpus in each run; the price of the usual trade is that a file
/// rewritten with the same length *and* the same time stamp goes unnoticed.
///
/// A cache can never change a result and never fail a run: an entry that is damaged, truncated or of
/// another shape is a miss and is replaced, and an entry that cannot be written is left out. The digest of an entry on disk is
/// checked when this cache first looks at it, and again when its size or time of modification is another.
#[derive(Debug)]
pub struct FeatureCache {
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory { max_bytes: usize, kept: Mutex<Kept> },
    Disk { folder: PathBuf, checked: Mutex<HashMap<Key, Stamp>> },
}

/// Size and time of modification of an entry whose digest was right.
type Stamp = (u64, SystemTime);

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    features: HashMap<Key, Features>,
}

impl FeatureCache {
    /// Keeps features in memory until `max_bytes` are used; later clips are not kept. (Nothing is evicted:
    /// in shuffled epochs every clip is equally likely to be wanted next.)
    pub fn in_memory(max_bytes: usize) -> Self {
        Self { store: Store::Memory { max_bytes, kept: Mutex::default() } }
    }

    /// Keeps features as one small file a clip in `folder`, which is made if needed. Several processes may
    /// share a folder.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made.
    pub fn on_disk(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)
            .map_err(Error::io(&folder, "make the folder of the feature cache"))?;
        Ok(Self { store: Store::Disk { folder, checked: Mutex::default() } })
    }

    /// The features under `key`, if they are there and whole.
    pub(super) fn get(&self, key: &Key) -> Option<Features> {
        match &self.store {
            Store::Memory { kept, .. } => lock(kept).features.get(key).cloned(),
            Store::Disk { folder, checked } => {
                let file = File::open(key.file(folder)).ok()?;
                let metadata = file.metadata().ok()?;
                let stamp = (metadata.len(), metadata.modified().ok()?);
                let bytes = files::map(&file).ok()?;
                let is_checked = lock(checked).get(key) == Some(&stamp);
                if !is_checked && !is_whole(key, &bytes) {
                    return None;
                }
                let found = decode(&bytes)?;
                if !is_checked {
                    lock(checked).insert(*key, stamp);
                }
                Some(found)
            }
        }
    }

    /// Keeps `features` under `key`.
    pub(super) fn put(&self, key: &Key, features: &Features) {
        match &self.store {
            Store::Memory { max_bytes, kept } => {
                let size = size_of_val(features.values.as_slice());
                let mut kept = lock(kept);
                if kept.bytes + size <= *max_bytes && kept.features.insert(*key, features.clone()).is_none() {
                    kept.bytes += size;
                }
            }
            Store::Disk { folder, .. } => {
                if let Err(error) = write(&key.file(folder), &encode(key, features)) {
                    tracing::warn!("{}: cannot keep features: {error}", folder.display());
                }
            }
        }
    }
}

/// What identifies the features of one clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of `entry` under the front end `front_end`; nothing when a file of it cannot be found (reading it
    /// will then say why).
    pub(super) fn new(front_end: &[u8; 32], manifest: &Manifest, entry: &Entry) -> Option<Self> {
        let seconds = |value: Option<f64>| value.map_or([0xff; 8], f64::to_le_bytes);
        let mut hash = Sha256::new();
        hash.update(front_end);
        match &entry.mixture {
            None => add_file(&mut hash, &manifest.file(entry))?,
            Some(mixture) => {
                hash.update(serde_json::to_vec(mixture).ok()?);
                mixture.files().try_for_each(|file| add_file(&mut hash, &manifest.root.join(file)))?;
            }
        }
        hash.update(seconds(entry.start));
        hash.update(seconds(entry.duration));
        Some(Self(hash.finalize().into()))
    }

    fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.features", hex(&self.0)))
    }
}

/// Absolute path, size and time of modification.
fn add_file(hash: &mut Sha256, path: &Path) -> Option<()> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let path = std::path::absolute(path).ok()?;
    hash.update(metadata.len().to_le_bytes());
    hash.update(modified.to_le_bytes());
    hash.update(path.as_os_str().len().to_le_bytes());
    hash.update(path.as_os_str().as_encoded_bytes());
    Some(())
}

/// Without waiting for the disk: features can be made again, and the digest tells what a power cut left.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes)?;
    file.finish_unsynced()
}

/// Layout on disk, all numbers little-endian: magic, bins u32, frames u32, sha256 of (key, bins, frames,
/// values), values f32.
fn encode(key: &Key, features: &Features) -> Vec<u8> {
    let shape = shape_bytes(features.shape);
    let values: Vec<u8> = features.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [MAGIC.as_slice(), &shape, &digest(key, &shape, &values), &values].concat()
}

/// Whether the bytes are those that were written under `key`.
fn is_whole(key: &Key, bytes: &[u8]) -> bool {
    let Some((header, values)) = bytes.split_at_checked(HEADER) else { return false };
    let (magic, rest) = header.split_at(8);
    let (shape, expected) = rest.split_at(8);
    magic == MAGIC && digest(key, shape, values) == *expected
}

/// The features in the bytes of an entry.
fn decode(bytes: &[u8]) -> Option<Features> {
    let (header, values) = bytes.split_at_checked(HEADER)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize);
    let shape = FeatureShape { bins: number(&header[8..12])?, frames: number(&header[12..16])? };
    let values: Vec<f32> = values.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
    (values.len() == shape.bins.checked_mul(shape.frames)?).then_some(Features { shape, values })
}

fn shape_bytes(shape: FeatureShape) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(shape.bins as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(shape.frames as u32).to_le_bytes());
    bytes
}

fn digest(key: &Key, shape: &[u8], values: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key.0).chain_update(shape).chain_update(values).finalize().into()
}

/// A panic elsewhere cannot leave the map half written, so a poisoned lock is still good.
fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::mix::Mixture;

    const SHAPE: FeatureShape = FeatureShape { bins: 2, frames: 3 };

    fn key(byte: u8) -> Key {
        Key([byte; 32])
    }

    fn features() -> Features {
        Features { shape: SHAPE, values: vec![-80.0, 0.1, f32::MIN_POSITIVE, -0.0, 3.5e-12, 1.0] }
    }

    fn bits(features: &Features) -> Vec<u32> {
        features.values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn gives_back_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        for cache in [FeatureCache::in_memory(1000), FeatureCache::on_disk(folder.path()).unwrap()] {
            assert!(cache.get(&key(1)).is_none());
            cache.put(&key(1), &features());
            let found = cache.get(&key(1)).unwrap();
            assert_eq!((found.shape, bits(&found)), (SHAPE, bits(&features())));
            assert!(cache.get(&key(2)).is_none());
        }
    }

    #[test]
    fn memory_stops_at_its_cap() {
        let cache = FeatureCache::in_memory(2 * 6 * 4);
        for byte in 1..=3 {
            cache.put(&key(byte), &features());
            cache.put(&key(byte), &features());
        }
        assert!(cache.get(&key(1)).is_some() && cache.get(&key(2)).is_some());
        assert!(cache.get(&key(3)).is_none());
    }

    #[test]
    fn an_entry_with_any_damaged_byte_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let file = |byte| key(byte).file(folder.path());
        let whole = encode(&key(1), &features());
        let found = |byte, bytes: &[u8]| {
            std::fs::write(file(byte), bytes).unwrap();
            FeatureCache::on_disk(folder.path()).unwrap().get(&key(byte)).is_some()
        };
        assert!(found(1, &whole));
        assert!(!found(2, &whole), "an entry under a wrong name must not be trusted");
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            assert!(!found(1, &damaged), "byte {position}");
            assert!(!found(1, &whole[..position]), "cut at {position}");
        }
    }

    #[test]
    fn an_entry_that_was_replaced_since_it_was_checked_is_checked_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::on_disk(folder.path()).unwrap();
        cache.put(&key(1), &features());
        assert!(cache.get(&key(1)).is_some());
        let path = key(1).file(folder.path());
        let mut damaged = std::fs::read(&path).unwrap();
        damaged[HEADER] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(10);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(cache.get(&key(1)).is_none(), "damaged");
        std::fs::write(&path, &damaged[..HEADER]).unwrap();
        assert!(cache.get(&key(1)).is_none(), "cut");
        cache.put(&key(1), &features());
        assert_eq!(bits(&cache.get(&key(1)).unwrap()), bits(&features()), "replaced");
    }

    #[test]
    fn the_key_depends_on_file_part_and_front_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        std::fs::write(&path, b"1234").unwrap();
        let manifest = Manifest::new(folder.path(), Vec::new());
        let key = |front_end: u8, start, duration| {
            let entry = Entry { path: "a.wav".into(), start, duration, ..Entry::default() };
            Key::new(&[front_end; 32], &manifest, &entry).unwrap()
        };
        let base = key(0, None, None);
        assert_eq!(key(0, None, None), base);
        assert_ne!(key(1, None, None), base);
        assert_ne!(key(0, Some(1.0), None), base);
        assert_ne!(key(0, None, Some(1.0)), base);
        std::fs::write(&path, b"12345").unwrap();
        let longer = key(0, None, None);
        assert_ne!(longer, base);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_nanos(5)).unwrap();
        assert_ne!(key(0, None, None), longer);
        let absent = Entry { path: "none.wav".into(), ..Entry::default() };
        assert_eq!(Key::new(&[0; 32], &manifest, &absent), None);
    }

    #[test]
    fn the_key_of_a_mixture_depends_on_what_it_is_mixed_of() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.flac"), b"1234").unwrap();
        let manifest = Manifest::new(folder.path(), Vec::new());
        let key = |json: &str| {
            let mixture = Some(Box::new(Mixture::parse(json).unwrap()));
            let entry = Entry { path: "Audio_Train1.wav".into(), mixture, ..Entry::default() };
            Key::new(&[0; 32], &manifest, &entry)
        };
        let row = r#"{"seconds":1,"voices":[{"path":"a.flac","start":0.5,"gain":1}]}"#;
        assert_eq!(key(row), key(row));
        assert!(key(row).is_some());
        assert_ne!(key(&row.replace("0.5", "0.52")), key(row));
        assert_eq!(key(&row.replace("a.flac", "none.flac")), None);
        let before = key(row);
        std::fs::write(folder.path().join("a.flac"), b"12345").unwrap();
        assert_ne!(key(row), before);
    }
}
