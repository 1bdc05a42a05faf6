//! A reply in the making: tokens go in, text comes out on the screen and is kept for the end.
//!
//! The ear of the chat format tells reasoning from answer. A raw continuation has no such form:
//! bytes of ordinary tokens are joined to whole characters, special tokens are shown as they are
//! spelled, and all of it is answer. Flags and speeds are not known here.

use std::io::{self, Write};
use std::sync::Arc;

use engine::{Finish, Summary};
use serde_json::{Value, json};
use spec::TokenId;
use text::{Ear, End, Event, ParserOptions, Tokenizer, Utf8Stream};

use crate::cmd::prompt::Prompt;
use crate::screen::Screen;

/// A reply while it is sampled.
pub struct Reply<W: Write> {
    hears: Hears,
    screen: Screen<W>,
    outcome: Outcome,
}

/// How tokens become text.
enum Hears {
    Chat(Box<Ear>),
    Raw(Arc<Tokenizer>, Utf8Stream),
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

impl<W: Write> Reply<W> {
    /// An empty reply to `prompt`.
    pub fn new(tokenizer: Arc<Tokenizer>, prompt: &Prompt, screen: Screen<W>) -> Reply<W> {
        let thinking = prompt.thinking;
        let options = ParserOptions { thinking, special_tokens: true, ..ParserOptions::default() };
        let hears = match prompt.is_chat {
            true => Hears::Chat(Box::new(Ear::new(tokenizer, options))),
            false => Hears::Raw(tokenizer, Utf8Stream::new()),
        };
        Reply { hears, screen, outcome: Outcome { in_reasoning: thinking, ..Outcome::default() } }
    }

    /// Adds a token and shows what it made certain.
    pub fn push(&mut self, token: TokenId) -> io::Result<()> {
        self.outcome.tokens.push(token);
        let events = match &mut self.hears {
            Hears::Chat(ear) => ear.hear(token),
            Hears::Raw(tokenizer, bytes) if tokenizer.token_kind(token).is_added() => {
                // A character that was begun cannot be completed any more.
                let text = std::mem::take(bytes).finish() + tokenizer.token_text(token);
                vec![Event::Text(text)]
            }
            Hears::Raw(tokenizer, bytes) => {
                vec![Event::Text(bytes.push(tokenizer.token_bytes(token)))]
            }
        };
        events.into_iter().try_for_each(|event| self.event(event))
    }

    /// Shows what is left and gives back the terminal. `None`: an error ended the generation.
    pub fn finish(mut self, finish: Option<Finish>) -> io::Result<Outcome> {
        let events = match &mut self.hears {
            Hears::Chat(ear) => ear.end(end(finish)),
            Hears::Raw(_, bytes) => vec![Event::Text(std::mem::take(bytes).finish())],
        };
        events.into_iter().try_for_each(|event| self.event(event))?;
        self.screen.finish()?;
        Ok(self.outcome)
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
