//! The training loop.
//!
//! For each epoch: every training batch once, in an order that is a function of seed and epoch; then the
//! validation clips; then a row of results, the last and perhaps the best weights, and a checkpoint.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::checkpoint::{self, State};
use super::learner::Learner;
use super::loss::Objective;
use super::per_parameter::PerParameter;
use super::recipe::{Monitor, TrainingConfig};
use super::results::{self, EpochRow};
use super::run_dir::save;
use super::schedule::Moment;
use super::tensors::{floats, tensor};
use super::{Error, Event, Observer, RunDir, score};
use crate::dataset::{Batch, ClipLoader, Labels};
use crate::decision::Task;
use crate::metrics::{self, ClassificationReport, Confusion, Lwlrap};
use crate::models::{Inference, Products};
use crate::seed::{Purpose, Seed};

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All epochs were trained.
    Finished,
    /// No improvement for `patience` epochs.
    EarlyStopping,
    /// Asked to stop; the state was saved and `--resume` goes on from it.
    Interrupted,
}

/// What the loop works with.
pub struct Fit<'a> {
    /// Epochs, batch size, optimiser, early stopping.
    pub config: &'a TrainingConfig,
    /// What is minimised.
    pub objective: &'a Objective,
    /// The classes.
    pub labels: &'a Labels,
    /// Seed of dropout.
    pub seed: Seed,
    /// Where to write.
    pub run_dir: &'a RunDir,
    /// Name of the stage, in a run of several.
    pub stage: Option<&'a str>,
    /// Training clips, shuffled.
    pub train: &'a ClipLoader,
    /// Validation clips, sequential.
    pub valid: &'a ClipLoader,
    /// The device without automatic differentiation.
    pub device: &'a Device,
    /// Numbers that steps multiply.
    pub precision: Products,
    /// Told about every step and epoch.
    pub observer: &'a dyn Observer,
    /// Set from outside to save and stop after the current step.
    pub stop: &'a AtomicBool,
}

