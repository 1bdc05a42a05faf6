//! The one error of this crate: a sentence about a file.
//!
//! Every message reads from the outside in: the file, then the key or tensor, then the byte where
//! the trouble was met, then what was expected and what was found. Names come from the file and may
//! be hostile, so they are escaped and cut before they enter a message. The parts can be read
//! one by one for callers who want to point at them.

use std::fmt;
use std::io;

/// Longest piece of foreign text that a message repeats, in characters.
const QUOTE_CHARS_MAX: usize = 80;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{report}")]
pub struct Error {
    report: Box<Report>,
    source: Option<io::Error>,
}

/// What an [`Error`] talks about inside its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    File,
    Key(String),
    Tensor(String),
}

#[derive(Debug)]
struct Report {
    file: String,
    subject: Subject,
    offset: Option<u64>,
    problem: String,
}

impl Error {
    /// An error about a whole file.
    pub(crate) fn new(file: impl Into<String>, problem: impl Into<String>) -> Error {
        let (file, problem) = (file.into(), problem.into());
        let report = Report { file, subject: Subject::File, offset: None, problem };
        Error { report: Box::new(report), source: None }
    }

    /// An operation on `file` that the operating system refused.
    pub(crate) fn io(file: impl Into<String>, doing: &str, source: io::Error) -> Error {
        let mut error = Error::new(file, format!("{doing}: {source}"));
        error.source = Some(source);
        error
    }

    /// Narrows the error to a key or tensor.
    pub(crate) fn about(mut self, subject: Subject) -> Error {
        self.report.subject = subject;
        self
    }

    /// Says at which byte of the file the trouble was met.
    pub(crate) fn at(mut self, offset: u64) -> Error {
        self.report.offset = Some(offset);
        self
    }

    /// The file, as it was named by whoever opened it; for a model in parts, the part.
    pub fn file(&self) -> &str {
        &self.report.file
    }

    /// The metadata key at fault, if it is one.
    pub fn key(&self) -> Option<&str> {
        match &self.report.subject {
            Subject::Key(key) => Some(key),
            _ => None,
        }
    }

    /// The tensor at fault, if it is one.
    pub fn tensor(&self) -> Option<&str> {
        match &self.report.subject {
            Subject::Tensor(name) => Some(name),
            _ => None,
        }
    }

    /// The byte of the file where the trouble was met.
    pub fn offset(&self) -> Option<u64> {
        self.report.offset
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match &self.subject {
            Subject::File => {}
            Subject::Key(key) => write!(f, ": key {}", quote(key))?,
            Subject::Tensor(name) => write!(f, ": tensor {}", quote(name))?,
        }
        match (self.offset, &self.subject) {
            (None, _) => {}
            (Some(offset), Subject::File) => write!(f, ": byte {offset}")?,
            (Some(offset), _) => write!(f, ", byte {offset}")?,
        }
        write!(f, ": {}", self.problem)
    }
}

/// Foreign text made safe for a terminal and short enough for a line.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted: String =
        text.chars().take(QUOTE_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        quoted.push_str("...");
    }
    format!("'{quoted}'")
}
