//! A trained model as one portable, verified file — and that file into answers.
//!
//! A bundle is a `.tar.gz` or a folder of exactly six members:
//!
//! | member | holds |
//! |---|---|
//! | `manifest.json` | format version, tool version, length and sha256 of every other member, and its own sha256 |
//! | `config.json` | audio, features with mean and standard deviation, model, task, decision: every number inference needs |
//! | `labels.json` | the classes, in the order of the network's outputs |
//! | `model.safetensors` | the weights |
//! | `metrics.json` | how good it was, with the protocol |
//! | `README.md` | the model card |
//!
//! Two promises. *Equal parts give equal bytes*: members are sorted, times and owners are zero, nothing in it
//! depends on when or where it was packed. *Opening never runs code and never writes*: a bundle is safetensors,
//! JSON and Markdown, read into memory by [`open`], every byte checked before the first weight is parsed; one
//! flipped bit anywhere is an error that names the member.
//!
//! [`Predictor`] is the only way from sound to scores outside training.

mod archive;
mod card;
mod config;
mod error;
mod folder;
mod manifest;
mod members;
mod pack;
mod predictor;
mod run;
#[cfg(test)]
pub(crate) mod testing;

pub use config::BundleConfig;
pub use error::Error;
pub use manifest::{FORMAT_VERSION, Manifest, Member};
pub use members::MEMBERS;
pub use pack::{Bundle, BundleParts, open, pack};
pub use predictor::{Clip, Prediction, Predictor, Score, WindowPrediction};
pub use run::parts_of_run;
