//! The incremental parser of what the model samples.
//!
//! Pieces of text go in as they are sampled, events come out as early as they are certain:
//! reasoning, answer, calls with their arguments, the end. However the stream is cut into pieces,
//! the events add up to the same reply. The model's own mistakes are events, never errors.
//!
//! The parser is a state machine over bytes. This file holds its outer states: the start,
//! reasoning, the answer (`content`), a tool block (`block`, which reads tags with `tag` and
//! values with `value`), and done. `tape` explains how special tokens look as bytes, `matcher`
//! decides what must be held back. Nothing here knows token ids, HTTP or what tools do.

mod block;
mod content;
mod event;
mod json_check;
mod matcher;
mod tag;
mod tape;
mod types;
mod value;

use std::collections::VecDeque;
use std::sync::LazyLock;

use crate::render::{block_from_text, special};
use block::{Block, Verdict};
use content::{Content, Found};
use event::Out;
use matcher::{Matcher, Place};

pub use block::NESTING_MAX;
pub use event::{DropCause, End, Event, FinishReason, Reply, ReplyCall};
pub use json_check::JSON_DEPTH_MAX;
pub use tag::{NAME_BYTES_MAX, TAG_BYTES_MAX};
pub use types::{ArgumentTypes, ValueType};
pub use value::HELD_VALUE_BYTES_MAX;

/// What the parser must know about the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParserOptions {
    /// The prompt ended with `<think>`: the reply starts inside reasoning.
    pub thinking: bool,
    /// Tools are on offer. Otherwise markup is text.
    pub tools_offered: bool,
    /// Every special token will be pushed as [`Fragment::Special`]. Then `</think>` spelled in
    /// ordinary tokens is part of the reasoning. Without this the text alone decides.
    pub special_tokens: bool,
    /// Texts that end the answer. They count in the answer only, and are not part of it.
    pub stop: Vec<String>,
    /// Types of arguments: a string that reads as the type of its schema becomes that type.
    pub types: ArgumentTypes,
    /// What a block becomes that breaks before anything of a call was told.
    pub broken: Broken,
    /// Only tags with the real marker token open a block; one in another spelling is broken.
    /// Whoever constrains calls knows them by that token alone.
    pub real_markers: bool,
}

/// What a block becomes that breaks its grammar before anything of a call was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Broken {
    /// Text of the answer, which goes on.
    #[default]
    Text,
    /// The end of the reply: [`Event::CallsDropped`] tells what was sampled, and whoever samples
    /// may go back to before it. Tags without any marker are text all the same, since prose has
    /// them too.
    End,
}

/// A piece of what was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment<'a> {
    /// Text of ordinary tokens, whole characters.
    Text(&'a str),
    /// The text of a special token that was sampled as such.
    Special(&'a str),
}

/// What kind of text comes next, for samplers that choose the structure of calls greedily and
/// their payload freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Reasoning, answer, or nothing at all.
    Outside,
    /// Tags and white space of a tool block, or what may be the start of a closing tag.
    Structure,
    /// The inside of a string value.
    StringBody,
    /// A JSON value outside of its strings.
    Json,
    /// The inside of a string in a JSON value.
    JsonString,
}

impl Region {
    /// Whether what comes next is form, not content: the most probable token is the right one
    /// there, since structure that is sampled freely breaks.
    pub fn is_form(self) -> bool {
        matches!(self, Region::Structure | Region::Json)
    }
}

/// Parses one reply.
#[derive(Debug)]
pub struct Parser {
    options: ParserOptions,
    state: State,
    /// Bytes to look at; also takes back the bytes of what proved to be no tool block.
    queue: VecDeque<u8>,
    out: Out,
    content: Content,
    think_end: &'static Matcher,
    /// The end-of-sentence token was pushed.
    ended: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing but perhaps the beginning of a repeated `<think>`.
    Start(Vec<u8>),
    Reasoning {
        pending: Vec<u8>,
        place: Place,
    },
    Content,
    Block(Box<Block>),
    Done(FinishReason),
}

