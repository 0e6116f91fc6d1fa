use sha2::{Digest, Sha256};

use super::bandwidth::BandLimit;
use super::fingerprint::{Fingerprint, Fingerprinter, RATE};
use super::repetition::period;
use super::samples::Samples;
use super::verify::Verifier;
use crate::audio::{Info, Waveform, resample};

/// What one decoding of a clip tells. The samples themselves are not kept: about 1 kB a second of sound is.
pub(super) struct Facts {
    pub info: Info,
    pub samples: Samples,
    /// Where the spectrum ends, in Hz, if before half the sample rate.
    pub band_limit: Option<f64>,
    /// Seconds after which the clip repeats itself, if it does.
    pub period: Option<f64>,
    /// Equal for equal samples at an equal rate.
    pub content: [u8; 32],
    pub fingerprint: Fingerprint,
}

impl Facts {
    /// Whether there is anything to compare: silent clips are all equal.
    pub(super) fn has_sound(&self) -> bool {
        !self.samples.silent && !self.samples.constant
    }
}

/// Looks at clips; made once, used on any thread.
pub(super) struct Examiner {
    band_limit: BandLimit,
    fingerprinter: Fingerprinter,
    verifier: Verifier,
}

impl Examiner {
    pub(super) fn new() -> Self {
        Self { band_limit: BandLimit::new(), fingerprinter: Fingerprinter::new(), verifier: Verifier::new() }
    }

    pub(super) fn examine(&self, wave: Waveform, info: Info) -> Facts {
        let samples = Samples::new(&wave.samples, wave.sample_rate);
        let sounds = !samples.silent && !samples.constant;
        let band_limit = if sounds { self.band_limit.find(&wave.samples, wave.sample_rate) } else { None };
        let content = content(&wave);
        let resampled = at_rate(wave).filter(|_| sounds).unwrap_or_default();
        let fingerprint = self.fingerprinter.fingerprint(&resampled);
        let period = period(&fingerprint, &resampled, &self.verifier);
        Facts { info, samples, band_limit, period, content, fingerprint }
    }
}

/// The samples at the rate at which sounds are compared, without their constant part; nothing for a rate that cannot be
/// converted.
pub(super) fn at_rate(mut wave: Waveform) -> Option<Vec<f32>> {
    block_constant(&mut wave);
    resample(wave, RATE).ok().map(|wave| wave.samples)
}

/// Takes out what stays the same for longer than about 25 ms (a one-pole high-pass at 6 Hz). Two clips with a constant
/// offset would share the step at their end, which the converter sees there.
fn block_constant(wave: &mut Waveform) {
    let kept = 1.0 - 40.0 / wave.sample_rate as f32;
    let (mut before, mut out) = (wave.samples.first().copied().unwrap_or(0.0), 0.0_f32);
    for sample in &mut wave.samples {
        out = *sample - before + kept * out;
        before = std::mem::replace(sample, out);
    }
}

/// sha256 of the samples and their rate, so that a wav and its flac copy are the same.
fn content(wave: &Waveform) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(wave.sample_rate.to_le_bytes());
    for block in wave.samples.chunks(1024) {
        let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        hash.update(bytes);
    }
    hash.finalize().into()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Those of a clip of 4 s at -20 dB with nothing wrong.
    pub(in super::super) fn facts() -> Facts {
        Facts {
            info: Info {
                sample_rate: 22_050,
                channels: 1,
                codec: "pcm_s16le".to_owned(),
                seconds: 4.0,
                damage: None,
            },
            samples: Samples { level: -20.0, ..Samples::default() },
            band_limit: None,
            period: None,
            content: [0; 32],
            fingerprint: Fingerprint::default(),
        }
    }
}
