/// Why a network cannot be loaded or placed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not safetensors.
    #[error("the weights are not a valid safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// Tensors are missing, unknown, of another shape or not f32; the sentence names them.
    #[error("the weights do not fit the model: {0}")]
    Weights(String),
    /// The device is unknown or not in this build.
    #[error("device `{name}`: {reason}")]
    Device {
        /// As asked for.
        name: String,
        /// What to do.
        reason: String,
    },
    /// The precision is unknown, or not for this device or processor.
    #[error("precision: {0}; use f32")]
    Precision(String),
}
