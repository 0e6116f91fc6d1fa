//! The list of labelled clips: one CSV, whatever the data set looked like.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::labels::labels_of_clip;
use super::mix::Mixture;
use super::{Error, Labels};
use crate::files::{parent, write_file};
use crate::tables::{Record, Table};

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights are fitted on these clips.
    Train,
    /// The epoch is chosen on these clips.
    Valid,
    /// Reported once, at the end.
    Test,
}

impl Split {
    /// All parts, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The word in manifests and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }

    /// The part of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.name() == name)
    }
}

/// One clip.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// File, relative to the manifest's folder or absolute.
    pub path: PathBuf,
    /// Labels; exactly one for single-label data.
    pub labels: Vec<String>,
    /// The part it belongs to, when the source says so.
    pub split: Option<Split>,
    /// Official fold.
    pub fold: Option<u32>,
    /// Clips of one group (recording, speaker) never cross a split.
    pub group: Option<String>,
    /// Start within the file in seconds.
    pub start: Option<f64>,
    /// Duration in seconds.
    pub duration: Option<f64>,
    /// Speakers heard in it; none of them may cross a split. In the table joined by spaces.
    pub speaker_ids: Vec<String>,
    /// What it is mixed of, when there is no such file: [`Entry::path`] is then only its name. In the table as JSON.
    pub mixture: Option<Box<Mixture>>,
    /// Further columns, kept as they are.
    pub extra: BTreeMap<String, String>,
}

impl Entry {
    /// What must not cross a split: the group, or else, for a part of a longer file, that file.
    pub fn recording(&self) -> Option<&str> {
        self.group.as_deref().or_else(|| self.start.and_then(|_| self.path.to_str()))
    }

    /// All that must not cross a split: the recording, and every speaker and utterance of a mixture.
    pub fn recordings(&self) -> impl Iterator<Item = &str> {
        let utterances = self.mixture.iter().flat_map(|mixture| &mixture.voices);
        self.recording()
            .into_iter()
            .chain(self.speaker_ids.iter().map(String::as_str))
            .chain(utterances.filter_map(|voice| voice.path.to_str()))
    }

    /// The same clip with its files named by `place(file)`.
    pub fn relocated(&self, place: impl Fn(&Path) -> PathBuf) -> Self {
        let mixture = self.mixture.as_ref().map(|mixture| Box::new(mixture.relocated(&place)));
        Self { path: place(&self.path), mixture, ..self.clone() }
    }
}

/// A list of labelled clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Folder that relative paths start from.
    pub root: PathBuf,
    /// The clips.
    pub entries: Vec<Entry>,
    /// All labels that occur, sorted.
    pub labels: Labels,
}

/// Columns that mean something; others are kept as they are.
pub(super) const COLUMNS: [&str; 9] =
    ["path", "labels", "split", "fold", "group", "start", "duration", "speaker_ids", "mixture"];

impl Manifest {
    /// Clips under `root`; the labels are collected from them.
    pub fn new(root: impl Into<PathBuf>, entries: Vec<Entry>) -> Self {
        let labels = Labels::from_names(entries.iter().flat_map(|entry| entry.labels.iter().cloned()));
        Self { root: root.into(), entries, labels }
    }

    /// The file of `entry`.
    pub fn file(&self, entry: &Entry) -> PathBuf {
        self.root.join(&entry.path)
    }

    /// Reads a manifest CSV. Columns are found by name: `path` and `labels` (or `label`; several joined by commas)
    /// must be there, `split`, `fold`, `group`, `start`, `duration`, `speaker_ids` and `mixture` may be; others are
    /// kept in [`Entry::extra`]. A byte order mark and Windows line ends are accepted.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Line`] naming file, line and column of the first mistake: a missing column, an
    /// empty path or label, a word that is no number or split, a clip that is listed twice, a mixture that the other
    /// columns contradict.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let line = |line: u64, reason: String| Error::Line { path: path.to_owned(), line, reason };
        let table = Table::new(&bytes).map_err(Error::table(path))?;
        let header = table.header().clone();
        let column = |names: &[&str]| header.iter().position(|h| names.contains(&h));
        let required = |names: &[&str]| {
            column(names).ok_or_else(|| {
                let found = header.iter().collect::<Vec<_>>().join(",");
                line(1, format!("no column `{}`; the header has: {found}", names[0]))
            })
        };
        required(&["path"])?;
        required(&["labels", "label"])?;
        if let Some(name) = repeated(&header) {
            return Err(line(1, format!("the column `{name}` is there twice; rename or remove one")));
        }

