//! `dwarfstar serve` as whoever runs it sees it. What clients see is tested in the crate `server`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::signals::signal;
use crate::support::{command, on_a_full_disk, refuses, text};

/// A server that is running, and what it prints.
struct Served {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

impl Served {
    /// Starts it, and waits until the model is there.
    fn start(mut command: Command) -> Served {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let (tell, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || stderr.for_each(|line| drop(tell.send(line.unwrap()))));
        let first = |prefix: &str| loop {
            let line = lines.recv_timeout(Duration::from_secs(120)).expect("a line");
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        };
        let address = first("listening on http://");
        while !ask(&address, "GET /health", "").starts_with("HTTP/1.1 200") {
            std::thread::sleep(Duration::from_millis(50));
        }
        Served { child, lines, address }
    }

    /// What a request is answered, which must work.
    fn ask(&self, path: &str, body: &serde_json::Value) -> String {
        let answer = ask(&self.address, &format!("POST {path}"), &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// Ends it by a signal; the lines that nobody has read.
    fn end(mut self, name: &str) -> Vec<String> {
        signal(&self.child, name);
        assert!(self.child.wait().unwrap().success());
        self.lines.iter().collect()
    }
}

/// Sends one request.
fn begin(address: &str, head: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let bytes = body.len();
    let end = format!("Host: {address}\r\nConnection: close\r\nContent-Length: {bytes}\r\n");
    let sent = format!("{head} HTTP/1.1\r\n{end}Content-Type: application/json\r\n\r\n{body}");
    stream.write_all(sent.as_bytes()).expect("it reads");
    BufReader::new(stream)
}

/// The answer to one request, its head included.
fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = begin(address, head, body);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    answer
}

/// A conversation that could not be saved is answered, and told in one line while the server runs,
/// with `--quiet` too.
#[test]
fn trouble_with_the_folder_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let kept = text(&folder.path().join("kept"));
    let args = ["serve", "-q", "--listen", "127.0.0.1:0", "--ctx", "4096", "--kv-dir", &kept];
    let served = Served::start(on_a_full_disk(&args));
    let prompt = "The night train crosses the plain. ".repeat(200);
    let body = serde_json::json!({"model": "x", "prompt": prompt, "max_tokens": 4});
    served.ask("/v1/completions", &body);
    let told = served.lines.recv_timeout(Duration::from_secs(120)).expect("a line");
    assert!(told.starts_with("a conversation was not saved: ") && told.contains(&kept), "{told}");
    // The disk is as full as before when conversations are saved at the end: nothing new to tell.
    assert_eq!(served.end("INT"), Vec::<String>::new());
}

/// What was said is in the file that was named for it, and in nothing that is printed.
#[test]
fn a_trace_is_the_only_place_for_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let args = ["serve", "--listen", "127.0.0.1:0", "--ctx", "4096", "--trace", &text(&trace)];
    let served = Served::start(command(&args));
    let body = serde_json::json!({"model": "x", "max_tokens": 9,
        "messages": [{"role": "user", "content": "Where is the Xylophone?"}]});
    let answer = served.ask("/v1/chat/completions", &body);
    served.ask("/v1/messages", &body);
    let wrong = serde_json::json!({"messages": "Xylophone", "max_tokens": "Xylophone"}).to_string();
    assert!(ask(&served.address, "POST /v1/messages", &wrong).starts_with("HTTP/1.1 400"));
    let lines = served.end("INT");
    assert_eq!(lines.iter().filter(|line| line.starts_with("request=")).count(), 3, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("Xylophone")), "{lines:?}");
    let traced = std::fs::read_to_string(&trace).unwrap();
    assert_eq!(traced.matches("Where is the Xylophone?").count(), 2);
    assert!(traced.contains(answer.split("\r\n\r\n").nth(1).unwrap()), "{traced}");
    // A place that cannot be written is told before anything is loaded.
    let nowhere = text(&folder.path().join("none").join("trace"));
    refuses(
        &["serve", "-q", "--listen", "127.0.0.1:0", "--trace", &nowhere],
        1,
        &["could not write it"],
    );
}

/// A service manager ends it: an answer under way is finished, and the next start goes on from what
/// was said.
#[test]
fn a_service_manager_may_end_it_and_start_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let kept = text(&folder.path().join("kept"));
    let args = ["serve", "--listen", "127.0.0.1:0", "--ctx", "4096", "--temp", "0"];
    let args = [&args[..], &["--kv-dir", &kept]].concat();
    let served = Served::start(command(&args));
    let prompt = "The night train crosses the plain. ".repeat(100);
    let body = serde_json::json!({"prompt": prompt, "max_tokens": 40, "stream": true});
    let mut stream = begin(&served.address, "POST /v1/completions", &body.to_string());
    let mut said = String::new();
    while !said.contains("data: {") {
        assert!(stream.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let lines = std::thread::scope(|scope| {
        let ending = scope.spawn(|| served.end("TERM"));
        stream.read_to_string(&mut said).unwrap();
        ending.join().unwrap()
    });
    assert!(said.contains("data: [DONE]"), "{said}");
    let line = lines.iter().find(|line| line.starts_with("request=")).expect("a line");
    assert!(line.contains("status=200") && line.contains("from=cold"), "{line}");

    let data = said.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
    let answer: String = events
        .filter_map(|event| event["choices"][0]["text"].as_str().map(str::to_owned))
        .collect();
    let served = Served::start(command(&args));
    let body = serde_json::json!({"prompt": prompt + &answer + " And then", "max_tokens": 2});
    served.ask("/v1/completions", &body);
    let lines = served.end("TERM");
    let line = lines.iter().find(|line| line.starts_with("request=")).expect("a line");
    assert!(line.contains("from=disk"), "{line}");
}
