//! The full screen without a terminal: conversations are played, and the cells looked at.

use std::time::Duration;

use agent::event::{Consent, Cost, Event, Past, Shown, Status, TurnEnd, Verdict, Wish};
use agent::screen::{INPUT_BYTES_MAX, Look, View};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use text::Event as Said;

fn look() -> Look {
    let commands = [
        ("compact", "sum the conversation up"),
        ("list", "list conversations"),
        ("stats", "what was read and written"),
        ("strip", "forget the state on disk"),
        ("switch", "go to another conversation"),
    ];
    let commands = commands.map(|(name, what)| (name.to_owned(), what.to_owned()));
    Look { commands: commands.into(), ..Look::default() }
}

/// A screen that is played on.
struct Play {
    view: View,
    now: Duration,
}

impl Play {
    fn new() -> Play {
        let mut view = View::new(look());
        view.apply(Event::Status(Status {
            title: "tidy the house".into(),
            tokens: 23_456,
            context: 100_000,
            speed: 41.3,
            queued: 0,
            branch: Some("main".into()),
            thinking: "think".into(),
            mode: "ask".into(),
            protection: "landlock + seccomp".into(),
        }));
        Play { view, now: Duration::ZERO }
    }

    fn on(mut self, events: impl IntoIterator<Item = Event>) -> Play {
        events.into_iter().for_each(|event| self.view.apply(event));
        self
    }

    /// Keys: characters as they are, `<Enter>`, `<C-c>`, `<A-Enter>` and the like between.
    fn keys(&mut self, keys: &str) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let key = match named {
                Some((name, after)) => {
                    rest = after;
                    named_key(name)
                }
                None => {
                    rest = &rest[c.len_utf8()..];
                    KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)
                }
            };
            wishes.extend(self.view.key(key, self.now));
            self.now += Duration::from_millis(50);
        }
        wishes
    }

    fn typed(mut self, keys: &str) -> Play {
        self.keys(keys);
        self
    }

    fn cells(&mut self, width: u16, height: u16) -> (Buffer, Option<Position>) {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        let cursor = self.view.draw(area, &mut buffer);
        self.view.drawn(self.now);
        (buffer, cursor)
    }

    /// The screen as text between two lines, the cursor as a block.
    fn shown(&mut self, width: u16, height: u16) -> String {
        let (mut buffer, cursor) = self.cells(width, height);
        if let Some(cell) = cursor.and_then(|at| buffer.cell_mut(at)) {
            cell.set_symbol("\u{2588}");
        }
        rows(&buffer).join("\n")
    }
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    (0..area.height)
        .map(|y| {
            let mut row = String::new();
            let mut x = 0;
            while x < area.width {
                let symbol = buffer[(x, y)].symbol();
                row.push_str(symbol);
                x += unicode_width(symbol).max(1);
            }
            row.trim_end().to_owned()
        })
        .collect()
}

fn unicode_width(symbol: &str) -> u16 {
    agent::paint::columns(symbol) as u16
}

fn named_key(name: &str) -> KeyEvent {
    let (modifiers, name) = match name.split_once('-') {
        Some(("C", name)) => (KeyModifiers::CONTROL, name),
        Some(("A", name)) => (KeyModifiers::ALT, name),
        Some(("S", name)) => (KeyModifiers::SHIFT, name),
        _ => (KeyModifiers::NONE, name),
    };
    let code = match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "PageUp" => KeyCode::PageUp,
        "PageDown" => KeyCode::PageDown,
        "Backspace" => KeyCode::Backspace,
        "Delete" => KeyCode::Delete,
        "F1" => KeyCode::F(1),
        _ => KeyCode::Char(name.chars().next().expect("a key")),
    };
    KeyEvent::new(code, modifiers)
}

fn began(prompt: &str) -> Event {
    Event::TurnBegan { prompt: prompt.into(), queued: 0 }
}

fn reasoning(text: &str) -> Event {
    Event::Said(Said::Reasoning(text.into()))
}

fn said(text: &str) -> Event {
    Event::Said(Said::Text(text.into()))
}

