//! Several runs side by side.

use std::path::Path;

use minijinja::context;
use serde::Deserialize;
use serde_json::json;

use super::Error;
use super::json::read_json;
use super::page::{duration, percent, render, safe, thousands};
use super::plots::{LinePlot, Series, series_color};
use crate::decision::Task;
use crate::metrics::{Interval, wilson};
use crate::text::{printable, table};
use crate::training::{EpochRow, RunDir, RunInfo, results};

/// Runs to compare, in the order they were named.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// One for each directory.
    pub runs: Vec<ComparedRun>,
}

/// What is compared of one run.
#[derive(Debug, Clone)]
pub struct ComparedRun {
    /// Its directory as it was named.
    pub dir: String,
    /// `run.json`.
    pub info: RunInfo,
    /// `results.csv`.
    pub epochs: Vec<EpochRow>,
    /// `report.json`, when the run was evaluated.
    pub report: Option<Reported>,
    /// Runs with equal letters used the same clips, split in the same way; only they can be compared.
    pub data: String,
}

/// What is read back from a `report.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reported {
    /// `valid` or `test`.
    pub part: String,
    /// Number of clips.
    pub n: u64,
    /// Share of right clips, 0 to 1.
    pub accuracy: f64,
    /// Label-weighted label-ranking average precision, of a report that has it.
    #[serde(default)]
    pub lwlrap: Option<f64>,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
}

impl Comparison {
    /// Reads `run.json`, `results.csv` and, when there is one, `report.json` of each run directory.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, by name; a run that was never evaluated is none.
    pub fn read<P: AsRef<Path>>(dirs: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let mut runs =
            dirs.into_iter().map(|dir| ComparedRun::read(dir.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut kinds: Vec<(String, String)> = Vec::new();
        for run in &mut runs {
            let kind = (run.info.manifest_sha256.clone(), run.info.protocol.clone());
            let known = kinds.iter().position(|k| *k == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            });
            run.data = letters(known);
        }
        Ok(Self { runs })
    }

    /// Why some of the figures cannot be compared; empty when all can.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.runs.iter().any(|run| run.data != "A") {
            warnings.push(
                "not comparable: these runs used different clips or splits; compare only runs with the same letter \
                 in the column data"
                    .to_owned(),
            );
        }
        for run in self.runs.iter().filter(|run| run.info.leaking) {
            warnings.push(format!("LEAKING SPLIT in {}: its figures are too good", run.dir));
        }
        warnings
    }

    /// A table for the terminal, one run a line. Control characters in names are not passed on.
    pub fn to_text(&self) -> String {
        let header = self.header().into_iter().map(str::to_owned).collect();
        let rows: Vec<Vec<String>> = std::iter::once(header).chain(self.cells()).collect();
        table(&rows, 2).join("\n")
    }

    /// One object a run: `run`, `name`, `model`, `parameters`, `data`, `leaking`, `epochs`, `best_epoch`,
    /// `seconds_per_epoch`, `seconds`, `valid_accuracy`, `valid_accuracy_interval`, `test_accuracy`,
    /// `test_accuracy_interval`, `valid_lwlrap`, `test_lwlrap`, `macro_f1`, `macro_f1_part`. What was not measured is
    /// null.
    pub fn to_json(&self) -> Vec<serde_json::Value> {
        self.runs.iter().map(ComparedRun::to_json).collect()
    }

    /// One self-contained page: the table and the validation curves of all runs in one plot each.
    pub fn to_html(&self) -> Result<String, Error> {
        let span = Some((0.0, 1.0));
        let mut plots = vec![
            safe(self.overlay("validation accuracy", span, |row| row.valid_accuracy)),
            safe(self.overlay("validation loss", None, |row| row.valid_loss)),
        ];
        if self.has_several_labels() {
            plots.insert(0, safe(self.overlay("validation lwlrap", span, |row| row.valid_lwlrap)));
        }
        let commands = self.runs.iter().map(|run| {
            context! { dir => run.dir.as_str(), protocol => run.info.protocol.as_str(), seed => run.info.seed,
            command => run.info.command.as_str(), leaking => run.info.leaking }
        });
        let values = context! {
            header => self.header(),
            rows => self.cells(),
            warnings => self.warnings(),
            plots => plots,
            runs => commands.collect::<Vec<_>>(),
        };
        render("compare.html", include_str!("compare.html"), values)
    }

    /// Whether any run is about clips with several labels: then there are columns for lwlrap.
    fn has_several_labels(&self) -> bool {
        self.runs.iter().any(|run| run.info.task == Task::MultiLabel)
    }

    fn header(&self) -> Vec<&'static str> {
        let mut header = HEADER.to_vec();
        if self.has_several_labels() {
            header.splice(LWLRAP_AT..LWLRAP_AT, ["valid lwlrap", "test lwlrap"]);
        }
        header
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let lwlrap = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.4}"));
        let cells = |run: &ComparedRun| {
            let mut cells = run.cells();
            if self.has_several_labels() {
                let more = [lwlrap(run.info.best_valid_lwlrap), lwlrap(run.test_lwlrap())];
                cells.splice(LWLRAP_AT..LWLRAP_AT, more);
            }
            cells
        };
        self.runs.iter().map(cells).collect()
    }

    fn overlay(&self, title: &str, y_span: Option<(f64, f64)>, value: impl Fn(&EpochRow) -> f64) -> String {
        let series = self.runs.iter().enumerate().map(|(i, run)| {
            let best = run.epochs.iter().find(|row| row.epoch == run.info.best_epoch);
            Series {
                name: run.dir.clone(),
                points: run.epochs.iter().map(|row| (row.epoch as f64, value(row))).collect(),
                color: series_color(i),
                dashed: i >= 10,
                mark: best.map(|row| {
                    let hint = format!("{}: epoch {} was kept: {:.3}", run.dir, row.epoch, value(row));
                    ((row.epoch as f64, value(row)), hint)
                }),
            }
        });
        LinePlot { title, x_label: "epoch", y_span, series: series.collect() }.render()
    }
}

