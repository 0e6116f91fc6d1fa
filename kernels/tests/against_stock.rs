//! Every layer against Burn's own operators: results and gradients over a grid of sizes.

#![allow(clippy::unwrap_used, reason = "tests")]

use burn::module::Param;
use burn::nn::conv::{Conv1dConfig, Conv2dConfig};
use burn::nn::pool::{AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, DropoutConfig, LinearConfig, PaddingConfig1d, PaddingConfig2d};
use burn::optim::{AdamConfig, Optimizer};
use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Device, Distribution, Tensor};
use oido_kernels::{
    self as kernels, Precision, Prepared, Step, add, add_relu, attention, avg_pool2d, batch_norm,
    batch_norm_relu, cat_channels, conv1d, conv1d_then, conv2d, conv2d_relu, conv2d_then, each, gelu,
    global_mean, layer_norm, linear_relu, lstm, matmul, max_pool1d, max_pool2d, relu6, scale_channels, silu,
    softmax,
};

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &device())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Largest difference, relative to the largest value.
fn close<const D: usize>(what: &str, ours: Tensor<D>, stock: Tensor<D>) {
    assert_eq!(ours.dims(), stock.dims(), "{what}");
    let (ours, stock) = (values(ours), values(stock));
    let largest = stock.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
    let off = ours.iter().zip(&stock).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(off <= 1e-4 * largest, "{what}: {off} of {largest}");
}

/// Results and gradients of two functions of one input and the parameters that `parameters` lists.
fn same<const D: usize, const E: usize, const W: usize>(
    what: &str,
    input: [usize; D],
    weight: &Param<Tensor<W>>,
    bias: Option<&Param<Tensor<1>>>,
    ours: impl Fn(Tensor<D>) -> Tensor<E>,
    stock: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    let x = random(input).require_grad();
    let (a, b) = (ours(x.clone()), stock(x.clone()));
    close(what, a.clone(), b.clone());
    let towards = random(a.dims());
    let (a, b) = ((a * towards.clone()).sum().backward(), (b * towards).sum().backward());
    close(&format!("{what}: input"), x.grad(&a).unwrap(), x.grad(&b).unwrap());
    let weight = weight.val();
    close(&format!("{what}: weight"), weight.grad(&a).unwrap(), weight.grad(&b).unwrap());
    if let Some(bias) = bias {
        let bias = bias.val();
        close(&format!("{what}: bias"), bias.grad(&a).unwrap(), bias.grad(&b).unwrap());
    }
}

#[test]
fn conv2d_is_burns() {
    use PaddingConfig2d::{Explicit, Same, Valid};
    // batch, c_in, height, width, c_out, kernel, stride, dilation, padding
    let cases = [
        (1, 1, 5, 5, 1, [3, 3], [1, 1], [1, 1], Same),
        (2, 3, 9, 7, 5, [3, 3], [1, 1], [1, 1], Same),
        (2, 17, 8, 13, 33, [3, 3], [1, 1], [1, 1], Valid),
        (3, 16, 6, 6, 70, [1, 1], [1, 1], [1, 1], Valid),
        (2, 8, 9, 11, 24, [1, 1], [2, 2], [1, 1], Valid),
        (1, 3, 21, 20, 64, [7, 7], [2, 2], [1, 1], Explicit(3, 3, 3, 3)),
        (2, 4, 11, 12, 6, [3, 3], [2, 2], [1, 1], Same),
        (1, 5, 16, 15, 9, [3, 3], [1, 1], [2, 2], Explicit(2, 2, 2, 2)),
        (2, 2, 14, 9, 8, [1, 7], [1, 1], [1, 1], Explicit(0, 3, 0, 3)),
        (1, 3, 10, 10, 4, [5, 3], [3, 2], [2, 1], Explicit(1, 0, 2, 1)),
        (1, 1, 64, 30, 10, [16, 16], [10, 10], [1, 1], Valid),
        (4, 130, 3, 4, 129, [3, 3], [1, 1], [1, 1], Same),
        (2, 400, 7, 5, 20, [3, 3], [2, 2], [1, 1], Same),
        (3, 600, 16, 15, 130, [1, 1], [1, 1], [1, 1], Valid),
    ];
    for (batch, c_in, height, width, c_out, kernel, stride, dilation, padding) in cases {
        for with_bias in [false, true] {
            let layer = Conv2dConfig::new([c_in, c_out], kernel)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding.clone())
                .with_bias(with_bias)
                .init(&device());
            same(
                &format!("{batch} {c_in} {height}x{width} {c_out} {kernel:?} {stride:?} {with_bias}"),
                [batch, c_in, height, width],
                &layer.weight,
                layer.bias.as_ref(),
                |x| if with_bias { conv2d_relu(&layer, x) } else { conv2d(&layer, x) },
                |x| if with_bias { relu(layer.forward(x)) } else { layer.forward(x) },
            );
        }
    }
}

