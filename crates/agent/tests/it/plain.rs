//! Conversations without a terminal: what scripts read, and how runs end.

use std::io;
use std::path::Path;
use std::sync::Arc;

use agent::event::TurnEnd;
use agent::plain::{Plain, run};
use agent::tools::Tool;
use agent::{Agent, Model, Open, Settings, Thinking, instructions};
use serde_json::Value;

use crate::nano::{serve, tools};
use crate::script::Script;
use crate::support::{TestGate, block, kept_in, read, settings};

/// What a run has written, and how its last turn ended.
struct Ran {
    out: String,
    notes: String,
    end: Option<TurnEnd>,
}

fn ran(
    model: Arc<dyn Model>,
    tools: Vec<Box<dyn Tool>>,
    settings: Settings,
    plain: Plain,
    prompts: &[&str],
) -> Ran {
    let agent = Agent::start(model, tools, settings).expect("an agent");
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let prompts = prompts.iter().map(|prompt| Ok((*prompt).to_owned()));
    let end = run(agent, prompts, (&mut out, &mut notes), plain, || false).expect("it writes");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { out: text(out), notes: text(notes), end }
}

const TEXT: Plain = Plain { json: false, quiet: false };
const JSON: Plain = Plain { json: true, quiet: false };

#[test]
fn answers_and_notes_go_to_different_streams() {
    let call = format!("I look.{}", block(&[("read", &[("path", "a\u{1b}[31m")])]));
    let script = Script::new(
        8192,
        &["Hm.</think>Hello.", &format!("Yes.</think>{call}"), "No.</think>Done."],
    );
    let settings = Settings { thinking: Thinking::On, ..settings() };
    let done = ran(script, vec![read()], settings, TEXT, &["hi", "", "look", "/stats", "/wrong"]);
    assert_eq!(done.end, Some(TurnEnd::Done));
    let (said, stats) = done.out.split_at(done.out.find("- read").unwrap());
    assert_eq!(said, "Hello.\nI look.\nDone.\n");
    assert!(stats.contains("- calls: 1\n"), "{stats}");
    let notes = "read: read a\u{fffd}[31m\nthere is no command /wrong; /help lists them\n";
    assert_eq!(done.notes, notes);
}

#[test]
fn what_would_need_a_yes_is_refused_and_says_which_flag_allows_it() {
    let call = block(&[("read", &[("path", "a")])]);
    let script = Script::new(8192, &[&call, "Then not."]);
    let gate = || Box::new(TestGate::asking());
    let settings_of = || Settings { gate: gate(), ..settings() };
    let done = ran(script.clone(), vec![read()], settings_of(), TEXT, &["read a"]);
    assert_eq!((done.end, done.out.as_str()), (Some(TurnEnd::Done), "Then not.\n"));
    assert!(done.notes.contains("refused: read a: a test asks; --mode auto-edit or --mode full"));
    let asked = script.asked().pop().unwrap().text;
    assert!(asked.contains("nobody can be asked here"), "{asked}");
    script.add(&[&call, "Then not."]);
    let done = ran(script, vec![read()], settings_of(), JSON, &["read a"]);
    let refused = events(&done.out).into_iter().find(|event| event["event"] == "refused");
    assert_eq!(refused.expect("an event")["reason"], "a test asks");
}

#[test]
fn a_run_ends_at_the_first_turn_that_fails() {
    let script = Script::new(8192, &["One.", "a long answer", "never asked for"]);
    let settings = Settings { answer_tokens_max: 3, ..settings() };
    let done = ran(script.clone(), vec![], settings, TEXT, &["1", "2", "3"]);
    assert_eq!(done.end, Some(TurnEnd::Length));
    assert!(done.notes.contains("the answer was cut"), "{}", done.notes);
    assert_eq!(script.left(), 1);
}

/// A file that is read as a prompt is a turn too, and is waited for.
#[test]
fn a_command_that_asks_something_is_waited_for() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("q.txt"), "what?").unwrap();
    let script = Script::new(8192, &["That.", "This."]);
    let settings = Settings { tree: tree.path().to_owned(), ..settings() };
    let done = ran(script, vec![], settings, TEXT, &["/read q.txt", "and?"]);
    assert_eq!((done.end, done.out.as_str()), (Some(TurnEnd::Done), "That.\nThis.\n"));
}

