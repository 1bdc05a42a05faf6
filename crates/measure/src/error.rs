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
    /// A file holds nothing of what it should.
    #[error("{path}: holds no line {expected}", path = path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What a line looks like.
        expected: String,
    },
    /// A file of directions for a model of another size.
    #[error(
        "{path}: {found} bytes, expected {expected}: {layers} layers x {width} numbers of 4 bytes; \
         directions are of one model, and `dwarfstar steer build` makes them",
        path = path.display()
    )]
    Directions {
        /// Which file.
        path: PathBuf,
        /// Layers of the model.
        layers: usize,
        /// Its hidden width.
        width: usize,
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        found: String,
    },
    /// A direction that is none.
    #[error(
        "{path}: the direction of layer {layer} has {value} at byte {offset}, expected a number",
        path = path.display()
    )]
    Direction {
        /// In which file.
        path: PathBuf,
        /// Of which layer.
        layer: usize,
        /// Where in the file.
        offset: usize,
        /// What is there.
        value: f32,
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
