//! Ctrl+C, and readers that go away.
//!
//! The tests start the program, wait until it has shown that it works, and interrupt it as a
//! terminal would, with SIGINT to that one process.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Ended, Parts, command, dwarfstar, ended_as, text, tiny};

/// A copy of the tiny model that never ends its turn: its vocabulary has no end of sentence.
pub fn endless(folder: &Path) -> String {
    Parts::tiny().with_token(1, "<\u{ff5c}nothing\u{ff5c}>").save(&folder.join("endless.gguf"))
}

/// SIGINT to a process that a test has started.
fn interrupt(child: &Child) {
    signal(child, "INT");
}

/// A signal to a process that a test has started.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(status.expect("kill is there").success());
}

/// A prompt that is being read shows nothing on a pipe. Linux tells which signals are caught.
fn wait_until_it_listens(child: &Child) {
    const SIGINT_BIT: u64 = 1 << 1;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        if caught.is_some_and(|mask| mask & SIGINT_BIT != 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(args: &[&str]) -> Child {
    let mut command = command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Ends well before an endless answer would fill its context.
fn wait(child: Child) -> Ended {
    let start = Instant::now();
    let ended = ended_as(child.wait_with_output().expect("it ends"));
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
    ended
}

/// Interrupts a run that takes long, again and later until it has done what is looked for.
pub fn interrupted_until(args: &[&str], done: impl Fn(&Ended) -> bool) -> Ended {
    for milliseconds in [100, 200, 400, 800, 1600, 3200, 6400] {
        let child = start(args);
        wait_until_it_listens(&child);
        std::thread::sleep(Duration::from_millis(milliseconds));
        interrupt(&child);
        let ended = wait(child);
        assert_eq!(ended.code, 130, "{}", ended.stderr);
        if done(&ended) {
            return ended;
        }
    }
    panic!("it never came so far");
}

#[test]
fn ctrl_c_ends_after_the_current_token() {
    let folder = tempfile::tempdir().unwrap();
    let model = endless(folder.path());
    let mut child = start(&["run", "-m", &model, "--raw-prompt", "-p", "x", "--seed", "3"]);
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).expect("text is streamed");
    interrupt(&child);
    let Ended { code, stdout, stderr } = wait(child);
    assert_eq!(code, 130, "{stderr}");
    let text = [&first[..], &stdout].concat();
    assert!(std::str::from_utf8(&text).is_ok(), "{text:?}");
    assert!(stderr.contains("; decode ") && stderr.contains("seed 3; interrupted"), "{stderr}");
}

#[test]
fn ctrl_c_ends_between_two_chunks_of_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = folder.path().join("prompt.txt");
    std::fs::write(&prompt, "The night train ".repeat(40_000)).unwrap();
    // Minutes of work, of which little is done.
    let args = ["run", "-m", &tiny(), "--prompt-file", &text(&prompt), "--ctx", "200000", "--json"];
    let child = start(&args);
    wait_until_it_listens(&child);
    interrupt(&child);
    let ended = wait(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    let json = ended.json();
    assert_eq!((&json["finish"], &json["text"]), (&"interrupted".into(), &"".into()));
}

#[test]
fn an_interrupted_file_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logits.npy");
    let tokens = vec!["5"; 20_000].join(",");
    let child = start(&["logits", "-m", &tiny(), "--tokens", &tokens, "--out", &text(&out)]);
    let start = Instant::now();
    while folder.path().read_dir().unwrap().count() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the output was never begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let ended = wait(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert_eq!(ended.stderr, "interrupted, nothing was written\n");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn an_interrupted_measurement_shows_what_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let csv = text(&folder.path().join("figures.csv"));
    let args = ["bench", "-m", &tiny(), "--prompt", "20000", "--json", "--csv", &csv];
    let child = start(&args);
    wait_until_it_listens(&child);
    interrupt(&child);
    let ended = wait(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert_eq!(ended.stderr, "interrupted: what is shown is what was complete\n");
    let json = ended.json();
    assert_eq!((&json["complete"], &json["prefill"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_reader_that_had_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = endless(folder.path());
    let mut child = start(&["run", "-m", &model, "--raw-prompt", "-p", "x"]);
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 1]).expect("text is streamed");
    drop(out);
    let ended = wait(child);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));

    // A reader that never was.
    for args in [&["inspect", &tiny()][..], &["tokenize", "-m", &tiny(), "a b c"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = ended_as(command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let args = ["tokenize", "-m", &tiny(), "The night train"];
    let ended = ended_as(command(&args).stdout(full()).stderr(Stdio::piped()).output().unwrap());
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.starts_with("dwarfstar: ") && ended.stderr.contains("No space left"));
    assert_eq!(dwarfstar(&args).code, 0);
}
