//! `results.csv`: one row an epoch, with the column names of Ultralytics where it has one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::write_file;
use crate::tables::{Mistake, Record, Table};

/// What one epoch gave. Figures that an older file does not have are NaN.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochRow {
    /// Number of the epoch, from 1 and on through all stages.
    pub epoch: usize,
    /// Name of the stage, in a run of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Wall time of this epoch in seconds, validation included.
    pub time: f64,
    /// Mean loss over the training clips, without penalties on weights (cross-entropies are in nats).
    #[serde(rename = "train/loss")]
    pub train_loss: f64,
    /// Share of training clips whose best score is that of a right class, 0 to 1, while the weights were changing.
    #[serde(rename = "train/accuracy")]
    pub train_accuracy: f64,
    /// Label-weighted label-ranking average precision over the training clips, 0 to 1, while the weights were changing.
    #[serde(rename = "train/lwlrap", default = "not_measured")]
    pub train_lwlrap: f64,
    /// Mean loss over the validation clips; NaN without validation clips.
    #[serde(rename = "val/loss")]
    pub valid_loss: f64,
    /// Share of validation clips whose best score is that of a right class, 0 to 1; NaN without validation clips.
    #[serde(rename = "val/accuracy")]
    pub valid_accuracy: f64,
    /// Share of validation clips with a right class among the five best scores, 0 to 1.
    #[serde(rename = "val/top_5_accuracy", default = "not_measured")]
    pub valid_top_5_accuracy: f64,
    /// Mean of the classes' F1 over the validation clips, 0 to 1; with several labels a clip, a class is said when its score
    /// is at least 0.5.
    #[serde(rename = "val/macro_f1", default = "not_measured")]
    pub valid_macro_f1: f64,
    /// Label-weighted label-ranking average precision over the validation clips, 0 to 1.
    #[serde(rename = "val/lwlrap", default = "not_measured")]
    pub valid_lwlrap: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Training clips a second.
    pub clips_per_second: f64,
}

fn not_measured() -> f64 {
    f64::NAN
}

/// Why `results.csv` cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not a table of epochs.
    #[error("{path}: not a results table: {message}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        message: String,
    },
}

/// Writes all rows; floats are printed so that [`read()`] gives the same bits.
pub fn write(path: &Path, rows: &[EpochRow]) -> Result<(), ResultsError> {
    let io = |source| ResultsError::Io { path: path.to_owned(), source };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| io(io::Error::other(e)))?;
    }
    let bytes = writer.into_inner().map_err(|e| io(e.into_error()))?;
    write_file(path, bytes).map_err(io)
}

/// Reads what [`write()`] wrote; an empty file has no rows, further columns are ignored.
pub fn read(path: &Path) -> Result<Vec<EpochRow>, ResultsError> {
    let bytes = std::fs::read(path).map_err(|source| ResultsError::Io { path: path.to_owned(), source })?;
    let bad = |mistake: Mistake| ResultsError::Parse { path: path.to_owned(), message: mistake.to_string() };
    let table = Table::new(&bytes).map_err(bad)?;
    let header = table.header().clone();
    let row = |record: Result<Record, Mistake>| {
        let Record { line, values } = record?;
        values.deserialize(Some(&header)).map_err(|error| Mistake { line, reason: error.to_string() })
    };
    table.records().map(|record| row(record).map_err(bad)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: usize) -> EpochRow {
        EpochRow {
            epoch,
            stage: None,
            time: 20.25 * epoch as f64,
            train_loss: 1.0 / 3.0,
            train_accuracy: 0.1 + 0.2,
            train_lwlrap: 0.7,
            valid_loss: f64::NAN,
            valid_accuracy: 5e-324,
            valid_top_5_accuracy: 1.0,
            valid_macro_f1: 0.3,
            valid_lwlrap: 0.6,
            lr: 1e-3,
            clips_per_second: 123.0,
        }
    }

    #[test]
    fn rows_come_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write(&path, &[row(1), row(2)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(
            "epoch,time,train/loss,train/accuracy,train/lwlrap,val/loss,val/accuracy,val/top_5_accuracy,val/macro_f1,\
             val/lwlrap,lr,clips_per_second\n1,20.25,"
        ));
        let back = read(&path).unwrap();
        assert_eq!(format!("{back:?}"), format!("{:?}", [row(1), row(2)]));
        assert_eq!(back[1].train_accuracy.to_bits(), (0.1_f64 + 0.2).to_bits());
    }

    #[test]
    fn only_runs_of_several_stages_have_a_column_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let rows = ["noisy", "curated"].map(|stage| EpochRow { stage: Some(stage.to_owned()), ..row(1) });
        write(&path, &rows).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("epoch,stage,time,") && text.contains("\n1,curated,20.25,"), "{text}");
        assert_eq!(read(&path).unwrap()[1].stage.as_deref(), Some("curated"));
    }

    #[test]
    fn what_an_older_file_does_not_tell_is_not_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let header = "epoch,time,train/loss,train/accuracy,val/loss,val/accuracy,lr,clips_per_second";
        std::fs::write(&path, format!("{header}\n1,2,3,0.5,4,0.25,0.001,9\n")).unwrap();
        let row = &read(&path).unwrap()[0];
        assert!(row.valid_lwlrap.is_nan() && row.valid_macro_f1.is_nan() && row.lr > 0.0);
    }

    #[test]
    fn accepts_padded_headers_and_more_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let text = " epoch, time,train/loss ,train/accuracy,val/loss,val/accuracy,lr,clips_per_second,more\n\
                    1, 2,3,0.5,4,0.25,0.001,9,x\n";
        std::fs::write(&path, text).unwrap();
        assert!((read(&path).unwrap()[0].train_loss - 3.0).abs() < 1e-15);
    }

    #[test]
    fn names_the_file_and_the_line_of_a_broken_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write(&path, &[row(1)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap() + "two,1,1,1,1,1,1,1,1,1,1,1\n";
        std::fs::write(&path, &text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("results.csv") && error.contains("line 3: "), "{error}");
        std::fs::write(&path, text.replace('\n', "\r\n\r\n")).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("line 5: "), "{error}");
    }

    #[test]
    fn no_epoch_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write(&path, &[]).unwrap();
        assert!(read(&path).unwrap().is_empty());
        assert!(read(&folder.path().join("absent.csv")).unwrap_err().to_string().contains("absent.csv"));
    }
}
