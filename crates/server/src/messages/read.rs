//! From the body of a messages request to what it asks for.
//!
//! System material may stand in a member of its own and between the messages; both follow the rules
//! of `dialogue.rs`. Tools that are loaded later come with the result that refers to them.

use serde_json::Value;
use text::{Assistant, Block, Part, ToolCall, ToolResult, json};

use crate::ask::{self, Ask, Choice, Controls, Format, Thinking, What, Wishes};
use crate::body::{self, Object, ReadOptions};
use crate::dialogue::{Builder, MESSAGES_MAX, join};
use crate::offers::{self, Manner, Offers, TOOLS_MAX};
use crate::refusal::Refusal;

/// A message that is asked for.
#[derive(Clone, Debug)]
pub struct Messages {
    /// What any dialect asks for.
    pub ask: Ask,
}

/// What a body is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An answer.
    Answer,
    /// The number of its tokens.
    Count,
}

/// Members that are acted on.
const ACTED: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "tools",
    "tool_choice",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "steer",
    "thinking",
    "output_config",
    "reasoning_effort",
];

/// Members that clients send and that change nothing about an answer of a local server.
const HARMLESS: &[&str] = &[
    "metadata",
    "context_management",
    "cache_control",
    "mcp_servers",
    "container",
    "service_tier",
];

/// System blocks with this beginning are private to the client, and differ between its agents.
const PRIVATE: &str = "x-anthropic-";

/// Reads a body.
///
/// # Errors
/// What is wrong with it, or not supported.
pub fn read(bytes: &[u8], purpose: Purpose, options: ReadOptions) -> Result<Messages, Refusal> {
    let value = body::parse(bytes)?;
    let body = Object::body(&value)?;
    let ignored = body.only(ACTED, HARMLESS, options)?;
    let model = body.text("model")?.unwrap_or_default().to_owned();
    let output = body.object("output_config")?;
    if let Some(output) = &output {
        output.only(&["effort", "format"], &[], options)?;
    }
    let thinking = thinking(&body, output.as_ref(), &model, options)?;
    let format = match output.map(|output| output.object("format")).transpose()?.flatten() {
        Some(format) => {
            let at = "output_config.format.schema";
            Format::read(&format, at, |format| Ok(format.get("schema")))?
        }
        None => Format::Text,
    };
    let choice = choice(&body)?;
    let offers = tools(&body)?;
    let mut builder = Builder::default();
    for text in system(&body)? {
        builder.system(text);
    }
    for message in body.objects("messages", MESSAGES_MAX)? {
        read_message(&message, &offers, &mut builder)?;
    }
    let dialogue = builder.finish(offers, &choice, &format, "messages")?;
    let tokens_max = body.count("max_tokens", 1, usize::MAX)?;
    if tokens_max.is_none() && purpose == Purpose::Answer {
        return Err(body.refuse("max_tokens", "missing, expected a whole number from 1"));
    }
    let ask = Ask {
        model,
        stream: body.flag("stream")?.unwrap_or(false),
        what: What::Dialogue(dialogue),
        thinking,
        wishes: Wishes::read(&body)?,
        tokens_max,
        stop: ask::stop(&body, "stop_sequences")?,
        format,
        choice,
        answers: 1,
        logprobs: None,
        ignored,
    };
    Ok(Messages { ask })
}

fn thinking(
    body: &Object<'_>,
    output: Option<&Object<'_>>,
    model: &str,
    options: ReadOptions,
) -> Result<Thinking, Refusal> {
    let switch = match body.object("thinking")? {
        None => None,
        Some(thinking) => {
            thinking.only(&["type"], &["budget_tokens", "display"], options)?;
            match thinking.need_text("type")? {
                "enabled" | "adaptive" => Some(true),
                "disabled" => Some(false),
                _ => return Err(thinking.refuse("type", "expected enabled, adaptive or disabled")),
            }
        }
    };
    let output = output.map(|output| output.text("effort")).transpose()?.flatten();
    let effort = match output {
        Some(name) => Some(("output_config.effort", name)),
        None => body.text("reasoning_effort")?.map(|name| ("reasoning_effort", name)),
    };
    Thinking::weigh(model, Controls { switch, effort })
}

fn choice(body: &Object<'_>) -> Result<Choice, Refusal> {
    let Some(choice) = body.object("tool_choice")? else { return Ok(Choice::Auto) };
    match choice.need_text("type")? {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::Never),
        "any" => Ok(Choice::Required),
        "tool" => Ok(Choice::Named(choice.need_text("name")?.to_owned())),
        _ => Err(choice.refuse("type", "expected auto, any, tool or none")),
    }
}

