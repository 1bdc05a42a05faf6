//! Arguments of a call whose JSON text may end anywhere: what has come of them so far.
//!
//! The model writes calls token by token. The screen shows what is there, and a tool may look at it
//! and say early that the call cannot work. Everything is read as far as it makes sense.

use serde_json::Value;

/// An argument, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    /// A string without its quotes; anything else as JSON text.
    pub value: String,
    /// It is a string, and all of it is there.
    pub is_whole_text: bool,
}

/// The text argument of this name, if all of it is there.
pub(crate) fn text(json: &str, name: &str) -> Option<String> {
    let found = fields(json).into_iter().find(|field| field.name == name && field.is_whole_text);
    found.map(|field| field.value)
}

/// The arguments in JSON text that may end anywhere, in their order. Text that is no object gives
/// none.
pub(crate) fn fields(json: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = json.trim_start();
    while let Some(after) = rest.strip_prefix(['{', ',']) {
        let Some((name, _, after)) = string(after.trim_start()) else { break };
        let Some(after) = after.trim_start().strip_prefix(':') else { break };
        let after = after.trim_start();
        let (value, is_whole_text, after) = string(after).unwrap_or_else(|| {
            let end = value_end(after);
            (after[..end].trim_end().to_owned(), false, &after[end..])
        });
        fields.push(Field { name, value, is_whole_text });
        rest = after.trim_start();
    }
    fields
}

/// A string that stands at the beginning: its value as far as it goes, whether it ends and is
/// valid, and what follows.
fn string(json: &str) -> Option<(String, bool, &str)> {
    let inside = json.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let whole = &json[..at + 2];
                let value = serde_json::from_str(whole);
                let is_whole = value.is_ok();
                let value = value.unwrap_or_else(|_| inside[..at].to_owned());
                return Some((value, is_whole, &inside[at + 1..]));
            }
            _ => {}
        }
    }
    Some((beginning(inside), false, ""))
}

/// What a string says that ends in the middle, perhaps in the middle of an escape.
fn beginning(inside: &str) -> String {
    // The longest escape is a pair of surrogates, twelve characters.
    for cut in 0..=12 {
        let Some(at) = inside.len().checked_sub(cut) else { break };
        let Some(part) = inside.get(..at) else { continue };
        if let Ok(value) = serde_json::from_str::<String>(&format!("\"{part}\"")) {
            return value;
        }
    }
    inside.to_owned()
}

/// Where a value that is no string ends: at the comma or bracket behind it.
fn value_end(json: &str) -> usize {
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    match values.next() {
        Some(Ok(_)) => values.byte_offset(),
        _ => json.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<(String, String)> {
        fields(json).into_iter().map(|field| (field.name, field.value)).collect()
    }

    #[test]
    fn arguments_are_read_as_far_as_they_go() {
        let cases: [(&str, &[(&str, &str)]); 12] = [
            ("", &[]),
            ("{", &[]),
            ("{\"pa", &[]),
            ("{\"path\":", &[("path", "")]),
            ("{\"path\": \"a/b", &[("path", "a/b")]),
            ("{\"path\": \"a\", \"n\": 12, \"x", &[("path", "a"), ("n", "12")]),
            ("{\"a\": [1, {\"b\": 2}], \"c\": \"d\"}", &[("a", "[1, {\"b\": 2}]"), ("c", "d")]),
            ("{\"a\": [1, {\"b\"", &[("a", "[1, {\"b\"")]),
            ("{\"a\": \"x\\n\\\"y", &[("a", "x\n\"y")]),
            ("{\"a\": \"x\\", &[("a", "x")]),
            ("{\"a\": \"x\\ud83d\\ude", &[("a", "x")]),
            ("[1]", &[]),
        ];
        for (json, expected) in cases {
            let found = read(json);
            let found: Vec<(&str, &str)> =
                found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{json}");
        }
    }

    #[test]
    fn every_beginning_of_arguments_is_read_without_panic_and_only_grows() {
        let json =
            "{\"path\": \"s\u{e9}/\\u4e2d.rs\", \"content\": \"fn \\ud83d\\ude00 () {\\n}\"}";
        let mut length = 0;
        for (at, _) in json.char_indices() {
            let now: usize = read(&json[..at]).iter().map(|(_, value)| value.len()).sum();
            assert!(now >= length, "{}", &json[..at]);
            length = now;
        }
        assert_eq!(read(json)[1].1, "fn \u{1f600} () {\n}");
    }

    #[test]
    fn what_is_complete_of_a_beginning_is_read() {
        let whole = r#"{"n": 3, "path": "a\"\\b", "old" : "x, }\u0041", "new": "y"}"#;
        let read = |end: usize, name| text(&whole[..end], name);
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