/// A call as it is sampled, complete if `whole`.
fn call(index: usize, name: &str, arguments: &str, whole: bool) -> Vec<Event> {
    let mut events = vec![
        Event::Said(Said::CallBegin { index, name: name.into() }),
        Event::Said(Said::CallArguments(arguments.into())),
    ];
    events.extend(whole.then_some(Event::Said(Said::CallEnd)));
    events
}

fn ended(call: usize, shown: Shown) -> Event {
    let took = Duration::from_millis(1_250);
    Event::ToolEnded { call, shown, failed: false, took }
}

fn turn_ended(end: TurnEnd) -> Event {
    let cost = Cost {
        read: 812,
        cached: 20_480,
        prefill: Duration::from_millis(406),
        written: 206,
        decode: Duration::from_secs(5),
        calls: 2,
    };
    Event::TurnEnded { end, cost }
}

fn consent() -> Event {
    Event::Consent(Consent {
        call: 0,
        tool: "bash".into(),
        title: "cargo test -p agent".into(),
        detail: Shown::Text("cargo test -p agent\n".into()),
        reason: "commands are asked for in this mode".into(),
        always: Some("commands that begin with `cargo test`".into()),
    })
}

const BEFORE: &str = "use std::io;\n\nfn main() -> io::Result<()> {\n    \
    let name = \"world\";\n    println!(\"hello {name}\");\n    Ok(())\n}\n";

fn change() -> Shown {
    Shown::Change {
        path: "src/main.rs".into(),
        before: Some(BEFORE.into()),
        after: BEFORE.replace("\"world\"", "\"house\"").replace("hello", "good day,"),
    }
}

#[test]
fn an_answer_that_streams_with_reasoning() {
    let play = || Play::new().on([began("What is in the house?"), reasoning("Let me think about")]);
    insta::assert_snapshot!("reasoning_80x16", play().shown(80, 16));
    let mut over = play().on([
        reasoning(" rooms.\n\nThere are several."),
        Event::Said(Said::ReasoningEnd),
        said("There are **rooms**:\n\n1. a kitchen\n2. a `cellar`\n\n"),
        said("```rust\nfn open(door: &Door) {"),
    ]);
    insta::assert_snapshot!("answer_80x20", over.shown(80, 20));
    insta::assert_snapshot!("answer_unfolded_40x20", over.typed("<C-t>").shown(40, 20));
}

#[test]
fn a_call_while_it_is_sampled() {
    let write = "{\"path\": \"src/door.rs\", \"content\": \"pub struct Door {\\n    open: bool,\\n";
    let mut play = Play::new().on([began("Make a door"), said("I make one.")]);
    play = play.on(call(0, "write", write, false));
    insta::assert_snapshot!("call_sampled_60x14", play.shown(60, 14));
    let edit = "{\"path\": \"src/main.rs\", \"old\": \"let a = 1;\\nlet b = 2;\", \
        \"new\": \"let a = 1;\\nlet c";
    let mut play = Play::new().on([began("Edit it")]).on(call(0, "edit", edit, false));
    insta::assert_snapshot!("edit_sampled_60x12", play.shown(60, 12));
}

#[test]
fn the_change_of_an_edit() {
    let arguments = "{\"path\": \"src/main.rs\"}";
    let mut play = Play::new().on([began("Be polite")]).on(call(0, "edit", arguments, true));
    play = play.on([
        Event::ToolBegan { call: 0, title: "src/main.rs".into() },
        ended(0, change()),
        turn_ended(TurnEnd::Done),
    ]);
    insta::assert_snapshot!("edit_70x20", play.shown(70, 20));
}

#[test]
fn output_runs_and_is_folded() {
    let output: String = (1..=60).map(|n| format!("line {n} of the output\n")).collect();
    let arguments = "{\"command\": \"cargo test\"}";
    let mut play = Play::new().on([began("Test it")]).on(call(0, "bash", arguments, true));
    play = play.on([
        Event::ToolBegan { call: 0, title: "cargo test".into() },
        Event::ToolOutput { call: 0, text: output.clone() },
    ]);
    insta::assert_snapshot!("output_runs_60x12", play.shown(60, 12));
    play = play.on([ended(0, Shown::Text(output))]);
    insta::assert_snapshot!("output_folded_60x20", play.shown(60, 20));
    insta::assert_snapshot!("output_unfolded_60x12", play.typed("<C-o>").shown(60, 12));
}

