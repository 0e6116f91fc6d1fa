//! Pairs of bfloat16 in the place of an `f32`: what the instruction for their products reads.
//!
//! The loops stay what they are: a number of `A` is a pair, a number of `B` is a pair, and a step adds both products to the sum.

use rayon::prelude::*;

use crate::cpu::memory::Buffer;
use crate::cpu::simd::vectorised;

/// Numbers of a task.
const TASK: usize = 64 * 1024;

/// Pairs of neighbours in each row: `[rows, columns]` → `[rows, columns / 2]`, rounded up; the last one of an odd row has a zero.
pub fn along_rows(from: &[f32], columns: usize) -> Buffer {
    let half = columns.div_ceil(2);
    let mut pairs = Buffer::new(from.len() / columns * half);
    let rows = (TASK / columns).max(1);
    let parts = pairs.as_mut().par_chunks_mut(rows * half).zip(from.par_chunks(rows * columns));
    parts.for_each(|(to, from)| {
        if columns == 2 * half {
            neighbours(from, to);
        } else {
            for (to, from) in to.chunks_exact_mut(half).zip(from.chunks_exact(columns)) {
                neighbours(&from[..columns - 1], &mut to[..half - 1]);
                to[half - 1] = pair(from[columns - 1], 0.0);
            }
        }
    });
    pairs
}

/// Pairs of two rows: `[rows, columns]` → `[rows / 2, columns]`, rounded up; a last odd row is paired with zeros.
pub fn across_rows(from: &[f32], columns: usize) -> Buffer {
    let rows = from.len() / columns;
    let mut pairs = Buffer::new(rows.div_ceil(2) * columns);
    let lines = pairs.as_mut().par_chunks_mut(columns).zip(from.par_chunks(2 * columns));
    lines.with_min_len(TASK.div_ceil(columns)).for_each(|(to, from)| match from.split_at_checked(columns) {
        Some((first, second)) if second.len() == columns => both(first, second, to),
        _ => from.iter().zip(to).for_each(|(&value, to)| *to = pair(value, 0.0)),
    });
    pairs
}

/// Two numbers as one.
#[inline(always)]
pub fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded(first) | rounded(second) << 16)
}

/// To the nearest bfloat16, of two as near the even one.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    // What is not a number stays so, whatever its lower bits.
    if value.is_nan() { 0x7fc0 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

vectorised! {
    fn neighbours(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from.chunks_exact(2)) {
            *to = pair(from[0], from[1]);
        }
    }

    fn both(first: &[f32], second: &[f32], to: &mut [f32]) {
        for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
            *to = pair(*first, *second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::random;

    /// The two numbers.
    fn of(pair: f32) -> [f32; 2] {
        [pair.to_bits() << 16, pair.to_bits() & 0xffff_0000].map(f32::from_bits)
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_even() {
        let exact = [0.0, -0.0, 1.0, -2.5, f32::INFINITY, f32::NEG_INFINITY];
        for value in exact {
            assert_eq!(of(pair(value, -value)).map(f32::to_bits), [value, -value].map(f32::to_bits));
        }
        let step = 1.0 / 128.0;
        for (value, near) in [
            (1.0 + 0.49 * step, 1.0),
            (1.0 + 0.5 * step, 1.0),
            (1.0 + 0.51 * step, 1.0 + step),
            (1.0 + 1.5 * step, 1.0 + 2.0 * step),
            (f32::MAX, f32::INFINITY),
        ] {
            assert_eq!(of(pair(value, 0.0)), [near, 0.0], "{value}");
        }
        assert!(of(pair(f32::NAN, f32::from_bits(0x7f80_0001))).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn pairs_stand_where_the_loops_look_for_them() {
        for (rows, columns) in [(1, 1), (3, 4), (4, 5), (7, 130), (2, 70_001)] {
            let values = random(rows * columns, 1);
            let near = |row: usize, column: usize| {
                let there = row < rows && column < columns;
                if there { of(pair(values[row * columns + column], 0.0))[0] } else { 0.0 }
            };
            let half = columns.div_ceil(2);
            for (i, &pair) in along_rows(&values, columns).as_ref().iter().enumerate() {
                let (row, column) = (i / half, 2 * (i % half));
                assert_eq!(of(pair), [near(row, column), near(row, column + 1)]);
            }
            for (i, &pair) in across_rows(&values, columns).as_ref().iter().enumerate() {
                let (row, column) = (2 * (i / columns), i % columns);
                assert_eq!(of(pair), [near(row, column), near(row + 1, column)]);
            }
        }
    }
}
