//! The dialect of OpenAI's completions, `POST /v1/completions`: a text, continued as it is.
//!
//! `read.rs` is the way in, `write.rs` the way out.

mod read;
mod write;

pub use read::{Completion, read};
pub use write::{Stream, whole};
