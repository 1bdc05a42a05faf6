//! What can go wrong on a device. Wrong shapes are bugs and assert; these are the world's errors.

/// An error of a backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reservation did not fit.
    #[error("out of memory: {what} needs {bytes} bytes")]
    OutOfMemory {
        /// What the memory was for.
        what: &'static str,
        /// How much was asked for.
        bytes: usize,
    },
    /// No decoder for a weight's format.
    #[error("no decoder for tensor type {format}")]
    Format {
        /// Name of the format.
        format: String,
    },
}
