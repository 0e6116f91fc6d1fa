//! Files and labels → batches of features. Knows no model and no loss.

mod labels;
mod manifest;

pub use labels::Labels;
pub use manifest::{Entry, Manifest, Split};
