//! Mixtures as files with their manifest, or as a manifest alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use super::config::{MixConfig, Mode};
use super::mixture::{Mixture, Sound, samples};
use super::plan::{Plan, Planner};
use super::scan::{Corpus, Scan};
use crate::audio::{WavFormat, pcm16_len, write_wav};
use crate::config::ConfigError;
use crate::dataset::manifest::Rows;
use crate::dataset::{BadClip, Entry, Error, Manifest, Split};
use crate::files::{
    FolderLock, NewFile, check_writable, is_unfinished, parent, remove_unfinished, write_file,
};
use crate::seed::Seed;

/// Number of the way mixtures are drawn and rendered. Raise it with every change that gives other samples: folders of
/// another number are then not gone on with.
const VERSION: u32 = 1;

/// The settings in a folder of mixtures.
const SETTINGS: &str = "mix.toml";
/// The manifest in a folder of mixtures.
const MANIFEST: &str = "manifest.csv";

/// Mixtures drawn, and perhaps written, at a time.
const CHUNK: usize = 512;

/// Columns of a manifest of mixtures that are rendered when they are wanted.
const VIRTUAL: [&str; 9] =
    ["path", "labels", "split", "speaker_ids", "mixture", "F", "M", "speakers", "speakers_sex"];
/// Columns of a manifest of files; some of them only where there is noise, a room or a level.
const WRITTEN: [&str; 15] = [
    "path",
    "labels",
    "split",
    "speaker_ids",
    "F",
    "M",
    "gains",
    "level",
    "noise",
    "offsets",
    "room",
    "snr",
    "sources",
    "speakers",
    "speakers_sex",
];

/// Mixtures of each part by number of speakers and sexes (`MMF`).
pub type Tally = BTreeMap<(Split, usize, String), usize>;

/// Everything that is needed to make mixtures, every recording listened to.
#[derive(Debug)]
pub struct Mixer {
    planner: Planner,
    seed: Seed,
    root: PathBuf,
    fingerprint: String,
    /// What is odd, a sentence each.
    pub remarks: Vec<String>,
    /// Recordings that cannot be used and are left out.
    pub bad: Vec<BadClip>,
}

/// A folder that mixtures can be written to, and that no other program writes to until this is dropped.
#[derive(Debug)]
pub struct MixFolder {
    path: PathBuf,
    _lock: FolderLock,
}

/// What a folder of mixtures was made with; the same settings make the same bytes.
#[derive(Serialize)]
struct Settings<'a> {
    version: u32,
    seed: u64,
    /// Fingerprint of the recordings that are mixed; none before they are listened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    recordings: Option<&'a str>,
    mix: &'a MixConfig,
}

