//! Conversations in files: gone on with, listed, copied, damaged, shared.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agent::event::{Past, TurnEnd};
use agent::gate::Keeper;
use agent::sessions::Folder;
use agent::{Event, Open, Settings, Thinking};

use crate::script::Script;
use crate::support::{Held, Small, block, done, kept_in, read, start};

const CONTEXT: usize = 8192;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn opened(held: &Held) -> (String, Vec<Past>) {
    let opened = held.events.iter().rev().find_map(|event| match event {
        Event::Opened { title, history } => Some((title.clone(), history.clone())),
        _ => None,
    });
    opened.expect("another conversation was opened")
}

fn last(folder: &Path) -> Settings {
    Settings { open: Open::Last, ..kept_in(folder) }
}

/// The same tokens and the same words after a restart, also of what the model is still owed.
#[test]
fn a_conversation_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let call = format!("Look.{}", block(&[("read", &[("path", "a")])]));
    let script = Script::new(CONTEXT, &["Hi.", &call, &call, &call, &call]);
    let mut held = start(script.clone(), vec![read()], kept_in(folder.path()));
    held.ask("hello");
    assert!(matches!(held.ask("look").0, TurnEnd::Failed(_)));
    let tokens = held.status().tokens;
    held.quit();
    script.add(&["Yes."]);
    let mut again = start(script.clone(), vec![read()], last(folder.path()));
    assert_eq!(again.status().tokens, tokens);
    let (title, history) = opened(&again);
    assert_eq!((title.as_str(), &history[0]), ("hello", &Past::Prompt("hello".to_owned())));
    assert_eq!(history.iter().filter(|past| matches!(past, Past::Call { .. })).count(), 4);
    again.ask("well?");
    let asked = script.asked();
    let (before, now) = (&asked[asked.len() - 2], &asked[asked.len() - 1]);
    assert!(now.prompt.starts_with(&before.prompt) && now.cached >= before.prompt.len());
    let owed = "<｜User｜><tool_result>content of a</tool_result>\n\nwell?<｜Assistant｜>";
    assert!(now.text.contains(owed), "{}", now.text);
}

