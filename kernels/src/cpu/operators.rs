//! The operators of the layers: geometry, results, and the ways back with what they hold.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::Precision;
use crate::cpu::attention::{self, Steps};
use crate::cpu::convolution::{self, Packed, Panels, Shape, Target};
use crate::cpu::depthwise;
use crate::cpu::elementwise::{self, AdamStep, Function};
use crate::cpu::layer_norm;
use crate::cpu::lstm;
use crate::cpu::map::{self, Map, floats};
use crate::cpu::memory::Buffer;
use crate::cpu::norm::{self, Norm};
use crate::cpu::operation::{Done, WayBack};
use crate::cpu::pool::{self, Divisor, Winners};
use crate::cpu::tile::{self, Finish};

/// How windows lie on a map.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Places between two results.
    pub stride: [usize; 2],
    /// Places between two places of a window.
    pub dilation: [usize; 2],
    /// Places above, left, below, right that are added to the map.
    pub padding: [usize; 4],
}

impl Geometry {
    /// Height and width of the results of a map `[batch, channels, ..]`.
    fn results(&self, input: &[usize], window: [usize; 2]) -> [usize; 2] {
        let size = Map::plane(input);
        let [top, left, bottom, right] = self.padding;
        let around = [top + bottom, left + right];
        std::array::from_fn(|axis| {
            let extent = (window[axis] - 1) * self.dilation[axis] + 1;
            assert!(size[axis] + around[axis] >= extent, "a window of {extent} on a map of {}", size[axis]);
            (size[axis] + around[axis] - extent) / self.stride[axis] + 1
        })
    }

    /// Sizes of the convolution of a map `[batch, c_in, ..]` by a kernel `[c_out, .., ..]`.
    pub fn convolution(&self, input: &[usize], kernel: &[usize]) -> Shape {
        let window = Map::plane(kernel);
        let [top, left, ..] = self.padding;
        Shape {
            batch: input[0],
            input: Map::plane(input),
            c_in: input[1],
            kernel: window,
            stride: self.stride,
            dilation: self.dilation,
            padding: [top as isize, left as isize],
            output: self.results(input, window),
            c_out: kernel[0],
        }
    }

    /// Sizes of the pooling of a map `[batch, channels, ..]`. Windows have no dilation.
    fn pool(&self, input: &[usize], window: [usize; 2]) -> pool::Shape {
        let [top, left, ..] = self.padding;
        pool::Shape {
            batch: input[0],
            input: Map::plane(input),
            channels: input[1],
            kernel: window,
            stride: self.stride,
            padding: [top, left],
            output: self.results(input, window),
        }
    }
}

/// What is done to sums: the bias is added, if there is one, and negative results become zero, if asked.
struct Last {
    /// Filled up so that it can be read in whole vectors.
    bias: Option<Buffer>,
    relu: bool,
}

impl Last {
    fn of(bias: Option<FlexTensor>, relu: bool) -> Self {
        let padded = |bias: FlexTensor| tile::padded_copy(floats(&bias.to_contiguous()));
        Self { bias: bias.map(padded), relu }
    }

    fn finish(&self) -> Finish {
        let bias = self.bias.as_ref().map_or(std::ptr::null(), |bias| bias.as_ref().as_ptr());
        Finish { bias, relu: self.relu, ..Finish::STORE }
    }

    /// The way back through it: the gradient of the sums, and that of the bias if wanted. `result` is what came out.
    fn back(gradient: FlexTensor, result: Option<&Map>, with_bias: bool) -> (Map, Option<FlexTensor>) {
        let mut gradient = Map::new(gradient);
        let channels = gradient.shape()[1];
        let of_bias = match result {
            Some(result) => {
                gradient = gradient.into_values();
                Some(norm::relu_and_bias_gradient(gradient.values_mut(), result.values(), channels))
            }
            None => with_bias.then(|| norm::bias_gradient(gradient.values(), channels)),
        };
        (gradient, of_bias.map(|sums| map::tensor(sums, &[channels])))
    }
}

