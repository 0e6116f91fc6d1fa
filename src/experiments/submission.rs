//! Scores of test clips in the format of the Kaggle competition on FSDKaggle2019: a row for each clip, a column for each
//! label.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::ensemble::EnsembleInfo;
use super::plan::read_json;
use super::{Error, Mean};
use crate::audio::Source;
use crate::bundle::{Clip, Predictor, pack, parts_of_run};
use crate::decision::Task;
use crate::evaluation::Predictions;
use crate::files::write_file;
use crate::tables::{Mistake, Record, Table};

/// The first column: the clip.
const FILE_NAME: &str = "fname";

/// Recordings decoded before the next ones are read.
const CHUNK: usize = 256;

/// The table that is sent to a competition.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The columns behind `fname`.
    pub labels: Vec<String>,
    /// File name and scores of each clip, in the order of the columns.
    pub rows: Vec<(String, Vec<f32>)>,
}

/// `sample_submission.csv`: what the competition wants to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// The columns behind `fname`, in order.
    pub labels: Vec<String>,
    /// The clips, in order; none in a table with only a header, which leaves open what they are.
    pub files: Vec<String>,
}

impl Sample {
    /// Reads the table.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] naming the line, for another first column, a label or clip that is there twice.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let bad = |line: u64, reason: String| Error::folder(path, format!("line {line}: {reason}"));
        let at = |Mistake { line, reason }: Mistake| bad(line, reason);
        let table = Table::new(&bytes).map_err(at)?;
        let mut header = table.header().iter().map(str::to_owned);
        if header.next().as_deref() != Some(FILE_NAME) {
            return Err(bad(1, "the first column must be `fname`, as in sample_submission.csv".to_owned()));
        }
        let labels: Vec<String> = header.collect();
        if let Some(label) = twice(&labels) {
            return Err(bad(1, format!("the label `{label}` is there twice")));
        }
        let mut files = Vec::new();
        for record in table.records() {
            let Record { values, .. } = record.map_err(at)?;
            files.push(values.get(0).unwrap_or_default().to_owned());
        }
        if let Some(file) = twice(&files) {
            return Err(bad(1, format!("the clip `{file}` is there twice")));
        }
        Ok(Self { path: path.to_owned(), labels, files })
    }
}

