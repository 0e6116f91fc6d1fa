//! Vectors of `f32`, and which of them this processor has.

use std::sync::OnceLock;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// 16 lanes, 32 registers.
    Avx512,
    /// 8 lanes, 16 registers.
    Avx2,
    /// Arrays of 8 numbers, which the compiler turns into what the target has (NEON, SSE2).
    Portable,
}

/// The best level of this processor. `OIDO_SIMD=avx2` or `portable` asks for less, to test and to compare.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| asked_level().unwrap_or(available()[0]))
}

/// Refuses an `OIDO_SIMD` that this processor does not have. (Whoever does not ask gets the best there is.)
///
/// # Errors
///
/// One sentence that says what there is.
pub fn asked_instructions() -> Result<(), String> {
    asked_level().map(|_| ())
}

fn asked_level() -> Result<Level, String> {
    let asked = std::env::var("OIDO_SIMD").unwrap_or_default();
    let levels = available();
    levels.iter().copied().find(|level| asked.is_empty() || level.name() == asked).ok_or_else(|| {
        let names: Vec<_> = levels.iter().map(|level| level.name()).collect();
        format!(
            "OIDO_SIMD: {asked:?} is none of what this processor has; use {}, or unset it",
            names.join(", ")
        )
    })
}

/// Whether the processor multiplies pairs of bfloat16, and is asked for its best.
pub fn multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The levels of this processor, best first.
fn available() -> Vec<Level> {
    let mut levels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let parts = is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if is_x86_feature_detected!("avx512f") && parts && is_x86_feature_detected!("fma") {
            levels.push(Level::Avx512);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(Level::Avx2);
        }
    }
    levels.push(Level::Portable);
    levels
}