#[test]
fn conv1d_is_burns() {
    for (batch, c_in, length, c_out, kernel, stride, padding) in [
        (2, 1, 1_000, 32, 80, 16, 0),
        (3, 32, 61, 48, 3, 1, 1),
        (1, 5, 7, 3, 7, 1, 3),
        (2, 4, 33, 4, 1, 1, 0),
    ] {
        let layer = Conv1dConfig::new(c_in, c_out, kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig1d::Explicit(padding, padding))
            .init(&device());
        same(
            &format!("{batch} {c_in} {length} {c_out} {kernel}"),
            [batch, c_in, length],
            &layer.weight,
            layer.bias.as_ref(),
            |x| conv1d(&layer, x),
            |x| layer.forward(x),
        );
    }
}

#[test]
fn depthwise_is_burns() {
    for (batch, channels, size, kernel, stride, padding) in [
        (1, 1, [5, 5], [3, 3], [1, 1], PaddingConfig2d::Same),
        (2, 33, [9, 7], [3, 3], [2, 2], PaddingConfig2d::Explicit(1, 1, 1, 1)),
        (2, 16, [8, 11], [5, 5], [2, 2], PaddingConfig2d::Same),
        (3, 70, [6, 4], [5, 5], [1, 1], PaddingConfig2d::Same),
    ] {
        let layer = Conv2dConfig::new([channels, channels], kernel)
            .with_groups(channels)
            .with_stride(stride)
            .with_padding(padding)
            .with_bias(channels == 33)
            .init(&device());
        same(
            &format!("{batch} {channels} {size:?} {kernel:?} {stride:?}"),
            [batch, channels, size[0], size[1]],
            &layer.weight,
            layer.bias.as_ref(),
            |x| if channels == 70 { conv2d_relu(&layer, x) } else { conv2d(&layer, x) },
            |x| if channels == 70 { relu(layer.forward(x)) } else { layer.forward(x) },
        );
    }
    let layer = Conv1dConfig::new(20, 20, 7)
        .with_groups(20)
        .with_padding(PaddingConfig1d::Explicit(3, 3))
        .init(&device());
    let run = |x| conv1d(&layer, x);
    same("1-D", [2, 20, 31], &layer.weight, layer.bias.as_ref(), run, |x| layer.forward(x));
}

