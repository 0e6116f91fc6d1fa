//! From logits to scores, and from scores to a decision: labels, or "indeterminate" when no score is high enough.

mod config;
mod task;

pub use config::{Decision, DecisionConfig};
pub use task::Task;
