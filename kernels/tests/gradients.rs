//! Every layer and its gradients against the layer written plainly in `f64` and its central differences.
//!
//! `against_stock.rs` compares with Burn's operators on larger sizes; this owes nothing to them.

#![allow(clippy::unwrap_used, reason = "tests")]

use burn::module::Param;
use burn::nn::conv::{Conv1dConfig, Conv2dConfig};
use burn::nn::pool::{AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig};
use burn::nn::{BatchNormConfig, DropoutConfig, LinearConfig, PaddingConfig1d, PaddingConfig2d};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use oido_kernels as kernels;

/// Most of the largest slope that a gradient may be off.
const TOLERANCE: f64 = 1e-4;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers between -1 and 1 (xorshift of Marsaglia 2003), the same in every run.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    Tensor::from_data(data, &device()).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

/// One gradient out of all.
type Find = Box<dyn Fn(&Gradients) -> Vec<f64>>;

/// Something that a layer is given and that wants a gradient.
struct Given {
    name: &'static str,
    values: Vec<f64>,
    gradient: Find,
}

fn given<const D: usize>(name: &'static str, tensor: &Tensor<D>) -> Given {
    let here = tensor.clone();
    Given {
        name,
        values: values(tensor.clone()),
        gradient: Box::new(move |gradients| values(here.grad(gradients).unwrap())),
    }
}

/// `result` is what `plain` makes of the numbers of `all`, and so are its gradients.
fn check<const D: usize>(
    what: &str,
    all: &[Given],
    result: Tensor<D>,
    plain: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let mut numbers_of: Vec<_> = all.iter().map(|given| given.values.clone()).collect();
    close(what, &values(result.clone()), &plain(&numbers_of), 1e-5);
    let towards = numbers(result.dims().iter().product(), 77);
    let weights = Tensor::from_data(TensorData::new(towards.clone(), result.dims()), &device());
    let gradients = (result * weights).sum().backward();
    for (which, given) in all.iter().enumerate() {
        let step = 1e-5;
        let slopes: Vec<f64> = (0..given.values.len())
            .map(|i| {
                let [above, below] = [step, -step].map(|step| {
                    numbers_of[which][i] = given.values[i] + step;
                    plain(&numbers_of).iter().zip(&towards).map(|(y, w)| y * f64::from(*w)).sum::<f64>()
                });
                numbers_of[which][i] = given.values[i];
                (above - below) / (2.0 * step)
            })
            .collect();
        close(&format!("{what}: {}", given.name), &(given.gradient)(&gradients), &slopes, TOLERANCE);
    }
}

fn close(what: &str, got: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(1e-6_f64, |most, value| most.max(value.abs()));
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let off = (got - wanted).abs() / largest;
        assert!(off <= tolerance, "{what}: number {i} is {got}, not {wanted} ({off:.1e} of the largest)");
    }
}

