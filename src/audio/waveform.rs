/// Mono samples in -1..=1 (not clipped) at one rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    /// The samples.
    pub samples: Vec<f32>,
    /// Samples a second, in Hz.
    pub sample_rate: u32,
}

impl Waveform {
    /// Duration in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate)
    }

    /// Largest absolute sample; 0 when there is none.
    pub fn peak(&self) -> f32 {
        self.samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))
    }

    /// Root of the mean squared sample; 0 when there is none.
    pub fn rms(&self) -> f32 {
        if self.samples.is_empty() {
            return 0.0;
        }
        let energy: f64 = self.samples.iter().map(|x| f64::from(*x).powi(2)).sum();
        (energy / self.samples.len() as f64).sqrt() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_rms_of_a_known_wave() {
        let wave = Waveform { samples: vec![0.5, -1.0, 0.5, 0.0], sample_rate: 2 };
        assert_eq!((wave.seconds(), wave.peak()), (2.0, 1.0));
        assert!((wave.rms() - (1.5f32 / 4.0).sqrt()).abs() < 1e-7);
    }

    #[test]
    fn an_empty_wave_is_silent() {
        let wave = Waveform { samples: vec![], sample_rate: 8_000 };
        assert_eq!((wave.seconds(), wave.peak(), wave.rms()), (0.0, 0.0, 0.0));
    }
}
