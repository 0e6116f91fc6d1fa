//! Convolution by 3 x 3 kernels with fewer multiplications: F(2 x 2, 3 x 3) of Winograd, as in Lavin and Gray 2016.
//!
//! Results are computed in tiles of 2 x 2. The 4 x 4 numbers `d` under a tile become `Bᵀ d B` and the 3 x 3 weights `g` become
//! `G g Gᵀ`, 16 numbers each; their products, summed over the channels, are 16 matrix products, and `Aᵀ m A` is the
//! tile. 16 multiplications take the place of 36.

use rayon::prelude::*;

use crate::cpu::convolution::{Block, Patches, Shape, Shared};
use crate::cpu::memory::Buffer;
use crate::cpu::simd::{Vector, by_vector, vectorised};
use crate::cpu::tile::{self, Finish, ROWS, Tile, WIDEST};

/// Numbers of a tile of the input, and so matrix products.
const PLACES: usize = 16;
/// Fewest channels: whole vectors of the widest kind.
const CHANNELS: usize = 16;
/// Numbers of a task's input and products, so that they stay in the second-level cache.
const SCRATCH: usize = 128 * 1024;
/// Fewest tiles of a task: each weight is read once for all of them.
const TILES: usize = 24;

/// Whether a convolution is faster this way.
pub fn suits(shape: &Shape) -> bool {
    let [rows, columns] = shape.output.map(|size| size.div_ceil(2));
    shape.kernel == [3, 3]
        && shape.stride == [1, 1]
        && shape.dilation == [1, 1]
        && shape.c_in >= CHANNELS
        && shape.c_out >= CHANNELS
        // Not where much of the tiles hangs over the border.
        && 4 * shape.output[0] * shape.output[1] >= 11 * rows * columns
}

/// `G g Gᵀ` of all weights: for each panel of output channels 16 matrices `[c_in, columns]`.
#[derive(Debug)]
pub struct Filters {
    values: Buffer,
    c_in: usize,
    c_out: usize,
}

impl Filters {
    /// Of a matrix `[9 * c_in, c_out]` of which `row` tells where each row begins in `source`; the columns of a row are `step` apart.
    pub fn pack(
        source: &[f32],
        [c_in, c_out]: [usize; 2],
        row: impl Fn(usize) -> usize + Sync,
        step: usize,
    ) -> Self {
        let panel = tile::panel();
        let mut values = Buffer::new(PLACES * c_in * tile::padded(c_out));
        values.as_mut().par_chunks_mut(PLACES * c_in * panel).enumerate().for_each(|(p, chunk)| {
            let valid = panel.min(c_out - p * panel);
            let wide = chunk.len() / (PLACES * c_in);
            let (mut weights, mut turned) = ([[0.0; WIDEST]; 9], [[0.0; WIDEST]; PLACES]);
            for channel in 0..c_in {
                for (tap, weights) in weights.iter_mut().enumerate() {
                    let start = row(tap * c_in + channel) + p * panel * step;
                    for (lane, weight) in weights[..valid].iter_mut().enumerate() {
                        *weight = source[start + lane * step];
                    }
                }
                turn_weights(&weights, &mut turned);
                for (place, turned) in turned.iter().enumerate() {
                    let at = (place * c_in + channel) * wide;
                    chunk[at..at + wide].copy_from_slice(&turned[..wide]);
                }
            }
        });
        Self { values, c_in, c_out }
    }

    /// First column, number of columns, columns with the filling, and the 16 matrices of each panel.
    fn panels(&self) -> impl Iterator<Item = (usize, usize, usize, &[f32])> {
        let panel = tile::panel();
        let matrices = self.values.as_ref().chunks(PLACES * self.c_in * panel).enumerate();
        matrices.map(move |(p, values)| {
            let columns = panel.min(self.c_out - p * panel);
            (p * panel, columns, tile::padded(columns), values)
        })
    }
}

