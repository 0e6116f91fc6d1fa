//! What is done to each number by itself or to each row: activations, sums of maps, factors of channels, softmax, steps of
//! Adam. Rows are the last axis.

use rayon::prelude::*;

use crate::cpu::math::{exp, normal, sigmoid, tanh};
use crate::cpu::memory::Buffer;
use crate::cpu::norm::total;
use crate::cpu::simd::vectorised;

/// Numbers of a task.
const TASK: usize = 32 * 1024;
/// Sums side by side within a row.
const LANES: usize = 32;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `max(x, 0)`. Its gradient can be had from its result in place of what it was given.
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`, also called SiLU.
    Swish,
    /// `x * Φ(x)` with the distribution function of the standard normal distribution (Hendrycks and Gimpel 2016).
    Gelu,
}

/// `function` of each number.
pub fn apply(function: Function, x: &[f32]) -> Buffer {
    let mut y = Buffer::new(x.len());
    y.as_mut().par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(y, x)| apply_to(function, x, y));
    y
}

/// The gradient of what [`apply`] was given, `x`, from that of its result.
pub fn gradient(function: Function, x: &[f32], dy: &[f32]) -> Buffer {
    assert_eq!(x.len(), dy.len(), "numbers of the gradient");
    let mut dx = Buffer::new(x.len());
    let tasks = dx.as_mut().par_chunks_mut(TASK).zip(x.par_chunks(TASK)).zip(dy.par_chunks(TASK));
    tasks.for_each(|((dx, x), dy)| gradient_to(function, x, dy, dx));
    dx
}

/// `a + b`, and a ReLU after it if `relu`. (Its gradient is that of [`Function::Relu`], for both.)
pub fn add(a: &[f32], b: &[f32], relu: bool) -> Buffer {
    assert_eq!(a.len(), b.len(), "numbers to add");
    let mut y = Buffer::new(a.len());
    let tasks = y.as_mut().par_chunks_mut(TASK).zip(a.par_chunks(TASK)).zip(b.par_chunks(TASK));
    tasks.for_each(|((y, a), b)| if relu { add_to::<true>(a, b, y) } else { add_to::<false>(a, b, y) });
    y
}

/// `average` keeps the share `decay` of itself; the rest is `x`, or its squares.
pub fn move_average(average: &mut [f32], x: &[f32], decay: f32, squares: bool) {
    assert_eq!(average.len(), x.len(), "numbers of the average");
    let tasks = average.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
    tasks.for_each(|(average, x)| match squares {
        true => move_average_of::<true>(average, x, decay),
        false => move_average_of::<false>(average, x, decay),
    });
}

/// What Adam takes off the weights: `first * factor / (sqrt(second) + epsilon) * rate`.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Makes up for the zeros that the averages began with.
    pub factor: f32,
    /// Against a division by nothing.
    pub epsilon: f32,
    /// The learning rate.
    pub rate: f32,
}

/// Changes weights by the averages of their gradients and of the squares of these.
pub fn adam(weights: &mut [f32], first: &[f32], second: &[f32], step: AdamStep) {
    assert!(weights.len() == first.len() && weights.len() == second.len(), "averages of each weight");
    let averages = first.par_chunks(TASK).zip(second.par_chunks(TASK));
    let tasks = weights.par_chunks_mut(TASK).zip(averages);
    tasks.for_each(|(weights, (first, second))| adam_of(weights, first, second, step));
}

/// Each channel of each map times its factor: `x [batch, .., channels]`, `factor [batch, channels]`.
pub fn scale(x: &[f32], factor: &[f32], channels: usize) -> Buffer {
    let map = map_len(x, factor, channels);
    let mut y = Buffer::new(x.len());
    let rows = (TASK / channels).max(1) * channels;
    y.as_mut().par_chunks_mut(map).zip(x.par_chunks(map)).zip(factor.par_chunks(channels)).for_each(
        |((y, x), factor)| {
            let tasks = y.par_chunks_mut(rows).zip(x.par_chunks(rows));
            tasks.for_each(|(y, x)| scale_to(x, factor, y));
        },
    );
    y
}

/// Gradients of both arguments of [`scale`].
pub fn scale_gradient(x: &[f32], factor: &[f32], dy: &[f32], channels: usize) -> [Buffer; 2] {
    assert_eq!(x.len(), dy.len(), "numbers of the gradient");
    let map = map_len(x, factor, channels);
    let rows = (TASK / channels).max(1) * channels;
    let few = 64 * channels;
    let (mut dx, mut of_factor) = (Buffer::new(x.len()), Buffer::new(factor.len()));
    dx.as_mut()
        .par_chunks_mut(map)
        .zip(x.par_chunks(map).zip(dy.par_chunks(map)))
        .zip(factor.par_chunks(channels).zip(of_factor.as_mut().par_chunks_mut(channels)))
        .for_each(|((dx, (x, dy)), (factor, of_factor))| {
            let tasks = dx.par_chunks_mut(rows).zip(x.par_chunks(rows)).zip(dy.par_chunks(rows));
            let part = |((dx, x), dy): ((&mut [f32], &[f32]), &[f32])| {
                let mut sums = [vec![0.0; channels]];
                let mut line = vec![0.0; channels];
                for ((dx, x), dy) in dx.chunks_mut(few).zip(x.chunks(few)).zip(dy.chunks(few)) {
                    line.fill(0.0);
                    scale_back(x, dy, factor, dx, &mut line);
                    sums[0].iter_mut().zip(&line).for_each(|(sum, value)| *sum += f64::from(*value));
                }
                sums
            };
            let [sums] = total(&tasks.map(part).collect::<Vec<_>>(), channels);
            of_factor.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
        });
    [dx, of_factor]
}

fn map_len(x: &[f32], factor: &[f32], channels: usize) -> usize {
    assert!(channels > 0 && factor.len().is_multiple_of(channels), "a factor for each channel");
    let batch = (factor.len() / channels).max(1);
    assert!(x.len().is_multiple_of(batch * channels), "{} numbers in {batch} maps", x.len());
    (x.len() / batch).max(1)
}

/// `e^x` of each row of `width` numbers, divided by their sum.
pub fn softmax(x: &[f32], width: usize) -> Buffer {
    let rows = rows_of_task(x, width);
    let mut y = Buffer::new(x.len());
    y.as_mut().par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| softmax_to(width, x, y));
    y
}

/// The gradient of what [`softmax`] was given, from its result and the gradient of that.
pub fn softmax_gradient(y: &[f32], dy: &[f32], width: usize) -> Buffer {
    assert_eq!(y.len(), dy.len(), "numbers of the gradient");
    let rows = rows_of_task(y, width);
    let mut dx = Buffer::new(y.len());
    let tasks = dx.as_mut().par_chunks_mut(rows).zip(y.par_chunks(rows)).zip(dy.par_chunks(rows));
    tasks.for_each(|((dx, y), dy)| softmax_back(width, y, dy, dx));
    dx
}

/// Numbers of a task of whole rows.
pub(super) fn rows_of_task(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers in rows of {width}", x.len());
    (TASK / width).max(1) * width
}

/// [`sigmoid`] and its derivative, `y * (1 - y)` without the rounding of the difference.
#[inline(always)]
fn logistic(x: f32) -> (f32, f32) {
    let tail = exp(-x.abs());
    let share = 1.0 / (1.0 + tail);
    (if x < 0.0 { tail * share } else { share }, tail * share * share)
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], of: impl Fn(f32) -> f32) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = of(*x));
}

/// `dx = dy * of(x)`
#[inline(always)]
fn each_slope(x: &[f32], dy: &[f32], dx: &mut [f32], of: impl Fn(f32) -> f32) {
    dx.iter_mut().zip(x).zip(dy).for_each(|((dx, x), dy)| *dx = dy * of(*x));
}

/// Folds `term` of each place of the rows by `join`, in [`LANES`] chains that are joined at the end.
#[inline(always)]
pub(super) fn fold<const N: usize>(
    rows: [&[f32]; N],
    start: f32,
    term: impl Fn([f32; N]) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut chains = [start; LANES];
    let parts = rows.map(|row| row.as_chunks::<LANES>());
    for at in 0..parts[0].0.len() {
        let lines = parts.map(|(lines, _)| &lines[at]);
        for (lane, chain) in chains.iter_mut().enumerate() {
            *chain = join(*chain, term(lines.map(|line| line[lane])));
        }
    }
    for (lane, chain) in chains.iter_mut().enumerate().take(parts[0].1.len()) {
        *chain = join(*chain, term(parts.map(|(_, rest)| rest[lane])));
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            chains[lane] = join(chains[lane], chains[lane + half]);
        }
        half /= 2;
    }
    chains[0]
}

vectorised! {
    fn apply_to(function: Function, x: &[f32], y: &mut [f32]) {
        match function {
            // In these forms what is not a number stays so.
            Function::Relu => each(x, y, |x| if x < 0.0 { 0.0 } else { x }),
            Function::Relu6 => each(x, y, |x| {
                let x = if x < 0.0 { 0.0 } else { x };
                if x > 6.0 { 6.0 } else { x }
            }),
            Function::Sigmoid => each(x, y, sigmoid),
            Function::Tanh => each(x, y, tanh),
            Function::Swish => each(x, y, |x| x * sigmoid(x)),
            Function::Gelu => each(x, y, |x| x * normal(x).1),
        }
    }

    fn gradient_to(function: Function, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        match function {
            Function::Relu => each_slope(x, dy, dx, |x| if x <= 0.0 { 0.0 } else { 1.0 }),
            Function::Relu6 => each_slope(x, dy, dx, |x| if x <= 0.0 || x >= 6.0 { 0.0 } else { 1.0 }),
            Function::Sigmoid => each_slope(x, dy, dx, |x| logistic(x).1),
            Function::Tanh => each_slope(x, dy, dx, |x| 4.0 * logistic(2.0 * x).1),
            Function::Swish => each_slope(x, dy, dx, |x| {
                let (y, slope) = logistic(x);
                y + x * slope
            }),
            Function::Gelu => each_slope(x, dy, dx, |x| {
                let (density, share) = normal(x);
                share + x * density
            }),
        }
    }

    fn add_to<const RELU: bool>(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            let sum = a + b;
            *y = if RELU && sum < 0.0 { 0.0 } else { sum };
        }
    }

    fn move_average_of<const SQUARES: bool>(average: &mut [f32], x: &[f32], decay: f32) {
        let rest = 1.0 - decay;
        for (average, x) in average.iter_mut().zip(x) {
            let x = if SQUARES { x * x } else { *x };
            *average = *average * decay + x * rest;
        }
    }

    fn adam_of(weights: &mut [f32], first: &[f32], second: &[f32], step: AdamStep) {
        for ((weight, first), second) in weights.iter_mut().zip(first).zip(second) {
            *weight -= first * step.factor / (second.sqrt() + step.epsilon) * step.rate;
        }
    }

    fn scale_to(x: &[f32], factor: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(factor.len()).zip(y.chunks_exact_mut(factor.len())) {
            y.iter_mut().zip(x).zip(factor).for_each(|((y, x), factor)| *y = x * factor);
        }
    }

    /// `dx = dy * factor`; `sums` grows by `dy * x`.
    fn scale_back(x: &[f32], dy: &[f32], factor: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let c = factor.len();
        for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
            for ((((x, dy), dx), factor), sum) in x.iter().zip(dy).zip(dx).zip(factor).zip(&mut *sums) {
                *dx = dy * factor;
                *sum += dy * x;
            }
        }
    }

    fn softmax_to(width: usize, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let most = fold([x], f32::NEG_INFINITY, |[x]| x, |a, b| if b > a { b } else { a });
            each(x, y, |x| exp(x - most));
            let share = 1.0 / fold([y], 0.0, |[y]| y, |a, b| a + b);
            y.iter_mut().for_each(|y| *y *= share);
        }
    }

    fn softmax_back(width: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((y, dy), dx) in y.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let sum = fold([y, dy], 0.0, |[y, dy]| y * dy, |a, b| a + b);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = y * (dy - sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads, slopes, wide};

    const ALL: [Function; 6] =
        [Function::Relu, Function::Relu6, Function::Sigmoid, Function::Tanh, Function::Swish, Function::Gelu];

    fn naive(function: Function, x: f64) -> f64 {
        let logistic = 1.0 / (1.0 + (-x).exp());
        match function {
            Function::Relu => x.max(0.0),
            Function::Relu6 => x.clamp(0.0, 6.0),
            Function::Sigmoid => logistic,
            Function::Tanh => x.tanh(),
            Function::Swish => x * logistic,
            Function::Gelu => x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt())),
        }
    }

    /// By its power series, or where that cancels by the continued fraction of the rest to one.
    fn erf(x: f64) -> f64 {
        let root = std::f64::consts::PI.sqrt();
        if x.abs() > 2.0 {
            let fraction = (1..100).rev().fold(0.0, |rest, n| f64::from(n) / 2.0 / (x.abs() + rest));
            return x.signum() * (1.0 - (-x * x).exp() / root / (x.abs() + fraction));
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / root
    }

    #[test]
    fn functions_and_their_gradients() {
        for len in [1, 7, 16, 33, 1000, 70_001] {
            let x: Vec<f32> = random(len, 1).iter().map(|x| x * 8.0).collect();
            let dy = random(len, 2);
            for function in ALL {
                let wanted: Vec<f64> = wide(&x).iter().map(|&x| naive(function, x)).collect();
                close(&format!("{function:?}"), apply(function, &x).as_ref(), &wanted, 1e-6);
                let slope = |x: f64| (naive(function, x + 1e-6) - naive(function, x - 1e-6)) / 2e-6;
                let wanted: Vec<f64> =
                    wide(&x).iter().zip(&dy).map(|(&x, &dy)| slope(x) * f64::from(dy)).collect();
                close(&format!("{function:?}'"), gradient(function, &x, &dy).as_ref(), &wanted, 1e-5);
            }
        }
    }

    #[test]
    fn functions_at_their_ends() {
        let ends = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 6.0, 100.0, -100.0];
        let at = |function| apply(function, &ends).as_ref().to_vec();
        assert!(ALL.iter().all(|&function| at(function)[0].is_nan()));
        assert_eq!(at(Function::Relu6)[1..], [6.0, 0.0, 0.0, 6.0, 6.0, 0.0]);
        assert_eq!(at(Function::Gelu)[5..], [100.0, 0.0]);
        assert_eq!(gradient(Function::Relu6, &ends, &[1.0; 7]).as_ref()[1..], [0.0; 6]);
    }

    #[test]
    fn sums_of_maps() {
        let [a, b] = [1, 2].map(|seed| random(40_003, seed));
        let sum: Vec<f64> = wide(&a).iter().zip(wide(&b)).map(|(a, b)| a + b).collect();
        close("sum", add(&a, &b, false).as_ref(), &sum, 1e-6);
        let relu: Vec<f64> = sum.iter().map(|x| x.max(0.0)).collect();
        close("relu", add(&a, &b, true).as_ref(), &relu, 1e-6);
    }

    #[test]
    fn factors_of_channels() {
        for [batch, pixels, channels] in [[1, 1, 1], [2, 7, 3], [3, 50, 40], [2, 3_000, 33]] {
            let [x, dy] = [1, 2].map(|seed| random(batch * pixels * channels, seed));
            let factor = random(batch * channels, 3);
            let place = |i: usize| i / (pixels * channels) * channels + i % channels;
            let mut sums = vec![0.0; factor.len()];
            let (mut y, mut dx) = (Vec::new(), Vec::new());
            for (i, (x, dy)) in wide(&x).into_iter().zip(wide(&dy)).enumerate() {
                y.push(x * f64::from(factor[place(i)]));
                dx.push(dy * f64::from(factor[place(i)]));
                sums[place(i)] += x * dy;
            }
            close("y", scale(&x, &factor, channels).as_ref(), &y, 1e-6);
            let [of_x, of_factor] = scale_gradient(&x, &factor, &dy, channels);
            close("dx", of_x.as_ref(), &dx, 1e-6);
            close("of factor", of_factor.as_ref(), &sums, 1e-5);
        }
    }

    fn naive_softmax(x: &[f64], width: usize) -> Vec<f64> {
        let row = |x: &[f64]| {
            let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = x.iter().map(|x| (x - most).exp()).sum();
            x.iter().map(move |x| (x - most).exp() / sum).collect::<Vec<_>>()
        };
        x.chunks(width).flat_map(row).collect()
    }

    fn dot(a: &[f64], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
    }

    #[test]
    fn softmax_and_its_gradient() {
        for [rows, width] in [[1, 1], [3, 5], [7, 32], [2, 33], [5, 100], [200, 300]] {
            let x: Vec<f32> = random(rows * width, 1).iter().map(|x| x * 9.0).collect();
            let dy = random(rows * width, 2);
            let wanted = naive_softmax(&wide(&x), width);
            let y = softmax(&x, width);
            close("y", y.as_ref(), &wanted, 2e-6);
            let got = softmax_gradient(y.as_ref(), &dy, width);
            if rows * width <= 500 {
                let dx = slopes(&wide(&x), |x| dot(&naive_softmax(x, width), &dy));
                close("dx", got.as_ref(), &dx, 1e-4);
            } else {
                let dx: Vec<f64> = (wanted.chunks(width).zip(dy.chunks(width)))
                    .flat_map(|(y, dy)| {
                        let mean = dot(y, dy);
                        y.iter().zip(dy).map(move |(y, dy)| y * (f64::from(*dy) - mean)).collect::<Vec<_>>()
                    })
                    .collect();
                close("dx", got.as_ref(), &dx, 1e-4);
            }
        }
        // Places that a mask rules out.
        let y = softmax(&[f32::NEG_INFINITY, 1.0, 1.0, f32::NEG_INFINITY], 4);
        assert_eq!(y.as_ref(), [0.0, 0.5, 0.5, 0.0]);
    }

    #[test]
    fn threads_change_nothing() {
        let [x, dy] = [1, 2].map(|seed| random(3 * 3_000 * 33, seed));
        same_on_any_threads(|| {
            let [dx, of_factor] = scale_gradient(&x, &random(99, 5), &dy, 33);
            [dx, of_factor].map(|x| x.as_ref().to_vec())
        });
    }
}