fn relu(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|x| x.max(0.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|x| (x - most).exp()).sum();
    scores.iter().map(|x| (x - most).exp() / sum).collect()
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Windows on a map `[batch, channels, height, width]`.
#[derive(Debug, Clone, Copy)]
struct Windows {
    map: [usize; 4],
    size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Above, left, below, right.
    padding: [usize; 4],
}

impl Windows {
    fn results(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let whole = self.map[2 + axis] + self.padding[axis] + self.padding[2 + axis];
            (whole - (self.size[axis] - 1) * self.dilation[axis] - 1) / self.stride[axis] + 1
        })
    }

    /// The places of the window at `at` within a channel: which of the window, and which of the channel.
    fn places(&self, at: [usize; 2]) -> Vec<([usize; 2], usize)> {
        let mut places = Vec::new();
        for y in 0..self.size[0] {
            for x in 0..self.size[1] {
                let place = |axis: usize, k: usize| {
                    let place = at[axis] * self.stride[axis] + k * self.dilation[axis];
                    place.checked_sub(self.padding[axis]).filter(|&place| place < self.map[2 + axis])
                };
                if let (Some(row), Some(column)) = (place(0, y), place(1, x)) {
                    places.push(([y, x], row * self.map[3] + column));
                }
            }
        }
        places
    }

    /// `of(map, channel, places)` for each result, with as many channels of results.
    fn each(&self, channels: usize, of: impl Fn(usize, usize, &[([usize; 2], usize)]) -> f64) -> Vec<f64> {
        let [height, width] = self.results();
        let mut results = Vec::new();
        for n in 0..self.map[0] {
            for channel in 0..channels {
                for at in (0..height).flat_map(|y| (0..width).map(move |x| [y, x])) {
                    results.push(of(n, channel, &self.places(at)));
                }
            }
        }
        results
    }

    /// Convolution by `kernel [c_out, c_in / groups, height, width]`.
    fn convolve(&self, x: &[f64], kernel: &[f64], bias: Option<&Vec<f64>>, groups: usize) -> Vec<f64> {
        let [_, c_in, height, width] = self.map;
        let (part, area) = (c_in / groups, self.size[0] * self.size[1]);
        let c_out = kernel.len() / (part * area);
        self.each(c_out, |n, o, places| {
            let mut sum = bias.map_or(0.0, |bias| bias[o]);
            for i in 0..part {
                let channel = o / (c_out / groups) * part + i;
                for &([ky, kx], place) in places {
                    let weight = kernel[(o * part + i) * area + ky * self.size[1] + kx];
                    sum += weight * x[(n * c_in + channel) * height * width + place];
                }
            }
            sum
        })
    }

    /// The numbers of each window, for a pooling.
    fn pool(&self, x: &[f64], of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let [_, channels, height, width] = self.map;
        self.each(channels, |n, channel, places| {
            let start = (n * channels + channel) * height * width;
            of(&places.iter().map(|(_, place)| x[start + place]).collect::<Vec<_>>())
        })
    }
}

#[test]
fn convolution() {
    use PaddingConfig2d::{Explicit, Same, Valid};
    // map, channels of results, kernel, stride, dilation, padding, and as numbers
    for (map, c_out, size, stride, dilation, padding, around) in [
        ([1, 1, 5, 5], 1, [3, 3], [1, 1], [1, 1], Same, [1, 1, 1, 1]),
        ([2, 3, 5, 7], 4, [3, 3], [1, 1], [1, 1], Same, [1, 1, 1, 1]),
        ([1, 2, 7, 5], 3, [3, 3], [2, 2], [1, 1], Same, [1, 1, 1, 1]),
        ([1, 5, 3, 3], 7, [1, 1], [1, 1], [1, 1], Valid, [0; 4]),
        ([2, 1, 6, 5], 2, [2, 4], [1, 2], [2, 1], Explicit(1, 0, 2, 3), [1, 0, 2, 3]),
    ] {
        for (with_bias, with_relu) in [(false, false), (true, false), (true, true)] {
            let mut layer = Conv2dConfig::new([map[1], c_out], size)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding.clone())
                .with_bias(with_bias)
                .init(&device());
            layer.weight = Param::from_tensor(tensor([c_out, map[1], size[0], size[1]], 2));
            layer.bias = with_bias.then(|| Param::from_tensor(tensor([c_out], 3)));
            let x = tensor(map, 1);
            let mut all = vec![given("input", &x), given("weight", &layer.weight.val())];
            all.extend(layer.bias.as_ref().map(|bias| given("bias", &bias.val())));
            let windows = Windows { map, size, stride, dilation, padding: around };
            let plain = |v: &[Vec<f64>]| windows.convolve(&v[0], &v[1], v.get(2), 1);
            let what = format!("{windows:?} {with_bias} {with_relu}");
            if with_relu {
                check(&what, &all, kernels::conv2d_relu(&layer, x), |v| relu(plain(v)));
            } else {
                check(&what, &all, kernels::conv2d(&layer, x), plain);
            }
        }
    }
}

