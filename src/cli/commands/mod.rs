//! One subcommand, one file.

pub mod models;
pub mod prepare;
pub mod train;
