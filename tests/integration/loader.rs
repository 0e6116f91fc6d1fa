//! Files → batches, on a small synthetic city: order, resume, errors and cache.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use oido::audio::{self, AudioConfig, Limits, Longer, Shorter, SilenceRule, Source};
use oido::augment::Augmentation;
use oido::dataset::synth::{CityConfig, write_city};
use oido::dataset::{Backgrounds, Batch, Checked, ClipLoader, ClipSet, Error, FeatureCache, Manifest, Order};
use oido::features::{Extractor, FeatureConfig};
use oido::seed::Seed;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tempfile::TempDir;

const AUDIO: AudioConfig = AudioConfig::new(8_000, 0.5);
const SHUFFLED: Order = Order::Shuffled(Seed(42));

/// Twenty clips of half a second, two of each class.
fn city() -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let config = CityConfig { clips_per_class: 2, sample_rate: 8_000, seconds: 0.5, folds: 2, seed: Seed(7) };
    let manifest = write_city(folder.path(), &config).unwrap();
    (folder, manifest)
}

/// Makes the sounds silent behind the cache's back: same length, same time of modification.
fn silence(folder: &TempDir, manifest: &Manifest) {
    for entry in &manifest.entries {
        let path = folder.path().join(&entry.path);
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[44..].fill(0);
        std::fs::write(&path, bytes).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
}

fn extractor() -> Extractor {
    Extractor::new(&AUDIO, &FeatureConfig::default()).unwrap()
}

fn clips(manifest: &Manifest, cache: Option<Arc<FeatureCache>>) -> ClipSet {
    clips_of(manifest, &AUDIO, cache)
}

fn clips_of(manifest: &Manifest, audio: &AudioConfig, cache: Option<Arc<FeatureCache>>) -> ClipSet {
    let indices = (0..manifest.entries.len()).collect();
    let labels = Arc::new(manifest.labels.clone());
    let extractor = Arc::new(Extractor::new(audio, &FeatureConfig::default()).unwrap());
    ClipSet::new(Arc::new(manifest.clone()), indices, labels, extractor, cache).unwrap()
}

/// Policies that draw clips of a fifth of a second out of half a second, without silence.
fn drawing() -> [AudioConfig; 2] {
    let silence =
        SilenceRule { up_to_seconds: None, min_silence_len: 40, silence_thresh: -30.0, keep_silence: 10 };
    [Longer::RandomCrop, Longer::LoudestOf(3)].map(|longer| AudioConfig {
        shorter: Shorter::Repeat,
        longer,
        silence: vec![silence.clone()],
        ..AudioConfig::new(8_000, 0.2)
    })
}

/// The features of each clip in an epoch.
fn by_clip(batches: &[Batch]) -> BTreeMap<usize, Vec<u32>> {
    let row = |batch: &Batch, row: usize| {
        let size = batch.shape[1] * batch.shape[2];
        batch.inputs[row * size..][..size].iter().map(|value| value.to_bits()).collect()
    };
    let rows = |batch| (0..Batch::len(batch)).map(move |i| (batch.clips[i], row(batch, i)));
    batches.iter().flat_map(rows).collect()
}

fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

fn all(loader: &ClipLoader, epoch: u64, first_batch: usize) -> Vec<Batch> {
    loader.epoch(epoch, first_batch).collect::<Result<_, _>>().unwrap()
}

fn visited(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.clips.clone()).collect()
}

fn bits(set: &ClipSet) -> Vec<Vec<u32>> {
    let of = |i| set.features(i).unwrap().values.iter().map(|value| value.to_bits()).collect();
    (0..set.len()).map(of).collect()
}

#[test]
fn threads_change_neither_order_nor_values() {
    let (_folder, manifest) = city();
    let set = Arc::new(clips(&manifest, None));
    let loader = ClipLoader::new(set, 6, SHUFFLED);
    let one = all(&loader.clone().with_pool(pool(1)), 3, 0);
    assert_eq!(one, all(&loader.clone().with_pool(pool(4)), 3, 0));
    assert_eq!(one, all(&loader, 3, 0));
}

