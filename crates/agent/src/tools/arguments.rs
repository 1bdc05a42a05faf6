//! Reading the arguments that the model wrote.
//!
//! What is wrong with them is said in a text that the model can learn from: which argument, what
//! was expected. Numbers may come as text, since models write them so. Arguments of which only the
//! beginning is there yet are read by `begun.rs`. [`schema`] is how they are described to it.

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
}
