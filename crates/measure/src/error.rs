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
    /// The model could not be run.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Error {
        Error::Read { path: path.to_owned(), source }
    }
}
