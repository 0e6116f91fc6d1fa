//! What the options of attention between the steps of a sequence may be.

use crate::config::ConfigError;

/// Most layers of a transformer.
const MAX_LAYERS: usize = 1000;
/// Most weights of attention of one clip in one layer: 1 GiB of them.
const MAX_WEIGHTS: usize = 1 << 28;

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
