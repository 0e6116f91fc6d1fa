//! Each augmentation alone, with its defaults, on recordings that are decoded already, on one thread.
//!
//! ```sh
//! cargo bench --bench augment -- RECORDING...
//! ```
//!
//! Prints a line of JSON: the milliseconds a clip (4 s at 22,050 Hz) of the best of five passes, for the features, for each
//! kind on the samples and on the features, and for each mixture of a batch of all clips.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::convert::Infallible;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use oido::audio::{AudioConfig, Limits, Source, load};
use oido::augment::{Augmentation, Backdrop, Chosen, Clip, Sounds, Stage, mix};
use oido::features::{Extractor, FeatureConfig, Features};
use oido::seed::{Purpose, Seed};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const KINDS: [&str; 20] = [
    "gain",
    "polarity",
    "time_shift",
    "time_stretch",
    "pitch_shift",
    "noise",
    "background\"\nfrom.label = \"",
    "between_class",
    "reverberation",
    "equalizer",
    "telephone",
    "bit_depth",
    "spec_augment",
    "random_masks",
    "rotation",
    "zoom",
    "translation",
    "mixup",
    "cutmix",
    "specmix",
];

const PASSES: usize = 5;

/// Any clip is another one.
struct Others<'a>(&'a [Clip]);

impl Sounds for Others<'_> {
    type Error = Infallible;

    fn background(&self, _: &Backdrop, rng: &mut ChaCha8Rng) -> Result<Option<Vec<f32>>, Infallible> {
        Ok(Some(self.0[rng.random_range(0..self.0.len())].samples.clone()))
    }

    fn other(&self, _: &[f32], rng: &mut ChaCha8Rng) -> Result<Option<Clip>, Infallible> {
        Ok(Some(self.0[rng.random_range(0..self.0.len())].clone()))
    }
}

fn main() -> anyhow::Result<()> {
    // Cargo adds a `--bench` of its own.
    let paths: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    anyhow::ensure!(!paths.is_empty(), "name recordings");
    let audio = AudioConfig::default();
    let extractor = Extractor::new(&audio, &FeatureConfig::default())?;
    let clip = |path: &String| -> anyhow::Result<Clip> {
        let wave = load(&Source::Path(Path::new(path)), audio.sample_rate, &Limits::default())?;
        Ok(Clip { samples: audio.fit(&wave.samples), target: vec![1.0, 0.0] })
    };
    let clips: Vec<Clip> = paths.iter().map(clip).collect::<Result<_, _>>()?;
    let features = |clip: &Clip| extractor.features(clip.samples.clone());
    let pictures: Vec<Features> = clips.iter().map(features).collect();

    let mut found = serde_json::Map::new();
    let best = best(clips.len(), |i| drop(black_box(features(&clips[i]))));
    found.insert("features".to_owned(), best.into());
    for kind in KINDS {
        let entry: Augmentation = toml::from_str(&format!("kind = \"{kind}\"")).context(kind)?;
        let ms = milliseconds(&entry, &clips, &pictures, audio.sample_rate);
        found.insert(entry.kind().to_owned(), ms.into());
    }
    println!("{}", serde_json::Value::from(found));
    Ok(())
}

fn milliseconds(entry: &Augmentation, clips: &[Clip], pictures: &[Features], sample_rate: u32) -> f64 {
    let chosen = Chosen::only(entry);
    let rng = |i: usize| Seed(0).rng(Purpose::Augment, 0, i as u64);
    match entry.stage() {
        Stage::Waveform => best(clips.len(), |i| {
            let mut clip = clips[i].clone();
            let Ok(()) = chosen.waveform(&mut clip, sample_rate, &Others(clips), &mut rng(i));
            black_box(clip);
        }),
        Stage::Spectrogram => best(clips.len(), |i| {
            let mut features = pictures[i].clone();
            chosen.spectrogram(&mut features, &mut rng(i));
            black_box(features);
        }),
        Stage::Batch => {
            let shape = [clips.len(), pictures[0].shape.bins, pictures[0].shape.frames];
            let inputs: Vec<f32> = pictures.iter().flat_map(|features| features.values.clone()).collect();
            let targets: Vec<f32> = clips.iter().flat_map(|clip| clip.target.clone()).collect();
            let all = vec![true; clips.len()];
            let whole = best(1, |i| {
                let (mut inputs, mut targets) = (inputs.clone(), targets.clone());
                mix(std::slice::from_ref(entry), &mut inputs, &mut targets, shape, &all, &mut rng(i));
                black_box((inputs, targets));
            });
            whole / clips.len() as f64
        }
    }
}

/// Milliseconds for each of `0..count`, in the best pass.
fn best(count: usize, mut work: impl FnMut(usize)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        (0..count).for_each(&mut work);
        best = best.min(start.elapsed().as_secs_f64() * 1e3 / count as f64);
    }
    best
}
