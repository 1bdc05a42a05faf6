//! From what the model says to messages, whole and in events.
//!
//! Blocks of a stream do not overlap: a block is opened by the first piece of its kind and closed
//! before the next one is opened.

use serde_json::{Value, json};
use text::{Event, FinishReason, Reply};

use crate::refusal::Refusal;
use crate::said::{
    ANTHROPIC_CALL, Answer, CallIds, Head, Prob, Seen, Sent, Usage, Writer, named, void_calls,
};
use crate::seal;

/// A whole message.
pub fn whole(head: &Head, answer: &Answer, usage: &Usage) -> Value {
    let (reason, sequence) = stop(answer.reply.finish.as_ref());
    let mut message = empty(head, usage);
    message["content"] = content(head, &answer.reply).into();
    message["stop_reason"] = reason.into();
    message["stop_sequence"] = sequence.into();
    message
}

fn empty(head: &Head, usage: &Usage) -> Value {
    json!({
        "id": head.id("msg_", 0),
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage_of(usage),
    })
}

/// Clients add the three numbers of the input to know how full the context is.
fn usage_of(usage: &Usage) -> Value {
    let Seen { prompt, cached } = usage.seen;
    json!({
        "input_tokens": prompt - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.generated,
    })
}

/// Never empty, and never reasoning alone.
fn content(head: &Head, reply: &Reply) -> Vec<Value> {
    let ids = CallIds::new(ANTHROPIC_CALL, head.nonce, 0);
    let mut content = Vec::new();
    if !reply.reasoning.is_empty() {
        let signature = seal::signature(&reply.reasoning);
        let thinking = &reply.reasoning;
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature}));
    }
    if !reply.text.is_empty() || reply.calls.is_empty() {
        content.push(json!({"type": "text", "text": reply.text}));
    }
    for (index, call) in reply.calls.iter().enumerate() {
        let input = text::json::parse(&call.arguments).unwrap_or_else(|_| json!({}));
        let id = ids.call(index);
        content.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": input}));
    }
    content
}

/// Why it ended, and the text that ended it.
fn stop(finish: Option<&FinishReason>) -> (&'static str, Option<&str>) {
    match finish {
        Some(FinishReason::StopSequence(text)) => ("stop_sequence", Some(text)),
        Some(FinishReason::ToolCalls) => ("tool_use", None),
        Some(FinishReason::Length) => ("max_tokens", None),
        Some(FinishReason::ContextFull) => ("model_context_window_exceeded", None),
        Some(FinishReason::Stop | FinishReason::Cancelled) | None => ("end_turn", None),
    }
}

/// A message in events.
#[derive(Debug)]
pub struct Stream {
    head: Head,
    open: Open,
    /// Blocks that were opened.
    blocks: usize,
    /// One of them was text or a call.
    answered: bool,
    sent: Sent,
    finish: Option<FinishReason>,
    failed: bool,
}

/// The block that is open.
#[derive(Debug)]
enum Open {
    Nothing,
    Thinking(String),
    Text,
    Call,
}

impl Stream {
    /// A stream.
    pub fn new(head: Head) -> Stream {
        Stream {
            head,
            open: Open::Nothing,
            blocks: 0,
            answered: false,
            sent: Sent::default(),
            finish: None,
            failed: false,
        }
    }

    fn begin(&mut self, open: Open, block: Value) -> String {
        let closed = self.close();
        self.answered |= !matches!(open, Open::Thinking(_));
        self.open = open;
        let index = self.blocks;
        self.blocks += 1;
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        closed + &named(&start)
    }

    fn delta(&self, delta: Value) -> String {
        let index = self.blocks.saturating_sub(1);
        named(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    fn close(&mut self) -> String {
        let signature = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => return String::new(),
            Open::Thinking(text) => {
                let signature = seal::signature(&text);
                self.delta(json!({"type": "signature_delta", "signature": signature}))
            }
            Open::Text | Open::Call => String::new(),
        };
        let index = self.blocks - 1;
        signature + &named(&json!({"type": "content_block_stop", "index": index}))
    }

    fn reasoning(&mut self, text: &str) -> String {
        let mut out = String::new();
        if !matches!(self.open, Open::Thinking(_)) {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            out = self.begin(Open::Thinking(String::new()), block);
        }
        if let Open::Thinking(all) = &mut self.open {
            all.push_str(text);
        }
        out + &self.delta(json!({"type": "thinking_delta", "thinking": text}))
    }

    fn text(&mut self, text: &str) -> String {
        let mut out = String::new();
        if !matches!(self.open, Open::Text) {
            out = self.begin(Open::Text, json!({"type": "text", "text": ""}));
        }
        out + &self.delta(json!({"type": "text_delta", "text": text}))
    }
}

impl Writer for Stream {
    fn start(&mut self, seen: Seen) -> String {
        let usage = Usage { seen, ..Usage::default() };
        named(&json!({"type": "message_start", "message": empty(&self.head, &usage)}))
    }

    fn event(&mut self, _: usize, event: &Event, _: &[Prob]) -> String {
        if self.failed {
            return String::new();
        }
        self.sent.note(event);
        match event {
            Event::Reasoning(text) => self.reasoning(text),
            Event::Text(text) => self.text(text),
            Event::CallBegin { index, name } => {
                let id = CallIds::new(ANTHROPIC_CALL, self.head.nonce, 0).call(*index);
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.begin(Open::Call, block)
            }
            Event::CallArguments(text) => {
                self.delta(json!({"type": "input_json_delta", "partial_json": text}))
            }
            Event::ReasoningEnd | Event::CallEnd => self.close(),
            Event::Finish(finish) if self.sent.is_void(finish) => self.fail(&void_calls()),
            Event::Finish(finish) => {
                self.finish = Some(finish.clone());
                let closed = self.close();
                match self.answered {
                    true => closed,
                    false => {
                        let text = self.begin(Open::Text, json!({"type": "text", "text": ""}));
                        closed + &text + &self.close()
                    }
                }
            }
            _ => String::new(),
        }
    }

    fn keep_alive(&mut self) -> String {
        named(&json!({"type": "ping"}))
    }

    fn end(&mut self, usage: &Usage) -> String {
        if self.failed {
            return String::new();
        }
        let (reason, sequence) = stop(self.finish.as_ref());
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        let usage = usage_of(usage);
        named(&json!({"type": "message_delta", "delta": delta, "usage": usage}))
            + &named(&json!({"type": "message_stop"}))
    }

    fn fail(&mut self, refusal: &Refusal) -> String {
        if std::mem::replace(&mut self.failed, true) {
            return String::new();
        }
        named(&json!({"type": "error", "error": refusal.anthropic_error()}))
    }
}
