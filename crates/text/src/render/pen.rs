//! Writes a prompt piece by piece and keeps special tokens and text apart.
//!
//! This is the one place where special pieces are made, so the question whether somebody's text
//! can become a special token is answered by reading who calls `special` and `trained`: both
//! take only texts that stand in the program.

use std::borrow::Cow;

use super::trained::special;
use crate::prompt::{Piece, Prompt};

/// Writes a prompt. Neighbouring texts become one piece, so that the tokenizer sees the same
/// stretch of text however it was put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pen {
    prompt: Prompt,
}

impl Pen {
    /// A special token.
    pub fn special(&mut self, name: &'static str) {
        self.prompt.pieces.push(Piece::Special(Cow::Borrowed(name)));
    }

    /// Text of any origin: never a special token.
    pub fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.prompt.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.prompt.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Text of our own in which the marker and the think tags are special tokens.
    pub fn trained(&mut self, text: &'static str) {
        let mut rest = text;
        while let Some((at, name)) = first_special(rest) {
            self.text(&rest[..at]);
            self.special(name);
            rest = &rest[at + name.len()..];
        }
        self.text(rest);
    }

    /// Everything of another prompt.
    pub fn prompt(&mut self, other: &Prompt) {
        for piece in &other.pieces {
            match piece {
                Piece::Special(name) => self.prompt.pieces.push(Piece::Special(name.clone())),
                Piece::Text(text) => self.text(text),
            }
        }
    }

    /// What was written.
    pub fn finish(self) -> Prompt {
        self.prompt
    }
}

fn first_special(text: &str) -> Option<(usize, &'static str)> {
    [special::DSML, special::THINK, special::THINK_END]
        .into_iter()
        .filter_map(|name| Some((text.find(name)?, name)))
        .min()
}
