//! The sampled stream as bytes, with real special tokens as bytes of their own.
//!
//! The parser must tell a real `</think>` token from the same eight characters. On the tape,
//! text is UTF-8 and each special token that matters is one byte that UTF-8 never uses; every
//! matcher then works on plain bytes. Anything cut from the tape is cut before a character or a
//! special, so it can always be turned back.

use crate::prompt::Prompt;
use crate::render::{Pen, special};

/// `｜DSML｜`, sampled as a token.
pub(super) const DSML: u8 = 0xff;
/// `</think>`, sampled as a token.
pub(super) const THINK_END: u8 = 0xfe;
/// `<think>`, sampled as a token.
pub(super) const THINK: u8 = 0xfd;

const SPECIALS: [(u8, &str); 3] =
    [(DSML, special::DSML), (THINK_END, special::THINK_END), (THINK, special::THINK)];

/// The byte of a special token, if it has one. Others stand on the tape as their text.
pub(super) fn special_byte(name: &str) -> Option<u8> {
    SPECIALS.iter().find(|(_, text)| *text == name).map(|(byte, _)| *byte)
}

/// A stretch of the tape as text, specials spelled out.
pub(super) fn text(tape: &[u8]) -> String {
    let mut out = String::with_capacity(tape.len());
    each_piece(tape, |piece| {
        out.push_str(match piece {
            Ok(text) => text,
            Err(name) => name,
        });
    });
    out
}

/// A stretch of the tape as a prompt, specials kept apart.
pub(super) fn prompt(tape: &[u8]) -> Prompt {
    let mut pen = Pen::default();
    each_piece(tape, |piece| match piece {
        Ok(text) => pen.text(text),
        Err(name) => pen.special(name),
    });
    pen.finish()
}

/// White space that may stand between the tags of a tool block and before it.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Calls `visit` with each run of text (`Ok`) and each special (`Err`).
fn each_piece<'a>(mut tape: &'a [u8], mut visit: impl FnMut(Result<&'a str, &'static str>)) {
    while !tape.is_empty() {
        let end = tape.iter().position(|byte| *byte >= THINK).unwrap_or(tape.len());
        if end > 0 {
            let text = std::str::from_utf8(&tape[..end]);
            visit(Ok(text.expect("the tape is cut between characters")));
        }
        if let Some(byte) = tape.get(end) {
            let special = SPECIALS.iter().find(|(known, _)| known == byte);
            visit(Err(special.expect("all bytes from THINK up are specials").1));
        }
        tape = tape.get(end + 1..).unwrap_or_default();
    }
}
