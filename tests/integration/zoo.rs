//! Every row of the zoo: parameter counts, shapes, gradients, learning, weights.

use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use oido::features::FeatureShape;
use oido::models::zoo::{ZooRow, zoo};
use oido::models::{Inference, Model, ModelConfig, Precision};
use oido::seed::{Purpose, Seed};
use rand::RngExt;
use serde_json::json;

const CLASSES: usize = 4;

/// A small input, so that every network can be trained for a moment.
fn small_input(row: &ZooRow) -> FeatureShape {
    match (row.config.name(), row.input.bins) {
        (_, 1) => FeatureShape { bins: 1, frames: 4160 },
        ("vggish", _) => FeatureShape { bins: 32, frames: 96 },
        ("inception-v3", _) => FeatureShape { bins: 75, frames: 75 },
        ("resnet50" | "mobilenet-v2" | "efficientnet-b3", _) => FeatureShape { bins: 32, frames: 32 },
        _ => FeatureShape { bins: 32, frames: 24 },
    }
}

/// Options that make the large networks quick.
fn narrow(name: &str) -> serde_json::Value {
    match name {
        "vggish" => json!({ "channels": 4, "units": 32, "embedding": 16 }),
        "conformer" => json!({ "hidden_size": 16, "num_layers": 2, "num_heads": 2, "ffn_dim": 32 }),
        "ast" => json!({
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        }),
        _ => json!({}),
    }
}

/// `n` clips of noise around a class-dependent pattern, with one-hot targets.
fn clips(n: usize, input: FeatureShape) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Seed(7).rng(Purpose::Synth, 0, 0);
    let (mut values, mut targets) = (Vec::new(), Vec::new());
    for clip in 0..n {
        let class = clip % CLASSES;
        let mut noise = || rng.random_range(-0.3..0.3_f32);
        if input.bins == 1 {
            let step = 0.05 * (class + 1) as f32;
            values.extend((0..input.frames).map(|n| (step * n as f32).sin() + noise()));
        } else {
            for (bin, frame) in (0..input.bins).flat_map(|bin| (0..input.frames).map(move |f| (bin, f))) {
                // Classes differ in place and in mean, so that the dense baseline can fit them too.
                let band = if bin / (input.bins / CLASSES) == class && frame % 4 < 2 { 2.0 } else { 0.0 };
                values.push(band + class as f32 - 1.5 + noise());
            }
        }
        targets.extend((0..CLASSES).map(|c| if c == class { 1.0 } else { 0.0 }));
    }
    (values, targets)
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn small(row: &ZooRow, device: &Device) -> Model {
    seeded(row, Seed(42), device)
}

fn seeded(row: &ZooRow, seed: Seed, device: &Device) -> Model {
    small_config(row).init(small_input(row), CLASSES, seed, device).unwrap()
}

/// The row's network for small inputs. Dropout is off: these tests ask whether the network can learn, not whether
/// it generalises. Networks on the wave are narrow, so that the deep ones are quick.
fn small_config(row: &ZooRow) -> ModelConfig {
    let mut config = serde_json::to_value(&row.config).unwrap();
    for (key, value) in config.as_object_mut().unwrap() {
        match (key.as_str(), row.input.bins) {
            ("dropout", _) => *value = 0.0.into(),
            ("channels", 1) => *value = 8.into(),
            ("width", _) => *value = 0.125.into(),
            _ => {}
        }
    }
    if row.config.name().starts_with("spec-") {
        config["dropouts"] = json!([]);
    }
    narrowed(&mut config, row.config.name());
    serde_json::from_value(config).unwrap()
}

fn narrowed(config: &mut serde_json::Value, name: &str) {
    for (key, value) in narrow(name).as_object().unwrap() {
        assert!(config.get(key).is_some(), "{name} has no {key}");
        config[key] = value.clone();
    }
}

fn loss(model: &Model, inputs: Tensor<3>, targets: Tensor<2>) -> Tensor<1> {
    (log_softmax(model.forward(inputs), 1) * targets).sum_dim(1).mean().neg()
}

fn number(tensor: Tensor<1>) -> f32 {
    tensor.into_data().iter::<f32>().next().unwrap()
}

