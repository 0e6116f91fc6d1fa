//! What all requests share, and the way of one request through it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::batching::{Batcher, Job, Score};
use super::metrics::Metrics;
use super::types::{Answer, Request};
use super::{Error, Options};
use crate::audio::Source;
use crate::bundle::{self, Clip, Predictor};
use crate::decision::DecisionConfig;

const LOADING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// A server's state: loading, ready or draining; its bounds; its model.
#[derive(Debug)]
pub struct State {
    pub(super) options: Options,
    pub(super) metrics: Arc<Metrics>,
    phase: AtomicU8,
    service: OnceLock<Service>,
    /// Places for requests in the house.
    places: Arc<Semaphore>,
    /// Bytes of bodies in memory.
    pub(super) memory: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
}

/// A loaded model.
#[derive(Debug)]
struct Service {
    predictor: Arc<Predictor>,
    batcher: Batcher,
}

/// A place for one request; its holder is counted.
#[derive(Debug)]
pub(super) struct Place {
    permit: OwnedSemaphorePermit,
    _guest: Guest,
}

#[derive(Debug)]
struct Guest(Arc<Metrics>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl State {
    /// A server that is still loading.
    pub fn new(options: Options) -> Result<Arc<Self>, std::io::Error> {
        let limit = |n: usize| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Arc::new(Self {
            metrics: Arc::new(Metrics::new().map_err(std::io::Error::other)?),
            phase: AtomicU8::new(LOADING),
            service: OnceLock::new(),
            places: limit(options.queue),
            memory: limit(options.max_inflight_bytes),
            decoders: limit(options.decoders),
            options,
        }))
    }

    /// Makes the server ready with its one model.
    pub fn load(&self, predictor: Predictor) -> Result<(), std::io::Error> {
        let predictor = Arc::new(predictor);
        let scoring = Arc::clone(&predictor);
        self.load_with(predictor, Box::new(move |clips| scoring.score(clips)))
    }

    /// As [`State::load`], with another way from clips to predictions.
    pub(super) fn load_with(&self, predictor: Arc<Predictor>, score: Score) -> Result<(), std::io::Error> {
        let batcher = Batcher::start(score, &self.options, Arc::clone(&self.metrics))?;
        self.metrics.model(&predictor);
        let _ = self.service.set(Service { predictor, batcher });
        let _ = self.phase.compare_exchange(LOADING, READY, Ordering::AcqRel, Ordering::Acquire);
        Ok(())
    }

    /// From now on the server is not ready; requests in flight are finished.
    pub fn drain(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// Whether [`State::drain`] was called.
    pub fn draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) == DRAINING
    }

    /// Whether requests should be sent here.
    pub fn ready(&self) -> bool {
        self.phase.load(Ordering::Acquire) == READY && !self.metrics.unfit()
    }

    /// Whether every place is taken, so that reading a body would be in vain.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        if self.service.get().is_none() {
            return Err(Error::Loading);
        }
        if self.places.available_permits() == 0 { Err(Error::QueueFull) } else { Ok(()) }
    }

    /// Takes a place; never waits.
    pub(super) fn admit(&self) -> Result<Place, Error> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::QueueFull)?;
        self.metrics.enter();
        Ok(Place { permit, _guest: Guest(Arc::clone(&self.metrics)) })
    }

    /// Answers one request: decode on the bounded pool, queue, wait.
    pub(super) async fn answer(
        self: &Arc<Self>,
        request: Request,
        place: Place,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let service = self.service.get().ok_or(Error::Loading)?;
        let mut clips = Vec::with_capacity(request.clips.len());
        for (i, data) in request.clips.into_iter().enumerate() {
            let name = if request.list { format!("recording {i}") } else { "the recording".to_owned() };
            clips.push(self.prepare(&service.predictor, name, data, deadline).await?);
        }
        let (reply, answer) = oneshot::channel();
        let Place { permit, _guest } = place;
        service.batcher.submit(Job { clips, deadline, queued: Instant::now(), reply, place: permit })?;
        let mut predictions = answer.await.map_err(|_| Error::Internal)??;
        for prediction in &mut predictions {
            if let Some(threshold) = request.threshold {
                prediction.decide(&DecisionConfig { threshold, ..service.predictor.decision().clone() });
            }
            let index = service.predictor.labels().index(&prediction.best_label);
            self.metrics.prediction(prediction, index.unwrap_or(usize::MAX));
            prediction.scores.truncate(request.top_k);
        }
        match predictions.pop() {
            Some(prediction) if !request.list => Ok(Answer::One(Box::new(prediction))),
            Some(prediction) => {
                predictions.push(prediction);
                Ok(Answer::Many { predictions })
            }
            None => Err(Error::Internal),
        }
    }

    /// Decodes one recording on the bounded pool. The permit goes with the work, so work that nobody waits for any
    /// more still counts.
    async fn prepare(
        &self,
        predictor: &Arc<Predictor>,
        name: String,
        data: Arc<[u8]>,
        deadline: Instant,
    ) -> Result<Clip, Error> {
        let permit = Arc::clone(&self.decoders).acquire_owned().await.map_err(|_| Error::Internal)?;
        if deadline <= Instant::now() {
            return Err(Error::Deadline);
        }
        let (predictor, metrics) = (Arc::clone(predictor), Arc::clone(&self.metrics));
        let work = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let clip = predictor.prepare(&Source::Bytes { name: &name, data });
            metrics.stage("decode", started.elapsed());
            drop(permit);
            clip
        });
        match work.await {
            Ok(Ok(clip)) => Ok(clip),
            Ok(Err(bundle::Error::Audio(error))) => {
                if matches!(error, crate::audio::Error::DecoderPanic { .. }) {
                    self.metrics.panic("decode");
                }
                Err(Error::Undecodable(error.to_string()))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "preparing a recording failed");
                Err(Error::Internal)
            }
            Err(_) => {
                self.metrics.panic("decode");
                Err(Error::Internal)
            }
        }
    }
}
