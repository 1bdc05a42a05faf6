//! The history of a response: input items to a conversation.
//!
//! Consecutive items of the assistant (reasoning, text, calls) are one turn. Reasoning that nothing
//! of the assistant follows is a turn of its own. Items of kinds that nobody here knows are
//! refused, since a history must not be lost silently.

use serde_json::Value;
use text::{Assistant, Block, Part, ToolCall, ToolResult, json};

use crate::body::{Object, kind};
use crate::chat::arguments;
use crate::dialogue::{Builder, MESSAGES_MAX, join};
use crate::offers::{self, Offers, TOOLS_MAX};
use crate::refusal::Refusal;
use crate::seal;

/// Takes items in order.
#[derive(Debug)]
pub struct Items<'a> {
    builder: &'a mut Builder,
    /// Items of the assistant that no other item has ended.
    turn: Option<Assistant>,
    offers: &'a Offers,
}

impl<'a> Items<'a> {
    /// Items of a request with these tools.
    pub fn new(builder: &'a mut Builder, offers: &'a Offers) -> Items<'a> {
        Items { builder, turn: None, offers }
    }

    /// Takes an item.
    ///
    /// # Errors
    /// What is wrong with it, or not supported.
    pub fn take(&mut self, item: &Object<'_>) -> Result<(), Refusal> {
        match item.text("type")?.unwrap_or("message") {
            "message" => self.message(item),
            "reasoning" => {
                let reasoning = reasoning(item)?;
                self.add(Assistant { reasoning, ..Assistant::default() });
                Ok(())
            }
            "function_call" => {
                let name = self.offers.known_as(item.text("namespace")?, item.need_text("name")?);
                self.call(item, name, arguments(item)?)
            }
            "custom_tool_call" => {
                let input = json::to_text(&Value::from(item.need_text("input")?));
                let name = item.need_text("name")?.to_owned();
                self.call(item, name, format!("{{\"input\": {input}}}"))
            }
            "function_call_output" | "custom_tool_call_output" => self.output(item),
            "tool_search_output" => self.found_tools(item),
            name @ ("local_shell_call"
            | "web_search_call"
            | "tool_search_call"
            | "image_generation_call") => {
                let tool = name.trim_end_matches("_call").to_owned();
                let given = item.get("arguments").or(item.get("action"));
                let given = given.map_or_else(|| "{}".to_owned(), object_text);
                self.call(item, tool, given)
            }
            "local_shell_call_output"
            | "web_search_call_output"
            | "image_generation_call_output" => self.output(item),
            "compaction" | "context_compaction" => Ok(()),
            "item_reference" => {
                Err(item.refuse("type", "nothing is stored here: send the item itself"))
            }
            other => {
                let other: String = other.chars().take(80).collect();
                Err(item.refuse("type", format!("{other:?} is not supported")))
            }
        }
    }

    /// Ends the turn that is open.
    pub fn flush(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.builder.assistant(turn);
        }
    }

    fn add(&mut self, more: Assistant) {
        let turn = self.turn.get_or_insert_with(Assistant::default);
        turn.text = join([std::mem::take(&mut turn.text), more.text]);
        turn.calls.extend(more.calls);
        let reasoning = [turn.reasoning.take(), more.reasoning].into_iter().flatten();
        turn.reasoning = Some(join(reasoning)).filter(|text| !text.is_empty());
    }

    fn call(&mut self, item: &Object<'_>, name: String, arguments: String) -> Result<(), Refusal> {
        let id = match item.text("call_id")? {
            Some(id) => id,
            None => item.text("id")?.unwrap_or(""),
        };
        let calls = vec![ToolCall { id: id.to_owned(), name, arguments }];
        self.add(Assistant { calls, ..Assistant::default() });
        Ok(())
    }

    fn message(&mut self, item: &Object<'_>) -> Result<(), Refusal> {
        let role = item.need_text("role")?;
        if role == "assistant" {
            let text = texts(item)?;
            self.add(Assistant { text, ..Assistant::default() });
            return Ok(());
        }
        self.flush();
        match role {
            "system" | "developer" => self.builder.system(texts(item)?),
            "user" => {
                let block = |(kind, text): (&str, Option<&str>)| match text {
                    Some(text) => Block::Text(text.to_owned()),
                    None => Block::Other(kind.to_owned()),
                };
                let blocks = content(item, "content")?.into_iter().map(block).collect();
                self.builder.user(blocks);
            }
            _ => {
                let expected = "expected user, assistant, system or developer";
                return Err(item.refuse("role", expected));
            }
        }
        Ok(())
    }

    fn output(&mut self, item: &Object<'_>) -> Result<(), Refusal> {
        self.flush();
        let call_id = item.text("call_id")?.unwrap_or("");
        let parts = match item.get("output") {
            Some(value @ Value::Object(_)) => vec![Part::Text(json::to_text(value))],
            _ => {
                let parts = content(item, "output")?.into_iter();
                parts.map(|(kind, text)| crate::dialogue::part(text, kind)).collect()
            }
        };
        self.builder.result(ToolResult { call_id: call_id.to_owned(), parts });
        Ok(())
    }

    /// A result that loads tools: what the model reads are their schemas.
    fn found_tools(&mut self, item: &Object<'_>) -> Result<(), Refusal> {
        self.flush();
        let call_id = item.text("call_id")?.unwrap_or("").to_owned();
        let mut specs = Vec::new();
        for tool in item.objects("tools", TOOLS_MAX)? {
            specs.extend(super::read::functions(&tool)?);
        }
        let parts = vec![Part::Text(offers::loaded(specs.iter()))];
        self.builder.result(ToolResult { call_id, parts });
        Ok(())
    }
}

/// Reasoning: what we sealed, else its text, else its summary.
fn reasoning(item: &Object<'_>) -> Result<Option<String>, Refusal> {
    if let Some(text) = item.text("encrypted_content")?.and_then(seal::open) {
        return Ok(Some(text));
    }
    for name in ["content", "summary"] {
        let text = |part: &Object<'_>| part.text("text").map(|text| text.unwrap_or("").to_owned());
        let parts = item.objects(name, MESSAGES_MAX)?;
        let text = join(parts.iter().map(text).collect::<Result<Vec<_>, _>>()?);
        if !text.is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The parts of a content: type, and text where it is one.
fn content<'a>(item: &Object<'a>, name: &str) -> Result<Vec<(&'a str, Option<&'a str>)>, Refusal> {
    match item.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![("text", Some(text))]),
        Some(Value::Array(_)) => {
            let read = |part: &Object<'a>| match part.need_text("type")? {
                kind @ ("input_text" | "output_text" | "text") => {
                    Ok((kind, Some(part.need_text("text")?)))
                }
                "refusal" => Ok(("refusal", Some(part.need_text("refusal")?))),
                kind => Ok((kind, None)),
            };
            item.objects(name, MESSAGES_MAX)?.iter().map(read).collect()
        }
        Some(other) => Err(item.refuse(name, format!("expected text, found {}", kind(other)))),
    }
}

/// Of a role that has nothing but text.
fn texts(item: &Object<'_>) -> Result<String, Refusal> {
    let texts = content(item, "content")?.into_iter().map(|(kind, text)| match text {
        Some(text) => Ok(text.to_owned()),
        None => Err(item.refuse("content", format!("expected text, found {kind}"))),
    });
    Ok(join(texts.collect::<Result<Vec<_>, _>>()?))
}

fn object_text(value: &Value) -> String {
    value.as_str().map_or_else(|| json::to_text(value), str::to_owned)
}
