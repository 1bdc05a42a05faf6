//! From what the model says to responses, whole and in events.
//!
//! A stream is a sequence of items, each added, filled and done before the next, between a first
//! event that has the response without any and a last one that has it with all.

use serde_json::{Map, Value, json};
use text::{Event, FinishReason};

use super::item::{self, Call};
use super::read::Summary;
use crate::offers::{Kind, Offers};
use crate::refusal::Refusal;
use crate::said::{
    Answer, CallIds, Head, OPENAI_CALL, Prob, Seen, Sent, Usage, Writer, named, token_logprobs,
    void_calls,
};

/// A whole response.
pub fn whole(
    head: &Head,
    answer: &Answer,
    usage: &Usage,
    (offers, summary, echo): (&Offers, Summary, &Map<String, Value>),
) -> Value {
    let (mut output, reply) = (Vec::new(), &answer.reply);
    let status = status(reply.finish.as_ref());
    if !reply.reasoning.is_empty() {
        let id = head.id("rs_", 0);
        output.extend(item::reasoning(&id, &reply.reasoning, summary, reply.reasoning_closed));
    }
    if !reply.text.is_empty() {
        let probs = answer.probs.as_deref().unwrap_or_default();
        output.push(item::message(&head.id("msg_", output.len()), &reply.text, probs, status));
    }
    for (index, call) in reply.calls.iter().enumerate() {
        let mut begun = call_of(head, offers, index, &call.name, output.len());
        begun.arguments = call.arguments.clone();
        output.push(begun.item("completed"));
    }
    response(head, echo, output, status, Some(usage))
}

fn call_of(head: &Head, offers: &Offers, index: usize, name: &str, place: usize) -> Call {
    let kind = offers.kind(name).clone();
    Call {
        id: head.id(Call::prefix(&kind), place),
        call_id: CallIds::new(OPENAI_CALL, head.nonce, 0).call(index),
        name: name.to_owned(),
        kind,
        arguments: String::new(),
    }
}

fn status(finish: Option<&FinishReason>) -> &'static str {
    match finish {
        Some(FinishReason::Length | FinishReason::ContextFull) => "incomplete",
        _ => "completed",
    }
}

fn response(
    head: &Head,
    echo: &Map<String, Value>,
    output: Vec<Value>,
    status: &str,
    usage: Option<&Usage>,
) -> Value {
    let details = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
    let mut response = json!({
        "id": head.id("resp_", 0),
        "object": "response",
        "created_at": head.created,
        "status": status,
        "error": null,
        "incomplete_details": details,
        "model": head.model,
        "output": output,
        "usage": usage.map(usage_of),
    });
    for (name, value) in echo {
        response[name] = value.clone();
    }
    // What clients' types demand even if nothing was said.
    for (name, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
        ("metadata", json!({})),
        ("store", json!(false)),
    ] {
        if response[name].is_null() {
            response[name] = value;
        }
    }
    response
}

fn usage_of(usage: &Usage) -> Value {
    let Usage { seen: Seen { prompt, cached }, generated, reasoning } = *usage;
    json!({
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": generated,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + generated,
    })
}

/// A response in events.
#[derive(Debug)]
pub struct Stream {
    head: Head,
    offers: Offers,
    summary: Summary,
    echo: Map<String, Value>,
    sequence: usize,
    /// Items that are done.
    output: Vec<Value>,
    open: Open,
    sent: Sent,
    finish: Option<FinishReason>,
    started: bool,
    failed: bool,
}

/// The item that is open.
#[derive(Debug)]
enum Open {
    Nothing,
    Reasoning { id: String, text: String },
    Message { id: String, text: String, probs: Vec<Prob> },
    Call(Box<Call>),
}

impl Stream {
    /// A stream.
    pub fn new(head: Head, offers: Offers, summary: Summary, echo: Map<String, Value>) -> Stream {
        Stream {
            head,
            offers,
            summary,
            echo,
            sequence: 0,
            output: Vec::new(),
            open: Open::Nothing,
            sent: Sent::default(),
            finish: None,
            started: false,
            failed: false,
        }
    }

