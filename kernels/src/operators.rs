//! The operators of the layers: geometry, and which tensors the way back needs.

use std::sync::OnceLock;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::convolution::{self, Panels, Shape, Target};
use crate::depthwise;
use crate::elementwise::{self, Function};
use crate::lstm;
use crate::map::{self, Map, floats};
use crate::memory::Buffer;
use crate::norm::{self, Norm, Statistics};
use crate::operation::Kernel;
use crate::pool::{self, Divisor, Winners};
use crate::tile::{self, Finish};

/// Convolution of `[batch, c_in, ..]` by `[c_out, c_in, ..]`, with an optional bias and ReLU.
#[derive(Debug)]
pub struct Convolution {
    /// Places between two results.
    pub stride: [usize; 2],
    /// Places between two weights.
    pub dilation: [usize; 2],
    /// Zeros above, left, below, right.
    pub padding: [usize; 4],
    /// Negative results become zero.
    pub relu: bool,
}

impl Convolution {
    /// Sizes for an input and a kernel.
    fn shape(&self, input: &[usize], kernel: &[usize]) -> Shape {
        let (size, kernel_size) = (Map::plane(input), Map::plane(kernel));
        let [top, left, bottom, right] = self.padding;
        let around = [top + bottom, left + right];
        let output = std::array::from_fn(|axis| {
            let extent = (kernel_size[axis] - 1) * self.dilation[axis] + 1;
            (size[axis] + around[axis] - extent) / self.stride[axis] + 1
        });
        Shape {
            batch: input[0],
            input: size,
            c_in: input[1],
            kernel: kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding: [top as isize, left as isize],
            output,
            c_out: kernel[0],
        }
    }
}

/// Depthwise convolution of `[batch, channels, ..]` by `[channels, 1, ..]`, with an optional bias.
#[derive(Debug)]
pub struct Depthwise(pub Convolution);

impl Depthwise {
    fn shape(&self, input: &[usize], kernel: &[usize]) -> Shape {
        Shape { c_in: kernel[0], ..self.0.shape(input, kernel) }
    }
}

impl Kernel for Depthwise {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let Layer { input, weight: kernel, bias } = Layer::of(inputs);
        let input = Map::new(input);
        let shape = self.shape(input.shape(), kernel.layout().shape());
        let mut output = Buffer::new(shape.output_len());
        let (turned, bias) = (channels_last(&shape, floats(&kernel)), bias.as_ref().map(floats));
        depthwise::forward(&shape, input.values(), turned.as_ref(), bias, output.as_mut());
        let sizes = map_sizes(shape.batch, shape.c_out, shape.output, input.shape().len());
        let output = Map::from_buffer(output, &sizes).into_tensor();
        let kept = kept(tracked, input.into_tensor(), kernel, &output, false);
        (output, kept)
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [input, kernel] = &kept[..] else { unreachable!("kept by `forward`") };
        let (input, gradient) = (Map::new(input.clone()), Map::new(gradient));
        let sizes = kernel.layout().shape().to_vec();
        let shape = self.shape(input.shape(), &sizes);
        let of_input = wanted[0].then(|| {
            let mut result = Buffer::new(shape.input_len());
            let turned = channels_last(&shape, floats(kernel));
            depthwise::input_gradient(&shape, turned.as_ref(), gradient.values(), result.as_mut());
            Map::from_buffer(result, input.shape()).into_tensor()
        });
        let of_kernel = wanted[1].then(|| {
            let turned = depthwise::kernel_gradient(&shape, input.values(), gradient.values());
            let mut result = Buffer::new(turned.as_ref().len());
            map::transpose(turned.as_ref(), result.as_mut(), shape.kernel[0] * shape.kernel[1], shape.c_out);
            map::tensor(result, &sizes)
        });
        vec![of_input, of_kernel, of_bias(gradient.values(), shape.c_out, wanted)]
    }
}

