//! Finding the final answer in what a model said.
//!
//! Looked for, from the end of the text backwards: a statement of the answer (`Answer: C`, `The
//! correct option is **C**`, `#### 42`) or a `\boxed{...}`. A statement that is denied, asked,
//! conditional, or says nothing of the wanted kind is passed over; one that names several answers
//! ends the search without one, since whoever hedges has not answered. Only where there is no
//! statement at all, a text that is short enough to be the answer itself is taken for it.
//!
//! Pure functions of the visible text: what was only thought is no answer, and is not shown here.

use std::sync::LazyLock;

use regex::Regex;

use super::number::{Number, Spot, numbers, plain};

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// This.
    One(T),
    /// Several things: no answer.
    Several,
    /// Nothing of the kind.
    Nothing,
}

impl<T> Said<T> {
    /// The answer, if there is just one.
    pub fn one(self) -> Option<T> {
        match self {
            Said::One(value) => Some(value),
            Said::Several | Said::Nothing => None,
        }
    }
}

/// Where an answer is stated, up to the statement.
static MARKER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?imx)
        \b answer s? \b [\s*_`\x22')\]}]* (?: [:\u{ff1a}=] | \b is \b (?: [\s*_]* : )? )
        | \b (?: correct | right | best | final ) \s+ (?: choice | option | result | value ) \b
          [\s*_`]* (?: [:\u{ff1a}=] | \b is \b (?: [\s*_]* : )? )
        | ^ [\ \t]* \#{4} ",
    )
    .expect("our own pattern is well formed")
});

/// What makes a statement a condition, directly before it.
static CONDITION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix) \b (?: if | whether | suppose | supposing | assume | assuming | unless ) \b
          (?: \s+ (?: that | the | my | our | your | this | final | correct | right | best ) )*
          \s* $",
    )
    .expect("our own pattern is well formed")
});

/// What makes a statement none.
static DENIAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:not|never|neither|none\s+of|unlikely|wrong|unknown|unclear|n/a)\b")
        .expect("our own pattern is well formed")
});

/// Bytes of a statement that are looked at, and of what is before it. A reply that says
/// "answer is answer is ..." for as long as it may must not take forever to judge.
const STATEMENT_BYTES_MAX: usize = 2000;
const BEFORE_BYTES_MAX: usize = 100;

/// Statements that are looked at, from the end.
const STATEMENTS_MAX: usize = 64;

/// The statements of an answer, in order: the last ones, if there are very many.
pub fn statements(text: &str) -> Vec<String> {
    let markers: Vec<(usize, usize)> =
        MARKER.find_iter(text).map(|marker| (marker.start(), marker.end())).collect();
    let mut found: Vec<(usize, String)> = Vec::new();
    for &(start, end) in markers.iter().rev().take(STATEMENTS_MAX) {
        let near = text.ceil_char_boundary(start.saturating_sub(BEFORE_BYTES_MAX));
        if CONDITION.is_match(&text[near..start]) {
            continue;
        }
        let said = first_line(beginning(&text[end..]));
        let said = said.trim_start_matches([' ', '\t', '*', '_', ':', '"']);
        // A box inside is found by itself.
        if !said.is_empty() && !said.starts_with("\\boxed") && !said.starts_with("$\\boxed") {
            found.push((end, said.to_owned()));
        }
    }
    for (at, command) in text.rmatch_indices("\\boxed{").take(STATEMENTS_MAX) {
        let inside = beginning(&text[at + command.len()..]);
        if let Some(end) = closing(inside) {
            found.push((at, inside[..end].to_owned()));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    let denied = |said: &String| DENIAL.is_match(said) || said.trim_end().ends_with('?');
    found.into_iter().map(|(_, said)| said).filter(|said| !denied(said)).collect()
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(STATEMENT_BYTES_MAX)]
}

/// The first line that says something.
fn first_line(text: &str) -> &str {
    let says = |line: &&str| line.contains(|c: char| !matches!(c, '*' | '_' | '`' | ' ' | ':'));
    text.lines().map(str::trim).take(4).find(says).unwrap_or_default()
}

/// Where the brace closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        (open == 0).then_some(at)
    })
}

