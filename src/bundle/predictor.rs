//! From a recording to a decision. Command line, server and evaluation of a bundle all come through here.
//!
//! ```text
//! Source → audio::decode, resample → Extractor → Inference → softmax or sigmoid → DecisionConfig → Prediction
//! \_______________ prepare _____________________/ \_______________ score _________________________/
//! ```
//!
//! The two halves are apart so that a server can run the first on many threads and the second in batches. A clip
//! gets the same scores, to the bit, alone, in any batch and from any caller (on CPU): [`Inference::logits`] promises it
//! and nothing here mixes clips.

use std::path::Path;

use burn::tensor::Device;
use rayon::prelude::*;
use serde::Serialize;

use crate::audio::{self, Limits, Source, Waveform};
use crate::dataset::Labels;
use crate::decision::{DecisionConfig, Task};
use crate::features::{Extractor, FeatureShape, Features};
use crate::models::{Inference, Precision};

use super::{Bundle, Error, Manifest};

/// Most clips given to the network at once; bounds memory, changes no score.
const BATCH: usize = 32;

/// A loaded bundle that answers.
#[derive(Debug)]
pub struct Predictor {
    name: String,
    manifest: Manifest,
    labels: Labels,
    task: Task,
    decision: DecisionConfig,
    extractor: Extractor,
    clip_samples: usize,
    network: Inference,
    device: Device,
    limits: Limits,
}

/// A recording made ready for the network.
#[derive(Debug, Clone)]
pub struct Clip {
    features: Features,
    seconds: f64,
    truncated: bool,
    /// Digital silence: no class can be heard in it.
    silent: bool,
    damage: Option<String>,
}

/// A label and its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The label.
    pub label: String,
    /// Its probability, 0 to 1; those of one clip sum to 1 unless it may have several labels.
    pub score: f32,
}

/// The answer for one clip.
///
/// Serialised scores are the shortest decimals that read back to the same 32-bit floats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The best label, or the word for "no decision" when its score is below the threshold.
    pub label: String,
    /// Score of the best label.
    pub score: f32,
    /// Whether the score is below the threshold.
    pub indeterminate: bool,
    /// Every label whose score reaches the threshold, best first; only of a bundle for clips with several labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The best label, also when the decision is indeterminate.
    pub best_label: String,
    /// All labels, best first; of equal scores the label that comes first in the bundle is first.
    pub scores: Vec<Score>,
    /// Duration of the recording in seconds.
    pub seconds: f64,
    /// Whether the recording, without the silence that the bundle removes, is longer than a clip, so that only a part
    /// of it was used: which one says `audio.longer`, by default its beginning.
    pub truncated: bool,
    /// What is missing from a recording that is cut off or damaged in places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// The answer for one window of a long recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowPrediction {
    /// Start of the window in seconds.
    pub start: f64,
    /// End of the window in seconds; the last one ends with the recording.
    pub end: f64,
    /// The answer.
    #[serde(flatten)]
    pub prediction: Prediction,
}

impl Predictor {
    /// Opens a bundle, archive or folder, and loads its weights onto `device` (`cpu`, `vulkan`, `cuda:0`, …).
    pub fn open(path: &Path, device: &str) -> Result<Self, Error> {
        let device = crate::models::device(device).map_err(Error::Device)?;
        Self::new(super::open(path)?, device)
    }

    /// Builds the front end and the network of an opened bundle.
    pub fn new(bundle: Bundle, device: Device) -> Result<Self, Error> {
        let config = bundle.config;
        let bad_config =
            |e: crate::config::ConfigError| Error::member(&bundle.path, "config.json", e.to_string());
        let extractor =
            Extractor::new(&config.audio, &config.features).map_err(bad_config)?.with_stats(config.stats);
        let model = config
            .model
            .blank(extractor.shape(), config.num_classes, &device)
            .map_err(bad_config)?
            .load_safetensors(bundle.weights)
            .map_err(|e| Error::member(&bundle.path, "model.safetensors", e.to_string()))?;
        Ok(Self {
            name: config.name,
            manifest: bundle.manifest,
            labels: bundle.labels,
            task: config.task,
            decision: config.decision,
            extractor,
            clip_samples: config.audio.clip_samples(),
            network: Inference::new(model),
            device,
            limits: Limits::default(),
        })
    }

