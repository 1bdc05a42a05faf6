//! Ten thousand damaged requests: every one has a proper status or a closed connection, nothing
//! panics, and no session is lost.
//!
//! Damage is seeded: a failure prints the number of its request. Good requests are those of
//! `testdata/api`, so that damage reaches every reader deeply.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use server::{Limits, ReadOptions, Settings, chat, completions, messages, responses};

use crate::support::{options, read, settings, start_with};

/// A small generator of numbers, so that damage is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Constants of Knuth's MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides.max(1)
    }
}

/// Paths and bodies of good and refused requests.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/api/requests.json");
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(path).expect("the cases")).expect("a list");
    let body = |case: &Value| {
        let path = match case["dialect"].as_str().expect("a dialect") {
            "chat" => "/v1/chat/completions",
            "completions" => "/v1/completions",
            "responses" => "/v1/responses",
            _ => "/v1/messages",
        };
        let mut body = case["body"].clone();
        if let Some(members) = body.as_object_mut() {
            let name = if path == "/v1/responses" { "max_output_tokens" } else { "max_tokens" };
            members.insert(name.to_owned(), 1.into());
        }
        (path, body.to_string().into_bytes())
    };
    cases.iter().filter(|case| case["body"].is_object()).map(body).collect()
}

/// Words that readers look for, and what is hard to read.
const PIECES: [&[u8]; 12] = [
    b"null",
    b"-1",
    b"1e999",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\ud800",
    b"\xff\xfe",
    b"\"type\":\"text\"",
    b"[[[[[[[[[[",
    b"{\"a\":",
    b"99999999999999999999999999",
];

fn damage(body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(body.len());
        match dice.roll(7) {
            0 => body.truncate(at),
            1 => body[at] = dice.roll(256) as u8,
            2 => drop(body.drain(at..(at + dice.roll(20)).min(body.len()))),
            3 => drop(body.splice(at..at, PIECES[dice.roll(PIECES.len())].iter().copied())),
            4 => {
                let end = (at + dice.roll(60)).min(body.len());
                let again = body[at..end].to_vec();
                drop(body.splice(at..at, again));
            }
            5 => drop(body.splice(at..at, b"[".repeat(1 + dice.roll(300)))),
            _ => {
                // A value of another kind, where there is one.
                if let Some(colon) = body[at..].iter().position(|byte| *byte == b':') {
                    let place = at + colon + 1;
                    let piece = PIECES[dice.roll(PIECES.len())];
                    drop(body.splice(place..place, piece.iter().copied()));
                }
            }
        }
        if body.is_empty() {
            body.push(b'{');
        }
    }
    body
}

#[test]
fn readers_refuse_damage_or_render_it() {
    let (requests, mut dice) = (requests(), Dice(1));
    let (mut read, mut refused) = (0, 0);
    for number in 0..10_000 {
        let (path, body) = &requests[dice.roll(requests.len())];
        let body = damage(body, &mut dice);
        let options = ReadOptions { ignore_unknown: number % 2 == 0 };
        let purpose = messages::Purpose::Answer;
        let ask = match *path {
            "/v1/chat/completions" => chat::read(&body, options).map(|read| read.ask),
            "/v1/completions" => completions::read(&body, options).map(|read| read.ask),
            "/v1/responses" => responses::read(&body, options).map(|read| read.ask),
            _ => messages::read(&body, purpose, options).map(|read| read.ask),
        };
        match ask.and_then(|ask| server::prompt(&ask, server::Form::default())) {
            Ok(_) => read += 1,
            Err(refusal) => {
                assert!((400..500).contains(&refusal.status()), "{number}: {refusal:?}");
                assert!(refusal.message.len() < 2000, "{number}: {}", refusal.message.len());
                refused += 1;
            }
        }
    }
    println!("{read} were read, {refused} refused");
    assert!(read > 200 && refused > 5000);
}

#[test]
fn the_wire_survives_damage() {
    let limits = Limits {
        head: Duration::from_millis(500),
        body: Duration::from_millis(200),
        grace: Duration::from_millis(100),
        ..Limits::default()
    };
    let settings = Settings { limits, ..settings() };
    let server = start_with(settings, engine::OpenOptions { context: 2048, ..options() }, None);
    let (requests, mut dice) = (requests(), Dice(7));
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..1500 {
        let (path, body) = &requests[dice.roll(requests.len())];
        let body = damage(body, &mut dice);
        let length = match dice.roll(20) {
            0 => body.len() + 5,
            1 => body.len().saturating_sub(3),
            _ => body.len(),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        if dice.roll(10) == 0 {
            bytes = damage(&bytes, &mut dice);
        }
        bytes.extend(body);
        let mut stream = server.connect();
        let goes_away = dice.roll(10) == 0;
        let sent = if goes_away { dice.roll(bytes.len()) } else { bytes.len() };
        let _ = stream.write_all(&bytes[..sent]);
        if goes_away {
            continue;
        }
        let got = read(&mut stream);
        let proper = [0, 200, 400, 403, 404, 405, 408, 411, 413, 415, 431, 501, 505];
        assert!(proper.contains(&got.status), "{number}: {} {}", got.status, got.body);
        *statuses.entry(got.status).or_insert(0) += 1;
        if got.status >= 400 && !got.body.is_empty() {
            assert!(got.json()["error"]["message"].is_string(), "{number}: {}", got.body);
        }
    }
    println!("{statuses:?}");
    assert!(statuses[&400] > 300);
    // Nothing is left behind, and everything still works.
    for _ in 0..200 {
        if server.get("/health").json()["running"] == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = server.get("/metrics").body;
    for gauge in ["dwarfstar_answers_open 0", "dwarfstar_batch_size 0", "dwarfstar_queue_length 0"]
    {
        assert!(metrics.lines().any(|line| line == gauge), "{gauge}");
    }
    let body =
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    server.ok("/v1/messages", &body);
}
