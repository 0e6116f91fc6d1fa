//! Files and labels → batches of features. Knows no model and no loss.
//!
//! [`fetch`] brings public data sets, [`prepare`] turns a folder into a [`Manifest`], [`inspect`] looks for traps in it,
//! [`SplitConfig`] divides it, [`ClipSet`] turns its clips into features and targets, and [`ClipLoader`] into batches:
//! ordered, in parallel, the same for any number of threads.

mod backgrounds;
mod batch;
mod cache;
mod clips;
mod decode_each;
mod error;
pub mod fetch;
mod filter;
pub mod inspect;
mod labels;
mod loader;
mod manifest;
pub mod mix;
pub mod prepare;
mod sound;
mod split;
pub mod synth;

pub use backgrounds::Backgrounds;
pub use batch::Batch;
pub use cache::FeatureCache;
pub use clips::{BadClip, Checked, ClipSet};
pub use error::Error;
pub use filter::Filter;
pub use labels::Labels;
pub use loader::{ClipLoader, Epoch, Order};
pub use manifest::{Entry, Manifest, Split};
pub use split::{Folds, Fractions, SplitConfig, Splits, TestClips, crossing_groups, deal_folds};
