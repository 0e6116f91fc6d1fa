//! Scores and targets → numbers. Pure functions on slices; no file, no label, no network.
//!
//! Scores and targets of `n` clips are row-major `[n, num_classes]`; a target row is one-hot for a
//! single-label task and multi-hot for a multi-label one. All sums are f64 and run in the order of the clips, so equal input gives equal bits.
//! Numbers agree with scikit-learn 1.9 (`tests/fixtures/metrics`). A mean over no clip is NaN: nothing was
//! measured, and 0 would be a claim.

mod classification;
mod confusion;
mod interval;
mod lwlrap;
mod multi_label;
mod report;

pub use classification::{accuracy, argmax, is_hit, log_loss, sigmoid, softmax, top_k_accuracy};
pub use confusion::{ConfusedPair, Confusion};
pub use interval::{Interval, MeanAndDeviation, wilson};
pub use lwlrap::{Lwlrap, precision_sum};
pub use multi_label::{average_precision, binary_log_loss};
pub use report::{ClassScores, ClassificationReport, Overall};
