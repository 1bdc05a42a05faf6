//! The 256 characters in which vocabularies are written.
//!
//! Token texts and merges of byte-level vocabularies must be printable, so every byte has a
//! character: the printable ones of Latin-1 stand for themselves, the other 68, in increasing
//! order, for U+0100 and following (a space is "Ġ", a line feed "Ċ").

/// The character that stands for `byte`.
pub(crate) fn char_of(byte: u8) -> char {
    if stands_for_itself(byte) {
        return char::from(byte);
    }
    let others_before = (0..byte).filter(|&b| !stands_for_itself(b)).count() as u32;
    char::from_u32(0x100 + others_before).expect("below U+0144")
}

/// Appends the bytes that `text` stands for: those of its characters if all are in the
/// alphabet, else its UTF-8.
pub(crate) fn push_bytes(text: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in text.chars() {
        match BYTES.get(character as usize) {
            Some(&Some(byte)) => bytes.push(byte),
            _ => {
                bytes.truncate(start);
                bytes.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 33..=126 | 161..=172 | 174..=255)
}

/// By code point: the byte that the character stands for.
static BYTES: [Option<u8>; 256 + 68] = {
    let mut bytes = [None; 256 + 68];
    let mut others = 0;
    let mut byte = 0;
    while byte < 256 {
        if stands_for_itself(byte as u8) {
            bytes[byte] = Some(byte as u8);
        } else {
            bytes[256 + others] = Some(byte as u8);
            others += 1;
        }
        byte += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(text: &str) -> Vec<u8> {
        let mut bytes = b"before".to_vec();
        push_bytes(text, &mut bytes);
        bytes.split_off(6)
    }

    #[test]
    fn every_byte_has_its_own_character() {
        for byte in 0..=255u8 {
            assert_eq!(bytes_of(&char_of(byte).to_string()), [byte]);
        }
    }

    #[test]
    fn known_characters() {
        assert_eq!(bytes_of("\u{120}a\u{10a}"), b" a\n");
        assert_eq!([0x7f, 0xad, 0xff].map(char_of), ['\u{121}', '\u{143}', '\u{ff}']);
    }

    #[test]
    fn text_beyond_the_alphabet_stands_for_itself() {
        for text in ["<\u{ff5c}User\u{ff5c}>", "\u{120}\u{144}", "a b"] {
            assert_eq!(bytes_of(text), text.as_bytes());
        }
    }
}
