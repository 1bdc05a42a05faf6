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
    /// A file could not be written.
    #[error("{path}: could not be written: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that holds nothing that could be used.
    #[error("{path}: there is nothing in it", path = path.display())]
    NoItems {
        /// Which.
        path: PathBuf,
    },
    /// A file of questions none of which can be judged.
    #[error(
        "{path}: none of its {left_out} questions has an answer that can be judged here",
        path = path.display()
    )]
    Undecided {
        /// Which.
        path: PathBuf,
        /// How many.
        left_out: usize,
    },
    /// An item that cannot be asked.
    #[error("item {id}: {problem}")]
    Question {
        /// Which.
        id: String,
        /// Why.
        problem: String,
    },
    /// Answers to an item that is not in the set.
    #[error(
        "there are answers to an item {id}, which the set does not have: name the set that the \
         report was made with, with --set FILE"
    )]
    UnknownItem {
        /// Which.
        id: String,
    },
    /// Answers to another question of the same name.
    #[error(
        "item {id} asks something else in the two: answers can be compared, or judged again, only \
         where the questions are the same"
    )]
    OtherQuestion {
        /// Which.
        id: String,
    },
    /// A report is there already.
    #[error(
        "{path}: there is a report already; go on with it with --resume, or name another file",
        path = path.display()
    )]
    ReportExists {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else adds to a report.
    #[error("{path}: another program is adding answers to this report", path = path.display())]
    ReportInUse {
        /// Which.
        path: PathBuf,
    },
    /// A report of something else.
    #[error(
        "{path}: cannot go on with this report, because of {difference}; use the same model, set \
         and flags, or name another file",
        path = path.display()
    )]
    OtherReport {
        /// Which.
        path: PathBuf,
        /// What is different.
        difference: String,
    },
    /// The model could not be run.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Error {
        Error::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Error {
        Error::Write { path: path.to_owned(), source }
    }
}