/// Convolution of `[batch, c_in, ..]` by `[c_out, c_in, ..]`, with an optional bias and ReLU.
pub fn convolution(
    geometry: Geometry,
    relu: bool,
    input: FlexTensor,
    kernel: FlexTensor,
    bias: Option<FlexTensor>,
) -> Done<3> {
    let (input, kernel, last) = (Map::new(input), kernel.to_contiguous(), Last::of(bias, relu));
    let shape = geometry.convolution(input.shape(), kernel.layout().shape());
    let mut output = Buffer::new(shape.output_len());
    let precision = Precision::current();
    let packed = Packed::of_kernel(&shape, precision, floats(&kernel));
    convolution::convolve(&shape, input.values(), &packed, output.as_mut(), last.finish());
    drop(packed);
    let output = map::beside(&input, output, shape.c_out, shape.output);
    let result = relu.then(|| Map::new(output.clone()));
    let back = WayBack::new(move |gradient, [to_input, to_kernel, to_bias]| {
        let (gradient, of_bias) = Last::back(gradient, result.as_ref(), to_bias);
        let of_input = to_input.then(|| {
            let mut result = Buffer::new(shape.input_len());
            let (kernel, gradient) = (floats(&kernel), gradient.values());
            convolution::input_gradient(&shape, precision, kernel, gradient, result.as_mut());
            Map::from_buffer(result, input.shape()).into_tensor()
        });
        let of_kernel = to_kernel.then(|| {
            let (input, gradient) = (input.values(), gradient.values());
            let turned = convolution::kernel_gradient(&shape, precision, input, gradient);
            let mut result = Buffer::new(shape.kernel_len());
            kernel_order(&shape, turned.as_ref(), result.as_mut());
            map::tensor(result, kernel.layout().shape())
        });
        [of_input, of_kernel, of_bias]
    });
    (output, back)
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

/// Depthwise convolution of `[batch, channels, ..]` by `[channels, 1, ..]`, with an optional bias.
pub fn depthwise(
    geometry: Geometry,
    input: FlexTensor,
    kernel: FlexTensor,
    bias: Option<FlexTensor>,
) -> Done<3> {
    let (input, kernel) = (Map::new(input), kernel.to_contiguous());
    let shape = geometry.convolution(input.shape(), kernel.layout().shape());
    let mut output = Buffer::new(shape.output_len());
    let bias = bias.map(|bias| bias.to_contiguous());
    let turned = channels_last(&shape, floats(&kernel));
    depthwise::forward(&shape, input.values(), turned.as_ref(), bias.as_ref().map(floats), output.as_mut());
    let output = map::beside(&input, output, shape.c_out, shape.output);
    let back = WayBack::new(move |gradient, [to_input, to_kernel, to_bias]| {
        let (gradient, of_bias) = Last::back(gradient, None, to_bias);
        let of_input = to_input.then(|| {
            let mut result = Buffer::new(shape.input_len());
            let turned = channels_last(&shape, floats(&kernel));
            depthwise::input_gradient(&shape, turned.as_ref(), gradient.values(), result.as_mut());
            Map::from_buffer(result, input.shape()).into_tensor()
        });
        let of_kernel = to_kernel.then(|| {
            let turned = depthwise::kernel_gradient(&shape, input.values(), gradient.values());
            let mut result = Buffer::new(turned.as_ref().len());
            map::transpose(turned.as_ref(), result.as_mut(), shape.kernel[0] * shape.kernel[1], shape.c_out);
            map::tensor(result, kernel.layout().shape())
        });
        [of_input, of_kernel, of_bias]
    });
    (output, back)
}

/// A kernel `[channels, 1, height, width]` as `[height, width, channels]`.
fn channels_last(shape: &Shape, kernel: &[f32]) -> Buffer {
    let mut turned = Buffer::new(kernel.len());
    map::transpose(kernel, turned.as_mut(), shape.c_out, shape.kernel[0] * shape.kernel[1]);
    turned
}

/// A dense layer `[.., d_input]` by `[d_input, d_output]`, with an optional bias and ReLU.
pub fn linear(relu: bool, input: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> Done<3> {
    let (input, weight, last) = (input.to_contiguous(), weight.to_contiguous(), Last::of(bias, relu));
    let sizes = input.layout().shape().to_vec();
    let shape = dense(&sizes, weight.layout().shape());
    let mut output = Buffer::new(shape.output_len());
    let (precision, finish) = (Precision::current(), last.finish());
    if precision == Precision::F32 {
        let panels = Panels::for_rows(shape.input[1], floats(&weight), shape.c_in, shape.c_out);
        convolution::forward(&shape, floats(&input), &panels, output.as_mut(), Target::whole(&shape), finish);
    } else {
        let packed = Packed::of(&shape, precision, floats(&weight), |k| k * shape.c_out, 1);
        convolution::convolve(&shape, floats(&input), &packed, output.as_mut(), finish);
    }
    let output = map::tensor(output, &with_last(&sizes, shape.c_out));
    let rows = [shape.input[1], shape.c_out];
    let result = relu.then(|| Map::new(map::reshaped(output.clone(), &rows)));
    let back = WayBack::new(move |gradient, [to_input, to_weight, to_bias]| {
        let (gradient, of_bias) = Last::back(map::reshaped(gradient, &rows), result.as_ref(), to_bias);
        let of_input = to_input.then(|| {
            let turned = Shape::dense(shape.input[1], shape.c_out, shape.c_in);
            let packed = Packed::of(&turned, precision, floats(&weight), |k| k, shape.c_out);
            let mut result = Buffer::new(shape.input_len());
            convolution::convolve(&turned, gradient.values(), &packed, result.as_mut(), Finish::STORE);
            map::tensor(result, &sizes)
        });
        let of_weight = to_weight.then(|| {
            let (input, gradient) = (floats(&input), gradient.values());
            let result = convolution::kernel_gradient(&shape, precision, input, gradient);
            map::tensor(result, weight.layout().shape())
        });
        [of_input, of_weight, of_bias]
    });
    (output, back)
}

/// See [`elementwise::move_average`]; there is no way back.
pub fn move_average(decay: f32, squares: bool, average: FlexTensor, x: FlexTensor) -> Done<2> {
    let x = x.to_contiguous();
    let change = |average: &mut [f32]| elementwise::move_average(average, floats(&x), decay, squares);
    (map::changed(average, change), WayBack::new(|_, _| [None, None]))
}

/// See [`elementwise::adam`]; there is no way back.
pub fn adam(step: AdamStep, weights: FlexTensor, first: FlexTensor, second: FlexTensor) -> Done<3> {
    let (first, second) = (first.to_contiguous(), second.to_contiguous());
    let change = |weights: &mut [f32]| elementwise::adam(weights, floats(&first), floats(&second), step);
    (map::changed(weights, change), WayBack::new(|_, _| [None, None, None]))
}

/// All axes but the last are rows.
pub fn dense(input: &[usize], weight: &[usize]) -> Shape {
    Shape::dense(input[..input.len() - 1].iter().product(), weight[0], weight[1])
}

/// The same sizes, but for the last.
pub fn with_last(sizes: &[usize], last: usize) -> Vec<usize> {
    sizes[..sizes.len() - 1].iter().copied().chain([last]).collect()
}

/// Mean and biased variance of the channels of `[batch, channels, ..]`, as `[2, channels]`. There is no way back: that through
/// the statistics of a batch is part of that of [`batch_norm`].
pub fn statistics(input: FlexTensor) -> Done<1> {
    let input = Map::new(input);
    let channels = input.shape()[1];
    let found = norm::statistics(input.values(), channels);
    let mut both = Buffer::new(2 * channels);
    both.as_mut()[..channels].copy_from_slice(found.mean.as_ref());
    both.as_mut()[channels..].copy_from_slice(found.variance.as_ref());
    (map::tensor(both, &[2, channels]), WayBack::new(|_, _| [None]))
}

/// What [`batch_norm`] is to do.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Mean and variance of each channel.
    pub statistics: [Vec<f32>; 2],
    /// Whether the statistics are those of the input itself, so that its gradient goes through them too.
    pub of_batch: bool,
    /// Added to the variance.
    pub epsilon: f64,
    /// Negative results become zero.
    pub relu: bool,
}

impl BatchNorm {
    fn norm<'a>(&'a self, gamma: &'a FlexTensor, beta: &'a FlexTensor) -> Norm<'a> {
        let [mean, variance] = &self.statistics;
        Norm {
            mean,
            variance,
            gamma: floats(gamma),
            beta: floats(beta),
            epsilon: self.epsilon,
            relu: self.relu,
        }
    }
}

