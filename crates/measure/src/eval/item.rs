//! An item: one question, and what counts as its answer.
//!
//! Items come from files ([`super::read`], [`super::import`]) and are checked there; whoever holds
//! one may rely on what is said here. How it looks to the model is decided by
//! [`Item::conversation`], how a reply is judged by [`super::grade()`].

use regex::Regex;
use serde_json::{Map, Value, json};
use text::{Assistant, Conversation, Instructions, Message, ToolCall, ToolResult, ToolSpec};

use super::number::Number;
use super::places::Place;

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Names it in its set; visible ASCII characters.
    pub id: String,
    /// What it is about, for the table of results.
    pub domain: String,
    /// Where it comes from.
    pub source: String,
    /// What a right answer counts, 1 to [`super::read::POINTS_MAX`].
    pub points: u32,
    /// Instructions before the question.
    pub system: Option<String>,
    /// What was said; the last turn is the user's or a tool's.
    pub turns: Vec<Turn>,
    /// Tools on offer.
    pub tools: Vec<ToolSpec>,
    /// What is asked for.
    pub kind: Kind,
}

/// One turn of the conversation that leads to the question.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// Of the person.
    User(String),
    /// Of the model, perhaps with a call of a tool.
    Assistant(String, Option<Call>),
    /// What the tool said.
    Tool(String),
}

/// What is asked for, and the answers that are right.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// One of some choices, by its letter.
    Choice {
        /// At least two, at most 26.
        choices: Vec<String>,
        /// The place of the right one.
        right: usize,
    },
    /// A number, exactly.
    Number {
        /// Any of these.
        right: Vec<Number>,
        /// How far from it an answer may be, if it need not be exact.
        tolerance: Option<Number>,
    },
    /// A text that a pattern is found in.
    Pattern(Pattern),
    /// The lines of a program that matter.
    Lines(Vec<Place>),
    /// One call of a tool; none at all, if there is no right one.
    Call {
        /// Any of these.
        right: Vec<Call>,
        /// Arguments that may have any value, or be missing.
        free: Vec<String>,
    },
}

/// A regular expression; equal if it is written alike.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// The id under which a tool's answer in an item refers to its call.
const CALL_ID: &str = "call-1";

/// The letter of a choice.
pub fn letter(place: usize) -> char {
    char::from(b'A' + place as u8)
}

impl Kind {
    /// Its name in files and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Choice { .. } => "choice",
            Kind::Number { .. } => "number",
            Kind::Pattern(_) => "regex",
            Kind::Lines(_) => "lines",
            Kind::Call { .. } => "call",
        }
    }

    /// What is said after the question about the form of the answer.
    fn form(&self) -> Option<String> {
        let end = "End your reply with a line of the form";
        match self {
            Kind::Choice { choices, .. } => {
                let mut form = String::new();
                for (place, choice) in choices.iter().enumerate() {
                    form += &format!("{}) {choice}\n", letter(place));
                }
                Some(form + &format!("\n{end} \"Answer: X\", where X is the letter of the choice."))
            }
            Kind::Number { .. } => {
                Some(format!("{end} \"Answer: N\", where N is the number alone."))
            }
            Kind::Lines(_) => Some(format!(
                "{end} \"Answer: FILE:FIRST-LAST\" that names only the lines that matter, several \
                 ranges with commas between them."
            )),
            Kind::Pattern(_) | Kind::Call { .. } => None,
        }
    }

    /// The right answer, as a file has it.
    pub fn answer(&self) -> Value {
        match self {
            Kind::Choice { right, .. } => json!(letter(*right).to_string()),
            Kind::Number { right, .. } => one_or_list(right.iter().map(|n| json!(n.to_string()))),
            Kind::Pattern(pattern) => json!(pattern.0.as_str()),
            Kind::Lines(places) => one_or_list(places.iter().map(|p| json!(p.to_string()))),
            Kind::Call { right, .. } if right.is_empty() => Value::Null,
            Kind::Call { right, .. } => one_or_list(right.iter().map(|call| json!(call))),
        }
    }
}

fn one_or_list(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
}

