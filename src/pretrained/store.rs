//! The local store of weights: one folder a name, with `model.safetensors`, `meta.json` and the publisher's licence and
//! notice files, where there were some.
//!
//! It lies in `OIDO_HOME/weights`, or `XDG_DATA_HOME/oido/weights`, or `~/.local/share/oido/weights` (on Windows
//! `%LOCALAPPDATA%\oido\weights`). A name appears when all of it is written.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::Error;
use super::read::{SourceFile, names};
use super::tensors::Tensors;
use crate::features::FeatureShape;
use crate::files::{sha256, write_file};
use crate::models::{Layout, ModelConfig};

/// The version of `meta.json` that is written and read.
const FORMAT: u32 = 1;
/// Longest name.
const MAX_NAME: usize = 100;
const WEIGHTS: &str = "model.safetensors";
const META: &str = "meta.json";

/// What `meta.json` says of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of this file.
    pub format: u32,
    /// The name in the store.
    pub name: String,
    /// The network and its options.
    pub model: ModelConfig,
    /// Bins of the input the network was built for.
    pub bins: usize,
    /// Frames of that input.
    pub frames: usize,
    /// Classes of the last layer; nothing when it was left out.
    pub num_classes: Option<usize>,
    /// Numbers, those of batch normalisation's moving averages included.
    pub parameters: usize,
    /// Where the weights come from.
    pub source: Source,
    /// SHA-256 of `model.safetensors`.
    pub sha256: String,
    /// When, in UTC: `2026-11-21T14:03:00Z`.
    pub imported: String,
    /// Version of the program that wrote this.
    pub oido: String,
}

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// The files; several, when parts of one network are published apart.
    pub files: Vec<SourceFile>,
    /// The repository it was fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Whose names it has; nothing for weights of oido.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Published names that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The front end that the publisher trained with, as `--set` of a recipe has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub front_end: Vec<String>,
    /// The licence, as the user or the publisher calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

impl Source {
    /// The repository, or the files' names.
    pub fn origin(&self) -> String {
        self.repository.clone().unwrap_or_else(|| names(&self.files))
    }
}

/// A folder of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store(PathBuf);

impl Store {
    /// The user's store, wherever the environment says it is.
    pub fn open() -> Result<Self, Error> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = folder("OIDO_HOME")
            .or_else(|| {
                folder("XDG_DATA_HOME").filter(|path| path.is_absolute()).map(|path| path.join("oido"))
            })
            .or_else(|| folder("LOCALAPPDATA").map(|path| path.join("oido")))
            .or_else(|| folder("HOME").map(|path| path.join(".local/share/oido")));
        let home = home.ok_or_else(|| {
            Error::Store("there is no home folder to keep weights in; set OIDO_HOME to a folder".to_owned())
        })?;
        Ok(Self::at(home.join("weights")))
    }

    /// A store in this folder, which need not exist.
    pub fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where files go that are fetched for it, until they are imported.
    pub fn downloads(&self) -> PathBuf {
        self.0.with_file_name("downloads")
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// What it holds, by name; entries that cannot be read come as errors.
    pub fn list(&self) -> Result<Vec<Result<Meta, Error>>, Error> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&self.0, "read")(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::io(&self.0, "read"))?.file_name().to_string_lossy().into_owned();
            names.extend(check_name(&name).is_ok().then_some(name));
        }
        names.sort();
        Ok(names.iter().map(|name| self.meta(name)).collect())
    }

    /// Whether there are weights of this name.
    pub fn holds(&self, name: &str) -> bool {
        check_name(name).is_ok() && self.0.join(name).is_dir()
    }

    fn meta(&self, name: &str) -> Result<Meta, Error> {
        let path = self.0.join(name).join(META);
        let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
        let meta: Meta = serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e.to_string()))?;
        if meta.format != FORMAT {
            let reason =
                format!("format {}; this program reads {FORMAT}; import the weights again", meta.format);
            return Err(Error::file(&path, reason));
        }
        Ok(meta)
    }

    /// Weights by name: what is known of them, and the bytes of `model.safetensors`.
    pub fn get(&self, name: &str) -> Result<(Meta, Vec<u8>), Error> {
        let meta = self.meta(name)?;
        let path = self.0.join(name).join(WEIGHTS);
        let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
        if sha256(&bytes) != meta.sha256 {
            let folder = self.0.join(name);
            let reason = format!(
                "damaged: its sha256 is not that of meta.json; remove {} and import again",
                folder.display()
            );
            return Err(Error::file(&path, reason));
        }
        Ok((meta, bytes))
    }

    /// Keeps weights. What is derived is filled in here: format, sizes, sha256, date and version.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] for a name that cannot be a folder or is taken; [`Error::Io`].
    pub fn add(&self, draft: Draft, tensors: &Tensors) -> Result<Meta, Error> {
        self.check_free(&draft.name)?;
        let bytes = to_safetensors(tensors)?;
        let meta = Meta {
            format: FORMAT,
            name: draft.name,
            model: draft.model,
            bins: draft.input.bins,
            frames: draft.input.frames,
            num_classes: draft.num_classes,
            parameters: tensors.values().map(|tensor| tensor.values.len()).sum(),
            source: draft.source,
            sha256: sha256(&bytes),
            imported: utc(SystemTime::now()),
            oido: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let json = serde_json::to_vec_pretty(&meta).map_err(|e| Error::Store(e.to_string()))?;
        std::fs::create_dir_all(&self.0).map_err(Error::io(&self.0, "make the folder"))?;
        let staged = tempfile::Builder::new()
            .prefix(".importing-")
            .tempdir_in(&self.0)
            .map_err(Error::io(&self.0, "make a folder in it"))?;
        let notices = draft.notices.iter().map(|(name, content)| (name.as_str(), content));
        for (name, content) in notices.chain([(WEIGHTS, &bytes), (META, &json)]) {
            let path = staged.path().join(name);
            write_file(&path, content).map_err(Error::io(&path, "write"))?;
        }
        let target = self.0.join(&meta.name);
        open_to_others(staged.path()).map_err(Error::io(staged.path(), "write"))?;
        std::fs::rename(staged.path(), &target).map_err(Error::io(&target, "write"))?;
        Ok(meta)
    }

    /// Refuses a name that is taken or cannot be a folder.
    pub fn check_free(&self, name: &str) -> Result<(), Error> {
        check_name(name).map_err(Error::Store)?;
        let folder = self.0.join(name);
        if folder.exists() {
            let folder = folder.display();
            return Err(Error::Store(format!(
                "there are weights `{name}` already; give another --name, or remove {folder} first"
            )));
        }
        Ok(())
    }
}

