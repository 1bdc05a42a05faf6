//! Slow clients: readers that stop reading, bodies that come in drops. Nobody else is held up by
//! them, and when the time that they have is over, what they held is free.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;
use server::{Limits, Listen, Settings};

use crate::operation::request;
use crate::support::{Running, options, settings, start_with, wait};

/// One of whose two sessions a client holds that has asked for megabytes and reads nothing. Sockets
/// of the file system hold some 200 kB for a reader, those of TCP as many megabytes.
fn with_a_deaf_client(reading: Duration, folder: &std::path::Path) -> (Running, UnixStream) {
    let path = folder.join("socket");
    let listen = vec![settings().listen[0].clone(), Listen::Unix(path.clone())];
    let limits = Limits { reading, ..settings().limits };
    let options = engine::OpenOptions { sessions: 2, ..options() };
    let server = start_with(Settings { listen, limits, ..settings() }, options, None);
    let mut deaf = UnixStream::connect(&path).unwrap();
    let body =
        json!({"prompt": "One two three", "max_tokens": 3900, "stream": true, "logprobs": 5});
    deaf.write_all(&request("/v1/completions", &body)).unwrap();
    (server, deaf)
}

/// The longest time between two events of an answer.
fn longest_gap(server: &Running) -> Duration {
    let body = json!({"prompt": "The weather in", "max_tokens": 400, "stream": true});
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(&request("/v1/completions", &body)).unwrap();
    let (mut line, mut last, mut longest) = (String::new(), None::<Instant>, Duration::ZERO);
    let mut events = 0;
    while !line.contains("[DONE]") {
        line.clear();
        assert!(stream.read_line(&mut line).expect("text") > 0, "the stream ended early");
        if line.starts_with("data: ") {
            let now = Instant::now();
            longest = last.map_or(longest, |last| longest.max(now - last));
            (last, events) = (Some(now), events + 1);
        }
    }
    assert!(events > 20, "{events}");
    longest
}

#[test]
fn a_reader_that_stops_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (server, deaf) = with_a_deaf_client(Duration::from_secs(600), folder.path());
    // Its answer goes on until all that may wait for it does, and then rests.
    let steps = || server.figure("dwarfstar_steps_total");
    wait("it rests", || {
        let before = steps();
        std::thread::sleep(Duration::from_millis(300));
        before > 0.0 && before == steps()
    });
    assert_eq!(server.figure("dwarfstar_batch_size"), 1.0);
    let written = server.figure("dwarfstar_step_answer_tokens_total") as usize;
    for _ in 0..3 {
        let longest = longest_gap(&server);
        assert!(longest < Duration::from_secs(1), "others wait for it: {longest:?}");
    }
    // A deaf client that reads again gets everything that is left.
    let mut all = String::new();
    let mut lines = BufReader::new(&deaf);
    while !all.ends_with("data: [DONE]\n") {
        assert!(lines.read_line(&mut all).expect("text") > 0, "the stream ended early");
    }
    let log = server.lines();
    let line = log.lines().find(|line| line.contains("client=unix")).expect("a line");
    let generated = line.split("generated=").nth(1).and_then(|rest| rest.split(' ').next());
    let generated: usize = generated.and_then(|number| number.parse().ok()).expect("a number");
    assert!(line.contains("status=200") && generated > written, "{written} of {line}");
    let lists = all.lines().filter_map(|line| line.strip_prefix("data: {"));
    let told: usize = lists.map(|event| event.matches("\"token_logprobs\":[-").count()).sum();
    assert!(told > written, "{told} of {written}");
}

#[test]
fn a_reader_that_never_comes_back_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (server, mut deaf) = with_a_deaf_client(Duration::from_millis(700), folder.path());
    wait("it is cut", || server.lines().contains("status=499"));
    for figure in ["answers_open", "batch_size", "queue_length"] {
        let name = format!("dwarfstar_{figure}");
        wait(&name, || server.figure(&name) == 0.0);
    }
    let line = server.lines();
    let cut = line.split("generated=").nth(1).and_then(|rest| rest.split(' ').next());
    assert!(cut.is_some_and(|cut| cut.parse::<usize>().unwrap() < 3900), "{line}");
    // What was under way to it is there, and then the end.
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
    assert!(longest_gap(&server) < Duration::from_secs(1));
}

#[test]
fn bodies_in_drops_are_refused_in_time() {
    let limits = Limits { body: Duration::from_millis(600), ..settings().limits };
    let server = start_with(Settings { limits, ..settings() }, options(), None);
    let bytes = request("/v1/messages", &json!({"max_tokens": 5, "messages": "x".repeat(4000)}));
    let began = Instant::now();
    let mut stream = server.connect();
    let mut answer = String::new();
    std::thread::scope(|scope| {
        let mut drops = stream.try_clone().unwrap();
        scope.spawn(move || {
            for byte in bytes {
                if drops.write_all(&[byte]).is_err() || began.elapsed() > Duration::from_secs(20) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        // Meanwhile others are answered.
        server.ok("/v1/completions", &json!({"prompt": "One", "max_tokens": 2}));
        let _ = stream.read_to_string(&mut answer);
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"type\":\"error\""), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(server.lines().contains("status=408"), "{}", server.lines());
}
