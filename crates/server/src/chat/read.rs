//! From the body of a chat completion to what it asks for.
//!
//! Parts of a content are joined in one place for all roles, and the many ways of saying whether to
//! reason are weighed in another. What this API has and we have not is refused by its name.

use serde_json::Value;
use text::{Assistant, Block, ToolCall, ToolResult, json};

use crate::ask::{self, Ask, Choice, Controls, Format, Thinking, What, Wishes};
use crate::body::{self, Object, ReadOptions, kind};
use crate::dialogue::{Builder, MESSAGES_MAX, join, part};
use crate::offers::{self, Manner, Offers, TOOLS_MAX};
use crate::refusal::Refusal;

/// A chat completion that is asked for.
#[derive(Clone, Debug)]
pub struct Chat {
    /// What any dialect asks for.
    pub ask: Ask,
    /// Whether a stream ends with what it took.
    pub include_usage: bool,
}

/// Members that are acted on.
const ACTED: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "max_tokens",
    "max_completion_tokens",
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
    "thinking",
    "think",
    "reasoning_effort",
    "chat_template_kwargs",
    "response_format",
    "n",
    "logprobs",
    "top_logprobs",
];

/// Members that clients send and that change nothing about an answer of a local server.
const HARMLESS: &[&str] =
    &["store", "prompt_cache_key", "service_tier", "metadata", "user", "parallel_tool_calls"];

/// Reads a body.
///
/// # Errors
/// What is wrong with it, or not supported.
pub fn read(bytes: &[u8], options: ReadOptions) -> Result<Chat, Refusal> {
    let value = body::parse(bytes)?;
    let body = Object::body(&value)?;
    let ignored = body.only(ACTED, HARMLESS, options)?;
    let model = body.text("model")?.unwrap_or_default().to_owned();
    let thinking = thinking(&body, &model, options)?;
    let format = match body.object("response_format")? {
        Some(format) => Format::read(&format, "response_format.json_schema.schema", |format| {
            Ok(format.object("json_schema")?.and_then(|inner| inner.get("schema")))
        })?,
        None => Format::Text,
    };
    let choice = choice(&body)?;
    let offers = tools(&body)?;
    let mut builder = Builder::default();
    for message in body.objects("messages", MESSAGES_MAX)? {
        read_message(&message, &mut builder)?;
    }
    let dialogue = builder.finish(offers, &choice, &format, "messages")?;
    let logprobs = match body.flag("logprobs")?.unwrap_or(false) {
        true => Some(ask::alternatives(&body, "top_logprobs")?.unwrap_or(0)),
        false if body.get("top_logprobs").is_some() => {
            return Err(body.refuse("top_logprobs", "needs \"logprobs\": true"));
        }
        false => None,
    };
    let long = body.count("max_completion_tokens", 1, usize::MAX)?;
    let tokens_max = long.or(body.count("max_tokens", 1, usize::MAX)?);
    let include_usage = ask::include_usage(&body, options)?;
    let ask = Ask {
        model,
        stream: body.flag("stream")?.unwrap_or(false),
        what: What::Dialogue(dialogue),
        thinking,
        wishes: Wishes::read(&body)?,
        tokens_max,
        stop: ask::stop(&body, "stop")?,
        format,
        choice,
        answers: ask::answers(&body)?,
        logprobs,
        ignored,
    };
    Ok(Chat { ask, include_usage })
}

/// The many ways to say whether the model is to reason.
pub fn thinking(body: &Object<'_>, model: &str, options: ReadOptions) -> Result<Thinking, Refusal> {
    let mut switch = match body.get("thinking") {
        None => None,
        Some(Value::Bool(on)) => Some(*on),
        Some(value) => {
            let thinking = Object::new(value, "thinking".to_owned())?;
            thinking.only(&["type"], &["budget_tokens", "display"], options)?;
            match thinking.need_text("type")? {
                "enabled" | "adaptive" => Some(true),
                "disabled" => Some(false),
                _ => return Err(thinking.refuse("type", "expected enabled or disabled")),
            }
        }
    };
    switch = switch.or(body.flag("think")?);
    if let Some(template) = body.object("chat_template_kwargs")? {
        template.only(&["thinking", "enable_thinking"], &[], options)?;
        switch = switch.or(template.flag("thinking")?).or(template.flag("enable_thinking")?);
    }
    let effort = body.text("reasoning_effort")?.map(|name| ("reasoning_effort", name));
    Thinking::weigh(model, Controls { switch, effort })
}

