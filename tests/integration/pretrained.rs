//! Weights from the outside: names, files, the store, and what training makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use oido::features::FeatureShape;
use oido::models::{Axes, CnnConfig, Inference, Layout, Model, ModelConfig, WaveformCnnConfig};
use oido::pretrained::{LeaveOut, Outline, Starting, Store, Tensor, Tensors, Translated, read, translate};
use oido::seed::Seed;
use rand::RngExt;

use crate::hash_weights::{assert_close, clip, golden, values};
use crate::tones::{Tones, data};
#[cfg(feature = "hub")]
use crate::web::{Reply, Web};

const WAVE: FeatureShape = FeatureShape { bins: 1, frames: 16_000 };
const MAP: FeatureShape = FeatureShape { bins: 16, frames: 20 };

fn built(config: &ModelConfig, input: FeatureShape) -> Model {
    config.init(input, 4, Seed(3), &Device::flex()).unwrap()
}

/// Every tensor of the network is reached by one published name, and there are no others.
fn covers(config: &ModelConfig, input: FeatureShape, layout: Layout, names: &[String]) {
    let mut reached = BTreeMap::new();
    for name in names {
        let published = config.published(layout, name).unwrap_or_else(|| panic!("{name} is not known"));
        assert_eq!(reached.insert(published.name.clone(), name), None, "{}", published.name);
    }
    let tensors = built(config, input).shapes();
    assert_eq!(reached.keys().collect::<BTreeSet<_>>(), tensors.keys().collect(), "{}", config.name());
}

#[test]
fn the_names_of_the_pytorch_example_reach_every_tensor_of_the_waveform_networks() {
    let options = WaveformCnnConfig::default;
    for (config, layers) in [
        (ModelConfig::M3(options()), 2),
        (ModelConfig::M5(options()), 4),
        (ModelConfig::M11(options()), 10),
        (ModelConfig::M18(options()), 17),
    ] {
        let mut names = vec!["fc1.weight".to_owned(), "fc1.bias".to_owned()];
        for i in 1..=layers {
            names.extend(["weight", "bias"].map(|tensor| format!("conv{i}.{tensor}")));
            let norm = ["weight", "bias", "running_mean", "running_var"];
            names.extend(norm.map(|tensor| format!("bn{i}.{tensor}")));
        }
        covers(&config, WAVE, Layout::Torch, &names);
        for name in
            [format!("conv{}.weight", layers + 1), "conv0.weight".into(), "conv1".into(), "b.weight".into()]
        {
            assert_eq!(config.published(Layout::Torch, &name), None, "{name}");
        }
        assert_eq!(config.published(Layout::Keras, "conv1.weight"), None);
    }
}

#[test]
fn the_names_of_keras_reach_every_tensor_of_the_cnn() {
    let config = ModelConfig::Cnn(CnnConfig { dense: 8, ..CnnConfig::default() });
    let mut names = Vec::new();
    for layer in ["conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "dense", "dense_1"] {
        names.extend(["kernel", "bias"].map(|variable| format!("{layer}/{variable}")));
    }
    for layer in ["batch_normalization", "batch_normalization_1"] {
        let variables = ["gamma", "beta", "moving_mean", "moving_variance"];
        names.extend(variables.map(|variable| format!("{layer}/{variable}")));
    }
    covers(&config, MAP, Layout::Keras, &names);
    for name in ["conv2d_4/kernel", "batch_normalization_2/gamma", "dense_2/kernel", "conv2d", "conv2d/gamma"]
    {
        assert_eq!(config.published(Layout::Keras, name), None, "{name}");
    }
}

