//! Who speaks where in a LibriSpeech tree: `SPEAKERS.TXT` and `SUBSET/SPEAKER/CHAPTER/UTTERANCE.flac` (or `.wav`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::dataset::prepare::Source;
use crate::dataset::{Error, Split};

/// The table of speakers.
pub(super) const TABLE: &str = "SPEAKERS.TXT";

/// As `SPEAKERS.TXT` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sex {
    Male,
    Female,
}

impl Sex {
    pub(super) const ALL: [Self; 2] = [Self::Male, Self::Female];

    /// The letter of `SPEAKERS.TXT`.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Male => 'M',
            Self::Female => 'F',
        }
    }
}

impl fmt::Display for Sex {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Male => "male",
            Self::Female => "female",
        })
    }
}

/// A person and what they read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Speaker {
    pub id: String,
    pub sex: Sex,
    /// The part its subset is for: train-*, dev-* or test-*.
    pub part: Option<Split>,
    /// Recordings, relative to the root, sorted.
    pub utterances: Vec<String>,
}

/// What a tree holds.
#[derive(Debug, PartialEq)]
pub(super) struct Tree {
    /// The folder with `SPEAKERS.TXT`.
    pub root: PathBuf,
    /// Sorted by id.
    pub speakers: Vec<Speaker>,
    /// What is odd, a sentence each.
    pub remarks: Vec<String>,
}

/// Lists the tree under `root`, which may be the folder `LibriSpeech` or the one that holds it; decodes nothing.
///
/// # Errors
/// [`Error::Layout`] when there is no `SPEAKERS.TXT` or no recording, or a speaker stands in subsets for different parts.
pub(super) fn list(root: &Path) -> Result<Tree, Error> {
    let layout =
        |reason: String| Error::Layout { path: root.to_owned(), source_name: Source::LibrispeechMix, reason };
    let candidates = [root.to_owned(), root.join("LibriSpeech")];
    let folder = candidates.into_iter().find(|folder| folder.join(TABLE).is_file());
    let folder = folder.ok_or_else(|| {
        layout(format!(
            "there is no {TABLE} in it or in its folder LibriSpeech; name the folder that holds it"
        ))
    })?;
    let (sexes, mut remarks) = read_sexes(&folder.join(TABLE))?;
    let mut speakers: BTreeMap<String, Speaker> = BTreeMap::new();
    for subset in folders(&folder)? {
        let part = part_of(&subset);
        for id in folders(&folder.join(&subset))? {
            let utterances = utterances(&folder, &format!("{subset}/{id}"))?;
            let Some(&sex) = sexes.get(&id).filter(|_| !utterances.is_empty()) else {
                if !utterances.is_empty() {
                    remarks.push(format!("{subset}/{id}: {TABLE} does not tell this speaker; left out"));
                }
                continue;
            };
            let new = Speaker { id: id.clone(), sex, part, utterances: Vec::new() };
            let speaker = speakers.entry(id).or_insert(new);
            if speaker.part != part {
                let (id, first) = (&speaker.id, speaker.utterances.first().map_or("", String::as_str));
                let reason =
                    format!("speaker {id} stands in {subset} and in another part ({first}); remove one");
                return Err(layout(reason));
            }
            speaker.utterances.extend(utterances);
        }
    }
    if speakers.is_empty() {
        let reason = format!("no recording SUBSET/SPEAKER/CHAPTER/*.flac of a speaker of {TABLE} is in it");
        return Err(layout(reason));
    }
    Ok(Tree { root: folder, speakers: speakers.into_values().collect(), remarks })
}

/// `ID | SEX | SUBSET | MINUTES | NAME`, with comments after a semicolon at the start of a line. Lines that are something
/// else are remarked on and left out.
fn read_sexes(path: &Path) -> Result<(BTreeMap<String, Sex>, Vec<String>), Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let (mut sexes, mut remarks) = (BTreeMap::new(), Vec::new());
    // Names may be in another encoding; what is read of a line is ASCII.
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let mut fields = line.split('|').map(str::trim);
        let (id, letter) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let sex = Sex::ALL.into_iter().find(|sex| letter.eq_ignore_ascii_case(&sex.letter().to_string()));
        let mut odd = |reason: &str| {
            remarks.push(format!("{}, line {}: {reason}; left out", path.display(), number + 1));
        };
        match sex {
            None => odd(&format!("the sex is `{letter}`, not M or F")),
            Some(_) if id.is_empty() || id.contains(char::is_whitespace) => {
                odd(&format!("`{id}` is no speaker"));
            }
            Some(sex) => {
                let first = *sexes.entry(id.to_owned()).or_insert(sex);
                if first != sex {
                    odd(&format!("speaker {id} is {first} in an earlier line"));
                }
            }
        }
    }
    Ok((sexes, remarks))
}