#[test]
fn every_epoch_visits_every_clip_once_in_an_order_of_its_own() {
    let (_folder, manifest) = city();
    let set = Arc::new(clips(&manifest, None));
    let shuffled = ClipLoader::new(set.clone(), 6, SHUFFLED);
    let (first, second) = (all(&shuffled, 0, 0), all(&shuffled, 1, 0));
    assert_eq!(first.iter().map(Batch::len).collect::<Vec<_>>(), [6, 6, 6, 2]);
    assert_eq!(first.len(), shuffled.num_batches());
    assert_ne!(visited(&first), visited(&second));
    for batches in [&first, &second] {
        let mut seen = visited(batches);
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }
    let other_seed = ClipLoader::new(set.clone(), 6, Order::Shuffled(Seed(43)));
    assert_ne!(visited(&first), visited(&all(&other_seed, 0, 0)));
    let sequential = ClipLoader::new(set, 6, Order::Sequential);
    assert_eq!(visited(&all(&sequential, 5, 0)), (0..20).collect::<Vec<_>>());
}

#[test]
fn the_shuffle_is_frozen() {
    // A change here would silently change every published result.
    let (_folder, manifest) = city();
    let loader = ClipLoader::new(Arc::new(clips(&manifest, None)), 20, SHUFFLED);
    let frozen = [11, 18, 14, 1, 7, 4, 10, 6, 2, 17, 5, 16, 8, 9, 0, 19, 3, 12, 15, 13];
    assert_eq!(visited(&all(&loader, 0, 0)), frozen);
}

#[test]
fn rows_hold_the_features_and_targets_of_their_clips() {
    let (_folder, manifest) = city();
    let set = Arc::new(clips(&manifest, None));
    let batch = all(&ClipLoader::new(set.clone(), 7, SHUFFLED), 0, 0).swap_remove(1);
    let size = set.shape().bins * set.shape().frames;
    assert_eq!(batch.shape, [7, set.shape().bins, set.shape().frames]);
    assert_eq!((batch.inputs.len(), batch.targets.len()), (7 * size, 7 * 10));
    for (row, &clip) in batch.clips.iter().enumerate() {
        assert_eq!(batch.inputs[row * size..][..size], set.features(clip).unwrap().values);
        let class = manifest.labels.index(&set.entry(clip).labels[0]).unwrap();
        let mut target = [0.0; 10];
        target[class] = 1.0;
        assert_eq!(batch.targets[row * 10..][..10], target);
    }
}

#[test]
fn an_epoch_counts_the_time_for_which_batches_were_waited_for() {
    let (_folder, manifest) = city();
    let start = Instant::now();
    let mut epoch = ClipLoader::new(Arc::new(clips(&manifest, None)), 6, SHUFFLED).epoch(0, 0);
    assert!(epoch.waited().is_zero());
    epoch.next().unwrap().unwrap();
    let first = epoch.waited();
    assert!(!first.is_zero(), "it had to be decoded");
    epoch.by_ref().for_each(|batch| drop(batch.unwrap()));
    assert!(epoch.waited() > first && epoch.waited() < start.elapsed());
}

#[test]
fn a_resumed_epoch_is_the_tail_of_the_whole() {
    let (_folder, manifest) = city();
    let loader = ClipLoader::new(Arc::new(clips(&manifest, None)), 6, SHUFFLED);
    let whole = all(&loader, 9, 0);
    for first in 0..=5 {
        assert_eq!(all(&loader, 9, first), whole[first.min(4)..], "from batch {first}");
    }
}

