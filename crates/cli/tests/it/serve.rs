//! `dwarfstar serve` as whoever runs it sees it. What clients see is tested in the crate `server`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::signals::interrupt;
use crate::support::{on_a_full_disk, text};

/// The answer to one request, its head included.
fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let bytes = body.len();
    let end = format!("Host: {address}\r\nConnection: close\r\nContent-Length: {bytes}\r\n");
    let sent = format!("{head} HTTP/1.1\r\n{end}Content-Type: application/json\r\n\r\n{body}");
    stream.write_all(sent.as_bytes()).expect("it reads");
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
    let mut child = on_a_full_disk(&args).stderr(Stdio::piped()).spawn().unwrap();
    let (tell, hear) = channel();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reader =
        std::thread::spawn(move || lines.for_each(|line| tell.send(line.unwrap()).unwrap()));
    let next = || hear.recv_timeout(Duration::from_secs(120)).expect("a line");
    let first = next();
    let address = first.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{first}"));
    while !ask(address, "GET /health", "").starts_with("HTTP/1.1 200") {
        std::thread::sleep(Duration::from_millis(50));
    }
    let prompt = "The night train crosses the plain. ".repeat(200);
    let body = serde_json::json!({"model": "x", "prompt": prompt, "max_tokens": 4});
    let answer = ask(address, "POST /v1/completions", &body.to_string());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let told = next();
    assert!(told.starts_with("a conversation was not saved: ") && told.contains(&kept), "{told}");
    interrupt(&child);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
    // The disk is as full as before when conversations are saved at the end: nothing new to tell.
    assert_eq!(hear.try_iter().collect::<Vec<_>>(), Vec::<String>::new());
}
