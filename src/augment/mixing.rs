//! Clips of a batch with one another.

use std::f64::consts::TAU;
use std::ops::Range;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::spectrogram::span;
use super::{Augmentation, MixedLabels};

/// Mixes each clip that it falls to with its partner in a shuffled copy of the batch, as Zhang et al. 2018 do.
pub(super) fn apply(
    augmentation: &Augmentation,
    inputs: &mut [f32],
    targets: &mut [f32],
    [batch, bins, frames]: [usize; 3],
    augmented: &[bool],
    rng: &mut ChaCha8Rng,
) {
    let (Augmentation::Mixup { labels, .. }
    | Augmentation::Cutmix { labels, .. }
    | Augmentation::Specmix { labels, .. }) = *augmentation
    else {
        return;
    };
    if batch < 2 {
        return;
    }
    let clip = bins * frames;
    let classes = targets.len() / batch;
    let (sounds, answers) = (inputs.to_vec(), targets.to_vec());
    let mut partners: Vec<usize> = (0..batch).collect();
    partners.shuffle(rng);
    for (i, partner) in partners.into_iter().enumerate() {
        // Drawn for every clip, so that what falls to one does not hang on what fell to another.
        let (falls, how) =
            (rng.random_bool(augmentation.probability()), How::draw(augmentation, [bins, frames], rng));
        if !falls || augmented.get(i) != Some(&true) {
            continue;
        }
        let (own, other) = (&mut inputs[i * clip..][..clip], &sounds[partner * clip..][..clip]);
        let share = how.mix(own, other, frames);
        let (own, other) = (&mut targets[i * classes..][..classes], &answers[partner * classes..][..classes]);
        labels.mix(own, other, share);
    }
}

impl MixedLabels {
    /// Mixes the target `other` into `own`, of which `share` stays.
    pub(super) fn mix(self, own: &mut [f32], other: &[f32], share: f64) {
        match self {
            Self::Linear => blend(own, other, share as f32),
            Self::Or => own.iter_mut().zip(other).for_each(|(own, other)| *own = own.max(*other)),
        }
    }
}

/// How one clip is mixed with another.
pub(super) enum How {
    /// This share of itself.
    Blend(f64),
    /// The other one where both these rows and these frames cross.
    Rectangle([Range<usize>; 2]),
    /// The other one in all these rows and in all these frames.
    Bands([Vec<Range<usize>>; 2]),
}

impl How {
    pub(super) fn draw(augmentation: &Augmentation, shape: [usize; 2], rng: &mut ChaCha8Rng) -> Self {
        match *augmentation {
            Augmentation::Cutmix { alpha, .. } => {
                Self::Rectangle(rectangle(shape, beta(alpha, rng), rng.random()))
            }
            Augmentation::Specmix { bands, width, .. } => Self::Bands(shape.map(|len| {
                let most = (width * len as f64) as usize;
                (0..rng.random_range(1..=bands.max(1))).map(|_| span(most, len, rng)).collect()
            })),
            Augmentation::Mixup { alpha, .. } => Self::Blend(beta(alpha, rng)),
            _ => Self::Blend(1.0),
        }
    }

    /// Mixes `other` into `own`, of rows of `frames` values; the share of `own` that stays.
    pub(super) fn mix(&self, own: &mut [f32], other: &[f32], frames: usize) -> f64 {
        match self {
            Self::Blend(share) => {
                blend(own, other, *share as f32);
                *share
            }
            Self::Rectangle([rows, columns]) => {
                paste(own, other, frames, |row, frame| rows.contains(&row) && columns.contains(&frame))
            }
            Self::Bands(bands) => {
                let [rows, columns] = bands
                    .each_ref()
                    .map(|bands| move |at: usize| bands.iter().any(|band| band.contains(&at)));
                paste(own, other, frames, |row, frame| rows(row) || columns(frame))
            }
        }
    }
}

/// `share * own + (1 - share) * other`.
fn blend(own: &mut [f32], other: &[f32], share: f32) {
    own.iter_mut().zip(other).for_each(|(own, other)| *own = share * *own + (1.0 - share) * *other);
}

/// Rows and columns of a rectangle of `1 - lambda` of the area around `centre` (shares of rows and frames), cut off at the
/// edges.
fn rectangle([bins, frames]: [usize; 2], lambda: f64, centre: [f64; 2]) -> [Range<usize>; 2] {
    let side = (1.0 - lambda).sqrt();
    let cut = |len: usize, centre: f64| {
        let len = len as f64;
        let [from, to] =
            [-0.5, 0.5].map(|half| (len * (centre + half * side)).round().clamp(0.0, len) as usize);
        from..to
    };
    [cut(bins, centre[0]), cut(frames, centre[1])]
}