/// What [`Store::add`] cannot find out by itself.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The name in the store.
    pub name: String,
    /// The network and its options.
    pub model: ModelConfig,
    /// Its input.
    pub input: FeatureShape,
    /// Classes of the last layer; nothing when it was left out.
    pub num_classes: Option<usize>,
    /// Where the weights come from.
    pub source: Source,
    /// Files with the licence and notices, by name.
    pub notices: Vec<(String, Vec<u8>)>,
}

/// Names are folders on every system, and never paths.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = (1..=MAX_NAME).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with('.')
        && !name.ends_with('.');
    if good {
        Ok(())
    } else {
        let name = crate::text::printable(name);
        Err(format!(
            "`{name}` cannot name weights; use letters, digits, `-`, `_` and `.`, as in imagenet-resnet50"
        ))
    }
}

/// A temporary folder is its owner's alone; the store is read like any other folder.
#[cfg(unix)]
fn open_to_others(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Names sorted: equal weights give equal bytes.
fn to_safetensors(tensors: &Tensors) -> Result<Vec<u8>, Error> {
    let broken =
        |e: safetensors::SafeTensorError| Error::Store(format!("the weights cannot be written: {e}"));
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, tensor), bytes)| {
            Ok((name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(broken)?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    safetensors::serialize(views, None).map_err(broken)
}

/// A moment as `2026-11-21T14:03:00Z`. Days to dates after Howard Hinnant's `civil_from_days`.
fn utc(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, in cycles of 400 years.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * cycle + year_of_cycle + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::CnnConfig;
    use crate::pretrained::Tensor;
    use std::time::Duration;

    fn draft(name: &str) -> Draft {
        Draft {
            name: name.to_owned(),
            model: ModelConfig::Cnn(CnnConfig::default()),
            input: FeatureShape { bins: 16, frames: 20 },
            num_classes: Some(3),
            source: Source { licence: Some("MIT".into()), ..Source::default() },
            notices: vec![("NOTICE".to_owned(), b"by us".to_vec())],
        }
    }

    fn tensors() -> Tensors {
        Tensors::from([("w".to_owned(), Tensor { shape: vec![2], values: vec![1.0, -2.5] })])
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn weights_come_back_with_what_is_known_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("new/weights"));
        assert!(store.list().unwrap().is_empty() && !store.holds("a"));
        let kept = store.add(draft("a"), &tensors()).unwrap();
        let (meta, bytes) = store.get("a").unwrap();
        assert_eq!((&meta, meta.parameters, meta.source.licence.as_deref()), (&kept, 2, Some("MIT")));
        assert_eq!(super::super::safetensors::read(&bytes).unwrap(), tensors());
        assert_eq!(std::fs::read(store.folder().join("a/NOTICE")).unwrap(), b"by us");
        assert_eq!(store.list().unwrap().into_iter().map(|m| m.unwrap().name).collect::<Vec<_>>(), ["a"]);
        // Nothing but the entry is left behind.
        assert_eq!(std::fs::read_dir(store.folder()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_is_taken_once_and_is_never_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("weights"));
        store.add(draft("a"), &tensors()).unwrap();
        assert!(store.add(draft("a"), &tensors()).unwrap_err().to_string().contains("already"));
        for name in
            ["", ".", "..", "../a", "a/b", "a\\b", ".hidden", "a b", "ä", "con:", "x\n", &"x".repeat(101)]
        {
            let error = store.add(draft(name), &tensors()).unwrap_err().to_string();
            assert!(error.contains("cannot name weights") && !error.contains('\n'), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damaged_weights_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().to_owned());
        store.add(draft("a"), &tensors()).unwrap();
        let path = folder.path().join("a/model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(store.get("a").unwrap_err().to_string().contains("damaged"));
        std::fs::write(folder.path().join("a/meta.json"), "{}").unwrap();
        assert!(store.list().unwrap()[0].is_err());
    }
}
