//! `oido import`: published weights → the local store, where recipes find them by name.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use serde_json::json;

use crate::bundle::{self, BundleConfig};
use crate::cli::{Exit, Output};
use crate::config;
use crate::features::{Extractor, FeatureShape};
use crate::files::sha256;
use crate::models::ModelConfig;
use crate::models::zoo::zoo;
use crate::pretrained::{
    self, Described, Draft, Error, LeaveOut, Meta, Outline, PublishedTensors, Source, SourceFile, Store,
    Translated,
};
use crate::text;

/// Names of tensors left out that are shown; `meta.json` has all.
const SHOWN: usize = 4;

/// Arguments of `oido import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A .pth, .safetensors, .h5, .weights.h5 or .keras file, a Hugging Face folder, or a run directory or bundle of oido;
    /// several, when parts of one network are published apart.
    #[arg(required_unless_present_any = ["list", "from"])]
    pub sources: Vec<PathBuf>,
    /// Fetch the weights from the Hugging Face hub (or take them from its cache): hub:ORGANISATION/NAME@REVISION.
    #[arg(long, value_name = "hub:REPO@REV", conflicts_with = "sources")]
    pub from: Option<String>,
    /// The network the weights are of, by its name in `oido models`; runs, bundles and an AST's folder know theirs.
    #[arg(long)]
    pub model: Option<String>,
    /// An option of the network, as in `--set variant=keras`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "model")]
    pub sets: Vec<String>,
    /// The name in the store, for `[training] weights`.
    #[arg(long, required_unless_present = "list")]
    pub name: Option<String>,
    /// Bins and frames of the input, for networks whose layers depend on them [default: those of `oido models`].
    #[arg(long, value_name = "BINSxFRAMES")]
    pub input: Option<Input>,
    /// Leave out the head; without this it is kept, and used by runs with as many classes.
    #[arg(long)]
    pub without_head: bool,
    /// Leave out tensors whose published names begin with this; may be repeated.
    #[arg(long = "leave-out", value_name = "PREFIX")]
    pub leave_out: Vec<String>,
    /// The licence of the weights, for the record [default: what the folder's model card says].
    #[arg(long, value_name = "TEXT")]
    pub licence: Option<String>,
    /// List what the store holds.
    #[arg(long, conflicts_with_all = ["sources", "from", "model", "name", "without_head", "leave_out", "licence"])]
    pub list: bool,
}

/// `128x173`.
#[derive(Debug, Clone, Copy)]
pub struct Input(FeatureShape);

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('x').and_then(|(bins, frames)| Some((bins.parse().ok()?, frames.parse().ok()?)));
        let (bins, frames) = numbers.ok_or("give bins and frames, as in 128x173")?;
        Ok(Self(FeatureShape { bins, frames }))
    }
}

/// Runs `oido import`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let store = Store::open()?;
    let Some(name) = &args.name else { return list(&store, output) };
    store.check_free(name)?;
    for source in &args.sources {
        std::fs::metadata(source).with_context(|| format!("{}: cannot open", source.display()))?;
    }
    let named = args.model.as_ref().map(|model| network(model, args)).transpose()?;
    let sources = match &args.from {
        None => args.sources.clone(),
        Some(repository) => match fetch(repository, &store, output)? {
            Ok(folder) => vec![folder],
            Err(interrupted) => return Ok(interrupted),
        },
    };
    let (draft, translated) = match (sources.as_slice(), named) {
        ([source], named) => match own(source)? {
            Some(own) => from_oido(source, &own, args)?,
            None => from_one(source, named, args)?,
        },
        (sources, Some((model, input))) => of_named(pretrained::read_together(sources)?, model, input, args)?,
        (_, None) => return Err(unknown_network()),
    };
    let meta = store.add(draft, &translated.tensors)?;
    if args.from.is_some() && sources[0].starts_with(store.downloads()) {
        // The store has what was needed of it.
        let _ = std::fs::remove_dir_all(&sources[0]);
    }
    if output.json() {
        output.json_line(&serde_json::to_value(&meta)?);
    } else {
        output.data(&describe(&meta, &translated));
    }
    output.say(&format!(
        "kept in {}; use it with --set training.weights={name}",
        store.folder().join(name).display()
    ));
    if !meta.source.front_end.is_empty() {
        output.say(&format!("it was trained on features of --set {}", meta.source.front_end.join(" --set ")));
    }
    Ok(Exit::Done)
}

