//! JSON as the model was trained to read it.
//!
//! Tool schemas and tool arguments reach the model the way Python's
//! `json.dumps(value, ensure_ascii=False)` writes them: `", "` and `": "` between things, keys in
//! the order received, integers digit for digit, floats as Python's `repr`. This file owns that
//! text form in both directions; it knows nothing of messages or tools.
//!
//! Start at [`to_text`]; `float_text` is the one delicate part.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Number, Value};

use crate::Error;

/// Reads JSON; key order and the digits of numbers stay as written.
///
/// Of duplicate keys the last value wins, at the place of the first. Half of a surrogate pair
/// escaped alone becomes U+FFFD, because the prompt is UTF-8 and cannot hold it.
///
/// # Errors
/// [`Error::Json`] with the line and column; nesting deeper than 128 counts as an error too.
pub fn parse(text: &str) -> Result<Value, Error> {
    Ok(serde_json::from_str(&replace_lone_surrogates(text))?)
}

/// Writes a value in the trained form.
pub fn to_text(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// Appends a quoted string.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    write_escaped(text, out);
    out.push('"');
}

/// Appends a part of a string without the quotes, so that long strings can be written in parts.
pub fn write_escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => write!(out, "\\u{:04x}", control as u32).expect("a string"),
            other => out.push(other),
        }
    }
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (place, (key, member)) in members.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                write_string(key, out);
                out.push_str(": ");
                write_value(member, out);
            }
            out.push('}');
        }
    }
}

/// Integers of any size as they are, everything else as a double.
fn number_text(number: &Number) -> String {
    let written = number.to_string();
    if written == "-0" {
        return "0".to_owned();
    }
    if !written.contains(['.', 'e', 'E']) {
        return written;
    }
    float_text(written.parse().expect("a JSON number is a Rust number"))
}

/// Python's `repr` of a double: the shortest digits that read back the same, as a plain decimal
/// from 1e-4 up to, not including, 1e16, else with an exponent of at least two digits.
fn float_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the form asked for");
    let exponent: i32 = exponent.parse().expect("the form asked for");
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Replaces `\uD8xx` and `\uDCxx` escapes without their other half by `\uFFFD`.
fn replace_lone_surrogates(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        let Some(unit) = escaped_unit(&text[at..]) else {
            // A two-character escape: the second may be a backslash and must not start another.
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
            continue;
        };
        let paired = (0xd800..0xdc00).contains(&unit)
            && matches!(escaped_unit(&text[at + 6..]), Some(0xdc00..=0xdfff));
        if !paired && (0xd800..=0xdfff).contains(&unit) {
            let out = out.get_or_insert_with(String::new);
            out.push_str(&text[copied..at]);
            out.push_str("\\ufffd");
            copied = at + 6;
        }
        at += if paired { 12 } else { 6 };
    }
    match out {
        None => Cow::Borrowed(text),
        Some(out) => Cow::Owned(out + &text[copied..]),
    }
}

/// The code unit of a `\uXXXX` at the start of `text`.
fn escaped_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> String {
        to_text(&parse(text).unwrap())
    }

    #[test]
    fn numbers_read_as_python_writes_them() {
        // Left: as sent. Right: `json.dumps(json.loads(left))` of CPython.
        for (sent, written) in [
            ("0", "0"),
            ("-0", "0"),
            ("-12", "-12"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1.50", "1.5"),
            ("1e3", "1000.0"),
            ("1E3", "1000.0"),
            ("1e30", "1e+30"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("12345678901234567.0", "1.2345678901234568e+16"),
            ("1.5e300", "1.5e+300"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.25e-7", "1.25e-07"),
            ("5e-324", "5e-324"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("-0.0", "-0.0"),
            ("0.1", "0.1"),
            ("0.30000000000000004", "0.30000000000000004"),
        ] {
            assert_eq!(again(sent), written, "{sent}");
        }
    }

    #[test]
    fn strings_and_separators() {
        assert_eq!(
            again(r#" {"b":[1,{"k":"v"},[],{}],"a":null,"é":"\u4e16\/"} "#),
            r#"{"b": [1, {"k": "v"}, [], {}], "a": null, "é": "世/"}"#
        );
        let sent = r#""\u0000\u001F\u007f\b\f\n\r\t\"\\ 😀""#;
        assert_eq!(again(sent), "\"\\u0000\\u001f\u{7f}\\b\\f\\n\\r\\t\\\"\\\\ 😀\"");
    }

    #[test]
    fn of_duplicate_keys_the_last_value_stands_at_the_first_place() {
        assert_eq!(again(r#"{"a": 1, "b": 2, "a": 3}"#), r#"{"a": 3, "b": 2}"#);
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (sent, written) in [
            (r#""\ud83d\ude00""#, "\"😀\""),
            (r#""\ud83d""#, "\"\u{fffd}\""),
            (r#""\ude00x""#, "\"\u{fffd}x\""),
            (r#""\ud83d\ud83d\ude00\n""#, "\"\u{fffd}😀\\n\""),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#"{"\udc00": "\ud83d\u0041"}"#, "{\"\u{fffd}\": \"\u{fffd}A\"}"),
        ] {
            assert_eq!(again(sent), written, "{sent}");
        }
    }

    #[test]
    fn what_is_not_json_is_an_error_never_a_panic() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "ls -la", "\"\\", "\"\\u12", "01", "{} {}", "\\é", &deep] {
            assert!(parse(text).is_err(), "{:?}", &text[..text.len().min(20)]);
        }
    }
}
