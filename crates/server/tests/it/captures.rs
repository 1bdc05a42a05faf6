//! Requests that real clients have sent, read and rendered.
//!
//! The recordings are not in the repository; where they are absent the test says so and passes. The
//! hashes beside them were made by the reference encoder, by somebody else's code for the same
//! rules, with reasoning on and no text about effort. The recordings also say which prompts begin
//! with the one before: then nothing of that one may be read again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use server::{Ask, Form, ReadOptions, Refusal, Thinking, chat, completions, messages, responses};
use sha2::{Digest, Sha256};
use text::ThinkMode;

use crate::support::{Running, options, settings, start_with};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../../shared/clients/captures"].iter().collect()
}

fn read_json(name: &str) -> Option<Value> {
    let text = std::fs::read(folder().join(name)).ok()?;
    Some(serde_json::from_slice(&text).expect("recordings are JSON"))
}

/// Reads a body as its path says.
fn read(path: &str, body: &[u8]) -> Option<Result<Ask, Refusal>> {
    let options = ReadOptions::default();
    let path = path.split('?').next().unwrap_or_default();
    let answer = messages::Purpose::Answer;
    Some(match path {
        "/v1/chat/completions" => chat::read(body, options).map(|chat| chat.ask),
        "/v1/completions" => completions::read(body, options).map(|completion| completion.ask),
        "/v1/responses" => responses::read(body, options).map(|response| response.ask),
        "/v1/messages" => messages::read(body, answer, options).map(|message| message.ask),
        "/v1/messages/count_tokens" => {
            messages::read(body, messages::Purpose::Count, options).map(|message| message.ask)
        }
        _ => return None,
    })
}

#[test]
fn recorded_requests_become_the_prompts_of_the_reference() {
    let Some(expected) = read_json("capture_prompts.json") else {
        println!("skipped: no recordings at {}", folder().display());
        return;
    };
    let mut wanted: BTreeMap<(String, u64), &Value> = BTreeMap::new();
    for prompt in expected["prompts"].as_array().expect("a list") {
        let capture = prompt["capture"].as_str().expect("a name").to_owned();
        wanted.insert((capture, prompt["exchange"].as_u64().expect("a number")), prompt);
    }
    let captures: std::collections::BTreeSet<String> =
        wanted.keys().map(|(capture, _)| capture.clone()).collect();
    let (mut compared, mut counted) = (0, 0);
    for capture in captures {
        let file = read_json(&format!("{capture}.json")).expect("the recording");
        for exchange in file["exchanges"].as_array().expect("a list") {
            let request = &exchange["request"];
            let number = exchange["seq"].as_u64().expect("a number");
            let path = request["path"].as_str().expect("a path");
            let body = request["body"].to_string();
            let trimmed = body.contains("<trimmed: ");
            let Some(ask) = read(path, body.as_bytes()).filter(|_| !trimmed) else { continue };
            let mut ask = ask.unwrap_or_else(|error| panic!("{capture} {number}: {error:?}"));
            let Some(want) = wanted.remove(&(capture.clone(), number)) else {
                counted += 1;
                continue;
            };
            ask.thinking = Thinking { mode: ThinkMode::Thinking, effort: None };
            let text = server::prompt(&ask, Form::default()).expect("a prompt").text();
            let hash: String =
                Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
            let tail: String = {
                let skipped = text.chars().count().saturating_sub(160);
                text.chars().skip(skipped).collect()
            };
            let place = format!("{capture} {number}: {} bytes, {tail:?}", text.len());
            assert_eq!(want["bytes"], text.len(), "{place}, want {}", want["tail"]);
            assert_eq!(want["sha256"], hash, "{place}");
            compared += 1;
        }
    }
    assert!(wanted.is_empty(), "no such exchanges: {:?}", wanted.keys());
    println!("{compared} prompts are those of the reference, {counted} more requests are read");
    assert!(compared > 100);
}

/// A request of a conversation and the next one.
struct Pair {
    name: String,
    path: String,
    bodies: [Value; 2],
}