/// The statement that counts: the last that says anything.
fn last<T>(text: &str, read: impl Fn(&str) -> Said<T>) -> Said<T> {
    let said = statements(text);
    said.iter()
        .rev()
        .map(|said| read(said))
        .find(|said| !matches!(said, Said::Nothing))
        .unwrap_or(Said::Nothing)
}

/// The choice that a reply names, by its place.
pub fn choice(text: &str, choices: &[String]) -> Said<usize> {
    let text = text.trim();
    let stated = last(text, |said| choice_of(said, choices));
    if stated != Said::Nothing {
        return stated;
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let Some(line) = lines.last() else { return Said::Nothing };
    match lone_letter(line, choices) {
        Some((place, "")) => Said::One(place),
        // `C) the text of the choice`, and nothing else.
        Some((place, rest))
            if lines.len() == 1 && is_labelled(line) && !names_more(rest, choices) =>
        {
            Said::One(place)
        }
        _ if lines.len() == 1 => by_text(line, choices).map_or(Said::Nothing, Said::One),
        _ => Said::Nothing,
    }
}

fn choice_of(said: &str, choices: &[String]) -> Said<usize> {
    let said = unwrapped(said);
    let Some((place, rest)) = lone_letter(said, choices) else {
        return by_text(said, choices).map_or(Said::Nothing, Said::One);
    };
    let first = said.trim_start_matches(OPENERS).chars().next().unwrap_or(' ');
    let words = rest.trim_start_matches(CLOSERS);
    let closed = words.len() < rest.len() || rest.is_empty();
    if names_more(rest, choices) {
        return Said::Several;
    }
    // `A dog` and `I think` are words; so is a small letter with something behind it.
    let next = words.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let reason = ["because", "since", "as", "is", "was", "for"].contains(&next);
    let is_word = first.is_lowercase() || matches!(first, 'A' | 'I') && !reason;
    if is_word && !closed && !is_choice(words, choices, place) {
        return by_text(said, choices).map_or(Said::Nothing, Said::One);
    }
    Said::One(place)
}

const OPENERS: [char; 9] = [' ', '*', '_', '"', '\'', '(', '[', '{', '`'];
const CLOSERS: [char; 14] = [')', ']', '}', '.', ':', ',', ';', '!', '*', '_', '"', '\'', '`', '$'];

/// Without words and commands in front of a letter.
fn unwrapped(said: &str) -> &str {
    let mut said = said.trim();
    loop {
        let before = said;
        said = said.trim_start_matches(['$', '"', '*', '_', ' ']);
        for front in ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\("] {
            said = said.strip_prefix(front).unwrap_or(said);
        }
        for word in ["option ", "choice ", "letter ", "answer ", "therefore ", "clearly "] {
            let matches = said.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
            said = if matches { &said[word.len()..] } else { said };
        }
        if said.len() == before.len() {
            return said;
        }
    }
}

/// A letter that stands alone at the beginning, and what follows it.
fn lone_letter<'a>(said: &'a str, choices: &[String]) -> Option<(usize, &'a str)> {
    let said = said.trim().trim_start_matches(OPENERS);
    let first = said.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = &said[1..];
    if rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '\u{2019}' | '-'))
    {
        return None;
    }
    let place = (first.to_ascii_uppercase() as u8 - b'A') as usize;
    let end = rest.trim_end();
    let end = if end.chars().all(|c| CLOSERS.contains(&c)) { "" } else { end };
    (place < choices.len()).then_some((place, end))
}

/// `C)`, `C.`, `(C)`, `C:`.
fn is_labelled(line: &str) -> bool {
    let line = line.trim_start_matches(OPENERS);
    line.get(1..).is_some_and(|rest| rest.starts_with([')', '.', ':']))
}

