use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::dataset::{Filter, Manifest, Split};

/// Recipe section `[split]`: `protocol = "..."` and that protocol's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case", deny_unknown_fields)]
pub enum SplitConfig {
    /// The folds of the data set: the manifest's `fold` column. Recordings that its authors let cross are named in
    /// a warning; the split counts as leaking when such a recording has clips of one class on both sides.
    Official {
        /// Folds whose clips train. Default: all that are named nowhere else.
        #[serde(default)]
        train_folds: Vec<u32>,
        /// Folds whose clips choose the epoch. Either these or `valid`.
        #[serde(default)]
        valid_folds: Vec<u32>,
        /// Folds whose clips are reported; may be empty.
        #[serde(default)]
        test_folds: Vec<u32>,
        /// Share of the clips of the training folds that chooses the epoch instead of training, in whole groups and
        /// stratified. Together with one test fold this is nested cross-validation: nobody chooses on the test fold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid: Option<f64>,
    },
    /// Folds of our own, for data that has none.
    Folds(Folds),
    /// The manifest's own `split` column.
    Manifest {
        /// Go on although groups cross, and mark every report. Default no.
        #[serde(default)]
        allow_leak: bool,
    },
    /// Groups stay whole; every class is spread over the parts as evenly as its groups allow (greedily, by
    /// chi-squared distance). Data in which no two clips share a group is stratified.
    Grouped(Fractions),
    /// Every class is divided by the fractions, to within one clip; clips with several labels by iterative
    /// stratification. For data without groups.
    Stratified(Fractions),
    /// Plain shuffle of all clips. It leaks wherever recordings were cut into several clips.
    Shuffled(Fractions),
}

/// Shares of a random split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fractions {
    /// Share of the clips that choose the epoch. Default 0.15.
    pub valid: f64,
    /// The clips that are reported. Default 0.15 of all.
    pub test: TestClips,
    /// Which clips are divided; all others train. Default: all. As `{ subset = ["curated"] }` it validates on
    /// curated clips and trains on the rest of them and on every noisy one.
    #[serde(skip_serializing_if = "Filter::is_empty")]
    pub from: Filter,
    /// Go on although groups cross, and mark every report. Default no.
    pub allow_leak: bool,
}

impl Default for Fractions {
    fn default() -> Self {
        Self { valid: 0.15, test: TestClips::Share(0.15), from: Filter::default(), allow_leak: false }
    }
}

/// The clips of a random split that are reported: a share, or `"manifest"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrWord", into = "NumberOrWord")]
pub enum TestClips {
    /// That share of the clips that are divided.
    Share(f64),
    /// Those that the manifest's `split` column marks `test`; only the others are divided.
    Manifest,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a share such as 0.15, or \"manifest\"")]
enum NumberOrWord {
    Number(f64),
    Word(String),
}

impl TryFrom<NumberOrWord> for TestClips {
    type Error = String;

    fn try_from(value: NumberOrWord) -> Result<Self, String> {
        match value {
            NumberOrWord::Number(share) => Ok(Self::Share(share)),
            NumberOrWord::Word(word) if word == "manifest" => Ok(Self::Manifest),
            NumberOrWord::Word(word) => {
                Err(format!("test is \"{word}\"; give a share such as 0.15, or \"manifest\""))
            }
        }
    }
}

impl From<TestClips> for NumberOrWord {
    fn from(clips: TestClips) -> Self {
        match clips {
            TestClips::Share(share) => Self::Number(share),
            TestClips::Manifest => Self::Word("manifest".to_owned()),
        }
    }
}

/// Cross-validation with folds that are dealt by the seed, in whole groups and stratified. One seed gives the same
/// folds whatever `test_fold`. Clips that the manifest marks `test` stand in no fold, and in no part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folds {
    /// Number of folds.
    pub k: u32,
    /// The fold that is reported, from 1. Default 1.
    #[serde(default = "first_fold")]
    pub test_fold: u32,
    /// Share of the clips of the other folds that chooses the epoch instead of training. Default 0.15.
    #[serde(default = "default_valid")]
    pub valid: f64,
    /// Which clips are dealt to folds; all others train. Default: all.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    pub from: Filter,
}