/// Batch normalisation of `[batch, channels, ..]` by a scale and a shift, with an optional ReLU.
pub fn batch_norm(how: BatchNorm, [input, gamma, beta]: [FlexTensor; 3]) -> Done<3> {
    let (input, gamma, beta) = (Map::new(input), gamma.to_contiguous(), beta.to_contiguous());
    let output = norm::normalise(input.values(), &how.norm(&gamma, &beta));
    let output = Map::from_buffer(output, input.shape()).into_tensor();
    let back = WayBack::new(move |gradient, _| {
        let gradient = Map::new(gradient);
        let norm = how.norm(&gamma, &beta);
        let found = norm::gradient(input.values(), gradient.values(), &norm, !how.of_batch);
        [
            Some(Map::from_buffer(found.input, input.shape()).into_tensor()),
            Some(map::tensor(found.gamma, gamma.layout().shape())),
            Some(map::tensor(found.beta, beta.layout().shape())),
        ]
    });
    (output, back)
}

/// Layer normalisation of the last axis by a scale and a shift.
pub fn layer_norm(epsilon: f64, inputs: [FlexTensor; 3]) -> Done<3> {
    let [x, gamma, beta] = inputs.map(|input| input.to_contiguous());
    let (output, rows) = layer_norm::forward(floats(&x), floats(&gamma), floats(&beta), epsilon);
    let output = map::tensor(output, x.layout().shape());
    let back = WayBack::new(move |gradient: FlexTensor, _| {
        let gradient = gradient.to_contiguous();
        let found = layer_norm::gradient(floats(&x), floats(&gamma), &rows, floats(&gradient));
        [
            Some(map::tensor(found.input, x.layout().shape())),
            Some(map::tensor(found.gamma, gamma.layout().shape())),
            Some(map::tensor(found.beta, gamma.layout().shape())),
        ]
    });
    (output, back)
}

