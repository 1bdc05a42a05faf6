//! Places in code: a file and a range of its lines, as `main.c:10-14`.
//!
//! A reply names the lines that matter in whatever way people do (`main.c:10-14`, `main.c lines 10
//! to 14`, `L10`, `main.c#L10-L14`). It is right if it touches every wanted range and does not name
//! much else, so that pointing at a whole file is no answer.

use std::fmt;

/// The largest number of a line.
const LINE_MAX: u32 = 9_999_999;

/// Named lines that are no fault, for each wanted one, and in all.
const NAMED_PER_WANTED: u32 = 3;
const NAMED_BESIDES: u32 = 6;

/// Some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, if it is named.
    pub file: Option<String>,
    /// The first line, from 1.
    pub first: u32,
    /// The last line, at least the first.
    pub last: u32,
}

impl Place {
    /// Reads `FILE:FIRST-LAST` or `FILE:LINE`, with nothing around it.
    pub fn parse(text: &str) -> Option<Place> {
        let mut places = places(text)?;
        let place = places.pop().filter(|_| places.is_empty())?;
        (place.file.is_some() && place.to_string() == text).then_some(place)
    }

    fn touches(&self, other: &Place) -> bool {
        let (a, b) = (self.file.as_deref(), other.file.as_deref());
        let same = a.zip(b).is_none_or(|(a, b)| is_same_file(a, b));
        same && self.first <= other.last && other.first <= self.last
    }

    fn lines(&self) -> u32 {
        self.last - self.first + 1
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}", self.first)?;
        if self.last > self.first { write!(f, "-{}", self.last) } else { Ok(()) }
    }
}

/// Whether one path is the end of the other.
fn is_same_file(a: &str, b: &str) -> bool {
    let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
    long.strip_suffix(short).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// The places that a text names and does nothing else; `None` if there is more in it, or none.
/// A range without a file is of the file before it.
pub fn places(text: &str) -> Option<Vec<Place>> {
    let clean = text.replace(['`', '*', '[', ']', '(', ')', '"'], " ");
    let clean = clean.replace(['\u{2013}', '\u{2212}'], "-").replace("..", "-");
    let mut found: Vec<Place> = Vec::new();
    let mut file: Option<String> = None;
    for part in clean.split([',', ';', '\n', '&']) {
        let mut numbers = Vec::new();
        let mut to = false;
        for word in part.split([' ', '\t', ':', '#']).filter(|word| !word.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "line" | "lines" | "and" | "l" | "at" | "in" => {}
                "to" | "-" | "through" => to = true,
                _ if is_file(word) => file = Some(word.trim_end_matches('.').to_owned()),
                range => numbers.extend(range_of(range.trim_end_matches('.'))?),
            }
        }
        let ranges: Vec<[u32; 2]> = match numbers.as_slice() {
            [[first, _], [_, last]] if to => vec![[*first, *last]],
            _ => numbers,
        };
        for [first, last] in ranges {
            let ordered = first >= 1 && first <= last && last <= LINE_MAX;
            found.push(ordered.then(|| Place { file: file.clone(), first, last })?);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// A name with a dot in it that is no number, or a path.
fn is_file(word: &str) -> bool {
    let name = word.trim_end_matches('.');
    let letters = name.chars().any(char::is_alphabetic);
    letters && (name.contains('/') || name.contains('.')) && range_of(name).is_none()
}

/// `10-14`, `L10-L14`, `10`.
fn range_of(word: &str) -> Option<Vec<[u32; 2]>> {
    let line = |text: &str| {
        let digits = text.strip_prefix(['l', 'L']).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| is_number)
    };
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(vec![[line(first)?, line(last)?]])
}

/// Whether `named` is an answer to `wanted`.
pub fn agree(named: &[Place], wanted: &[Place]) -> bool {
    let lines = |places: &[Place]| places.iter().fold(0u32, |sum, p| sum.saturating_add(p.lines()));
    let allowed = lines(wanted).saturating_mul(NAMED_PER_WANTED).saturating_add(NAMED_BESIDES);
    lines(named) <= allowed
        && wanted.iter().all(|wanted| named.iter().any(|named| named.touches(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let places = places(text).unwrap_or_default();
        places.iter().map(Place::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_spelling() {
        let cases = [
            ("main.c:10-14", "main.c:10-14"),
            ("`src/main.c:10`", "src/main.c:10"),
            ("main.c lines 10 to 14", "main.c:10-14"),
            ("main.c, line 10", "main.c:10"),
            ("main.c#L10-L14", "main.c:10-14"),
            ("main.c:10-14, 20", "main.c:10-14 main.c:20"),
            ("a.py:3; b.py:7-9", "a.py:3 b.py:7-9"),
            ("12-13.", "12-13"),
            ("lines 4 and 9", "4 9"),
            ("a.c:9-3", ""),
            ("a.c:0", ""),
            ("a.c:99999999999", ""),
            ("the loop at line 5 of a.c", ""),
            ("nothing", ""),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_answer_touches_every_range_and_not_the_whole_file() {
        let wanted = places("a/main.c:10-12, 30").unwrap();
        let cases = [
            ("main.c:12, 30", true),
            ("a/main.c:8-10, a/main.c:28-31", true),
            ("b/main.c:10, 30", false),
            ("main.c:10-12", false),
            ("main.c:1-100", false),
            ("10, 30", true),
        ];
        for (text, expected) in cases {
            assert_eq!(agree(&places(text).unwrap(), &wanted), expected, "{text}");
        }
    }

    #[test]
    fn a_place_of_a_file_is_written_in_one_way() {
        assert_eq!(Place::parse("main.c:3-3"), None);
        assert_eq!(Place::parse("3-4"), None);
        let place = Place { file: Some("main.c".into()), first: 3, last: 4 };
        assert_eq!(Place::parse("main.c:3-4"), Some(place));
    }
}
