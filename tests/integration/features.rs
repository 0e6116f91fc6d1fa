//! The front end against librosa and torchaudio (results stored in `tests/fixtures/features`), and its
//! independence of history and threads.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use oido::audio::{AudioConfig, WavFormat, Waveform, write_wav};
use oido::features::{Extractor, FeatureConfig, FeatureKind, Features, LogScale, MelFilterBank, Preset};
use proptest::prelude::*;
use rayon::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    versions: std::collections::BTreeMap<String, String>,
    cases: Vec<Case>,
    filter_banks: Vec<FilterBank>,
}

/// One stored result: what `features` made of the first `samples` samples of `clip`, taken to be at `sample_rate`.
#[derive(Deserialize)]
struct Case {
    name: String,
    clip: String,
    samples: usize,
    sample_rate: u32,
    features: FeatureConfig,
}

#[derive(Deserialize)]
struct FilterBank {
    name: String,
    sample_rate: u32,
    features: FeatureConfig,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features").join(name)
}

fn golden() -> Golden {
    read("cases.json")
}

/// The front ends of pretrained audio networks.
fn speech() -> Golden {
    read("speech.json")
}

fn read(name: &str) -> Golden {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// Shape and bytes of the values of a NumPy file (version 1, little-endian, C order) of type `descr`.
fn npy(name: &str, descr: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = std::fs::read(fixture(&format!("{name}.npy"))).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{name}");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).unwrap();
    assert!(header.contains(descr) && header.contains("'fortran_order': False"), "{name}: {header}");
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    (shape, bytes[end..].to_vec())
}

fn npy_f32(name: &str) -> (Vec<usize>, Vec<f32>) {
    let (shape, bytes) = npy(name, "<f4");
    (shape, bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

fn clip(name: &str) -> Vec<f32> {
    let (_, bytes) = npy(&format!("clip_{name}"), "<i2");
    bytes.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0).collect()
}

fn extract(case: &Case) -> Features {
    let clip_seconds = case.samples as f64 / f64::from(case.sample_rate);
    let audio = AudioConfig::new(case.sample_rate, clip_seconds);
    let extractor = Extractor::new(&audio, &case.features).unwrap();
    // What the training clips would say is not part of the case.
    let extractor = extractor.with_stats(case.features.fixed_stats());
    assert_eq!(extractor.clip_samples(), case.samples, "{}", case.name);
    extractor.extract(&clip(&case.clip))
}

/// Asserts that `close(ours, theirs, largest of theirs)` holds for every value of the cases whose features are `wanted`,
/// and that there are `count` of them.
fn compare(count: usize, wanted: impl Fn(&FeatureConfig) -> bool, close: impl Fn(f32, f32, f32) -> bool) {
    let all = golden().cases.into_iter().chain(speech().cases);
    let cases: Vec<Case> = all.filter(|case| wanted(&case.features)).collect();
    assert_eq!(cases.len(), count, "stored cases");
    for case in cases {
        let ours = extract(&case);
        let (shape, theirs) = npy_f32(&case.name);
        assert_eq!(shape, [ours.shape.bins, ours.shape.frames], "{}", case.name);
        let largest = theirs.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        for (i, (&a, &b)) in ours.values.iter().zip(&theirs).enumerate() {
            assert!(close(a, b, largest), "{} value {i}: {a} instead of {b}", case.name);
        }
    }
}

fn is(config: &FeatureConfig, kind: FeatureKind, preset: Preset) -> bool {
    config.kind == kind && config.preset == preset
}

fn within_a_thousandth_of_a_decibel(a: f32, b: f32, _: f32) -> bool {
    (a - b).abs() <= 1e-3
}

/// Within 1e-2, or within the rounding of an unscaled cosine transform, whose values reach tens of thousands.
fn close_coefficient(a: f32, b: f32, largest: f32) -> bool {
    (a - b).abs() <= 1e-2_f32.max(2e-6 * largest)
}

#[test]
fn golden_files_name_the_versions_that_made_them() {
    let (versions, speech) = (golden().versions, speech().versions);
    for library in ["librosa", "torchaudio", "torch", "numpy"] {
        assert!(versions[library].contains('.'), "{versions:?}");
    }
    for library in ["torchaudio", "transformers", "numpy"] {
        assert!(speech[library].contains('.'), "{speech:?}");
    }
}

#[test]
fn log_mel_equals_librosa_within_1e_3_db() {
    compare(5, |c| is(c, FeatureKind::LogMel, Preset::Librosa), within_a_thousandth_of_a_decibel);
}

#[test]
fn log_mel_equals_torchaudio_within_1e_3_db() {
    compare(4, |c| is(c, FeatureKind::LogMel, Preset::Torchaudio), within_a_thousandth_of_a_decibel);
}

#[test]
fn decibels_of_a_spectrogram_equal_librosa_within_1e_3_db() {
    let wanted = |c: &FeatureConfig| c.kind == FeatureKind::Spectrogram && c.log == LogScale::Db;
    compare(1, wanted, within_a_thousandth_of_a_decibel);
}

#[test]
fn mfcc_equals_librosa_within_1e_2() {
    compare(4, |c| is(c, FeatureKind::Mfcc, Preset::Librosa), close_coefficient);
}

#[test]
fn mfcc_equals_torchaudio_within_1e_2() {
    compare(4, |c| is(c, FeatureKind::Mfcc, Preset::Torchaudio), close_coefficient);
}

#[test]
fn kaldi_filter_banks_equal_torchaudio_within_1e_5() {
    let wanted = |c: &FeatureConfig| c.preset == Preset::Kaldi;
    compare(5, wanted, |a, b, _| (a - b).abs() <= 1e-5);
}

/// transformers computes in single precision, whose rounding its quietest bands tell.
#[test]
fn ast_features_equal_transformers_within_1e_3() {
    let wanted = |c: &FeatureConfig| c.preset == Preset::Ast;
    compare(3, wanted, |a, b, _| (a - b).abs() <= 1e-3);
}

#[test]
fn vggish_features_equal_the_published_definition_within_1e_5() {
    let wanted = |c: &FeatureConfig| c.preset == Preset::Vggish;
    compare(3, wanted, |a, b, _| (a - b).abs() <= 1e-5);
}

// Spectrograms: relative to each bin, down to 60 dB below the largest; single precision knows no more of quieter bins.

#[test]
fn power_spectrogram_equals_librosa_and_torchaudio_within_1e_4() {
    let wanted =
        |c: &FeatureConfig| c.kind == FeatureKind::Spectrogram && c.log == LogScale::None && c.power > 1.5;
    compare(3, wanted, |a, b, largest| (a - b).abs() <= 1e-4 * b.abs().max(1e-6 * largest));
}

#[test]
fn magnitude_spectrogram_equals_librosa_within_1e_4() {
    let wanted = |c: &FeatureConfig| c.kind == FeatureKind::Spectrogram && c.power < 1.5;
    compare(1, wanted, |a, b, largest| (a - b).abs() <= 1e-4 * b.abs().max(1e-3 * largest));
}

#[test]
fn mel_filter_banks_equal_librosa_within_1e_6() {
    let banks = golden().filter_banks;
    assert_eq!(banks.len(), 3);
    for bank in banks {
        let ours = MelFilterBank::new(bank.sample_rate, &bank.features).dense();
        let (_, pairs) = npy_f32(&bank.name);
        let mut theirs = vec![0.0_f32; ours.len()];
        pairs.chunks_exact(2).for_each(|pair| theirs[pair[0] as usize] = pair[1]);
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() <= 1e-6, "{} weight {i}: {a} instead of {b}", bank.name);
        }
    }
}

