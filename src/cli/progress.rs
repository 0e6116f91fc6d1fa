//! Progress bars on a terminal. A run is shown as one line an epoch elsewhere, as JSON lines with `--json`.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Output;
use crate::training::{Event, Observer};

/// Shows the events of a training run.
pub struct Progress<'a> {
    output: &'a Output,
    bar: Mutex<Option<ProgressBar>>,
}

const CHECK: &str = "checking clips {bar:30} {pos}/{len} {per_sec} ETA {eta}";
const STEPS: &str = "{prefix} {bar:30} {pos}/{len} {msg} ETA {eta}";

/// A bar that counts checked clips; hidden without a terminal.
pub fn clip_bar(clips: usize, output: &Output) -> ProgressBar {
    task_bar("checking clips", clips, output)
}

/// A bar that counts what is done of a task; hidden without a terminal.
pub fn task_bar(task: &str, length: usize, output: &Output) -> ProgressBar {
    let template = format!("{task} {{bar:30}} {{pos}}/{{len}} {{per_sec}} ETA {{eta}}");
    if output.progress() { bar(&template, length) } else { ProgressBar::hidden() }
}

fn bar(template: &str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}

impl<'a> Progress<'a> {
    /// Shows on `output`.
    pub fn new(output: &'a Output) -> Self {
        Self { output, bar: Mutex::new(None) }
    }

    /// Moves the bar to `position` of `length`, starting it when needed; nothing happens without a terminal.
    fn bar(&self, template: &str, position: usize, length: usize, update: impl Fn(&ProgressBar)) {
        if !self.output.progress() {
            return;
        }
        let Ok(mut slot) = self.bar.lock() else { return };
        let bar = slot.get_or_insert_with(|| bar(template, length));
        update(bar);
        bar.set_position(position as u64);
        if position == length {
            bar.finish_and_clear();
            *slot = None;
        }
    }
}

impl Observer for Progress<'_> {
    fn event(&self, event: &Event) {
        match event {
            Event::Checked { done, total } => self.bar(CHECK, *done, *total, |_| ()),
            Event::Ready(prepared) => {
                let (splits, shape) = (&prepared.splits, prepared.extractor.shape());
                self.output.say(&format!(
                    "{} classes; clips: {} train, {} valid, {} test; features {} x {}; {} parameters",
                    prepared.labels.len(),
                    splits.train.len(),
                    splits.valid.len(),
                    splits.test.len(),
                    shape.bins,
                    shape.frames,
                    prepared.parameters,
                ));
                splits.warnings.iter().for_each(|warning| self.output.warn(warning));
            }
            Event::Remark(remark) => self.output.warn(remark),
            Event::Started(started) => {
                self.output.say(&format!("starting from {started}"));
                started.warnings.iter().for_each(|warning| self.output.warn(warning));
            }
            Event::Stage { info, number, stages } => self.output.say(&format!(
                "stage {number} of {stages}, {}: {} clips train {} parameters",
                info.name, info.clips, info.trainable_parameters,
            )),
            Event::Step { epoch, epochs, step, steps, loss, clips_per_second } => {
                self.bar(STEPS, *step, *steps, |bar| {
                    bar.set_prefix(format!("epoch {epoch}/{epochs}"));
                    bar.set_message(format!("loss {loss:.4}  {clips_per_second:.0} clips/s"));
                });
            }
            Event::Epoch { row, best, waited } => {
                let waited = waited.as_secs_f64();
                if self.output.json() {
                    let mut line = serde_json::to_value(row).unwrap_or_default();
                    line["best"] = json!(best);
                    line["waited"] = json!(waited);
                    self.output.json_line(&line);
                } else {
                    // A stable line: SageMaker reads metrics from it with regular expressions.
                    self.output.say(&format!(
                        "epoch={} train_loss={:.4} train_accuracy={:.4} val_loss={:.4} val_accuracy={:.4} \
                         val_top_5_accuracy={:.4} val_macro_f1={:.4} val_lwlrap={:.4} lr={:.3e} seconds={:.1} \
                         clips_per_second={:.0} waited={waited:.2}{}",
                        row.epoch,
                        row.train_loss,
                        row.train_accuracy,
                        row.valid_loss,
                        row.valid_accuracy,
                        row.valid_top_5_accuracy,
                        row.valid_macro_f1,
                        row.valid_lwlrap,
                        row.lr,
                        row.time,
                        row.clips_per_second,
                        if *best { " best" } else { "" },
                    ));
                }
            }
        }
    }
}
