//! The dialect of OpenAI's responses, `POST /v1/responses`.
//!
//! `read.rs` is the way in, `items.rs` reads the history, `write.rs` is the way out and `item.rs`
//! the forms of what an answer consists of.

mod item;
mod items;
mod read;
mod write;

pub use read::{Responses, Summary, read};
pub use write::{Stream, whole};
