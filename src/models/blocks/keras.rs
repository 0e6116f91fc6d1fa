//! Where the variables of Keras' layers belong.

use crate::models::published::{Axes, Published};

/// A layer that Keras named: its kind and its number, from 0. `conv2d_3` is `("conv2d", 3)`, `dense` is `("dense", 0)`.
pub fn numbered(layer: &str) -> Option<(&str, usize)> {
    match layer.rsplit_once('_') {
        Some((kind, number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            Some((kind, number.parse().ok()?))
        }
        _ => Some((layer, 0)),
    }
}

/// A variable of a convolution that is called `layer` here.
pub fn conv_variable(layer: &str, variable: &str) -> Option<Published> {
    weight_or_bias(layer, variable, Axes::Hwio)
}

/// A variable of a depthwise convolution that is called `layer` here.
pub fn depthwise_variable(layer: &str, variable: &str) -> Option<Published> {
    weight_or_bias(layer, variable, Axes::Depthwise)
}

/// A variable of a dense layer that is called `layer` here.
pub fn dense_variable(layer: &str, variable: &str) -> Option<Published> {
    weight_or_bias(layer, variable, Axes::Same)
}

/// A variable of an LSTM that is called `layer` here; `axes` are those of the kernel.
pub fn lstm_variable(layer: &str, variable: &str, axes: Axes) -> Option<Published> {
    match variable {
        "kernel" => Some(Published::with(format!("{layer}.kernel"), axes)),
        "recurrent_kernel" => Some(Published::same(format!("{layer}.recurrent"))),
        "bias" => Some(Published::same(format!("{layer}.bias"))),
        _ => None,
    }
}

/// A variable of a batch normalisation that is called `layer` here.
pub fn batch_norm_variable(layer: &str, variable: &str) -> Option<Published> {
    let tensor = match variable {
        "gamma" | "beta" => variable,
        "moving_mean" => "running_mean",
        "moving_variance" => "running_var",
        _ => return None,
    };
    Some(Published::with(format!("{layer}.{tensor}"), Axes::Same))
}

fn weight_or_bias(layer: &str, variable: &str, axes: Axes) -> Option<Published> {
    match variable {
        "kernel" => Some(Published::with(format!("{layer}.weight"), axes)),
        "bias" => Some(Published::with(format!("{layer}.bias"), Axes::Same)),
        _ => None,
    }
}
