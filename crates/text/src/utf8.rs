//! Joins the bytes of generated tokens into text.
//!
//! A token may end in the middle of a UTF-8 character. The stream gives out every character as
//! soon as it is whole and holds back at most three bytes. It knows nothing of tokens.

use std::str::from_utf8;

/// Turns bytes that arrive in any portions into text.
///
/// However the bytes are cut, the joined text is that of [`String::from_utf8_lossy`] on all of
/// them: every maximal invalid sequence becomes one U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// The beginning of a character: between calls at most three bytes.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// An empty stream.
    pub fn new() -> Utf8Stream {
        Utf8Stream::default()
    }

    /// Takes the next bytes and returns the text that they complete, which may be empty.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let (valid, after, invalid) = first_valid(rest);
            text.push_str(valid);
            rest = after;
            match invalid {
                Some(length) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[length..];
                }
                None => break,
            }
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        text
    }

    /// Ends the stream: U+FFFD if a character was left unfinished, else nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// The longest valid text at the beginning, the bytes after it, and how many of those can
/// never become valid (`None`: nothing is wrong yet, more bytes are needed).
fn first_valid(bytes: &[u8]) -> (&str, &[u8], Option<usize>) {
    match from_utf8(bytes) {
        Ok(text) => (text, &[], None),
        Err(error) => {
            let (valid, after) = bytes.split_at(error.valid_up_to());
            let valid = from_utf8(valid).expect("valid up to here, as the error says");
            (valid, after, error.error_len())
        }
    }
}
