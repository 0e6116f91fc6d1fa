//! One part's predictions → the files people keep.

use std::path::Path;

use minijinja::{Value, context};
use serde_json::json;

use super::page::{duration, percent, render, safe, thousands};
use super::plots::{self, Cells};
use super::{Error, PredictionRow, Predictions, multi_label};
use crate::decision::{DecisionConfig, Task};
use crate::files::write_file;
use crate::metrics::{self, ClassScores, ClassificationReport, Confusion, Interval, Lwlrap, argmax, wilson};
use crate::seed::Seed;
use crate::training::{EpochRow, RunInfo, StageInfo};

/// Format of `report.json`; a higher number means that a key changed its meaning.
pub(super) const FORMAT: u32 = 1;
/// Rows of the tables of mistakes in the page.
pub(super) const SHOWN: usize = 20;
/// Up to this many classes, both matrices stand side by side.
const FEW_CLASSES: usize = 15;

/// Everything a report says.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// Headline of the page, for instance the recipe's name.
    pub title: &'a str,
    /// Which part of the data this is: `valid` or `test`.
    pub part: &'a str,
    /// How the figures came about, in order; see [`protocol`].
    pub protocol: &'a [(String, String)],
    /// What a reader must know.
    pub warnings: &'a [String],
    /// Whether a group crosses the split: marked loudly.
    pub leaking: bool,
    /// Whether a clip has one label or several; decides which report is written.
    pub task: Task,
    /// Of the bootstrap.
    pub seed: Seed,
    /// The clips; with one label a clip, each has exactly one right label.
    pub predictions: &'a Predictions,
    /// Rows of `results.csv`; empty leaves the curves out.
    pub epochs: &'a [EpochRow],
    /// The epoch whose weights were used, from 1.
    pub best_epoch: Option<usize>,
    /// When a clip is answered with the word for indeterminate.
    pub decision: &'a DecisionConfig,
}

