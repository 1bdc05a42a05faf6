//! `dwarfstar agent` and `dwarfstar chat` for scripts, with the model inside the program.
//!
//! Nano is small and errs; what is asked of it here it does, greedily, every time. Tests assert
//! what is certain: files, events, exit codes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ended, command, ended_as, text};

/// A user with a folder to work in.
struct User {
    home: TempDir,
    work: PathBuf,
}

impl User {
    fn new() -> User {
        let home = tempfile::tempdir().unwrap();
        let work = home.path().join("work");
        fs::create_dir(&work).unwrap();
        User { home, work }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.current_dir(&self.work).env("HOME", self.home.path());
        for name in ["XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        ended_as(self.command(args).output().expect("the program starts"))
    }

    /// Runs with lines of standard input.
    fn told(&self, args: &[&str], input: &str) -> Ended {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        ended_as(child.wait_with_output().expect("it ends"))
    }

    fn agent(&self, flags: &[&str], prompt: &str) -> Vec<Value> {
        let args = ["agent", "--json", "--nothink", "--temp", "0", "-p", prompt];
        let ended = self.run(&[&args, flags].concat());
        assert_eq!(ended.code, 0, "{prompt}: {} {}", ended.text(), ended.stderr);
        events(&ended)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.work.join(name)).unwrap_or_default()
    }
}

fn events(ended: &Ended) -> Vec<Value> {
    let parsed = |line| serde_json::from_str(line).expect("a line is an object");
    ended.text().lines().map(parsed).collect()
}

/// The tools that were called, without those that failed.
fn called(events: &[Value]) -> Vec<&str> {
    let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    let names: Vec<&str> = of("call_began").map(|event| event["tool"].as_str().unwrap()).collect();
    let worked = of("tool_ended").map(|event| event["failed"] == false);
    names.into_iter().zip(worked).filter(|(_, worked)| *worked).map(|(name, _)| name).collect()
}

fn shown(events: &[Value]) -> String {
    let ended = events.iter().filter(|event| event["event"] == "tool_ended");
    ended.map(|event| event["shown"].to_string()).collect()
}

const FULL: [&str; 2] = ["--mode", "full"];

#[test]
fn files_are_made_read_changed_listed_searched_and_commands_run() {
    let user = User::new();
    let made = user.agent(&FULL, "create the file notes.txt with the text: hello world");
    assert_eq!(called(&made), ["write"]);
    assert!(user.file("notes.txt").contains("hello world"));
    let read = user.agent(&["--continue"], "read notes.txt");
    assert!(called(&read).contains(&"read") && shown(&read).contains("hello world"), "{read:?}");
    let edited = user.agent(&FULL, "replace hello with goodbye in notes.txt");
    assert!(called(&edited).contains(&"edit"), "{edited:?}");
    assert!(user.file("notes.txt").contains("goodbye world"));
    let run = user.agent(&FULL, "run `echo hi`");
    assert!(called(&run).contains(&"bash") && shown(&run).contains("hi"), "{run:?}");
    let listed = user.agent(&[], "list the files in .");
    assert!(called(&listed).contains(&"list") && shown(&listed).contains("notes.txt"));
    let found = user.agent(&[], "search for goodbye in .");
    assert!(called(&found).contains(&"search") && shown(&found).contains("notes.txt"));
    let status = found.iter().rfind(|event| event["event"] == "status").unwrap();
    assert_eq!((&status["mode"], &status["context"]), (&"ask".into(), &65536.into()));
    assert!(!status["protection"].as_str().unwrap().is_empty());
    // States are kept from one run to the next: the instructions are not read again.
    let ended = |events: &[Value]| {
        let turn = events.iter().find(|event| event["event"] == "turn_ended").unwrap();
        (turn["read"].as_u64().unwrap(), turn["cached"].as_u64().unwrap())
    };
    let (read_first, read_last) = (ended(&made), ended(&found));
    assert!(read_first.0 > 1000 && read_last.0 < 200 && read_last.1 > 1000, "{read_last:?}");
}

#[test]
fn what_needs_a_yes_is_refused_where_nobody_can_say_it() {
    let user = User::new();
    let prompt = "create the file notes.txt with the text: hello world";
    let args = ["agent", "--nothink", "--temp", "0", "-p", prompt];
    let ended = user.run(&args);
    assert!(ended.stderr.contains("--mode auto-edit or --mode full allows"), "{}", ended.stderr);
    assert!(!user.work.join("notes.txt").exists());
    let events = user.agent(&[], prompt);
    assert!(events.iter().any(|event| event["event"] == "refused"), "{events:?}");
    let events = user.agent(&["--mode", "auto-edit"], prompt);
    assert_eq!(called(&events), ["write"]);
}

/// In another process than the one that changed it.
#[test]
fn a_change_is_taken_back_after_a_restart() {
    let user = User::new();
    fs::write(user.work.join("notes.txt"), "hello world\n").unwrap();
    user.agent(&FULL, "replace hello with goodbye in notes.txt");
    assert_eq!(user.file("notes.txt"), "goodbye world\n");
    let undone = user.told(&["agent", "-q", "--continue"], "/undo\n");
    assert_eq!(undone.code, 0, "{}", undone.stderr);
    assert!(undone.text().contains("- restored notes.txt"), "{}", undone.text());
    assert_eq!(user.file("notes.txt"), "hello world\n");
    let history = user.told(&["agent", "-q", "--continue"], "/history\n");
    assert_eq!(history.text(), "Nothing was said yet.\n");
}

