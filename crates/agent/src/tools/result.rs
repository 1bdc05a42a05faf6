//! What tools give back: bounded, readable by the model, harmless for people.
//!
//! Whoever cuts something says what was left out and how to get it.

use std::io::Write as _;

use crate::event::Shown;
use crate::harmless;
use crate::workplace::Workplace;

use super::Outcome;
use super::jobs::new_output;

/// It worked; people see what the model reads.
pub fn done(text: String) -> Outcome {
    let shown = Shown::Text(harmless::shown(&text));
    Outcome { text, shown, failed: false }
}

/// It did not.
pub fn failed(text: impl Into<String>) -> Outcome {
    Outcome { failed: true, ..done(text.into()) }
}

/// A text that fits a result; a longer one is kept as a file of outputs, which is named.
pub fn bounded(place: &Workplace, label: &str, text: String) -> String {
    let bytes_max = place.limits().result_bytes;
    if text.len() <= bytes_max {
        return text;
    }
    let kept = new_output(&place.outputs(), label).and_then(|(path, mut file)| {
        file.write_all(text.as_bytes())?;
        Ok(path)
    });
    let begin = head(&text, bytes_max);
    let whole = match kept {
        Ok(path) => format!("all of it is in {}: use read or search", path.display()),
        Err(error) => format!("the rest could not be kept: {error}"),
    };
    format!("{begin}\n[{} bytes in all; {whole}]", text.len())
}

/// The beginning of a text, at a border of characters.
pub fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The end of a text, at a border of characters.
pub fn tail(text: &str, bytes_max: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes_max))..]
}

/// A title for people: one harmless line, cut where it is long.
pub fn title(text: &str) -> String {
    const BYTES_MAX: usize = 200;
    let line = harmless::shown_in_line(text);
    let begin = head(&line, BYTES_MAX);
    if begin.len() == line.len() { line } else { format!("{begin}...") }
}

/// A line that is no longer than this many bytes, or says how much is missing.
pub fn line(line: &str, bytes_max: usize) -> String {
    if line.len() <= bytes_max {
        return line.to_owned();
    }
    let head = head(line, bytes_max);
    format!("{head}[{} more bytes of this line]", line.len() - head.len())
}
