//! Convolution of channels-last maps and its two gradients, on slices.
//!
//! Maps are `[batch, height, width, channels]`, kernels `[height, width, c_in, c_out]`. Where [`winograd`] suits, it does the work; the
//! rest of this header is about all other sizes. No matrix of patches is made: where the
//! map has a border of zeros, a few padded rows are copied into a scratch buffer that stays in the cache, and the tiles read
//! their patches from there.

use std::ops::Range;

use rayon::prelude::*;

use crate::Precision;
use crate::cpu::memory::Buffer;
use crate::cpu::pairs;
use crate::cpu::simd::vectorised;
use crate::cpu::tile::{self, Finish, ROWS, Tile};
use crate::cpu::winograd::{self, Filters};

/// Results (pixels) of a block of work: small enough that its patches stay in the second-level cache.
const BLOCK: usize = 512;
/// Numbers of padded input of a block, likewise.
const SCRATCH: usize = 96 * 1024;
/// Rows for which a matrix is packed, so that what is read one after the other stands so: in few pages and lines of the cache.
const PACK: usize = 256;
/// Numbers under one result that are summed in one go.
const DEPTH: usize = 2048;
/// The same within a run: of a long one the panels would not stay in the cache.
const RUN: usize = 1024;
/// Pixels and channels of the input of a block of [`pixel_products`].
const PIXELS: usize = 512;
/// See [`PIXELS`].
const CHANNELS: usize = 128 * ROWS;
/// Pixels of so many channels lie so far apart that it pays to copy them.
const FAR: usize = 512;
/// Rows of a matrix that are packed at a time.
const SQUARE: usize = 64;

/// Sizes of a convolution of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Maps.
    pub batch: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the input.
    pub c_in: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Places between two results.
    pub stride: [usize; 2],
    /// Places between two weights.
    pub dilation: [usize; 2],
    /// Zeros above and left of the input. (How many follow below and right is a matter of `output`.)
    pub padding: [isize; 2],
    /// Height and width of the result.
    pub output: [usize; 2],
    /// Channels of the result.
    pub c_out: usize,
}

impl Shape {
    /// A dense layer `[rows, c_in]` → `[rows, c_out]`: every row is a pixel.
    pub fn dense(rows: usize, c_in: usize, c_out: usize) -> Self {
        let pixels = [1, rows];
        Self {
            batch: 1,
            input: pixels,
            c_in,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
            output: pixels,
            c_out,
        }
    }

