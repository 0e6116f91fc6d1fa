//! Layers of neural networks on the CPU, for Burn.
//!
//! Each function here computes what the layer of [`burn::nn`] of the same name computes, with the parameters of that layer.
//! On the CPU back end they are oido's own: maps stand channels last in memory (their logical shape stays Burn's), the
//! inner loops use AVX-512 or AVX2, whichever the processor has, memory is used again from step to step, and the
//! gradients are written by hand. On every other device Burn's operators run.
//!
//! Results do not depend on the number of threads, and what an item of a batch gives does not depend on the other items.
//!
//! Every block of `unsafe` code says why it is sound. (In oido itself there is one, which maps a file into memory.)

mod adam;
#[cfg(feature = "flex")]
mod cpu;
mod layers;
mod precision;
mod prepared;

pub use adam::Adam;
#[cfg(feature = "flex")]
pub use cpu::asked_instructions;

pub use layers::{
    Normalised, Step, add, add_relu, attention, avg_pool2d, batch_norm, batch_norm_relu, cat_channels,
    conv1d, conv1d_relu, conv1d_then, conv2d, conv2d_relu, conv2d_then, each, gelu, global_mean, layer_norm,
    linear, linear_relu, lstm, matmul, max_pool1d, max_pool2d, move_statistics, normalise, normalise_train,
    relu6, scale_channels, sigmoid, silu, softmax, tanh,
};
pub use precision::Precision;
pub use prepared::Prepared;

/// Has the C library keep memory for the next step of training instead of giving it back to the system: a batch and what is
/// computed of it come again at every step, and would be got again page by page. For the first thread of a program, before
/// there are others; it does something with glibc only.
pub fn keep_memory() {
    #[cfg(all(feature = "flex", target_os = "linux", target_env = "gnu"))]
    // SAFETY: plain numbers, and the C library locks its heap while it takes them. Up to 32 MiB, the most there can be, come
    // from the heap, of which 256 MiB may be idle at its end.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}