/// Extractors of every kind and both presets, for clips of 0.1 s.
static EXTRACTORS: LazyLock<Vec<Extractor>> = LazyLock::new(|| {
    use FeatureKind::{LogMel, Mfcc, Spectrogram, Waveform};
    let audio = AudioConfig::new(22_050, 0.1);
    [Waveform, Spectrogram, LogMel, Mfcc]
        .into_iter()
        .flat_map(|kind| {
            [Preset::Librosa, Preset::Torchaudio].map(|preset| FeatureConfig::preset(preset, kind))
        })
        .map(|config| Extractor::new(&audio, &config).unwrap())
        .chain([Preset::Kaldi, Preset::Ast, Preset::Vggish].map(|preset| {
            let audio = AudioConfig { sample_rate: 16_000, ..audio.clone() };
            Extractor::new(&audio, &FeatureConfig::preset(preset, LogMel)).unwrap()
        }))
        .collect()
});

fn any_clip() -> impl Strategy<Value = Vec<f32>> {
    let sample = prop_oneof![20 => -1.0_f32..1.0, 1 => Just(0.0), 1 => any::<f32>()];
    proptest::collection::vec(sample, 0..3_000)
}

fn bits(features: &Features) -> Vec<u32> {
    features.values.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn features_depend_on_nothing_but_the_samples(clips in proptest::collection::vec(any_clip(), 2..5)) {
        for extractor in EXTRACTORS.iter() {
            let in_order: Vec<_> = clips.iter().map(|clip| bits(&extractor.extract(clip))).collect();
            let reversed: Vec<_> = clips.iter().rev().map(|clip| bits(&extractor.extract(clip))).collect();
            let threads: Vec<_> = clips.par_iter().map(|clip| bits(&extractor.extract(clip))).collect();
            prop_assert!(in_order.iter().eq(reversed.iter().rev()));
            prop_assert_eq!(&in_order, &threads);
        }
    }

    #[test]
    fn features_are_finite_whatever_the_samples(clip in any_clip()) {
        for extractor in EXTRACTORS.iter() {
            prop_assert!(extractor.extract(&clip).values.iter().all(|v| v.is_finite()), "{:?}", extractor.config());
        }
    }
}