    /// Numbers of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.c_in
    }

    /// Numbers of the result.
    pub fn output_len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.c_out
    }

    /// Numbers of the kernel.
    pub fn kernel_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.c_in * self.c_out
    }

    /// Numbers under one result.
    fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.c_in
    }

    /// Whether each result is made of one pixel, that at its place.
    fn pixel_by_pixel(&self) -> bool {
        let alone = self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0];
        alone && self.input == self.output
    }

    /// Neither a border nor neighbours: all pixels of all maps are one long row.
    fn flat(&self) -> Self {
        if self.pixel_by_pixel() {
            let pixels = self.batch * self.input[0] * self.input[1];
            Self { batch: 1, input: [1, pixels], output: [1, pixels], ..*self }
        } else {
            *self
        }
    }

    /// Where each run of contiguous weights begins in a padded map of `width` columns, and the length of a run.
    fn taps(&self, width: usize) -> (Vec<usize>, usize) {
        let [height, across] = self.kernel;
        let row = self.dilation[0] * width * self.c_in;
        if self.dilation[1] == 1 {
            ((0..height).map(|y| y * row).collect(), across * self.c_in)
        } else {
            let column = self.dilation[1] * self.c_in;
            ((0..height * across).map(|tap| tap / across * row + tap % across * column).collect(), self.c_in)
        }
    }

    /// The weights under one result, in parts that are summed in one go.
    fn passes(&self, width: usize) -> Vec<Pass> {
        let (taps, run) = self.taps(width);
        let runs: Vec<_> = taps.into_iter().enumerate().map(|(i, tap)| (tap, i * run)).collect();
        if run > RUN {
            let parts = |(tap, k): (usize, usize)| {
                let part = move |at| Pass { runs: vec![(tap + at, k + at)], steps: RUN.min(run - at) };
                (0..run).step_by(RUN).map(part)
            };
            return runs.into_iter().flat_map(parts).collect();
        }
        runs.chunks((DEPTH / run).max(1)).map(|runs| Pass { runs: runs.to_vec(), steps: run }).collect()
    }

    /// Size of the input under `output` results in a row or column.
    fn extent(&self, axis: usize, output: usize) -> usize {
        (output - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Whether every patch lies within the input.
    fn inside(&self) -> bool {
        (0..2).all(|axis| self.padding[axis] == 0 && self.extent(axis, self.output[axis]) <= self.input[axis])
    }

    /// Pixels of a block that leave no thread without work.
    fn share(&self) -> usize {
        let pixels = self.batch * self.output[0] * self.output[1];
        pixels.div_ceil(4 * rayon::current_num_threads()).clamp(4 * ROWS, BLOCK)
    }

    /// Height and width of blocks of about `pixels` results, fewer where their patches are large.
    fn block(&self, pixels: usize) -> [usize; 2] {
        let [height, width] = self.output;
        let row = |columns: usize| self.extent(1, columns) * self.c_in * self.extent(0, 1);
        if width <= pixels && row(width) <= SCRATCH {
            let rows = |rows: usize| self.extent(0, rows) * self.extent(1, width) * self.c_in;
            let most = (1..=height).take_while(|&n| n * width <= pixels && rows(n) <= SCRATCH).last();
            [most.unwrap_or(1), width]
        } else {
            let columns = (SCRATCH / row(1)).max(1) * self.kernel[1] / self.stride[1].max(1);
            let columns = pixels.min(columns.max(ROWS)).min(width);
            [1, columns.next_multiple_of(ROWS).min(width)]
        }
    }

    /// Blocks of about `pixels` results, in order.
    fn blocks(&self, pixels: usize) -> Vec<Block> {
        self.blocks_of(self.block(pixels))
    }

    /// Blocks of this height and width, in order; those at the end may be smaller.
    fn blocks_of(&self, [rows, columns]: [usize; 2]) -> Vec<Block> {
        let [height, width] = self.output;
        let mut blocks = Vec::new();
        for map in 0..self.batch {
            for top in (0..height).step_by(rows) {
                for left in (0..width).step_by(columns) {
                    blocks.push(Block {
                        map,
                        top,
                        left,
                        rows: rows.min(height - top),
                        columns: columns.min(width - left),
                    });
                }
            }
        }
        blocks
    }
}

/// Weights that are summed in one go.
struct Pass {
    /// Where runs begin in the patches, and with which weight.
    runs: Vec<(usize, usize)>,
    /// Length of a run.
    steps: usize,
}

/// A part of one map of results.
#[derive(Clone, Copy)]
pub struct Block {
    pub map: usize,
    pub top: usize,
    pub left: usize,
    pub rows: usize,
    pub columns: usize,
}

/// The patches of a block: where they stand.
pub struct Patches {
    pub data: *const f32,
    /// Columns of the map that they stand in.
    pub width: usize,
}

impl Patches {
    /// Finds the patches of `block` in the input, or copies them into `scratch` with their border of zeros.
    pub fn of(shape: &Shape, inside: bool, input: &[f32], block: &Block, scratch: &mut Buffer) -> Self {
        let [height, width] = shape.input;
        let c = shape.c_in;
        let top = (block.top * shape.stride[0]) as isize - shape.padding[0];
        let left = (block.left * shape.stride[1]) as isize - shape.padding[1];
        let map = &input[block.map * height * width * c..][..height * width * c];
        if inside {
            let start = (top as usize * width + left as usize) * c;
            return Self { data: map[start..].as_ptr(), width };
        }
        let [rows, columns] = [shape.extent(0, block.rows), shape.extent(1, block.columns)];
        scratch.reserve(rows * columns * c);
        let from = (-left).clamp(0, columns as isize) as usize;
        let to = (width as isize - left).clamp(from as isize, columns as isize) as usize;
        for (row, line) in scratch.as_mut()[..rows * columns * c].chunks_exact_mut(columns * c).enumerate() {
            let y = top + row as isize;
            if y < 0 || y >= height as isize || from == to {
                line.fill(0.0);
                continue;
            }
            line[..from * c].fill(0.0);
            line[to * c..].fill(0.0);
            let start = (y as usize * width + (left + from as isize) as usize) * c;
            line[from * c..to * c].copy_from_slice(&map[start..start + (to - from) * c]);
        }
        Self { data: scratch.as_ref().as_ptr(), width: columns }
    }
}

/// Weights in the order in which tiles read them, a matrix of `[depth, columns]`.
#[derive(Debug)]
pub struct Panels<'a> {
    weights: Weights<'a>,
    depth: usize,
    columns: usize,
    /// Whether a number is a pair.
    pairs: bool,
}

#[derive(Debug)]
enum Weights<'a> {
    /// For each panel of columns, its rows; the last vector of a row is filled up with zeros.
    Packed(Buffer),
    /// Row by row, as they stand.
    Rows(&'a [f32]),
}

