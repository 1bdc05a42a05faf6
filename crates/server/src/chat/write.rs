//! From what the model says to chat completions, whole and in chunks.
//!
//! Every chunk has the same id and time; a chunk is one choice with what is new in it. Usage comes
//! in a chunk without choices, if the client has asked for it.

use serde_json::{Map, Value, json};
use text::Event;

use crate::refusal::Refusal;
use crate::said::{
    Answer, CallIds, DONE, Head, OPENAI_CALL, Prob, Seen, Sent, Usage, Writer, data, openai_finish,
    token_logprobs, void_calls,
};

/// A whole completion.
pub fn whole(head: &Head, answers: &[Answer], usage: &Usage) -> Value {
    let choices: Vec<Value> =
        answers.iter().enumerate().map(|(index, answer)| choice(head, index, answer)).collect();
    json!({
        "id": head.id("chatcmpl-", 0),
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": choices,
        "usage": usage_of(usage),
    })
}

fn choice(head: &Head, index: usize, answer: &Answer) -> Value {
    let ids = CallIds::new(OPENAI_CALL, head.nonce, index);
    let reply = &answer.reply;
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    message.insert("content".to_owned(), reply.text.as_str().into());
    if !reply.reasoning.is_empty() {
        message.insert("reasoning_content".to_owned(), reply.reasoning.as_str().into());
    }
    let call = |(i, call): (usize, &text::ReplyCall)| {
        let function = json!({"name": call.name, "arguments": call.arguments});
        json!({"id": ids.call(i), "type": "function", "function": function})
    };
    let calls: Vec<Value> = reply.calls.iter().enumerate().map(call).collect();
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    let mut choice = json!({
        "index": index,
        "message": message,
        "finish_reason": reply.finish.as_ref().map(openai_finish),
    });
    if let Some(probs) = &answer.probs {
        choice["logprobs"] = logprobs(probs);
    }
    choice
}

/// What was taken, in the words of this API and in those that DeepSeek's service adds.
pub fn usage_of(usage: &Usage) -> Value {
    let Usage { seen: Seen { prompt, cached }, generated, reasoning } = *usage;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "prompt_cache_hit_tokens": cached,
        "prompt_cache_miss_tokens": prompt - cached,
    })
}

fn logprobs(probs: &[Prob]) -> Value {
    json!({"content": token_logprobs(probs), "refusal": null})
}

/// A completion in chunks.
#[derive(Debug)]
pub struct Stream {
    head: Head,
    include_usage: bool,
    choices: Vec<Sent>,
    failed: bool,
}

impl Stream {
    /// A stream of so many answers.
    pub fn new(head: Head, answers: usize, include_usage: bool) -> Stream {
        Stream { head, include_usage, choices: vec![Sent::default(); answers], failed: false }
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.head.id("chatcmpl-", 0),
            "object": "chat.completion.chunk",
            "created": self.head.created,
            "model": self.head.model,
            "choices": choices,
        })
    }

    fn delta(&self, index: usize, delta: Value, finish: Option<&str>) -> Value {
        self.chunk(json!([{"index": index, "delta": delta, "finish_reason": finish}]))
    }

    fn tool(&self, answer: usize, call: Value) -> String {
        data(&self.delta(answer, json!({ "tool_calls": [call] }), None))
    }
}

impl Writer for Stream {
    fn start(&mut self, _: Seen) -> String {
        let role = || json!({"role": "assistant", "content": ""});
        let first = |index| data(&self.delta(index, role(), None));
        (0..self.choices.len()).map(first).collect()
    }

    fn event(&mut self, answer: usize, event: &Event, probs: &[Prob]) -> String {
        if self.failed {
            return String::new();
        }
        self.choices[answer].note(event);
        let index = || self.choices[answer].last();
        match event {
            Event::Reasoning(text) => {
                data(&self.delta(answer, json!({ "reasoning_content": text }), None))
            }
            Event::Text(text) => {
                let mut chunk = self.delta(answer, json!({ "content": text }), None);
                if !probs.is_empty() {
                    chunk["choices"][0]["logprobs"] = logprobs(probs);
                }
                data(&chunk)
            }
            Event::CallBegin { index, name } => {
                let id = CallIds::new(OPENAI_CALL, self.head.nonce, answer).call(*index);
                let function = json!({"name": name, "arguments": ""});
                let call = json!({
                    "index": index, "id": id, "type": "function", "function": function
                });
                self.tool(answer, call)
            }
            Event::CallArguments(text) => {
                self.tool(answer, json!({"index": index(), "function": {"arguments": text}}))
            }
            Event::Finish(finish) if self.choices[answer].is_void(finish) => {
                self.fail(&void_calls())
            }
            Event::Finish(finish) => {
                data(&self.delta(answer, json!({}), Some(openai_finish(finish))))
            }
            _ => String::new(),
        }
    }

    fn keep_alive(&mut self) -> String {
        ": prefill\n\n".to_owned()
    }

    fn end(&mut self, usage: &Usage) -> String {
        if self.failed {
            return String::new();
        }
        let mut out = String::new();
        if self.include_usage {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage_of(usage);
            out += &data(&chunk);
        }
        out + DONE
    }

    fn fail(&mut self, refusal: &Refusal) -> String {
        if std::mem::replace(&mut self.failed, true) {
            return String::new();
        }
        data(&refusal.openai())
    }
}
