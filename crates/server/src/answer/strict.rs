//! What the schema of a strict tool may say, so that every call is sure to follow it.
//!
//! Arguments are not one JSON text in the model's own form of calls: each parameter stands by
//! itself, strings as they are. So the outermost object of a schema is checked here, member by
//! member, and what cannot be kept is named; each property becomes text, words or JSON, and what
//! JSON may be is the grammar library's matter, which refuses what it does not know.

use serde_json::{Map, json};

/// Keys of the outermost schema that are kept, or say nothing about values.
const ROOT: [&str; 12] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "title",
    "description",
    "examples",
    "$comment",
];

/// Keys that say nothing about values, and the type.
const SILENT: [&str; 9] = [
    "title",
    "description",
    "default",
    "examples",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
    "type",
];

/// How a parameter is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any text, or any JSON.
    Any,
    /// Any text.
    Text,
    /// One of these.
    Words(Vec<String>),
    /// Any text, or JSON of this schema.
    TextOr(serde_json::Value),
    /// JSON of this schema.
    Json(serde_json::Value),
}

/// Whether the schema of all parameters can be kept.
///
/// # Errors
/// The part that cannot be, and why.
pub fn check(parameters: &serde_json::Value) -> Result<(), String> {
    let Some(root) = parameters.as_object() else { return Err("is no object".to_owned()) };
    if root.get("type").is_some_and(|kind| kind != "object") {
        return Err("type: expected object".to_owned());
    }
    if let Some(key) = root.keys().find(|key| !ROOT.contains(&key.as_str())) {
        return Err(format!("{key}: cannot be kept at the outermost level"));
    }
    let none = Map::new();
    let properties = match root.get("properties") {
        None => &none,
        Some(properties) => properties.as_object().ok_or("properties: expected an object")?,
    };
    let odd = |c: char| matches!(c, '"' | '<' | '>' | '\n');
    if let Some(key) = properties.keys().find(|key| key.is_empty() || key.contains(odd)) {
        return Err(format!("properties: no parameter can be named {key:?}"));
    }
    let required = root.get("required").and_then(|keys| keys.as_array());
    let unknown =
        |key: &&serde_json::Value| key.as_str().is_none_or(|key| !properties.contains_key(key));
    if let Some(key) = required.into_iter().flatten().find(unknown) {
        return Err(format!("required: {key} is not among the properties"));
    }
    properties.iter().try_for_each(|(key, schema)| {
        let at = format!("properties.{key}");
        if schema.is_object() { refers(schema, &at) } else { Err(format!("{at}: is no object")) }
    })
}

/// References may lead to the definitions, which every property takes along.
fn refers(schema: &serde_json::Value, at: &str) -> Result<(), String> {
    match schema {
        serde_json::Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            let known = |to: &str| to.starts_with("#/$defs/") || to.starts_with("#/definitions/");
            match value.as_str() {
                Some(to) if key == "$ref" && !known(to) => {
                    Err(format!("{at}.$ref: {to:?} leads elsewhere than to $defs"))
                }
                _ => refers(value, &format!("{at}.{key}")),
            }
        }),
        serde_json::Value::Array(items) => items.iter().try_for_each(|item| refers(item, at)),
        _ => Ok(()),
    }
}

/// How a parameter of `schema` is written where only its type is kept.
pub fn kind(schema: &serde_json::Value) -> Value {
    match schema.get("type").and_then(serde_json::Value::as_str) {
        Some("string") => Value::Text,
        Some(kind @ ("number" | "integer" | "boolean" | "array" | "object" | "null")) => {
            Value::Json(json!({ "type": kind }))
        }
        _ => Value::Any,
    }
}