impl Item {
    /// The conversation that the model is to go on with.
    pub fn conversation(&self) -> Conversation {
        let mut messages = Vec::new();
        if self.system.is_some() || !self.tools.is_empty() {
            let text = self.system.clone().unwrap_or_default();
            let tools = self.tools.clone();
            messages.push(Message::System(Instructions { text, tools, response_format: None }));
        }
        let last = self.turns.iter().rposition(|turn| matches!(turn, Turn::User(_)));
        for (place, turn) in self.turns.iter().enumerate() {
            messages.push(match turn {
                Turn::User(text) => match self.kind.form().filter(|_| Some(place) == last) {
                    Some(form) => Message::user(format!("{}\n\n{form}", text.trim_end())),
                    None => Message::user(text.clone()),
                },
                Turn::Assistant(text, call) => Message::Assistant(Assistant {
                    text: text.clone(),
                    calls: call.iter().map(tool_call).collect(),
                    ..Assistant::default()
                }),
                Turn::Tool(text) => Message::Tool(ToolResult::text(CALL_ID, text.clone())),
            });
        }
        Conversation { messages }
    }

    /// The question itself, for lists.
    pub fn question(&self) -> &str {
        let asked = self.turns.iter().rev().find_map(|turn| match turn {
            Turn::User(text) => Some(text.as_str()),
            _ => None,
        });
        asked.unwrap_or_default()
    }

    /// The item as a line of a file; reading it gives the item again.
    pub fn to_json(&self) -> Value {
        let mut line = Map::new();
        let mut add = |key: &str, value: Value| line.insert(key.to_owned(), value);
        add("id", json!(self.id));
        add("kind", json!(self.kind.name()));
        add("domain", json!(self.domain));
        add("source", json!(self.source));
        add("points", json!(self.points));
        if let Some(system) = &self.system {
            add("system", json!(system));
        }
        match self.turns.as_slice() {
            [Turn::User(question)] => add("question", json!(question)),
            turns => add("messages", turns.iter().map(Turn::to_json).collect()),
        };
        if !self.tools.is_empty() {
            add("tools", self.tools.iter().map(tool_json).collect());
        }
        match &self.kind {
            Kind::Choice { choices, .. } => drop(add("choices", json!(choices))),
            Kind::Number { tolerance: Some(tolerance), .. } => {
                add("tolerance", json!(tolerance.to_string()));
            }
            Kind::Call { free, .. } if !free.is_empty() => drop(add("free", json!(free))),
            _ => {}
        }
        add("answer", self.kind.answer());
        Value::Object(line)
    }

    /// A hash of what is asked, without the answer: replies to the same question have the same.
    pub fn asked(&self) -> String {
        let mut line = self.to_json();
        if let Some(line) = line.as_object_mut() {
            for key in ["answer", "tolerance", "free", "points", "domain", "source", "id"] {
                line.remove(key);
            }
        }
        hash(&line.to_string())
    }
}

impl Turn {
    fn to_json(&self) -> Value {
        match self {
            Turn::User(text) => json!({"role": "user", "content": text}),
            Turn::Assistant(text, None) => json!({"role": "assistant", "content": text}),
            Turn::Assistant(text, Some(call)) => {
                json!({"role": "assistant", "content": text, "call": call})
            }
            Turn::Tool(text) => json!({"role": "tool", "content": text}),
        }
    }
}

fn tool_call(call: &Call) -> ToolCall {
    let arguments = Value::Object(call.arguments.clone()).to_string();
    ToolCall { id: CALL_ID.to_owned(), name: call.name.clone(), arguments }
}

fn tool_json(tool: &ToolSpec) -> Value {
    let mut json = Map::from_iter([("name".to_owned(), json!(tool.name))]);
    if let Some(description) = &tool.description {
        json.insert("description".to_owned(), json!(description));
    }
    json.insert("parameters".to_owned(), tool.parameters.clone());
    Value::Object(json)
}

/// 64 bits of BLAKE3 as 16 digits: enough to notice a change that nobody meant.
pub(super) fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_answer_follows_the_last_question() {
        let kind = Kind::Choice { choices: vec!["four".into(), "five".into()], right: 1 };
        let turns = vec![
            Turn::User("Hello".into()),
            Turn::Assistant("Hello.".into(), None),
            Turn::User("2 + 3?\n".into()),
        ];
        let (id, domain, source) = ("a".into(), "sums".into(), "own".into());
        let (system, tools) = (None, Vec::new());
        let item = Item { id, domain, source, points: 1, system, turns, tools, kind };
        let said = item.conversation().messages;
        let expected = "2 + 3?\n\nA) four\nB) five\n\nEnd your reply with a line of the form \
            \"Answer: X\", where X is the letter of the choice.";
        assert_eq!(said[2], Message::user(expected));
        assert_eq!(said[0], Message::user("Hello"));
    }
}