/// What ends the reasoning if special tokens are known.
static THINK_END_TOKEN: LazyLock<Matcher> =
    LazyLock::new(|| Matcher::new::<&[u8]>(&[&[tape::THINK_END]]));

/// What ends the reasoning if they are not.
static THINK_END: LazyLock<Matcher> =
    LazyLock::new(|| Matcher::new(&[&[tape::THINK_END], special::THINK_END.as_bytes()]));

impl Parser {
    /// A parser for one reply.
    pub fn new(options: ParserOptions) -> Parser {
        Parser {
            state: if options.thinking { State::Start(Vec::new()) } else { State::Content },
            queue: VecDeque::new(),
            out: Out::default(),
            content: Content::new(options.tools_offered, &options.stop),
            think_end: if options.special_tokens { &THINK_END_TOKEN } else { &THINK_END },
            ended: false,
            options,
        }
    }

    /// Takes the next piece and says what it made certain.
    pub fn push(&mut self, fragment: Fragment<'_>) -> Vec<Event> {
        if self.is_done() {
            return Vec::new();
        }
        match fragment {
            Fragment::Special(special::EOS) => self.ended = true,
            Fragment::Special(name) => match tape::special_byte(name) {
                Some(byte) => self.queue.push_back(byte),
                None => self.queue.extend(name.bytes()),
            },
            Fragment::Text(text) => self.queue.extend(text.bytes()),
        }
        self.run();
        self.flush();
        std::mem::take(&mut self.out.events)
    }

    /// Whether the reply is over and nothing more should be sampled.
    pub fn is_done(&self) -> bool {
        self.ended || matches!(self.state, State::Done(_))
    }

    /// What kind of text comes next.
    pub fn region(&self) -> Region {
        match &self.state {
            State::Block(block) => block.region(),
            _ => Region::Outside,
        }
    }

    /// Ends the reply and says what is left to say. The last event is [`Event::Finish`].
    pub fn finish(mut self, end: End) -> Vec<Event> {
        let end = if self.ended { End::Stop } else { end };
        let reason = loop {
            match std::mem::replace(&mut self.state, State::Content) {
                State::Start(pending) | State::Reasoning { pending, .. } => {
                    self.out.reasoning(tape::text(&pending));
                    break end.into();
                }
                State::Content => {
                    self.content.finish(end != End::Stop, &mut self.out);
                    break end.into();
                }
                State::Block(block) if end == End::Stop && block.calls_begun == 0 => {
                    if self.ends_broken(&block) {
                        self.drop_block(&block);
                        break FinishReason::Stop;
                    }
                    self.take_back(block);
                    self.run();
                }
                State::Block(block) => break self.finish_block(block, end),
                State::Done(reason) => break reason,
            }
        };
        self.out.event(Event::Finish(reason));
        self.out.events
    }

