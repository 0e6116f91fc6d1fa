//! Batch normalisation over the channels of channels-last maps, and the gradient of a ReLU with that of a bias.
//!
//! All sums over pixels are taken in blocks of rows whose size depends on the shape alone, in `f32` within a block and in
//! `f64` from block to block, in the order of the blocks: results do not depend on the number of threads.

use rayon::prelude::*;

use crate::cpu::memory::Buffer;
use crate::cpu::simd::vectorised;

/// Numbers of a block: small enough to be read a second time from the cache.
const BLOCK: usize = 64 * 1024;
/// Most rows of a block, so that sums in `f32` stay exact enough.
const BLOCK_ROWS: usize = 256;
/// Numbers of a line where channels are few: enough for a loop over vectors.
const LINE: usize = 256;
/// Blocks of a task.
const TASK: usize = 2;

/// Mean and variance of each channel.
#[derive(Debug)]
pub struct Statistics {
    /// Sum over the pixels divided by their number.
    pub mean: Buffer,
    /// Mean square of the deviations from the mean (the biased estimate).
    pub variance: Buffer,
}

/// `y = (x - mean) / sqrt(variance + epsilon) * gamma + beta` for each channel, and perhaps a ReLU after it.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Of the batch, or running ones.
    pub mean: &'a [f32],
    /// As `mean`.
    pub variance: &'a [f32],
    /// Scale.
    pub gamma: &'a [f32],
    /// Shift.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether negative results become zero.
    pub relu: bool,
}

/// What [`gradient`] finds.
#[derive(Debug)]
pub struct Gradients {
    /// As the input.
    pub input: Buffer,
    /// Of the scale, one a channel.
    pub gamma: Buffer,
    /// Of the shift, one a channel.
    pub beta: Buffer,
}

/// Mean and biased variance of the channels of `x`, `[.., channels]`.
///
/// Each block of rows has its own mean taken out before squares are summed, and blocks are joined as Chan, Golub and
/// LeVeque 1979 do: nothing cancels when the mean is large beside the deviations.
pub fn statistics(x: &[f32], channels: usize) -> Statistics {
    let lines = Lines::of(x, channels);
    let parts: Vec<_> = x.par_chunks(lines.task()).map(|x| Moments::of(x, &lines)).collect();
    let mut all = Moments::none(channels);
    parts.iter().for_each(|part| all.join(part));
    let variance = all.squares.iter().map(|sum| sum.max(0.0) / all.rows.max(1.0));
    Statistics { variance: narrowed(variance), mean: narrowed(all.mean) }
}

/// Applies `norm` to `x`, `[.., channels]`.
pub fn normalise(x: &[f32], norm: &Norm<'_>) -> Buffer {
    let lines = Lines::of(x, norm.mean.len());
    let factors = Factors::of(norm, &lines);
    let [mean, scale, beta] = factors.lines();
    let mut y = Buffer::new(x.len());
    let tasks = y.as_mut().par_chunks_mut(lines.block).zip(x.par_chunks(lines.block));
    match norm.relu {
        true => tasks.for_each(|(y, x)| apply::<true>(x, mean, scale, beta, y)),
        false => tasks.for_each(|(y, x)| apply::<false>(x, mean, scale, beta, y)),
    }
    y
}

/// Gradients of [`normalise`] from its input and the gradient `dy` of its result.
///
/// Unless `frozen`, mean and variance are those of `x` itself, and the gradient goes through them too.
pub fn gradient(x: &[f32], dy: &[f32], norm: &Norm<'_>, frozen: bool) -> Gradients {
    assert_eq!(x.len(), dy.len(), "numbers of the gradient");
    let lines = Lines::of(x, norm.mean.len());
    let factors = &Factors::of(norm, &lines);
    let parts: Vec<_> = (x.par_chunks(lines.task()).zip(dy.par_chunks(lines.task())))
        .map(|(x, dy)| gradient_sums_of(x, dy, factors, &lines, norm.relu))
        .collect();
    let [mut gamma, beta] = total(&parts, lines.channels);
    for (sum, inverse) in gamma.iter_mut().zip(&factors.inverse) {
        *sum *= inverse;
    }
    // dx = scale * (dy - mean(dy) - x̂ * mean(dy * x̂)) with x̂ = (x - mean) * inverse; the means are those over the rows.
    let rows = if frozen { f64::INFINITY } else { (x.len() / lines.channels) as f64 };
    let shift = lines.widened(|c| -beta[c] / rows);
    let slope = lines.widened(|c| -gamma[c] * factors.inverse[c] / rows);
    let (shift, slope) = (shift.as_ref(), slope.as_ref());
    let mut dx = Buffer::new(x.len());
    let tasks = dx.as_mut().par_chunks_mut(lines.block).zip(x.par_chunks(lines.block));
    let tasks = tasks.zip(dy.par_chunks(lines.block));
    let [mean, scale, bias] = factors.lines();
    match norm.relu {
        true => tasks.for_each(|((dx, x), dy)| back::<true>(x, dy, mean, scale, bias, shift, slope, dx)),
        false => tasks.for_each(|((dx, x), dy)| back::<false>(x, dy, mean, scale, bias, shift, slope, dx)),
    }
    Gradients { input: dx, gamma: narrowed(gamma), beta: narrowed(beta) }
}

