//! A recipe → a run directory.
//!
//! [`recipe`] says what to do, [`train`] does it once from data to weights, and [`fit`] is the loop over epochs and
//! batches, meant to be read in one sitting. A run that is stopped, or killed, goes on from its last checkpoint
//! to the same bytes ([`checkpoint`]): data order, dropout and initial weights are pure functions of the seed.

mod built_in;
pub mod checkpoint;
mod error;
pub mod fit;
pub mod learner;
pub mod loss;
mod observer;
pub mod optimizer;
pub mod per_parameter;
pub mod recipe;
pub mod results;
mod run;
mod run_dir;
pub mod run_info;
pub mod schedule;
mod score;
pub mod stages;
mod tensors;

pub use built_in::BUILT_IN;
pub use error::Error;
pub use observer::{Event, Observer};
pub use recipe::{DataConfig, Recipe, TrainingConfig};
pub use results::EpochRow;
pub use run::{
    Outcome, Prepared, RunOptions, check_precision, manifest_sha256, prepare, read_data, start, starting,
    train,
};
pub use run_dir::RunDir;
pub use run_info::{ClipCounts, RunInfo, StageInfo, Versions};
pub use score::{Scored, score};
pub use stages::{Planned, TrainingStage};