fn oido(arguments: &[&str]) -> assert_cmd::assert::Assert {
    assert_cmd::Command::cargo_bin("oido").unwrap().arg("features").args(arguments).assert()
}

#[test]
fn the_command_tells_plots_and_saves_what_it_extracts() {
    let folder = tempfile::tempdir().unwrap();
    let wav = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/audio/s16.wav");
    let wav = wav.to_str().unwrap();
    for extension in ["csv", "json", "svg"] {
        let out = folder.path().join(format!("features.{extension}"));
        let arguments = [wav, "--json", "--set", "features.n_mels=40", "--out", out.to_str().unwrap()];
        let stdout = oido(&arguments).success().get_output().stdout.clone();
        let told: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!((told["bins"].as_u64(), told["frames"].as_u64()), (Some(40), Some(173)));
        assert_eq!(told["features"]["fmax"].as_f64(), Some(11_025.0));
        let text = std::fs::read_to_string(out).unwrap();
        match extension {
            "csv" => assert_eq!((text.lines().count(), text.split(',').count()), (40, 40 * 172 + 1)),
            "svg" => assert!(text.starts_with("<svg") && text.contains("s16.wav")),
            _ => {
                let saved: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(saved["values"].as_array().unwrap().len(), 40);
                assert_eq!(saved["features"], told["features"]);
            }
        }
    }
}

#[test]
fn the_command_says_what_became_of_silence_and_length() {
    let folder = tempfile::tempdir().unwrap();
    let wav = folder.path().join("knock.wav");
    let samples: Vec<f32> = (0..24_000).map(|i| if i % 12_000 < 2_000 { 0.5 } else { 0.0 }).collect();
    write_wav(&wav, &Waveform { samples, sample_rate: 8_000 }, WavFormat::Pcm16).unwrap();
    let silence = "silence=[{min_silence_len=500,silence_thresh=-40,keep_silence=100}]";
    for (audio, said) in [
        ("clip_seconds=4", "padded with silence to 4 s"),
        ("clip_seconds=4,shorter=\"pad_center\"", "padded with silence on both sides to 4 s"),
        ("clip_seconds=4,shorter=\"repeat\"", "repeated to 4 s"),
        ("clip_seconds=3", "the whole recording"),
        ("clip_seconds=1", "the first 1 s"),
        ("clip_seconds=1,longer=\"center_crop\"", "the middle 1 s"),
        ("clip_seconds=1,longer=\"random_crop\"", "the middle 1 s"),
        ("clip_seconds=1,longer={loudest_of=3}", "the loudest of 3 windows of 1 s"),
        (&format!("clip_seconds=1,{silence}"), "2.200 s of silence removed, padded with silence to 1 s"),
        (&format!("clip_seconds=0.8,{silence}"), "2.200 s of silence removed, the rest"),
    ] {
        let set = format!("audio={{sample_rate=8000,{audio}}}");
        let told = oido(&[wav.to_str().unwrap(), "--set", &set]).success();
        let told = String::from_utf8_lossy(&told.get_output().stdout).into_owned();
        assert!(told.contains(&format!("frames: {said}, at 8000 Hz")), "{set}: {told}");
    }
    let set = format!("audio={{sample_rate=8000,{silence}}}");
    let told = oido(&[wav.to_str().unwrap(), "--json", "--set", &set]).success().get_output().stdout.clone();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((told["seconds"].as_f64(), told["sound_seconds"].as_f64()), (Some(3.0), Some(0.8)));
    let set = "audio.silence=[{min_silence_len=0,silence_thresh=-40,keep_silence=100}]";
    let refused = oido(&["no-such.wav", "--set", set]).failure();
    let stderr = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(stderr.contains("audio.silence[0].min_silence_len: 0 ms"), "{stderr}");
}

#[test]
fn the_command_refuses_by_field_before_it_reads() {
    let refused = oido(&["no-such.wav", "--set", "features.hop_length=0"]).failure();
    let stderr = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(stderr.contains("features.hop_length"), "{stderr}");
}
