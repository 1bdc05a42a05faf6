//! Short requests in each client's shape, and the prompts or refusals that they become.
//!
//! The cases are in `testdata/api/requests.json`; the prompts there were written by hand from the
//! rules that `dialogue.rs`, `offers.rs` and `ask.rs` state.

use serde_json::Value;
use server::{Form, ReadOptions, chat, completions, messages, responses};

#[test]
fn requests_become_prompts_or_refusals() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/api/requests.json");
    let text = std::fs::read_to_string(path).expect("the cases");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let body = match &case["text"] {
            Value::String(text) => text.clone(),
            _ => case["body"].to_string(),
        };
        let (body, options) = (body.as_bytes(), ReadOptions::default());
        let ask = match case["dialect"].as_str().expect("a dialect") {
            "chat" => chat::read(body, options).map(|read| read.ask),
            "completions" => completions::read(body, options).map(|read| read.ask),
            "responses" => responses::read(body, options).map(|read| read.ask),
            "messages" => {
                messages::read(body, messages::Purpose::Answer, options).map(|read| read.ask)
            }
            other => panic!("{name}: no dialect {other}"),
        };
        let form = Form { context: 1 << 20, ..Form::default() };
        let got = ask.and_then(|ask| server::prompt(&ask, form).map(|prompt| prompt.text()));
        match got {
            Ok(prompt) => assert_eq!(Some(prompt.as_str()), case["prompt"].as_str(), "{name}"),
            Err(refusal) => {
                assert_eq!(Some(refusal.message.as_str()), case["refusal"].as_str(), "{name}");
                assert_eq!(refusal.status(), 400, "{name}");
            }
        }
    }
    println!("{} cases", cases.len());
    assert!(cases.len() > 40);
}
