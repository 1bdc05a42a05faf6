//! A rendered prompt: pieces of text with the special tokens between them.
//!
//! This is the contract between rendering and tokenizing, and the reason why nobody can talk
//! a special token into a prompt: what people, files and tools supply travels as
//! [`Piece::Text`], where `<｜User｜>` is eight harmless characters, and only the renderer
//! makes [`Piece::Special`]. This room knows neither the chat format nor the vocabulary.

use std::borrow::Cow;

/// What the model is to read, before it becomes token ids.
///
/// Neighbouring texts count as one: a prompt's ids depend on its text and on where its special
/// tokens are, never on how the renderer happened to cut its strings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prompt {
    /// In reading order.
    pub pieces: Vec<Piece>,
}

/// One stretch of a prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Exactly one special token, named by its text, such as `<｜User｜>` or `<think>`.
    Special(Cow<'static, str>),
    /// Text that is only text, whatever it looks like.
    Text(String),
}

impl Prompt {
    /// The prompt as one string, with special tokens spelled out.
    pub fn text(&self) -> String {
        self.pieces.iter().map(Piece::as_str).collect()
    }
}

impl Piece {
    /// The piece's text, or the special token's name.
    pub fn as_str(&self) -> &str {
        match self {
            Piece::Special(name) => name,
            Piece::Text(text) => text,
        }
    }
}
