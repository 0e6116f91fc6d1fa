//! FSDKaggle2019 (Fonseca, Plakal, Font, Ellis & Serra 2019): 80 labels, one to seven a clip; 4,970 curated and
//! 19,815 noisy training clips of 0.3 to 57.6 s and 4,481 test clips. Laid out by Kaggle or by Zenodo (record
//! 3612637), whose tables have more columns.
//!
//! The column `subset` says curated, noisy or test; test clips are marked so in the column `split` too, and `usage`
//! (Public, Private) says which leaderboard they counted for. Clips of one Freesound recording or Flickr video, where
//! the table names it, share a group. Test clips of a folder without `test_post_competition.csv` have no labels and
//! are left out; `oido predict` takes the folder as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::metadata::{Metadata, Row};
use super::{BadClip, Entry, Error, Found, Listing, Source, found, must_be_folder};
use crate::dataset::Split;

/// Curated clips that the authors declare unusable, in the description of the data set.
const KNOWN_BAD: [(&str, &str); 6] = [
    ("1d44b0bd.wav", "it has no signal"),
    ("6a1f682a.wav", "its label is wrong"),
    ("7752cc8a.wav", "its label is wrong"),
    ("77b925c2.wav", "its label is wrong"),
    ("c7db12aa.wav", "its label is wrong"),
    ("f76181c4.wav", "its label is wrong"),
];

/// A set of clips: its name, its table and its folder.
type Subset = (&'static str, &'static str, &'static str);

/// The data set as one publisher lays it out.
struct Layout {
    /// Curated first.
    subsets: [Subset; 3],
    /// The list of labels.
    vocabulary: &'static str,
    /// How to get the subset of that name.
    source: fn(&str) -> String,
}

const LAYOUTS: [Layout; 2] = [
    Layout {
        subsets: [
            ("curated", "train_curated.csv", "train_curated"),
            ("noisy", "train_noisy.csv", "train_noisy"),
            ("test", "test_post_competition.csv", "test"),
        ],
        vocabulary: "sample_submission.csv",
        source: |_| {
            "it is on Kaggle's page of the competition, and the labels of the test clips are in Zenodo's record \
             3612637"
                .to_owned()
        },
    },
    Layout {
        subsets: [
            (
                "curated",
                "FSDKaggle2019.meta/train_curated_post_competition.csv",
                "FSDKaggle2019.audio_train_curated",
            ),
            (
                "noisy",
                "FSDKaggle2019.meta/train_noisy_post_competition.csv",
                "FSDKaggle2019.audio_train_noisy",
            ),
            ("test", "FSDKaggle2019.meta/test_post_competition.csv", "FSDKaggle2019.audio_test"),
        ],
        vocabulary: "FSDKaggle2019.meta/vocabulary.csv",
        source: |subset| format!("`oido fetch fsdkaggle2019 --subset {subset}` gets it"),
    },
];

/// What of FSDKaggle2019 is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FsdKaggle2019Config {
    /// Subsets by name: curated, noisy, test. Default none: all whose folders are there.
    pub subsets: Vec<String>,
    /// Keep the six curated clips that the data set's authors declare unusable. Default no.
    pub keep_known_bad: bool,
}

/// Reads FSDKaggle2019 under `root`; decodes nothing. Of a subset that is not there [`Found::remarks`] says so; six
/// curated clips that its authors declare unusable are left out ([`Found::excluded`]).
///
/// # Errors
///
/// Those of [`prepare`](super::prepare); also when a subset is asked for that is not there, and when the labels of the
/// clips, sorted, are not those of `sample_submission.csv` (Zenodo: `vocabulary.csv`) in its order, for a network's
/// scores would stand in the wrong columns then.
pub fn prepare_fsdkaggle2019(root: &Path, config: &FsdKaggle2019Config) -> Result<Found, Error> {
    must_be_folder(root)?;
    let is_laid_out =
        |layout: &&Layout| layout.subsets.iter().any(|(_, table, _)| root.join(table).is_file());
    let Some(layout) = LAYOUTS.iter().find(is_laid_out) else {
        return Err(Error::Layout {
            path: root.to_owned(),
            source_name: Source::Fsdkaggle2019,
            reason: "there is no train_curated.csv (as of Kaggle) and no FSDKaggle2019.meta (as of Zenodo) in it; \
                     name the folder that holds it"
                .to_owned(),
        });
    };
    let vocabulary = Some(root.join(layout.vocabulary)).filter(|path| path.is_file());
    let vocabulary = vocabulary.map(|path| Vocabulary::read(&path)).transpose()?;
    let mut listing = layout.listing(root, &config.subsets, vocabulary.as_ref())?;
    if let Some(vocabulary) = vocabulary {
        vocabulary.check_complete(&listing.entries)?;
    }
    if !config.keep_known_bad {
        leave_out_known_bad(&mut listing);
    }
    found(root, root, listing)
}