fn first_fold() -> u32 {
    1
}

fn default_valid() -> f64 {
    Fractions::default().valid
}

impl SplitConfig {
    /// The protocol in words, for reports.
    pub fn describe(&self) -> String {
        match self {
            Self::Official { train_folds, valid_folds, test_folds, valid } => {
                let train = if train_folds.is_empty() { "all others".to_owned() } else { plus(train_folds) };
                let test = if test_folds.is_empty() {
                    String::new()
                } else {
                    format!("test {}, ", plus(test_folds))
                };
                match valid {
                    Some(valid) => {
                        format!(
                            "official folds: {test}train {train} less about {} valid, grouped",
                            percent(*valid)
                        )
                    }
                    None => {
                        let test = test.trim_end_matches(", ");
                        let comma = if test.is_empty() { "" } else { ", " };
                        format!("official folds: train {train}, valid {}{comma}{test}", plus(valid_folds))
                    }
                }
            }
            Self::Folds(Folds { k, test_fold, valid, from }) => {
                let valid = percent(*valid);
                format!(
                    "{k} grouped folds{}: test {test_fold}, train the others less about {valid} valid",
                    of(from)
                )
            }
            Self::Manifest { .. } => "split column of the manifest".to_owned(),
            Self::Grouped(f) => f.describe("grouped"),
            Self::Stratified(f) => f.describe("stratified"),
            Self::Shuffled(f) => f.describe("shuffled"),
        }
    }

    /// The same protocol, going on when groups cross; for looking at a split without using it.
    pub fn allowing_leaks(mut self) -> Self {
        match &mut self {
            Self::Official { .. } | Self::Folds(_) => {}
            Self::Manifest { allow_leak } => *allow_leak = true,
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.allow_leak = true,
        }
        self
    }

    /// Whether a split in which clips cross is marked instead of refused.
    pub(super) fn allows_leak(&self) -> bool {
        match self {
            Self::Official { .. } => true,
            Self::Folds(_) => false,
            Self::Manifest { allow_leak } => *allow_leak,
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.allow_leak,
        }
    }

    /// The same protocol with fold `fold` reported, for one run of a cross-validation. Where official folds are
    /// named for training or validation they all move on with the test fold, the last followed by the first: of
    /// train 1-8, valid 9, test 10 fold 1 is train 2-9, valid 10, test 1.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Field`] when the protocol has no folds or not this one.
    pub fn with_test_fold(self, fold: u32) -> Result<Self, ConfigError> {
        let refuse = |reason: String| Err(ConfigError::field(format!("--fold {fold}"), reason));
        match self {
            Self::Folds(folds) if (1..=folds.k).contains(&fold) => {
                Ok(Self::Folds(Folds { test_fold: fold, ..folds }))
            }
            Self::Folds(folds) => refuse(format!("split.k = {} has the folds 1 to {}", folds.k, folds.k)),
            Self::Official { train_folds, valid_folds, valid, .. }
                if train_folds.is_empty() && valid_folds.is_empty() =>
            {
                Ok(Self::Official { train_folds, valid_folds, test_folds: vec![fold], valid })
            }
            Self::Official { train_folds, test_folds, .. }
                if train_folds.is_empty() || test_folds.len() != 1 =>
            {
                refuse(format!(
                    "the recipe names {} test folds, and {} that train; name one and all others, or give \
                     split.valid = 0.2, a share of the training folds, and only the test fold",
                    test_folds.len(),
                    if train_folds.is_empty() { "none" } else { "some" }
                ))
            }
            Self::Official { train_folds, valid_folds, test_folds, valid } => {
                let mut all = [&train_folds[..], &valid_folds, &test_folds].concat();
                all.sort_unstable();
                let place = |fold: u32| all.iter().position(|&other| other == fold);
                let (Some(from), Some(to)) = (place(test_folds[0]), place(fold)) else {
                    return refuse(format!("the recipe's folds are {}", plus(&all)));
                };
                let moved = |folds: &[u32]| {
                    let next = |&fold: &u32| Some(all[(place(fold)? + to + all.len() - from) % all.len()]);
                    let mut folds: Vec<u32> = folds.iter().filter_map(next).collect();
                    folds.sort_unstable();
                    folds
                };
                let (train_folds, valid_folds) = (moved(&train_folds), moved(&valid_folds));
                Ok(Self::Official { train_folds, valid_folds, test_folds: vec![fold], valid })
            }
            Self::Manifest { .. } | Self::Grouped(_) | Self::Stratified(_) | Self::Shuffled(_) => {
                refuse("this protocol has no folds; use protocol = \"official\" or \"folds\"".to_owned())
            }
        }
    }

