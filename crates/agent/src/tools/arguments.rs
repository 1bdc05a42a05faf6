//! Reading the arguments that the model wrote.
//!
//! What is wrong with them is said in a text that the model can learn from: which argument, what
//! was expected. Numbers may come as text, since models write them so. [`Begun`] reads arguments of
//! which only the beginning is there yet. [`schema`] is how they are described to the model.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::Arguments;

/// The schema of arguments: name, type and description of each. The first `required` of them must
/// be there.
pub fn schema(arguments: &[(&str, &str, &str)], required: usize) -> Value {
    let properties: Map<String, Value> = arguments
        .iter()
        .map(|(name, kind, what)| ((*name).to_owned(), json!({"type": kind, "description": what})))
        .collect();
    let required: Vec<&str> = arguments.iter().take(required).map(|(name, ..)| *name).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// An argument that must be there.
pub fn text<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, String> {
    match arguments.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("the argument `{name}` must be a text")),
        None => {
            let given: Vec<&str> = arguments.keys().map(String::as_str).take(20).collect();
            Err(format!("the argument `{name}` is missing; given were: {}", given.join(", ")))
        }
    }
}

/// One that may be left out.
pub fn text_or<'a>(
    arguments: &'a Arguments,
    name: &str,
    default: &'a str,
) -> Result<&'a str, String> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(_) => text(arguments, name),
    }
}

/// A whole number, if it was given.
pub fn number(
    arguments: &Arguments,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, String> {
    let number = match arguments.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    let (min, max) = (range.start(), range.end());
    let wrong = || format!("the argument `{name}` must be a whole number from {min} to {max}");
    number.filter(|number| range.contains(number)).map(Some).ok_or_else(wrong)
}

/// A yes or no; no if it was not given.
pub fn flag(arguments: &Arguments, name: &str) -> Result<bool, String> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "true" => Ok(true),
        Some(Value::String(text)) if text == "false" => Ok(false),
        Some(_) => Err(format!("the argument `{name}` must be true or false")),
    }
}

/// Arguments whose JSON text is not complete yet.
#[derive(Debug)]
pub struct Begun<'a>(pub &'a str);

impl Begun<'_> {
    /// The text argument of this name, if all of it is there.
    pub fn text(&self, wanted: &str) -> Option<String> {
        let mut rest = self.0.trim_start().strip_prefix('{')?.trim_start();
        loop {
            let (name, after) = string(rest)?;
            rest = after.trim_start().strip_prefix(':')?.trim_start();
            if rest.starts_with('"') {
                let (value, after) = string(rest)?;
                if name == wanted {
                    return Some(value);
                }
                rest = after;
            } else {
                // Other values of our tools are numbers and flags, which hold no comma.
                rest = &rest[rest.find([',', '}'])?..];
            }
            rest = rest.trim_start().strip_prefix(',')?.trim_start();
        }
    }
}

/// The complete string at the beginning, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    let (quoted, rest) = text.split_at(end + 2);
    Some((serde_json::from_str(quoted).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Arguments {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_are_bounded_and_may_be_text() {
        let read = |json| number(&of(json), "n", 1..=9);
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"n": null}"#), Ok(None));
        assert_eq!(read(r#"{"n": 9}"#), Ok(Some(9)));
        assert_eq!(read(r#"{"n": " 3"}"#), Ok(Some(3)));
        for wrong in
            [r#"{"n": 0}"#, r#"{"n": 10}"#, r#"{"n": 1.5}"#, r#"{"n": []}"#, r#"{"n": -1}"#]
        {
            assert!(read(wrong).unwrap_err().contains("from 1 to 9"), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = text(&of(r#"{"file": "x"}"#), "path").unwrap_err();
        assert_eq!(error, "the argument `path` is missing; given were: file");
        assert!(text(&of(r#"{"path": 1}"#), "path").unwrap_err().contains("must be a text"));
    }

    #[test]
    fn what_is_complete_of_a_beginning_is_read() {
        let whole = r#"{"n": 3, "path": "a\"\\b", "old" : "x, }\u0041", "new": "y"}"#;
        let read = |end: usize, name| Begun(&whole[..end]).text(name);
        let end = |part: &str| whole.find(part).unwrap() + part.len();
        assert_eq!(read(end(r#"\\b"#), "path"), None);
        assert_eq!(read(end(r#"\\b""#), "path"), Some("a\"\\b".to_owned()));
        assert_eq!(read(end("0041"), "old"), None);
        assert_eq!(read(whole.len(), "old"), Some("x, }A".to_owned()));
        assert_eq!(read(whole.len(), "new"), Some("y".to_owned()));
        for end in 0..=whole.len() {
            read(end, "nothing");
        }
    }
}
