//! `oido features`: what the front end makes of one recording.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audio::{self, AudioConfig, Info, Limits, Source};
use crate::augment::{self, Augmentation};
use crate::cli::sheet::Sheet;
use crate::cli::{Exit, Output};
use crate::config::{self, ConfigError};
use crate::decision::Task;
use crate::evaluation::plots;
use crate::features::{Extractor, FeatureConfig, Features, StatsAccumulator};
use crate::files::write_file;
use crate::seed::Seed;
use crate::training::Recipe;

/// Arguments of `oido features`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording.
    pub file: PathBuf,
    /// Recipe whose sections `audio` and `features` (with `--augment` also `augment` and `seed`) are used: a TOML file or
    /// the name of a built-in one [default: log-mel, 128 bands, of 4 s at 22,050 Hz].
    #[arg(long)]
    pub recipe: Option<PathBuf>,
    /// Change one field, as in `--set features.n_mels=64` or `--set audio.clip_seconds=10`; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Also write the features: `.csv` (a line for each row, a column for each frame), `.json` (with the settings) or
    /// `.svg` (a picture).
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Write to `--out` (`.svg`) the features before and after the recipe's `[[augment]]`: each entry for certain, then
    /// three draws of the whole list as training makes them.
    #[arg(long, requires = "out")]
    pub augment: bool,
    /// Another recording, which `--augment` mixes in where the recipe mixes clips.
    #[arg(long, value_name = "FILE", requires = "augment")]
    pub with: Option<PathBuf>,
}

/// The parts of a recipe that decide the features, and what training does to them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FrontEnd {
    audio: AudioConfig,
    features: FeatureConfig,
    augment: Vec<Augmentation>,
    seed: u64,
}

/// How features are written.
#[derive(Debug, Clone, Copy)]
enum Format {
    Csv,
    Json,
    Svg,
}

/// Runs `oido features`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let out =
        args.out.as_deref().map(|path| Ok::<_, anyhow::Error>((path, Format::of(path)?))).transpose()?;
    let mut front_end = FrontEnd::new(args.recipe.as_deref(), &args.sets)?;
    let extractor = Extractor::new(&front_end.audio, &front_end.features)?;
    let extractor = extractor.with_stats(front_end.features.fixed_stats());
    front_end.features = extractor.config().clone();
    let sheet = match args.augment {
        true if out.is_some_and(|(_, format)| matches!(format, Format::Svg)) => {
            let FrontEnd { augment, seed, .. } = &front_end;
            Some(Sheet::new(augment, Seed(*seed), &extractor, args.with.as_deref())?)
        }
        true => anyhow::bail!("--augment draws a picture; give --out a name that ends in .svg"),
        false => None,
    };
    let source = Source::Path(&args.file);
    let (waveform, info) = audio::decode(&source, &Limits::default())?;
    let waveform = audio::resample(waveform, extractor.sample_rate())?;
    let features = extractor.extract(&waveform.samples);
    let sound = extractor.audio().without_silence(&waveform.samples).len();
    let sound_seconds = sound as f64 / f64::from(extractor.sample_rate());

    warn(&extractor, &info, output);
    if output.json() {
        let summary = Summary::new(&features);
        output.json_line(&json!({
            "path": args.file, "seconds": info.seconds, "sample_rate": info.sample_rate,
            "channels": info.channels, "codec": info.codec, "sound_seconds": sound_seconds,
            "bins": features.shape.bins, "frames": features.shape.frames,
            "min": summary.min, "max": summary.max, "mean": summary.mean, "std": summary.std,
            "audio": front_end.audio, "features": front_end.features,
        }));
    } else {
        output.data(&describe(&args.file, &info, sound_seconds, &front_end, &features));
    }
    if let Some((path, format)) = out {
        let content = match format {
            Format::Csv => csv(&features),
            Format::Json => to_json(&front_end, &features),
            Format::Svg => match sheet {
                Some(sheet) => {
                    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
                    sheet.draw(&name, &front_end.kind(), &waveform.samples, output)?
                }
                None => svg(&args.file, &extractor, &front_end, &features),
            },
        };
        write_file(path, content).with_context(|| format!("{}: cannot be written", path.display()))?;
        output.say(&format!("wrote {}", path.display()));
    }
    Ok(Exit::Done)
}

impl FrontEnd {
    fn new(recipe: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        if let Some(path) = recipe {
            let Recipe { audio, features, augment, seed, .. } = Recipe::find(path, sets)?;
            return Ok(Self { audio, features, augment, seed });
        }
        let found: Self = config::parse("", sets, "the front end")?;
        let extractor = Extractor::new(&found.audio, &found.features)?;
        augment::validate(&found.augment, Task::default(), &extractor)?;
        Ok(found)
    }
}