/// Neighbours whose prompts begin alike, as the reference says, with prompts of so many bytes.
fn pairs(bytes: std::ops::Range<u64>) -> Vec<Pair> {
    let Some(prompts) = read_json("capture_prompts.json") else { return Vec::new() };
    let prompts = prompts["prompts"].as_array().expect("a list");
    let mut pairs = Vec::new();
    for pair in prompts.windows(2) {
        let same = pair[0]["capture"] == pair[1]["capture"];
        let size = pair[1]["bytes"].as_u64().expect("a number");
        if !same || pair[1]["extends_previous"] != true || !bytes.contains(&size) {
            continue;
        }
        let capture = pair[0]["capture"].as_str().expect("a name");
        let file = read_json(&format!("{capture}.json")).expect("the recording");
        let request = |prompt: &Value| {
            let exchanges = file["exchanges"].as_array().expect("a list");
            let found = exchanges.iter().find(|one| one["seq"] == prompt["exchange"]);
            found.expect("the exchange")["request"].clone()
        };
        let requests = [request(&pair[0]), request(&pair[1])];
        let path = requests[0]["path"].as_str().expect("a path").to_owned();
        let bodies = requests.map(|request| {
            let mut body = request["body"].clone();
            let members = body.as_object_mut().expect("an object");
            for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
                members.remove(name);
            }
            let name = if path.contains("responses") { "max_output_tokens" } else { "max_tokens" };
            members.insert(name.to_owned(), 1.into());
            members.insert("stream".to_owned(), false.into());
            body
        });
        let name = format!("{capture} {}", pair[1]["exchange"]);
        pairs.push(Pair { name, path, bodies });
    }
    pairs
}

/// Tokens of the prompt, and how many of them were cached.
fn usage(server: &Running, path: &str, body: &Value) -> (u64, u64) {
    let usage = &server.ok(path, body)["usage"];
    let number = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    match number("/cache_read_input_tokens") {
        Some(cached) => (cached + number("/input_tokens").expect("tokens"), cached),
        None => {
            let prompt = number("/prompt_tokens").or(number("/input_tokens"));
            let cached = number("/prompt_tokens_details/cached_tokens")
                .or(number("/input_tokens_details/cached_tokens"));
            (prompt.expect("tokens"), cached.expect("cached tokens"))
        }
    }
}

fn long() -> engine::OpenOptions {
    engine::OpenOptions { context: 32 << 10, step_tokens: 512, sessions: 2, ..options() }
}

/// Sends both requests of every pair, `restart` in between: the second reads nothing again of what
/// the first has read.
fn reuse(bytes: std::ops::Range<u64>, restart: bool) {
    let pairs = pairs(bytes);
    if pairs.is_empty() {
        println!("skipped: no recordings at {}", folder().display());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let begin = || start_with(settings(), long(), restart.then_some(folder.path()));
    let mut server = begin();
    let (mut dialects, mut all, mut read) = (BTreeMap::new(), 0, 0);
    for Pair { name, path, bodies: [first, second] } in &pairs {
        let (before, _) = usage(&server, path, first);
        if restart {
            drop(server);
            server = begin();
        }
        let (prompt, cached) = usage(&server, path, second);
        assert!(cached >= before.min(prompt - 1), "{name}: {before}, then {cached} of {prompt}");
        let path = path.split('?').next().unwrap_or_default();
        *dialects.entry(path.to_owned()).or_insert(0) += 1;
        (all, read) = (all + prompt, read + prompt - cached);
    }
    println!("{dialects:?}: of {all} tokens of second requests {read} were read");
    assert_eq!(dialects.len(), 3, "{dialects:?}");
}

#[test]
fn the_second_request_reads_only_what_is_new() {
    reuse(0..10_000, false);
}

#[test]
fn so_it_does_after_a_restart() {
    reuse(0..6_000, true);
}

#[test]
#[ignore = "prompts of 30 to 50 KB, some minutes"]
fn long_second_requests_read_only_what_is_new() {
    reuse(10_000..u64::MAX, false);
    reuse(10_000..u64::MAX, true);
}
