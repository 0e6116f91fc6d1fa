//! Bounded queue → micro-batches → the model thread.
//!
//! There is no waiting for company: the thread takes what has gathered while it was busy, at most
//! [`Options::max_batch`](super::Options) clips. Alone, a request runs at once; under load batches grow by themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::metrics::Metrics;
use super::{Error, Options};
use crate::bundle::{Clip, Prediction};

/// Prepared clips of one request on their way to the model thread.
pub(super) struct Job {
    pub(super) clips: Vec<Clip>,
    /// No inference after this moment: nobody waits any more.
    pub(super) deadline: Instant,
    /// When the job was queued.
    pub(super) queued: Instant,
    /// Where the answer goes. Closed when the client has gone.
    pub(super) reply: oneshot::Sender<Result<Vec<Prediction>, Error>>,
    /// The request's place in the house, given back when the job is done or dropped.
    pub(super) place: OwnedSemaphorePermit,
}

/// What the model thread does with the clips of a batch.
pub(super) type Score = Box<dyn FnMut(&[Clip]) -> Result<Vec<Prediction>, crate::bundle::Error> + Send>;

/// The way into the model thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Batcher {
    jobs: SyncSender<Job>,
}

impl Batcher {
    /// Starts the model thread.
    pub(super) fn start(score: Score, options: &Options, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel(options.queue);
        let max_batch = options.max_batch;
        std::thread::Builder::new()
            .name("model".to_owned())
            .spawn(move || run(receiver, score, max_batch, &metrics))?;
        Ok(Self { jobs })
    }

    /// Queues a job; never waits.
    pub(super) fn submit(&self, job: Job) -> Result<(), Error> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::QueueFull,
            TrySendError::Disconnected(_) => Error::Internal,
        })
    }
}

fn run(jobs: Receiver<Job>, mut score: Score, max_batch: usize, metrics: &Metrics) {
    let mut left_over = None;
    while let Some(first) = left_over.take().or_else(|| jobs.recv().ok()) {
        let mut batch = vec![first];
        let mut clips = batch[0].clips.len();
        while let Ok(job) = jobs.try_recv() {
            clips += job.clips.len();
            if clips > max_batch {
                // It opens the next batch; a job larger than a batch runs alone.
                left_over = Some(job);
                break;
            }
            batch.push(job);
        }
        answer(batch, &mut score, metrics);
    }
}

/// Answers every job of a batch, whatever happens.
fn answer(batch: Vec<Job>, score: &mut Score, metrics: &Metrics) {
    let now = Instant::now();
    let mut clips = Vec::new();
    let mut waiting = Vec::new();
    for job in batch {
        if job.deadline <= now {
            // The request handler counts the rejection.
            let _ = job.reply.send(Err(Error::Deadline));
        } else if job.reply.is_closed() {
            metrics.rejected("abandoned");
        } else {
            metrics.queue_wait(now - job.queued);
            waiting.push((job.clips.len(), job.reply, job.place));
            clips.extend(job.clips);
        }
    }
    if clips.is_empty() {
        return;
    }
    metrics.batch(clips.len());
    let mut predictions = match catch_unwind(AssertUnwindSafe(|| score(&clips))) {
        Ok(Ok(predictions)) if predictions.len() == clips.len() => Some(predictions.into_iter()),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::error!(%error, "inference failed");
            None
        }
        Err(_) => {
            metrics.panic("inference");
            None
        }
    };
    metrics.stage("forward", now.elapsed());
    for (clips, reply, _place) in waiting {
        let answer = match &mut predictions {
            Some(predictions) => Ok(predictions.by_ref().take(clips).collect()),
            None => Err(Error::Internal),
        };
        let _ = reply.send(answer);
    }
}