    /// An event of the stream, numbered.
    fn say(&mut self, kind: &str, members: Value) -> String {
        let mut event = Map::new();
        event.insert("type".to_owned(), kind.into());
        event.insert("sequence_number".to_owned(), self.sequence.into());
        self.sequence += 1;
        if let Value::Object(members) = members {
            event.extend(members);
        }
        named(&Value::Object(event))
    }

    /// An event about the whole response.
    fn about(&mut self, kind: &str, status: &str, usage: Option<&Usage>) -> String {
        let response = response(&self.head, &self.echo, self.output.clone(), status, usage);
        self.say(kind, json!({ "response": response }))
    }

    fn added(&mut self, item: Value) -> String {
        let index = self.output.len();
        self.say("response.output_item.added", json!({"output_index": index, "item": item}))
    }

    fn done(&mut self, item: Value) -> String {
        let index = self.output.len();
        self.output.push(item.clone());
        self.say("response.output_item.done", json!({"output_index": index, "item": item}))
    }

    fn reasoning(&mut self, text: &str) -> String {
        let mut out = String::new();
        let index = self.output.len();
        if !matches!(self.open, Open::Reasoning { .. }) {
            out = self.close(true);
            let id = self.head.id("rs_", index);
            self.open = Open::Reasoning { id: id.clone(), text: String::new() };
            let none = Summary { text: false, sealed: true };
            if let Some(mut item) = item::reasoning(&id, "", none, true)
                && (self.summary.text || self.summary.sealed)
            {
                item["encrypted_content"] = Value::Null;
                out += &self.added(item);
            }
            if self.summary.text {
                let part = item::summary_part("");
                out += &self.say(
                    "response.reasoning_summary_part.added",
                    json!({"item_id": id, "output_index": index, "summary_index": 0, "part": part}),
                );
            }
        }
        let Open::Reasoning { id, text: all } = &mut self.open else { return out };
        all.push_str(text);
        let id = id.clone();
        if self.summary.text {
            out += &self.say(
                "response.reasoning_summary_text.delta",
                json!({"item_id": id, "output_index": index, "summary_index": 0, "delta": text}),
            );
        }
        out
    }

    fn text(&mut self, text: &str, probs: &[Prob]) -> String {
        let mut out = String::new();
        if !matches!(self.open, Open::Message { .. }) {
            out = self.close(true);
            let id = self.head.id("msg_", self.output.len());
            let mut item = item::message(&id, "", &[], "in_progress");
            item["content"] = json!([]);
            out += &self.added(item);
            let part = item::text_part("", &[]);
            let index = self.output.len();
            out += &self.say(
                "response.content_part.added",
                json!({"item_id": id, "output_index": index, "content_index": 0, "part": part}),
            );
            self.open = Open::Message { id, text: String::new(), probs: Vec::new() };
        }
        let Open::Message { id, text: all, probs: kept } = &mut self.open else { return out };
        all.push_str(text);
        kept.extend_from_slice(probs);
        let (id, index) = (id.clone(), self.output.len());
        let logprobs = token_logprobs(probs);
        out + &self.say(
            "response.output_text.delta",
            json!({
                "item_id": id, "output_index": index, "content_index": 0, "delta": text,
                "logprobs": logprobs,
            }),
        )
    }

    fn call(&mut self, index: usize, name: &str) -> String {
        let closed = self.close(true);
        let call = call_of(&self.head, &self.offers, index, name, self.output.len());
        let out = closed + &self.added(call.item("in_progress"));
        self.open = Open::Call(Box::new(call));
        out
    }

    fn arguments(&mut self, text: &str) -> String {
        let index = self.output.len();
        let Open::Call(call) = &mut self.open else { return String::new() };
        call.arguments.push_str(text);
        // Text of other kinds is known when the call is whole.
        if !matches!(call.kind, Kind::Function | Kind::Inner { .. }) {
            return String::new();
        }
        let members = json!({"item_id": call.id, "output_index": index, "delta": text});
        self.say("response.function_call_arguments.delta", members)
    }