impl<'a> Panels<'a> {
    /// Packs a matrix `[depth, columns]` of which `row` tells where each row begins in `source`; the columns of a row are `step` apart.
    pub fn pack(
        source: &[f32],
        depth: usize,
        columns: usize,
        row: impl Fn(usize) -> usize + Sync,
        step: usize,
    ) -> Self {
        Self::filled(depth, columns, step == 1, |k| {
            let start = row(k);
            move |column| source[start + column * step]
        })
    }

    /// The same in pairs of neighbouring rows; each run of `c_in` rows is for itself.
    fn pack_pairs(
        source: &[f32],
        [runs, c_in, columns]: [usize; 3],
        row: impl Fn(usize) -> usize + Sync,
        step: usize,
    ) -> Self {
        let half = c_in.div_ceil(2);
        let panels = Self::filled(runs * half, columns, step == 1, |k| {
            let (run, channel) = (k / half * c_in, 2 * (k % half));
            let start = row(run + channel);
            let next = (channel + 1 < c_in).then(|| row(run + channel + 1));
            move |column| {
                let second = next.map_or(0.0, |next| source[next + column * step]);
                pairs::pair(source[start + column * step], second)
            }
        });
        Self { pairs: true, ..panels }
    }

    /// Of which `row` gives for each row what its columns are; `by_rows` tells whether those stand side by side.
    fn filled<Row: Fn(usize) -> f32>(
        depth: usize,
        columns: usize,
        by_rows: bool,
        row: impl Fn(usize) -> Row + Sync,
    ) -> Self {
        let panel = tile::panel();
        let mut data = Buffer::new(depth * tile::padded(columns));
        data.as_mut().par_chunks_mut(depth * panel).enumerate().for_each(|(p, chunk)| {
            let (first, valid) = (p * panel, panel.min(columns - p * panel));
            let wide = chunk.len() / depth;
            // A square at a time, so that both sides stay in the cache.
            for (block, lines) in chunk.chunks_mut(wide * SQUARE).enumerate() {
                let rows: Vec<_> = (block * SQUARE..).take(lines.len() / wide).map(&row).collect();
                if by_rows {
                    for (line, row) in lines.chunks_exact_mut(wide).zip(rows) {
                        line[..valid]
                            .iter_mut()
                            .zip(first..)
                            .for_each(|(value, column)| *value = row(column));
                        line[valid..].fill(0.0);
                    }
                    continue;
                }
                for lane in 0..wide {
                    let value = |row: &Row| if lane < valid { row(first + lane) } else { 0.0 };
                    lines[lane..].iter_mut().step_by(wide).zip(&rows).for_each(|(to, row)| *to = value(row));
                }
            }
        });
        Self { weights: Weights::Packed(data), depth, columns, pairs: false }
    }

    /// A matrix whose rows are contiguous, to be multiplied by so many others: where they pay for it, it is packed.
    pub fn for_rows(rows: usize, source: &'a [f32], depth: usize, columns: usize) -> Self {
        if rows < PACK || columns <= tile::panel() {
            Self::rows(source, depth, columns)
        } else {
            Self::pack(source, depth, columns, |k| k * columns, 1)
        }
    }

    /// A matrix whose rows are contiguous; nothing is copied if they consist of whole vectors.
    pub fn rows(source: &'a [f32], depth: usize, columns: usize) -> Self {
        assert_eq!(source.len(), depth * columns, "numbers of the matrix");
        if tile::padded(columns) == columns {
            Self { weights: Weights::Rows(source), depth, columns, pairs: false }
        } else {
            Self::pack(source, depth, columns, |k| k * columns, 1)
        }
    }

    /// First column, number of columns, and distance between steps of each panel.
    fn each(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let panel = tile::panel();
        (0..self.columns).step_by(panel).map(move |start| {
            let columns = panel.min(self.columns - start);
            let step = match self.weights {
                Weights::Packed(_) => tile::padded(columns),
                Weights::Rows(_) => self.columns,
            };
            (start, columns, step)
        })
    }

    fn start(&self, column: usize) -> *const f32 {
        match &self.weights {
            Weights::Packed(data) => data.as_ref()[column * self.depth..].as_ptr(),
            Weights::Rows(data) => data[column..].as_ptr(),
        }
    }
}

