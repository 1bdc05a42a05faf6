//! Where text is cut before byte pair encoding: the vocabulary's regular expressions by hand.
//!
//! A model sees good ids only if text is cut as it was in training, character for character.
//! Training used [`PATTERNS`], one after the other, on Unicode 16 categories. Here the same
//! cuts are made in one walk that looks at no character more than a few times, so that no text
//! takes quadratic time. No vocabulary is known here.
//!
//! Start at `Pieces::next`: `segment_length` is the first two patterns, `piece_length` the
//! third.

mod class;

use class::{CASED_ASCII, CJK, Class, LETTER, LINE_END, MARK, NUMBER, SIGN, SPACE};

/// What a tokenizer.json must ask for so that these cuts are the right ones: every pattern in
/// turn cuts its matches out of the pieces that the one before has left.
pub(crate) const PATTERNS: [&str; 3] = [
    r"\p{N}{1,3}",
    "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
        "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+",
        "| ?[\\p{P}\\p{S}]+[\r\n]*",
        "|\\s*[\r\n]+",
        r"|\s+(?!\S)",
        r"|\s+",
    ),
];

/// The most numerals in one piece.
const NUMERALS_MAX: usize = 3;

/// Cuts `text` into the pieces that are encoded one by one. Joined, they are the text again.
pub(crate) fn pieces(text: &str) -> Pieces<'_> {
    Pieces { segment: "", rest: text }
}

/// The pieces of a text, in order; none is empty.
pub(crate) struct Pieces<'a> {
    /// What is left of the segment that is being cut: its end counts as the end of text.
    segment: &'a str,
    /// The text after the segment.
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.segment.is_empty() {
            (self.segment, self.rest) = self.rest.split_at(segment_length(self.rest));
        }
        let (piece, after) = self.segment.split_at(piece_length(self.segment));
        self.segment = after;
        (!piece.is_empty()).then_some(piece)
    }
}

/// Bytes of the first segment: up to three numerals, or a run of Chinese characters and kana,
/// or everything before the next of either.
fn segment_length(text: &str) -> usize {
    let Some((class, first_length)) = Class::at(text, 0) else { return 0 };
    if class.is(NUMBER) {
        let mut end = first_length;
        for _ in 1..NUMERALS_MAX {
            match Class::at(text, end) {
                Some((class, length)) if class.is(NUMBER) => end += length,
                _ => break,
            }
        }
        end
    } else if class.is(CJK) {
        run(text, first_length, |class| class.is(CJK))
    } else {
        run(text, first_length, |class| !class.is(NUMBER | CJK))
    }
}

/// Bytes of the first piece of a segment: a match of the third pattern, or everything before
/// the first match.
fn piece_length(segment: &str) -> usize {
    let matched = match_length(segment);
    if matched > 0 {
        return matched;
    }
    let mut end = 0;
    while let Some((_, length)) = Class::at(segment, end) {
        end += length;
        if match_length(&segment[end..]) > 0 {
            break;
        }
    }
    end
}

/// Bytes of the third pattern's match at the beginning of `segment`, or 0. Its alternatives
/// are tried in order. Without a match only two characters have been looked at.
fn match_length(segment: &str) -> usize {
    let Some((first, first_length)) = Class::at(segment, 0) else { return 0 };
    let second = Class::at(segment, first_length).map_or(Class::NONE, |(class, _)| class);
    let word = |class: Class| class.is(LETTER | MARK);

    // A mark of ASCII punctuation and the ASCII letters behind it: `.len`, `'t`.
    if first.is(SIGN) && first_length == 1 && second.is(CASED_ASCII) {
        return run(segment, first_length, |class| class.is(CASED_ASCII));
    }
    // A word, with one character before it that is not of a kind of its own: ` word`.
    let leads = !first.is(LINE_END | LETTER | SIGN) && word(second);
    if leads || word(first) {
        return run(segment, first_length, word);
    }
    // Punctuation and symbols, with one space before and all line ends behind: ` {\n`.
    if first.is(SIGN) || (segment.starts_with(' ') && second.is(SIGN)) {
        let signs = run(segment, first_length, |class| class.is(SIGN));
        return run(segment, signs, |class| class.is(LINE_END));
    }
    if first.is(SPACE) { space_length(segment) } else { 0 }
}

/// Bytes of the first piece of a segment that begins with white space: up to the last line end
/// of the run, or all of it but the character that leads the next piece.
fn space_length(segment: &str) -> usize {
    let end = run(segment, 0, |class| class.is(SPACE));
    let spaces = &segment[..end];
    if let Some(last) = spaces.rfind(['\r', '\n']) {
        return last + 1;
    }
    let (last_start, _) = spaces.char_indices().next_back().expect("begins with white space");
    if end < segment.len() && last_start > 0 { last_start } else { end }
}

/// The first place at or after `start` whose character is not `wanted`.
fn run(text: &str, start: usize, wanted: impl Fn(Class) -> bool) -> usize {
    let mut end = start;
    while let Some((class, length)) = Class::at(text, end) {
        if !wanted(class) {
            break;
        }
        end += length;
    }
    end
}

#[cfg(test)]
mod tests;