#[test]
fn values_of_maps_are_burns() {
    let (a, b) = (random([2, 5, 4, 3]), random([2, 5, 1, 1]));
    same_of_input("each", a.clone(), |x| each(x, relu), relu);
    let factors = b.clone().flatten::<2>(1, 3);
    let product = |x: Tensor<4>| x * b.clone();
    same_of_input("product", a.clone(), |x| scale_channels(x, factors.clone()), product);
    same_of_input(
        "factors",
        factors,
        |f| scale_channels(a.clone(), f),
        |f| a.clone() * f.unsqueeze_dims(&[2, 3]),
    );
    let other = random([2, 5, 4, 3]);
    same_of_input("sum", a.clone(), |x| add(x, other.clone()), |x| x + other.clone());
    same_of_input("sum", other.clone(), |x| add_relu(a.clone(), x), |x| relu(a.clone() + x));
    same_of_input("sigmoid", random([77]) * 4.0, kernels::sigmoid, sigmoid);
    same_of_input("tanh", random([77]) * 4.0, kernels::tanh, tanh);
    same_of_input("gelu", random([3, 1_001]) * 4.0, gelu, burn::tensor::activation::gelu);
    same_of_input("silu", random([3, 1_001]) * 4.0, silu, burn::tensor::activation::silu);
    same_of_input("relu6", random([3, 1_001]) * 9.0, relu6, |x| x.clamp(0.0, 6.0));
    let stock = |x| burn::tensor::activation::softmax(x, 2);
    same_of_input("softmax", random([2, 3, 77]) * 5.0, softmax, stock);
    let both = |x: Tensor<4>| vec![x.clone(), x * 2.0];
    same_of_input("channels", a, |x| cat_channels(both(x)), |x| Tensor::cat(both(x), 1));
}

#[test]
fn linear_is_burns() {
    for (rows, d_input, d_output) in [(1, 1, 1), (1, 33, 10), (32, 640, 256), (7, 5, 130), (290, 1_100, 70)] {
        let layer = LinearConfig::new(d_input, d_output).init(&device());
        same(
            &format!("{rows} {d_input} {d_output}"),
            [rows, 2, d_input],
            &layer.weight,
            layer.bias.as_ref(),
            |x| linear_relu(&layer, x),
            |x| relu(layer.forward(x)),
        );
    }
}

/// Results and gradients of two functions of one input.
fn same_of_input<const D: usize, const E: usize>(
    what: &str,
    x: Tensor<D>,
    ours: impl Fn(Tensor<D>) -> Tensor<E>,
    stock: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    let x = x.require_grad();
    let (a, b) = (ours(x.clone()), stock(x.clone()));
    close(what, a.clone(), b.clone());
    let towards = random(a.dims());
    let (a, b) = ((a * towards.clone()).sum().backward(), (b * towards).sum().backward());
    close(&format!("{what}: input"), x.grad(&a).unwrap(), x.grad(&b).unwrap());
}

#[test]
fn batch_norm_is_burns_in_training_and_after() {
    for [batch, channels, height, width] in [[1, 1, 5, 7], [4, 3, 2, 2], [2, 33, 6, 5], [3, 64, 4, 4]] {
        for with_relu in [false, true] {
            let what = format!("{batch} {channels} {height}x{width} {with_relu}");
            let config = BatchNormConfig::new(channels).with_epsilon(1e-3);
            let (ours, stock) = (config.init(&device()), config.init(&device()));
            let shape = [batch, channels, height, width];
            let run = |x| if with_relu { batch_norm_relu(&ours, x) } else { batch_norm(&ours, x) };
            let reference = |x| if with_relu { relu(stock.forward(x)) } else { stock.forward(x) };
            let x = random(shape) * 3.0 + 1.5;
            let (a, b) = (run(x.clone()), reference(x.clone()));
            let towards = random(shape);
            let a = (a * towards.clone()).sum().backward();
            let b = (b * towards).sum().backward();
            for (what, ours, stock) in
                [("scale", &ours.gamma, &stock.gamma), ("shift", &ours.beta, &stock.beta)]
            {
                close(what, ours.val().grad(&a).unwrap(), stock.val().grad(&b).unwrap());
            }
            same_of_input(&what, x, run, reference);
            for (ours, stock) in
                [(&ours.running_mean, &stock.running_mean), (&ours.running_var, &stock.running_var)]
            {
                close("running", ours.value_sync(), stock.value_sync());
            }
            use burn::module::Module;
            let (ours, stock) = (ours.valid(), stock.valid());
            let x = random(shape).inner();
            close("fixed", batch_norm(&ours, x.clone()), stock.forward(x));
        }
    }
}

