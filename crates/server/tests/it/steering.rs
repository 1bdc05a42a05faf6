//! Steering by request, in every dialect: who says nothing is steered as the server is, and what
//! cannot be done is refused before anything is computed.

use engine::{Engine, Steer};
use serde_json::{Value, json};

use crate::support::{Running, launch, open, options, settings, start};

/// A server with directions, from arithmetic, that steers whoever says nothing by `ffn`.
fn steered(ffn: f32) -> Running {
    let running = launch(settings(), move |_| {
        let mut engine: Engine = open(options(), None)()?;
        let (layers, width) = (engine.shape().layers, engine.shape().hidden);
        let scale = 1.0 / (24.0 * width as f32).sqrt();
        let value = |i: usize| (((i * 7) % 17) as f32 - 8.0) * scale;
        let directions: Vec<f32> = (0..layers * width).map(value).collect();
        engine.load_directions(&directions, Steer::new(ffn, 0.0)?)?;
        Ok(engine)
    });
    running.wait_until_loaded();
    running
}

/// A request of each dialect, and where its answer's text is.
fn dialects() -> [(&'static str, Value, &'static str); 4] {
    let ask = json!([{"role": "user", "content": "Tell me about the sea."}]);
    let off = json!({"type": "disabled"});
    [
        ("/v1/completions", json!({"prompt": "The sea", "max_tokens": 12}), "/choices/0/text"),
        (
            "/v1/chat/completions",
            json!({"messages": ask, "max_tokens": 12, "thinking": off}),
            "/choices/0/message/content",
        ),
        (
            "/v1/responses",
            json!({"input": ask, "max_output_tokens": 12, "reasoning": {"effort": "none"}}),
            "/output/0/content/0/text",
        ),
        (
            "/v1/messages",
            json!({"messages": ask, "max_tokens": 12, "thinking": off}),
            "/content/0/text",
        ),
    ]
}

fn said(server: &Running, (path, body, place): &(&str, Value, &str), steer: Value) -> String {
    let mut body = body.clone();
    if !steer.is_null() {
        body["steer"] = steer;
    }
    let answer = server.ok(path, &body);
    let text = answer.pointer(place).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
}

#[test]
fn requests_say_how_they_are_steered() {
    let plain = start(settings());
    let (usual, strong) = (steered(0.0), steered(-30.0));
    for dialect in dialects() {
        let (path, ..) = dialect;
        let want = said(&plain, &dialect, Value::Null);
        let other = said(&strong, &dialect, Value::Null);
        assert_ne!(want, other, "{path}");
        // By turns, so that kept states would be found if they were shared.
        for _ in 0..2 {
            assert_eq!(said(&usual, &dialect, Value::Null), want, "{path}");
            assert_eq!(said(&usual, &dialect, json!({"ffn": -30})), other, "{path}");
            assert_eq!(said(&strong, &dialect, json!({"ffn": 0, "attn": 0.0})), want, "{path}");
            assert_eq!(said(&strong, &dialect, json!({})), other, "{path}");
        }
        let both = said(&usual, &dialect, json!({"ffn": -30, "attn": -30}));
        assert_eq!(said(&strong, &dialect, json!({"attn": -30})), both, "{path}");
        assert_ne!(both, other, "{path}");
    }
}

#[test]
fn a_server_without_directions_says_so() {
    let server = start(settings());
    for (path, body, place) in dialects() {
        let mut steered = body.clone();
        steered["steer"] = json!({"ffn": 1});
        let got = server.post(path, &steered);
        assert_eq!(got.status, 400, "{path}: {}", got.body);
        let said = "steer: this server has no directions to steer with: start it with --steer FILE";
        assert!(got.body.contains(said), "{path}: {}", got.body);
        // Not to be steered is what it can do.
        let dialect = (path, body, place);
        let none = json!({"ffn": 0, "attn": 0});
        assert_eq!(self::said(&server, &dialect, none), self::said(&server, &dialect, Value::Null));
    }
}
