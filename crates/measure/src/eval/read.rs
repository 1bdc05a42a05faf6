//! Reading items: JSON Lines, one item a line, every field known.
//!
//! A file that somebody wrote for us is read strictly: an unknown field is a mistake that would
//! change what is measured, so it is refused with its place. `docs/eval.md` describes the fields.

use std::collections::HashSet;
use std::io::BufRead;
use std::path::Path;

use regex::RegexBuilder;
use serde::Deserialize;
use serde_json::Value;
use text::ToolSpec;

use super::item::{Call, Item, Kind, Pattern, Turn};
use super::number::Number;
use super::places::Place;
use crate::Error;
use crate::lines::Lines;

/// The most points of an item.
pub const POINTS_MAX: u32 = 1000;

/// The most items of a set.
pub const ITEMS_MAX: usize = 100_000;

/// The most bytes of all items of a set.
pub const SET_BYTES_MAX: usize = 256 << 20;

const NAME_BYTES_MAX: usize = 200;
const CHOICES_MAX: usize = 26;
const ANSWERS_MAX: usize = 64;
const TOOLS_MAX: usize = 128;
const TURNS_MAX: usize = 256;
const PATTERN_BYTES_MAX: usize = 4096;
/// Of a pattern when it is compiled: `(a{1000}){1000}` is short and has none.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// An item as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    kind: Name,
    domain: Option<String>,
    source: Option<String>,
    points: Option<u32>,
    system: Option<String>,
    question: Option<String>,
    messages: Option<Vec<WrittenTurn>>,
    choices: Option<Vec<String>>,
    tools: Option<Vec<WrittenTool>>,
    free: Option<Vec<String>>,
    tolerance: Option<Value>,
    answer: Value,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Name {
    Choice,
    Number,
    Regex,
    Lines,
    Call,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTurn {
    role: Role,
    content: String,
    call: Option<Call>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
    Tool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTool {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
}

/// Reads all items of a file.
///
/// # Errors
/// The place of the first line that is no item, and why; a file without items.
pub fn items<R: BufRead>(path: &Path, reader: R) -> Result<Vec<Item>, Error> {
    let mut lines = Lines::new(path, reader);
    let mut set = Growing::default();
    while let Some(line) = lines.next()? {
        let item = item(&line.text).map_err(|problem| line.refuse(problem))?;
        set.add(item, line.text.len()).map_err(|problem| line.refuse(problem))?;
    }
    set.finish(path)
}

/// Items that are being read.
#[derive(Default)]
pub(super) struct Growing {
    items: Vec<Item>,
    ids: HashSet<String>,
    bytes: usize,
}

impl Growing {
    /// Adds an item that was written in so many bytes.
    pub fn add(&mut self, item: Item, bytes: usize) -> Result<(), String> {
        if !self.ids.insert(item.id.clone()) {
            return Err(format!("the id {:?} was used before, ids must differ", item.id));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.items.len() == ITEMS_MAX || self.bytes > SET_BYTES_MAX {
            return Err(format!(
                "a set has at most {ITEMS_MAX} items of {SET_BYTES_MAX} bytes in all: split it"
            ));
        }
        self.items.push(item);
        Ok(())
    }

    /// All of them.
    pub fn finish(self, path: &Path) -> Result<Vec<Item>, Error> {
        match self.items.is_empty() {
            true => Err(Error::NoItems { path: path.to_owned() }),
            false => Ok(self.items),
        }
    }
}

/// Reads one item.
///
/// # Errors
/// What is wrong with it.
pub fn item(line: &str) -> Result<Item, String> {
    let written: Written = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let id = name("id", written.id.clone())?;
    if id.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(format!("id {id:?}: expected visible ASCII characters without spaces"));
    }
    let domain = name("domain", written.domain.clone().unwrap_or_else(|| "other".to_owned()))?;
    let source = name("source", written.source.clone().unwrap_or_else(|| "unnamed".to_owned()))?;
    let points = written.points.unwrap_or(1);
    if !(1..=POINTS_MAX).contains(&points) {
        return Err(format!("points {points}: expected 1 to {POINTS_MAX}"));
    }
    belongs(&written)?;
    let kind = kind(&written)?;
    let tools = tools(written.tools.unwrap_or_default())?;
    let turns = turns(written.question, written.messages)?;
    Ok(Item { id, domain, source, points, system: written.system, turns, tools, kind })
}

/// A short text on one line.
pub(super) fn name(key: &str, text: String) -> Result<String, String> {
    match text.len() {
        1..=NAME_BYTES_MAX if !text.contains(char::is_control) => Ok(text),
        _ => Err(format!("{key}: expected 1 to {NAME_BYTES_MAX} bytes without control characters")),
    }
}

/// Fields that mean something for some kinds only.
fn belongs(written: &Written) -> Result<(), String> {
    use Name::{Call, Choice, Number};
    let fields = [
        ("choices", written.choices.is_some(), Choice),
        ("tolerance", written.tolerance.is_some(), Number),
        ("free", written.free.is_some(), Call),
    ];
    for (field, is_there, kind) in fields {
        if is_there && written.kind != kind {
            return Err(format!("{field} belongs to items of another kind than this one"));
        }
    }
    if written.kind == Call && written.tools.as_ref().is_none_or(Vec::is_empty) {
        return Err("tools: an item of kind call offers at least one".to_owned());
    }
    Ok(())
}

fn kind(written: &Written) -> Result<Kind, String> {
    let answer = &written.answer;
    match written.kind {
        Name::Choice => {
            let choices = written.choices.clone().unwrap_or_default();
            choice(choices, answer.as_str().ok_or("answer: expected a letter such as \"B\"")?)
        }
        Name::Number => {
            let tolerance = written.tolerance.as_ref().map(number).transpose()?;
            if tolerance.is_some_and(|tolerance| tolerance.sign().is_lt()) {
                return Err("tolerance: expected a number that is not negative".to_owned());
            }
            Ok(Kind::Number { right: several(answer, number)?, tolerance })
        }
        Name::Regex => {
            pattern(answer.as_str().ok_or("answer: expected a regular expression as a string")?)
        }
        Name::Lines => Ok(Kind::Lines(several(answer, |value| {
            let place = value.as_str().and_then(Place::parse);
            place.ok_or_else(|| format!("answer {value}: expected \"FILE:FIRST-LAST\""))
        })?)),
        Name::Call => {
            let call = |value: &Value| {
                serde_json::from_value(value.clone()).map_err(|error| format!("answer: {error}"))
            };
            let right = if answer.is_null() { Vec::new() } else { several(answer, call)? };
            let offered = written.tools.iter().flatten();
            let names: Vec<&str> = offered.map(|tool| tool.name.as_str()).collect();
            let stray = right.iter().find(|c: &&Call| !names.contains(&c.name.as_str()));
            match stray {
                Some(call) => Err(format!("answer: the tool {:?} is not offered", call.name)),
                None => Ok(Kind::Call { right, free: written.free.clone().unwrap_or_default() }),
            }
        }
    }
}

/// A choice by the letter of the right one.
pub(super) fn choice(choices: Vec<String>, right: &str) -> Result<Kind, String> {
    if !(2..=CHOICES_MAX).contains(&choices.len()) {
        return Err(format!("choices: expected 2 to {CHOICES_MAX}, found {}", choices.len()));
    }
    if choices.iter().any(|choice| choice.trim().is_empty()) {
        return Err("choices: one of them is empty".to_owned());
    }
    let mut chars = right.trim().chars();
    let place = match (chars.next(), chars.next()) {
        (Some(letter @ 'A'..='Z'), None) => letter as usize - 'A' as usize,
        _ => return Err(format!("answer {right:?}: expected one capital letter")),
    };
    if place >= choices.len() {
        return Err(format!("answer {right:?}: there are only {} choices", choices.len()));
    }
    Ok(Kind::Choice { choices, right: place })
}

fn pattern(text: &str) -> Result<Kind, String> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!("answer: expected a pattern of 1 to {PATTERN_BYTES_MAX} bytes"));
    }
    let compiled = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    match compiled {
        Ok(pattern) => Ok(Kind::Pattern(Pattern(pattern))),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(format!("answer: the pattern needs more than {COMPILED_BYTES_MAX} bytes"))
        }
        Err(error) => {
            let error = error.to_string();
            let line = error.lines().last().unwrap_or_default();
            Err(format!("answer: not a regular expression: {}", line.trim_start_matches("error: ")))
        }
    }
}

