//! VGGish, AST, Conformer and the recurrent network against the libraries they come from, and what they make of other
//! shapes.

use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use oido::features::FeatureShape;
use oido::models::{
    AstConfig, ConformerConfig, CrnnConfig, Layout, Model, ModelConfig, Postprocess, VggishConfig,
};
use oido::seed::Seed;
use safetensors::SafeTensors;

use crate::hash_weights::{assert_close, clip, golden};

const CLASSES: usize = 10;

fn vggish(postprocess: Postprocess) -> ModelConfig {
    let small = VggishConfig { channels: 4, units: 24, embedding: 12, ..VggishConfig::default() };
    ModelConfig::Vggish(VggishConfig { postprocess, ..small })
}

fn ast() -> AstConfig {
    AstConfig {
        hidden_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 40,
        num_mel_bins: 46,
        max_length: 66,
        ..AstConfig::default()
    }
}

fn conformer(other: bool) -> ModelConfig {
    ModelConfig::Conformer(ConformerConfig {
        time_reduction: if other { 3 } else { 1 },
        hidden_size: 24,
        num_layers: 2,
        num_heads: 3,
        ffn_dim: 40,
        depthwise_conv_kernel_size: 7,
        use_group_norm: other,
        convolution_first: other,
        ..ConformerConfig::default()
    })
}

fn crnn(bidirectional: bool) -> ModelConfig {
    ModelConfig::Crnn(CrnnConfig { units: 6, dense: 8, bidirectional, ..CrnnConfig::default() })
}

fn shape([bins, frames]: [usize; 2]) -> FeatureShape {
    FeatureShape { bins, frames }
}

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Tensor<3> {
    batch(values, shape, &Device::flex())
}