/// A kernel `[channels, 1, height, width]` as `[height, width, channels]`.
fn channels_last(shape: &Shape, kernel: &[f32]) -> Buffer {
    let mut turned = Buffer::new(kernel.len());
    map::transpose(kernel, turned.as_mut(), shape.c_out, shape.kernel[0] * shape.kernel[1]);
    turned
}

/// `[batch, channels, height, width]`, without the height for a map of three axes.
fn map_sizes(batch: usize, channels: usize, [height, width]: [usize; 2], axes: usize) -> Vec<usize> {
    if axes == 3 { vec![batch, channels, width] } else { vec![batch, channels, height, width] }
}

/// A kernel `[c_out, c_in, height, width]` as the tiles of the way forward read it.
fn panels<'a>(shape: &Shape, kernel: &'a [f32]) -> Panels<'a> {
    let (area, c_in) = (shape.kernel[0] * shape.kernel[1], shape.c_in);
    Panels::pack(kernel, area * c_in, shape.c_out, |k| k % c_in * area + k / c_in, c_in * area)
}

/// What a layer with weights is given.
struct Layer {
    input: FlexTensor,
    /// Contiguous.
    weight: FlexTensor,
    /// Contiguous.
    bias: Option<FlexTensor>,
}

impl Layer {
    fn of(inputs: Vec<FlexTensor>) -> Self {
        let mut inputs = inputs.into_iter();
        let (Some(input), Some(weight)) = (inputs.next(), inputs.next()) else {
            unreachable!("an input, weights, perhaps a bias")
        };
        let bias = inputs.next().map(|bias| bias.to_contiguous());
        Self { input, weight: weight.to_contiguous(), bias }
    }

    /// The bias, filled up so that it can be read in whole vectors.
    fn padded_bias(&self) -> Option<Buffer> {
        let values = floats(self.bias.as_ref()?);
        let mut padded = Buffer::new(tile::padded(values.len()));
        padded.as_mut().fill(0.0);
        padded.as_mut()[..values.len()].copy_from_slice(values);
        Some(padded)
    }
}

/// Sums, then the bias and the ReLU if there are any.
fn finish(bias: &Option<Buffer>, relu: bool) -> Finish {
    Finish {
        bias: bias.as_ref().map_or(std::ptr::null(), |bias| bias.as_ref().as_ptr()),
        relu,
        ..Finish::STORE
    }
}

/// What the way back needs of a layer: input and weights, and the result for its ReLU.
fn kept(
    tracked: bool,
    input: FlexTensor,
    weight: FlexTensor,
    output: &FlexTensor,
    relu: bool,
) -> Vec<FlexTensor> {
    match (tracked, relu) {
        (false, _) => vec![],
        (true, false) => vec![input, weight],
        (true, true) => vec![input, weight, output.clone()],
    }
}

/// The gradient of the bias, where there is one that wants it.
fn of_bias(gradient: &[f32], channels: usize, wanted: &[bool]) -> Option<FlexTensor> {
    (wanted.get(2) == Some(&true)).then(|| map::tensor(norm::bias_gradient(gradient, channels), &[channels]))
}

