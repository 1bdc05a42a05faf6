//! Conversations: the second request goes on from the first, in each dialect, and after a restart.

use serde_json::{Value, json};

use crate::support::{Running, options, settings, start, start_with};

const SYSTEM: &str = "You are a helpful assistant. Answer in one short sentence, please, and be \
    kind to whoever asks, since everybody is new to something at some time.";

/// Tokens of the prompt, those that were cached, and those of the answer.
type Seen = (u64, u64, u64);

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn chat(server: &Running, messages: &mut Vec<Value>, ask: &str) -> Seen {
    messages.push(json!({"role": "user", "content": ask}));
    let body = json!({"model": "m", "messages": messages, "max_tokens": 24, "tools": [tool()]});
    let got = server.ok("/v1/chat/completions", &body);
    messages.push(got["choices"][0]["message"].clone());
    let usage = &got["usage"];
    let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
    (number(&usage["prompt_tokens"]), cached, number(&usage["completion_tokens"]))
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "list_files", "description": "List files",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}})
}

fn messages(server: &Running, history: &mut Vec<Value>, ask: &str) -> Seen {
    history.push(json!({"role": "user", "content": ask}));
    let body = json!({"model": "m", "system": SYSTEM, "messages": history, "max_tokens": 24,
        "tools": [{"name": "list_files", "input_schema": {"type": "object", "properties": {}}}]});
    let got = server.ok("/v1/messages", &body);
    history.push(json!({"role": "assistant", "content": got["content"]}));
    let usage = &got["usage"];
    let cached = number(&usage["cache_read_input_tokens"]);
    (number(&usage["input_tokens"]) + cached, cached, number(&usage["output_tokens"]))
}

fn responses(server: &Running, items: &mut Vec<Value>, ask: &str) -> Seen {
    items.push(json!({"role": "user", "content": ask}));
    let body = json!({"model": "m", "instructions": SYSTEM, "input": items,
        "max_output_tokens": 24, "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "list_files"}]});
    let got = server.ok("/v1/responses", &body);
    items.extend(got["output"].as_array().expect("a list").iter().cloned());
    let usage = &got["usage"];
    let cached = number(&usage["input_tokens_details"]["cached_tokens"]);
    (number(&usage["input_tokens"]), cached, number(&usage["output_tokens"]))
}

fn completions(server: &Running, text: &mut String, ask: &str) -> Seen {
    text.push_str(ask);
    let body = json!({"model": "m", "prompt": text, "max_tokens": 24});
    let got = server.ok("/v1/completions", &body);
    text.push_str(got["choices"][0]["text"].as_str().expect("text"));
    let usage = &got["usage"];
    let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
    (number(&usage["prompt_tokens"]), cached, number(&usage["completion_tokens"]))
}

/// All but the new turn: the last answer's last token, and what the user said.
fn check(name: &str, first: Seen, second: Seen) {
    println!("{name}: {first:?}, then {second:?}");
    // Everything up to the end of the answer was computed but its last token, which nobody asked
    // to be continued.
    assert!(second.1 >= first.0 + first.2 - 1, "{name}: {first:?}, then {second:?}");
}

/// A text that Nano goes on from in words.
const PLAIN: &str = "The file is read line by line. Each line is a name and a value, and a line \
    that begins with a number sign is a comment. The name is taken from the beginning of the line \
    up to the first equals sign, and the value is the rest of the line. White space around both of \
    them is removed. If a name occurs twice, the last value is used. An error is raised if a line \
    has no equals sign. The function returns a dictionary of all names and values found in";

const ASK: [&str; 2] = ["Hello, who are you?", "And what can you do for me today?"];

#[test]
fn the_second_turn_reads_only_what_is_new() {
    let server = start(settings());
    let mut history = vec![json!({"role": "system", "content": SYSTEM})];
    check("chat", chat(&server, &mut history, ASK[0]), chat(&server, &mut history, ASK[1]));
    let mut history = Vec::new();
    let turn = |history: &mut Vec<Value>, ask| messages(&server, history, ask);
    check("messages", turn(&mut history, ASK[0]), turn(&mut history, ASK[1]));
    let mut items = Vec::new();
    let turn = |items: &mut Vec<Value>, ask| responses(&server, items, ask);
    check("responses", turn(&mut items, ASK[0]), turn(&mut items, ASK[1]));
    let mut text = String::new();
    let turn = |text: &mut String, ask| completions(&server, text, ask);
    check("completions", turn(&mut text, SYSTEM), turn(&mut text, ASK[1]));
}

#[test]
fn conversations_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut chats, mut history) = (vec![json!({"role": "system", "content": SYSTEM})], vec![]);
    let (mut items, mut text) = (Vec::new(), String::new());
    let begin = || start_with(settings(), options(), Some(folder.path()));
    let server = begin();
    let first = [
        chat(&server, &mut chats, ASK[0]),
        messages(&server, &mut history, ASK[0]),
        responses(&server, &mut items, ASK[0]),
        completions(&server, &mut text, PLAIN),
    ];
    drop(server);
    let server = begin();
    check("chat", first[0], chat(&server, &mut chats, ASK[1]));
    check("messages", first[1], messages(&server, &mut history, ASK[1]));
    check("responses", first[2], responses(&server, &mut items, ASK[1]));
    check("completions", first[3], completions(&server, &mut text, ASK[1]));
    let log = server.log.lock().unwrap().join("\n");
    // Messages and responses have had the same conversation: one of them finds it in memory.
    assert_eq!(log.matches("from=disk").count(), 3, "{log}");
}

