//! Scaled dot-product attention (Vaswani et al. 2017) and its gradients without a matrix of all weights.
//!
//! The weights of a few queries at a time are made in memory that stays in the cache, and made again on the way back, from
//! the largest score and the sum that each query had (Rabe and Staats 2021; Dao et al. 2022): what the way back holds grows with
//! the number of steps, not with its square.

use rayon::prelude::*;

use crate::cpu::convolution::Shared;
use crate::cpu::elementwise::fold;
use crate::cpu::math::exp;
use crate::cpu::matrix::{Matrix, Rows};
use crate::cpu::memory::Buffer;
use crate::cpu::simd::vectorised;
use crate::cpu::tile::{self, Finish, ROWS};

/// Weights that are made at a time.
const BLOCK: usize = 64 * 1024;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Steps of a sequence.
    pub steps: usize,
    /// Parts of the numbers of a step that attend each for itself.
    pub heads: usize,
    /// Numbers of a part.
    pub part: usize,
}

/// Queries, keys, values or gradients, `[batch, steps, heads * part]`; the numbers of a step are contiguous.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    /// From the first number on.
    pub values: &'a [f32],
    /// From a sequence to the next.
    pub sequence: usize,
    /// From a step to the next.
    pub step: usize,
}

/// For each head of each sequence and each query: the largest score, and one over the sum of the weights before they are
/// divided by it.
#[derive(Debug)]
pub struct Sums(Buffer);

impl Shape {
    fn size(&self) -> usize {
        self.heads * self.part
    }

    fn len(&self) -> usize {
        self.batch * self.steps * self.size()
    }

    /// Scores are multiplied by it.
    fn scale(&self) -> f32 {
        (1.0 / (self.part as f64).sqrt()) as f32
    }

    /// Distance of the weights of two queries. (Not a power of two, which would fall on the same lines of the cache.)
    fn pitch(&self) -> usize {
        (tile::padded(self.steps) + 16).next_multiple_of(16)
    }

    /// Queries of a block.
    fn queries(&self) -> usize {
        (BLOCK / self.pitch() / ROWS * ROWS).clamp(ROWS, self.steps.next_multiple_of(ROWS))
    }

    /// Blocks of queries: the first, and how many.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (steps, queries) = (self.steps, self.queries());
        (0..steps).step_by(queries).map(move |first| (first, queries.min(steps - first)))
    }

    /// Contiguous ones.
    fn steps<'a>(&self, values: &'a [f32]) -> Steps<'a> {
        Steps { values, sequence: self.steps * self.size(), step: self.size() }
    }

    fn check(&self, all: &[Steps<'_>]) {
        let end = |of: &Steps<'_>| (self.batch - 1) * of.sequence + (self.steps - 1) * of.step + self.size();
        assert!(all.iter().all(|of| end(of) <= of.values.len()), "numbers of the steps");
    }
}

impl<'a> Steps<'a> {
    /// From the first number of a head on.
    fn head(&self, shape: &Shape, [sequence, head]: [usize; 2]) -> Self {
        Self { values: &self.values[sequence * self.sequence + head * shape.part..], ..*self }
    }

    fn rows(&self, first: usize) -> Rows {
        Rows { start: self.values[first * self.step..].as_ptr(), row: self.step, step: 1 }
    }

    /// `[steps, part]`
    fn matrix(&self, shape: &Shape) -> Matrix {
        Matrix::rows(self.values, self.step, shape.steps, shape.part)
    }

    /// `[part, steps]`
    fn turned(&self, shape: &Shape) -> Matrix {
        Matrix::columns(self.values, self.step, shape.part, shape.steps)
    }
}