/// A published file, or a folder, which may tell of what network it is.
fn from_one(
    source: &Path,
    named: Option<(ModelConfig, FeatureShape)>,
    args: &Args,
) -> anyhow::Result<(Draft, Translated)> {
    let Some(Described { model, front_end }) = pretrained::described(source)? else {
        let (model, input) = named.ok_or_else(unknown_network)?;
        return of_named(pretrained::read(source)?, model, input, args);
    };
    if named.is_some_and(|(named, _)| named.name() != model.name()) {
        let name = model.name();
        bail!("{} is of the network {name} by its config.json; leave out --model", source.display());
    }
    let given = config::parse(&toml::to_string(&model)?, &args.sets, "config.json")?;
    let origin = source.join("config.json").display().to_string();
    pretrained::check_same(&model, &given).map_err(misfit(origin, &given))?;
    let (model, input) = with_input(given, args)?;
    let (mut draft, translated) = draft(pretrained::read(source)?, model, input, args)?;
    draft.source.front_end = front_end;
    Ok((draft, translated))
}

/// The folder with the repository's files, or how the program ends when it is asked to stop.
#[cfg(feature = "hub")]
fn fetch(repository: &str, store: &Store, output: &Output) -> anyhow::Result<Result<PathBuf, Exit>> {
    use super::fetch::Show;
    use crate::cli::interrupt::Interrupt;
    use crate::pretrained::{Hub, Repository};
    use std::sync::atomic::Ordering;

    let repository: Repository = repository.parse().map_err(|reason| anyhow!("--from: {reason}"))?;
    let interrupt = Interrupt::install()?;
    let show = Show::new(output);
    let hub = Hub::from_environment();
    let folder = hub.folder(&repository, &store.downloads(), interrupt.flag(), &|event| show.event(event));
    show.clear();
    if interrupt.flag().load(Ordering::Relaxed) {
        output.say("stopped; the same command goes on from here");
        return Ok(Err(Exit::Interrupted(interrupt.exit_code())));
    }
    let folder = folder?;
    output.say(&format!("{repository} lies in {}", folder.display()));
    Ok(Ok(folder))
}

#[cfg(not(feature = "hub"))]
fn fetch(repository: &str, _: &Store, _: &Output) -> anyhow::Result<Result<PathBuf, Exit>> {
    bail!(
        "{repository} cannot be fetched: this program was built without the feature `hub`; build it with \
         `cargo install --path . --features hub`, or fetch the files by other means and import their folder"
    )
}

fn describe(meta: &Meta, translated: &Translated) -> String {
    let head = match meta.num_classes {
        Some(classes) => format!("head of {classes} classes"),
        None => "no head".to_owned(),
    };
    let variant = meta.model.variant().map_or_else(String::new, |variant| format!(" ({variant})"));
    let mut text = format!(
        "{}: {}{variant}, {} tensors, {} numbers, {head}",
        meta.name,
        meta.model.name(),
        translated.tensors.len(),
        meta.parameters
    );
    if !translated.left_out.is_empty() {
        let shown = translated.left_out.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        text += &format!("; left out: {shown}");
        match translated.left_out.len().saturating_sub(SHOWN) {
            0 => {}
            more => text += &format!(" and {more} more"),
        }
    }
    match &meta.source.licence {
        Some(licence) => text += &format!("; licence: {licence}"),
        None if meta.source.layout.is_some() => text += "; licence: unknown, ask the publisher",
        None => {}
    }
    text
}

/// What a run directory or a bundle holds; nothing for other files.
fn own(path: &Path) -> anyhow::Result<Option<(BundleConfig, Vec<u8>)>> {
    if path.join("recipe.toml").is_file() {
        let parts = bundle::parts_of_run(path)?;
        return Ok(Some((parts.config, parts.weights)));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.join("labels.json").is_file() || name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        let bundle = bundle::open(path)?;
        return Ok(Some((bundle.config, bundle.weights)));
    }
    Ok(None)
}

fn from_oido(
    path: &Path,
    (config, weights): &(BundleConfig, Vec<u8>),
    args: &Args,
) -> anyhow::Result<(Draft, Translated)> {
    if args.model.is_some() {
        bail!("{} knows its network; leave out --model", path.display());
    }
    let input = Extractor::new(&config.audio, &config.features)?.shape();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("model.safetensors");
    crate::files::write_file(&file, weights)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = vec![SourceFile { name, sha256: sha256(weights) }];
    let published = PublishedTensors { files, ..pretrained::read(&file)? };
    draft(published, config.model.clone(), input, args)
}

