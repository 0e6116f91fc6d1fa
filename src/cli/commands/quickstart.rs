//! `oido quickstart`: the whole job on embedded sounds, and what to type next.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use crate::audio::Source;
use crate::bundle::{self, Predictor};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::cli::{Exit, Output};
use crate::dataset::Manifest;
use crate::dataset::synth::{CityConfig, write_city};
use crate::evaluation::{self, Comparison};
use crate::files::write_file;
use crate::training::fit::Ended;
use crate::training::{self, Recipe, RunDir, RunOptions};

/// The baseline that must fail, and the network that must not.
const MODELS: [&str; 2] = ["dense", "cnn"];

/// Test clips whose prediction is shown.
const SHOWN: usize = 5;

/// Arguments of `oido quickstart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for everything it makes; must be empty or not exist.
    #[arg(long, default_value = "oido-quickstart")]
    pub out: PathBuf,
    /// Seed of the sounds and of the training.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

/// Runs `oido quickstart`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let out = &args.out;
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty; remove it, or choose another --out", out.display());
    }
    let interrupt = Interrupt::install()?;

    let config = CityConfig { seed: crate::seed::Seed(args.seed), ..CityConfig::default() };
    output.say(&format!("1/5 synthesising a demo city in {}", out.join("sounds").display()));
    let manifest = write_city(&out.join("sounds"), &config)?;

    let mut runs = Vec::new();
    for name in MODELS {
        output.say(&format!("2/5 training the {name} network"));
        let run = train(name, args, &interrupt, output)?;
        let Some(run) = run else { return Ok(Exit::Interrupted(interrupt.exit_code())) };
        runs.push(run);
    }

    output.say("3/5 comparing the two");
    let comparison = Comparison::read(&runs)?;
    let page = out.join("compare.html");
    write_file(&page, comparison.to_html()?).with_context(|| page.display().to_string())?;

    output.say("4/5 packing the cnn");
    let best = RunDir::new(&runs[MODELS.len() - 1]);
    let packed = out.join("city.tar.gz");
    bundle::pack(&bundle::parts_of_run(best.path())?, &packed)?;

    output.say("5/5 predicting test clips it has never seen");
    predict(&packed, &manifest, output)?;
    if !output.json() {
        output.data(&comparison.to_text());
    }
    output.say(&next_steps(out, &packed, &manifest));
    Ok(Exit::Done)
}

/// Trains one of the built-in quickstart recipes; `None` when it was interrupted.
fn train(name: &str, args: &Args, interrupt: &Interrupt, output: &Output) -> anyhow::Result<Option<PathBuf>> {
    let recipe = Recipe::find(Path::new(&format!("quickstart/{name}")), &[format!("seed={}", args.seed)])?;
    let run = args.out.join(name);
    let options = RunOptions {
        data: Some(args.out.join("sounds/manifest.csv")),
        out: run.clone(),
        resume: false,
        device: "cpu".to_owned(),
        cache: None,
        command: super::train::command_line(),
    };
    let outcome = training::train(&recipe, &options, &Progress::new(output), interrupt.flag())?;
    if outcome.ended == Ended::Interrupted {
        return Ok(None);
    }
    evaluation::evaluate_run(&RunDir::new(&run), None, "cpu")?;
    Ok(Some(run))
}

/// Predicts a few test clips of different classes through the bundle, as a user would.
fn predict(bundle: &Path, manifest: &Manifest, output: &Output) -> anyhow::Result<()> {
    let predictor = Predictor::open(bundle, "cpu")?;
    for entry in shown(manifest) {
        let path = manifest.root.join(&entry.path);
        let prediction = predictor.predict(&Source::Path(&path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if output.json() {
            output.json_line(&json!({
                "file": file, "true": entry.labels, "label": prediction.label, "score": prediction.score,
            }));
        } else {
            output.data(&format!("{file:<28} {:<16} {:.3}", prediction.label, prediction.score));
        }
    }
    Ok(())
}

/// The first clip of the test fold of some classes.
fn shown(manifest: &Manifest) -> Vec<&crate::dataset::Entry> {
    let test = manifest.entries.iter().map(|e| e.fold).max().flatten();
    let first = |label: &String| manifest.entries.iter().find(|e| e.fold == test && e.labels.contains(label));
    manifest.labels.names().iter().filter_map(first).take(SHOWN).collect()
}

fn next_steps(out: &Path, bundle: &Path, manifest: &Manifest) -> String {
    let (out, bundle) = (out.display(), bundle.display());
    let sound = shown(manifest)
        .first()
        .map_or_else(String::new, |e| manifest.root.join(&e.path).display().to_string());
    format!(
        "\nLook at    {out}/cnn/report.html and {out}/compare.html\n\
         Listen to  {out}/sounds/audio\n\
         Predict    oido predict {bundle} {sound}\n\
         Serve      oido serve {bundle}      then: curl --data-binary @{sound} -H 'Content-Type: audio/wav' \
         http://127.0.0.1:8080/invocations\n\
         Your own   put your recordings in folders named after their labels, then: oido prepare folders YOUR_FOLDER \
         --out manifest.csv"
    )
}
