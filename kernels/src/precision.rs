#[cfg(feature = "flex")]
use std::cell::Cell;

/// The numbers that convolutions and dense layers multiply on the CPU. Weights, maps, sums and gradients are `f32` either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 24 bits of precision.
    #[default]
    F32,
    /// Inputs, weights and gradients are rounded to bfloat16, 8 bits of precision with the range of `f32`, as they are
    /// multiplied (Kalamkar et al. 2019); sums stay `f32`. Twice the products an instruction, where the processor has AVX-512 BF16.
    ///
    /// So are multiplied: convolutions of at least 16 input channels and dense layers, their results and gradients, but not the
    /// gradients of kernels wider than one place. All else is computed as ever.
    Bf16,
}

#[cfg(feature = "flex")]
thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Whether this processor multiplies such numbers.
    pub fn is_available(self) -> bool {
        match self {
            Self::F32 => true,
            #[cfg(feature = "flex")]
            Self::Bf16 => crate::cpu::multiplies_bf16(),
            #[cfg(not(feature = "flex"))]
            Self::Bf16 => false,
        }
    }

    /// Runs a forward pass with it. The way back from there keeps it. Without the instructions for it, and on other devices than the
    /// CPU, `f32` is used.
    pub fn run<R>(self, forward: impl FnOnce() -> R) -> R {
        #[cfg(feature = "flex")]
        {
            /// Puts back what was there, also when `forward` panics.
            struct Before(Precision);
            impl Drop for Before {
                fn drop(&mut self) {
                    CURRENT.set(self.0);
                }
            }
            let now = if self.is_available() { self } else { Self::F32 };
            let _before = Before(CURRENT.replace(now));
            forward()
        }
        #[cfg(not(feature = "flex"))]
        forward()
    }

    /// That of the forward pass that runs on this thread.
    #[cfg(feature = "flex")]
    pub(crate) fn current() -> Self {
        CURRENT.get()
    }
}
