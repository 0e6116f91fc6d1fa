use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, Figures, Member};
use crate::config::{self, ConfigError};
use crate::dataset::{Manifest, Split};
use crate::files::{sha256, write_file};
use crate::training::{ClipCounts, Recipe, manifest_sha256};

/// Format of `plan.json` and `member.json`; a higher number means that a key changed its meaning.
const FORMAT: u32 = 1;

/// The plan, in the folder of a series.
const PLAN: &str = "plan.json";

/// What came of a run, in its directory.
const MEMBER: &str = "member.json";

/// What several runs are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One run for each fold, which is judged on it.
    CrossValidation,
    /// One run for each combination of settings, judged on the validation clips.
    Sweep,
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossValidation => "cross-validation",
            Self::Sweep => "sweep",
        }
    }

    /// The command that makes it.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::CrossValidation => "oido cv",
            Self::Sweep => "oido sweep",
        }
    }
}

/// A run of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its folder.
    pub name: String,
    /// What it has otherwise than the recipe, as `section.key=value`; of a sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
}

/// `plan.json`: what the runs of a folder are runs of. Parts with equal plans can be put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// 1.
    pub format: u32,
    /// What they are together.
    pub kind: Kind,
    /// The recipe's name.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// The recipe's seed.
    pub seed: u64,
    /// sha256 over the clips with their labels, parts and folds; folders do not count.
    pub data_sha256: String,
    /// Clips of the data.
    pub clips: usize,
    /// The recipe, resolved, without the path of the data.
    pub recipe: String,
    /// All runs, in order.
    pub members: Vec<Planned>,
    /// The command that makes all of them. Two plans that differ in it alone are the same.
    pub command: String,
}

impl Plan {
    /// The plan of `members`, runs of variants of `recipe` on the clips of `manifest`.
    pub(super) fn new(
        kind: Kind,
        recipe: &Recipe,
        manifest: &Manifest,
        members: &[Member],
        command: &str,
    ) -> Result<Self, ConfigError> {
        let mut resolved = recipe.resolved();
        resolved.data.path = None;
        let folds: Vec<Option<u32>> = manifest.entries.iter().map(|entry| entry.fold).collect();
        Ok(Self {
            format: FORMAT,
            kind,
            name: recipe.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: recipe.seed,
            data_sha256: sha256(format!("{}\n{folds:?}", manifest_sha256(manifest)).as_bytes()),
            clips: manifest.entries.len(),
            recipe: resolved.to_toml()?,
            members: members.iter().map(|member| member.planned.clone()).collect(),
            command: command.to_owned(),
        })
    }

    /// Reads the plan of a folder.
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(PLAN);
        if !path.is_file() {
            let reason = "there is no plan.json in it; give the --out of `oido cv` or `oido sweep`";
            return Err(Error::folder(dir, reason));
        }
        let plan: Self = read_json(&path)?;
        if plan.format != FORMAT {
            let reason = format!("format {} is not {FORMAT}; use the program that wrote it", plan.format);
            return Err(Error::folder(path, reason));
        }
        Ok(plan)
    }

    /// Writes the plan into a folder.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        write_json(&dir.join(PLAN), self)
    }

    /// Fingerprint of all but the command.
    pub(super) fn sha256(&self) -> Result<String, Error> {
        let plan = Self { command: String::new(), ..self.clone() };
        Ok(sha256(&serde_json::to_vec(&plan).map_err(|e| Error::io(PLAN)(e.into()))?))
    }

    /// The first thing in which `other` is another experiment.
    pub(super) fn difference(&self, other: &Self) -> Option<Difference> {
        let differs = |what: &str, ours: String, theirs: String| {
            (ours != theirs).then(|| Difference { what: what.to_owned(), ours, theirs })
        };
        differs("kind", self.kind.name().to_owned(), other.kind.name().to_owned())
            .or_else(|| differs("program version", self.version.clone(), other.version.clone()))
            .or_else(|| differs("seed", self.seed.to_string(), other.seed.to_string()))
            .or_else(|| recipe_difference(&self.recipe, &other.recipe))
            .or_else(|| differs("data", self.data(), other.data()))
            .or_else(|| differs("list of runs", self.names(), other.names()))
    }

    fn names(&self) -> String {
        self.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn data(&self) -> String {
        format!("{} clips with sha256 {}", self.clips, self.data_sha256.get(..12).unwrap_or_default())
    }
}

/// In what two plans differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Which thing.
    pub(super) what: String,
    /// What it is in the one.
    pub(super) ours: String,
    /// What it is in the other.
    pub(super) theirs: String,
}

/// The first key in which two recipes differ, with both values.
fn recipe_difference(ours: &str, theirs: &str) -> Option<Difference> {
    if ours == theirs {
        return None;
    }
    let flat = |text: &str| config::flatten(text).unwrap_or_default();
    let (ours, theirs) = (flat(ours), flat(theirs));
    let key = ours.keys().chain(theirs.keys()).find(|key| ours.get(*key) != theirs.get(*key))?;
    let value = |flat: &BTreeMap<String, String>| {
        flat.get(key).map_or_else(|| format!("no {key}"), |value| format!("{key} = {value}"))
    };
    Some(Difference { what: "recipe".to_owned(), ours: value(&ours), theirs: value(&theirs) })
}

/// `member.json`: what came of one run, written when it was judged. No time stands in it, so that the same run gives the
/// same bytes everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1.
    pub format: u32,
    /// The folder of the run.
    pub name: String,
    /// Fingerprint of the plan that it belongs to.
    pub plan_sha256: String,
    /// The clips it was judged on.
    pub part: Split,
    /// Clips of each part.
    pub clips: ClipCounts,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch whose weights were kept, from 1, chosen on validation.
    pub best_epoch: usize,
    /// The network in the zoo.
    pub model: String,
    /// Parameters of the network.
    pub parameters: u64,
    /// How the clips were split, in words.
    pub protocol: String,
    /// Whether a group crosses the split.
    pub leaking: bool,
    /// What the reader of a figure must know.
    pub warnings: Vec<String>,
    /// Of that epoch, what it was chosen by.
    pub monitored: Option<f64>,
    /// What it reached.
    pub figures: Figures,
    /// sha256 of its `predictions.csv`.
    pub predictions_sha256: String,
}

impl Record {
    /// The current format.
    pub(super) const FORMAT: u32 = FORMAT;

    /// Of the run in `dir`; none when it was not finished.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(MEMBER);
        if path.is_file() { read_json(&path).map(Some) } else { Ok(None) }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        write_json(&dir.join(MEMBER), self)
    }

    /// Whether the predictions in `dir` are still those that were judged.
    pub(super) fn is_of(&self, dir: &Path) -> bool {
        crate::files::sha256_of(&dir.join("predictions.csv")).is_ok_and(|sha| sha == self.predictions_sha256)
    }
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::folder(path, format!("{e}; remove the file and run again")))
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::io(path)(e.into()))?;
    bytes.push(b'\n');
    write_file(path, bytes).map_err(Error::io(path))
}
