//! The networks made for pictures: the answers of torchvision, timm and Keras, counts, heads, freezing.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use oido::features::FeatureShape;
use oido::models::{Model, ModelConfig, Variant};
use oido::pretrained::{LeaveOut, Outline, translate, variant_of};
use oido::seed::Seed;
use safetensors::SafeTensors;
use serde_json::json;

use crate::hash_weights::{assert_close, clip, golden};

/// Every so manieth value of an embedding is in the golden files.
const EMBEDDING_STEP: usize = 16;
/// Classes of the golden files.
const CLASSES: usize = 10;

fn config(value: serde_json::Value) -> ModelConfig {
    serde_json::from_value(value).unwrap()
}

/// A network whose head is the published classifier.
fn published(name: &str, variant: &str) -> ModelConfig {
    config(json!({"name": name, "variant": variant, "head": {"kind": "gap-dense", "units": []}}))
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The published weights, translated, give the published answers.
fn agrees(file: &str, config: &ModelConfig) {
    let (golden, device) = (golden(file), Device::flex());
    let [bins, frames] = golden.cases[0].shape;
    let shape = FeatureShape { bins, frames };
    let model = config.init(shape, CLASSES, Seed(1), &device).unwrap();
    let model = golden.load(config, shape, model);
    let logits: Vec<f32> = golden.cases.iter().flat_map(|case| case.logits.clone()).collect();
    let mut answers = Vec::new();
    for (index, case) in golden.cases.iter().enumerate() {
        let [bins, frames] = case.shape;
        let input = || tensor(clip(index, bins * frames), [1, bins, frames], &device);
        answers.extend(floats(model.forward(input())));
        let embedding = floats(model.embed(input()).unwrap());
        let embedding: Vec<f32> = embedding.into_iter().step_by(EMBEDDING_STEP).collect();
        assert_close(&embedding, &case.embedding, 1e-4, &format!("{file} embedding {index}"));
    }
    assert_close(&answers, &logits, 1e-4, file);
}

#[test]
fn resnet50_answers_as_torchvision() {
    agrees("resnet50_torch", &published("resnet50", "torch"));
}

#[test]
fn resnet50_answers_as_keras() {
    agrees("resnet50_keras", &published("resnet50", "keras"));
}

#[test]
fn mobilenet_v2_answers_as_torchvision() {
    agrees("mobilenet_v2_torch", &published("mobilenet-v2", "torch"));
}

#[test]
fn mobilenet_v2_answers_as_timm() {
    agrees("mobilenet_v2_timm", &published("mobilenet-v2", "torch"));
}

#[test]
fn mobilenet_v2_answers_as_keras() {
    agrees("mobilenet_v2_keras", &published("mobilenet-v2", "keras"));
}

#[test]
fn inception_v3_answers_as_torchvision() {
    agrees("inception_v3_torch", &published("inception-v3", "torch"));
}

#[test]
fn inception_v3_answers_as_keras() {
    agrees("inception_v3_keras", &published("inception-v3", "keras"));
}

#[test]
fn efficientnet_b3_answers_as_torchvision() {
    agrees("efficientnet_b3_torch", &published("efficientnet-b3", "torch"));
}

/// timm's `tf_efficientnet_b3` is Keras' network with PyTorch's names.
#[test]
fn efficientnet_b3_answers_as_timm() {
    agrees("efficientnet_b3_timm", &published("efficientnet-b3", "keras"));
}

#[test]
fn efficientnet_b3_answers_as_keras() {
    agrees("efficientnet_b3_keras", &published("efficientnet-b3", "keras"));
}

/// Where the shapes are the same nothing else would tell: padding and epsilon would be those of another library.
#[test]
fn weights_of_the_other_variant_are_refused_and_never_a_panic() {
    for (file, name, told) in [
        ("resnet50_torch", "resnet50", Some(Variant::Torch)),
        ("resnet50_keras", "resnet50", Some(Variant::Keras)),
        ("mobilenet_v2_torch", "mobilenet-v2", Some(Variant::Torch)),
        ("mobilenet_v2_timm", "mobilenet-v2", Some(Variant::Torch)),
        ("mobilenet_v2_keras", "mobilenet-v2", Some(Variant::Keras)),
        ("inception_v3_torch", "inception-v3", Some(Variant::Torch)),
        ("inception_v3_keras", "inception-v3", Some(Variant::Keras)),
        ("efficientnet_b3_torch", "efficientnet-b3", Some(Variant::Torch)),
        ("efficientnet_b3_keras", "efficientnet-b3", Some(Variant::Keras)),
        // timm has both variants under these names.
        ("efficientnet_b3_timm", "efficientnet-b3", None),
    ] {
        // Names and ranks matter here; that each fits its own network is seen in its answers.
        let mut tensors = golden(file).published(|_, _| vec![0.0]);
        tensors.values_mut().for_each(|tensor| tensor.shape.fill(1));
        for variant in [Variant::Torch, Variant::Keras] {
            let config =
                config(json!({"name": name, "width": 0.125, "head": {"kind": "gap-dense", "units": []}}))
                    .with_variant(variant);
            let outline = Outline::new(&config, small(name)).unwrap();
            assert_eq!(variant_of(&tensors, &config, &outline), Ok(told), "{file} {variant}");
            let error = translate(tensors.clone(), &config, &outline, LeaveOut::default()).unwrap_err();
            match told.filter(|told| *told != variant) {
                None => assert!(error.contains("has shape"), "{file}: {error}"),
                Some(told) => {
                    assert_eq!(
                        error,
                        format!("by its names it is of the variant `{told}`, not of `{variant}`")
                    );
                }
            }
        }
    }
}

/// Keras' numbers with the study's head of 256 units for 80 classes, 3 channels: all, and trainable with the backbone
/// frozen.
#[test]
fn counts_with_a_frozen_backbone_are_those_of_the_study() {
    let input = FeatureShape { bins: 80, frames: 92 };
    for (name, total, trainable) in [("resnet50", 24_132_816, 545_104), ("mobilenet-v2", 2_606_480, 348_496)]
    {
        let config = config(json!({"name": name}));
        assert_eq!(config.parameters(input, 80), total, "{name}");
        let frozen = config.frozen_stages(&["backbone".to_owned()], &[]).unwrap();
        let counted = config.trainable_parameters(input, 80, &frozen, &Device::flex()).unwrap();
        assert_eq!(counted, trainable, "{name}");
    }
}

/// A narrow network on small inputs.
fn small(name: &str) -> FeatureShape {
    if name == "inception-v3" {
        FeatureShape { bins: 75, frames: 80 }
    } else {
        FeatureShape { bins: 32, frames: 40 }
    }
}

/// Clips of that size.
fn clips(name: &str, number: usize, device: &Device) -> Tensor<3> {
    let FeatureShape { bins, frames } = small(name);
    tensor(clip(1, number * bins * frames), [number, bins, frames], device)
}

fn narrow(name: &str) -> [ModelConfig; 2] {
    ["torch", "keras"].map(|variant| {
        config(json!({"name": name, "variant": variant, "width": 0.125, "head": {"kind": "gap-dense", "units": [8]}}))
    })
}

const NAMES: [&str; 4] = ["resnet50", "mobilenet-v2", "inception-v3", "efficientnet-b3"];

fn all_narrow() -> impl Iterator<Item = ModelConfig> {
    NAMES.into_iter().flat_map(narrow)
}

#[test]
fn every_tensor_is_in_one_stage_and_the_last_stage_is_the_head() {
    for config in all_narrow() {
        let stages = config.stages();
        assert_eq!(stages.last().unwrap().name, "head");
        let model = config.init(small(config.name()), 4, Seed(1), &Device::flex()).unwrap();
        for name in model.shapes().keys() {
            let within = stages.iter().filter(|stage| stage.contains(name)).count();
            assert_eq!(within, 1, "{name} of {}", config.name());
        }
        for stage in &stages {
            assert!(model.shapes().keys().any(|name| stage.contains(name)), "{} is empty", stage.name);
        }
    }
}

#[test]
fn every_head_and_number_of_channels_can_be_built_and_is_counted() {
    let heads = [
        json!({"kind": "gap-dense", "units": [], "dropout": 0.2}),
        json!({"kind": "gap-dense", "units": [512, 256], "dropout": 0.5}),
        json!({"kind": "simple"}),
        json!({"kind": "simple", "kernel": 5, "dense": 16}),
    ];
    for name in NAMES {
        for (head, channels) in heads.iter().zip([1, 3, 3, 1]) {
            let config =
                config(json!({"name": name, "width": 0.125, "head": head, "input_channels": channels}));
            let model = config.init(small(name), 7, Seed(1), &Device::flex()).unwrap();
            let count = config.count(small(name), 7);
            let built = model.count_parameters();
            assert_eq!(
                (built.total, built.trainable),
                (count.parameters(), count.trainable),
                "{name} {head}"
            );
            let logits = floats(model.forward(clips(name, 1, &Device::flex())));
            assert!(logits.len() == 7 && logits.iter().all(|x| x.is_finite()), "{name} {head}");
        }
    }
}

#[test]
fn a_head_without_a_kind_is_gap_dense() {
    for (head, whole) in [
        (json!({"units": []}), json!({"kind": "gap-dense", "units": []})),
        (json!({"units": [512, 256]}), json!({"kind": "gap-dense", "units": [512, 256]})),
        (json!({"dropout": 0.5}), json!({"kind": "gap-dense", "units": [256], "dropout": 0.5})),
    ] {
        let [short, whole] = [head, whole].map(|head| config(json!({"name": "resnet50", "head": head})));
        assert_eq!(short, whole);
    }
    let set = |set: &str| oido::config::parse("name = 'resnet50'", &[set.to_owned()], "--model");
    assert_eq!(set("head.units=[]").unwrap(), config(json!({"name": "resnet50", "head": {"units": []}})));
    for (wrong, expected) in
        [("head.unit=[]", "unknown field `unit`"), ("head.kind=x", "unknown variant `x`")]
    {
        let error = set(wrong).map(|_: ModelConfig| ()).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn impossible_options_are_refused_by_name() {
    for (key, value, expected) in [
        ("input_channels", json!(2), "model.input_channels"),
        ("width", json!(0.0), "model.width"),
        ("head", json!({"kind": "gap-dense", "units": [0]}), "a layer of 0 units"),
        ("head", json!({"kind": "gap-dense", "dropout": 1.0}), "model.dropout"),
        ("head", json!({"kind": "simple", "kernel": 4}), "a kernel of 4"),
    ] {
        for name in NAMES {
            let mut options = json!({"name": name});
            options[key] = value.clone();
            let error = config(options).validate(small(name), 10).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
    for name in NAMES {
        let tiny = FeatureShape { bins: 20, frames: 92 };
        let error = published(name, "torch").validate(tiny, 10).unwrap_err().to_string();
        assert!(error.contains("needs at least") && error.contains("20 x 92"), "{error}");
    }
}

/// One training step; dropout is seeded.
fn step(model: Model, inputs: &Tensor<3>, optimizer: &mut burn::optim::ModuleOptimizer) -> Model {
    let logits = model.forward(inputs.clone());
    let loss = (logits.clone() * logits).mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    optimizer.step(1e-2, model, gradients)
}

/// 20 steps of both variants, with all of the backbone frozen or with parts between those that train.
fn frozen_stages_stay_to_the_bit(name: &str) {
    let variants = all_narrow().enumerate().filter(|(_, config)| config.name() == name);
    let count = variants.map(|(index, config)| frozen_stages_stay(index, &config)).count();
    assert_eq!(count, 2);
}

fn frozen_stages_stay(index: usize, config: &ModelConfig) {
    let device = Device::flex().autodiff();
    let inputs = clips(config.name(), 4, &device);
    let stages = config.stages();
    let items = match index % 2 {
        0 => vec!["backbone".to_owned()],
        _ => vec![format!("..{}", stages[1].name), stages[3].name.clone()],
    };
    let frozen = config.frozen_stages(&items, &[]).unwrap();
    let mut model = config.init(small(config.name()), 4, Seed(3), &device).unwrap();
    // Without statistics of its own maps a random network gives nothing that could move a weight.
    (0..8).for_each(|_| drop(model.forward(inputs.clone())));
    model = model.freeze(&frozen);
    let before = model.to_safetensors().unwrap();
    let mut optimizer = AdamConfig::new().init();
    for _ in 0..20 {
        model = step(model, &inputs, &mut optimizer);
    }
    let after = model.to_safetensors().unwrap();
    let (before, after) =
        (SafeTensors::deserialize(&before).unwrap(), SafeTensors::deserialize(&after).unwrap());
    for (name, view) in before.tensors() {
        let kept = view.data() == after.tensor(&name).unwrap().data();
        let should = frozen.iter().any(|stage| stage.contains(&name));
        assert_eq!(kept, should, "{} {items:?}: {name}", config.name());
    }
}

// A test a network, so that they run side by side.
#[test]
fn frozen_stages_of_resnet50_stay_to_the_bit() {
    frozen_stages_stay_to_the_bit("resnet50");
}

#[test]
fn frozen_stages_of_mobilenet_v2_stay_to_the_bit() {
    frozen_stages_stay_to_the_bit("mobilenet-v2");
}

#[test]
fn frozen_stages_of_inception_v3_stay_to_the_bit() {
    frozen_stages_stay_to_the_bit("inception-v3");
}

#[test]
fn frozen_stages_of_efficientnet_b3_stay_to_the_bit() {
    frozen_stages_stay_to_the_bit("efficientnet-b3");
}

/// A frozen stage normalises with its moving statistics in a training step, so its map is that of inference.
#[test]
fn a_frozen_backbone_gives_the_embedding_of_inference_during_training() {
    let device = Device::flex();
    for config in all_narrow() {
        let frozen = config.frozen_stages(&["backbone".to_owned()], &[]).unwrap();
        let model = config.init(small(config.name()), 4, Seed(3), &device.clone().autodiff()).unwrap();
        let embed =
            |model: &Model, device: &Device| floats(model.embed(clips(config.name(), 3, device)).unwrap());
        let inference = embed(&model.valid(), &device);
        let free = embed(&model, &device.clone().autodiff());
        let model = model.freeze(&frozen);
        assert_close(&embed(&model, &device.clone().autodiff()), &inference, 1e-5, config.name());
        assert_ne!(free, inference);
    }
}

/// What torchvision 0.29.2 says of its weights: parameters of 1000 classes (Inception's without the auxiliary classifier),
/// thousands of millions of multiply-adds at the size they were trained with.
#[test]
fn sizes_are_those_that_torchvision_publishes() {
    for (name, side, parameters, giga) in [
        ("resnet50", 224, 25_557_032, 4.089),
        ("mobilenet-v2", 224, 3_504_872, 0.301),
        ("inception-v3", 299, 23_834_568, 5.713),
        ("efficientnet-b3", 300, 12_233_232, 1.827),
    ] {
        let count = published(name, "torch").count(FeatureShape { bins: side, frames: side }, 1000);
        assert_eq!(count.trainable, parameters, "{name}");
        let counted = count.multiply_adds as f64 / 1e9;
        assert!((counted - giga).abs() < 0.01 * giga, "{name}: {counted}");
    }
}