fn batch(values: Vec<f32>, [bins, frames]: [usize; 2], device: &Device) -> Tensor<3> {
    let clips = values.len() / (bins * frames);
    Tensor::from_data(TensorData::new(values, [clips, bins, frames]), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Logits and embeddings of a library, with the published names of its weights.
fn equals_the_library(name: &str, config: &ModelConfig) {
    let golden = golden(name);
    assert_eq!(golden.cases.len(), 4, "{name}");
    let fresh = config.init(shape(golden.cases[0].shape), CLASSES, Seed(1), &Device::flex()).unwrap();
    let model = golden.load(config, shape(golden.cases[0].shape), fresh);
    for (index, case) in golden.cases.iter().enumerate() {
        let input = tensor(clip(index, case.shape.iter().product()), case.shape);
        let what = format!("{name}, input {index}");
        assert_close(&numbers(model.forward(input.clone())), &case.logits, 1e-4, &what);
        if let Some(embedding) = model.embed(input) {
            assert_close(&numbers(embedding), &case.embedding, 1e-4, &format!("{what}, embedding"));
        }
    }
}

#[test]
fn vggish_equals_torchvggish() {
    equals_the_library("vggish", &vggish(Postprocess::None));
    equals_the_library("vggish_pca", &vggish(Postprocess::Pca));
    equals_the_library("vggish_quantized", &vggish(Postprocess::Quantized));
}

#[test]
fn ast_equals_transformers_with_the_positions_it_was_made_for_and_with_others() {
    equals_the_library("ast", &ModelConfig::Ast(ast()));
}

#[test]
fn conformer_equals_torchaudio() {
    equals_the_library("conformer", &conformer(false));
    equals_the_library("conformer_group", &conformer(true));
}

#[test]
fn crnn_equals_keras_in_one_direction_and_in_both() {
    equals_the_library("crnn", &crnn(false));
    equals_the_library("crnn_bidirectional", &crnn(true));
    // A file of one kind is no network of the other.
    for name in ["lstm/kernel", "bidirectional/backward_lstm/kernel", "bidirectional/sideways_lstm/kernel"] {
        let known = [false, true].map(|both| crnn(both).published(Layout::Keras, name).is_some());
        assert_eq!(known, [name == "lstm/kernel", name.contains("backward")], "{name}");
    }
}

#[test]
fn the_published_sizes_are_those_of_the_published_files() {
    let count = |config: ModelConfig, input, classes| config.count(shape(input), classes);
    // sum(p.numel() for p in torchvggish.vggish(postprocess=False).parameters()), and a dense layer on 128 numbers.
    let vggish = |classes| count(ModelConfig::Vggish(VggishConfig::default()), [64, 96], classes);
    assert_eq!(vggish(50).trainable, 72_141_184 + 129 * 50);
    // transformers.ASTForAudioClassification(ASTConfig(num_labels=527)), and of 50 labels.
    let ast = |classes| count(ModelConfig::Ast(AstConfig::default()), [128, 1024], classes).trainable;
    assert_eq!((ast(527), ast(50)), (86_594_063, 86_227_250));
    // torchaudio.models.Conformer(144, 4, 576, 16, 31), a projection of four frames of 80 bins and a dense layer.
    let conformer = count(ModelConfig::Conformer(ConformerConfig::default()), [80, 498], 50);
    assert_eq!(conformer.trainable, CONFORMER + 321 * 144 + 145 * 50);
    // The mean and variance of 144 channels in each of 16 layers.
    assert_eq!(conformer.statistics, 16 * 2 * 144);
}

/// `sum(p.numel() for p in torchaudio.models.Conformer(144, 4, 576, 16, 31).parameters())`.
const CONFORMER: usize = 7_771_392;

#[test]
fn principal_components_are_stored_and_not_trained() {
    let input = shape([64, 96]);
    let [plain, pca] = [Postprocess::None, Postprocess::Pca].map(|postprocess| {
        let model = vggish(postprocess).init(input, CLASSES, Seed(1), &Device::flex()).unwrap();
        (model.count_parameters(), vggish(postprocess).count(input, CLASSES), model.shapes())
    });
    assert_eq!(pca.0.trainable, plain.0.trainable);
    assert_eq!(pca.0.total, plain.0.total + 12 * 12 + 12);
    assert_eq!((pca.0.total, pca.0.trainable), (pca.1.parameters(), pca.1.trainable));
    assert_eq!(pca.2["pproc.pca_eigen_vectors"], [12, 12]);
    // A file with principal components fits a network that does not want them, without a place for them.
    let (wanted, unwanted) = (vggish(Postprocess::Quantized), vggish(Postprocess::None));
    for name in ["pca_means", "pproc.pca_means"] {
        assert!(wanted.published(Layout::Torch, name).is_some());
        assert!(unwanted.published(Layout::Torch, name).is_none() && unwanted.unused(Layout::Torch, name));
    }
}

#[test]
fn vggish_hears_whole_examples_only_and_averages_them() {
    let config = vggish(Postprocess::None);
    let (input, values) = ([64, 2 * 96 + 95], clip(1, 64 * (2 * 96 + 95)));
    let model = config.init(shape(input), CLASSES, Seed(1), &Device::flex()).unwrap();
    let Model::Vggish(net) = &model else { panic!() };
    let whole = tensor(values, input);
    assert_eq!(net.embed_examples(whole.clone()).dims(), [1, 2, 12]);
    let example = |i: usize| numbers(net.embed(whole.clone().narrow(2, 96 * i, 96)));
    let mean: Vec<f32> = example(0).iter().zip(example(1)).map(|(a, b)| (a + b) / 2.0).collect();
    assert_close(&numbers(net.embed(whole)), &mean, 1e-5, "mean of two examples");
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let input = shape([128, 200]);
    let wrong = [
        (ModelConfig::Ast(AstConfig { num_attention_heads: 5, ..ast() }), "model.num_attention_heads: 5"),
        (ModelConfig::Ast(AstConfig { max_length: 15, ..ast() }), "model.max_length: 15"),
        (ModelConfig::Ast(AstConfig { layer_norm_eps: 0.0, ..ast() }), "model.layer_norm_eps: 0"),
        (ModelConfig::Ast(AstConfig { num_hidden_layers: 5000, ..ast() }), "model.num_hidden_layers: 5000"),
        (ModelConfig::Ast(AstConfig { time_stride: 0, ..ast() }), "model.time_stride: 0"),
        (
            ModelConfig::Conformer(ConformerConfig { num_heads: 0, ..ConformerConfig::default() }),
            "model.num_heads: 0",
        ),
        (
            ModelConfig::Conformer(ConformerConfig {
                depthwise_conv_kernel_size: 4,
                ..ConformerConfig::default()
            }),
            "a kernel of 4",
        ),
        (
            ModelConfig::Conformer(ConformerConfig { time_reduction: 0, ..ConformerConfig::default() }),
            "model.time_reduction: 0",
        ),
        (
            ModelConfig::Conformer(ConformerConfig { num_layers: usize::MAX, ..ConformerConfig::default() }),
            "model.num_layers",
        ),
    ];
    for (config, expected) in wrong {
        let error = config.validate(input, CLASSES).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let long = ModelConfig::Ast(ast()).validate(shape([128, 1 << 20]), CLASSES).unwrap_err().to_string();
    assert!(long.contains("steps with 3 heads"), "{long}");
    let short = vggish(Postprocess::None).validate(shape([64, 95]), CLASSES).unwrap_err().to_string();
    assert!(short.contains("16 bins and 96 frames") && short.contains("64 x 95"), "{short}");
}

#[test]
fn a_second_direction_doubles_what_is_classified_and_is_counted() {
    let input = shape([16, 48]);
    let [one_way, both] = [false, true].map(|bidirectional| {
        let config = crnn(bidirectional);
        let model = config.init(input, CLASSES, Seed(1), &Device::flex()).unwrap();
        assert_eq!(model.count_parameters().total, config.parameters(input, CLASSES));
        (model.shapes(), config.count(input, CLASSES).multiply_adds)
    });
    assert!(one_way.0.keys().all(|name| !name.contains("backward")));
    assert_eq!(both.0["lstm_backward.kernel"], one_way.0["lstm.kernel"]);
    assert_eq!((one_way.0["dense.weight"][0], both.0["dense.weight"][0]), (6, 12));
    // Six steps of 2 x 128 numbers through four gates of six units, and six more inputs of the dense layer.
    assert_eq!(both.1 - one_way.1, 6 * 4 * 6 * (2 * 128 + 6) + 6 * 8);
}

#[test]
fn every_tensor_is_in_one_stage_and_the_last_stage_is_the_head() {
    let all = [
        (vggish(Postprocess::Pca), "conv1 conv2 conv3 conv4 embeddings head"),
        (conformer(false), "input layer0 layer1 head"),
        (ModelConfig::Ast(ast()), "embeddings layer0 layer1 head"),
    ];
    for (config, names) in all {
        let input = shape([64, 96]);
        let stages = config.stages();
        let found: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(found.join(" "), names);
        let model = config.init(input, CLASSES, Seed(1), &Device::flex()).unwrap();
        for name in model.shapes().keys() {
            let within = stages.iter().filter(|stage| stage.contains(name)).count();
            assert_eq!(within, 1, "{}: {name}", config.name());
        }
        for stage in &stages {
            assert!(model.parameters_of(stage) > 0, "{}: {}", config.name(), stage.name);
        }
    }
    // Principal components are not trained, frozen or not.
    let config = vggish(Postprocess::Pca);
    let frozen = config.frozen_stages(&["backbone".to_owned()], &[]).unwrap();
    let count = |frozen: &[_]| {
        config.trainable_parameters(shape([64, 96]), CLASSES, frozen, &Device::flex()).unwrap()
    };
    assert_eq!(count(&frozen), 13 * CLASSES);
    assert_eq!(count(&frozen[..1]), count(&[]) - 10 * 4);
}

/// The head of each network trains for some steps while nothing of what is frozen moves, and the other way round.
#[test]
fn frozen_stages_stay_to_the_bit() {
    let device = Device::flex().autodiff();
    for config in [vggish(Postprocess::None), conformer(false), ModelConfig::Ast(ast())] {
        let input = shape([64, 96]);
        for items in [["backbone"], ["head"]] {
            let frozen = config.frozen_stages(&items.map(str::to_owned), &[]).unwrap();
            let mut model = config.init(input, CLASSES, Seed(1), &device).unwrap().freeze(&frozen);
            let before = model.to_safetensors().unwrap();
            let mut optimizer = AdamConfig::new().init();
            for step in 0..20 {
                let loss = model.forward(batch(clip(step, 2 * 64 * 96), [64, 96], &device)).powf_scalar(2.0);
                let grads = GradientsParams::from_grads(loss.mean().backward(), &model);
                model = optimizer.step(1e-2, model, grads);
            }
            let after = model.to_safetensors().unwrap();
            let [before, after] = [&before, &after].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
            for (name, tensor) in after.tensors() {
                let kept = frozen.iter().any(|stage| stage.contains(&name));
                let same = before.tensor(&name).unwrap().data() == tensor.data();
                assert_eq!(same, kept, "{} with frozen {items:?}: {name}", config.name());
            }
        }
    }
}
