//! The one inner loop: a few rows of `A` times a panel of `B`, summed in registers.
//!
//! A convolution in the channels-last layout, its two gradients, a dense layer and a recurrent step are all sums of
//! outer products, `C[i][j] = Σ A[i, k] · B[k, j]`, that differ in where `A[i, k]` and `B[k, j]` stand. `j` is
//! always contiguous in memory (output channels), and `A` is read one number at a time, so its rows and steps may
//! be anywhere. See Goto and van de Geijn 2008 for the blocking, and Georganas et al. 2018 for convolutions made of such a loop
//! without an intermediate matrix.

use std::mem::MaybeUninit;

use crate::cpu::memory::Buffer;
use crate::cpu::simd::{Level, Vector, level, multiplies_bf16};

/// Rows of a tile.
pub const ROWS: usize = 6;
/// Columns of the widest tile.
pub const WIDEST: usize = 64;

/// What a tile reads and writes. All distances are in numbers.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    /// `A[0, 0]`.
    pub a: *const f32,
    /// From a row of `A` to the next.
    pub a_row: usize,
    /// From a step of `A` to the next.
    pub a_step: usize,
    /// `B[0, 0]`.
    pub b: *const f32,
    /// From a step of `B` to the next.
    pub b_step: usize,
    /// Where runs of steps begin in `A` and in `B`.
    pub runs: &'a [(usize, usize)],
    /// Steps of a run.
    pub steps: usize,
    /// `C[0, 0]`.
    pub c: *mut f32,
    /// From a row of `C` to the next.
    pub c_row: usize,
    /// Rows, 1 to [`ROWS`].
    pub rows: usize,
    /// Columns, 1 to [`panel`]; `B` must be readable up to a whole number of vectors.
    pub columns: usize,
    /// Whether the numbers of `A` and `B` are pairs (see [`crate::cpu::pairs`]).
    pub pairs: bool,
    /// What becomes of the sums.
    pub finish: Finish,
}

/// What becomes of the sums, in this order.
#[derive(Clone, Copy)]
pub struct Finish {
    /// Whether they are added to what `C` holds.
    pub add: bool,
    /// Added to each row unless null; readable up to a whole number of vectors.
    pub bias: *const f32,
    /// Negative results become zero.
    pub relu: bool,
    /// Multiplied and added to each row unless null: batch normalisation with fixed statistics. As long as `bias`.
    pub scale: *const f32,
    /// See `scale`.
    pub shift: *const f32,
}

impl Finish {
    /// The bare sums.
    pub const STORE: Self = Self {
        add: false,
        bias: std::ptr::null(),
        relu: false,
        scale: std::ptr::null(),
        shift: std::ptr::null(),
    };
    /// Added to what is there.
    pub const ADD: Self = Self { add: true, ..Self::STORE };

    /// The same for columns from `start` on.
    pub fn from(self, start: usize) -> Self {
        let at = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(start) };
        Self { bias: at(self.bias), scale: at(self.scale), shift: at(self.shift), ..self }
    }

    /// All but the addition, of sums of columns from `column` on.
    ///
    /// # Safety
    /// The instructions of `T` are there, and whole vectors can be read at `column`.
    #[inline(always)]
    pub unsafe fn apply<T: Vector>(&self, mut sum: T, column: usize) -> T {
        // SAFETY: the caller's.
        unsafe {
            if !self.bias.is_null() {
                sum = sum.add(T::load(self.bias.add(column)));
            }
            if self.relu {
                // In this order: the second operand wins when one is not a number.
                sum = T::splat(0.0).max(sum);
            }
            if !self.scale.is_null() {
                sum = T::load(self.shift.add(column)).fma(sum, T::load(self.scale.add(column)));
            }
            sum
        }
    }
}

/// Columns of a whole panel on this processor.
pub fn panel() -> usize {
    level().lanes() * level().vectors()
}

/// Numbers up to a whole number of vectors.
pub fn padded(columns: usize) -> usize {
    columns.next_multiple_of(level().lanes())
}

/// The numbers, filled up with zeros to a whole number of vectors.
pub fn padded_copy(values: &[f32]) -> Buffer {
    let mut padded = Buffer::new(self::padded(values.len()));
    padded.as_mut().fill(0.0);
    padded.as_mut()[..values.len()].copy_from_slice(values);
    padded
}

