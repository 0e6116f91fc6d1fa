//! One subcommand, one file.

pub mod prepare;
