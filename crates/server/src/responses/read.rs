//! From the body of a response to what it asks for.
//!
//! Nothing is stored here, so a request has to bring its whole history; the items of that history
//! are read in `items.rs`. What an answer says again of the request is kept as it was sent.

use serde_json::{Map, Value};
use text::ToolSpec;

use super::items::Items;
use crate::ask::{self, Ask, Choice, Controls, Format, Thinking, What, Wishes};
use crate::body::{self, Object, ReadOptions};
use crate::dialogue::{Builder, MESSAGES_MAX};
use crate::offers::{self, Kind, Manner, Offers, TOOLS_MAX};
use crate::refusal::Refusal;

/// A response that is asked for.
#[derive(Clone, Debug)]
pub struct Responses {
    /// What any dialect asks for.
    pub ask: Ask,
    /// How much of the reasoning is shown.
    pub summary: Summary,
    /// Members that an answer says again, as they were sent.
    pub echo: Map<String, Value>,
}

/// How much of the reasoning is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// As text.
    pub text: bool,
    /// For the client to carry.
    pub sealed: bool,
}

/// Members that are acted on.
const ACTED: &[&str] = &[
    "model",
    "instructions",
    "input",
    "tools",
    "tool_choice",
    "max_output_tokens",
    "temperature",
    "top_p",
    "steer",
    "top_logprobs",
    "stream",
    "reasoning",
    "include",
    "text",
    "previous_response_id",
    "conversation",
    "background",
];

/// Members that clients send and that change nothing about an answer of a local server.
const HARMLESS: &[&str] = &[
    "store",
    "prompt_cache_key",
    "client_metadata",
    "metadata",
    "service_tier",
    "user",
    "truncation",
    "parallel_tool_calls",
];

/// Members that an answer says again.
const ECHOED: &[&str] = &[
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
];

/// Tools that somebody else would have to run.
const HOSTED: [&str; 8] = [
    "web_search",
    "image_generation",
    "local_shell",
    "mcp",
    "file_search",
    "code_interpreter",
    "computer_use_preview",
    "shell",
];

/// Reads a body.
///
/// # Errors
/// What is wrong with it, or not supported.
pub fn read(bytes: &[u8], options: ReadOptions) -> Result<Responses, Refusal> {
    let value = body::parse(bytes)?;
    let body = Object::body(&value)?;
    let ignored = body.only(ACTED, HARMLESS, options)?;
    refuse_stored(&body)?;
    let model = body.text("model")?.unwrap_or_default().to_owned();
    let (thinking, summary) = reasoning(&body, &model, options)?;
    let format = format(&body, options)?;
    let offers = tools(&body)?;
    let choice = choice(&body, &offers)?;
    let mut builder = Builder::default();
    builder.system(body.text("instructions")?.unwrap_or("").to_owned());
    match body.get("input") {
        Some(Value::String(text)) => builder.user(vec![text::Block::Text(text.clone())]),
        _ => {
            let mut items = Items::new(&mut builder, &offers);
            for item in body.objects("input", MESSAGES_MAX)? {
                items.take(&item)?;
            }
            items.flush();
        }
    }
    let dialogue = builder.finish(offers, &choice, &format, "input")?;
    let ask = Ask {
        model,
        stream: body.flag("stream")?.unwrap_or(false),
        what: What::Dialogue(dialogue),
        thinking,
        wishes: Wishes::read(&body)?,
        tokens_max: body.count("max_output_tokens", 1, usize::MAX)?,
        stop: Vec::new(),
        format,
        choice,
        answers: 1,
        logprobs: logprobs(&body)?,
        ignored,
    };
    let echo = ECHOED.iter().map(|name| (name.to_string(), body.echo(name))).collect();
    Ok(Responses { ask, summary, echo })
}

/// Nothing is stored, so nothing can be referred to.
fn refuse_stored(body: &Object<'_>) -> Result<(), Refusal> {
    for name in ["previous_response_id", "conversation"] {
        if body.get(name).is_some() {
            return Err(body.refuse(name, "is not supported; replay full input instead"));
        }
    }
    if body.flag("background")? == Some(true) {
        return Err(body.refuse("background", "is not supported"));
    }
    Ok(())
}

fn reasoning(
    body: &Object<'_>,
    model: &str,
    options: ReadOptions,
) -> Result<(Thinking, Summary), Refusal> {
    let include = include(body)?;
    let mut summary = Summary { text: false, sealed: false };
    summary.sealed = include.contains(&"reasoning.encrypted_content");
    let mut effort = None;
    if let Some(reasoning) = body.object("reasoning")? {
        reasoning.only(&["effort", "summary", "generate_summary"], &[], options)?;
        let shown = reasoning.text("summary")?.or(reasoning.text("generate_summary")?);
        summary.text = match shown {
            None | Some("none") => false,
            Some("auto" | "concise" | "detailed") => true,
            Some(_) => {
                return Err(reasoning.refuse("summary", "expected auto, concise or detailed"));
            }
        };
        effort = reasoning.text("effort")?.map(|name| ("reasoning.effort", name));
    }
    Ok((Thinking::weigh(model, Controls { switch: None, effort })?, summary))
}

