//! `oido prepare librispeech-mix`: recordings of one person each → mixtures of several.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::prepare::{some_of, write_bad};
use crate::cli::inputs_stay::refuse_to_replace;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::task_bar;
use crate::cli::{Exit, Output};
use crate::config::ConfigError;
use crate::dataset::mix::{Corpus, MixConfig, MixFolder, Mixer, Mode, Tally};
use crate::dataset::{Error, Split};
use crate::files::check_writable;
use crate::seed::Seed;
use crate::text;

/// Arguments of `oido prepare librispeech-mix`.
#[derive(Debug, clap::Args)]
pub struct MixArgs {
    /// Folder LibriSpeech, with SPEAKERS.TXT and train-clean-100, dev-clean, test-clean or others, or the folder it is in.
    pub root: PathBuf,
    /// Folder to write the mixtures and their manifest.csv to; with --virtual, the manifest. Recordings that cannot be
    /// used are listed beside it in NAME.bad.csv. The same command goes on where it was stopped.
    #[arg(long)]
    pub out: PathBuf,
    /// Write only the manifest; its mixtures are rendered whenever they are wanted.
    #[arg(long = "virtual")]
    pub is_virtual: bool,
    /// Mixtures that train.
    #[arg(long, default_value_t = MixConfig::default().train)]
    pub train: usize,
    /// Mixtures that choose the epoch.
    #[arg(long, default_value_t = MixConfig::default().valid)]
    pub valid: usize,
    /// Mixtures that are reported.
    #[arg(long, default_value_t = MixConfig::default().test)]
    pub test: usize,
    /// Numbers of speakers, equally often; 0 is noise alone.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub counts: Vec<usize>,
    /// How voices are chosen and added.
    #[arg(long, value_enum, default_value_t = ModeArg::LevelEqualised)]
    pub mode: ModeArg,
    /// Length of a mixture.
    #[arg(long, default_value_t = MixConfig::default().seconds)]
    pub seconds: f64,
    /// Backgrounds, equally likely: white, pink, brown, or a folder of recordings.
    #[arg(long, value_delimiter = ',')]
    pub noise: Vec<String>,
    /// Range of the ratio of voices to noise in dB, LOW..HIGH.
    #[arg(long, value_parser = range, allow_hyphen_values = true, default_value = "0..20")]
    pub snr: Range,
    /// Voices are heard in a synthetic room, another one in each mixture.
    #[arg(long)]
    pub reverb: bool,
    /// Range of the RMS of a mixture in dB of full scale, LOW..HIGH.
    #[arg(long, value_parser = range, allow_hyphen_values = true, default_value = "-40..-25")]
    pub level: Range,
    /// Least share of the mixture in which each voice is active.
    #[arg(long, default_value_t = MixConfig::default().min_active)]
    pub min_active: f64,
    /// Least share of the mixture in which all voices are active at once.
    #[arg(long, default_value_t = MixConfig::default().min_overlap)]
    pub min_overlap: f64,
    /// The same seed makes the same mixtures.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

/// `LOW..HIGH`.
pub type Range = (f64, f64);

/// [`Mode`] as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ModeArg {
    /// Sum divided by the number of voices, of any cuts of anybody; its loudness tells the number.
    Average,
    /// Different speakers, all active and equally loud, and a level that tells nothing.
    LevelEqualised,
}

fn range(text: &str) -> Result<Range, String> {
    let parts = text.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    parts.ok_or_else(|| format!("`{text}` is no range; write it as LOW..HIGH"))
}

impl MixArgs {
    fn config(&self) -> MixConfig {
        MixConfig {
            train: self.train,
            valid: self.valid,
            test: self.test,
            counts: self.counts.clone(),
            mode: match self.mode {
                ModeArg::Average => Mode::Average,
                ModeArg::LevelEqualised => Mode::LevelEqualised,
            },
            seconds: self.seconds,
            noise: self.noise.clone(),
            snr: [self.snr.0, self.snr.1],
            reverb: self.reverb,
            level: [self.level.0, self.level.1],
            min_active: self.min_active,
            min_overlap: self.min_overlap,
        }
    }
}

/// Runs `oido prepare librispeech-mix`.
pub(super) fn run(args: &MixArgs, output: &Output) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::install()?;
    match mix(args, &interrupt, output).or_else(|error| Err(by_flag(error.downcast::<Error>()?))) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped)) => {
            output.say("stopped; the same command goes on with it");
            Ok(Exit::Interrupted(interrupt.exit_code()))
        }
        result => result,
    }
}

