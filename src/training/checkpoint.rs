//! The state of a run on disk: written whole or not at all, verified before it is used.
//!
//! A checkpoint is a directory `checkpoints/epoch-0003-step-00012/` with `model.bpk` and `optimizer.bpk`
//! (Burn's own records, which carry the parameter ids that tie the optimiser's moments to the weights),
//! `gradients.safetensors` where batches wait for the optimiser's next step, `average.safetensors` where weights are averaged,
//! `state.json`, and `manifest.json` with the sha256 of each. It is staged under a temporary name,
//! synchronised, and renamed; the two newest are kept. There is no random state to save: see [`crate::seed`].

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device};
use serde::{Deserialize, Serialize};

use super::Error;
use super::learner::Learner;
use super::per_parameter::PerParameter;
use super::results::EpochRow;
use super::run_info::StageInfo;
use crate::files::sha256;

/// How many checkpoints stay on disk.
const KEEP: usize = 2;

const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const GRADIENTS: &str = "gradients.safetensors";
const AVERAGE: &str = "average.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";

/// How the name of a checkpoint begins that is not whole yet.
const STAGED: &str = ".tmp-";

/// Everything about a run that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Epoch that is going on or comes next, from 1.
    pub epoch: usize,
    /// Steps of that epoch already made.
    pub step: usize,
    /// Sum over those steps of loss times clips.
    pub loss_sum: f64,
    /// Clips of those steps whose highest logit was that of a right class.
    pub correct: usize,
    /// Sum of the precisions at all labels of those clips ([`crate::metrics::Lwlrap`]).
    pub precision_sum: f64,
    /// Labels of those clips.
    pub labels: usize,
    /// Clips in those steps.
    pub clips: usize,
    /// Seconds spent in that epoch so far.
    pub seconds: f64,
    /// Finished epochs, those of earlier stages too.
    pub rows: Vec<EpochRow>,
    /// Number of the best epoch of this stage so far.
    pub best_epoch: Option<usize>,
    /// Stages that are through, of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finished: Vec<StageInfo>,
    /// sha256 of what the run is: resolved recipe and data. A checkpoint of another run is refused.
    pub fingerprint: String,
}

impl State {
    /// The state before the first epoch.
    pub fn start(fingerprint: String) -> Self {
        Self {
            epoch: 1,
            step: 0,
            loss_sum: 0.0,
            correct: 0,
            precision_sum: 0.0,
            labels: 0,
            clips: 0,
            seconds: 0.0,
            rows: Vec::new(),
            best_epoch: None,
            finished: Vec::new(),
            fingerprint,
        }
    }

    /// Epochs of the stages that are through.
    pub fn epochs_before(&self) -> usize {
        self.finished.iter().map(|stage| stage.epochs).sum()
    }

    /// Goes on to the first epoch of the next stage; `finished` is the one before.
    pub fn next_stage(&mut self, finished: StageInfo) {
        self.finished.push(finished);
        self.best_epoch = None;
    }
}

/// Writes a checkpoint and prunes the oldest.
pub fn save(folder: &Path, state: &State, learner: &Learner) -> Result<PathBuf, Error> {
    let other = |e: String| Error::Io { path: folder.to_owned(), source: std::io::Error::other(e) };
    let Learner { model, optimizer, gradients, average } = learner;
    // Batch norm holds its newest running statistics back until it is asked for them, and a record does not ask.
    let _ = model.valid();
    let record = model.clone().into_record().into_bytes().map_err(|e| other(e.to_string()))?;
    let optimizer = optimizer.into_bytes().map_err(|e| other(e.to_string()))?;
    let state_json = serde_json::to_vec_pretty(state).map_err(|e| Error::io(folder)(e.into()))?;
    let mut files: Vec<(&str, Vec<u8>)> =
        vec![(MODEL, record.to_vec()), (OPTIMIZER, optimizer.to_vec()), (STATE, state_json)];
    let waiting = (!gradients.is_empty()).then_some(gradients);
    for (name, tensors) in [(GRADIENTS, waiting), (AVERAGE, average.as_ref())] {
        if let Some(tensors) = tensors {
            files.push((name, tensors.to_bytes(model).map_err(|e| other(e.to_string()))?));
        }
    }
    let target = folder.join(format!("epoch-{:04}-step-{:05}", state.epoch, state.step));
    write_directory(&target, &files).map_err(Error::io(&target))?;
    prune(folder, &target).map_err(Error::io(folder))?;
    Ok(target)
}

