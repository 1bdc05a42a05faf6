//! From what the model says to completions, whole and in chunks.
//!
//! There is nothing but text here: no reasoning and no calls. Chunks have the same shape as a whole
//! completion.

use serde_json::{Value, json};
use text::Event;

use crate::chat;
use crate::refusal::Refusal;
use crate::said::{
    Answer, DONE, Head, Prob, Seen, Usage, Writer, data, logprob, openai_finish, spelled,
};

/// A whole completion; with `echo` every text begins with it.
pub fn whole(head: &Head, answers: &[Answer], usage: &Usage, echo: &str) -> Value {
    let choice = |(index, answer): (usize, &Answer)| {
        let text = format!("{echo}{}", answer.reply.text);
        let probs = answer.probs.as_deref().map(|probs| logprobs(probs, 0));
        choice(index, &text, probs, answer.reply.finish.as_ref().map(openai_finish))
    };
    let choices = answers.iter().enumerate().map(choice).collect::<Vec<_>>();
    let mut value = object(head, choices);
    value["usage"] = chat::usage_of(usage);
    value
}

fn object(head: &Head, choices: Vec<Value>) -> Value {
    json!({
        "id": head.id("cmpl-", 0),
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    })
}

fn choice(index: usize, text: &str, logprobs: Option<Value>, finish: Option<&str>) -> Value {
    json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish})
}

/// Four lists side by side, as this API has them; `offset` characters came before.
fn logprobs(probs: &[Prob], offset: usize) -> Value {
    let mut at = offset;
    let mut offsets = Vec::new();
    for prob in probs {
        offsets.push(at);
        at += spelled(&prob.bytes).chars().count();
    }
    let top = |prob: &Prob| {
        let pairs = prob.top.iter().map(|(bytes, value)| (spelled(bytes), logprob(*value)));
        Value::Object(pairs.collect())
    };
    json!({
        "tokens": probs.iter().map(|prob| spelled(&prob.bytes)).collect::<Vec<_>>(),
        "token_logprobs": probs.iter().map(|prob| logprob(prob.logprob)).collect::<Vec<_>>(),
        "top_logprobs": probs.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// A completion in chunks.
#[derive(Debug)]
pub struct Stream {
    head: Head,
    include_usage: bool,
    /// What every text begins with.
    echo: String,
    /// Characters that were sent of each answer.
    sent: Vec<usize>,
    failed: bool,
}

impl Stream {
    /// A stream of so many answers.
    pub fn new(head: Head, answers: usize, include_usage: bool, echo: String) -> Stream {
        Stream { head, include_usage, echo, sent: vec![0; answers], failed: false }
    }
}

impl Writer for Stream {
    fn start(&mut self, _: Seen) -> String {
        if self.echo.is_empty() {
            return String::new();
        }
        let first = |index| data(&object(&self.head, vec![choice(index, &self.echo, None, None)]));
        (0..self.sent.len()).map(first).collect()
    }

    fn event(&mut self, answer: usize, event: &Event, probs: &[Prob]) -> String {
        let choice = match event {
            _ if self.failed => return String::new(),
            Event::Text(text) => {
                let offset = self.sent[answer];
                self.sent[answer] += text.chars().count();
                let probs = (!probs.is_empty()).then(|| logprobs(probs, offset));
                choice(answer, text, probs, None)
            }
            Event::Finish(finish) => choice(answer, "", None, Some(openai_finish(finish))),
            _ => return String::new(),
        };
        data(&object(&self.head, vec![choice]))
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
            let mut chunk = object(&self.head, Vec::new());
            chunk["usage"] = chat::usage_of(usage);
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
