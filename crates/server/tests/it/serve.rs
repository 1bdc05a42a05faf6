//! Answers over loopback: whole and streamed, refused, forced, cut, counted and cancelled.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Limits, Settings};

use crate::support::{Got, Running, options, settings, start, start_with};

fn ask(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 40})
}

fn with(mut body: Value, more: Value) -> Value {
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path}: {value}"))
}

/// Texts at `path` of all events, joined.
fn joined(events: &[Value], path: &str) -> String {
    events.iter().filter_map(|event| event.pointer(path)?.as_str()).collect()
}

#[test]
fn streams_say_what_whole_answers_say() {
    let server = start(settings());
    let body = ask("Hello, who are you?");
    let whole = server.ok("/v1/chat/completions", &body);
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let got = server.post("/v1/chat/completions", &with(body.clone(), options));
    assert!(got.head.contains("content-type: text/event-stream"), "{}", got.head);
    assert!(got.body.ends_with("data: [DONE]\n\n"));
    let events = got.events();
    let message = "/choices/0/message";
    assert_eq!(
        joined(&events, "/choices/0/delta/content"),
        text(&whole, &format!("{message}/content"))
    );
    let reasoning = joined(&events, "/choices/0/delta/reasoning_content");
    let said = whole.pointer(&format!("{message}/reasoning_content")).and_then(Value::as_str);
    assert_eq!(reasoning, said.unwrap_or_default());
    let usage = &events.last().expect("events")["usage"];
    assert_eq!(usage["completion_tokens"], whole["usage"]["completion_tokens"]);

    let whole = server.ok("/messages", &body);
    let events =
        server.post("/v1/messages?beta=true", &with(body, json!({"stream": true}))).events();
    let answer: String = whole["content"]
        .as_array()
        .expect("blocks")
        .iter()
        .filter_map(|block| block["text"].as_str())
        .collect();
    assert_eq!(joined(&events, "/delta/text"), answer);
    assert_eq!(events.first().expect("events")["type"], "message_start");
    assert_eq!(events.last().expect("events")["type"], "message_stop");

    let body = json!({"model": "m", "input": "Hello, who are you?", "max_output_tokens": 40});
    let whole = server.ok("/v1/responses", &body);
    let got = server.post("/v1/responses", &with(body, json!({"stream": true})));
    let events = got.events();
    let numbers: Vec<u64> =
        events.iter().map(|event| event["sequence_number"].as_u64().expect("a number")).collect();
    assert!(numbers.iter().enumerate().all(|(place, number)| place as u64 == *number));
    let last = &events.last().expect("events")["response"];
    assert_eq!(last["status"], whole["status"]);
    assert_eq!(last["usage"]["output_tokens"], whole["usage"]["output_tokens"]);

    let body = json!({"prompt": "The weather", "max_tokens": 12, "echo": true});
    let whole = server.ok("/v1/completions", &body);
    assert!(text(&whole, "/choices/0/text").starts_with("The weather"));
    let events = server.post("/completions", &with(body, json!({"stream": true}))).events();
    assert_eq!(joined(&events, "/choices/0/text"), text(&whole, "/choices/0/text"));
    let log = server.log.lock().unwrap().join("\n");
    assert_eq!(log.matches("status=200").count(), 8, "{log}");
    assert!(!log.contains("Hello") && !log.contains("weather"), "{log}");
}