/// The weights of a convolution, for the loops that suit its sizes.
#[derive(Debug)]
pub enum Packed {
    /// For sums over every weight.
    Panels(Panels<'static>),
    /// For sums over pairs of bfloat16.
    Pairs(Panels<'static>),
    /// For Winograd's way.
    Filters(Filters),
}

/// Channels of the input from which on pairs of them are multiplied.
const PAIRED: usize = 16;

impl Packed {
    /// See [`Panels::pack`]: the matrix is `[height * width * c_in, c_out]`.
    pub fn of(
        shape: &Shape,
        precision: Precision,
        source: &[f32],
        row: impl Fn(usize) -> usize + Sync,
        step: usize,
    ) -> Self {
        if precision == Precision::Bf16 && shape.c_in >= PAIRED {
            let sizes = [shape.kernel[0] * shape.kernel[1], shape.c_in, shape.c_out];
            Self::Pairs(Panels::pack_pairs(source, sizes, row, step))
        } else if winograd::suits(shape) {
            Self::Filters(Filters::pack(source, [shape.c_in, shape.c_out], row, step))
        } else {
            Self::Panels(Panels::pack(source, shape.depth(), shape.c_out, row, step))
        }
    }

    /// Of a kernel `[c_out, c_in, height, width]`.
    pub fn of_kernel(shape: &Shape, precision: Precision, kernel: &[f32]) -> Self {
        let (area, c_in) = (shape.kernel[0] * shape.kernel[1], shape.c_in);
        Self::of(shape, precision, kernel, |k| k % c_in * area + k / c_in, c_in * area)
    }
}

/// The input with its channels in pairs.
fn in_pairs(shape: &Shape, input: &[f32]) -> (Shape, Buffer) {
    let shape_of_pairs = Shape { c_in: shape.c_in.div_ceil(2), ..*shape };
    (shape_of_pairs, pairs::along_rows(input, shape.c_in))
}

/// `output = finish(input * kernel)`, whole maps.
pub fn convolve(shape: &Shape, input: &[f32], kernel: &Packed, output: &mut [f32], last: Finish) {
    match kernel {
        Packed::Panels(panels) => forward(shape, input, panels, output, Target::whole(shape), last),
        Packed::Pairs(panels) => {
            let (shape, input) = in_pairs(shape, input);
            forward(&shape, input.as_ref(), panels, output, Target::whole(&shape), last);
        }
        Packed::Filters(filters) => winograd::forward(shape, input, filters, output, last, false),
    }
}

/// As [`convolve`], and then the maximum of each window of results; windows touch, and what does not fill one is left out.
pub fn convolve_maximum(
    shape: &Shape,
    input: &[f32],
    kernel: &Packed,
    output: &mut [f32],
    last: Finish,
    window: [usize; 2],
) {
    match kernel {
        Packed::Panels(panels) => forward_maximum(shape, input, panels, output, last, window),
        Packed::Pairs(panels) => {
            let (shape, input) = in_pairs(shape, input);
            forward_maximum(&shape, input.as_ref(), panels, output, last, window);
        }
        Packed::Filters(filters) if window == [2, 2] => {
            winograd::forward(shape, input, filters, output, last, true);
        }
        Packed::Filters(filters) => {
            let mut whole = Buffer::new(shape.output_len());
            winograd::forward(shape, input, filters, whole.as_mut(), last, false);
            let line = shape.output[1] * shape.c_out;
            let used = shape.output[0] / window[0] * window[0];
            let maps = whole.as_ref().chunks(shape.output[0] * line).map(|map| &map[..used * line]);
            let rows: Vec<_> = maps.flat_map(|map| map.chunks(window[0] * line)).collect();
            let lines = output.par_chunks_mut((shape.output[1] / window[1] * shape.c_out).max(1));
            lines.zip(rows).for_each(|(to, from)| maxima(from, shape.c_out, window, to));
        }
    }
}

/// Where results go: the distances between rows, columns and maps of results, and where the first one stands.
#[derive(Clone, Copy)]
pub struct Target {
    /// First result.
    pub start: usize,
    /// From a map to the next.
    pub map: usize,
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub column: usize,
}

impl Target {
    /// A whole tensor.
    pub fn whole(shape: &Shape) -> Self {
        let [height, width] = shape.output;
        Self { start: 0, map: height * width * shape.c_out, row: width * shape.c_out, column: shape.c_out }
    }
}

/// A pointer that tasks share; each writes its own part.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub T);
// SAFETY: see where it is used: the tasks write places that do not overlap.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    pub fn get(self) -> T {
        self.0
    }
}

