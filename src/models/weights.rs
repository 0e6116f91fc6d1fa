//! Weights by name, as safetensors: data only, so opening a file never runs code.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::{Error, Model};

/// How many numbers a network carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterCount {
    /// Everything that is stored, as Keras counts: batch-norm moving mean and variance included, and principal components.
    pub total: usize,
    /// What the optimiser changes, as PyTorch counts.
    pub trainable: usize,
}

impl Model {
    /// Counts the network's numbers.
    pub fn count_parameters(&self) -> ParameterCount {
        let mut tensors = Collect::default();
        self.visit(&mut tensors);
        let count = |trainable_only: bool| {
            let keep = |name: &String| !(trainable_only && is_measured(name));
            tensors.found.iter().filter(|(name, _)| keep(name)).map(|(_, data)| data.num_elements()).sum()
        };
        ParameterCount { total: count(false), trainable: count(true) }
    }

    /// The weights as safetensors, names sorted: equal weights give equal bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, Error> {
        let mut tensors = Collect::default();
        // As for validation, so that batch norm hands out its newest running statistics.
        self.valid().visit(&mut tensors);
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .found
            .into_iter()
            .map(|(name, data)| {
                let shape = data.shape().to_vec();
                let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(safetensors::serialize(views, None)?)
    }

    /// The shape of every tensor, by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = Shapes::default();
        self.visit(&mut shapes);
        shapes.found
    }

    /// The sum of the squares of all kernels that train, `[1]`: the weights of convolution and dense layers, not their
    /// biases, nor recurrent layers and batch normalisation (`keras.regularizers.l2` as `kernel_regularizer`).
    pub fn squared_kernels(&self, device: &Device) -> Tensor<1> {
        let mut squares = Squares { is_kernel: false, sum: Tensor::zeros([1], device) };
        self.visit(&mut squares);
        squares.sum
    }

    /// The same network with these tensors, shapes and values, in place of its own; the others stay.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] naming every tensor that is unknown or of another shape.
    pub fn load_tensors(self, tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Self, Error> {
        let tensors =
            tensors.into_iter().map(|(name, (shape, values))| (name, TensorData::new(values, shape)));
        self.load(Load { tensors: tensors.collect(), ..Load::default() })
    }

    /// The same network with the weights of a safetensors file. On the CPU they stay where they are in `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Safetensors`] when the bytes are damaged; [`Error::Weights`] naming every tensor that is missing,
    /// unknown, of another shape or not f32.
    pub fn load_safetensors(self, bytes: Vec<u8>) -> Result<Self, Error> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes)?;
        let bytes = Bytes::from_elems(bytes).shared();
        let mut load = Load { all: true, ..Load::default() };
        for (name, info) in metadata.tensors() {
            if info.dtype == Dtype::F32 {
                let (start, end) = info.data_offsets;
                let begin = LENGTH + header;
                let values = floats(&bytes, begin + start..begin + end);
                load.tensors.insert(name, TensorData::from_bytes(values, info.shape.clone(), DType::F32));
            } else {
                load.problems.push(format!("{name} is {:?}, not F32", info.dtype));
            }
        }
        self.load(load)
    }

    fn load(self, mut load: Load) -> Result<Self, Error> {
        let model = self.map(&mut load);
        load.problems.extend(load.tensors.keys().map(|name| format!("{name} is unknown")));
        if load.problems.is_empty() { Ok(model) } else { Err(Error::Weights(load.problems.join("; "))) }
    }
}

/// Whether a tensor is measured and never trained: moving statistics of batch normalisation, principal components.
pub(super) fn is_measured(name: &str) -> bool {
    name.contains(".running_") || name.contains(".pca_")
}

/// Bytes of the number with which a safetensors file begins, the length of its header.
const LENGTH: usize = 8;

/// Numbers of a file as this processor reads them: where they are, if it can read them there.
fn floats(bytes: &Bytes, range: Range<usize>) -> Bytes {
    let there = &bytes[range.clone()];
    if cfg!(target_endian = "little")
        && there.as_ptr().cast::<f32>().is_aligned()
        && let Ok(view) = bytes.view(range.start, range.end)
    {
        return view;
    }
    let (numbers, _) = there.as_chunks::<4>();
    Bytes::from_elems(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Where in the network a traversal is. Levels that only choose between modules (enums) are left out, so names start at
/// the layer.
#[derive(Default)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn enter(&mut self, name: &str, container_type: &str) {
        self.0.push(if container_type.starts_with("Enum:") { String::new() } else { name.to_owned() });
    }

    pub(super) fn exit(&mut self) {
        self.0.pop();
    }

    pub(super) fn name(&self) -> String {
        self.0.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(".")
    }
}