        let root = path.parent().unwrap_or(Path::new(""));
        let mut entries = Vec::new();
        let mut seen = HashMap::new();
        for record in table.records() {
            let Record { line: number, values } = record.map_err(Error::table(path))?;
            let entry = parse(&header, &values).map_err(|reason| line(number, reason))?;
            check_mixture(&header, &entry, root).map_err(|reason| line(number, reason))?;
            let key = (entry.path.clone(), entry.start.map(f64::to_bits));
            if let Some(first) = seen.insert(key, number) {
                let name = entry.path.display();
                return Err(line(number, format!("{name} is already listed in line {first}; remove one")));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(line(1, "there is no clip in it".to_owned()));
        }
        Ok(Self::new(root, entries))
    }

    /// Writes the manifest as CSV, whole or not at all. Columns without any value are left out. Clips keep their
    /// order. Paths are written relative to the folder of `path` when the clips lie beneath it, else absolute.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also when a path is not UTF-8 or a label holds a comma, which the table cannot express.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let write = || write_file(path, self.to_csv(parent(path))?);
        write().map_err(Error::io(path, "write"))
    }

    fn to_csv(&self, folder: &Path) -> std::io::Result<Vec<u8>> {
        let mut used = BTreeSet::new();
        for entry in &self.entries {
            used.extend(fields(entry)?.into_keys());
        }
        let known = COLUMNS.into_iter().filter(|name| used.contains(name));
        let columns = known.chain(used.iter().copied().filter(|name| !COLUMNS.contains(name)));
        let mut rows = Rows::new(Vec::new(), columns, &self.root, folder)?;
        self.entries.iter().try_for_each(|entry| rows.push(entry))?;
        rows.finish()
    }
}

/// A manifest that is written row by row.
pub(super) struct Rows<W: Write> {
    writer: csv::Writer<W>,
    columns: Vec<String>,
    root: PathBuf,
    folder: PathBuf,
}

impl<W: Write> Rows<W> {
    /// Begins the table in `folder` of clips whose paths start from `root`; `path` and `labels` must be among the
    /// columns.
    pub(super) fn new<'a>(
        writer: W,
        columns: impl IntoIterator<Item = &'a str>,
        root: &Path,
        folder: &Path,
    ) -> std::io::Result<Self> {
        let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
        let mut writer = csv::Writer::from_writer(writer);
        writer.write_record(&columns)?;
        Ok(Self { writer, columns, root: absolute(root)?, folder: absolute(folder)? })
    }

    /// Writes a clip; what has no column is left out.
    pub(super) fn push(&mut self, entry: &Entry) -> std::io::Result<()> {
        let entry = entry.relocated(|path| written_path(path, &self.root, &self.folder));
        let fields = fields(&entry)?;
        let cells = self.columns.iter().map(|name| fields.get(name.as_str()).map_or("", String::as_str));
        Ok(self.writer.write_record(cells)?)
    }

    /// What it was written to, with all rows.
    pub(super) fn finish(self) -> std::io::Result<W> {
        self.writer.into_inner().map_err(|e| e.into_error())
    }
}

/// Absolute, and without links where the folder exists, so that two names of one folder compare equal.
fn absolute(folder: &Path) -> std::io::Result<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.canonicalize().or_else(|_| std::path::absolute(folder))
}