/// The same error about the flag that was typed, where the library names the key of a recipe.
fn by_flag(error: Error) -> anyhow::Error {
    match error {
        Error::Config(ConfigError::Field { field, reason }) => {
            let flag = field.strip_prefix("data.mix.").unwrap_or(&field).replace('_', "-");
            Error::Config(ConfigError::field(format!("--{flag}"), reason)).into()
        }
        error => error.into(),
    }
}

/// Refuses a manifest that cannot be written, or that would replace what is mixed.
fn check_manifest(path: &Path, corpus: &Corpus) -> anyhow::Result<()> {
    // Others cannot be the same file, and there are many.
    let inputs: Vec<PathBuf> = corpus.files().filter(|file| file.file_name() == path.file_name()).collect();
    refuse_to_replace(path, inputs.iter().map(PathBuf::as_path))?;
    check_writable(path).map_err(Error::io(path, "write"))?;
    Ok(())
}

fn mix(args: &MixArgs, interrupt: &Interrupt, output: &Output) -> anyhow::Result<Exit> {
    // All that can be wrong with the command is told before hours of recordings are listened to.
    let corpus = Corpus::list(&args.root, &args.config(), Seed(args.seed))?;
    let folder = if args.is_virtual {
        check_manifest(&args.out, &corpus)?;
        None
    } else {
        Some(MixFolder::claim(&args.out, &corpus)?)
    };
    let bar = task_bar("listening to recordings", 0, output);
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let mixer = Mixer::new(corpus, &progress, interrupt.flag());
    bar.finish_and_clear();
    let mixer = mixer?;
    mixer.remarks.iter().for_each(|remark| output.warn(remark));
    let bar = task_bar("mixing", args.config().total(), output);
    let (progress, stop) = (|done: usize| bar.set_position(done as u64), interrupt.flag());
    let (manifest, tally) = match &folder {
        None => (args.out.clone(), mixer.write_manifest(&args.out, &progress, stop)),
        Some(folder) => (args.out.join("manifest.csv"), mixer.write_clips(folder, &progress, stop)),
    };
    bar.finish_and_clear();
    let tally = tally?;
    let bad_list = manifest.with_extension("bad.csv");
    write_bad(&mixer.bad, &bad_list)?;
    if !mixer.bad.is_empty() {
        let (count, list) = (mixer.bad.len(), bad_list.display());
        let some = some_of(&mixer.bad);
        output.warn(&format!("{count} recordings are left out; all are listed in {list}{some}"));
    }
    report(&manifest, &tally, mixer.bad.len(), output);
    Ok(if mixer.bad.is_empty() { Exit::Done } else { Exit::BadInputs })
}

fn report(manifest: &Path, tally: &Tally, bad: usize, output: &Output) {
    let clips: usize = tally.values().sum();
    if output.json() {
        let rows: Vec<_> = tally
            .iter()
            .map(|((part, count, sexes), clips)| {
                json!({ "split": part, "speakers": count, "speakers_sex": sexes, "clips": clips })
            })
            .collect();
        output.json_line(&json!({ "manifest": manifest, "clips": clips, "mixtures": rows, "bad": bad }));
        return;
    }
    output.data(&format!("{}: {clips} mixtures", manifest.display()));
    table(tally).iter().for_each(|line| output.data(line));
    output.say(&format!("look at it with: oido inspect {}", manifest.display()));
}

/// One row a combination of sexes, one column a part.
fn table(tally: &Tally) -> Vec<String> {
    let mut rows = vec![vec!["speakers".to_owned(), "sexes".to_owned()]];
    rows[0].extend(Split::ALL.map(|part| part.name().to_owned()));
    let mut kinds: Vec<(usize, &String)> = tally.keys().map(|(_, count, sexes)| (*count, sexes)).collect();
    kinds.sort();
    kinds.dedup();
    for (count, sexes) in kinds {
        let clips = |part| tally.get(&(part, count, sexes.clone())).unwrap_or(&0).to_string();
        let sexes = if sexes.is_empty() { "-" } else { sexes };
        let mut row = vec![count.to_string(), sexes.to_owned()];
        row.extend(Split::ALL.map(clips));
        rows.push(row);
    }
    text::table(&rows, 2)
}
