use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// Recipe section `[audio]`: what one clip is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioConfig {
    /// Sample rate in Hz that every recording is resampled to. Default 22,050.
    pub sample_rate: u32,
    /// Length of a clip in seconds: shorter recordings are zero-padded at the end, longer ones cut. Default 4.
    pub clip_seconds: f64,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self { sample_rate: 22_050, clip_seconds: 4.0 }
    }
}

impl AudioConfig {
    /// Samples in one clip.
    pub fn clip_samples(&self) -> usize {
        (f64::from(self.sample_rate) * self.clip_seconds).round() as usize
    }

    /// Refuses rates outside 1,000–384,000 Hz and clips that are empty or longer than 600 s.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1_000..=384_000).contains(&self.sample_rate) {
            return Err(ConfigError::field(
                "audio.sample_rate",
                format!("{} Hz is outside 1000..=384000", self.sample_rate),
            ));
        }
        if !(self.clip_seconds > 0.0 && self.clip_seconds <= 600.0) || self.clip_samples() == 0 {
            return Err(ConfigError::field(
                "audio.clip_seconds",
                format!("{} s is outside (0, 600]", self.clip_seconds),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_clip_is_that_of_the_study() {
        let config = AudioConfig::default();
        config.validate().unwrap();
        assert_eq!(config.clip_samples(), 88_200);
    }

    #[test]
    fn impossible_values_are_named() {
        let reason = |sample_rate, clip_seconds| {
            AudioConfig { sample_rate, clip_seconds }.validate().unwrap_err().to_string()
        };
        for rate in [0, 999, 384_001] {
            assert!(reason(rate, 4.0).starts_with(&format!("audio.sample_rate: {rate} Hz")));
        }
        for seconds in [0.0, -1.0, 600.1, 1e-9, f64::NAN, f64::INFINITY] {
            assert!(reason(22_050, seconds).starts_with("audio.clip_seconds: "), "{seconds}");
        }
    }
}
