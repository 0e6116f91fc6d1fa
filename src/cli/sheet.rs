//! The picture of `oido features --augment`.

use std::path::Path;

use rand_chacha::ChaCha8Rng;

use crate::audio::{self, Limits, Source};
use crate::augment::{self, Augmentation, Backdrop, Chosen, Clip, Sounds, Stage};
use crate::cli::Output;
use crate::dataset::{self, Backgrounds};
use crate::evaluation::plots;
use crate::features::{Extractor, Features};
use crate::seed::{Purpose, Seed};

/// Draws of the whole list on a sheet.
const DRAWS: u64 = 3;

/// Features before and after augmentation.
pub(super) struct Sheet<'a> {
    augmentations: &'a [Augmentation],
    seed: Seed,
    extractor: &'a Extractor,
    backgrounds: Backgrounds,
    /// The recording to mix in.
    other: Option<Clip>,
}

impl Sounds for Sheet<'_> {
    type Error = dataset::Error;

    fn background(&self, from: &Backdrop, rng: &mut ChaCha8Rng) -> Result<Option<Vec<f32>>, Self::Error> {
        self.backgrounds.draw(from, rng)
    }

    fn other(&self, _: &[f32], _: &mut ChaCha8Rng) -> Result<Option<Clip>, Self::Error> {
        Ok(self.other.clone())
    }
}

impl<'a> Sheet<'a> {
    /// Of `augmentations`, which mix with the recording `with`.
    pub(super) fn new(
        augmentations: &'a [Augmentation],
        seed: Seed,
        extractor: &'a Extractor,
        with: Option<&Path>,
    ) -> anyhow::Result<Self> {
        if augmentations.is_empty() {
            anyhow::bail!(
                "--augment: the recipe has no [[augment]]; add an entry, as in \
                 --set 'augment=[{{kind=\"spec_augment\"}}]'"
            );
        }
        let backgrounds = Backgrounds::of_folders(augmentations, extractor.audio())?;
        let other = match with {
            Some(path) => {
                let wave = audio::load(&Source::Path(path), extractor.sample_rate(), &Limits::default())?;
                Some(Clip { samples: fit(extractor, &wave.samples), target: vec![0.0, 1.0] })
            }
            None => None,
        };
        Ok(Self { augmentations, seed, extractor, backgrounds, other })
    }

    /// The picture for the recording `name` of these samples, `kind` of features.
    pub(super) fn draw(
        &self,
        name: &str,
        kind: &str,
        samples: &[f32],
        output: &Output,
    ) -> anyhow::Result<String> {
        let clip = Clip { samples: fit(self.extractor, samples), target: vec![1.0, 0.0] };
        let mut panels = vec![(format!("{name}: {kind}"), self.extractor.features(clip.samples.clone()))];
        for (i, augmentation) in (0..).zip(self.augmentations) {
            if let Some(reason) = self.missing(augmentation) {
                output.warn(&format!("{} is not drawn: {reason}", augmentation.kind()));
                continue;
            }
            panels.push(self.entry(
                augmentation,
                clip.clone(),
                &mut self.seed.rng(Purpose::Augment, 0, i),
            )?);
        }
        for draw in 1..=DRAWS {
            let mut rng = self.seed.rng(Purpose::Augment, draw, 0);
            let chosen = augment::choose(self.augmentations, &mut rng);
            let (features, _) = self.augmented(&chosen, clip.clone(), &mut rng)?;
            panels.push((format!("draw {draw}: {chosen}"), features));
        }
        let (seconds, row_hz) = (self.extractor.seconds(), self.extractor.row_hz());
        Ok(plots::spectrogram_sheet(&format!("{name}: augmented"), &panels, seconds, row_hz.as_deref()))
    }

    /// What an entry needs that is not there.
    fn missing(&self, augmentation: &Augmentation) -> Option<&'static str> {
        match augmentation {
            Augmentation::Background { from: Backdrop::Label(_), .. } => {
                Some("clips of a label are there in training only")
            }
            Augmentation::BetweenClass { .. } if self.other.is_none() => MISSING,
            _ if augmentation.stage() == Stage::Batch && self.other.is_none() => MISSING,
            _ => None,
        }
    }

    /// Name and features after one entry for certain.
    fn entry(
        &self,
        augmentation: &Augmentation,
        clip: Clip,
        rng: &mut ChaCha8Rng,
    ) -> anyhow::Result<(String, Features)> {
        let (mut features, mut share) = self.augmented(&Chosen::only(augmentation), clip, rng)?;
        if let (Stage::Batch, Some(other)) = (augmentation.stage(), &self.other) {
            let other = self.extractor.features(other.samples.clone());
            share = augment::mix_with(augmentation, &mut features, &other, rng);
        }
        let kind = augmentation.kind();
        let name = if share < 1.0 { format!("{kind}: {share:.2} of it stays") } else { kind.to_owned() };
        Ok((name, features))
    }

    /// Features after `chosen`, and the share of the clip in its target.
    fn augmented(
        &self,
        chosen: &Chosen,
        mut clip: Clip,
        rng: &mut ChaCha8Rng,
    ) -> Result<(Features, f64), dataset::Error> {
        chosen.waveform(&mut clip, self.extractor.sample_rate(), self, rng)?;
        let mut features = self.extractor.features(clip.samples);
        chosen.spectrogram(&mut features, rng);
        Ok((features, clip.target.first().copied().map_or(1.0, f64::from)))
    }
}

const MISSING: Option<&str> = Some("it mixes clips with one another; give another recording, --with FILE");

/// The clip that is evaluated.
fn fit(extractor: &Extractor, samples: &[f32]) -> Vec<f32> {
    extractor.audio().fit(&extractor.audio().without_silence(samples))
}
