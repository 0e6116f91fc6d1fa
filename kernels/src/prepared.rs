#[cfg(feature = "flex")]
use std::sync::Arc;

#[cfg(feature = "flex")]
use crate::cpu::prepared;

/// What the layers of one network make of its weights for inference, made at the first call and kept for all later ones: weights
/// with batch normalisation folded in, in the order in which the inner loops read them.
///
/// It belongs to one network with one set of weights; after weights change, start with a new one. Without it, and in
/// training, everything is made at each call. On devices other than the CPU it does nothing.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::nn::BatchNormConfig;
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use oido_kernels::{Prepared, Step, conv2d_then};
///
/// let device = Device::flex();
/// let conv = Conv2dConfig::new([1, 16], [3, 3]).init(&device);
/// let norm = BatchNormConfig::new(16).init(&device);
/// let prepared = Prepared::default();
/// for _ in 0..2 {
///     let x = Tensor::ones([1, 1, 8, 8], &device);
///     let y = prepared.run(|| conv2d_then(&conv, x, &[Step::Norm(&norm), Step::Relu, Step::Maximum([2, 2])]));
///     assert_eq!(y.dims(), [1, 16, 3, 3]);
/// }
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    #[cfg(feature = "flex")]
    kept: Arc<prepared::Kept>,
}

impl Prepared {
    /// Runs a network's forward pass.
    pub fn run<R>(&self, forward: impl FnOnce() -> R) -> R {
        #[cfg(feature = "flex")]
        return prepared::with(&self.kept, forward);
        #[cfg(not(feature = "flex"))]
        forward()
    }
}