vectorised! {
    /// `G g Gᵀ` in each lane.
    fn turn_weights(g: &[[f32; WIDEST]; 9], to: &mut [[f32; WIDEST]; PLACES]) {
        for lane in 0..WIDEST {
            let four = |a: f32, b: f32, c: f32| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
            let columns = [0, 1, 2].map(|x| four(g[x][lane], g[3 + x][lane], g[6 + x][lane]));
            for y in 0..4 {
                let row = four(columns[0][y], columns[1][y], columns[2][y]);
                for x in 0..4 {
                    to[4 * y + x][lane] = row[x];
                }
            }
        }
    }
}

/// Tiles of one map, side by side and one row under the other.
struct Tiles {
    map: usize,
    top: usize,
    left: usize,
    rows: usize,
    columns: usize,
}

/// Tasks for `down` by `across` tiles of each map.
fn tasks(shape: &Shape, [down, across]: [usize; 2]) -> Vec<Tiles> {
    let most = (SCRATCH / (PLACES * (shape.c_in + tile::panel()))).max(TILES);
    let columns = across.min(most);
    // As many tasks for each thread, if the rows suffice.
    let threads = rayon::current_num_threads();
    let strips = (down * across).div_ceil(most).next_multiple_of(if shape.batch == 1 { threads } else { 1 });
    let rows = if columns == across { down.div_ceil(strips).max(1) } else { 1 };
    let mut tasks = Vec::new();
    for map in 0..shape.batch {
        for top in (0..down).step_by(rows) {
            for left in (0..across).step_by(columns) {
                let (rows, columns) = (rows.min(down - top), columns.min(across - left));
                tasks.push(Tiles { map, top, left, rows, columns });
            }
        }
    }
    tasks
}

/// `output = finish(input * kernel)`, channels last; if `pooled`, the maximum of each window of 2 x 2 results, where an odd last row
/// or column is left out.
pub fn forward(
    shape: &Shape,
    input: &[f32],
    filters: &Filters,
    output: &mut [f32],
    last: Finish,
    pooled: bool,
) {
    let size = if pooled { shape.output.map(|n| n / 2) } else { shape.output };
    let (c_in, c_out) = (shape.c_in, shape.c_out);
    assert!(suits(shape) && !last.add && [filters.c_in, filters.c_out] == [c_in, c_out]);
    assert_eq!(input.len(), shape.input_len(), "numbers of the input");
    assert_eq!(output.len(), shape.batch * size[0] * size[1] * c_out, "numbers of the result");
    let tasks = tasks(shape, if pooled { size } else { size.map(|n| n.div_ceil(2)) });
    let (output, last) = (Shared(output.as_mut_ptr()), Shared(last));
    tasks.into_par_iter().for_each_init(<[Buffer; 3]>::default, |scratch, task| {
        let [border, turned, sums] = scratch;
        let block = Block {
            map: task.map,
            top: 2 * task.top,
            left: 2 * task.left,
            rows: 2 * task.rows,
            columns: 2 * task.columns,
        };
        let patches = Patches::of(shape, false, input, &block, border);
        let tiles = task.rows * task.columns;
        // Not a power of two apart: the 16 numbers of a channel would fall on the same few lines of the cache.
        let [plane, sums_plane] = [c_in, tile::panel()].map(|wide| tiles * wide + CHANNELS);
        turned.reserve(PLACES * plane);
        sums.reserve(PLACES * sums_plane);
        for row in 0..task.rows {
            // SAFETY: a row of tiles reads four rows of `2 * columns + 2` pixels, which the copy of the block has.
            unsafe {
                turn_input(
                    patches.data.add(2 * row * patches.width * c_in),
                    [patches.width, task.columns, c_in],
                    turned.as_mut().as_mut_ptr().add(row * task.columns * c_in),
                    plane,
                );
            }
        }
        for (start, columns, wide, weights) in filters.panels() {
            for place in 0..PLACES {
                for first in (0..tiles).step_by(ROWS) {
                    // SAFETY: rows of the turned input, whole vectors of the weights and of the sums of this task.
                    unsafe {
                        tile::run(&Tile {
                            a: turned.as_ref().as_ptr().add(place * plane + first * c_in),
                            a_row: c_in,
                            a_step: 1,
                            b: weights[place * c_in * wide..].as_ptr(),
                            b_step: wide,
                            runs: &[(0, 0)],
                            steps: c_in,
                            c: sums.as_mut().as_mut_ptr().add(place * sums_plane + first * wide),
                            c_row: wide,
                            rows: ROWS.min(tiles - first),
                            columns: wide,
                            pairs: false,
                            finish: Finish::STORE,
                        });
                    }
                }
            }
            for row in 0..task.rows {
                let place = [task.top + row, task.left].map(|tile| if pooled { tile } else { 2 * tile });
                let at = ((task.map * size[0] + place[0]) * size[1] + place[1]) * c_out + start;
                let room = [size[0] - place[0], size[1] - place[1]];
                // SAFETY: the pixels that `room` leaves are in the result, and no other task has them.
                unsafe {
                    let sums = sums.as_ref().as_ptr().add(row * task.columns * wide);
                    let finish = last.get().from(start);
                    let to = output.get().add(at);
                    let line = Line { tiles: task.columns, wide, plane: sums_plane, columns, room };
                    turn_sums(sums, line, finish, to, [size[1] * c_out, c_out], pooled);
                }
            }
        }
    });
}

