//! The visible answer: text, with an eye on tool blocks and stop sequences.
//!
//! Text goes out at once except for a tail that may still turn out not to be answer: the
//! beginning of a stop sequence, the beginning of a block's opener, and, because white space
//! before a block belongs to the block, white space at the end while tools are on offer.

use super::event::Out;
use super::matcher::{Matcher, Place};
use super::tag::{self, Dialect};
use super::tape::{self, is_blank};

/// The answer being sampled.
#[derive(Debug)]
pub(super) struct Content {
    /// Not sent yet. While a block is read: the white space before it and its opener.
    pub pending: Vec<u8>,
    /// None when no tools are on offer: then markup is text.
    openers: Option<&'static Matcher>,
    opener: Place,
    stops: Matcher,
    stop: Place,
    /// White space that ends at the last byte.
    blanks: usize,
    /// White space before the beginning of an opener, or at the end.
    separator: usize,
    /// After a malformed block, invokes without an outer block are text: they would be the
    /// inside of that block.
    bare_is_text: bool,
}

/// What a byte completed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// The opener of a block in this dialect.
    Opener(Dialect),
    /// The stop sequence at this place of the list.
    Stop(usize),
}

impl Content {
    pub fn new(tools_offered: bool, stops: &[String]) -> Content {
        Content {
            pending: Vec::new(),
            openers: tools_offered.then(|| &*tag::OPENERS),
            opener: Place::default(),
            stops: Matcher::new(stops),
            stop: Place::default(),
            blanks: 0,
            separator: 0,
            bare_is_text: false,
        }
    }

    /// Takes one more byte. An opener goes before a stop sequence that ends with it.
    pub fn byte(&mut self, byte: u8, out: &mut Out) -> Option<Found> {
        self.pending.push(byte);
        self.stop = self.stops.step(self.stop, byte);
        if let Some((pattern, bytes)) = self.step_opener(byte) {
            let dialect = tag::dialect(pattern);
            if dialect.block.is_some() || !self.bare_is_text {
                self.send(self.pending.len() - bytes - self.separator, out);
                return Some(Found::Opener(dialect));
            }
        }
        let (pattern, bytes) = self.stops.hit(self.stop)?;
        self.pending.truncate(self.pending.len().saturating_sub(bytes));
        self.send(self.pending.len(), out);
        Some(Found::Stop(pattern))
    }

    /// Sends everything that cannot be a stop sequence, an opener, or the white space before one.
    pub fn flush(&mut self, out: &mut Out) {
        self.send(self.pending.len() - self.held().min(self.pending.len()), out);
    }

    /// Sends what is left at the end of the reply. If it was cut, the beginning of a block is
    /// left out.
    pub fn finish(&mut self, was_cut: bool, out: &mut Out) {
        let opener = self.opener_bytes();
        let start = self.pending.len() - opener;
        if was_cut && tag::shows_marker(&self.pending[start..]) {
            self.pending.truncate(start - self.separator);
        }
        self.send(self.pending.len(), out);
    }

    /// The opener in `pending` opened no block: it and what follows is text.
    pub fn take_back_opener(&mut self) {
        self.opener = Place::default();
        self.blanks = 0;
        self.separator = 0;
        self.bare_is_text = true;
    }

    /// The opener at the end of `pending`.
    pub fn opener(&self) -> &[u8] {
        &self.pending[self.pending.len() - self.opener_bytes()..]
    }

    /// Moves on in the openers and keeps count of the white space before one. That count needs no
    /// looking back because openers begin with `<` and have no other: a beginning of one either
    /// grows, or starts anew at this byte, or is gone.
    fn step_opener(&mut self, byte: u8) -> Option<(usize, usize)> {
        let openers = self.openers?;
        let blanks_before = self.blanks;
        self.blanks = if is_blank(byte) { blanks_before + 1 } else { 0 };
        self.opener = openers.step(self.opener, byte);
        match openers.held(self.opener) {
            0 => self.separator = self.blanks,
            1 => self.separator = blanks_before,
            _ => {}
        }
        openers.hit(self.opener)
    }

    fn opener_bytes(&self) -> usize {
        self.openers.map_or(0, |openers| openers.held(self.opener))
    }

    fn held(&self) -> usize {
        (self.opener_bytes() + self.separator).max(self.stops.held(self.stop))
    }

    fn send(&mut self, bytes: usize, out: &mut Out) {
        if bytes > 0 {
            out.text(tape::text(&self.pending[..bytes]));
            self.pending.drain(..bytes);
        }
    }
}
