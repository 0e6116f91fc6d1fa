//! HTTP around a [`Predictor`](crate::bundle::Predictor).
//!
//! A request's way is the file list:
//!
//! ```text
//! connections (accept, limits) → router → endpoints::invocations → body (counted) → types (dialect → Request)
//!   → state (admission, decode pool) → batching (bounded queue → model thread) → types (answer) → error (status)
//! ```
//!
//! **Everything is bounded**: connections, header time, body bytes and body time, requests in the house, decoding
//! threads, clips in a request and seconds until an answer. What exceeds a bound is refused with a status and a
//! code, at once. **Audio and JSON are hostile** until decoded; an error tells the client what to change and
//! nothing about the machine. **A panic is an answer** (500 for its batch), counted; the server lives.
//!
//! Dialects (SageMaker, Hugging Face, and later ones) are translations to and from one internal
//! [`types::Request`]; nothing behind `types` knows them.

mod batching;
mod body;
mod connections;
mod endpoints;
mod error;
mod metrics;
mod options;
mod router;
mod server;
mod shutdown;
mod state;
pub mod types;

pub use error::Error;
pub use options::Options;
pub use router::router;
pub use server::{Server, Stopped};
pub use shutdown::{Stop, signals};
pub use state::State;
