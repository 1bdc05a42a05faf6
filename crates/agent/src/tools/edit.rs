//! `edit`: one place of a file, named by the text that stands there, gets another text.
//!
//! The old text must stand in the file exactly once, so that nothing is changed that was not
//! meant. [`replace_once`] is the whole meaning, and says where a text that was not found nearly
//! is. A call that cannot work is noticed while its new text is still being sampled.

use std::sync::{Arc, Mutex, PoisonError};

use text::ToolSpec;

use super::arguments::{schema, text};
use super::result::{failed, line, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool, planned_path};
use crate::begun;
use crate::event::Shown;
use crate::files::{self, FILE_BYTES_MAX};
use crate::harmless;
use crate::workplace::Workplace;

/// Changes files.
#[derive(Debug)]
pub struct Edit {
    place: Arc<Workplace>,
    /// Path and old text that were found to match while a call was sampled.
    glanced: Mutex<Option<(String, String)>>,
}

impl Edit {
    /// Changes files of this place.
    pub fn new(place: Arc<Workplace>) -> Edit {
        Edit { place, glanced: Mutex::new(None) }
    }

    fn content(&self, path: &std::path::Path) -> Result<String, String> {
        let name = self.place.name(path);
        let content = files::read(path, FILE_BYTES_MAX).map_err(|e| format!("{name}: {e}"))?;
        let content = content
            .ok_or_else(|| format!("{name}: there is no such file; use write to make it"))?;
        String::from_utf8(content.bytes)
            .map_err(|_| format!("{name}: this is no UTF-8 text; change it with a command"))
    }

    fn edit(&self, arguments: &Arguments, plan: &Plan) -> Result<Outcome, String> {
        let path = planned_path(plan)?;
        let before = self.content(path)?;
        let (old, new) = (text(arguments, "old")?, text(arguments, "new")?);
        let name = self.place.name(path);
        let after = replace_once(&before, old, new).map_err(|why| format!("{name}: {why}"))?;
        if after.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{name}: the file would be larger than {FILE_BYTES_MAX} bytes"));
        }
        let changed = self.place.undo.change(path, Some(after.as_bytes()));
        changed.map_err(|error| format!("{name}: {error}; nothing was changed"))?;
        let place = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
        let number = before.as_bytes()[..place].iter().filter(|b| **b == b'\n').count() + 1;
        Ok(Outcome {
            text: format!("changed {name} at line {number}"),
            shown: Shown::Change {
                path: path.to_owned(),
                before: Some(harmless::shown(&before)),
                after: harmless::shown(&after),
            },
            failed: false,
        })
    }
}