/// `output = finish(input * kernel)`; `panels` holds the kernel as a matrix of `[depth, c_out]`.
pub fn forward(
    shape: &Shape,
    input: &[f32],
    panels: &Panels<'_>,
    output: &mut [f32],
    target: Target,
    last: Finish,
) {
    assert_eq!(input.len(), shape.input_len(), "numbers of the input");
    assert_eq!([panels.depth, panels.columns], [shape.depth(), shape.c_out], "numbers of the kernel");
    let end = target.start
        + (shape.batch - 1) * target.map
        + (shape.output[0] - 1) * target.row
        + (shape.output[1] - 1) * target.column
        + shape.c_out;
    assert!(end <= output.len(), "numbers of the result");
    let whole = target.start == 0 && target.column == shape.c_out;
    let flat = if whole { shape.flat() } else { *shape };
    let (shape, target) = (&flat, if flat == *shape { target } else { Target::whole(&flat) });
    let inside = shape.inside();
    let blocks = shape.blocks(shape.share());
    let panel_list: Vec<_> = panels.each().collect();
    let groups = (4 * rayon::current_num_threads()).div_ceil(blocks.len()).min(panel_list.len()).max(1);
    let group = panel_list.len().div_ceil(groups);
    let tasks: Vec<_> =
        blocks.iter().flat_map(|block| panel_list.chunks(group).map(move |p| (block, p))).collect();
    let (output, last) = (Shared(output.as_mut_ptr()), Shared(last));
    tasks.into_par_iter().for_each_init(Buffer::default, |scratch, (block, list)| {
        let patches = Patches::of(shape, inside, input, block, scratch);
        let start =
            target.start + block.map * target.map + block.top * target.row + block.left * target.column;
        // SAFETY: `end` above is the last result, and no two tasks share a pixel and a panel.
        unsafe {
            let to = (output.get().add(start), [target.row, target.column]);
            block_sums(shape, &patches, [block.rows, block.columns], panels, list, to, last.get());
        }
    });
}

/// The results of a block in some panels: where the first one goes, and the distances between rows and columns of results.
///
/// # Safety
/// All results of the block can be written there, and nobody else touches them.
unsafe fn block_sums(
    shape: &Shape,
    patches: &Patches,
    [rows, columns_across]: [usize; 2],
    panels: &Panels<'_>,
    list: &[(usize, usize, usize)],
    (to, apart): (*mut f32, [usize; 2]),
    last: Finish,
) {
    let passes = shape.passes(patches.width);
    // Of a long run the results are read again for each pass rather than the patches for each panel.
    let order: Vec<_> = if passes[0].steps == RUN {
        (0..passes.len()).flat_map(|pass| list.iter().map(move |panel| (pass, panel))).collect()
    } else {
        list.iter().flat_map(|panel| (0..passes.len()).map(move |pass| (pass, panel))).collect()
    };
    for (pass, &(start, columns, b_step)) in order {
        let Pass { runs, steps } = &passes[pass];
        let runs: Vec<_> = runs.iter().map(|&(tap, k)| (tap, k * b_step)).collect();
        let finish = if pass + 1 == passes.len() { last.from(start) } else { Finish::STORE };
        let finish = Finish { add: finish.add || pass > 0, ..finish };
        for row in 0..rows {
            for column in (0..columns_across).step_by(ROWS) {
                let place = row * shape.stride[0] * patches.width + column * shape.stride[1];
                // SAFETY: the patches of the block are in the input or the scratch buffer, the panels end with whole vectors, and
                // the results are the caller's.
                unsafe {
                    tile::run(&Tile {
                        a: patches.data.add(place * shape.c_in),
                        a_row: shape.stride[1] * shape.c_in,
                        a_step: 1,
                        b: panels.start(start),
                        b_step,
                        runs: &runs,
                        steps: *steps,
                        c: to.add(row * apart[0] + column * apart[1] + start),
                        c_row: apart[1],
                        rows: ROWS.min(columns_across - column),
                        columns,
                        pairs: panels.pairs,
                        finish,
                    });
                }
            }
        }
    }
}

/// As [`forward`], and then the maximum of each window of results; windows touch, and what does not fill one is left out.
fn forward_maximum(
    shape: &Shape,
    input: &[f32],
    panels: &Panels<'_>,
    output: &mut [f32],
    last: Finish,
    window: [usize; 2],
) {
    let size = [0, 1].map(|axis| shape.output[axis] / window[axis]);
    let c_out = shape.c_out;
    assert_eq!(input.len(), shape.input_len(), "numbers of the input");
    assert_eq!([panels.depth, panels.columns], [shape.depth(), c_out], "numbers of the kernel");
    assert_eq!(output.len(), shape.batch * size[0] * size[1] * c_out, "numbers of the result");
    // Blocks are made of whole windows.
    let shape = &Shape { output: [0, 1].map(|axis| size[axis] * window[axis]), ..*shape };
    let block = shape.block(shape.share());
    let blocks = shape.blocks_of([0, 1].map(|axis| block[axis].next_multiple_of(window[axis])));
    let (inside, list, last) = (shape.inside(), panels.each().collect::<Vec<_>>(), Shared(last));
    let output = Shared(output.as_mut_ptr());
    blocks.into_par_iter().for_each_init(<[Buffer; 2]>::default, |[scratch, sums], block| {
        let patches = Patches::of(shape, inside, input, &block, scratch);
        sums.reserve(block.rows * block.columns * c_out);
        let to = (sums.as_mut().as_mut_ptr(), [block.columns * c_out, c_out]);
        // SAFETY: the sums are of this task.
        unsafe { block_sums(shape, &patches, [block.rows, block.columns], panels, &list, to, last.get()) };
        let across = block.columns / window[1];
        for (row, sums) in sums.as_ref().chunks(window[0] * block.columns * c_out).enumerate() {
            let line = (block.map * size[0] + block.top / window[0] + row) * size[1];
            let start = (line + block.left / window[1]) * c_out;
            // SAFETY: these results are of this block only, and `size` says that they are there.
            let line = unsafe { std::slice::from_raw_parts_mut(output.get().add(start), across * c_out) };
            maxima(sums, c_out, window, line);
        }
    });
}