impl Kernel for Convolution {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let layer = Layer::of(inputs);
        let bias = layer.padded_bias();
        let (input, kernel) = (Map::new(layer.input), layer.weight);
        let shape = self.shape(input.shape(), kernel.layout().shape());
        let mut output = Buffer::new(shape.output_len());
        let (panels, finish) = (panels(&shape, floats(&kernel)), finish(&bias, self.relu));
        convolution::forward(&shape, input.values(), &panels, output.as_mut(), Target::whole(&shape), finish);
        let sizes = map_sizes(shape.batch, shape.c_out, shape.output, input.shape().len());
        let output = Map::from_buffer(output, &sizes).into_tensor();
        let kept = kept(tracked, input.into_tensor(), kernel, &output, self.relu);
        (output, kept)
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [input, kernel, ..] = &kept[..] else { unreachable!("kept by `forward`") };
        let input = Map::new(input.clone());
        let sizes = kernel.layout().shape().to_vec();
        let shape = self.shape(input.shape(), &sizes);
        let mut gradient = Map::new(gradient);
        let output = kept.get(2).map(|output| Map::new(output.clone()));
        let of_bias = match output {
            Some(output) => {
                gradient = gradient.into_values();
                let sums = norm::relu_and_bias_gradient(gradient.values_mut(), output.values(), shape.c_out);
                Some(map::tensor(sums, &[shape.c_out]))
            }
            None => of_bias(gradient.values(), shape.c_out, wanted),
        };
        let of_input = wanted[0].then(|| {
            let mut result = Buffer::new(shape.input_len());
            convolution::input_gradient(&shape, floats(kernel), gradient.values(), result.as_mut());
            Map::from_buffer(result, input.shape()).into_tensor()
        });
        let of_kernel = wanted[1].then(|| {
            let turned = convolution::kernel_gradient(&shape, input.values(), gradient.values());
            let mut result = Buffer::new(shape.kernel_len());
            kernel_order(&shape, turned.as_ref(), result.as_mut());
            map::tensor(result, &sizes)
        });
        vec![of_input, of_kernel, of_bias]
    }
}

/// `[height, width, c_in, c_out]` → `[c_out, c_in, height, width]`.
fn kernel_order(shape: &Shape, from: &[f32], to: &mut [f32]) {
    let (area, c_in, c_out) = (shape.kernel[0] * shape.kernel[1], shape.c_in, shape.c_out);
    to.par_chunks_mut(c_in * area).enumerate().for_each(|(o, to)| {
        for (i, place) in to.iter_mut().enumerate() {
            let (channel, tap) = (i / area, i % area);
            *place = from[(tap * c_in + channel) * c_out + o];
        }
    });
}

/// A dense layer `[.., d_input]` by `[d_input, d_output]`, with an optional bias and ReLU.
#[derive(Debug)]
pub struct Linear {
    /// Negative results become zero.
    pub relu: bool,
}

impl Kernel for Linear {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let layer = Layer::of(inputs);
        let bias = layer.padded_bias();
        let (input, weight) = (layer.input.to_contiguous(), layer.weight);
        let mut sizes = input.layout().shape().to_vec();
        let shape = dense(&sizes, weight.layout().shape());
        let mut output = Buffer::new(shape.output_len());
        let panels = Panels::rows(floats(&weight), shape.c_in, shape.c_out);
        let (target, finish) = (Target::whole(&shape), finish(&bias, self.relu));
        convolution::forward(&shape, floats(&input), &panels, output.as_mut(), target, finish);
        sizes.pop();
        sizes.push(shape.c_out);
        let output = map::tensor(output, &sizes);
        let kept = kept(tracked, input, weight, &output, self.relu);
        (output, kept)
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [input, weight, ..] = &kept[..] else { unreachable!("kept by `forward`") };
        let shape = dense(input.layout().shape(), weight.layout().shape());
        let gradient = gradient.to_contiguous();
        let mut masked = Buffer::default();
        let (gradient, of_bias) = match kept.get(2) {
            Some(output) => {
                masked.reserve(shape.output_len());
                masked.as_mut().copy_from_slice(floats(&gradient));
                let sums = norm::relu_and_bias_gradient(masked.as_mut(), floats(output), shape.c_out);
                (masked.as_ref(), Some(map::tensor(sums, &[shape.c_out])))
            }
            None => (floats(&gradient), of_bias(floats(&gradient), shape.c_out, wanted)),
        };
        let of_input = wanted[0].then(|| {
            let turned = Shape::dense(shape.input[1], shape.c_out, shape.c_in);
            let panels = Panels::pack(floats(weight), shape.c_out, shape.c_in, |k| k, shape.c_out);
            let mut result = Buffer::new(shape.input_len());
            convolution::forward(
                &turned,
                gradient,
                &panels,
                result.as_mut(),
                Target::whole(&turned),
                Finish::STORE,
            );
            map::tensor(result, input.layout().shape())
        });
        let of_weight = wanted[1].then(|| {
            let result = convolution::kernel_gradient(&shape, floats(input), gradient);
            map::tensor(result, weight.layout().shape())
        });
        vec![of_input, of_weight, of_bias]
    }
}

