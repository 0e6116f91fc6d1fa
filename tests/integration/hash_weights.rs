//! Weights and inputs that are a function of their name: the same numbers as `tests/fixtures/models/hash_weights.py`
//! makes, to the bit, so that parity with a Python library needs only names, shapes and results on disk.

#![allow(dead_code, reason = "each network's parity test takes what it needs")]

use std::collections::BTreeMap;

use oido::features::FeatureShape;
use oido::models::{Layout, Model, ModelConfig};
use oido::pretrained::{LeaveOut, Outline, Tensor, Tensors, translate};
use serde::Deserialize;

/// What a Python library computed.
#[derive(Deserialize)]
pub(crate) struct Golden {
    /// `torch` or `keras`.
    layout: String,
    gain: f64,
    /// Published name and shape.
    pub(crate) tensors: BTreeMap<String, Vec<usize>>,
    pub(crate) cases: Vec<Case>,
}

/// One input and what came out.
#[derive(Deserialize)]
pub(crate) struct Case {
    /// `[bins, frames]` of the input.
    pub(crate) shape: [usize; 2],
    pub(crate) logits: Vec<f32>,
    /// The vector in front of the head.
    #[serde(default)]
    pub(crate) embedding: Vec<f32>,
}

/// Reads `tests/fixtures/models/NAME.json`.
pub(crate) fn golden(name: &str) -> Golden {
    let path = format!("tests/fixtures/models/{name}.json");
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// `count` values in `[low, high)`: splitmix64 of (FNV-1a of the name + index), upper 53 bits.
pub(crate) fn values(name: &str, count: usize, low: f64, high: f64) -> Vec<f32> {
    let start = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let unit = |index: u64| {
        let x = start.wrapping_add(index).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 11) as f64 * 2.0_f64.powi(-53)
    };
    (0..count as u64).map(|index| (low + (high - low) * unit(index)) as f32).collect()
}

/// The clip number `index` of `len` values, in `[-1 - index, 1 + 2 index)`: inputs of one range would leave the same
/// means in a random network.
pub(crate) fn clip(index: usize, len: usize) -> Vec<f32> {
    values(&format!("input {index}"), len, -1.0 - index as f64, 1.0 + 2.0 * index as f64)
}

impl Golden {
    /// The values of the published tensor `name`.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let last = name.rsplit(['.', '/']).next().unwrap_or(name);
        let (low, high) = if shape.len() >= 2 {
            let fan_in: usize = match shape {
                _ if self.layout == "torch" => shape[1..].iter().product(),
                [height, width, _, 1] => height * width,
                _ => shape[..shape.len() - 1].iter().product(),
            };
            let limit = self.gain * (6.0 / fan_in as f64).sqrt();
            (-limit, limit)
        } else if last.contains("var") || last == "weight" || last == "gamma" {
            (0.5, 1.5)
        } else {
            (-0.2, 0.2)
        };
        values(name, shape.iter().product(), low, high)
    }

    /// The published tensors, with the values that `fill` gives for name and shape.
    pub(crate) fn published(&self, fill: impl Fn(&str, &[usize]) -> Vec<f32>) -> Tensors {
        let tensor = |(name, shape): (&String, &Vec<usize>)| {
            (name.clone(), Tensor { shape: shape.clone(), values: fill(name, shape) })
        };
        self.tensors.iter().map(tensor).collect()
    }

    /// The published weights translated into `model`, which is one of `config` for such input, as an import does it.
    pub(crate) fn load(&self, config: &ModelConfig, input: FeatureShape, model: Model) -> Model {
        let published = self.published(|name, shape| self.tensor(name, shape));
        let outline = Outline::new(config, input).unwrap();
        let translated = translate(published, config, &outline, LeaveOut::default()).unwrap();
        let layout = if self.layout == "torch" { Layout::Torch } else { Layout::Keras };
        assert_eq!((translated.layout, translated.left_out), (Some(layout), vec![]));
        let tensors =
            translated.tensors.into_iter().map(|(name, tensor)| (name, (tensor.shape, tensor.values)));
        let tensors: BTreeMap<_, _> = tensors.collect();
        assert!(
            model.shapes().keys().eq(tensors.keys()),
            "tensors of the model that no published one is for"
        );
        model.load_tensors(tensors).unwrap()
    }
}

/// Asserts that two vectors agree to `tolerance`, relative to the range of the expected one.
pub(crate) fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let (low, high) = expected.iter().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
    let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
    assert!(actual.iter().all(|value| value.is_finite()), "{what}: {actual:?}");
    assert!(worst <= tolerance * (high - low), "{what}: off by {worst}, the range is {}", high - low);
}

/// Printed by `python tests/fixtures/models/hash_weights.py`.
#[test]
fn the_generator_gives_the_numbers_of_the_python_script() {
    let golden =
        |layout: &str| Golden { layout: layout.into(), gain: 0.5, tensors: BTreeMap::new(), cases: vec![] };
    let cases: [(&str, &str, &[usize], [u32; 3]); 6] = [
        ("torch", "layer1.0.conv1.weight", &[8, 4, 3, 3], [1041153331, 1045357249, 3181284146]),
        ("keras", "conv1_conv/kernel", &[7, 7, 3, 64], [3180686505, 3183789161, 1029057563]),
        ("keras", "block1a_dwconv/kernel", &[3, 3, 40, 1], [3158763509, 1047307313, 1048886410]),
        ("torch", "bn1.running_var", &[4], [1066546979, 1065098315, 1058458615]),
        ("keras", "conv1_bn/gamma", &[4], [1066956092, 1065810789, 1067059641]),
        ("torch", "fc.bias", &[4], [3155326691, 3185635153, 3089149265]),
    ];
    for (layout, name, shape, expected) in cases {
        let values = golden(layout).tensor(name, shape);
        let bits: Vec<u32> = values.iter().take(3).map(|value| value.to_bits()).collect();
        assert_eq!(bits, expected, "{layout} {name}");
    }
    assert_eq!(clip(3, 1000)[999].to_bits(), 1083022467);
}