impl Layout {
    /// The clips of the subsets that are asked for, or of all that are there.
    fn listing(
        &self,
        root: &Path,
        asked: &[String],
        vocabulary: Option<&Vocabulary>,
    ) -> Result<Listing, Error> {
        let refuse = |reason: String| Err(Error::Folder { path: root.to_owned(), reason });
        if let Some(name) = asked.iter().find(|name| !self.subsets.iter().any(|(known, ..)| known == name)) {
            return refuse(format!("there is no subset {name}; ask for curated, noisy or test"));
        }
        let is_asked = |name: &str| asked.iter().any(|asked| asked == name);
        let mut listing = Listing::default();
        let mut is_there = false;
        for subset @ (name, table, folder) in self.subsets {
            let lacking = [(folder, root.join(folder).is_dir()), (table, root.join(table).is_file())];
            match lacking.into_iter().find(|(_, there)| !there) {
                _ if !asked.is_empty() && !is_asked(name) => {}
                None => {
                    listing.entries.extend(entries(root, subset, vocabulary)?);
                    is_there = true;
                }
                Some((lacking, _)) => {
                    let how = (self.source)(name);
                    let reason = format!("the subset {name} is not there, as {lacking} is missing; {how}");
                    if is_asked(name) {
                        return refuse(reason);
                    }
                    listing.remarks.push(reason);
                }
            }
        }
        if is_there {
            return Ok(listing);
        }
        let [(_, table, folder), ..] = self.subsets;
        refuse(format!(
            "of no subset there are both the table and the folder, as {table} and {folder}; name the folder that holds \
             both"
        ))
    }
}

fn entries(
    root: &Path,
    (subset, table, folder): Subset,
    vocabulary: Option<&Vocabulary>,
) -> Result<Vec<Entry>, Error> {
    let table = Metadata::read(&root.join(table))?;
    let [file, labels] = table.columns(["fname", "labels"])?;
    let sources = [("freesound", table.find("freesound_id")), ("flickr", table.find("flickr_video_URL"))];
    let extra = [("usage", table.find("usage")), ("license", table.find("license"))];
    let value = |row: &Row, column: Option<usize>| {
        Some(row.get(column?)).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let entry = |row: Row| {
        let names = row.labels(labels)?;
        if let Some(name) = names.iter().find(|name| vocabulary.is_some_and(|v| !v.has(name))) {
            return Err(row.error(format!("the label `{name}` is not one of the data set's; correct it")));
        }
        let group = sources.iter().find_map(|(site, column)| {
            let id = value(&row, *column)?;
            // Of a URL the last part: the number of the video.
            let id = id.trim_end_matches('/').rsplit('/').next()?;
            Some(format!("{site}-{id}"))
        });
        let mut columns = BTreeMap::from([("subset".to_owned(), subset.to_owned())]);
        columns.extend(
            extra.iter().filter_map(|(name, column)| Some((name.to_string(), value(&row, *column)?))),
        );
        Ok(Entry {
            path: format!("{folder}/{}", row.text(file)?).into(),
            labels: names,
            split: Some(if subset == "test" { Split::Test } else { Split::Train }),
            group,
            extra: columns,
            ..Entry::default()
        })
    };
    table.rows().map(entry).collect()
}

fn leave_out_known_bad(listing: &mut Listing) {
    let Listing { entries, excluded, .. } = listing;
    entries.retain(|entry| {
        let is_curated = entry.extra.get("subset").is_some_and(|subset| subset == "curated");
        let known = KNOWN_BAD.iter().find(|(name, _)| is_curated && entry.path.ends_with(name));
        excluded.extend(
            known.map(|(_, reason)| BadClip { path: entry.path.clone(), reason: reason.to_string() }),
        );
        known.is_none()
    });
    excluded.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The labels as the publisher lists them: the columns of a submission.
struct Vocabulary {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Vocabulary {
    /// Reads the header of `sample_submission.csv` or the rows of `vocabulary.csv`, which has none.
    fn read(path: &Path) -> Result<Self, Error> {
        let table = Metadata::read(path)?;
        let mut header = table.header().map(|name| (1, name.to_owned()));
        let is_submission = header.next().is_some_and(|(_, name)| name == "fname");
        let names: Vec<(u64, String)> = if is_submission {
            header.collect()
        } else {
            header.take(1).chain(table.rows().map(|row| (row.line(), row.get(1).to_owned()))).collect()
        };
        if let Some(at) = (1..names.len()).find(|&at| names[at - 1].1 >= names[at].1) {
            let ((_, before), (line, after)) = (&names[at - 1], &names[at]);
            let reason = format!(
                "`{before}` stands before `{after}`; the labels must be sorted, as the outputs of a network are, or \
                 scores would stand in the wrong columns"
            );
            return Err(Error::Line { path: path.to_owned(), line: *line, reason });
        }
        Ok(Self { path: path.to_owned(), names: names.into_iter().map(|(_, name)| name).collect() })
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Refuses labels without a clip: the network would have no output for them.
    fn check_complete(&self, entries: &[Entry]) -> Result<(), Error> {
        let used: BTreeSet<&String> = entries.iter().flat_map(|entry| &entry.labels).collect();
        match self.names.iter().find(|name| !used.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::Line {
                path: self.path.clone(),
                line: 1,
                reason: format!(
                    "no clip of the tables has the label `{name}`, so scores could not fill its columns"
                ),
            }),
        }
    }
}
