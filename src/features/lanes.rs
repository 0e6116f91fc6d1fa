//! One instruction on several numbers.

use pulp::NullaryFnOnce;

/// Frames whose spectra stand side by side.
pub(super) const LANES: usize = 16;

/// The same value of [`LANES`] frames.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

/// Does `work` with the widest instructions of this processor (AVX-512, AVX2, NEON, or those that all have). Only what is
/// `#[inline(always)]` into it is compiled for them. The results are the same bits: the order of sums is that of the code,
/// and no product is fused with a sum.
#[inline]
pub(super) fn wide<W: NullaryFnOnce>(work: W) -> W::Output {
    pulp::Arch::new().dispatch(work)
}

/// The largest of `values`, at least 0.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().chain(rest).fold(0.0, |a, b| larger(a, *b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_found_wherever_it_stands() {
        for len in [0, 1, 15, 16, 17, 40] {
            for at in 0..len {
                let mut values = vec![0.5; len];
                values[at] = 2.0;
                assert_eq!(max(&values).to_bits(), 2.0_f32.to_bits(), "{at} of {len}");
            }
        }
        assert_eq!(max(&[]).to_bits(), 0);
        assert_eq!(max(&[-1.0; 20]).to_bits(), 0);
    }

    #[test]
    fn wide_work_gives_its_result() {
        assert_eq!(wide(|| [1, 2, 3].iter().sum::<i32>()), 6);
    }
}
