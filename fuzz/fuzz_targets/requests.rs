//! Any bytes, as the body of a request in each dialect: read and rendered, or refused.
//!
//! The first byte chooses the dialect. Whatever is read has to render to a prompt that begins as
//! prompts do, in which nobody's text has become the beginning of another; what is refused has to
//! have a status and a message of a sensible size. Lenient reading takes what strict reading takes,
//! and comes to the same prompt.

#![no_main]

use libfuzzer_sys::fuzz_target;
use server::{Ask, Form, ReadOptions, Refusal, chat, completions, messages, responses};

/// Bytes of a message: it may quote names from the body, cut.
const MESSAGE_BYTES_MAX: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let Some((dialect, body)) = data.split_first() else { return };
    let strict = prompt(read(*dialect, body, false));
    let lenient = prompt(read(*dialect, body, true));
    if let Ok(strict) = &strict {
        assert_eq!(lenient.as_ref(), Ok(strict));
    }
    for result in [strict, lenient] {
        match result {
            Ok(specials) => {
                assert_eq!(specials.first().map(String::as_str), Some(text::special::BOS));
                let begins = specials.iter().filter(|name| *name == text::special::BOS);
                assert_eq!(begins.count(), 1);
            }
            Err(refusal) => {
                assert!((400..500).contains(&refusal.status()), "{refusal:?}");
                assert!(refusal.message.len() < MESSAGE_BYTES_MAX, "{}", refusal.message.len());
            }
        }
    }
});

fn read(dialect: u8, body: &[u8], ignore_unknown: bool) -> Result<Ask, Refusal> {
    let options = ReadOptions { ignore_unknown };
    let count = messages::Purpose::Count;
    match dialect % 4 {
        0 => chat::read(body, options).map(|read| read.ask),
        1 => completions::read(body, options).map(|read| read.ask),
        2 => responses::read(body, options).map(|read| read.ask),
        _ => messages::read(body, count, options).map(|read| read.ask),
    }
}

/// The special tokens of the prompt.
fn prompt(ask: Result<Ask, Refusal>) -> Result<Vec<String>, Refusal> {
    let prompt = server::prompt(&ask?, Form::default())?;
    let special = |piece: &text::Piece| match piece {
        text::Piece::Special(name) => Some(name.to_string()),
        text::Piece::Text(_) => None,
    };
    Ok(prompt.pieces.iter().filter_map(special).collect())
}
