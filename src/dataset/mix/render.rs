//! A [`Mixture`] → its samples.

use std::path::Path;

use super::mixture::{Mixture, Noise, SAMPLE_RATE, Sound, Voice};
use crate::audio::{self, Error, Limits, Source, Waveform, coloured};
use crate::dataset::synth::{Room, amplitude};
use crate::seed::{Purpose, Seed};

/// Most dB that a peak of a mixture with a level stands above its RMS. One second of speech rarely has more.
pub(super) const MAX_CREST: f64 = 24.0;

/// Rounds of [`limit`]; each brings the peak nearer to its bound.
const ROUNDS: usize = 20;

impl Mixture {
    /// The samples at [`SAMPLE_RATE`]; paths start from `root`.
    ///
    /// Each voice is cut out, heard in the room (with the reverberation of what it said before the cut) without a
    /// change of its energy, multiplied by its gain, and added. Noise is added at its ratio to that sum. Last comes the
    /// level: peaks more than 24 dB above the RMS are cut off, whatever level will follow, and the whole is scaled
    /// to it. Values outside what 16 bits hold are cut off, so a file of it holds the same up to rounding.
    ///
    /// # Errors
    /// That of the first file that cannot be decoded or ends too early.
    pub fn render(&self, root: &Path) -> Result<Waveform, Error> {
        let mut sum = vec![0.0; self.samples()];
        for voice in &self.voices {
            for (sum, x) in sum.iter_mut().zip(self.voice(voice, root)?) {
                *sum += voice.gain * f64::from(x);
            }
        }
        if let Some(noise) = &self.noise {
            let sound = noise.samples(sum.len(), root)?;
            let gain = match noise.snr {
                Some(snr) => ratio(rms(&sum), rms(&sound)) * amplitude(-snr),
                None => 1.0,
            };
            sum.iter_mut().zip(sound).for_each(|(sum, x)| *sum += gain * x);
        }
        if let Some(level) = self.level {
            limit(&mut sum);
            let gain = ratio(amplitude(level), rms(&sum));
            sum.iter_mut().for_each(|x| *x *= gain);
        }
        let samples = sum.into_iter().map(|x| x.clamp(-1.0, 32_767.0 / 32_768.0) as f32).collect();
        Ok(Waveform { samples, sample_rate: SAMPLE_RATE })
    }

    fn voice(&self, voice: &Voice, root: &Path) -> Result<Vec<f32>, Error> {
        let path = root.join(&voice.path);
        let Some(room) = &self.room else { return cut(&path, voice.start, self.seconds) };
        let lead = voice.start.min(room.reverberation_time);
        let dry = cut(&path, voice.start - lead, lead + self.seconds)?;
        Ok(in_room(room, &dry, self.samples()))
    }
}

impl Noise {
    /// `len` samples, repeated where the recording is shorter.
    fn samples(&self, len: usize, root: &Path) -> Result<Vec<f64>, Error> {
        match &self.sound {
            Sound::Synthetic { colour, seed } => {
                Ok(coloured(*colour, &mut Seed(*seed).rng(Purpose::Mix, 0, 0), len, SAMPLE_RATE))
            }
            Sound::Recording { path, start } => {
                let seconds = len as f64 / f64::from(SAMPLE_RATE);
                let path = root.join(path);
                let part = audio::load_range(
                    &Source::Path(&path),
                    Some(*start),
                    Some(seconds),
                    SAMPLE_RATE,
                    &Limits::patient(),
                )?;
                Ok(part.samples.iter().map(|&x| f64::from(x)).cycle().take(len).collect())
            }
        }
    }
}

/// `seconds` of the recording `path` from `start` on.
fn cut(path: &Path, start: f64, seconds: f64) -> Result<Vec<f32>, Error> {
    let source = Source::Path(path);
    let part = audio::load_range(&source, Some(start), Some(seconds), SAMPLE_RATE, &Limits::patient())?;
    let wanted = (seconds * f64::from(SAMPLE_RATE)).round() as usize;
    if part.samples.len() < wanted {
        let has = part.seconds();
        let reason = format!("has {has:.3} s from {start} s on, the mixture wants {seconds} s");
        return Err(Error::Range { name: source.name().into_owned(), reason });
    }
    Ok(part.samples)
}

