//! The one error of this crate: a sentence about a folder, a file or a checkpoint.
//!
//! What went wrong decides what the caller does: after [`Error::MissingPage`] it saves with the
//! bytes of all pages, after [`Error::Damaged`] it asks for the next best checkpoint, and after
//! anything else it goes on without the store.

use std::io;
use std::path::PathBuf;

use crate::key::{Id, PageKey};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else writes into this folder.
    #[error(
        "{}: another dwarfstar has this folder open; stop it, or choose another with --kv-dir",
        dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A file is not what it was when it was written.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        problem: String,
    },
    /// A checkpoint that this program, or this model, cannot use.
    #[error("checkpoint {id}: {problem}")]
    Foreign {
        /// The checkpoint.
        id: Id,
        /// Whose it is.
        problem: String,
    },
    /// There is no such checkpoint, or not any more.
    #[error("checkpoint {id}: is not in the store (any more)")]
    Gone {
        /// The checkpoint.
        id: Id,
    },
    /// A few digits do not say which checkpoint.
    #[error(
        "'{prefix}': {}; `dwarfstar kv list` shows all ids",
        match matches {
            0 => "no checkpoint has this id".to_owned(),
            n => format!("{n} checkpoints begin so"),
        }
    )]
    NoSuchId {
        /// The digits.
        prefix: String,
        /// How many checkpoints begin with them.
        matches: usize,
    },
    /// A page was given by its key only, and the store does not hold it (any more).
    #[error("page {position}: the store does not hold {key}; its bytes are needed")]
    MissingPage {
        /// Which page of the entry.
        position: usize,
        /// Its key.
        key: PageKey,
    },
    /// The budget cannot hold it, whatever else is evicted.
    #[error("a checkpoint of {needed} bytes does not fit: the store may take {budget} bytes")]
    NoRoom {
        /// Bytes that would be written.
        needed: u64,
        /// Bytes that the store may take.
        budget: u64,
    },
    /// An entry, or a file to import, is not one.
    #[error("{problem}")]
    Invalid {
        /// What was expected and found.
        problem: String,
    },
    /// The store was opened for looking only.
    #[error("{}: was opened for reading only", dir.display())]
    ReadOnly {
        /// The folder.
        dir: PathBuf,
    },
}

impl Error {
    /// An operation on `path` that the operating system refused.
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, doing, source }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        Error::Damaged { path: path.into(), problem: problem.into() }
    }

    pub(crate) fn invalid(problem: impl Into<String>) -> Error {
        Error::Invalid { problem: problem.into() }
    }
}