const HEADER: [&str; 11] = [
    "run",
    "model",
    "data",
    "valid accuracy",
    "test accuracy",
    "macro F1",
    "parameters",
    "epochs",
    "best",
    "epoch time",
    "total time",
];

/// Before the accuracies.
const LWLRAP_AT: usize = 3;

fn dash() -> String {
    "–".to_owned()
}

impl ComparedRun {
    fn read(dir: &Path) -> Result<Self, Error> {
        let run_dir = RunDir::new(dir);
        let report = dir.join("report.json");
        Ok(Self {
            dir: printable(&dir.display().to_string()),
            info: read_json(&run_dir.info())?,
            epochs: results::read(&run_dir.results())?,
            report: if report.exists() { Some(read_json(&report)?) } else { None },
            data: String::new(),
        })
    }

    /// Accuracy of the kept epoch on validation, with its interval.
    fn valid(&self) -> Option<(f64, Interval)> {
        let accuracy = self.info.best_valid_accuracy?;
        Some((accuracy, interval(accuracy, self.info.clips.valid as u64)))
    }

    /// Accuracy on the test part, when the run was evaluated on it.
    fn test(&self) -> Option<(f64, Interval)> {
        let report = self.report.as_ref().filter(|report| report.part == "test")?;
        Some((report.accuracy, interval(report.accuracy, report.n)))
    }

    /// Lwlrap on the test part, when the run was evaluated on it.
    fn test_lwlrap(&self) -> Option<f64> {
        self.report.as_ref().filter(|report| report.part == "test")?.lwlrap
    }

