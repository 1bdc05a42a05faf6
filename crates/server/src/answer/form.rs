//! The form of answers, as grammars: tool calls, JSON, or a choice of both.
//!
//! Grammars are text in the Lark format that the engine compiles. The marker of a tag is a special
//! token, which a grammar can only name by its id; a value of a string ends at the first `</` that
//! this token follows. Names of tools and parameters are those on offer. The order of parameters is
//! free where a tool is not strict, and that of the schema, with all that are required, where it
//! is; `strict.rs` says which schemas that is possible for.
//!
//! ```text
//! \n\n<D tool_calls>\n
//! <D invoke name="NAME">\n
//! <D parameter name="KEY" string="true">text</D parameter>\n
//! </D invoke>\n
//! </D tool_calls>
//! ```

use serde_json::{Map, Value, json};
use spec::TokenId;
use text::ToolSpec;

use crate::answer::strict;
use crate::offers::{self, Offers};

/// Bytes of a grammar that is tried.
const GRAMMAR_BYTES_MAX: usize = 1 << 20;

/// What a grammar describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// A whole answer that consists of calls.
    Answer,
    /// What follows the marker of the opening tag.
    AfterMarker,
}

/// How much of the schemas a grammar says. What a strict tool's schema says is always said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Whole,
    /// Names and types of parameters.
    Types,
    /// Nothing: a tool has parameters of any name.
    Names,
}

/// The grammar of calls of the tools on offer, or of the one that is named. `None` if it would be
/// too long, or there is no such tool.
pub fn calls(
    offers: &Offers,
    named: Option<&str>,
    (begin, depth): (Begin, Depth),
    marker: TokenId,
) -> Option<String> {
    let specs: Vec<&ToolSpec> =
        offers.specs().filter(|spec| named.is_none_or(|name| name == spec.name)).collect();
    if specs.is_empty() {
        return None;
    }
    let mut rules = Rules { text: String::new(), marker: format!("<[{}]>", marker.0) };
    let marker = rules.marker.clone();
    let opening = match begin {
        Begin::Answer => format!("\"\\n\\n<\" {marker} "),
        Begin::AfterMarker => String::new(),
    };
    rules
        .line(&format!("calls: {opening}\"tool_calls>\\n\" call+ \"</\" {marker} \"tool_calls>\""));
    let all: Vec<String> = (0..specs.len()).map(|i| format!("tool_{i}")).collect();
    let all = all.join(" | ");
    rules.line(&format!("call: \"<\" {marker} ({all}) \"</\" {marker} \"invoke>\\n\""));
    rules.line("STRING: /(.|\\n)*<\\//");
    rules.line("KEY: /[^\"<>\\n]{1,200}/");
    rules.line(&format!("any_json: {}", json_rule(&json!({}))));
    for (i, spec) in specs.iter().enumerate() {
        rules.tool(i, spec, if offers.is_strict(&spec.name) { Depth::Whole } else { depth });
    }
    (rules.text.len() <= GRAMMAR_BYTES_MAX).then_some(rules.text)
}

/// The grammar of an answer in JSON of a schema.
pub fn json(schema: &Value) -> String {
    format!("answer: {}\n", json_rule(schema))
}

/// One grammar out of rules, with these alternatives.
pub fn start(alternatives: &[&str], rules: &[String]) -> String {
    format!("start: {}\n{}", alternatives.join(" | "), rules.concat())
}

/// JSON of a schema, spaced as the model was trained to write it.
fn json_rule(schema: &Value) -> String {
    let mut members = Map::new();
    members.insert(
        "x-guidance".to_owned(),
        json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
    );
    if let Value::Object(schema) = schema {
        members.extend(schema.clone());
    }
    format!("%json {}", Value::Object(members))
}

struct Rules {
    text: String,
    marker: String,
}