#[test]
fn a_question_and_its_answers() {
    let asked = || {
        let arguments = "{\"command\": \"cargo test -p agent\"}";
        let play = Play::new().on([began("Test it")]).on(call(0, "bash", arguments, true));
        let mut play = play.on([consent()]);
        let screen = play.shown(70, 18);
        play.now += Duration::from_secs(1);
        (play, screen)
    };
    insta::assert_snapshot!("consent_70x18", asked().1);
    let mut small = asked().0;
    insta::assert_snapshot!("consent_30x9", small.shown(30, 9));
    let cases = [
        ("y", Wish::Consent(0, Verdict::Once)),
        ("a", Wish::Consent(0, Verdict::Always)),
        ("n", Wish::Consent(0, Verdict::No(None))),
        ("use make<Enter>", Wish::Consent(0, Verdict::No(Some("use make".into())))),
    ];
    for (keys, wish) in cases {
        assert_eq!(asked().0.keys(keys), [wish], "{keys}");
    }
    let mut play = asked().0;
    assert_eq!(play.keys("/stats<Enter>"), [Wish::Command("/stats".into())]);
    assert_eq!(play.keys("y"), [Wish::Consent(0, Verdict::Once)], "it is still asked");
}

#[test]
fn a_letter_that_was_on_its_way_answers_nothing() {
    let mut play = Play::new().on([began("x"), consent()]);
    assert_eq!(play.keys("y"), [], "the question was never drawn");
    play.keys("<Backspace>");
    play.shown(60, 20);
    assert_eq!(play.keys("yes"), [], "within 400 ms");
    play.now += Duration::from_secs(1);
    assert_eq!(play.keys(" y"), [], "something is being typed");
    play.view.paste("y");
    assert_eq!(play.keys("<C-u>"), []);
    assert_eq!(play.keys("y"), [Wish::Consent(0, Verdict::Once)]);
}

#[test]
fn prompts_wait_and_come_back_when_the_turn_is_stopped() {
    let mut play = Play::new().on([began("first")]);
    let wishes = play.keys("second<Enter>third<A-Enter>line<Enter>fourth");
    assert_eq!(wishes, [Wish::Prompt("second".into()), Wish::Prompt("third\nline".into())]);
    play = play.on([Event::Queued { queued: 2 }]);
    insta::assert_snapshot!("queued_60x12", play.shown(60, 12));
    assert_eq!(play.keys("<Esc>"), [Wish::Stop]);
    play = play.on([turn_ended(TurnEnd::Stopped)]);
    insta::assert_snapshot!("given_back_60x12", play.shown(60, 12));
    let all = "second\nthird\nline\nfourth";
    assert_eq!(play.keys("<Enter>"), [Wish::Prompt(all.into())]);
}

#[test]
fn a_prompt_whose_turn_has_come_does_not_wait() {
    let mut play = Play::new().on([began("first")]);
    play.keys("second<Enter>");
    assert!(play.shown(60, 12).contains("waits: second"));
    play = play.on([turn_ended(TurnEnd::Done), began("second")]);
    let screen = play.shown(60, 12);
    assert!(!screen.contains("waits") && screen.contains("\u{203a} second"), "{screen}");
}

#[test]
fn narrow_and_tiny_terminals() {
    let mut play = Play::new().on([
        began("What is in the house?"),
        said("There are rooms.\n\n| a | table |\n|---|---|\n| with | several words |\n"),
        Event::Prefill { done: 3_000, total: 10_000 },
    ]);
    insta::assert_snapshot!("narrow_20x12", play.shown(20, 12));
    insta::assert_snapshot!("tiny_20x5", play.shown(20, 5));
    insta::assert_snapshot!("one_row_20x1", play.shown(20, 1));
    let mut asked = Play::new().on([consent()]).typed("words<A-Enter>of three<A-Enter>lines");
    insta::assert_snapshot!("consent_tiny_20x5", asked.shown(20, 5));
}

