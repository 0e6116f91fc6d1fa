//! Training clips → other ones, by the recipe's list `[[augment]]`.
//!
//! ```text
//! clip ── waveform: gain, polarity, time_shift, time_stretch, pitch_shift, noise ── features, standardised ──
//!      ── spectrogram: spec_augment ── batch ── mixing: mixup, cutmix ── network
//! ```
//!
//! The list is worked through in order, each entry for each clip with its own probability. Nothing here touches
//! validation, test or prediction: the loader calls it only for clips that are drawn for training. What is drawn is a
//! function of the stream that the caller gives ([`crate::seed`]), so threads and resuming change nothing.

mod config;
mod mixing;
mod spectrogram;
mod vocoder;
mod waveform;

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub use config::{Augmentation, MixedLabels, Stage, validate};

use crate::features::Features;

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

    /// Changes the samples of a clip at `sample_rate` Hz; their number stays.
    pub fn waveform(&self, samples: &mut [f32], sample_rate: u32, rng: &mut ChaCha8Rng) {
        for augmentation in &self.0 {
            match **augmentation {
                Augmentation::Gain { db, .. } => waveform::gain(samples, db, rng),
                Augmentation::Polarity { .. } => waveform::invert(samples),
                Augmentation::TimeShift { seconds, wrap, .. } => {
                    waveform::shift(samples, seconds * f64::from(sample_rate), wrap, rng);
                }
                Augmentation::Noise { colour, snr_db, .. } => {
                    waveform::add_noise(samples, colour, snr_db, sample_rate, rng);
                }
                Augmentation::TimeStretch { rate, .. } => waveform::stretch(samples, rate, rng),
                Augmentation::PitchShift { semitones, .. } => waveform::shift_pitch(samples, semitones, rng),
                Augmentation::SpecAugment { .. }
                | Augmentation::Mixup { .. }
                | Augmentation::Cutmix { .. } => {}
            }
        }
    }

    /// Changes the features of a clip; their shape stays.
    pub fn spectrogram(&self, features: &mut Features, rng: &mut ChaCha8Rng) {
        for augmentation in &self.0 {
            if let Augmentation::SpecAugment {
                time_warp,
                freq_masks,
                freq_width,
                time_masks,
                time_width,
                time_share,
                ..
            } = **augmentation
            {
                spectrogram::warp(features, time_warp, rng);
                let time_width = time_width.min((time_share * features.shape.frames as f64) as usize);
                let mean = spectrogram::mean(features);
                (0..freq_masks).for_each(|_| spectrogram::mask_rows(features, freq_width, mean, rng));
                (0..time_masks).for_each(|_| spectrogram::mask_columns(features, time_width, mean, rng));
            }
        }
    }
}

/// Mixes the clips of a batch with one another: `inputs` `[batch, bins, frames]` and `targets` `[batch, num_classes]`,
/// row-major. A batch of one clip stays as it is.
pub fn mix(
    augmentations: &[Augmentation],
    inputs: &mut [f32],
    targets: &mut [f32],
    shape: [usize; 3],
    rng: &mut ChaCha8Rng,
) {
    for augmentation in augmentations.iter().filter(|augmentation| augmentation.stage() == Stage::Batch) {
        mixing::apply(augmentation, inputs, targets, shape, rng);
    }
}