/// The call was written with an order and spaces of its own; after a restart it still is.
#[test]
fn calls_are_replayed_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || start_with(settings(), options(), Some(folder.path()));
    let question = json!({"role": "user", "content": "Which files are there?"});
    let body = |messages: Value, choice: &str| {
        json!({"model": "m", "messages": messages, "tools": [tool()], "tool_choice": choice,
            "think": false, "max_tokens": 200})
    };
    let server = begin();
    let first = server.ok("/v1/chat/completions", &body(json!([question]), "required"));
    let message = first["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    assert!(id.is_string(), "{first}");
    drop(server);
    let server = begin();
    let result = json!({"role": "tool", "tool_call_id": id, "content": "a.txt"});
    server.ok("/v1/chat/completions", &body(json!([question, message, result]), "auto"));
    let log = server.log.lock().unwrap().join("\n");
    assert!(log.contains("replayed=1") && log.contains("from=disk"), "{log}");
}

/// Agents name their sessions in headers and members; subagents share the name of their agent, and
/// one conversation may come under two. What is gone on from is decided by prompts alone.
#[test]
fn names_of_sessions_neither_join_nor_part_prompts() {
    let server = start(settings());
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    let chat = |name: &str, text: &str| {
        let messages = json!([{"role": "system", "content": SYSTEM}, user(text)[0]]);
        json!({"messages": messages, "prompt_cache_key": name, "user": name,
            "metadata": {"session": name}, "think": false, "max_tokens": 12})
    };
    let messages = |name: &str, text: &str| {
        json!({"system": SYSTEM, "messages": user(text), "metadata": {"user_id": name},
            "thinking": {"type": "disabled"}, "max_tokens": 12})
    };
    let responses = |name: &str, text: &str| {
        json!({"instructions": SYSTEM, "input": user(text), "prompt_cache_key": name,
            "client_metadata": {"session_id": name, "thread_id": name},
            "reasoning": {"effort": "none"}, "max_output_tokens": 12})
    };
    type Body<'a> = &'a dyn Fn(&str, &str) -> Value;
    let cases: [(&str, Body<'_>, &str, &str); 3] = [
        (
            "/v1/chat/completions",
            &chat,
            "/choices/0/message/content",
            "/usage/prompt_tokens_details/cached_tokens",
        ),
        ("/v1/messages", &messages, "/content/0/text", "/usage/cache_read_input_tokens"),
        (
            "/v1/responses",
            &responses,
            "/output/0/content/0/text",
            "/usage/input_tokens_details/cached_tokens",
        ),
    ];
    for (path, body, said, cached) in cases {
        let ask = |name: &str, text: &str| {
            let headers: String = [
                "session-id",
                "session_id",
                "thread-id",
                "x-session-id",
                "x-session-affinity",
                "x-claude-code-session-id",
                "x-claude-code-agent-id",
            ]
            .map(|header| format!("{header}: {name}\r\n"))
            .concat();
            let got = server.request("POST", path, &headers, &body(name, text).to_string()).json();
            let text = got.pointer(said).and_then(Value::as_str);
            let text = text.unwrap_or_else(|| panic!("{path}: {got}")).to_owned();
            (text, number(got.pointer(cached).expect("a number")))
        };
        let first = ask("one", ASK[0]);
        let other = ask("one", ASK[1]);
        let again = ask("two", ASK[0]);
        assert_eq!(first.0, again.0, "{path}");
        assert!(again.1 > 40 && again.1 >= first.1, "{path}: {first:?}, then {again:?}");
        assert_eq!(other.0, ask("two", ASK[1]).0, "{path}");
        assert_ne!(first.0, other.0, "{path}");
    }
}
