use std::time::Duration;

use super::results::EpochRow;

/// What a run tells the outside while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// A clip was decoded and checked.
    Checked {
        /// So far.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// Data, split and model are ready.
    Ready(&'a super::Prepared),
    /// The network carries the weights it starts from.
    Started(&'a crate::pretrained::Started),
    /// One of several stages begins or goes on.
    Stage {
        /// Its name, and what trains in it.
        info: &'a super::StageInfo,
        /// From 1.
        number: usize,
        /// Of how many.
        stages: usize,
    },
    /// An optimiser step was made.
    Step {
        /// From 1.
        epoch: usize,
        /// Most epochs there will be.
        epochs: usize,
        /// From 1.
        step: usize,
        /// Steps in this epoch.
        steps: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Clips trained on a second in this epoch, as far as this process ran it.
        clips_per_second: f64,
    },
    /// Something beside the run failed, which goes on.
    Remark(&'a str),
    /// An epoch ended.
    Epoch {
        /// Its figures.
        row: &'a EpochRow,
        /// Whether it is the best so far.
        best: bool,
        /// Time of training, as far as this process ran it, in which the network waited for clips.
        waited: Duration,
    },
}

/// Listens to a run. Called from the training thread and, while clips are checked, from loader threads.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// Listens to nothing.
impl Observer for () {
    fn event(&self, _event: &Event) {}
}