#[test]
fn convolution_of_sequences() {
    for (batch, c_in, length, c_out, kernel, stride, padding) in
        [(1, 1, 40, 5, 9, 4, 0), (2, 3, 7, 2, 3, 1, 1), (1, 4, 5, 3, 1, 1, 0)]
    {
        let mut layer = Conv1dConfig::new(c_in, c_out, kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig1d::Explicit(padding, padding))
            .init(&device());
        layer.weight = Param::from_tensor(tensor([c_out, c_in, kernel], 2));
        layer.bias = Some(Param::from_tensor(tensor([c_out], 3)));
        let x = tensor([batch, c_in, length], 1);
        let bias = layer.bias.as_ref().unwrap().val();
        let all = [given("input", &x), given("weight", &layer.weight.val()), given("bias", &bias)];
        let windows = Windows {
            map: [batch, c_in, 1, length],
            size: [1, kernel],
            stride: [1, stride],
            dilation: [1, 1],
            padding: [0, padding, 0, padding],
        };
        let plain = |v: &[Vec<f64>]| windows.convolve(&v[0], &v[1], v.get(2), 1);
        check(&format!("{windows:?}"), &all, kernels::conv1d(&layer, x.clone()), plain);
        check(&format!("{windows:?}"), &all, kernels::conv1d_relu(&layer, x), |v| relu(plain(v)));
    }
}

#[test]
fn depthwise_convolution() {
    for (map, size, stride, padding) in [
        ([1, 1, 5, 5], [3, 3], [1, 1], [1, 1]),
        ([2, 3, 5, 4], [3, 3], [2, 2], [1, 1]),
        ([1, 17, 1, 6], [1, 5], [1, 1], [0, 2]),
    ] {
        let mut layer = Conv2dConfig::new([map[1]; 2], size)
            .with_groups(map[1])
            .with_stride(stride)
            .with_padding(PaddingConfig2d::Explicit(padding[0], padding[1], padding[0], padding[1]))
            .init(&device());
        layer.weight = Param::from_tensor(tensor([map[1], 1, size[0], size[1]], 2));
        layer.bias = Some(Param::from_tensor(tensor([map[1]], 3)));
        let x = tensor(map, 1);
        let bias = layer.bias.as_ref().unwrap().val();
        let all = [given("input", &x), given("weight", &layer.weight.val()), given("bias", &bias)];
        let around = [padding[0], padding[1], padding[0], padding[1]];
        let windows = Windows { map, size, stride, dilation: [1, 1], padding: around };
        let plain = |v: &[Vec<f64>]| windows.convolve(&v[0], &v[1], v.get(2), map[1]);
        check(&format!("{windows:?}"), &all, kernels::conv2d(&layer, x), plain);
    }
}

#[test]
fn dense_layer() {
    for [batch, steps, d_input, d_output] in [[1, 1, 1, 1], [1, 3, 5, 2], [2, 4, 3, 17]] {
        let mut layer = LinearConfig::new(d_input, d_output).init(&device());
        layer.weight = Param::from_tensor(tensor([d_input, d_output], 2));
        layer.bias = Some(Param::from_tensor(tensor([d_output], 3)));
        let x = tensor([batch, steps, d_input], 1);
        let bias = layer.bias.as_ref().unwrap().val();
        let all = [given("input", &x), given("weight", &layer.weight.val()), given("bias", &bias)];
        let plain = |v: &[Vec<f64>]| {
            let result = |x: &[f64], o: usize| {
                v[2][o] + (0..d_input).map(|i| x[i] * v[1][i * d_output + o]).sum::<f64>()
            };
            v[0].chunks(d_input).flat_map(|x| (0..d_output).map(move |o| result(x, o))).collect::<Vec<_>>()
        };
        let what = format!("{batch} {steps} {d_input} {d_output}");
        check(&what, &all, kernels::linear(&layer, x.clone()), plain);
        check(&what, &all, kernels::linear_relu(&layer, x), |v| relu(plain(v)));
    }
}

