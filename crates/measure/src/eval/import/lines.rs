//! JSON Lines of public sets: SuperGPQA, MMLU-Pro, ARC, GSM8K, and problems with a number for an
//! answer.
//!
//! Fields are looked up by their published names; what else a line holds is not looked at.

use std::io::BufRead;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Asked, Import, Layout, choice};
use crate::Error;
use crate::eval::extract;
use crate::eval::item::{Kind, letter};
use crate::eval::number::Number;
use crate::eval::read::number;
use crate::lines::Lines;

type Fields = Map<String, Value>;

/// Reads all lines.
pub fn read(
    path: &Path,
    reader: impl BufRead,
    layout: Layout,
    import: &mut Import,
) -> Result<(), Error> {
    let mut lines = Lines::new(path, reader);
    while let Some(line) = lines.next()? {
        let fields: Fields = serde_json::from_str(&line.text)
            .map_err(|error| line.refuse(format!("no JSON object: {error}")))?;
        let asked = match layout {
            Layout::SuperGpqa => supergpqa(&fields),
            Layout::MmluPro => mmlu_pro(&fields),
            Layout::Arc => arc(&fields),
            Layout::Gsm8k => gsm8k(&fields),
            _ => problem(&fields),
        };
        let added = asked.and_then(|asked| import.add(asked, line.text.len()));
        added.map_err(|problem| line.refuse(problem))?;
    }
    Ok(())
}

/// A text, which must be there.
fn text(fields: &Fields, key: &str) -> Result<String, String> {
    optional(fields, key).ok_or_else(|| format!("no text {key:?}"))
}

/// A text or a number, if it is there.
fn optional(fields: &Fields, key: &str) -> Option<String> {
    match fields.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn texts(list: Option<&Value>, key: &str) -> Result<Vec<String>, String> {
    let list = list.and_then(Value::as_array).ok_or_else(|| format!("no list {key:?}"))?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    list.iter().map(text).collect::<Option<_>>().ok_or_else(|| format!("{key}: not all are texts"))
}

/// `uuid`, `question`, `options`, `answer_letter`, `discipline`.
fn supergpqa(fields: &Fields) -> Result<Asked, String> {
    let choices = texts(fields.get("options"), "options")?;
    let kind = choice(choices, &text(fields, "answer_letter")?)?;
    Ok(Asked {
        id: optional(fields, "uuid"),
        domain: optional(fields, "discipline"),
        question: text(fields, "question")?,
        kind: Some(kind),
    })
}

/// `question_id`, `question`, `options`, `answer`, `category`. Short lists are filled with `N/A`.
fn mmlu_pro(fields: &Fields) -> Result<Asked, String> {
    let mut choices = texts(fields.get("options"), "options")?;
    while choices.last().is_some_and(|last| last == "N/A") {
        choices.pop();
    }
    let kind = choice(choices, &text(fields, "answer")?)?;
    Ok(Asked {
        id: optional(fields, "question_id"),
        domain: optional(fields, "category"),
        question: text(fields, "question")?,
        kind: Some(kind),
    })
}

/// `id`, `question` (a text, or an object with `stem` and `choices`), `choices` (an object of lists
/// `text` and `label`, or a list of objects), `answerKey`.
fn arc(fields: &Fields) -> Result<Asked, String> {
    let inner = fields.get("question").and_then(Value::as_object);
    let question = match inner {
        Some(inner) => text(inner, "stem")?,
        None => text(fields, "question")?,
    };
    let choices = inner.unwrap_or(fields).get("choices");
    let (labels, choices) = match choices {
        Some(Value::Object(lists)) => {
            (texts(lists.get("label"), "label")?, texts(lists.get("text"), "text")?)
        }
        Some(Value::Array(list)) => {
            let each = |key: &str| {
                let field = |value: &Value| text(value.as_object()?, key).ok();
                let all: Option<Vec<String>> = list.iter().map(field).collect();
                all.ok_or_else(|| format!("choices: one of them has no {key:?}"))
            };
            (each("label")?, each("text")?)
        }
        _ => return Err("no choices".to_owned()),
    };
    // Some of the questions count their choices from 1.
    let key = text(fields, "answerKey")?;
    let place = labels.iter().position(|label| *label == key);
    let place = place.filter(|_| labels.len() == choices.len() && labels.len() <= 26);
    let place = place.ok_or_else(|| format!("answerKey {key:?}: not among the labels"))?;
    let kind = Some(choice(choices, &letter(place).to_string())?);
    Ok(Asked { id: optional(fields, "id"), domain: None, question, kind })
}

/// `question`, `answer`, whose last line is `#### 42`.
fn gsm8k(fields: &Fields) -> Result<Asked, String> {
    let answer = text(fields, "answer")?;
    let last = answer.rsplit("####").next().filter(|_| answer.contains("####"));
    let right = number(&Value::String(last.unwrap_or_default().trim().to_owned()));
    let right = right.map_err(|_| "answer: expected a last line such as `#### 42`".to_owned())?;
    let kind = Some(Kind::Number { right: vec![right], tolerance: None });
    Ok(Asked { id: None, domain: None, question: text(fields, "question")?, kind })
}

/// `problem` or `question`; `answer`, or a `solution` with a box; `id` or `unique_id`; `subject` or
/// `type`. A problem whose answer is no number is left out.
fn problem(fields: &Fields) -> Result<Asked, String> {
    let first = |keys: [&str; 2]| keys.iter().find_map(|key| optional(fields, key));
    let question = first(["problem", "question"]).ok_or("no text \"problem\" or \"question\"")?;
    let boxed = || {
        let solution = optional(fields, "solution")?;
        extract::statements(&solution[solution.rfind("\\boxed{")?..]).pop()
    };
    let answer = optional(fields, "answer").or_else(boxed);
    let answer = answer.ok_or("no \"answer\", and no \"solution\" with a box")?;
    let right: Option<Number> = number(&Value::String(answer)).ok();
    let kind = right.map(|right| Kind::Number { right: vec![right], tolerance: None });
    Ok(Asked { id: first(["unique_id", "id"]), domain: first(["subject", "type"]), question, kind })
}