/// The first name that stands twice.
fn twice(names: &[String]) -> Option<&String> {
    let mut seen = std::collections::BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

impl Submission {
    /// From the predictions that a judged run, cross-validation or ensemble holds.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] when they are not of test clips.
    pub fn of_predictions(dir: &Path) -> Result<Self, Error> {
        let report: serde_json::Value = match dir.join("report.json") {
            path if path.is_file() => read_json(&path)?,
            _ => return Err(Error::folder(dir, "it was not judged; give --data with the test recordings")),
        };
        if report["part"] != "test" {
            let reason = "its predictions are not of test clips; run `oido evaluate --split test`, or give --data with \
                          the test recordings";
            return Err(Error::folder(dir, reason));
        }
        let predictions = Predictions::read(&dir.join("predictions.csv"))?;
        let rows = predictions.rows.into_iter().map(|row| (file_name(Path::new(&row.path)), row.scores));
        Self { labels: predictions.labels, rows: rows.collect() }.checked(dir)
    }

    /// The same clips and labels as `sample` in its order.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] when a label or clip of the sample has no scores, or there are others; the first is named.
    pub fn in_order_of(self, sample: &Sample) -> Result<Self, Error> {
        let bad = |reason: String| Err(Error::folder(&sample.path, reason));
        let place = |label: &String| self.labels.iter().position(|ours| ours == label);
        if let Some(label) = sample.labels.iter().find(|label| place(label).is_none()) {
            return bad(format!(
                "the model does not know the label `{label}`; it was trained on other labels"
            ));
        }
        if let Some(label) = self.labels.iter().find(|label| !sample.labels.contains(label)) {
            return bad(format!("the model's label `{label}` has no column; it was trained on other labels"));
        }
        let columns: Vec<usize> = sample.labels.iter().filter_map(place).collect();
        let ordered = |scores: &[f32]| columns.iter().map(|&column| scores[column]).collect::<Vec<f32>>();
        let mut of: BTreeMap<&str, &[f32]> =
            self.rows.iter().map(|(file, scores)| (file.as_str(), scores.as_slice())).collect();
        if sample.files.is_empty() {
            let rows = self.rows.iter().map(|(file, scores)| (file.clone(), ordered(scores))).collect();
            return Ok(Self { labels: sample.labels.clone(), rows });
        }
        let mut rows = Vec::with_capacity(sample.files.len());
        for file in &sample.files {
            match of.remove(file.as_str()) {
                Some(scores) => rows.push((file.clone(), ordered(scores))),
                None => return bad(format!("the clip {file} is asked for and has no scores")),
            }
        }
        match of.into_keys().next() {
            Some(file) => bad(format!("the clip {file} has scores and is not asked for")),
            None => Ok(Self { labels: sample.labels.clone(), rows }),
        }
    }

    /// Writes `fname` and the labels as header, then a row for each clip.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let csv_error = |e: csv::Error| Error::io(path)(std::io::Error::other(e));
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = std::iter::once(FILE_NAME).chain(self.labels.iter().map(String::as_str));
        writer.write_record(header).map_err(csv_error)?;
        for (file, scores) in &self.rows {
            let scores = scores.iter().map(|score| format!("{score:?}"));
            writer.write_record(std::iter::once(file.clone()).chain(scores)).map_err(csv_error)?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
        write_file(path, bytes).map_err(Error::io(path))
    }

    /// Refuses clips that share a name, of which the competition could not tell which is meant.
    fn checked(self, dir: &Path) -> Result<Self, Error> {
        let names: Vec<String> = self.rows.iter().map(|(file, _)| file.clone()).collect();
        match twice(&names) {
            None => Ok(self),
            Some(file) => Err(Error::folder(
                dir,
                format!("two test clips are called {file}; a submission names each once"),
            )),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The models of a run or ensemble, ready to score recordings.
pub struct Models {
    predictors: Vec<Predictor>,
    mean: Mean,
    task: Task,
}

impl Models {
    /// Of the run directory `dir`, or the ensemble in it with the runs it is made of.
    ///
    /// # Errors
    ///
    /// What [`parts_of_run`] refuses; an ensemble of which a member is not a run or knows other labels.
    pub fn open(dir: &Path, device: &str) -> Result<Self, Error> {
        let Some(ensemble) = EnsembleInfo::read(dir)? else {
            let (predictor, task) = predictor_of(dir, device)?;
            return Ok(Self { predictors: vec![predictor], mean: Mean::Arithmetic, task });
        };
        let mut predictors: Vec<Predictor> = Vec::new();
        for member in &ensemble.members {
            let (predictor, _) = predictor_of(&member.run, device)?;
            if predictors.first().is_some_and(|first| first.labels() != predictor.labels()) {
                return Err(Error::folder(
                    &member.run,
                    "its labels are not those of the first member of the ensemble",
                ));
            }
            predictors.push(predictor);
        }
        if predictors.is_empty() {
            return Err(Error::folder(dir, "its ensemble.json names no runs"));
        }
        Ok(Self { predictors, mean: ensemble.mean, task: ensemble.task })
    }

    /// The labels, in the order of scores.
    pub fn labels(&self) -> &[String] {
        self.predictors[0].labels().names()
    }

    /// Scores of the recordings `files`, each under its file name. A recording that cannot be used has 0 for every label,
    /// as the competition wants a row of it, and is told to `bad`; `done` is told how many are scored.
    ///
    /// # Errors
    ///
    /// When two have the same name, or a network fails.
    pub fn submission(
        &self,
        files: &[PathBuf],
        bad: &dyn Fn(&str),
        done: &dyn Fn(usize),
    ) -> Result<Submission, Error> {
        let mut rows = Vec::with_capacity(files.len());
        for chunk in files.chunks(CHUNK) {
            rows.extend(self.scores(chunk, bad)?);
            done(rows.len());
        }
        let submission = Submission { labels: self.labels().to_vec(), rows };
        submission.checked(files.first().and_then(|file| file.parent()).unwrap_or(Path::new(".")))
    }

    fn scores(&self, files: &[PathBuf], bad: &dyn Fn(&str)) -> Result<Vec<(String, Vec<f32>)>, Error> {
        // `[models][clips]`
        let mut all: Vec<Vec<Option<Vec<f32>>>> = Vec::new();
        for (model, predictor) in self.predictors.iter().enumerate() {
            let prepared: Vec<_> =
                files.par_iter().map(|file| predictor.prepare(&Source::Path(file))).collect();
            let mut clips: Vec<Clip> = Vec::new();
            let mut usable = Vec::new();
            for clip in prepared {
                usable.push(clip.is_ok());
                match clip {
                    Ok(clip) => clips.push(clip),
                    Err(error) if model == 0 => bad(&error.to_string()),
                    Err(_) => {}
                }
            }
            let mut scored = predictor.score(&clips)?.into_iter().map(|answer| {
                let of: BTreeMap<String, f32> =
                    answer.scores.into_iter().map(|score| (score.label, score.score)).collect();
                self.labels()
                    .iter()
                    .map(|label| of.get(label).copied().unwrap_or_default())
                    .collect::<Vec<f32>>()
            });
            all.push(usable.into_iter().map(|usable| if usable { scored.next() } else { None }).collect());
        }
        let row = |(clip, file): (usize, &PathBuf)| {
            let scores: Option<Vec<&[f32]>> = all.iter().map(|model| model[clip].as_deref()).collect();
            let scores = match scores.as_deref() {
                Some([one]) => one.to_vec(),
                Some(scores) => self.mean.of(self.task, scores),
                None => vec![0.0; self.labels().len()],
            };
            (file_name(file), scores)
        };
        Ok(files.iter().enumerate().map(row).collect())
    }
}

/// The model of a run directory, through a bundle, as everybody else gets it.
fn predictor_of(run: &Path, device: &str) -> Result<(Predictor, Task), Error> {
    let parts = parts_of_run(run)?;
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let bundle = folder.path().join("run.tar.gz");
    pack(&parts, &bundle)?;
    Ok((Predictor::open(&bundle, device)?, parts.config.task))
}
