//! What whoever runs a server relies on: it says how far it is, what it did and nothing that was
//! said, and it ends in good order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Limits, Lines, Listen, Settings};

use crate::support::{Running, launch, open, options, read, settings, start, start_with, wait};

/// Requests for an answer, one per dialect, whose answers go on for `tokens` tokens at most.
fn asks(text: &str, tokens: usize) -> [(&'static str, Value); 4] {
    let messages = json!([{"role": "user", "content": text}]);
    [
        (
            "/v1/chat/completions",
            json!({"model": "m", "messages": messages.clone(), "max_tokens": tokens}),
        ),
        ("/v1/completions", json!({"model": "m", "prompt": text, "max_tokens": tokens})),
        ("/v1/responses", json!({"model": "m", "input": text, "max_output_tokens": tokens})),
        ("/v1/messages", json!({"model": "m", "messages": messages, "max_tokens": tokens})),
    ]
}

/// The bytes of a request on a connection that stays open.
pub fn request(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn while_it_loads_it_says_how_far_it_is() {
    let (tell, hear) = channel::<u64>();
    let nano = open(options(), None);
    let server = launch(settings(), move |loading| {
        // Whatever the test says is there; when it has nothing more to say, the model is opened.
        if let Ok(all) = hear.recv() {
            loading.expect(all);
        }
        hear.iter().for_each(|more| loading.add(more));
        nano()
    });
    let health = server.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("loading")));
    assert_eq!(health.json()["loading"]["fraction"].as_f64(), Some(0.0));
    tell.send(80_000_000_000).unwrap();
    tell.send(20_000_000_000).unwrap();
    let fraction = || server.get("/health").json()["loading"]["fraction"].as_f64();
    wait("a quarter is there", || fraction() == Some(0.25));
    let loading = &server.get("/health").json()["loading"];
    let bytes = [&loading["bytes"], &loading["bytes_expected"]].map(Value::as_u64);
    assert_eq!(bytes, [Some(20_000_000_000), Some(80_000_000_000)]);
    assert_eq!(server.figure("dwarfstar_model_bytes_loaded"), 20e9);
    assert_eq!(server.figure("dwarfstar_model_loaded"), 0.0);

    // Nobody gets an answer, in the words of its dialect. A large body makes no difference: whoever
    // is still sending it must find the refusal, not a connection that was reset.
    for size in [1, 1 << 20] {
        for (path, body) in asks(&"word ".repeat(size), 5) {
            let got = server.post(path, &body);
            assert_eq!(got.status, 503, "{path}, {size}: {}", got.body);
            let after = got.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
            let after: u64 = after.and_then(|after| after.parse().ok()).expect("a number");
            assert!((1..=60).contains(&after), "{after}");
            let (value, anthropic) = (got.json(), path == "/v1/messages");
            let kind = if anthropic { "overloaded_error" } else { "server_error" };
            assert_eq!(value["error"]["type"], kind, "{path}: {value}");
            assert_eq!(value["type"] == "error", anthropic, "{path}: {value}");
            let message = value["error"]["message"].as_str().expect("a sentence");
            assert!(message.contains("25 %"), "{path}: {message}");
        }
    }
    // What needs no model is there.
    assert_eq!((server.get("/").status, server.get("/v1/models").status), (200, 200));
    drop(tell);
    server.wait_until_loaded();
    assert!(server.get("/health").json().get("loading").is_none());
    assert_eq!(server.figure("dwarfstar_model_loaded"), 1.0);
    for (path, body) in asks("Hello", 5) {
        server.ok(path, &body);
    }
}

/// Text that is found wherever it was written.
const SECRET: &str = "Xylophone-4711";

