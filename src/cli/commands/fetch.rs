//! `oido fetch`: a public data set → a folder that `oido prepare` reads.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::interrupt::Interrupt;
use crate::cli::{Exit, Output};
use crate::dataset::fetch::{CATALOG, Choice, DataSet, Error, Event, Options, Part, Patience, fetch};
use crate::text::{table, wrap};

/// Arguments of `oido fetch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data set; without it, all are listed.
    #[arg(value_parser = PossibleValuesParser::new(CATALOG.iter().map(|set| set.name)))]
    pub name: Option<String>,
    /// List the data sets with size, number of files, licence and terms.
    #[arg(long)]
    pub list: bool,
    /// Folder for the data; the archives lie there too while they are needed, and one that is there already is used.
    #[arg(long, default_value = "data")]
    pub out: PathBuf,
    /// Only these subsets of NAME, separated by commas; --list names them.
    #[arg(long, value_delimiter = ',')]
    pub subset: Vec<String>,
    /// The terms of use that `oido fetch NAME` shows are accepted.
    #[arg(long)]
    pub accept_terms: bool,
    /// Fetch the files, by their names, from below this address instead of the publisher's; the checksums stay the
    /// published ones. For fsdkaggle2019 it also holds the Zenodo record, as 3612637.json.
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Do not remove the archives when they are unpacked.
    #[arg(long)]
    pub keep_archives: bool,
}

/// Runs `oido fetch`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if !args.subset.is_empty() && (args.name.is_none() || args.list) {
        bail!(
            "--subset is for fetching: name the data set, as in `oido fetch librispeech --subset dev-clean`"
        );
    }
    let set = args.name.as_deref().and_then(DataSet::find).filter(|_| !args.list);
    let Some(set) = set else {
        list(output);
        return Ok(Exit::Done);
    };
    let parts = set.choose(&args.subset)?;
    output.say(&about(set, &parts, args));
    if !args.accept_terms {
        match output.confirm(&format!("Do you accept the terms of use of {} ({})?", set.title, set.terms_url))
        {
            Some(true) => {}
            Some(false) => {
                output.say("nothing was fetched");
                return Ok(Exit::Negative);
            }
            None => bail!(
                "{}: its terms of use are not accepted; read them above and at {}, then add --accept-terms",
                set.name,
                set.terms_url
            ),
        }
    }
    let interrupt = Interrupt::install()?;
    let options = Options {
        out: args.out.clone(),
        mirror: args.mirror.clone(),
        keep_archives: args.keep_archives,
        patience: Patience::default(),
    };
    let show = Show::new(output);
    let fetched = fetch(set, &parts, &options, &|event| show.event(event), interrupt.flag());
    show.clear();
    let folder = match fetched {
        Ok(folder) => folder,
        Err(error @ Error::Stopped) => {
            output.say(&error.to_string());
            return Ok(Exit::Interrupted(interrupt.exit_code()));
        }
        Err(error) => return Err(error.into()),
    };
    let next = set.next.replace("{}", &folder.display().to_string());
    if output.json() {
        output.json_line(&json!({ "event": "done", "folder": folder, "next": next }));
    } else {
        output.data(&folder.display().to_string());
        output.say(&format!("next: {next}"));
    }
    Ok(Exit::Done)
}

/// What will be fetched, and on what terms.
fn about(set: &DataSet, parts: &[&Part], args: &Args) -> String {
    let files: Vec<_> = parts.iter().flat_map(|part| part.files).collect();
    let checked = match (set.record, files.iter().all(|file| file.md5.is_some())) {
        (Some(number), _) if args.mirror.is_some() => {
            format!("sizes and md5 are those of the mirror's {number}.json")
        }
        (Some(number), _) => format!("sizes and md5 are those of Zenodo record {number}"),
        (None, true) => "checked by size and md5".to_owned(),
        (None, false) => "no checksum is published; the contents are counted".to_owned(),
    };
    format!(
        "{}: {}\nLicence   {}\nTerms     {}\n          {}\nDownload  {} in {} file{} to {}; {checked}",
        set.title,
        set.summary,
        set.licence,
        wrap(set.terms, 90).join("\n          "),
        set.terms_url,
        bytes(set, parts),
        files.len(),
        if files.len() == 1 { "" } else { "s" },
        args.out.display(),
    )
}

/// The size of a download as text.
fn bytes(set: &DataSet, parts: &[&Part]) -> String {
    match set.bytes(parts) {
        Some((bytes, false)) => DecimalBytes(bytes).to_string(),
        Some((bytes, true)) => format!("about {}", DecimalBytes(bytes)),
        None => "an unknown number of bytes".to_owned(),
    }
}

/// The parts that are fetched without `--subset`.
fn usual(set: &DataSet) -> Vec<&Part> {
    set.parts.iter().filter(|part| part.choice != Choice::Asked).collect()
}

