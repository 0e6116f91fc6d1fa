//! Transforms of real samples, planned once on each thread.

use std::cell::RefCell;
use std::sync::Arc;

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

thread_local! {
    static FFT: RefCell<RealFftPlanner<f64>> = RefCell::new(RealFftPlanner::new());
}

/// The transform of `len` samples. It cannot fail on buffers that it made.
pub(super) fn forward(len: usize) -> Arc<dyn RealToComplex<f64>> {
    FFT.with_borrow_mut(|fft| fft.plan_fft_forward(len))
}

/// The way back, which leaves out the factor `1 / len`.
pub(super) fn inverse(len: usize) -> Arc<dyn ComplexToReal<f64>> {
    FFT.with_borrow_mut(|fft| fft.plan_fft_inverse(len))
}
