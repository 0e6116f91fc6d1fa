//! oido: from a folder of labelled sounds to an honest, calibrated, served classifier.
//!
//! The modules stand in one line, and each uses only what stands to its left
//! (`tests/integration/architecture.rs` checks it):
//!
//! ```text
//! files, text, tables, archive, config, seed, metrics, decision
//!    ↓
//!  audio → features → augment → dataset → models → pretrained → training → tracking → evaluation → bundle → experiments → serve → cli
//! ```
//!
//! | module | turns |
//! |---|---|
//! | [`audio`] | bytes into mono samples at one rate |
//! | [`features`] | samples into `[bins, frames]`, the only front end there is |
//! | [`augment`] | training clips into other ones, by the seed |
//! | [`dataset`] | files and labels into batches |
//! | [`models`] | `[batch, bins, frames]` into logits `[batch, num_classes]` |
//! | [`pretrained`] | published files of weights into tensors of a network |
//! | [`training`] | a recipe into a run directory |
//! | [`tracking`] | the epochs of a run into TensorBoard files and calls of an MLflow server |
//! | [`evaluation`] | predictions into numbers, tables and plots |
//! | [`bundle`] | a run into one portable, verified file, and that file into answers |
//! | [`experiments`] | a recipe into several runs that belong together: folds, sweeps, ensembles |
//! | [`serve`] | a bundle into an HTTP server |
//! | [`cli`] | words into all of the above |

pub mod archive;
pub mod audio;
pub mod augment;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod dataset;
pub mod decision;
pub mod evaluation;
pub mod experiments;
pub mod features;
pub mod files;
pub mod metrics;
pub mod models;
pub mod pretrained;
pub mod seed;
pub mod serve;
pub mod tables;
pub mod text;
pub mod tracking;
pub mod training;