    fn cells(&self) -> Vec<String> {
        let accuracy = |measured: Option<(f64, Interval)>| {
            measured.map_or_else(dash, |(share, i)| {
                format!("{} ({:.1}–{:.1})", percent(share), i.low * 100.0, i.high * 100.0)
            })
        };
        let info = &self.info;
        vec![
            self.dir.clone(),
            printable(&info.model),
            format!("{}{}", self.data, if info.leaking { " LEAKING" } else { "" }),
            accuracy(self.valid()),
            accuracy(self.test()),
            self.report.as_ref().map_or_else(dash, |r| format!("{:.3} ({})", r.macro_f1, printable(&r.part))),
            thousands(info.parameters),
            info.epochs.to_string(),
            info.best_epoch.to_string(),
            duration(info.seconds_per_epoch),
            duration(info.seconds),
        ]
    }

    fn to_json(&self) -> serde_json::Value {
        let (valid, test) = (self.valid(), self.test());
        json!({
            "run": self.dir,
            "name": self.info.name,
            "model": self.info.model,
            "parameters": self.info.parameters,
            "data": self.data,
            "leaking": self.info.leaking,
            "epochs": self.info.epochs,
            "best_epoch": self.info.best_epoch,
            "seconds_per_epoch": self.info.seconds_per_epoch,
            "seconds": self.info.seconds,
            "valid_accuracy": valid.map(|v| v.0),
            "valid_accuracy_interval": valid.map(|v| v.1),
            "test_accuracy": test.map(|t| t.0),
            "test_accuracy_interval": test.map(|t| t.1),
            "valid_lwlrap": self.info.best_valid_lwlrap,
            "test_lwlrap": self.test_lwlrap(),
            "macro_f1": self.report.as_ref().map(|r| r.macro_f1),
            "macro_f1_part": self.report.as_ref().map(|r| r.part.clone()),
        })
    }
}

fn interval(accuracy: f64, n: u64) -> Interval {
    wilson((accuracy * n as f64).round() as u64, n)
}

/// A, B … Z, then AA, AB …
fn letters(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8);
    if index < 26 { last.to_string() } else { format!("{}{last}", letters(index / 26 - 1)) }
}

#[cfg(test)]
mod tests {
    use super::super::plots::assert_well_formed;
    use super::*;
    use crate::training::ClipCounts;

    fn write_run(dir: &Path, model: &str, manifest: &str, leaking: bool, report: Option<&str>) {
        std::fs::create_dir_all(dir.join("weights")).unwrap();
        let info = RunInfo {
            name: model.into(),
            model: model.into(),
            parameters: 5_634_826,
            epochs: 3,
            best_epoch: 2,
            best_valid_accuracy: Some(0.8),
            seconds: 61.5,
            seconds_per_epoch: 20.5,
            protocol: "official folds".into(),
            leaking,
            manifest_sha256: manifest.into(),
            clips: ClipCounts { train: 80, valid: 10, test: 0 },
            ..Default::default()
        };
        std::fs::write(dir.join("run.json"), serde_json::to_vec(&info).unwrap()).unwrap();
        let rows: Vec<EpochRow> = (1..=3)
            .map(|epoch| EpochRow {
                epoch,
                time: 20.5,
                train_loss: 1.0,
                train_accuracy: 0.5,
                valid_loss: 1.2,
                valid_accuracy: 0.1 * epoch as f64,
                ..EpochRow::default()
            })
            .collect();
        results::write(&dir.join("results.csv"), &rows).unwrap();
        if let Some(part) = report {
            let text =
                json!({"part": part, "n": 100, "accuracy": 0.7, "macro_f1": 0.65, "more": 1}).to_string();
            std::fs::write(dir.join("report.json"), text).unwrap();
        }
    }