impl MixFolder {
    /// Takes `path` for mixtures of `corpus`, before anything is listened to: makes the folder where there is none, and
    /// removes what a killed run left half written.
    ///
    /// # Errors
    /// [`Error::Folder`] when another program writes to it, when it holds something else or mixtures made with other
    /// settings, or lies in a folder that noise is taken from; [`Error::Io`] when it cannot be made or written to.
    pub fn claim(path: &Path, corpus: &Corpus) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Folder { path: path.to_owned(), reason };
        let absolute = std::path::absolute(path).map_err(Error::io(path, "find"))?;
        if let Some(noise) = corpus.noise_folders().find(|noise| absolute.starts_with(noise)) {
            let noise = noise.display();
            return Err(refuse(format!(
                "it lies in {noise}, where noise is taken from; choose another --out"
            )));
        }
        if path.exists() && !path.is_dir() {
            return Err(refuse("it is no folder; choose another --out".to_owned()));
        }
        std::fs::create_dir_all(path).map_err(Error::io(path, "make the folder"))?;
        let lock = FolderLock::take(path).ok_or_else(|| {
            refuse(
                "another oido is writing mixtures to it; wait for that one, or choose another --out"
                    .to_owned(),
            )
        })?;
        let ours = Settings { version: VERSION, seed: corpus.seed.0, recordings: None, mix: &corpus.config };
        if !ours.are_those_of(path)? && !is_empty(path)? {
            return Err(refuse("it holds something else; choose another --out".to_owned()));
        }
        let folders = Split::ALL.map(|part| path.join(part.name()));
        for folder in folders.iter().map(PathBuf::as_path).chain([path]) {
            remove_unfinished(folder).map_err(Error::io(folder, "remove unfinished files from"))?;
        }
        let manifest = path.join(MANIFEST);
        check_writable(&manifest).map_err(Error::io(&manifest, "write"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

impl Settings<'_> {
    fn text(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::field("data.mix", error.to_string()))
    }

    /// Whether `folder` holds mixtures, all made with these settings.
    ///
    /// # Errors
    /// [`Error::Folder`] when they were made with others.
    fn are_those_of(&self, folder: &Path) -> Result<bool, Error> {
        let path = folder.join(SETTINGS);
        let theirs = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            theirs => theirs.map_err(Error::io(&path, "read"))?,
        };
        let is_known = |line: &&str| self.recordings.is_some() || !line.starts_with("recordings = ");
        let theirs: Vec<&str> = theirs.lines().filter(is_known).collect();
        let ours = self.text()?;
        let ours: Vec<&str> = ours.lines().collect();
        if theirs == ours {
            return Ok(true);
        }
        Err(Error::Folder { path: folder.to_owned(), reason: difference(&theirs, &ours) })
    }
}

impl Mixer {
    /// Listens to every recording, in parallel. `progress` is told, from any thread, how many of how many are done.
    ///
    /// # Errors
    /// [`Error::Config`] when a part has too few speakers or noises that can be used; [`Error::Stopped`] once `stop` is
    /// set.
    pub fn new(
        corpus: Corpus,
        progress: &(dyn Fn(usize, usize) + Sync),
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        let (config, seed) = (corpus.config.clone(), corpus.seed);
        let Scan { root, pools, fingerprint, mut remarks, bad } = corpus.scan(progress, stop)?;
        let planner = Planner::new(&config, seed, pools)?;
        remarks.extend(planner.remarks());
        Ok(Self { planner, seed, root, fingerprint, remarks, bad })
    }

    /// Mixture `i` of a part, from 0, to be rendered from its row; paths start from the folder with `SPEAKERS.TXT`.
    ///
    /// # Errors
    /// [`Error::Config`] when no draw has enough speech at once.
    pub fn entry(&self, part: Split, i: usize) -> Result<Entry, Error> {
        let plan = self.planner.plan(part, i)?;
        let mixture = Some(Box::new(plan.mixture.clone()));
        Ok(Entry { mixture, ..row(part, i, &plan) })
    }

