//! One model, one device, and the conversations on it.
//!
//! The contract is ds4's: a session is always asked for with its *whole* token prefix, and finds
//! out itself what to keep, extend or recompute ([`Engine::sync`]). Generating is sync, then sample
//! and step until something stops it ([`Engine::generate`]). Events go to a callback, which also
//! says whether to go on: it is asked between prefill chunks and between tokens, and a session that
//! was stopped stays valid.
//!
//! This crate must not know JSON, sockets or terminals. Start at `session.rs`.

mod engine;
mod error;
mod generate;
mod resume;
mod sampler;
mod session;
mod vocabulary;

pub use engine::{Engine, OpenOptions};
pub use error::Error;
pub use generate::{Event, Finish, Generation, Summary};
pub use resume::{Plan, plan};
pub use sampler::{Sampler, Sampling};
pub use session::{Flow, Progress, Session, Synced};
pub use vocabulary::read_tokenizer;
