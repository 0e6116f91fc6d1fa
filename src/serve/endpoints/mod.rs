//! One endpoint, one function.

pub(super) mod health;
pub(super) mod invocations;