    /// Ends the item that is open; `complete` if nothing of it is missing.
    fn close(&mut self, complete: bool) -> String {
        let index = self.output.len();
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => String::new(),
            Open::Reasoning { id, text } => self.close_reasoning(&id, &text, complete),
            Open::Message { id, text, probs } => {
                let part = item::text_part(&text, &probs);
                let place = json!({"item_id": id, "output_index": index, "content_index": 0});
                let mut done = place.clone();
                done["text"] = text.as_str().into();
                done["logprobs"] = token_logprobs(&probs);
                let mut whole = place;
                whole["part"] = part;
                let status = if complete { "completed" } else { "incomplete" };
                self.say("response.output_text.done", done)
                    + &self.say("response.content_part.done", whole)
                    + &self.done(item::message(&id, &text, &probs, status))
            }
            Open::Call(call) => self.close_call(&call, complete),
        }
    }

    fn close_reasoning(&mut self, id: &str, text: &str, complete: bool) -> String {
        let index = self.output.len();
        let Some(item) = item::reasoning(id, text, self.summary, complete) else {
            return String::new();
        };
        let mut out = String::new();
        if self.summary.text {
            let place = json!({"item_id": id, "output_index": index, "summary_index": 0});
            let (mut done, mut whole) = (place.clone(), place);
            done["text"] = text.into();
            whole["part"] = item::summary_part(text);
            out = self.say("response.reasoning_summary_text.done", done)
                + &self.say("response.reasoning_summary_part.done", whole);
        }
        out + &self.done(item)
    }

    fn close_call(&mut self, call: &Call, complete: bool) -> String {
        let place = json!({"item_id": call.id, "output_index": self.output.len()});
        let mut done = place.clone();
        let out = match call.kind {
            Kind::Function | Kind::Inner { .. } => {
                done["arguments"] = call.arguments.as_str().into();
                done["name"] = call.item("")["name"].clone();
                self.say("response.function_call_arguments.done", done)
            }
            Kind::Custom => {
                let mut delta = place;
                delta["delta"] = call.input().into();
                done["input"] = call.input().into();
                self.say("response.custom_tool_call_input.delta", delta)
                    + &self.say("response.custom_tool_call_input.done", done)
            }
            Kind::Search => String::new(),
        };
        out + &self.done(call.item(if complete { "completed" } else { "incomplete" }))
    }
}

impl Writer for Stream {
    fn open(&mut self) -> String {
        if std::mem::replace(&mut self.started, true) {
            return String::new();
        }
        self.about("response.created", "in_progress", None)
            + &self.about("response.in_progress", "in_progress", None)
    }

    fn start(&mut self, _: Seen) -> String {
        self.open()
    }

    fn event(&mut self, _: usize, event: &Event, probs: &[Prob]) -> String {
        if self.failed {
            return String::new();
        }
        self.sent.note(event);
        match event {
            Event::Reasoning(text) => self.reasoning(text),
            Event::Text(text) => self.text(text, probs),
            Event::CallBegin { index, name } => self.call(*index, name),
            Event::CallArguments(text) => self.arguments(text),
            Event::ReasoningEnd | Event::CallEnd => self.close(true),
            Event::Finish(finish) if self.sent.is_void(finish) => self.fail(&void_calls()),
            Event::Finish(finish) => {
                self.finish = Some(finish.clone());
                self.close(status(Some(finish)) == "completed")
            }
            _ => String::new(),
        }
    }

    /// Some clients give up when no event comes for minutes; comments are no events to them.
    fn keep_alive(&mut self) -> String {
        match self.started {
            false => self.open(),
            true => self.about("response.in_progress", "in_progress", None),
        }
    }

    fn end(&mut self, usage: &Usage) -> String {
        if self.failed {
            return String::new();
        }
        let status = status(self.finish.as_ref());
        self.about(&format!("response.{status}"), status, Some(usage))
    }

    fn fail(&mut self, refusal: &Refusal) -> String {
        if std::mem::replace(&mut self.failed, true) {
            return String::new();
        }
        let output = std::mem::take(&mut self.output);
        let mut response = response(&self.head, &self.echo, output, "failed", None);
        let code = refusal.code().unwrap_or("server_error");
        response["error"] = json!({"code": code, "message": refusal.openai_message()});
        self.say("response.failed", json!({ "response": response }))
    }
}
