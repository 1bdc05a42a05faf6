//! What writers are told, and what all of them need.
//!
//! A writer turns the events of an answer into the bytes of its dialect. It has no clock and makes
//! no random numbers: ids and times come with the [`Head`]. [`Writer`] is how streams are written;
//! a whole answer is a function of [`Answer`]s in each dialect.

use serde_json::{Value, json};
use text::{DropCause, Event, FinishReason, Reply};

use crate::refusal::{Reason, Refusal};

/// What is known about an answer before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Nobody can guess it; ids of all kinds are made of it.
    pub nonce: u128,
    /// The model's name, as the client said it.
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// What is known when the prompt was looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Those that need not be computed again.
    pub cached: usize,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The prompt.
    pub seen: Seen,
    /// Tokens of all answers.
    pub generated: usize,
    /// Those of reasoning.
    pub reasoning: usize,
}

/// How probable a token of the visible answer was.
#[derive(Clone, Debug, PartialEq)]
pub struct Prob {
    /// What it spells.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens and theirs.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What was said; its finish is set.
    pub reply: Reply,
    /// Of the tokens of its text, if wanted.
    pub probs: Option<Vec<Prob>>,
}

/// Writes the stream of one request.
pub trait Writer: Send {
    /// The request was accepted. Some clients want to hear so before the prompt is looked up.
    fn open(&mut self) -> String {
        String::new()
    }

    /// The prompt was looked up: the answer begins.
    fn start(&mut self, seen: Seen) -> String;

    /// Something was said in one of the answers. `probs` are of tokens whose text is in it.
    fn event(&mut self, answer: usize, event: &Event, probs: &[Prob]) -> String;

    /// Nothing has happened for a while.
    fn keep_alive(&mut self) -> String;

    /// All answers are over.
    fn end(&mut self, usage: &Usage) -> String;

    /// There is no answer, or no more of it. Ends the stream.
    fn fail(&mut self, refusal: &Refusal) -> String;
}

/// What ids of calls begin with where OpenAI's dialects are spoken.
pub const OPENAI_CALL: &str = "call_";
/// The same for Anthropic's.
pub const ANTHROPIC_CALL: &str = "toolu_";

/// The ids of the calls of one answer: 32 hexadecimal digits that nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIds {
    prefix: &'static str,
    nonce: u128,
}

impl CallIds {
    /// Ids of the calls of an answer. `nonce` is random.
    pub fn new(prefix: &'static str, nonce: u128, answer: usize) -> CallIds {
        CallIds { prefix, nonce: nonce.wrapping_add((answer as u128) << 16) }
    }

    /// The id of a call.
    pub fn call(&self, index: usize) -> String {
        format!("{}{:032x}", self.prefix, self.nonce.wrapping_add(index as u128))
    }
}

impl Head {
    /// An id of another kind than calls have; `place` tells ids of one answer apart.
    pub fn id(&self, prefix: &str, place: usize) -> String {
        // The low digits count calls; here the high ones come last and count.
        let digits = (self.nonce.rotate_left(64) >> 32).wrapping_add(place as u128);
        format!("{prefix}{:024x}", digits & ((1 << 96) - 1))
    }
}

/// Calls of one answer that were sent and proved void, and what that means for its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    begun: usize,
    void: Option<DropCause>,
}

impl Sent {
    /// Takes note of an event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::CallBegin { .. } => self.begun += 1,
            Event::CallsDropped { first, cause, .. } if *first < self.begun => {
                self.void = Some(*cause);
            }
            _ => {}
        }
    }

    /// The call that was begun last.
    pub fn last(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    /// Whether what was sent must not stand: calls that broke off although the answer was not cut
    /// by its length.
    pub fn is_void(&self, finish: &FinishReason) -> bool {
        let cut = matches!(finish, FinishReason::Length | FinishReason::ContextFull);
        match self.void {
            None => false,
            Some(DropCause::Malformed) => true,
            Some(DropCause::Truncated) => !cut,
        }
    }
}

/// Why a stream ends with an error where calls proved void.
pub fn void_calls() -> Refusal {
    let message = "the model's tool call broke off and must not be executed; ask again";
    Refusal::new(Reason::Failed, message)
}

/// An event of a stream, without a name.
pub fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// An event of a stream, named by its type.
pub fn named(value: &Value) -> String {
    let name = value.get("type").and_then(Value::as_str).unwrap_or("message");
    format!("event: {name}\ndata: {value}\n\n")
}

/// The end of OpenAI's older streams.
pub const DONE: &str = "data: [DONE]\n\n";

/// The word for a finish in OpenAI's older dialects.
pub fn openai_finish(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length | FinishReason::ContextFull => "length",
        FinishReason::Stop | FinishReason::StopSequence(_) | FinishReason::Cancelled => "stop",
    }
}

/// A logarithm, as JSON that is short and always a number.
pub fn logprob(value: f32) -> Value {
    // What can practically not happen is said as -9999, as elsewhere in the field.
    Value::from(if value.is_finite() { f64::from(value) } else { -9999.0 })
}

/// Log-probabilities of tokens, as OpenAI's newer dialects list them.
pub fn token_logprobs(probs: &[Prob]) -> Value {
    let one = |bytes: &[u8], value: f32| {
        let (token, value) = (spelled(bytes), logprob(value));
        json!({"token": token, "logprob": value, "bytes": bytes})
    };
    let token = |prob: &Prob| {
        let mut token = one(&prob.bytes, prob.logprob);
        let top = prob.top.iter().map(|(bytes, value)| one(bytes, *value)).collect::<Vec<_>>();
        token["top_logprobs"] = top.into();
        token
    };
    probs.iter().map(token).collect()
}

/// What a token spells, for people.
pub fn spelled(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