fn unknown_network() -> anyhow::Error {
    let names: Vec<&str> = zoo().iter().map(|row| row.config.name()).collect();
    anyhow!("which network are the weights of? give --model with one of {}", names.join(", "))
}

/// The network `--model` and its options, and its input.
fn network(model: &str, args: &Args) -> anyhow::Result<(ModelConfig, FeatureShape)> {
    let text = format!("name = {}", toml::Value::String(model.to_owned()));
    let config: ModelConfig = config::parse(&text, &args.sets, "--model")?;
    with_input(config, args)
}

/// The network with `--input`, or the input that it has in the zoo.
fn with_input(config: ModelConfig, args: &Args) -> anyhow::Result<(ModelConfig, FeatureShape)> {
    let row = zoo().into_iter().find(|row| row.config.name() == config.name());
    let input = args.input.map(|Input(input)| input).or(row.map(|row| row.input));
    let input = input.ok_or_else(|| anyhow!("give --input with the bins and frames of {}", config.name()))?;
    Ok((config, input))
}

fn misfit(origin: String, model: &ModelConfig) -> impl FnOnce(String) -> Error {
    move |problems| Error::Misfit { origin, model: model.name().to_owned(), problems }
}

/// [`draft`] of the network that `--model` names. Its variant is that of the file, unless `--set` says one.
fn of_named(
    published: PublishedTensors,
    model: ModelConfig,
    input: FeatureShape,
    args: &Args,
) -> anyhow::Result<(Draft, Translated)> {
    let is_variant = |set: &String| set.split_once('=').is_some_and(|(key, _)| key.trim() == "variant");
    if model.variant().is_none() || args.sets.iter().any(is_variant) {
        return draft(published, model, input, args);
    }
    let outline = Outline::new(&model, input)?;
    let variant = pretrained::variant_of(&published.tensors, &model, &outline)
        .map_err(misfit(published.origin(), &model))?;
    let Some(variant) = variant else {
        bail!(
            "{}: its names do not tell which {} it is; give --set variant=torch, or --set variant=keras (as for timm's \
             tf_ models)",
            published.origin(),
            model.name()
        );
    };
    draft(published, model.with_variant(variant), input, args)
}

/// Finds the place of every tensor.
fn draft(
    published: PublishedTensors,
    model: ModelConfig,
    input: FeatureShape,
    args: &Args,
) -> anyhow::Result<(Draft, Translated)> {
    let outline = Outline::new(&model, input)?;
    let leave_out = LeaveOut { head: args.without_head, prefixes: &args.leave_out };
    let origin = published.origin();
    let translated = pretrained::translate(published.tensors, &model, &outline, leave_out)
        .map_err(misfit(origin, &model))?;
    let source = Source {
        files: published.files,
        repository: args.from.clone(),
        layout: translated.layout,
        left_out: translated.left_out.clone(),
        front_end: Vec::new(),
        licence: args.licence.clone().or(published.terms.licence),
    };
    let num_classes = translated.num_classes;
    let name = args.name.clone().unwrap_or_default();
    let notices = published.terms.notices;
    Ok((Draft { name, model, input, num_classes, source, notices }, translated))
}

/// Prints the store as a table.
fn list(store: &Store, output: &Output) -> anyhow::Result<Exit> {
    let mut rows = vec![
        ["name", "model", "input", "classes", "parameters", "from", "imported"].map(str::to_owned).to_vec(),
    ];
    let mut broken = false;
    for entry in store.list()? {
        let meta = match entry {
            Ok(meta) => meta,
            Err(error) => {
                broken = true;
                output.warn(&error.to_string());
                continue;
            }
        };
        if output.json() {
            output.json_line(&json!(meta));
        }
        rows.push(vec![
            meta.name,
            meta.model.name().to_owned(),
            format!("{} x {}", meta.bins, meta.frames),
            meta.num_classes.map_or_else(|| "-".to_owned(), |classes| classes.to_string()),
            meta.parameters.to_string(),
            meta.source.origin(),
            meta.imported,
        ]);
    }
    if !output.json() {
        output.data(&text::table(&rows, 3).join("\n"));
    }
    output.say(&format!("the store is {}", store.folder().display()));
    Ok(if broken { Exit::BadInputs } else { Exit::Done })
}