impl Tool for Edit {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "edit",
            Some(
                "Change a file: replace old by new. old must be exactly the text that stands in \
                 the file, white space included and line numbers left out, and must occur there \
                 once; take more lines if it occurs more often."
                    .to_owned(),
            ),
            Some(schema(
                &[
                    ("path", "string", "The file, relative to the working tree"),
                    ("old", "string", "The text to replace"),
                    ("new", "string", "What stands there afterwards"),
                ],
                3,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let path = self.place.resolve(text(arguments, "path")?)?;
        let (old, new) = (text(arguments, "old")?, text(arguments, "new")?);
        let title = title(&self.place.name(&path));
        // Nothing of a file outside the tree is told to the model before somebody has said yes.
        let detail = match self.content(&path).and_then(|text| {
            let after = replace_once(&text, old, new)?;
            Ok((text, after))
        }) {
            Ok((before, after)) => Shown::Change {
                path: path.clone(),
                before: Some(harmless::shown(&before)),
                after: harmless::shown(&after),
            },
            Err(why) if path.starts_with(self.place.tree()) => return Err(why),
            Err(_) => Shown::Text(harmless::shown(&format!("{old}\n->\n{new}"))),
        };
        Ok(Plan { title, needs: vec![Need::Write(path)], detail })
    }

    fn glance(&self, arguments: &str) -> Option<String> {
        let given = begun::text(arguments, "path")?;
        let path = match self.place.resolve(&given) {
            Ok(path) => path,
            Err(why) => return Some(why),
        };
        if !path.starts_with(self.place.tree()) {
            return None;
        }
        let Some(old) = begun::text(arguments, "old") else {
            let is_there = path.symlink_metadata().is_ok();
            let name = self.place.name(&path);
            return (!is_there).then(|| format!("{name}: there is no such file"));
        };
        let mut glanced = self.glanced.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Some((given, old));
        if *glanced == call {
            return None;
        }
        let (_, old) = call.as_ref()?;
        let found = self.content(&path).and_then(|text| {
            let name = self.place.name(&path);
            find_once(&text, old).map(|_| ()).map_err(|why| format!("{name}: {why}"))
        });
        match found {
            Ok(()) => {
                *glanced = call;
                None
            }
            Err(why) => Some(why),
        }
    }

    fn run(
        &self,
        arguments: &Arguments,
        plan: &Plan,
        _: &mut dyn FnMut(&str),
        _: &Stop,
    ) -> Outcome {
        self.edit(arguments, plan).unwrap_or_else(failed)
    }
}

/// The text with `old`, which stands in it exactly once, replaced.
///
/// Where the file ends its lines with a carriage return and a newline and `old` does not, both
/// texts are taken as if they did.
///
/// # Errors
/// It stands there not once; a text for the model, which says where it nearly stands.
pub fn replace_once(text: &str, old: &str, new: &str) -> Result<String, String> {
    if old == new {
        return Err("old and new are equal; there is nothing to change".to_owned());
    }
    let (at, found) = find_once(text, old)?;
    let carried = found.len() != old.len();
    let new = if carried { with_returns(new) } else { new.to_owned() };
    Ok([&text[..at], &new, &text[at + found.len()..]].concat())
}

/// Where `old` stands, and what stands there.
fn find_once<'a>(text: &'a str, old: &str) -> Result<(usize, &'a str), String> {
    if old.is_empty() {
        return Err("old is empty; to make or replace a whole file use write".to_owned());
    }
    let returned = with_returns(old);
    for old in [old, &returned] {
        // Places may overlap, and then nobody knows which is meant.
        let places = places(text, old);
        match places[..] {
            [] => {}
            [at] => return Ok((at, &text[at..at + old.len()])),
            _ => {
                let numbers: Vec<String> =
                    places.iter().take(10).map(|at| line_of(text, *at).to_string()).collect();
                return Err(format!(
                    "old occurs {}{} times, at the lines {}; add lines around it until it is the \
                     only place",
                    if places.len() == PLACES_MAX { "at least " } else { "" },
                    places.len(),
                    numbers.join(", ")
                ));
            }
        }
    }
    Err(nearest(text, old))
}

const PLACES_MAX: usize = 1000;

fn places(text: &str, old: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(old) {
        places.push(from + at);
        let width = text[from + at..].chars().next().map_or(1, char::len_utf8);
        from += at + width;
        if places.len() == PLACES_MAX {
            break;
        }
    }
    places
}