fn written_path(path: &Path, root: &Path, folder: &Path) -> PathBuf {
    if path.is_absolute() || root == folder {
        return path.to_owned();
    }
    let path = root.join(path);
    path.strip_prefix(folder).map(Path::to_owned).unwrap_or(path)
}

fn repeated(header: &csv::StringRecord) -> Option<&str> {
    // `label` is another name of `labels`.
    let names: Vec<&str> = header.iter().map(|name| if name == "label" { "labels" } else { name }).collect();
    (1..names.len()).find(|&i| names[..i].contains(&names[i])).map(|i| names[i])
}

fn fields(entry: &Entry) -> std::io::Result<BTreeMap<&str, String>> {
    let path = entry.path.to_str().ok_or_else(|| {
        let path = entry.path.display();
        std::io::Error::other(format!("the file name {path} is not UTF-8; rename the file"))
    })?;
    let mixture = entry.mixture.as_ref().map(serde_json::to_string).transpose()?;
    let speakers = (!entry.speaker_ids.is_empty()).then(|| entry.speaker_ids.join(" "));
    if let Some(label) = entry.labels.iter().find(|label| label.contains(',') || label.trim().is_empty()) {
        let reason = "labels are joined by commas and must not be empty; rename it";
        return Err(std::io::Error::other(format!("{path} has the label {label:?}; {reason}")));
    }
    let mut fields: BTreeMap<&str, String> =
        entry.extra.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    fields.insert("path", path.to_owned());
    fields.insert("labels", entry.labels.join(","));
    let optional = [
        ("split", entry.split.map(|s| s.name().to_owned())),
        ("fold", entry.fold.map(|f| f.to_string())),
        ("group", entry.group.clone()),
        ("start", entry.start.map(|s| s.to_string())),
        ("duration", entry.duration.map(|d| d.to_string())),
        ("speaker_ids", speakers),
        ("mixture", mixture),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(fields)
}

fn parse(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Entry, String> {
    let mut entry = Entry::default();
    for (name, value) in header.iter().zip(record.iter()) {
        let seconds = || match value.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds)),
            _ => Err(format!("{name} is `{value}`, not a number of seconds")),
        };
        match name {
            "path" if value.is_empty() => return Err("the path is empty".to_owned()),
            "path" => entry.path = PathBuf::from(value),
            "labels" | "label" => {
                entry.labels = labels_of_clip(value).map_err(|reason| format!("{name}: {reason}"))?;
            }
            _ if value.is_empty() => {}
            "split" => {
                let split = Split::from_name(value);
                entry.split = Some(split.ok_or(format!("split is `{value}`; use train, valid or test"))?);
            }
            "fold" => {
                entry.fold =
                    Some(value.parse().map_err(|_| format!("fold is `{value}`, not a whole number"))?);
            }
            "group" => entry.group = Some(value.to_owned()),
            "start" => entry.start = seconds()?,
            "duration" => entry.duration = seconds()?,
            "speaker_ids" => entry.speaker_ids = value.split_whitespace().map(str::to_owned).collect(),
            "mixture" => entry.mixture = Some(Box::new(Mixture::parse(value)?)),
            _ => {
                entry.extra.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    Ok(entry)
}

/// Refuses a mixture whose voices are not those that the other columns tell of, and, in a table of mixtures, a row that
/// has neither a mixture nor a file.
fn check_mixture(header: &csv::StringRecord, entry: &Entry, root: &Path) -> Result<(), String> {
    let is_there = |name: &str| header.iter().any(|column| column == name);
    let Some(mixture) = &entry.mixture else {
        if is_there("mixture") && !root.join(&entry.path).is_file() {
            let path = entry.path.display();
            return Err(format!("mixture is empty and there is no file {path}; give one of them"));
        }
        return Ok(());
    };
    if entry.start.is_some() || entry.duration.is_some() {
        return Err(
            "start and duration are parts of a file, and mixture has none; leave them empty".to_owned()
        );
    }
    let voices = mixture.voices.len();
    let told = |name: &str, count: Option<usize>| match count {
        Some(count) if count != voices => {
            Err(format!("{name} tells of {count} speakers and mixture has {voices}; correct the row"))
        }
        _ => Ok(()),
    };
    let cell = |name: &str| entry.extra.get(name).map_or("", String::as_str);
    // What is no number is somebody's own way to tell, and several labels are no number either.
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    told("labels", number(&entry.labels.join(",")))?;
    told("speaker_ids", is_there("speaker_ids").then_some(entry.speaker_ids.len()))?;
    told("speakers", is_there("speakers").then(|| number(cell("speakers"))).flatten())?;
    told("speakers_sex", is_there("speakers_sex").then(|| cell("speakers_sex").chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        std::fs::write(&path, text).unwrap();
        Manifest::read(&path)
    }

    #[test]
    fn comes_back_as_it_was_written() {
        let text = "path,labels,split,fold,group,start,duration,salience\n\
                    a/b.wav,dog,train,1,g1,0.5,2,1\n\
                    \"odd, name.wav\",\"cat,dog\",test,2,g2,,,\n";
        let manifest = read(text).unwrap();
        assert_eq!(manifest.labels.names(), ["cat", "dog"]);
        assert_eq!(manifest.entries[1].labels, ["cat", "dog"]);
        assert_eq!(manifest.entries[0].extra["salience"], "1");
        assert_eq!(String::from_utf8(manifest.to_csv(&manifest.root).unwrap()).unwrap(), text);
    }

    #[test]
    fn accepts_a_byte_order_mark_and_windows_line_ends() {
        let manifest = read("\u{feff}label,path\r\ndog,a.wav\r\n").unwrap();
        assert_eq!((manifest.entries[0].path.to_str(), manifest.labels.len()), (Some("a.wav"), 1));
    }

    #[test]
    fn mistakes_are_named_by_line() {
        for (text, line, expected) in [
            ("file,labels\na,b\n", 1, "no column `path`"),
            ("path,labels\na.wav,dog\n,dog\n", 3, "the path is empty"),
            ("path,labels\na.wav,\n", 2, "the label"),
            ("path,labels\na.wav,\"dog,,cat\"\n", 2, "empty part"),
            (
                "path,label\r\na.wav,dog\r\nb.wav,\"dog, cat,dog\"\r\n",
                3,
                "label: `dog, cat,dog` names the label `dog` twice",
            ),
            ("path,labels\r\n\"a\r\nb.wav\",dog\r\n\r\n,dog\r\n", 5, "the path is empty"),
            ("path,labels\r\na.wav,dog\r\na.wav,cat\r\n", 3, "already listed in line 2"),
            ("path,label,labels\na.wav,dog,dog\n", 1, "`labels` is there twice"),
            ("path,labels,split\na.wav,dog,val\n", 2, "use train, valid or test"),
            ("path,labels,fold\na.wav,dog,one\n", 2, "fold is `one`"),
            ("path,labels,start\na.wav,dog,-1\n", 2, "start is `-1`"),
            ("path,labels,duration\na.wav,dog,NaN\n", 2, "duration is `NaN`"),
            ("path,labels\na.wav,dog\na.wav,cat\n", 3, "already listed in line 2"),
            ("path,labels\na.wav,dog,3\n", 2, "fields"),
            ("path,labels\n", 1, "no clip"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!("m.csv, line {line}: ")) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_row_that_contradicts_its_mixture_is_named() {
        let voice = r#"{""path"":""v.flac"",""start"":0,""gain"":1}"#;
        let voices = |count: usize| vec![voice; count].join(",");
        let pink = r#","noise":{"sound":{"colour":"pink","seed":1}}"#.replace('"', "\"\"");
        let mixture =
            |count: usize, more: &str| format!(r#""{{""seconds"":1,""voices"":[{}]{more}}}""#, voices(count));
        let right = |column: &str| match column {
            "speaker_ids" => "1 2",
            "speakers" => "2",
            "speakers_sex" => "MF",
            _ => "",
        };
        let table = |column: &str, row: &str| {
            let first = format!("a.wav,2,{},{}", right(column), mixture(2, ""));
            read(&format!("path,labels,{column},mixture\n{first}\nb.wav,{row}\n"))
        };
        let (one, two, three) = (mixture(1, ""), mixture(2, ""), mixture(3, ""));
        for (column, row, expected) in [
            ("speaker_ids", format!("2,3 4,{three}"), "labels tells of 2 speakers and mixture has 3"),
            ("speaker_ids", format!("1,3 4,{one}"), "speaker_ids tells of 2 speakers and mixture has 1"),
            ("speaker_ids", format!("2,,{two}"), "speaker_ids tells of 0 speakers and mixture has 2"),
            ("speakers", format!("2,3,{two}"), "speakers tells of 3 speakers and mixture has 2"),
            ("speakers", format!("2,,{two}"), "speakers tells of 0 speakers and mixture has 2"),
            ("speakers_sex", format!("2,M,{two}"), "speakers_sex tells of 1 speakers and mixture has 2"),
            (
                "speakers",
                format!("1,1,{}", mixture(0, &pink)),
                "labels tells of 1 speakers and mixture has 0",
            ),
            ("speakers", format!("0,0,{}", mixture(0, "")), "mixture: there are neither voices nor noise"),
            ("speakers", "2,2,".to_owned(), "mixture is empty and there is no file b.wav"),
            ("start", format!("2,0.5,{two}"), "start and duration are parts of a file"),
        ] {
            let error = table(column, &row).unwrap_err().to_string();
            assert!(error.contains("m.csv, line 3: ") && error.contains(expected), "{row}: {error}");
        }
        for (column, row) in [
            ("speaker_ids", format!("2,3 4,{two}")),
            ("speaker_ids", format!("two,3 4,{two}")),
            ("speakers", format!("2,both,{two}")),
            ("speakers", format!("0,0,{}", mixture(0, &pink))),
        ] {
            assert_eq!(table(column, &row).unwrap().entries.len(), 2, "{row}");
        }
    }

    #[test]
    fn files_may_stand_among_mixtures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        let mixture = r#""{""seconds"":1,""voices"":[{""path"":""v.flac"",""start"":0,""gain"":1}]}""#;
        std::fs::write(&path, format!("path,labels,mixture\na.wav,1,{mixture}\nb.wav,1,\n")).unwrap();
        assert!(Manifest::read(&path).unwrap_err().to_string().contains("line 3: mixture is empty"));
        std::fs::write(folder.path().join("b.wav"), "x").unwrap();
        assert_eq!(Manifest::read(&path).unwrap().entries.len(), 2);
    }

    #[test]
    fn written_elsewhere_it_still_finds_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data/audio");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("a.wav"), "x").unwrap();
        let entry = Entry { path: "audio/a.wav".into(), labels: vec!["dog".into()], ..Entry::default() };
        let manifest = Manifest::new(folder.path().join("data"), vec![entry]);
        for (out, relative) in
            [("data/m.csv", true), ("m.csv", true), ("data/audio/m.csv", true), ("runs/new/m.csv", false)]
        {
            let out = folder.path().join(out);
            manifest.write(&out).unwrap();
            let read = Manifest::read(&out).unwrap();
            assert_eq!(std::fs::read(read.file(&read.entries[0])).unwrap(), b"x", "{}", out.display());
            assert_eq!(read.entries[0].path.is_relative(), relative, "{}", out.display());
        }
    }

    #[test]
    fn what_the_table_cannot_express_is_refused_and_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("m.csv");
        std::fs::write(&out, "old").unwrap();
        let entry = Entry { path: "a.wav".into(), labels: vec!["dog, far".into()], ..Entry::default() };
        let error = Manifest::new(folder.path(), vec![entry]).write(&out).unwrap_err().to_string();
        assert!(error.contains("m.csv") && error.contains("\"dog, far\""), "{error}");
        assert_eq!(std::fs::read(&out).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