/// `[batch, channels, pixels]` by the mean and variance of each channel, those of the batch if none are given.
fn normalised(
    [batch, channels, pixels]: [usize; 3],
    v: &[Vec<f64>],
    fixed: Option<&[Vec<f64>; 2]>,
) -> Vec<f64> {
    let count = (batch * pixels) as f64;
    let mut result = vec![0.0; v[0].len()];
    for c in 0..channels {
        let places: Vec<usize> =
            (0..batch * pixels).map(|i| (i / pixels * channels + c) * pixels + i % pixels).collect();
        let own = places.iter().map(|&i| v[0][i]).sum::<f64>() / count;
        let mean = fixed.map_or(own, |fixed| fixed[0][c]);
        let own = places.iter().map(|&i| (v[0][i] - own).powi(2)).sum::<f64>() / count;
        let variance = fixed.map_or(own, |fixed| fixed[1][c]);
        for i in places {
            result[i] = (v[0][i] - mean) / (variance + 1e-3).sqrt() * v[1][c] + v[2][c];
        }
    }
    result
}

#[test]
fn batch_normalisation() {
    for map in [[1, 1, 3, 5], [3, 5, 2, 3], [2, 17, 1, 3]] {
        let sizes = [map[0], map[1], map[2] * map[3]];
        let mut layer = BatchNormConfig::new(map[1]).with_epsilon(1e-3).init(&device());
        layer.gamma = Param::from_tensor(tensor([map[1]], 2));
        layer.beta = Param::from_tensor(tensor([map[1]], 3));
        let x = tensor(map, 1);
        let affine = [layer.gamma.val(), layer.beta.val()];
        let all = [given("input", &x), given("scale", &affine[0]), given("shift", &affine[1])];
        let what = format!("{map:?}");
        let plain = |v: &[Vec<f64>]| normalised(sizes, v, None);
        check(&what, &all, kernels::batch_norm(&layer, x.clone()), plain);
        check(&what, &all, kernels::batch_norm_relu(&layer, x.clone()), |v| relu(plain(v)));
        let fixed = [tensor([map[1]], 4), tensor([map[1]], 5).abs()].map(Tensor::detach);
        let found = fixed.clone().map(values);
        let ours = kernels::normalise(x, affine, fixed, 1e-3, false);
        check(&format!("fixed {what}"), &all, ours, |v| normalised(sizes, v, Some(&found)));
    }
}

#[test]
fn layer_normalisation() {
    for shape in [[1, 1, 2], [2, 3, 5], [1, 2, 33]] {
        let (x, scale, shift) = (tensor(shape, 1), tensor([shape[2]], 2), tensor([shape[2]], 3));
        let all = [given("input", &x), given("scale", &scale), given("shift", &shift)];
        let plain = |v: &[Vec<f64>]| {
            let row = |x: &[f64]| {
                let n = x.len() as f64;
                let mean = x.iter().sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let inverse = 1.0 / (variance + 1e-3).sqrt();
                x.iter()
                    .enumerate()
                    .map(|(i, x)| (x - mean) * inverse * v[1][i] + v[2][i])
                    .collect::<Vec<_>>()
            };
            v[0].chunks(shape[2]).flat_map(row).collect()
        };
        check(&format!("{shape:?}"), &all, kernels::layer_norm(x, [scale, shift], 1e-3), plain);
    }
}

