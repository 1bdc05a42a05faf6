//! What can go wrong when a model is loaded or fed.
//!
//! Messages name the file and the tensor, or give both numbers. Only a failed step leaves sessions
//! without a valid state; every other error leaves them as they were.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file's metadata is not a shape of the family.
    #[error("{file}: not a DeepSeek V4 model this engine can run: {source}")]
    Shape {
        /// The file.
        file: String,
        /// What is wrong, key by key.
        source: spec::ShapeError,
    },
    /// Tensors are missing or do not fit the shape.
    #[error("{file}: {problems}")]
    Tensors {
        /// The file.
        file: String,
        /// All missing names in one sentence, then every tensor that does not fit.
        problems: String,
    },
    /// A tensor's values cannot be used.
    #[error("{file}: tensor {tensor}: {message}")]
    Values {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What was expected and found, and where.
        message: String,
    },
    /// The backend refused.
    #[error("{context}: {source}")]
    Backend {
        /// What was being done.
        context: String,
        /// Why not.
        source: backend::Error,
    },
    /// The device failed in the middle of a step; sessions in it have no valid state any more.
    #[error("a step of {tokens} tokens failed: {source}")]
    Step {
        /// Tokens of the step.
        tokens: usize,
        /// What the device reports.
        source: backend::Error,
    },
    /// A token id outside the vocabulary.
    #[error("token {token} is not in the vocabulary (0 to {last})")]
    Token {
        /// The token.
        token: u32,
        /// The largest id.
        last: usize,
    },
    /// More tokens than the cache was opened for.
    #[error("position {position} is beyond the context of {context} tokens")]
    Context {
        /// The first position that does not fit.
        position: usize,
        /// Tokens per session.
        context: usize,
    },
    /// Every row page is in use.
    #[error(
        "no room for KV rows from position {position} on: all {limit} pages of 128 tokens \
         ({bytes} bytes) are in use"
    )]
    Pages {
        /// The first position without a page.
        position: usize,
        /// Pages there may be.
        limit: usize,
        /// Bytes of all of them.
        bytes: usize,
    },
    /// A kept state of another layout.
    #[error("a state after {tokens} tokens has {wanted} bytes besides its rows, found {found}")]
    Snapshot {
        /// Tokens of the state.
        tokens: usize,
        /// Bytes that it should have.
        wanted: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// A kept row page of another layout.
    #[error("the row page from position {position} on has {wanted} bytes, found {found}")]
    RowPage {
        /// Its first position.
        position: usize,
        /// Bytes that it should have.
        wanted: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// A scale of steering that means nothing.
    #[error("a steering scale must be a number from -100 to 100, found {scale}")]
    Steer {
        /// What was given.
        scale: f32,
    },
    /// Directions for a model of another size.
    #[error(
        "directions of this model are {layers} x {width} numbers, one row per layer, found {found}"
    )]
    Directions {
        /// Layers of the model.
        layers: usize,
        /// Its hidden width.
        width: usize,
        /// Numbers that were given.
        found: usize,
    },
    /// A direction that is none.
    #[error("the direction of layer {layer} has {value} at place {at}, which is not a number")]
    Direction {
        /// Whose.
        layer: usize,
        /// Where in it.
        at: usize,
        /// What is there.
        value: f32,
    },
    /// Every session slot is taken.
    #[error("all {sessions} sessions are in use")]
    Sessions {
        /// How many there are.
        sessions: usize,
    },
}

impl Error {
    /// Wraps a backend's error with what was being done.
    pub(crate) fn doing(context: impl Into<String>) -> impl FnOnce(backend::Error) -> Error {
        |source| Error::Backend { context: context.into(), source }
    }
}