#[test]
fn help_is_an_overlay() {
    let mut play = Play::new();
    play.keys("?");
    insta::assert_snapshot!("help_76x30", play.shown(76, 30));
    insta::assert_snapshot!("help_scrolled_40x8", play.typed("<PageDown>").shown(40, 8));
    let mut play = Play::new();
    assert_eq!(play.keys("/help<Enter>"), [], "the screen answers itself");
    assert!(play.shown(60, 10).contains("Keys"));
    assert_eq!(play.keys("xa<Enter>"), [Wish::Prompt("a".into())], "any key ends it");
}

#[test]
fn stopping_and_quitting() {
    let mut play = Play::new().on([began("x")]);
    assert_eq!(play.keys("<C-c>"), [Wish::Stop]);
    assert!(play.shown(60, 10).contains("Ctrl+C again quits"));
    assert_eq!(play.keys("<C-c>"), [Wish::Quit]);
    assert!(!play.view.is_over(), "the loop is given time to end");
    assert!(play.shown(60, 10).contains("ending"));
    play.keys("<C-c>");
    assert!(play.view.is_over());

    let mut slow = Play::new().on([began("x")]);
    slow.keys("<C-c>");
    slow.now += Duration::from_secs(3);
    assert_eq!(slow.keys("<C-c>"), [Wish::Stop], "not within two seconds");

    let mut idle = Play::new().typed("some words");
    assert_eq!(idle.keys("<C-c>"), [], "the line is cleared");
    assert_eq!(idle.keys("a<C-d>"), [], "the line is not empty");
    assert_eq!(idle.keys("<Backspace><C-d>"), [Wish::Quit]);
    assert!(idle.on([Event::Closed]).view.is_over());
    assert_eq!(Play::new().keys("/quit<Enter>"), [Wish::Quit]);
    assert_eq!(Play::new().keys("<Esc>"), [], "nothing runs");
}

#[test]
fn commands_are_completed_and_told_from_paths() {
    let cases = [
        ("/c<Tab><Enter>", vec![Wish::Command("/compact".into())]),
        ("/s<Tab>w<Tab>2<Enter>", vec![Wish::Command("/switch 2".into())]),
        ("/stats<Enter>", vec![Wish::Command("/stats".into())]),
        ("/etc/hosts is wrong<Enter>", vec![Wish::Prompt("/etc/hosts is wrong".into())]),
        ("  <Enter>", vec![]),
    ];
    for (keys, wishes) in cases {
        assert_eq!(Play::new().keys(keys), wishes, "{keys}");
    }
    let screen = Play::new().typed("/st<Tab>").shown(60, 10);
    assert!(screen.contains("/stats  /strip"), "{screen}");
}

#[test]
fn earlier_prompts_come_back_by_the_arrow() {
    let mut play = Play::new();
    play.keys("one<Enter>two<Enter>draft");
    assert_eq!(play.keys("<Up><Up><Enter>"), [Wish::Prompt("one".into())]);
    assert_eq!(play.keys("x<Up><Down>y<Enter>"), [Wish::Prompt("xy".into())]);
}

#[test]
fn a_notice_does_not_break_what_is_coming() {
    let mut play = Play::new().on([began("x"), said("```rust\nlet a = 1;\n")]);
    play = play.on([Event::Notice("the disk is full".into()), said("let b = 2;\n```\n")]);
    let screen = play.shown(60, 14);
    assert!(screen.contains("  let a = 1;\n  let b = 2;\n\nthe disk is full"), "{screen}");
}

#[test]
fn scrolling_stays_while_more_comes_and_follows_again() {
    let lines: String = (0..200).map(|n| format!("- item {n}\n")).collect();
    let mut play = Play::new().on([began("list"), said(&lines)]);
    assert!(play.shown(40, 12).contains("item 199"));
    play.keys("<PageUp><PageUp>");
    let above = play.shown(40, 12);
    assert!(above.contains("more below") && !above.contains("item 199"), "{above}");
    play = play.on([said("- item 200\n- item 201\n")]);
    assert_eq!(play.shown(40, 12), above, "what is read does not move");
    play.keys("<C-End>");
    assert!(play.shown(40, 12).contains("item 201"));
    play.keys("<C-Home>");
    assert!(play.shown(40, 12).contains("\u{203a} list"));
    (0..60).for_each(|_| drop(play.keys("<PageDown>")));
    play = play.on([said("- item 202\n")]);
    assert!(play.shown(40, 12).contains("item 202"), "at the end it follows");
}

