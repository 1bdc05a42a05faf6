//! Ten thousand damaged requests: every one has a proper status or a closed connection, nothing
//! panics, and no session is lost.
//!
//! Damage is seeded: a failure prints the number of its request. Good requests are those of
//! `testdata/api`, so that damage reaches every reader deeply.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Limits, ReadOptions, Settings, chat, completions, messages, responses};

use crate::support::{Running, options, read, settings, start_with};

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

/// Panics on threads of servers since the hook was set. A panic in a connection's task would look
/// like a client that went away.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if matches!(thread.name(), Some("http" | "engine" | "load")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
}

/// What is done to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Only the body is damaged.
    Body,
    /// The head as well.
    Head,
    /// The length says more, or less.
    Longer,
    Shorter,
    /// In chunks, whose sizes may lie.
    Chunks,
    /// The end of the body comes too late.
    Slow,
    /// The client goes away in the middle of its request.
    Leaves,
    /// The client goes away in the middle of the answer.
    Hangs,
    /// So deep that a recursive reader would run out of its stack.
    Deep,
    /// The body ends inside a character.
    HalfCharacter,
}

fn wire(dice: &mut Dice) -> Wire {
    match dice.roll(100) {
        0..10 => Wire::Head,
        10..14 => Wire::Longer,
        14..18 => Wire::Shorter,
        18..26 => Wire::Chunks,
        26 => Wire::Slow,
        27..36 => Wire::Leaves,
        36..42 => Wire::Hangs,
        42..45 => Wire::Deep,
        45..50 => Wire::HalfCharacter,
        _ => Wire::Body,
    }
}

/// The bytes of a request of `path`.
fn request(path: &str, body: &[u8], wire: Wire, dice: &mut Dice) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    if wire == Wire::Chunks {
        let mut bytes = (head + "transfer-encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(1 + dice.roll(40)) {
            let size = chunk.len() + if dice.roll(60) == 0 { dice.roll(99) } else { 0 };
            bytes.extend(format!("{size:x}\r\n").into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        return bytes;
    }
    let length = match wire {
        Wire::Longer => body.len() + 1 + dice.roll(9),
        Wire::Shorter => body.len().saturating_sub(1 + dice.roll(9)),
        _ => body.len(),
    };
    head += &format!("content-length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    if wire == Wire::Head {
        bytes = damage(&bytes, dice);
    }
    bytes.extend(body);
    bytes
}

/// The body as `wire` wants it.
fn body(good: &[u8], wire: Wire, dice: &mut Dice) -> Vec<u8> {
    match wire {
        Wire::Deep => {
            let opening: &[u8] = if dice.roll(2) == 0 { b"[" } else { b"{\"messages\":" };
            opening.repeat(1 + dice.roll(200_000))
        }
        Wire::HalfCharacter => {
            let text = r#"{"model": "m", "prompt": "世界"#.as_bytes();
            text[..text.len() - 1 - dice.roll(2)].to_vec()
        }
        Wire::Hangs => {
            let body = json!({"model": "m", "stream": true, "max_tokens": 500, "prompt": "One",
                "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"});
            body.to_string().into_bytes()
        }
        _ => damage(good, dice),
    }
}

/// Sends so many damaged requests to one server; how often each status came.
fn survive(requests: usize, seed: u64) -> BTreeMap<u16, usize> {
    count_panics();
    let limits = Limits {
        head: Duration::from_millis(500),
        body: Duration::from_millis(200),
        grace: Duration::from_millis(100),
        ..Limits::default()
    };
    let lenient = ReadOptions { ignore_unknown: true };
    let settings = Settings { limits, read: lenient, ..settings() };
    let server = start_with(settings, engine::OpenOptions { context: 2048, ..options() }, None);
    let (good, mut dice) = (self::requests(), Dice(seed));
    let mut statuses = BTreeMap::new();
    for number in 0..requests {
        let (path, whole) = &good[dice.roll(good.len())];
        let wire = wire(&mut dice);
        let bytes = request(path, &body(whole, wire, &mut dice), wire, &mut dice);
        let mut stream = server.connect();
        let sent = match wire {
            Wire::Leaves => dice.roll(bytes.len()),
            Wire::Slow => bytes.len() - 1,
            _ => bytes.len(),
        };
        let _ = stream.write_all(&bytes[..sent]);
        match wire {
            Wire::Leaves => continue,
            Wire::Hangs => {
                let _ = stream.read(&mut [0; 300]);
                continue;
            }
            _ => {}
        }
        let got = read(&mut stream);
        let place = format!("{number}, {wire:?}: {} {}", got.status, got.body);
        let proper = [200, 400, 403, 404, 405, 408, 411, 413, 415, 431, 501, 505];
        // A head that cannot be read, or never ends, has no answer.
        assert!(proper.contains(&got.status) || got.status == 0 && wire == Wire::Head, "{place}");
        if wire == Wire::Slow {
            assert_eq!(got.status, 408, "{place}");
        }
        *statuses.entry(got.status).or_insert(0) += 1;
        if got.status >= 400 && !got.body.is_empty() {
            let body = got.json();
            assert!(body["error"]["message"].is_string(), "{place}");
            let anthropic = *path == "/v1/messages" && wire != Wire::Head;
            assert!(!anthropic || body["type"] == "error", "{place}");
        }
    }
    nothing_is_left(&server);
    statuses
}

/// No answer is open, no session is taken, and everything still works.
fn nothing_is_left(server: &Running) {
    let none = ["dwarfstar_answers_open 0", "dwarfstar_batch_size 0", "dwarfstar_queue_length 0"];
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        // Whoever has gone away is noticed between two steps.
        let metrics = server.get("/metrics").body;
        let is_none = |gauge: &&str| metrics.lines().any(|line| line == *gauge);
        if none.iter().all(is_none) {
            break;
        }
        assert!(Instant::now() < until, "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let body =
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    // As many at once as there are sessions.
    std::thread::scope(|scope| {
        for _ in 0..options().sessions {
            scope.spawn(|| server.ok("/v1/messages", &body));
        }
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[test]
fn the_wire_survives_damage() {
    let statuses = survive(1500, 7);
    println!("{statuses:?}");
    assert!(statuses[&400] > 300 && statuses[&200] > 20 && statuses[&408] > 5);
}

#[test]
#[ignore = "some minutes"]
fn the_wire_survives_ten_thousand_damaged_requests() {
    let statuses = survive(10_000, 8);
    println!("{statuses:?}");
    assert!(statuses[&400] > 3000 && statuses[&200] > 200 && statuses[&408] > 50);
}
