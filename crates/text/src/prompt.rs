//! A prompt: text in which every special token is marked as one.
//!
//! The renderer and the parser's record of sampled calls make prompts; the tokenizer reads them.
//! Keeping special tokens apart from text is what stops a user who types `<｜User｜>` from
//! opening a turn: a `Text` piece never becomes a special token, whatever it spells.

use std::borrow::Cow;

/// One stretch of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// One special token, by its text.
    Special(Cow<'static, str>),
    /// Ordinary text, however much it looks like a special token.
    Text(String),
}

/// The pieces of a prompt, first to last. No two text pieces are neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// First to last.
    pub pieces: Vec<Piece>,
}

impl Prompt {
    /// The whole prompt as text, specials spelled out.
    pub fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Special(name) => name.as_ref(),
                Piece::Text(text) => text.as_str(),
            })
            .collect()
    }
}
