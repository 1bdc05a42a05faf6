//! Prompts of other people, from JSON Lines: pairs that differ in one respect, and single ones.
//!
//! A prompt is a text, which is a question of the user, or a list of messages with `role` (system,
//! user, assistant) and `content`. What a line has besides is an error: a misspelt word would
//! otherwise be a prompt less.

use std::io::BufRead;
use std::path::Path;

use serde_json::{Map, Value};
use spec::TokenId;
use text::{Conversation, Message, RenderOptions, Tokenizer, render};

use crate::Error;
use crate::lines::{Line, Lines};
use crate::messages::messages;

/// Two prompts that differ in one respect.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Has it.
    pub positive: Conversation,
    /// Has it not.
    pub negative: Conversation,
}

/// Pairs that are looked at, at most: what layers write for each is held until the end.
pub const PAIRS_MAX: usize = 1024;

/// Prompts of a sweep at most.
pub const PROMPTS_MAX: usize = 10_000;

/// Pairs, a line `{"positive": ..., "negative": ...}` each.
///
/// # Errors
/// The file cannot be read, a line is of another form, there are none or too many.
pub fn pairs(path: &Path) -> Result<Vec<Pair>, Error> {
    read_pairs(&mut Lines::open(path)?)
}

/// The same of lines.
///
/// # Errors
/// As for [`pairs`].
pub fn read_pairs<R: BufRead>(lines: &mut Lines<R>) -> Result<Vec<Pair>, Error> {
    read(lines, PAIRS_MAX, &["positive", "negative"], |mut prompts| {
        let negative = prompts.pop().expect("two were read");
        let positive = prompts.pop().expect("two were read");
        Pair { positive, negative }
    })
}

/// Prompts, a line `{"prompt": ...}` each.
///
/// # Errors
/// As for [`pairs`].
pub fn prompts(path: &Path) -> Result<Vec<Conversation>, Error> {
    let lines = &mut Lines::open(path)?;
    read(lines, PROMPTS_MAX, &["prompt"], |mut prompts| prompts.pop().expect("one was read"))
}

/// The tokens of a prompt, up to where the model answers.
///
/// # Errors
/// The vocabulary has no markers of chats.
pub fn tokens(
    tokenizer: &Tokenizer,
    prompt: &Conversation,
    options: &RenderOptions,
) -> Result<Vec<TokenId>, Error> {
    let tokens = render(prompt, options).and_then(|prompt| tokenizer.encode_prompt(&prompt));
    Ok(tokens.map_err(engine::Error::from)?)
}

fn read<R: BufRead, T>(
    lines: &mut Lines<R>,
    most: usize,
    names: &[&str],
    make: impl Fn(Vec<Conversation>) -> T,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    while let Some(line) = lines.next()? {
        if all.len() == most {
            return Err(line.refuse(format!("one line too many, {most} are taken")));
        }
        all.push(make(line_prompts(&line, names)?));
    }
    let none = || Error::NoLine { path: lines.path().to_owned(), expected: form(names) };
    if all.is_empty() { Err(none()) } else { Ok(all) }
}

/// What a line should look like.
fn form(names: &[&str]) -> String {
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\": ...")).collect();
    format!("{{{}}}", members.join(", "))
}

fn line_prompts(line: &Line<'_>, names: &[&str]) -> Result<Vec<Conversation>, Error> {
    let value = serde_json::from_str::<Map<String, Value>>(&line.text);
    let expected = || format!("expected {}", form(names));
    let members = value.map_err(|error| line.refuse(format!("{}: {error}", expected())))?;
    if let Some(name) = members.keys().find(|name| !names.contains(&name.as_str())) {
        let name: String = name.chars().take(80).collect();
        return Err(line.refuse(format!("{}, found the member {name:?}", expected())));
    }
    let prompt = |name: &&str| {
        let value = members.get(*name);
        let value = value.ok_or_else(|| line.refuse(format!("{}, no {name}", expected())))?;
        conversation(value).map_err(|problem| line.refuse(format!("{name}: {problem}")))
    };
    names.iter().map(prompt).collect()
}

fn conversation(value: &Value) -> Result<Conversation, String> {
    let messages = match value {
        Value::String(text) => vec![Message::user(text)],
        Value::Array(list) => messages(list)?,
        _ => return Err("expected a text or a list of messages".to_owned()),
    };
    match messages.last() {
        Some(Message::User(_)) => Ok(Conversation { messages }),
        _ => Err("expected the last message to be of the user".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(text: &str) -> Result<Vec<Pair>, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("a disk");
        let name = file.path().display().to_string();
        pairs(file.path()).map_err(|error| error.to_string().replace(&name, "p.jsonl"))
    }

    #[test]
    fn prompts_are_texts_or_messages() {
        let messages =
            r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]"#;
        let text = format!("{{\"positive\": {messages}, \"negative\": \"Hi\"}}\n\n");
        let found = all(&text).expect("a pair");
        let positive =
            Conversation { messages: vec![Message::system("Be brief."), Message::user("Hi")] };
        let negative = Conversation { messages: vec![Message::user("Hi")] };
        assert_eq!(found, [Pair { positive, negative }]);
    }

    #[test]
    fn other_lines_are_told_by_their_place() {
        let good = "{\"positive\": \"a\", \"negative\": \"b\"}\n";
        let cases = [
            ("[]", "expected {\"positive\": ..., \"negative\": ...}: invalid type"),
            ("{\"positive\": \"a\"}", "no negative"),
            ("{\"positive\": \"a\", \"negative\": 5}", "negative: expected a text or a list"),
            ("{\"positive\": \"a\", \"negative\": []}", "the last message to be of the user"),
            (
                "{\"positive\": [{\"role\": \"tool\", \"content\": \"\"}], \"negative\": \"\"}",
                "positive: message 1: role \"tool\": expected system, user or assistant",
            ),
            ("{\"positive\": \"a\", \"negative\": \"b\", \"x\": 1}", "found the member \"x\""),
        ];
        for (line, said) in cases {
            let error = all(&format!("{good}{line}\n")).expect_err(line);
            assert!(error.starts_with("p.jsonl, line 2 (byte 35): "), "{error}");
            assert!(error.contains(said), "{error}");
        }
        let error = all("\n").expect_err("nothing");
        assert!(error.contains("p.jsonl: holds no line {\"positive\": "), "{error}");
        let error = all(&good.repeat(PAIRS_MAX + 1)).expect_err("too many");
        assert!(error.contains("line 1025") && error.contains("1024 are taken"), "{error}");
    }
}
