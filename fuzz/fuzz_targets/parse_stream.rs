//! Any bytes, as a sampled stream cut anywhere, give the same events as the stream in one piece.
//!
//! The first bytes choose the options and the lengths of the pieces; the rest is the text. The
//! target looks for panics and for events that depend on the cuts; what the events should say is
//! the business of the crate's tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use text::{Broken, End, Event, Fragment, Parser, ParserOptions, special};

/// Bytes of the input that choose options and cuts.
const HEAD_BYTES: usize = 9;

fuzz_target!(|data: &[u8]| {
    let Some((head, body)) = data.split_at_checked(HEAD_BYTES) else { return };
    let text = String::from_utf8_lossy(body);
    let flags = head[0];
    let flag = |bit: u8| flags & (1 << bit) != 0;
    let options = ParserOptions {
        thinking: flag(0),
        tools_offered: !flag(1),
        special_tokens: flag(2),
        broken: if flag(6) { Broken::End } else { Broken::Text },
        real_markers: flag(7),
        stop: if flag(3) { vec!["STOP".to_owned(), "\n\n<".to_owned()] } else { Vec::new() },
        ..ParserOptions::default()
    };
    let end = if flag(4) { End::Length } else { End::Stop };
    let pieces = pieces(&text, flag(5));
    let whole = events(&options, pieces.iter().copied(), end);
    let cut = pieces.iter().flat_map(|piece| match piece {
        Fragment::Text(text) => cut(text, &head[1..]),
        special => vec![*special],
    });
    assert_eq!(events(&options, cut, end), whole);
});

/// The text in one piece, or cut at special tokens that become pieces of their own.
fn pieces(text: &str, with_specials: bool) -> Vec<Fragment<'_>> {
    let names = [special::DSML, special::THINK, special::THINK_END, special::EOS];
    let first = |text: &str| names.iter().filter_map(|name| Some((text.find(name)?, *name))).min();
    let mut pieces = Vec::new();
    let mut rest = text;
    while with_specials && let Some((at, name)) = first(rest) {
        pieces.extend([Fragment::Text(&rest[..at]), Fragment::Special(name)]);
        rest = &rest[at + name.len()..];
    }
    pieces.push(Fragment::Text(rest));
    pieces
}

/// Pieces of as many characters as `lengths` say, over and over.
fn cut<'a>(text: &'a str, lengths: &[u8]) -> Vec<Fragment<'a>> {
    let mut lengths = lengths.iter().cycle();
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let length = usize::from(*lengths.next().expect("a cycle") % 16) + 1;
        let at = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
        pieces.push(Fragment::Text(&rest[..at]));
        rest = &rest[at..];
    }
    pieces
}

/// All events, neighbours of a kind joined.
fn events<'a>(
    options: &ParserOptions,
    pieces: impl Iterator<Item = Fragment<'a>>,
    end: End,
) -> Vec<Event> {
    let mut parser = Parser::new(options.clone());
    let mut events = Vec::new();
    for piece in pieces {
        join(&mut events, parser.push(piece));
    }
    join(&mut events, parser.finish(end));
    events
}

fn join(events: &mut Vec<Event>, more: Vec<Event>) {
    for event in more {
        match (events.last_mut(), event) {
            (Some(Event::Text(last)), Event::Text(text))
            | (Some(Event::Reasoning(last)), Event::Reasoning(text))
            | (Some(Event::CallArguments(last)), Event::CallArguments(text)) => {
                last.push_str(&text)
            }
            (_, event) => events.push(event),
        }
    }
}