#[test]
fn pooling() {
    use PaddingConfig2d::{Explicit, Valid};
    let mean = |window: &[f64]| window.iter().sum::<f64>() / window.len() as f64;
    let most = |window: &[f64]| window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for (map, size, stride, padding) in [
        ([1, 1, 5, 7], [2, 2], [2, 2], 0),
        ([2, 3, 5, 4], [3, 3], [2, 2], 1),
        ([1, 17, 3, 3], [2, 2], [1, 1], 0),
    ] {
        let windows = Windows { map, size, stride, dilation: [1, 1], padding: [padding; 4] };
        let around = if padding == 0 { Valid } else { Explicit(padding, padding, padding, padding) };
        let x = tensor(map, 1);
        let all = [given("input", &x)];
        let what = format!("{windows:?}");
        let layer = MaxPool2dConfig::new(size).with_strides(stride).with_padding(around.clone()).init();
        check(&what, &all, kernels::max_pool2d(&layer, x.clone()), |v| windows.pool(&v[0], most));
        let layer = AvgPool2dConfig::new(size).with_strides(stride).with_padding(around);
        let inside = layer.clone().with_count_include_pad(false).init();
        check(&what, &all, kernels::avg_pool2d(&inside, x.clone()), |v| windows.pool(&v[0], mean));
        let padded = layer.with_count_include_pad(true).init();
        let share = |window: &[f64]| window.iter().sum::<f64>() / (size[0] * size[1]) as f64;
        check(&what, &all, kernels::avg_pool2d(&padded, x.clone()), |v| windows.pool(&v[0], share));
        let means = |v: &[Vec<f64>]| v[0].chunks(map[2] * map[3]).map(mean).collect();
        check(&what, &all, kernels::global_mean(x), means);
    }
    let x = tensor([2, 3, 11], 1);
    let windows =
        Windows { map: [2, 3, 1, 11], size: [1, 3], stride: [1, 3], dilation: [1, 1], padding: [0; 4] };
    let layer = MaxPool1dConfig::new(3).with_stride(3).init();
    let ours = kernels::max_pool1d(&layer, x.clone());
    check("over time", &[given("input", &x)], ours, |v| windows.pool(&v[0], most));
}

#[test]
fn lstm() {
    for (batch, steps, d_input, n, reverse) in [(1, 1, 1, 1, false), (2, 4, 3, 2, false), (1, 3, 2, 5, true)]
    {
        let x = tensor([batch, steps, d_input], 1);
        let (kernel, recurrent) = (tensor([d_input, 4 * n], 2), tensor([n, 4 * n], 3));
        let bias = tensor([4 * n], 4);
        let all = [
            given("input", &x),
            given("kernel", &kernel),
            given("recurrent kernel", &recurrent),
            given("bias", &bias),
        ];
        let plain = |v: &[Vec<f64>]| {
            let mut output = vec![0.0; batch * steps * n];
            for sequence in 0..batch {
                let (mut h, mut c) = (vec![0.0; n], vec![0.0; n]);
                for step in 0..steps {
                    let at = sequence * steps + if reverse { steps - 1 - step } else { step };
                    let gate = |j: usize| {
                        let input = (0..d_input).map(|k| v[0][at * d_input + k] * v[1][k * 4 * n + j]);
                        let state = (0..n).map(|k| h[k] * v[2][k * 4 * n + j]);
                        input.chain(state).sum::<f64>() + v[3][j]
                    };
                    let gates: Vec<f64> = (0..4 * n).map(gate).collect();
                    for u in 0..n {
                        let new = logistic(gates[u]) * gates[2 * n + u].tanh();
                        c[u] = logistic(gates[n + u]) * c[u] + new;
                        h[u] = logistic(gates[3 * n + u]) * c[u].tanh();
                    }
                    output[at * n..(at + 1) * n].copy_from_slice(&h);
                }
            }
            output
        };
        let what = format!("{batch} {steps} {d_input} {n} {reverse}");
        check(&what, &all, kernels::lstm(x, kernel, recurrent, bias, reverse), plain);
    }
}

