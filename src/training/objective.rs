//! What training minimises.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

/// Mean cross-entropy between softmax(`logits`) and soft targets, both `[batch, num_classes]` → `[1]`.
///
/// Targets are probabilities: one-hot for a plain label, mixtures for mixed clips.
pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (log_softmax(logits, 1) * targets).sum_dim(1).mean().neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn equals_the_formula_for_hard_and_soft_targets() {
        let device = Device::flex();
        let logits =
            Tensor::<2>::from_data(TensorData::from([[1.0_f32, 2.0, 0.5], [0.0, 0.0, 0.0]]), &device);
        let targets =
            Tensor::<2>::from_data(TensorData::from([[0.0_f32, 1.0, 0.0], [0.5, 0.5, 0.0]]), &device);
        let loss = cross_entropy(logits, targets).into_data().iter::<f64>().next().unwrap();
        let first = (1.0_f64.exp() + 2.0_f64.exp() + 0.5_f64.exp()).ln() - 2.0;
        assert!((loss - (first + 3.0_f64.ln()) / 2.0).abs() < 1e-6, "{loss}");
    }
}