impl Fit<'_> {
    /// Trains from `state` on, to the end of its stage.
    pub fn run(&self, mut learner: Learner, mut state: State) -> Result<(Ended, State), Error> {
        while state.epoch <= self.last_epoch(&state) {
            if self.out_of_patience(&state) {
                return Ok((Ended::EarlyStopping, state));
            }
            let waited;
            (learner, waited) = self.train_epoch(learner, &mut state)?;
            match waited {
                Some(waited) => self.finish_epoch(&learner, &mut state, waited)?,
                None => return Ok((Ended::Interrupted, state)),
            }
        }
        Ok((Ended::Finished, state))
    }

    /// Number of the last epoch there will be.
    fn last_epoch(&self, state: &State) -> usize {
        state.epochs_before() + self.config.epochs
    }

    /// The batches of one epoch, from `state.step` on. Gives also the time for which the network waited for clips, or
    /// nothing when it was asked to stop; then the state is saved.
    fn train_epoch(
        &self,
        mut learner: Learner,
        state: &mut State,
    ) -> Result<(Learner, Option<Duration>), Error> {
        let (earlier, clips_before, start) = (state.seconds, state.clips, Instant::now());
        let mut batches = self.train.epoch(state.epoch as u64, state.step);
        for batch in batches.by_ref() {
            self.learn(&mut learner, &batch?, state)?;
            if state.step.is_multiple_of(self.config.accumulate) || state.step == self.train.num_batches() {
                learner = self.update(learner, state);
            }
            state.seconds = earlier + start.elapsed().as_secs_f64();
            self.observer.event(&Event::Step {
                epoch: state.epoch,
                epochs: self.last_epoch(state),
                step: state.step,
                steps: self.train.num_batches(),
                loss: state.loss_sum / state.clips as f64,
                clips_per_second: (state.clips - clips_before) as f64 / start.elapsed().as_secs_f64(),
            });
            if self.stop.load(Ordering::Relaxed) {
                checkpoint::save(&self.run_dir.checkpoints(), state, &learner)?;
                return Ok((learner, None));
            }
        }
        Ok((learner, Some(batches.waited())))
    }

    /// The gradients of one batch.
    fn learn(&self, learner: &mut Learner, batch: &Batch, state: &mut State) -> Result<(), Error> {
        let device = self.device.clone().autodiff();
        // Burn draws dropout masks from one generator a device: seeded for every step, it has no history.
        device.seed(self.seed.number(Purpose::Dropout, state.epoch as u64, state.step as u64));
        let targets = tensor([batch.len(), batch.targets.len() / batch.len()], &batch.targets, &device);
        let input = tensor(batch.shape, &batch.inputs, &device);
        let logits = self.precision.run(|| learner.model.forward(input));
        let loss = self.objective.losses(logits.clone(), targets).mean();
        let value = floats(loss.clone().inner())[0];
        if !value.is_finite() {
            return Err(self.not_finite(value, state));
        }
        let minimised = match self.config.l2 {
            l2 if l2 > 0.0 => loss + learner.model.squared_kernels(&device) * l2,
            _ => loss,
        };
        // Gradients of several batches add up to those of their clips together.
        let minimised = match batch.len() as f64 / self.clips_of_update(state.step) as f64 {
            share if share < 1.0 => minimised * share,
            _ => minimised,
        };
        learner.gradients.add(&learner.model, minimised.backward());
        state.step += 1;
        state.count(batch, value, &floats(logits.inner()));
        Ok(())
    }

    /// Clips whose gradients make up the step to which batch `batch` of an epoch belongs.
    fn clips_of_update(&self, batch: usize) -> usize {
        let size = self.config.batch_size * self.config.accumulate;
        let first = batch / self.config.accumulate * size;
        size.min(self.train.visits() - first)
    }

    /// One step of the optimiser.
    fn update(&self, learner: Learner, state: &State) -> Learner {
        let Learner { model, mut optimizer, mut gradients, mut average } = learner;
        if let Some(clipping) = self.config.gradient_clipping {
            gradients.clip(&model, clipping);
        }
        let rate = self.learning_rate(state);
        let model = self.config.optimizer.step(&mut optimizer, model, gradients.into_gradients(), rate);
        if let Some(average) = &mut average {
            average.average(&model, ema_decay(self.config.ema, self.updates(state)));
        }
        Learner { model, optimizer, gradients: PerParameter::default(), average }
    }

    /// Steps of the optimiser up to the one that the last batch belongs to, from the beginning of the stage.
    fn updates(&self, state: &State) -> usize {
        (state.epoch - state.epochs_before() - 1) * self.updates_per_epoch()
            + state.step.div_ceil(self.config.accumulate)
    }

    fn updates_per_epoch(&self) -> usize {
        self.train.num_batches().div_ceil(self.config.accumulate)
    }

    /// The rate of the step that the last batch belongs to.
    fn learning_rate(&self, state: &State) -> f64 {
        let moment = Moment {
            step: self.updates(state) - 1,
            steps_per_epoch: self.updates_per_epoch(),
            epochs: self.config.epochs,
            rows: &state.rows[state.epochs_before()..],
        };
        self.config.schedule.rate(self.config.learning_rate, self.config.warmup_epochs, &moment)
    }

    /// Validation, the row of results, weights and checkpoint.
    fn finish_epoch(&self, learner: &Learner, state: &mut State, waited: Duration) -> Result<(), Error> {
        let start = Instant::now();
        let model = learner.judged();
        let weights = model.to_safetensors()?;
        let valid = score(&Inference::new(model), self.valid, self.device)?;
        let (logits, targets, classes) = (&valid.logits, &valid.targets, valid.num_classes);
        let row = EpochRow {
            epoch: state.epoch,
            stage: self.stage.map(str::to_owned),
            time: state.seconds + start.elapsed().as_secs_f64(),
            train_loss: state.loss_sum / state.clips as f64,
            train_accuracy: state.correct as f64 / state.clips as f64,
            train_lwlrap: state.precision_sum / state.labels as f64,
            valid_loss: self.objective.mean(logits, targets, classes, self.device),
            valid_accuracy: metrics::accuracy(logits, targets, classes),
            valid_top_5_accuracy: metrics::top_k_accuracy(logits, targets, classes, 5),
            valid_macro_f1: self.by_class(logits, targets).macro_avg.f1,
            valid_lwlrap: Lwlrap::from_scores(logits, targets, classes).value(),
            lr: self.learning_rate(state),
            clips_per_second: state.clips as f64 / state.seconds,
        };
        if !row.valid_loss.is_finite() {
            return Err(self.not_finite(row.valid_loss as f32, state));
        }
        let best = state.best_row().is_none_or(|best| self.better(&row, best));
        if best {
            state.best_epoch = Some(row.epoch);
        }
        state.rows.push(row);
        if best {
            save(&self.run_dir.best_weights(), &weights)?;
            // The next stage begins with these.
            self.stage.map_or(Ok(()), |stage| save(&self.run_dir.stage_weights(stage), &weights))?;
        }
        save(&self.run_dir.last_weights(), &weights)?;
        results::write(&self.run_dir.results(), &state.rows)?;
        state.next_epoch();
        checkpoint::save(&self.run_dir.checkpoints(), state, learner)?;
        if let Some(row) = state.rows.last() {
            self.observer.event(&Event::Epoch { row, best, waited });
        }
        Ok(())
    }

    /// Strictly better, so that of equal epochs the first is kept.
    fn better(&self, row: &EpochRow, best: &EpochRow) -> bool {
        let monitor = self.config.monitor.unwrap_or(Monitor::of(self.objective.task));
        monitor.better(monitor.value(row), monitor.value(best))
    }

    /// With several labels a clip, a class is said when its score is at least 0.5, its logit at least 0.
    fn by_class(&self, logits: &[f32], targets: &[f32]) -> ClassificationReport {
        let labels = self.labels.names();
        match self.objective.task {
            Task::SingleLabel => {
                ClassificationReport::new(&Confusion::from_scores(logits, targets, labels.len()), labels)
            }
            Task::MultiLabel => ClassificationReport::multi_label(logits, targets, 0.0, labels),
        }
    }

    fn out_of_patience(&self, state: &State) -> bool {
        let since = state.best_epoch.map_or(0, |best| state.epoch - 1 - best);
        self.config.patience > 0 && since >= self.config.patience
    }

    fn not_finite(&self, loss: f32, state: &State) -> Error {
        Error::NotFinite {
            loss: f64::from(loss),
            epoch: state.epoch,
            step: state.step + 1,
            kept: match state.rows.last() {
                Some(row) => format!("the checkpoint of epoch {} is kept", row.epoch),
                None => "no epoch was finished".to_owned(),
            },
        }
    }
}

