//! What kind of character it is, as far as cutting text is concerned.
//!
//! One byte of flags per character: from a table for ASCII, from Unicode's general categories
//! for the rest. The categories are those of Unicode 16, as in the library that made the
//! model's training data; newer tables would cut newly assigned characters differently.

use unicode_general_category::{GeneralCategory, get_general_category};

/// General category L.
pub(super) const LETTER: u8 = 1;
/// General category M.
pub(super) const MARK: u8 = 2;
/// General category N.
pub(super) const NUMBER: u8 = 4;
/// General categories P and S: punctuation and symbols.
pub(super) const SIGN: u8 = 8;
/// White_Space, line ends included.
pub(super) const SPACE: u8 = 16;
/// Carriage return and line feed.
pub(super) const LINE_END: u8 = 32;
/// A to Z and a to z.
pub(super) const CASED_ASCII: u8 = 64;
/// The blocks of Chinese characters and kana that are cut out as one run. They hold letters,
/// marks and signs.
pub(super) const CJK: u8 = 128;

/// The flags of one character.
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

impl Class {
    /// Of no kind, like the end of text.
    pub(super) const NONE: Class = Class(0);

    /// Whether it is any of the kinds in `flags`.
    pub(super) fn is(self, flags: u8) -> bool {
        self.0 & flags != 0
    }

    /// The class of the character at byte `start` and its length in bytes; `None` at the end.
    pub(super) fn at(text: &str, start: usize) -> Option<(Class, usize)> {
        let byte = *text.as_bytes().get(start)?;
        if byte.is_ascii() {
            return Some((Class(ASCII[usize::from(byte)]), 1));
        }
        let character = text[start..].chars().next()?;
        Some((Class(flags_beyond_ascii(character)), character.len_utf8()))
    }
}

static ASCII: [u8; 128] = {
    let mut flags = [0; 128];
    let mut byte = 0u8;
    while byte < 128 {
        flags[byte as usize] = match byte {
            b'A'..=b'Z' | b'a'..=b'z' => LETTER | CASED_ASCII,
            b'0'..=b'9' => NUMBER,
            b'\r' | b'\n' => SPACE | LINE_END,
            b'\t' | 0x0b | 0x0c | b' ' => SPACE,
            _ if byte.is_ascii_punctuation() => SIGN,
            _ => 0,
        };
        byte += 1;
    }
    flags
};

fn flags_beyond_ascii(character: char) -> u8 {
    use GeneralCategory::*;
    let kind = match get_general_category(character) {
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => {
            LETTER
        }
        NonspacingMark | SpacingMark | EnclosingMark => MARK,
        DecimalNumber | LetterNumber | OtherNumber => NUMBER,
        ConnectorPunctuation | DashPunctuation | OpenPunctuation | ClosePunctuation => SIGN,
        InitialPunctuation | FinalPunctuation | OtherPunctuation => SIGN,
        MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol => SIGN,
        _ if character.is_whitespace() => SPACE,
        _ => 0,
    };
    match character {
        '\u{4e00}'..='\u{9fa5}' | '\u{3040}'..='\u{30ff}' => kind | CJK,
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_those_of_unicode_16() {
        assert_eq!(unicode_general_category::UNICODE_VERSION, (16, 0, 0));
    }

    #[test]
    fn white_space_is_the_known_list() {
        let spaces = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| c.is_whitespace());
        let mut expected = vec![0x20, 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000];
        expected.extend((0x09..=0x0d).chain(0x2000..=0x200a));
        expected.sort_unstable();
        assert_eq!(spaces.map(u32::from).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_table_for_ascii_agrees_with_the_categories() {
        for byte in 0..128u8 {
            let character = char::from(byte);
            let mut flags = flags_beyond_ascii(character);
            if character.is_whitespace() {
                flags |= SPACE;
            }
            assert_eq!(ASCII[usize::from(byte)] & !(LINE_END | CASED_ASCII), flags, "{byte:#x}");
        }
    }
}
