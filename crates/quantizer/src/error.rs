//! The one error of this crate: a sentence about a file, and what in it is at fault.
//!
//! Names of tensors and keys come from files and may be hostile, so they are escaped and cut before
//! they enter a message, and long lists are counted instead of kept.

use std::fmt;
use std::io;
use std::path::Path;

/// Longest piece of foreign text that a message repeats, in characters.
const QUOTE_CHARS_MAX: usize = 120;

/// Most names that a list repeats; the others are counted.
const NAMES_MAX: usize = 20;

/// Why a checkpoint could not be read or a file not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that the operating system did not let us use.
    #[error("{file}: {doing}: {source}")]
    Io {
        /// Its path.
        file: String,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },

    /// A file or folder that is not what it should be.
    #[error("{file}: {problem}")]
    File {
        /// Its path.
        file: String,
        /// What was expected and what was found.
        problem: String,
    },

    /// A tensor of a checkpoint that cannot be read or stored.
    #[error("{file}: tensor {}: {problem}", quote(.tensor))]
    Tensor {
        /// The safetensors file that holds it.
        file: String,
        /// Its name there.
        tensor: String,
        /// What was expected and what was found.
        problem: String,
    },

    /// Keys of a `config.json` that are not those of a model of the family.
    #[error("{file}: {}", .problems.join("; "))]
    Config {
        /// Its path.
        file: String,
        /// One entry per key: its name as in the file, then what is wrong with it.
        problems: Vec<String>,
    },

    /// Matrices that an importance file should have weights for, and has not.
    #[error(
        "{file}: no importance for {} of the matrices that need it: {missing}; without the strict \
         mode these are quantized as if all columns mattered alike", .missing.count()
    )]
    Unweighted {
        /// The importance file.
        file: String,
        /// Names of tensors of the output.
        missing: NameList,
    },

    /// A rule of the caller that no matrix obeys.
    #[error("rule {}: no matrix has such a name; `dwarfstar inspect` lists them", quote(.pattern))]
    Rule {
        /// The pattern, as it was typed.
        pattern: String,
    },

    /// Tensors that the model has and the checkpoint does not, or not in this form.
    #[error("{folder}: {}", complaint(.missing, .unfit, .hint))]
    Checkpoint {
        /// The folder.
        folder: String,
        /// Names of tensors that are not there.
        missing: NameList,
        /// Names of tensors of the wrong shape or type, with what was expected and found.
        unfit: NameList,
        /// What to do about it, where that is known.
        hint: Option<&'static str>,
    },

    /// A vocabulary that is unusable, or not of this model.
    #[error("vocabulary: {problem}")]
    Vocabulary {
        /// What was expected and what was found.
        problem: String,
    },

    /// There is a file already where the output should go.
    #[error("{file}: exists already, and overwriting was not asked for")]
    Exists {
        /// The output path.
        file: String,
    },

    /// An output was begun where this one should go, and is not to be lost.
    #[error("{file}: an output that was begun and is not complete")]
    Unfinished {
        /// The file that is not complete.
        file: String,
    },

    /// An output that was begun and cannot be gone on with.
    #[error("{file}: cannot go on with it: {problem}")]
    Partial {
        /// The file that is not complete.
        file: String,
        /// Why not.
        problem: String,
    },

    /// The caller asked to stop; what is complete was kept.
    #[error("cancelled: {bytes} of {byte_count} bytes are kept in {file}")]
    Kept {
        /// The file that is not complete.
        file: String,
        /// Bytes of tensors in it.
        bytes: u64,
        /// Bytes of all tensors of the output.
        byte_count: u64,
    },

    /// The output does not fit on its disk.
    #[error(
        "{file}: the disk is full; the file needs {needed_bytes} bytes, {} kept",
        if *.kept { "what is complete was" } else { "nothing was" }
    )]
    DiskFull {
        /// The output path.
        file: String,
        /// Bytes of all tensors of the output.
        needed_bytes: u64,
        /// Whether it can be gone on with when there is room.
        kept: bool,
    },

    /// Any other reason why the output could not be written.
    #[error(transparent)]
    Output(#[from] gguf::Error),

    /// A template that this checkpoint cannot follow.
    #[error(
        "{file}: no template for this checkpoint: {problem}; leave --template out to make a file \
         by recipe alone"
    )]
    Template {
        /// The template.
        file: String,
        /// What is different.
        problem: String,
    },

    /// The caller asked to stop; nothing was kept.
    #[error("cancelled, nothing was written")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Error {
        Error::Io { file: path.display().to_string(), doing, source }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Error {
        Error::File { file: path.display().to_string(), problem: problem.into() }
    }

    pub(crate) fn tensor(file: &str, tensor: &str, problem: impl Into<String>) -> Error {
        Error::Tensor { file: file.into(), tensor: tensor.into(), problem: problem.into() }
    }
}

/// The first names of a list, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList {
    shown: Vec<String>,
    count: usize,
}

impl NameList {
    pub(crate) fn push(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < NAMES_MAX {
            self.shown.push(name());
        }
    }

    /// The first names, at most twenty.
    pub fn shown(&self) -> &[String] {
        &self.shown
    }

    /// How many names the whole list has.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join(", "))?;
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn complaint(missing: &NameList, unfit: &NameList, hint: &Option<&'static str>) -> String {
    let mut parts = Vec::new();
    let tensors = |count| if count == 1 { "1 tensor".into() } else { format!("{count} tensors") };
    if missing.count > 0 {
        parts.push(format!("{} missing: {missing}", tensors(missing.count)));
    }
    if unfit.count > 0 {
        parts.push(format!("{} unfit: {unfit}", tensors(unfit.count)));
    }
    parts.extend(hint.map(str::to_owned));
    parts.join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_counted() {
        let mut list = NameList::default();
        for i in 0..23 {
            list.push(|| format!("t{i}"));
        }
        let text = list.to_string();
        assert!(text.starts_with("t0, t1, ") && text.ends_with("t19 and 3 more"), "{text}");
        assert_eq!((list.count(), list.shown().len()), (23, 20));
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        assert_eq!(quote("a\n\u{1b}[31m"), "'a\\n\\u{1b}[31m'");
        let long = quote(&"x".repeat(500));
        assert!(long.len() < 130 && long.ends_with("...'"), "{long}");
    }
}
