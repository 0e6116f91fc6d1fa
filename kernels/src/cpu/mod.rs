//! Kernels of the CPU: `layers` takes Burn's modules and tensors to `operators`, each of which computes a result and knows the way
//! back; `operation` puts that on Burn's graph. All other modules work on slices.

mod attention;
mod convolution;
mod depthwise;
pub mod elementwise;
mod fused;
mod layer_norm;
pub mod layers;
mod lstm;
mod map;
mod math;
mod matrix;
mod memory;
mod norm;
mod operation;
mod operators;
mod pairs;
mod pool;
pub mod prepared;
mod simd;
#[cfg(test)]
mod testing;
mod tile;
mod winograd;

pub use simd::{asked_instructions, multiplies_bf16};
