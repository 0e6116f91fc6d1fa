//! Parts shared by several networks.

mod attention;
mod conv_block;
mod count;
mod image;
mod init;
pub mod inverted_residual;
pub mod keras;
mod layer_norm;
mod layers;
mod lstm;
mod pool;
mod shift_norm;
pub mod torch;
pub mod vision;

pub use attention::{check_heads, check_layers, check_steps};
pub use conv_block::ConvBlock;
pub use count::Count;
pub use image::{Picture, PixelRange, check_input_channels, image};
pub use init::InitRng;
pub(super) use init::normal;
pub use layer_norm::LayerNorm;
pub use layers::{BatchNormOptions, batch_norm, conv2d, linear};
pub use lstm::Lstm;
pub use pool::{global_mean, max_2x2, max_2x2_padded, max_3x3, max_over_time, mean_3x3};
