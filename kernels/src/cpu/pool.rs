//! Pooling of channels-last maps: the maximum or the mean of windows, and the mean of whole maps.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::memory::Buffer;
use crate::cpu::norm::{Lines, sums_of, total};
use crate::cpu::simd::vectorised;

/// Sizes of a pooling; all maps are `[batch, height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Maps.
    pub batch: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Places between two windows.
    pub stride: [usize; 2],
    /// Places above and left of the input where windows begin; they never win.
    pub padding: [usize; 2],
    /// Windows in height and width. The last ones may reach beyond the input, so that this decides how sizes are rounded.
    pub output: [usize; 2],
}

impl Shape {
    /// Numbers of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.channels
    }

    /// Numbers of the result.
    pub fn output_len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.channels
    }

    fn check(&self) {
        for axis in 0..2 {
            let last = (self.output[axis].max(1) - 1) * self.stride[axis];
            let [first, last] = [0, last].map(|start| start as isize - self.padding[axis] as isize);
            let inside = last < self.input[axis] as isize && first + self.kernel[axis] as isize > 0;
            assert!(self.output[axis] == 0 || inside, "every window has a place within the input: {self:?}");
        }
    }

    /// Places of the input in the windows of index `at`, and which place of the window is the first of them.
    #[inline(always)]
    fn window(&self, axis: usize, at: usize) -> (Range<usize>, usize) {
        let (start, padding) = (at * self.stride[axis], self.padding[axis]);
        let places =
            start.saturating_sub(padding)..(start + self.kernel[axis] - padding).min(self.input[axis]);
        let cut = padding.saturating_sub(start);
        (places, cut)
    }

    /// Windows that hold place `at` of the input.
    #[inline(always)]
    fn holders(&self, axis: usize, at: usize) -> Range<usize> {
        let (place, stride) = (at + self.padding[axis], self.stride[axis]);
        let first = (place + 1).saturating_sub(self.kernel[axis]).div_ceil(stride);
        first..(place / stride + 1).min(self.output[axis])
    }
}

/// For each result of [`maximum`], which place of its window it came from.
#[derive(Debug, Default)]
pub struct Winners {
    /// Four to a number.
    memory: Buffer,
    len: usize,
}

impl Winners {
    fn new(len: usize) -> Self {
        Self { memory: Buffer::new(len.div_ceil(size_of::<f32>())), len }
    }

