//! Any bytes, as what the agent reads: output of programs, an edit, arguments, a page, a command, a
//! configuration of servers, a text in Markdown, the file of a conversation.
//!
//! The first byte chooses. Nothing that acts on a terminal may come out of what is shown, in
//! whatever pieces it came; an edit changes one place; what is plain for a rule stays plain; a text
//! in pieces looks like the whole one.

#![no_main]

use std::path::Path;

use agent::markdown::Markdown;
use agent::{harmless, mcp, permit, sessions, tools};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    match kind % 7 {
        0 => shown(data, &text),
        1 => edited(&text),
        2 => assert!(tools::to_markdown(&text).len() <= 64 * (data.len() + 16)),
        3 => {
            if let Some(words) = permit::command::words(&text) {
                assert!(!words.is_empty());
                let is_quoted = text.contains(['\'', '"']);
                assert!(is_quoted || !text.contains([';', '\n', '`', '<', '>', '|', '&', '$']));
            }
        }
        4 => {
            let _ = mcp::Config::parse(&text); // read or refused
        }
        5 => laid_out(&text),
        _ => {
            let _ = sessions::tokens_in(Path::new("x"), data); // read or refused
        }
    }
});

fn shown(data: &[u8], text: &str) {
    let whole = harmless::output(data);
    let mut stream = harmless::Output::default();
    let mut pieces = String::new();
    for piece in data.chunks(3) {
        pieces.push_str(&stream.push(piece));
    }
    pieces.push_str(&stream.finish());
    assert_eq!(whole, pieces);
    for text in [whole, harmless::shown(text), harmless::shown_in_line(text)] {
        assert!(text.chars().all(harmless::is_harmless));
    }
}

/// Rows of a text that came as a whole, and of one that came in pieces.
fn laid_out(text: &str) {
    let rows = |markdown: &Markdown| {
        let mut rows = Vec::new();
        markdown.settled().iter().for_each(|element| element.lay(20, &mut rows));
        rows
    };
    let mut pieces = Markdown::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.ceil_char_boundary(3.min(rest.len())));
        pieces.push(piece);
        rest = more;
    }
    pieces.finish();
    assert_eq!(rows(&Markdown::of(text)), rows(&pieces));
}

/// Text, old and new, with a character between them that is in none.
fn edited(input: &str) {
    let mut parts = input.splitn(3, '\u{1}');
    let (Some(text), Some(old), Some(new)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    if let Ok(after) = tools::replace_once(text, old, new) {
        assert_ne!(text, after);
        assert!(after.len() <= text.len() + 2 * new.len());
    }
}
