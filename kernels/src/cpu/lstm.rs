//! One direction of a long short-term memory layer (Hochreiter and Schmidhuber 1997, with forget gate) over whole sequences.
//!
//! The product of the input with its weights is made for all steps at once; what is left for each step is a small product with the
//! state before, and the gates. Sequences do not depend on each other: each thread takes some of them through all steps.
//! Backwards the same, and the gradients of all weights are products over the whole sequence at the end.

use rayon::prelude::*;

use crate::Precision;
use crate::cpu::convolution::{self, Panels, Target};
use crate::cpu::math::{sigmoid, tanh};
use crate::cpu::matrix::{Matrix, Rows};
use crate::cpu::memory::Buffer;
use crate::cpu::norm::bias_gradient;
use crate::cpu::simd::vectorised;
use crate::cpu::tile::{self, Finish};

/// Sizes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Steps of a sequence.
    pub steps: usize,
    /// Numbers of the input at a step.
    pub input: usize,
    /// Units: numbers of the output at a step.
    pub hidden: usize,
    /// Whether the last step comes first. Outputs stand at the step that they are of all the same.
    pub reverse: bool,
}

/// Weights, gate after gate in Keras' order: input, forget, cell, output.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// For the input, `[input, 4 * hidden]`.
    pub kernel: &'a [f32],
    /// For the output of the step before, `[hidden, 4 * hidden]`.
    pub recurrent: &'a [f32],
    /// `[4 * hidden]`.
    pub bias: &'a [f32],
}

/// What [`forward`] finds at each step beside the output.
#[derive(Debug)]
pub struct States {
    /// Gates after their functions, `[batch, steps, 4 * hidden]`.
    gates: Buffer,
    /// `[batch, steps, hidden]`.
    cells: Buffer,
}

/// What [`gradient`] finds; each as what it is the gradient of.
#[derive(Debug)]
pub struct Gradients {
    /// Of the input, if wanted.
    pub input: Option<Buffer>,
    /// See [`Weights`].
    pub kernel: Buffer,
    /// See [`Weights`].
    pub recurrent: Buffer,
    /// See [`Weights`].
    pub bias: Buffer,
}

impl Shape {
    fn gates(&self) -> usize {
        4 * self.hidden
    }

    fn check(&self, input: &[f32], weights: &Weights<'_>) {
        assert_eq!(input.len(), self.batch * self.steps * self.input, "numbers of the input");
        assert_eq!(weights.kernel.len(), self.input * self.gates(), "weights of the input");
        assert_eq!(weights.recurrent.len(), self.hidden * self.gates(), "recurrent weights");
        assert_eq!(weights.bias.len(), self.gates(), "numbers of the bias");
    }

    /// Sequences that a thread takes at once. (Each has its own sums, so that this may depend on the number of threads.)
    fn group(&self) -> usize {
        self.batch.div_ceil(rayon::current_num_threads()).max(1)
    }

    /// The steps in order.
    fn order(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let Self { steps, reverse, .. } = *self;
        (0..steps).map(move |step| if reverse { steps - 1 - step } else { step })
    }

    /// The step before `step`, if it is not the first.
    fn before(&self, step: usize) -> Option<usize> {
        if self.reverse { Some(step + 1).filter(|&s| s < self.steps) } else { step.checked_sub(1) }
    }

    /// A dense layer at each step.
    fn dense(&self, from: usize, to: usize) -> convolution::Shape {
        convolution::Shape::dense(self.batch * self.steps, from, to)
    }
}

/// All outputs, `[batch, steps, hidden]`, for `input`, `[batch, steps, input]`; state and output before the first step are zero.
pub fn forward(shape: &Shape, input: &[f32], weights: &Weights<'_>) -> (Buffer, States) {
    shape.check(input, weights);
    let (steps, hidden, wide) = (shape.steps, shape.hidden, shape.gates());
    let sequences = shape.batch * steps;
    let mut gates = Buffer::new(sequences * wide);
    let [mut output, mut cells] = [Buffer::new(sequences * hidden), Buffer::new(sequences * hidden)];
    if gates.as_ref().is_empty() {
        return (output, States { gates, cells });
    }
    affine(&shape.dense(shape.input, wide), input, weights, gates.as_mut());
    let recurrent = Matrix::rows(weights.recurrent, wide, hidden, wide);
    let group = shape.group() * steps;
    gates
        .as_mut()
        .par_chunks_mut(group * wide)
        .zip(output.as_mut().par_chunks_mut(group * hidden))
        .zip(cells.as_mut().par_chunks_mut(group * hidden))
        .for_each(|((gates, output), cells)| run(shape, &recurrent, gates, output, cells));
    (output, States { gates, cells })
}

