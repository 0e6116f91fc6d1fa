//! Maxima and means over windows.

use burn::nn::PaddingConfig2d;
use burn::nn::pool::{AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig};
use burn::tensor::Tensor;
use oido_kernels as kernels;

use super::vision::Padding;

/// `[batch, channels, steps]` → `[batch, channels, steps / window]`; what does not fill a window is dropped.
pub fn max_over_time(x: Tensor<3>, window: usize) -> Tensor<3> {
    kernels::max_pool1d(&MaxPool1dConfig::new(window).with_stride(window).init(), x)
}

/// `[batch, channels, h, w]` → `[batch, channels, h / 2, w / 2]`; an odd last row or column is dropped.
pub fn max_2x2(x: Tensor<4>) -> Tensor<4> {
    kernels::max_pool2d(&MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(), x)
}

/// `[batch, channels, h, w]` → the same with sides rounded up: an odd last row or column is a window of its own.
pub fn max_2x2_padded(x: Tensor<4>) -> Tensor<4> {
    let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).with_padding(PaddingConfig2d::Same);
    kernels::max_pool2d(&pool.init(), x)
}

/// Maximum over 3 x 3 places, every second one.
pub fn max_3x3(x: Tensor<4>, padding: Padding) -> Tensor<4> {
    let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(padding.config([3, 3]));
    kernels::max_pool2d(&pool.init(), x)
}

/// Mean over 3 x 3 places, every one; `outside` tells whether zeros outside the map count.
pub fn mean_3x3(x: Tensor<4>, outside: bool) -> Tensor<4> {
    let pool = AvgPool2dConfig::new([3, 3]).with_strides([1, 1]).with_count_include_pad(outside);
    kernels::avg_pool2d(&pool.with_padding(Padding::Half.config([3, 3])).init(), x)
}

/// `[batch, channels, h, w]` → the mean of each channel, `[batch, channels]`.
pub fn global_mean(map: Tensor<4>) -> Tensor<2> {
    kernels::global_mean(map)
}
