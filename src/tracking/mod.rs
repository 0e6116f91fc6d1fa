//! The rows of `results.csv` → programs that draw them while a run goes on: a TensorBoard event file, an MLflow server.
//!
//! They follow a run and never lead it: whatever fails here is told once, and the run goes on to the same bytes.

mod mlflow;
mod tensorboard;

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::AtomicBool;

pub use mlflow::MlflowConfig;
pub use tensorboard::EventFile;

use crate::training::fit::Ended;
use crate::training::results::{self, EpochRow};
use crate::training::{self, Event, Observer, Outcome, Recipe, RunDir, RunOptions};

/// Who follows a run.
#[derive(Debug, Clone, Default)]
pub struct Trackers {
    /// Whether an event file for TensorBoard is written into the run directory.
    pub tensorboard: bool,
    /// The MLflow server that is told, if any.
    pub mlflow: Option<MlflowConfig>,
}

/// [`training::train`] with trackers; what fails of them is an [`Event::Remark`], one for each.
///
/// # Errors
///
/// Those of training; no tracker's.
pub fn train(
    recipe: &Recipe,
    options: &RunOptions,
    trackers: &Trackers,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, training::Error> {
    let tensorboard = trackers.tensorboard.then(|| EventFile::of_run(&options.out));
    std::thread::scope(|scope| {
        let mlflow =
            trackers.mlflow.as_ref().map(|config| mlflow::follow(scope, config, recipe, options, observer));
        let following = Following {
            run: &options.out,
            observer,
            tensorboard: tensorboard.as_ref(),
            mlflow: mlflow.as_ref(),
            warned: Once::new(),
        };
        let outcome = training::train(recipe, options, &following, stop);
        if let Ok(outcome) = &outcome {
            // Also of a run that was killed behind its last epoch, and had nothing left to do.
            following.rows(&outcome.state.rows);
        }
        if let Some(mlflow) = mlflow {
            mlflow.end(match &outcome {
                Ok(outcome) if outcome.ended == Ended::Interrupted => mlflow::Status::Killed,
                Ok(_) => mlflow::Status::Finished,
                Err(_) => mlflow::Status::Failed,
            });
        }
        outcome
    })
}

/// Passes events on and the rows of finished epochs to the trackers.
struct Following<'a> {
    run: &'a Path,
    observer: &'a dyn Observer,
    tensorboard: Option<&'a EventFile>,
    mlflow: Option<&'a mlflow::Mlflow>,
    warned: Once,
}

impl Following<'_> {
    fn rows(&self, rows: &[EpochRow]) {
        if let Some(Err(error)) = self.tensorboard.map(|file| file.sync(rows)) {
            let remark = format!("no events for TensorBoard: {error}; training goes on");
            self.warned.call_once(|| self.observer.event(&Event::Remark(&remark)));
        }
        if let Some(mlflow) = self.mlflow {
            mlflow.rows(rows);
        }
    }
}

impl Observer for Following<'_> {
    fn event(&self, event: &Event) {
        self.observer.event(event);
        match event {
            Event::Ready(_) => {
                if let Some(mlflow) = self.mlflow {
                    mlflow.begin();
                }
            }
            // All rows stand in the table by now, those of a run that was resumed too.
            Event::Epoch { row, .. } => {
                let rows =
                    results::read(&RunDir::new(self.run).results()).unwrap_or_else(|_| vec![(*row).clone()]);
                self.rows(&rows);
            }
            _ => {}
        }
    }
}

/// The numbers of a row by their names in `results.csv`, without the epoch and what was not measured.
fn scalars(row: &EpochRow) -> Vec<(String, f64)> {
    let Ok(serde_json::Value::Object(columns)) = serde_json::to_value(row) else { return Vec::new() };
    let named = columns.into_iter().filter(|(name, _)| name != "epoch");
    named.filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
}