#[test]
fn a_conversation_is_opened_again() {
    let history = vec![
        Past::Prompt("Be polite".into()),
        Past::Reasoning("Politeness needs words.".into()),
        Past::Text("I will **change** it.".into()),
        Past::Call {
            name: "edit".into(),
            arguments: "{\"path\": \"src/main.rs\"}".into(),
            shown: change(),
            failed: false,
        },
        Past::Notice("the beginning was summed up".into()),
    ];
    let mut play = Play::new().on([began("gone")]);
    play = play.on([Event::Opened { title: "be polite".into(), history }]);
    insta::assert_snapshot!("opened_70x26", play.shown(70, 26));
    let long = (0..5_000).map(|n| Past::Text(format!("entry {n} {}", "x".repeat(500)))).collect();
    let mut play = Play::new().on([Event::Opened { title: "long".into(), history: long }]);
    assert!(play.shown(70, 26).contains("entry 4999"));
    play.keys("<C-Home>");
    assert!(play.shown(70, 26).contains("earlier entries are not shown; /history"));
}

#[test]
fn how_turns_end() {
    let cases = [
        (
            TurnEnd::Done,
            "read 812, 2000.0 t/s \u{b7} 20480 kept \u{b7} wrote 206, 41.2 t/s \u{b7} 2 calls",
        ),
        (TurnEnd::ContextFull, "the context is full; /compact makes room"),
        (TurnEnd::Failed("no such tool".into()), "no such tool"),
    ];
    for (end, expected) in cases {
        let screen = Play::new().on([began("x"), turn_ended(end)]).shown(120, 10);
        assert!(screen.contains(expected), "{screen}");
    }
}

#[test]
fn calls_that_are_not_executed_say_so() {
    let cause = text::DropCause::Malformed;
    let dropped = Event::Said(Said::CallsDropped { first: 0, sampled: "x".into(), cause });
    let mut play = Play::new().on([began("x")]).on(call(0, "read", "{\"path\": \"a", false));
    let screen = play.on([dropped]).shown(60, 12);
    assert!(screen.contains("not executed: the call broke its form"), "{screen}");
    play = Play::new().on([began("x")]).on(call(0, "read", "{\"path\": \"a\"}", true));
    let screen = play.on([turn_ended(TurnEnd::Stopped)]).shown(60, 12);
    assert!(screen.contains("stopped"), "{screen}");
}

#[test]
fn results_find_the_calls_of_their_own_answer() {
    let shown = |text: &str| Shown::Text(text.into());
    let finish = || Event::Said(Said::Finish(text::FinishReason::ToolCalls));
    let mut play = Play::new().on([began("x")]);
    play = play.on(call(0, "one", "{}", true)).on(call(1, "two", "{}", true)).on([finish()]);
    play = play.on([ended(1, shown("of two")), ended(0, shown("of one"))]);
    play = play.on(call(0, "three", "{}", true)).on([finish(), ended(0, shown("of three"))]);
    let rows: Vec<String> = play.shown(60, 20).lines().map(|row| row.trim().to_owned()).collect();
    for (name, result) in [("one", "of one"), ("two", "of two"), ("three", "of three")] {
        let at = rows.iter().position(|row| row.starts_with(&format!("\u{25cf} {name}")));
        assert_eq!(rows[at.unwrap() + 1], result);
    }
}

#[test]
fn large_pastes_are_kept_whole_up_to_the_bound() {
    let mut play = Play::new();
    let text = "some words and more\n".repeat(10_000);
    play.view.paste(&text);
    let wishes = play.keys("<Enter>");
    assert!(wishes == [Wish::Prompt(text)]);
    play.view.paste(&"x".repeat(INPUT_BYTES_MAX + 1));
    assert!(play.shown(60, 12).contains("1 MiB at most"));
}

