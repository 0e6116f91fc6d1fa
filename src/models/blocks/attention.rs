//! Attention between the steps of a sequence.

use burn::nn::Dropout;
use burn::tensor::Tensor;
use oido_kernels as kernels;

use crate::config::ConfigError;

/// Most layers of a transformer.
const MAX_LAYERS: usize = 1000;
/// Most weights of attention of one clip in one layer: 1 GiB of them.
const MAX_WEIGHTS: usize = 1 << 28;

/// Scaled dot-product attention (Vaswani et al. 2017) of `heads` parts of the vectors each for itself: queries, keys and
/// values `[batch, steps, size]` → the same shape. Dropout falls on the weights.
pub fn attend(qkv: [Tensor<3>; 3], heads: usize, dropout: &Dropout) -> Tensor<3> {
    let [batch, steps, size] = qkv[0].dims();
    let part = size / heads;
    // [batch, heads, steps, part]
    let [q, k, v] = qkv.map(|x| x.reshape([batch, steps, heads, part]).swap_dims(1, 2));
    let weights = kernels::softmax(kernels::matmul(q / (part as f64).sqrt(), k.swap_dims(2, 3)));
    kernels::matmul(dropout.forward(weights), v).swap_dims(1, 2).reshape([batch, steps, size])
}

/// Refuses no layers, and more than anybody has; `key` is the option's name.
pub fn check_layers(layers: usize, key: &str) -> Result<(), ConfigError> {
    if (1..=MAX_LAYERS).contains(&layers) {
        return Ok(());
    }
    refuse(key, format!("{layers} layers; give 1 to {MAX_LAYERS}"))
}

/// Refuses sizes that cannot be parted among the heads; `keys` are the options' names.
pub fn check_heads(size: usize, heads: usize, keys: [&str; 2]) -> Result<(), ConfigError> {
    let [size_key, heads_key] = keys;
    if heads > 0 && size.is_multiple_of(heads) {
        return Ok(());
    }
    refuse(heads_key, format!("{heads} does not divide {size_key} = {size}; give a divisor of it"))
}

/// Refuses sequences whose attention would fill the memory: every step looks at every other.
pub fn check_steps(steps: usize, heads: usize) -> Result<(), ConfigError> {
    let weights = steps.saturating_mul(steps).saturating_mul(heads);
    if weights <= MAX_WEIGHTS {
        return Ok(());
    }
    let most = (MAX_WEIGHTS / heads).isqrt();
    let reason =
        format!("{steps} steps with {heads} heads of attention, the limit is {most}; use shorter clips");
    refuse("name", reason)
}

fn refuse(key: &str, reason: String) -> Result<(), ConfigError> {
    Err(ConfigError::field(format!("model.{key}"), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::DropoutConfig;
    use burn::tensor::{Device, TensorData};

    /// Two steps, two heads of one number each, by hand.
    #[test]
    fn each_head_weighs_the_values_by_its_own_scores() {
        let device = Device::flex();
        let tensor = |values: [[f32; 2]; 2]| Tensor::<3>::from_data(TensorData::from([values]), &device);
        let (q, k, v) = (
            tensor([[1.0, 0.0], [2.0, 0.0]]),
            tensor([[0.0, 5.0], [1.0, 7.0]]),
            tensor([[1.0, 2.0], [3.0, 6.0]]),
        );
        let found: Vec<f32> =
            attend([q, k, v], 2, &DropoutConfig::new(0.0).init()).into_data().try_to_vec().unwrap();
        let share = |score: f32| 1.0 / (1.0 + (-score).exp());
        // First head: scores 0 and q; second head: query 0, so the mean.
        let expected = [1.0 + 2.0 * share(1.0), 4.0, 1.0 + 2.0 * share(2.0), 4.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn heads_must_divide_the_size() {
        assert!(check_heads(144, 4, ["size", "heads"]).is_ok());
        for heads in [0, 5] {
            let error = check_heads(144, heads, ["hidden_size", "num_heads"]).unwrap_err().to_string();
            assert!(error.contains("model.num_heads") && error.contains("hidden_size = 144"), "{error}");
        }
    }

    #[test]
    fn sequences_that_would_fill_the_memory_are_refused() {
        assert!(check_steps(4729, 12).is_ok());
        let error = check_steps(4730, 12).unwrap_err().to_string();
        assert!(error.contains("4730 steps") && error.contains("the limit is 4729"), "{error}");
        assert!(check_steps(usize::MAX, 1).is_err());
    }

    #[test]
    fn a_transformer_has_layers() {
        for layers in [0, 1001] {
            assert!(check_layers(layers, "num_layers").unwrap_err().to_string().contains("model.num_layers"));
        }
    }
}