#[test]
fn layer_norm_is_burns() {
    for (shape, offset) in [([1, 1, 7], 0.0), ([3, 5, 33], 4.0), ([2, 70, 190], 1.0)] {
        let affine = || [random([shape[2]]) + 1.0, random([shape[2]])].map(Tensor::require_grad);
        let [scale, shift] = affine();
        let ours = |x| layer_norm(x, [scale.clone(), shift.clone()], 1e-3);
        let stock = |x| burn::tensor::module::layer_norm(x, scale.clone(), Some(shift.clone()), 1e-3);
        let x = random(shape) + offset;
        same_of_input(&format!("{shape:?}"), x.clone(), ours, stock);
        let towards = random(shape);
        let [a, b] = [ours(x.clone()), stock(x)].map(|y| (y * towards.clone()).sum().backward());
        close("scale", scale.grad(&a).unwrap(), scale.grad(&b).unwrap());
        close("shift", shift.grad(&a).unwrap(), shift.grad(&b).unwrap());
    }
}

#[test]
fn pooling_is_burns() {
    use PaddingConfig2d::{Explicit, Same, Valid};
    for (shape, window, stride, padding) in [
        ([2, 3, 8, 10], [2, 2], [2, 2], Valid),
        ([1, 1, 7, 9], [2, 2], [2, 2], Valid),
        ([2, 33, 7, 9], [2, 2], [2, 2], Same),
        ([2, 16, 9, 11], [3, 3], [2, 2], Explicit(1, 1, 1, 1)),
        ([2, 16, 9, 11], [3, 3], [2, 2], Valid),
    ] {
        let layer = MaxPool2dConfig::new(window).with_strides(stride).with_padding(padding.clone()).init();
        let what = format!("maximum of {window:?} of {shape:?}");
        same_of_input(&what, random(shape), |x| max_pool2d(&layer, x), |x| layer.forward(x));
    }
    for outside in [false, true] {
        let layer = AvgPool2dConfig::new([3, 3])
            .with_strides([1, 1])
            .with_padding(Explicit(1, 1, 1, 1))
            .with_count_include_pad(outside)
            .init();
        let x = random([2, 5, 6, 7]);
        same_of_input(&format!("mean {outside}"), x, |x| avg_pool2d(&layer, x), |x| layer.forward(x));
    }
    let layer = MaxPool1dConfig::new(4).with_stride(4).init();
    same_of_input("maximum over time", random([2, 48, 31]), |x| max_pool1d(&layer, x), |x| layer.forward(x));
    let mean = |x: Tensor<4>| x.mean_dims(&[2, 3]).reshape([3, 33]);
    same_of_input("global mean", random([3, 33, 5, 4]), global_mean, mean);
}

/// The equations, step by step; gates in the order input, forget, cell, output.
fn lstm_by_steps(x: &Tensor<3>, kernel: &Tensor<2>, recurrent: &Tensor<2>, bias: &Tensor<1>) -> Tensor<3> {
    let [batch, steps, _] = x.dims();
    let units = recurrent.dims()[0];
    let mut hidden = Tensor::<2>::zeros([batch, units], &device());
    let mut cell = hidden.clone();
    let outputs = (0..steps).map(|t| {
        let input = x.clone().narrow(1, t, 1).squeeze_dim::<2>(1);
        let gates = input.matmul(kernel.clone()) + hidden.clone().matmul(recurrent.clone());
        let gates = gates + bias.clone().unsqueeze();
        let gate = |i: usize| gates.clone().narrow(1, i * units, units);
        cell = sigmoid(gate(1)) * cell.clone() + sigmoid(gate(0)) * tanh(gate(2));
        hidden = sigmoid(gate(3)) * tanh(cell.clone());
        hidden.clone().unsqueeze_dim::<3>(1)
    });
    let outputs: Vec<_> = outputs.collect();
    Tensor::cat(outputs, 1)
}

