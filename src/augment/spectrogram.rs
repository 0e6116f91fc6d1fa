//! On the features of a clip: SpecAugment (Park et al. 2019) and masks.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::features::{FeatureShape, Features};

/// Mean of all values; 0 for none.
pub(super) fn mean(features: &Features) -> f32 {
    let sum: f64 = features.values.iter().map(|&value| f64::from(value)).sum();
    (sum / features.values.len().max(1) as f64) as f32
}

/// Start and end of a mask: its width evenly from 0 to `most`, its place evenly from those where it fits in `len`.
pub(super) fn span(most: usize, len: usize, rng: &mut ChaCha8Rng) -> std::ops::Range<usize> {
    let width = rng.random_range(0..=most.min(len));
    let start = rng.random_range(0..=len - width);
    start..start + width
}

/// Fills a band of up to `most` rows with `value`.
pub(super) fn mask_rows(features: &mut Features, most: usize, value: f32, rng: &mut ChaCha8Rng) {
    let band = span(most, features.shape.bins, rng);
    let frames = features.shape.frames;
    features.values[band.start * frames..band.end * frames].fill(value);
}

/// Fills a stretch of up to `most` frames with `value`.
pub(super) fn mask_columns(features: &mut Features, most: usize, value: f32, rng: &mut ChaCha8Rng) {
    let stretch = span(most, features.shape.frames, rng);
    for row in features.values.chunks_exact_mut(features.shape.frames.max(1)) {
        row[stretch.clone()].fill(value);
    }
}

/// Fills a rectangle of up to `rows` rows and up to `columns` frames with `value`.
pub(super) fn mask_rectangle(
    features: &mut Features,
    rows: usize,
    columns: usize,
    value: f32,
    rng: &mut ChaCha8Rng,
) {
    let FeatureShape { bins, frames } = features.shape;
    let (band, stretch) = (span(rows, bins, rng), span(columns, frames, rng));
    for row in band {
        features.values[row * frames..][stretch.clone()].fill(value);
    }
}

