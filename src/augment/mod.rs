//! Training clips → other ones, by the recipe's list `[[augment]]`.
//!
//! ```text
//! clip ── waveform: gain, polarity, time_shift, time_stretch, pitch_shift, noise, background,
//!                   between_class, reverberation, equalizer, telephone, bit_depth ── features, standardised ──
//!      ── spectrogram: spec_augment, random_masks, rotation, zoom, translation ── batch ──
//!      ── mixing: mixup, cutmix, specmix ── network
//! ```
//!
//! The list is worked through in order, each entry for each clip with its own probability. Nothing here touches
//! validation, test or prediction: the loader calls it only for clips that are drawn for training. What is drawn is a
//! function of the stream that the caller gives ([`crate::seed`]), so threads and resuming change nothing.

mod between_class;
mod codec;
mod config;
mod equalizer;
mod fft;
mod image;
mod mixing;
mod reverberation;
mod spectrogram;
mod vocoder;
mod waveform;

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub use codec::Law;
pub use config::{Augmentation, Backdrop, MixedLabels, Stage, validate};

use crate::audio::coloured;
use crate::features::{FeatureShape, Features};

/// A clip on its way to the network, before its features.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Of the length and rate that the network's clips have.
    pub samples: Vec<f32>,
    /// `[num_classes]`, as in a batch.
    pub target: Vec<f32>,
}

/// Where augmentations find other sounds than the clip's own: at its rate, and of its length.
pub trait Sounds {
    /// Why one cannot be had.
    type Error;

    /// A part of one of the recordings that `from` names; none where there are none.
    fn background(&self, from: &Backdrop, rng: &mut ChaCha8Rng) -> Result<Option<Vec<f32>>, Self::Error>;

    /// A training clip with another target than `target`; none where there is none.
    fn other(&self, target: &[f32], rng: &mut ChaCha8Rng) -> Result<Option<Clip>, Self::Error>;
}

/// The augmentations that fell to one clip, in order.
#[derive(Debug, Clone)]
pub struct Chosen<'a>(Vec<&'a Augmentation>);

/// Those of `augmentations` that fall to one clip, each with its probability. (Mixing is decided by [`mix`].)
pub fn choose<'a>(augmentations: &'a [Augmentation], rng: &mut ChaCha8Rng) -> Chosen<'a> {
    let single = augmentations.iter().filter(|augmentation| augmentation.stage() != Stage::Batch);
    Chosen(single.filter(|augmentation| rng.random_bool(augmentation.probability())).collect())
}

/// Their kinds.
impl fmt::Display for Chosen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kinds: Vec<&str> = self.0.iter().map(|augmentation| augmentation.kind()).collect();
        f.write_str(if kinds.is_empty() { "nothing" } else { "" })?;
        f.write_str(&kinds.join(", "))
    }
}

impl<'a> Chosen<'a> {
    /// `augmentation` for certain.
    pub fn only(augmentation: &'a Augmentation) -> Self {
        Self(vec![augmentation])
    }

    /// Whether the waveform is changed, so that features made before are of no use.
    pub fn on_waveform(&self) -> bool {
        self.0.iter().any(|augmentation| augmentation.stage() == Stage::Waveform)
    }