#[test]
fn without_colours_there_are_none() {
    let look = Look { colours: false, ..look() };
    let mut play = Play { view: View::new(look), now: Duration::ZERO };
    play = play.on([began("x"), said("# A\n\n`b`\n\n```rust\nlet a = 1;\n```\n")]).on([consent()]);
    let (buffer, _) = play.cells(60, 20);
    let colour = ratatui::style::Color::Reset;
    assert!(buffer.content().iter().all(|cell| cell.fg == colour && cell.bg == colour));
}

#[test]
#[ignore = "a measurement; other work on the machine shows in it"]
fn a_mebibyte_of_text_stays_smooth() {
    let text = include_str!("markdown/long.md");
    let pieces: Vec<&str> = text.split_inclusive(' ').collect();
    let mut play = Play::new().on([began("x")]);
    let (mut bytes, mut times) = (0, Vec::new());
    for (n, piece) in pieces.iter().cycle().enumerate() {
        play.view.apply(said(piece));
        bytes += piece.len();
        // Sixteen pieces between two drawings: a thousand tokens per second.
        if n % 16 == 0 {
            let began = std::time::Instant::now();
            play.cells(120, 40);
            times.push(began.elapsed());
        }
        if bytes >= 1 << 20 {
            break;
        }
    }
    let last = &mut times.split_off(times.len() / 2);
    last.sort_unstable();
    let resized = std::time::Instant::now();
    play.cells(90, 40);
    let resized = resized.elapsed();
    let (median, most) = (last[last.len() / 2], last[last.len() - 1]);
    println!("drawing: median {median:?}, most {most:?}; after a resize {resized:?}");
    assert!(median < Duration::from_millis(10), "{median:?}");
}

