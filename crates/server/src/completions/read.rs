//! From the body of a completion to what it asks for.
//!
//! The text is continued without any chat format: what it looks like is the client's business, and
//! no text in it becomes a special token.

use serde_json::Value;
use text::ThinkMode;

use crate::ask::{self, Ask, Choice, Format, Thinking, What, Wishes};
use crate::body::{self, Object, ReadOptions};
use crate::refusal::Refusal;

/// A completion that is asked for.
#[derive(Clone, Debug)]
pub struct Completion {
    /// What any dialect asks for.
    pub ask: Ask,
    /// Whether a stream ends with what it took.
    pub include_usage: bool,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
}

/// Tokens of an answer if nothing is said; the API's own default.
const TOKENS_DEFAULT: usize = 16;

/// Members that are acted on.
const ACTED: &[&str] = &[
    "model",
    "prompt",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "seed",
    "steer",
    "stop",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "logprobs",
    "echo",
];

/// Members that change nothing.
const HARMLESS: &[&str] = &["user"];

/// Reads a body.
///
/// # Errors
/// What is wrong with it, or not supported.
pub fn read(bytes: &[u8], options: ReadOptions) -> Result<Completion, Refusal> {
    let value = body::parse(bytes)?;
    let body = Object::body(&value)?;
    let ignored = body.only(ACTED, HARMLESS, options)?;
    let answers = ask::answers(&body)?;
    if body.count("best_of", 1, usize::MAX)?.is_some_and(|best| best != answers) {
        return Err(body.refuse("best_of", "not supported, expected as many as n"));
    }
    let include_usage = ask::include_usage(&body, options)?;
    let echo = body.flag("echo")?.unwrap_or(false);
    let logprobs = ask::alternatives(&body, "logprobs")?;
    if echo && logprobs.is_some() {
        return Err(body.refuse("logprobs", "not supported together with echo"));
    }
    let ask = Ask {
        model: body.text("model")?.unwrap_or_default().to_owned(),
        stream: body.flag("stream")?.unwrap_or(false),
        what: What::Raw(prompt(&body)?),
        thinking: Thinking { mode: ThinkMode::Chat, effort: None },
        wishes: Wishes::read(&body)?,
        tokens_max: Some(body.count("max_tokens", 0, usize::MAX)?.unwrap_or(TOKENS_DEFAULT)),
        stop: ask::stop(&body, "stop")?,
        format: Format::Text,
        choice: Choice::Never,
        answers,
        logprobs,
        ignored,
    };
    Ok(Completion { ask, include_usage, echo })
}

/// A string, or a list of one string.
fn prompt(body: &Object<'_>) -> Result<String, Refusal> {
    match body.get("prompt") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(text)] => Ok(text.clone()),
            [] => Err(body.refuse("prompt", "an empty list, expected a text")),
            _ => Err(body.refuse("prompt", "expected one text: several, or tokens, are not read")),
        },
        Some(_) => Err(body.refuse("prompt", "expected a text")),
        None => Err(body.refuse("prompt", "missing, expected a text")),
    }
}
