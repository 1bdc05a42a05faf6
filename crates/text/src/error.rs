//! The one error type of this crate: what a vocabulary, a conversation or a prompt got wrong.
//!
//! This room only words the errors. What the model samples is never an error; the parser reports it
//! as events. Files are unknown here: whoever read one puts its name in
//! front. Messages say which entry it is, what was expected and what was found.

/// Why a vocabulary cannot be used or a prompt cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no JSON, or not the JSON of a byte-level BPE tokenizer.
    #[error("tokenizer.json: {0}")]
    TokenizerJson(String),

    /// A list that is too short or too long to be one of this model family.
    #[error("vocabulary has {found} {what}, expected {least} to {most}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The fewest that are possible.
        least: usize,
        /// The most that are accepted.
        most: usize,
    },

    /// A token's text is empty or beyond all measure.
    #[error("token {index} has a text of {found} bytes, expected 1 to {most}")]
    TokenLength {
        /// The token's id.
        index: usize,
        /// Bytes in its text.
        found: usize,
        /// The most that is accepted.
        most: usize,
    },

    /// Two ids have the same text.
    #[error("tokens {first} and {index} have the same text {text:?}")]
    DuplicateToken {
        /// The lower id.
        first: u32,
        /// The higher id.
        index: usize,
        /// Their text.
        text: String,
    },

    /// Some text could not be written in this vocabulary.
    #[error("no ordinary token for byte {byte:#04x}, expected one with the text {text:?}")]
    MissingByte {
        /// The byte without a token.
        byte: u8,
        /// The character that stands for it.
        text: char,
    },

    /// A merge that cannot be carried out.
    #[error("merge {index} {text:?}: {reason}")]
    Merge {
        /// Its place in the list, which is its rank.
        index: usize,
        /// The merge as written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A prompt names a special token that this vocabulary lacks.
    #[error(
        "the vocabulary has no special token {name:?}: the prompt was made for another model, \
         or the model file is incomplete"
    )]
    UnknownSpecial {
        /// The token's text.
        name: String,
    },

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