/// Replaces values of `own` by those of `other` wherever `inside(row, frame)`; the share of values that stay.
fn paste(own: &mut [f32], other: &[f32], frames: usize, inside: impl Fn(usize, usize) -> bool) -> f64 {
    let mut pasted = 0;
    for (i, (own, other)) in own.iter_mut().zip(other).enumerate() {
        if inside(i / frames, i % frames) {
            *own = *other;
            pasted += 1;
        }
    }
    1.0 - f64::from(pasted) / own.len().max(1) as f64
}

/// A draw from Beta(alpha, alpha): `(1 + t / sqrt(2 alpha + t^2)) / 2` for `t` of Student's distribution with `2 alpha`
/// degrees of freedom (Devroye, "Random variate generation in one line of code", 1996), and `t` itself by Bailey's polar
/// method ("Polar generation of random variates with the t-distribution", 1994).
fn beta(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    let [u, v]: [f64; 2] = [1.0 - rng.random::<f64>(), rng.random()];
    // t / sqrt(2 alpha); it may be infinite, and lambda is then 0 or 1.
    let ratio = (u.powf(-1.0 / alpha) - 1.0).sqrt() * (TAU * v).cos();
    f64::midpoint(1.0, ratio.atan().sin())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "values that are moved or copied stay exactly what they were")]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn rng(item: u64) -> ChaCha8Rng {
        Seed(3).rng(Purpose::MixClips, 1, item)
    }

    /// `alpha` and `scipy.stats.beta(alpha, alpha).cdf([0.05, 0.25, 0.5, 0.9])`.
    const CDF: [(f64, [f64; 4]); 4] = [
        (0.2, [0.2910, 0.4141, 0.5, 0.6633]),
        (0.4, [0.1800, 0.3563, 0.5, 0.7603]),
        (1.0, [0.0500, 0.2500, 0.5, 0.9000]),
        (4.0, [0.0002, 0.0706, 0.5, 0.9973]),
    ];

    /// Share of draws below each of the given values.
    fn below(alpha: f64, values: [f64; 4]) -> [f64; 4] {
        let mut rng = rng(0);
        let draws: Vec<f64> = (0..20_000).map(|_| beta(alpha, &mut rng)).collect();
        assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
        values.map(|value| draws.iter().filter(|x| **x < value).count() as f64 / draws.len() as f64)
    }

    #[test]
    fn lambda_has_the_beta_distribution() {
        for (alpha, expected) in CDF {
            for (found, expected) in below(alpha, [0.05, 0.25, 0.5, 0.9]).into_iter().zip(expected) {
                assert!((found - expected).abs() < 0.012, "alpha {alpha}: {found}, not {expected}");
            }
        }
        assert!(below(1e-6, [0.25, 0.5, 0.75, 0.9]).iter().all(|share| (share - 0.5).abs() < 0.012));
    }

    fn batch() -> (Vec<f32>, Vec<f32>, [usize; 3]) {
        let inputs = (0..4).flat_map(|clip| vec![10f32.powi(clip); 6 * 8]).collect();
        let targets =
            (0..4).flat_map(|clip| (0..4).map(move |class| f32::from(u8::from(class == clip)))).collect();
        (inputs, targets, [4, 6, 8])
    }

    fn mixed(augmentation: &Augmentation, item: u64) -> (Vec<f32>, Vec<f32>) {
        let (mut inputs, mut targets, shape) = batch();
        apply(augmentation, &mut inputs, &mut targets, shape, &[true; 4], &mut rng(item));
        (inputs, targets)
    }

    #[test]
    fn sounds_and_targets_are_mixed_in_the_same_shares() {
        let mixup = Augmentation::Mixup { probability: 1.0, alpha: 1.0, labels: MixedLabels::Linear };
        let cutmix = Augmentation::Cutmix { probability: 1.0, alpha: 1.0, labels: MixedLabels::Linear };
        let specmix =
            Augmentation::Specmix { probability: 1.0, bands: 3, width: 0.3, labels: MixedLabels::Linear };
        for augmentation in [mixup, cutmix, specmix] {
            let mut between = 0;
            for item in 0..10 {
                let (inputs, targets) = mixed(&augmentation, item);
                for (clip, target) in inputs.chunks(48).zip(targets.chunks(4)) {
                    assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                    let mean = clip.iter().sum::<f32>() / 48.0;
                    let expected: f32 = (0..4).map(|class| target[class as usize] * 10f32.powi(class)).sum();
                    assert!(
                        (mean - expected).abs() < 1e-4 * expected,
                        "{augmentation:?}: {mean}, not {expected}"
                    );
                    between += usize::from(target.iter().all(|x| *x < 0.99));
                }
            }
            assert!(between > 10, "{augmentation:?}: {between} of 40 mixed");
        }
    }

    fn pasted(how: &How) -> (Vec<f32>, f64) {
        let (mut own, other) = (vec![0.0; 80], vec![1.0; 80]);
        let share = how.mix(&mut own, &other, 10);
        (own, share)
    }

    #[test]
    fn a_rectangle_comes_from_the_other_clip() {
        let (own, share) = pasted(&How::Rectangle(rectangle([8, 10], 0.75, [0.5, 0.5])));
        // Half of either side: rows 2 to 6 and frames 2.5 to 7.5, rounded.
        let expected: Vec<f32> = (0..80)
            .map(|i| f32::from(u8::from((2..6).contains(&(i / 10)) && (3..8).contains(&(i % 10)))))
            .collect();
        assert_eq!(own, expected);
        assert!((share - 0.75).abs() < 1e-9);
        let (_, corner) = pasted(&How::Rectangle(rectangle([8, 10], 0.75, [0.0, 0.0])));
        assert!((corner - (1.0 - 6.0 / 80.0)).abs() < 1e-9, "{corner}");
    }

    #[test]
    fn bands_come_from_the_other_clip() {
        let (own, share) = pasted(&How::Bands([vec![1..3, 2..4], vec![0..1, 9..9]]));
        let expected: Vec<f32> =
            (0..80).map(|i| f32::from(u8::from((1..4).contains(&(i / 10)) || i % 10 == 0))).collect();
        assert_eq!(own, expected);
        assert!((share - 45.0 / 80.0).abs() < 1e-9, "what is covered twice counts once: {share}");
        let specmix =
            Augmentation::Specmix { probability: 1.0, bands: 3, width: 0.3, labels: MixedLabels::Linear };
        let mut numbers = [0; 4];
        for item in 0..200 {
            let How::Bands(bands) = How::draw(&specmix, [20, 50], &mut rng(item)) else { panic!() };
            for (bands, len) in bands.iter().zip([20, 50]) {
                numbers[bands.len()] += 1;
                assert!(bands.iter().all(|band| band.len() * 10 <= 3 * len && band.end <= len));
            }
        }
        assert!(numbers[0] == 0 && numbers[1..].iter().all(|n| *n > 90), "{numbers:?}");
    }

    #[test]
    fn or_keeps_every_label_whole() {
        let or = Augmentation::Mixup { probability: 1.0, alpha: 1.0, labels: MixedLabels::Or };
        let targets: Vec<f32> = (0..5).flat_map(|item| mixed(&or, item).1).collect();
        assert!(targets.iter().all(|x| *x == 0.0 || *x == 1.0));
        assert!(targets.chunks(4).enumerate().all(|(clip, target)| target[clip % 4] == 1.0));
        assert!(targets.iter().sum::<f32>() > 25.0);
    }

    #[test]
    fn as_many_clips_are_mixed_as_the_probability_says_and_one_alone_is_not() {
        let half = Augmentation::Mixup { probability: 0.5, alpha: 1.0, labels: MixedLabels::Linear };
        let changed = |item| {
            let (_, targets) = mixed(&half, item);
            targets.chunks(4).zip(batch().1.chunks(4)).filter(|(a, b)| a != b).count()
        };
        // Of four clips 3 have another partner than themselves on average; half of those are mixed.
        let changed: usize = (0..400).map(changed).sum();
        assert!((500..700).contains(&changed), "{changed}");
        let (mut inputs, mut targets) = (vec![1.0, 2.0], vec![1.0, 0.0]);
        apply(&half, &mut inputs, &mut targets, [1, 1, 2], &[true], &mut rng(0));
        assert_eq!((inputs, targets), (vec![1.0, 2.0], vec![1.0, 0.0]));
    }

    #[test]
    fn rows_that_are_not_augmented_stay_and_others_do_not_change_for_it() {
        let mixup = Augmentation::Mixup { probability: 1.0, alpha: 1.0, labels: MixedLabels::Linear };
        let (all, _) = mixed(&mixup, 1);
        let (mut inputs, mut targets, shape) = batch();
        apply(&mixup, &mut inputs, &mut targets, shape, &[true, false, true, false], &mut rng(1));
        for (i, row) in inputs.chunks(48).enumerate() {
            let expected = if i % 2 == 0 { &all } else { &batch().0 };
            assert_eq!(row, &expected[i * 48..][..48]);
        }
    }
}
