//! The one way from a row of a manifest to its sound.

use super::mix::SAMPLE_RATE;
use super::{Entry, Manifest};
use crate::audio::{self, Error, Info, Limits, Source, Waveform};

impl Manifest {
    /// The mono sound of `entry` at the rate it is stored (a mixture: rendered) at.
    ///
    /// # Errors
    /// That of the file, or of the first of a mixture's files, that cannot be decoded.
    pub fn decode(&self, entry: &Entry) -> Result<(Waveform, Info), Error> {
        let Some(mixture) = &entry.mixture else {
            let path = self.file(entry);
            return audio::decode_range(
                &Source::Path(&path),
                entry.start,
                entry.duration,
                &Limits::patient(),
            );
        };
        let wave = mixture.render(&self.root)?;
        let info = Info {
            sample_rate: SAMPLE_RATE,
            channels: 1,
            codec: "mixture".to_owned(),
            seconds: wave.seconds(),
            damage: None,
        };
        Ok((wave, info))
    }

    /// As [`Manifest::decode`], resampled to `sample_rate` Hz.
    ///
    /// # Errors
    /// Those of [`Manifest::decode`], and a rate that it cannot be resampled to.
    pub fn load(&self, entry: &Entry, sample_rate: u32) -> Result<Waveform, Error> {
        match &entry.mixture {
            Some(mixture) => audio::resample(mixture.render(&self.root)?, sample_rate),
            None => {
                let path = self.file(entry);
                let source = Source::Path(&path);
                audio::load_range(&source, entry.start, entry.duration, sample_rate, &Limits::patient())
            }
        }
    }
}
