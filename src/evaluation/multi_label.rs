//! The report on clips with several labels.

use std::path::Path;

use minijinja::{Value, context};
use serde_json::json;

use super::page::{percent, render, safe};
use super::report::{
    FORMAT, ReportInput, SHOWN, check, class_row, curves, interval_text, protocol_json, protocol_rows,
    warnings, write_common,
};
use super::{Error, PredictionRow, plots};
use crate::files::write_file;
use crate::metrics::{
    self, ClassScores, ClassificationReport, Interval, Lwlrap, Overall, precision_sum, wilson,
};

/// Writes all files of [`super::write_report`] for clips with several labels.
pub(super) fn write(dir: &Path, input: &ReportInput) -> Result<(), Error> {
    let figures = Figures::new(input)?;
    write_common(dir, input, &figures.report)?;
    let write = |name: &str, text: &str| write_file(&dir.join(name), text).map_err(Error::io(dir.join(name)));
    write("report.json", &format!("{:#}\n", figures.json(input)))?;
    write("report.html", &figures.page(input)?)
}

/// What is computed from the predictions, once for all files.
struct Figures {
    report: ClassificationReport,
    micro_avg: ClassScores,
    samples_avg: ClassScores,
    lwlrap: Lwlrap,
    lwlrap_interval: Interval,
    average_precision: Vec<f64>,
    mean_average_precision: f64,
    log_loss: f64,
    accuracy: f64,
    top_5: Option<f64>,
    /// Clips without any accepted label.
    rejected: usize,
    /// Accepted labels of all clips.
    accepted: usize,
    warnings: Vec<String>,
}

impl Figures {
    fn new(input: &ReportInput) -> Result<Self, Error> {
        check(input)?;
        let predictions = input.predictions;
        let (scores, targets) = (predictions.scores(), predictions.targets());
        let classes = predictions.labels.len();
        let threshold = input.decision.threshold;
        let report = ClassificationReport::multi_label(&scores, &targets, threshold, &predictions.labels);
        let (micro_avg, samples_avg) = match report.overall {
            Overall::MultiLabel { micro_avg, samples_avg } => (micro_avg, samples_avg),
            Overall::SingleLabel { .. } => (report.macro_avg, report.macro_avg),
        };
        let average_precision = metrics::average_precision(&scores, &targets, classes);
        let measured: Vec<f64> = average_precision.iter().copied().filter(|ap| ap.is_finite()).collect();
        let accepted: Vec<usize> =
            predictions.rows.iter().map(|row| input.decision.accepted(&row.scores).len()).collect();
        Ok(Self {
            warnings: warnings(input, &report),
            report,
            micro_avg,
            samples_avg,
            lwlrap: Lwlrap::from_scores(&scores, &targets, classes),
            lwlrap_interval: Lwlrap::interval(&scores, &targets, classes, input.seed),
            mean_average_precision: measured.iter().sum::<f64>() / measured.len() as f64,
            average_precision,
            log_loss: metrics::binary_log_loss(&scores, &targets, classes),
            accuracy: metrics::accuracy(&scores, &targets, classes),
            top_5: (classes > 5).then(|| metrics::top_k_accuracy(&scores, &targets, classes, 5)),
            rejected: accepted.iter().filter(|labels| **labels == 0).count(),
            accepted: accepted.iter().sum(),
        })
    }

    fn json(&self, input: &ReportInput) -> serde_json::Value {
        let report = &self.report;
        let n = input.predictions.rows.len();
        let classes: Vec<_> = report
            .labels
            .iter()
            .zip(&report.classes)
            .enumerate()
            .map(|(class, (label, s))| {
                json!({"label": label, "lwlrap": self.lwlrap.of_class(class),
                       "average_precision": self.average_precision[class], "precision": s.precision,
                       "recall": s.recall, "f1-score": s.f1, "support": s.support})
            })
            .collect();
        let worst: Vec<_> = worst(input)
            .into_iter()
            .map(|clip| {
                json!({"path": clip.row.path, "true": clip.right, "predicted": clip.said, "lwlrap": clip.lwlrap})
            })
            .collect();
        json!({
            "format": FORMAT,
            "title": input.title,
            "part": input.part,
            "task": input.task.name(),
            "n": n,
            "lwlrap": self.lwlrap.value(),
            "lwlrap_interval": self.lwlrap_interval,
            "accuracy": self.accuracy,
            "accuracy_interval": wilson((self.accuracy * n as f64).round() as u64, n as u64),
            "top_5_accuracy": self.top_5,
            "mean_average_precision": self.mean_average_precision,
            "log_loss": self.log_loss,
            "macro_f1": report.macro_avg.f1,
            "micro_f1": self.micro_avg.f1,
            "weighted_f1": report.weighted_avg.f1,
            "leaking": input.leaking,
            "warnings": self.warnings,
            "protocol": protocol_json(input),
            "decision": {
                "threshold": input.decision.threshold,
                "indeterminate": input.decision.indeterminate,
                "indeterminate_count": self.rejected,
                "indeterminate_share": self.rejected as f64 / n as f64,
                "labels": self.accepted,
            },
            "classes": classes,
            "micro_avg": self.micro_avg,
            "macro_avg": report.macro_avg,
            "weighted_avg": report.weighted_avg,
            "samples_avg": self.samples_avg,
            "worst": worst,
            "best_epoch": input.best_epoch,
            "epochs": input.epochs,
        })
    }

