//! A reply in the making: tokens go in, text comes out on the screen and is kept for the end.
//!
//! Bytes of ordinary tokens are joined to whole characters, special tokens travel as such, and the
//! parser of the chat format tells reasoning from answer. A raw continuation has no such form:
//! it is all answer. Flags and speeds are not known here.

use std::io::{self, Write};

use engine::{Finish, Summary};
use serde_json::{Value, json};
use spec::TokenId;
use text::{End, Event, Fragment, Parser, ParserOptions, Tokenizer, Utf8Stream};

use crate::cmd::prompt::Prompt;
use crate::screen::Screen;

/// A reply while it is sampled.
pub struct Reply<'a, W: Write> {
    tokenizer: &'a Tokenizer,
    /// `None` for a raw continuation.
    parser: Option<Parser>,
    characters: Utf8Stream,
    screen: Screen<W>,
    outcome: Outcome,
}

/// What was sampled.
#[derive(Debug, Default)]
pub struct Outcome {
    pub tokens: Vec<TokenId>,
    pub reasoning: String,
    pub text: String,
    /// The reply began with reasoning and did not leave it.
    in_reasoning: bool,
}

impl<'a, W: Write> Reply<'a, W> {
    /// An empty reply to `prompt`.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &Prompt, screen: Screen<W>) -> Reply<'a, W> {
        let thinking = prompt.thinking;
        let options = ParserOptions { thinking, special_tokens: true, ..ParserOptions::default() };
        Reply {
            tokenizer,
            parser: prompt.is_chat.then(|| Parser::new(options)),
            characters: Utf8Stream::new(),
            screen,
            outcome: Outcome { in_reasoning: thinking, ..Outcome::default() },
        }
    }

    /// Adds a token and shows what it made certain.
    pub fn push(&mut self, token: TokenId) -> io::Result<()> {
        self.outcome.tokens.push(token);
        if self.tokenizer.token_kind(token).is_added() {
            self.end_character()?;
            self.fragment(Fragment::Special(self.tokenizer.token_text(token)))
        } else {
            let text = self.characters.push(self.tokenizer.token_bytes(token));
            self.fragment(Fragment::Text(&text))
        }
    }

    /// Shows what is left and gives back the terminal. `None`: an error ended the generation.
    pub fn finish(mut self, finish: Option<Finish>) -> io::Result<Outcome> {
        self.end_character()?;
        if let Some(parser) = self.parser.take() {
            for event in parser.finish(end(finish)) {
                self.event(event)?;
            }
        }
        self.screen.finish()?;
        Ok(self.outcome)
    }

    /// A character that was begun and cannot be completed any more.
    fn end_character(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.characters).finish();
        self.fragment(Fragment::Text(&text))
    }

    fn fragment(&mut self, fragment: Fragment<'_>) -> io::Result<()> {
        if let Some(parser) = &mut self.parser {
            return parser.push(fragment).into_iter().try_for_each(|event| self.event(event));
        }
        let (Fragment::Text(text) | Fragment::Special(text)) = fragment;
        self.event(Event::Text(text.to_owned()))
    }

    /// No tools are on offer, so there are no calls.
    fn event(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Reasoning(text) => {
                self.outcome.reasoning += &text;
                self.screen.reasoning(&text)
            }
            Event::ReasoningEnd => {
                self.outcome.in_reasoning = false;
                self.screen.end_reasoning()
            }
            Event::Text(text) => {
                self.outcome.text += &text;
                self.screen.answer(&text)
            }
            _ => Ok(()),
        }
    }
}

fn end(finish: Option<Finish>) -> End {
    match finish {
        Some(Finish::Stop(_)) => End::Stop,
        Some(Finish::Length) => End::Length,
        Some(Finish::Context) => End::ContextFull,
        Some(Finish::Cancelled) | None => End::Cancelled,
    }
}

impl Outcome {
    /// Whether the reasoning was never closed.
    pub fn is_all_reasoning(&self) -> bool {
        self.in_reasoning
    }

    /// The reply for machines.
    pub fn to_json(&self, prompt: &Prompt, summary: &Summary, seed: u64) -> Value {
        let finish = match summary.finish {
            Finish::Stop(_) => "stop",
            Finish::Length => "length",
            Finish::Context => "context",
            Finish::Cancelled => "interrupted",
        };
        let ids: Vec<u32> = self.tokens.iter().map(|token| token.0).collect();
        json!({
            "text": self.text,
            "reasoning": self.reasoning,
            "tokens": ids,
            "finish": finish,
            "seed": seed,
            "prompt_tokens": prompt.tokens.len(),
            "prefill_seconds": summary.prefill.as_secs_f64(),
            "decode_seconds": summary.decode.as_secs_f64(),
        })
    }
}