#[test]
fn looking_in_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let held = start(Script::new(CONTEXT, &[]), vec![], kept_in(folder.path()));
    held.quit();
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_line_that_was_cut_off_is_passed_over_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new(CONTEXT, &["One.", "Two.", "Three."]);
    let mut held = start(script.clone(), vec![], kept_in(folder.path()));
    held.ask("first");
    held.quit();
    let file = files(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut broken = fs::OpenOptions::new().append(true).open(&file).unwrap();
    broken.write_all(b"{\"tokens\":{\"kind\":\"prompt\",\"ids\":[1,2,").unwrap();
    let mut again = start(script.clone(), vec![], last(folder.path()));
    again.ask("second");
    again.quit();
    let text = fs::read(&file).unwrap();
    assert!(text.starts_with(&whole), "what was whole is untouched");
    let mut again = start(script.clone(), vec![], last(folder.path()));
    again.ask("third");
    again.quit();

    let text = String::from_utf8(fs::read(&file).unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cases: [(usize, String, &str); 6] = [
        (0, lines[0].replace("conversation\":1", "conversation\":2"), "version 2"),
        (0, "[]".to_owned(), "line 1"),
        (3, "nonsense".to_owned(), "line 4"),
        (3, "{\"tokens\":{\"kind\":\"answer\",\"ids\":[4608]}}".to_owned(), "token 4608"),
        (3, "{\"surprise\":1}".to_owned(), "surprise"),
        (lines.len() - 1, "\"restarted\"".to_owned(), "does not begin with instructions"),
    ];
    let id = file.file_stem().unwrap().to_str().unwrap();
    for (at, line, expected) in cases {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[at] = &line;
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let settings = Settings { open: Open::Id(id.to_owned()), ..kept_in(folder.path()) };
        // A file that is no conversation is not listed, so it is not found either.
        let Err(error) = agent::Agent::start(script.clone(), vec![], settings) else {
            panic!("{line}: it started")
        };
        let expected = if at == 0 { "there is no such conversation" } else { expected };
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
}

/// A crash while the model answers: what was asked is there, and is ended properly.
#[test]
fn an_answer_that_never_came_is_ended() {
    for (thinking, opened) in [(Thinking::On, "<think></think>"), (Thinking::Off, "</think>")] {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::new(CONTEXT, &["Hm.</think>One."]);
        let settings = |open| Settings { open, thinking, ..kept_in(folder.path()) };
        let mut held = start(script.clone(), vec![], settings(Open::New));
        held.ask("first");
        held.quit();
        let file = files(folder.path()).remove(0);
        let text = fs::read_to_string(&file).unwrap();
        let answer = text.find("{\"tokens\":{\"kind\":\"answer\"").expect("an answer");
        fs::write(&file, &text[..answer + 30]).unwrap();
        script.add(&["Two.</think>"]);
        let mut again = start(script.clone(), vec![], settings(Open::Last));
        again.ask("second");
        let asked = script.asked().pop().unwrap().text;
        let ended = format!("first<｜Assistant｜>{opened}<｜end▁of▁sentence｜><｜User｜>second");
        assert!(asked.contains(&ended), "{asked}");
    }
}

#[test]
fn two_do_not_write_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new(CONTEXT, &["One.", "Two."]);
    let mut held = start(script.clone(), vec![], kept_in(folder.path()));
    held.ask("first");
    let refused = agent::Agent::start(script.clone(), vec![], last(folder.path()));
    let Err(error) = refused else { panic!("it started") };
    assert!(error.to_string().contains("open in another dwarfstar"), "{error}");
    let mut other = start(script, vec![], kept_in(folder.path()));
    other.ask("other");
    let listed = Folder::open(folder.path()).unwrap().list(None).unwrap();
    let first = listed.iter().find(|listed| listed.title == "first").expect("it is listed");
    let answer = other.command(&format!("/switch {}", first.id));
    assert!(answer.contains("open in another dwarfstar"), "{answer}");
    assert_eq!(other.status().title, "other", "it stays where it was");
    let answer = other.command(&format!("/del {}", first.id));
    assert!(answer.contains("open in another dwarfstar"), "{answer}");
    held.quit();
    let answer = other.command(&format!("/del {}", &first.id[..6]));
    assert!(answer.contains("removed"), "{answer}");
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn conversations_are_named_listed_switched_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join(".git")).unwrap();
    fs::write(tree.path().join(".git/HEAD"), "ref: refs/heads/topic\n").unwrap();
    let script = Script::new(CONTEXT, &["One.", "Two.", "Three.", "Four."]);
    let settings = Settings { tree: tree.path().to_owned(), ..kept_in(folder.path()) };
    let mut held = start(script.clone(), vec![], settings);
    assert!(held.command("/list").contains("no conversations"));
    assert!(held.command("/save").contains("nothing to keep"));
    held.ask("first | one");
    assert!(held.command("/save better name").contains("better name"));
    assert_eq!(held.status().title, "better name");
    held.command("/new");
    assert_eq!((held.status().title.as_str(), opened(&held).1.len()), ("new conversation", 0));
    held.ask("second");
    let list = held.command("/list");
    let rows: Vec<&str> = list.lines().skip(2).collect();
    assert_eq!(rows.len(), 2, "{list}");
    let row = rows.iter().find(|row| row.contains("better name")).expect("a row");
    assert!(row.contains("| now |") && row.contains("| topic |"), "{row}");
    let id = row.split('|').nth(2).unwrap().trim().to_owned();
    held.command(&format!("/switch {}", &id[..5]));
    assert_eq!(held.status().title, "better name");
    assert_eq!(opened(&held).1.len(), 2);
    assert!(held.command(&format!("/switch {id}")).contains("this is that"));
    assert!(held.command("/switch 0x").contains("no such conversation"));
    assert!(held.command("/switch").contains("which conversation"));
    assert!(held.command("/fork").contains("from now on"));
    held.ask("in the copy");
    assert_eq!(held.status().title, "better name (fork)");
    held.command("/resume");
    held.command(&format!("/switch {id}"));
    assert_eq!(opened(&held).1.len(), 2, "the original is as it was");
    held.ask("in the original");
    let asked = script.asked();
    assert!(!asked[3].text.contains("in the copy"), "{}", asked[3].text);
    assert!(asked[3].text.contains("first | one"), "{}", asked[3].text);
    assert_eq!(files(folder.path()).len(), 3);
    // Another tree has its own list.
    let mut other = start(script, vec![], kept_in(folder.path()));
    assert!(other.command("/list").contains("no conversations"));
    assert_eq!(other.command("/list all").lines().count(), 5);
}

/// Turns whose files could be put back, by name.
struct Files(Arc<Mutex<Vec<String>>>);

impl Keeper for Files {
    fn turn_begins(&mut self, turn: &str) {
        self.0.lock().unwrap().push(turn.to_owned());
    }

    fn undo_turn(&mut self, turn: &str, force: bool) -> Result<Vec<String>, String> {
        let mut turns = self.0.lock().unwrap();
        match turns.pop_if(|last| last == turn) {
            Some(_) => Ok(vec!["restored a.txt".to_owned()]),
            None if force => Ok(vec!["wrote over b.txt".to_owned()]),
            None => Err("b.txt was changed since; /undo force writes over it".to_owned()),
        }
    }
}