    /// The same protocol with the folds that train named, when those are all others of `manifest`.
    pub fn resolved(&self, manifest: &Manifest) -> Self {
        let mut resolved = self.clone();
        if let Self::Official { train_folds, valid_folds, test_folds, .. } = &mut resolved
            && train_folds.is_empty()
        {
            let all: BTreeSet<u32> = manifest.entries.iter().filter_map(|entry| entry.fold).collect();
            let is_free = |fold: &u32| !valid_folds.contains(fold) && !test_folds.contains(fold);
            *train_folds = all.into_iter().filter(is_free).collect();
        }
        resolved
    }

    /// Everything that can be checked without data.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Field`] for a share or fold that is impossible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Official { train_folds, valid_folds, test_folds, valid } => {
                match valid {
                    Some(valid) if valid_folds.is_empty() => check_share("valid", *valid)?,
                    Some(_) => return refuse("valid", "split.valid_folds is given too; keep one of the two"),
                    None if valid_folds.is_empty() => {
                        let reason = "no clip would choose the epoch; name folds, or give split.valid = 0.2, a \
                                      share of the training folds";
                        return refuse("valid_folds", reason);
                    }
                    None => {}
                }
                let mut named: Vec<(u32, Split)> = Vec::new();
                for (split, folds) in Split::ALL.into_iter().zip([train_folds, valid_folds, test_folds]) {
                    for &fold in folds {
                        if let Some((_, other)) = named.iter().find(|(named, _)| *named == fold) {
                            let key = format!("{}_folds", split.name());
                            let reason = match *other == split {
                                true => format!("fold {fold} is there twice"),
                                false => {
                                    format!("fold {fold} is in {} and in {}", other.name(), split.name())
                                }
                            };
                            return refuse(&key, &reason);
                        }
                        named.push((fold, split));
                    }
                }
                Ok(())
            }
            Self::Folds(Folds { k, test_fold, valid, .. }) => {
                if *k < 2 {
                    return refuse("k", &format!("{k} folds leave none to train on; give at least 2"));
                }
                if !(1..=*k).contains(test_fold) {
                    return refuse("test_fold", &format!("fold {test_fold} is not one of 1 to {k}"));
                }
                check_share("valid", *valid)
            }
            Self::Manifest { .. } => Ok(()),
            Self::Grouped(f) | Self::Stratified(f) | Self::Shuffled(f) => f.validate(),
        }
    }
}

impl Fractions {
    /// Train, valid, test; they add up to 1.
    pub(super) fn shares(&self) -> [f64; 3] {
        let test = match self.test {
            TestClips::Share(share) => share,
            TestClips::Manifest => 0.0,
        };
        [1.0 - self.valid - test, self.valid, test]
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let [train, valid, test] = self.shares();
        check_share("valid", valid)?;
        if (0.0..1.0).contains(&test) && train > 0.0 {
            return Ok(());
        }
        refuse("test", &format!("{test} beside split.valid = {valid} leaves nothing to train on; lower them"))
    }