fn list(output: &Output) {
    if output.json() {
        CATALOG.iter().for_each(|set| output.json_line(&describe(set)));
        return;
    }
    let header = ["name", "licence", "terms", "download", "files"].map(str::to_owned).to_vec();
    let row = |set: &DataSet| {
        let parts = usual(set);
        let files = parts.iter().map(|part| part.files.len()).sum::<usize>();
        let texts = [set.name, set.licence, set.terms_url].map(str::to_owned);
        [texts.as_slice(), &[bytes(set, &parts), files.to_string()]].concat()
    };
    let rows: Vec<_> = std::iter::once(header).chain(CATALOG.iter().map(row)).collect();
    let mut lines = table(&rows, 3);
    for set in CATALOG {
        let name = |part: &Part| match set.bytes(&[part]) {
            Some((bytes, _)) => format!("{} ({})", part.name, DecimalBytes(bytes)),
            None => part.name.to_owned(),
        };
        let named = |choice| {
            let parts = set.parts.iter().filter(|part| part.choice == choice);
            parts.map(name).collect::<Vec<_>>().join(", ")
        };
        match (named(Choice::Default), named(Choice::Asked)) {
            (usual, _) if usual.is_empty() => {}
            (usual, asked) if asked.is_empty() => lines.push(format!("{} --subset: {usual}", set.name)),
            (usual, asked) => {
                lines.push(format!("{} --subset: {usual}; and only when named: {asked}", set.name));
            }
        }
    }
    output.data(&lines.join("\n"));
}

fn describe(set: &DataSet) -> Value {
    let parts = usual(set);
    let size = set.bytes(&parts);
    let subset = |part: &Part| {
        json!({
            "name": part.name, "default": part.choice == Choice::Default, "clips": part.contents.clips,
            "bytes": set.bytes(&[part]).map(|(bytes, _)| bytes),
        })
    };
    json!({
        "name": set.name, "title": set.title, "summary": set.summary, "licence": set.licence,
        "terms": set.terms, "terms_url": set.terms_url,
        "bytes": size.map(|(bytes, _)| bytes), "rough": size.is_some_and(|(_, rough)| rough),
        "files": parts.iter().flat_map(|part| part.files).map(|file| file.name).collect::<Vec<_>>(),
        "subsets": set.parts.iter().filter(|part| part.choice != Choice::Always).map(subset).collect::<Vec<_>>(),
    })
}

/// Events as bars on a terminal, as lines elsewhere, as JSON lines with `--json`.
pub(super) struct Show<'a> {
    output: &'a Output,
    /// The bar that is drawn, and what it is about.
    bar: RefCell<Option<(String, ProgressBar)>>,
}

impl<'a> Show<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, bar: RefCell::new(None) }
    }

    pub(super) fn event(&self, event: Event) {
        match event {
            Event::Downloading { file, done, total } => self.bar("fetching", file, done, total),
            Event::Checking { file, done, total } => self.bar("checking", file, done, Some(total)),
            Event::Unpacking { file, done } => self.bar("unpacking", file, done, None),
            Event::Waiting { file, reason, wait } => {
                self.clear();
                let (file, seconds) = (file.display(), wait.as_secs_f32());
                self.output.say(&format!("{file}: {reason}; trying again in {seconds:.0} s"));
            }
            Event::Fetched { file, before, md5 } => {
                let how = if before { "found" } else { "fetched" };
                let checked = md5.map_or_else(|| "without checksum".to_owned(), |md5| format!("md5 {md5}"));
                self.line(
                    &json!({ "event": how, "file": file, "md5": md5 }),
                    &format!(
                        "{how} {}, {checked}{}",
                        file.display(),
                        if before { "; it stays there" } else { "" }
                    ),
                );
            }
            Event::Placed { folder, clips } => self.line(
                &json!({ "event": "placed", "folder": folder, "clips": clips }),
                &format!("unpacked {}", folder.display()),
            ),
            Event::Present { folder } => self.line(
                &json!({ "event": "present", "folder": folder }),
                &format!("{} is already there and complete", folder.display()),
            ),
        }
    }

    fn line(&self, value: &Value, text: &str) {
        self.clear();
        if self.output.json() {
            self.output.json_line(value);
        } else {
            self.output.say(text);
        }
    }

    /// Moves the bar, which starts when its subject is new.
    fn bar(&self, action: &str, file: &Path, done: u64, total: Option<u64>) {
        if !self.output.progress() {
            return;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let subject = format!("{action} {}", crate::text::printable(&name));
        if self.bar.borrow().as_ref().is_none_or(|(old, _)| *old != subject) {
            self.clear();
            let template = match total {
                Some(_) => {
                    "{msg} {bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} ETA {eta}"
                }
                None => "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}",
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let bar = bar.with_style(style).with_message(subject.clone());
            self.bar.replace(Some((subject, bar)));
        }
        if let Some((_, bar)) = self.bar.borrow().as_ref() {
            bar.set_position(done);
        }
    }

    pub(super) fn clear(&self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
