//! Depthwise convolution of channels-last maps and its two gradients: every channel has a kernel of its own.
//!
//! Maps are `[batch, height, width, channels]`, kernels `[height, width, channels]`. Vectors go over the channels; a few results
//! side by side share each load of a weight.

use rayon::prelude::*;

use crate::cpu::convolution::Shape;
use crate::cpu::memory::Buffer;
use crate::cpu::simd::{Vector, by_vector};

/// Results that share a load of a weight.
const SHARE: usize = 4;
/// Fewer results are left to one thread.
const LEAST: usize = 8 * 1024;
/// Numbers of the gradient that are summed up for themselves.
const BLOCK: usize = 64 * 1024;
/// Vectors of sums side by side, so that none waits for itself.
const VECTORS: usize = 4;

/// `output = input * kernel + bias`; of `shape` the number of channels must be the same on both sides.
pub fn forward(shape: &Shape, input: &[f32], kernel: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    check(shape, kernel);
    assert_eq!([input.len(), output.len()], [shape.input_len(), shape.output_len()], "numbers of the maps");
    assert!(bias.is_none_or(|bias| bias.len() == shape.c_out), "numbers of the bias");
    let axes = [0, 1].map(|axis| Axis::forward(shape, axis));
    Plan::new(axes, shape.input, shape).run(input, kernel, bias, output);
}

/// The gradient of the input, from the kernel and the gradient of the result.
pub fn input_gradient(shape: &Shape, kernel: &[f32], gradient: &[f32], result: &mut [f32]) {
    check(shape, kernel);
    assert_eq!(
        [result.len(), gradient.len()],
        [shape.input_len(), shape.output_len()],
        "numbers of the maps"
    );
    let axes = [0, 1].map(|axis| Axis::backward(shape, axis));
    Plan::new(axes, shape.output, shape).run(gradient, kernel, None, result);
}