/// How a parameter of `schema` is written; `root` is the schema of all parameters.
pub fn value(schema: &serde_json::Value, root: &serde_json::Value) -> Value {
    let none = Map::new();
    let members = schema.as_object().unwrap_or(&none);
    let speaking = members.keys().filter(|key| !SILENT.contains(&key.as_str())).count();
    let kind = members.get("type");
    if kind.is_some_and(|kind| kind == "string") {
        let words = match members.get("enum") {
            Some(words) => words.as_array().cloned(),
            None => members.get("const").map(|word| vec![word.clone()]),
        };
        let text = |word: serde_json::Value| word.as_str().map(str::to_owned);
        let words: Option<Vec<String>> =
            words.and_then(|words| words.into_iter().map(text).collect());
        match (words, speaking) {
            (_, 0) => return Value::Text,
            (Some(words), 1) if !words.is_empty() => return Value::Words(words),
            _ => {}
        }
    }
    let mut own = members.clone();
    for name in ["$defs", "definitions"] {
        if let Some(definitions) = root.get(name) {
            own.insert(name.to_owned(), definitions.clone());
        }
    }
    // Any text, or something else: text is written as it is.
    if let Some(kinds) = kind.and_then(|kind| kind.as_array())
        && kinds.iter().any(|kind| kind == "string")
        && kinds.len() > 1
        && speaking == 0
    {
        let others: Vec<_> = kinds.iter().filter(|kind| *kind != "string").cloned().collect();
        own.insert("type".to_owned(), json!(others));
        return Value::TextOr(own.into());
    }
    Value::Json(own.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_kept() {
        let (defs, text) = (json!({"n": {"type": "integer"}}), json!({"type": "string"}));
        for (schema, wrong) in [
            (json!({}), None),
            (json!({"type": "object", "properties": {"a": text}, "required": ["a"]}), None),
            (json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": defs}), None),
            (json!([]), Some("is no object")),
            (json!({"type": "array"}), Some("type: expected object")),
            (json!({"anyOf": []}), Some("anyOf: cannot be kept at the outermost level")),
            (json!({"minProperties": 1}), Some("minProperties: cannot be kept")),
            (json!({"properties": {"a<": text}}), Some("no parameter can be named \"a<\"")),
            (json!({"properties": {"a": false}}), Some("properties.a: is no object")),
            (json!({"required": ["b"]}), Some("required: \"b\" is not among")),
            (
                json!({"properties": {"a": {"anyOf": [{"$ref": "#"}]}}}),
                Some("properties.a.anyOf.$ref: \"#\" leads elsewhere"),
            ),
        ] {
            let found = check(&schema);
            match wrong {
                None => assert_eq!(found, Ok(()), "{schema}"),
                Some(wrong) => assert!(found.clone().unwrap_err().contains(wrong), "{found:?}"),
            }
        }
    }

    #[test]
    fn how_values_are_written() {
        let root = json!({"$defs": {"n": {"type": "integer"}}});
        let with_defs = |mut schema: serde_json::Value| {
            schema["$defs"] = root["$defs"].clone();
            schema
        };
        let words = |words: &[&str]| Value::Words(words.iter().map(|w| (*w).to_owned()).collect());
        for (schema, expected) in [
            (json!({"type": "string", "description": "d", "default": "x"}), Value::Text),
            (json!({"type": "string", "enum": ["a", "b"]}), words(&["a", "b"])),
            (json!({"type": "string", "const": "a"}), words(&["a"])),
            (
                json!({"type": ["string", "null"]}),
                Value::TextOr(with_defs(json!({"type": ["null"]}))),
            ),
        ] {
            assert_eq!(value(&schema, &root), expected, "{schema}");
        }
        for schema in [
            json!({"type": "string", "pattern": "^a"}),
            json!({"type": "string", "enum": ["ab", "c"], "maxLength": 1}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
            json!({"type": "integer", "minimum": 1}),
            json!({"$ref": "#/$defs/n"}),
            json!({}),
        ] {
            assert_eq!(value(&schema, &root), Value::Json(with_defs(schema.clone())), "{schema}");
        }
    }
}
