//! Tokenizer, prompt rendering and the incremental parser of the model's output.
//!
//! Pure text: no files, no clocks, no devices, no HTTP. A conversation (`message`) is rendered
//! to a [`Prompt`] (`render`); what the model samples is parsed into [`Event`]s (`parse`).

pub mod json;

mod error;
mod message;
mod parse;
mod prompt;
mod render;

pub use error::Error;
pub use message::{
    Assistant, Block, Checkpoint, Conversation, Effort, Instructions, Message, Part, RenderOptions,
    Role, Task, ThinkMode, ToolCall, ToolResult, ToolSpec, ToolsPlace, User,
};
pub use parse::{
    ArgumentTypes, DropCause, End, Event, FinishReason, Fragment, HELD_VALUE_BYTES_MAX,
    JSON_DEPTH_MAX, NAME_BYTES_MAX, NESTING_MAX, Parser, ParserOptions, Region, Reply, ReplyCall,
    TAG_BYTES_MAX, ValueType,
};
pub use prompt::{Piece, Prompt};
pub use render::{block_from_text, opens_thinking, render, special};