/// The gradient of the kernel, `[height, width, channels]`, from the input and the gradient of the result.
pub fn kernel_gradient(shape: &Shape, input: &[f32], gradient: &[f32]) -> Buffer {
    assert_eq!(shape.c_in, shape.c_out, "as many results as channels");
    assert_eq!([input.len(), gradient.len()], [shape.input_len(), shape.output_len()], "numbers of the maps");
    let len = shape.kernel[0] * shape.kernel[1] * shape.c_in;
    let [height, width] = shape.output;
    let rows = (BLOCK / (width * shape.c_in).max(1)).clamp(1, height.max(1));
    let blocks: Vec<_> =
        (0..shape.batch).flat_map(|n| (0..height).step_by(rows).map(move |top| (n, top))).collect();
    let axes = [0, 1].map(|axis| Axis::taps(shape, axis));
    let sums: Vec<_> = blocks
        .into_par_iter()
        .map(|(n, top)| {
            let mut sums = Buffer::new(len);
            sums.as_mut().fill(0.0);
            for row in top..height.min(top + rows) {
                row_sums(shape, &axes, [n, row], input, gradient, sums.as_mut());
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; len];
    for sums in &sums {
        total.iter_mut().zip(sums.as_ref()).for_each(|(total, sum)| *total += f64::from(*sum));
    }
    let mut result = Buffer::new(len);
    result.as_mut().iter_mut().zip(total).for_each(|(result, total)| *result = total as f32);
    result
}

fn check(shape: &Shape, kernel: &[f32]) {
    assert_eq!(shape.c_in, shape.c_out, "as many results as channels");
    assert_eq!(kernel.len(), shape.kernel[0] * shape.kernel[1] * shape.c_in, "numbers of the kernel");
}

/// Which weights meet which places of the source, for each result along an axis.
struct Axis {
    /// For each result: (weight, place).
    meets: Vec<Vec<(usize, usize)>>,
    /// Results this far apart meet the same weights, but for borders.
    phase: usize,
    /// Distance of their places.
    step: usize,
}

impl Axis {
    /// Where weight `k` of result `at` lies in the input.
    fn place(shape: &Shape, axis: usize, at: usize, k: usize) -> Option<usize> {
        let place = (at * shape.stride[axis] + k * shape.dilation[axis]) as isize - shape.padding[axis];
        usize::try_from(place).ok().filter(|&place| place < shape.input[axis])
    }

    fn forward(shape: &Shape, axis: usize) -> Self {
        let weights = 0..shape.kernel[axis];
        let of = |at| weights.clone().filter_map(|k| Some((k, Self::place(shape, axis, at, k)?))).collect();
        Self { meets: (0..shape.output[axis]).map(of).collect(), phase: 1, step: shape.stride[axis] }
    }

    fn backward(shape: &Shape, axis: usize) -> Self {
        let mut meets = vec![Vec::new(); shape.input[axis]];
        for at in 0..shape.output[axis] {
            for k in 0..shape.kernel[axis] {
                if let Some(place) = Self::place(shape, axis, at, k) {
                    meets[place].push((k, at));
                }
            }
        }
        Self { meets, phase: shape.stride[axis], step: 1 }
    }

    /// For each weight: the results that meet a place, as a range, and the place of the first.
    fn taps(shape: &Shape, axis: usize) -> Vec<(std::ops::Range<usize>, usize)> {
        let of = |k| {
            let mut met =
                (0..shape.output[axis]).filter_map(|at| Some((at, Self::place(shape, axis, at, k)?)));
            let Some((first, place)) = met.next() else { return (0..0, 0) };
            (first..met.next_back().map_or(first, |(last, _)| last) + 1, place)
        };
        (0..shape.kernel[axis]).map(of).collect()
    }

    /// How many results from `at` on, a phase apart, meet the same weights.
    fn alike(&self, at: usize) -> usize {
        let first = &self.meets[at];
        let same = |i: &usize| {
            let shifted = first.iter().map(|&(k, place)| (k, place + i * self.step));
            let other = self.meets.get(at + i * self.phase);
            other.is_some_and(|other| other.len() == first.len() && shifted.eq(other.iter().copied()))
        };
        (1..).take_while(same).count() + 1
    }
}

/// A convolution or its transpose: which weights each result meets.
struct Plan {
    axes: [Axis; 2],
    /// Height and width of the source.
    source: [usize; 2],
    /// Width of the kernel.
    across: usize,
    channels: usize,
    /// Columns in runs that meet the same weights: the first, and how many that lie a phase apart.
    runs: Vec<(usize, usize)>,
}

impl Plan {
    fn new(axes: [Axis; 2], source: [usize; 2], shape: &Shape) -> Self {
        let along = &axes[1];
        let mut runs = Vec::new();
        for phase in 0..along.phase.min(along.meets.len()) {
            let mut at = phase;
            while at < along.meets.len() {
                let alike = along.alike(at);
                runs.push((at, alike));
                at += along.phase * alike;
            }
        }
        Self { axes, source, across: shape.kernel[1], channels: shape.c_in, runs }
    }

    /// All results.
    fn run(&self, source: &[f32], kernel: &[f32], bias: Option<&[f32]>, result: &mut [f32]) {
        let [rows, columns] = self.axes.each_ref().map(|axis| axis.meets.len());
        let (line, map) = (columns * self.channels, self.source[0] * self.source[1] * self.channels);
        if result.is_empty() {
            return;
        }
        let lines = result.par_chunks_mut(line).enumerate().with_min_len(LEAST.div_ceil(line));
        lines.for_each_init(Vec::new, |taps, (at, result)| {
            row(self, at % rows, &source[at / rows * map..][..map], kernel, bias, result, taps);
        });
    }
}

by_vector! {
    /// Row `at` of the results of a map; `taps` is memory to use.
    fn row<T>(
        plan: &Plan, at: usize, source: &[f32], kernel: &[f32], bias: Option<&[f32]>, result: &mut [f32],
        taps: &mut Vec<(usize, usize)>,
    ) {
        let (c, [down, along]) = (plan.channels, &plan.axes);
        let distance = [along.step * c, along.phase * c];
        for &(start, count) in &plan.runs {
            taps.clear();
            for &(y, row) in &down.meets[at] {
                for &(x, column) in &along.meets[start] {
                    taps.push(((row * plan.source[1] + column) * c, (y * plan.across + x) * c));
                }
            }
            Sums { channels: c, source, taps, kernel, bias, distance }.run::<T>(count, &mut result[start * c..]);
        }
    }
}

/// What a run of results is made of: for each channel the sum of `source * kernel` over `taps`, each of which says where
/// channel 0 of both stands for the first result. For the next, the source and the result are `distance` away.
struct Sums<'a> {
    channels: usize,
    source: &'a [f32],
    taps: &'a [(usize, usize)],
    kernel: &'a [f32],
    bias: Option<&'a [f32]>,
    distance: [usize; 2],
}

impl Sums<'_> {
    /// `count` results.
    #[inline(always)]
    fn run<T: Vector>(&self, count: usize, result: &mut [f32]) {
        let (c, [near, far]) = (self.channels, self.distance);
        let fits = |&(from, weight): &(usize, usize)| {
            from + (count - 1) * near + c <= self.source.len() && weight + c <= self.kernel.len()
        };
        assert!(self.taps.iter().all(fits) && self.bias.is_none_or(|bias| bias.len() == c));
        assert!((count - 1) * far + c <= result.len());
        // SAFETY: as was just asserted for all results of the run.
        unsafe {
            let whole = count / SHARE * SHARE;
            (0..whole).step_by(SHARE).for_each(|first| self.write::<T, SHARE, 2>(first, result));
            (whole..count).for_each(|first| self.write::<T, 1, VECTORS>(first, result));
        }
    }

    /// `N` results from `first` on, `V` vectors of channels at once.
    ///
    /// # Safety
    /// Of each result the channels are within the bias, the source and the kernel at each tap, and `result`.
    #[inline(always)]
    unsafe fn write<T: Vector, const N: usize, const V: usize>(&self, first: usize, result: &mut [f32]) {
        let (c, [near, far]) = (self.channels, self.distance);
        let mut channel = 0;
        while channel + V * T::LANES <= c {
            // SAFETY: the caller's, and so many channels follow.
            unsafe { self.vectors::<T, N, V>(first, channel, result) };
            channel += V * T::LANES;
        }
        while channel < c && T::LANES <= c {
            // SAFETY: as above. The last vector may begin within the one before it.
            unsafe { self.vectors::<T, N, 1>(first, channel.min(c - T::LANES), result) };
            channel += T::LANES;
        }
        for channel in channel..c {
            for i in first..first + N {
                let term = |&(from, weight): &(usize, usize)| {
                    self.source[from + i * near + channel] * self.kernel[weight + channel]
                };
                let start = self.bias.map_or(0.0, |bias| bias[channel]);
                result[i * far + channel] = self.taps.iter().map(term).fold(start, |sum, term| sum + term);
            }
        }
    }

    /// `V` vectors of channels.
    ///
    /// # Safety
    /// As in [`Self::write`], and there are so many channels from `channel` on.
    #[inline(always)]
    unsafe fn vectors<T: Vector, const N: usize, const V: usize>(
        &self,
        first: usize,
        channel: usize,
        result: &mut [f32],
    ) {
        let [near, far] = self.distance;
        let (skip, to) = (first * near + channel, first * far + channel);
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[T::splat(0.0); V]; N];
            if let Some(bias) = self.bias {
                for (v, start) in (0..V).map(|v| (v, T::load(bias.as_ptr().add(channel + v * T::LANES)))) {
                    sums.iter_mut().for_each(|sums| sums[v] = start);
                }
            }
            for &(from, weight) in self.taps {
                let (from, weight) =
                    (self.source.as_ptr().add(from + skip), self.kernel.as_ptr().add(weight + channel));
                for v in 0..V {
                    let weight = T::load(weight.add(v * T::LANES));
                    for (i, sums) in sums.iter_mut().enumerate() {
                        sums[v] = sums[v].fma(T::load(from.add(i * near + v * T::LANES)), weight);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    sum.store(result.as_mut_ptr().add(to + i * far + v * T::LANES));
                }
            }
        }
    }
}