/// Compiles functions once for each [`Level`] and calls the one for [`level()`]: plain loops over slices become
/// loops over the vectors of the processor. Sums keep the order in which they are written.
macro_rules! vectorised {
    ($($(#[$about:meta])* $vis:vis fn $name:ident $(<$(const $flag:ident: $of:ty),+>)? (
        $($argument:ident: $type:ty),* $(,)?
    ) $(-> $result:ty)? $body:block)+) => {$(
        $(#[$about])*
        #[allow(clippy::too_many_arguments, reason = "slices of one loop")]
        $vis fn $name $(<$(const $flag: $of),+>)? ($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn plain $(<$(const $flag: $of),+>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512 $(<$(const $flag: $of),+>)? ($($argument: $type),*) $(-> $result)? {
                plain $(::<$($flag),+>)? ($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2 $(<$(const $flag: $of),+>)? ($($argument: $type),*) $(-> $result)? {
                plain $(::<$($flag),+>)? ($($argument),*)
            }

            match $crate::cpu::simd::level() {
                // SAFETY: the level tells that this processor has these instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Level::Avx512 => unsafe { avx512 $(::<$($flag),+>)? ($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Level::Avx2 => unsafe { avx2 $(::<$($flag),+>)? ($($argument),*) },
                _ => plain $(::<$($flag),+>)? ($($argument),*),
            }
        }
    )+};
}
pub(crate) use vectorised;

/// As [`vectorised!`] for functions that name the vector: `T` becomes the [`Vector`] of the level. Within, the instructions of
/// `T` are there.
macro_rules! by_vector {
    ($(#[$about:meta])* $vis:vis fn $($rest:tt)*) => { $crate::cpu::simd::by_vector!(@ [] $(#[$about])* $vis $($rest)*); };
    ($(#[$about:meta])* $vis:vis unsafe fn $($rest:tt)*) => {
        $crate::cpu::simd::by_vector!(@ [unsafe] $(#[$about])* $vis $($rest)*);
    };
    (@ [$($unsafe:tt)?] $(#[$about:meta])* $vis:vis $name:ident<$vector:ident>(
        $($argument:ident: $type:ty),* $(,)?
    ) $body:block) => {
        $(#[$about])*
        #[allow(clippy::too_many_arguments, reason = "slices of one loop")]
        #[allow(unused_unsafe, reason = "needed by unsafe functions only")]
        $vis $($unsafe)? fn $name($($argument: $type),*) {
            #[inline(always)]
            $($unsafe)? fn plain<$vector: $crate::cpu::simd::Vector>($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            $($unsafe)? fn avx512($($argument: $type),*) {
                // SAFETY: the caller's.
                unsafe { plain::<std::arch::x86_64::__m512>($($argument),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            $($unsafe)? fn avx2($($argument: $type),*) {
                // SAFETY: the caller's.
                unsafe { plain::<std::arch::x86_64::__m256>($($argument),*) }
            }

            match $crate::cpu::simd::level() {
                // SAFETY: the level tells that this processor has these instructions; the rest is the caller's.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Level::Avx512 => unsafe { avx512($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Level::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: the caller's.
                _ => unsafe { plain::<$crate::cpu::simd::Array>($($argument),*) },
            }
        }
    };
}
pub(crate) use by_vector;

impl Level {
    /// As in `OIDO_SIMD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Numbers of a vector.
    pub fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 | Self::Portable => 8,
        }
    }

    /// Vectors side by side in a tile: as many as leave room for six rows of sums in the registers.
    pub fn vectors(self) -> usize {
        match self {
            Self::Avx512 => 4,
            Self::Avx2 | Self::Portable => 2,
        }
    }
}

/// A vector.
///
/// # Safety
/// Every function needs the processor to have the instructions of the type, and pointers that are good for
/// `LANES` numbers; no alignment is asked.
pub trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self + a * b`
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// The same, or for a vector of pairs `self` and both products.
    #[inline(always)]
    unsafe fn dot(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { self.fma(a, b) }
    }
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;

    /// The first `count` lanes only.
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's pointer is good for `count` numbers.
        unsafe {
            if count == Self::LANES {
                return self.store(to);
            }
            let mut lanes = [0.0; 16];
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_set1_ps,
        _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps,
        _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
    };

    use super::Vector;

    macro_rules! vector {
        ($type:ty, $lanes:expr, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $sub:ident, $max:ident) => {
            // SAFETY: each function passes its own conditions on to one instruction.
            impl Vector for $type {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    // SAFETY: the caller's.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: the caller's.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: the caller's.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn fma(self, a: Self, b: Self) -> Self {
                    // SAFETY: the caller's.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: the caller's.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    // SAFETY: the caller's.
                    unsafe { $sub(self, other) }
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    // SAFETY: the caller's.
                    unsafe { $max(self, other) }
                }
            }
        };
    }

    vector!(
        __m512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_max_ps
    );
    vector!(
        __m256,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_max_ps
    );
}

/// A vector of [`Level::Avx512`] whose products are of pairs of bfloat16.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Pairs(std::arch::x86_64::__m512);

// SAFETY: each function passes its own conditions on; `dot` has the one more that the processor has AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
impl Vector for Pairs {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { Vector::splat(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { Vector::load(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { self.0.store(to) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { self.0.fma(a.0, b.0) })
    }

    #[inline(always)]
    unsafe fn dot(self, a: Self, b: Self) -> Self {
        use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
        // SAFETY: the caller's; both types are 64 bytes that may be anything.
        Self(unsafe {
            let a = std::mem::transmute::<__m512, __m512bh>(a.0);
            let b = std::mem::transmute::<__m512, __m512bh>(b.0);
            _mm512_dpbf16_ps(self.0, a, b)
        })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { self.0.add(other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { self.0.sub(other.0) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { self.0.max(other.0) })
    }
}

/// The vector of [`Level::Portable`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Array([f32; 8]);

impl Array {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Vector for Array {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is good for eight numbers.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is good for eight numbers.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // Two roundings: without the instruction, a fused one would be a call of the C library.
        self.zip(a.zip(b, |a, b| a * b), |sum, product| sum + product)
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
}
