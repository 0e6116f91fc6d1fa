//! scikit-learn's `classification_report`.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Confusion;
use super::confusion::ratio;
use crate::text::printable;

/// Precision, recall, F1 and number of clips of one class, or an average over classes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ClassScores {
    /// Share of the clips given this class that belong to it; 0 when none was given it.
    pub precision: f64,
    /// Share of the clips of this class that were found; 0 when there is none.
    pub recall: f64,
    /// Harmonic mean of both; 0 when both are 0.
    #[serde(rename = "f1-score")]
    pub f1: f64,
    /// Number of clips of this class.
    pub support: u64,
}

/// Precision, recall and F1 of every class with their averages, in the layout of scikit-learn 1.9
/// (`sklearn.metrics.classification_report(..., labels=all, zero_division=0)`).
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationReport {
    /// Names, in class order.
    pub labels: Vec<String>,
    /// One for each label.
    pub classes: Vec<ClassScores>,
    /// Share of correct clips; NaN for no clip.
    pub accuracy: f64,
    /// Plain mean over the classes, those without clips included.
    pub macro_avg: ClassScores,
    /// Mean weighted by the number of clips.
    pub weighted_avg: ClassScores,
}

impl ClassificationReport {
    /// `labels` holds one name for each class of `confusion`.
    pub fn new(confusion: &Confusion, labels: &[String]) -> Self {
        assert_eq!(labels.len(), confusion.num_classes(), "one label for each class");
        let classes: Vec<ClassScores> =
            (0..labels.len()).map(|class| class_scores(confusion, class)).collect();
        Self {
            labels: labels.to_vec(),
            accuracy: confusion.accuracy(),
            macro_avg: average(&classes, |_| 1.0),
            weighted_avg: average(&classes, |class| class.support as f64),
            classes,
        }
    }

    /// The table as text, byte for byte scikit-learn's (which uses `digits = 2`).
    /// Control characters in labels are shown as U+FFFD, so a label cannot break the table or a terminal.
    pub fn to_text(&self, digits: usize) -> String {
        const LAST: &str = "weighted avg";
        let names: Vec<String> = self.labels.iter().map(|label| printable(label)).collect();
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = longest.max(LAST.len()).max(digits);

        let mut text = format!(
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n\n",
            "", "precision", "recall", "f1-score", "support"
        );
        let row = |text: &mut String, name: &str, s: &ClassScores| {
            let ClassScores { precision, recall, f1, support } = s;
            let _ = writeln!(
                text,
                "{name:>width$}  {precision:>9.digits$} {recall:>9.digits$} {f1:>9.digits$} {support:>9}"
            );
        };
        for (name, scores) in names.iter().zip(&self.classes) {
            row(&mut text, name, scores);
        }
        text.push('\n');
        let (accuracy, support) = (self.accuracy, self.macro_avg.support);
        let _ =
            writeln!(text, "{:>width$}  {:>9} {:>9} {accuracy:>9.digits$} {support:>9}", "accuracy", "", "");
        row(&mut text, "macro avg", &self.macro_avg);
        row(&mut text, LAST, &self.weighted_avg);
        text
    }

    /// The dictionary that scikit-learn gives for `output_dict=True`: an object with `precision`, `recall`,
    /// `f1-score` and `support` for each label, then `accuracy`, `macro avg` and `weighted avg`.
    /// As there, a label with one of these three names loses its entry.
    pub fn to_json(&self) -> Value {
        let object = |s: &ClassScores| json!({"precision": s.precision, "recall": s.recall, "f1-score": s.f1, "support": s.support as f64});
        let mut report = Map::new();
        for (label, scores) in self.labels.iter().zip(&self.classes) {
            report.insert(label.clone(), object(scores));
        }
        report.insert("accuracy".to_owned(), json!(self.accuracy));
        report.insert("macro avg".to_owned(), object(&self.macro_avg));
        report.insert("weighted avg".to_owned(), object(&self.weighted_avg));
        Value::Object(report)
    }
}

fn class_scores(confusion: &Confusion, class: usize) -> ClassScores {
    let (hits, support, predicted) =
        (confusion.count(class, class), confusion.support(class), confusion.predicted(class));
    ClassScores {
        precision: ratio(hits, predicted),
        recall: ratio(hits, support),
        f1: ratio(2 * hits, predicted + support),
        support,
    }
}

/// Weighted mean of the classes; 0 when all weights are 0.
fn average(classes: &[ClassScores], weight: impl Fn(&ClassScores) -> f64) -> ClassScores {
    let total: f64 = classes.iter().map(&weight).sum();
    let mean = |value: fn(&ClassScores) -> f64| {
        let sum: f64 = classes.iter().map(|class| value(class) * weight(class)).sum();
        if total > 0.0 { sum / total } else { 0.0 }
    };
    ClassScores {
        precision: mean(|c| c.precision),
        recall: mean(|c| c.recall),
        f1: mean(|c| c.f1),
        support: classes.iter().map(|c| c.support).sum(),
    }
}