/// Adds to `sums` what row `row` of the gradient of map `n` gives.
fn row_sums(
    shape: &Shape,
    axes: &[Vec<(std::ops::Range<usize>, usize)>; 2],
    [n, row]: [usize; 2],
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    let c = shape.c_in;
    let [down, along] = axes;
    let line = (n * shape.output[0] + row) * shape.output[1];
    for (y, (rows, first)) in down.iter().enumerate().filter(|(_, (rows, _))| rows.contains(&row)) {
        let from = (n * shape.input[0] + first + (row - rows.start) * shape.stride[0]) * shape.input[1];
        for (x, (columns, first)) in along.iter().enumerate().filter(|(_, (columns, _))| !columns.is_empty())
        {
            let gradient = &gradient[(line + columns.start) * c..(line + columns.end) * c];
            let input = &input[(from + first) * c..];
            let sums = &mut sums[(y * shape.kernel[1] + x) * c..][..c];
            products(c, shape.stride[1] * c, input, gradient, sums);
        }
    }
}

by_vector! {
    /// Adds to `sums` for each channel the sum of `input * gradient`; pixels of the input are `step` apart.
    fn products<T>(c: usize, step: usize, input: &[f32], gradient: &[f32], sums: &mut [f32]) {
        let pixels = gradient.len() / c;
        assert!((pixels - 1) * step + c <= input.len() && sums.len() == c);
        let mut channel = 0;
        while channel + VECTORS * T::LANES <= c {
            // SAFETY: so many channels follow, in each pixel.
            unsafe { column::<T, VECTORS>(c, step, channel, input, gradient, sums) };
            channel += VECTORS * T::LANES;
        }
        while channel + T::LANES <= c {
            // SAFETY: as above.
            unsafe { column::<T, 1>(c, step, channel, input, gradient, sums) };
            channel += T::LANES;
        }
        for channel in channel..c {
            let mut sum = 0.0;
            for (pixel, gradient) in gradient.chunks_exact(c).enumerate() {
                sum += input[pixel * step + channel] * gradient[channel];
            }
            sums[channel] += sum;
        }
    }
}

