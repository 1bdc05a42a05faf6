//! Forms that are demanded: kept in every answer, or refused by the place of the part that cannot
//! be kept. Nothing that was demanded is left out silently.

use serde_json::{Value, json};

use crate::support::{settings, start};

/// A tool of one dialect, strict, in a body that is otherwise complete.
fn bodies(schema: &Value) -> [(&'static str, Value, &'static str); 3] {
    let ask = json!([{"role": "user", "content": "Hi"}]);
    let function = json!({"name": "f", "strict": true, "parameters": schema});
    let mut flat = function.clone();
    flat["type"] = "function".into();
    let messages = json!({"name": "f", "strict": true, "input_schema": schema});
    [
        (
            "/v1/chat/completions",
            json!({"messages": ask, "tools": [{"type": "function", "function": function}]}),
            "tools[0].function",
        ),
        ("/v1/responses", json!({"input": "Hi", "tools": [flat]}), "tools[0]"),
        (
            "/v1/messages",
            json!({"messages": ask, "max_tokens": 5, "tools": [messages]}),
            "tools[0]",
        ),
    ]
}

#[test]
fn strict_schemas_that_cannot_be_kept_are_refused_by_their_place() {
    let server = start(settings());
    for (schema, part) in [
        (json!({"type": "array"}), "type: expected object"),
        (json!({"type": "object", "anyOf": [{}]}), "anyOf: cannot be kept"),
        (json!({"type": "object", "properties": {}, "minProperties": 1}), "minProperties"),
        (json!({"properties": {"a\"": {"type": "string"}}}), "no parameter can be named"),
        (json!({"properties": {"a": {"type": "dream"}}}), "dream"),
        (json!({"properties": {"a": {"not": {"type": "string"}}}}), "not"),
        (json!({"properties": {"a": {"type": "string", "pattern": "("}}}), ""),
        (json!({"properties": {"a": {"$ref": "#"}}}), "properties.a.$ref"),
        (json!({"properties": {"a": {"$ref": "#/$defs/none"}}, "$defs": {}}), ""),
        (json!({"properties": {"a": {"type": "array", "uniqueItems": true}}}), "uniqueItems"),
    ] {
        for (path, body, place) in bodies(&schema) {
            let got = server.post(path, &body);
            assert_eq!(got.status, 400, "{path} {schema}: {}", got.body);
            let message = got.json()["error"]["message"].as_str().expect("a message").to_owned();
            let begin = format!("{place}: strict, and its schema cannot be kept: ");
            assert!(message.starts_with(&begin) && message.contains(part), "{schema}: {message}");
        }
        // Whoever does not say strict has the tool all the same.
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": schema}});
        let ask = json!([{"role": "user", "content": "Hi"}]);
        let body = json!({"messages": ask, "tools": [tool], "max_tokens": 3});
        if schema.is_object() {
            server.ok("/v1/chat/completions", &body);
        }
    }
}

#[test]
fn schemas_of_answers_that_cannot_be_kept_are_refused_by_their_place() {
    let server = start(settings());
    let ask = json!([{"role": "user", "content": "Hi"}]);
    for (schema, part) in [
        (json!({"type": "dream"}), "dream"),
        (json!({"type": "object", "properties": {"a": {"not": {}}}}), "not"),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "object", "patternProperties": {"(": {}}}), ""),
        (json!({"type": "string", "format": "dream"}), "dream"),
    ] {
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        let flat = json!({"type": "json_schema", "name": "n", "schema": schema});
        for (path, body, place) in [
            (
                "/v1/chat/completions",
                json!({"messages": ask, "response_format": format}),
                "response_format.json_schema.schema",
            ),
            (
                "/v1/responses",
                json!({"input": "Hi", "text": {"format": flat}}),
                "text.format.schema",
            ),
            (
                "/v1/messages",
                json!({"messages": ask, "max_tokens": 5, "output_config": {"format": flat}}),
                "output_config.format.schema",
            ),
        ] {
            let got = server.post(path, &body);
            assert_eq!(got.status, 400, "{path} {schema}: {}", got.body);
            let message = got.json()["error"]["message"].as_str().expect("a message").to_owned();
            let begin = format!("{place}: cannot be kept: ");
            assert!(message.starts_with(&begin) && message.contains(part), "{schema}: {message}");
        }
    }
}

