//! Several runs that judged the same clips → one answer for each clip.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{read_json, write_json};
use super::{Error, Figures};
use crate::dataset::Split;
use crate::decision::{DecisionConfig, Task};
use crate::evaluation::{Figure, Predictions, ReportInput, write_report};
use crate::files::sha256_of;
use crate::seed::Seed;

/// What an ensemble is made of, in its folder.
const FILE: &str = "ensemble.json";

/// Of the bootstrap: ensembles have no seed of their own.
const SEED: Seed = Seed(42);

/// How scores of several models become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mean {
    /// Their mean.
    #[default]
    Arithmetic,
    /// The n-th root of their product; with one label a clip divided by its sum, so that the scores of a clip sum to 1
    /// (the logarithmic opinion pool; Genest & Zidek 1986).
    Geometric,
    /// The mean of their ranks among the clip's classes, from 0 for the lowest to 1 for the highest, of equal scores the
    /// mean rank (Borda count; Ho, Hull & Srihari 1994); with one label a clip divided by its sum. They order classes and are no
    /// probabilities.
    Rank,
}

impl Mean {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic",
            Self::Geometric => "geometric",
            Self::Rank => "rank",
        }
    }

    /// The mean of the scores of one clip, `[num_classes]` of each model, in f64.
    pub fn of(self, task: Task, scores: &[&[f32]]) -> Vec<f32> {
        let models = scores.len() as f64;
        let classes = scores.first().map_or(0, |row| row.len());
        let sum = |of: &dyn Fn(&[f32], usize) -> f64, class: usize| -> f64 {
            scores.iter().map(|row| of(row, class)).sum::<f64>() / models
        };
        let mut mean: Vec<f64> = (0..classes)
            .map(|class| match self {
                Self::Arithmetic => sum(&|row, class| f64::from(row[class]), class),
                Self::Geometric => sum(&|row, class| f64::from(row[class]).ln(), class).exp(),
                Self::Rank => sum(&rank, class),
            })
            .collect();
        let total: f64 = mean.iter().sum();
        if task == Task::SingleLabel && self != Self::Arithmetic && total > 0.0 {
            mean.iter_mut().for_each(|score| *score /= total);
        }
        mean.into_iter().map(|score| score as f32).collect()
    }
}

/// Share of the other classes that the class stands above; of equal ones it stands above half.
fn rank(row: &[f32], class: usize) -> f64 {
    let others = row.iter().enumerate().filter(|(other, _)| *other != class);
    let points = others.map(|(_, other)| match row[class].total_cmp(other) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    });
    points.sum::<f64>() / (row.len().max(2) - 1) as f64
}

/// `ensemble.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnsembleInfo {
    /// 1.
    pub format: u32,
    /// How scores become one.
    pub mean: Mean,
    /// What the scores mean.
    pub task: Task,
    /// The clips that were judged.
    pub part: Split,
    /// Number of clips.
    pub clips: usize,
    /// What it reached.
    pub figures: Figures,
    /// What it is made of, in order.
    pub members: Vec<EnsembleMember>,
}

/// A run in an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnsembleMember {
    /// Its directory, absolute.
    pub run: PathBuf,
    /// The title of its report.
    pub title: String,
    /// What it reached on the same clips.
    pub figures: Figures,
    /// sha256 of its `predictions.csv`.
    pub predictions_sha256: String,
}

impl EnsembleInfo {
    /// Of the ensemble in `dir`; none when there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        if path.is_file() { read_json(&path).map(Some) } else { Ok(None) }
    }
}

/// What is read back of the `report.json` of a member.
#[derive(Debug, Clone, Deserialize)]
struct Reported {
    title: String,
    part: Split,
    task: Task,
    leaking: bool,
    warnings: Vec<String>,
    decision: Decided,
    #[serde(flatten)]
    figures: Figures,
}

/// Of the report's `decision`, which also counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Decided {
    threshold: f32,
    indeterminate: String,
}

