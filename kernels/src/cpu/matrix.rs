//! A matrix that many rows are multiplied by, packed once.

use std::ops::Range;

use crate::cpu::memory::Buffer;
use crate::cpu::tile::{self, Finish, ROWS, Tile};

/// A matrix `[depth, columns]`: panel after panel of columns, each row of a panel contiguous and filled up to whole vectors.
pub struct Matrix {
    data: Buffer,
    depth: usize,
    columns: usize,
}

/// Rows that are multiplied by a matrix.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The first number of the first row.
    pub start: *const f32,
    /// From a row to the next.
    pub row: usize,
    /// From a number of a row to the next.
    pub step: usize,
}

impl Matrix {
    /// Row `k` stands at `source[k * distance..]`.
    pub fn rows(source: &[f32], distance: usize, depth: usize, columns: usize) -> Self {
        Self::pack(depth, columns, |start, valid, panel| {
            let wide = panel.len() / depth;
            for (k, line) in panel.chunks_exact_mut(wide).enumerate() {
                line[..valid].copy_from_slice(&source[k * distance + start..][..valid]);
                line[valid..].fill(0.0);
            }
        })
    }

    /// Column `j` stands at `source[j * distance..]`.
    pub fn columns(source: &[f32], distance: usize, depth: usize, columns: usize) -> Self {
        Self::pack(depth, columns, |start, valid, panel| {
            let wide = panel.len() / depth;
            if valid < wide {
                panel.fill(0.0);
            }
            for j in 0..valid {
                let column = &source[(start + j) * distance..][..depth];
                panel[j..].iter_mut().step_by(wide).zip(column).for_each(|(to, from)| *to = *from);
            }
        })
    }

    /// `fill` is given the first column of each panel, how many there are, and the panel.
    fn pack(depth: usize, columns: usize, fill: impl Fn(usize, usize, &mut [f32])) -> Self {
        let mut data = Buffer::new(depth * tile::padded(columns));
        for (p, panel) in data.as_mut().chunks_mut((depth * tile::panel()).max(1)).enumerate() {
            let start = p * tile::panel();
            fill(start, tile::panel().min(columns - start), panel);
        }
        Self { data, depth, columns }
    }

    /// `C = A * self[steps]`, with `finish`, for `count` rows of `A`; rows of `C` are `c_row` apart.
    ///
    /// # Safety
    /// From `a` on there are `count` rows of as many numbers as `steps` has, and from `c` on as many of `columns` numbers,
    /// which nobody else uses meanwhile.
    pub unsafe fn product(
        &self,
        a: Rows,
        steps: Range<usize>,
        (c, c_row): (*mut f32, usize),
        count: usize,
        finish: Finish,
    ) {
        assert!(steps.end <= self.depth, "rows of the matrix");
        for start in (0..self.columns).step_by(tile::panel()) {
            let columns = tile::panel().min(self.columns - start);
            let b_step = tile::padded(columns);
            for row in (0..count).step_by(ROWS) {
                // SAFETY: the caller's rows; a panel of `self` has whole vectors.
                unsafe {
                    tile::run(&Tile {
                        a: a.start.add(row * a.row),
                        a_row: a.row,
                        a_step: a.step,
                        b: self.data.as_ref()[start * self.depth + steps.start * b_step..].as_ptr(),
                        b_step,
                        runs: &[(0, 0)],
                        steps: steps.len(),
                        c: c.add(row * c_row + start),
                        c_row,
                        rows: ROWS.min(count - row),
                        columns,
                        pairs: false,
                        finish,
                    });
                }
            }
        }
    }
}
