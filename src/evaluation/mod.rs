//! Predictions → numbers, tables and plots: plain slices and files, no network.
//!
//! [`Predictions`] is one part of the data with the scores each clip got. [`write_report`] turns it into the files
//! people keep, all computed from the same [`crate::metrics`]; [`compare`] puts several runs side by side. Plots
//! are SVG text ([`plots`]); pages are self-contained HTML without scripts. Equal input gives equal bytes.

pub mod compare;
mod error;
mod evaluate;
mod inspection;
mod json;
mod multi_label;
mod page;
pub mod plots;
mod predictions;
mod report;

pub use compare::Comparison;
pub use error::Error;
pub use evaluate::{Evaluated, Figure, evaluate_run};
pub use inspection::inspection_page;
pub use predictions::{PredictionRow, Predictions};
pub use report::{ReportInput, protocol, write_report};