fn write_directory(target: &Path, files: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // What a killed run was staging.
    for left in named(folder, STAGED)? {
        fs::remove_dir_all(left)?;
    }
    let staged = tempfile::Builder::new().prefix(STAGED).tempdir_in(folder)?;
    let manifest: BTreeMap<&str, String> = files.iter().map(|(name, bytes)| (*name, sha256(bytes))).collect();
    let manifest = serde_json::to_vec_pretty(&manifest)?;
    for (name, bytes) in files.iter().chain([&(MANIFEST, manifest)]) {
        let mut file = fs::File::create(staged.path().join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    fs::File::open(staged.path())?.sync_all()?;
    if target.exists() {
        // The same step written again by a resumed run: the bytes are the same, the old one makes way.
        fs::remove_dir_all(target)?;
    }
    fs::rename(staged.path(), target)?;
    fs::File::open(folder)?.sync_all()
}

/// Removes all but the newest [`KEEP`] checkpoints up to `newest`, and every later one: those belong to a history
/// that was abandoned when the run was resumed from an earlier state.
fn prune(folder: &Path, newest: &Path) -> std::io::Result<()> {
    let all = list(folder)?;
    let position = all.iter().position(|path| path == newest).map_or(all.len(), |i| i + 1);
    let keep = &all[position.saturating_sub(KEEP)..position];
    for path in all.iter().filter(|path| !keep.contains(path)) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Checkpoints in a folder, oldest first (the names sort by epoch and step).
fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    named(folder, "epoch-")
}

/// What in `folder` has a name that begins with `prefix`, sorted.
fn named(folder: &Path, prefix: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint that is whole.
pub struct Saved {
    /// Where it lies.
    pub path: PathBuf,
    /// The state.
    pub state: State,
    /// Newer checkpoints that are damaged and had to be passed over.
    pub damaged: Vec<PathBuf>,
    files: Files,
}

impl Saved {
    /// Finds the newest whole checkpoint of a folder; `None` when there is no checkpoint at all.
    ///
    /// # Errors
    ///
    /// [`Error::Resume`] when checkpoints exist and none is whole.
    pub fn find(folder: &Path) -> Result<Option<Self>, Error> {
        if !folder.exists() {
            return Ok(None);
        }
        let all = list(folder).map_err(Error::io(folder))?;
        let mut damaged = Vec::new();
        for path in all.into_iter().rev() {
            match read(&path) {
                Some((state, files)) => return Ok(Some(Self { path, state, damaged, files })),
                None => damaged.push(path),
            }
        }
        match damaged.first() {
            None => Ok(None),
            Some(path) => Err(Error::Resume {
                path: path.clone(),
                reason: format!(
                    "none of {} checkpoints is whole; start again in another --out",
                    damaged.len()
                ),
            }),
        }
    }

    /// The network, the optimiser and all else that training changes, as they were. `fresh` is the learner of the stage in
    /// which they were saved.
    ///
    /// # Errors
    ///
    /// [`Error::Resume`] when they are of another network.
    pub fn learner(self, fresh: &Learner, device: &Device) -> Result<Learner, Error> {
        let Self { path, files, .. } = self;
        restore(files, fresh, device).map_err(|reason| Error::Resume { path, reason })
    }
}

/// What training changes, out of the members of a checkpoint.
fn restore(mut files: Files, fresh: &Learner, device: &Device) -> Result<Learner, String> {
    let record = |bytes: Vec<u8>| Bytes::from_bytes_vec(bytes);
    let text = |e: burn::store::RecordError| e.to_string();
    let mut take = |name: &str| files.remove(name);
    let weights = ModuleRecord::from_bytes(record(take(MODEL).unwrap_or_default())).map_err(text)?;
    let model = fresh.model.clone().try_load_record(weights).map_err(text)?;
    let moments = record(take(OPTIMIZER).unwrap_or_default());
    let optimizer = fresh.optimizer.clone().from_bytes(moments).map_err(text)?;
    let mut tensors = |name| {
        let bytes = take(name);
        bytes
            .map(|bytes| PerParameter::from_bytes(&bytes, &model, device))
            .transpose()
            .map_err(|e| e.to_string())
    };
    let (gradients, average) = (tensors(GRADIENTS)?.unwrap_or_default(), tensors(AVERAGE)?);
    Ok(Learner { model, optimizer, gradients, average })
}

/// Members by name.
type Files = BTreeMap<String, Vec<u8>>;

/// The state and the other members of a checkpoint, when all that the manifest names are there and match it.
fn read(path: &Path) -> Option<(State, Files)> {
    let manifest: BTreeMap<String, String> =
        serde_json::from_slice(&fs::read(path.join(MANIFEST)).ok()?).ok()?;
    let member = |(name, hash): (&String, &String)| {
        // Names come from a file: nothing outside the checkpoint is read.
        let bytes = fs::read(path.join(Path::new(name).file_name()?)).ok()?;
        (*hash == sha256(&bytes)).then_some((name.clone(), bytes))
    };
    let mut files: Files = manifest.iter().map(member).collect::<Option<_>>()?;
    let state = serde_json::from_slice(&files.remove(STATE)?).ok()?;
    ([MODEL, OPTIMIZER].iter().all(|name| files.contains_key(*name))).then_some((state, files))
}
