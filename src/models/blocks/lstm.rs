//! A long short-term memory layer with one bias a gate, as Keras has it (Burn's own layer carries two).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use oido_kernels as kernels;

use super::init::{InitRng, glorot_uniform, orthogonal};

/// LSTM (Hochreiter & Schmidhuber 1997, with forget gate). Gates stand in Keras' order: input, forget, cell, output.
#[derive(Module, Debug)]
pub struct Lstm {
    /// `[d_input, 4 * d_hidden]`, Glorot uniform.
    pub kernel: Param<Tensor<2>>,
    /// `[d_hidden, 4 * d_hidden]`, orthogonal.
    pub recurrent: Param<Tensor<2>>,
    /// `[4 * d_hidden]`, zero except for the forget gate, which starts at one.
    pub bias: Param<Tensor<1>>,
}

impl Lstm {
    /// Fresh weights.
    pub fn new(rng: &mut InitRng, d_input: usize, d_hidden: usize, device: &Device) -> Self {
        let gates = 4 * d_hidden;
        let kernel = glorot_uniform(rng, d_input * gates, d_input, gates);
        let recurrent = orthogonal(rng, d_hidden, gates);
        let bias: Vec<f32> =
            (0..gates).map(|i| if (d_hidden..2 * d_hidden).contains(&i) { 1.0 } else { 0.0 }).collect();
        Self {
            kernel: Param::from_data(TensorData::new(kernel, [d_input, gates]), device),
            recurrent: Param::from_data(TensorData::new(recurrent, [d_hidden, gates]), device),
            bias: Param::from_data(TensorData::new(bias, [gates]), device),
        }
    }

    /// `[batch, steps, d_input]` → what it puts out at each step, `[batch, steps, d_hidden]`; with `reverse` the last step comes first.
    pub fn forward(&self, input: Tensor<3>, reverse: bool) -> Tensor<3> {
        kernels::lstm(input, self.kernel.val(), self.recurrent.val(), self.bias.val(), reverse)
    }

    /// What it puts out after the whole sequence, `[batch, d_hidden]`.
    pub fn last(&self, input: Tensor<3>, reverse: bool) -> Tensor<2> {
        let steps = input.dims()[1];
        let last = if reverse { 0 } else { steps - 1 };
        self.forward(input, reverse).narrow(1, last, 1).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All gates of a one-unit layer by hand: x = 1, then x = 2.
    #[test]
    fn matches_the_equations_by_hand() {
        let device = Device::flex();
        let layer = Lstm {
            kernel: Param::from_data(TensorData::from([[0.5_f32, 0.25, 1.0, 0.75]]), &device),
            recurrent: Param::from_data(TensorData::from([[0.1_f32, 0.2, 0.3, 0.4]]), &device),
            bias: Param::from_data(TensorData::from([0.0_f32, 1.0, 0.0, 0.0]), &device),
        };
        let sigma = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut h, mut c) = (0.0_f64, 0.0_f64);
        let input = Tensor::<3>::from_data(TensorData::from([[[1.0_f32], [2.0]]]), &device);
        for x in [1.0_f64, 2.0] {
            c = sigma(0.25 * x + 0.2 * h + 1.0) * c + sigma(0.5 * x + 0.1 * h) * (x + 0.3 * h).tanh();
            h = sigma(0.75 * x + 0.4 * h) * c.tanh();
        }
        let hidden = layer.last(input, false).into_data().try_to_vec::<f32>().unwrap()[0];
        assert!((f64::from(hidden) - h).abs() < 1e-6, "{hidden} {h}");
    }
}