    /// Changes the samples of a clip at `sample_rate` Hz, whose number stays, and its target where another clip is mixed in.
    ///
    /// # Errors
    /// Those of `sounds`.
    pub fn waveform<S: Sounds>(
        &self,
        clip: &mut Clip,
        sample_rate: u32,
        sounds: &S,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), S::Error> {
        let Clip { samples, target } = clip;
        for augmentation in &self.0 {
            match **augmentation {
                Augmentation::Gain { db, .. } => waveform::gain(samples, uniform(db, rng)),
                Augmentation::Polarity { .. } => waveform::invert(samples),
                Augmentation::TimeShift { seconds, wrap, .. } => {
                    let by = uniform([-seconds, seconds], rng) * f64::from(sample_rate);
                    waveform::shift(samples, by, wrap);
                }
                Augmentation::TimeStretch { rate, .. } => waveform::stretch(samples, uniform(rate, rng)),
                Augmentation::PitchShift { semitones, .. } => {
                    waveform::shift_pitch(samples, uniform(semitones, rng));
                }
                Augmentation::Noise { colour, snr_db, .. } => {
                    let snr = uniform(snr_db, rng);
                    let noise = coloured(colour, rng, samples.len(), sample_rate);
                    waveform::add(samples, &noise, snr);
                }
                Augmentation::Background { ref from, snr_db, .. } => {
                    let snr = uniform(snr_db, rng);
                    if let Some(background) = sounds.background(from, rng)? {
                        let background: Vec<f64> = background.into_iter().map(f64::from).collect();
                        waveform::add(samples, &background, snr);
                    }
                }
                Augmentation::BetweenClass { labels, .. } => {
                    let share = rng.random();
                    if let Some(other) = sounds.other(target, rng)? {
                        between_class::mix(samples, &other.samples, share, sample_rate);
                        labels.mix(target, &other.target, share);
                    }
                }
                Augmentation::Reverberation { seconds, direct_db, .. } => {
                    let [seconds, direct_db] = [seconds, direct_db].map(|range| uniform(range, rng));
                    reverberation::reverberate(samples, seconds, direct_db, sample_rate, rng);
                }
                Augmentation::Equalizer { db, bands, .. } => {
                    equalizer::equalize(samples, bands, db, sample_rate, rng);
                }
                Augmentation::Telephone { law, .. } => codec::telephone(samples, law, sample_rate),
                Augmentation::BitDepth { bits: [fewest, most], .. } => {
                    codec::quantize(samples, rng.random_range(fewest..=most));
                }
                // Not on the samples.
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes the features of a clip; their shape stays.
    pub fn spectrogram(&self, features: &mut Features, rng: &mut ChaCha8Rng) {
        let FeatureShape { bins, frames } = features.shape;
        for augmentation in &self.0 {
            match **augmentation {
                Augmentation::SpecAugment {
                    time_warp,
                    freq_masks,
                    freq_width,
                    time_masks,
                    time_width,
                    time_share,
                    ..
                } => {
                    spectrogram::warp(features, time_warp, rng);
                    let time_width = time_width.min((time_share * frames as f64) as usize);
                    let mean = spectrogram::mean(features);
                    (0..freq_masks).for_each(|_| spectrogram::mask_rows(features, freq_width, mean, rng));
                    (0..time_masks).for_each(|_| spectrogram::mask_columns(features, time_width, mean, rng));
                }
                Augmentation::RandomMasks { masks, freq_width, time_width, .. } => {
                    let mean = spectrogram::mean(features);
                    for _ in 0..masks {
                        spectrogram::mask_rectangle(features, freq_width, time_width, mean, rng);
                    }
                }
                Augmentation::Rotation { degrees, .. } => {
                    image::rotate(features, uniform([-degrees, degrees], rng));
                }
                Augmentation::Zoom { factor, .. } => image::zoom(features, uniform(factor, rng)),
                Augmentation::Translation { freq, time, .. } => {
                    let [rows, columns] = [(freq, bins), (time, frames)]
                        .map(|(share, len)| share * len as f64)
                        .map(|most| uniform([-most, most], rng));
                    image::translate(features, rows, columns);
                }
                // Not on one clip's features.
                _ => {}
            }
        }
    }
}

fn uniform([low, high]: [f64; 2], rng: &mut ChaCha8Rng) -> f64 {
    rng.random_range(low..=high)
}

/// Mixes the clips of a batch with one another: `inputs` `[batch, bins, frames]` and `targets` `[batch, num_classes]`,
/// row-major; of the rows only those that are `augmented`. A batch of one clip stays as it is.
pub fn mix(
    augmentations: &[Augmentation],
    inputs: &mut [f32],
    targets: &mut [f32],
    shape: [usize; 3],
    augmented: &[bool],
    rng: &mut ChaCha8Rng,
) {
    for augmentation in augmentations.iter().filter(|augmentation| augmentation.stage() == Stage::Batch) {
        mixing::apply(augmentation, inputs, targets, shape, augmented, rng);
    }
}

/// Mixes `other`, of the same shape, into `own` as `augmentation` of a batch would; the share of `own` that stays.
pub fn mix_with(
    augmentation: &Augmentation,
    own: &mut Features,
    other: &Features,
    rng: &mut ChaCha8Rng,
) -> f64 {
    let FeatureShape { bins, frames } = own.shape;
    mixing::How::draw(augmentation, [bins, frames], rng).mix(&mut own.values, &other.values, frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn entry(text: &str) -> Augmentation {
        toml::from_str(text).unwrap()
    }

    fn rng(item: u64) -> ChaCha8Rng {
        Seed(6).rng(Purpose::Augment, 1, item)
    }

    fn tone(step: f32) -> Vec<f32> {
        (0..8_000).map(|n| 0.1 * (n as f32 * step).sin()).collect()
    }

    /// Two kinds of other sounds.
    struct Others;

    impl Sounds for Others {
        type Error = std::convert::Infallible;

        fn background(&self, _: &Backdrop, rng: &mut ChaCha8Rng) -> Result<Option<Vec<f32>>, Self::Error> {
            Ok(Some(tone(rng.random())))
        }

        fn other(&self, target: &[f32], _: &mut ChaCha8Rng) -> Result<Option<Clip>, Self::Error> {
            Ok(Some(Clip { samples: tone(1.1), target: target.iter().map(|x| 1.0 - x).collect() }))
        }
    }

    fn clip(entry: &Augmentation, item: u64) -> Clip {
        let mut clip = Clip { samples: tone(0.3), target: vec![1.0, 0.0] };
        let Ok(()) = Chosen::only(entry).waveform(&mut clip, 8_000, &Others, &mut rng(item));
        clip
    }

    /// A second of a tone after `entry`.
    fn sound(entry: &Augmentation, item: u64) -> Vec<f32> {
        clip(entry, item).samples
    }

    #[test]
    fn strengths_are_drawn_from_the_whole_of_their_range() {
        let power = |samples: &[f32]| samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let clean = sound(&entry("kind = 'gain'\ndb = [0.0, 0.0]"), 0);
        let gain = entry("kind = 'gain'\ndb = [-6.0, 6.0]");
        let noise = entry("kind = 'noise'\nsnr_db = [5.0, 25.0]");
        let background = entry("kind = 'background'\nfrom = { label = 'rain' }\nsnr_db = [5.0, 25.0]");
        let shift = entry("kind = 'time_shift'\nseconds = 0.25");
        let (mut gains, mut ratios, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        for item in 0..60 {
            gains.push(10.0 * (power(&sound(&gain, item)) / power(&clean)).log10());
            let noisy = sound(if item % 2 == 0 { &noise } else { &background }, item);
            let noise: Vec<f32> = noisy.iter().zip(&clean).map(|(noisy, clean)| noisy - clean).collect();
            ratios.push(10.0 * (power(&clean) / power(&noise)).log10());
            let shifted = sound(&shift, item);
            let early = shifted.iter().take_while(|x| **x == 0.0).count() as f64;
            let late = shifted.iter().rev().take_while(|x| **x == 0.0).count() as f64;
            gaps.push(early - late);
        }
        for (found, [low, high]) in [(gains, [-6.0, 6.0]), (ratios, [5.0, 25.0]), (gaps, [-2000.0, 2000.0])] {
            let width = high - low;
            let inside = |x: &f64| (low - 0.01 * width..=high + 0.01 * width).contains(x);
            assert!(found.iter().all(inside), "{found:?}");
            assert!(found.iter().any(|x| *x < low + 0.1 * width), "{found:?}");
            assert!(found.iter().any(|x| *x > high - 0.1 * width), "{found:?}");
        }
    }

    #[test]
    fn every_kind_changes_something_and_the_same_draw_changes_the_same() {
        let before: Vec<f32> = sound(&entry("kind = 'gain'\ndb = [0.0, 0.0]"), 0);
        for kind in [
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
        ] {
            let from = if kind == "background" { "from = { label = 'rain' }" } else { "" };
            let entry = entry(&format!("kind = '{kind}'\n{from}"));
            assert!(sound(&entry, 1) != before && sound(&entry, 1) == sound(&entry, 1), "{kind}");
            assert!(sound(&entry, 1).iter().all(|x| x.is_finite()), "{kind}");
            let repeats = sound(&entry, 2) == sound(&entry, 1);
            assert!(
                repeats == ["polarity", "telephone"].contains(&kind),
                "{kind}: other draws, other strengths"
            );
        }
        let shape = FeatureShape { bins: 40, frames: 60 };
        let before = Features { shape, values: (0..2400).map(|i| (i as f32 * 0.37).sin()).collect() };
        for kind in ["spec_augment", "random_masks", "rotation", "zoom", "translation"] {
            let entry = entry(&format!("kind = '{kind}'"));
            let after = |item| {
                let mut features = before.clone();
                Chosen::only(&entry).spectrogram(&mut features, &mut rng(item));
                features
            };
            assert!(after(1) != before && after(1) == after(1) && after(1) != after(2), "{kind}");
        }
    }

    #[test]
    fn targets_are_mixed_as_sounds_are() {
        let linear = entry("kind = 'between_class'");
        let shares: Vec<f32> = (0..50).map(|item| clip(&linear, item).target[0]).collect();
        assert!((0..50).all(|item| (clip(&linear, item).target.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        assert!(shares.iter().any(|x| *x < 0.2) && shares.iter().any(|x| *x > 0.8), "{shares:?}");
        // The more of its target, the more of the clip.
        let like = |item: u64| -> f32 {
            clip(&linear, item).samples.iter().zip(tone(0.3)).map(|(x, own)| x * own).sum()
        };
        let mut order: Vec<u64> = (0..50).collect();
        order.sort_by(|a, b| shares[*a as usize].total_cmp(&shares[*b as usize]));
        assert!(order.windows(2).all(|pair| like(pair[0]) <= like(pair[1]) + 1.0));
        assert!(like(order[0]) + 10.0 < like(order[49]));
        assert_eq!(clip(&entry("kind = 'between_class'\nlabels = 'or'"), 0).target, [1.0, 1.0]);
    }
}