    #[test]
    fn several_labels_bring_their_own_columns() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["one", "two"].map(|name| root.path().join(name));
        dirs.iter().for_each(|dir| write_run(dir, "simple", "aa", false, None));
        let text = std::fs::read_to_string(dirs[0].join("run.json")).unwrap();
        let text = text.replace("single_label", "multi_label");
        let text = text.replace("\"best_valid_lwlrap\":null", "\"best_valid_lwlrap\":0.276");
        std::fs::write(dirs[0].join("run.json"), text).unwrap();
        let report = json!({"part": "test", "n": 9, "accuracy": 0.7, "macro_f1": 0.65, "lwlrap": 0.4313});
        std::fs::write(dirs[0].join("report.json"), report.to_string()).unwrap();
        let comparison = Comparison::read(&dirs).unwrap();
        let text = comparison.to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("data  valid lwlrap  test lwlrap "), "{text}");
        assert!(lines[1].contains("0.2760") && lines[1].contains("0.4313"), "{text}");
        assert_eq!(comparison.to_json()[0]["test_lwlrap"], 0.4313);
        assert!(comparison.to_html().unwrap().contains("validation lwlrap"));
    }

    #[test]
    fn puts_runs_side_by_side() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["one", "two"].map(|name| root.path().join(name));
        write_run(&dirs[0], "cnn", "aa", false, Some("test"));
        write_run(&dirs[1], "dense", "aa", false, None);
        let comparison = Comparison::read(&dirs).unwrap();
        assert!(comparison.warnings().is_empty());
        let text = comparison.to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("5,634,826") && lines[1].contains("80.0 % (49.0–94.3)"), "{text}");
        assert!(lines[1].contains("70.0 % (60.4–78.1)  0.650 (test)"), "{text}");
        assert!(lines[2].contains('–') && lines[2].ends_with("21 s  1 min 02 s"), "{text}");
        let json = comparison.to_json();
        assert_eq!(json[0]["test_accuracy"], 0.7);
        assert!(json[1]["test_accuracy"].is_null());
    }

    #[test]
    fn a_report_on_validation_is_no_test_accuracy() {
        let root = tempfile::tempdir().unwrap();
        write_run(root.path(), "cnn", "aa", false, Some("valid"));
        let comparison = Comparison::read([root.path()]).unwrap();
        assert!(comparison.to_json()[0]["test_accuracy"].is_null());
        assert!(comparison.to_text().contains("0.650 (valid)"));
    }

    #[test]
    fn flags_what_cannot_be_compared() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["a", "b", "c"].map(|name| root.path().join(name));
        write_run(&dirs[0], "cnn", "aa", false, None);
        write_run(&dirs[1], "cnn", "bb", true, None);
        write_run(&dirs[2], "cnn", "aa", false, None);
        let comparison = Comparison::read(&dirs).unwrap();
        assert_eq!(comparison.runs.iter().map(|r| r.data.as_str()).collect::<String>(), "ABA");
        let warnings = comparison.warnings().join("\n");
        assert!(warnings.contains("not comparable") && warnings.contains("LEAKING SPLIT in"), "{warnings}");
        let html = comparison.to_html().unwrap();
        assert!(html.contains("not comparable") && html.contains("B LEAKING"));
    }

    #[test]
    fn a_hostile_name_stays_text() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("<script>x<");
        write_run(&dir, "<img src=x>\u{1b}[2J", "aa", false, None);
        let comparison = Comparison::read([&dir]).unwrap();
        let html = comparison.to_html().unwrap();
        assert!(!html.contains("<script") && !html.contains("<img"));
        assert!(!comparison.to_text().contains('\u{1b}'));
        let svg = &html[html.find("<svg").unwrap()..];
        assert_well_formed(&svg[..svg.find("</svg>").unwrap() + 6]);
        assert_eq!(html, comparison.to_html().unwrap());
    }

    #[test]
    fn names_the_file_that_is_missing_or_broken() {
        let root = tempfile::tempdir().unwrap();
        let error = Comparison::read([root.path()]).unwrap_err().to_string();
        assert!(error.contains("run.json"), "{error}");
        write_run(root.path(), "cnn", "aa", false, None);
        std::fs::write(root.path().join("report.json"), "{").unwrap();
        let error = Comparison::read([root.path()]).unwrap_err().to_string();
        assert!(error.contains("report.json") && error.contains("finished run"), "{error}");
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 27].map(letters), ["A", "Z", "AA", "AB"]);
    }
}