/// Everything that a strict schema says, in calls that are sampled wildly.
#[test]
fn strict_calls_are_what_their_schema_says() {
    let server = start(settings());
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "required": ["code", "unit", "size", "note", "tags"],
        "properties": {
            "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
            "unit": {"type": "string", "enum": ["km", "mi"]},
            "size": {"$ref": "#/$defs/size"},
            "note": {"type": ["string", "null"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
        },
        "$defs": {"size": {"type": "integer", "minimum": 3, "maximum": 5}},
    });
    let tool = json!({"type": "function",
        "function": {"name": "measure", "strict": true, "parameters": schema}});
    let mut notes = 0;
    for seed in 0..6 {
        let body = json!({"messages": [{"role": "user", "content": "Measure the way"}],
            "tools": [tool], "tool_choice": "required", "think": false, "max_tokens": 500,
            "temperature": 1.5, "seed": seed});
        let got = server.ok("/v1/chat/completions", &body);
        let choice = &got["choices"][0];
        if choice["finish_reason"] == "length" {
            continue; // The note may be a long one.
        }
        for call in choice["message"]["tool_calls"].as_array().expect("calls") {
            let text = call["function"]["arguments"].as_str().expect("text");
            let arguments: Value = serde_json::from_str(text).expect("JSON");
            let code = arguments["code"].as_str().expect("a text");
            let (letters, digits) = code.split_once('-').expect("a dash");
            assert!(
                letters.len() == 3 && letters.bytes().all(|b| b.is_ascii_uppercase()),
                "{code}"
            );
            assert!(digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()), "{code}");
            assert!(["km", "mi"].contains(&arguments["unit"].as_str().expect("a text")), "{text}");
            assert!((3..=5).contains(&arguments["size"].as_i64().expect("a number")), "{text}");
            assert!(arguments["note"].is_string() || arguments["note"].is_null(), "{text}");
            let tags = arguments["tags"].as_array().expect("a list");
            let short = |tag: &Value| tag.as_str().expect("a text").chars().count() <= 4;
            assert!(tags.len() <= 2 && tags.iter().all(short), "{text}");
            assert_eq!(arguments.as_object().expect("an object").len(), 5, "{text}");
            notes += 1;
        }
    }
    println!("{notes} calls");
    assert!(notes > 1);
}

/// A penalty, a bias and the narrowings of candidates change what is said as they should.
#[test]
fn choices_follow_what_was_wished() {
    let server = start(settings());
    let body = |more: Value| {
        let mut body = json!({"prompt": "One two three four five six", "max_tokens": 24});
        let more = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(more);
        body
    };
    let said = |more: Value| {
        let got = server.ok("/v1/completions", &body(more));
        got["choices"][0]["text"].as_str().expect("text").to_owned()
    };
    let greedy = said(json!({}));
    let wild = |more: Value| {
        let mut all = json!({"temperature": 2.0, "seed": 3, "min_p": 0});
        let more = more.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(more);
        said(all)
    };
    assert_ne!(wild(json!({})), greedy);
    for narrow in [json!({"top_k": 1}), json!({"top_p": 0.0}), json!({"min_p": 1.0})] {
        assert_eq!(wild(narrow.clone()), greedy, "{narrow}");
    }
    assert_eq!(wild(json!({})), wild(json!({})));
    assert_ne!(wild(json!({})), wild(json!({"seed": -4})));
    // Every token that was said once is out of reach.
    let most = json!({"frequency_penalty": 2, "presence_penalty": 2, "repetition_penalty": 100});
    assert_ne!(said(most), greedy);
    let tokens = server.ok("/v1/completions", &body(json!({"logprobs": 0})));
    let first = tokens["choices"][0]["logprobs"]["tokens"][0].as_str().expect("a token").to_owned();
    let nano = engine::Engine::open(
        &crate::support::nano(),
        engine::open_cpu(&engine::Threads { count: 1, processors: Vec::new() }, 0),
        engine::OpenOptions::default(),
    );
    let tokenizer = nano.expect("Nano").tokenizer().expect("a tokenizer");
    let id = tokenizer.encode_text(&first)[0].0.to_string();
    let banned = said(json!({"logit_bias": {id.clone(): -100}}));
    assert!(!banned.starts_with(&first), "{first:?}: {banned:?}");
    let only = said(json!({"logit_bias": {id: 100}, "max_tokens": 3}));
    assert_eq!(only, first.repeat(3));
}

/// A stop text that no single token holds ends the answer at its first letter, in every dialect
/// that has such texts, whole and streamed.
#[test]
fn stop_texts_end_answers_across_tokens() {
    let server = start(settings());
    let ask = |path: &str, more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Hello, who are you?"}],
            "max_tokens": 60});
        let off = if path.contains("messages") {
            json!({"thinking": {"type": "disabled"}})
        } else {
            json!({"think": false})
        };
        for more in [off, more] {
            let more = more.as_object().expect("an object").clone();
            body.as_object_mut().expect("an object").extend(more);
        }
        server.post(path, &body)
    };
    for (path, stop, content, reason) in [
        ("/v1/chat/completions", "stop", "/choices/0/message/content", "/choices/0/finish_reason"),
        ("/v1/messages", "stop_sequences", "/content/0/text", "/stop_reason"),
    ] {
        let plain = ask(path, json!({})).json();
        let text = plain.pointer(content).and_then(Value::as_str).expect("text").to_owned();
        let letters: Vec<char> = text.chars().collect();
        for at in [1, letters.len() / 3, letters.len() / 2] {
            let word: String = letters[at..].iter().take(7).collect();
            let expected = text.split(&word).next().expect("a beginning");
            let got = ask(path, json!({stop: [word, "never said"]})).json();
            assert_eq!(got.pointer(content), Some(&expected.into()), "{word:?} in {text:?}");
            let end = got.pointer(reason).and_then(Value::as_str);
            assert!(matches!(end, Some("stop" | "stop_sequence")), "{got}");
            if path.contains("messages") {
                assert_eq!(got["stop_sequence"], word, "{got}");
            }
            let events = ask(path, json!({stop: [word], "stream": true})).events();
            let delta =
                if path.contains("messages") { "/delta/text" } else { "/choices/0/delta/content" };
            let streamed: String =
                events.iter().filter_map(|event| event.pointer(delta)?.as_str()).collect();
            assert_eq!(streamed, expected, "{word:?} in {text:?}");
        }
    }
}