vectorised! {
    /// The maximum of each window of one row of windows; what is not a number wins.
    fn maxima(from: &[f32], channels: usize, window: [usize; 2], to: &mut [f32]) {
        let line = from.len() / window[0];
        for (at, to) in to.chunks_exact_mut(channels).enumerate() {
            to.fill(f32::NEG_INFINITY);
            for y in 0..window[0] {
                for x in 0..window[1] {
                    let pixel = &from[y * line + (at * window[1] + x) * channels..][..channels];
                    for (to, value) in to.iter_mut().zip(pixel) {
                        *to = if *to >= *value { *to } else { *value };
                    }
                }
            }
        }
    }
}

/// The gradient of the kernel, `[height, width, c_in, c_out]`, from the input and the gradient of the result.
pub fn kernel_gradient(shape: &Shape, precision: Precision, input: &[f32], gradient: &[f32]) -> Buffer {
    assert_eq!(input.len(), shape.input_len(), "numbers of the input");
    assert_eq!(gradient.len(), shape.output_len(), "numbers of the gradient");
    let shape = shape.flat();
    // Pairs of pixels, which are rows here; a kernel with neighbours would need them at every distance.
    let rows = shape.input[1];
    if precision == Precision::Bf16 && shape == Shape::dense(rows, shape.c_in, shape.c_out) {
        let (input, gradient) =
            (pairs::across_rows(input, shape.c_in), pairs::across_rows(gradient, shape.c_out));
        let shape = Shape::dense(rows.div_ceil(2), shape.c_in, shape.c_out);
        return pixel_sums(&shape, input.as_ref(), gradient.as_ref(), true);
    }
    pixel_sums(&shape, input, gradient, false)
}

/// The sums over all pixels of the products of the input, at every place of the kernel, with the gradient; both may be pairs.
fn pixel_sums(shape: &Shape, input: &[f32], gradient: &[f32], pairs: bool) -> Buffer {
    let mut result = Buffer::new(shape.kernel_len());
    result.as_mut().fill(0.0);
    if shape.pixel_by_pixel() && shape.c_in >= FAR {
        pixel_products([shape.c_in, shape.c_out], input, gradient, pairs, result.as_mut());
        return result;
    }
    // The same blocks on any number of threads: their sums are added up in this order.
    let (inside, blocks) = (shape.inside(), shape.blocks(BLOCK));
    let (panel, c_out) = (tile::panel(), shape.c_out);
    let (taps, run) = shape.taps(1);
    let pieces: Vec<_> = (0..c_out)
        .step_by(panel)
        .flat_map(|start| (0..taps.len()).map(move |tap| (start, tap)))
        .flat_map(|(start, tap)| (0..run).step_by(ROWS).map(move |row| (start, tap, row)))
        .collect();
    let group = pieces.len().div_ceil(2 * rayon::current_num_threads());
    let to = Shared(result.as_mut().as_mut_ptr());
    pieces.par_chunks(group).for_each_init(
        <(Buffer, Buffer)>::default,
        |(scratch, columns_scratch), list| {
            for block in &blocks {
                let patches = Patches::of(shape, inside, input, block, scratch);
                let (taps, run) = shape.taps(patches.width);
                let mut packed = None;
                for &(start, tap, row) in list {
                    let columns = panel.min(c_out - start);
                    // Rows of the gradient that are longer than a panel would lie far apart.
                    let (b, b_step, b_line) = if columns == c_out && tile::padded(columns) == columns {
                        let from = ((block.map * shape.output[0] + block.top) * shape.output[1] + block.left)
                            * c_out;
                        (gradient[from..].as_ptr(), c_out, shape.output[1] * c_out)
                    } else {
                        if packed != Some(start) {
                            pack_gradient(shape, gradient, block, start..start + columns, columns_scratch);
                            packed = Some(start);
                        }
                        let step = tile::padded(columns);
                        (columns_scratch.as_ref().as_ptr(), step, step * block.columns)
                    };
                    let a_line = shape.stride[0] * patches.width * shape.c_in;
                    let runs: Vec<_> = (0..block.rows).map(|y| (y * a_line, y * b_line)).collect();
                    // SAFETY: the patches and the gradient of the block, as in `forward`; each piece is of one task only.
                    unsafe {
                        tile::run(&Tile {
                            a: patches.data.add(taps[tap] + row),
                            a_row: 1,
                            a_step: shape.stride[1] * shape.c_in,
                            b,
                            b_step,
                            runs: &runs,
                            steps: block.columns,
                            c: to.get().add((tap * run + row) * c_out + start),
                            c_row: c_out,
                            rows: ROWS.min(run - row),
                            columns,
                            pairs,
                            finish: Finish::ADD,
                        });
                    }
                }
            }
        },
    );
    result
}

