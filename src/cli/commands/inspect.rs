//! `oido inspect`: what is in a manifest, and what is wrong with it.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::inputs_stay::refuse_to_replace;
use crate::cli::progress::{clip_bar, task_bar};
use crate::cli::{Exit, Output};
use crate::dataset::inspect::{Durations, Finding, Inspection, Step, inspect};
use crate::dataset::{Manifest, Split, Splits};
use crate::evaluation::inspection_page;
use crate::files::write_file;
use crate::seed::Seed;
use crate::text;
use crate::training::Recipe;

/// Findings of one kind named in the text; `--json` and `--html` have more.
const NAMED: usize = 8;

/// Arguments of `oido inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifest CSV.
    pub manifest: PathBuf,
    /// Look at the split that this recipe makes (a file, or the name of a built-in one) instead of the manifest's
    /// split column.
    #[arg(long, value_name = "RECIPE")]
    pub split_from: Option<PathBuf>,
    /// Also write a page with the counts as charts and all findings.
    #[arg(long, value_name = "PAGE")]
    pub html: Option<PathBuf>,
}

/// Runs `oido inspect`: exit code 1 when the split leaks, else 3 when clips are unreadable.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let manifest = Manifest::read(&args.manifest)?;
    if let Some(page) = &args.html {
        let clips = manifest.entries.iter().map(|entry| manifest.file(entry)).collect::<Vec<_>>();
        refuse_to_replace(page, clips.iter().chain([&args.manifest]).map(PathBuf::as_path))?;
    }
    let (manifest, splits) = match &args.split_from {
        Some(recipe) => recipe_splits(recipe, manifest)?,
        None => {
            let splits = Splits::from_column(&manifest);
            (manifest, splits)
        }
    };
    splits.warnings.iter().for_each(|warning| output.warn(warning));
    let decoding = clip_bar(manifest.entries.len(), output);
    let comparing = task_bar("comparing pairs", 0, output);
    let found = inspect(&manifest, &splits, &|step| match step {
        Step::Decoded(done) => decoding.set_position(done as u64),
        Step::Compared(done, pairs) => {
            decoding.finish_and_clear();
            comparing.set_length(pairs as u64);
            comparing.set_position(done as u64);
        }
    });
    decoding.finish_and_clear();
    comparing.finish_and_clear();
    if let Some(path) = &args.html {
        let title = args.manifest.display().to_string();
        write_file(path, inspection_page(&title, &splits.warnings, &found)?)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    if output.json() {
        output.json_line(&serde_json::to_value(&found)?);
    } else {
        output.data(&text::printable_lines(&describe(&args.manifest, &found)));
    }
    args.html.iter().for_each(|path| output.say(&format!("wrote {}", path.display())));
    Ok(match &found {
        found if found.leaking => Exit::Negative,
        found if !found.unreadable.is_empty() => Exit::BadInputs,
        _ => Exit::Done,
    })
}

/// The clips that the recipe keeps, and how it splits them.
fn recipe_splits(recipe: &Path, manifest: Manifest) -> anyhow::Result<(Manifest, Splits)> {
    let recipe = Recipe::find(recipe, &[])?;
    let manifest = recipe.data.keep.apply(manifest, "data.keep")?;
    let splits = recipe.split.allowing_leaks().split(&manifest, Seed(recipe.seed))?;
    Ok((manifest, splits))
}

fn describe(path: &Path, found: &Inspection) -> String {
    let mut lines = vec![format!("{}: {} clips, {} labels", path.display(), found.clips, found.labels.len())];
    lines.push(String::new());
    lines.extend(table(found));
    lines.push(String::new());
    if let Some(seconds) = &found.seconds {
        lines.push(format!(
            "seconds       {} (shortest, median, longest); {:.2} h in all",
            durations(seconds),
            seconds.total / 3600.0
        ));
        lines.push(format!("sample rates  {}", counts(&found.sample_rates, " Hz")));
        lines.push(format!("channels      {}", counts(&found.channels, "")));
        lines.push(format!("codecs        {}", counts(&found.codecs, "")));
    }
    if !found.speakers.is_empty() {
        let sexes =
            found.speakers.iter().map(|row| format!("{} {}: {}", row.speakers, row.sexes, row.clips.clips));
        lines.push(format!("speakers      {}", sexes.collect::<Vec<_>>().join(", ")));
    }
    match found.overlaps_within_recordings {
        0 => {}
        1 => lines.push("overlaps      1 pair of clips of one recording".to_owned()),
        pairs => lines.push(format!("overlaps      {pairs} pairs of clips of one recording")),
    }
    let findings = findings(found);
    lines.push(String::new());
    if findings.is_empty() {
        lines.push("nothing suspicious found".to_owned());
    }
    lines.extend(findings);
    lines.join("\n")
}

/// One row a label, with a column for each part, subset and fold there is.
fn table(found: &Inspection) -> Vec<String> {
    let parts: Vec<Split> = found.parts.keys().copied().collect();
    let subsets: Vec<&String> = found.subsets.keys().collect();
    let folds: Vec<u32> = found.folds.keys().copied().collect();
    let mut rows = vec![vec!["label".to_owned(), "clips".to_owned()]];
    rows[0].extend(parts.iter().map(|part| part.name().to_owned()));
    rows[0].extend(subsets.iter().map(|subset| subset.to_string()));
    rows[0].extend(folds.iter().map(|fold| format!("fold {fold}")));
    rows[0].push("seconds".to_owned());
    for label in &found.labels {
        let mut row = vec![label.label.clone(), label.clips.clips.to_string()];
        row.extend(parts.iter().map(|part| label.clips.parts.get(part).unwrap_or(&0).to_string()));
        row.extend(subsets.iter().map(|subset| label.clips.subsets.get(*subset).unwrap_or(&0).to_string()));
        row.extend(folds.iter().map(|fold| label.clips.folds.get(fold).unwrap_or(&0).to_string()));
        row.push(label.seconds.as_ref().map_or_else(|| "-".to_owned(), durations));
        rows.push(row);
    }
    let mut total = vec!["all".to_owned(), found.clips.to_string()];
    let places = found.parts.values().chain(found.subsets.values()).chain(found.folds.values());
    total.extend(places.map(usize::to_string));
    rows.push(total);
    text::table(&rows, 1)
}

fn durations(seconds: &Durations) -> String {
    format!("{:.2} / {:.2} / {:.2}", seconds.min, seconds.median, seconds.max)
}

/// The most frequent first.
fn counts<K: Display>(counts: &std::collections::BTreeMap<K, usize>, unit: &str) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    counts.iter().map(|(key, count)| format!("{key}{unit}: {count}")).collect::<Vec<_>>().join(", ")
}

fn findings(found: &Inspection) -> Vec<String> {
    let mut lines = Vec::new();
    if found.leaking {
        let places = if found.parts.is_empty() { "fold" } else { "part" };
        lines.push(format!(
            "LEAKING SPLIT: recordings or copies stand in more than one {places}, so its figures cannot be trusted"
        ));
    }
    for Finding { title, items, .. } in found.findings() {
        lines.push(title);
        lines.extend(items.iter().take(NAMED).map(|item| format!("  {item}")));
        if items.len() > NAMED {
            lines.push(format!("  … and {} more", items.len() - NAMED));
        }
    }
    lines
}
