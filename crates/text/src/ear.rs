//! From tokens to events: bytes are joined to characters, characters parsed.
//!
//! The same ear is used on both ends of an answer: in the engine's thread, to know what may come
//! next, and outside of it, to tell the client.

use std::sync::Arc;

use crate::parse::{End, Event, Fragment, Parser, ParserOptions, Region};
use crate::tokenizer::Tokenizer;
use crate::utf8::Utf8Stream;
use spec::TokenId;

/// Hears one answer.
#[derive(Debug)]
pub struct Ear {
    tokenizer: Arc<Tokenizer>,
    bytes: Utf8Stream,
    parser: Parser,
    thinking: bool,
    /// Tokens heard.
    pub tokens: usize,
    /// Those of reasoning.
    pub reasoning: usize,
}

impl Ear {
    /// For an answer that is parsed with `options`.
    pub fn new(tokenizer: Arc<Tokenizer>, options: ParserOptions) -> Ear {
        let thinking = options.thinking;
        let (bytes, parser) = (Utf8Stream::new(), Parser::new(options));
        Ear { tokenizer, bytes, parser, thinking, tokens: 0, reasoning: 0 }
    }

    /// Hears a token.
    pub fn hear(&mut self, token: TokenId) -> Vec<Event> {
        self.tokens += 1;
        self.reasoning += usize::from(self.thinking);
        let events = if self.tokenizer.token_kind(token).is_added() {
            let rest = std::mem::take(&mut self.bytes).finish();
            let mut events = self.text(&rest);
            let special = self.tokenizer.token_text(token);
            events.extend(self.parser.push(Fragment::Special(special)));
            events
        } else {
            let text = self.bytes.push(self.tokenizer.token_bytes(token));
            self.text(&text)
        };
        self.thinking &= !events.contains(&Event::ReasoningEnd);
        events
    }

    fn text(&mut self, text: &str) -> Vec<Event> {
        if text.is_empty() { Vec::new() } else { self.parser.push(Fragment::Text(text)) }
    }

    /// Hears the end; whatever comes after it is not heard.
    pub fn end(&mut self, end: End) -> Vec<Event> {
        let rest = std::mem::take(&mut self.bytes).finish();
        let mut events = self.text(&rest);
        let parser = std::mem::replace(&mut self.parser, Parser::new(ParserOptions::default()));
        events.extend(parser.finish(end));
        events
    }

    /// Whether the answer is over, so that nothing more is wanted.
    pub fn is_done(&self) -> bool {
        self.parser.is_done()
    }

    /// Whether the model is reasoning.
    pub fn is_thinking(&self) -> bool {
        self.thinking
    }

    /// What kind of text comes next.
    pub fn region(&self) -> Region {
        self.parser.region()
    }
}
