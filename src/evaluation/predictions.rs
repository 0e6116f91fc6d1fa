//! `predictions.csv`: one row a clip.

use std::path::Path;

use super::Error;
use crate::decision::{DecisionConfig, Task};
use crate::files::write_file;
use crate::metrics::Confusion;
use crate::tables::{Mistake, Record, Table};

/// Columns before those of the labels.
const COLUMNS: [&str; 5] = ["path", "true", "predicted", "score", "indeterminate"];

/// The scores of one part of the data, with what would have been right.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Names of the classes, in the order of the scores.
    pub labels: Vec<String>,
    /// One for each clip.
    pub rows: Vec<PredictionRow>,
}

/// What was said of one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRow {
    /// The recording, as the manifest names it.
    pub path: String,
    /// `[num_classes]`, 1 for each class that is right.
    pub target: Vec<f32>,
    /// `[num_classes]`, after the activation.
    pub scores: Vec<f32>,
}

impl Predictions {
    /// From row-major `[clips, num_classes]` arrays, as [`crate::training::Scored`] holds them; one path a clip.
    ///
    /// # Errors
    ///
    /// [`Error::Prediction`] when the lengths do not fit.
    pub fn new(
        labels: &[String],
        paths: impl IntoIterator<Item = String>,
        scores: &[f32],
        targets: &[f32],
    ) -> Result<Self, Error> {
        let paths: Vec<String> = paths.into_iter().collect();
        let expected = paths.len() * labels.len();
        if labels.is_empty() || scores.len() != expected || targets.len() != expected {
            return Err(Error::Prediction {
                clip: "the predictions".to_owned(),
                reason: format!(
                    "{} clips of {} classes need {expected} scores and targets, not {} and {}",
                    paths.len(),
                    labels.len(),
                    scores.len(),
                    targets.len()
                ),
            });
        }
        let of_clip = |values: &[f32]| -> Vec<Vec<f32>> {
            values.chunks_exact(labels.len()).map(<[f32]>::to_vec).collect()
        };
        let rows = paths
            .into_iter()
            .zip(of_clip(targets))
            .zip(of_clip(scores))
            .map(|((path, target), scores)| PredictionRow { path, target, scores })
            .collect();
        Ok(Self { labels: labels.to_vec(), rows })
    }

    /// All scores, row-major `[clips, num_classes]`.
    pub fn scores(&self) -> Vec<f32> {
        self.rows.iter().flat_map(|row| row.scores.iter().copied()).collect()
    }

    /// All targets, row-major `[clips, num_classes]`.
    pub fn targets(&self) -> Vec<f32> {
        self.rows.iter().flat_map(|row| row.target.iter().copied()).collect()
    }

    /// Which class was taken for which; every clip must have one target.
    pub fn confusion(&self) -> Confusion {
        Confusion::from_scores(&self.scores(), &self.targets(), self.labels.len())
    }

    /// Writes `path,true,predicted,score,indeterminate` and a column of scores for each label. `predicted` is the
    /// best label, with several labels a clip every label that reaches the threshold, joined by commas, best first; when
    /// none does (the row is indeterminate) it is the best one. `score` is the best score. Scores are printed so that
    /// [`Predictions::read`] gives the same bits; commas, quotes and line ends in names are quoted.
    pub fn write(&self, path: &Path, task: Task, decision: &DecisionConfig) -> Result<(), Error> {
        let csv_error = |e: csv::Error| Error::io(path)(std::io::Error::other(e));
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = COLUMNS.into_iter().chain(self.labels.iter().map(String::as_str));
        writer.write_record(header).map_err(csv_error)?;
        for row in &self.rows {
            let decided = decision.decide(&row.scores);
            let (label, score, indeterminate) = decided.map_or((String::new(), f32::NAN, true), |d| {
                (self.predicted(row, task, decision, d.index), d.score, d.indeterminate)
            });
            let mut record = vec![
                row.path.clone(),
                self.true_labels(row).join(","),
                label,
                format!("{score:?}"),
                indeterminate.to_string(),
            ];
            record.extend(row.scores.iter().map(|score| format!("{score:?}")));
            writer.write_record(record).map_err(csv_error)?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
        write_file(path, bytes).map_err(Error::io(path))
    }

    /// Reads what [`Predictions::write`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Line`] for another header, an unknown label or a score that is no number.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let line = |line: u64, reason: String| Error::Line { path: path.to_owned(), line, reason };
        let at = |Mistake { line: number, reason }| line(number, reason);
        let table = Table::untrimmed(&bytes).map_err(at)?;
        let header = table.header().clone();
        if !header.iter().take(COLUMNS.len()).eq(COLUMNS) || header.len() == COLUMNS.len() {
            let expected = COLUMNS.join(",");
            return Err(line(1, format!("the header must be {expected} and one column for each label")));
        }
        let mut predictions =
            Self { labels: header.iter().skip(COLUMNS.len()).map(str::to_owned).collect(), rows: Vec::new() };
        for record in table.records() {
            let Record { line: number, values: record } = record.map_err(at)?;
            let scores: Vec<f32> = record
                .iter()
                .skip(COLUMNS.len())
                .map(|text| {
                    text.parse().map_err(|_| line(number, format!("the score {text:?} is no number")))
                })
                .collect::<Result<_, _>>()?;
            let target = predictions
                .target(&record[1])
                .map_err(|label| line(number, format!("the label {label:?} has no column of scores")))?;
            predictions.rows.push(PredictionRow { path: record[0].to_owned(), target, scores });
        }
        Ok(predictions)
    }