    fn describe(&self, name: &str) -> String {
        let [train, valid, test] = self.shares().map(|share| format!("{:.0}", share * 100.0));
        let from = of(&self.from);
        match self.test {
            TestClips::Share(_) => format!("{name}, {train}/{valid}/{test} % asked for{from}"),
            TestClips::Manifest => {
                format!("{name}, {train}/{valid} % asked for{from}, test as in the manifest")
            }
        }
    }
}

fn refuse(key: &str, reason: &str) -> Result<(), ConfigError> {
    Err(ConfigError::field(format!("split.{key}"), reason))
}

fn check_share(key: &str, share: f64) -> Result<(), ConfigError> {
    if share > 0.0 && share < 1.0 {
        return Ok(());
    }
    refuse(key, &format!("{share} is no share of the clips; give one above 0 and below 1, such as 0.2"))
}

fn plus(folds: &[u32]) -> String {
    folds.iter().map(u32::to_string).collect::<Vec<_>>().join("+")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn of(from: &Filter) -> String {
    if from.is_empty() { String::new() } else { format!(" of {from}, all else trains") }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{many, official};
    use super::*;

    fn read(text: &str) -> Result<SplitConfig, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn the_sections_of_recipes_are_read_and_mistakes_refused() {
        assert_eq!(read("protocol = 'grouped'").unwrap(), SplitConfig::Grouped(Fractions::default()));
        let Ok(SplitConfig::Shuffled(f)) = read("protocol = 'shuffled'\ntest = 0.2\nallow_leak = true")
        else {
            panic!("shuffled")
        };
        assert_eq!((f.allow_leak, f.test), (true, TestClips::Share(0.2)));
        let Ok(SplitConfig::Stratified(f)) =
            read("protocol = 'stratified'\ntest = 'manifest'\nfrom = { subset = ['curated'] }")
        else {
            panic!("stratified")
        };
        assert_eq!((f.test, f.from), (TestClips::Manifest, Filter::on("subset", &["curated"])));
        for (text, expected) in [
            ("protocol = 'random'", "random"),
            ("protocol = 'grouped'\ntets = 0.2", "tets"),
            ("protocol = 'grouped'\ntest = 'folder'", "test is \"folder\"; give a share such as 0.15"),
            ("protocol = 'grouped'\ntest = [1]", "a share such as 0.15, or \"manifest\""),
            ("protocol = 'manifest'\nfolds = 3", "folds"),
            ("protocol = 'folds'", "`k`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_impossible_whatever_the_data_is_refused_by_field() {
        for (text, expected) in [
            ("protocol = 'official'\ntrain_folds = [1]", "split.valid_folds: no clip would choose the epoch"),
            (
                "protocol = 'official'\nvalid_folds = [2]\nvalid = 0.1",
                "split.valid: split.valid_folds is given",
            ),
            ("protocol = 'official'\nvalid = 1", "split.valid: 1 is no share"),
            (
                "protocol = 'official'\ntrain_folds = [1, 2]\nvalid_folds = [2]",
                "fold 2 is in train and in valid",
            ),
            (
                "protocol = 'official'\nvalid_folds = [1]\ntest_folds = [2, 2]",
                "split.test_folds: fold 2 is there twice",
            ),
            ("protocol = 'folds'\nk = 1", "split.k: 1 folds"),
            ("protocol = 'folds'\nk = 5\ntest_fold = 6", "split.test_fold: fold 6 is not one of 1 to 5"),
            ("protocol = 'folds'\nk = 5\nvalid = -0.1", "split.valid"),
            ("protocol = 'stratified'\nvalid = 0.5\ntest = 0.5", "leaves nothing to train on"),
            ("protocol = 'stratified'\nvalid = 0.0\ntest = 0.1", "split.valid: 0 is no share"),
            ("protocol = 'stratified'\nvalid = nan", "split.valid"),
            ("protocol = 'shuffled'\ntest = -0.1", "split.test"),
        ] {
            let error = read(text).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn recipes_of_finished_runs_still_read_and_what_is_written_reads_back() {
        let old = "protocol = 'official'\ntrain_folds = [1, 2]\nvalid_folds = [3]\ntest_folds = []";
        assert_eq!(read(old).unwrap(), official(&[1, 2], &[3], &[]));
        let old = "protocol = 'grouped'\nvalid = 0.15\ntest = 0.15\nallow_leak = false";
        assert_eq!(read(old).unwrap(), SplitConfig::Grouped(Fractions::default()));
        for text in [
            "protocol = 'official'\ntest_folds = [3]\nvalid = 0.2",
            "protocol = 'folds'\nk = 5",
            "protocol = 'stratified'\nvalid = 0.2\ntest = 'manifest'\nfrom = { subset = ['curated'] }",
        ] {
            let config = read(text).unwrap();
            assert_eq!(read(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn a_protocol_says_in_words_who_trains() {
        for (text, expected) in [
            (
                "protocol = 'official'\ntrain_folds = [1, 3]\nvalid_folds = [2]",
                "official folds: train 1+3, valid 2",
            ),
            (
                "protocol = 'official'\ntrain_folds = [1]\nvalid_folds = [2]\ntest_folds = [3]",
                "official folds: train 1, valid 2, test 3",
            ),
            (
                "protocol = 'official'\ntest_folds = [1]\nvalid = 0.2",
                "official folds: test 1, train 2+3 less about 20 % valid, grouped",
            ),
            (
                "protocol = 'folds'\nk = 5\ntest_fold = 2",
                "5 grouped folds: test 2, train the others less about 15 % valid",
            ),
            ("protocol = 'grouped'", "grouped, 70/15/15 % asked for"),
            (
                "protocol = 'stratified'\nvalid = 0.2\ntest = 'manifest'\nfrom = { subset = ['curated'] }",
                "stratified, 80/20 % asked for of subset curated, all else trains, test as in the manifest",
            ),
        ] {
            assert_eq!(read(text).unwrap().resolved(&many()).describe(), expected);
        }
    }

    #[test]
    fn another_test_fold_moves_the_named_folds_on() {
        let eight = official(&[1, 2, 3, 4, 5, 6, 7, 8], &[9], &[10]);
        assert_eq!(
            eight.clone().with_test_fold(1).unwrap(),
            official(&[2, 3, 4, 5, 6, 7, 8, 9], &[10], &[1])
        );
        assert_eq!(
            eight.clone().with_test_fold(4).unwrap(),
            official(&[1, 2, 5, 6, 7, 8, 9, 10], &[3], &[4])
        );
        assert_eq!(eight.clone().with_test_fold(10).unwrap(), eight);
        let nested = read("protocol = 'official'\nvalid = 0.2").unwrap();
        let SplitConfig::Official { test_folds, .. } = nested.with_test_fold(3).unwrap() else { panic!() };
        assert_eq!(test_folds, [3]);
        let Ok(SplitConfig::Folds(folds)) = read("protocol = 'folds'\nk = 5").unwrap().with_test_fold(5)
        else {
            panic!("folds")
        };
        assert_eq!(folds.test_fold, 5);
        for (config, fold, expected) in [
            (eight, 11, "the recipe's folds are 1+2+3"),
            (official(&[1, 3], &[2], &[]), 2, "names 0 test folds, and some that train"),
            (official(&[], &[2], &[3]), 2, "names 1 test folds, and none that train"),
            (read("protocol = 'folds'\nk = 5").unwrap(), 6, "has the folds 1 to 5"),
            (read("protocol = 'grouped'").unwrap(), 1, "this protocol has no folds"),
        ] {
            let error = config.with_test_fold(fold).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--fold {fold}: ")) && error.contains(expected), "{error}");
        }
    }
}
