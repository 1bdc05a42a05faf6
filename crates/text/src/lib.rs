//! Tokenizer, prompt rendering and the incremental parser of the model's output.
//!
//! Everything between people's text and token ids, in both directions. Pure: no files, no
//! clocks, no devices, no global state; a value goes in and a value comes out.
//!
//! Start with `tokenizer.rs`, which ties `vocabulary.rs` (what a model file says about its
//! tokens), `split.rs` (where text is cut) and `bpe.rs` (how a piece becomes ids) together.
//! `prompt.rs` is the contract between rendering and tokenizing.

mod alphabet;
mod bpe;
mod error;
mod prompt;
mod split;
mod tokenizer;
mod utf8;
mod vocabulary;

pub use error::Error;
pub use prompt::{Piece, Prompt};
pub use tokenizer::Tokenizer;
pub use utf8::Utf8Stream;
pub use vocabulary::{TokenKind, Vocabulary};