#[test]
fn what_was_said_is_in_the_trace_and_nowhere_else() {
    let traced: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = traced.clone();
    let trace = Lines::new(move |line| lines.lock().unwrap().push(line.to_owned()));
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = told.clone();
    let notices = Lines::new(move |line| lines.lock().unwrap().push(line.to_owned()));
    let server = start(Settings { trace: Some(trace), notices, ..settings() });
    let mut answers = Vec::new();
    for (path, body) in asks(&format!("Say {SECRET}, please."), 12) {
        answers.push(server.ok(path, &body).to_string());
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        assert_eq!(server.post(path, &streamed).status, 200);
        // Where a text is not allowed, a refusal may quote it to the client, not to the log.
        for member in ["model", "max_tokens", "max_output_tokens", "messages", "input", "prompt"] {
            let mut wrong = body.clone();
            wrong[member] = json!({"role": SECRET, "content": [{"type": SECRET}]});
            server.post(path, &wrong);
            wrong[member] = json!([{"role": SECRET, "content": SECRET}]);
            server.post(path, &wrong);
            wrong[member] = SECRET.into();
            server.post(path, &wrong);
        }
        server.request("POST", path, "", &format!("{{\"messages\": {SECRET}"));
    }
    let count = json!({"messages": [{"role": "user", "content": SECRET}]});
    server.ok("/v1/messages/count_tokens", &count);
    let (log, traced) = (server.lines(), traced.lock().unwrap().join("\n"));
    assert!(log.matches("status=400").count() > 20, "{log}");
    assert!(!log.contains("Xylophone") && !told.lock().unwrap().join("").contains("Xylophone"));
    assert!(traced.contains(&format!("Say {SECRET}, please.")));
    for answer in answers {
        assert!(traced.contains(&answer), "{answer}");
    }
    assert!(log.lines().any(|line| line.contains("count_tokens") && line.contains("prompt=")));
}

#[test]
fn every_request_has_one_line() {
    let server = start(Settings { keys: vec!["key".to_owned()], ..settings() });
    let body = json!({"prompt": "One two three ".repeat(20), "max_tokens": 6});
    let ask = |headers: &str, body: &Value| {
        server.request("POST", "/v1/completions", headers, &body.to_string()).status
    };
    let key = "x-api-key: key\r\n";
    assert_eq!(ask("", &body), 401);
    assert_eq!((ask(key, &body), ask(key, &body)), (200, 200));
    assert_eq!(ask(key, &json!({"prompt": 5.5})), 400);
    let look = |path| server.request("GET", path, key, "").status;
    assert_eq!((look("/v2/models"), look("/v1/completions")), (404, 405));
    // Clients that go away: in the middle of the body, and before a whole answer.
    let mut long = request("/v1/completions", &json!({"prompt": "One", "max_tokens": 4000}));
    let host = b"host: localhost\r\n";
    let at = long.windows(host.len()).position(|bytes| bytes == host).unwrap();
    drop(long.splice(at..at, key.bytes()));
    for bytes in [&long[..long.len() - 5], &long[..]] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    wait("they are gone", || server.get("/health").json()["running"] == 0);
    wait("eight lines", || server.log.lock().unwrap().len() >= 8);
    let log = server.lines();
    let fields = |line: &str, name: &str| {
        let mut found =
            line.split(' ').filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.next().map(str::to_owned)
    };
    let statuses: Vec<_> = log.lines().map(|line| fields(line, "status").unwrap()).collect();
    assert_eq!(statuses, ["401", "200", "200", "400", "404", "405", "400", "499"], "{log}");
    let lines: Vec<_> = log.lines().collect();
    let (first, second) = (lines[1], lines[2]);
    let sent = body.to_string().len().to_string();
    for (name, value) in [("bytes", sent.as_str()), ("from", "cold"), ("generated", "6")] {
        assert_eq!(fields(first, name).as_deref(), Some(value), "{name}: {first}");
    }
    assert_eq!(fields(second, "from").as_deref(), Some("memory"), "{second}");
    assert_eq!(fields(second, "cached"), fields(second, "prompt"), "{second}");
    for name in ["waited", "prefill", "decode", "decode_speed", "first_token", "took", "request"] {
        assert!(fields(first, name).is_some(), "{name}: {first}");
    }
    let cut: usize = fields(lines[7], "generated").unwrap().parse().unwrap();
    assert!((1..4000).contains(&cut), "tokens of an answer that was cut are told: {}", lines[7]);
}

/// Reads events of a stream until one contains `what`.
fn read_until(stream: &mut impl BufRead, what: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(what) {
        let read = stream.read_line(&mut seen).expect("text");
        assert!(read > 0, "the stream ended before {what:?}: {seen}");
    }
    seen
}

