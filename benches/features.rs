//! From the recording to the batch: log-mel against the length of a clip, resampling, decoding with features, and the
//! feature cache.
//!
//! ```sh
//! cargo bench --bench features                                    # all, on sounds that are made
//! OIDO_RECORDINGS=FOLDER cargo bench --bench features -- folder   # one, on real recordings
//! ```
//!
//! Every figure but `folder` is of one thread.

#![allow(missing_docs, reason = "what the macros of criterion make has none")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oido::audio::{AudioConfig, Limits, Source, WavFormat, Waveform, encode_wav, load, resample};
use oido::dataset::{ClipSet, Entry, FeatureCache, Labels, Manifest};
use oido::features::{Extractor, FeatureConfig, FeatureKind, Preset};
use rayon::prelude::*;

fn noise(samples: usize) -> Vec<f32> {
    (0..samples).map(|i| ((i * i % 4_001) as f32 / 2_000.0) - 1.0).collect()
}

fn extractor(seconds: f64, config: &FeatureConfig) -> Extractor {
    let audio = AudioConfig { clip_seconds: seconds, ..AudioConfig::default() };
    Extractor::new(&audio, config).unwrap_or_else(|error| panic!("{error}"))
}

fn log_mel(c: &mut Criterion) {
    let mut group = c.benchmark_group("log-mel");
    for seconds in [1.0, 4.0, 16.0] {
        let extractor = extractor(seconds, &FeatureConfig::default());
        let clip = noise(extractor.clip_samples());
        group.throughput(Throughput::Elements(clip.len() as u64));
        group.bench_function(BenchmarkId::new("librosa", seconds), |b| b.iter(|| extractor.extract(&clip)));
    }
    for preset in [Preset::Torchaudio, Preset::Kaldi] {
        let extractor = extractor(4.0, &FeatureConfig::preset(preset, FeatureKind::LogMel));
        let clip = noise(extractor.clip_samples());
        group.bench_function(BenchmarkId::new(format!("{preset:?}").to_lowercase(), 4.0), |b| {
            b.iter(|| extractor.extract(&clip));
        });
    }
    group.finish();
}

fn resampling(c: &mut Criterion) {
    let mut group = c.benchmark_group("resample 4 s to 22050");
    for rate in [16_000, 44_100, 48_000, 96_000] {
        let wave = Waveform { samples: noise(4 * rate as usize), sample_rate: rate };
        group.bench_function(BenchmarkId::from_parameter(rate), |b| {
            b.iter(|| resample(wave.clone(), 22_050));
        });
    }
    group.finish();
}

/// The recordings of the folder that `OIDO_RECORDINGS` names, or a few that are made; on all threads.
fn folder(c: &mut Criterion) {
    let made = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let folder = std::env::var_os("OIDO_RECORDINGS").map_or_else(|| made.path().to_owned(), PathBuf::from);
    if folder == made.path() {
        write_recordings(&folder, 16);
    }
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let extractor = extractor(4.0, &FeatureConfig::default());
    let features = |path: &PathBuf| {
        let wave = load(&Source::Path(path), extractor.sample_rate(), &Limits::default());
        wave.map(|wave| extractor.extract(&wave.samples))
    };
    let mut group = c.benchmark_group("folder");
    group.sample_size(10).throughput(Throughput::Elements(paths.len() as u64));
    group.bench_function("decode + resample + log-mel", |b| {
        b.iter(|| paths.par_iter().for_each(|path| drop(black_box(features(path)))));
    });
    group.finish();
}

fn cache(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    write_recordings(folder.path(), 1);
    let entry = Entry { path: "0.wav".into(), labels: vec!["a".to_owned()], ..Entry::default() };
    let manifest = Arc::new(Manifest::new(folder.path(), vec![entry]));
    let labels = Arc::new(Labels::from_names(["a", "b"]));
    let cache = FeatureCache::on_disk(folder.path().join("cache")).unwrap_or_else(|error| panic!("{error}"));
    let set = |cache: Option<FeatureCache>| {
        let extractor = Arc::new(extractor(4.0, &FeatureConfig::default()));
        let (manifest, labels) = (Arc::clone(&manifest), Arc::clone(&labels));
        ClipSet::new(manifest, vec![0], labels, extractor, cache.map(Arc::new))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let mut group = c.benchmark_group("features of a clip");
    for (name, set) in [("from disk cache", set(Some(cache))), ("decoded", set(None))] {
        group.bench_function(name, |b| b.iter(|| set.features(0)));
    }
    group.finish();
}

/// Four seconds each of 44.1 kHz.
fn write_recordings(folder: &Path, count: usize) {
    let wave = Waveform { samples: noise(4 * 44_100), sample_rate: 44_100 };
    let bytes = encode_wav(&wave, WavFormat::Pcm16).unwrap_or_else(|error| panic!("{error}"));
    for i in 0..count {
        std::fs::write(folder.join(format!("{i}.wav")), &bytes).unwrap_or_else(|error| panic!("{error}"));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = log_mel, resampling, folder, cache
}
criterion_main!(benches);