/// Adds to `result`, `[c_in, c_out]`, the sum over all pixels of the products of every channel of the input with every channel of
/// the gradient. Blocks of pixels are the same on any number of threads, and their sums are added up in order.
fn pixel_products(
    [c_in, c_out]: [usize; 2],
    input: &[f32],
    gradient: &[f32],
    pairs: bool,
    result: &mut [f32],
) {
    let starts: Vec<_> = (0..c_out).step_by(tile::panel()).collect();
    let tasks = 2 * rayon::current_num_threads();
    let row_parts = tasks.div_ceil(starts.len()).max(c_in.div_ceil(CHANNELS)).min(c_in.div_ceil(ROWS));
    let rows = c_in.div_ceil(row_parts).next_multiple_of(ROWS);
    let panels = starts.len().div_ceil(tasks.div_ceil(row_parts));
    let parts: Vec<_> = (0..c_in)
        .step_by(rows)
        .flat_map(|row| starts.chunks(panels).map(move |starts| (row..c_in.min(row + rows), starts)))
        .collect();
    let to = Shared(result.as_mut_ptr());
    parts.into_par_iter().for_each_init(<[Buffer; 2]>::default, |[rows_of, columns_of], (rows, starts)| {
        for (input, gradient) in input.chunks(PIXELS * c_in).zip(gradient.chunks(PIXELS * c_out)) {
            let pixels = input.len() / c_in;
            pack_rows(input, c_in, rows.clone(), rows_of);
            for &start in starts {
                let columns = tile::panel().min(c_out - start);
                let b = if columns == c_out && tile::padded(columns) == columns {
                    gradient
                } else {
                    columns_of.reserve(pixels * tile::padded(columns));
                    pack_columns(gradient, c_out, start..start + columns, columns_of.as_mut());
                    columns_of.as_ref()
                };
                for (tile, row) in rows.clone().step_by(ROWS).enumerate() {
                    // SAFETY: what was just packed is as large; each row and column of the result is of one task only.
                    unsafe {
                        tile::run(&Tile {
                            a: rows_of.as_ref()[tile * strip(pixels)..].as_ptr(),
                            a_row: 1,
                            a_step: ROWS,
                            b: b.as_ptr(),
                            b_step: tile::padded(columns),
                            runs: &[(0, 0)],
                            steps: pixels,
                            c: to.get().add(row * c_out + start),
                            c_row: c_out,
                            rows: ROWS.min(rows.end - row),
                            columns,
                            pairs,
                            finish: Finish::ADD,
                        });
                    }
                }
            }
        }
    });
}

/// Some channels of pixels, as many at a time as a tile has rows; from such a strip to the next it is [`strip`].
fn pack_rows(input: &[f32], c_in: usize, channels: Range<usize>, to: &mut Buffer) {
    let strip = strip(input.len() / c_in);
    to.reserve(channels.len().div_ceil(ROWS) * strip);
    let to = to.as_mut().as_chunks_mut::<ROWS>().0;
    for (at, pixel) in input.chunks_exact(c_in).enumerate() {
        let (whole, rest) = pixel[channels.clone()].as_chunks::<ROWS>();
        let mut places = to[at..].iter_mut().step_by(strip / ROWS);
        (&mut places).zip(whole).for_each(|(to, from)| *to = *from);
        places.next().into_iter().for_each(|to| to[..rest.len()].copy_from_slice(rest));
    }
}

/// A little more than its numbers, so that strips do not begin on the same lines of the cache.
fn strip(pixels: usize) -> usize {
    ROWS * (pixels + 3)
}

/// Some channels of pixels, filled up to whole vectors.
fn pack_columns(gradient: &[f32], c_out: usize, channels: Range<usize>, to: &mut [f32]) {
    let step = tile::padded(channels.len());
    for (pixel, to) in gradient.chunks_exact(c_out).zip(to.chunks_exact_mut(step)) {
        to[..channels.len()].copy_from_slice(&pixel[channels.clone()]);
        to[channels.len()..].fill(0.0);
    }
}