/// How much of an average stays at update number `update`, from 1: less at first, so that it soon leaves the random
/// weights behind (`tf.train.ExponentialMovingAverage` with `num_updates`).
pub(super) fn ema_decay(ema: f64, update: usize) -> f64 {
    ema.min((1 + update) as f64 / (10 + update) as f64)
}

impl State {
    fn count(&mut self, batch: &Batch, loss: f32, logits: &[f32]) {
        let clips = batch.clips.len();
        self.loss_sum += f64::from(loss) * clips as f64;
        self.clips += clips;
        let classes = batch.targets.len() / clips;
        for (logits, target) in logits.chunks_exact(classes).zip(batch.targets.chunks_exact(classes)) {
            self.correct += usize::from(metrics::is_hit(logits, target));
            let (precision, labels) = metrics::precision_sum(logits, target);
            self.precision_sum += precision;
            self.labels += labels;
        }
    }

    /// The row of the best epoch so far.
    pub fn best_row(&self) -> Option<&EpochRow> {
        self.rows.iter().find(|row| Some(row.epoch) == self.best_epoch)
    }

    fn next_epoch(&mut self) {
        self.epoch += 1;
        (self.step, self.clips, self.correct, self.labels) = (0, 0, 0, 0);
        (self.loss_sum, self.precision_sum, self.seconds) = (0.0, 0.0, 0.0);
    }
}