/// Maximum over windows of `[batch, channels, ..]`; only if it is `tracked`, who won is remembered.
pub fn maximum(geometry: Geometry, window: [usize; 2], input: FlexTensor, tracked: bool) -> Done<1> {
    let input = Map::new(input);
    let shape = geometry.pool(input.shape(), window);
    let (output, winners) = if tracked {
        pool::maximum_with_winners(input.values(), &shape)
    } else {
        (pool::maximum(input.values(), &shape), Winners::default())
    };
    let output = map::beside(&input, output, shape.channels, shape.output);
    let sizes = input.shape().to_vec();
    let back = WayBack::new(move |gradient, _| {
        let result = pool::maximum_gradient(Map::new(gradient).values(), &winners, &shape);
        [Some(Map::from_buffer(result, &sizes).into_tensor())]
    });
    (output, back)
}

/// Mean over windows of `[batch, channels, ..]`.
pub fn average(geometry: Geometry, window: [usize; 2], divisor: Divisor, input: FlexTensor) -> Done<1> {
    let input = Map::new(input);
    let shape = geometry.pool(input.shape(), window);
    let output = pool::average(input.values(), &shape, divisor);
    let output = map::beside(&input, output, shape.channels, shape.output);
    let sizes = input.shape().to_vec();
    let back = WayBack::new(move |gradient, _| {
        let result = pool::average_gradient(Map::new(gradient).values(), &shape, divisor);
        [Some(Map::from_buffer(result, &sizes).into_tensor())]
    });
    (output, back)
}

/// The mean of each channel: `[batch, channels, ..]` → `[batch, channels]`.
pub fn global_mean(input: FlexTensor) -> Done<1> {
    let input = Map::new(input);
    let sizes = input.shape().to_vec();
    let [batch, channels] = [sizes[0], sizes[1]];
    let output = map::tensor(pool::mean(input.values(), batch, channels), &[batch, channels]);
    let back = WayBack::new(move |gradient: FlexTensor, _| {
        let gradient = gradient.to_contiguous();
        let result = pool::mean_gradient(floats(&gradient), batch, sizes[2..].iter().product());
        [Some(Map::from_buffer(result, &sizes).into_tensor())]
    });
    (output, back)
}