/// Moves a moment at least `most` frames from either end by up to `most` frames; see
/// [`Augmentation::SpecAugment`](super::Augmentation::SpecAugment).
pub(super) fn warp(features: &mut Features, most: usize, rng: &mut ChaCha8Rng) {
    let frames = features.shape.frames;
    if most == 0 || frames < 2 * most + 2 {
        return;
    }
    let (most, last) = (most as f64, (frames - 1) as f64);
    let from = rng.random_range(most..=last - most);
    let to = from + rng.random_range(-most..most);
    // Where the value at each frame comes from.
    let source = |frame: usize| {
        let x = frame as f64;
        if x < to { x * from / to } else { last - (last - x) * (last - from) / (last - to) }
    };
    for row in features.values.chunks_exact_mut(frames) {
        let before = row.to_vec();
        for (frame, value) in row.iter_mut().enumerate() {
            let at = source(frame).clamp(0.0, last);
            let (left, share) = (at as usize, at.fract() as f32);
            let right = (left + 1).min(frames - 1);
            *value = before[left] + share * (before[right] - before[left]);
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are moved or copied stay exactly what they were")]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn rng(item: u64) -> ChaCha8Rng {
        Seed(2).rng(Purpose::Augment, 1, item)
    }

    /// Row `b`, frame `t` holds `100 b + t + 1`.
    fn features(bins: usize, frames: usize) -> Features {
        let value = |i| (100 * (i / frames) + i % frames + 1) as f32;
        Features { shape: FeatureShape { bins, frames }, values: (0..bins * frames).map(value).collect() }
    }

    #[test]
    fn widths_and_places_are_spread_evenly() {
        let mut widths = [0; 6];
        let (mut first, mut last) = (0, 0);
        for item in 0..3000 {
            let band = span(5, 20, &mut rng(item));
            widths[band.len()] += 1;
            first += usize::from(band.start == 0 && band.len() == 5);
            last += usize::from(band.end == 20 && band.len() == 5);
        }
        // 500 of each width; of the 16 places of the widest, 31 at either end.
        assert!(widths.iter().all(|n| (420..580).contains(n)), "{widths:?}");
        assert!((12..60).contains(&first) && (12..60).contains(&last), "{first} {last}");
        assert!(span(9, 4, &mut rng(0)).end <= 4);
        assert_eq!(span(3, 0, &mut rng(0)), 0..0);
    }

    #[test]
    fn masks_are_whole_rows_and_whole_frames() {
        for item in 0..20 {
            let mut masked = features(10, 30);
            mask_rows(&mut masked, 4, 0.0, &mut rng(item));
            let rows = |row: &[f32]| row.iter().filter(|x| **x == 0.0).count();
            let zeros: Vec<usize> = masked.values.chunks(30).map(rows).collect();
            assert!(zeros.iter().all(|n| [0, 30].contains(n)) && zeros.iter().sum::<usize>() <= 4 * 30);

            let mut masked = features(10, 30);
            mask_columns(&mut masked, 7, 0.0, &mut rng(item));
            let first: Vec<bool> = masked.values[..30].iter().map(|x| *x == 0.0).collect();
            assert!(
                masked.values.chunks(30).all(|row| row.iter().zip(&first).all(|(x, m)| (*x == 0.0) == *m))
            );
            let width = first.iter().filter(|m| **m).count();
            let (from, to) = (first.iter().position(|m| *m), first.iter().rposition(|m| *m));
            assert!(width <= 7 && from.zip(to).is_none_or(|(from, to)| to + 1 - from == width));
            let kept = masked.values.iter().zip(features(10, 30).values).filter(|(a, b)| **a == *b).count();
            assert_eq!(kept, 10 * (30 - width));
        }
    }

    #[test]
    fn rectangles_are_whole_and_both_ways_bounded() {
        let mut largest = [0; 2];
        for item in 0..60 {
            let mut masked = features(10, 30);
            mask_rectangle(&mut masked, 4, 7, 0.0, &mut rng(item));
            let zeros = |row: &[f32]| row.iter().filter(|x| **x == 0.0).count();
            let widths: Vec<usize> = masked.values.chunks(30).map(zeros).filter(|n| *n > 0).collect();
            assert!(widths.len() <= 4 && widths.iter().all(|n| *n == widths[0] && *n <= 7), "{widths:?}");
            largest = [largest[0].max(widths.len()), largest[1].max(widths.first().copied().unwrap_or(0))];
            let kept = masked.values.iter().zip(features(10, 30).values).filter(|(a, b)| **a == *b).count();
            assert_eq!(kept, 300 - widths.iter().sum::<usize>());
        }
        assert_eq!(largest, [4, 7]);
    }

    #[test]
    fn a_warp_keeps_ends_and_order_and_moves_something() {
        let mut moved: f32 = 0.0;
        for item in 0..50 {
            let mut warped = features(2, 40);
            warp(&mut warped, 8, &mut rng(item));
            assert_eq!((warped.values[0], warped.values[40]), (1.0, 101.0));
            assert!((warped.values[39] - 40.0).abs() < 1e-4, "{}", warped.values[39]);
            assert!(warped.values[..40].windows(2).all(|pair| pair[0] <= pair[1]));
            let distance = |t: usize| (warped.values[t] - (t + 1) as f32).abs();
            let most = (0..40).map(distance).fold(0.0, f32::max);
            assert!(most <= 8.0, "{most}");
            moved = moved.max(most);
        }
        assert!(moved > 4.0, "{moved}");
        for (bins, frames, most) in [(2, 40, 0), (2, 3, 1), (1, 0, 4)] {
            let mut same = features(bins, frames.max(1));
            same.values.truncate(bins * frames);
            same.shape.frames = frames;
            let before = same.clone();
            warp(&mut same, most, &mut rng(0));
            assert_eq!(same, before);
        }
    }

    #[test]
    fn the_mean_is_that_of_all_values() {
        assert_eq!(mean(&features(2, 3)), 52.0);
        assert_eq!(mean(&Features { shape: FeatureShape { bins: 0, frames: 0 }, values: vec![] }), 0.0);
    }
}
