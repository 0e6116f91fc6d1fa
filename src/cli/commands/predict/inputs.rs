//! What the user named → a list of recordings.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

use crate::audio::{self, Source, WavFormat, encode_wav};
use crate::dataset::mix::Mixture;
use crate::tables::{Record, Table};

/// Names of files in a folder that are taken for recordings.
const EXTENSIONS: [&str; 9] = ["wav", "wave", "flac", "mp3", "ogg", "oga", "aif", "aiff", "aifc"];
/// Most bytes read from stdin.
const MAX_STDIN: u64 = 1 << 30;

/// One recording, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// What the user sees.
    pub(super) name: String,
    path: PathBuf,
    /// The bytes, when they came from stdin.
    bytes: Option<Arc<[u8]>>,
    pub(super) start: Option<f64>,
    pub(super) duration: Option<f64>,
    /// What is rendered instead of a file, and the folder that its paths start from.
    mixture: Option<(Mixture, PathBuf)>,
}

impl Input {
    fn file(path: PathBuf) -> Self {
        let name = path.display().to_string();
        Self { name, path, bytes: None, start: None, duration: None, mixture: None }
    }

    /// Its file; for stdin a name that is none.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The recording; a mixture is rendered.
    pub(super) fn source(&self) -> Result<Source<'_>, audio::Error> {
        if let Some((mixture, root)) = &self.mixture {
            let bytes = encode_wav(&mixture.render(root)?, WavFormat::Float32);
            let bytes = bytes.map_err(|source| audio::Error::Read { name: self.name.clone(), source })?;
            return Ok(Source::Bytes { name: &self.name, data: bytes.into() });
        }
        Ok(match &self.bytes {
            Some(bytes) => Source::Bytes { name: &self.name, data: Arc::clone(bytes) },
            None => Source::Path(&self.path),
        })
    }
}

/// All recordings in the order they were named; folders are searched through and sorted by path. A file that
/// does not exist stays in the list, to be reported as a bad input.
pub(super) fn collect(named: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            inputs.push(stdin()?);
        } else if path.is_dir() {
            inputs.extend(recordings(path)?.into_iter().map(Input::file));
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) && path.is_file() {
            inputs.extend(manifest(path).with_context(|| format!("cannot read {}", path.display()))?);
        } else {
            inputs.push(Input::file(path.clone()));
        }
    }
    if inputs.is_empty() {
        bail!("no recordings found; folders are searched for {}", EXTENSIONS.join(", "));
    }
    Ok(inputs)
}

/// The recordings in a folder, sorted by path.
pub(in crate::cli::commands) fn recordings(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    search(folder, &mut files).with_context(|| format!("cannot list {}", folder.display()))?;
    files.sort();
    Ok(files)
}

fn stdin() -> anyhow::Result<Input> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_STDIN + 1).read_to_end(&mut bytes).context("cannot read stdin")?;
    let name = "stdin".to_owned();
    Ok(Input { name, bytes: Some(bytes.into()), ..Input::file(PathBuf::new()) })
}

/// Recordings under a folder; links to folders are not followed, hidden names are left out.
fn search(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            search(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|e| EXTENSIONS.contains(&e.to_string_lossy().to_lowercase().as_str()))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Rows of a CSV with a `path` column (relative to the file's folder) and, optionally, `start` and `duration`, or
/// `mixture`.
fn manifest(path: &Path) -> anyhow::Result<Vec<Input>> {
    let bytes = std::fs::read(path)?;
    let table = Table::new(&bytes)?;
    let header = table.header().clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let Some(path_column) = column("path") else { bail!("it has no column `path`") };
    let (start, duration, mixture) = (column("start"), column("duration"), column("mixture"));
    let root = path.parent().unwrap_or(Path::new(""));
    let mut inputs = Vec::new();
    for record in table.records() {
        let Record { line, values: row } = record?;
        let name = row.get(path_column).filter(|p| !p.is_empty());
        let name = name.with_context(|| format!("line {line}: the path is empty"))?;
        let number = |column: Option<usize>| match column.and_then(|c| row.get(c)).filter(|t| !t.is_empty()) {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).with_context(|| format!("line {line}: {text:?} is not a number"))
            }
        };
        let mixture = mixture.and_then(|c| row.get(c)).filter(|json| !json.is_empty()).map(Mixture::parse);
        let mixture = mixture.transpose().map_err(|reason| anyhow!("line {line}: {reason}"))?;
        inputs.push(Input {
            mixture: mixture.map(|mixture| (mixture, root.to_owned())),
            start: number(start)?,
            duration: number(duration)?,
            name: name.to_owned(),
            ..Input::file(root.join(name))
        });
    }
    Ok(inputs)
}