#[test]
fn lstm_is_its_equations() {
    for (batch, steps, d_input, units, reverse) in
        [(1, 1, 1, 1, false), (2, 7, 5, 3, false), (3, 11, 40, 17, true), (5, 4, 16, 64, true)]
    {
        let what = format!("{batch} {steps} {d_input} {units} {reverse}");
        let x = random([batch, steps, d_input]).require_grad();
        let kernel = random([d_input, 4 * units]).require_grad();
        let recurrent = random([units, 4 * units]).require_grad();
        let bias = random([4 * units]).require_grad();
        let turned = |x: Tensor<3>| if reverse { x.flip([1]) } else { x };
        let stock = turned(lstm_by_steps(&turned(x.clone()), &kernel, &recurrent, &bias));
        let ours = lstm(x.clone(), kernel.clone(), recurrent.clone(), bias.clone(), reverse);
        close(&what, ours.clone(), stock.clone());
        let towards = random([batch, steps, units]);
        let (a, b) = ((ours * towards.clone()).sum().backward(), (stock * towards).sum().backward());
        close(&format!("{what}: input"), x.grad(&a).unwrap(), x.grad(&b).unwrap());
        close(&format!("{what}: kernel"), kernel.grad(&a).unwrap(), kernel.grad(&b).unwrap());
        close(&format!("{what}: recurrent"), recurrent.grad(&a).unwrap(), recurrent.grad(&b).unwrap());
        close(&format!("{what}: bias"), bias.grad(&a).unwrap(), bias.grad(&b).unwrap());
    }
}

#[test]
fn attention_is_its_equations() {
    let idle = DropoutConfig::new(0.0).init();
    for [batch, steps, heads, part] in [[1, 1, 1, 1], [2, 5, 3, 7], [1, 33, 2, 16], [3, 130, 1, 20]] {
        let size = heads * part;
        let what = format!("{batch} {steps} {heads} {part}");
        // Side by side, as a layer of all three gives them, so that steps are not contiguous.
        let parts = |x: Tensor<3>| [0, 1, 2].map(|i| x.clone().narrow(2, i * size, size));
        let stock = |x: Tensor<3>| {
            let split = |x: Tensor<3>| x.reshape([batch, steps, heads, part]).swap_dims(1, 2);
            let [q, k, v] = parts(x).map(split);
            let scores = q.matmul(k.swap_dims(2, 3)) / (part as f64).sqrt();
            let result = burn::tensor::activation::softmax(scores, 3).matmul(v);
            result.swap_dims(1, 2).reshape([batch, steps, size])
        };
        let x = random([batch, steps, 3 * size]) * 3.0;
        same_of_input(&what, x, |x| attention(parts(x), heads, &idle), stock);
    }
}

/// Two steps, two heads of one number each, by hand.
#[test]
fn each_head_weighs_the_values_by_its_own_scores() {
    let tensor = |values: [[f32; 2]; 2]| Tensor::<3>::from_data([values], &device());
    let (q, k, v) = (
        tensor([[1.0, 0.0], [2.0, 0.0]]),
        tensor([[0.0, 5.0], [1.0, 7.0]]),
        tensor([[1.0, 2.0], [3.0, 6.0]]),
    );
    let share = |score: f32| 1.0 / (1.0 + (-score).exp());
    // First head: scores 0 and q; second head: query 0, so the mean.
    let expected = tensor([[1.0 + 2.0 * share(1.0), 4.0], [1.0 + 2.0 * share(2.0), 4.0]]);
    let attend = |probability| {
        let dropout = DropoutConfig::new(probability).init();
        attention([q.clone(), k.clone(), v.clone()], 2, &dropout)
    };
    close("idle", attend(0.0), expected.clone());
    // So little drops that nothing does; the weights are there to be dropped.
    close("dropping", attend(1e-12), expected);
    let all_drop = values(attend(1.0 - 1e-6));
    assert!(all_drop.iter().all(|x| *x == 0.0), "{all_drop:?}");
}

