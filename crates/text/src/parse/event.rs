//! What the parser tells its caller, and the whole reply that the events add up to.
//!
//! Every consumer (the HTTP dialects, the terminal, the agent) speaks this one vocabulary. Ids of
//! calls are not in it: whoever talks to a client makes them. Start at [`Event`]; [`Reply`] shows
//! how each event is meant.

use crate::prompt::Prompt;

/// One step of the model's reply, in the order in which it was sampled.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// More reasoning.
    Reasoning(String),
    /// The model has closed its reasoning. Missing when the reply was cut inside it.
    ReasoningEnd,
    /// More of the visible answer.
    Text(String),
    /// A call begins.
    CallBegin {
        /// Counts the calls of the reply from 0.
        index: usize,
        /// The tool as the model named it; not checked against the tools on offer.
        name: String,
    },
    /// More of the JSON text of the call's arguments. All of it together is one object.
    CallArguments(String),
    /// The call is complete. Execute it only after [`Event::CallsEnd`].
    CallEnd,
    /// All calls that were not dropped are complete and may be executed.
    CallsEnd {
        /// The block exactly as sampled, from the white space before it to its closing tag, to be
        /// given back as [`crate::Assistant::sampled_calls`].
        sampled: Prompt,
    },
    /// Calls that must not be executed. If parts of them were sent to a client already, they
    /// cannot be taken back and the stream has to end with an error.
    CallsDropped {
        /// Calls from this index on are void, whether or not they were begun.
        first: usize,
        /// What was sampled of them, markup included.
        sampled: String,
        /// Why.
        cause: DropCause,
    },
    /// The reply is over; always the last event.
    Finish(FinishReason),
}

/// Why calls were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// The block broke its grammar. A whole reply shows its text as part of the answer.
    Malformed,
    /// The reply ended inside the block. Its text is not shown.
    Truncated,
}

/// Why generation ended, as its caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end-of-sentence token, or because [`super::Parser::is_done`].
    Stop,
    /// The number of tokens asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// Nobody listens any more, or the program shuts down.
    Cancelled,
}

/// Why the reply is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// This stop sequence was sampled in the answer.
    StopSequence(String),
    /// The model waits for the results of its calls.
    ToolCalls,
    /// See [`End::Length`].
    Length,
    /// See [`End::ContextFull`].
    ContextFull,
    /// See [`End::Cancelled`].
    Cancelled,
}

impl From<End> for FinishReason {
    fn from(end: End) -> FinishReason {
        match end {
            End::Stop => FinishReason::Stop,
            End::Length => FinishReason::Length,
            End::ContextFull => FinishReason::ContextFull,
            End::Cancelled => FinishReason::Cancelled,
        }
    }
}

/// A whole reply, for callers that do not stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Everything before `</think>`.
    pub reasoning: String,
    /// Whether the reasoning was closed.
    pub reasoning_closed: bool,
    /// The visible answer; holds the text of a malformed tool block.
    pub text: String,
    /// The calls to execute.
    pub calls: Vec<ReplyCall>,
    /// The tool block as sampled.
    pub sampled_calls: Option<Prompt>,
    /// Set by the last event.
    pub finish: Option<FinishReason>,
}

/// A call of a whole reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyCall {
    /// The tool as the model named it.
    pub name: String,
    /// JSON text of one object, byte for byte what was streamed.
    pub arguments: String,
}

impl Reply {
    /// Adds the next event of the reply.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Reasoning(text) => self.reasoning.push_str(&text),
            Event::ReasoningEnd => self.reasoning_closed = true,
            Event::Text(text) => self.text.push_str(&text),
            Event::CallBegin { name, .. } => {
                self.calls.push(ReplyCall { name, arguments: String::new() });
            }
            Event::CallArguments(text) => {
                let call = self.calls.last_mut().expect("arguments follow the call's beginning");
                call.arguments.push_str(&text);
            }
            Event::CallEnd => {}
            Event::CallsEnd { sampled } => self.sampled_calls = Some(sampled),
            Event::CallsDropped { first, sampled, cause } => {
                self.calls.truncate(first);
                if cause == DropCause::Malformed {
                    self.text.push_str(&sampled);
                }
            }
            Event::Finish(reason) => self.finish = Some(reason),
        }
    }
}

impl Extend<Event> for Reply {
    fn extend<I: IntoIterator<Item = Event>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.add(event));
    }
}

/// Collects events; neighbours of a kind become one.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub events: Vec<Event>,
}

impl Out {
    pub fn reasoning(&mut self, text: String) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Reasoning(last)) => last.push_str(&text),
            _ => self.events.push(Event::Reasoning(text)),
        }
    }

    pub fn text(&mut self, text: String) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Text(last)) => last.push_str(&text),
            _ => self.events.push(Event::Text(text)),
        }
    }

    pub fn arguments(&mut self, json: &str) {
        match self.events.last_mut() {
            _ if json.is_empty() => {}
            Some(Event::CallArguments(last)) => last.push_str(json),
            _ => self.events.push(Event::CallArguments(json.to_owned())),
        }
    }

    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}