fn part_of(subset: &str) -> Option<Split> {
    let prefixes = [("train", Split::Train), ("dev", Split::Valid), ("test", Split::Test)];
    prefixes.into_iter().find(|(prefix, _)| subset.starts_with(prefix)).map(|(_, part)| part)
}

/// Recordings in the chapters of `speaker`, as paths from `root`.
fn utterances(root: &Path, speaker: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for chapter in folders(&root.join(speaker))? {
        let folder = format!("{speaker}/{chapter}");
        let is_recording = |name: &String| {
            let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or("");
            ["flac", "wav"].iter().any(|known| end.eq_ignore_ascii_case(known))
        };
        let names = names(&root.join(&folder), false)?;
        found.extend(names.into_iter().filter(is_recording).map(|name| format!("{folder}/{name}")));
    }
    Ok(found)
}

fn folders(path: &Path) -> Result<Vec<String>, Error> {
    names(path, true)
}

/// Names of the folders, or of what is no folder, in `path`; sorted, without hidden ones and those that are not UTF-8.
fn names(path: &Path, folders: bool) -> Result<Vec<String>, Error> {
    let read = || Error::io(path, "read the folder");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read())? {
        let entry = entry.map_err(read())?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.path().is_dir() == folders
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(speakers: &str, files: &[&str]) -> (tempfile::TempDir, Result<Tree, Error>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("LibriSpeech");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join(TABLE), speakers).unwrap();
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let tree = list(folder.path());
        (folder, tree)
    }

    const SPEAKERS: &str = "; comment\r\n14  | F | train-clean-360 | 25.03 | Kristin | LeMoine\r\n\
                            16 | m | dev-clean | 25 | Alys\r\n17 | X | test-clean | 1 | ?\r\nodd line\r\n";

    #[test]
    fn lists_speakers_with_sex_part_and_recordings() {
        let (folder, tree) = tree(
            SPEAKERS,
            &[
                "train-clean-360/14/208/14-208-0001.flac",
                "train-clean-360/14/208/14-208-0000.flac",
                "train-clean-360/14/208/14-208.trans.txt",
                "train-other-500/14/9/14-9-0000.WAV",
                "dev-clean/16/1/16-1-0000.flac",
                "dev-clean/99/1/99-1-0000.flac",
                "dev-clean/100/1/100-1.trans.txt",
            ],
        );
        let tree = tree.unwrap();
        assert_eq!(tree.root, folder.path().join("LibriSpeech"));
        assert_eq!(list(&tree.root).unwrap(), tree, "the folder itself does as well");
        let utterances = ["360/14/208/14-208-0000.flac", "360/14/208/14-208-0001.flac"];
        let mut utterances: Vec<String> = utterances.map(|end| format!("train-clean-{end}")).into();
        utterances.push("train-other-500/14/9/14-9-0000.WAV".to_owned());
        let first = Speaker { id: "14".into(), sex: Sex::Female, part: Some(Split::Train), utterances };
        assert_eq!(tree.speakers[0], first);
        let second = &tree.speakers[1];
        assert_eq!((second.id.as_str(), second.sex, second.part), ("16", Sex::Male, Some(Split::Valid)));
        assert_eq!(tree.speakers.len(), 2);
        let remarks = tree.remarks.join("\n");
        assert!(remarks.contains("SPEAKERS.TXT, line 4: the sex is `X`"), "{remarks}");
        assert!(remarks.contains("SPEAKERS.TXT, line 5: the sex is ``"), "{remarks}");
        assert!(remarks.contains("dev-clean/99: SPEAKERS.TXT does not tell this speaker"), "{remarks}");
        assert_eq!(tree.remarks.len(), 3, "{remarks}");
    }

    #[test]
    fn a_speaker_in_two_parts_is_refused() {
        let files = ["train-clean-100/14/1/a.flac", "test-clean/14/2/b.flac"];
        let error = tree(SPEAKERS, &files).1.unwrap_err().to_string();
        assert!(error.contains("speaker 14 stands in train-clean-100 and in another part"), "{error}");
    }

    #[test]
    fn what_is_no_librispeech_is_told_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = list(folder.path()).unwrap_err().to_string();
        assert!(error.contains("SPEAKERS.TXT") && error.contains("LibriSpeech"), "{error}");
        let error = tree(SPEAKERS, &[]).1.unwrap_err().to_string();
        assert!(error.contains("SUBSET/SPEAKER/CHAPTER/*.flac"), "{error}");
        assert!(list(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn of_contradicting_lines_the_first_counts() {
        let lines = "14 | F | a | 1 | x\n14 | M | b | 1 | y\n";
        let tree = tree(lines, &["train/14/1/a.flac"]).1.unwrap();
        assert_eq!(tree.speakers[0].sex, Sex::Female);
        assert!(
            tree.remarks[0].contains("line 2: speaker 14 is female in an earlier line"),
            "{:?}",
            tree.remarks
        );
    }
}