/// A file of `tests/fixtures/pretrained`, unpacked where it is compressed.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pretrained");
        let packed = fixture.join(format!("{name}.gz"));
        if !packed.exists() {
            return fixture.join(name);
        }
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(packed).unwrap()).read_to_end(&mut content).unwrap();
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn expected() -> serde_json::Value {
    let path = Fixture::new().path("expected.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The inputs of `make_pretrained.py`.
fn inputs(len: usize) -> Vec<f32> {
    (0..len).map(|i| (((i * 7919 + 13) % 2001) as f64 / 1000.0 - 1.0) as f32).collect()
}

/// The largest difference, as a share of the range of the expected logits.
fn difference(logits: &[f32], expected: &serde_json::Value) -> f64 {
    let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(logits.len(), expected.len());
    let most = expected.iter().copied().fold(f64::MIN, f64::max);
    let least = expected.iter().copied().fold(f64::MAX, f64::min);
    logits.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / (most - least)
}

fn m5() -> ModelConfig {
    ModelConfig::M5(WaveformCnnConfig { channels: 2, ..WaveformCnnConfig::default() })
}

fn cnn() -> ModelConfig {
    ModelConfig::Cnn(CnnConfig { dense: 8, ..CnnConfig::default() })
}

const PICTURE: FeatureShape = FeatureShape { bins: 32, frames: 40 };

/// Reads a fixture as weights of `model`.
fn translated(
    file: &str,
    model: &ModelConfig,
    input: FeatureShape,
    leave_out: LeaveOut,
) -> Result<Translated, String> {
    let fixture = Fixture::new();
    let outline = Outline::new(model, input).unwrap();
    translate(read(&fixture.path(file)).unwrap().tensors, model, &outline, leave_out)
}

/// Two clips through the network with the weights of a file.
fn logits(file: &str, model: &ModelConfig, input: FeatureShape) -> Vec<f32> {
    let translated =
        translated(file, model, input, LeaveOut::default()).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert_eq!(translated.num_classes, Some(3), "{file}");
    let tensors = translated.tensors.into_iter().map(|(name, tensor)| (name, (tensor.shape, tensor.values)));
    let network = model.init(input, 3, Seed(3), &Device::flex()).unwrap();
    let network = network.load_tensors(tensors.collect()).unwrap();
    Inference::new(network).logits(&inputs(2 * input.bins * input.frames), input, &Device::flex())
}

#[test]
fn every_file_of_pytorch_gives_the_logits_of_pytorch() {
    let expected = expected();
    for (file, bound) in [
        ("m5.pth", 1e-4),
        ("m5_legacy.pth", 1e-4),
        ("m5_checkpoint.pth", 1e-4),
        // Half and brain floats keep 11 and 8 bits of each weight.
        ("m5_f16.safetensors", 1e-2),
        ("m5_bf16.pth", 1e-1),
    ] {
        for frames in [4200, 5003] {
            let logits = logits(file, &m5(), FeatureShape { bins: 1, frames });
            let difference = difference(&logits, &expected["m5"][frames.to_string()]);
            assert!(difference < bound, "{file} {frames}: {difference}");
        }
    }
}

#[test]
fn every_file_of_keras_gives_the_logits_of_keras() {
    let expected = expected();
    for file in ["cnn.keras", "cnn_unnamed.keras", "cnn.weights.h5", "cnn.h5"] {
        let difference = difference(&logits(file, &cnn(), PICTURE), &expected["cnn"]);
        assert!(difference < 1e-4, "{file}: {difference}");
    }
}

#[test]
fn layers_within_layers_keep_their_names() {
    let (expected, fixture) = (expected(), Fixture::new());
    let short = |name: &str| {
        name.replace("_normalization_4", "_normalization")
            .replace("lstm_cell/", "")
            .replace("dense_4", "dense")
    };
    for network in ["nested", "recurrent"] {
        let sums: BTreeMap<String, f64> = expected[network]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, sum)| (short(name), sum.as_f64().unwrap()))
            .collect();
        for ending in ["h5", "weights.h5", "keras"] {
            let file = format!("{network}.{ending}");
            let tensors = read(&fixture.path(&file)).unwrap().tensors;
            assert_eq!(tensors.keys().collect::<Vec<_>>(), sums.keys().collect::<Vec<_>>(), "{file}");
            for (name, tensor) in tensors {
                let sum: f64 = tensor.values.iter().map(|value| f64::from(value.abs())).sum();
                assert!((sum - sums[&name]).abs() < 1e-4, "{file} {name}: {sum}");
            }
        }
    }
}

#[test]
fn files_of_keras_2_and_compressed_ones_are_read() {
    let tensors = read(&Fixture::new().path("keras2.h5")).unwrap().tensors;
    let shapes: Vec<_> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())).collect();
    assert_eq!(
        shapes,
        [
            ("conv1_conv/bias", &[2][..]),
            ("conv1_conv/kernel", &[3, 3, 1, 2]),
            ("expanded_depthwise/kernel", &[3, 3, 2, 1]),
            ("n/kernel", &[4, 4]),
        ]
    );
    assert!(tensors["n/kernel"].values.iter().all(|value| (*value - 1.0).abs() < 1e-6));
}