/// All axes but the last are rows.
fn dense(input: &[usize], weight: &[usize]) -> Shape {
    Shape::dense(input[..input.len() - 1].iter().product(), weight[0], weight[1])
}

/// Batch normalisation of `[batch, channels, ..]` by a scale and a shift, with an optional ReLU.
#[derive(Debug)]
pub struct BatchNorm {
    /// Fixed ones, or those of the batch once `forward` ran.
    statistics: OnceLock<Statistics>,
    /// Whether they were fixed.
    fixed: bool,
    /// Added to the variance.
    epsilon: f64,
    /// Negative results become zero.
    relu: bool,
}

impl BatchNorm {
    /// With the mean and variance of the batch.
    pub fn of_batch(epsilon: f64, relu: bool) -> Self {
        Self { statistics: OnceLock::new(), fixed: false, epsilon, relu }
    }

    /// With this mean and variance.
    pub fn fixed([mean, variance]: [Vec<f32>; 2], epsilon: f64, relu: bool) -> Self {
        let buffer = |values: Vec<f32>| {
            let mut buffer = Buffer::new(values.len());
            buffer.as_mut().copy_from_slice(&values);
            buffer
        };
        let statistics = Statistics { mean: buffer(mean), variance: buffer(variance) };
        Self { statistics: OnceLock::from(statistics), fixed: true, epsilon, relu }
    }

    /// Mean and variance; nothing before `forward` ran.
    pub fn found(&self) -> [&[f32]; 2] {
        self.statistics.get().map_or([&[], &[]], |found| [found.mean.as_ref(), found.variance.as_ref()])
    }

    fn norm<'a>(&self, statistics: &'a Statistics, gamma: &'a FlexTensor, beta: &'a FlexTensor) -> Norm<'a> {
        Norm {
            mean: statistics.mean.as_ref(),
            variance: statistics.variance.as_ref(),
            gamma: floats(gamma),
            beta: floats(beta),
            epsilon: self.epsilon,
            relu: self.relu,
        }
    }
}

impl Kernel for BatchNorm {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let [input, gamma, beta] = &inputs[..] else { unreachable!("three inputs") };
        let input = Map::new(input.clone());
        let (gamma, beta) = (gamma.to_contiguous(), beta.to_contiguous());
        let channels = input.shape()[1];
        let statistics = self.statistics.get_or_init(|| norm::statistics(input.values(), channels));
        let output = norm::normalise(input.values(), &self.norm(statistics, &gamma, &beta));
        let output = Map::from_buffer(output, input.shape()).into_tensor();
        (output, if tracked { vec![input.into_tensor(), gamma, beta] } else { vec![] })
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        _wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [input, gamma, beta] = &kept[..] else { unreachable!("kept by `forward`") };
        let (input, gradient) = (Map::new(input.clone()), Map::new(gradient));
        let channels = input.shape()[1];
        let statistics = self.statistics.get_or_init(|| norm::statistics(input.values(), channels));
        let norm = self.norm(statistics, gamma, beta);
        let found = norm::gradient(input.values(), gradient.values(), &norm, self.fixed);
        vec![
            Some(Map::from_buffer(found.input, input.shape()).into_tensor()),
            Some(map::tensor(found.gamma, &[channels])),
            Some(map::tensor(found.beta, &[channels])),
        ]
    }
}

/// Maximum or mean over windows of `[batch, channels, ..]`.
#[derive(Debug)]
pub struct Pool {
    /// Height and width of a window.
    pub window: [usize; 2],
    /// Places between two windows.
    pub stride: [usize; 2],
    /// Places above, left, below, right.
    pub padding: [usize; 4],
    /// What becomes of a window.
    pub of: PoolOf,
    /// Sizes of the input and which places won, once `forward` ran.
    pub seen: OnceLock<(Vec<usize>, Option<Winners>)>,
}

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolOf {
    /// Its maximum.
    Maximum,
    /// Its mean; whether places outside the map count.
    Mean(bool),
}

