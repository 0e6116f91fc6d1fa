//! Burn's tensors as channels-last slices, and back.

use std::mem::MaybeUninit;

use burn::tensor::DType;
use burn_flex::{FlexTensor, Layout};
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes, Shape};
use rayon::prelude::*;

use crate::cpu::memory::Buffer;

/// A map `[batch, channels, ..]` whose numbers stand as `[batch, .., channels]`.
#[derive(Debug, Clone)]
pub struct Map {
    tensor: FlexTensor,
    /// `[batch, channels, ..]`.
    shape: Vec<usize>,
}

impl Map {
    /// The same map, copied only if its numbers stand otherwise.
    pub fn new(tensor: FlexTensor) -> Self {
        let shape = tensor.layout().shape().to_vec();
        let wanted = strides(&shape);
        let there = tensor.layout().strides();
        let as_wanted = shape.iter().zip(&wanted).zip(there).all(|((&n, &want), &is)| n == 1 || want == is);
        if as_wanted {
            return Self { tensor, shape };
        }
        let tensor = tensor.to_contiguous();
        let (channels, pixels) = (shape[1], shape[2..].iter().product());
        let mut values = Buffer::new(shape.iter().product());
        transpose(floats(&tensor), values.as_mut(), channels, pixels);
        Self::from_buffer(values, &shape)
    }

    /// A map `[batch, channels, ..]` of numbers that stand channels last.
    pub fn from_buffer(values: Buffer, shape: &[usize]) -> Self {
        let layout = Layout::new(Shape::from(shape.to_vec()), strides(shape), 0);
        Self { tensor: FlexTensor::new(bytes(values), layout, DType::F32), shape: shape.to_vec() }
    }

    /// `[batch, channels, ..]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, channels last.
    pub fn values(&self) -> &[f32] {
        let start = self.tensor.layout().start_offset();
        &self.tensor.storage::<f32>()[start..start + self.shape.iter().product::<usize>()]
    }

    /// The numbers, to be changed in place; a copy unless nobody else holds them.
    pub fn into_values(mut self) -> Self {
        if self.tensor.layout().start_offset() != 0 || self.tensor.try_storage_mut::<f32>().is_none() {
            let mut values = Buffer::new(self.values().len());
            values.as_mut().copy_from_slice(self.values());
            return Self::from_buffer(values, &self.shape);
        }
        self
    }

    /// The numbers of a map from [`Map::into_values`].
    pub fn values_mut(&mut self) -> &mut [f32] {
        let len = self.shape.iter().product();
        &mut self.tensor.storage_mut::<f32>()[..len]
    }

    /// Sizes of a plane of `[batch, channels, ..]`: one row for a map with one axis or none.
    pub fn plane(shape: &[usize]) -> [usize; 2] {
        match shape[2..] {
            [length] => [1, length],
            [height, width] => [height, width],
            _ => [1, 1],
        }
    }

    /// As Burn's tensor.
    pub fn into_tensor(self) -> FlexTensor {
        self.tensor
    }
}

/// A map beside `input`, of the same number of axes.
pub fn beside(input: &Map, values: Buffer, channels: usize, [height, width]: [usize; 2]) -> FlexTensor {
    let batch = input.shape()[0];
    let sizes = if input.shape().len() == 3 {
        vec![batch, channels, width]
    } else {
        vec![batch, channels, height, width]
    };
    Map::from_buffer(values, &sizes).into_tensor()
}

/// A tensor in Burn's own order.
pub fn tensor(values: Buffer, shape: &[usize]) -> FlexTensor {
    FlexTensor::new(bytes(values), Layout::contiguous(Shape::from(shape.to_vec())), DType::F32)
}

/// The same numbers in Burn's own order with other sizes; copied only if they stand otherwise.
pub fn reshaped(tensor: FlexTensor, shape: &[usize]) -> FlexTensor {
    tensor.reshape(Shape::from(shape.to_vec()))
}

/// The numbers of a tensor in Burn's own order; it must be contiguous (see `FlexTensor::to_contiguous`).
pub fn floats(tensor: &FlexTensor) -> &[f32] {
    let (start, end) = tensor.layout().contiguous_offsets().unwrap_or_default();
    &tensor.storage::<f32>()[start..end]
}

/// The tensor with other numbers of the same sizes, which come from its own, in Burn's order. They are changed in place if nobody
/// else holds them.
pub fn changed(tensor: FlexTensor, change: impl FnOnce(&mut [f32])) -> FlexTensor {
    let sizes = tensor.layout().shape().to_vec();
    let line = [sizes.iter().product(), 1];
    let mut numbers = Map::new(reshaped(tensor, &line)).into_values();
    change(numbers.values_mut());
    reshaped(numbers.into_tensor(), &sizes)
}

/// Strides of `[batch, channels, ..]` when channels stand last.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    strides[1] = 1;
    let mut step = shape[1];
    for axis in (2..shape.len()).rev() {
        strides[axis] = step as isize;
        step *= shape[axis];
    }
    strides[0] = step as isize;
    strides
}

/// `[.., rows, columns]` → `[.., columns, rows]`.
pub fn transpose(from: &[f32], to: &mut [f32], rows: usize, columns: usize) {
    if rows == 1 || columns == 1 {
        return to.copy_from_slice(from);
    }
    let size = rows * columns;
    let strip = (16 * 1024 / rows).clamp(16, columns.max(16));
    let strips = columns.div_ceil(strip);
    // A strip of columns of `from` is one contiguous part of `to`.
    let parts = to.chunks_mut(size).flat_map(|to| to.chunks_mut(strip * rows));
    let parts: Vec<_> = parts.enumerate().collect();
    parts.into_par_iter().for_each(|(part, to)| {
        let from = &from[part / strips * size..][..size];
        let first = part % strips * strip;
        let width = to.len() / rows;
        for block in (0..rows).step_by(16) {
            let block_end = rows.min(block + 16);
            for column in 0..width {
                let line = &mut to[column * rows + block..column * rows + block_end];
                for (row, value) in (block..).zip(line) {
                    *value = from[row * columns + first + column];
                }
            }
        }
    });
}

/// Memory that goes back to the pool when Burn drops it.
struct Pooled(Buffer);

fn bytes(values: Buffer) -> Bytes {
    let len = size_of_val(values.as_ref());
    // SAFETY: all `len` bytes are numbers that were written.
    unsafe { Bytes::from_controller(Box::new(Pooled(values)), len) }
}

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        crate::cpu::memory::ALIGN
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _policy: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let values = self.0.as_mut();
        // SAFETY: bytes of numbers, borrowed as they are; the caller only writes initialised ones.
        Ok(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let values = self.0.as_ref();
        // SAFETY: bytes of numbers, borrowed as they are.
        Ok(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
    }
}
