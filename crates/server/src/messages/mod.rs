//! The dialect of Anthropic's messages, `POST /v1/messages`.
//!
//! `read.rs` is the way in, for answers and for counting tokens alike, `write.rs` the way out.

mod read;
mod write;

pub use read::{Messages, Purpose, read};
pub use write::{Stream, whole};
