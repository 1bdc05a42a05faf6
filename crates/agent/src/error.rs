//! Why an agent cannot start, or a conversation cannot be opened.
//!
//! What goes wrong inside a turn is no error but the turn's end, and is told as an event.

use std::io;
use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's file has no tokenizer.
    #[error("{file}: has no tokenizer, which a conversation needs")]
    NoTokenizer {
        /// The model's file.
        file: String,
    },
    /// The vocabulary lacks a marker of the chat format, or rendering failed.
    #[error("the model cannot hold a conversation: {0}")]
    Format(#[from] text::Error),
    /// Two tools have one name, or a tool has none.
    #[error("two tools are called {name:?}")]
    Tools {
        /// That name.
        name: String,
    },
    /// The system prompt leaves no room for a conversation.
    #[error("instructions and tools take {tokens} of {context} tokens: use a larger --ctx")]
    NoRoom {
        /// Tokens of instructions and tools.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A file of conversations.
    #[error("{path}: {what}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What could not be done.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}, line {line}: {found}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        found: String,
    },
    /// There is no such conversation.
    #[error("{id:?}: {found}; /list shows which there are")]
    Unknown {
        /// As it was asked for.
        id: String,
        /// What there is instead.
        found: &'static str,
    },
    /// It is in the tokens of another vocabulary.
    #[error("conversation {id} was held with {model}, whose vocabulary is another: use that model")]
    OtherModel {
        /// Which.
        id: String,
        /// The model's file.
        model: String,
    },
    /// Another process has it open.
    #[error("conversation {id} is open in another dwarfstar: end that one, or use /fork there")]
    InUse {
        /// Which.
        id: String,
    },
    /// Conversations are not kept.
    #[error("conversations are not kept here: no folder was given for them")]
    NotKept,
    /// The system gives no thread.
    #[error("could not start a thread: {0}")]
    Thread(io::Error),
}

impl Error {
    /// A failed operation on a file.
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        what: &'static str,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, what, source }
    }
}