fn tools(body: &Object<'_>) -> Result<Offers, Refusal> {
    /// Tools of the API itself that run on somebody else's machine. Nobody here would answer.
    const HOSTED: [&str; 3] = ["web_search_", "web_fetch_", "code_execution_"];
    let mut offers = Offers::default();
    for tool in body.objects("tools", TOOLS_MAX)? {
        match tool.text("type")?.unwrap_or("custom") {
            "custom" => {
                let deferred = tool.flag("defer_loading")?.unwrap_or(false);
                let strict = tool.flag("strict")?.unwrap_or(false);
                let manner = Manner { deferred, strict, ..Manner::default() };
                offers.add(offers::function(&tool, "input_schema")?, manner, &tool)?;
            }
            kind if HOSTED.iter().any(|hosted| kind.starts_with(hosted)) => {}
            _ => {
                let message = "not known here: offer it with a name and an input_schema";
                return Err(tool.refuse("type", message));
            }
        }
    }
    Ok(offers)
}

fn system(body: &Object<'_>) -> Result<Vec<String>, Refusal> {
    let texts = texts(body, "system")?;
    Ok(texts.into_iter().filter(|text| !text.starts_with(PRIVATE)).collect())
}

/// A member that is a string or a list of text blocks.
fn texts(of: &Object<'_>, name: &str) -> Result<Vec<String>, Refusal> {
    match of.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(_) => {
            let text = |block: &Object<'_>| match block.need_text("type")? {
                "text" => block.need_text("text").map(str::to_owned),
                _ => Err(block.refuse("type", "expected text")),
            };
            of.objects(name, MESSAGES_MAX)?.iter().map(text).collect()
        }
    }
}

fn read_message(
    message: &Object<'_>,
    offers: &Offers,
    builder: &mut Builder,
) -> Result<(), Refusal> {
    match message.need_text("role")? {
        "system" => builder.system(join(texts(message, "content")?)),
        "user" => builder.user(blocks(message, offers)?),
        "assistant" => builder.more_of_assistant(assistant(message)?),
        _ => return Err(message.refuse("role", "expected user, assistant or system")),
    }
    Ok(())
}

fn blocks(message: &Object<'_>, offers: &Offers) -> Result<Vec<Block>, Refusal> {
    if let Some(Value::String(text)) = message.get("content") {
        return Ok(vec![Block::Text(text.clone())]);
    }
    let block = |block: &Object<'_>| match block.need_text("type")? {
        "text" => Ok(Block::Text(block.need_text("text")?.to_owned())),
        "tool_result" => {
            let call_id = block.need_text("tool_use_id")?.to_owned();
            Ok(Block::ToolResult(ToolResult { call_id, parts: result_parts(block, offers)? }))
        }
        "tool_use" => Err(block.refuse("type", "tool_use belongs to the assistant")),
        kind => Ok(Block::Other(kind.to_owned())),
    };
    message.objects("content", MESSAGES_MAX)?.iter().map(block).collect()
}

/// The parts of a result. References to tools are loaded: their schemas are what the model reads.
fn result_parts(result: &Object<'_>, offers: &Offers) -> Result<Vec<Part>, Refusal> {
    if let Some(Value::String(text)) = result.get("content") {
        return Ok(vec![Part::Text(text.clone())]);
    }
    let (mut parts, mut loaded) = (Vec::new(), Vec::new());
    for block in result.objects("content", MESSAGES_MAX)? {
        match block.need_text("type")? {
            "text" => parts.push(Part::Text(block.need_text("text")?.to_owned())),
            "tool_reference" => match offers.spec(block.need_text("tool_name")?) {
                Some(spec) => loaded.push(spec),
                None => parts.push(Part::Other("tool_reference".to_owned())),
            },
            kind => parts.push(Part::Other(kind.to_owned())),
        }
    }
    if !loaded.is_empty() {
        parts.push(Part::Text(offers::loaded(loaded.into_iter())));
    }
    Ok(parts)
}

fn assistant(message: &Object<'_>) -> Result<Assistant, Refusal> {
    if let Some(Value::String(text)) = message.get("content") {
        return Ok(Assistant { text: text.clone(), ..Assistant::default() });
    }
    let (mut turn, mut texts, mut thoughts) = (Assistant::default(), Vec::new(), Vec::new());
    for block in message.objects("content", MESSAGES_MAX)? {
        match block.need_text("type")? {
            "text" => texts.push(block.need_text("text")?.to_owned()),
            "thinking" => thoughts.push(block.need_text("thinking")?.to_owned()),
            // Nobody here has made it, and nobody can read it.
            "redacted_thinking" => {}
            "tool_use" => turn.calls.push(ToolCall {
                id: block.need_text("id")?.to_owned(),
                name: block.need_text("name")?.to_owned(),
                arguments: block.get("input").map_or_else(|| "{}".to_owned(), json::to_text),
            }),
            kind => {
                let kind: String = kind.chars().take(80).collect();
                return Err(block.refuse("type", format!("{kind:?} is not supported")));
            }
        }
    }
    turn.text = join(texts);
    turn.reasoning = Some(join(thoughts)).filter(|text| !text.is_empty());
    Ok(turn)
}
