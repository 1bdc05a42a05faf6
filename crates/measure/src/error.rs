//! What can go wrong while something is measured.
//!
//! The world only: files that cannot be read or do not hold what they should, and the engine's own
//! errors. What a model says, however odd, is a result.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: could not be read: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not what the file's format says.
    #[error("{path}, line {line} (byte {offset}): {problem}", path = path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Where it begins in the file.
        offset: u64,
        /// What was expected, and what was found.
        problem: String,
    },
    /// A file of text that cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Text {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Texts without a token.
    #[error("there is no text in what was given: nothing to read")]
    NoText,
    /// A model whose experts were given no numbers.
    #[error(
        "chunk {chunk}: layer {layer} computes numbers that are not finite; `dwarfstar inspect \
         --check` looks for damage in the file"
    )]
    NotFinite {
        /// Which layer.
        layer: usize,
        /// In which chunk of the texts.
        chunk: usize,
    },
    /// The model could not be run.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Error {
        Error::Read { path: path.to_owned(), source }
    }

    pub(crate) fn text(path: &Path, error: &text::Error) -> Error {
        Error::Text { path: path.to_owned(), problem: error.to_string() }
    }
}