#[test]
fn hostile_files_are_refused_in_one_sentence_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let made = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let whole = |name: &str| std::fs::read(fixture.path(name)).unwrap();
    let half = |name: &str| whole(name)[..whole(name).len() / 2].to_vec();
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let mut deep = vec![0x80, 2];
    deep.extend([b'('; 20_000]);
    deep.extend([b't'; 20_000]);
    deep.push(b'.');
    for (path, expected) in [
        (fixture.path("hostile_call.pth"), "asks for posix.system, which is no weight but an attack"),
        (fixture.path("hostile_call.pkl"), "asks for posix.system, which is no weight but an attack"),
        (made("eval.pth", b"cbuiltins\neval\n(S'1'\ntR."), "asks for builtins.eval"),
        (made("deep.pth", &deep), "neither PyTorch's"),
        (fixture.path("hostile_nan.pth"), "conv3.weight holds NaN"),
        (fixture.path("hostile_wide.pth"), "conv2.weight"),
        (made("half.pth", &half("m5.pth")), ""),
        (made("half_legacy.pth", &half("m5_legacy.pth")), ""),
        (made("half.keras", &half("cnn.keras")), "not a .zip archive, or damaged"),
        (made("torch.keras", &whole("m5.pth")), "lacks model.weights.h5"),
        (made("half.h5", &half("keras2.h5")), ""),
        (fixture.path("hostile_circle.h5"), "in a circle"),
        (fixture.path("hostile_links.h5"), "xternal"),
        (fixture.path("hostile_wide.h5"), "w/kernel of shape [1099511627776]"),
        (fixture.path("hostile_text.h5"), "w/kernel: "),
        (made("half.safetensors", &half("m5_f16.safetensors")), "not a valid safetensors file"),
        (made("long.safetensors", &[&[0xff; 8][..], b"{}"].concat()), ""),
        (
            made("wide.safetensors", &header(r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#)),
            "not a valid safetensors file",
        ),
        (made("empty.safetensors", &header("{}")), "holds no tensors"),
        (
            made("twice.safetensors", &[header(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#), vec![0; 8]].concat()),
            "",
        ),
        (made("text.pth", b"<html>not found</html>"), "neither PyTorch's, safetensors, nor Keras'"),
        (made("empty.pth", b""), "neither PyTorch's"),
        (folder.path().to_owned(), "without model.safetensors"),
        (folder.path().join("absent.pth"), "cannot open"),
    ] {
        let error = read(&path).map(|file| file.tensors.len()).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{}: {error}", path.display());
        assert!(error.contains(&*path.file_name().unwrap().to_string_lossy()), "{error}");
    }
    assert!(!Path::new("oido-was-here").exists());
}

#[test]
fn files_that_are_damaged_anywhere_never_panic() {
    let (folder, fixture) = (tempfile::tempdir().unwrap(), Fixture::new());
    let mut rng = Seed(1).rng(oido::seed::Purpose::Synth, 0, 0);
    let mut files = 0;
    for entry in std::fs::read_dir("tests/fixtures/pretrained").unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.ends_with(".py") || name.ends_with(".json") {
            continue;
        }
        files += 1;
        let whole = std::fs::read(fixture.path(name)).unwrap();
        let path = folder.path().join(name);
        for mutant in 0..100 {
            let mut bytes = whole.clone();
            // Half of the damage is in the first bytes, where formats keep what they are about.
            let end = if mutant % 2 == 0 { bytes.len() } else { bytes.len().min(2000) };
            for _ in 0..4 {
                let at = rng.random_range(0..end);
                bytes[at] = [0, 0xff, rng.random()][rng.random_range(0..3)];
            }
            if mutant % 4 == 3 {
                bytes.truncate(rng.random_range(0..bytes.len()));
            }
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = read(&path) {
                let error = error.to_string();
                assert!(!error.contains('\n') && error.len() < 2000, "{name}: {error}");
            }
        }
    }
    assert!(files > 20, "{files}");
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let none = LeaveOut::default;
    let wave = FeatureShape { bins: 1, frames: 16_000 };
    let narrow = |name: &str| -> ModelConfig {
        let text = format!("name = '{name}'\nchannels = 2");
        oido::config::parse(&text, &[], "test").unwrap()
    };
    let error =
        |file: &str, model: &ModelConfig, leave_out| translated(file, model, wave, leave_out).unwrap_err();
    let deeper = error("m5.pth", &narrow("m11"), none());
    assert!(deeper.contains("missing: groups.2.1.") && deeper.contains("more"), "{deeper}");
    assert!(deeper.contains("conv4") || deeper.contains("has shape"), "{deeper}");
    let shallower = error("m5.pth", &narrow("m3"), none());
    assert!(
        shallower.contains("extra: bn3.bias") && shallower.contains("where [2, 3] is needed"),
        "{shallower}"
    );
    let wider = error("m5.pth", &ModelConfig::M5(WaveformCnnConfig::default()), none());
    assert!(
        wider.contains("groups.0.0.conv.weight has shape [2, 1, 80] where [32, 1, 80] is needed"),
        "{wider}"
    );
    let other = translated("m5.pth", &cnn(), PICTURE, none()).unwrap_err();
    assert!(other.contains("none of its 26 tensors"), "{other}");

    let left = vec!["bn4".to_owned(), "conv4".to_owned()];
    let without = error("m5.pth", &m5(), LeaveOut { prefixes: &left, ..none() });
    assert!(without.starts_with("missing: groups.3.0.batch_norm.beta"), "{without}");
    let mistyped = vec!["fc1".to_owned(), "classifer".to_owned()];
    let mistyped = error("m5.pth", &m5(), LeaveOut { prefixes: &mistyped, ..none() });
    assert_eq!(mistyped, "none of its tensors begins with `classifer`, which is to be left out");

    let headless = translated("m5.pth", &m5(), wave, LeaveOut { head: true, ..none() }).unwrap();
    assert_eq!(
        (headless.num_classes, headless.left_out),
        (None, vec!["fc1.bias".to_owned(), "fc1.weight".to_owned()])
    );
    assert!(!headless.tensors.keys().any(|name| name.starts_with("output")));
}

/// The user's store lies in the folder of the tones.
fn home(tones: &Tones) -> (String, Store) {
    let folder = tones.path("home");
    (folder.to_string_lossy().into_owned(), Store::at(folder.join("weights")))
}

#[test]
fn import_keeps_weights_and_lists_them() {
    let tones = Tones::new();
    let (home, store) = home(&tones);
    let fixture = Fixture::new();
    let file = fixture.path("m5.pth");
    let oido = |code: i32, args: &[&str]| {
        let output =
            crate::support::oido().env("OIDO_HOME", &home).arg("import").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", crate::tones::talk(&output));
        output
    };
    let file = file.to_str().unwrap();
    let model = ["--model", "m5", "--set", "channels=2"];
    let import = |name: &'static str| [&[file][..], &model, &["--name", name, "--licence", "CC0"]].concat();
    let text = data(&oido(0, &import("tiny-m5")));
    assert!(text.contains("tiny-m5: m5, 26 tensors") && text.contains("head of 3 classes"), "{text}");
    let (meta, bytes) = store.get("tiny-m5").unwrap();
    assert_eq!((meta.model, meta.source.licence.as_deref()), (m5(), Some("CC0")));
    let network =
        m5().init(WAVE, 3, Seed(1), &Device::flex()).unwrap().load_safetensors(bytes.clone()).unwrap();
    let input = FeatureShape { bins: 1, frames: 4200 };
    let logits = Inference::new(network).logits(&inputs(2 * 4200), input, &Device::flex());
    assert!(difference(&logits, &expected()["m5"]["4200"]) < 1e-4);

    let again = crate::tones::talk(&oido(2, &import("tiny-m5")));
    assert!(again.contains("there are weights `tiny-m5` already"), "{again}");
    let listed = data(&oido(0, &["--list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!((listed["name"].as_str(), listed["model"]["channels"].as_u64()), (Some("tiny-m5"), Some(2)));
    assert!(data(&oido(0, &["--list"])).contains("m5.pth"));
    for (code, args, expected) in [
        (4, vec![file, "--model", "m5", "--name", "x"], "where [32, 1, 80] is needed"),
        (4, vec![file, "--model", "m6", "--name", "x"], "m6"),
        (2, vec![file, "--name", "x"], "give --model with one of dense, cnn"),
        (2, vec![file, "--model", "m5", "--name", "../x"], "cannot name weights"),
        (2, vec!["absent.pth", "--model", "m5", "--name", "x"], "absent.pth: cannot open"),
        (2, vec!["absent", "--name", "x"], "absent: cannot open: No such file"),
    ] {
        let talk = crate::tones::talk(&oido(code, &args));
        assert!(talk.starts_with("error: ") && talk.contains(expected), "{args:?}: {talk}");
    }
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_run_starts_from_a_run_from_the_store_and_never_from_nothing() {
    let tones = Tones::new();
    let (home, store) = home(&tones);
    let oido = |code: i32, args: &[&str]| {
        let output =
            crate::support::oido().current_dir(tones.path("")).env("OIDO_HOME", &home).args(args).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", crate::tones::talk(&output));
        output
    };
    let info = |run: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(tones.path(run).join("run.json")).unwrap()).unwrap()
    };
    let tensor = |bytes: &[u8], name: &str| {
        safetensors::SafeTensors::deserialize(bytes).unwrap().tensor(name).unwrap().data().to_vec()
    };
    let once = ["--set", "training.epochs=1"];
    oido(0, &Tones::train("first", &once));
    assert!(info("first").get("started_from").is_none());
    let best = std::fs::read(tones.path("first/weights/best.safetensors")).unwrap();

    // With steps this small, what training gives back is what it began with.
    let still = ["--set", "training.epochs=1", "--set", "training.learning_rate=1e-30"];
    let from = |weights: &'static str| [&still[..], &["--set", weights]].concat();
    let talk = crate::tones::talk(&oido(0, &Tones::train("second", &from("training.weights=./first"))));
    assert!(talk.contains("starting from ./first (sha256 ") && talk.contains("the head too"), "{talk}");
    for name in ["blocks.0.conv.weight", "dense.weight", "output.bias"] {
        assert!(tensor(&tones.weights("second"), name) == tensor(&best, name), "{name}");
    }
    let started = &info("second")["started_from"];
    assert_eq!(started["sha256"], oido::files::sha256(&best));
    assert_eq!((started["loaded"].as_u64(), started["fresh"].as_array().unwrap().len()), (Some(20), 0));

    // The report and the model card say so.
    oido(0, &["evaluate", "second"]);
    let digest = oido::files::sha256(&best);
    let report = std::fs::read_to_string(tones.path("second/report.json")).unwrap();
    assert!(
        report.contains(&format!("\"initial weights\": \"./first (sha256 {digest}), 20 tensors")),
        "{report}"
    );
    oido(0, &["bundle", "second", "--out", "packed"]);
    let card = std::fs::read_to_string(tones.path("packed/README.md"));
    assert!(card.unwrap().contains(&format!("| trained from | ./first (sha256 {digest})")));
    oido(0, &["evaluate", "first"]);
    assert!(
        std::fs::read_to_string(tones.path("first/report.json"))
            .unwrap()
            .contains("\"initial weights\": \"random\"")
    );

    // Through a bundle and the store, without the last layer.
    oido(0, &["bundle", "first", "--out", "first.tar.gz"]);
    oido(0, &["import", "first.tar.gz", "--name", "tones", "--without-head"]);
    oido(0, &["import", "first", "--name", "tones-with-head"]);
    assert_eq!(store.list().unwrap().len(), 2);
    let talk = crate::tones::talk(&oido(0, &Tones::train("third", &from("training.weights=tones"))));
    assert!(
        talk.contains("starting from tones ") && talk.contains("trained anew: output.bias, output.weight"),
        "{talk}"
    );
    assert!(tensor(&tones.weights("third"), "dense.weight") == tensor(&best, "dense.weight"));
    assert!(tensor(&tones.weights("third"), "output.weight") != tensor(&best, "output.weight"));
    assert_eq!(info("third")["started_from"]["fresh"], serde_json::json!(["output.bias", "output.weight"]));

    let fails = |code, more: &[&str], expected: &str| {
        let talk = crate::tones::talk(&oido(code, &Tones::train("none", more)));
        assert!(talk.contains(expected), "{more:?}: {talk}");
        assert!(!tones.path("none").exists(), "{more:?} left a run behind");
    };
    let absent =
        "(it holds tones, tones-with-head); get them with `oido import FILE --model cnn --name imagenet`";
    fails(2, &["--set", "training.weights=imagenet"], absent);
    fails(
        4,
        &["--set", "training.weights=tones", "--set", "model={name=\"dense\"}"],
        "they are weights of cnn",
    );
    fails(4, &["--set", "training.weights=tones", "--set", "model.dense=8"], "dense.weight has shape");
    fails(4, &["--set", "training.weights=first.tar.gz"], "oido import");
    for absent in ["./absent.safetensors", "runs/esc50-resnet50-frozen"] {
        let expected = format!(
            "{absent}: there is no such run or file; train that run first, with `oido train RECIPE --out {absent}`"
        );
        fails(2, &["--set", &format!("training.weights={absent}")], &expected);
    }
    let dry = Tones::train("none", &["--dry-run", "--set", "training.weights=imagenet"]);
    assert!(crate::tones::talk(&oido(2, &dry)).contains("no weights `imagenet`"));
    let dry = Tones::train("none", &["--dry-run", "--set", "training.weights=tones"]);
    assert!(crate::tones::talk(&oido(0, &dry)).contains("trained anew: output.bias"));

    // A run goes on only from the weights it began with.
    let resume = |weights| [&["--resume", "--set", "training.epochs=2"][..], &from(weights)[2..]].concat();
    oido(0, &Tones::train("third", &resume("training.weights=tones")));
    std::fs::remove_dir_all(store.folder().join("tones")).unwrap();
    oido(0, &["import", "first", "--name", "tones"]);
    let talk = crate::tones::talk(&oido(2, &Tones::train("third", &resume("training.weights=tones"))));
    assert!(talk.contains("its recipe or data differ"), "{talk}");
}

/// A narrow resnet50 whose head is the published classifier, or has one more layer.
fn resnet(units: &[usize]) -> ModelConfig {
    serde_json::from_value(serde_json::json!({
        "name": "resnet50", "variant": "torch", "width": 0.125, "head": {"kind": "gap-dense", "units": units},
    }))
    .unwrap()
}

const SMALL: FeatureShape = FeatureShape { bins: 32, frames: 40 };

/// The narrow network's tensors as torchvision calls them, with a wrapper's prefix and PyTorch's counters.
fn torchvision() -> Tensors {
    let config = resnet(&[]);
    let shapes = config.init(SMALL, 10, Seed(1), &Device::flex()).unwrap().shapes();
    let mut tensors = Tensors::new();
    for name in golden("resnet50_torch").tensors.into_keys() {
        let place = config.published(Layout::Torch, &name).unwrap();
        let mut shape = shapes[&place.name].clone();
        if place.axes == Axes::Transposed {
            shape.reverse();
        }
        let values = values(&name, shape.iter().product(), -0.1, 0.1);
        tensors.insert(format!("module.{name}"), Tensor { shape, values });
    }
    assert_eq!(tensors.len(), shapes.len());
    let counter = Tensor { shape: vec![], values: vec![3.0] };
    tensors.insert("module.bn1.num_batches_tracked".to_owned(), counter);
    tensors
}

#[test]
fn a_backbone_keeps_its_place_under_another_head() {
    let translated = |units: &[usize]| {
        let config = resnet(units);
        let outline = Outline::new(&config, SMALL).unwrap();
        translate(torchvision(), &config, &outline, LeaveOut::default())
    };
    let whole = translated(&[]).unwrap();
    assert_eq!((whole.num_classes, whole.left_out.len()), (Some(10), 0));
    let stem = &whole.tensors["conv1.weight"];
    assert_eq!(stem.values, values("conv1.weight", stem.values.len(), -0.1, 0.1));
    let output = &whole.tensors["head.output.weight"];
    let published = values("fc.weight", output.values.len(), -0.1, 0.1);
    assert_eq!(output.values[1].to_bits(), published[output.shape[0]].to_bits(), "[in, out] from [out, in]");

    let backbone = translated(&[8]).unwrap();
    assert_eq!(backbone.num_classes, None);
    assert_eq!(backbone.left_out, ["module.fc.bias", "module.fc.weight"]);
    assert_eq!(backbone.tensors.len() + 2, whole.tensors.len());

    let mut broken = torchvision();
    broken.remove("module.layer3.2.bn2.running_var");
    broken.insert("module.layer5.0.bn1.weight".to_owned(), Tensor { shape: vec![1], values: vec![0.0] });
    let config = resnet(&[8]);
    let outline = Outline::new(&config, SMALL).unwrap();
    let error = translate(broken, &config, &outline, LeaveOut::default()).unwrap_err();
    assert_eq!(error, "extra: module.layer5.0.bn1.weight; missing: layer3.2.bn2.running_var");

    // Known by name, but of the other variant only.
    let mut biased = torchvision();
    biased.insert("module.conv1.bias".to_owned(), Tensor { shape: vec![8], values: vec![0.0; 8] });
    let error = translate(biased, &config, &outline, LeaveOut::default()).unwrap_err();
    assert_eq!(error, "extra: module.conv1.bias");
}

#[test]
fn a_head_that_does_not_fit_is_trained_anew_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.safetensors");
    let device = Device::flex();
    let model =
        |units: &[usize], classes, seed| resnet(units).init(SMALL, classes, Seed(seed), &device).unwrap();
    let theirs = model(&[8], 10, 1);
    std::fs::write(&path, theirs.to_safetensors().unwrap()).unwrap();
    let tensor = |model: &Model, name: &str| {
        let bytes = model.to_safetensors().unwrap();
        safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec()
    };
    for (units, classes, fresh) in [(&[8][..], 10, 0), (&[8], 4, 4), (&[], 10, 2), (&[6, 4], 10, 6)] {
        let starting = Starting::find(path.to_str().unwrap(), &resnet(units)).unwrap();
        let ours = model(units, classes, 2);
        let head = tensor(&ours, "head.output.weight");
        let (ours, started) = starting.load(ours, &resnet(units), SMALL).unwrap();
        assert_eq!(started.fresh.len(), fresh, "{units:?} {classes}: {:?}", started.fresh);
        assert!(started.fresh.iter().all(|name| name.starts_with("head.")), "{:?}", started.fresh);
        assert_eq!(started.loaded + fresh, ours.shapes().len());
        assert!(tensor(&ours, "layer4.2.conv3.weight") == tensor(&theirs, "layer4.2.conv3.weight"));
        assert_eq!(tensor(&ours, "head.output.weight") == head, fresh > 0);
    }
    let absent = Starting::find("no-such-weights", &resnet(&[])).unwrap_err().to_string();
    let command = "`oido import FILE --model resnet50 --set variant=torch --name no-such-weights`";
    assert!(absent.contains(command), "{absent}");
    let keras: ModelConfig =
        serde_json::from_value(serde_json::json!({"name": "resnet50", "width": 0.125})).unwrap();
    let starting = Starting::find(path.to_str().unwrap(), &keras).unwrap();
    let network = keras.init(SMALL, 4, Seed(1), &device).unwrap();
    let error = starting.load(network, &keras, SMALL).unwrap_err().to_string();
    assert!(error.contains("missing: conv1.bias, "), "{error}");
}

/// The file `name` of `folder`, with `tensors` in it.
fn safetensors_file(folder: &Path, name: &str, tensors: &Tensors) -> PathBuf {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        let shape = tensor.shape.clone();
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap())
    });
    let path = folder.join(name);
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

#[test]
fn an_import_takes_the_variant_that_the_file_tells_and_asks_where_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let torch = safetensors_file(folder.path(), "tv.safetensors", &torchvision());
    let one = || Tensor { shape: vec![1], values: vec![0.0] };
    let timm =
        Tensors::from([("conv_stem.weight", one()), ("bn1.weight", one())].map(|(n, t)| (n.into(), t)));
    let timm = safetensors_file(folder.path(), "timm.safetensors", &timm);
    let oido = |code: i32, file: &Path, name: &str, args: &[&str]| {
        let mut command = crate::support::oido();
        command.env("OIDO_HOME", folder.path()).arg("import").arg(file).args(["--name", name]).args(args);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", crate::tones::talk(&output));
        output
    };
    let narrow = ["--model", "resnet50", "--set", "width=0.125"];
    let done = oido(0, &torch, "told", &narrow);
    assert!(data(&done).starts_with("told: resnet50 (torch), "), "{}", data(&done));
    let store = Store::at(folder.path().join("weights"));
    assert_eq!(store.get("told").unwrap().0.model.variant(), Some(oido::models::Variant::Torch));
    oido(0, &torch, "said", &[&narrow[..], &["--set", "variant=torch"]].concat());
    let talk =
        crate::tones::talk(&oido(4, &torch, "x", &[&narrow[..], &["--set", "variant=keras"]].concat()));
    assert!(talk.contains("by its names it is of the variant `torch`, not of `keras`"), "{talk}");
    let talk = crate::tones::talk(&oido(2, &timm, "x", &["--model", "efficientnet-b3"]));
    assert!(
        talk.contains("give --set variant=torch, or --set variant=keras (as for timm's tf_ models)"),
        "{talk}"
    );
    // A tensor too few says nothing of variants.
    let mut few = torchvision();
    few.remove("module.layer3.2.bn2.running_var");
    let few = safetensors_file(folder.path(), "few.safetensors", &few);
    let talk = crate::tones::talk(&oido(4, &few, "x", &narrow));
    assert!(talk.trim_end().ends_with("does not fit resnet50: missing: layer3.2.bn2.running_var"), "{talk}");
    assert_eq!(store.list().unwrap().len(), 2);
}

/// Nobody writes to it: to open it would take for ever.
#[cfg(unix)]
#[test]
fn a_pipe_is_refused_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = |name: &str| {
        let path = folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    let error = read(&pipe("f")).unwrap_err().to_string();
    assert!(error.contains("/f: cannot open: it is a folder, device, pipe or socket"), "{error}");
    let error = Starting::find(pipe("w.safetensors").to_str().unwrap(), &m5()).unwrap_err().to_string();
    assert!(error.contains("/w.safetensors: cannot read: it is a folder, device"), "{error}");
    pipe("config.json");
    let error = oido::pretrained::described(folder.path()).unwrap_err().to_string();
    assert!(error.contains("/config.json: cannot open: it is"), "{error}");
}

/// A folder as Hugging Face's `save_pretrained` makes it: its descriptions, and weights by name.
fn ast_folder(folder: &Path) {
    for name in ["config.json", "preprocessor_config.json"] {
        std::fs::copy(Path::new("tests/fixtures/pretrained/ast").join(name), folder.join(name)).unwrap();
    }
    let golden = golden("ast");
    let tensors: Vec<(&String, &Vec<usize>, Vec<u8>)> = golden
        .tensors
        .iter()
        .map(|(name, shape)| {
            let bytes = golden.tensor(name, shape).iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(folder.join("README.md"), "---\nlicense: bsd-3-clause\n---\n").unwrap();
}

#[test]
fn a_folder_of_ast_knows_its_network_and_its_front_end() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("tiny-ast");
    std::fs::create_dir(&source).unwrap();
    ast_folder(&source);
    let oido = |code: i32, args: &[&str]| {
        let mut command = crate::support::oido();
        command.env("OIDO_HOME", folder.path()).arg("import").arg(&source).args(args);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", crate::tones::talk(&output));
        output
    };
    let done = oido(0, &["--name", "tiny"]);
    assert!(
        data(&done).contains("tiny: ast, ") && data(&done).contains("licence: bsd-3-clause"),
        "{}",
        data(&done)
    );
    let front_end = "--set features.preset=ast --set audio.sample_rate=16000 --set features.n_mels=46 \
                     --set features.frames=66 --set features.mean=-4.2677393 --set features.std=9.1379948";
    assert!(crate::tones::talk(&done).contains(front_end), "{}", crate::tones::talk(&done));

    let store = Store::at(folder.path().join("weights"));
    let (meta, bytes) = store.get("tiny").unwrap();
    assert_eq!((meta.num_classes, meta.source.layout), (Some(10), Some(Layout::Torch)));
    assert_eq!(meta.source.origin(), "tiny-ast/model.safetensors");
    let golden = golden("ast");
    let expected: Vec<f32> = golden.cases.iter().flat_map(|case| case.logits.clone()).collect();
    let mut logits = Vec::new();
    for (index, case) in golden.cases.iter().enumerate() {
        let [bins, frames] = case.shape;
        let input = FeatureShape { bins, frames };
        let network = meta.model.init(input, 10, Seed(1), &Device::flex()).unwrap();
        let network = network.load_safetensors(bytes.clone()).unwrap();
        logits.extend(Inference::new(network).logits(&clip(index, bins * frames), input, &Device::flex()));
    }
    assert_close(&logits, &expected, 1e-4, "ast");

    oido(0, &["--name", "again", "--model", "ast", "--set", "dropout=0.1"]);
    let (again, _) = store.get("again").unwrap();
    assert_eq!(serde_json::to_value(again.model).unwrap()["hidden_size"], 24);
    let talk = crate::tones::talk(&oido(2, &["--name", "x", "--model", "cnn"]));
    assert!(talk.contains("is of the network ast by its config.json"), "{talk}");
    for (option, given) in [("num_attention_heads", "2"), ("layer_norm_eps", "0.1")] {
        let set = format!("{option}={given}");
        let talk = crate::tones::talk(&oido(4, &["--name", "x", "--model", "ast", "--set", &set]));
        assert!(talk.contains(&format!("config.json does not fit ast: they are of {option} = ")), "{talk}");
        assert!(talk.contains(&format!(", not of {given}; ")), "{talk}");
    }

    // So says a run, of options that no tensor's shape tells; another front end is a matter of taste.
    let tones = Tones::new();
    let dry_run = |code: i32, heads: usize| {
        let model = format!(
            "model={{name=\"ast\", hidden_size=24, num_hidden_layers=2, num_attention_heads={heads}, \
             intermediate_size=40, max_length=66, num_mel_bins=46}}"
        );
        let sets =
            ["--dry-run", "--set", &model, "--set", "training.weights=tiny", "--set", "features.n_mels=46"];
        let mut command = crate::support::oido();
        command.current_dir(tones.path("")).env("OIDO_HOME", folder.path());
        let output = command.args(Tones::train("none", &sets)).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", crate::tones::talk(&output));
        crate::tones::talk(&output)
    };
    let talk = dry_run(4, 2);
    assert!(
        talk.contains("tiny does not fit ast: they are of num_attention_heads = 3, not of 2; "),
        "{talk}"
    );
    let talk = dry_run(0, 3);
    for other in ["features.preset=ast", "audio.sample_rate=16000", "features.mean=-4.2677393"] {
        let warning = format!("were trained on features of {other}, which the recipe has otherwise");
        assert!(talk.contains(&warning), "{talk}");
    }
    assert!(
        !talk.contains("features of features.n_mels") && !talk.contains("features of features.frames"),
        "{talk}"
    );

    let huge =
        r#"{"model_type": "audio-spectrogram-transformer", "hidden_size": 600000, "num_attention_heads": 2}"#;
    std::fs::write(source.join("config.json"), huge).unwrap();
    let talk = crate::tones::talk(&oido(4, &["--name", "x"]));
    assert!(talk.contains("600000"), "{talk}");
    let large =
        r#"{"model_type": "audio-spectrogram-transformer", "hidden_size": 65536, "num_attention_heads": 2}"#;
    std::fs::write(source.join("config.json"), large).unwrap();
    let talk = crate::tones::talk(&oido(4, &["--name", "x"]));
    assert!(talk.contains("the limit is 268435456"), "{talk}");
}

/// A repository of the hub: m5 with a licence, and a folder's worth of files that are asked for.
fn repository() -> BTreeMap<&'static str, Vec<u8>> {
    let weights = std::fs::read(Fixture::new().path("m5_f16.safetensors")).unwrap();
    BTreeMap::from([
        ("model.safetensors", weights),
        ("README.md", b"---\nlicense: cc-by-4.0\n---\n# m5\n".to_vec()),
        ("NOTICE", b"by us\n".to_vec()),
    ])
}

fn import_m5(from: &str, name: &str, environment: &[(&str, &Path)]) -> std::process::Output {
    let mut command = crate::support::oido();
    for name in ["HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"] {
        command.env_remove(name);
    }
    command.args(["import", "--from", from, "--model", "m5", "--set", "channels=2", "--name", name]);
    command.envs(environment.iter().copied()).output().unwrap()
}

#[test]
#[cfg(feature = "hub")]
fn a_repository_of_the_hub_is_fetched_imported_and_not_kept_twice() {
    let web = Web::new(|request| {
        let file = request.path.strip_prefix("/acme/m5/resolve/refs%2Fpr%2F1/");
        match file.and_then(|file| repository().get(file).cloned()) {
            Some(content) => Reply::file(request, &content, "\"1\""),
            None => Reply::new("404 Not Found", &[], b""),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let url = PathBuf::from(&web.url);
    let environment =
        [("OIDO_HOME", folder.path()), ("HF_HOME", &folder.path().join("hf")), ("HF_ENDPOINT", &url)];
    let done = import_m5("hub:acme/m5@refs/pr/1", "fetched", &environment);
    assert_eq!(done.status.code(), Some(0), "{}", crate::tones::talk(&done));
    assert!(data(&done).contains("licence: cc-by-4.0"), "{}", data(&done));
    let store = Store::at(folder.path().join("weights"));
    let (meta, _) = store.get("fetched").unwrap();
    assert_eq!(meta.source.origin(), "hub:acme/m5@refs/pr/1");
    assert_eq!(meta.source.files[0].sha256, oido::files::sha256(&repository()["model.safetensors"]));
    assert_eq!(std::fs::read(store.folder().join("fetched/NOTICE")).unwrap(), b"by us\n");
    assert_eq!(std::fs::read_dir(store.downloads()).unwrap().count(), 0);

    let absent = import_m5("hub:acme/m6", "absent", &environment);
    let talk = crate::tones::talk(&absent);
    assert_eq!(absent.status.code(), Some(2), "{talk}");
    assert!(talk.contains("hub:acme/m6@main has neither model.safetensors nor pytorch_model.bin"), "{talk}");
    let offline = [&environment[..], &[("HF_HUB_OFFLINE", Path::new("1"))]].concat();
    web.requests();
    let talk = crate::tones::talk(&import_m5("hub:acme/m5@refs/pr/1", "offline", &offline));
    assert!(talk.contains("HF_HUB_OFFLINE is set"), "{talk}");
    assert_eq!(web.requests(), []);
}

/// A licence that does not come is not a licence that is not there.
#[test]
#[cfg(feature = "hub")]
fn a_file_that_the_hub_does_not_give_ends_the_import() {
    let web = Web::new(|request| match request.path.strip_prefix("/acme/m5/resolve/main/") {
        Some("LICENSE") => Reply::new("403 Forbidden", &[], b""),
        Some(file) if repository().contains_key(file) => Reply::file(request, &repository()[file], "\"1\""),
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let folder = tempfile::tempdir().unwrap();
    let url = PathBuf::from(&web.url);
    let environment =
        [("OIDO_HOME", folder.path()), ("HF_HOME", &folder.path().join("hf")), ("HF_ENDPOINT", &url)];
    let refused = import_m5("hub:acme/m5", "x", &environment);
    let talk = crate::tones::talk(&refused);
    assert_eq!(refused.status.code(), Some(2), "{talk}");
    assert!(talk.contains("/acme/m5/resolve/main/LICENSE: the server answers 403 Forbidden"), "{talk}");
    assert!(!Store::at(folder.path().join("weights")).holds("x"));
    assert!(web.requests().iter().all(|request| !request.path.ends_with("model.safetensors")));
}

#[test]
#[cfg(feature = "hub")]
fn the_cache_of_the_hubs_own_tools_is_used_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("hf/hub/models--acme--m5");
    let snapshot = repo.join("snapshots/0a1b2c");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), "0a1b2c").unwrap();
    for (name, content) in repository() {
        std::fs::write(snapshot.join(name), content).unwrap();
    }
    let environment = [
        ("OIDO_HOME", folder.path()),
        ("HF_HOME", &folder.path().join("hf")),
        ("HF_HUB_OFFLINE", Path::new("1")),
    ];
    for (from, name) in [("hub:acme/m5", "main"), ("hub:acme/m5@0a1b2c", "commit")] {
        let done = import_m5(from, name, &environment);
        assert_eq!(done.status.code(), Some(0), "{}", crate::tones::talk(&done));
    }
    assert_eq!(std::fs::read_dir(&snapshot).unwrap().count(), 3, "the cache stays as it was");
    let talk = crate::tones::talk(&import_m5("hub:acme/m5@v2", "tag", &environment));
    assert!(talk.contains("hub:acme/m5@v2 is not in the cache"), "{talk}");
}

#[test]
#[cfg(not(feature = "hub"))]
fn without_the_feature_the_hub_is_refused_with_the_way_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let talk = crate::tones::talk(&import_m5("hub:acme/m5", "x", &[("OIDO_HOME", folder.path())]));
    assert!(talk.contains("--features hub") && repository().len() == 3, "{talk}");
}

/// torchvggish publishes the components apart from the network, as arrays of NumPy.
#[test]
fn parts_that_are_published_apart_come_together() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden("vggish_pca");
    let network: Vec<(&String, &Vec<usize>, Vec<u8>)> = golden
        .tensors
        .iter()
        .filter(|(name, _)| !name.starts_with("pproc."))
        .map(|(name, shape)| {
            (name, shape, golden.tensor(name, shape).iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = network.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let main = folder.path().join("vggish.safetensors");
    std::fs::write(&main, safetensors::serialize(views, None).unwrap()).unwrap();
    let components = Fixture::new().path("vggish_pca.pth");
    let sizes =
        ["--set", "channels=4", "--set", "units=24", "--set", "embedding=12", "--set", "postprocess=pca"];
    let oido = |code: i32, files: &[&Path], name: &str| {
        let mut command = crate::support::oido();
        command.env("OIDO_HOME", folder.path()).arg("import").args(files);
        let output = command.args(["--model", "vggish", "--name", name]).args(sizes).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", crate::tones::talk(&output));
        output
    };
    let both = oido(0, &[&main, &components], "both");
    assert!(data(&both).contains("head of 10 classes"), "{}", data(&both));
    let store = Store::at(folder.path().join("weights"));
    let (meta, bytes) = store.get("both").unwrap();
    assert_eq!(meta.source.origin(), "vggish.safetensors + vggish_pca.pth");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["pca_eigen_vectors", "pca_means"] {
        let published = format!("pproc.{name}");
        let expected = golden.tensor(&published, &golden.tensors[&published]);
        let expected: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(file.tensor(&published).unwrap().data() == expected, "{name}");
    }
    let talk = crate::tones::talk(&oido(4, &[&main], "one"));
    assert!(talk.contains("missing: pproc.pca_eigen_vectors, pproc.pca_means"), "{talk}");
    let talk = crate::tones::talk(&oido(2, &[&main, &main], "twice"));
    assert!(
        talk.contains("vggish.safetensors has the tensor embeddings.0.bias, as vggish.safetensors has"),
        "{talk}"
    );
}