/// For each query the values, weighted by the softmax of its scaled products with the keys: `[batch, steps, heads * part]`.
pub fn forward(shape: &Shape, qkv: [Steps<'_>; 3]) -> (Buffer, Sums) {
    let mut output = Buffer::new(shape.len());
    let mut sums = Buffer::new(shape.batch * shape.heads * shape.steps * 2);
    if output.as_ref().is_empty() {
        return (output, Sums(sums));
    }
    shape.check(&qkv);
    let (to, pitch) = (Shared(output.as_mut().as_mut_ptr()), shape.pitch());
    let heads = sums.as_mut().par_chunks_mut(shape.steps * 2).enumerate();
    heads.for_each_init(Buffer::default, |weights, (at, sums)| {
        let place = [at / shape.heads, at % shape.heads];
        let [queries, keys, values] = qkv.map(|of| of.head(shape, place));
        let (keys, values) = (keys.turned(shape), values.matrix(shape));
        weights.reserve(shape.queries() * pitch);
        let weights = weights.as_mut();
        let start = (place[0] * shape.steps * shape.heads + place[1]) * shape.part;
        for (first, count) in shape.blocks() {
            let sums = &mut sums[first * 2..][..count * 2];
            // SAFETY: `check` found the queries; the weights have room for `count` rows; of the output each task writes its own head.
            unsafe {
                let to = to.get().add(start + first * shape.size());
                let scores = (weights.as_mut_ptr(), pitch);
                keys.product(queries.rows(first), 0..shape.part, scores, count, Finish::STORE);
                weigh(weights, pitch, shape.steps, shape.scale(), sums);
                let rows = Rows { start: weights.as_ptr(), row: pitch, step: 1 };
                values.product(rows, 0..shape.steps, (to, shape.size()), count, Finish::STORE);
                for (query, sums) in sums.chunks_exact(2).enumerate() {
                    let row = std::slice::from_raw_parts_mut(to.add(query * shape.size()), shape.part);
                    row.iter_mut().for_each(|value| *value *= sums[1]);
                }
            }
        }
    });
    (output, Sums(sums))
}

/// Gradients of queries, keys and values from what [`forward`] was given, its result `y` and the gradient `dy` of that; all
/// `[batch, steps, heads * part]`.
pub fn gradient(shape: &Shape, qkv: [Steps<'_>; 3], sums: &Sums, [y, dy]: [&[f32]; 2]) -> [Buffer; 3] {
    let mut found = std::array::from_fn(|_| Buffer::new(shape.len()));
    if y.is_empty() {
        return found;
    }
    let [y, dy] = [y, dy].map(|values| shape.steps(values));
    shape.check(&qkv);
    shape.check(&[y, dy]);
    let pointers = found.each_mut().map(|found| Shared(found.as_mut().as_mut_ptr()));
    let heads = sums.0.as_ref().par_chunks(shape.steps * 2).enumerate();
    heads.for_each_init(<[Buffer; 2]>::default, |scratch, (at, sums)| {
        let place = [at / shape.heads, at % shape.heads];
        let start = (place[0] * shape.steps * shape.heads + place[1]) * shape.part;
        // SAFETY: each task writes its own head of the three gradients, which begin there.
        let to = pointers.map(|to| unsafe { to.get().add(start) });
        let [y, dy] = [y, dy].map(|of| of.head(shape, place));
        head_gradient(shape, qkv.map(|of| of.head(shape, place)), sums, [y, dy], scratch, to);
    });
    found
}

/// The gradients of one head of one sequence, written to `to`.
fn head_gradient(
    shape: &Shape,
    [queries, keys, values]: [Steps<'_>; 3],
    sums: &[f32],
    [y, dy]: [Steps<'_>; 2],
    scratch: &mut [Buffer; 2],
    [of_queries, of_keys, of_values]: [*mut f32; 3],
) {
    let Shape { steps, part, .. } = *shape;
    let (pitch, size) = (shape.pitch(), shape.size());
    let (turned_keys, turned_values, key_rows) =
        (keys.turned(shape), values.turned(shape), keys.matrix(shape));
    let (query_rows, dy_rows) = (queries.matrix(shape), dy.matrix(shape));
    scratch.iter_mut().for_each(|scratch| scratch.reserve(shape.queries() * pitch));
    let [weights, slopes] = scratch.each_mut().map(|scratch| scratch.as_mut());
    for (first, count) in shape.blocks() {
        let block = first..first + count;
        let finish = if first == 0 { Finish::STORE } else { Finish::ADD };
        // SAFETY: all steps are there (`check`), the scratch has room for `count` rows, and the gradients are this task's.
        unsafe {
            let (scores, products) = ((weights.as_mut_ptr(), pitch), (slopes.as_mut_ptr(), pitch));
            turned_keys.product(queries.rows(first), 0..part, scores, count, Finish::STORE);
            weigh_again(weights, pitch, steps, shape.scale(), &sums[first * 2..][..count * 2]);
            let turned = Rows { start: weights.as_ptr(), row: 1, step: pitch };
            dy_rows.product(turned, block.clone(), (of_values, size), steps, finish);
            turned_values.product(dy.rows(first), 0..part, products, count, Finish::STORE);
            for query in 0..count {
                let [y, dy] = [y, dy].map(|of| &of.values[(first + query) * of.step..][..part]);
                let row = query * pitch..query * pitch + steps;
                slope(&weights[row.clone()], y, dy, shape.scale(), &mut slopes[row]);
            }
            let turned = Rows { start: slopes.as_ptr(), row: 1, step: pitch };
            query_rows.product(turned, block, (of_keys, size), steps, finish);
            let rows = Rows { start: slopes.as_ptr(), row: pitch, step: 1 };
            key_rows.product(rows, 0..steps, (of_queries.add(first * size), size), count, Finish::STORE);
        }
    }
}

vectorised! {
    /// Scores become weights, not yet divided by their sum; see [`Sums`].
    fn weigh(scores: &mut [f32], pitch: usize, steps: usize, scale: f32, sums: &mut [f32]) {
        for (row, sums) in scores.chunks_mut(pitch).zip(sums.chunks_exact_mut(2)) {
            let row = &mut row[..steps];
            let most = fold([row], f32::NEG_INFINITY, |[x]| x, |a, b| if b > a { b } else { a });
            row.iter_mut().for_each(|x| *x = exp((*x - most) * scale));
            sums.copy_from_slice(&[most, 1.0 / fold([row], 0.0, |[x]| x, |a, b| a + b)]);
        }
    }

    /// Scores become weights.
    fn weigh_again(scores: &mut [f32], pitch: usize, steps: usize, scale: f32, sums: &[f32]) {
        for (row, sums) in scores.chunks_mut(pitch).zip(sums.chunks_exact(2)) {
            let (most, share) = (sums[0], sums[1]);
            row[..steps].iter_mut().for_each(|x| *x = exp((*x - most) * scale) * share);
        }
    }

    /// The gradients of the weights of a query become those of its scores. (The mean of the first, by weight, is `y * dy`.)
    fn slope(weights: &[f32], y: &[f32], dy: &[f32], scale: f32, slopes: &mut [f32]) {
        let mean = fold([y, dy], 0.0, |[y, dy]| y * dy, |a, b| a + b);
        slopes.iter_mut().zip(weights).for_each(|(slope, weight)| *slope = weight * (*slope - mean) * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads, slopes, wide};

    const SHAPES: [[usize; 4]; 7] = [
        [1, 1, 1, 1],
        [2, 3, 2, 1],
        [1, 5, 3, 4],
        [2, 7, 1, 16],
        [1, 9, 2, 33],
        [1, 600, 1, 5],
        [2, 130, 2, 64],
    ];

    fn shape([batch, steps, heads, part]: [usize; 4]) -> Shape {
        Shape { batch, steps, heads, part }
    }

    /// For each head of each sequence: the rows of a tensor.
    fn head(s: &Shape, x: &[f64], at: usize) -> Vec<Vec<f64>> {
        let (sequence, head) = (at / s.heads, at % s.heads);
        let row = |step| x[(sequence * s.steps + step) * s.size() + head * s.part..][..s.part].to_vec();
        (0..s.steps).map(row).collect()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Weights of one head, by their definition.
    fn weights(s: &Shape, q: &[Vec<f64>], k: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let row = |q: &Vec<f64>| {
            let scores: Vec<f64> = k.iter().map(|k| dot(q, k) / (s.part as f64).sqrt()).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|x| (x - most).exp()).sum();
            scores.iter().map(|x| (x - most).exp() / sum).collect()
        };
        q.iter().map(row).collect()
    }

    /// Result and gradients of queries, keys and values.
    fn naive(s: &Shape, [q, k, v, dy]: [&[f64]; 4]) -> [Vec<f64>; 4] {
        let mut all: [Vec<f64>; 4] = std::array::from_fn(|_| vec![0.0; s.len()]);
        for at in 0..s.batch * s.heads {
            let [q, k, v, dy] = [q, k, v, dy].map(|x| head(s, x, at));
            let weights = weights(s, &q, &k);
            let start = at / s.heads * s.steps * s.size() + at % s.heads * s.part;
            for i in 0..s.steps {
                let of_weights: Vec<f64> = v.iter().map(|v| dot(v, &dy[i])).collect();
                let mean = dot(&of_weights, &weights[i]);
                for j in 0..s.steps {
                    let slope = weights[i][j] * (of_weights[j] - mean) / (s.part as f64).sqrt();
                    for c in 0..s.part {
                        let [here, there] = [i, j].map(|step| start + step * s.size() + c);
                        all[0][here] += weights[i][j] * v[j][c];
                        all[1][here] += slope * k[j][c];
                        all[2][there] += slope * q[i][c];
                        all[3][there] += weights[i][j] * dy[i][c];
                    }
                }
            }
        }
        all
    }

    fn numbers(s: &Shape) -> [Vec<f32>; 4] {
        [1, 2, 3, 4].map(|seed| random(s.len(), seed).iter().map(|x| x * 2.0).collect())
    }

    #[test]
    fn results_and_gradients() {
        for s in SHAPES.map(shape) {
            let all = numbers(&s);
            let qkv = [0, 1, 2].map(|i| s.steps(&all[i]));
            let (y, sums) = forward(&s, qkv);
            let wanted = naive(&s, all.each_ref().map(|x| wide(x)).each_ref().map(|x| &x[..]));
            close(&format!("{s:?}"), y.as_ref(), &wanted[0], 1e-5);
            let got = gradient(&s, qkv, &sums, [y.as_ref(), &all[3]]);
            for (which, name) in ["queries", "keys", "values"].into_iter().enumerate() {
                close(&format!("{name} {s:?}"), got[which].as_ref(), &wanted[which + 1], 1e-4);
            }
        }
    }

    /// The closed form above is the slope.
    #[test]
    fn gradients_are_the_slopes() {
        for s in SHAPES.map(shape).into_iter().filter(|s| s.len() < 100) {
            let all = numbers(&s).each_ref().map(|x| wide(x));
            let wanted = naive(&s, all.each_ref().map(|x| &x[..]));
            for which in 0..3 {
                let slopes = slopes(&all[which], |values| {
                    let mut all = all.each_ref().map(|x| &x[..]);
                    all[which] = values;
                    dot(&naive(&s, all)[0], all[3])
                });
                let got: Vec<f32> = wanted[which + 1].iter().map(|x| *x as f32).collect();
                close(&format!("{which} {s:?}"), &got, &slopes, 1e-6);
            }
        }
    }

    #[test]
    fn large_scores_and_what_is_no_number() {
        let s = shape([1, 2, 1, 1]);
        let [q, k, v] = [[1e4, -1e4], [1.0, 2.0], [5.0, 7.0]];
        assert_eq!(forward(&s, [&q, &k, &v].map(|x| s.steps(x))).0.as_ref(), [7.0, 5.0]);
        let k = [1.0, f32::NAN];
        assert!(forward(&s, [&q, &k, &v].map(|x| s.steps(x))).0.as_ref().iter().all(|x| x.is_nan()));
    }

    #[test]
    fn threads_change_nothing() {
        let s = shape([3, 400, 3, 20]);
        let all = numbers(&s);
        let qkv = [0, 1, 2].map(|i| s.steps(&all[i]));
        same_on_any_threads(|| {
            let (y, sums) = forward(&s, qkv);
            let [q, k, v] = gradient(&s, qkv, &sums, [y.as_ref(), &all[3]]);
            [y, q, k, v].map(|x| x.as_ref().to_vec())
        });
    }
}
