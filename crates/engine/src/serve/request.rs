//! What is asked of the worker, and what it answers.
//!
//! A [`Request`] is all data; an [`Event`] is one of a closed list. Whoever listens brings a
//! [`Sink`], which may be a channel of any kind, as long as it never waits.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use spec::TokenId;

use crate::constraint::Constraint;
pub use crate::sampler::Logprobs;
use crate::{AnchorId, Error, Finish, Plan, Progress, Sampler, Steer};

/// One answer that is wanted.
#[derive(Debug)]
pub struct Request {
    /// The whole prompt, or what follows `after`.
    pub prompt: Vec<TokenId>,
    /// A state in memory whose tokens come before the prompt, from the [`Usage::state`] of an
    /// earlier answer: for a conversation whose tokens the caller does not have.
    pub after: Option<AnchorId>,
    /// How the model is steered; `None` is the usual way.
    pub steer: Option<Steer>,
    /// How to choose tokens.
    pub sampler: Sampler,
    /// What may be chosen, if not everything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Tokens to generate at most.
    pub tokens_max: usize,
    /// Tokens that end the answer; they are reported, not part of it.
    pub stop: Vec<TokenId>,
    /// Wanted with each token: its log-probability and those of so many most probable ones.
    pub logprobs: Option<usize>,
    /// Positions in the prompt after which other conversations may differ: states to keep. The
    /// first is where what all conversations share ends. If there are none, the first and the last
    /// turn of the user are taken.
    pub boundaries: Vec<usize>,
    /// Kept with the conversation's checkpoints, and not understood here; empty leaves those that a
    /// checkpoint brought.
    pub notes: Vec<u8>,
}

impl Request {
    /// A request with nothing special about it.
    pub fn new(prompt: Vec<TokenId>, sampler: Sampler, tokens_max: usize) -> Request {
        Request {
            prompt,
            after: None,
            steer: None,
            sampler,
            constraint: None,
            tokens_max,
            stop: Vec::new(),
            logprobs: None,
            boundaries: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// What happens to a request, in this order; [`Event::Finished`] or [`Event::Failed`] is last. A
/// request that is cancelled before it has a session just ends.
#[derive(Clone, Debug)]
pub enum Event {
    /// All sessions are in use, or the beginning of the prompt is being computed for another
    /// request.
    Queued {
        /// Requests that came before and wait as well.
        ahead: usize,
    },
    /// It has a session.
    Resumed {
        /// Where the beginning of the prompt came from.
        source: Source,
        /// Tokens of it.
        cached: usize,
        /// What was kept with it.
        notes: Vec<u8>,
    },
    /// A part of the prompt was fed.
    Prefill(Progress),
    /// A token of the answer.
    Token(Token),
    /// The answer ended.
    Finished(Usage),
    /// There is no answer, or no more of it.
    Failed(Arc<Error>),
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Which.
    pub id: TokenId,
    /// How probable it was, if that was wanted.
    pub logprobs: Option<Logprobs>,
}

/// Where the beginning of a prompt came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: all of it was computed.
    Cold,
    /// The session that went on.
    Session,
    /// A state in memory that another conversation may share.
    Memory,
    /// A checkpoint on disk.
    Disk,
}

impl Source {
    pub(super) fn of(plan: &Plan) -> Source {
        match plan {
            Plan::Cold | Plan::Extend { from: 0 } => Source::Cold,
            Plan::Keep | Plan::Extend { .. } => Source::Session,
            Plan::Rewind { .. } | Plan::Fork { .. } => Source::Memory,
            Plan::Load { .. } => Source::Disk,
        }
    }
}

/// What an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Why it ended.
    pub finish: Finish,
    /// Names the state after the answer, while it is in memory: for
    /// [`Handle::remember`](super::Handle::remember).
    pub state: Option<AnchorId>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// How many of them needed no work.
    pub cached: usize,
    /// Where those came from.
    pub source: Source,
    /// Tokens of the answer, the stop token not counted.
    pub generated: usize,
    /// Tokens that were guessed before the model was asked, and how many of them it agreed with.
    pub drafted: usize,
    /// Guesses that were right.
    pub accepted: usize,
    /// From the request to the first look at it.
    pub waited: Duration,
    /// From then to the end of the prompt.
    pub prefill: Duration,
    /// From the end of the prompt to the end of the answer.
    pub decode: Duration,
}

/// Takes the events of one request, without ever blocking the worker.
pub trait Sink: Send {
    /// Takes an event, or gives it back.
    fn offer(&mut self, event: Event) -> Offer;
}

/// What a sink did.
#[derive(Debug)]
pub enum Offer {
    /// It has it.
    Taken,
    /// It is full: the request rests until it is not.
    Full(Event),
    /// Nobody reads any more.
    Gone,
}

impl Sink for SyncSender<Event> {
    fn offer(&mut self, event: Event) -> Offer {
        match self.try_send(event) {
            Ok(()) => Offer::Taken,
            Err(TrySendError::Full(event)) => Offer::Full(event),
            Err(TrySendError::Disconnected(_)) => Offer::Gone,
        }
    }
}
