//! The chat prompt: what is written for events, looked at as a terminal shows it, and the whole of
//! it in a terminal of its own.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, io, thread};

use agent::chat::{self, Look, Paper};
use agent::event::{Cost, Event, Past, Status, TurnEnd, Wish};
use agent::paint::Ansi;
use agent::terminal::Signals;
use portable_pty::CommandBuilder;
use proptest::prelude::*;
use text::Event as Said;

use crate::pty::Pty;

const PLAY: &str = "DWARFSTAR_TEST_PLAY";

fn said(text: &str) -> Event {
    Event::Said(Said::Text(text.into()))
}

fn reasoning(text: &str) -> Event {
    Event::Said(Said::Reasoning(text.into()))
}

fn turn_ended(end: TurnEnd) -> Event {
    let cost = Cost {
        read: 120,
        prefill: Duration::from_millis(100),
        written: 50,
        decode: Duration::from_secs(1),
        ..Cost::default()
    };
    Event::TurnEnded { end, cost }
}

fn turn() -> Vec<Event> {
    let mut events = vec![
        Event::TurnBegan { prompt: "Hi".into(), queued: 0 },
        Event::Prefill { done: 20, total: 120 },
        Event::Prefill { done: 120, total: 120 },
    ];
    let thought = "They greet me, so I should greet them, too, with one list and code.";
    events.extend(thought.split_inclusive(' ').map(reasoning));
    events.push(Event::Said(Said::ReasoningEnd));
    let answer = "Hello **there**! This is a sentence that has to be broken.\n\n- one `item`\n- \
        another\n\n```rust\nfn main() {\n    let x = 1;\n}\n```\n\nThat is *all*.";
    events.extend(answer.split_inclusive(' ').map(said));
    events.push(Event::Said(Said::Finish(text::FinishReason::Stop)));
    events.push(turn_ended(TurnEnd::Done));
    events
}

fn written(look: &Look, events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut paper = Paper::new(&mut bytes, look);
    paper.set_size(40, 30).unwrap();
    events.iter().for_each(|event| paper.event(event).unwrap());
    paper.rest().unwrap();
    bytes
}

/// Ctrl+C was pressed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The program is to end.
static ENDED: AtomicBool = AtomicBool::new(false);

/// What a terminal shows of bytes.
fn shown(bytes: &[u8]) -> String {
    let size = |n| NonZeroU16::new(n).unwrap();
    let mut parser = vt100::Parser::new(size(30), size(40), 0);
    parser.process(bytes);
    parser.screen().contents()
}

#[test]
fn a_turn_on_a_terminal() {
    insta::assert_snapshot!("turn", shown(&written(&Look::default(), &turn())));
    let hidden = Look { reasoning: false, ..Look::default() };
    insta::assert_snapshot!("turn_reasoning_hidden", shown(&written(&hidden, &turn())));
}

#[test]
fn how_far_reading_is_and_that_it_thinks() {
    let look = Look { reasoning: false, ..Look::default() };
    let mut events = turn();
    events.truncate(2);
    let screen = shown(&written_open(&look, &events));
    let (read, unread) = ("\u{2588}".repeat(2), "\u{2591}".repeat(8));
    assert_eq!(screen, format!("reading {read}{unread} 20/120"));
    events.push(reasoning("one two thr"));
    events.push(reasoning("ee four"));
    assert_eq!(shown(&written_open(&look, &events)), "\u{25b8} thinks, 4 words");
}

/// The same while the turn goes on.
fn written_open(look: &Look, events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut paper = Paper::new(&mut bytes, look);
    paper.set_size(40, 30).unwrap();
    events.iter().for_each(|event| paper.event(event).unwrap());
    drop(paper);
    bytes
}

#[test]
fn without_moves_every_row_is_written_once_and_shows_the_same() {
    let look = Look { moves: false, ..Look::default() };
    let bytes = written(&look, &turn());
    assert_eq!(shown(&bytes), shown(&written(&Look::default(), &turn())));
    let ansi = Ansi { styles: false, colours: false };
    let bytes = written(&Look { moves: false, ansi, ..Look::default() }, &turn());
    assert!(!bytes.contains(&0x1b), "no escape sequence is needed");
}

#[test]
fn text_cannot_steer_the_terminal() {
    let nasty =
        "a\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}5n\rb\u{202e}c\u{200b}d\n\n```\n\u{1b}[A\n```\n";
    let ansi = Ansi { styles: false, colours: false };
    let look = Look { moves: false, ansi, ..Look::default() };
    let events = [
        reasoning(nasty),
        Event::Said(Said::ReasoningEnd),
        said(nasty),
        Event::Notice(nasty.into()),
        Event::Answer(nasty.into()),
        Event::Opened { title: nasty.into(), history: vec![Past::Prompt(nasty.into())] },
        turn_ended(TurnEnd::Failed(nasty.into())),
    ];
    let text = String::from_utf8(written(&look, &events)).unwrap();
    let bad = |c: char| (c.is_control() && !matches!(c, '\r' | '\n')) || c == '\u{202e}';
    assert!(!text.contains(bad), "{text:?}");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
}