/// Gradients from the output `y` and its gradient `dy`; `with_input` tells whether that of the input is wanted.
pub fn gradient(
    shape: &Shape,
    input: &[f32],
    weights: &Weights<'_>,
    states: &States,
    [y, dy]: [&[f32]; 2],
    with_input: bool,
) -> Gradients {
    shape.check(input, weights);
    let (steps, hidden, wide) = (shape.steps, shape.hidden, shape.gates());
    assert_eq!(dy.len(), shape.batch * steps * hidden, "numbers of the gradient");
    assert_eq!([y.len(), states.cells.as_ref().len()], [dy.len(); 2], "states of this shape");
    let mut slopes = Buffer::new(shape.batch * steps * wide);
    let turned = Matrix::columns(weights.recurrent, wide, wide, hidden);
    let group = shape.group() * steps;
    slopes
        .as_mut()
        .par_chunks_mut((group * wide).max(1))
        .zip(states.gates.as_ref().par_chunks((group * wide).max(1)))
        .zip(states.cells.as_ref().par_chunks((group * hidden).max(1)))
        .zip(dy.par_chunks((group * hidden).max(1)))
        .for_each(|(((slopes, gates), cells), dy)| back(shape, &turned, gates, cells, dy, slopes));
    let slopes = slopes.as_mut();
    Gradients {
        input: with_input.then(|| turned_product(shape, weights.kernel, slopes)),
        kernel: convolution::kernel_gradient(&shape.dense(shape.input, wide), Precision::F32, input, slopes),
        recurrent: convolution::kernel_gradient(&shifted(shape), Precision::F32, y, slopes),
        bias: bias_gradient(slopes, wide),
    }
}

/// The product of the outputs with the recurrent weights as a convolution: result `t` sees the output of the step before.
fn shifted(shape: &Shape) -> convolution::Shape {
    let steps = [1, shape.steps];
    convolution::Shape {
        batch: shape.batch,
        input: steps,
        output: steps,
        padding: [0, if shape.reverse { -1 } else { 1 }],
        ..convolution::Shape::dense(1, shape.hidden, shape.gates())
    }
}

/// `input * kernel + bias`
fn affine(dense: &convolution::Shape, input: &[f32], weights: &Weights<'_>, result: &mut [f32]) {
    let mut bias = Buffer::new(tile::padded(dense.c_out));
    bias.as_mut()[..dense.c_out].copy_from_slice(weights.bias);
    bias.as_mut()[dense.c_out..].fill(0.0);
    let finish = Finish { bias: bias.as_ref().as_ptr(), ..Finish::STORE };
    let panels = Panels::for_rows(dense.input[1], weights.kernel, dense.c_in, dense.c_out);
    convolution::forward(dense, input, &panels, result, Target::whole(dense), finish);
}

/// The gradient of the input from that of the gates.
fn turned_product(shape: &Shape, kernel: &[f32], slopes: &[f32]) -> Buffer {
    let dense = shape.dense(shape.gates(), shape.input);
    let panels = Panels::pack(kernel, dense.c_in, dense.c_out, |k| k, dense.c_in);
    let mut result = Buffer::new(dense.output_len());
    convolution::forward(&dense, slopes, &panels, result.as_mut(), Target::whole(&dense), Finish::STORE);
    result
}

/// Takes some sequences through all steps. `gates` holds the products with the input.
fn run(shape: &Shape, recurrent: &Matrix, gates: &mut [f32], output: &mut [f32], cells: &mut [f32]) {
    let (steps, hidden, wide) = (shape.steps, shape.hidden, shape.gates());
    let sequences = output.len() / (steps * hidden);
    let nothing = zeros(hidden);
    for step in shape.order() {
        if let Some(before) = shape.before(step) {
            assert!(gates.len() >= sequences * steps * wide && before < steps && step < steps);
            // SAFETY: row `i` is step `before` of sequence `i` in `output`, and step `step` in `gates`, which are this task's.
            unsafe {
                let h = output[before * hidden..].as_ptr();
                let to = gates[step * wide..].as_mut_ptr();
                let rows = Rows { start: h, row: steps * hidden, step: 1 };
                recurrent.product(rows, 0..hidden, (to, steps * wide), sequences, Finish::ADD);
            }
        }
        for sequence in 0..sequences {
            let at = sequence * steps + step;
            let gates = &mut gates[at * wide..][..wide];
            let output = &mut output[at * hidden..][..hidden];
            let cells = &mut cells[sequence * steps * hidden..][..steps * hidden];
            match shape.before(step) {
                Some(before) if before < step => {
                    let (old, new) = cells.split_at_mut(step * hidden);
                    activate(gates, &old[before * hidden..], &mut new[..hidden], output);
                }
                Some(before) => {
                    let (new, old) = cells.split_at_mut(before * hidden);
                    activate(gates, &old[..hidden], &mut new[step * hidden..], output);
                }
                None => activate(gates, nothing.as_ref(), &mut cells[step * hidden..][..hidden], output),
            }
        }
    }
}