fn with_returns(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Lines that are compared, of the text that was asked for and of the file.
const OLD_LINES_MAX: usize = 200;
const TEXT_LINES_MAX: usize = 20_000;
const SHOWN_LINES_MAX: usize = 12;
const SHOWN_LINE_BYTES_MAX: usize = 200;

/// Says that a text was not found, and what stands where it most nearly is.
fn nearest(text: &str, old: &str) -> String {
    let wanted: Vec<&str> = old.lines().map(str::trim).take(OLD_LINES_MAX).collect();
    let lines: Vec<&str> = text.lines().take(TEXT_LINES_MAX).collect();
    let equal = |start: usize| {
        let pairs = lines[start..].iter().zip(&wanted);
        pairs.filter(|(line, wanted)| !wanted.is_empty() && line.trim() == **wanted).count()
    };
    let likeness = |start: usize| {
        let longest = wanted.iter().enumerate().max_by_key(|(_, line)| line.len());
        longest.map_or(0, |(at, wanted)| {
            lines.get(start + at).map_or(0, |line| common_pairs(line.trim(), wanted))
        })
    };
    let best = (0..lines.len()).map(|start| (equal(start), likeness(start), start));
    // Of equals the first.
    let best = best.max_by_key(|(equal, likeness, start)| (*equal, *likeness, usize::MAX - start));
    let Some((equal, likeness, start)) = best.filter(|(equal, likeness, _)| equal + likeness > 0)
    else {
        return "old was not found, nor anything like it; read the file first".to_owned();
    };
    let count = wanted.len().min(lines.len() - start);
    let all_equal =
        count == wanted.len() && equal == wanted.iter().filter(|w| !w.is_empty()).count();
    let hint = match (all_equal, likeness) {
        (true, _) => "it differs from these lines in white space only",
        _ => "the nearest lines are these",
    };
    let mut out = format!("old was not found; {hint}, from line {}:", start + 1);
    for content in lines[start..].iter().take(count.min(SHOWN_LINES_MAX)) {
        out.push('\n');
        out.push_str(&line(content, SHOWN_LINE_BYTES_MAX));
    }
    if count > SHOWN_LINES_MAX {
        out.push_str(&format!("\n[{} lines more]", count - SHOWN_LINES_MAX));
    }
    out
}

/// How many neighbouring characters of one line stand in the other as well, at most the first
/// hundred.
fn common_pairs(line: &str, wanted: &str) -> usize {
    const PAIRS_MAX: usize = 100;
    let pairs = |text: &str| -> Vec<(char, char)> {
        text.chars().zip(text.chars().skip(1)).take(PAIRS_MAX).collect()
    };
    let (of_line, of_wanted) = (pairs(line), pairs(wanted));
    let common = of_wanted.iter().filter(|pair| of_line.contains(pair)).count();
    // Fewer than half are chance.
    if common * 2 < of_wanted.len().max(of_line.len()) { 0 } else { common }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_replaced_and_nothing_else() {
        let rows = [
            ("a b c", "b", "x", "a x c"),
            ("a\nb\nc\n", "a\nb\n", "", "c\n"),
            ("dos\r\nlines\r\n", "dos\nlines\n", "one\ntwo\n", "one\r\ntwo\r\n"),
            ("dos\r\nlines\r\n", "lines", "one\ntwo", "dos\r\none\ntwo\r\n"),
            ("ü€", "€", "é", "üé"),
        ];
        for (text, old, new, expected) in rows {
            assert_eq!(replace_once(text, old, new).as_deref(), Ok(expected), "{text:?} {old:?}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = "fn main() {\n    one();\n    two();\n    one();\n}\n";
        let rows = [
            ("", "x", "old is empty"),
            ("x", "x", "old and new are equal"),
            ("one();", "x", "old occurs 2 times, at the lines 2, 4; add lines"),
            ("one();\ntwo();", "x", "differs from these lines in white space only, from line 2:"),
            ("  two( );", "x", "the nearest lines are these, from line 3:\n    two();"),
            ("something else", "x", "nor anything like it"),
        ];
        for (old, new, expected) in rows {
            let error = replace_once(text, old, new).unwrap_err();
            assert!(error.contains(expected), "{old:?}: {error}");
        }
        let overlapping = replace_once("aaa", "aa", "b").unwrap_err();
        assert!(overlapping.contains("2 times"), "{overlapping}");
    }

    #[test]
    fn hostile_texts_cost_little() {
        let text = "a ".repeat(1 << 20) + "\n" + &"ab\n".repeat(100_000);
        let old = "ab \n".repeat(5_000);
        let started = std::time::Instant::now();
        assert!(replace_once(&text, &old, "x").is_err());
        assert!(replace_once(&text, "a", "x").unwrap_err().contains("at least 1000 times"));
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }
}
