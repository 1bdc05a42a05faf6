//! Requests that real clients have sent, read and rendered.
//!
//! The recordings are not in the repository; where they are absent the test says so and passes. The
//! hashes beside them were made by the reference encoder, by somebody else's code for the same
//! rules, with reasoning on and no text about effort.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use server::{Ask, Form, ReadOptions, Refusal, Thinking, chat, completions, messages, responses};
use sha2::{Digest, Sha256};
use text::ThinkMode;

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
