//! One model, one device, and the conversations on it.
//!
//! The contract is ds4's: a session is always asked for with its *whole* token prefix, and finds
//! out itself what to keep, extend or recompute ([`Engine::sync`]). Generating is sync, then sample
//! and step until something stops it ([`Engine::generate`]). Events go to a callback, which also
//! says whether to go on: it is asked between prefill chunks and between tokens, and a session that
//! was stopped stays valid.
//!
//! This crate must not know JSON, sockets or terminals. Start at `session.rs`.

mod adjust;
mod checkpoints;
mod constraint;
mod draft;
mod engine;
mod error;
mod generate;
mod grammar;
mod keep;
mod resume;
mod sampler;
mod saving;
pub mod serve;
mod session;
mod spelling;
mod steering;
mod tree;
mod vocabulary;

pub use adjust::Adjustments;
// What an engine is opened with, of the crates below.
pub use backend::{Threads, open_cpu};
pub use checkpoints::{DiskOptions, OnDisk, fingerprint};
pub use constraint::{Constraint, TokenSet};
pub use engine::{Engine, OpenOptions};
pub use error::Error;
pub use generate::{Event, Finish, Generation, Summary};
pub use grammar::{Grammar, Grammars};
pub use keep::{Held, Remember};
pub use kvstore::{Fingerprint, Policy};
pub use model::{LayerSums, Point, STEER_MAX, Steer};
pub use resume::{Plan, Resume};
pub use sampler::{Logprobs, Sampler, Sampling};
pub use saving::{Notice, STEP_PAGES, SaveStats};
pub use session::{Flow, Progress, Session, Synced};
pub use tree::AnchorId;
pub use vocabulary::read_tokenizer;
