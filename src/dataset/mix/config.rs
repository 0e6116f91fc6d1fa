use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::activity::FRAME_SECONDS;
use super::mixture::{MAX_SECONDS, MAX_VOICES};
use super::render::MAX_CREST;
use crate::audio::Colour;
use crate::config::ConfigError;
use crate::dataset::Split;

/// Recipe section `[data.mix]`, and the flags of `oido prepare librispeech-mix`: what is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixConfig {
    /// Mixtures that train. Default 100,000.
    pub train: usize,
    /// Mixtures that choose the epoch. Default 10,000.
    pub valid: usize,
    /// Mixtures that are reported. Default 10,000.
    pub test: usize,
    /// Numbers of speakers: the classes, equally often. 0 is noise alone. Default 1, 2 and 3.
    pub counts: Vec<usize>,
    /// How voices are chosen and added. Default level-equalised.
    pub mode: Mode,
    /// Length of a mixture. Default 1.
    pub seconds: f64,
    /// Backgrounds, equally likely: `white`, `pink`, `brown`, or a folder of recordings. Default none.
    pub noise: Vec<String>,
    /// Lowest and highest ratio of the voices to the noise in dB, all equally likely. Default 0 to 20.
    pub snr: [f64; 2],
    /// Whether voices are heard in a synthetic room, another one in each mixture (see
    /// [`Room`](crate::dataset::synth::Room)). Default no.
    pub reverb: bool,
    /// Lowest and highest RMS of a mixture in dB of full scale, all equally likely. Not above -24, so that nothing
    /// clips. Default -40 to -25.
    pub level: [f64; 2],
    /// Least share of the mixture in which each voice is active. Default 0.75: with up to three voices all of them are
    /// then active at once for a quarter of the mixture, so `min_overlap` rejects none of these.
    pub min_active: f64,
    /// Least share of the mixture in which all voices are active at once. Default 0.25.
    pub min_overlap: f64,
}

/// How voices are chosen and added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The sum of `n` random cuts of random recordings, of whomever, divided by `n`: the original data set, which
    /// tells the number by its loudness. Nothing else is done; only the parts have different speakers here too.
    Average,
    /// Different speakers, all of them active, equally loud; a level of the mixture that tells nothing.
    LevelEqualised,
}

/// One background to choose from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Background {
    Synthetic(Colour),
    Folder(PathBuf),
}

impl Default for MixConfig {
    fn default() -> Self {
        Self {
            train: 100_000,
            valid: 10_000,
            test: 10_000,
            counts: vec![1, 2, 3],
            mode: Mode::LevelEqualised,
            seconds: 1.0,
            noise: Vec::new(),
            snr: [0.0, 20.0],
            reverb: false,
            level: [-40.0, -25.0],
            min_active: 0.75,
            min_overlap: 0.25,
        }
    }
}

