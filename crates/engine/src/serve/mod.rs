//! Many conversations on one device: a worker thread, and handles to ask it.
//!
//! The worker owns the device, the model and every session. Requests come in through a bounded
//! queue, events go out through a bounded [`Sink`] per request; nobody else touches a session, so
//! there are no locks. Each turn of the worker is one step of the model, in which every running
//! answer takes its next token and prompts share what is left ([`schedule`]). Between two steps it
//! looks at cancellations, new requests and full sinks.
//!
//! What clients send back may differ from what the model wrote: reasoning is left out, tool calls
//! are written anew. After an answer, [`Usage::state`] names the state that it led to, and
//! [`Handle::remember`] tells how the conversation will look when it comes back, and what to keep
//! with its checkpoints (the exact tool calls). A prompt that begins so goes on from that state, in
//! memory or after a restart, where [`Event::Resumed`] brings the notes.
//!
//! Start at `request.rs` for what is asked and answered, then `worker.rs`.

mod follow;
mod handle;
mod report;
mod request;
pub mod schedule;
mod task;
mod worker;

pub use handle::{Handle, Info, Service, Stream, Ticket, TimedOut};
pub use report::{Pace, Report, Work};
pub use request::{Event, Logprobs, Offer, Request, Sink, Source, Token, Usage};

use std::time::Duration;

/// How a worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Requests that may wait while all sessions are in use; more are told that we are busy.
    pub queue_max: usize,
    /// Prompt tokens per step while somebody else is answering: how long an answer may be held up.
    pub slice_tokens: usize,
    /// How long a request whose client does not read is kept.
    pub patience: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { queue_max: 64, slice_tokens: 128, patience: Duration::from_secs(60) }
    }
}
