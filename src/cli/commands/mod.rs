//! One subcommand, one file.

pub mod bundle;
pub mod compare;
pub mod cv;
pub mod ensemble;
pub mod evaluate;
pub mod features;
pub mod fetch;
pub mod import;
pub mod inspect;
pub mod mix;
pub mod models;
pub mod predict;
pub mod prepare;
pub mod quickstart;
pub mod series;
pub mod serve;
pub mod submit;
pub mod sweep;
pub mod tracking;
pub mod train;
