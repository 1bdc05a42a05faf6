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
    /// A text is too short for its chunks.
    #[error(
        "the text has {tokens} tokens, and of chunks of {chunk} tokens whose first {skip} are read \
         only nothing would be counted: use a longer text, or a smaller --skip"
    )]
    TooShort {
        /// Of the text.
        tokens: usize,
        /// Of a chunk, with the one that begins it.
        chunk: usize,
        /// At the beginning of a chunk that are not counted.
        skip: usize,
    },
    /// Logits that are kept between two models.
    #[error("the logits of the reference could not be {what}: {source}")]
    Kept {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Two models have different tokens.
    #[error("the two models have different vocabularies: {problem}; compare models of one family")]
    Vocabularies {
        /// The first difference.
        problem: String,
    },
    /// A prompt that cannot be made tokens.
    #[error("item {id:?}: {source}")]
    Prompt {
        /// Of which item.
        id: String,
        /// Why not.
        source: text::Error,
    },
    /// Two runs have made different tokens of one continuation.
    #[error(
        "item {id:?} has {old} tokens in one run and {new} in the other: figures per token are \
         comparable where both models have the same vocabulary"
    )]
    OtherTokens {
        /// Which item.
        id: String,
        /// Of the first run.
        old: usize,
        /// Of the second.
        new: usize,
    },
    /// A recorded answer that this vocabulary cannot follow.
    #[error(
        "case {case:?}, step {step}: the vocabulary has no token {token:?}; vectors of a model are \
         for files with its tokenizer"
    )]
    UnknownToken {
        /// Which case.
        case: String,
        /// Which step of it, from 0.
        step: usize,
        /// The text of the token.
        token: String,
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
    /// A file holds nothing of what it should.
    #[error("{path}: holds no line {expected}", path = path.display())]
    NoLine {
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

    pub(crate) fn write(path: &Path, source: io::Error) -> Error {
        Error::Write { path: path.to_owned(), source }
    }

    pub(crate) fn text(path: &Path, error: &text::Error) -> Error {
        Error::Text { path: path.to_owned(), problem: error.to_string() }
    }
}
