//! Tokenizer, prompt rendering and the incremental parser of the model's output.
//!
//! Everything between people's text and token ids, in both directions. Pure: no files, no clocks,
//! no devices, no HTTP, no global state; a value goes in and a value comes out.
//!
//! A conversation (`message.rs`) is rendered to a [`Prompt`] (`render.rs`), in which special tokens
//! are kept apart from text (`prompt.rs`); the tokenizer turns it into ids (`tokenizer.rs`, which
//! ties `vocabulary.rs`, `split.rs` and `bpe.rs` together); what the model samples is joined to
//! text (`utf8.rs`) and parsed into [`Event`]s (`parse.rs`).

mod alphabet;
mod bpe;
mod ear;
mod error;
pub mod json;
mod message;
mod parse;
mod prompt;
mod render;
mod split;
mod tokenizer;
mod utf8;
mod vocabulary;

pub use ear::Ear;
pub use error::Error;
pub use message::{
    Assistant, Block, Checkpoint, Conversation, Effort, Instructions, Message, Part, RenderOptions,
    Role, Task, ThinkMode, ToolCall, ToolResult, ToolSpec, ToolsPlace, User,
};
pub use parse::{
    ArgumentTypes, Broken, DropCause, End, Event, FinishReason, Fragment, HELD_VALUE_BYTES_MAX,
    JSON_DEPTH_MAX, NAME_BYTES_MAX, NESTING_MAX, Parser, ParserOptions, Region, Reply, ReplyCall,
    TAG_BYTES_MAX, ValueType,
};
pub use prompt::{Piece, Prompt};
pub use render::{block_from_text, opens_thinking, render, special};
pub use tokenizer::Tokenizer;
pub use utf8::Utf8Stream;
pub use vocabulary::{TokenKind, Vocabulary};