fn choice(body: &Object<'_>) -> Result<Choice, Refusal> {
    match body.get("tool_choice") {
        None => Ok(Choice::Auto),
        Some(Value::String(word)) => Choice::of_word(word).ok_or_else(|| {
            body.refuse("tool_choice", "expected auto, none, required or a function")
        }),
        Some(value) => {
            let choice = Object::new(value, "tool_choice".to_owned())?;
            if choice.need_text("type")? != "function" {
                return Err(choice.refuse("type", "expected function"));
            }
            let function = choice.object("function")?;
            let function = function.ok_or_else(|| choice.refuse("function", "missing"))?;
            Ok(Choice::Named(function.need_text("name")?.to_owned()))
        }
    }
}

fn tools(body: &Object<'_>) -> Result<Offers, Refusal> {
    let mut offers = Offers::default();
    for tool in body.objects("tools", TOOLS_MAX)? {
        match tool.text("type")?.unwrap_or("function") {
            "function" => {
                let function = tool.object("function")?;
                let function = function.ok_or_else(|| tool.refuse("function", "missing"))?;
                let strict = function.flag("strict")?.unwrap_or(false);
                let manner = Manner { strict, ..Manner::default() };
                offers.add(offers::function(&function, "parameters")?, manner, &function)?;
            }
            "custom" => return Err(tool.refuse("type", "custom tools need the Responses API")),
            // Hosted by somebody else: the model could call it, and nobody would answer.
            _ => {}
        }
    }
    Ok(offers)
}

fn read_message(message: &Object<'_>, builder: &mut Builder) -> Result<(), Refusal> {
    match message.need_text("role")? {
        "system" | "developer" => builder.system(joined_text(message)?),
        "user" => builder.user(blocks(message)?),
        "assistant" => builder.assistant(assistant(message)?),
        role @ ("tool" | "function") => {
            let call_id = match role {
                "tool" => message.need_text("tool_call_id")?,
                _ => message.text("tool_call_id")?.unwrap_or(""),
            };
            builder.result(ToolResult { call_id: call_id.to_owned(), parts: parts(message)? });
        }
        _ => {
            let expected = "expected system, developer, user, assistant or tool";
            return Err(message.refuse("role", expected));
        }
    }
    Ok(())
}

fn assistant(message: &Object<'_>) -> Result<Assistant, Refusal> {
    if message.get("function_call").is_some() {
        return Err(message.refuse("function_call", "not supported, expected tool_calls"));
    }
    let reasoning = message.text("reasoning_content")?.or(message.text("reasoning")?);
    let calls = message.objects("tool_calls", TOOLS_MAX)?;
    Ok(Assistant {
        reasoning: reasoning.map(str::to_owned),
        text: joined_text(message)?,
        calls: calls.iter().map(call).collect::<Result<_, _>>()?,
        ..Assistant::default()
    })
}

fn call(call: &Object<'_>) -> Result<ToolCall, Refusal> {
    let function = call.object("function")?.ok_or_else(|| call.refuse("function", "missing"))?;
    Ok(ToolCall {
        id: call.text("id")?.unwrap_or("").to_owned(),
        name: function.need_text("name")?.to_owned(),
        arguments: arguments(&function)?,
    })
}

/// Arguments are JSON text; some clients send the object itself.
pub fn arguments(function: &Object<'_>) -> Result<String, Refusal> {
    match function.get("arguments") {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ Value::Object(_)) => Ok(json::to_text(value)),
        Some(other) => {
            let found = kind(other);
            Err(function.refuse("arguments", format!("expected JSON text, found {found}")))
        }
    }
}

/// The parts of a message's content: type, and text where it is one.
fn content<'a>(message: &Object<'a>) -> Result<Vec<(&'a str, Option<&'a str>)>, Refusal> {
    match message.get("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![("text", Some(text))]),
        Some(_) => {
            let read = |part: &Object<'a>| match part.need_text("type")? {
                "text" => Ok(("text", Some(part.need_text("text")?))),
                "refusal" => Ok(("refusal", Some(part.need_text("refusal")?))),
                kind => Ok((kind, None)),
            };
            message.objects("content", MESSAGES_MAX)?.iter().map(read).collect()
        }
    }
}

fn blocks(message: &Object<'_>) -> Result<Vec<Block>, Refusal> {
    let block = |(kind, text): (&str, Option<&str>)| match text {
        Some(text) => Block::Text(text.to_owned()),
        None => Block::Other(kind.to_owned()),
    };
    Ok(content(message)?.into_iter().map(block).collect())
}

fn parts(message: &Object<'_>) -> Result<Vec<text::Part>, Refusal> {
    Ok(content(message)?.into_iter().map(|(kind, text)| part(text, kind)).collect())
}

/// Of a role that has nothing but text.
fn joined_text(message: &Object<'_>) -> Result<String, Refusal> {
    let texts = content(message)?.into_iter().map(|(kind, text)| match text {
        Some(text) => Ok(text.to_owned()),
        None => Err(message.refuse("content", format!("expected text, found {kind}"))),
    });
    Ok(join(texts.collect::<Result<Vec<_>, _>>()?))
}