impl Rules {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The rules of one tool: the rest of its opening tag, and its parameters.
    fn tool(&mut self, tool: usize, spec: &ToolSpec, depth: Depth) {
        let opening = literal(&format!("invoke name=\"{}\">\n", spec.name));
        let (strict, none) = (depth == Depth::Whole, Map::new());
        let properties = match offers::properties(&spec.parameters) {
            Some(properties) if depth != Depth::Names => properties,
            None if strict && strict::check(&spec.parameters).is_ok() => &none,
            _ => {
                self.line(&format!("tool_{tool}: {opening} (\"\\n\" | any_{tool}+)"));
                return self.any_parameter(tool);
            }
        };
        let known = properties.iter().filter(|(key, _)| !key.contains(['"', '<', '>', '\n']));
        let known: Vec<(&String, &Value)> = known.collect();
        if known.is_empty() {
            return self.line(&format!("tool_{tool}: {opening} \"\\n\""));
        }
        let name = |i: usize| format!("par_{tool}_{i}");
        let body = match strict {
            false => {
                let all: Vec<String> = (0..known.len()).map(name).collect();
                format!("(\"\\n\" | ({})+)", all.join(" | "))
            }
            true => {
                let required = spec.parameters.get("required").and_then(Value::as_array);
                let needs = |key: &str| {
                    required.is_some_and(|keys| keys.iter().any(|needed| needed == key))
                };
                let one = |(i, (key, _)): (usize, &(&String, &Value))| {
                    name(i) + if needs(key) { "" } else { "?" }
                };
                let all: Vec<String> = known.iter().enumerate().map(one).collect();
                let all = all.join(" ");
                // A call without parameters has an empty line.
                if known.iter().any(|(key, _)| needs(key)) {
                    all
                } else {
                    format!("(\"\\n\" | {all})")
                }
            }
        };
        self.line(&format!("tool_{tool}: {opening} {body}"));
        for (i, (key, schema)) in known.iter().enumerate() {
            let value = match strict {
                true => strict::value(schema, &spec.parameters),
                false => strict::kind(schema),
            };
            self.parameter(&name(i), key, value);
        }
    }

    /// A parameter: text as it is, or one of a few words; everything else as JSON.
    fn parameter(&mut self, rule: &str, key: &str, value: strict::Value) {
        let marker = self.marker.clone();
        let head =
            |string: bool| literal(&format!("parameter name=\"{key}\" string=\"{string}\">"));
        let as_text = format!("{} STRING {marker}", head(true));
        let as_json = |values: &str| format!("{} {values} \"</\" {marker}", head(false));
        let own = format!("{rule}_json");
        let (value, schema) = match value {
            strict::Value::Any => (format!("({as_text} | {})", as_json("any_json")), None),
            strict::Value::Text => (as_text, None),
            strict::Value::Words(words) => {
                let words: Vec<String> = words.iter().map(|word| literal(word)).collect();
                (format!("{} ({}) \"</\" {marker}", head(true), words.join(" | ")), None)
            }
            strict::Value::TextOr(schema) => {
                (format!("({as_text} | {})", as_json(&own)), Some(schema))
            }
            strict::Value::Json(schema) => (as_json(&own), Some(schema)),
        };
        self.line(&format!("{rule}: \"<\" {marker} {value} \"parameter>\\n\""));
        if let Some(schema) = schema {
            self.line(&format!("{own}: {}", json_rule(&schema)));
        }
    }

    /// A parameter of any name, for tools that do not say which they have.
    fn any_parameter(&mut self, tool: usize) {
        let marker = self.marker.clone();
        let value =
            format!("(\"true\\\">\" STRING {marker} | \"false\\\">\" any_json \"</\" {marker})");
        self.line(&format!(
            "any_{tool}: \"<\" {marker} \"parameter name=\\\"\" KEY \"\\\" string=\\\"\" {value} \
             \"parameter>\\n\""
        ));
    }
}

/// A text as a literal of the grammar, whose strings are those of JSON.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}
