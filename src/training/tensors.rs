//! Slices to tensors and back.

use burn::tensor::{Device, Tensor, TensorData};

/// A tensor of row-major values.
pub(super) fn tensor<const D: usize>(shape: [usize; D], values: &[f32], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Its values, row-major.
pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