/// A number, as JSON or as text.
pub(super) fn number(value: &Value) -> Result<Number, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let expected = || format!("{value}: expected a number such as 12, \"3/4\" or \"1,234.50\"");
    Number::parse(&super::number::plain(&text)).ok_or_else(expected)
}

/// One value, or a list of them.
fn several<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    match value {
        Value::Array(values) if !(1..=ANSWERS_MAX).contains(&values.len()) => {
            Err(format!("answer: expected 1 to {ANSWERS_MAX} of them, found {}", values.len()))
        }
        Value::Array(values) => values.iter().map(read).collect(),
        value => Ok(vec![read(value)?]),
    }
}

fn tools(written: Vec<WrittenTool>) -> Result<Vec<ToolSpec>, String> {
    if written.len() > TOOLS_MAX {
        return Err(format!("tools: at most {TOOLS_MAX}, found {}", written.len()));
    }
    let mut names = HashSet::new();
    let tool = |tool: WrittenTool| {
        if tool.name.is_empty() || !names.insert(tool.name.clone()) {
            return Err(format!("tools: the name {:?} is empty or used twice", tool.name));
        }
        if tool.parameters.as_ref().is_some_and(|schema| !schema.is_object()) {
            return Err(format!("tools: the parameters of {:?} are no object", tool.name));
        }
        Ok(ToolSpec::new(tool.name, tool.description, tool.parameters))
    };
    written.into_iter().map(tool).collect()
}

fn turns(
    question: Option<String>,
    messages: Option<Vec<WrittenTurn>>,
) -> Result<Vec<Turn>, String> {
    let written = match (question, messages) {
        (Some(question), None) if question.trim().is_empty() => {
            return Err("question: it is empty".to_owned());
        }
        (Some(question), None) => return Ok(vec![Turn::User(question)]),
        (None, Some(messages)) => messages,
        _ => return Err("expected a question, or messages, and not both".to_owned()),
    };
    if !(1..=TURNS_MAX).contains(&written.len()) {
        return Err(format!("messages: expected 1 to {TURNS_MAX}, found {}", written.len()));
    }
    let begins = written.first().is_some_and(|turn| turn.role == Role::User);
    let ends = written.last().is_some_and(|turn| turn.role != Role::Assistant);
    if !begins || !ends {
        return Err("messages: the user begins, and the assistant has not the last word".to_owned());
    }
    let mut called = false;
    let turn =
        |turn: WrittenTurn| {
            let answers = std::mem::replace(&mut called, turn.call.is_some());
            match (turn.role, turn.call) {
                (Role::User, None) if !answers => Ok(Turn::User(turn.content)),
                (Role::Assistant, call) if !answers => Ok(Turn::Assistant(turn.content, call)),
                (Role::Tool, None) if answers => Ok(Turn::Tool(turn.content)),
                _ => Err("messages: a call is the assistant's, and the next turn is the tool's"
                    .to_owned()),
            }
        };
    written.into_iter().map(turn).collect()
}