/// The same of all rows of a block.
fn pack_gradient(
    shape: &Shape,
    gradient: &[f32],
    block: &Block,
    channels: Range<usize>,
    scratch: &mut Buffer,
) {
    let line = block.columns * tile::padded(channels.len());
    scratch.reserve(block.rows * line);
    for (row, to) in scratch.as_mut().chunks_exact_mut(line).enumerate() {
        let first = (block.map * shape.output[0] + block.top + row) * shape.output[1] + block.left;
        let pixels = &gradient[first * shape.c_out..][..block.columns * shape.c_out];
        pack_columns(pixels, shape.c_out, channels.clone(), to);
    }
}

/// The gradient of the input, from the gradient of the result and the kernel as `[c_out, c_in, height, width]`.
///
/// For a stride of `s`, the pixels of the input whose row and column leave the same remainder by `s` meet the same weights: each of
/// the `s * s` sets is a plain convolution of the gradient with some of the weights, turned around.
pub fn input_gradient(
    shape: &Shape,
    precision: Precision,
    kernel: &[f32],
    gradient: &[f32],
    result: &mut [f32],
) {
    assert_eq!(result.len(), shape.input_len(), "numbers of the input");
    assert_eq!(gradient.len(), shape.output_len(), "numbers of the gradient");
    for top in 0..shape.stride[0].min(shape.input[0]) {
        for left in 0..shape.stride[1].min(shape.input[1]) {
            phase(shape, precision, kernel, gradient, result, [top, left]);
        }
    }
}

/// The pixels of the input at `first + i * stride`.
fn phase(
    shape: &Shape,
    precision: Precision,
    kernel: &[f32],
    gradient: &[f32],
    result: &mut [f32],
    first: [usize; 2],
) {
    let [rows, columns] = std::array::from_fn(|axis| Phase::of(shape, axis, first[axis]));
    let [height, width] = shape.input;
    let c = shape.c_in;
    let output = std::array::from_fn(|axis| (shape.input[axis] - first[axis]).div_ceil(shape.stride[axis]));
    let target = Target {
        start: (first[0] * width + first[1]) * c,
        map: height * width * c,
        row: shape.stride[0] * width * c,
        column: shape.stride[1] * c,
    };
    if rows.taps.is_empty() || columns.taps.is_empty() {
        return clear(shape.batch, output, target, c, result);
    }
    let [kh, kw] = shape.kernel;
    let (across, c_out) = (columns.taps.len(), shape.c_out);
    let row = |k: usize| {
        let (tap, channel) = (k / c_out, k % c_out);
        let (y, x) = (rows.taps[tap / across], columns.taps[tap % across]);
        channel * c * kh * kw + y * kw + x
    };
    let turned = Shape {
        batch: shape.batch,
        input: shape.output,
        c_in: c_out,
        kernel: [rows.taps.len(), across],
        stride: [1, 1],
        dilation: [rows.step, columns.step],
        padding: [rows.padding, columns.padding],
        output,
        c_out: c,
    };
    if shape.stride == [1, 1] {
        let packed = Packed::of(&turned, precision, kernel, row, kh * kw);
        return convolve(&turned, gradient, &packed, result, Finish::STORE);
    }
    let panels = Panels::pack(kernel, turned.depth(), c, row, kh * kw);
    forward(&turned, gradient, &panels, result, target, Finish::STORE);
}

/// Which weights meet the pixels `first + i * stride` of an axis.
struct Phase {
    /// Weights, in the order in which their results stand.
    taps: Vec<usize>,
    /// Distance between these results.
    step: usize,
    /// How far before result `i` the first of them stands.
    padding: isize,
}

impl Phase {
    /// Pixel `p` and weight `k` belong to result `(p + padding - k * dilation) / stride` where that is whole.
    fn of(shape: &Shape, axis: usize, first: usize) -> Self {
        let (stride, dilation) = (shape.stride[axis] as isize, shape.dilation[axis] as isize);
        let place = |k: usize| first as isize + shape.padding[axis] - k as isize * dilation;
        let taps: Vec<usize> =
            (0..shape.kernel[axis]).rev().filter(|&k| place(k).rem_euclid(stride) == 0).collect();
        let at = |k: usize| place(k).div_euclid(stride);
        let padding = taps.first().map_or(0, |&k| -at(k));
        let step = if let [a, b, ..] = taps[..] { (at(b) - at(a)) as usize } else { 1 };
        Self { taps, step, padding }
    }
}

fn clear(batch: usize, output: [usize; 2], target: Target, channels: usize, result: &mut [f32]) {
    for map in 0..batch {
        for row in 0..output[0] {
            for column in 0..output[1] {
                let at = target.start + map * target.map + row * target.row + column * target.column;
                result[at..at + channels].fill(0.0);
            }
        }
    }
}