/// A judged run, with its scores.
struct Judged {
    dir: PathBuf,
    report: Reported,
    predictions: Predictions,
}

impl Judged {
    fn read(dir: &Path) -> Result<Self, Error> {
        let report = dir.join("report.json");
        if !report.is_file() {
            let reason = format!("it was not judged; run `oido evaluate {}` first", dir.display());
            return Err(Error::folder(dir, reason));
        }
        let predictions = Predictions::read(&dir.join("predictions.csv"))?;
        Ok(Self { dir: dir.to_owned(), report: read_json(&report)?, predictions })
    }

    /// Refuses another task, part, list of labels or list of clips than `first` has, and clips with other labels.
    fn check_alike(&self, first: &Self) -> Result<(), Error> {
        let refuse = |what: String| {
            Err(Error::folder(&self.dir, format!("it does not go with {}: {what}", first.dir.display())))
        };
        let (ours, theirs) = (&self.report, &first.report);
        if ours.task != theirs.task {
            return refuse(format!("its task is {}, there it is {}", ours.task.name(), theirs.task.name()));
        }
        if ours.part != theirs.part {
            let (here, there) = (ours.part.name(), theirs.part.name());
            return refuse(format!(
                "it was judged on {here} clips, there on {there} clips; see `oido evaluate --split`"
            ));
        }
        if self.predictions.labels != first.predictions.labels {
            return refuse("its labels are others".to_owned());
        }
        let (rows, others) = (&self.predictions.rows, &first.predictions.rows);
        if rows.len() != others.len() {
            return refuse(format!("it judged {} clips, there are {} there", rows.len(), others.len()));
        }
        for (place, (row, other)) in (1..).zip(rows.iter().zip(others)) {
            if row.path != other.path {
                return refuse(format!("clip {place} is {} here and {} there", row.path, other.path));
            }
            if row.target != other.target {
                return refuse(format!("the right labels of {} are others there", row.path));
            }
        }
        Ok(())
    }
}

/// Runs that judged the same clips, as one.
pub struct Ensemble {
    mean: Mean,
    members: Vec<Judged>,
    predictions: Predictions,
}

impl Ensemble {
    /// Of the runs, cross-validations or ensembles in `dirs`, from their `predictions.csv`.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] for fewer than two, for one that was not judged, and for one that judged other clips, another part
    /// of the data, or knows other labels.
    pub fn of(dirs: &[PathBuf], mean: Mean) -> Result<Self, Error> {
        let members = dirs.iter().map(|dir| Judged::read(dir)).collect::<Result<Vec<_>, _>>()?;
        let [first, others @ ..] = members.as_slice() else {
            return Err(Error::folder("", "name the runs of the ensemble"));
        };
        if others.is_empty() {
            return Err(Error::folder(&first.dir, "one run is no ensemble; name at least two"));
        }
        others.iter().try_for_each(|other| other.check_alike(first))?;
        let mut predictions = first.predictions.clone();
        for (clip, row) in predictions.rows.iter_mut().enumerate() {
            let scores: Vec<&[f32]> =
                members.iter().map(|member| member.predictions.rows[clip].scores.as_slice()).collect();
            row.scores = mean.of(first.report.task, &scores);
        }
        Ok(Self { mean, members, predictions })
    }

    /// The figure that it is judged by, and that of each member with its directory.
    pub fn figures(&self) -> (Figure, Vec<(&Path, f64)>) {
        let figure = |predictions: &Predictions| Figure::of(predictions, self.task(), SEED);
        let member = |member: &Judged| figure(&member.predictions).value;
        let members = self.members.iter().map(|one| (one.dir.as_path(), member(one))).collect();
        (figure(&self.predictions), members)
    }