/// One direction of an LSTM over sequences: input `[batch, steps, d_input]`, kernel `[d_input, 4 * d_hidden]`, recurrent kernel
/// `[d_hidden, 4 * d_hidden]`, bias `[4 * d_hidden]`. With `reverse` the last step comes first.
pub fn lstm(reverse: bool, inputs: [FlexTensor; 4]) -> Done<4> {
    let inputs = inputs.map(|input| input.to_contiguous());
    let sizes = inputs[0].layout().shape();
    let [batch, steps, d_input] = [sizes[0], sizes[1], sizes[2]];
    let hidden = inputs[2].layout().shape()[0];
    let shape = lstm::Shape { batch, steps, input: d_input, hidden, reverse };
    let (output, states) = lstm::forward(&shape, floats(&inputs[0]), &lstm_weights(&inputs));
    let output = map::tensor(output, &[batch, steps, hidden]);
    let result = output.clone();
    let back = WayBack::new(move |gradient: FlexTensor, [to_input, _, _, _]| {
        let gradient = gradient.to_contiguous();
        let (input, weights) = (floats(&inputs[0]), lstm_weights(&inputs));
        let outputs = [floats(&result), floats(&gradient)];
        let found = lstm::gradient(&shape, input, &weights, &states, outputs, to_input);
        let of = |which: usize, values| map::tensor(values, inputs[which].layout().shape());
        [
            found.input.map(|values| of(0, values)),
            Some(of(1, found.kernel)),
            Some(of(2, found.recurrent)),
            Some(of(3, found.bias)),
        ]
    });
    (output, back)
}

fn lstm_weights([_, kernel, recurrent, bias]: &[FlexTensor; 4]) -> lstm::Weights<'_> {
    lstm::Weights { kernel: floats(kernel), recurrent: floats(recurrent), bias: floats(bias) }
}

/// A function of each value by itself.
pub fn each(function: Function, input: FlexTensor) -> Done<1> {
    let input = input.to_contiguous();
    let output = map::tensor(elementwise::apply(function, floats(&input)), input.layout().shape());
    let back = WayBack::new(move |gradient: FlexTensor, _| {
        let gradient = gradient.to_contiguous();
        let result = elementwise::gradient(function, floats(&input), floats(&gradient));
        [Some(map::tensor(result, input.layout().shape()))]
    });
    (output, back)
}

/// The sum of two tensors of one shape, with an optional ReLU.
pub fn sum(relu: bool, inputs: [FlexTensor; 2]) -> Done<2> {
    let [a, b] = inputs.map(|input| input.to_contiguous());
    let output = map::tensor(elementwise::add(floats(&a), floats(&b), relu), a.layout().shape());
    let result = relu.then(|| output.clone());
    let back = WayBack::new(move |mut gradient: FlexTensor, wanted| {
        if let Some(output) = &result {
            gradient = gradient.to_contiguous();
            let masked = elementwise::gradient(Function::Relu, floats(output), floats(&gradient));
            gradient = map::tensor(masked, output.layout().shape());
        }
        wanted.map(|wanted| wanted.then(|| gradient.clone()))
    });
    (output, back)
}

/// Each channel of each map times its factor: `[batch, .., channels]` by `[batch, channels]`.
pub fn scale(inputs: [FlexTensor; 2]) -> Done<2> {
    let [x, factor] = inputs.map(|input| input.to_contiguous());
    let output = elementwise::scale(floats(&x), floats(&factor), last(&factor));
    let output = map::tensor(output, x.layout().shape());
    let back = WayBack::new(move |gradient: FlexTensor, _| {
        let gradient = gradient.to_contiguous();
        let [of_x, of_factor] =
            elementwise::scale_gradient(floats(&x), floats(&factor), floats(&gradient), last(&factor));
        [(of_x, &x), (of_factor, &factor)].map(|(values, of)| Some(map::tensor(values, of.layout().shape())))
    });
    (output, back)
}

/// The softmax of the last axis.
pub fn softmax(input: FlexTensor) -> Done<1> {
    let input = input.to_contiguous();
    let output = map::tensor(elementwise::softmax(floats(&input), last(&input)), input.layout().shape());
    let result = output.clone();
    let back = WayBack::new(move |gradient: FlexTensor, _| {
        let gradient = gradient.to_contiguous();
        let found = elementwise::softmax_gradient(floats(&result), floats(&gradient), last(&result));
        [Some(map::tensor(found, result.layout().shape()))]
    });
    (output, back)
}

