//! Conversations that clients send back with less than was said: results alone, answers without
//! their reasoning.

use serde_json::{Value, json};

use crate::support::{Running, options, settings, start, start_with};

const TASK: &str = "Please look for the files of this project, and tell me which of them are large \
    enough to be worth a closer look, and which of them nobody has touched for a long time.";

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {value}"))
}

fn parameters() -> Value {
    json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
}

fn response(input: Value, more: Value) -> Value {
    let mut body = json!({"model": "m", "input": input, "max_output_tokens": 200,
        "reasoning": {"effort": "none"}, "instructions": "Be kind.",
        "tools": [{"type": "function", "name": "list_files", "parameters": parameters()}]});
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn message(messages: Value, more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": messages, "max_tokens": 200,
        "thinking": {"type": "disabled"}, "system": "Be kind.",
        "tools": [{"name": "list_files", "input_schema": parameters()}]});
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn call_items(got: &Value) -> Vec<Value> {
    let output = got["output"].as_array().expect("items").iter();
    output.filter(|item| item["type"] == "function_call").cloned().collect()
}

fn results(calls: &[Value]) -> Vec<Value> {
    let result = |call: &Value| {
        let (kind, id) = ("function_call_output", &call["call_id"]);
        json!({"type": kind, "call_id": id, "output": "a.txt\nb.txt"})
    };
    calls.iter().map(result).collect()
}

fn texts(value: &Value, path: &str) -> String {
    let found = value.pointer(path).and_then(Value::as_array).into_iter().flatten();
    found.filter_map(|one| one.pointer("/content/0/text").or(one.get("text"))?.as_str()).collect()
}

/// Results alone are answered as with the whole history, and nothing is read but them.
#[test]
fn results_alone_go_on_from_their_call_in_responses() {
    let server = start(settings());
    let forced = json!({"tool_choice": "required"});
    let first =
        server.ok("/v1/responses", &response(json!([{"role": "user", "content": TASK}]), forced));
    let calls = call_items(&first);
    assert!(!calls.is_empty(), "{first}");
    let alone = server.ok("/v1/responses", &response(results(&calls).into(), json!({})));
    let known = number(&first, "/usage/input_tokens") + number(&first, "/usage/output_tokens");
    let cached = number(&alone, "/usage/input_tokens_details/cached_tokens");
    assert_eq!(cached, known, "{first} {alone}");
    // The same without instructions and tools: they stand in the conversation.
    let bare = json!({"model": "m", "input": results(&calls), "max_output_tokens": 200,
        "reasoning": {"effort": "none"}});
    let bare = server.ok("/v1/responses", &bare);
    assert_eq!(bare["usage"]["input_tokens"], alone["usage"]["input_tokens"]);
    let mut history = vec![json!({"role": "user", "content": TASK})];
    history.extend(first["output"].as_array().expect("items").iter().cloned());
    history.extend(results(&calls));
    let whole = server.ok("/v1/responses", &response(history.into(), json!({})));
    assert_eq!(texts(&whole, "/output"), texts(&alone, "/output"));
    assert_eq!(whole["usage"]["input_tokens"], alone["usage"]["input_tokens"]);
    // And so on: a call after the results can be answered alone too.
    let forced = json!({"tool_choice": "required"});
    let second = server.ok("/v1/responses", &response(results(&calls).into(), forced));
    let more = results(&call_items(&second));
    let third = server.ok("/v1/responses", &response(more.into(), json!({"stream": false})));
    let known = number(&second, "/usage/input_tokens") + number(&second, "/usage/output_tokens");
    assert_eq!(number(&third, "/usage/input_tokens_details/cached_tokens"), known);
}

#[test]
fn results_alone_go_on_from_their_call_in_messages() {
    let server = start(settings());
    let asked = json!([{"role": "user", "content": TASK}]);
    let first =
        server.ok("/v1/messages", &message(asked.clone(), json!({"tool_choice": {"type": "any"}})));
    let blocks = first["content"].as_array().expect("blocks");
    let uses: Vec<&Value> = blocks.iter().filter(|block| block["type"] == "tool_use").collect();
    let result = |block: &&Value| {
        let id = &block["id"];
        json!({"type": "tool_result", "tool_use_id": id, "content": "a.txt"})
    };
    let mut content: Vec<Value> = uses.iter().map(result).collect();
    content.push(json!({"type": "text", "text": "And now?"}));
    let turn = json!({"role": "user", "content": content});
    let alone = server.ok("/v1/messages", &message(json!([turn]), json!({})));
    let known = number(&first, "/usage/input_tokens")
        + number(&first, "/usage/cache_read_input_tokens")
        + number(&first, "/usage/output_tokens");
    assert_eq!(number(&alone, "/usage/cache_read_input_tokens"), known, "{first} {alone}");
    let said = json!({"role": "assistant", "content": first["content"]});
    let whole = server.ok("/v1/messages", &message(json!([asked[0], said, turn]), json!({})));
    assert_eq!(texts(&whole, "/content"), texts(&alone, "/content"));
    let stream = message(json!([turn]), json!({"stream": true}));
    let events = server.post("/v1/messages", &stream).events();
    let said: String =
        events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(said, texts(&alone, "/content"));
}

fn refused(server: &Running, path: &str, body: &Value, status: u16, part: &str) {
    let got = server.post(path, body);
    assert_eq!(got.status, status, "{}", got.body);
    let error = got.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(error.contains(part), "{error}");
}

