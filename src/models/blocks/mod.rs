//! Parts shared by several networks.

mod conv_block;
mod init;
mod layers;
mod lstm;

pub use conv_block::{ConvBlock, pooled};
pub use layers::{BatchNormOptions, batch_norm, conv2d, dense_parameters, linear};
pub use lstm::{Lstm, LstmState};