/// Size of the last axis.
fn last(tensor: &FlexTensor) -> usize {
    tensor.layout().shape().last().copied().unwrap_or(1)
}

/// Scaled dot-product attention of queries, keys and values `[batch, steps, heads * part]`, of each head for itself.
pub fn attention(heads: usize, inputs: [FlexTensor; 3]) -> Done<3> {
    let inputs = inputs.map(|input| {
        let there = input.layout().strides()[2] == 1 && input.layout().has_positive_strides();
        if there { input } else { input.to_contiguous() }
    });
    let sizes = inputs[0].layout().shape().to_vec();
    let shape = attention::Shape { batch: sizes[0], steps: sizes[1], heads, part: sizes[2] / heads };
    let (output, sums) = attention::forward(&shape, inputs.each_ref().map(steps));
    let output = map::tensor(output, &sizes);
    let result = output.clone();
    let back = WayBack::new(move |gradient: FlexTensor, _| {
        let gradient = gradient.to_contiguous();
        let outputs = [floats(&result), floats(&gradient)];
        let found = attention::gradient(&shape, inputs.each_ref().map(steps), &sums, outputs);
        found.map(|values| Some(map::tensor(values, &sizes)))
    });
    (output, back)
}

/// A tensor `[batch, steps, size]` whose last axis is contiguous, where it stands.
fn steps(tensor: &FlexTensor) -> Steps<'_> {
    let layout = tensor.layout();
    let [sequence, step] = [0, 1].map(|axis| layout.strides()[axis].unsigned_abs());
    Steps { values: &tensor.storage::<f32>()[layout.start_offset()..], sequence, step }
}

/// Products of matrices: `[.., rows, depth]` by `[.., depth, columns]`, as many of one as of the other.
pub fn products(inputs: [FlexTensor; 2]) -> Done<2> {
    let [a, b] = inputs.map(|input| input.to_contiguous());
    let (sizes, axes) = (a.layout().shape().to_vec(), a.layout().shape().len());
    let [rows, depth, columns] = [sizes[axes - 2], sizes[axes - 1], last(&b)];
    let [a_len, b_len, output_len] = [rows * depth, depth * columns, rows * columns];
    let count: usize = sizes[..axes - 2].iter().product();
    let mut output = Buffer::new(count * output_len);
    let shape = Shape::dense(rows, depth, columns);
    let each = floats(&a).par_chunks(a_len).zip(floats(&b).par_chunks(b_len));
    output.as_mut().par_chunks_mut(output_len).zip(each).for_each(|(output, (a, b))| {
        let panels = Panels::for_rows(rows, b, depth, columns);
        convolution::forward(&shape, a, &panels, output, Target::whole(&shape), Finish::STORE);
    });
    let output = map::tensor(output, &with_last(&sizes, columns));
    let back = WayBack::new(move |gradient: FlexTensor, [to_a, to_b]| {
        let gradient = gradient.to_contiguous();
        let of_a = to_a.then(|| {
            let shape = Shape::dense(rows, columns, depth);
            let mut result = Buffer::new(count * a_len);
            let each = floats(&gradient).par_chunks(output_len).zip(floats(&b).par_chunks(b_len));
            result.as_mut().par_chunks_mut(a_len).zip(each).for_each(|(result, (gradient, b))| {
                let panels = Panels::pack(b, columns, depth, |column| column, columns);
                convolution::forward(&shape, gradient, &panels, result, Target::whole(&shape), Finish::STORE);
            });
            map::tensor(result, a.layout().shape())
        });
        let of_b = to_b.then(|| {
            let mut result = Buffer::new(count * b_len);
            let each = floats(&gradient).par_chunks(output_len).zip(floats(&a).par_chunks(a_len));
            result.as_mut().par_chunks_mut(b_len).zip(each).for_each(|(result, (gradient, a))| {
                result.copy_from_slice(
                    convolution::kernel_gradient(&shape, Precision::F32, a, gradient).as_ref(),
                );
            });
            map::tensor(result, b.layout().shape())
        });
        [of_a, of_b]
    });
    (output, back)
}
