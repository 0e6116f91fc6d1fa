//! `oido prepare`: a folder or data set → a manifest.

use crate::cli::{Exit, Output};

/// Arguments of `oido prepare`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `oido prepare`.
pub fn run(_args: &Args, _output: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}