impl Pool {
    fn shape(&self, input: &[usize]) -> pool::Shape {
        let size = Map::plane(input);
        let [top, left, bottom, right] = self.padding;
        let around = [top + bottom, left + right];
        pool::Shape {
            batch: input[0],
            input: size,
            channels: input[1],
            kernel: self.window,
            stride: self.stride,
            padding: [top, left],
            output: std::array::from_fn(|axis| {
                (size[axis] + around[axis] - self.window[axis]) / self.stride[axis] + 1
            }),
        }
    }
}

fn divisor(padded: bool) -> Divisor {
    if padded { Divisor::Padded } else { Divisor::Inside }
}

impl Kernel for Pool {
    fn forward(&self, mut inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let Some(input) = inputs.pop() else { unreachable!("one input") };
        let input = Map::new(input);
        let shape = self.shape(input.shape());
        let (output, winners) = match self.of {
            PoolOf::Maximum if tracked => {
                let (output, winners) = pool::maximum_with_winners(input.values(), &shape);
                (output, Some(winners))
            }
            PoolOf::Maximum => (pool::maximum(input.values(), &shape), None),
            PoolOf::Mean(padded) => (pool::average(input.values(), &shape, divisor(padded)), None),
        };
        let sizes = map_sizes(shape.batch, shape.channels, shape.output, input.shape().len());
        self.seen.get_or_init(|| (input.shape().to_vec(), winners));
        (Map::from_buffer(output, &sizes).into_tensor(), vec![])
    }

    fn backward(
        &self,
        _kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        _wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let Some((input, winners)) = self.seen.get() else { unreachable!("set by `forward`") };
        let (shape, gradient) = (self.shape(input), Map::new(gradient));
        let result = match (self.of, winners) {
            (PoolOf::Mean(padded), _) => pool::average_gradient(gradient.values(), &shape, divisor(padded)),
            (PoolOf::Maximum, Some(winners)) => pool::maximum_gradient(gradient.values(), winners, &shape),
            (PoolOf::Maximum, None) => unreachable!("set by a tracked `forward`"),
        };
        vec![Some(Map::from_buffer(result, input).into_tensor())]
    }
}

/// The mean of each channel: `[batch, channels, ..]` → `[batch, channels]`.
#[derive(Debug, Default)]
pub struct GlobalMean {
    /// Sizes of the input, once `forward` ran.
    seen: OnceLock<Vec<usize>>,
}

impl Kernel for GlobalMean {
    fn forward(&self, mut inputs: Vec<FlexTensor>, _tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let Some(input) = inputs.pop() else { unreachable!("one input") };
        let input = Map::new(input);
        let [batch, channels, ..] = self.seen.get_or_init(|| input.shape().to_vec())[..] else {
            unreachable!("a map")
        };
        (map::tensor(pool::mean(input.values(), batch, channels), &[batch, channels]), vec![])
    }

    fn backward(
        &self,
        _kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        _wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let Some(input) = self.seen.get() else { unreachable!("set by `forward`") };
        let gradient = gradient.to_contiguous();
        let result = pool::mean_gradient(floats(&gradient), input[0], input[2..].iter().product());
        vec![Some(Map::from_buffer(result, input).into_tensor())]
    }
}

/// One direction of an LSTM over sequences: input `[batch, steps, d_input]`, kernel `[d_input, 4 * d_hidden]`, recurrent kernel
/// `[d_hidden, 4 * d_hidden]`, bias `[4 * d_hidden]`.
#[derive(Debug)]
pub struct Lstm {
    /// From the last step to the first.
    pub reverse: bool,
    /// What `forward` found, if it was tracked.
    pub states: OnceLock<lstm::States>,
}