    fn predicted(&self, row: &PredictionRow, task: Task, decision: &DecisionConfig, best: usize) -> String {
        let accepted = match task {
            Task::SingleLabel => Vec::new(),
            Task::MultiLabel => decision.accepted(&row.scores),
        };
        let indices = if accepted.is_empty() { vec![best] } else { accepted };
        indices.into_iter().map(|index| self.labels[index].as_str()).collect::<Vec<_>>().join(",")
    }

    fn true_labels(&self, row: &PredictionRow) -> Vec<&str> {
        let named = self.labels.iter().zip(&row.target);
        named.filter(|(_, target)| **target > 0.5).map(|(label, _)| label.as_str()).collect()
    }

    /// The multi-hot row of `text`: one label, or several joined by commas. The unknown label is the error.
    fn target(&self, text: &str) -> Result<Vec<f32>, String> {
        let index = |name: &str| self.labels.iter().position(|label| label == name);
        let mut target = vec![0.0; self.labels.len()];
        let names = if index(text).is_some() { vec![text] } else { text.split(',').collect() };
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            target[index(name).ok_or(name)?] = 1.0;
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["dog, \"bark\"", "=siren\nloud", "<script>"].map(str::to_owned).to_vec()
    }

    fn example() -> Predictions {
        let third = 1.0_f32 / 3.0;
        Predictions::new(
            &labels(),
            ["a,b.wav".to_owned(), "quote\".wav".to_owned(), "line\nend.wav".to_owned()],
            &[0.7, 0.2, 0.1, third, 0.333_333_25, 0.333_333_4, 1e-30, 0.0, 1.0],
            &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        )
        .unwrap()
    }

    #[test]
    fn comes_back_bit_by_bit_with_awkward_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.csv");
        example().write(&path, Task::SingleLabel, &DecisionConfig::default()).unwrap();
        let back = Predictions::read(&path).unwrap();
        assert_eq!(back, example());
        let bits = |p: &Predictions| p.scores().iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&example()));
    }

    #[test]
    fn says_what_was_decided() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.csv");
        let labels = ["dog".to_owned(), "siren".to_owned()];
        let paths = ["a.wav".to_owned(), "b.wav".to_owned()];
        let predictions =
            Predictions::new(&labels, paths, &[0.6, 0.4, 0.45, 0.55], &[1.0, 0.0, 1.0, 0.0]).unwrap();
        predictions.write(&path, Task::SingleLabel, &DecisionConfig::default()).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "path,true,predicted,score,indeterminate,dog,siren\n\
             a.wav,dog,dog,0.6,false,0.6,0.4\n\
             b.wav,dog,siren,0.55,true,0.45,0.55\n"
        );
        assert_eq!(predictions.confusion().count(0, 1), 1);
    }

    #[test]
    fn says_every_label_that_was_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.csv");
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let paths = ["x.wav".to_owned(), "y.wav".to_owned()];
        let (scores, targets) = ([0.7, 0.1, 0.9, 0.2, 0.5, 0.1], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let predictions = Predictions::new(&labels, paths, &scores, &targets).unwrap();
        predictions.write(&path, Task::MultiLabel, &DecisionConfig::default()).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "path,true,predicted,score,indeterminate,a,b,c\n\
             x.wav,\"a,c\",\"c,a\",0.9,false,0.7,0.1,0.9\n\
             y.wav,b,b,0.5,true,0.2,0.5,0.1\n"
        );
        assert_eq!(Predictions::read(&path).unwrap(), predictions);
    }

    #[test]
    fn several_right_labels_and_none_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.csv");
        let labels = ["a".to_owned(), "b".to_owned()];
        let predictions = Predictions::new(
            &labels,
            ["x".to_owned(), "y".to_owned()],
            &[0.6, 0.4, 0.5, 0.5],
            &[1.0, 1.0, 0.0, 0.0],
        )
        .unwrap();
        predictions.write(&path, Task::SingleLabel, &DecisionConfig::default()).unwrap();
        assert_eq!(Predictions::read(&path).unwrap(), predictions);
    }

    #[test]
    fn names_the_line_of_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let head = "path,true,predicted,score,indeterminate,dog\n";
        for (text, expected) in [
            ("path,truth\n", "line 1: the header must be"),
            (&format!("{head}a,cat,dog,1,false,1\n"), "line 2: the label \"cat\""),
            (&format!("{head}a,dog,dog,1,false,high\n"), "line 2: the score \"high\""),
            (&format!("{head}a,dog,dog,1,false,1\nb\n"), "line 3"),
            (
                &format!("{head}\"a\na\",dog,dog,1,false,1\n\nb,cat,dog,1,false,1\n").replace('\n', "\r\n"),
                "line 5: the label",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Predictions::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("p.csv"), "{error}");
        }
    }

    #[test]
    fn refuses_arrays_that_do_not_fit() {
        let error = Predictions::new(&labels(), ["a".to_owned()], &[0.1], &[1.0, 0.0, 0.0]).unwrap_err();
        assert!(error.to_string().contains("need 3 scores and targets, not 1 and 3"), "{error}");
    }
}