#[test]
fn attention() {
    let idle = DropoutConfig::new(0.0).init();
    for [batch, steps, heads, part] in [[1, 1, 1, 1], [2, 3, 2, 5], [1, 7, 3, 1]] {
        let size = heads * part;
        let qkv = [1, 2, 3].map(|seed| tensor([batch, steps, size], seed));
        let [q, k, v] = &qkv;
        let all = [given("queries", q), given("keys", k), given("values", v)];
        let plain = |v: &[Vec<f64>]| {
            let mut output = vec![0.0; v[0].len()];
            for (sequence, head) in (0..batch).flat_map(|n| (0..heads).map(move |head| (n, head))) {
                let place = |step: usize| (sequence * steps + step) * size + head * part;
                let row = |of: usize, step: usize| &v[of][place(step)..][..part];
                for i in 0..steps {
                    let score = |j| dot(row(0, i), row(1, j)) / (part as f64).sqrt();
                    let weights = softmax(&(0..steps).map(score).collect::<Vec<_>>());
                    for (j, weight) in weights.into_iter().enumerate() {
                        for c in 0..part {
                            output[place(i) + c] += weight * row(2, j)[c];
                        }
                    }
                }
            }
            output
        };
        check(&format!("{batch} {steps} {heads} {part}"), &all, kernels::attention(qkv, heads, &idle), plain);
    }
}

/// The error function by its power series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn activations() {
    let x = (tensor([3, 17], 1) * 4.0).detach().require_grad();
    let all = [given("input", &x)];
    type Ours = fn(Tensor<2>) -> Tensor<2>;
    for (name, ours, plain) in [
        ("gelu", kernels::gelu as Ours, (|x| x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt()))) as fn(f64) -> f64),
        ("silu", kernels::silu, |x| x * logistic(x)),
        ("relu6", |x| kernels::relu6(x * 2.0), |x| (2.0 * x).clamp(0.0, 6.0)),
        ("sigmoid", kernels::sigmoid, logistic),
        ("tanh", kernels::tanh, f64::tanh),
    ] {
        check(name, &all, ours(x.clone()), |v| v[0].iter().map(|x| plain(*x)).collect());
    }
    let rows = |v: &[Vec<f64>]| v[0].chunks(17).flat_map(softmax).collect();
    check("softmax", &all, kernels::softmax(x), rows);
}

#[test]
fn sums_and_products() {
    for shape in [[1, 1, 1, 1], [2, 3, 2, 5], [1, 17, 3, 1]] {
        let (a, b) = (tensor(shape, 1), tensor(shape, 2));
        let all = [given("first", &a), given("second", &b)];
        let sum = |v: &[Vec<f64>]| v[0].iter().zip(&v[1]).map(|(a, b)| a + b).collect::<Vec<_>>();
        check("sum", &all, kernels::add(a.clone(), b.clone()), sum);
        check("sum and relu", &all, kernels::add_relu(a.clone(), b), |v| relu(sum(v)));
        let factors = tensor([shape[0], shape[1]], 3);
        let scaled = |v: &[Vec<f64>]| {
            let channels = v[0].chunks(shape[2] * shape[3]).zip(&v[1]);
            channels.flat_map(|(x, factor)| x.iter().map(move |x| x * factor)).collect()
        };
        let all = [given("map", &a), given("factors", &factors)];
        check("scaled", &all, kernels::scale_channels(a, factors), scaled);
    }
    for [count, rows, depth, columns] in [[1, 1, 1, 1], [2, 3, 5, 4], [3, 2, 1, 17]] {
        let (a, b) = (tensor([count, rows, depth], 1), tensor([count, depth, columns], 2));
        let all = [given("first", &a), given("second", &b)];
        let plain = |v: &[Vec<f64>]| {
            let mut result = Vec::new();
            for (n, i, j) in
                (0..count).flat_map(|n| (0..rows).flat_map(move |i| (0..columns).map(move |j| (n, i, j))))
            {
                let term = |k: usize| v[0][(n * rows + i) * depth + k] * v[1][(n * depth + k) * columns + j];
                result.push((0..depth).map(term).sum());
            }
            result
        };
        check(&format!("{count} {rows} {depth} {columns}"), &all, kernels::matmul(a, b), plain);
    }
}

#[test]
fn channels_side_by_side() {
    let (a, b) = (tensor([2, 3, 2], 1), tensor([2, 1, 2], 2));
    let all = [given("first", &a), given("second", &b)];
    let plain = |v: &[Vec<f64>]| {
        v[0].chunks(6).zip(v[1].chunks(2)).flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
    };
    check("channels", &all, kernels::cat_channels(vec![a, b]), plain);
}
