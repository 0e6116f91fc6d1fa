use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPool;

use super::{Batch, ClipSet, Error};
use crate::seed::{Purpose, Seed};

/// Batches that may wait, finished, for the consumer; one more is in the making.
const PREFETCH: usize = 3;

/// In which order an epoch visits the clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the set, in every epoch.
    Sequential,
    /// Shuffled anew in every epoch, for training: a pure function of the seed and the number of the epoch, as are the
    /// part of a long recording where `audio.longer` draws it and what [`ClipSet::with_augmentations`] does.
    Shuffled(Seed),
    /// As [`Order::Shuffled`], and as many clips, but the classes take turns, in a new order each round, so that each comes
    /// equally often: each turn is the next of the class's own clips, which are shuffled anew when all have had theirs. Clips of
    /// rare classes come several times, those of frequent ones perhaps not in every epoch. A clip with several labels
    /// stands in each of their classes (the balanced sampler of PANNs, Kong et al. 2020).
    Balanced(Seed),
}

/// Turns a [`ClipSet`] into batches: ordered, in parallel, ahead of the consumer.
///
/// Which clips make up batch `k` of epoch `e`, and every value in it, depends only on the set, the batch
/// size, the order, `e` and `k`: not on threads, timing, or where a run was resumed.
#[derive(Debug, Clone)]
pub struct ClipLoader {
    set: Arc<ClipSet>,
    batch_size: usize,
    order: Order,
    pool: Option<Arc<ThreadPool>>,
}

impl ClipLoader {
    /// Batches of `batch_size` clips (at least 1); the last one of an epoch may be smaller.
    pub fn new(set: Arc<ClipSet>, batch_size: usize, order: Order) -> Self {
        Self { set, batch_size: batch_size.max(1), order, pool: None }
    }

    /// Decodes in `pool` instead of rayon's global pool. (Do not consume batches *inside* that pool: the
    /// consumer would hold the thread that it waits for.)
    pub fn with_pool(mut self, pool: Arc<ThreadPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The clips behind the batches.
    pub fn set(&self) -> &ClipSet {
        &self.set
    }

    /// Clips in an epoch.
    pub fn visits(&self) -> usize {
        match self.order {
            Order::Sequential => self.set.len(),
            Order::Shuffled(_) | Order::Balanced(_) => self.set.visits(),
        }
    }

    /// Batches in an epoch.
    pub fn num_batches(&self) -> usize {
        self.visits().div_ceil(self.batch_size)
    }

    /// The batches of epoch `epoch`, from batch `first_batch` on (0: all of them), which a background thread
    /// makes ahead of time. Ends after the first error. Dropping the iterator stops the thread.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Epoch {
        let positions = self.positions(epoch);
        let skipped = first_batch.saturating_mul(self.batch_size).min(positions.len());
        let (loader, (sender, receiver)) = (self.clone(), sync_channel(PREFETCH));
        let worker = std::thread::spawn(move || loader.produce(epoch, &positions, skipped, &sender));
        Epoch { receiver: Some(receiver), worker: Some(worker), waited: Duration::ZERO }
    }

    /// Positions in the set in the order of visit; see [`ClipSet::visits`].
    fn positions(&self, epoch: u64) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.visits()).collect();
        match self.order {
            Order::Sequential => {}
            Order::Shuffled(seed) => positions.shuffle(&mut seed.rng(Purpose::Order, epoch, 0)),
            Order::Balanced(seed) => return self.balanced(seed, epoch),
        }
        positions
    }

    fn balanced(&self, seed: Seed, epoch: u64) -> Vec<usize> {
        let halves = (0..self.visits()).step_by(self.set.len().max(1));
        let mut turns: Vec<Turns> = self
            .set
            .clips_of_classes()
            .into_iter()
            .enumerate()
            .filter(|(_, clips)| !clips.is_empty())
            .map(|(class, clips)| Turns {
                clips: halves.clone().flat_map(|half| clips.iter().map(move |clip| half + clip)).collect(),
                next: 0,
                rng: seed.rng(Purpose::Order, epoch, 1 + class as u64),
            })
            .collect();
        let mut rng = seed.rng(Purpose::Order, epoch, 0);
        let mut positions = Vec::with_capacity(self.visits());
        while positions.len() < self.visits() && !turns.is_empty() {
            turns.shuffle(&mut rng);
            let room = self.visits() - positions.len();
            positions.extend(turns.iter_mut().take(room).map(Turns::take));
        }
        positions
    }

    /// The batches of `positions` from the `first`-th clip on.
    fn produce(
        &self,
        epoch: u64,
        positions: &[usize],
        first: usize,
        sender: &SyncSender<Result<Batch, Error>>,
    ) {
        let places = (first..).step_by(self.batch_size);
        for (place, chunk) in places.zip(positions[first..].chunks(self.batch_size)) {
            let make = || match self.order {
                Order::Sequential => self.set.batch(chunk),
                Order::Shuffled(seed) | Order::Balanced(seed) => {
                    self.set.drawn_batch(chunk, seed, epoch, place)
                }
            };
            let batch = match &self.pool {
                Some(pool) => pool.install(make),
                None => make(),
            };
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }
}

/// The clips of one class, in turn.
struct Turns {
    clips: Vec<usize>,
    next: usize,
    rng: ChaCha8Rng,
}

impl Turns {
    fn take(&mut self) -> usize {
        if self.next == 0 {
            self.clips.shuffle(&mut self.rng);
        }
        let clip = self.clips[self.next];
        self.next = (self.next + 1) % self.clips.len();
        clip
    }
}

/// The batches of one epoch; see [`ClipLoader::epoch`].
#[derive(Debug)]
pub struct Epoch {
    receiver: Option<Receiver<Result<Batch, Error>>>,
    worker: Option<JoinHandle<()>>,
    waited: Duration,
}

impl Epoch {
    /// Time for which the consumer has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Ends the thread. A panic in it (a bug) goes on in the consumer instead of looking like a short epoch.
    fn finish(&mut self) {
        // The sender fails from now on, so the thread ends after the batch it is making.
        self.receiver = None;
        let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) else { return };
        if !std::thread::panicking() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let next = self.receiver.as_ref()?.recv().ok();
        self.waited += start.elapsed();
        if next.is_none() {
            self.finish();
        }
        next
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.finish();
    }
}