impl Lstm {
    fn parts<'a>(&self, inputs: &'a [FlexTensor]) -> (lstm::Shape, &'a [f32], lstm::Weights<'a>) {
        let [input, kernel, recurrent, bias] = inputs else { unreachable!("four inputs") };
        let [batch, steps, d_input] = input.layout().shape()[..] else { unreachable!("three axes") };
        let hidden = recurrent.layout().shape()[0];
        let shape = lstm::Shape { batch, steps, input: d_input, hidden, reverse: self.reverse };
        let weights =
            lstm::Weights { kernel: floats(kernel), recurrent: floats(recurrent), bias: floats(bias) };
        (shape, floats(input), weights)
    }
}

impl Kernel for Lstm {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.to_contiguous()).collect();
        let (shape, input, weights) = self.parts(&inputs);
        let sizes = [shape.batch, shape.steps, shape.hidden];
        let states = lstm::forward(&shape, input, &weights);
        if !tracked {
            return (map::tensor(states.output, &sizes), vec![]);
        }
        let mut output = Buffer::new(states.output.as_ref().len());
        output.as_mut().copy_from_slice(states.output.as_ref());
        self.states.get_or_init(|| states);
        (map::tensor(output, &sizes), inputs)
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let Some(states) = self.states.get() else { unreachable!("set by a tracked `forward`") };
        let (shape, input, weights) = self.parts(&kept);
        let gradient = gradient.to_contiguous();
        let found = lstm::gradient(&shape, input, &weights, states, floats(&gradient), wanted[0]);
        let gates = 4 * shape.hidden;
        vec![
            found.input.map(|values| map::tensor(values, &[shape.batch, shape.steps, shape.input])),
            Some(map::tensor(found.kernel, &[shape.input, gates])),
            Some(map::tensor(found.recurrent, &[shape.hidden, gates])),
            Some(map::tensor(found.bias, &[gates])),
        ]
    }
}

/// A function of each value by itself.
#[derive(Debug)]
pub struct Each(pub Function);

impl Kernel for Each {
    fn forward(&self, mut inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let Some(input) = inputs.pop().map(|input| input.to_contiguous()) else { unreachable!("one input") };
        let output = map::tensor(elementwise::apply(self.0, floats(&input)), input.layout().shape());
        (output, if tracked { vec![input] } else { vec![] })
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        _wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [input] = &kept[..] else { unreachable!("kept by `forward`") };
        let gradient = gradient.to_contiguous();
        let result = elementwise::gradient(self.0, floats(input), floats(&gradient));
        vec![Some(map::tensor(result, input.layout().shape()))]
    }
}

/// The sum of two tensors of one shape, with an optional ReLU.
#[derive(Debug)]
pub struct Sum {
    /// Negative results become zero.
    pub relu: bool,
}

impl Kernel for Sum {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.to_contiguous()).collect();
        let [a, b] = &inputs[..] else { unreachable!("two inputs") };
        let output = map::tensor(elementwise::add(floats(a), floats(b), self.relu), a.layout().shape());
        let kept = if tracked && self.relu { vec![output.clone()] } else { vec![] };
        (output, kept)
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let gradient = match kept.first() {
            None => gradient,
            Some(output) => {
                let gradient = gradient.to_contiguous();
                let result = elementwise::relu_gradient(floats(output), floats(&gradient));
                map::tensor(result, output.layout().shape())
            }
        };
        wanted.iter().map(|wanted| wanted.then(|| gradient.clone())).collect()
    }
}

/// Each channel of each map times its factor: `[batch, .., channels]` by `[batch, channels]`.
#[derive(Debug)]
pub struct Scale;

impl Kernel for Scale {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.to_contiguous()).collect();
        let [x, factor] = &inputs[..] else { unreachable!("two inputs") };
        let output = elementwise::scale(floats(x), floats(factor), last(factor));
        (map::tensor(output, x.layout().shape()), if tracked { inputs } else { vec![] })
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        _wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [x, factor] = &kept[..] else { unreachable!("kept by `forward`") };
        let gradient = gradient.to_contiguous();
        let found = elementwise::scale_gradient(floats(x), floats(factor), floats(&gradient), last(factor));
        let shapes = [x, factor].map(|input| input.layout().shape());
        found.into_iter().zip(shapes).map(|(values, shape)| Some(map::tensor(values, shape))).collect()
    }
}