/// What is to be included. Parts that only hosted tools have are never there to be included.
fn include<'a>(body: &Object<'a>) -> Result<Vec<&'a str>, Refusal> {
    let list = body.list("include", 64)?.unwrap_or_default();
    let wrong = || body.refuse("include", "expected strings");
    list.iter().map(|name| name.as_str().ok_or_else(wrong)).collect()
}

fn logprobs(body: &Object<'_>) -> Result<Option<usize>, Refusal> {
    let wanted = include(body)?.contains(&"message.output_text.logprobs");
    let top = ask::alternatives(body, "top_logprobs")?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            let needs = "needs \"message.output_text.logprobs\" in include";
            Err(body.refuse("top_logprobs", needs))
        }
    }
}

fn format(body: &Object<'_>, options: ReadOptions) -> Result<Format, Refusal> {
    let Some(text) = body.object("text")? else { return Ok(Format::Text) };
    text.only(&["format"], &["verbosity"], options)?;
    match text.object("format")? {
        Some(format) => {
            Format::read(&format, "text.format.schema", |format| Ok(format.get("schema")))
        }
        None => Ok(Format::Text),
    }
}

fn choice(body: &Object<'_>, offers: &Offers) -> Result<Choice, Refusal> {
    match body.get("tool_choice") {
        None => Ok(Choice::Auto),
        Some(Value::String(word)) => Choice::of_word(word)
            .ok_or_else(|| body.refuse("tool_choice", "expected auto, none, required or a tool")),
        Some(value) => {
            let choice = Object::new(value, "tool_choice".to_owned())?;
            match choice.need_text("type")? {
                "function" | "custom" => {
                    let name = choice.need_text("name")?;
                    Ok(Choice::Named(offers.known_as(choice.text("namespace")?, name)))
                }
                _ => Err(choice.refuse("type", "expected function or custom")),
            }
        }
    }
}

fn tools(body: &Object<'_>) -> Result<Offers, Refusal> {
    let mut offers = Offers::default();
    for tool in body.objects("tools", TOOLS_MAX)? {
        let deferred = tool.flag("defer_loading")?.unwrap_or(false);
        let strict = tool.flag("strict")?.unwrap_or(false);
        let manner = |kind| Manner { kind, deferred, strict };
        match tool.need_text("type")? {
            "function" => {
                let spec = offers::function(&tool, "parameters")?;
                offers.add(spec, manner(Kind::Function), &tool)?;
            }
            "custom" => offers.add(offers::custom(&tool)?, manner(Kind::Custom), &tool)?,
            "namespace" => {
                let namespace = tool.need_text("name")?;
                for inner in tool.objects("tools", TOOLS_MAX)? {
                    add_inner(&mut offers, namespace, &inner, deferred)?;
                }
            }
            "tool_search" => {
                let (description, parameters) =
                    (tool.text("description")?.map(str::to_owned), tool.get("parameters").cloned());
                let spec = ToolSpec::new("tool_search", description, parameters);
                offers.add(spec, manner(Kind::Search), &tool)?;
            }
            kind if HOSTED.iter().any(|hosted| kind.starts_with(hosted)) => {}
            kind => {
                let kind: String = kind.chars().take(80).collect();
                return Err(tool.refuse("type", format!("{kind:?} is not supported")));
            }
        }
    }
    Ok(offers)
}

fn add_inner(
    offers: &mut Offers,
    namespace: &str,
    tool: &Object<'_>,
    deferred: bool,
) -> Result<(), Refusal> {
    if tool.text("type")?.is_some_and(|kind| kind != "function") {
        return Err(tool.refuse("type", "expected function in a namespace"));
    }
    let mut spec = offers::function(tool, "parameters")?;
    let name = std::mem::take(&mut spec.name);
    spec.name = offers::joined(namespace, &name);
    let kind = Kind::Inner { namespace: namespace.to_owned(), name };
    let deferred = deferred || tool.flag("defer_loading")?.unwrap_or(false);
    let strict = tool.flag("strict")?.unwrap_or(false);
    offers.add(spec, Manner { kind, deferred, strict }, tool)
}

/// The functions that a tool of a search's result stands for.
pub(super) fn functions(tool: &Object<'_>) -> Result<Vec<ToolSpec>, Refusal> {
    if tool.text("type")? != Some("namespace") {
        return Ok(vec![offers::function(tool, "parameters")?]);
    }
    let namespace = tool.need_text("name")?;
    let inner = |inner: &Object<'_>| {
        let mut spec = offers::function(inner, "parameters")?;
        spec.name = offers::joined(namespace, &spec.name);
        Ok(spec)
    };
    tool.objects("tools", TOOLS_MAX)?.iter().map(inner).collect()
}