impl Format {
    fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some("svg") => Ok(Self::Svg),
            _ => anyhow::bail!("--out {}: the name must end in .csv, .json or .svg", path.display()),
        }
    }
}

/// Range, mean and standard deviation of the values.
struct Summary {
    min: f32,
    max: f32,
    mean: f64,
    std: f64,
}

impl Summary {
    fn new(features: &Features) -> Self {
        let values = &features.values;
        let min = values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sums = StatsAccumulator::of(features);
        Self { min, max, mean: sums.mean(), std: sums.std() }
    }
}

fn warn(extractor: &Extractor, info: &Info, output: &Output) {
    if let Some(damage) = &info.damage {
        output.warn(damage);
    }
    let empty = extractor.mel_filter_bank().map(|bank| bank.empty_filters().len()).unwrap_or(0);
    if empty > 0 {
        output.warn(&format!(
            "{empty} of {} mel bands cover no frequency bin and are constant; use fewer n_mels or a longer n_fft",
            extractor.config().n_mels
        ));
    }
}

fn describe(
    file: &Path,
    info: &Info,
    sound_seconds: f64,
    front_end: &FrontEnd,
    features: &Features,
) -> String {
    let Summary { min, max, mean, std } = Summary::new(features);
    let audio = &front_end.audio;
    let clip = audio.clip_seconds;
    let silence = info.seconds - sound_seconds;
    let removed = if silence > 5e-4 { format!("{silence:.3} s of silence removed, ") } else { String::new() };
    let fitted = match sound_seconds - clip {
        longer if longer > 5e-4 => audio.longer.describe(clip),
        longer if longer < -5e-4 => format!("{} to {clip} s", audio.shorter.describe()),
        _ if removed.is_empty() => "the whole recording".to_owned(),
        _ => "the rest".to_owned(),
    };
    format!(
        "{}: {:.3} s, {} Hz, channels: {}, {}\n\
         {} of {} bins x {} frames: {removed}{fitted}, at {} Hz\n\
         min {min:.4}  max {max:.4}  mean {mean:.4}  std {std:.4}",
        file.display(),
        info.seconds,
        info.sample_rate,
        info.channels,
        info.codec,
        front_end.kind(),
        features.shape.bins,
        features.shape.frames,
        front_end.audio.sample_rate,
    )
}

impl FrontEnd {
    /// The kind as it is written in a recipe.
    fn kind(&self) -> String {
        json!(self.features.kind).as_str().unwrap_or_default().to_owned()
    }
}

fn csv(features: &Features) -> String {
    let mut text = String::new();
    for row in rows(features) {
        let row: Vec<String> = row.iter().map(f32::to_string).collect();
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}

fn to_json(front_end: &FrontEnd, features: &Features) -> String {
    let rows: Vec<&[f32]> = rows(features).collect();
    json!({ "audio": front_end.audio, "features": front_end.features, "shape": features.shape, "values": rows })
        .to_string()
        + "\n"
}

fn svg(file: &Path, extractor: &Extractor, front_end: &FrontEnd, features: &Features) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let title = format!("{name}: {}", front_end.kind());
    plots::spectrogram(&title, features, extractor.seconds(), extractor.row_hz().as_deref())
}

fn rows(features: &Features) -> impl Iterator<Item = &[f32]> {
    features.values.chunks_exact(features.shape.frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FeatureKind, FeatureShape};

    #[test]
    fn without_a_recipe_only_the_two_sections_can_be_set() {
        let set = |text: &str| FrontEnd::new(None, &[text.to_owned()]);
        assert_eq!(set("features.kind=mfcc").unwrap().features.kind, FeatureKind::Mfcc);
        assert_eq!(set("audio.sample_rate=16000").unwrap().audio.sample_rate, 16_000);
        let error = set("model.name=cnn").unwrap_err().to_string();
        assert!(error.contains("model"), "{error}");
    }

    #[test]
    fn a_recipe_gives_its_front_end() {
        let found =
            FrontEnd::new(Some(Path::new("urbansound8k/cnn")), &["features.n_mels=64".into()]).unwrap();
        assert_eq!((found.features.n_mels, found.audio.sample_rate), (64, 22_050));
    }

    #[test]
    fn csv_has_a_line_for_each_row() {
        let shape = FeatureShape { bins: 2, frames: 3 };
        let features = Features { shape, values: vec![1.0, 2.5, -3.0, 0.1, 0.0, 1e-7] };
        assert_eq!(csv(&features), "1,2.5,-3\n0.1,0,0.0000001\n");
    }

    #[test]
    fn other_endings_are_refused() {
        let error = Format::of(Path::new("a.png")).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains(".svg"), "{error}");
    }
}