#[test]
fn a_stop_ends_the_turn_and_the_run() {
    let script = Script::new(8192, &["One.\u{23f8}", "never asked for"]);
    let agent = Agent::start(script.clone(), vec![], settings()).expect("an agent");
    let (mut out, mut notes, mut looks) = (Vec::new(), Vec::new(), 0);
    let prompts = ["1", "2"].map(|prompt| Ok(prompt.to_owned()));
    // The first looks are at the beginning and at what was said.
    let stop = || {
        looks += 1;
        looks > 12
    };
    let end = run(agent, prompts, (&mut out, &mut notes), TEXT, stop).expect("it writes");
    assert_eq!((end, script.left()), (Some(TurnEnd::Stopped), 1));
}

/// A reader that goes away ends the run, and the agent with it.
#[test]
fn a_closed_output_ends_the_run() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let script = Script::new(8192, &["One.", "Two."]);
    let agent = Agent::start(script.clone(), vec![], settings()).expect("an agent");
    let prompts = ["1", "2"].map(|prompt| Ok(prompt.to_owned()));
    let mut notes = Vec::new();
    let ended = run(agent, prompts, (&mut Closed, &mut notes), TEXT, || false);
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(script.left(), 1);
}

fn events(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

/// What a coding agent does, done by Nano with the real instructions: files are made, read,
/// changed, listed and searched, commands run.
#[test]
fn nano_works_in_a_folder() {
    let (work, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = work.path().canonicalize().unwrap();
    let service = serve(8192, None);
    let open = |open| Settings {
        system: instructions::system(Path::new("project"), Path::new("project"), None, &[]),
        reminder: Some(instructions::reminder()),
        open,
        ..kept_in(kept.path())
    };
    let work_on = |open, prompts: &[&str]| {
        let model = Arc::new(service.handle());
        let done = ran(model, tools(&folder), open, JSON, prompts);
        assert_eq!(done.end, Some(TurnEnd::Done), "{}", done.out);
        events(&done.out)
    };
    let calls = |events: &[Value], tool: &str| {
        let begun = events.iter().filter(|event| event["event"] == "call_began");
        begun.filter(|event| event["tool"] == tool).count()
    };
    let shown = |events: &[Value]| {
        let ended = events.iter().filter(|event| event["event"] == "tool_ended");
        ended
            .map(|event| event["shown"]["text"].as_str().unwrap_or("").to_owned())
            .collect::<String>()
    };
    let made = work_on(open(Open::New), &["create the file notes.txt with the text: hello world"]);
    assert_eq!(calls(&made, "write"), 1);
    let text = std::fs::read_to_string(folder.join("notes.txt")).unwrap();
    assert!(text.contains("hello world"), "{text}");
    let read = work_on(open(Open::Last), &["read notes.txt"]);
    assert!(calls(&read, "read") >= 1 && shown(&read).contains("hello world"));
    let edited = work_on(open(Open::Last), &["replace hello with goodbye in notes.txt"]);
    assert!(calls(&edited, "edit") >= 1);
    let text = std::fs::read_to_string(folder.join("notes.txt")).unwrap();
    assert!(text.contains("goodbye world"), "{text}");
    let run = work_on(open(Open::New), &["run `echo hi`"]);
    assert!(calls(&run, "bash") >= 1 && shown(&run).contains("hi\n"));
    let listed = work_on(open(Open::New), &["list the files in ."]);
    assert!(calls(&listed, "list") >= 1 && shown(&listed).contains("notes.txt"));
    let found = work_on(open(Open::New), &["search for goodbye in ."]);
    assert!(calls(&found, "search") >= 1 && shown(&found).contains("notes.txt"));
    let opened = read.iter().find(|event| event["event"] == "opened").expect("it was resumed");
    assert_eq!(opened["turns"], 1);
}