    fn run(&mut self) {
        while let Some(byte) = self.queue.pop_front() {
            self.byte(byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        match &mut self.state {
            State::Start(pending) => {
                pending.push(byte);
                self.start();
            }
            State::Reasoning { pending, place } => {
                pending.push(byte);
                *place = self.think_end.step(*place, byte);
                if let Some((_, bytes)) = self.think_end.hit(*place) {
                    pending.truncate(pending.len() - bytes);
                    self.out.reasoning(tape::text(pending));
                    self.out.event(Event::ReasoningEnd);
                    self.state = State::Content;
                }
            }
            State::Content => match self.content.byte(byte, &mut self.out) {
                Some(Found::Opener(dialect)) => {
                    let block = Block::begin(dialect, self.content.opener());
                    let known = !self.options.real_markers || block.has_real_markers();
                    self.state = State::Block(Box::new(block));
                    if !known {
                        self.refuse_block();
                    }
                }
                Some(Found::Stop(place)) => {
                    let stop = self.options.stop[place].clone();
                    self.state = State::Done(FinishReason::StopSequence(stop));
                }
                None => {}
            },
            State::Block(block) => match block.byte(byte, &self.options.types, &mut self.out) {
                Verdict::More => {}
                Verdict::Closed => self.accept_block(),
                Verdict::Malformed => self.refuse_block(),
            },
            State::Done(_) => {}
        }
    }

    /// Passes over a `<think>` that repeats the one of the prompt.
    fn start(&mut self) {
        let State::Start(pending) = &mut self.state else { return };
        let repeated = special::THINK.as_bytes();
        if pending.as_slice() != repeated && repeated.starts_with(pending) {
            return;
        }
        if pending.as_slice() != repeated && pending.as_slice() != [tape::THINK] {
            pending.drain(..).rev().for_each(|byte| self.queue.push_front(byte));
        }
        self.state = State::Reasoning { pending: Vec::new(), place: Place::default() };
    }

    fn flush(&mut self) {
        match &mut self.state {
            State::Reasoning { pending, place } => {
                let sure = pending.len() - self.think_end.held(*place);
                if sure > 0 {
                    self.out.reasoning(tape::text(&pending[..sure]));
                    pending.drain(..sure);
                }
            }
            State::Content => self.content.flush(&mut self.out),
            State::Block(block) => block.flush(&mut self.out),
            State::Start(_) | State::Done(_) => {}
        }
    }

    fn accept_block(&mut self) {
        let calls = State::Done(FinishReason::ToolCalls);
        if let State::Block(block) = std::mem::replace(&mut self.state, calls) {
            self.accept_calls(&block.raw);
        }
    }

    fn refuse_block(&mut self) {
        let State::Block(mut block) = std::mem::replace(&mut self.state, State::Content) else {
            return;
        };
        if block.calls_begun == 0 && !self.ends_broken(&block) {
            return self.take_back(block);
        }
        // The byte that broke the block may be the first of a character.
        while let Some(rest @ 0x80..0xc0) = self.queue.front() {
            block.raw.push(*rest);
            self.queue.pop_front();
        }
        self.drop_block(&block);
        self.state = State::Done(FinishReason::Stop);
    }

    /// Whether a broken block, of which nothing was told, ends the reply.
    fn ends_broken(&self, block: &Block) -> bool {
        self.options.broken == Broken::End && block.has_markers()
    }

    fn drop_block(&mut self, block: &Block) {
        let sampled = tape::text(&self.sampled(&block.raw));
        self.out.event(Event::CallsDropped { first: 0, sampled, cause: DropCause::Malformed });
    }

    /// Nothing of the block was sent: its opener is text, and what follows is looked at again.
    fn take_back(&mut self, block: Box<Block>) {
        self.content.take_back_opener();
        block.raw.into_iter().rev().for_each(|byte| self.queue.push_front(byte));
    }

    /// The reply ended inside a block. Calls that are complete count if the model itself ended
    /// the reply; otherwise more of them may have been to come.
    fn finish_block(&mut self, block: Box<Block>, end: End) -> FinishReason {
        let complete = if end == End::Stop { block.calls_ended } else { 0 };
        if complete == 0 || block.calls_begun > block.calls_ended {
            let dropped = match complete {
                0 => self.sampled(&block.raw),
                _ => block.raw[block.raw_calls_end..].to_vec(),
            };
            let (sampled, cause) = (tape::text(&dropped), DropCause::Truncated);
            self.out.event(Event::CallsDropped { first: complete, sampled, cause });
        }
        if complete == 0 {
            return end.into();
        }
        let is_whole = block.calls_begun == block.calls_ended;
        self.accept_calls(
            &block.raw[..if is_whole { block.raw.len() } else { block.raw_calls_end }],
        );
        FinishReason::ToolCalls
    }

    fn accept_calls(&mut self, raw: &[u8]) {
        let sampled = self.sampled(raw);
        let sampled = if self.options.special_tokens {
            tape::prompt(&sampled)
        } else {
            block_from_text(&tape::text(&sampled))
        };
        self.out.event(Event::CallsEnd { sampled });
    }

    /// White space and opener, which the answer holds, and what followed.
    fn sampled(&self, raw: &[u8]) -> Vec<u8> {
        [self.content.pending.as_slice(), raw].concat()
    }
}