#[derive(Default)]
struct Collect {
    path: Path,
    found: BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.name(), param.val().into_data().convert_dtype(DType::F32));
    }
}

#[derive(Default)]
struct Shapes {
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.name(), param.lazy_shape().to_vec());
    }
}

struct Squares {
    /// Whether the traversal is at a tensor that a layer calls its weight.
    is_kernel: bool,
    sum: Tensor<1>,
}

impl ModuleVisitor for Squares {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.is_kernel = name == "weight";
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.is_kernel && D > 1 && param.is_require_grad() {
            self.sum = self.sum.clone() + param.val().square().sum();
        }
    }
}

#[derive(Default)]
struct Load {
    path: Path,
    /// Whether every tensor of the network must be there.
    all: bool,
    tensors: BTreeMap<String, TensorData>,
    problems: Vec<String>,
}

impl ModuleMapper for Load {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let expected = param.lazy_shape().to_vec();
        match self.tensors.remove(&name) {
            None if !self.all => {}
            None => self.problems.push(format!("{name} is missing")),
            Some(data) if data.shape()[..] != expected => {
                let shape = data.shape().to_vec();
                self.problems.push(format!("{name} has shape {shape:?}, the model wants {expected:?}"));
            }
            Some(data) => {
                let device = param.lazy_device();
                let id = param.id;
                let tensor = Tensor::from_data(data, &device);
                return param.transform_for_load(tensor, id);
            }
        }
        param
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Gradients;

    use super::*;
    use crate::features::FeatureShape;
    use crate::models::{BackboneConfig, CnnConfig, ModelConfig, device};
    use crate::seed::Seed;

    /// Compares each tensor's gradient with twice the tensor.
    struct Twice<'a> {
        gradients: &'a Gradients,
        path: Path,
        with: Vec<String>,
    }

    impl ModuleVisitor for Twice<'_> {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.gradients) {
                let twice = param.val().inner() * 2.0;
                let off = (gradient - twice).abs().max().into_data().iter::<f32>().next().unwrap();
                assert!(off < 1e-6, "{}: {off}", self.path.name());
                self.with.push(self.path.name());
            }
        }
    }

    /// The tensors that the sum of squares pulls to zero.
    fn pulled(model: &Model, device: &Device) -> Vec<String> {
        let sum = model.squared_kernels(device);
        let value = sum.clone().into_data().iter::<f64>().next().unwrap();
        let gradients = sum.backward();
        let mut twice = Twice { gradients: &gradients, path: Path::default(), with: Vec::new() };
        model.visit(&mut twice);
        let mut tensors = Collect::default();
        model.valid().visit(&mut tensors);
        let squares = |name: &String| tensors.found[name].iter::<f64>().map(|x| x * x).sum::<f64>();
        let expected: f64 = twice.with.iter().map(squares).sum();
        assert!((value - expected).abs() < 1e-4 * expected, "{value} {expected}");
        twice.with
    }

    #[test]
    fn squared_kernels_pull_kernels_and_nothing_else() {
        let device = device("cpu").unwrap().autodiff();
        let shape = FeatureShape { bins: 32, frames: 32 };
        let config = ModelConfig::Cnn(CnnConfig { dense: 8, ..CnnConfig::default() });
        let model = config.init(shape, 3, Seed(1), &device).unwrap();
        let mut kernels: Vec<String> =
            model.shapes().into_iter().filter(|(_, shape)| shape.len() > 1).map(|(name, _)| name).collect();
        assert!(kernels.len() >= 6 && kernels.iter().all(|name| name.ends_with(".weight")), "{kernels:?}");
        let mut found = pulled(&model, &device);
        kernels.sort();
        found.sort();
        assert_eq!(found, kernels);
    }

    #[test]
    fn frozen_kernels_are_not_pulled() {
        let device = device("cpu").unwrap().autodiff();
        let shape = FeatureShape { bins: 32, frames: 32 };
        let config = ModelConfig::MobileNetV2(BackboneConfig { width: 0.25, ..BackboneConfig::default() });
        let frozen = config.frozen_stages(&["backbone".to_owned()], &[]).unwrap();
        let model = config.init(shape, 3, Seed(1), &device).unwrap().freeze(&frozen);
        assert_eq!(pulled(&model, &device), ["head.hidden.0.weight", "head.output.weight"]);
    }
}
