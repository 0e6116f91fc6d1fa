use super::config::{FeatureConfig, LogScale, Reference};

/// The logarithm of a spectrogram, as `librosa.power_to_db` and `torchaudio.transforms.AmplitudeToDB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Log {
    /// Leaves values as they are.
    None,
    /// Decibels.
    Db { multiplier: f32, reference: Reference, amin: f32, top_db: Option<f32> },
    /// `ln(x + offset)`.
    Ln { offset: f32 },
    /// `ln(max(x, amin))`.
    LnAmin { amin: f32 },
}

impl Log {
    /// The logarithm of a validated configuration.
    pub(super) fn new(config: &FeatureConfig) -> Self {
        match config.log {
            LogScale::None => Self::None,
            LogScale::Db => Self::Db {
                multiplier: (20.0 / config.power) as f32,
                reference: config.reference,
                amin: config.amin as f32,
                top_db: config.top_db.map(|db| db as f32),
            },
            LogScale::Ln => Self::Ln { offset: config.log_offset as f32 },
            LogScale::LnAmin => Self::LnAmin { amin: config.amin as f32 },
        }
    }

    /// Replaces non-negative powers or magnitudes of one clip. The clip's maximum may count, so this needs all of it.
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Ln { offset } => values.iter_mut().for_each(|v| *v = (*v + offset).ln()),
            Self::LnAmin { amin } => values.iter_mut().for_each(|v| *v = v.max(amin).ln()),
            Self::Db { multiplier, reference, amin, top_db } => {
                let db = |x: f32| multiplier * x.max(amin).log10();
                let max = values.iter().fold(0.0_f32, |a, &b| a.max(b));
                let zero = match reference {
                    Reference::Max => db(max),
                    Reference::Value(value) => db(value as f32),
                };
                let floor = top_db.map_or(f32::MIN, |top_db| db(max) - zero - top_db);
                values.iter_mut().for_each(|v| *v = (db(*v) - zero).max(floor));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(config: &FeatureConfig, values: &[f32]) -> Vec<f32> {
        let mut out = values.to_vec();
        Log::new(config).apply(&mut out);
        out
    }

    #[test]
    fn counts_decibels_below_the_maximum_down_to_top_db() {
        assert_eq!(
            apply(&FeatureConfig::default(), &[10.0, 1.0, 1e-3, 1e-9, 0.0]),
            [0.0, -10.0, -40.0, -80.0, -80.0]
        );
    }

    #[test]
    fn counts_decibels_from_a_fixed_reference_down_to_amin() {
        let config = FeatureConfig { reference: Reference::Value(1.0), top_db: None, ..Default::default() };
        assert_eq!(apply(&config, &[10.0, 1.0, 0.0]), [10.0, 0.0, -100.0]);
    }

    #[test]
    fn a_magnitude_has_twice_the_decibels() {
        let config = FeatureConfig { power: 1.0, ..Default::default() };
        assert_eq!(apply(&config, &[10.0, 1.0]), [0.0, -20.0]);
    }

    #[test]
    fn silence_is_zero_decibels_below_its_maximum() {
        assert_eq!(apply(&FeatureConfig::default(), &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn adds_the_offset_before_the_natural_logarithm() {
        let config = FeatureConfig { log: LogScale::Ln, log_offset: 1.0, ..Default::default() };
        assert_eq!(apply(&config, &[0.0]), [0.0]);
        assert!((apply(&config, &[std::f32::consts::E - 1.0])[0] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn raises_to_amin_before_the_natural_logarithm() {
        let config = FeatureConfig { log: LogScale::LnAmin, amin: 1.0, ..Default::default() };
        assert_eq!(apply(&config, &[0.0, 0.5, 1.0]), [0.0; 3]);
        assert!((apply(&config, &[std::f32::consts::E])[0] - 1.0).abs() < 1e-6);
    }
}
