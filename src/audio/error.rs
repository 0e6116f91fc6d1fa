/// Why a recording cannot be used. Every message names the recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Placeholder.
    #[error("{name}: {reason}")]
    Undecodable {
        /// The recording.
        name: String,
        /// One clause.
        reason: String,
    },
}
