//! Layer normalisation (Ba et al. 2016) of rows, the last axis, and its gradients.

use rayon::prelude::*;

use crate::cpu::elementwise::{fold, rows_of_task};
use crate::cpu::memory::Buffer;
use crate::cpu::norm::{narrowed, total};
use crate::cpu::simd::vectorised;

/// Mean and `1 / sqrt(variance + epsilon)` of each row.
#[derive(Debug)]
pub struct Rows(Buffer);

/// What [`gradient`] finds.
#[derive(Debug)]
pub struct Gradients {
    /// As the input.
    pub input: Buffer,
    /// Of the scale.
    pub gamma: Buffer,
    /// Of the shift.
    pub beta: Buffer,
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` with mean and (biased) variance of each row; rows are as long as `gamma`.
pub fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f64) -> (Buffer, Rows) {
    let width = gamma.len();
    assert_eq!(width, beta.len(), "a shift for each scale");
    let task = rows_of_task(x, width);
    let (mut y, mut rows) = (Buffer::new(x.len()), Buffer::new(x.len() / width * 2));
    let tasks = y.as_mut().par_chunks_mut(task).zip(x.par_chunks(task));
    tasks
        .zip(rows.as_mut().par_chunks_mut(task / width * 2))
        .for_each(|((y, x), rows)| normalise(x, gamma, beta, epsilon, y, rows));
    (y, Rows(rows))
}

/// Gradients of [`forward`] from what it was given, what it found, and the gradient of its result.
pub fn gradient(x: &[f32], gamma: &[f32], rows: &Rows, dy: &[f32]) -> Gradients {
    assert_eq!(x.len(), dy.len(), "numbers of the gradient");
    let width = gamma.len();
    let task = rows_of_task(x, width);
    let mut dx = Buffer::new(x.len());
    let tasks = dx.as_mut().par_chunks_mut(task).zip(x.par_chunks(task).zip(dy.par_chunks(task)));
    let parts = tasks.zip(rows.0.as_ref().par_chunks(task / width * 2)).map(|((dx, (x, dy)), rows)| {
        let mut sums = [vec![0.0; width], vec![0.0; width]];
        let [of_gamma, of_beta] = &mut sums;
        back(x, dy, gamma, rows, dx, of_gamma, of_beta);
        sums.map(|sums| sums.into_iter().map(f64::from).collect())
    });
    let [of_gamma, of_beta] = total(&parts.collect::<Vec<_>>(), width);
    Gradients { input: dx, gamma: narrowed(of_gamma), beta: narrowed(of_beta) }
}

/// The mean of `term` over the places of the rows.
#[inline(always)]
fn mean<const N: usize>(rows: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    fold(rows, 0.0, term, |a, b| a + b) / rows[0].len() as f32
}

vectorised! {
    fn normalise(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f64, y: &mut [f32], rows: &mut [f32]) {
        let width = gamma.len();
        let lines = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), row) in lines.zip(rows.chunks_exact_mut(2)) {
            let middle = mean([x], |[x]| x);
            let variance = mean([x], |[x]| (x - middle) * (x - middle));
            let inverse = (f64::from(variance) + epsilon).sqrt().recip() as f32;
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = (x - middle) * inverse * gamma + beta;
            }
            row.copy_from_slice(&[middle, inverse]);
        }
    }

    fn back(
        x: &[f32], dy: &[f32], gamma: &[f32], rows: &[f32], dx: &mut [f32], of_gamma: &mut [f32], of_beta: &mut [f32],
    ) {
        let width = gamma.len();
        let lines = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for (((x, dy), dx), row) in lines.zip(rows.chunks_exact(2)) {
            let (middle, inverse) = (row[0], row[1]);
            // The normalised row goes into `dx` first.
            for ((((dx, x), dy), of_gamma), of_beta) in dx.iter_mut().zip(x).zip(dy).zip(&mut *of_gamma).zip(&mut *of_beta) {
                *dx = (x - middle) * inverse;
                *of_gamma += dy * *dx;
                *of_beta += dy;
            }
            let first = mean([dy, gamma], |[dy, gamma]| dy * gamma);
            let second = mean([dy, gamma, dx], |[dy, gamma, normal]| dy * gamma * normal);
            for ((dx, dy), gamma) in dx.iter_mut().zip(dy).zip(gamma) {
                *dx = inverse * (dy * gamma - first - *dx * second);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads, slopes, wide};

    fn naive(x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
        let n = gamma.len();
        let row = |x: &[f64]| {
            let mean = x.iter().sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let inverse = 1.0 / (variance + 1e-3).sqrt();
            (0..n).map(|i| (x[i] - mean) * inverse * gamma[i] + beta[i]).collect::<Vec<_>>()
        };
        x.chunks(n).flat_map(row).collect()
    }

    #[test]
    fn results_and_gradients() {
        for [rows, width] in [[2, 1], [3, 5], [7, 32], [2, 33], [3, 100], [300, 190]] {
            // Far from zero, where a variance by the mean of squares would cancel.
            let x: Vec<f32> = random(rows * width, 1).iter().map(|x| 20.0 + x).collect();
            let dy = random(rows * width, 2);
            let [gamma, beta] = [3, 4].map(|seed| random(width, seed));
            let all = [&x, &gamma, &beta].map(|x| wide(x));
            let (y, found) = forward(&x, &gamma, &beta, 1e-3);
            close("y", y.as_ref(), &naive(&all[0], &all[1], &all[2]), 2e-5);
            let got = gradient(&x, &gamma, &found, &dy);
            let objective = |x: &[f64], gamma: &[f64], beta: &[f64]| {
                naive(x, gamma, beta).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
            };
            if rows < 100 {
                let dx = slopes(&all[0], |x| objective(x, &all[1], &all[2]));
                close("dx", got.input.as_ref(), &dx, 1e-4);
            }
            let wanted = slopes(&all[1], |gamma| objective(&all[0], gamma, &all[2]));
            close("dgamma", got.gamma.as_ref(), &wanted, 1e-4);
            let wanted = slopes(&all[2], |beta| objective(&all[0], &all[1], beta));
            close("dbeta", got.beta.as_ref(), &wanted, 1e-4);
        }
    }

    #[test]
    fn threads_change_nothing() {
        let [x, dy] = [1, 2].map(|seed| random(9_000 * 33, seed));
        let [gamma, beta] = [3, 4].map(|seed| random(33, seed));
        same_on_any_threads(|| {
            let (y, found) = forward(&x, &gamma, &beta, 1e-3);
            let Gradients { input, gamma, beta } = gradient(&x, &gamma, &found, &dy);
            [y, input, gamma, beta].map(|x| x.as_ref().to_vec())
        });
    }
}