/// The softmax of the last axis.
#[derive(Debug)]
pub struct Softmax;

impl Kernel for Softmax {
    fn forward(&self, mut inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let Some(input) = inputs.pop().map(|input| input.to_contiguous()) else { unreachable!("one input") };
        let output = map::tensor(elementwise::softmax(floats(&input), last(&input)), input.layout().shape());
        let kept = if tracked { vec![output.clone()] } else { vec![] };
        (output, kept)
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        _wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [output] = &kept[..] else { unreachable!("kept by `forward`") };
        let gradient = gradient.to_contiguous();
        let result = elementwise::softmax_gradient(floats(output), floats(&gradient), last(output));
        vec![Some(map::tensor(result, output.layout().shape()))]
    }
}

/// Size of the last axis.
fn last(tensor: &FlexTensor) -> usize {
    tensor.layout().shape().last().copied().unwrap_or(1)
}

/// Products of matrices: `[.., rows, depth]` by `[.., depth, columns]`, as many of one as of the other.
#[derive(Debug)]
pub struct Products;

/// How many products there are, and the sizes of one.
fn products(a: &FlexTensor, b: &FlexTensor) -> (usize, [usize; 3]) {
    let (a, b) = (a.layout().shape(), b.layout().shape());
    let axes = a.len();
    (a[..axes - 2].iter().product(), [a[axes - 2], a[axes - 1], b[axes - 1]])
}

impl Kernel for Products {
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.to_contiguous()).collect();
        let [a, b] = &inputs[..] else { unreachable!("two inputs") };
        let (count, [rows, depth, columns]) = products(a, b);
        let mut output = Buffer::new(count * rows * columns);
        let shape = Shape::dense(rows, depth, columns);
        let each = floats(a).par_chunks(rows * depth).zip(floats(b).par_chunks(depth * columns));
        output.as_mut().par_chunks_mut(rows * columns).zip(each).for_each(|(output, (a, b))| {
            let panels = Panels::rows(b, depth, columns);
            convolution::forward(&shape, a, &panels, output, Target::whole(&shape), Finish::STORE);
        });
        let mut sizes = a.layout().shape().to_vec();
        sizes.pop();
        sizes.push(columns);
        (map::tensor(output, &sizes), if tracked { inputs } else { vec![] })
    }

    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [a, b] = &kept[..] else { unreachable!("kept by `forward`") };
        let (count, [rows, depth, columns]) = products(a, b);
        let gradient = gradient.to_contiguous();
        let of_a = wanted[0].then(|| {
            let shape = Shape::dense(rows, columns, depth);
            let mut result = Buffer::new(count * rows * depth);
            let each =
                floats(&gradient).par_chunks(rows * columns).zip(floats(b).par_chunks(depth * columns));
            result.as_mut().par_chunks_mut(rows * depth).zip(each).for_each(|(result, (gradient, b))| {
                let panels = Panels::pack(b, columns, depth, |column| column, columns);
                convolution::forward(&shape, gradient, &panels, result, Target::whole(&shape), Finish::STORE);
            });
            map::tensor(result, a.layout().shape())
        });
        let of_b = wanted[1].then(|| {
            let shape = Shape::dense(rows, depth, columns);
            let mut result = Buffer::new(count * depth * columns);
            let each = floats(&gradient).par_chunks(rows * columns).zip(floats(a).par_chunks(rows * depth));
            result.as_mut().par_chunks_mut(depth * columns).zip(each).for_each(|(result, (gradient, a))| {
                result.copy_from_slice(convolution::kernel_gradient(&shape, a, gradient).as_ref());
            });
            map::tensor(result, b.layout().shape())
        });
        vec![of_a, of_b]
    }
}