#[test]
fn a_turn_is_taken_back_with_its_files_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new(CONTEXT, &["One.", "Two.", "Three."]);
    let turns: Arc<Mutex<Vec<String>>> = Arc::default();
    let keeper = |turns: &Arc<Mutex<Vec<String>>>| -> Option<Box<dyn Keeper>> {
        Some(Box::new(Files(turns.clone())))
    };
    let settings = Settings { keeper: keeper(&turns), ..kept_in(folder.path()) };
    let mut held = start(script.clone(), vec![], settings);
    held.ask("first");
    let before = held.status().tokens;
    held.ask("second");
    let answer = held.command("/undo");
    assert!(answer.contains("- restored a.txt"), "{answer}");
    assert_eq!(held.status().tokens, before);
    assert_eq!(opened(&held).1.len(), 2);
    held.quit();
    let settings = Settings { keeper: keeper(&turns), ..last(folder.path()) };
    let mut again = start(script.clone(), vec![], settings);
    assert_eq!(again.status().tokens, before);
    assert!(again.command("/undo").contains("- restored a.txt"), "the first turn, by its name");
    again.ask("third");
    assert!(!script.asked()[2].text.contains("second"), "{}", script.asked()[2].text);
    turns.lock().unwrap().clear();
    let held = again.status().tokens;
    let answer = again.command("/undo");
    assert!(answer.contains("b.txt was changed since"), "{answer}");
    assert_eq!(again.status().tokens, held, "nothing was taken back");
    assert!(again.command("/undo force").contains("- wrote over b.txt"));
    assert!(again.status().tokens < held);
}

#[test]
fn a_conversation_is_exported_and_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    let call = format!("Look.{}", block(&[("read", &[("path", "a")])]));
    let script = Script::new(CONTEXT, &[&call, "I see.", "Two.", "From a file."]);
    let settings = Settings { tree: tree.path().to_owned(), ..kept_in(folder.path()) };
    let mut held = start(script.clone(), vec![read()], settings);
    held.ask("look at a");
    held.ask("second");
    assert!(held.command("/export talk.md").contains("Written to"));
    assert!(held.command("/export talk.md").contains("is there already"));
    let text = fs::read_to_string(tree.path().join("talk.md")).unwrap();
    let begins = "# look at a\n\n## Prompt\n\nlook at a\n\nLook.\n\n**read**\n\n```json\n";
    assert!(text.starts_with(begins), "{text}");
    assert!(text.contains("```\ncontent of a\n```") && text.ends_with("Two.\n\n"), "{text}");
    let shown = held.command("/history 1");
    assert_eq!(shown, "## Prompt\n\nsecond\n\nTwo.\n\n");
    assert!(held.command("/history x").contains("expected a number"));
    fs::write(tree.path().join("q.txt"), "what?\n").unwrap();
    held.wish(agent::Wish::Command("/read q.txt".to_owned()));
    assert_eq!(held.end_of_turn().0, TurnEnd::Done);
    assert!(script.asked().pop().unwrap().text.contains("<｜User｜>what?<｜Assistant｜>"));
    assert!(held.command("/read nothing").contains("could not read it"));
    assert!(held.command("/strip").contains("checkpoints on disk"));
}

/// A disk that is gone does not end the conversation.
#[test]
fn what_cannot_be_kept_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let script = Script::new(CONTEXT, &["One.", "Two."]);
    let mut held = start(script, vec![], kept_in(&inner));
    fs::remove_dir(&inner).unwrap();
    assert_eq!(held.ask("first").0, TurnEnd::Done);
    assert_eq!(held.ask("second").0, TurnEnd::Done);
    let told = held.notices();
    assert_eq!(told.iter().filter(|line| line.contains("is not kept")).count(), 1, "{told:?}");
}

/// A crash between two calls: what the first one gave is told to the model, and that the second one
/// may have been done.
#[test]
fn results_outlive_a_crash() {
    let (folder, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let calls = block(&[("read", &[("path", "a")]), ("hang", &[]), ("read", &[("path", "b")])]);
    let script = Script::new(CONTEXT, &[&calls, "Fine."]);
    let hang = Small::new("hang", &[], |_, _, stop| {
        while !stop.is_stopped() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        done("stopped")
    });
    let tools = || vec![read(), Small::new("hang", &[], |_, _, _| done("")).boxed()];
    let mut held = start(script.clone(), vec![read(), hang.boxed()], kept_in(folder.path()));
    held.wish(agent::Wish::Prompt("look".to_owned()));
    held.until(|event| matches!(event, Event::ToolBegan { call: 1, .. }));
    // What a crash would leave now.
    let file = files(folder.path()).remove(0);
    fs::copy(&file, crashed.path().join(file.file_name().unwrap())).unwrap();
    held.wish(agent::Wish::Stop);
    held.end_of_turn();
    held.quit();
    for _ in 0..2 {
        // Looking in twice owes nothing twice.
        start(script.clone(), tools(), last(crashed.path())).quit();
    }
    let mut again = start(script.clone(), tools(), last(crashed.path()));
    assert_eq!(again.ask("and?").0, TurnEnd::Done);
    let asked = script.asked().pop().unwrap().text;
    let results: Vec<&str> = asked.split("<tool_result>").skip(1).collect();
    assert_eq!(results.len(), 3, "{asked}");
    assert!(results[0].starts_with("content of a</tool_result>"), "{asked}");
    assert!(results[1..].iter().all(|text| text.contains("is not known: look before")), "{asked}");
}
