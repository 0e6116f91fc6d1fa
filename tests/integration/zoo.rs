//! Every row of the zoo: parameter counts, shapes, gradients, learning, weights.

use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use oido::features::FeatureShape;
use oido::models::zoo::zoo;
use oido::models::{Model, ModelConfig};
use oido::seed::{Purpose, Seed};
use rand::RngExt;

/// Small inputs, so that every network can be trained for a moment.
const SMALL: FeatureShape = FeatureShape { bins: 32, frames: 24 };
const CLASSES: usize = 4;

/// `n` clips of noise around a class-dependent pattern, with one-hot targets.
fn clips(n: usize) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Seed(7).rng(Purpose::Synth, 0, 0);
    let (mut values, mut targets) = (Vec::new(), Vec::new());
    for clip in 0..n {
        let class = clip % CLASSES;
        for bin in 0..SMALL.bins {
            for frame in 0..SMALL.frames {
                // Classes differ in place and in mean, so that the dense baseline can fit them too.
                let band = if bin / (SMALL.bins / CLASSES) == class && frame % 4 < 2 { 2.0 } else { 0.0 };
                values.push(band + class as f32 - 1.5 + rng.random_range(-0.3..0.3_f32));
            }
        }
        targets.extend((0..CLASSES).map(|c| if c == class { 1.0 } else { 0.0 }));
    }
    (values, targets)
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn small(config: &ModelConfig, device: &Device) -> Model {
    // Dropout off: these tests ask whether the network can learn, not whether it generalises.
    let mut config = config.clone();
    match &mut config {
        ModelConfig::Dense(c) => c.dropout = 0.0,
        ModelConfig::Cnn(c) => c.dropout = 0.0,
        ModelConfig::Lstm(c) => c.dropout = 0.0,
        ModelConfig::Crnn(c) => c.dropout = 0.0,
    }
    config.init(SMALL, CLASSES, Seed(42), device).unwrap()
}

fn loss(model: &Model, inputs: Tensor<3>, targets: Tensor<2>) -> Tensor<1> {
    (log_softmax(model.forward(inputs), 1) * targets).sum_dim(1).mean().neg()
}

fn number(tensor: Tensor<1>) -> f32 {
    tensor.into_data().iter::<f32>().next().unwrap()
}

#[test]
fn parameter_counts_are_those_of_the_studies() {
    let expected = [("dense", 108_106), ("cnn", 5_634_826), ("lstm", 190_602), ("crnn", 1_225_866)];
    let rows = zoo();
    assert_eq!(rows.len(), expected.len());
    for (row, (name, total)) in rows.iter().zip(expected) {
        let model = row.config.init(row.input, row.num_classes, Seed(42), &Device::flex()).unwrap();
        assert_eq!((row.config.name(), model.count_parameters().total), (name, total));
    }
}

#[test]
fn trainable_parameters_leave_out_the_moving_statistics() {
    for row in zoo() {
        let model = row.config.init(row.input, row.num_classes, Seed(42), &Device::flex()).unwrap();
        let count = model.count_parameters();
        let statistics = match row.config.name() {
            "cnn" => 2 * (64 + 256),
            "crnn" => 2 * (64 + 128),
            _ => 0,
        };
        assert_eq!(count.total - count.trainable, statistics, "{}", row.config.name());
    }
}

#[test]
fn logits_have_one_row_a_clip_and_are_finite() {
    let (values, _) = clips(3);
    for row in zoo() {
        let device = Device::flex();
        let model = small(&row.config, &device);
        let logits = model.forward(tensor(&values, [3, SMALL.bins, SMALL.frames], &device));
        assert_eq!(logits.dims(), [3, CLASSES], "{}", row.config.name());
        assert!(logits.into_data().iter::<f32>().all(f32::is_finite));
    }
}

#[test]
fn gradients_are_finite_and_reach_every_weight() {
    let (values, targets) = clips(8);
    for row in zoo() {
        let name = row.config.name();
        let device = Device::flex().autodiff();
        let model = small(&row.config, &device);
        let loss = loss(
            &model,
            tensor(&values, [8, SMALL.bins, SMALL.frames], &device),
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
    let (values, targets) = clips(32);
    for row in zoo() {
        let name = row.config.name();
        let device = Device::flex().autodiff();
        let mut model = small(&row.config, &device);
        let mut optimizer = AdamConfig::new().with_epsilon(1e-7).init();
        let inputs: Tensor<3> = tensor(&values, [32, SMALL.bins, SMALL.frames], &device);
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
        assert!(losses.last().is_some_and(|l| *l < 0.1), "{name}: {losses:?}");
    }
}

#[test]
fn weights_survive_a_round_trip_to_the_bit() {
    for row in zoo() {
        let device = Device::flex();
        let model = small(&row.config, &device);
        let bytes = model.to_safetensors().unwrap();
        let other = row.config.init(SMALL, CLASSES, Seed(1), &device).unwrap();
        assert_ne!(other.to_safetensors().unwrap(), bytes, "{}: the seed must matter", row.config.name());
        let loaded = other.load_safetensors(&bytes).unwrap();
        assert_eq!(loaded.to_safetensors().unwrap(), bytes, "{}", row.config.name());
        let (values, _) = clips(2);
        assert_eq!(loaded.infer(&values, SMALL, &device), model.infer(&values, SMALL, &device));
    }
}

#[test]
fn a_clip_gives_the_same_bits_alone_and_in_a_batch() {
    let (values, _) = clips(32);
    let clip = SMALL.bins * SMALL.frames;
    for row in zoo() {
        let device = Device::flex();
        let model = small(&row.config, &device);
        let batch = model.infer(&values, SMALL, &device);
        for (i, logits) in batch.chunks_exact(CLASSES).enumerate() {
            let alone = model.infer(&values[i * clip..][..clip], SMALL, &device);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&alone), bits(logits), "{} clip {i}", row.config.name());
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let device = Device::flex();
    let rows = zoo();
    let cnn = small(&rows[1].config, &device);
    let dense = small(&rows[0].config, &device).to_safetensors().unwrap();
    let error = cnn.clone().load_safetensors(&dense).unwrap_err().to_string();
    assert!(error.contains("blocks.0.conv.weight is missing"), "{error}");
    assert!(error.contains("hidden.0.weight is unknown"), "{error}");
    let wide = rows[1].config.init(SMALL, CLASSES + 1, Seed(1), &device).unwrap().to_safetensors().unwrap();
    let error = cnn.clone().load_safetensors(&wide).unwrap_err().to_string();
    assert!(error.contains("output.bias has shape [5], the model wants [4]"), "{error}");
    assert!(cnn.load_safetensors(&wide[..100]).is_err());
}

#[test]
fn impossible_inputs_are_refused_with_the_numbers() {
    let tiny = FeatureShape { bins: 8, frames: 100 };
    for row in zoo().iter().filter(|row| row.config.name() == "cnn") {
        let error = row.config.init(tiny, 10, Seed(1), &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("16 bins") && error.contains("8 x 100"), "{error}");
    }
    assert!(zoo()[0].config.init(SMALL, 1, Seed(1), &Device::flex()).is_err());
}