#[test]
fn drawn_parts_are_new_in_every_epoch_and_nothing_but_seed_epoch_and_clip_decides_them() {
    let (folder, manifest) = city();
    for audio in drawing() {
        let loader = |seed, cache| {
            let set = Arc::new(clips_of(&manifest, &audio, cache));
            ClipLoader::new(set, 6, Order::Shuffled(Seed(seed)))
        };
        let plain = loader(42, None);
        let first = all(&plain.clone().with_pool(pool(1)), 1, 0);
        assert_eq!(first, all(&plain.clone().with_pool(pool(4)), 1, 0));
        let disk = || Arc::new(FeatureCache::on_disk(folder.path().join("cache")).unwrap());
        for cache in [Arc::new(FeatureCache::in_memory(1 << 22)), disk(), disk()] {
            let cached = loader(42, Some(cache));
            assert_eq!(first, all(&cached, 1, 0), "while the cache is filled");
            assert_eq!(first, all(&cached, 1, 0), "from the cache");
        }
        for from in 0..=4 {
            assert_eq!(all(&plain, 1, from), first[from..], "resumed at batch {from}");
        }
        let changed = |other: &[Batch]| {
            let (first, other) = (by_clip(&first), by_clip(other));
            first.iter().filter(|(clip, row)| other[clip] != **row).count()
        };
        // Without silence some clips are shorter than 0.2 s, and a loudest part may be found twice.
        assert!(changed(&all(&plain, 2, 0)) >= 10, "{audio:?}: {}", changed(&all(&plain, 2, 0)));
        assert!(changed(&all(&loader(43, None), 1, 0)) >= 10, "{audio:?}");
        let subset = {
            let labels = Arc::new(manifest.labels.clone());
            let extractor = Arc::new(Extractor::new(&audio, &FeatureConfig::default()).unwrap());
            ClipSet::new(Arc::new(manifest.clone()), vec![7], labels, extractor, None).unwrap()
        };
        let row = subset.drawn_clip(0, Seed(42), 1, 0).unwrap().0.values;
        let row: Vec<u32> = row.iter().map(|value| value.to_bits()).collect();
        assert_eq!(row, by_clip(&first)[&7], "the clip decides, not its place in the set");
    }
    let fixed = ClipLoader::new(Arc::new(clips(&manifest, None)), 6, SHUFFLED);
    assert_eq!(by_clip(&all(&fixed, 1, 0)), by_clip(&all(&fixed, 2, 0)));
}