/// The last `len` samples of `dry` as heard in `room`, with the energy of the dry ones.
fn in_room(room: &Room, dry: &[f32], len: usize) -> Vec<f32> {
    let lead = dry.len().saturating_sub(len);
    let mut heard = room.reverberate(f64::from(SAMPLE_RATE), dry).split_off(lead);
    let energy = |samples: &[f32]| samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let gain = ratio(energy(&dry[lead..]), energy(&heard)).sqrt() as f32;
    heard.iter_mut().for_each(|x| *x *= gain);
    heard
}

/// `a / b`, or 0 when there is nothing to divide by.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

fn rms(samples: &[f64]) -> f64 {
    (samples.iter().map(|x| x * x).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

/// Cuts off peaks that stand more than [`MAX_CREST`] above the RMS, which falls a little by that, so again. (A click in
/// silence has no end to this; what then remains is cut off at full scale.)
fn limit(samples: &mut [f64]) {
    for _ in 0..ROUNDS {
        let most = amplitude(MAX_CREST) * rms(samples);
        if samples.iter().all(|x| x.abs() <= most * (1.0 + 1e-9)) {
            return;
        }
        samples.iter_mut().for_each(|x| *x = x.clamp(-most, most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Colour, WavFormat, write_wav};

    /// A folder with `NAME.wav` of three seconds each: tones of 200, 300, … Hz with the given amplitudes.
    fn tones(amplitudes: &[f32]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (i, amplitude) in amplitudes.iter().enumerate() {
            let step = std::f32::consts::TAU * (200.0 + 100.0 * i as f32) / SAMPLE_RATE as f32;
            let samples = (0..48_000).map(|n| amplitude * (step * n as f32).sin()).collect();
            let wave = Waveform { samples, sample_rate: SAMPLE_RATE };
            write_wav(&folder.path().join(format!("{i}.wav")), &wave, WavFormat::Float32).unwrap();
        }
        folder
    }

    fn of(voices: &[(f64, f64)]) -> Mixture {
        let voice = |(i, &(start, gain)): (usize, &(f64, f64))| Voice {
            path: format!("{i}.wav").into(),
            start,
            gain,
        };
        let voices = voices.iter().enumerate().map(voice).collect();
        Mixture { seconds: 0.5, voices, room: None, noise: None, level: None }
    }

    fn samples(folder: &tempfile::TempDir, mixture: &Mixture) -> Vec<f64> {
        mixture.render(folder.path()).unwrap().samples.into_iter().map(f64::from).collect()
    }

    fn decibels(x: f64) -> f64 {
        20.0 * x.log10()
    }

    #[test]
    fn voices_are_cut_scaled_and_added() {
        let folder = tones(&[0.4, 0.8]);
        let sum = samples(&folder, &of(&[(0.5, 0.5), (1.02, 0.25)]));
        assert_eq!(sum.len(), 8_000);
        let whole = |i: usize| {
            audio::load(
                &Source::Path(&folder.path().join(format!("{i}.wav"))),
                SAMPLE_RATE,
                &Limits::patient(),
            )
            .unwrap()
            .samples
        };
        let (a, b) = (whole(0), whole(1));
        for (n, x) in sum.iter().enumerate() {
            let expected = 0.5 * f64::from(a[8_000 + n]) + 0.25 * f64::from(b[16_320 + n]);
            assert!((x - expected).abs() < 1e-7, "{n}: {x} {expected}");
        }
    }

    #[test]
    fn noise_lies_below_the_voices_by_the_ratio_asked_for() {
        let folder = tones(&[0.1, 0.2]);
        let clean = of(&[(0.0, 1.0)]);
        let synthetic = Sound::Synthetic { colour: Colour::Pink, seed: 3 };
        // Shorter than the mixture from there on, so it is repeated.
        let recording = Sound::Recording { path: "1.wav".into(), start: 2.75 };
        for sound in [synthetic, recording] {
            let noisy = Mixture { noise: Some(Noise { sound, snr: Some(7.5) }), ..clean.clone() };
            let (clean, noisy) = (samples(&folder, &clean), samples(&folder, &noisy));
            let noise: Vec<f64> = noisy.iter().zip(&clean).map(|(x, y)| x - y).collect();
            assert!((decibels(rms(&clean) / rms(&noise)) - 7.5).abs() < 0.01);
        }
    }

    #[test]
    fn a_room_adds_reverberation_of_what_was_before_and_keeps_the_energy() {
        let folder = tones(&[0.3]);
        // A tone until 1 s, and again from 1.2 s on.
        let tone = |n: usize| if (16_000..19_200).contains(&n) { 0.0 } else { 0.3 * (n as f32 * 0.1).sin() };
        let wave = Waveform { samples: (0..48_000).map(tone).collect(), sample_rate: SAMPLE_RATE };
        write_wav(&folder.path().join("0.wav"), &wave, WavFormat::Float32).unwrap();
        let room = Room { size: 1.0, reverberation_time: 0.4, damping: 0.3, wet: 0.5 };
        let dry = samples(&folder, &of(&[(1.0, 1.0)]));
        let wet = samples(&folder, &Mixture { room: Some(room), ..of(&[(1.0, 1.0)]) });
        assert!((rms(&dry) / rms(&wet) - 1.0).abs() < 1e-4);
        assert!(
            rms(&dry[..3_200]) < 1e-9
                && rms(&wet[..400]) > 0.01
                && rms(&wet[..400]) > rms(&wet[2_800..3_200])
        );
    }

    #[test]
    fn the_level_is_the_one_asked_for_whatever_the_peaks() {
        let folder = tones(&[0.3]);
        // A click of full scale every 0.1 s on a tone 34 dB below.
        let clicks =
            (0..48_000).map(|n| if n % 1_600 == 0 { 1.0 } else { 0.02 * (n as f32 * 0.1).sin() }).collect();
        let wave = Waveform { samples: clicks, sample_rate: SAMPLE_RATE };
        write_wav(&folder.path().join("0.wav"), &wave, WavFormat::Float32).unwrap();
        let plain = samples(&folder, &of(&[(0.0, 1.0)]));
        assert!(decibels(1.0 / rms(&plain)) > MAX_CREST, "the clicks are no test");
        for level in [-40.0, -MAX_CREST] {
            let levelled = samples(&folder, &Mixture { level: Some(level), ..of(&[(0.0, 1.0)]) });
            assert!((decibels(rms(&levelled)) - level).abs() < 1e-3);
            let peak = levelled.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
            assert!(peak < 1.0 && (decibels(peak) - level - MAX_CREST).abs() < 0.01, "{peak}");
        }
    }

    #[test]
    fn silence_stays_silence_and_nothing_leaves_the_range() {
        let folder = tones(&[0.0, 1.0]);
        let silent = Mixture { level: Some(-30.0), ..of(&[(0.0, 1.0)]) };
        assert!(samples(&folder, &silent).iter().all(|x| *x == 0.0));
        let loud = samples(&folder, &of(&[(0.0, 1.0), (0.0, 9.0)]));
        assert!(loud.iter().all(|x| (-1.0..1.0).contains(x)));
    }

    #[test]
    fn a_recording_that_ends_too_early_is_named() {
        let folder = tones(&[0.3]);
        let error = of(&[(2.75, 1.0)]).render(folder.path()).unwrap_err().to_string();
        assert!(error.contains("0.wav: has 0.250 s from 2.75 s on, the mixture wants 0.5 s"), "{error}");
    }
}
