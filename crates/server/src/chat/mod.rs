//! The dialect of OpenAI's chat completions, `POST /v1/chat/completions`.
//!
//! `read.rs` is the way in, `write.rs` the way out.

mod read;
mod write;

pub(crate) use read::arguments;
pub use read::{Chat, read};
pub(crate) use write::usage_of;
pub use write::{Stream, whole};
