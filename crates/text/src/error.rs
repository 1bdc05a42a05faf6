//! The crate's one error type.
//!
//! Only the world outside makes errors here: a request that names something unknown. What the
//! model samples is never an error; the parser reports it as events.

/// What was wrong with something handed to this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More messages are said to be rendered already than the conversation has.
    #[error(
        "{context} messages are said to be rendered already, but the conversation has {messages}"
    )]
    ContextBeyondConversation {
        /// Messages said to be rendered already.
        context: usize,
        /// Messages in the conversation.
        messages: usize,
    },
    /// An effort name that no checkpoint of the family knows.
    #[error(
        "unknown reasoning effort \"{0}\", expected minimal, low, medium, high, xhigh or max \
         (and \"none\" asks for no reasoning at all)"
    )]
    UnknownEffort(String),
    /// A text that should be JSON and is not.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
}
