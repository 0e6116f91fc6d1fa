//! Where the tensors of a published file of weights belong in a network of oido.
//!
//! Each architecture translates names by itself ([`super::Architecture::published`]), because nobody else knows its
//! layers. Reading the files is not done here.

use serde::{Deserialize, Serialize};

/// Whose names and whose order of axes a published file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// PyTorch: torchvision, timm, torchaudio, Hugging Face. Names of modules with dots, `layer1.0.conv1.weight`;
    /// dense `[out, in]`, convolutions `[out, in, height, width]`.
    Torch,
    /// Keras: layer and variable, `conv1_conv/kernel`, without `:0`; dense `[in, out]`, convolutions
    /// `[height, width, in, out]`. The kernel of a depthwise convolution is `kernel` too. Layers that Keras named are
    /// counted from 0 by kind, in the order of their creation, whatever number they had: `conv2d`, `conv2d_1`, ….
    Keras,
}

/// The place of one published tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its name in [`super::Model::to_safetensors`].
    pub name: String,
    /// From its axes to oido's.
    pub axes: Axes,
}

/// How the axes of a published tensor become those of oido, which are PyTorch's but for dense layers: `[in, out]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// They are the same.
    Same,
    /// `[a, b]` → `[b, a]`: a dense layer of PyTorch.
    Transposed,
    /// Any axes become one.
    Flat,
    /// `[height, width, in, out]` → `[out, in, height, width]`: a convolution of Keras.
    Hwio,
    /// `[height, width, channels, multiplier]` → `[channels * multiplier, 1, height, width]`: a convolution of Keras
    /// that keeps channels apart.
    Depthwise,
    /// `[positions * channels, out]` → `[channels * positions, out]`: a dense layer of Keras on a flattened map, whose
    /// channels come last there and first here.
    Flattened {
        /// Channels of the map.
        channels: usize,
    },
}

impl Published {
    /// A tensor with the same axes.
    pub fn same(name: impl Into<String>) -> Self {
        Self { name: name.into(), axes: Axes::Same }
    }

    /// A tensor whose axes change.
    pub fn with(name: impl Into<String>, axes: Axes) -> Self {
        Self { name: name.into(), axes }
    }
}

impl Axes {
    /// Shape and values (row-major) in oido's order; `None` when the tensor has another number of axes, or not as many
    /// values as its shape says.
    pub fn apply(self, shape: &[usize], values: Vec<f32>) -> Option<(Vec<usize>, Vec<f32>)> {
        let len = shape.iter().try_fold(1_usize, |len, side| len.checked_mul(*side))?;
        if len != values.len() {
            return None;
        }
        match (self, shape) {
            (Self::Same, _) => Some((shape.to_vec(), values)),
            (Self::Flat, _) => Some((vec![len], values)),
            (Self::Transposed, &[a, b]) => Some((vec![b, a], transpose(&values, a, b))),
            // Both are transpositions of a matrix: all axes in front of the last, or the last two, go to the front.
            (Self::Hwio, &[height, width, c_in, c_out]) => {
                let rows = transpose(&values, height * width, c_in * c_out);
                let kernel = height * width;
                let mut moved = Vec::with_capacity(len);
                for out in 0..c_out {
                    for c in 0..c_in {
                        moved.extend_from_slice(&rows[(c * c_out + out) * kernel..][..kernel]);
                    }
                }
                Some((vec![c_out, c_in, height, width], moved))
            }
            (Self::Depthwise, &[height, width, channels, multiplier]) => {
                let filters = channels * multiplier;
                Some((vec![filters, 1, height, width], transpose(&values, height * width, filters)))
            }
            (Self::Flattened { channels }, &[rows, out]) if channels > 0 && rows.is_multiple_of(channels) => {
                let positions = rows / channels;
                let row = |i: usize| &values[i * out..][..out];
                let order = (0..channels).flat_map(|c| (0..positions).map(move |p| p * channels + c));
                Some((vec![rows, out], order.flat_map(row).copied().collect()))
            }
            _ => None,
        }
    }
}

/// `[rows, cols]` → `[cols, rows]`.
fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(values.len());
    for col in 0..cols {
        turned.extend((0..rows).map(|row| values[row * cols + col]));
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(len: usize) -> Vec<f32> {
        (0..len).map(|n| n as f32).collect()
    }

    #[test]
    fn every_value_lands_where_its_axes_say() {
        let [h, w, i, o] = [2, 3, 4, 5];
        let (shape, values) = Axes::Hwio.apply(&[h, w, i, o], count(h * w * i * o)).unwrap();
        assert_eq!(shape, [o, i, h, w]);
        let (deep, channelwise) = Axes::Depthwise.apply(&[h, w, i, o], count(h * w * i * o)).unwrap();
        assert_eq!(deep, [i * o, 1, h, w]);
        for (a, b) in (0..h).flat_map(|a| (0..w).map(move |b| (a, b))) {
            for (c, d) in (0..i).flat_map(|c| (0..o).map(move |d| (c, d))) {
                let value = (((a * w + b) * i + c) * o + d) as f32;
                assert_eq!(values[((d * i + c) * h + a) * w + b].to_bits(), value.to_bits());
                assert_eq!(channelwise[((c * o + d) * h + a) * w + b].to_bits(), value.to_bits());
            }
        }
        let (shape, values) = Axes::Transposed.apply(&[2, 3], count(6)).unwrap();
        assert_eq!((shape, values), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(Axes::Same.apply(&[6], count(6)).unwrap().1, count(6));
        assert_eq!(Axes::Flat.apply(&[3, 2], count(6)).unwrap(), (vec![6], count(6)));
        // Two positions of three channels: p0c0 p0c1 p0c2 p1c0 … become p0c0 p1c0 p0c1 ….
        let flattened = Axes::Flattened { channels: 3 }.apply(&[6, 1], count(6)).unwrap();
        assert_eq!(flattened, (vec![6, 1], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    }

    #[test]
    fn tensors_of_another_rank_or_length_are_refused() {
        for axes in [Axes::Transposed, Axes::Hwio, Axes::Depthwise] {
            assert!(axes.apply(&[6], count(6)).is_none());
        }
        assert!(Axes::Flattened { channels: 4 }.apply(&[6, 1], count(6)).is_none());
        assert!(Axes::Flattened { channels: 0 }.apply(&[6, 1], count(6)).is_none());
        assert!(Axes::Same.apply(&[2, 2], count(5)).is_none());
        assert!(Axes::Same.apply(&[usize::MAX, 2], count(2)).is_none());
    }
}