/// `Bᵀ d`.
#[inline(always)]
unsafe fn four<T: Vector>([a, b, c, d]: [T; 4]) -> [T; 4] {
    // SAFETY: the caller has the instructions of `T`.
    unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
}

/// Number `y` of each column.
#[inline(always)]
fn across<T: Copy, const N: usize>(columns: &[[T; N]; 4], y: usize) -> [T; 4] {
    [columns[0][y], columns[1][y], columns[2][y], columns[3][y]]
}

/// `Aᵀ m`.
#[inline(always)]
unsafe fn two<T: Vector>([a, b, c, d]: [T; 4]) -> [T; 2] {
    // SAFETY: the caller has the instructions of `T`.
    unsafe { [a.add(b).add(c), b.sub(c).sub(d)] }
}

by_vector! {
    /// `Bᵀ d B` of a row of tiles: their rows and columns begin two pixels after each other in a map of `width` pixels, the 16 numbers
    /// of a channel stand `plane` apart.
    unsafe fn turn_input<T>(
        from: *const f32,
        sizes: [usize; 3],
        to: *mut f32,
        plane: usize,
    ) {
        let [width, tiles, channels] = sizes;
        // SAFETY: the caller's.
        unsafe {
            for tile in 0..tiles {
                let (from, to) = (from.add(2 * tile * channels), to.add(tile * channels));
                for step in (0..channels).step_by(T::LANES) {
                    // The last vector may begin within the one before it.
                    let channel = step.min(channels - T::LANES);
                    let mut d = [[T::splat(0.0); 4]; 4];
                    for (x, column) in d.iter_mut().enumerate() {
                        for (y, pixel) in column.iter_mut().enumerate() {
                            *pixel = T::load(from.add((y * width + x) * channels + channel));
                        }
                        *column = four(*column);
                    }
                    for y in 0..4 {
                        let row = four(across(&d, y));
                        for (x, value) in row.into_iter().enumerate() {
                            value.store(to.add((4 * y + x) * plane + channel));
                        }
                    }
                }
            }
        }
    }
}

/// A row of tiles of sums.
#[derive(Clone, Copy)]
struct Line {
    /// Tiles in the row.
    tiles: usize,
    /// From a tile to the next.
    wide: usize,
    /// From one of the 16 numbers to the next.
    plane: usize,
    /// Channels to write.
    columns: usize,
    /// Rows and columns of results from the first tile on.
    room: [usize; 2],
}