#[test]
fn lines_of_standard_input_are_prompts_and_conversations_go_on() {
    let user = User::new();
    let flags = ["chat", "-q", "--nothink", "--temp", "0"];
    let first = user.told(&flags, "hello\n\nwhat are you?\n/save nano\n");
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.stderr, "");
    assert!(first.text().contains("Nano"), "{}", first.text());
    let listed = user.told(&["chat"], "/list\n");
    let row = listed.text().lines().find(|line| line.contains("| nano |"));
    let id = row.and_then(|row| row.split('|').nth(2)).expect("an id").trim().to_owned();
    for resume in [vec!["--resume"], vec!["--resume", &id], vec!["--continue"]] {
        let again = user.told(&[&["chat"], &resume[..]].concat(), "/history 1\n");
        assert!(again.text().contains("## Prompt\n\nwhat are you?"), "{}", again.text());
    }
    let wrong = user.told(&["chat", "--resume", "zz"], "");
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("there is no such conversation"), "{}", wrong.stderr);
    let kept = |user: &User| {
        let folder = user.home.path().join(".local/state/dwarfstar/conversations");
        fs::read_dir(folder).map_or(0, Iterator::count)
    };
    let before = kept(&user);
    user.told(&[&flags[..], &["--no-keep"]].concat(), "hello\n");
    assert_eq!((before, kept(&user)), (1, 1));
}

#[test]
fn instructions_of_the_project_are_read() {
    let user = User::new();
    fs::create_dir(user.work.join(".git")).unwrap();
    fs::write(user.work.join(".git/HEAD"), "ref: refs/heads/topic\n").unwrap();
    fs::write(user.work.join("AGENTS.md"), "Speak like a lighthouse keeper.\n").unwrap();
    let inner = user.work.join("inner");
    fs::create_dir(&inner).unwrap();
    let inner = text(&inner);
    let told = user.told(&["agent", "--json", "--cd", &inner], "/system\n");
    let told = events(&told);
    let answer = told.iter().find(|event| event["event"] == "answer").expect("an answer");
    let answer = answer["text"].as_str().unwrap();
    assert!(answer.contains("Instructions of the project, from AGENTS.md:\nSpeak like a light"));
    assert!(answer.contains("The person is in its folder inner;"), "{answer}");
    let status = told.iter().find(|event| event["event"] == "status").unwrap();
    assert_eq!(status["branch"], "topic");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let user = User::new();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["agent", "--mode", "yolo"], 2, "auto-edit"),
        (&["agent", "-p", " "], 2, "the prompt is empty"),
        (&["agent", "--resume", "a", "--continue"], 2, "--continue"),
        (&["agent", "-p", "x", "--cd", "nowhere"], 1, "nowhere: no folder to work in"),
        (&["agent", "-p", "x", "--mcp", "nowhere.json"], 1, "nowhere.json"),
        (&["agent", "-p", "x", "--ctx", "1024"], 1, "use a larger --ctx"),
    ];
    for (args, code, expected) in cases {
        let ended = user.run(args);
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{args:?}: {}", ended.stderr);
    }
}

/// An answer that is cut is no success, and says what to change.
#[test]
fn a_cut_answer_has_another_exit_code() {
    let user = User::new();
    let ended = user.run(&["chat", "--nothink", "-n", "2", "-p", "Tell me about the sea."]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("the answer was cut"), "{}", ended.stderr);
}

/// Two at once share the folder of states: the second says that it goes without.
#[test]
fn a_second_one_at_the_same_time_works_too() {
    let user = User::new();
    let mut first = user.command(&["chat"]);
    first.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut first = first.spawn().expect("the program starts");
    wait_for(&user.home.path().join(".cache/dwarfstar/kv"));
    let second = user.run(&["chat", "--nothink", "--temp", "0", "-p", "hello"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert!(second.stderr.contains("not kept on disk"), "{}", second.stderr);
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
}

fn wait_for(folder: &Path) {
    for _ in 0..1000 {
        if folder.is_dir() && fs::read_dir(folder).is_ok_and(|entries| entries.count() > 0) {
            return std::thread::sleep(std::time::Duration::from_millis(200));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{}: never made", folder.display());
}

/// Commands do not read what the program keeps of other projects.
#[test]
fn commands_read_nothing_that_is_kept_of_others() {
    let user = User::new();
    let kept = user.home.path().join("s/dwarfstar");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("x"), "of another project").unwrap();
    fs::write(user.home.path().join("s/y"), "of anybody").unwrap();
    let output = |path: &str| {
        let prompt = format!("run `cat ../s/{path}`");
        let args = ["agent", "--json", "--nothink", "--temp", "0", "--mode", "full", "-p", &prompt];
        let mut command = user.command(&args);
        command.env("XDG_STATE_HOME", user.home.path().join("s"));
        let ended = ended_as(command.output().expect("the program starts"));
        ended.text().to_owned()
    };
    assert!(output("y").contains("of anybody"));
    let hidden = output("dwarfstar/x");
    assert!(hidden.contains("Permission denied") && !hidden.contains("of another"), "{hidden}");
}