    fn page(&self, input: &ReportInput) -> Result<String, Error> {
        let report = &self.report;
        let n = input.predictions.rows.len();
        let three = |value: f64| if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() };
        let class = |(class, (label, s)): (usize, (&String, &ClassScores))| {
            context! {
                lwlrap => three(self.lwlrap.of_class(class)),
                average_precision => three(self.average_precision[class]),
                scores => class_row(label, s),
            }
        };
        let values = context! {
            title => input.title,
            part => input.part,
            n => n,
            num_classes => report.labels.len(),
            labels => report.macro_avg.support,
            leaking => input.leaking,
            lwlrap => three(self.lwlrap.value()),
            interval => format!("{:.3}–{:.3}", self.lwlrap_interval.low, self.lwlrap_interval.high),
            tiles => self.tiles(n),
            warnings => self.warnings.clone(),
            protocol => protocol_rows(input),
            classes => report.labels.iter().zip(&report.classes).enumerate().map(class).collect::<Vec<_>>(),
            averages => report.averages().iter().map(|(name, s)| class_row(name, s)).collect::<Vec<_>>(),
            bars => safe(plots::f1_bars(report)),
            worst => worst(input).into_iter().map(|clip| context! {
                path => clip.row.path.as_str(),
                target => clip.right.join(", "),
                predicted => clip.said.iter().map(|(label, score)| format!("{label} {score:.3}")).collect::<Vec<_>>()
                    .join(", "),
                lwlrap => three(clip.lwlrap),
            }).collect::<Vec<_>>(),
            threshold => input.decision.threshold.to_string(),
            indeterminate => input.decision.indeterminate.as_str(),
            accepted => self.accepted,
            rejected => self.rejected,
            rejected_share => percent(self.rejected as f64 / n as f64),
            accuracy => percent(self.accuracy),
            accuracy_interval => interval_text(wilson((self.accuracy * n as f64).round() as u64, n as u64)),
            curves => curves(input),
        };
        render("multi_label.html", include_str!("multi_label.html"), values)
    }

    fn tiles(&self, n: usize) -> Vec<Value> {
        let top_5 = self.top_5.map(|share| (percent(share), "a label among the best five"));
        let tiles = [
            (format!("{:.3}", self.mean_average_precision), "mean average precision"),
            (percent(self.accuracy), "best score is a label of the clip"),
            (format!("{:.3}", self.report.macro_avg.f1), "macro F1"),
            (format!("{:.3}", self.micro_avg.f1), "micro F1"),
            (format!("{:.4}", self.log_loss), "log loss (nats, binary)"),
            (percent(self.rejected as f64 / n as f64), "without any label"),
        ];
        let tile = |(value, name)| context! { value => value, name => name };
        tiles.into_iter().chain(top_5).map(tile).collect()
    }
}

/// A clip with what was right and what came first.
struct Ranked<'a> {
    row: &'a PredictionRow,
    right: Vec<&'a str>,
    /// As many of the best labels as are right, with their scores.
    said: Vec<(&'a str, f32)>,
    lwlrap: f64,
}

