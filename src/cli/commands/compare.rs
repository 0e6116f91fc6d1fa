//! `oido compare`: several run directories → one table and one page.

use std::path::PathBuf;

use anyhow::Context;

use crate::cli::{Exit, Output};
use crate::evaluation::Comparison;
use crate::files::write_file;

/// Arguments of `oido compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directories, as `oido train` makes them.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Page with the table and the curves of all runs.
    #[arg(long, default_value = "compare.html", value_name = "FILE")]
    pub out: PathBuf,
}

/// Runs `oido compare`: the table (or a JSON line a run) on stdout, the page in `--out`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let comparison = Comparison::read(&args.runs)?;
    comparison.warnings().iter().for_each(|warning| output.warn(warning));
    write_file(&args.out, comparison.to_html()?).with_context(|| args.out.display().to_string())?;
    if output.json() {
        comparison.to_json().iter().for_each(|line| output.json_line(line));
    } else {
        output.data(&comparison.to_text());
    }
    output.say(&format!("wrote {}", args.out.display()));
    Ok(Exit::Done)
}