    /// What whoever uses the mixtures must know: [`Mixer::remarks`], and how many recordings were left out.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.remarks.clone();
        if let Some(first) = self.bad.first() {
            let (count, path, reason) = (self.bad.len(), first.path.display(), &first.reason);
            warnings.push(format!(
                "{count} recordings are left out of the mixtures; the first is {path}: {reason}"
            ));
        }
        warnings
    }

    /// All mixtures of all parts, to be rendered from their rows.
    ///
    /// # Errors
    /// Those of [`Mixer::entry`].
    pub fn manifest(&self) -> Result<Manifest, Error> {
        let all: Vec<(Split, usize)> = self.all().collect();
        let entries = all.into_par_iter().map(|(part, i)| self.entry(part, i));
        Ok(Manifest::new(&self.root, entries.collect::<Result<_, _>>()?))
    }

    /// Writes a manifest whose clips are rendered when they are wanted, whole or not at all. `progress` is told, from any
    /// thread, how many are drawn.
    ///
    /// # Errors
    /// Those of [`Mixer::entry`], [`Error::Io`], and [`Error::Stopped`] once `stop` is set.
    pub fn write_manifest(
        &self,
        path: &Path,
        progress: &(dyn Fn(usize) + Sync),
        stop: &AtomicBool,
    ) -> Result<Tally, Error> {
        let file = NewFile::create(path).map_err(Error::io(path, "write"))?;
        let rows = Rows::new(file, VIRTUAL, &self.root, parent(path)).map_err(Error::io(path, "write"))?;
        self.write_rows(rows, path, |part, i| self.entry(part, i), progress, stop)
    }

    /// Writes `folder/train/Audio_Train1.wav` (16 bit) and so on, then `folder/manifest.csv`. The same call goes on
    /// where another one ended: files that are whole are left as they are. Memory does not grow with the number of
    /// mixtures. `progress` is told, from any thread, how many are there.
    ///
    /// # Errors
    /// [`Error::Stopped`] once `stop` is set; [`Error::Folder`] when `folder` holds mixtures made with other settings or
    /// recordings; that of the first mixture that cannot be rendered or written.
    pub fn write_clips(
        &self,
        folder: &MixFolder,
        progress: &(dyn Fn(usize) + Sync),
        stop: &AtomicBool,
    ) -> Result<Tally, Error> {
        let folder = folder.path.as_path();
        let ours = Settings {
            version: VERSION,
            seed: self.seed.0,
            recordings: Some(&self.fingerprint),
            mix: self.planner.config(),
        };
        if !ours.are_those_of(folder)? {
            let path = folder.join(SETTINGS);
            write_file(&path, ours.text()?).map_err(Error::io(&path, "write"))?;
        }
        let path = folder.join(MANIFEST);
        let file = NewFile::create(&path).map_err(Error::io(&path, "write"))?;
        let rows = Rows::new(file, self.columns(), folder, folder).map_err(Error::io(&path, "write"))?;
        self.write_rows(rows, &path, |part, i| self.make(folder, part, i), progress, stop)
    }

    /// Writes the row that `make` gives of every mixture, some hundreds at a time, and gives the table its name.
    fn write_rows(
        &self,
        mut rows: Rows<NewFile>,
        path: &Path,
        make: impl Fn(Split, usize) -> Result<Entry, Error> + Sync,
        progress: &(dyn Fn(usize) + Sync),
        stop: &AtomicBool,
    ) -> Result<Tally, Error> {
        let (done, mut tally) = (AtomicUsize::new(0), Tally::new());
        let make = |&(part, i): &(Split, usize)| {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let entry = make(part, i)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok((part, entry))
        };
        let mut all = self.all().peekable();
        while all.peek().is_some() {
            let chunk: Vec<(Split, usize)> = all.by_ref().take(CHUNK).collect();
            let made: Vec<(Split, Entry)> = chunk.par_iter().map(make).collect::<Result<_, _>>()?;
            for (part, entry) in made {
                count(&mut tally, part, &entry);
                rows.push(&entry).map_err(Error::io(path, "write"))?;
            }
        }
        rows.finish().and_then(NewFile::finish).map_err(Error::io(path, "write"))?;
        Ok(tally)
    }

    fn columns(&self) -> impl Iterator<Item = &'static str> {
        let MixConfig { mode, reverb, noise, .. } = self.planner.config();
        let (has_level, has_room, has_noise) = (*mode == Mode::LevelEqualised, *reverb, !noise.is_empty());
        WRITTEN.into_iter().filter(move |name| match *name {
            "level" => has_level,
            "room" => has_room,
            "noise" | "snr" => has_noise,
            _ => true,
        })
    }

    /// Every mixture in the order of the manifest.
    fn all(&self) -> impl Iterator<Item = (Split, usize)> + '_ {
        let of = |part: Split| (0..self.planner.config().size(part)).map(move |i| (part, i));
        Split::ALL.into_iter().flat_map(of)
    }

    /// The row of mixture `i`, whose file is there afterwards.
    fn make(&self, folder: &Path, part: Split, i: usize) -> Result<Entry, Error> {
        let plan = self.planner.plan(part, i)?;
        let entry = row(part, i, &plan);
        let path = folder.join(&entry.path);
        let len = pcm16_len(samples(plan.mixture.seconds));
        let is_whole = std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == len);
        if !is_whole {
            write_wav(&path, &plan.mixture.render(&self.root)?, WavFormat::Pcm16)?;
        }
        let extra = entry.extra.into_iter().chain(description(&plan.mixture));
        Ok(Entry { extra: extra.collect(), ..entry })
    }
}

