//! Weights from the outside: published files → named tensors → a network's tensors → the local store → a run.
//!
//! [`read`] takes PyTorch's `.pth`, `.safetensors`, Keras' `.h5`, `.weights.h5` and `.keras`, and a Hugging Face folder.
//! All are read as data: nothing in them is run, and what they claim to hold is bounded before it is believed.
//! [`translate`] finds the place of every tensor, with the names that each architecture knows
//! ([`crate::models::Architecture::published`]), and names whatever is missing, extra or of another shape. [`Store`]
//! keeps the result under a name, and [`Starting`] is what a recipe's `[training] weights` begins with. Nothing here
//! falls back on random weights.

mod error;
#[cfg(feature = "hub")]
mod hub;
mod hugging_face;
mod keras;
mod pickle;
mod read;
mod safetensors;
mod starting;
mod store;
mod tensors;
mod terms;
mod torch;
mod translate;

pub use error::Error;
#[cfg(feature = "hub")]
pub use hub::{Hub, Repository};
pub use hugging_face::{Described, described};
pub use read::{PublishedTensors, SourceFile, read, read_together};
pub use starting::{Started, Starting, check_same};
pub use store::{Draft, Meta, Source, Store};
pub use tensors::{Tensor, Tensors};
pub use terms::Terms;
pub use translate::{LeaveOut, Outline, Translated, translate, variant_of};