/// Name, parameters as Keras counts, and of those the moving statistics; PyTorch counts the difference.
const EXPECTED: [(&str, usize, usize); 21] = [
    ("dense", 108_106, 0),
    ("cnn", 5_634_826, 2 * (64 + 256)),
    ("lstm", 190_602, 0),
    ("crnn", 1_225_866, 2 * (64 + 128)),
    ("m3", 5_923 + 128, 128),
    ("m5", 37_507 + 512, 512),
    ("m11", 449_059 + 2 * (3 * 32 + 2 * 64 + 3 * 128 + 2 * 256), 2 * (3 * 32 + 2 * 64 + 3 * 128 + 2 * 256)),
    ("m18", 924_643 + 2 * (5 * 32 + 4 * (64 + 128 + 256)), 2 * (5 * 32 + 4 * (64 + 128 + 256))),
    (
        "m34-res",
        3_975_795 + 2 * (7 * 48 + 8 * 96 + 12 * 192 + 6 * 384),
        2 * (7 * 48 + 8 * 96 + 12 * 192 + 6 * 384),
    ),
    ("spec-1block", 483 + 64, 64),
    ("spec-2block", 9_795 + 128, 128),
    ("spec-4block", 65_571 + 384, 384),
    ("simple", 37_844, 194),
    // Measured: the study does not print it.
    ("esc-cnn", 166_067, 2 * (32 + 64 + 128)),
    ("resnet50", 24_132_816, 53_120),
    ("mobilenet-v2", 2_606_480, 34_112),
    // Keras' own counts without its classifier (for EfficientNetB3 without the 7 numbers that it scales pixels with), and
    // the head.
    ("inception-v3", 21_802_784 + 545_104, 34_432),
    ("efficientnet-b3", 10_783_528 + 414_032, 87_296),
    // Those of torchvggish, torchaudio and transformers are in audio_networks.rs.
    ("vggish", 72_141_184 + 129 * 50, 0),
    ("conformer", 7_771_392 + 321 * 144 + 145 * 50 + 2 * 144 * 16, 2 * 144 * 16),
    ("ast", 86_227_250, 0),
];

#[test]
fn parameter_counts_are_those_of_the_studies() {
    let rows = zoo();
    assert_eq!(rows.len(), EXPECTED.len());
    for (row, (name, total, statistics)) in rows.iter().zip(EXPECTED) {
        let count = row.config.count(row.input, row.num_classes);
        assert_eq!((row.config.name(), count.parameters(), count.statistics), (name, total, statistics));
    }
}

/// Sizes that Dai et al. 2016 print in Table 1, in millions, for 4 s at 8 kHz and 10 classes.
#[test]
fn the_papers_widths_and_stride_give_the_papers_sizes() {
    let input = FeatureShape { bins: 1, frames: 32_000 };
    for (name, channels, millions) in
        [("m3", 256, 0.2), ("m5", 128, 0.5), ("m11", 64, 1.8), ("m18", 64, 3.7), ("m34-res", 48, 4.0)]
    {
        let options = json!({"name": name, "channels": channels, "stride": 4});
        let config: ModelConfig = serde_json::from_value(options).unwrap();
        let count = config.count(input, 10);
        assert!((count.trainable as f64 / 1e6 - millions).abs() < 0.07, "{name}: {}", count.trainable);
        if name == "m5" {
            let built = config.init(input, 10, Seed(1), &Device::flex()).unwrap();
            assert_eq!(built.count_parameters().trainable, count.trainable);
            let logits = built.forward(Tensor::zeros([1, 1, 32_000], &Device::flex()));
            assert_eq!(logits.dims(), [1, 10]);
        }
    }
}

#[test]
fn options_of_the_studies_own_networks_change_what_is_built() {
    let input = FeatureShape { bins: 32, frames: 40 };
    let built = |options: serde_json::Value| -> usize {
        let config: ModelConfig = serde_json::from_value(options).unwrap();
        let built = config.init(input, 5, Seed(1), &Device::flex()).unwrap();
        assert_eq!(built.forward(Tensor::zeros([2, 32, 40], &Device::flex())).dims(), [2, 5]);
        assert_eq!(built.count_parameters().total, config.parameters(input, 5));
        config.parameters(input, 5)
    };
    let esc = built(json!({"name": "esc-cnn"}));
    assert_eq!(built(json!({"name": "esc-cnn", "first_kernel": 7})), esc + 32 * (49 - 9));
    // Flattened, the first dense layer sees 4 x 5 places of 128 channels; the attention's 128 weights and bias are gone.
    let flat = built(json!({"name": "esc-cnn", "attention": false}));
    assert_eq!(flat, esc - 129 + (4 * 5 - 1) * 128 * 256);
    let fewer = built(json!({"name": "esc-cnn", "dense": [64, 32]}));
    assert_eq!(esc - fewer, (129 * 256 + 257 * 128 + 129 * 5) - (129 * 64 + 65 * 32 + 33 * 5));
    let simple = built(json!({"name": "simple"}));
    assert!(built(json!({"name": "simple", "kernel": 7})) > simple);
}