/// Whether there is nothing in `folder` but what a run that was killed in its first moment leaves.
fn is_empty(folder: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io(folder, "read the folder")(error)),
        Ok(mut entries) => {
            Ok(entries.all(|entry| entry.is_ok_and(|entry| is_unfinished(&entry.file_name()))))
        }
    }
}

/// The first key that two settings differ in.
fn difference(theirs: &[&str], ours: &[&str]) -> String {
    let advice = "choose another --out, or the same settings";
    match ours.iter().find(|line| !theirs.contains(line)) {
        None => format!("it holds mixtures made with other settings; {advice}"),
        Some(line) => {
            let key = line.split(" = ").next().unwrap_or(line);
            let prefix = format!("{key} = ");
            let before = theirs.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("absent");
            let now = line.strip_prefix(&prefix).unwrap_or(line);
            format!("it holds mixtures made with other settings ({key} was {before}, is {now}); {advice}")
        }
    }
}

fn count(tally: &mut Tally, part: Split, entry: &Entry) {
    let sexes = entry.extra.get("speakers_sex").cloned().unwrap_or_default();
    *tally.entry((part, sexes.len(), sexes)).or_default() += 1;
}

/// What every manifest tells of a mixture. The columns `speakers`, `speakers_sex`, `F` and `M` are the original's.
fn row(part: Split, i: usize, plan: &Plan) -> Entry {
    let word = match part {
        Split::Train => "Train",
        Split::Valid => "Validation",
        Split::Test => "Test",
    };
    let count = plan.speakers.len();
    let extra = [
        ("F", plan.females.to_string()),
        ("M", plan.males.to_string()),
        ("speakers", count.to_string()),
        ("speakers_sex", plan.sexes()),
    ];
    Entry {
        path: format!("{}/Audio_{word}{}.wav", part.name(), i + 1).into(),
        labels: vec![count.to_string()],
        split: Some(part),
        speaker_ids: plan.speakers.clone(),
        extra: extra.map(|(name, value)| (name.to_owned(), value)).into(),
        ..Entry::default()
    }
}

/// What a mixture was made of, as columns; of several voices joined by semicolons. Gains are in dB.
fn description(mixture: &Mixture) -> BTreeMap<String, String> {
    let joined = |value: &dyn Fn(&super::Voice) -> String| {
        mixture.voices.iter().map(value).collect::<Vec<_>>().join(";")
    };
    let mut columns = vec![
        ("sources", joined(&|voice| voice.path.display().to_string())),
        ("offsets", joined(&|voice| voice.start.to_string())),
        ("gains", joined(&|voice| format!("{:.2}", 20.0 * voice.gain.log10()))),
    ];
    columns.extend(mixture.level.map(|level| ("level", level.to_string())));
    if let Some(noise) = &mixture.noise {
        let sound = match &noise.sound {
            Sound::Synthetic { colour, seed } => format!("{colour:?} {seed}").to_lowercase(),
            Sound::Recording { path, start } => format!("{} {start}", path.display()),
        };
        columns.push(("noise", sound));
        columns.extend(noise.snr.map(|snr| ("snr", snr.to_string())));
    }
    if let Some(room) = &mixture.room {
        columns.push(("room", format!("{:.2} s", room.reverberation_time)));
    }
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