/// A long answer that has begun, and the rest of its connection.
fn begin_long(server: &Running, tokens: usize) -> BufReader<std::net::TcpStream> {
    let body = json!({"prompt": "One two three", "max_tokens": tokens, "stream": true});
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(&request("/v1/completions", &body)).unwrap();
    read_until(&mut stream, "data: ");
    stream
}

#[test]
fn running_answers_end_well_and_new_ones_are_refused() {
    let limits = Limits { grace: Duration::from_secs(60), ..Limits::default() };
    let server = start(Settings { limits, ..settings() });
    let mut stream = begin_long(&server, 1000);
    server.interrupt();
    wait("it ends", || server.get("/health").json()["status"] == "ending");
    for (path, body) in asks("Hello", 5) {
        let got = server.post(path, &body);
        assert_eq!(got.status, 503, "{path}: {}", got.body);
        assert!(got.head.contains("retry-after: 1") && got.body.contains("shutting down"));
    }
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("a whole answer");
    assert!(rest.contains("data: [DONE]") && !rest.contains("\"error\""), "{rest}");
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(30), "nobody is waited for any more");
}

#[test]
fn answers_that_go_on_for_too_long_are_cut_and_say_so() {
    let server = start(settings());
    let mut streams = [0; 2].map(|_| begin_long(&server, 4000));
    let log = server.log.clone();
    drop(server);
    for stream in &mut streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("text");
        assert!(rest.contains("\"error\"") && rest.contains("the answer was cut"), "{rest}");
        assert!(!rest.contains("[DONE]"));
    }
    let log = log.lock().unwrap().join("\n");
    assert_eq!(log.matches("error=\"the answer was cut").count(), 2, "{log}");
}

#[test]
fn a_second_server_finds_what_the_first_one_saved() {
    let folder = tempfile::tempdir().unwrap();
    let start = || start_with(settings(), options(), Some(folder.path()));
    let server = start();
    assert_eq!(server.figure("dwarfstar_checkpoints"), 0.0);
    let prompt = "The night train crosses the plain. ".repeat(8);
    let body = json!({"prompt": prompt, "max_tokens": 20});
    let answer = server.ok("/v1/completions", &body)["choices"][0]["text"].clone();
    // Another is cut in the middle of its answer: what it has come to is saved all the same.
    let mut stream = begin_long(&server, 4000);
    (0..40).for_each(|_| drop(read_until(&mut stream, "data: ")));
    drop(server);
    let server = start();
    assert!(server.figure("dwarfstar_checkpoints") >= 2.0);
    let bytes = server.figure("dwarfstar_checkpoint_bytes");
    assert!(bytes > 0.0 && bytes <= server.figure("dwarfstar_checkpoint_bytes_max"));
    let prompt = format!("{prompt}{} And then", answer.as_str().expect("text"));
    server.ok("/v1/completions", &json!({"prompt": prompt, "max_tokens": 2}));
    assert!(server.lines().contains("from=disk"), "{}", server.lines());
    assert_eq!(server.figure("dwarfstar_prompts_total{source=\"disk\"}"), 1.0);
}

#[test]
fn clients_are_bounded_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listen = vec![settings().listen[0].clone(), Listen::Unix(path.clone())];
    let limits = Limits { answers_per_client: 2, grace: Duration::ZERO, ..Limits::default() };
    let server = start(Settings { limits, listen, ..settings() });
    let held = [begin_long(&server, 4000), begin_long(&server, 4000)];
    let body = json!({"prompt": "One", "max_tokens": 2});
    let got = server.post("/v1/completions", &body);
    assert_eq!(got.status, 429, "{}", got.body);
    assert!(got.head.contains("retry-after: 1"), "{}", got.head);
    // Those of the socket are another client, and so is another address of this machine.
    let mut other = UnixStream::connect(&path).unwrap();
    let mut bytes = request("/v1/completions", &body);
    let head = b"POST /v1/completions HTTP/1.1\r\n";
    drop(bytes.splice(..head.len(), [&head[..], b"connection: close\r\n"].concat()));
    other.write_all(&bytes).unwrap();
    assert_eq!(read(&mut other).status, 200);
    drop(held);
    wait("they are gone", || server.get("/health").json()["running"] == 0);
    server.ok("/v1/completions", &body);
    assert!(matches!(server.address, SocketAddr::V4(_)));
}
