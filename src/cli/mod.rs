//! Words in, words out: the command line. The only module that prints.

pub mod commands;
mod inputs_stay;
pub mod interrupt;
mod output;
pub mod progress;
mod sheet;

pub use output::Output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Audio classification from a folder of labelled sounds to a served, honest classifier.
#[derive(Debug, Parser)]
#[command(name = "oido", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print machine-readable JSON lines on stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no remarks on stderr; errors still appear.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole job on embedded sounds: synthesise, train, evaluate, bundle, predict.
    Quickstart(commands::quickstart::Args),
    /// Download a public data set, check it and unpack it; without a name, list them.
    Fetch(commands::fetch::Args),
    /// Prepare a manifest from a folder or data set.
    Prepare(commands::prepare::Args),
    /// Look at the recordings of a manifest: counts, formats, broken and repeated clips, leaks.
    Inspect(commands::inspect::Args),
    /// Show, plot or save the features of one recording.
    Features(commands::features::Args),
    /// Train a recipe: data in, run directory out.
    Train(commands::train::Args),
    /// Cross-validate a recipe: a run for each fold, alone or in shards, and the figures over all of them.
    Cv(commands::cv::Args),
    /// Try all combinations of some settings: a run for each, and a table of them.
    Sweep(commands::sweep::Args),
    /// Put several runs side by side: one table, one page.
    Compare(commands::compare::Args),
    /// Judge a run on its test (or validation) clips and write its report.
    Evaluate(commands::evaluate::Args),
    /// Put the scores of several runs together, and judge them as one.
    Ensemble(commands::ensemble::Args),
    /// Write the table that a Kaggle competition takes.
    Submit(commands::submit::Args),
    /// List the network architectures; with a name, the stages of one that can be frozen.
    Models(commands::models::Args),
    /// Bring published weights into the local store, for `[training] weights`; or list the store.
    Import(commands::import::Args),
    /// Pack a run directory as one portable file, or list what is in one.
    Bundle(commands::bundle::Args),
    /// Predict labels of recordings.
    Predict(commands::predict::Args),
    /// Serve a bundle over HTTP.
    Serve(commands::serve::Args),
}

impl Command {
    fn trains(&self) -> bool {
        matches!(self, Self::Quickstart(_) | Self::Train(_) | Self::Cv(_) | Self::Sweep(_))
    }
}

/// How a command that could run ended, with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: a negative answer (a leak found, a check failed).
    Negative,
    /// 3: done, with bad inputs listed.
    BadInputs,
    /// 130 or 143: ended by Ctrl-C or SIGTERM, everything saved.
    Interrupted(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Negative => 1,
            Self::BadInputs => 3,
            Self::Interrupted(code) => code,
        }
    }
}

/// Parses the command line, runs it and maps the outcome to an exit code: that of [`Exit`], 2 when the command could
/// not run, 4 when it never can (bad bundle or configuration).
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, cli.quiet);
    if cli.command.trains() {
        crate::models::keep_memory();
    }
    let result = match cli.command {
        Command::Quickstart(args) => commands::quickstart::run(&args, &output),
        Command::Fetch(args) => commands::fetch::run(&args, &output),
        Command::Prepare(args) => commands::prepare::run(&args, &output),
        Command::Inspect(args) => commands::inspect::run(&args, &output),
        Command::Features(args) => commands::features::run(&args, &output),
        Command::Train(args) => commands::train::run(&args, &output),
        Command::Cv(args) => commands::cv::run(&args, &output),
        Command::Sweep(args) => commands::sweep::run(&args, &output),
        Command::Ensemble(args) => commands::ensemble::run(&args, &output),
        Command::Submit(args) => commands::submit::run(&args, &output),
        Command::Compare(args) => commands::compare::run(&args, &output),
        Command::Evaluate(args) => commands::evaluate::run(&args, &output),
        Command::Models(args) => commands::models::run(&args, &output),
        Command::Import(args) => commands::import::run(&args, &output),
        Command::Bundle(args) => commands::bundle::run(&args, &output),
        Command::Predict(args) => commands::predict::run(&args, &output),
        Command::Serve(args) => commands::serve::run(&args, &output),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            output.error(&error);
            ExitCode::from(if is_permanent(&error) { 4 } else { 2 })
        }
    }
}

/// Whether a bundle or configuration can never work, however often the command is repeated.
fn is_permanent(error: &anyhow::Error) -> bool {
    use crate::{bundle, config::ConfigError, dataset, evaluation, experiments, pretrained, training};
    if let Some(error) = error.downcast_ref::<bundle::Error>() {
        return error.is_permanent();
    }
    if let Some(error) = error.downcast_ref::<experiments::Error>() {
        return error.is_permanent();
    }
    let dataset = |error: &dataset::Error| {
        use dataset::Error::{Config, Filter, Split};
        matches!(error, Config(_) | Filter { .. } | Split(_))
    };
    let run = match error.downcast_ref::<evaluation::Error>() {
        Some(evaluation::Error::Run(error)) => Some(error),
        _ => error.downcast_ref::<training::Error>(),
    };
    let weights = match run {
        Some(training::Error::Weights(error)) => Some(error),
        _ => error.downcast_ref::<pretrained::Error>(),
    };
    if let Some(error) = weights {
        return error.is_permanent();
    }
    match (run, error.downcast_ref::<dataset::Error>()) {
        (Some(training::Error::Config(_)), _) => true,
        (Some(training::Error::Dataset(error)), _) | (None, Some(error)) => dataset(error),
        _ => error.downcast_ref::<ConfigError>().is_some(),
    }
}