#[test]
fn three_equal_channels_cost_a_network_two_more_first_kernels() {
    let input = FeatureShape { bins: 80, frames: 92 };
    let count = |channels: &str| -> usize {
        let config: ModelConfig = serde_json::from_str(&format!(r#"{{"name":"cnn"{channels}}}"#)).unwrap();
        let built = config.init(input, 80, Seed(1), &Device::flex()).unwrap();
        assert_eq!(built.count_parameters().total, config.parameters(input, 80));
        let logits = built.forward(Tensor::zeros([2, input.bins, input.frames], &Device::flex()));
        assert_eq!(logits.dims(), [2, 80]);
        config.parameters(input, 80)
    };
    assert_eq!(count(""), count(r#","input_channels":1"#));
    assert_eq!(count(r#","input_channels":3"#), count("") + 2 * 9 * 32);
    let other: ModelConfig = serde_json::from_str(r#"{"name":"cnn","input_channels":2}"#).unwrap();
    let error = other.validate(input, 80).unwrap_err().to_string();
    assert!(error.starts_with("model.input_channels: 2 is neither"), "{error}");
    let default = serde_json::to_string(&zoo()[1].config).unwrap();
    assert!(default.contains(r#""name":"cnn""#) && !default.contains("input_channels"), "{default}");
}

#[test]
fn counts_are_those_of_the_network_that_is_built() {
    for row in zoo() {
        let name = row.config.name();
        let mut config = serde_json::to_value(&row.config).unwrap();
        narrowed(&mut config, name);
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        let built = config.init(row.input, row.num_classes, Seed(42), &Device::flex()).unwrap();
        let (built, count) = (built.count_parameters(), config.count(row.input, row.num_classes));
        assert_eq!((built.total, built.trainable), (count.parameters(), count.trainable), "{name}");
    }
}

#[test]
fn logits_have_one_row_a_clip_and_are_finite() {
    for row in zoo() {
        let input = small_input(&row);
        let (values, _) = clips(3, input);
        let device = Device::flex();
        let model = small(&row, &device);
        let logits = model.forward(tensor(&values, [3, input.bins, input.frames], &device));
        assert_eq!(logits.dims(), [3, CLASSES], "{}", row.config.name());
        assert!(logits.into_data().iter::<f32>().all(f32::is_finite));
    }
}

#[test]
fn gradients_are_finite_and_reach_every_weight() {
    for row in zoo() {
        let (name, input) = (row.config.name(), small_input(&row));
        let (values, targets) = clips(8, input);
        let device = Device::flex().autodiff();
        let model = small(&row, &device);
        let loss = loss(
            &model,
            tensor(&values, [8, input.bins, input.frames], &device),
            tensor(&targets, [8, CLASSES], &device),
        );
        let grads = loss.backward();
        let grads = GradientsParams::from_grads(grads, &model);
        let before = model.to_safetensors().unwrap();
        let model = AdamConfig::new().init().step(1e-3, model, grads);
        let after = model.to_safetensors().unwrap();
        let (before, after) = (
            safetensors::SafeTensors::deserialize(&before).unwrap(),
            safetensors::SafeTensors::deserialize(&after).unwrap(),
        );
        for (tensor, view) in after.tensors() {
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            assert!(values.clone().all(f32::is_finite), "{name} {tensor}");
            if !tensor.contains(".running_") {
                assert_ne!(
                    view.data(),
                    before.tensor(&tensor).unwrap().data(),
                    "{name} {tensor} did not move"
                );
            }
        }
    }
}

#[test]
fn overfits_32_clips_and_every_network_learns_from_the_first_step() {
    // The deep networks for pictures take minutes here.
    let deep = ["resnet50", "mobilenet-v2", "inception-v3", "efficientnet-b3"];
    for row in zoo().into_iter().filter(|row| !deep.contains(&row.config.name())) {
        let (name, input) = (row.config.name(), small_input(&row));
        let (values, targets) = clips(32, input);
        let device = Device::flex().autodiff();
        let mut model = small(&row, &device);
        let mut optimizer = AdamConfig::new().with_epsilon(1e-7).init();
        let inputs: Tensor<3> = tensor(&values, [32, input.bins, input.frames], &device);
        let targets_tensor: Tensor<2> = tensor(&targets, [32, CLASSES], &device);
        let mut losses = Vec::new();
        for _ in 0..120 {
            let loss = loss(&model, inputs.clone(), targets_tensor.clone());
            losses.push(number(loss.clone()));
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(3e-3, model, grads);
            if losses.last().is_some_and(|l| *l < 0.02) {
                break;
            }
        }
        assert!(losses[..8.min(losses.len())].last() < losses.first(), "{name}: {losses:?}");
        assert!(losses.last().is_some_and(|l| *l < 0.2), "{name}: {losses:?}");
    }
}

/// The same file with a header longer by a space: no number of it begins at a multiple of four bytes any more.
fn out_of_line(safetensors: &[u8]) -> Vec<u8> {
    let (length, rest) = safetensors.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    let (header, numbers) = rest.split_at(length as usize);
    [&(length + 1).to_le_bytes(), header, b" ", numbers].concat()
}

#[test]
fn weights_survive_a_round_trip_to_the_bit() {
    for row in zoo() {
        let device = Device::flex();
        let model = small(&row, &device);
        let bytes = model.to_safetensors().unwrap();
        let input = small_input(&row);
        let other = seeded(&row, Seed(1), &device);
        assert_ne!(other.to_safetensors().unwrap(), bytes, "{}: the seed must matter", row.config.name());
        let blank = small_config(&row).blank(input, CLASSES, &device).unwrap();
        assert_ne!(blank.to_safetensors().unwrap(), bytes, "{}", row.config.name());
        let unaligned = blank.clone().load_safetensors(out_of_line(&bytes)).unwrap();
        let loaded = blank.load_safetensors(bytes.clone()).unwrap();
        for loaded in [&unaligned, &loaded, &other.load_safetensors(bytes.clone()).unwrap()] {
            assert_eq!(loaded.to_safetensors().unwrap(), bytes, "{}", row.config.name());
        }
        let (values, _) = clips(2, input);
        let [loaded, model] = [loaded, model].map(Inference::new);
        assert_eq!(loaded.logits(&values, input, &device), model.logits(&values, input, &device));
    }
}

#[test]
fn products_of_bfloat16_change_logits_a_little() {
    let device = Device::flex();
    let Ok(precision) = Precision::Bf16.on(&device) else { return };
    let mut changed = 0;
    for row in zoo() {
        let input = small_input(&row);
        let (values, _) = clips(3, input);
        let exact = Inference::new(small(&row, &device)).logits(&values, input, &device);
        let network = Inference::new(small(&row, &device)).with_precision(precision);
        let rounded = network.logits(&values, input, &device);
        let range = exact.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        let off = exact.iter().zip(&rounded).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(off <= 0.05 * range, "{}: {off} of {range}", row.config.name());
        changed += usize::from(off > 0.0);
    }
    assert!(changed >= 15, "only {changed} networks");
}

#[test]
fn a_clip_gives_the_same_bits_alone_and_in_a_batch() {
    for row in zoo() {
        let input = small_input(&row);
        let (values, _) = clips(32, input);
        let clip = input.bins * input.frames;
        let device = Device::flex();
        let network = Inference::new(small(&row, &device));
        let batch = network.logits(&values, input, &device);
        for (i, logits) in batch.chunks_exact(CLASSES).enumerate() {
            let alone = network.logits(&values[i * clip..][..clip], input, &device);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&alone), bits(logits), "{} clip {i}", row.config.name());
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let device = Device::flex();
    let rows = zoo();
    let cnn = small(&rows[1], &device);
    let dense = small(&rows[0], &device).to_safetensors().unwrap();
    let error = cnn.clone().load_safetensors(dense.clone()).unwrap_err().to_string();
    assert!(error.contains("blocks.0.conv.weight is missing"), "{error}");
    assert!(error.contains("hidden.0.weight is unknown"), "{error}");
    let wide = rows[1]
        .config
        .init(small_input(&rows[1]), CLASSES + 1, Seed(1), &device)
        .unwrap()
        .to_safetensors()
        .unwrap();
    let error = cnn.clone().load_safetensors(wide.clone()).unwrap_err().to_string();
    assert!(error.contains("output.bias has shape [5], the model wants [4]"), "{error}");
    assert!(cnn.load_safetensors(wide[..100].to_vec()).is_err());
}

#[test]
fn impossible_inputs_are_refused_with_the_numbers() {
    let tiny = FeatureShape { bins: 8, frames: 100 };
    for row in zoo().iter().filter(|row| row.config.name() == "cnn") {
        let error = row.config.init(tiny, 10, Seed(1), &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("16 bins") && error.contains("8 x 100"), "{error}");
    }
    let wave = FeatureShape { bins: 1, frames: 4159 };
    for row in zoo().iter().filter(|row| row.config.name() == "m18") {
        let error = |input| row.config.init(input, 10, Seed(1), &Device::flex()).unwrap_err().to_string();
        assert!(error(wave).contains("1 bins and 4160 frames"), "{}", error(wave));
        assert!(error(tiny).contains("features.kind = \"waveform\""), "{}", error(tiny));
    }
    assert!(zoo()[0].config.init(small_input(&zoo()[0]), 1, Seed(1), &Device::flex()).is_err());
}