/// Whether another letter is named beside the first: `A or B`, `A, B`, `A/B`, `A and C`.
fn names_more(rest: &str, choices: &[String]) -> bool {
    let rest = rest.trim_start_matches([' ', ')', ']', '}', '*', '_', '.', '"', '\'', '`']);
    let joined = rest.strip_prefix([',', '/', '&', '+']).map(str::trim_start);
    let mut tail = joined.unwrap_or(rest);
    let mut is_joined = joined.is_some();
    for word in ["or ", "and ", "and/or ", "as well as "] {
        let matches = tail.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
        (tail, is_joined) = if matches { (&tail[word.len()..], true) } else { (tail, is_joined) };
    }
    let tail = unwrapped(tail);
    let named = lone_letter(tail, choices);
    is_joined
        && named.is_some_and(|(_, rest)| {
            tail.starts_with(|c: char| !c.is_lowercase()) && !rest.starts_with(" is not")
        })
}

/// Letters, digits and what gives them meaning, in small letters.
fn normal(text: &str) -> String {
    let text = text.trim().trim_end_matches(['.', '!', ',', ';', ' ', '*', '"', '$', '}', '`']);
    let text = text.trim_start_matches(['*', '"', '$', ' ', '`']);
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The choice whose text this is.
fn by_text(said: &str, choices: &[String]) -> Option<usize> {
    let said = normal(said);
    let mut same = (0..choices.len()).filter(|place| normal(&choices[*place]) == said);
    same.next().filter(|_| !said.is_empty() && same.next().is_none())
}

fn is_choice(words: &str, choices: &[String], place: usize) -> bool {
    choices.get(place).is_some_and(|choice| normal(choice) == normal(words))
}

/// The number that a reply names.
pub fn number(text: &str) -> Said<Number> {
    let stated = last(text, number_of);
    if stated != Said::Nothing {
        return stated;
    }
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    if !statements(text).is_empty() || DENIED_NUMBER.is_match(line) || line.ends_with('?') {
        return Said::Nothing;
    }
    // No statement: the last number of the last line, which is where sums end.
    let line = plain(line);
    let spots = numbers(&line);
    match spots.as_slice() {
        [] => Said::Nothing,
        [.., before, last] if are_joined(&line, before, last) => Said::Several,
        [.., last] => Said::One(last.number),
    }
}

static DENIED_NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:not|isn't|isn\u{2019}t|never|cannot)\b")
        .expect("our own pattern is well formed")
});

fn number_of(said: &str) -> Said<Number> {
    let said = plain(said);
    let said = match said.rsplit_once('=') {
        Some((_, after)) if !numbers(after).is_empty() => after,
        _ => said.as_str(),
    };
    let spots = numbers(said);
    match spots.as_slice() {
        [] => Said::Nothing,
        [first, second, ..] if are_joined(said, first, second) => Said::Several,
        [first, ..] => {
            let rest = said[first.end..].trim_start();
            let goes_on =
                ["+", "*", "\u{d7}", "\\times", "^"].iter().any(|sign| rest.starts_with(sign));
            if goes_on { Said::Several } else { Said::One(first.number) }
        }
    }
}

/// Whether two numbers are alternatives, a range, or parts of one expression.
fn are_joined(text: &str, first: &Spot, second: &Spot) -> bool {
    let between = text[first.end..second.start].trim().to_lowercase();
    let joiners =
        ["or", "and", "to", "-", ",", "/", "and/or", ", or", ", and", "through", "+", "*"];
    first.number != second.number && (joiners.contains(&between.as_str()) || between.is_empty())
}

/// What a reply says as a whole: its last statement, or all of it.
pub fn statement(text: &str) -> String {
    let said = statements(text).pop().unwrap_or_else(|| text.trim().to_owned());
    unwrapped(&said).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Each of these would take hours if every statement were read to the end of the text.
    #[test]
    fn endless_replies_are_judged_at_once() {
        let choices = ["x".to_owned(), "y".to_owned()];
        let long = 1 << 20;
        for part in ["answer is ", "\\boxed{", "Answer: A or ", "if answer: ", "1 ", "((", "####\n"]
        {
            let text = part.repeat(long / part.len());
            let start = Instant::now();
            let _ = (choice(&text, &choices), number(&text), statement(&text));
            assert!(start.elapsed() < Duration::from_secs(20), "{part:?}: {:?}", start.elapsed());
        }
    }
}