/// The protocol box of a trained run.
pub fn protocol(run: &RunInfo) -> Vec<(String, String)> {
    let parameters =
        format!("{} ({} trainable)", thousands(run.parameters), thousands(run.trainable_parameters));
    let clips = run.clips;
    let stages = run.stages.iter().map(stage).collect::<Vec<_>>().join("; ");
    let stages = (!stages.is_empty()).then_some(("stages", stages));
    let rows = [
        ("recipe", run.name.clone()),
        ("model", run.model.clone()),
        ("parameters", parameters),
        (
            "initial weights",
            run.started_from.as_ref().map_or_else(|| "random".to_owned(), ToString::to_string),
        ),
        ("split", run.protocol.clone()),
        ("clips", format!("{} train, {} valid, {} test", clips.train, clips.valid, clips.test)),
        ("manifest sha256", run.manifest_sha256.clone()),
        ("seed", run.seed.to_string()),
        ("epoch", format!("{} of {}, chosen on validation", run.best_epoch, run.epochs)),
        ("command", run.command.clone()),
        ("versions", format!("oido {}, burn {}", run.versions.oido, run.versions.burn)),
        ("device", run.device.clone()),
        ("training time", format!("{}, {} an epoch", duration(run.seconds), duration(run.seconds_per_epoch))),
    ];
    rows.into_iter().chain(stages).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A stage of training in a few words.
fn stage(stage: &StageInfo) -> String {
    let (clips, trainable) = (stage.clips, thousands(stage.trainable_parameters));
    format!("{}: {clips} clips, {trainable} trainable, epoch {} kept", stage.name, stage.best_epoch)
}

/// Writes the report of one part of the data into `dir`, which is created when missing.
///
/// | file | what |
/// |---|---|
/// | `report.html` | all of it on one page, without scripts or anything from elsewhere |
/// | `report.json` | the figures for machines; keys below |
/// | `predictions.csv` | [`Predictions::write`] |
/// | `classification_report.{txt,json}` | [`ClassificationReport`], scikit-learn's layout |
/// | `confusion_matrix.{csv,svg}` | clips; rows true, columns predicted; one label a clip only |
/// | `confusion_matrix_normalized.{csv,svg}` | shares of the true class; one label a clip only |
/// | `curves.svg` | loss and accuracy (several labels a clip: lwlrap) by epoch, when there are epochs |
///
/// Keys of `report.json`: `format` (1), `title`, `part`, `task`, `n`, `accuracy`, `accuracy_interval` {`low`, `high`}
/// (Wilson, 95 %), `top_5_accuracy` (null up to five classes), `lwlrap`, `log_loss` (nats), `macro_f1`, `weighted_f1`,
/// `leaking`, `warnings`, `protocol` (object of texts), `decision` {`threshold`, `indeterminate`,
/// `indeterminate_count`, `indeterminate_share`, `accepted`, `accepted_accuracy`, `accepted_interval`}, `classes`
/// [{`label`, `precision`, `recall`, `f1-score`, `support`}], `macro_avg`, `weighted_avg`, `confusion_matrix`
/// (counts, `[true][predicted]`), `mistakes` [{`true`, `predicted`, `count`, `share`}] (most frequent first),
/// `best_epoch`, `epochs` (rows of `results.csv`). What was not measured is null.
///
/// With several labels a clip, `accuracy` is the share of clips whose best score is that of one of their labels and
/// `log_loss` the binary cross-entropy; there are also `lwlrap_interval` (bootstrap, 95 %), `mean_average_precision`,
/// `micro_f1`, `micro_avg` and `samples_avg`, `lwlrap` and `average_precision` of each class, `decision.labels` (labels
/// that reach the threshold, over all clips) and `worst` [{`path`, `true`, `predicted`, `lwlrap`}], the clips that were
/// ranked worst; there are no `accepted` figures, no `confusion_matrix` and no `mistakes`.
///
/// # Errors
///
/// [`Error::Prediction`] for no clips, or, with one label a clip, for a clip without exactly one; [`Error::Io`].
pub fn write_report(dir: &Path, input: &ReportInput) -> Result<(), Error> {
    match input.task {
        Task::SingleLabel => write_single_label(dir, input),
        Task::MultiLabel => multi_label::write(dir, input),
    }
}

fn write_single_label(dir: &Path, input: &ReportInput) -> Result<(), Error> {
    let figures = Figures::new(input)?;
    let labels = &input.predictions.labels;
    let matrix = plots::confusion_matrix(&figures.confusion, labels, Cells::Counts);
    let normalized = plots::confusion_matrix(&figures.confusion, labels, Cells::Normalized);

    write_common(dir, input, &figures.report)?;
    let write = |name: &str, text: &str| write_file(&dir.join(name), text).map_err(Error::io(dir.join(name)));
    write_matrix(&dir.join("confusion_matrix.csv"), labels, |t, p| {
        figures.confusion.count(t, p).to_string()
    })?;
    write("confusion_matrix.svg", &matrix)?;
    write_matrix(&dir.join("confusion_matrix_normalized.csv"), labels, |t, p| {
        format!("{:?}", figures.confusion.share(t, p))
    })?;
    write("confusion_matrix_normalized.svg", &normalized)?;
    write("report.json", &format!("{:#}\n", figures.json(input)))?;
    write("report.html", &figures.page(input, &matrix, &normalized)?)
}

/// The files that every report has, but for the report itself.
pub(super) fn write_common(
    dir: &Path,
    input: &ReportInput,
    report: &ClassificationReport,
) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let write = |name: &str, text: &str| write_file(&dir.join(name), text).map_err(Error::io(dir.join(name)));
    input.predictions.write(&dir.join("predictions.csv"), input.task, input.decision)?;
    write("classification_report.txt", &report.to_text(2))?;
    write("classification_report.json", &format!("{:#}\n", report.to_json()))?;
    if !input.epochs.is_empty() {
        write("curves.svg", &plots::curves(input.epochs, input.best_epoch, input.task))?;
    }
    Ok(())
}