    /// Index in the window, row by row, for each result.
    pub fn as_ref(&self) -> &[u8] {
        // SAFETY: the memory holds `len` bytes at least, which are initialised, as all of a buffer is.
        unsafe { std::slice::from_raw_parts(self.memory.as_ref().as_ptr().cast(), self.len) }
    }

    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_ref`, the buffer is borrowed as a whole, and any four bytes make up a number.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut().as_mut_ptr().cast(), self.len) }
    }
}

/// What the mean of a window is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// Places within the input.
    Inside,
    /// Places within the input and a padding as wide below and right of it as above and left, as in PyTorch's `count_include_pad`.
    Padded,
}

/// The maximum of each window. Of equal numbers the first wins; what is not a number wins over all numbers.
pub fn maximum(x: &[f32], shape: &Shape) -> Buffer {
    check(x, shape);
    let mut y = Buffer::new(shape.output_len());
    rows(y.as_mut(), shape)
        .for_each(|(at, y)| maximum_row::<false>(map(x, shape, at), shape, at, y, &mut []));
    y
}

/// The same, and what [`maximum_gradient`] needs.
pub fn maximum_with_winners(x: &[f32], shape: &Shape) -> (Buffer, Winners) {
    check(x, shape);
    assert!(shape.kernel[0] * shape.kernel[1] <= 256, "a window of at most 256 places");
    let (mut y, mut winners) = (Buffer::new(shape.output_len()), Winners::new(shape.output_len()));
    let row = (shape.output[1] * shape.channels).max(1);
    rows(y.as_mut(), shape)
        .zip(winners.as_mut().par_chunks_mut(row))
        .for_each(|((at, y), winners)| maximum_row::<true>(map(x, shape, at), shape, at, y, winners));
    (y, winners)
}

/// The gradient of the input of [`maximum_with_winners`] from that of its result.
pub fn maximum_gradient(dy: &[f32], winners: &Winners, shape: &Shape) -> Buffer {
    shape.check();
    assert_eq!([dy.len(), winners.len], [shape.output_len(); 2], "numbers of the gradient");
    let mut dx = Buffer::new(shape.input_len());
    let map = shape.output[0] * shape.output[1] * shape.channels;
    input_rows(dx.as_mut(), shape).for_each(|(at, dx)| {
        let part = at / shape.input[0] * map..(at / shape.input[0] + 1) * map;
        maximum_gradient_row(&dy[part.clone()], &winners.as_ref()[part], shape, at % shape.input[0], dx);
    });
    dx
}

/// The mean of each window.
pub fn average(x: &[f32], shape: &Shape, divisor: Divisor) -> Buffer {
    check(x, shape);
    let mut y = Buffer::new(shape.output_len());
    rows(y.as_mut(), shape).for_each(|(at, y)| average_row(map(x, shape, at), shape, divisor, at, y));
    y
}

/// The gradient of the input of [`average`] from that of its result.
pub fn average_gradient(dy: &[f32], shape: &Shape, divisor: Divisor) -> Buffer {
    shape.check();
    assert_eq!(dy.len(), shape.output_len(), "numbers of the gradient");
    let mut dx = Buffer::new(shape.input_len());
    let map = shape.output[0] * shape.output[1] * shape.channels;
    input_rows(dx.as_mut(), shape).for_each(|(at, dx)| {
        let dy = &dy[at / shape.input[0] * map..][..map];
        average_gradient_row(dy, shape, divisor, at % shape.input[0], dx);
    });
    dx
}

/// The mean of each channel over the pixels of each of `batch` maps: `[batch, .., channels]` → `[batch, channels]`.
pub fn mean(x: &[f32], batch: usize, channels: usize) -> Buffer {
    let mut y = Buffer::new(batch * channels);
    if y.as_ref().is_empty() {
        return y;
    }
    assert!(x.len().is_multiple_of(batch * channels), "{} numbers in {batch} maps", x.len());
    let (map, lines) = (x.len() / batch, Lines::of(x, channels));
    let pixels = (map / channels) as f64;
    y.as_mut().par_chunks_mut(channels).enumerate().for_each(|(n, y)| {
        let parts = x[n * map..][..map].par_chunks(lines.task()).map(|x| sums_of(x, &lines));
        let [sums] = total(&parts.collect::<Vec<_>>(), channels);
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / pixels) as f32);
    });
    y
}

/// The gradient of the input of [`mean`] from that of its result, `[batch, channels]`; a map has `pixels` pixels.
pub fn mean_gradient(dy: &[f32], batch: usize, pixels: usize) -> Buffer {
    let mut dx = Buffer::new(dy.len() * pixels);
    if dx.as_ref().is_empty() {
        return dx;
    }
    assert!(dy.len().is_multiple_of(batch), "{} numbers in {batch} maps", dy.len());
    let channels = dy.len() / batch;
    let tasks = dx.as_mut().par_chunks_mut(pixels * channels).zip(dy.par_chunks(channels));
    tasks.for_each(|(dx, dy)| {
        let dy: Vec<f32> = dy.iter().map(|dy| dy / pixels as f32).collect();
        dx.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(&dy));
    });
    dx
}

fn check(x: &[f32], shape: &Shape) {
    shape.check();
    assert_eq!(x.len(), shape.input_len(), "numbers of the input");
}

/// The rows of all results, numbered.
fn rows<'a>(y: &'a mut [f32], shape: &Shape) -> impl IndexedParallelIterator<Item = (usize, &'a mut [f32])> {
    y.par_chunks_mut((shape.output[1] * shape.channels).max(1)).enumerate()
}

/// The rows of all inputs, numbered.
fn input_rows<'a>(
    x: &'a mut [f32],
    shape: &Shape,
) -> impl IndexedParallelIterator<Item = (usize, &'a mut [f32])> {
    x.par_chunks_mut((shape.input[1] * shape.channels).max(1)).enumerate()
}

/// The map of the input that row `at` of all results comes from.
fn map<'a>(x: &'a [f32], shape: &Shape, at: usize) -> &'a [f32] {
    let map = shape.input[0] * shape.input[1] * shape.channels;
    &x[at / shape.output[0] * map..][..map]
}

/// Whether `value` takes the place of the maximum `best` so far.
#[inline(always)]
fn beats(value: f32, best: f32) -> bool {
    value > best || value.is_nan()
}

vectorised! {
    fn maximum_row<const RECORD: bool>(x: &[f32], shape: &Shape, at: usize, y: &mut [f32], winners: &mut [u8]) {
        let (c, line) = (shape.channels, shape.input[1] * shape.channels);
        let (down, cut_above) = shape.window(0, at % shape.output[0]);
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let winners = if RECORD { &mut winners[column * c..][..c] } else { &mut [] };
            let (across, cut_left) = shape.window(1, column);
            let pixel = |row: usize, column: usize| &x[row * line + column * c..][..c];
            if [shape.kernel, [down.len(), across.len()]] == [[2, 2]; 2] {
                let [top, left] = [down.start, across.start];
                let upper = [pixel(top, left), pixel(top, left + 1)];
                let lower = [pixel(top + 1, left), pixel(top + 1, left + 1)];
                for i in 0..c {
                    let mut best = (upper[0][i], 0);
                    for (place, value) in [(1, upper[1][i]), (2, lower[0][i]), (3, lower[1][i])] {
                        best = if beats(value, best.0) { (value, place) } else { best };
                    }
                    y[i] = best.0;
                    if RECORD {
                        winners[i] = best.1;
                    }
                }
                continue;
            }
            let first = (cut_above * shape.kernel[1] + cut_left) as u8;
            y.copy_from_slice(pixel(down.start, across.start));
            winners.fill(first);
            for row in down.clone() {
                for column in across.clone() {
                    let place = (row - down.start + cut_above) * shape.kernel[1] + column - across.start + cut_left;
                    let (place, value) = (place as u8, pixel(row, column));
                    if place == first {
                        continue;
                    }
                    for i in 0..c {
                        let better = beats(value[i], y[i]);
                        y[i] = if better { value[i] } else { y[i] };
                        if RECORD {
                            winners[i] = if better { place } else { winners[i] };
                        }
                    }
                }
            }
        }
    }

    /// Each place gathers from the windows that hold it, in their order.
    fn maximum_gradient_row(dy: &[f32], winners: &[u8], shape: &Shape, row: usize, dx: &mut [f32]) {
        let c = shape.channels;
        let above = shape.holders(0, row);
        for (column, dx) in dx.chunks_exact_mut(c).enumerate() {
            let left = shape.holders(1, column);
            let mut first = true;
            for y in above.clone() {
                for x in left.clone() {
                    let [down, across] = [row + shape.padding[0] - y * shape.stride[0], column + shape.padding[1] - x * shape.stride[1]];
                    let place = (down * shape.kernel[1] + across) as u8;
                    let at = (y * shape.output[1] + x) * c;
                    let (dy, winners) = (&dy[at..][..c], &winners[at..][..c]);
                    if first {
                        for ((dx, dy), winner) in dx.iter_mut().zip(dy).zip(winners) {
                            *dx = if *winner == place { *dy } else { 0.0 };
                        }
                        first = false;
                    } else {
                        for ((dx, dy), winner) in dx.iter_mut().zip(dy).zip(winners) {
                            *dx += if *winner == place { *dy } else { 0.0 };
                        }
                    }
                }
            }
            if first {
                dx.fill(0.0);
            }
        }
    }

    fn average_row(x: &[f32], shape: &Shape, divisor: Divisor, at: usize, y: &mut [f32]) {
        let (c, line) = (shape.channels, shape.input[1] * shape.channels);
        let row = at % shape.output[0];
        let down = shape.window(0, row).0;
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let across = shape.window(1, column).0;
            let share = divisor.share(shape, [row, column]);
            y.fill(0.0);
            for from in down.clone() {
                for x in x[from * line..][across.start * c..across.end * c].chunks_exact(c) {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                }
            }
            y.iter_mut().for_each(|y| *y *= share);
        }
    }

    fn average_gradient_row(dy: &[f32], shape: &Shape, divisor: Divisor, row: usize, dx: &mut [f32]) {
        let c = shape.channels;
        let above = shape.holders(0, row);
        for (column, dx) in dx.chunks_exact_mut(c).enumerate() {
            dx.fill(0.0);
            for y in above.clone() {
                for x in shape.holders(1, column) {
                    let share = divisor.share(shape, [y, x]);
                    let dy = &dy[(y * shape.output[1] + x) * c..][..c];
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
                }
            }
        }
    }
}

impl Divisor {
    /// One by the number of places of a window.
    #[inline(always)]
    fn share(self, shape: &Shape, window: [usize; 2]) -> f32 {
        let places = |axis: usize| match self {
            Self::Inside => shape.window(axis, window[axis]).0.len(),
            Self::Padded => {
                let start = window[axis] * shape.stride[axis];
                (start + shape.kernel[axis]).min(shape.input[axis] + 2 * shape.padding[axis]) - start
            }
        };
        1.0 / (places(0) * places(1)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads};

    fn shape(
        [batch, height, width, channels]: [usize; 4],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        up: bool,
    ) -> Shape {
        let input = [height, width];
        let output = std::array::from_fn(|axis| {
            let free = input[axis] + 2 * padding[axis] - kernel[axis];
            let windows = if up { free.div_ceil(stride[axis]) } else { free / stride[axis] } + 1;
            // As PyTorch: a window that begins behind the input and what stands before it is left out.
            if (windows - 1) * stride[axis] >= input[axis] + padding[axis] { windows - 1 } else { windows }
        });
        Shape { batch, input, channels, kernel, stride, padding, output }
    }

    fn shapes() -> Vec<Shape> {
        let mut all = Vec::new();
        for map in [[1, 6, 8, 1], [2, 7, 9, 3], [3, 8, 5, 16], [1, 9, 11, 33], [2, 5, 7, 130]] {
            for up in [false, true] {
                all.push(shape(map, [2, 2], [2, 2], [0, 0], up));
                all.push(shape(map, [3, 3], [2, 2], [1, 1], up));
                all.push(shape(map, [3, 3], [1, 1], [1, 1], up));
                all.push(shape(map, [3, 2], [2, 3], [1, 0], up));
                all.push(shape(map, [1, 4], [1, 4], [0, 2], up));
                all.push(shape(map, [2, 2], [3, 3], [0, 0], up));
                all.push(shape(map, [5, 5], [1, 1], [2, 2], up));
            }
        }
        all.push(shape([2, 1, 50, 8], [1, 4], [1, 4], [0, 0], false));
        all.push(shape([1, 16, 16, 3], [16, 16], [1, 1], [0, 0], false));
        all
    }

    /// For each result the places of the input in its window: (index in the input, index in the window).
    fn places(s: &Shape) -> Vec<Vec<(usize, u8)>> {
        let [height, width] = s.input.map(|n| n as isize);
        let mut all = Vec::new();
        for i in 0..s.output_len() {
            let (channel, at) = (i % s.channels, i / s.channels);
            let [n, y, x] =
                [at / (s.output[0] * s.output[1]), at / s.output[1] % s.output[0], at % s.output[1]];
            let mut list = Vec::new();
            for place in 0..s.kernel[0] * s.kernel[1] {
                let row = (y * s.stride[0] + place / s.kernel[1]) as isize - s.padding[0] as isize;
                let column = (x * s.stride[1] + place % s.kernel[1]) as isize - s.padding[1] as isize;
                if (0..height).contains(&row) && (0..width).contains(&column) {
                    let pixel = (n * s.input[0] + row as usize) * s.input[1] + column as usize;
                    list.push((pixel * s.channels + channel, place as u8));
                }
            }
            all.push(list);
        }
        all
    }

    #[test]
    fn maximum_and_its_gradient() {
        for s in shapes() {
            // Few different numbers, so that the same one often stands twice in a window.
            let x: Vec<f32> = random(s.input_len(), 1).iter().map(|x| (x * 4.0).round()).collect();
            let dy = random(s.output_len(), 2);
            let (mut y, mut winners, mut dx) = (Vec::new(), Vec::new(), vec![0.0; x.len()]);
            for (list, dy) in places(&s).iter().zip(&dy) {
                let first =
                    list.iter().copied().reduce(|best, at| if x[at.0] > x[best.0] { at } else { best });
                let (at, place) = first.unwrap();
                y.push(x[at]);
                winners.push(place);
                dx[at] += f64::from(*dy);
            }
            let (got, record) = maximum_with_winners(&x, &s);
            assert_eq!(got.as_ref(), y, "{s:?}");
            assert_eq!(record.as_ref(), winners, "{s:?}");
            assert_eq!(maximum(&x, &s).as_ref(), y, "{s:?}");
            close(&format!("{s:?}"), maximum_gradient(&dy, &record, &s).as_ref(), &dx, 1e-6);
        }
    }

    /// As PyTorch: the last of several.
    #[test]
    fn what_is_not_a_number_wins() {
        for s in [
            shape([1, 2, 2, 1], [2, 2], [2, 2], [0, 0], false),
            shape([1, 2, 2, 1], [2, 2], [1, 1], [1, 1], false),
        ] {
            let (y, winners) = maximum_with_winners(&[f32::NAN, 5.0, f32::NAN, 7.0], &s);
            let middle = s.output[0] / 2 * s.output[1] + s.output[1] / 2;
            assert!(y.as_ref()[middle].is_nan());
            assert_eq!(winners.as_ref()[middle], 2);
        }
        let s = shape([1, 2, 2, 1], [2, 2], [2, 2], [0, 0], false);
        let (y, winners) = maximum_with_winners(&[f32::NEG_INFINITY; 4], &s);
        assert_eq!((y.as_ref(), winners.as_ref()), (&[f32::NEG_INFINITY][..], &[0][..]));
    }

    #[test]
    fn average_and_its_gradient() {
        for s in shapes() {
            for divisor in [Divisor::Inside, Divisor::Padded] {
                let (x, dy) = (random(s.input_len(), 1), random(s.output_len(), 2));
                let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
                for (i, list) in places(&s).iter().enumerate() {
                    let at = i / s.channels;
                    let window = [at / s.output[1] % s.output[0], at % s.output[1]];
                    let padded = |axis: usize| {
                        let places = window[axis] * s.stride[axis]..;
                        places
                            .take(s.kernel[axis])
                            .filter(|&p| p < s.input[axis] + 2 * s.padding[axis])
                            .count()
                    };
                    let count = match divisor {
                        Divisor::Inside => list.len(),
                        Divisor::Padded => padded(0) * padded(1),
                    };
                    y.push(list.iter().map(|at| f64::from(x[at.0])).sum::<f64>() / count as f64);
                    list.iter().for_each(|at| dx[at.0] += f64::from(dy[i]) / count as f64);
                }
                close(&format!("{s:?}"), average(&x, &s, divisor).as_ref(), &y, 1e-5);
                close(&format!("{s:?}"), average_gradient(&dy, &s, divisor).as_ref(), &dx, 1e-5);
            }
        }
    }

    #[test]
    fn mean_of_maps_and_its_gradient() {
        for [batch, pixels, channels] in [[1, 1, 1], [2, 35, 3], [3, 7, 130], [1, 9_000, 24], [2, 700, 257]] {
            let x = random(batch * pixels * channels, 1);
            let dy = random(batch * channels, 2);
            let mut y = vec![0.0; dy.len()];
            let mut dx = Vec::new();
            for (i, x) in x.iter().enumerate() {
                let at = i / (pixels * channels) * channels + i % channels;
                y[at] += f64::from(*x) / pixels as f64;
                dx.push(f64::from(dy[at]) / pixels as f64);
            }
            close("mean", mean(&x, batch, channels).as_ref(), &y, 1e-5);
            close("dx", mean_gradient(&dy, batch, pixels).as_ref(), &dx, 1e-6);
        }
    }

    #[test]
    fn threads_change_nothing() {
        let s = shape([2, 30, 41, 24], [3, 3], [2, 2], [1, 1], true);
        let (x, dy) = (random(s.input_len(), 1), random(s.output_len(), 2));
        same_on_any_threads(|| {
            let (y, winners) = maximum_with_winners(&x, &s);
            let dx = maximum_gradient(&dy, &winners, &s);
            let average = [average(&x, &s, Divisor::Inside), average_gradient(&dy, &s, Divisor::Inside)];
            let [a, b] = average.map(|x| x.as_ref().to_vec());
            [a, b, y.as_ref().to_vec(), dx.as_ref().to_vec(), mean(&x, 1, 24).as_ref().to_vec()]
        });
    }
}