#[test]
fn a_notice_waits_for_the_end_of_a_text() {
    let notice = Event::Notice("the disk is full".into());
    let events = [said("```\none\n"), notice, said("two\n```\n"), turn_ended(TurnEnd::Done)];
    let screen = shown(&written(&Look::default(), &events));
    assert!(screen.contains("  one\n  two\n\nthe disk is full\n\nread"), "{screen}");
}

/// What is left of bytes without the sequences that the paper itself writes.
fn without_own(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut parts = text.split('\u{1b}');
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = part.strip_prefix('[').expect("a sequence");
        let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';').expect("its end");
        assert!(matches!(&inside[end..end + 1], "m" | "A" | "J"), "{part:?}");
        left.push_str(&inside[end + 1..]);
    }
    left
}

proptest! {
    #[test]
    fn whatever_happens_no_text_steers_the_terminal(
        events in prop::collection::vec((crate::screen::event(), 1usize..60), 0..50),
    ) {
        let mut bytes = Vec::new();
        let mut paper = Paper::new(&mut bytes, &Look::default());
        for (event, width) in &events {
            paper.set_size(*width, 10).unwrap();
            paper.event(event).unwrap();
        }
        paper.rest().unwrap();
        drop(paper);
        let left = without_own(&bytes);
        let bad = |c: char| c.is_control() && !matches!(c, '\r' | '\n');
        prop_assert!(!left.contains(bad), "{left:?}");
    }
}

fn start() -> Pty {
    let mut command = CommandBuilder::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "chat::inside_a_terminal"]);
    command.env(PLAY, "chat");
    Pty::start(command, 60, 24)
}

#[test]
#[ignore = "the program that the test below starts; by itself it does nothing"]
fn inside_a_terminal() {
    if env::var(PLAY).is_err() {
        return;
    }
    let (wishes, wanted) = mpsc::channel();
    let (tell, events) = mpsc::sync_channel(64);
    thread::spawn(move || loop_behind(&wanted, &tell));
    let commands = vec![("stats".to_owned(), "figures".to_owned())];
    let look = Look { commands, ..Look::default() };
    let signals = Signals { interrupted: &INTERRUPTED, ended: &ENDED };
    chat::run(&wishes, &events, look, io::stdout(), signals).unwrap();
    println!("the prompt is gone");
}

fn loop_behind(wanted: &mpsc::Receiver<Wish>, tell: &mpsc::SyncSender<Event>) {
    let status = || Event::Status(Status::default());
    tell.send(status()).unwrap();
    for wish in wanted {
        let events = match wish {
            // A turn that only ends when it is stopped.
            Wish::Prompt(prompt) if prompt == "endless" => {
                tell.send(Event::TurnBegan { prompt, queued: 0 }).unwrap();
                tell.send(said("on and on")).unwrap();
                INTERRUPTED.store(true, Ordering::Relaxed);
                continue;
            }
            Wish::Stop => vec![turn_ended(TurnEnd::Stopped)],
            Wish::Prompt(prompt) => {
                let mut events = turn();
                events.insert(1, Event::Notice(format!("heard {prompt:?}")));
                events
            }
            Wish::Command(line) => vec![Event::Answer(format!("`{line}` it **is**"))],
            _ => break,
        };
        events.into_iter().chain([status()]).for_each(|event| tell.send(event).unwrap());
    }
    tell.send(Event::Closed).unwrap();
}

#[test]
fn a_conversation_in_a_terminal() {
    let mut pty = start();
    pty.wait_for("> ");
    pty.keys("hello \\\r");
    pty.keys("you\r");
    let screen = pty.wait_for("wrote 50");
    assert!(screen.contains("heard \"hello \\nyou\""), "{screen}");
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
    pty.keys("/st\t\r");
    pty.wait_for("/stats it is");
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
    pty.paste("one\ntwo");
    pty.keys("\r");
    pty.wait_for("heard \"one\\ntwo\"");
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
    pty.keys("endless\r");
    pty.wait_for("stopped");
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
    pty.keys("/reasoning\r");
    pty.wait_for("reasoning is hidden from now on");
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
    pty.keys("\u{3}");
    pty.wait_for("Ctrl+D or /quit ends");
    pty.keys("\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A\r");
    pty.wait_for("thought, 14 words");
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
    pty.keys("\u{4}");
    assert!(pty.end().success());
    assert!(pty.shown().contains("the prompt is gone"), "{}", pty.shown());
}