    /// The same predictor with another threshold or word.
    pub fn with_decision(mut self, decision: DecisionConfig) -> Self {
        self.decision = decision;
        self
    }

    /// The same predictor with other numbers to multiply.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] when the device or the processor cannot.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self, Error> {
        let precision = precision.on(&self.device).map_err(Error::Device)?;
        self.network = self.network.with_precision(precision);
        Ok(self)
    }

    /// The same predictor with other limits on recordings.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Name of the experiment the model comes from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Format, tool and digests of the bundle.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The classes, in the order of the network's outputs.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Threshold and the word for "no decision".
    pub fn decision(&self) -> &DecisionConfig {
        &self.decision
    }

    /// Decodes a recording and extracts its features; thread-safe.
    pub fn prepare(&self, source: &Source) -> Result<Clip, Error> {
        self.prepare_range(source, None, None)
    }

    /// As [`Predictor::prepare`], for the part from `start` lasting `duration` seconds.
    pub fn prepare_range(
        &self,
        source: &Source,
        start: Option<f64>,
        duration: Option<f64>,
    ) -> Result<Clip, Error> {
        let (waveform, info) = audio::decode_range(source, start, duration, &self.limits)?;
        let waveform = audio::resample(waveform, self.extractor.sample_rate())?;
        Ok(Clip { damage: info.damage, ..self.prepare_samples(&waveform.samples) })
    }

    /// Features of samples that already have the bundle's rate.
    fn prepare_samples(&self, samples: &[f32]) -> Clip {
        // The steps of `Extractor::extract`, to look at what is between them.
        let audio = self.extractor.audio();
        let sound = audio.without_silence(samples);
        let clip = audio.fit(&sound);
        Clip {
            seconds: samples.len() as f64 / f64::from(self.extractor.sample_rate()),
            truncated: sound.len() > clip.len(),
            silent: clip.iter().all(|sample| sample.abs() < f32::EPSILON),
            features: self.extractor.features(clip),
            damage: None,
        }
    }

    /// Answers for prepared clips, in their order.
    pub fn score(&self, clips: &[Clip]) -> Result<Vec<Prediction>, Error> {
        let FeatureShape { bins, frames } = self.extractor.shape();
        let num_classes = self.labels.len();
        let mut predictions = Vec::with_capacity(clips.len());
        for batch in clips.chunks(BATCH) {
            let mut values = Vec::with_capacity(batch.len() * bins * frames);
            batch.iter().for_each(|clip| values.extend_from_slice(&clip.features.values));
            let mut logits = self.network.logits(&values, self.extractor.shape(), &self.device);
            if logits.len() != batch.len() * num_classes {
                return Err(Error::NotFinite);
            }
            for (clip, row) in batch.iter().zip(logits.chunks_exact_mut(num_classes)) {
                self.task.activate(row);
                predictions.push(self.decide(clip, row)?);
            }
        }
        Ok(predictions)
    }

    /// The answer for one prepared clip.
    pub fn score_one(&self, clip: &Clip) -> Result<Prediction, Error> {
        one(self.score(std::slice::from_ref(clip))?)
    }

    /// Scores of one clip → its answer.
    fn decide(&self, clip: &Clip, scores: &[f32]) -> Result<Prediction, Error> {
        if !scores.iter().all(|score| score.is_finite()) {
            return Err(Error::NotFinite);
        }
        let best = self.decision.decide(scores).ok_or(Error::NotFinite)?;
        let names = self.labels.names();
        let mut ranked: Vec<Score> = names
            .iter()
            .zip(scores)
            .map(|(label, score)| Score { label: label.clone(), score: *score })
            .collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut prediction = Prediction {
            label: String::new(),
            score: best.score,
            indeterminate: false,
            labels: (self.task == Task::MultiLabel).then(Vec::new),
            best_label: names[best.index].clone(),
            scores: ranked,
            seconds: clip.seconds,
            truncated: clip.truncated,
            damage: clip.damage.clone(),
        };
        // No score reaches a threshold of more than 1.
        let threshold = if clip.silent { f32::INFINITY } else { self.decision.threshold };
        prediction.decide(&DecisionConfig { threshold, ..self.decision.clone() });
        Ok(prediction)
    }

    /// The answer for one recording.
    pub fn predict(&self, source: &Source) -> Result<Prediction, Error> {
        self.score_one(&self.prepare(source)?)
    }

    /// The answer for samples in memory, at any rate.
    pub fn predict_waveform(&self, waveform: &Waveform) -> Result<Prediction, Error> {
        one(self.predict_batch(std::slice::from_ref(waveform))?)
    }

    /// Answers for samples in memory, in their order: the same bits as one by one.
    pub fn predict_batch(&self, waveforms: &[Waveform]) -> Result<Vec<Prediction>, Error> {
        let clips: Vec<Clip> = waveforms
            .par_iter()
            .map(|waveform| {
                refuse_not_finite(waveform)?;
                let resampled = audio::resample(waveform.clone(), self.extractor.sample_rate())?;
                Ok(self.prepare_samples(&resampled.samples))
            })
            .collect::<Result<_, Error>>()?;
        self.score(&clips)
    }

    /// One answer for each window of a long recording: windows as long as a clip, one every `hop_seconds`
    /// (at least 0.01). A window is treated as a recording of its own: silence is removed in it, and what is left is
    /// filled up as `audio.shorter` says.
    pub fn predict_windows(&self, source: &Source, hop_seconds: f64) -> Result<Vec<WindowPrediction>, Error> {
        let rate = f64::from(self.extractor.sample_rate());
        let (waveform, info) = audio::decode(source, &self.limits)?;
        let samples = audio::resample(waveform, self.extractor.sample_rate())?.samples;
        let hop = (hop_seconds.max(0.01) * rate).round() as usize;
        let windows: Vec<_> = audio::windows(samples.len(), self.clip_samples, hop).collect();
        let mut predictions = Vec::with_capacity(windows.len());
        for batch in windows.chunks(BATCH) {
            let clips: Vec<Clip> = batch
                .par_iter()
                .map(|(start, end)| Clip {
                    damage: info.damage.clone(),
                    ..self.prepare_samples(&samples[*start..*end])
                })
                .collect();
            for ((start, end), prediction) in batch.iter().zip(self.score(&clips)?) {
                predictions.push(WindowPrediction {
                    start: *start as f64 / rate,
                    end: *end as f64 / rate,
                    prediction,
                });
            }
        }
        Ok(predictions)
    }
}

