//! `oido prepare`: a folder or data set → a manifest.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::mix::{self, MixArgs};
use crate::cli::inputs_stay::{refuse_to_replace, refuse_to_replace_all_but_manifests};
use crate::cli::progress::clip_bar;
use crate::cli::{Exit, Output};
use crate::dataset::prepare::{
    Found, FsdKaggle2019Config, Source, TableConfig, prepare, prepare_fsdkaggle2019, prepare_table,
};
use crate::dataset::synth::{CityConfig, write_city};
use crate::dataset::{BadClip, Manifest, deal_folds};
use crate::files::write_file;
use crate::seed::Seed;

/// Clips named on the terminal; the full list is in a file.
const NAMED: usize = 5;

/// Arguments of `oido prepare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the recordings are laid out as.
    #[command(subcommand)]
    pub source: SourceArgs,
}

/// One layout each.
#[derive(Debug, clap::Subcommand)]
pub enum SourceArgs {
    /// UrbanSound8K: ROOT holds metadata/UrbanSound8K.csv and audio/fold1 to fold10.
    #[command(name = "urbansound8k")]
    UrbanSound8k(Common),
    /// ESC-50: ROOT holds meta/esc50.csv and audio.
    Esc50 {
        /// Where, and where to.
        #[command(flatten)]
        common: Common,
        /// Only the ten classes of ESC-10.
        #[arg(long)]
        esc10: bool,
    },
    /// FSDKaggle2019: ROOT holds train_curated.csv (Kaggle) or FSDKaggle2019.meta (Zenodo) and the folders of clips.
    #[command(name = "fsdkaggle2019")]
    FsdKaggle2019 {
        /// Where, and where to.
        #[command(flatten)]
        common: Common,
        /// Only these subsets, separated by commas [default: all whose folders are there].
        #[arg(long, value_delimiter = ',', value_parser = ["curated", "noisy", "test"])]
        subset: Vec<String>,
        /// Keep the six curated clips that the data set's authors declare wrong or silent.
        #[arg(long)]
        keep_known_bad: bool,
    },
    /// A folder for each class: ROOT/LABEL/…, or ROOT/train/LABEL/…, ROOT/valid/… and ROOT/test/….
    Folders(Common),
    /// Any table of file names and labels: ROOT is the table, separated by commas, semicolons or tabs.
    Table(TableArgs),
    /// Mixtures of speakers from LibriSpeech: how many people talk in one second.
    #[command(name = "librispeech-mix")]
    LibrispeechMix(MixArgs),
    /// Make the demo city: ten classes of synthetic street sounds, written to ROOT.
    Synth(SynthArgs),
}

/// Arguments of every layout.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Folder of the recordings (or, for table, the table).
    pub root: PathBuf,
    /// Manifest to write; clips that cannot be used are listed beside it in NAME.bad.csv.
    #[arg(long, default_value = "manifest.csv")]
    pub out: PathBuf,
    /// Do not decode the clips to find broken ones.
    #[arg(long)]
    pub no_check: bool,
    /// Deal the clips to K folds, in whole groups and stratified, and write them as the column fold; for data sets
    /// that have none. Clips marked test get none.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..))]
    pub folds: Option<u32>,
    /// The same seed deals the same folds.
    #[arg(long, default_value_t = 42, requires = "folds")]
    pub seed: u64,
}

/// Arguments of `oido prepare table`.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    #[command(flatten)]
    common: Common,
    /// Column of file names.
    #[arg(long, default_value = "path")]
    path_column: String,
    /// Column of labels; several labels are joined by commas.
    #[arg(long, default_value = "labels")]
    label_column: String,
    /// Column of parts: train, valid (or val, validation), test.
    #[arg(long)]
    split_column: Option<String>,
    /// Column of fold numbers.
    #[arg(long)]
    fold_column: Option<String>,
    /// Column of recordings, speakers or whatever must not cross a split.
    #[arg(long)]
    group_column: Option<String>,
    /// Folder that file names start from [default: the folder of the table].
    #[arg(long)]
    audio_dir: Option<PathBuf>,
}

/// Arguments of `oido prepare synth`.
#[derive(Debug, clap::Args)]
pub struct SynthArgs {
    /// Folder to write the sounds to.
    pub root: PathBuf,
    /// Manifest to write [default: ROOT/manifest.csv].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Clips of each class.
    #[arg(long, default_value_t = CityConfig::default().clips_per_class)]
    pub per_class: usize,
    /// The same seed makes the same files.
    #[arg(long, default_value_t = CityConfig::default().seed.0)]
    pub seed: u64,
}

