//! The canonical form of tool calls, for turns whose sampled text is not known.
//!
//! It is the form that the model was trained to write. Arguments are read from the JSON text that
//! the client sent back and written again: strings raw, everything else as JSON.

use serde_json::{Map, Value};

use super::pen::Pen;
use super::trained::special;
use crate::json;
use crate::message::ToolCall;

/// Writes a tool block: a blank line, the block, nothing after its closing tag.
///
/// Nothing is escaped, as in training: a value that spells the closing tag keeps it. It is still
/// told apart in the tokens, because the marker of a real tag is a special token.
pub(super) fn write_calls(calls: &[ToolCall], pen: &mut Pen) {
    pen.text("\n\n");
    tag(pen, "<", "tool_calls>\n");
    for call in calls {
        write_call(call, pen);
    }
    tag(pen, "</", "tool_calls>");
}

fn write_call(call: &ToolCall, pen: &mut Pen) {
    tag(pen, "<", "invoke name=\"");
    pen.text(&call.name);
    pen.text("\">\n");
    let arguments = arguments(&call.arguments);
    if arguments.is_empty() {
        pen.text("\n");
    }
    for (key, value) in &arguments {
        write_argument(key, value, pen);
    }
    tag(pen, "</", "invoke>\n");
}

fn write_argument(key: &str, value: &Value, pen: &mut Pen) {
    tag(pen, "<", "parameter name=\"");
    pen.text(key);
    match value {
        Value::String(text) => {
            pen.text("\" string=\"true\">");
            pen.text(text);
        }
        other => {
            pen.text("\" string=\"false\">");
            pen.text(&json::to_text(other));
        }
    }
    tag(pen, "</", "parameter>\n");
}

fn tag(pen: &mut Pen, opening: &'static str, rest: &'static str) {
    pen.text(opening);
    pen.special(special::DSML);
    pen.text(rest);
}

/// The members of the arguments object. Anything else is one string argument.
fn arguments(text: &str) -> Map<String, Value> {
    match json::parse(text) {
        Ok(Value::Object(members)) => members,
        _ => Map::from_iter([("arguments".to_owned(), Value::String(text.to_owned()))]),
    }
}
