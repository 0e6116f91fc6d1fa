//! The front end beside `peers/features.py`: the same work, the same clips, the same lines of JSON.
//!
//! ```sh
//! cargo bench --bench pipeline -- RECORDING...
//! ```
//!
//! Prints two lines, each with the median of its runs: the log-mel of 4 s at 22,050 Hz on one thread, and of all
//! recordings from the file to the log-mel on all threads (`RAYON_NUM_THREADS`).

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use oido::audio::{AudioConfig, Limits, Source, load};
use oido::features::{Extractor, FeatureConfig};
use rayon::prelude::*;

/// Runs of the short work and of the long one.
const RUNS: [usize; 2] = [301, 5];

fn main() -> anyhow::Result<()> {
    // Cargo adds a `--bench` of its own.
    let paths: Vec<PathBuf> =
        std::env::args().skip(1).filter(|arg| arg != "--bench").map(PathBuf::from).collect();
    let extractor = Extractor::new(&AudioConfig::default(), &FeatureConfig::default())?;
    let clip: Vec<f32> =
        (0..extractor.clip_samples()).map(|i| ((i * i % 4_001) as f32 / 2_000.0) - 1.0).collect();
    measure("log-mel 4 s", RUNS[0], || {
        black_box(extractor.extract(&clip));
    });
    if paths.is_empty() {
        return Ok(());
    }
    let features = |path: &Path| -> anyhow::Result<_> {
        let wave = load(&Source::Path(path), extractor.sample_rate(), &Limits::default())?;
        Ok(extractor.extract(&wave.samples))
    };
    paths.par_iter().try_for_each(|path| features(path).map(drop))?;
    measure(&format!("decode+resample+log-mel {} clips", paths.len()), RUNS[1], || {
        paths.par_iter().for_each(|path| {
            black_box(features(path).ok());
        });
    });
    Ok(())
}

/// Prints the median of `runs` runs.
fn measure(work: &str, runs: usize, once: impl Fn()) {
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            once();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (median, version) = (seconds[runs / 2], env!("CARGO_PKG_VERSION"));
    let line = serde_json::json!({ "work": work, "peer": "oido", "seconds": median, "runs": runs, "version": version });
    println!("{line}");
}