/// `V` vectors of channels.
///
/// # Safety
/// As in [`products`], where `channel + V * LANES` is at most `c`.
#[inline(always)]
unsafe fn column<T: Vector, const V: usize>(
    c: usize,
    step: usize,
    channel: usize,
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    // SAFETY: the caller's.
    unsafe {
        let mut total = [T::splat(0.0); V];
        let (mut input, mut gradient, end) = (
            input.as_ptr().add(channel),
            gradient.as_ptr().add(channel),
            gradient.as_ptr().add(gradient.len()),
        );
        while gradient < end {
            for (v, total) in total.iter_mut().enumerate() {
                *total = total.fma(T::load(input.add(v * T::LANES)), T::load(gradient.add(v * T::LANES)));
            }
            input = input.wrapping_add(step);
            gradient = gradient.wrapping_add(c);
        }
        for (v, total) in total.into_iter().enumerate() {
            let sum = sums.as_mut_ptr().add(channel + v * T::LANES);
            T::load(sum).add(total).store(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads};

    fn shape(
        map: [usize; 4],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [isize; 2],
        dilation: usize,
    ) -> Shape {
        let [batch, height, width, channels] = map;
        let output = std::array::from_fn(|axis| {
            let room = [height, width][axis] as isize + 2 * padding[axis];
            (room as usize - (kernel[axis] - 1) * dilation - 1) / stride[axis] + 1
        });
        Shape {
            batch,
            input: [height, width],
            c_in: channels,
            kernel,
            stride,
            dilation: [dilation; 2],
            padding,
            output,
            c_out: channels,
        }
    }

    fn shapes() -> Vec<Shape> {
        let mut all = Vec::new();
        for map in [[1, 7, 9, 1], [2, 6, 11, 3], [1, 13, 12, 16], [3, 7, 8, 33], [1, 9, 17, 100]] {
            all.push(shape(map, [3, 3], [1, 1], [1, 1], 1));
            all.push(shape(map, [3, 3], [2, 2], [1, 1], 1));
            all.push(shape(map, [3, 3], [2, 2], [0, 0], 1));
            all.push(shape(map, [5, 5], [1, 2], [2, 2], 1));
            all.push(shape(map, [3, 2], [3, 4], [1, 0], 1));
            all.push(shape(map, [3, 3], [1, 1], [2, 2], 2));
            all.push(shape(map, [1, 7], [1, 1], [0, 3], 1));
            // Keras' "same" with a stride: more zeros behind than in front.
            all.push(Shape { padding: [0, 0], ..shape(map, [3, 3], [2, 2], [1, 1], 1) });
        }
        all.push(shape([2, 1, 90, 24], [1, 31], [1, 1], [0, 15], 1));
        all.push(shape([1, 2, 1, 8], [3, 3], [1, 1], [1, 1], 1));
        all
    }

    /// Output, gradient of the input, gradient of the kernel.
    fn naive(s: &Shape, x: &[f32], kernel: &[f32], bias: &[f32], dy: &[f32]) -> [Vec<f64>; 3] {
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; kernel.len()]);
        for i in 0..dy.len() {
            let (c, at) = (i % s.c_in, i / s.c_in);
            let [n, row, column] =
                [at / (s.output[0] * s.output[1]), at / s.output[1] % s.output[0], at % s.output[1]];
            y[i] = f64::from(bias[c]);
            for k in 0..s.kernel[0] * s.kernel[1] {
                let [down, along] = [k / s.kernel[1], k % s.kernel[1]];
                let row = (row * s.stride[0] + down * s.dilation[0]) as isize - s.padding[0];
                let column = (column * s.stride[1] + along * s.dilation[1]) as isize - s.padding[1];
                let [height, width] = s.input.map(|n| n as isize);
                if (0..height).contains(&row) && (0..width).contains(&column) {
                    let from = ((n as isize * height + row) * width + column) as usize * s.c_in + c;
                    let weight = k * s.c_in + c;
                    let [value, factor, slope] = [x[from], kernel[weight], dy[i]].map(f64::from);
                    y[i] += value * factor;
                    dx[from] += slope * factor;
                    dw[weight] += slope * value;
                }
            }
        }
        [y, dx, dw]
    }

    #[test]
    fn results_and_gradients() {
        let large = [
            shape([2, 60, 70, 40], [3, 3], [1, 1], [1, 1], 1),
            shape([2, 61, 70, 70], [5, 5], [2, 2], [2, 2], 1),
        ];
        for s in shapes().into_iter().chain(large) {
            let [x, dy] = [(s.input_len(), 1), (s.output_len(), 2)].map(|(n, seed)| random(n, seed));
            let kernel = random(s.kernel[0] * s.kernel[1] * s.c_in, 3);
            let bias = random(s.c_in, 4);
            let [y, dx, dw] = naive(&s, &x, &kernel, &bias, &dy);
            let mut got = vec![7.0; y.len()];
            forward(&s, &x, &kernel, Some(&bias), &mut got);
            close(&format!("y {s:?}"), &got, &y, 1e-5);
            let mut got = vec![7.0; dx.len()];
            input_gradient(&s, &kernel, &dy, &mut got);
            close(&format!("dx {s:?}"), &got, &dx, 1e-5);
            close(&format!("dw {s:?}"), kernel_gradient(&s, &x, &dy).as_ref(), &dw, 1e-5);
            let [plain, ..] = naive(&s, &x, &kernel, &vec![0.0; s.c_in], &dy);
            let mut got = vec![7.0; y.len()];
            forward(&s, &x, &kernel, None, &mut got);
            close(&format!("without bias {s:?}"), &got, &plain, 1e-5);
        }
    }

    #[test]
    fn threads_change_nothing() {
        let s = shape([3, 60, 70, 40], [3, 3], [1, 1], [1, 1], 1);
        let [x, dy] = [(s.input_len(), 1), (s.output_len(), 2)].map(|(n, seed)| random(n, seed));
        same_on_any_threads(|| kernel_gradient(&s, &x, &dy).as_ref().to_vec());
    }
}
