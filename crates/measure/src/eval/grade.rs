//! Judging a reply: what it answers, and whether that is right.
//!
//! A judgement depends on the item and on what was visibly said, on nothing else, so that stored
//! replies can be judged again. Where the answer stands in a text is found by `extract.rs`.

use serde_json::Value;

use super::extract;
use super::item::{Call, Item, Kind, letter};
use super::places::{self, Place};

/// What a model visibly said.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The answer's text, without reasoning.
    pub text: &'a str,
    /// The calls of tools.
    pub calls: &'a [Call],
}

/// What became of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is right.
    pub right: bool,
    /// What it answers, in short; `None` if it does not answer.
    pub found: Option<String>,
}

/// Characters of an answer that are shown.
const SHOWN_MAX: usize = 120;

/// Judges a reply.
pub fn grade(item: &Item, reply: Reply) -> Verdict {
    match &item.kind {
        Kind::Choice { choices, right } => {
            let found = extract::choice(reply.text, choices).one();
            Verdict {
                right: found == Some(*right),
                found: found.map(|place| letter(place).to_string()),
            }
        }
        Kind::Number { right, tolerance } => {
            let found = extract::number(reply.text).one();
            let is_right = found.is_some_and(|found| {
                right.iter().any(|right| match tolerance {
                    Some(tolerance) => found.is_within(*tolerance, *right),
                    None => found.agrees(*right),
                })
            });
            Verdict { right: is_right, found: found.map(|number| number.to_string()) }
        }
        Kind::Pattern(pattern) => {
            let text = reply.text.trim();
            let found = (!text.is_empty()).then(|| short(text));
            Verdict { right: found.is_some() && pattern.0.is_match(text), found }
        }
        Kind::Lines(wanted) => {
            let named = places::places(&extract::statement(reply.text));
            let right = named.as_ref().is_some_and(|named| places::agree(named, wanted));
            let list = |named: Vec<Place>| named.iter().map(Place::to_string).collect::<Vec<_>>();
            Verdict { right, found: named.map(|named| short(&list(named).join(", "))) }
        }
        Kind::Call { right, free } => call(right, free, reply),
    }
}

/// Whether the one call is one of those that are right, or there is none where none is wanted.
fn call(right: &[Call], free: &[String], reply: Reply) -> Verdict {
    let is_right = match (right, reply.calls) {
        ([], []) => !reply.text.trim().is_empty(),
        (wanted, [call]) => wanted.iter().any(|wanted| is_same_call(call, wanted, free)),
        _ => false,
    };
    let shown = |call: &Call| format!("{}({})", call.name, Value::Object(call.arguments.clone()));
    let found = match reply.calls {
        [] if reply.text.trim().is_empty() => None,
        [] => Some("no call".to_owned()),
        calls => Some(short(&calls.iter().map(shown).collect::<Vec<_>>().join("; "))),
    };
    Verdict { right: is_right, found }
}

fn is_same_call(call: &Call, wanted: &Call, free: &[String]) -> bool {
    let is_free = |name: &String| free.contains(name);
    let keys = call.arguments.keys().chain(wanted.arguments.keys());
    call.name == wanted.name
        && keys.filter(|key| !is_free(key)).all(|key| {
            let pair = call.arguments.get(key).zip(wanted.arguments.get(key));
            pair.is_some_and(|(a, b)| is_same_value(a, b))
        })
}

/// Whether two values are the same, however their numbers are written and their keys ordered.
fn is_same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let number = |n: &serde_json::Number| super::number::Number::parse(&n.to_string());
            a == b || number(a).is_some() && number(a) == number(b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |key: &String, a| b.get(key).is_some_and(|b| is_same_value(a, b));
            a.len() == b.len() && a.iter().all(|(key, a)| same(key, a))
        }
        _ => a == b,
    }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}