/// The protocol as an object of texts.
pub(super) fn protocol_json(input: &ReportInput) -> serde_json::Map<String, serde_json::Value> {
    input.protocol.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

/// The learning curves for a page; none without epochs.
pub(super) fn curves(input: &ReportInput) -> Vec<Value> {
    if input.epochs.is_empty() {
        return Vec::new();
    }
    vec![
        safe(plots::loss_curves(input.epochs, input.best_epoch)),
        safe(plots::figure_curves(input.epochs, input.best_epoch, input.task)),
    ]
}

/// The protocol for a page.
pub(super) fn protocol_rows(input: &ReportInput) -> Vec<Value> {
    input.protocol.iter().map(|(name, value)| context! { name => name, value => value }).collect()
}

/// What is computed from the predictions, once for all files.
struct Figures {
    confusion: Confusion,
    report: ClassificationReport,
    log_loss: f64,
    top_5: Option<f64>,
    lwlrap: f64,
    accepted: u64,
    accepted_right: u64,
    warnings: Vec<String>,
}

impl Figures {
    fn new(input: &ReportInput) -> Result<Self, Error> {
        let predictions = input.predictions;
        check(input)?;
        let (scores, targets) = (predictions.scores(), predictions.targets());
        let num_classes = predictions.labels.len();
        let confusion = Confusion::from_scores(&scores, &targets, num_classes);
        let (mut accepted, mut accepted_right) = (0, 0);
        for row in &predictions.rows {
            if let Some(decided) = input.decision.decide(&row.scores).filter(|d| !d.indeterminate) {
                accepted += 1;
                accepted_right += u64::from(decided.index == argmax(&row.target));
            }
        }
        let report = ClassificationReport::new(&confusion, &predictions.labels);
        Ok(Self {
            log_loss: metrics::log_loss(&scores, &targets, num_classes),
            top_5: (num_classes > 5).then(|| metrics::top_k_accuracy(&scores, &targets, num_classes, 5)),
            lwlrap: Lwlrap::from_scores(&scores, &targets, num_classes).value(),
            accepted,
            accepted_right,
            warnings: warnings(input, &report),
            report,
            confusion,
        })
    }

    fn accepted_interval(&self) -> Interval {
        wilson(self.accepted_right, self.accepted)
    }

    fn accepted_accuracy(&self) -> f64 {
        self.accepted_right as f64 / self.accepted as f64
    }

    fn json(&self, input: &ReportInput) -> serde_json::Value {
        let labels = &input.predictions.labels;
        let (confusion, report) = (&self.confusion, &self.report);
        let total = confusion.total();
        let rejected = total - self.accepted;
        let n = 0..labels.len();
        let classes: Vec<_> = labels
            .iter()
            .zip(&report.classes)
            .map(|(label, s)| {
                json!({"label": label, "precision": s.precision, "recall": s.recall, "f1-score": s.f1,
                       "support": s.support})
            })
            .collect();
        let mistakes: Vec<_> = confusion
            .mistakes()
            .iter()
            .map(|pair| {
                json!({"true": labels[pair.target], "predicted": labels[pair.predicted], "count": pair.count,
                       "share": confusion.share(pair.target, pair.predicted)})
            })
            .collect();
        let matrix: Vec<Vec<u64>> =
            n.clone().map(|t| n.clone().map(|p| confusion.count(t, p)).collect()).collect();
        json!({
            "format": FORMAT,
            "title": input.title,
            "part": input.part,
            "task": input.task.name(),
            "n": total,
            "accuracy": confusion.accuracy(),
            "accuracy_interval": confusion.interval(),
            "top_5_accuracy": self.top_5,
            "lwlrap": self.lwlrap,
            "log_loss": self.log_loss,
            "macro_f1": report.macro_avg.f1,
            "weighted_f1": report.weighted_avg.f1,
            "leaking": input.leaking,
            "warnings": self.warnings,
            "protocol": protocol_json(input),
            "decision": {
                "threshold": input.decision.threshold,
                "indeterminate": input.decision.indeterminate,
                "indeterminate_count": rejected,
                "indeterminate_share": rejected as f64 / total as f64,
                "accepted": self.accepted,
                "accepted_accuracy": self.accepted_accuracy(),
                "accepted_interval": self.accepted_interval(),
            },
            "classes": classes,
            "macro_avg": report.macro_avg,
            "weighted_avg": report.weighted_avg,
            "confusion_matrix": matrix,
            "mistakes": mistakes,
            "best_epoch": input.best_epoch,
            "epochs": input.epochs,
        })
    }

    fn page(&self, input: &ReportInput, matrix: &str, normalized: &str) -> Result<String, Error> {
        let labels = &input.predictions.labels;
        let (confusion, report) = (&self.confusion, &self.report);
        let total = confusion.total();
        let mistakes = confusion.mistakes();
        let values = context! {
            title => input.title,
            part => input.part,
            n => total,
            num_classes => labels.len(),
            leaking => input.leaking,
            accuracy => percent(confusion.accuracy()),
            accuracy_number => format!("{:.2}", confusion.accuracy()),
            interval => interval_text(confusion.interval()),
            tiles => self.tiles(),
            warnings => self.warnings.clone(),
            protocol => protocol_rows(input),
            classes => labels.iter().zip(&report.classes).map(|(label, s)| class_row(label, s)).collect::<Vec<_>>(),
            averages => report.averages().iter().map(|(name, s)| class_row(name, s)).collect::<Vec<_>>(),
            bars => safe(plots::f1_bars(report)),
            few => labels.len() <= FEW_CLASSES,
            matrix => safe(matrix),
            matrix_normalized => safe(normalized),
            mistakes => mistakes.iter().take(SHOWN).map(|pair| context! {
                target => labels[pair.target].as_str(),
                predicted => labels[pair.predicted].as_str(),
                count => pair.count,
                share => percent(confusion.share(pair.target, pair.predicted)),
            }).collect::<Vec<_>>(),
            confident => confident_mistakes(input.predictions).into_iter().map(|row| context! {
                path => row.path.as_str(),
                target => labels[argmax(&row.target)].as_str(),
                predicted => labels[argmax(&row.scores)].as_str(),
                score => format!("{:.3}", best_score(row)),
            }).collect::<Vec<_>>(),
            threshold => input.decision.threshold.to_string(),
            indeterminate => input.decision.indeterminate.as_str(),
            indeterminate_count => total - self.accepted,
            indeterminate_share => percent((total - self.accepted) as f64 / total as f64),
            accepted => self.accepted,
            accepted_accuracy => percent(self.accepted_accuracy()),
            accepted_interval => interval_text(self.accepted_interval()),
            curves => curves(input),
        };
        render("report.html", include_str!("report.html"), values)
    }

    fn tiles(&self) -> Vec<Value> {
        let total = self.confusion.total();
        let top_5 = self.top_5.map(|share| (percent(share), "right answer among the best five"));
        let tiles = [
            (format!("{:.3}", self.report.macro_avg.f1), "macro F1"),
            (format!("{:.3}", self.log_loss), "log loss (nats)"),
            (percent((total - self.accepted) as f64 / total as f64), "indeterminate"),
            (percent(self.accepted_accuracy()), "accuracy on accepted clips"),
        ];
        tiles
            .into_iter()
            .chain(top_5)
            .map(|(value, name)| context! { value => value, name => name })
            .collect()
    }
}

/// Refuses what has no report.
pub(super) fn check(input: &ReportInput) -> Result<(), Error> {
    let predictions = input.predictions;
    let refuse = |clip: &str, reason: String| Error::Prediction { clip: clip.to_owned(), reason };
    if predictions.rows.is_empty() {
        return Err(refuse(
            "the predictions",
            "no clip was evaluated; is this part of the split empty?".to_owned(),
        ));
    }
    for row in &predictions.rows {
        let num_classes = predictions.labels.len();
        if row.scores.len() != num_classes || row.target.len() != num_classes {
            return Err(refuse(&row.path, format!("has not one score for each of the {num_classes} labels")));
        }
        let right = row.target.iter().filter(|target| **target > 0.5).count();
        if input.task == Task::SingleLabel && right != 1 {
            return Err(refuse(
                &row.path,
                format!("has {right} right labels; this report needs exactly one a clip"),
            ));
        }
    }
    Ok(())
}

/// The caller's warnings and those that the clips themselves give.
pub(super) fn warnings(input: &ReportInput, report: &ClassificationReport) -> Vec<String> {
    let mut warnings = input.warnings.to_vec();
    if input.part == "valid" && !input.epochs.is_empty() {
        warnings.push(
            "The epoch was chosen on these validation clips, so these figures are a little too good; a test part \
             gives unbiased ones."
                .to_owned(),
        );
    }
    let absent: Vec<&str> = report
        .labels
        .iter()
        .zip(&report.classes)
        .filter(|(_, class)| class.support == 0)
        .map(|(label, _)| label.as_str())
        .collect();
    if !absent.is_empty() {
        warnings.push(format!(
            "No clip of {} is in this part: recall and F1 count as 0 there and lower the macro averages.",
            absent.join(", ")
        ));
    }
    let broken =
        input.predictions.rows.iter().filter(|row| row.scores.iter().any(|s| !s.is_finite())).count();
    if broken > 0 {
        warnings.push(format!("{broken} clips have scores that are no numbers."));
    }
    warnings
}

/// The mistakes with the highest scores, at most [`SHOWN`]; equal scores in the order of the clips.
fn confident_mistakes(predictions: &Predictions) -> Vec<&PredictionRow> {
    let mut wrong: Vec<&PredictionRow> =
        predictions.rows.iter().filter(|row| argmax(&row.scores) != argmax(&row.target)).collect();
    wrong.sort_by(|a, b| best_score(b).total_cmp(&best_score(a)));
    wrong.truncate(SHOWN);
    wrong
}

pub(super) fn best_score(row: &PredictionRow) -> f32 {
    row.scores[argmax(&row.scores)]
}

pub(super) fn class_row(name: &str, s: &ClassScores) -> Value {
    let two = |value: f64| format!("{value:.2}");
    context! { name => name, precision => two(s.precision), recall => two(s.recall), f1 => two(s.f1),
    support => s.support }
}

pub(super) fn interval_text(interval: Interval) -> String {
    format!("{:.1}–{:.1} %", interval.low * 100.0, interval.high * 100.0)
}

/// Writes a header of labels, then a row for each true class.
fn write_matrix(path: &Path, labels: &[String], cell: impl Fn(usize, usize) -> String) -> Result<(), Error> {
    let csv_error = |e: csv::Error| Error::io(path)(std::io::Error::other(e));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = std::iter::once("true\\predicted").chain(labels.iter().map(String::as_str));
    writer.write_record(header).map_err(csv_error)?;
    for (target, label) in labels.iter().enumerate() {
        let cells = (0..labels.len()).map(|predicted| cell(target, predicted));
        writer.write_record(std::iter::once(label.clone()).chain(cells)).map_err(csv_error)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
    write_file(path, bytes).map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::super::plots::assert_well_formed;
    use super::*;

    /// `n` clips a class, every third of them taken for the next class.
    fn predictions(labels: Vec<String>, n: usize) -> Predictions {
        let classes = labels.len();
        let (mut scores, mut targets, mut paths) = (Vec::new(), Vec::new(), Vec::new());
        for class in 0..classes {
            for clip in 0..n {
                let said = if clip % 3 == 2 { (class + 1) % classes } else { class };
                let best = 0.5 + 0.5 * (clip + 1) as f32 / (n + 1) as f32;
                let rest = (1.0 - best) / (classes - 1) as f32;
                scores.extend((0..classes).map(|i| if i == said { best } else { rest }));
                targets.extend((0..classes).map(|i| f32::from(u8::from(i == class))));
                paths.push(format!("<script>alert({class})</script>/{clip}\".wav"));
            }
        }
        Predictions::new(&labels, paths, &scores, &targets).unwrap()
    }

    fn epochs() -> Vec<EpochRow> {
        (1..=12)
            .map(|epoch| EpochRow {
                epoch,
                time: 2.0,
                train_loss: 2.3 / f64::from(u32::try_from(epoch).unwrap()).sqrt(),
                train_accuracy: 1.0 - 0.9 / epoch as f64,
                valid_loss: 2.4 / f64::from(u32::try_from(epoch.min(8)).unwrap()).sqrt(),
                valid_accuracy: 0.9 - 0.8 / epoch as f64,
                ..EpochRow::default()
            })
            .collect()
    }

    fn write(dir: &Path, predictions: &Predictions, leaking: bool, epochs: &[EpochRow]) -> Result<(), Error> {
        let run =
            RunInfo { name: "cnn <b>".into(), command: "oido train \"x\"".into(), ..Default::default() };
        write_report(
            dir,
            &ReportInput {
                title: "cnn <script>title</script>",
                part: "valid",
                protocol: &protocol(&run),
                warnings: &["<img src=x> is no warning".to_owned()],
                leaking,
                task: Task::SingleLabel,
                seed: Seed(0),
                predictions,
                epochs,
                best_epoch: Some(8),
                decision: &DecisionConfig::default(),
            },
        )
    }

    fn read(dir: &Path, name: &str) -> String {
        std::fs::read_to_string(dir.join(name)).unwrap()
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn nothing_in_a_name_becomes_markup() {
        let dir = tempfile::tempdir().unwrap();
        let labels = vec!["<script>alert(1)</script>".to_owned(), "\"quoted\" & 'more'\n".to_owned()];
        write(dir.path(), &predictions(labels, 6), true, &epochs()).unwrap();
        let html = read(dir.path(), "report.html");
        for forbidden in ["<script", "<img", "alert(1)</script>", "http:", "https:"] {
            let allowed = html.matches("http://www.w3.org/2000/svg").count();
            let found = html.matches(forbidden).count();
            assert_eq!(found, if forbidden == "http:" { allowed } else { 0 }, "{forbidden}");
        }
        assert!(html.contains("&lt;script&gt;alert(1)"));
        for name in ["confusion_matrix.svg", "confusion_matrix_normalized.svg", "curves.svg"] {
            assert_well_formed(&read(dir.path(), name));
        }
    }

    #[test]
    fn a_leaking_split_is_marked_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &predictions(names(3), 6), true, &epochs()).unwrap();
        assert!(read(dir.path(), "report.html").contains("LEAKING SPLIT"));
        assert!(read(dir.path(), "report.json").contains("\"leaking\": true"));
        write(dir.path(), &predictions(names(3), 6), false, &epochs()).unwrap();
        assert!(!read(dir.path(), "report.html").contains("LEAKING"));
    }

    #[test]
    fn the_figures_are_those_of_the_predictions() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &predictions(names(6), 6), false, &epochs()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&read(dir.path(), "report.json")).unwrap();
        assert_eq!(json["n"], 36);
        assert_eq!(json["confusion_matrix"][5], json!([2, 0, 0, 0, 0, 4]));
        assert_eq!(
            json["mistakes"][0],
            json!({"true": "class 0", "predicted": "class 1", "count": 2, "share": 1.0 / 3.0})
        );
        // Best scores 0.571, 0.643, 0.714, 0.786, 0.857, 0.929 of each class: the first is below 0.6.
        assert_eq!(json["decision"]["indeterminate_count"], 6);
        assert_eq!(json["decision"]["accepted"], 30);
        assert!((json["decision"]["accepted_accuracy"].as_f64().unwrap() - 0.6).abs() < 1e-12);
        assert!((json["accuracy"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!(json["accuracy_interval"]["low"].as_f64().unwrap() < 0.51);
        assert_eq!(json["epochs"][11]["val/accuracy"], json!(0.9 - 0.8 / 12.0));
        assert_eq!(Predictions::read(&dir.path().join("predictions.csv")).unwrap(), predictions(names(6), 6));
        let csv = read(dir.path(), "confusion_matrix.csv");
        assert!(
            csv.starts_with("true\\predicted,class 0,") && csv.contains("\nclass 5,2,0,0,0,0,4\n"),
            "{csv}"
        );
        assert!(read(dir.path(), "classification_report.txt").contains("weighted avg       0.67"));
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        dirs.iter().for_each(|dir| write(dir.path(), &predictions(names(12), 7), false, &epochs()).unwrap());
        let mut files = 0;
        for entry in std::fs::read_dir(dirs[0].path()).unwrap() {
            let name = entry.unwrap().file_name();
            let bytes = |i: usize| std::fs::read(dirs[i].path().join(&name)).unwrap();
            assert!(bytes(0) == bytes(1), "{name:?} differs");
            files += 1;
        }
        assert_eq!(files, 10);
    }

    #[test]
    fn eighty_long_labels_and_no_epochs_do_not_break_it() {
        let dir = tempfile::tempdir().unwrap();
        let labels = (0..80).map(|i| format!("{i:02}{}", "_long".repeat(40))).collect();
        write(dir.path(), &predictions(labels, 3), false, &[]).unwrap();
        assert_well_formed(&read(dir.path(), "confusion_matrix.svg"));
        assert!(!dir.path().join("curves.svg").exists());
        assert!(!read(dir.path(), "report.html").contains("Learning curves"));
    }

    #[test]
    fn nothing_accepted_is_null_and_a_dash() {
        let dir = tempfile::tempdir().unwrap();
        let unsure = Predictions::new(&names(2), ["a".to_owned()], &[0.55, 0.45], &[1.0, 0.0]).unwrap();
        write(dir.path(), &unsure, false, &[]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&read(dir.path(), "report.json")).unwrap();
        assert!(json["decision"]["accepted_accuracy"].is_null());
        let html = read(dir.path(), "report.html");
        assert!(html.contains("No clip of class 1 is in this part") && !html.contains("NaN"));
    }

    #[test]
    fn refuses_what_has_no_report() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |p: &Predictions| write(dir.path(), p, false, &[]).unwrap_err().to_string();
        assert!(refused(&Predictions { labels: names(2), rows: vec![] }).contains("no clip was evaluated"));
        let two = Predictions::new(&names(2), ["two.wav".to_owned()], &[0.5, 0.5], &[1.0, 1.0]).unwrap();
        assert!(refused(&two).contains("two.wav: has 2 right labels"));
        let row = PredictionRow { path: "short.wav".into(), target: vec![1.0, 0.0], scores: vec![1.0] };
        assert!(refused(&Predictions { labels: names(2), rows: vec![row] }).contains("short.wav"));
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "a refusal writes nothing");
    }

    #[test]
    fn broken_scores_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let nan = Predictions::new(&names(2), ["a".to_owned()], &[f32::NAN, 0.45], &[1.0, 0.0]).unwrap();
        write(dir.path(), &nan, false, &[]).unwrap();
        assert!(read(dir.path(), "report.html").contains("1 clips have scores that are no numbers"));
        serde_json::from_str::<serde_json::Value>(&read(dir.path(), "report.json")).unwrap();
    }
}
