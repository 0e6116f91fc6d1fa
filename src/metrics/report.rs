//! scikit-learn's `classification_report`.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Confusion;
use super::confusion::ratio;
use crate::text::printable;

/// The last row, which is also the widest.
const LAST: &str = "weighted avg";

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
    /// Plain mean over the classes, those without clips included.
    pub macro_avg: ClassScores,
    /// Mean weighted by the number of clips.
    pub weighted_avg: ClassScores,
    /// What else there is, by the kind of labels.
    pub overall: Overall,
}

/// Figures over all clips.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Overall {
    /// Clips with one label.
    SingleLabel {
        /// Share of correct clips; NaN for no clip.
        accuracy: f64,
    },
    /// Clips with several labels.
    MultiLabel {
        /// All labels of all clips together, whatever the class.
        micro_avg: ClassScores,
        /// Mean over the clips.
        samples_avg: ClassScores,
    },
}

impl ClassificationReport {
    /// Of clips with one label. `labels` holds one name for each class of `confusion`.
    pub fn new(confusion: &Confusion, labels: &[String]) -> Self {
        assert_eq!(labels.len(), confusion.num_classes(), "one label for each class");
        let counts = |class| Counts {
            hits: confusion.count(class, class),
            support: confusion.support(class),
            said: confusion.predicted(class),
        };
        let counts: Vec<Counts> = (0..labels.len()).map(counts).collect();
        Self::of(labels, &counts, Overall::SingleLabel { accuracy: confusion.accuracy() })
    }

    /// Of clips with several labels, row-major `[n, num_classes]`: a score of at least `threshold` says that the clip
    /// carries the class, a target above 0.5 that it does.
    pub fn multi_label(scores: &[f32], targets: &[f32], threshold: f32, labels: &[String]) -> Self {
        assert_eq!(scores.len(), targets.len(), "scores and targets must have the same shape");
        let mut counts = vec![Counts::default(); labels.len()];
        let mut clips = Vec::new();
        let classes = labels.len().max(1);
        for (scores, target) in scores.chunks_exact(classes).zip(targets.chunks_exact(classes)) {
            let mut clip = Counts::default();
            for ((score, target), class) in scores.iter().zip(target).zip(&mut counts) {
                let one = Counts::of(*score >= threshold, *target > 0.5);
                clip.add(one);
                class.add(one);
            }
            clips.push(clip.scores());
        }
        let mut all = Counts::default();
        counts.iter().for_each(|class| all.add(*class));
        let overall = Overall::MultiLabel { micro_avg: all.scores(), samples_avg: average(&clips, |_| 1.0) };
        Self::of(labels, &counts, overall)
    }

    fn of(labels: &[String], counts: &[Counts], overall: Overall) -> Self {
        let classes: Vec<ClassScores> = counts.iter().map(Counts::scores).collect();
        Self {
            labels: labels.to_vec(),
            macro_avg: average(&classes, |_| 1.0),
            weighted_avg: average(&classes, |class| class.support as f64),
            classes,
            overall,
        }
    }

    /// The averages in scikit-learn's order, by its names.
    pub fn averages(&self) -> Vec<(&'static str, ClassScores)> {
        let (macro_avg, weighted_avg) = (("macro avg", self.macro_avg), (LAST, self.weighted_avg));
        match self.overall {
            Overall::SingleLabel { .. } => vec![macro_avg, weighted_avg],
            Overall::MultiLabel { micro_avg, samples_avg } => {
                vec![("micro avg", micro_avg), macro_avg, weighted_avg, ("samples avg", samples_avg)]
            }
        }
    }

    /// The table as text, byte for byte scikit-learn's (which uses `digits = 2`).
    /// Control characters in labels are shown as U+FFFD, so a label cannot break the table or a terminal.
    pub fn to_text(&self, digits: usize) -> String {
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
        if let Overall::SingleLabel { accuracy } = self.overall {
            let support = self.macro_avg.support;
            let _ = writeln!(
                text,
                "{:>width$}  {:>9} {:>9} {accuracy:>9.digits$} {support:>9}",
                "accuracy", "", ""
            );
        }
        self.averages().iter().for_each(|(name, scores)| row(&mut text, name, scores));
        text
    }

    /// The dictionary that scikit-learn gives for `output_dict=True`: an object with `precision`, `recall`,
    /// `f1-score` and `support` for each label, then `accuracy`, `macro avg` and `weighted avg`; for several labels a clip
    /// `micro avg`, `macro avg`, `weighted avg` and `samples avg`. As there, a label with one of these names loses its
    /// entry.
    pub fn to_json(&self) -> Value {
        let object = |s: &ClassScores| json!({"precision": s.precision, "recall": s.recall, "f1-score": s.f1, "support": s.support as f64});
        let mut report = Map::new();
        for (label, scores) in self.labels.iter().zip(&self.classes) {
            report.insert(label.clone(), object(scores));
        }
        if let Overall::SingleLabel { accuracy } = self.overall {
            report.insert("accuracy".to_owned(), json!(accuracy));
        }
        for (name, scores) in self.averages() {
            report.insert(name.to_owned(), object(&scores));
        }
        Value::Object(report)
    }
}

/// How often a class was right, there, and said.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    hits: u64,
    support: u64,
    said: u64,
}

impl Counts {
    fn of(said: bool, there: bool) -> Self {
        Self { hits: u64::from(said && there), support: u64::from(there), said: u64::from(said) }
    }

    fn add(&mut self, more: Self) {
        self.hits += more.hits;
        self.support += more.support;
        self.said += more.said;
    }

    fn scores(&self) -> ClassScores {
        ClassScores {
            precision: ratio(self.hits, self.said),
            recall: ratio(self.hits, self.support),
            f1: ratio(2 * self.hits, self.said + self.support),
            support: self.support,
        }
    }
}

/// Weighted mean; 0 when all weights are 0.
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