#[test]
#[ignore = "a measurement; other work on the machine shows in it"]
fn a_long_conversation_is_opened_at_once() {
    let text = include_str!("markdown/long.md");
    let history = (0..1_000).flat_map(|_| {
        let shown = Shown::Text("a line of output\n".repeat(20));
        let arguments = "{\"path\": \"a/b\"}".into();
        let call = Past::Call { name: "read".into(), arguments, shown, failed: false };
        [Past::Prompt("next".into()), Past::Reasoning(text.into()), Past::Text(text.into()), call]
    });
    let history = history.collect();
    let mut play = Play::new();
    let began = std::time::Instant::now();
    play.view.apply(Event::Opened { title: "long".into(), history });
    play.cells(120, 40);
    let took = began.elapsed();
    println!("opened in {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// What may happen to a screen.
#[derive(Clone, Debug)]
enum Step {
    Event(Event),
    Key(KeyEvent),
    Paste(String),
    Size(u16, u16),
}

fn nasty() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "\u{1b}[2J",
        "\u{1b}]0;x\u{7}",
        "\u{9b}31m",
        "\r",
        "\n",
        "\t",
        "\u{202e}",
        "\u{200b}",
        "\u{301}\u{301}",
        "\u{4e2d}",
        "\u{1f468}\u{200d}\u{1f469}",
        "```rust\n",
        "| a |\n|--|\n",
        "- ",
        "{\"path\": \"",
        "\\u12",
        "word ",
        "\u{0}",
        "\u{7f}",
        "\u{feff}",
        "\u{2028}",
    ];
    let part =
        prop_oneof![3 => prop::sample::select(PARTS).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// Any event, with text that tries to steer the terminal.
pub fn event() -> impl Strategy<Value = Event> {
    let index = 0usize..3;
    let shown = prop_oneof![
        nasty().prop_map(Shown::Text),
        (nasty(), nasty()).prop_map(|(before, after)| Shown::Change {
            path: "p".into(),
            before: Some(before),
            after
        }),
    ];
    let took = Duration::from_secs(1);
    prop_oneof![
        (nasty(), index.clone()).prop_map(|(prompt, queued)| Event::TurnBegan { prompt, queued }),
        (0usize..9, 0usize..9).prop_map(|(done, total)| Event::Prefill { done, total }),
        nasty().prop_map(|text| Event::Said(Said::Reasoning(text))),
        Just(Event::Said(Said::ReasoningEnd)),
        nasty().prop_map(|text| Event::Said(Said::Text(text))),
        (index.clone(), nasty())
            .prop_map(|(index, name)| Event::Said(Said::CallBegin { index, name })),
        nasty().prop_map(|text| Event::Said(Said::CallArguments(text))),
        Just(Event::Said(Said::CallEnd)),
        Just(Event::Said(Said::Finish(text::FinishReason::ToolCalls))),
        (index.clone(), nasty(), shown.clone()).prop_map(|(call, text, detail)| Event::Consent(
            Consent {
                call,
                tool: text.clone(),
                title: text.clone(),
                detail,
                reason: text.clone(),
                always: Some(text),
            }
        )),
        (index.clone(), nasty()).prop_map(|(call, title)| Event::ToolBegan { call, title }),
        (index.clone(), nasty()).prop_map(|(call, text)| Event::ToolOutput { call, text }),
        (index, shown, any::<bool>()).prop_map(move |(call, shown, failed)| Event::ToolEnded {
            call,
            shown,
            failed,
            took
        }),
        prop::sample::select(vec![TurnEnd::Done, TurnEnd::Stopped]).prop_map(turn_ended),
        nasty().prop_map(Event::Notice),
        nasty().prop_map(Event::Answer),
        (nasty(), any::<usize>()).prop_map(|(title, tokens)| Event::Status(Status {
            title: title.clone(),
            tokens,
            context: 7,
            branch: Some(title.clone()),
            mode: title,
            ..Status::default()
        })),
        (nasty(), nasty()).prop_map(|(title, text)| Event::Opened {
            title,
            history: vec![Past::Prompt(text.clone()), Past::Text(text)]
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    const KEYS: &[&str] = &[
        "Enter",
        "A-Enter",
        "Esc",
        "Tab",
        "Up",
        "Down",
        "Left",
        "Right",
        "Home",
        "End",
        "PageUp",
        "PageDown",
        "C-Home",
        "C-End",
        "Backspace",
        "Delete",
        "F1",
        "C-c",
        "C-d",
        "C-t",
        "C-o",
        "C-k",
        "C-u",
        "C-w",
        "C-y",
        "A-b",
        "A-f",
        "A-d",
        "S-Up",
        "S-Down",
        "y",
        "a",
        "n",
        "?",
        "/",
    ];
    prop_oneof![
        6 => event().prop_map(Step::Event),
        4 => prop::sample::select(KEYS).prop_map(|name| Step::Key(named_key(name))),
        2 => any::<char>().prop_map(|c| Step::Key(KeyCode::Char(c).into())),
        1 => nasty().prop_map(Step::Paste),
        1 => (0u16..90, 0u16..30).prop_map(|(width, height)| Step::Size(width, height)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_every_cell_is_harmless(steps in prop::collection::vec(step(), 0..60)) {
        let mut play = Play::new();
        let (mut width, mut height) = (40, 12);
        for step in steps {
            match step {
                Step::Event(event) => play.view.apply(event),
                Step::Key(key) => drop(play.view.key(key, play.now)),
                Step::Paste(text) => play.view.paste(&text),
                Step::Size(w, h) => (width, height) = (w, h),
            }
            play.now += Duration::from_millis(300);
            let (buffer, cursor) = play.cells(width, height);
            for cell in buffer.content() {
                let bad = |c: char| {
                    let hidden = ['\u{feff}', '\u{2028}'].contains(&c);
                    let steers = ('\u{202a}'..='\u{202e}').contains(&c);
                    c.is_control() || hidden || steers || ('\u{200b}'..='\u{200f}').contains(&c)
                };
                prop_assert!(!cell.symbol().contains(bad), "{:?}", cell.symbol());
                prop_assert!(cell.symbol().chars().count() <= 5);
            }
            if let Some(at) = cursor {
                prop_assert!(buffer.area.contains(at), "{at:?} in {:?}", buffer.area);
            }
        }
    }
}
