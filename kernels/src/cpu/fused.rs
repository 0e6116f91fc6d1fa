//! A layer with weights and what is behind it as one operation: inference.
//!
//! Batch normalisation with fixed statistics is a scale and a shift of each channel. In front of a ReLU they become part of the
//! weights and the bias; behind it they are applied to the sums while these are in registers, and the maximum of a window is
//! taken before anything is written. (Jacob et al. 2018, section 3.2, fold it in the same way.)

use crate::Precision;
use crate::cpu::convolution::{self, Packed, Shape};
use crate::cpu::depthwise;
use crate::cpu::map;
use crate::cpu::memory::Buffer;
use crate::cpu::tile::{self, Finish};

/// A scale and a shift of each channel.
#[derive(Debug, Clone)]
pub struct Affine {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Affine {
    /// Batch normalisation with fixed statistics.
    pub fn of([gamma, beta, mean, variance]: [Vec<f32>; 4], epsilon: f64) -> Self {
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from);
        let (scale, shift) = (wide(gamma).zip(wide(variance)))
            .map(|(gamma, variance)| gamma / (variance + epsilon).sqrt())
            .zip(wide(beta).zip(wide(mean)))
            .map(|(scale, (beta, mean))| (scale as f32, (beta - mean * scale) as f32))
            .unzip();
        Self { scale, shift }
    }
}

/// What a convolution is made of: numbers in Burn's order.
pub struct Parts {
    /// `[c_out, c_in, height, width]`, or `[channels, 1, height, width]` of a depthwise one.
    pub kernel: Vec<f32>,
    pub bias: Option<Vec<f32>>,
    /// Right behind it.
    pub before: Option<Affine>,
    pub relu: bool,
    /// Behind the ReLU.
    pub after: Option<Affine>,
}

/// The same, as the loops read it.
#[derive(Debug)]
pub struct Fused {
    kernel: Kernel,
    /// Bias, and scale and shift behind the ReLU, filled up so that they can be read in whole vectors.
    bias: Option<Buffer>,
    relu: bool,
    after: Option<[Buffer; 2]>,
}

#[derive(Debug)]
enum Kernel {
    Packed(Packed),
    Depthwise(Buffer),
}

/// Height and width of the result, of a maximum over windows if there is one.
pub fn size(shape: &Shape, window: Option<[usize; 2]>) -> [usize; 2] {
    window.map_or(shape.output, |window| [0, 1].map(|axis| shape.output[axis] / window[axis]))
}

impl Fused {
    /// For maps of these sizes.
    pub fn new(shape: &Shape, precision: Precision, depthwise: bool, mut parts: Parts) -> Self {
        if let Some(Affine { scale, shift }) = &parts.before {
            let each = parts.kernel.len() / scale.len();
            for (weights, scale) in parts.kernel.chunks_mut(each).zip(scale) {
                weights.iter_mut().for_each(|weight| *weight *= scale);
            }
            let bias = parts.bias.unwrap_or_else(|| vec![0.0; scale.len()]);
            parts.bias = Some(
                bias.iter().zip(scale).zip(shift).map(|((b, scale), shift)| b * scale + shift).collect(),
            );
        }
        let kernel = if depthwise {
            let mut turned = Buffer::new(parts.kernel.len());
            map::transpose(&parts.kernel, turned.as_mut(), shape.c_out, shape.kernel[0] * shape.kernel[1]);
            Kernel::Depthwise(turned)
        } else {
            Kernel::Packed(Packed::of_kernel(shape, precision, &parts.kernel))
        };
        let padded = |values: &[f32]| tile::padded_copy(values);
        Self {
            kernel,
            bias: parts.bias.as_deref().map(padded),
            relu: parts.relu,
            after: parts.after.map(|after| [padded(&after.scale), padded(&after.shift)]),
        }
    }

    /// A dense layer with weights `[d_input, d_output]`.
    pub fn dense(
        shape: &Shape,
        precision: Precision,
        weights: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
    ) -> Self {
        let kernel = Kernel::Packed(Packed::of(shape, precision, weights, |k| k * shape.c_out, 1));
        Self { kernel, bias: bias.map(tile::padded_copy), relu, after: None }
    }

    /// The result of a map or, of a dense layer, of rows, channels last; `window` is that of a maximum at the end.
    pub fn run(&self, shape: &Shape, input: &[f32], window: Option<[usize; 2]>) -> Buffer {
        let [height, width] = size(shape, window);
        let mut output = Buffer::new(shape.batch * height * width * shape.c_out);
        match (&self.kernel, window) {
            (Kernel::Depthwise(kernel), _) => {
                let bias = self.bias.as_ref().map(|bias| &bias.as_ref()[..shape.c_out]);
                depthwise::forward(shape, input, kernel.as_ref(), bias, output.as_mut());
            }
            (Kernel::Packed(kernel), None) => {
                convolution::convolve(shape, input, kernel, output.as_mut(), self.finish());
            }
            (Kernel::Packed(kernel), Some(window)) => {
                convolution::convolve_maximum(shape, input, kernel, output.as_mut(), self.finish(), window);
            }
        }
        output
    }

    fn finish(&self) -> Finish {
        let start = |values: &Buffer| values.as_ref().as_ptr();
        let null = std::ptr::null();
        let [scale, shift] = self.after.as_ref().map_or([null; 2], |after| after.each_ref().map(start));
        Finish { add: false, bias: self.bias.as_ref().map_or(null, start), relu: self.relu, scale, shift }
    }
}
