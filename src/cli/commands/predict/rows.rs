//! Answers → lines of text.

use serde::Serialize;

use super::Format;
use super::inputs::Input;
use crate::bundle::{Error, Prediction, WindowPrediction};
use crate::dataset::Labels;
use crate::text::printable;

/// Widest column of names in a table, in characters.
const MAX_WIDTH: usize = 48;

/// One line of the answer.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Good(Box<Prediction>),
    Bad { error: String },
}

impl Row {
    pub(super) fn one(input: &Input, prediction: Prediction) -> Self {
        let start = input.start;
        let end = start.map(|start| start + prediction.seconds);
        Self { path: input.name.clone(), start, end, outcome: Outcome::Good(Box::new(prediction)) }
    }

    pub(super) fn window(input: &Input, window: WindowPrediction) -> Self {
        let (start, end) = (Some(window.start), Some(window.end));
        Self { path: input.name.clone(), start, end, outcome: Outcome::Good(Box::new(window.prediction)) }
    }

    pub(super) fn bad(input: &Input, error: &Error) -> Self {
        let outcome = Outcome::Bad { error: error.to_string() };
        Self { path: input.name.clone(), start: input.start, end: None, outcome }
    }

    /// Why the recording could not be used.
    pub(super) fn error(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Good(_) => None,
            Outcome::Bad { error } => Some(error),
        }
    }
}

/// Writes rows in one format.
pub(super) struct Rows {
    format: Format,
    top_k: usize,
    path_width: usize,
    label_width: usize,
}

impl Rows {
    pub(super) fn new(format: Format, top_k: usize, inputs: &[Input], labels: &Labels) -> Self {
        let width = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|t| printable(t).chars().count()).max().unwrap_or(0).min(MAX_WIDTH)
        };
        Self {
            format,
            top_k,
            path_width: width(&mut inputs.iter().map(|input| input.name.as_str())).max("recording".len()),
            label_width: width(&mut labels.names().iter().map(String::as_str)).max("indeterminate".len()),
        }
    }

    /// The first line; empty when the format has none.
    pub(super) fn header(&self) -> String {
        match self.format {
            Format::Json => String::new(),
            Format::Table => format!(
                "{:<path$}  {:>9}  {:<label$}  {:>6}  best scores",
                "recording",
                "seconds",
                "label",
                "score",
                path = self.path_width,
                label = self.label_width
            ),
            Format::Csv => {
                let mut header: Vec<String> =
                    ["path", "start", "end", "label", "score", "indeterminate", "seconds", "truncated"]
                        .map(str::to_owned)
                        .to_vec();
                for rank in 1..=self.top_k {
                    header.extend([format!("label_{rank}"), format!("score_{rank}")]);
                }
                header.push("error".to_owned());
                csv_line(&header)
            }
        }
    }

    /// One row.
    pub(super) fn line(&self, row: &Row) -> String {
        match self.format {
            Format::Json => self.json(row),
            Format::Csv => self.csv(row),
            Format::Table => self.table(row),
        }
    }

    fn json(&self, row: &Row) -> String {
        let row = match &row.outcome {
            Outcome::Good(prediction) => &Row {
                path: row.path.clone(),
                outcome: Outcome::Good(Box::new(Prediction::clone(prediction).top_k(self.top_k))),
                ..*row
            },
            Outcome::Bad { .. } => row,
        };
        // Strings and finite numbers always serialise.
        serde_json::to_string(row).unwrap_or_default()
    }

    fn csv(&self, row: &Row) -> String {
        let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
        let mut fields = vec![row.path.clone(), number(row.start), number(row.end)];
        match &row.outcome {
            Outcome::Good(p) => {
                fields.extend([
                    answer(p),
                    p.score.to_string(),
                    p.indeterminate.to_string(),
                    p.seconds.to_string(),
                    p.truncated.to_string(),
                ]);
                for score in &p.scores[..self.top_k.min(p.scores.len())] {
                    fields.extend([score.label.clone(), score.score.to_string()]);
                }
                fields.push(String::new());
            }
            Outcome::Bad { error } => {
                fields.resize(8 + 2 * self.top_k, String::new());
                fields.push(error.clone());
            }
        }
        csv_line(&fields)
    }

    fn table(&self, row: &Row) -> String {
        let (path, label) = (self.path_width, self.label_width);
        let name = shorten(&printable(&row.path), path);
        match &row.outcome {
            Outcome::Bad { error } => {
                let reason = error.strip_prefix(&format!("{}: ", row.path)).unwrap_or(error);
                format!("{name:<path$}  {:>9}  error: {}", "", printable(reason))
            }
            Outcome::Good(p) => {
                let time = match (row.start, row.end) {
                    (Some(start), Some(end)) => format!("{start:.1}-{end:.1}"),
                    _ => format!("{:.1}{}", p.seconds, if p.truncated { "+" } else { "" }),
                };
                let best: Vec<String> = p.scores[..self.top_k.min(p.scores.len())]
                    .iter()
                    .map(|s| format!("{} {:.3}", printable(&s.label), s.score))
                    .collect();
                let answer = shorten(&printable(&answer(p)), label);
                format!("{name:<path$}  {time:>9}  {answer:<label$}  {:>6.3}  {}", p.score, best.join(", "))
            }
        }
    }
}

/// The label, or all that reach the threshold, joined by commas as manifests join them.
fn answer(prediction: &Prediction) -> String {
    match &prediction.labels {
        Some(labels) if !labels.is_empty() => labels.join(","),
        _ => prediction.label.clone(),
    }
}

fn csv_line(fields: &[String]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail.
    let _ = writer.write_record(fields);
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
}

/// The end of a text that is too long: the end of a path says more than its beginning.
fn shorten(text: &str, width: usize) -> String {
    let n = text.chars().count();
    if n <= width {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(n - width + 1)).collect()
}
