//! Files and labels → batches of features. Knows no model and no loss.

mod batch;
mod cache;
mod clips;
mod error;
mod labels;
mod loader;
mod manifest;
pub mod synth;

pub use batch::Batch;
pub use cache::FeatureCache;
pub use clips::{BadClip, ClipSet};
pub use error::Error;
pub use labels::Labels;
pub use loader::{ClipLoader, Epoch, Order};
pub use manifest::{Entry, Manifest, Split};