#[test]
fn results_alone_that_nobody_waits_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || start_with(settings(), options(), Some(folder.path()));
    let server = begin();
    let asked = json!([{"role": "user", "content": TASK}]);
    let first = server.ok("/v1/responses", &response(asked, json!({"tool_choice": "required"})));
    let results = results(&call_items(&first));
    let path = "/v1/responses";
    let unknown = json!({"type": "function_call_output", "call_id": "call_x", "output": "y"});
    refused(&server, path, &response(json!([unknown]), json!({})), 400, "no such call before it");
    let more = [results.clone(), vec![unknown]].concat();
    refused(&server, path, &response(more.into(), json!({})), 400, "one for each of the");
    let other = response(results.clone().into(), json!({"instructions": "Be rude."}));
    refused(&server, path, &other, 400, "other instructions or tools");
    drop(server);
    // The call is known after a restart, the state that waits is not.
    let server = begin();
    let again = response(results.into(), json!({}));
    refused(&server, path, &again, 409, "send its whole history");
    server.ok("/v1/responses", &response(json!("Hello?"), json!({"max_output_tokens": 2})));
}

/// A client that could make nothing of a call sends it, or its result, without an id. A result
/// before all calls belongs to none of them.
#[test]
fn results_without_an_id_belong_to_the_calls_before_them() {
    let server = start(settings());
    let (path, few) = ("/v1/responses", json!({"max_output_tokens": 2}));
    let asked = json!({"role": "user", "content": TASK});
    let call = |id: &str| {
        let kind = "function_call";
        json!({"type": kind, "call_id": id, "name": "list_files", "arguments": "{}"})
    };
    let result = json!({"type": "function_call_output", "id": "fco_1", "call_id": "",
        "output": "failed to parse the arguments"});
    for id in ["", "call_1"] {
        let whole = json!([asked, call(id), result]);
        server.ok(path, &response(whole, few.clone()));
    }
    let early = json!([asked, result, call("call_1"), result]);
    refused(&server, path, &response(early, few), 400, "no such call before it");
}

/// A question that Nano thinks about and answers.
const QUESTION: &str = "Hello, who are you?";

/// Without tools a prompt shows no earlier reasoning; the state that has it is gone on from all the
/// same, and after a restart too.
#[test]
fn hidden_reasoning_stays_in_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || start_with(settings(), options(), Some(folder.path()));
    let mut server = begin();
    for restart in [false, true] {
        let system = format!("{TASK} {restart}");
        let mut messages = vec![
            json!({"role": "system", "content": system}),
            json!({"role": "user", "content": QUESTION}),
        ];
        let ask = |server: &Running, messages: &[Value]| {
            let body = json!({"model": "m", "messages": messages, "max_tokens": 600});
            server.ok("/v1/chat/completions", &body)
        };
        let first = ask(&server, &messages);
        let said = first["choices"][0]["message"].clone();
        assert_eq!(first["choices"][0]["finish_reason"], "stop", "{first}");
        assert!(said["reasoning_content"].is_string(), "{first}");
        messages.push(json!({"role": "assistant", "content": said["content"]}));
        messages.push(json!({"role": "user", "content": "And what can you do?"}));
        if restart {
            drop(server);
            server = begin();
        }
        let second = ask(&server, &messages);
        let (prompt, cached) = (
            number(&second, "/usage/prompt_tokens"),
            number(&second, "/usage/prompt_tokens_details/cached_tokens"),
        );
        // New are the end of the answer and the question with its markers.
        assert!(prompt - cached < 16, "{restart}: {cached} of {prompt}: {first}");
    }
}

/// With tools a prompt shows all reasoning: a client that leaves it out is given what was sampled.
#[test]
fn reasoning_that_was_left_out_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || start_with(settings(), options(), Some(folder.path()));
    let server = begin();
    let tools = json!([{"type": "function",
        "function": {"name": "list_files", "parameters": parameters()}}]);
    let question = json!({"role": "user", "content": QUESTION});
    let ask = |server: &Running, messages: Value| {
        let body = json!({"model": "m", "messages": messages, "max_tokens": 600, "tools": tools});
        server.ok("/v1/chat/completions", &body)
    };
    let first = ask(&server, json!([question]));
    let said = &first["choices"][0]["message"];
    assert_eq!(first["choices"][0]["finish_reason"], "stop", "{first}");
    assert!(said["reasoning_content"].is_string(), "{first}");
    let bare = json!({"role": "assistant", "content": said["content"]});
    let next = json!({"role": "user", "content": "And what can you do?"});
    let with = ask(&server, json!([question, said, next]));
    let without = ask(&server, json!([question, bare, next]));
    assert_eq!(with["usage"]["prompt_tokens"], without["usage"]["prompt_tokens"]);
    assert_eq!(with["choices"][0]["message"], without["choices"][0]["message"]);
    drop(server);
    let server = begin();
    let after = ask(&server, json!([question, bare, next]));
    assert_eq!(with["usage"]["prompt_tokens"], after["usage"]["prompt_tokens"]);
    let known = number(&first, "/usage/prompt_tokens") + number(&first, "/usage/completion_tokens");
    let cached = number(&after, "/usage/prompt_tokens_details/cached_tokens");
    assert!(cached >= known, "{first} {after}");
    // Another conversation with the same answer has no such thoughts.
    let other = json!({"role": "user", "content": "Something else."});
    let foreign = ask(&server, json!([other, bare, next]));
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.lines().last().expect("a line").contains("replayed=0"), "{foreign} {log}");
}