by_vector! {
    /// `Aᵀ m A` of a row of tiles, finished and perhaps pooled; rows and columns of results stand `apart`.
    unsafe fn turn_sums<T>(
        sums: *const f32,
        line: Line,
        finish: Finish,
        to: *mut f32,
        apart: [usize; 2],
        pooled: bool,
    ) {
        // SAFETY: the caller's.
        unsafe {
            for tile in 0..line.tiles {
                let sums = sums.add(tile * line.wide);
                for lane in (0..line.columns).step_by(T::LANES) {
                    let mut columns = [[T::splat(0.0); 2]; 4];
                    for (x, column) in columns.iter_mut().enumerate() {
                        let mut m = [T::splat(0.0); 4];
                        for (y, m) in m.iter_mut().enumerate() {
                            *m = T::load(sums.add((4 * y + x) * line.plane + lane));
                        }
                        *column = two(m);
                    }
                    let mut results = [[T::splat(0.0); 2]; 2];
                    for (y, row) in results.iter_mut().enumerate() {
                        *row = two(across(&columns, y));
                        for value in row {
                            *value = finish.apply(*value, lane);
                        }
                    }
                    let count = T::LANES.min(line.columns - lane);
                    if pooled {
                        let [[a, b], [c, d]] = results;
                        let most = a.max(b).max(c.max(d));
                        most.store_some(to.add(tile * apart[1] + lane), count);
                        continue;
                    }
                    let [below, right] = [line.room[0] > 1, line.room[1] > 2 * tile + 1];
                    let [[a, b], [c, d]] = results;
                    let to = to.add(2 * tile * apart[1] + lane);
                    a.store_some(to, count);
                    if right {
                        b.store_some(to.add(apart[1]), count);
                    }
                    if below {
                        c.store_some(to.add(apart[0]), count);
                    }
                    if below && right {
                        d.store_some(to.add(apart[0] + apart[1]), count);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::convolution::{Panels, Target};
    use crate::cpu::testing::random;

    #[test]
    fn is_the_plain_convolution() {
        for (batch, input, c_in, c_out, padding) in [
            (1, [4, 4], 16, 16, 1),
            (2, [9, 7], 24, 70, 1),
            (1, [6, 131], 40, 33, 0),
            (3, [5, 6], 17, 130, 2),
            (1, [3, 2_000], 64, 16, 1),
        ] {
            let output = input.map(|size: usize| size + 2 * padding - 2);
            let shape = Shape {
                batch,
                input,
                c_in,
                kernel: [3, 3],
                stride: [1, 1],
                dilation: [1, 1],
                padding: [padding as isize; 2],
                output,
                c_out,
            };
            let (x, kernel) = (random(shape.input_len(), 1), random(shape.kernel_len(), 2));
            let parts: Vec<f32> = random(3 * tile::padded(c_out), 3);
            let (bias, rest) = parts.split_at(tile::padded(c_out));
            let (scale, shift) = rest.split_at(tile::padded(c_out));
            let finish = Finish {
                bias: bias.as_ptr(),
                relu: true,
                scale: scale.as_ptr(),
                shift: shift.as_ptr(),
                ..Finish::STORE
            };
            let row = |k: usize| k * c_out;
            let mut plain = Buffer::new(shape.output_len());
            let panels = Panels::pack(&kernel, 9 * c_in, c_out, row, 1);
            crate::cpu::convolution::forward(
                &shape,
                &x,
                &panels,
                plain.as_mut(),
                Target::whole(&shape),
                finish,
            );
            let mut ours = Buffer::new(shape.output_len());
            let filters = Filters::pack(&kernel, [c_in, c_out], row, 1);
            forward(&shape, &x, &filters, ours.as_mut(), finish, false);
            let most = plain.as_ref().iter().fold(0.0f32, |most, value| most.max(value.abs()));
            for (ours, plain) in ours.as_ref().iter().zip(plain.as_ref()) {
                assert!((ours - plain).abs() <= 1e-5 * most, "{ours} {plain} of {most}");
            }

            let halves = output.map(|size| size / 2);
            let mut pooled = Buffer::new(batch * halves[0] * halves[1] * c_out);
            forward(&shape, &x, &filters, pooled.as_mut(), finish, true);
            let places = (0..batch).flat_map(|map| (0..halves[0]).map(move |y| (map, y)));
            let places = places.flat_map(|(map, y)| (0..halves[1]).map(move |x| (map, y, x)));
            for ((map, y, x), pooled) in places.zip(pooled.as_ref().chunks(c_out)) {
                for (channel, &pooled) in pooled.iter().enumerate() {
                    let at = |dy, dx| {
                        let row = map * output[0] + 2 * y + dy;
                        ours.as_ref()[(row * output[1] + 2 * x + dx) * c_out + channel]
                    };
                    let most = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)].into_iter().fold(f32::MIN, f32::max);
                    assert!(pooled == most, "{map} {y} {x} {channel}: {pooled} {most}");
                }
            }
        }
    }
}
