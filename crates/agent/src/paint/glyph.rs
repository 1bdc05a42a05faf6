//! The guard: which characters are drawn, as what, and in how many columns.
//!
//! A terminal obeys control characters, reorders text by bidirectional ones and hides text behind
//! invisible ones. None of them reaches it: the first two kinds show as U+FFFD, the third is left
//! out. Widths are those of single characters, so that every terminal agrees about them; sequences
//! that some join to one picture (flags, families) are drawn as their parts.

use unicode_width::UnicodeWidthChar;

/// Columns between two tab stops.
pub const TAB_COLUMNS: usize = 4;
/// Marks that one character may carry; more would pile up over the neighbouring rows.
pub const MARKS_MAX: usize = 4;

/// What is drawn for a character, and in how many columns; 0 says that it sits on the character
/// before it. `None`: nothing is drawn. Tabs and line ends have their meaning before this is
/// asked.
pub fn drawable(c: char) -> Option<(char, usize)> {
    if c.is_ascii() && !c.is_ascii_control() {
        return Some((c, 1));
    }
    if steers(c) {
        return Some((char::REPLACEMENT_CHARACTER, 1));
    }
    if is_invisible(c) {
        return None;
    }
    match c.width().unwrap_or(0) {
        // A terminal has no such cells.
        3.. => Some((char::REPLACEMENT_CHARACTER, 1)),
        columns => Some((c, columns)),
    }
}

/// Columns of a text in one line, tabs counted as one.
pub fn columns(text: &str) -> usize {
    text.chars().filter_map(drawable).map(|(_, columns)| columns).sum()
}

/// Whether a terminal may do something else than draw it.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{206a}'..='\u{206f}'
            | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
}

/// Whether it has no shape of its own: joiners, variation selectors, tags, fillers, skin tones.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{1f3fb}'..='\u{1f3ff}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_gets_through_that_steers_a_terminal() {
        for c in '\0'..=char::MAX {
            let Some((drawn, columns)) = drawable(c) else { continue };
            assert!(!drawn.is_control(), "{c:?} became {drawn:?}");
            assert!(drawn == c || drawn == '\u{fffd}', "{c:?} became {drawn:?}");
            assert!(columns <= 2, "{c:?} takes {columns}");
        }
    }

    #[test]
    fn kinds_of_characters() {
        let cases = [
            ('a', Some(('a', 1))),
            ('\u{e4}', Some(('\u{e4}', 1))),
            ('\u{4e2d}', Some(('\u{4e2d}', 2))),
            ('\u{301}', Some(('\u{301}', 0))),
            ('\u{1b}', Some(('\u{fffd}', 1))),
            ('\u{9b}', Some(('\u{fffd}', 1))),
            ('\u{7f}', Some(('\u{fffd}', 1))),
            ('\r', Some(('\u{fffd}', 1))),
            ('\u{202e}', Some(('\u{fffd}', 1))),
            ('\u{2067}', Some(('\u{fffd}', 1))),
            ('\u{200b}', None),
            ('\u{200d}', None),
            ('\u{fe0f}', None),
            ('\u{e0041}', None),
        ];
        for (c, expected) in cases {
            assert_eq!(drawable(c), expected, "{c:?}");
        }
        assert_eq!(columns("a\u{301}\u{4e2d}\u{200b}b"), 4);
    }
}