/// The gradient before a bias and a ReLU, from the one after them: `dy` becomes zero where the result `y` of the ReLU is not
/// positive; returned are the sums of each channel, the gradient of the bias.
pub fn relu_and_bias_gradient(dy: &mut [f32], y: &[f32], channels: usize) -> Buffer {
    assert_eq!(y.len(), dy.len(), "numbers of the result");
    let lines = Lines::of(dy, channels);
    let tasks = dy.par_chunks_mut(lines.task()).zip(y.par_chunks(lines.task()));
    let parts: Vec<_> = tasks.map(|(dy, y)| masked_sums_of(dy, y, &lines)).collect();
    let [sums] = total(&parts, channels);
    narrowed(sums)
}

/// The gradient of a bias: the sum of each channel of `dy`.
pub fn bias_gradient(dy: &[f32], channels: usize) -> Buffer {
    let lines = Lines::of(dy, channels);
    let parts: Vec<_> = dy.par_chunks(lines.task()).map(|dy| sums_of(dy, &lines)).collect();
    let [sums] = total(&parts, channels);
    narrowed(sums)
}

/// How the channels of a map lie in lines of whole vectors: rows of few channels are laid side by side.
pub(crate) struct Lines {
    channels: usize,
    /// Numbers of a line, a multiple of `channels`.
    width: usize,
    /// Numbers of a block of lines.
    block: usize,
}

impl Lines {
    pub(crate) fn of(x: &[f32], channels: usize) -> Self {
        assert!(
            channels > 0 && x.len().is_multiple_of(channels),
            "{} numbers in {channels} channels",
            x.len()
        );
        // Rows that make up whole vectors (of 16 numbers) together.
        let whole = if channels < LINE { 16 >> channels.trailing_zeros().min(4) } else { 1 };
        let width = channels * whole * (LINE / (channels * whole)).max(1);
        let rows = (BLOCK / width).clamp(8, BLOCK_ROWS);
        Self { channels, width, block: rows * width }
    }

    /// Numbers of a task.
    pub(crate) fn task(&self) -> usize {
        TASK * self.block
    }

    /// A line of `of(channel)`.
    fn widened(&self, of: impl Fn(usize) -> f64) -> Buffer {
        let mut line = Buffer::new(self.width);
        let (row, rest) = line.as_mut().split_at_mut(self.channels);
        row.iter_mut().enumerate().for_each(|(channel, value)| *value = of(channel) as f32);
        rest.chunks_exact_mut(self.channels).for_each(|copy| copy.copy_from_slice(row));
        line
    }
}

/// The sum of each channel of some rows, block by block.
pub(crate) fn sums_of(x: &[f32], lines: &Lines) -> [Vec<f64>; 1] {
    let mut sums = vec![0.0; lines.channels];
    let mut line = Buffer::new(lines.width);
    for x in x.chunks(lines.block) {
        line.as_mut().fill(0.0);
        column_sums(x, line.as_mut());
        add_rows(line.as_ref(), &mut sums);
    }
    [sums]
}

/// The same after `dy` was set to zero where `y` is not positive.
fn masked_sums_of(dy: &mut [f32], y: &[f32], lines: &Lines) -> [Vec<f64>; 1] {
    let mut sums = vec![0.0; lines.channels];
    let mut line = Buffer::new(lines.width);
    for (dy, y) in dy.chunks_mut(lines.block).zip(y.chunks(lines.block)) {
        line.as_mut().fill(0.0);
        masked_sums(dy, y, line.as_mut());
        add_rows(line.as_ref(), &mut sums);
    }
    [sums]
}