impl MixConfig {
    /// Mixtures of a part.
    pub fn size(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Valid => self.valid,
            Split::Test => self.test,
        }
    }

    /// Mixtures of all parts.
    pub fn total(&self) -> usize {
        Split::ALL.into_iter().map(|split| self.size(split)).sum()
    }

    /// Refuses what cannot be drawn.
    ///
    /// # Errors
    /// [`ConfigError::Field`] naming the key and what would do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let parts = [("train", self.train), ("valid", self.valid), ("test", self.test)];
        if let Some((key, size)) = parts.into_iter().find(|(_, size)| *size > 100_000_000) {
            return refuse(key, format!("{size} mixtures are more than 100,000,000"));
        }
        if self.total() == 0 {
            return refuse(
                "train",
                "train, valid and test are all 0; ask for at least one mixture".to_owned(),
            );
        }
        self.validate_counts()?;
        if !(0.1..=MAX_SECONDS).contains(&self.seconds) {
            return refuse("seconds", format!("{} s is outside 0.1..={MAX_SECONDS}", self.seconds));
        }
        range("snr", self.snr, [-30.0, 60.0])?;
        range("level", self.level, [-80.0, -MAX_CREST])?;
        for (key, share) in [("min_active", self.min_active), ("min_overlap", self.min_overlap)] {
            if !(0.0..=1.0).contains(&share) {
                return refuse(key, format!("{share} is no share of the mixture; give a number from 0 to 1"));
            }
        }
        if self.mode == Mode::Average && (!self.noise.is_empty() || self.reverb) {
            let reason =
                "average is the original and adds nothing; leave noise and reverb out or use level-equalised";
            return refuse("mode", reason.to_owned());
        }
        Ok(())
    }

    fn validate_counts(&self) -> Result<(), ConfigError> {
        let repeated = |i: usize| self.counts[..i].contains(&self.counts[i]);
        if self.counts.is_empty() || (0..self.counts.len()).any(repeated) {
            let reason = format!("{:?} must name at least one number of speakers, each once", self.counts);
            return refuse("counts", reason);
        }
        if let Some(count) = self.counts.iter().find(|count| **count > MAX_VOICES) {
            return refuse("counts", format!("{count} speakers are more than {MAX_VOICES}"));
        }
        if self.counts.contains(&0) && self.noise.is_empty() {
            let reason =
                "a mixture of 0 speakers is noise alone, and there is none; set noise, for example to pink";
            return refuse("counts", reason.to_owned());
        }
        Ok(())
    }

    /// [`MixConfig::noise`], understood.
    pub(super) fn backgrounds(&self) -> Vec<Background> {
        let background = |word: &String| {
            let colour = Colour::ALL.into_iter().find(|(name, _)| name == word);
            colour
                .map_or_else(|| Background::Folder(word.into()), |(_, colour)| Background::Synthetic(colour))
        };
        self.noise.iter().map(background).collect()
    }

    /// Frames of activity in a mixture.
    pub(super) fn frames(&self) -> usize {
        (self.seconds / FRAME_SECONDS + 1e-9) as usize
    }

    /// Least active frames of each voice.
    pub(super) fn least_active(&self) -> usize {
        match self.mode {
            Mode::Average => 0,
            Mode::LevelEqualised => ((self.min_active * self.frames() as f64 - 1e-9).ceil() as usize).max(1),
        }
    }

    /// Least frames in which all voices are active.
    pub(super) fn least_overlap(&self) -> usize {
        match self.mode {
            Mode::Average => 0,
            Mode::LevelEqualised => (self.min_overlap * self.frames() as f64 - 1e-9).ceil() as usize,
        }
    }
}

/// A [`ConfigError`] about one key of the section.
pub(super) fn wrong(key: &str, reason: String) -> ConfigError {
    ConfigError::field(format!("data.mix.{key}"), reason)
}

fn refuse(key: &str, reason: String) -> Result<(), ConfigError> {
    Err(wrong(key, reason))
}

fn range(key: &str, [low, high]: [f64; 2], [least, most]: [f64; 2]) -> Result<(), ConfigError> {
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    refuse(key, format!("{low} to {high} dB is no range within {least} to {most} dB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_named() {
        let default = MixConfig::default;
        default().validate().unwrap();
        let noise = || vec!["pink".to_owned()];
        MixConfig { counts: vec![0, 1, 5], noise: noise(), ..default() }.validate().unwrap();
        for (key, config) in [
            ("train", MixConfig { train: 0, valid: 0, test: 0, ..default() }),
            ("test", MixConfig { test: usize::MAX / 8, ..default() }),
            ("counts", MixConfig { counts: vec![], ..default() }),
            ("counts", MixConfig { counts: vec![1, 2, 1], ..default() }),
            ("counts", MixConfig { counts: vec![0, 1], ..default() }),
            ("counts", MixConfig { counts: vec![21], ..default() }),
            ("seconds", MixConfig { seconds: 0.0, ..default() }),
            ("seconds", MixConfig { seconds: f64::NAN, ..default() }),
            ("snr", MixConfig { snr: [10.0, 0.0], ..default() }),
            ("level", MixConfig { level: [-40.0, -10.0], ..default() }),
            ("level", MixConfig { level: [f64::NAN, -25.0], ..default() }),
            ("min_active", MixConfig { min_active: 1.5, ..default() }),
            ("min_overlap", MixConfig { min_overlap: -0.1, ..default() }),
            ("mode", MixConfig { mode: Mode::Average, reverb: true, ..default() }),
            ("mode", MixConfig { mode: Mode::Average, noise: noise(), ..default() }),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("data.mix.{key}: ")), "{error}");
        }
    }

    #[test]
    fn three_active_voices_overlap_enough_by_themselves() {
        let config = MixConfig::default();
        let inactive = config.frames() - config.least_active();
        assert_eq!((config.frames(), config.least_active(), config.least_overlap()), (50, 38, 13));
        assert!(config.frames() - 3 * inactive >= config.least_overlap());
    }
}