#[test]
fn models_counts_and_states() {
    let server = start(settings());
    let list = server.get("/v1/models").json();
    assert_eq!(list["data"][0]["id"], "deepseek-v4-flash");
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!(server.get("/models/claude-x/y?limit=3").json()["id"], "claude-x/y");
    let body = json!({"messages": [{"role": "user", "content": "Hello"}]});
    let count = server.ok("/v1/messages/count_tokens", &body)["input_tokens"].as_u64();
    let body = with(body, json!({"max_tokens": 1, "system": "Be kind."}));
    let more = server.ok("/v1/messages", &body);
    let usage = &more["usage"];
    let read = usage["input_tokens"].as_u64().unwrap()
        + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert!(read > count.expect("a number") && count > Some(3));
    let health = server.get("/health").json();
    assert_eq!((&health["status"], &health["context"]), (&json!("ok"), &json!(4096)));
    assert_eq!(server.request("HEAD", "/api/hello", "", "").status, 200);
    let page = server.get("/");
    assert!(page.status == 200 && page.body.contains("<title>dwarfstar</title>"), "{}", page.head);
    assert!(page.head.contains("content-security-policy: default-src 'none';"), "{}", page.head);
    let metrics = server.get("/metrics").body;
    for line in [
        "dwarfstar_requests_total{dialect=\"messages\",status=\"2xx\"} 1",
        "dwarfstar_prompts_total{source=\"cold\"} 1",
        "dwarfstar_first_token_seconds_count 1",
        "dwarfstar_model_loaded 1",
        "dwarfstar_batch_size 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
}

#[test]
fn refusals_have_the_shape_of_their_family() {
    let server = start(settings());
    let long = "word ".repeat(6000);
    for (path, body, status, anthropic) in [
        ("/v1/chat/completions", "{".to_owned(), 400, false),
        ("/v1/messages", "{".to_owned(), 400, true),
        ("/v1/chat/completions", ask(&long).to_string(), 400, false),
        ("/v1/messages", ask(&long).to_string(), 400, true),
        ("/v1/embeddings", "{}".to_owned(), 404, false),
        ("/v1/messages/batches", "{}".to_owned(), 404, true),
        ("/health", "{}".to_owned(), 405, false),
    ] {
        let got = server.request("POST", path, "", &body);
        let value = got.json();
        assert_eq!(got.status, status, "{path}: {value}");
        assert_eq!(value["type"] == "error", anthropic, "{path}: {value}");
        assert!(value["error"]["message"].is_string(), "{path}: {value}");
    }
    let got = server.post("/v1/messages", &ask(&long)).json();
    let message = text(&got, "/error/message");
    assert!(message.starts_with("prompt is too long: 6") && message.ends_with("> 4096 maximum"));
    let got = server.post("/v1/responses", &json!({"input": long})).json();
    assert_eq!(got["error"]["code"], "context_length_exceeded");
    let orphan = json!({"max_tokens": 5, "messages": [{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_x", "content": "y"}]}]});
    let got = server.post("/v1/messages", &orphan);
    assert!(got.status == 400 && got.body.contains("no such call before it"), "{}", got.body);
    let gzip = server.request("POST", "/v1/messages", "content-encoding: gzip\r\n", "x");
    assert_eq!(gzip.status, 415);
}

fn guarded(keys: &[&str], origins: &[&str]) -> Running {
    let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    start(Settings { keys: own(keys), origins: own(origins), ..settings() })
}

#[test]
fn keys_hosts_and_origins() {
    let server = guarded(&["one", "two"], &["https://page.example"]);
    let ask = |headers: &str| server.request("GET", "/v1/models", headers, "").status;
    assert_eq!(ask(""), 401);
    assert_eq!(ask("authorization: Bearer two\r\n"), 200);
    assert_eq!(ask("x-api-key: one\r\n"), 200);
    assert_eq!(ask("x-api-key: on\r\n"), 401);
    assert_eq!(ask("authorization: Basic two\r\n"), 401);
    let key = "x-api-key: one\r\n";
    assert_eq!(ask(&format!("{key}origin: https://evil.example\r\n")), 403);
    assert_eq!(ask(&format!("{key}origin: http://{}\r\n", server.address)), 200);
    let got = server.request("OPTIONS", "/v1/models", "origin: https://page.example\r\n", "");
    assert_eq!(got.status, 204);
    assert!(got.head.contains("access-control-allow-origin: https://page.example"), "{}", got.head);
    let host = |host: &str| {
        let request = format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        server.raw(request.as_bytes()).status
    };
    assert_eq!((host("localhost:1"), host("[::1]"), host("127.0.0.2:80")), (200, 200, 200));
    assert_eq!((host("evil.example"), host("127.0.0.1.evil.example:80")), (403, 403));
}

fn tool(strict: bool) -> Value {
    json!({"type": "function", "function": {"name": "write_file", "strict": strict, "parameters": {
        "type": "object", "required": ["path", "lines"],
        "properties": {"path": {"type": "string"}, "mode": {"enum": ["w", "a"], "type": "string"},
            "lines": {"type": "integer", "minimum": 1, "maximum": 99}}}}})
}

#[test]
fn calls_can_be_demanded_and_are_replayed() {
    let server = start(settings());
    let forced = json!({"tools": [tool(true)], "think": false, "max_tokens": 300,
        "tool_choice": {"type": "function", "function": {"name": "write_file"}}});
    let got = server.ok("/v1/chat/completions", &with(ask("Write hello to a.txt"), forced));
    let choice = &got["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{got}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(text(call, "/function/name"), "write_file");
    let arguments: Value = serde_json::from_str(text(call, "/function/arguments")).expect("JSON");
    assert!(arguments["path"].is_string(), "{arguments}");
    assert!((1..=99).contains(&arguments["lines"].as_i64().expect("an integer")), "{arguments}");

    // The call comes back otherwise spaced, and without its reasoning; the state is gone on from.
    let mut message = choice["message"].clone();
    message["tool_calls"][0]["function"]["arguments"] =
        serde_json::to_string_pretty(&arguments).expect("JSON").into();
    let id = text(call, "/id").replace('_', "");
    message["tool_calls"][0]["id"] = id.clone().into();
    let history = json!({"messages": [{"role": "user", "content": "Write hello to a.txt"}, message,
        {"role": "tool", "tool_call_id": id, "content": "done"}],
        "tools": [tool(true)], "think": false});
    let next = server.ok("/v1/chat/completions", &with(ask(""), history));
    let (before, after) = (&got["usage"], &next["usage"]);
    let known =
        before["prompt_tokens"].as_u64().unwrap() + before["completion_tokens"].as_u64().unwrap();
    let cached = after["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= known - 1, "{before} {after}");
    assert!(server.log.lock().unwrap().join("\n").contains("replayed=1"));

    // An unknown tool cannot be demanded.
    let other = json!({"type": "function", "function": {"name": "x"}});
    let other = json!({"tools": [tool(false)], "tool_choice": other});
    assert_eq!(server.post("/v1/chat/completions", &with(ask("Hi"), other)).status, 400);
    let any = json!({"tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"}, "thinking": {"type": "disabled"}, "max_tokens": 400});
    let got = server.ok("/v1/messages", &with(ask("Look!"), any));
    let blocks = got["content"].as_array().expect("blocks");
    assert!(
        blocks.iter().all(|block| block["type"] != "text") || got["stop_reason"] == "max_tokens",
        "{got}"
    );
}

#[test]
fn answers_have_the_form_that_is_demanded() {
    let server = start(settings());
    let schema = json!({"type": "object", "additionalProperties": false,
        "required": ["city", "warm"],
        "properties": {"city": {"enum": ["Oslo", "Rome"]}, "warm": {"type": "boolean"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "w", "schema": schema}});
    let body = json!({"response_format": format, "think": false, "max_tokens": 100});
    let got = server.ok("/v1/chat/completions", &with(ask("Where is it warm?"), body));
    let answer: Value =
        serde_json::from_str(text(&got, "/choices/0/message/content")).expect("JSON");
    assert!(answer["warm"].is_boolean() && answer["city"].is_string(), "{answer}");
    let body = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}},
        "thinking": {"type": "disabled"}, "max_tokens": 100});
    let got = server.ok("/v1/messages", &with(ask("Where is it warm?"), body));
    serde_json::from_str::<Value>(text(&got, "/content/0/text")).expect("JSON");
    let body = json!({"input": "Where?", "reasoning": {"effort": "none"},
        "text": {"format": {"type": "json_schema", "name": "w", "schema": schema}}});
    let got = server.ok("/v1/responses", &body);
    serde_json::from_str::<Value>(text(&got, "/output/0/content/0/text")).expect("JSON");
    let bad = json!({"type": "json_schema", "json_schema": {"schema": {"type": "dream"}}});
    let bad = json!({ "response_format": bad });
    assert_eq!(server.post("/v1/chat/completions", &with(ask("Hi"), bad)).status, 400);
}

#[test]
fn stop_texts_several_answers_and_probabilities() {
    let server = start(settings());
    let body = json!({"prompt": "One two three four five six", "max_tokens": 30});
    let plain = server.ok("/v1/completions", &body);
    let said = text(&plain, "/choices/0/text");
    let stop: String = said.chars().skip(10).take(4).collect();
    let cut = server.ok("/v1/completions", &with(body.clone(), json!({ "stop": stop })));
    assert_eq!(text(&cut, "/choices/0/text"), said.split(&stop).next().unwrap());
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    let several = json!({"n": 3, "temperature": 1.0, "seed": 5, "logprobs": 2});
    let several = server.ok("/v1/completions", &with(body.clone(), several));
    let choices = several["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), 3);
    assert!(choices[0]["text"] != choices[1]["text"] || choices[1]["text"] != choices[2]["text"]);
    for choice in choices {
        let lists = &choice["logprobs"];
        let tokens = lists["tokens"].as_array().expect("tokens");
        assert!(tokens.len() <= 30 && !tokens.is_empty());
        assert_eq!(lists["top_logprobs"][0].as_object().expect("two").len(), 2);
    }
    let again = json!({"n": 3, "temperature": 1.0, "seed": 5});
    let again = server.ok("/v1/completions", &with(body, again));
    assert_eq!(again["choices"][1]["text"], several["choices"][1]["text"]);
    let body = json!({"think": false, "logprobs": true, "top_logprobs": 1, "max_tokens": 6});
    let got = server.ok("/v1/chat/completions", &with(ask("Hello"), body));
    let content = got["choices"][0]["logprobs"]["content"].as_array().expect("tokens").clone();
    let spelled: String = content.iter().filter_map(|token| token["token"].as_str()).collect();
    assert!(spelled.starts_with(text(&got, "/choices/0/message/content")), "{got}");
}

#[test]
fn clients_that_go_away_end_their_work() {
    let server = start_with(settings(), engine::OpenOptions { sessions: 1, ..options() }, None);
    let endless = json!({"prompt": "One", "max_tokens": 4000, "stream": true}).to_string();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{endless}",
        endless.len()
    );
    for _ in 0..3 {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut some = [0; 300];
        stream.read_exact(&mut some).unwrap();
    }
    // The only session is free again.
    let start = Instant::now();
    server.ok("/v1/completions", &json!({"prompt": "Two", "max_tokens": 1}));
    assert!(start.elapsed() < Duration::from_secs(20));
    let until = Instant::now() + Duration::from_secs(10);
    while server.get("/health").json()["running"] != 0 {
        assert!(Instant::now() < until, "an answer is still under way");
    }
    let log = server.log.lock().unwrap().join("\n");
    assert_eq!(log.matches("status=499").count(), 3, "{log}");
}

#[test]
fn a_client_may_have_only_so_much() {
    let limits = Limits {
        answers_per_client: 1,
        head: Duration::from_millis(300),
        body: Duration::from_millis(300),
        grace: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(Settings { limits, ..settings() });
    let endless = json!({"prompt": "One", "max_tokens": 3000, "stream": true}).to_string();
    let mut stream = server.connect();
    let length = endless.len();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head.clone() + &endless).as_bytes()).unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    let got = server.post("/v1/messages", &ask("Hi"));
    assert_eq!(got.status, 429, "{}", got.body);
    assert!(got.head.contains("retry-after: 1"));
    drop(stream);
    let until = Instant::now() + Duration::from_secs(10);
    while server.get("/health").json()["running"] != 0 {
        assert!(Instant::now() < until);
    }
    // A body that does not come, and a head that does not.
    let got: Got = server.raw(format!("{head}{{").as_bytes());
    assert_eq!(got.status, 408, "{}", got.body);
    let got = server.raw(b"GET /health HTTP/1.1\r\nho");
    assert!(got.status == 0 || got.status == 408, "{}", got.status);
    let huge = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    assert_eq!(server.raw(huge.as_bytes()).status, 431);
    let long = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        1_u64 << 40
    );
    assert_eq!(server.raw(long.as_bytes()).status, 413);
}

fn long_prompt(words: usize) -> String {
    (0..words).map(|i| format!("w{i} ")).collect()
}

/// While a prompt is read, something comes by the clock: events where comments do not count.
#[test]
fn signs_of_life_come_while_a_prompt_is_read() {
    let limits = Limits { keep_alive: Duration::from_millis(20), ..settings().limits };
    let slow = engine::OpenOptions { step_tokens: 16, ..options() };
    let server = start_with(Settings { limits, ..settings() }, slow, None);
    for (i, (path, sign)) in [
        ("/v1/chat/completions", ": prefill\n\n"),
        ("/v1/messages", "event: ping\n"),
        ("/v1/responses", "event: response.in_progress\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let content = format!("{i} {}", long_prompt(700));
        let body = match path {
            "/v1/responses" => json!({"input": content, "max_output_tokens": 2}),
            _ => json!({"messages": [{"role": "user", "content": content}], "max_tokens": 2}),
        };
        let got = server.post(path, &with(body, json!({"stream": true})));
        let began = got.body.find("\"role\":\"assistant\"").unwrap_or(got.body.len());
        let signs = got.body.matches(sign).count();
        assert!(signs >= 5, "{path}: {signs} in {} bytes before {began}", got.body.len());
    }
}

/// Whoever goes away while its prompt is read holds nobody up for the rest of it.
#[test]
fn a_prompt_that_nobody_waits_for_is_not_read_to_its_end() {
    let slow = engine::OpenOptions { sessions: 1, step_tokens: 16, ..options() };
    let server = start_with(settings(), slow, None);
    let body = |word: &str| {
        let prompt = format!("{word} {}", long_prompt(900));
        json!({"prompt": prompt, "max_tokens": 1, "stream": true})
    };
    let start = Instant::now();
    assert_eq!(server.post("/v1/completions", &body("whole")).status, 200);
    let whole = start.elapsed();
    let text = body("left").to_string();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ";
    let mut stream = server.connect();
    stream.write_all(format!("{head}{}\r\n\r\n{text}", text.len()).as_bytes()).unwrap();
    stream.read_exact(&mut [0; 20]).unwrap();
    drop(stream);
    let start = Instant::now();
    server.ok("/v1/completions", &json!({"prompt": "Two", "max_tokens": 1}));
    let after = start.elapsed();
    println!("{whole:?} for a whole prompt, {after:?} after one that was left");
    assert!(after < whole / 2, "{after:?} of {whole:?}");
}