/// The clips whose labels were ranked worst, at most [`SHOWN`]; equal ones in their order.
fn worst<'a>(input: &ReportInput<'a>) -> Vec<Ranked<'a>> {
    let labels = &input.predictions.labels;
    let ranked = |row: &'a PredictionRow| {
        let (sum, n) = precision_sum(&row.scores, &row.target);
        let right = labels.iter().zip(&row.target).filter(|(_, target)| **target > 0.5);
        let mut said: Vec<(&str, f32)> =
            labels.iter().map(String::as_str).zip(row.scores.iter().copied()).collect();
        said.sort_by(|a, b| b.1.total_cmp(&a.1));
        said.truncate(n);
        Ranked { row, right: right.map(|(label, _)| label.as_str()).collect(), said, lwlrap: sum / n as f64 }
    };
    let mut clips: Vec<Ranked> =
        input.predictions.rows.iter().map(ranked).filter(|clip| clip.lwlrap < 1.0).collect();
    clips.sort_by(|a, b| a.lwlrap.total_cmp(&b.lwlrap));
    clips.truncate(SHOWN);
    clips
}

#[cfg(test)]
mod tests {
    use super::super::{Predictions, protocol, write_report};
    use super::*;
    use crate::decision::{DecisionConfig, Task};
    use crate::seed::Seed;
    use crate::training::{EpochRow, RunInfo};

    fn report(dir: &Path, epochs: &[EpochRow]) -> serde_json::Value {
        let labels = ["<b>a</b>", "b", "c", "none"].map(str::to_owned);
        let paths = ["one.wav", "<script>.wav", "three.wav"].map(str::to_owned);
        let scores = [0.9, 0.8, 0.1, 0.2, 0.3, 0.9, 0.7, 0.1, 0.2, 0.4, 0.5, 0.3];
        let targets = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let predictions = Predictions::new(&labels, paths, &scores, &targets).unwrap();
        let run = RunInfo { name: "tagger".into(), task: Task::MultiLabel, ..Default::default() };
        let input = ReportInput {
            title: "tagger",
            part: "test",
            protocol: &protocol(&run),
            warnings: &[],
            leaking: false,
            task: Task::MultiLabel,
            seed: Seed(1),
            predictions: &predictions,
            epochs,
            best_epoch: Some(1),
            decision: &DecisionConfig::default(),
        };
        write_report(dir, &input).unwrap();
        serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
    }

    #[test]
    fn the_figures_are_those_of_the_predictions() {
        let dir = tempfile::tempdir().unwrap();
        let json = report(dir.path(), &[EpochRow { epoch: 1, ..EpochRow::default() }]);
        // Labels at places 1 and 2; 3 and 2 behind b; 1.
        let expected = (1.0 + 1.0 + 2.0 / 3.0 + 0.5 + 1.0) / 5.0;
        assert!((json["lwlrap"].as_f64().unwrap() - expected).abs() < 1e-12, "{json:#}");
        assert!((json["accuracy"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12);
        // At 0.6: a and b of the first are said and right, b of the second is wrong, its c right; a is missed; c of the third too.
        assert!((json["micro_f1"].as_f64().unwrap() - 2.0 * 3.0 / (4.0 + 5.0)).abs() < 1e-12);
        assert_eq!(json["decision"]["indeterminate_count"], 1);
        assert_eq!(json["decision"]["labels"], 4);
        assert_eq!(json["classes"][2]["support"], 2);
        assert!(json["classes"][3]["average_precision"].is_null());
        let worst = json["worst"].as_array().unwrap();
        assert_eq!((worst.len(), worst[0]["path"].as_str()), (1, Some("<script>.wav")));
        assert_eq!(worst[0]["true"], json!(["<b>a</b>", "c"]));
        assert!(json["warnings"][0].as_str().unwrap().contains("No clip of none"));
        let text = std::fs::read_to_string(dir.path().join("classification_report.txt")).unwrap();
        assert!(text.contains("samples avg") && !text.contains("accuracy"), "{text}");
        let csv = std::fs::read_to_string(dir.path().join("predictions.csv")).unwrap();
        assert!(csv.contains("one.wav,\"<b>a</b>,b\",\"<b>a</b>,b\",0.9,false,0.9,0.8,0.1,0.2"), "{csv}");
        assert!(dir.path().join("curves.svg").exists() && !dir.path().join("confusion_matrix.csv").exists());
    }

    #[test]
    fn the_page_is_whole_and_nothing_in_a_name_becomes_markup() {
        let dir = tempfile::tempdir().unwrap();
        report(dir.path(), &[]);
        let html = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>a</b>") && !html.contains("NaN"));
        assert!(html.contains("0.833") && html.contains("&lt;script&gt;.wav") && html.contains("</html>"));
        assert!(!html.contains("Learning curves"));
    }
}