/// Takes the gradient of some sequences back through all steps; `slopes` becomes the gradient of the gates before their functions.
fn back(shape: &Shape, turned: &Matrix, gates: &[f32], cells: &[f32], dy: &[f32], slopes: &mut [f32]) {
    let (steps, hidden, wide) = (shape.steps, shape.hidden, shape.gates());
    let sequences = dy.len() / (steps * hidden);
    let nothing = zeros(hidden);
    // Gradients of the output and of the cells, as far as they come from the step after.
    let [mut carried, mut of_cells] = [zeros(sequences * hidden), zeros(sequences * hidden)];
    let mut after = None;
    for step in shape.order().rev() {
        if let Some(after) = after {
            assert!(slopes.len() >= sequences * steps * wide && after < steps);
            // SAFETY: row `i` is step `after` of sequence `i` in `slopes`, and row `i` of `carried`, which are this task's.
            unsafe {
                let (from, to) = (slopes[after * wide..].as_ptr(), carried.as_mut().as_mut_ptr());
                let rows = Rows { start: from, row: steps * wide, step: 1 };
                turned.product(rows, 0..wide, (to, hidden), sequences, Finish::STORE);
            }
        }
        after = Some(step);
        for sequence in 0..sequences {
            let at = sequence * steps + step;
            let old = shape
                .before(step)
                .map_or(nothing.as_ref(), |before| &cells[(sequence * steps + before) * hidden..][..hidden]);
            deactivate(
                &gates[at * wide..][..wide],
                [old, &cells[at * hidden..][..hidden]],
                [&dy[at * hidden..][..hidden], &carried.as_ref()[sequence * hidden..][..hidden]],
                &mut of_cells.as_mut()[sequence * hidden..][..hidden],
                &mut slopes[at * wide..][..wide],
            );
        }
    }
}

fn zeros(len: usize) -> Buffer {
    let mut zeros = Buffer::new(len);
    zeros.as_mut().fill(0.0);
    zeros
}