/// Runs `oido prepare`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.source {
        SourceArgs::UrbanSound8k(common) => layout(Source::UrbanSound8k, common, output),
        SourceArgs::Esc50 { common, esc10: false } => layout(Source::Esc50, common, output),
        SourceArgs::Esc50 { common, esc10: true } => layout(Source::Esc10, common, output),
        SourceArgs::FsdKaggle2019 { common, subset, keep_known_bad } => {
            let config = FsdKaggle2019Config { subsets: subset.clone(), keep_known_bad: *keep_known_bad };
            finish(prepare_fsdkaggle2019(&common.root, &config)?, common, output)
        }
        SourceArgs::Folders(common) => layout(Source::Folders, common, output),
        SourceArgs::Table(args) => {
            let config = TableConfig {
                path: args.path_column.clone(),
                labels: args.label_column.clone(),
                split: args.split_column.clone(),
                fold: args.fold_column.clone(),
                group: args.group_column.clone(),
                audio_dir: args.audio_dir.clone(),
            };
            finish(prepare_table(&args.common.root, &config)?, &args.common, output)
        }
        SourceArgs::LibrispeechMix(args) => mix::run(args, output),
        SourceArgs::Synth(args) => synth(args, output),
    }
}

fn layout(source: Source, common: &Common, output: &Output) -> anyhow::Result<Exit> {
    finish(prepare(source, &common.root)?, common, output)
}

/// Checks the clips, writes both lists and tells what was found.
fn finish(found: Found, common: &Common, output: &Output) -> anyhow::Result<Exit> {
    refuse_to_replace(&common.out, [common.root.as_path()])?;
    refuse_to_replace_all_but_manifests(&common.out)?;
    if common.folds.is_some() && found.manifest.entries.iter().any(|entry| entry.fold.is_some()) {
        bail!("--folds: the data set has folds of its own, which others report on; leave --folds away");
    }
    found.remarks.iter().for_each(|remark| output.warn(remark));
    if !found.excluded.is_empty() {
        let clips = lines(&found.excluded);
        output.warn(&format!("left out, as the data set's authors declare them unusable:{clips}"));
    }
    let missing = found.bad.len();
    let mut found = if common.no_check { found } else { check(found, output) };
    let bad_list = common.out.with_extension("bad.csv");
    write_bad(&found.bad, &bad_list)?;
    if !found.bad.is_empty() {
        let (count, broken) = (found.bad.len(), found.bad.len() - missing);
        output.warn(&format!(
            "{count} clips are left out: {broken} cannot be decoded, {missing} are missing or not usable as listed; \
             all are listed in {}{}",
            bad_list.display(),
            some_of(&found.bad)
        ));
    }
    if !found.damaged.is_empty() {
        let (count, clips) = (found.damaged.len(), some_of(&found.damaged));
        output.warn(&format!("{count} clips are cut off or damaged in places, and kept{clips}"));
    }
    if found.manifest.entries.is_empty() {
        bail!("{}: not one clip can be decoded; see {}", common.root.display(), bad_list.display());
    }
    if let Some(k) = common.folds {
        let folds = deal_folds(&found.manifest, k, Seed(common.seed))?;
        found.manifest.entries.iter_mut().zip(folds).for_each(|(entry, fold)| entry.fold = fold);
    }
    found.manifest.write(&common.out)?;
    report(&found.manifest, &common.out, found.bad.len(), output);
    Ok(if found.bad.is_empty() { Exit::Done } else { Exit::BadInputs })
}

fn check(found: Found, output: &Output) -> Found {
    let bar = clip_bar(found.manifest.entries.len(), output);
    let found = found.check(&|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    found
}

/// The first few clips with their reasons, each on a line of its own.
pub(super) fn some_of(clips: &[BadClip]) -> String {
    let mut text = lines(clips.get(..NAMED).unwrap_or(clips));
    if clips.len() > NAMED {
        text += &format!("\n  … and {} more", clips.len() - NAMED);
    }
    text
}

fn lines(clips: &[BadClip]) -> String {
    clips.iter().map(|clip| format!("\n  {}: {}", clip.path.display(), clip.reason)).collect()
}

/// Writes the list, or removes an old one when there is nothing to list.
pub(super) fn write_bad(bad: &[BadClip], path: &Path) -> anyhow::Result<()> {
    let context = || format!("{}: cannot write the list of bad clips", path.display());
    if bad.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(context),
            _ => Ok(()),
        };
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["path", "reason"])?;
    for clip in bad {
        writer.write_record([clip.path.to_string_lossy().as_ref(), &clip.reason])?;
    }
    write_file(path, writer.into_inner()?).with_context(context)
}

fn synth(args: &SynthArgs, output: &Output) -> anyhow::Result<Exit> {
    let config =
        CityConfig { clips_per_class: args.per_class, seed: Seed(args.seed), ..CityConfig::default() };
    let out = args.out.clone().unwrap_or_else(|| args.root.join("manifest.csv"));
    refuse_to_replace_all_but_manifests(&out)?;
    let manifest = write_city(&args.root, &config)?;
    manifest.write(&out)?;
    report(&manifest, &out, 0, output);
    Ok(Exit::Done)
}

fn report(manifest: &Manifest, out: &Path, bad: usize, output: &Output) {
    let (clips, labels) = (manifest.entries.len(), manifest.labels.len());
    if output.json() {
        output.json_line(&json!({ "manifest": out, "clips": clips, "labels": manifest.labels, "bad": bad }));
        return;
    }
    output.data(&format!("{}: {clips} clips, {labels} labels", out.display()));
    output.say(&format!("look at it with: oido inspect {}", out.display()));
}
