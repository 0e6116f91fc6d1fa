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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Source;
    use crate::bundle::Predictor;
    use crate::bundle::testing::{predictor, wav};
    use std::sync::Mutex;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    fn clips(predictor: &Predictor, n: usize) -> Vec<Clip> {
        let prepare = |i| {
            let data: Arc<[u8]> = wav(200.0 + 70.0 * i as f32, 0.5).into();
            predictor.prepare(&Source::Bytes { name: "tone", data }).unwrap()
        };
        (0..n).map(prepare).collect()
    }

    struct Bench {
        batcher: Batcher,
        metrics: Arc<Metrics>,
        places: Arc<Semaphore>,
    }

    impl Bench {
        fn new(score: Score) -> Self {
            let options = Options { queue: 64, max_batch: 4, ..Options::default() };
            let metrics = Arc::new(Metrics::new().unwrap());
            let batcher = Batcher::start(score, &options, Arc::clone(&metrics)).unwrap();
            Self { batcher, metrics, places: Arc::new(Semaphore::new(64)) }
        }

        fn submit(
            &self,
            clips: Vec<Clip>,
            deadline: Instant,
        ) -> oneshot::Receiver<Result<Vec<Prediction>, Error>> {
            let (reply, answer) = oneshot::channel();
            let place = Arc::clone(&self.places).try_acquire_owned().unwrap();
            let job = Job { clips, deadline, queued: Instant::now(), reply, place };
            self.batcher.submit(job).unwrap();
            answer
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// Scores with a real predictor, notes batch sizes, and waits for the test before the first batch.
    fn gated(sizes: &Arc<Mutex<Vec<usize>>>) -> (Score, std::sync::mpsc::Sender<()>) {
        let (gate, wait) = std::sync::mpsc::channel::<()>();
        let (predictor, sizes) = (predictor(), Arc::clone(sizes));
        let score: Score = Box::new(move |clips| {
            if sizes.lock().unwrap().is_empty() {
                wait.recv().unwrap();
            }
            sizes.lock().unwrap().push(clips.len());
            predictor.score(clips)
        });
        (score, gate)
    }

    #[test]
    fn every_job_gets_its_own_answers_whatever_the_batches() {
        let sizes = Arc::default();
        let (score, gate) = gated(&sizes);
        let (bench, predictor) = (Bench::new(score), predictor());
        let all = clips(&predictor, 14);
        let expected = predictor.score(&all).unwrap();
        // One that holds the thread, then singles, a pair, and a job larger than any batch.
        let cuts = [0..1, 1..2, 2..3, 3..5, 5..11, 11..12, 12..14];
        let answers: Vec<_> =
            cuts.iter().map(|cut| bench.submit(all[cut.clone()].to_vec(), soon())).collect();
        gate.send(()).unwrap();
        for (answer, cut) in answers.into_iter().zip(cuts) {
            assert_eq!(answer.blocking_recv().unwrap().unwrap(), expected[cut]);
        }
        let sizes = sizes.lock().unwrap().clone();
        assert_eq!(sizes.iter().sum::<usize>(), 14);
        assert!(sizes.contains(&6), "the large job runs alone: {sizes:?}");
        assert!(sizes.len() < 7, "gathered jobs share a batch: {sizes:?}");
        drop(bench.batcher);
        while bench.places.available_permits() < 64 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn late_and_abandoned_jobs_are_not_run() {
        let sizes = Arc::default();
        let (score, gate) = gated(&sizes);
        let (bench, clips) = (Bench::new(score), clips(&predictor(), 1));
        let first = bench.submit(clips.clone(), soon());
        let late = bench.submit(clips.clone(), Instant::now());
        drop(bench.submit(clips, soon()));
        gate.send(()).unwrap();
        assert!(first.blocking_recv().unwrap().is_ok());
        assert_eq!(late.blocking_recv().unwrap(), Err(Error::Deadline));
        while bench.places.available_permits() < 64 {
            std::thread::yield_now();
        }
        assert_eq!(*sizes.lock().unwrap(), [1]);
        assert!(bench.metrics.render().contains("audio_rejected_total{reason=\"abandoned\"} 1"));
    }

    #[test]
    fn a_panic_is_an_answer_and_three_make_the_server_unfit() {
        let predictor = predictor();
        let clips = clips(&predictor, 1);
        let mut calls = 0;
        let bench = Bench::new(Box::new(move |clips| {
            calls += 1;
            if calls != 2 {
                panic!("injected");
            }
            predictor.score(clips)
        }));
        let ask = || bench.submit(clips.clone(), soon()).blocking_recv().unwrap();
        assert_eq!(ask(), Err(Error::Internal));
        assert!(ask().is_ok(), "the next batch is fine");
        assert_eq!(ask(), Err(Error::Internal));
        assert!(!bench.metrics.unfit());
        assert_eq!(ask(), Err(Error::Internal));
        assert!(bench.metrics.unfit());
        assert!(bench.metrics.render().contains("audio_panics_total{where=\"inference\"} 3"));
    }
}