#[test]
fn products_are_burns() {
    for [batch, heads, rows, depth, columns] in
        [[1, 1, 1, 1, 1], [2, 3, 5, 7, 9], [1, 2, 33, 64, 33], [2, 1, 8, 70, 16]]
    {
        let what = format!("{batch} {heads} {rows} {depth} {columns}");
        let (a, b) = (random([batch, heads, rows, depth]), random([batch, heads, depth, columns]));
        same_of_input(&what, a.clone(), |a| matmul(a, b.clone()), |a| a.matmul(b.clone()));
        same_of_input(&what, b, |b| matmul(a.clone(), b), |b| a.clone().matmul(b));
        let turned = random([batch, heads, columns, depth]);
        let other = |b: Tensor<4>| b.swap_dims(2, 3);
        same_of_input(&what, turned, |b| matmul(a.clone(), other(b)), |b| a.clone().matmul(other(b)));
    }
}

/// Batch normalisation that has learned something.
fn learned_norm(channels: usize, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(channels).init(device);
    let random = |from| Tensor::random([channels], Distribution::Uniform(from, 1.5), device);
    norm.gamma = Param::from_tensor(random(-1.5));
    norm.beta = Param::from_tensor(random(-1.5));
    norm.running_mean.update(random(-1.5));
    norm.running_var.update(random(0.1));
    norm
}

/// Burn's layers for the steps.
fn stock_steps(mut x: Tensor<4>, steps: &[Step]) -> Tensor<4> {
    for step in steps {
        x = match step {
            Step::Norm(norm) => norm.forward(x),
            Step::Relu => relu(x),
            Step::Maximum(window) => MaxPool2dConfig::new(*window).with_strides(*window).init().forward(x),
        };
    }
    x
}

#[test]
fn a_convolution_and_what_is_behind_it_in_one_go_is_burns() {
    use Step::{Maximum, Norm, Relu};
    let device = Device::flex();
    // c_in, size, c_out, kernel, stride, groups
    for (c_in, size, c_out, kernel, stride, groups) in [
        (1, [9, 11], 20, 3, 1, 1),
        (16, [8, 13], 33, 3, 1, 1),
        (24, [9, 12], 48, 3, 1, 1),
        (20, [12, 9], 17, 5, 2, 1),
        (7, [5, 6], 3, 1, 1, 1),
        (19, [10, 11], 19, 3, 1, 19),
    ] {
        let conv = Conv2dConfig::new([c_in, c_out], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Same)
            .with_groups(groups);
        let (a, b) = (learned_norm(c_out, &device), learned_norm(c_out, &device));
        for (i, steps) in [
            &[][..],
            &[Norm(&a)],
            &[Norm(&a), Relu],
            &[Relu, Norm(&b), Maximum([2, 2])],
            &[Norm(&a), Relu, Norm(&b), Maximum([3, 2])],
            &[Maximum([1, 4])],
            // In no order that one operation knows.
            &[Relu, Maximum([2, 2]), Norm(&a), Relu],
        ]
        .into_iter()
        .enumerate()
        {
            let conv = conv.clone().with_bias(i % 2 == 0).init(&device);
            let x =
                Tensor::<4>::random([2, c_in, size[0], size[1]], Distribution::Uniform(-1.0, 1.0), &device);
            let what = format!("{c_in} {size:?} {c_out} {kernel}, steps {i}");
            let wanted = stock_steps(conv.forward(x.clone()), steps);
            let prepared = Prepared::default();
            let first = prepared.run(|| conv2d_then(&conv, x.clone(), steps));
            let second = prepared.run(|| conv2d_then(&conv, x.clone(), steps));
            assert_eq!(values(first.clone()), values(second), "{what}: what is kept gives the same");
            assert_eq!(values(first.clone()), values(conv2d_then(&conv, x.clone(), steps)), "{what}: alone");
            close(&what, first, wanted.clone());
        }
    }
}

#[test]
fn the_same_steps_with_gradients_are_burns() {
    let conv = Conv2dConfig::new([16, 24], [3, 3]).init(&device());
    let norm = learned_norm(24, &device());
    let steps = [Step::Relu, Step::Norm(&norm), Step::Maximum([2, 2])];
    same(
        "steps",
        [2, 16, 8, 9],
        &conv.weight,
        conv.bias.as_ref(),
        |x| conv2d_then(&conv, x, &steps),
        |x| stock_steps(conv.forward(x), &steps),
    );
}