    /// Writes `predictions.csv`, the report and `ensemble.json` into `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        let first = &self.members[0].report;
        let mut warnings: Vec<String> = Vec::new();
        for warning in self.members.iter().flat_map(|member| &member.report.warnings) {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        if self.members.iter().any(|member| member.report.decision != first.decision) {
            warnings.push(format!(
                "The runs decide differently; here the threshold is {}.",
                first.decision.threshold
            ));
        }
        if self.mean == Mean::Rank {
            warnings.push("Mean ranks order the classes; they are no probabilities, so threshold and log loss say little.".to_owned());
        }
        let Decided { threshold, indeterminate } = first.decision.clone();
        let decision = DecisionConfig { threshold, indeterminate };
        write_report(
            dir,
            &ReportInput {
                title: &format!("Ensemble of {} runs, {} mean", self.members.len(), self.mean.name()),
                part: first.part.name(),
                protocol: &self.protocol(),
                warnings: &warnings,
                leaking: self.members.iter().any(|member| member.report.leaking),
                task: first.task,
                seed: SEED,
                predictions: &self.predictions,
                epochs: &[],
                best_epoch: None,
                decision: &decision,
            },
        )?;
        write_json(&dir.join(FILE), &self.info(Figures::read(dir)?)?)
    }

    fn info(&self, figures: Figures) -> Result<EnsembleInfo, Error> {
        let member = |member: &Judged| {
            let path = member.dir.join("predictions.csv");
            Ok(EnsembleMember {
                run: std::path::absolute(&member.dir).map_err(Error::io(&member.dir))?,
                title: member.report.title.clone(),
                figures: member.report.figures,
                predictions_sha256: sha256_of(&path).map_err(Error::io(path))?,
            })
        };
        Ok(EnsembleInfo {
            format: 1,
            mean: self.mean,
            task: self.task(),
            part: self.members[0].report.part,
            clips: self.predictions.rows.len(),
            figures,
            members: self.members.iter().map(member).collect::<Result<_, Error>>()?,
        })
    }

    fn protocol(&self) -> Vec<(String, String)> {
        let (_, members) = self.figures();
        let mut rows = vec![("mean".to_owned(), self.mean.name().to_owned())];
        rows.extend(members.into_iter().zip(&self.members).map(|((dir, value), member)| {
            ("member".to_owned(), format!("{} ({}): {value:.4}", member.report.title, dir.display()))
        }));
        rows.push(("versions".to_owned(), format!("oido {}", env!("CARGO_PKG_VERSION"))));
        rows
    }

    fn task(&self) -> Task {
        self.members[0].report.task
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: &[f32], expected: &[f32]) {
        assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?}, not {expected:?}");
    }

    #[test]
    fn means_are_those_of_the_textbook() {
        let (a, b) = ([0.7, 0.2, 0.1], [0.1, 0.8, 0.1]);
        let of = |mean: Mean, task| mean.of(task, &[&a, &b]);
        close(&of(Mean::Arithmetic, Task::SingleLabel), &[0.4, 0.5, 0.1]);
        close(&of(Mean::Geometric, Task::MultiLabel), &[0.264_575_13, 0.4, 0.1]);
        let total = 0.264_575_13 + 0.4 + 0.1;
        close(&of(Mean::Geometric, Task::SingleLabel), &[0.264_575_13 / total, 0.4 / total, 0.1 / total]);
        // Ranks 1, 1/2, 0 and, with two equal ones, 1/4, 1, 1/4.
        close(&of(Mean::Rank, Task::MultiLabel), &[0.625, 0.75, 0.125]);
        close(&of(Mean::Rank, Task::SingleLabel), &[0.625 / 1.5, 0.75 / 1.5, 0.125 / 1.5]);
    }

    #[test]
    fn a_score_of_zero_is_a_veto_for_the_geometric_mean_and_not_a_number_for_none() {
        let of = |task| Mean::Geometric.of(task, &[&[0.0, 1.0], &[1.0, 0.0]]);
        assert_eq!(of(Task::MultiLabel), [0.0, 0.0]);
        assert_eq!(of(Task::SingleLabel), [0.0, 0.0]);
        assert_eq!(Mean::Rank.of(Task::MultiLabel, &[&[0.3], &[0.4]]), [0.0]);
    }
}
