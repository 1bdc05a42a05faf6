//! The items that a response consists of, as JSON.
//!
//! Calls come back in the kind in which the tool was offered: a function, one of a namespace, a
//! tool that takes text, or the client's own search.

use serde_json::{Value, json};
use text::json;

use super::read::Summary;
use crate::offers::Kind;
use crate::said::{Prob, token_logprobs};
use crate::seal;

/// Reasoning. `None` if nobody is to see it.
pub fn reasoning(id: &str, text: &str, summary: Summary, complete: bool) -> Option<Value> {
    if !summary.text && !summary.sealed {
        return None;
    }
    let parts = if summary.text { json!([summary_part(text)]) } else { json!([]) };
    let mut item = json!({"id": id, "type": "reasoning", "summary": parts});
    if summary.sealed {
        item["encrypted_content"] = seal::seal(text).into();
    }
    if !complete {
        item["status"] = "incomplete".into();
    }
    Some(item)
}

/// A part of a summary.
pub fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// The visible answer.
pub fn message(id: &str, text: &str, probs: &[Prob], status: &str) -> Value {
    json!({
        "id": id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [text_part(text, probs)],
    })
}

/// A part of the visible answer.
pub fn text_part(text: &str, probs: &[Prob]) -> Value {
    let logprobs = token_logprobs(probs);
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}

/// A call, as the client knows it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Of the item.
    pub id: String,
    /// Under which the result comes back.
    pub call_id: String,
    /// As the model said it.
    pub name: String,
    /// What it is to the client.
    pub kind: Kind,
    /// JSON text.
    pub arguments: String,
}

impl Call {
    /// What ids of items of this kind begin with.
    pub fn prefix(kind: &Kind) -> &'static str {
        match kind {
            Kind::Function | Kind::Inner { .. } => "fc_",
            Kind::Custom => "ctc_",
            Kind::Search => "tsc_",
        }
    }

    /// The item, with the arguments that it has by now.
    pub fn item(&self, status: &str) -> Value {
        let Call { id, call_id, name, kind, arguments } = self;
        match kind {
            Kind::Function => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id,
                "name": name, "arguments": arguments,
            }),
            Kind::Inner { namespace, name } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id,
                "name": name, "namespace": namespace, "arguments": arguments,
            }),
            Kind::Custom => json!({
                "id": id, "type": "custom_tool_call", "status": status, "call_id": call_id,
                "name": name, "input": self.input(),
            }),
            Kind::Search => json!({
                "id": id, "type": "tool_search_call", "status": status, "call_id": call_id,
                "execution": "client",
                "arguments": json::parse(arguments).unwrap_or_else(|_| json!({})),
            }),
        }
    }

    /// The text that a tool takes which takes text.
    pub fn input(&self) -> String {
        let value = json::parse(&self.arguments).ok();
        let input = value.as_ref().and_then(|value| value.get("input")?.as_str());
        input.unwrap_or(&self.arguments).to_owned()
    }
}