vectorised! {
    /// The functions of the gates, the new cells and the output of a step.
    fn activate(gates: &mut [f32], old: &[f32], cells: &mut [f32], output: &mut [f32]) {
        let n = output.len();
        gates[..2 * n].iter_mut().for_each(|x| *x = sigmoid(*x));
        gates[2 * n..3 * n].iter_mut().for_each(|x| *x = tanh(*x));
        gates[3 * n..].iter_mut().for_each(|x| *x = sigmoid(*x));
        let (enter, forget, value, leave) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n], &gates[3 * n..4 * n]);
        let (old, cells) = (&old[..n], &mut cells[..n]);
        for i in 0..n {
            let cell = forget[i] * old[i] + enter[i] * value[i];
            cells[i] = cell;
            output[i] = leave[i] * tanh(cell);
        }
    }

    /// The gradient of the gates before their functions and that of the old cells, in place of that of the cells.
    fn deactivate(gates: &[f32], cells: [&[f32]; 2], dy: [&[f32]; 2], of_cells: &mut [f32], slopes: &mut [f32]) {
        let n = of_cells.len();
        let (enter, forget, value, leave) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n], &gates[3 * n..4 * n]);
        let ([old, cells], [dy, carried]) = (cells.map(|x| &x[..n]), dy.map(|x| &x[..n]));
        let (first, rest) = slopes.split_at_mut(n);
        let (second, rest) = rest.split_at_mut(n);
        let (third, fourth) = rest.split_at_mut(n);
        let fourth = &mut fourth[..n];
        for i in 0..n {
            let (dy, cell) = (dy[i] + carried[i], tanh(cells[i]));
            let slope = of_cells[i] + dy * leave[i] * (1.0 - cell * cell);
            first[i] = slope * value[i] * enter[i] * (1.0 - enter[i]);
            second[i] = slope * old[i] * forget[i] * (1.0 - forget[i]);
            third[i] = slope * enter[i] * (1.0 - value[i] * value[i]);
            fourth[i] = dy * cell * leave[i] * (1.0 - leave[i]);
            of_cells[i] = slope * forget[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{close, random, same_on_any_threads, slopes, wide};

    fn shapes() -> Vec<Shape> {
        let mut all = Vec::new();
        for [batch, steps, input, hidden] in
            [[1, 1, 1, 1], [1, 5, 3, 2], [3, 4, 5, 7], [7, 3, 2, 9], [2, 6, 17, 16], [9, 2, 3, 20]]
        {
            for reverse in [false, true] {
                all.push(Shape { batch, steps, input, hidden, reverse });
            }
        }
        all
    }

    /// Input, weights of the input, recurrent weights, bias, gradient of the output.
    fn numbers(s: &Shape) -> [Vec<f32>; 5] {
        let x = random(s.batch * s.steps * s.input, 1);
        let dy = random(s.batch * s.steps * s.hidden, 5);
        [x, random(s.input * s.gates(), 2), random(s.hidden * s.gates(), 3), random(s.gates(), 4), dy]
    }

    /// The layer by its equations.
    fn naive(s: &Shape, [x, kernel, recurrent, bias]: [&[f64]; 4]) -> Vec<f64> {
        let (n, wide) = (s.hidden, s.gates());
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut output = vec![0.0; s.batch * s.steps * n];
        for sequence in 0..s.batch {
            let (mut h, mut c) = (vec![0.0; n], vec![0.0; n]);
            for step in 0..s.steps {
                let at = sequence * s.steps + if s.reverse { s.steps - 1 - step } else { step };
                let gate = |j: usize| {
                    let input: f64 = (0..s.input).map(|k| x[at * s.input + k] * kernel[k * wide + j]).sum();
                    let state: f64 = (0..n).map(|k| h[k] * recurrent[k * wide + j]).sum();
                    input + state + bias[j]
                };
                let gates: Vec<f64> = (0..wide).map(gate).collect();
                for u in 0..n {
                    c[u] = logistic(gates[n + u]) * c[u] + logistic(gates[u]) * gates[2 * n + u].tanh();
                    h[u] = logistic(gates[3 * n + u]) * c[u].tanh();
                    output[at * n + u] = h[u];
                }
            }
        }
        output
    }

    #[test]
    fn outputs_follow_the_equations() {
        let long = Shape { batch: 5, steps: 300, input: 11, hidden: 33, reverse: false };
        for s in shapes().into_iter().chain([long, Shape { reverse: true, ..long }]) {
            let [x, kernel, recurrent, bias, _] = numbers(&s);
            let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: &bias };
            let wanted =
                naive(&s, [&x, &kernel, &recurrent, &bias].map(|x| wide(x)).each_ref().map(|x| &x[..]));
            close(&format!("{s:?}"), forward(&s, &x, &weights).0.as_ref(), &wanted, 1e-5);
        }
    }

    #[test]
    fn gradients_are_the_slopes() {
        for s in shapes() {
            let [x, kernel, recurrent, bias, dy] = numbers(&s);
            let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: &bias };
            let (y, states) = forward(&s, &x, &weights);
            let got = gradient(&s, &x, &weights, &states, [y.as_ref(), &dy], true);
            let all = [&x, &kernel, &recurrent, &bias].map(|x| wide(x));
            let objective = |which: usize, values: &[f64]| {
                let mut all = all.each_ref().map(|x| &x[..]);
                all[which] = values;
                naive(&s, all).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
            };
            let found = [got.input.as_ref().unwrap(), &got.kernel, &got.recurrent, &got.bias];
            for (which, (name, found)) in
                ["input", "kernel", "recurrent", "bias"].into_iter().zip(found).enumerate()
            {
                let wanted = slopes(&all[which], |values| objective(which, values));
                close(&format!("{name} {s:?}"), found.as_ref(), &wanted, 1e-4);
            }
            assert!(gradient(&s, &x, &weights, &states, [y.as_ref(), &dy], false).input.is_none());
        }
    }

    #[test]
    fn threads_change_nothing() {
        let s = Shape { batch: 9, steps: 700, input: 5, hidden: 8, reverse: false };
        let [x, kernel, recurrent, bias, dy] = numbers(&s);
        let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: &bias };
        same_on_any_threads(|| {
            let (y, states) = forward(&s, &x, &weights);
            let Gradients { input, kernel, recurrent, bias } =
                gradient(&s, &x, &weights, &states, [y.as_ref(), &dy], true);
            [input.unwrap(), kernel, recurrent, bias, y].map(|x| x.as_ref().to_vec())
        });
    }
}