/// Computes one tile.
///
/// # Safety
/// All places that follow from the fields can be read, or written in the case of `C`; nobody else touches `C`.
pub unsafe fn run(tile: &Tile) {
    debug_assert!((1..=ROWS).contains(&tile.rows) && (1..=panel()).contains(&tile.columns));
    debug_assert!(!tile.pairs || multiplies_bf16());
    let vectors = tile.columns.div_ceil(level().lanes());
    // SAFETY: the table is the one of a level that this processor has, and of pairs only where it has them; the rest is the caller's.
    unsafe {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if tile.pairs => x86::PAIRS[vectors - 1][tile.rows - 1](tile),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::AVX512[vectors - 1][tile.rows - 1](tile),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::AVX2[vectors - 1][tile.rows - 1](tile),
            _ => PORTABLE[vectors - 1][tile.rows - 1](tile),
        }
    }
}

type Function = unsafe fn(&Tile);

/// Functions for 1 to 6 rows.
macro_rules! rows {
    ($function:ident, $vectors:literal) => {
        [
            $function::<1, $vectors>,
            $function::<2, $vectors>,
            $function::<3, $vectors>,
            $function::<4, $vectors>,
            $function::<5, $vectors>,
            $function::<6, $vectors>,
        ]
    };
}

static PORTABLE: [[Function; ROWS]; 2] = [rows!(portable, 1), rows!(portable, 2)];

unsafe fn portable<const R: usize, const V: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe { outer_products::<crate::cpu::simd::Array, R, V>(tile) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    use super::{Function, ROWS, Tile, outer_products};

    pub static AVX512: [[Function; ROWS]; 4] =
        [rows!(avx512, 1), rows!(avx512, 2), rows!(avx512, 3), rows!(avx512, 4)];
    pub static PAIRS: [[Function; ROWS]; 4] =
        [rows!(pairs, 1), rows!(pairs, 2), rows!(pairs, 3), rows!(pairs, 4)];
    pub static AVX2: [[Function; ROWS]; 2] = [rows!(avx2, 1), rows!(avx2, 2)];

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const R: usize, const V: usize>(tile: &Tile) {
        // SAFETY: the caller's.
        unsafe { outer_products::<__m512, R, V>(tile) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn pairs<const R: usize, const V: usize>(tile: &Tile) {
        // SAFETY: the caller's.
        unsafe { outer_products::<crate::cpu::simd::Pairs, R, V>(tile) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const R: usize, const V: usize>(tile: &Tile) {
        // SAFETY: the caller's.
        unsafe { outer_products::<__m256, R, V>(tile) }
    }
}

/// Every result is one chain of multiply-adds in the order of the steps, whatever the shape of the tile: a clip's numbers do
/// not depend on its neighbours in the batch or on the number of threads.
#[inline(always)]
unsafe fn outer_products<T: Vector, const R: usize, const V: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[T::splat(0.0); V]; R];
        for &(a, b) in tile.runs {
            let (mut a, mut b) = (tile.a.add(a), tile.b.add(b));
            for _ in 0..tile.steps {
                let mut columns = [T::splat(0.0); V];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = T::load(b.add(v * T::LANES));
                }
                for (r, row) in sums.iter_mut().enumerate() {
                    let factor = T::splat(*a.add(r * tile.a_row));
                    for (sum, column) in row.iter_mut().zip(columns) {
                        *sum = sum.dot(factor, column);
                    }
                }
                a = a.wrapping_add(tile.a_step);
                b = b.wrapping_add(tile.b_step);
            }
        }
        // Through memory, so that the loop above keeps its sums in registers.
        let mut stored = MaybeUninit::<[[f32; WIDEST]; ROWS]>::uninit();
        let start = stored.as_mut_ptr().cast::<f32>();
        for (r, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                sum.store(start.add(r * WIDEST + v * T::LANES));
            }
        }
        if tile.columns == V * T::LANES {
            for r in 0..R {
                finish::<T, V>(&tile.finish, start.add(r * WIDEST), tile.c.add(r * tile.c_row));
            }
        } else {
            let mut there = [0.0; WIDEST];
            for r in 0..R {
                let c = tile.c.add(r * tile.c_row);
                if tile.finish.add {
                    std::ptr::copy_nonoverlapping(c, there.as_mut_ptr(), tile.columns);
                }
                finish::<T, V>(&tile.finish, start.add(r * WIDEST), there.as_mut_ptr());
                std::ptr::copy_nonoverlapping(there.as_ptr(), c, tile.columns);
            }
        }
    }
}

/// Applies [`Finish`] to one row of sums; the result goes to `c`.
#[inline(always)]
unsafe fn finish<T: Vector, const V: usize>(finish: &Finish, sums: *const f32, c: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        for lane in (0..V).map(|v| v * T::LANES) {
            let mut sum = T::load(sums.add(lane));
            if finish.add {
                sum = T::load(c.add(lane)).add(sum);
            }
            sum = finish.apply(sum, lane);
            sum.store(c.add(lane));
        }
    }
}