const EVERY_KIND: [&str; 20] = [
    "gain",
    "polarity",
    "time_shift",
    "time_stretch",
    "pitch_shift",
    "noise",
    "background",
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

fn augmented(set: ClipSet, kinds: &[&str]) -> ClipSet {
    let read = |kind: &&str| {
        let from = if *kind == "background" { "from = { label = 'siren' }" } else { "" };
        toml::from_str::<Augmentation>(&format!("kind = '{kind}'\nprobability = 0.7\n{from}")).unwrap()
    };
    set.with_augmentations(kinds.iter().map(read).collect(), Backgrounds::default()).unwrap()
}

#[test]
fn augmentations_depend_on_seed_epoch_and_place_and_nothing_else() {
    let (_folder, manifest) = city();
    let cache = Arc::new(FeatureCache::in_memory(1 << 22));
    for (audio, half) in [(AUDIO, false), (drawing()[0].clone(), true)] {
        let loader = |cache, order| {
            let set = augmented(clips_of(&manifest, &audio, cache), &EVERY_KIND).with_untouched_half(half);
            ClipLoader::new(Arc::new(set), 6, order)
        };
        let cached = || loader(Some(Arc::clone(&cache)), SHUFFLED);
        let one = all(&loader(None, SHUFFLED).with_pool(pool(1)), 3, 0);
        assert_eq!(one, all(&cached().with_pool(pool(4)), 3, 0), "threads and a cache change nothing");
        assert_eq!(one[2..], all(&cached(), 3, 2), "resumed, from the cache");
        for other in [all(&cached(), 4, 0), all(&loader(None, Order::Shuffled(Seed(43))), 3, 0)] {
            let (one, other) = (by_clip(&one), by_clip(&other));
            let changed = one.iter().filter(|(clip, row)| other[clip] != **row).count();
            assert!(changed > 15, "{changed}");
        }
    }
}

#[test]
fn each_augmentation_reaches_training_and_none_evaluation() {
    let (_folder, manifest) = city();
    let plain = clips(&manifest, None);
    let (values, stats, looks) = (bits(&plain), plain.stats().unwrap(), plain.check(&|_| {}).looks);
    let untouched = by_clip(&all(&ClipLoader::new(Arc::new(plain.clone()), 6, SHUFFLED), 1, 0));
    let cache = Arc::new(FeatureCache::in_memory(1 << 22));
    for kind in EVERY_KIND {
        let set = augmented(clips(&manifest, Some(Arc::clone(&cache))), &[kind]);
        let mine = by_clip(&all(&ClipLoader::new(Arc::new(set.clone()), 6, SHUFFLED), 1, 0));
        let changed = mine.iter().filter(|(clip, row)| untouched[clip] != **row).count();
        // The power does not see the sign; a gain is lost where decibels are below the loudest.
        match kind {
            "polarity" => assert_eq!(changed, 0),
            _ => assert!((6..20).contains(&changed), "{kind}: {changed}"),
        }
        assert_eq!(bits(&set), values, "{kind}");
        assert_eq!(set.stats().unwrap(), stats, "{kind}");
        assert_eq!(set.check(&|_| {}).looks, looks, "{kind}");
    }
}

#[test]
fn the_augmented_half_is_added_to_the_untouched_one() {
    let (_folder, manifest) = city();
    let plain = clips(&manifest, Some(Arc::new(FeatureCache::in_memory(1 << 22))));
    let set = augmented(plain.clone(), &["spec_augment", "mixup"]).with_untouched_half(true);
    for order in [SHUFFLED, Order::Balanced(Seed(42))] {
        let loader = ClipLoader::new(Arc::new(set.clone()), 6, order);
        assert_eq!((loader.visits(), loader.num_batches()), (40, 7));
        let epoch = all(&loader, 1, 0);
        let mut rows = BTreeMap::<usize, Vec<bool>>::new();
        for batch in &epoch {
            let size = batch.shape[1] * batch.shape[2];
            for (i, clip) in batch.clips.iter().enumerate() {
                let target = &batch.targets[i * set.num_classes()..][..set.num_classes()];
                let same = batch.inputs[i * size..][..size] == plain.features(*clip).unwrap().values
                    && target == plain.target(*clip);
                rows.entry(*clip).or_default().push(same);
            }
        }
        assert_eq!((epoch.len(), rows.len()), (7, 20));
        let twice = rows.values().filter(|same| same.len() == 2 && same.contains(&true)).count();
        assert_eq!(twice, 20, "{rows:?}");
        let touched = rows.values().filter(|same| same.contains(&false)).count();
        assert!(touched > 13, "{touched}: nine of ten are masked or mixed");
    }
    assert_eq!(ClipLoader::new(Arc::new(set), 6, Order::Sequential).num_batches(), 4);
}

#[test]
fn evaluation_and_statistics_never_draw() {
    let (folder, manifest) = city();
    for audio in drawing() {
        let cache = Some(Arc::new(FeatureCache::in_memory(1 << 22)));
        let plain = clips_of(&manifest, &audio, cache);
        let stats = plain.stats().unwrap();
        assert_eq!(clips_of(&manifest, &audio, None).stats().unwrap(), stats);
        let set = Arc::new(plain.with_stats(stats));
        let loader = ClipLoader::new(set.clone(), 6, Order::Sequential);
        assert_eq!(all(&loader, 1, 0), all(&loader, 2, 0));
        let front_end = Extractor::new(&audio, &FeatureConfig::default()).unwrap().with_stats(Some(stats));
        for (i, row) in by_clip(&all(&loader, 1, 0)) {
            let path = folder.path().join(&set.entry(i).path);
            let waveform = audio::load(&Source::Path(&path), 8_000, &Limits::default()).unwrap();
            let features = front_end.extract(&waveform.samples);
            assert_eq!(row, features.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_is_drawn_from_is_decoded_once() {
    for audio in drawing() {
        let (folder, manifest) = city();
        let cache = Some(Arc::new(FeatureCache::on_disk(folder.path().join("cache")).unwrap()));
        let loader = ClipLoader::new(Arc::new(clips_of(&manifest, &audio, cache)), 6, SHUFFLED);
        assert!(loader.set().check(&|_| ()).bad.is_empty());
        let (first, second) = (all(&loader, 1, 0), all(&loader, 2, 0));
        silence(&folder, &manifest);
        assert_eq!((all(&loader, 1, 0), all(&loader, 2, 0)), (first, second));
        let fresh = ClipLoader::new(Arc::new(clips_of(&manifest, &audio, None)), 6, SHUFFLED);
        assert_ne!(all(&fresh, 1, 0), all(&loader, 1, 0), "the sounds on disk are silent now");
    }
}

#[test]
fn an_epoch_dropped_early_leaves_no_thread_behind() {
    let (_folder, manifest) = city();
    let set = Arc::new(clips(&manifest, None));
    let mut epoch = ClipLoader::new(set.clone(), 1, SHUFFLED).epoch(0, 0);
    assert!(epoch.next().unwrap().is_ok());
    assert_eq!(Arc::strong_count(&set), 2, "the thread has work left and holds the set");
    drop(epoch);
    assert_eq!(Arc::strong_count(&set), 1);
}

#[test]
fn an_unreadable_clip_is_named_and_ends_the_epoch() {
    let (folder, manifest) = city();
    let broken = folder.path().join(&manifest.entries[8].path);
    std::fs::write(&broken, b"not a sound").unwrap();
    let loader = ClipLoader::new(Arc::new(clips(&manifest, None)), 6, Order::Sequential);
    let mut epoch = loader.epoch(0, 0);
    assert_eq!(epoch.next().unwrap().unwrap().clips, (0..6).collect::<Vec<_>>());
    let error = epoch.next().unwrap().unwrap_err().to_string();
    let name = broken.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name), "{error}");
    assert!(epoch.next().is_none());
}

#[test]
fn check_reports_every_broken_clip_in_order() {
    let (folder, manifest) = city();
    for index in [15, 3] {
        std::fs::write(folder.path().join(&manifest.entries[index].path), b"not a sound").unwrap();
    }
    std::fs::remove_file(folder.path().join(&manifest.entries[9].path)).unwrap();
    let most = AtomicUsize::new(0);
    let Checked { bad, looks } = clips(&manifest, None).check(&|done| {
        most.fetch_max(done, Ordering::Relaxed);
    });
    assert_eq!(looks.iter().flatten().collect::<HashSet<_>>().len(), 17, "seventeen sounds, all different");
    let paths: Vec<_> = bad.iter().map(|clip| &clip.path).collect();
    assert_eq!(paths, [3, 9, 15].map(|index| &manifest.entries[index].path));
    assert!(bad.iter().all(|clip| !clip.reason.is_empty()));
    assert_eq!(most.into_inner(), 20);
}

#[test]
fn a_label_that_is_no_class_is_named_with_its_clip() {
    let (_folder, mut manifest) = city();
    manifest.entries[4].labels = vec!["tram".to_owned()];
    let labels = Arc::new(manifest.labels.clone());
    let path = manifest.entries[4].path.display().to_string();
    let make = |indices| {
        ClipSet::new(Arc::new(manifest.clone()), indices, labels.clone(), Arc::new(extractor()), None)
    };
    let error = make(vec![0, 4]).unwrap_err();
    assert!(matches!(error, Error::UnknownLabel { .. }));
    let error = error.to_string();
    assert!(error.contains("tram") && error.contains(&path), "{error}");
    assert!(make(vec![0, 5]).is_ok(), "clips outside the set do not matter");
}

#[test]
fn several_labels_give_a_multi_hot_target() {
    let (_folder, mut manifest) = city();
    manifest.entries[0].labels = vec!["voices".to_owned(), "car_horn".to_owned()];
    assert_eq!(clips(&manifest, None).target(0), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_balanced_epoch_gives_every_class_its_turn_and_every_clip_of_a_class_before_any_again() {
    let (_folder, mut manifest) = city();
    for (i, entry) in manifest.entries.iter_mut().enumerate() {
        entry.labels = vec![if i < 16 { "car_horn" } else { "voices" }.to_owned()];
    }
    let loader = |seed| ClipLoader::new(Arc::new(clips(&manifest, None)), 3, Order::Balanced(Seed(seed)));
    let epoch = |number| visited(&all(&loader(1), number, 0));
    let first = epoch(0);
    assert_eq!(first.len(), 20);
    // Each round of two holds one of each class.
    assert!(first.chunks(2).all(|round| round.iter().filter(|&&clip| clip < 16).count() == 1), "{first:?}");
    let rare: Vec<usize> = first.iter().copied().filter(|&clip| clip >= 16).collect();
    for time in rare.chunks(4) {
        assert_eq!(time.iter().collect::<HashSet<_>>().len(), time.len(), "{rare:?}");
    }
    let frequent: HashSet<usize> = first.iter().copied().filter(|&clip| clip < 16).collect();
    assert_eq!(frequent.len(), 10);
    assert_eq!(epoch(0), first);
    assert_ne!(epoch(1), first);
    assert_ne!(visited(&all(&loader(2), 0, 0)), first);
    assert_eq!(visited(&all(&loader(1), 0, 2)), first[6..]);
}

#[test]
fn standardises_exactly_as_the_extractor_does() {
    let (folder, manifest) = city();
    let plain = clips(&manifest, Some(Arc::new(FeatureCache::in_memory(1 << 20))));
    let stats = plain.stats().unwrap();
    let front_end = extractor().with_stats(Some(stats));
    let set = plain.with_stats(stats);
    for _uncached_then_cached in 0..2 {
        let mut values = Vec::new();
        for i in 0..set.len() {
            let path = folder.path().join(&set.entry(i).path);
            let waveform = audio::load(&Source::Path(&path), 8_000, &Limits::default()).unwrap();
            let features = set.features(i).unwrap();
            assert_eq!(features, front_end.extract(&waveform.samples));
            values.extend(features.values.iter().map(|&value| f64::from(value)));
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
    }
}

#[test]
fn stats_are_those_of_any_number_of_threads_and_refuse_an_empty_set() {
    let (_folder, manifest) = city();
    let set = clips(&manifest, None);
    assert_eq!(pool(1).install(|| set.stats()).unwrap(), pool(4).install(|| set.stats()).unwrap());
    let labels = Arc::new(manifest.labels.clone());
    let empty = ClipSet::new(Arc::new(manifest), Vec::new(), labels, Arc::new(extractor()), None).unwrap();
    assert!(matches!(empty.stats(), Err(Error::NoClips)));
}

#[test]
fn cached_features_are_the_same_to_the_bit() {
    let (folder, manifest) = city();
    let fresh = bits(&clips(&manifest, None));
    let disk = || Arc::new(FeatureCache::on_disk(folder.path().join("cache")).unwrap());
    for cache in [Arc::new(FeatureCache::in_memory(1 << 20)), disk(), disk()] {
        let set = clips(&manifest, Some(cache));
        assert!(set.check(&|_| ()).bad.is_empty());
        assert_eq!(bits(&set), fresh);
    }
}

#[test]
fn the_disk_cache_is_used_but_damage_is_not_believed() {
    let (folder, manifest) = city();
    let cache = folder.path().join("cache");
    let set = || clips(&manifest, Some(Arc::new(FeatureCache::on_disk(&cache).unwrap())));
    let fresh = bits(&set());
    let entries = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(entries().count(), 20);

    // A valid entry is believed: with the sounds made silent behind the cache's back (same length, same
    // time), the old features still come back.
    silence(&folder, &manifest);
    assert_eq!(bits(&set()), fresh);

    // Damaged entries are computed anew, from what are silent sounds now, and replaced.
    for path in entries() {
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let silent = bits(&set());
    assert!(silent.iter().zip(&fresh).all(|(new, old)| new != old));
    assert_eq!(bits(&set()), silent);
    assert_eq!(entries().count(), 20);
}

#[test]
fn front_ends_do_not_share_entries() {
    let (folder, manifest) = city();
    let cache = Arc::new(FeatureCache::on_disk(folder.path().join("cache")).unwrap());
    let labels = Arc::new(manifest.labels.clone());
    let audio = |clip_seconds| AudioConfig::new(8_000, clip_seconds);
    let rule = |keep| SilenceRule {
        up_to_seconds: None,
        min_silence_len: 40,
        silence_thresh: -30.0,
        keep_silence: keep,
    };
    // All with one shape; what differs are the decibels, the part of the clip, or what is left of it.
    let others = [
        (audio(0.2), FeatureConfig::default()),
        (audio(0.2), FeatureConfig { top_db: Some(20.0), ..FeatureConfig::default() }),
        (AudioConfig { longer: Longer::CenterCrop, ..audio(0.2) }, FeatureConfig::default()),
        (AudioConfig { silence: vec![rule(0)], ..audio(0.2) }, FeatureConfig::default()),
        (AudioConfig { silence: vec![rule(9)], ..audio(0.2) }, FeatureConfig::default()),
        (AudioConfig { longer: Longer::RandomCrop, ..audio(0.2) }, FeatureConfig::default()),
        (
            AudioConfig { longer: Longer::RandomCrop, silence: vec![rule(0)], ..audio(0.2) },
            FeatureConfig::default(),
        ),
    ];
    let mut seen = Vec::new();
    for (audio, features) in others {
        let extractor = Arc::new(Extractor::new(&audio, &features).unwrap());
        let make = |cache| {
            let manifest = Arc::new(manifest.clone());
            ClipSet::new(manifest, (0..20).collect(), labels.clone(), extractor.clone(), cache).unwrap()
        };
        let fresh = bits(&make(None));
        assert_eq!(bits(&make(Some(cache.clone()))), fresh, "{audio:?}");
        seen.push(fresh);
    }
    let same = |a: usize, b: usize| seen[a] == seen[b];
    assert!(!same(0, 1) && !same(0, 2) && !same(0, 3) && !same(3, 4) && !same(5, 6));
    assert!(same(2, 5), "what is evaluated of a random part is the middle");
}
