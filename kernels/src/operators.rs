//! The operators of the layers: geometry, and which tensors the way back needs.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::convolution::{self, Panels, Shape, Target};
use crate::map::{self, Map, floats};
use crate::memory::Buffer;
use crate::operation::Kernel;
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
        let plane = |sizes: &[usize]| match *sizes {
            [length] => [1, length],
            [height, width] => [height, width],
            _ => [1, 1],
        };
        let (size, kernel_size) = (plane(&input[2..]), plane(&kernel[2..]));
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

/// A kernel `[c_out, c_in, height, width]` as the tiles of the way forward read it.
fn panels<'a>(shape: &Shape, kernel: &'a [f32]) -> Panels<'a> {
    let (area, c_in) = (shape.kernel[0] * shape.kernel[1], shape.c_in);
    Panels::pack(kernel, area * c_in, shape.c_out, |k| k % c_in * area + k / c_in, c_in * area)
}

/// A bias that can be read in whole vectors.
fn padded(bias: &FlexTensor) -> Buffer {
    let bias = bias.to_contiguous();
    let values = floats(&bias);
    let mut padded = Buffer::new(tile::padded(values.len()));
    padded.as_mut().fill(0.0);
    padded.as_mut()[..values.len()].copy_from_slice(values);
    padded
}

impl Kernel for Convolution {
    fn forward(&self, mut inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let bias = if inputs.len() == 3 { inputs.pop() } else { None };
        let kernel = inputs.pop().map(|kernel| kernel.to_contiguous());
        let (Some(kernel), Some(input)) = (kernel, inputs.pop()) else { unreachable!("two or three inputs") };
        let input = Map::new(input);
        let shape = self.shape(input.shape(), kernel.layout().shape());
        let bias = bias.as_ref().map(padded);
        let mut output = Buffer::new(shape.output_len());
        let finish = Finish {
            bias: bias.as_ref().map_or(std::ptr::null(), |bias| bias.as_ref().as_ptr()),
            relu: self.relu,
            ..Finish::STORE
        };
        let panels = panels(&shape, floats(&kernel));
        convolution::forward(&shape, input.values(), &panels, output.as_mut(), Target::whole(&shape), finish);
        let mut sizes = vec![shape.batch, shape.c_out, shape.output[0], shape.output[1]];
        if input.shape().len() == 3 {
            sizes.remove(2);
        }
        let output = Map::from_buffer(output, &sizes).into_tensor();
        if !tracked {
            return (output, vec![]);
        }
        let mut kept = vec![input.into_tensor(), kernel];
        if self.relu {
            kept.push(output.clone());
        }
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
        if let Some(output) = kept.get(2) {
            gradient = gradient.into_values();
            without_negative(gradient.values_mut(), Map::new(output.clone()).values());
        }
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
        let mut gradients = vec![of_input, of_kernel];
        if let Some(&wanted) = wanted.get(2) {
            gradients.push(wanted.then(|| map::tensor(sums(gradient.values(), shape.c_out), &[shape.c_out])));
        }
        gradients
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

/// The gradient of a ReLU: nothing passes where its result was zero.
fn without_negative(gradient: &mut [f32], output: &[f32]) {
    let size = 64 * 1024;
    gradient.par_chunks_mut(size).zip(output.par_chunks(size)).for_each(|(gradient, output)| {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            *gradient = if *output > 0.0 { *gradient } else { 0.0 };
        }
    });
}

/// The sum of each column of `[.., columns]`.
fn sums(values: &[f32], columns: usize) -> Buffer {
    let rows = (16 * 1024 / columns).max(1);
    let partial: Vec<Vec<f32>> = values
        .par_chunks(rows * columns)
        .map(|part| {
            let mut sums = vec![0.0f32; columns];
            for row in part.chunks_exact(columns) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            sums
        })
        .collect();
    let mut result = Buffer::new(columns);
    for (column, result) in result.as_mut().iter_mut().enumerate() {
        *result = partial.iter().map(|sums| f64::from(sums[column])).sum::<f64>() as f32;
    }
    result
}

/// A dense layer `[.., d_input]` by `[d_input, d_output]`, with an optional bias and ReLU.
#[derive(Debug)]
pub struct Linear {
    /// Negative results become zero.
    pub relu: bool,
}

impl Kernel for Linear {
    fn forward(&self, mut inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>) {
        let bias = if inputs.len() == 3 { inputs.pop() } else { None };
        let weight = inputs.pop().map(|weight| weight.to_contiguous());
        let (Some(weight), Some(input)) = (weight, inputs.pop()) else { unreachable!("two or three inputs") };
        let input = input.to_contiguous();
        let mut sizes = input.layout().shape().to_vec();
        let shape = dense(&sizes, weight.layout().shape());
        let bias = bias.as_ref().map(padded);
        let finish = Finish {
            bias: bias.as_ref().map_or(std::ptr::null(), |bias| bias.as_ref().as_ptr()),
            relu: self.relu,
            ..Finish::STORE
        };
        let mut output = Buffer::new(shape.output_len());
        let panels = Panels::rows(floats(&weight), shape.c_in, shape.c_out);
        convolution::forward(&shape, floats(&input), &panels, output.as_mut(), Target::whole(&shape), finish);
        sizes.pop();
        sizes.push(shape.c_out);
        let output = map::tensor(output, &sizes);
        if !tracked {
            return (output, vec![]);
        }
        let mut kept = vec![input, weight];
        if self.relu {
            kept.push(output.clone());
        }
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
        let mut gradient = gradient.to_contiguous();
        if let Some(output) = kept.get(2) {
            let mut values = Buffer::new(shape.output_len());
            values.as_mut().copy_from_slice(floats(&gradient));
            without_negative(values.as_mut(), floats(output));
            gradient = map::tensor(values, gradient.layout().shape());
        }
        let gradient = floats(&gradient);
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
        let mut gradients = vec![of_input, of_weight];
        if let Some(&wanted) = wanted.get(2) {
            gradients.push(wanted.then(|| map::tensor(sums(gradient, shape.c_out), &[shape.c_out])));
        }
        gradients
    }
}

/// All axes but the last are rows.
fn dense(input: &[usize], weight: &[usize]) -> Shape {
    Shape::dense(input[..input.len() - 1].iter().product(), weight[0], weight[1])
}