/// The sums of `dy * (x - mean)` and of `dy` of some rows.
fn gradient_sums_of(x: &[f32], dy: &[f32], factors: &Factors, lines: &Lines, relu: bool) -> [Vec<f64>; 2] {
    let mut sums = [vec![0.0; lines.channels], vec![0.0; lines.channels]];
    let mut line = [Buffer::new(lines.width), Buffer::new(lines.width)];
    let [mean, scale, beta] = factors.lines();
    for (x, dy) in x.chunks(lines.block).zip(dy.chunks(lines.block)) {
        let [products, plain] = line.each_mut().map(|line| line.as_mut());
        products.fill(0.0);
        plain.fill(0.0);
        match relu {
            true => gradient_sums::<true>(x, dy, mean, scale, beta, products, plain),
            false => gradient_sums::<false>(x, dy, mean, scale, beta, products, plain),
        }
        for (line, sums) in line.iter().zip(&mut sums) {
            add_rows(line.as_ref(), sums);
        }
    }
    sums
}

/// Sums over all parts, in their order.
pub(crate) fn total<const N: usize>(parts: &[[Vec<f64>; N]], channels: usize) -> [Vec<f64>; N] {
    let mut all = std::array::from_fn(|_| vec![0.0; channels]);
    for part in parts {
        for (all, part) in all.iter_mut().zip(part) {
            all.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
    }
    all
}

pub(crate) fn narrowed(values: impl IntoIterator<Item = f64, IntoIter: ExactSizeIterator>) -> Buffer {
    let values = values.into_iter();
    let mut result = Buffer::new(values.len());
    result.as_mut().iter_mut().zip(values).for_each(|(result, value)| *result = value as f32);
    result
}

/// Lines of what [`Norm`] does to each channel.
struct Factors {
    mean: Buffer,
    /// `gamma * inverse`.
    scale: Buffer,
    beta: Buffer,
    /// `1 / sqrt(variance + epsilon)` of each channel.
    inverse: Vec<f64>,
}

impl Factors {
    fn of(norm: &Norm<'_>, lines: &Lines) -> Self {
        let all = [norm.mean, norm.variance, norm.gamma, norm.beta];
        assert!(all.iter().all(|values| values.len() == lines.channels), "one number for each channel");
        let inverse: Vec<f64> = norm
            .variance
            .iter()
            .map(|&variance| (f64::from(variance) + norm.epsilon).sqrt().recip())
            .collect();
        Self {
            mean: lines.widened(|c| f64::from(norm.mean[c])),
            scale: lines.widened(|c| f64::from(norm.gamma[c]) * inverse[c]),
            beta: lines.widened(|c| f64::from(norm.beta[c])),
            inverse,
        }
    }

    /// Mean, scale and beta.
    fn lines(&self) -> [&[f32]; 3] {
        [self.mean.as_ref(), self.scale.as_ref(), self.beta.as_ref()]
    }
}

/// Mean of each channel and sum of squared deviations from it, over `rows` rows.
struct Moments {
    rows: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn none(channels: usize) -> Self {
        Self { rows: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    fn of(x: &[f32], lines: &Lines) -> Self {
        let mut all = Self::none(lines.channels);
        let [mut line, mut squares] = [Buffer::new(lines.width), Buffer::new(lines.width)];
        for x in x.chunks(lines.block) {
            let mut block = Self::none(lines.channels);
            block.rows = (x.len() / lines.channels) as f64;
            line.as_mut().fill(0.0);
            column_sums(x, line.as_mut());
            add_rows(line.as_ref(), &mut block.mean);
            let mean = lines.widened(|c| block.mean[c] / block.rows);
            line.as_mut().fill(0.0);
            squares.as_mut().fill(0.0);
            deviations(x, mean.as_ref(), line.as_mut(), squares.as_mut());
            // `mean` was rounded: what is left of the deviations corrects it.
            let mut rest = vec![0.0; lines.channels];
            add_rows(line.as_ref(), &mut rest);
            add_rows(squares.as_ref(), &mut block.squares);
            for (c, rest) in rest.into_iter().enumerate() {
                block.mean[c] = f64::from(mean.as_ref()[c]) + rest / block.rows;
                block.squares[c] = (block.squares[c] - rest * rest / block.rows).max(0.0);
            }
            all.join(&block);
        }
        all
    }

    fn join(&mut self, other: &Self) {
        let rows = self.rows + other.rows;
        let share = other.rows / rows;
        let between = self.rows * share;
        join(&other.mean, &other.squares, share, between, &mut self.mean, &mut self.squares);
        self.rows = rows;
    }
}

vectorised! {
    /// Adds the numbers of a line to the sums of their channels.
    fn add_rows(line: &[f32], sums: &mut [f64]) {
        for row in line.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    }

    /// See [`Moments::join`].
    fn join(
        mean: &[f64], squares: &[f64], share: f64, between: f64, all_mean: &mut [f64], all_squares: &mut [f64],
    ) {
        let all = all_mean.iter_mut().zip(all_squares);
        for ((all_mean, all_squares), (mean, squares)) in all.zip(mean.iter().zip(squares)) {
            let delta = mean - *all_mean;
            *all_mean += delta * share;
            *all_squares += squares + delta * delta * between;
        }
    }

    /// Adds each column of the lines of `x` to `sums`; the last line may be shorter.
    fn column_sums(x: &[f32], sums: &mut [f32]) {
        for line in x.chunks(sums.len()) {
            sums.iter_mut().zip(line).for_each(|(sum, x)| *sum += x);
        }
    }

    /// Sums of each column's deviations from `mean`, and of their squares.
    fn deviations(x: &[f32], mean: &[f32], first: &mut [f32], squares: &mut [f32]) {
        for line in x.chunks(mean.len()) {
            for (((x, mean), first), square) in line.iter().zip(mean).zip(&mut *first).zip(&mut *squares) {
                let x = x - mean;
                *first += x;
                *square += x * x;
            }
        }
    }

    /// `y` of [`Norm`].
    fn apply<const RELU: bool>(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], y: &mut [f32]) {
        let width = mean.len();
        let (scale, beta) = (&scale[..width], &beta[..width]);
        for (x, y) in x.chunks(width).zip(y.chunks_mut(width)) {
            for ((((x, y), mean), scale), beta) in x.iter().zip(y).zip(mean).zip(scale).zip(beta) {
                let value = (x - mean) * scale + beta;
                *y = if RELU && value < 0.0 { 0.0 } else { value };
            }
        }
    }

    /// Sums of `dy * (x - mean)` and of `dy`, where the ReLU lets them through.
    fn gradient_sums<const RELU: bool>(
        x: &[f32], dy: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], products: &mut [f32], sums: &mut [f32],
    ) {
        let width = mean.len();
        let (scale, beta) = (&scale[..width], &beta[..width]);
        let (products, sums) = (&mut products[..width], &mut sums[..width]);
        for (x, dy) in x.chunks(width).zip(dy.chunks(width)) {
            let dy = &dy[..x.len()];
            for i in 0..x.len() {
                let x = x[i] - mean[i];
                let dy = if RELU && x * scale[i] + beta[i] <= 0.0 { 0.0 } else { dy[i] };
                products[i] += x * dy;
                sums[i] += dy;
            }
        }
    }

    /// `dx = scale * (dy + shift + (x - mean) * slope)`.
    fn back<const RELU: bool>(
        x: &[f32], dy: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], shift: &[f32], slope: &[f32], dx: &mut [f32],
    ) {
        let width = mean.len();
        let (scale, beta, shift, slope) = (&scale[..width], &beta[..width], &shift[..width], &slope[..width]);
        for ((x, dy), dx) in x.chunks(width).zip(dy.chunks(width)).zip(dx.chunks_mut(width)) {
            let (n, dy) = (dx.len(), &dy[..dx.len()]);
            let x = &x[..n];
            for i in 0..n {
                let x = x[i] - mean[i];
                let dy = if RELU && x * scale[i] + beta[i] <= 0.0 { 0.0 } else { dy[i] };
                dx[i] = scale[i] * (dy + shift[i] + x * slope[i]);
            }
        }
    }

    /// Clears `dy` where `y` is not positive, and adds its columns to `sums`.
    fn masked_sums(dy: &mut [f32], y: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        for (dy, y) in dy.chunks_mut(width).zip(y.chunks(width)) {
            for ((dy, y), sum) in dy.iter_mut().zip(y).zip(&mut *sums) {
                *dy = if *y <= 0.0 { 0.0 } else { *dy };
                *sum += *dy;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads, slopes, wide};

    /// Rows and channels.
    const SHAPES: [[usize; 2]; 10] =
        [[1, 5], [2, 1], [7, 3], [50, 16], [33, 17], [1000, 1], [300, 24], [41, 130], [9, 257], [700, 64]];

    /// Mean and variance of each channel.
    fn moments(x: &[f64], channels: usize) -> [Vec<f64>; 2] {
        let rows = (x.len() / channels) as f64;
        let column = |c: usize| x.iter().skip(c).step_by(channels);
        let mean: Vec<f64> = (0..channels).map(|c| column(c).sum::<f64>() / rows).collect();
        let variance =
            (0..channels).map(|c| column(c).map(|x| (x - mean[c]).powi(2)).sum::<f64>() / rows).collect();
        [mean, variance]
    }

    /// The sum of `dy * norm(x)`; statistics are those of `x` where none are given.
    fn objective(
        x: &[f64],
        [gamma, beta]: [&[f64]; 2],
        dy: &[f64],
        relu: bool,
        fixed: Option<&[Vec<f64>; 2]>,
    ) -> f64 {
        let channels = gamma.len();
        let own = moments(x, channels);
        let [mean, variance] = fixed.unwrap_or(&own);
        let term = |(i, (x, dy)): (usize, (&f64, &f64))| {
            let c = i % channels;
            let y = (x - mean[c]) / (variance[c] + 1e-3).sqrt() * gamma[c] + beta[c];
            if relu && y < 0.0 { 0.0 } else { y * dy }
        };
        x.iter().zip(dy).enumerate().map(term).sum()
    }

    #[test]
    fn statistics_are_those_of_the_channels() {
        for [rows, channels] in SHAPES.into_iter().chain([[70_000, 3], [9_000, 40], [70, 2_000]]) {
            let x: Vec<f32> = random(rows * channels, 1).iter().map(|x| 300.0 + x).collect();
            let [mean, variance] = moments(&wide(&x), channels);
            let got = statistics(&x, channels);
            close("mean", got.mean.as_ref(), &mean, 1e-7);
            close("variance", got.variance.as_ref(), &variance, 1e-5);
        }
        let none = statistics(&[], 3);
        assert_eq!([none.mean.as_ref(), none.variance.as_ref()], [[0.0; 3]; 2]);
    }

    /// One far number at the start must not spoil the variance of the rest.
    #[test]
    fn statistics_survive_an_outlier() {
        let mut x = random(100_000, 1);
        x[0] = 1e4;
        let [_, variance] = moments(&wide(&x), 1);
        close("variance", statistics(&x, 1).variance.as_ref(), &variance, 1e-5);
    }

    #[test]
    fn normalises_each_channel() {
        for [rows, channels] in SHAPES {
            let x = random(rows * channels, 1);
            let [mean, gamma, beta] = [2, 3, 4].map(|seed| random(channels, seed));
            let variance: Vec<f32> = random(channels, 5).iter().map(|x| x + 1.5).collect();
            let wanted = |i: usize| {
                let c = i % channels;
                let [x, mean, variance] = [x[i], mean[c], variance[c]].map(f64::from);
                (x - mean) / (variance + 1e-3).sqrt() * f64::from(gamma[c]) + f64::from(beta[c])
            };
            let wanted: Vec<f64> = (0..x.len()).map(wanted).collect();
            let norm = Norm {
                mean: &mean,
                variance: &variance,
                gamma: &gamma,
                beta: &beta,
                epsilon: 1e-3,
                relu: false,
            };
            close("norm", normalise(&x, &norm).as_ref(), &wanted, 1e-5);
            let wanted: Vec<f64> = wanted.iter().map(|y| y.max(0.0)).collect();
            close("relu", normalise(&x, &Norm { relu: true, ..norm }).as_ref(), &wanted, 1e-5);
        }
    }

    #[test]
    fn gradients_are_the_slopes() {
        for [rows, channels] in [[2, 1], [7, 3], [20, 16], [12, 17], [90, 1], [5, 40]] {
            let [x, dy] = [1, 2].map(|seed| random(rows * channels, seed));
            let [gamma, beta] = [3, 4].map(|seed| random(channels, seed));
            let [wide_x, wide_dy, wide_gamma, wide_beta] = [&x, &dy, &gamma, &beta].map(|x| wide(x));
            let own = moments(&wide_x, channels);
            let [mean, variance] = own.clone().map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
            for (relu, frozen) in [(false, false), (false, true), (true, false), (true, true)] {
                let norm = Norm {
                    mean: &mean,
                    variance: &variance,
                    gamma: &gamma,
                    beta: &beta,
                    epsilon: 1e-3,
                    relu,
                };
                let fixed = frozen.then_some(&own);
                let got = gradient(&x, &dy, &norm, frozen);
                let of = |x: &[f64], gamma: &[f64], beta: &[f64]| {
                    objective(x, [gamma, beta], &wide_dy, relu, fixed)
                };
                let wanted = slopes(&wide_x, |x| of(x, &wide_gamma, &wide_beta));
                close("dx", got.input.as_ref(), &wanted, 1e-4);
                let wanted = slopes(&wide_gamma, |gamma| of(&wide_x, gamma, &wide_beta));
                close("dgamma", got.gamma.as_ref(), &wanted, 1e-4);
                let wanted = slopes(&wide_beta, |beta| of(&wide_x, &wide_gamma, beta));
                close("dbeta", got.beta.as_ref(), &wanted, 1e-4);
            }
        }
    }

    /// Many blocks and tasks, where differences would take too long: against the closed form.
    #[test]
    fn gradients_of_large_maps() {
        for [rows, channels] in [[50_000, 5], [3_000, 70]] {
            let [x, dy] = [1, 2].map(|seed| random(rows * channels, seed));
            let [gamma, beta] = [3, 4].map(|seed| random(channels, seed));
            let found = statistics(&x, channels);
            let (mean, variance) = (found.mean.as_ref(), found.variance.as_ref());
            let norm = Norm { mean, variance, gamma: &gamma, beta: &beta, epsilon: 1e-3, relu: false };
            let got = gradient(&x, &dy, &norm, false);
            let inverse = |c: usize| 1.0 / (f64::from(variance[c]) + 1e-3).sqrt();
            let normal: Vec<f64> = (x.iter().enumerate())
                .map(|(i, x)| f64::from(x - mean[i % channels]) * inverse(i % channels))
                .collect();
            let (mut of_gamma, mut of_beta) = (vec![0.0; channels], vec![0.0; channels]);
            for (i, dy) in dy.iter().enumerate() {
                of_gamma[i % channels] += f64::from(*dy) * normal[i];
                of_beta[i % channels] += f64::from(*dy);
            }
            let n = rows as f64;
            let dx = |i: usize| {
                let c = i % channels;
                let rest = f64::from(dy[i]) - of_beta[c] / n - normal[i] * of_gamma[c] / n;
                f64::from(gamma[c]) * inverse(c) * rest
            };
            close("dx", got.input.as_ref(), &(0..x.len()).map(dx).collect::<Vec<_>>(), 1e-4);
            close("dgamma", got.gamma.as_ref(), &of_gamma, 1e-4);
            close("dbeta", got.beta.as_ref(), &of_beta, 1e-4);
        }
    }

    #[test]
    fn relu_masks_and_sums() {
        for [rows, channels] in SHAPES {
            let [dy, y] = [1, 2].map(|seed| random(rows * channels, seed));
            for relu in [false, true] {
                let wanted: Vec<f32> =
                    dy.iter().zip(&y).map(|(dy, y)| if relu && *y <= 0.0 { 0.0 } else { *dy }).collect();
                let mut sums = vec![0.0; channels];
                wanted.iter().enumerate().for_each(|(i, dy)| sums[i % channels] += f64::from(*dy));
                let mut got = dy.clone();
                let bias = if relu {
                    relu_and_bias_gradient(&mut got, &y, channels)
                } else {
                    bias_gradient(&got, channels)
                };
                assert_eq!(got, wanted);
                close("bias", bias.as_ref(), &sums, 1e-5);
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        let [x, dy] = [1, 2].map(|seed| random(20_000 * 24, seed));
        let ones = vec![1.0; 24];
        same_on_any_threads(|| {
            let found = statistics(&x, 24);
            let (mean, variance) = (found.mean.as_ref(), found.variance.as_ref());
            let norm = Norm { mean, variance, gamma: &ones, beta: &ones, epsilon: 1e-5, relu: true };
            let Gradients { input, gamma, beta } = gradient(&x, &dy, &norm, false);
            let bias = relu_and_bias_gradient(&mut dy.clone(), &x, 24);
            [input, gamma, beta, bias, normalise(&x, &norm)].map(|x| x.as_ref().to_vec())
        });
    }
}