#[test]
fn a_dense_layer_whose_weights_are_kept_is_burns() {
    let device = Device::flex();
    let layer = LinearConfig::new(37, 70).init(&device);
    let prepared = Prepared::default();
    for rows in [1, 5, 300] {
        let x = Tensor::<3>::random([2, rows, 37], Distribution::Uniform(-1.0, 1.0), &device);
        let wanted = layer.forward(x.clone());
        close("dense", prepared.run(|| kernels::linear(&layer, x.clone())), wanted.clone());
        close("dense, ReLU", prepared.run(|| linear_relu(&layer, x)), relu(wanted));
    }
}

#[test]
fn what_is_kept_is_of_one_set_of_weights_in_use() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([16, 16], [3, 3]).init(&device);
    let (a, b) = (learned_norm(16, &device), learned_norm(16, &device));
    let prepared = Prepared::default();
    // One convolution under two norms, and in maps that suit different ways of summing.
    for size in [[3, 3], [12, 12]] {
        for norm in [&a, &b] {
            let x = Tensor::<4>::random([1, 16, size[0], size[1]], Distribution::Uniform(-1.0, 1.0), &device);
            for steps in
                [&[Step::Norm(norm), Step::Relu][..], &[Step::Relu, Step::Norm(norm)], &[Step::Norm(norm)]]
            {
                let ours = prepared.run(|| conv2d_then(&conv, x.clone(), steps));
                close("two norms", ours, stock_steps(conv.forward(x.clone()), steps));
            }
        }
    }
}

#[test]
fn conv1d_and_what_is_behind_it_in_one_go_is_burns() {
    let device = Device::flex();
    for (c_in, length, c_out, kernel, stride) in [(1, 800, 16, 80, 4), (16, 101, 40, 3, 1)] {
        let conv = Conv1dConfig::new(c_in, c_out, kernel).with_stride(stride).init(&device);
        let norm = learned_norm(c_out, &device);
        let x = Tensor::<3>::random([2, c_in, length], Distribution::Uniform(-1.0, 1.0), &device);
        let steps = [Step::Norm(&norm), Step::Relu, Step::Maximum([1, 4])];
        let pool = MaxPool1dConfig::new(4).with_stride(4).init();
        let wanted = pool.forward(relu(norm.forward(conv.forward(x.clone()))));
        close(&format!("{c_in} {length}"), conv1d_then(&conv, x, &steps), wanted);
    }
}

/// Small multiples of a quarter: exact in bfloat16, and so are their products and sums in `f32`.
fn quarters<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-4.49, 4.49), device).round() / 4.0
}

#[test]
fn products_of_bfloat16_are_exact_where_the_numbers_are() {
    if !Precision::Bf16.is_available() {
        return;
    }
    // c_in, c_out, kernel, stride
    for (c_in, c_out, kernel, stride) in
        [(16, 5, 1, 1), (17, 70, 3, 1), (32, 64, 3, 1), (24, 33, 5, 2), (3, 8, 3, 1)]
    {
        let config = Conv2dConfig::new([c_in, c_out], [kernel; 2]).with_stride([stride; 2]);
        let mut conv = config.with_padding(PaddingConfig2d::Same).init(&device());
        conv.weight = Param::from_tensor(quarters([c_out, c_in, kernel, kernel], &device()));
        conv.bias = Some(Param::from_tensor(quarters([c_out], &device())));
        let x = quarters([3, c_in, 7, 5], &device());
        let towards = quarters(conv.forward(x.clone()).dims(), &device());
        let run = |precision: Precision| {
            let x = x.clone().require_grad();
            let y = precision.run(|| conv2d(&conv, x.clone()));
            let gradients = (y.clone() * towards.clone()).sum().backward();
            [
                values(y),
                values(x.grad(&gradients).unwrap()),
                values(conv.weight.val().grad(&gradients).unwrap()),
            ]
        };
        as_exact(&format!("{c_in} {c_out} {kernel}"), run(Precision::F32), run(Precision::Bf16));
    }
    let mut layer = LinearConfig::new(37, 19).init(&device());
    layer.weight = Param::from_tensor(quarters([37, 19], &device()));
    for rows in [1, 6, 301] {
        let (x, towards) = (quarters([rows, 37], &device()), quarters([rows, 19], &device()));
        let run = |precision: Precision| {
            let x = x.clone().require_grad();
            let y = precision.run(|| kernels::linear(&layer, x.clone()));
            let gradients = (y.clone() * towards.clone()).sum().backward();
            [
                values(y),
                values(x.grad(&gradients).unwrap()),
                values(layer.weight.val().grad(&gradients).unwrap()),
            ]
        };
        as_exact(&format!("dense, {rows} rows"), run(Precision::F32), run(Precision::Bf16));
    }
}