impl Prediction {
    /// Decides, or decides anew, by another threshold or word; all scores must still be there.
    pub fn decide(&mut self, decision: &DecisionConfig) {
        self.indeterminate = self.score < decision.threshold;
        self.label =
            if self.indeterminate { decision.indeterminate.clone() } else { self.best_label.clone() };
        if let Some(labels) = &mut self.labels {
            let accepted = self.scores.iter().filter(|score| score.score >= decision.threshold);
            *labels = accepted.map(|score| score.label.clone()).collect();
        }
    }

    /// The same answer with only the `k` best scores.
    pub fn top_k(mut self, k: usize) -> Self {
        self.scores.truncate(k);
        self
    }
}

/// Decoding refuses such samples itself; a caller's own samples are refused here.
fn refuse_not_finite(waveform: &Waveform) -> Result<(), audio::Error> {
    match waveform.samples.iter().position(|sample| !sample.is_finite()) {
        Some(index) => Err(audio::Error::BadSample {
            name: "waveform".to_owned(),
            index,
            value: waveform.samples[index],
        }),
        None => Ok(()),
    }
}

fn one(mut predictions: Vec<Prediction>) -> Result<Prediction, Error> {
    predictions.pop().ok_or(Error::NotFinite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{AudioConfig, Longer, Shorter, SilenceRule};
    use crate::bundle::testing::{parts, predictor, tone, wav};

    fn bits(prediction: &Prediction) -> Vec<(String, u32)> {
        prediction.scores.iter().map(|s| (s.label.clone(), s.score.to_bits())).collect()
    }

    #[test]
    fn a_clip_gives_the_same_bits_alone_and_in_a_batch() {
        let predictor = predictor();
        let waveforms: Vec<Waveform> = (0..33).map(|i| tone(100.0 + 90.0 * i as f32, 0.5)).collect();
        let batch = predictor.predict_batch(&waveforms).unwrap();
        let alone: Vec<_> = waveforms.iter().map(|w| predictor.predict_waveform(w).unwrap()).collect();
        assert_eq!(batch.iter().map(bits).collect::<Vec<_>>(), alone.iter().map(bits).collect::<Vec<_>>());
        assert!(bits(&batch[0]) != bits(&batch[1]), "different sounds must give different scores");
    }

    #[test]
    fn scores_are_ranked_and_sum_to_one() {
        let prediction = predictor().predict_waveform(&tone(440.0, 0.5)).unwrap();
        assert!(prediction.scores.is_sorted_by(|a, b| a.score >= b.score));
        let sum: f32 = prediction.scores.iter().map(|s| s.score).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!((prediction.best_label.as_str(), prediction.score), {
            let best = &prediction.scores[0];
            (best.label.as_str(), best.score)
        });
    }

    #[test]
    fn a_low_score_is_indeterminate_in_the_bundles_word() {
        let decide = |threshold| {
            let decision = DecisionConfig { threshold, indeterminate: "indeterminado".to_owned() };
            predictor().with_decision(decision).predict_waveform(&tone(440.0, 0.5)).unwrap()
        };
        let low = decide(1.0);
        assert_eq!((low.label.as_str(), low.indeterminate), ("indeterminado", true));
        let exact = decide(low.score);
        assert_eq!((exact.label, exact.indeterminate), (low.best_label, false));
    }

    #[test]
    fn only_the_first_clip_of_a_long_recording_is_used_and_that_is_said() {
        let predictor = predictor();
        let long = predictor.predict_waveform(&tone(440.0, 1.25)).unwrap();
        let clip = predictor.predict_waveform(&tone(440.0, 0.5)).unwrap();
        assert_eq!((long.truncated, clip.truncated), (true, false));
        assert_eq!(bits(&long), bits(&clip));
        assert!((long.seconds - 1.25).abs() < 1e-9);
    }

    /// The bundle of the other tests with another idea of a clip.
    fn predictor_of(audio: AudioConfig) -> Predictor {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.tar.gz");
        let mut parts = parts();
        parts.config.audio = audio;
        crate::bundle::pack(&parts, &path).unwrap();
        Predictor::open(&path, "cpu").unwrap()
    }

    #[test]
    fn silence_is_removed_and_the_loudest_part_is_heard_the_same_every_time() {
        let rule =
            SilenceRule { up_to_seconds: None, min_silence_len: 100, silence_thresh: -40.0, keep_silence: 0 };
        let removing = predictor_of(AudioConfig { silence: vec![rule], ..AudioConfig::new(8_000, 0.5) });
        let sound = tone(440.0, 0.5);
        let quiet = vec![0.0; 4_000];
        let later = Waveform { samples: [&quiet[..], &sound.samples].concat(), sample_rate: 8_000 };
        let predicted = removing.predict_waveform(&later).unwrap();
        assert!(!predicted.truncated && (predicted.seconds - 1.0).abs() < 1e-9, "{predicted:?}");
        assert_eq!(bits(&predicted), bits(&removing.predict_waveform(&sound).unwrap()));
        assert!(predictor().predict_waveform(&later).unwrap().truncated);

        let loudest =
            predictor_of(AudioConfig { longer: Longer::LoudestOf(3), ..AudioConfig::new(8_000, 0.5) });
        let heard = loudest.predict_waveform(&later).unwrap();
        assert_eq!((heard.truncated, bits(&heard)), (true, bits(&predicted)));
        assert!((0..5).all(|_| loudest.predict_waveform(&later).unwrap() == heard));
        // Whether nothing can be heard is a question about the part that is listened to.
        assert!(!heard.indeterminate || heard.score < loudest.decision().threshold);
        let silent = predictor().predict_waveform(&later).unwrap();
        assert!(silent.indeterminate && bits(&silent) != bits(&heard));
    }

    #[test]
    fn a_window_is_a_recording_of_its_own() {
        let rule =
            SilenceRule { up_to_seconds: None, min_silence_len: 100, silence_thresh: -40.0, keep_silence: 0 };
        let audio = AudioConfig {
            shorter: Shorter::Repeat,
            longer: Longer::LoudestOf(3),
            silence: vec![rule],
            ..AudioConfig::new(8_000, 0.5)
        };
        let predictor = predictor_of(audio);
        let data: std::sync::Arc<[u8]> = wav(440.0, 1.25).into();
        let windows = predictor.predict_windows(&Source::Bytes { name: "tone", data }, 0.25).unwrap();
        assert_eq!(windows.iter().map(|w| w.start).collect::<Vec<_>>(), [0.0, 0.25, 0.5, 0.75]);
        let samples = tone(440.0, 1.25).samples;
        for window in windows {
            let from = (window.start * 8_000.0) as usize;
            let part = Waveform { samples: samples[from..from + 4_000].to_vec(), sample_rate: 8_000 };
            let alone = predictor.predict_waveform(&part).unwrap();
            assert_eq!(window.prediction.best_label, alone.best_label);
            assert!((window.prediction.score - alone.score).abs() < 1e-3, "16 bits are not the tone itself");
        }
    }

    #[test]
    fn the_first_window_is_the_clip() {
        let predictor = predictor();
        let data: std::sync::Arc<[u8]> = wav(440.0, 1.25).into();
        let source = Source::Bytes { name: "tone", data };
        let windows = predictor.predict_windows(&source, 0.25).unwrap();
        let times: Vec<_> = windows.iter().map(|w| (w.start, w.end)).collect();
        assert_eq!(times, [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.75, 1.25)]);
        assert_eq!(bits(&windows[0].prediction), bits(&predictor.predict(&source).unwrap()));
    }

    #[test]
    fn scores_survive_json_to_the_bit() {
        let prediction = predictor().predict_waveform(&tone(440.0, 0.5)).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(&serde_json::to_string(&prediction).unwrap()).unwrap();
        let read = json["scores"].as_array().unwrap().iter().map(|s| s["score"].as_f64().unwrap() as f32);
        assert_eq!(
            read.map(f32::to_bits).collect::<Vec<_>>(),
            prediction.scores.iter().map(|s| s.score.to_bits()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn damaged_recordings_are_the_recordings_fault() {
        let error =
            predictor().predict(&Source::Bytes { name: "x", data: b"not audio at all".as_slice().into() });
        let error = error.unwrap_err();
        assert!(!error.is_permanent() && error.to_string().starts_with("x: "), "{error}");
        let nan = Waveform { samples: vec![f32::NAN; 4000], sample_rate: 8_000 };
        assert!(predictor().predict_waveform(&nan).is_err());
    }
}