/// Result, gradient of the input, gradient of the weights. (Winograd's way is not exact in `f32`.)
fn as_exact(what: &str, exact: [Vec<f32>; 3], ours: [Vec<f32>; 3]) {
    for (part, (exact, ours)) in exact.iter().zip(&ours).enumerate() {
        let most = exact.iter().zip(ours).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(most < 1e-4, "{what}, part {part}: {most}");
    }
}

#[test]
fn bfloat16_is_asked_for_and_off_afterwards() {
    if !Precision::Bf16.is_available() {
        return;
    }
    let layer = LinearConfig::new(64, 32).init(&Device::flex());
    let x = Tensor::<2>::random([8, 64], Distribution::Uniform(-1.0, 1.0), &Device::flex());
    let run = || values(kernels::linear(&layer, x.clone()));
    let (exact, rounded) = (run(), Precision::Bf16.run(run));
    assert_eq!(run(), exact);
    assert_ne!(rounded, exact);
    let most = exact.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let off = exact.iter().zip(&rounded).fold(0.0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(off < 0.01 * most, "{off} of {most}");
    let prepared = Prepared::default();
    assert_eq!(prepared.run(|| Precision::Bf16.run(run)), rounded);
    assert_eq!(prepared.run(run), exact, "what is kept is of one precision");
}

#[test]
fn adam_is_burns_to_the_bit() {
    let device = Device::flex();
    let ours = kernels::Adam { beta_1: 0.8, beta_2: 0.99, epsilon: 1e-7 };
    let burns = AdamConfig::new().with_beta_1(0.8).with_beta_2(0.99).with_epsilon(1e-7).build();
    // The second one does not stand in Burn's order.
    let random = |sizes: [usize; 2]| Tensor::<2>::random(sizes, Distribution::Uniform(-1.0, 1.0), &device);
    for (weights, turned) in [(random([1, 1]), false), (random([37, 5]), true), (random([300, 250]), false)] {
        let before = values(weights.clone());
        let (mut mine, mut theirs) = ((weights.clone(), None), (weights.clone(), None));
        for step in 0..5 {
            let [rows, columns] = weights.dims();
            let gradient = if turned { random([columns, rows]).transpose() } else { random([rows, columns]) };
            let rate = 0.01 / f64::from(step + 1);
            mine = ours.step(rate, mine.0, gradient.clone(), mine.1);
            theirs = burns.step(rate, theirs.0, gradient, theirs.1);
            assert_eq!(values(mine.0.clone()), values(theirs.0.clone()));
        }
        assert_eq!(values(weights), before, "tensors that others hold stay as they are");
    }
}

/// The tests of this file once more, on the instructions of lesser processors.
#[test]
fn lesser_processors_agree() {
    if std::env::var_os("OIDO_SIMD").is_some() {
        return;
    }
    for level in ["avx2", "portable"] {
        let this = std::env::current_exe().unwrap();
        let done = std::process::Command::new(this).env("OIDO_SIMD", level).output().unwrap();
        assert!(done.status.success(), "{level}: {}", String::from_utf8_lossy(&done.stdout));
    }
}
