//! What commands do to a conversation that is under way, and what they say.

use agent::event::TurnEnd;
use agent::{Settings, THINK_MAX_CONTEXT, Thinking};

use crate::script::Script;
use crate::support::{kept_in, read, settings, start};

const CONTEXT: usize = 8192;

/// The request to reason as hard as possible, as the model is told it.
const HARD: &str = "Reasoning Effort: Absolute maximum";

/// Mid-way it is promised to later conversations, and the status says what holds in this one.
#[test]
fn reasoning_as_hard_as_possible_begins_with_a_conversation() {
    let answers = ["Hm.</think>One.", "Hm.</think>Two.", "Hm.</think>Three.", "Four."];
    let script = Script::new(THINK_MAX_CONTEXT, &answers);
    let settings = Settings { thinking: Thinking::On, ..settings() };
    let mut held = start(script.clone(), vec![], settings);
    held.ask("one");
    let said = held.command("/think-max");
    assert!(said.contains("in this conversation as usual") && said.contains("`/new`"), "{said}");
    assert_eq!(held.status().thinking, "think", "what holds here");
    held.ask("two");
    assert_eq!(held.command("/new"), "");
    assert_eq!(held.status().thinking, "think-max");
    held.ask("three");
    let said = held.command("/think");
    assert!(said.contains("as hard as possible") && said.contains("`/new`"), "{said}");
    assert_eq!(held.status().thinking, "think-max", "it is said at the beginning, and stays");
    held.command("/nothink");
    assert_eq!(held.status().thinking, "nothink");
    held.ask("four");
    let asked = script.asked();
    let hard: Vec<bool> = asked.iter().map(|asked| asked.text.contains(HARD)).collect();
    assert_eq!(hard, [false, false, true, true]);
    // Before anything was said there is nothing to keep.
    held.command("/new");
    assert_eq!(held.command("/think-max"), "");
    assert_eq!(held.status().thinking, "think-max");
}

/// A conversation is gone on with as it began, whatever the one before it was.
#[test]
fn how_hard_to_reason_goes_with_the_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new(THINK_MAX_CONTEXT, &["Hm.</think>One.", "Hm.</think>Two."]);
    let settings = Settings { thinking: Thinking::Max, ..kept_in(folder.path()) };
    let mut held = start(script.clone(), vec![], settings);
    held.ask("hard");
    held.command("/think");
    held.command("/new");
    held.ask("usual");
    assert_eq!(held.status().thinking, "think");
    held.command("/resume");
    assert_eq!(held.status().thinking, "think-max");
    held.command("/resume");
    assert_eq!(held.status().thinking, "think");
}

#[test]
fn too_small_a_context_says_what_to_do() {
    let settings = Settings { thinking: Thinking::Max, ..settings() };
    let mut held = start(Script::new(CONTEXT, &[]), vec![], settings);
    assert_eq!(held.status().thinking, "think");
    let said = held.notices().join("\n");
    assert!(said.contains("/ctx 393216 or more (it is 8192 now)"), "{said}");
    held.command("/nothink");
    let said = held.command("/think-max");
    assert!(said.contains("/ctx 393216"), "{said}");
    assert!(held.command("/ctx").contains("of 8192 tokens"));
}

/// The context is the person's to change: not below what is there, not above what the model has.
#[test]
fn the_context_changes_under_a_conversation() {
    let mut held = start(Script::new(CONTEXT, &["One.", "Two."]), vec![], settings());
    held.ask("one");
    let tokens = held.status().tokens;
    for (line, expected) in [
        ("/ctx much", "expected a number"),
        ("/ctx 10", "/compact first"),
        ("/ctx 99999999", "99999999"),
    ] {
        let said = held.command(line);
        assert!(said.contains(expected) && held.status().context == CONTEXT, "{line}: {said}");
    }
    let said = held.command("/ctx 20000");
    assert!(said.contains("room for 20000 tokens"), "{said}");
    assert_eq!((held.status().context, held.status().tokens), (20000, tokens));
    assert_eq!(held.ask("two").0, TurnEnd::Done);
}

#[test]
fn added_instructions_hold_for_conversations_that_begin_later() {
    let script = Script::new(CONTEXT, &["One.", "Two."]);
    let mut held = start(script.clone(), vec![], settings());
    held.ask("one");
    let said = held.command("/system Speak like a pirate.");
    assert!(said.contains("This one keeps those that it began with"), "{said}");
    held.command("/new");
    held.ask("two");
    let asked = script.asked();
    assert!(!asked[0].text.contains("pirate") && asked[1].text.contains("pirate"));
}

#[test]
fn answers_are_steered_from_the_next_one_on() {
    let script = Script::new(CONTEXT, &["One.", "Two.", "Three."]);
    let mut held = start(script.clone(), vec![], settings());
    assert!(held.command("/steer").contains("ffn 0, attn 0"));
    held.ask("one");
    let said = held.command("/steer -1.5 0.5");
    assert!(said.contains("ffn -1.5, attn 0.5 from the next one on"), "{said}");
    held.ask("two");
    // What is not said stays.
    assert!(held.command("/steer 2").contains("ffn 2, attn 0.5"));
    held.ask("three");
    for wrong in ["/steer much", "/steer 1 2 3", "/steer 1 x", "/steer 101", "/steer NaN"] {
        let said = held.command(wrong);
        assert!(said.contains("expected one number") || said.contains("-100 to 100"), "{said}");
    }
    assert!(held.command("/steer").contains("ffn 2, attn 0.5"));
    let steer = |ffn, attention| engine::Steer::new(ffn, attention).ok();
    let asked: Vec<_> = script.asked().iter().map(|asked| asked.steer).collect();
    assert_eq!(asked, [None, steer(-1.5, 0.5), steer(2.0, 0.5)]);
}

/// All that the conversation ever was, with turns that were taken back; not what it shares.
#[test]
fn stripping_and_removing_forget_what_was_computed() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new(CONTEXT, &["One.", "Two, at length.", "Three."]);
    let mut held = start(script.clone(), vec![read()], kept_in(folder.path()));
    assert!(held.command("/strip").contains("nothing is computed for it yet"));
    let shared = held.status().tokens;
    held.ask("one");
    held.ask("two");
    let long = held.status().tokens;
    held.command("/undo");
    let short = held.status().tokens;
    let said = held.command("/strip");
    assert!(said.contains("2 checkpoints") && said.contains("/del ID"), "{said}");
    assert_eq!(script.forgotten(), [(long, shared), (short, shared)]);
    held.command("/save first");
    let saved = held.command("/list");
    let id = saved.lines().find(|line| line.contains("first")).unwrap();
    let id = id.split('|').nth(2).unwrap().trim().to_owned();
    assert!(held.command(&format!("/del {id}")).contains("/new first"));
    held.command("/new");
    let said = held.command(&format!("/del {id}"));
    assert_eq!(said, format!("{id} is removed, with 2 checkpoints on disk."));
    assert_eq!(script.forgotten()[2..], [(long, shared), (short, shared)]);
    assert_eq!(held.ask("three").0, TurnEnd::Done);
}

/// Files that cannot be read to their end, and files that are there.
#[test]
fn files_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().to_owned();
    let mut held = start(Script::new(CONTEXT, &["One."]), vec![], Settings { tree, ..settings() });
    assert!(held.command("/read /dev/zero").contains("expected a file"));
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    let said = held.command("/export link");
    assert!(said.contains("is there already"), "{said}");
    assert!(!folder.path().join("nowhere").exists());
    assert!(held.command("/export talk.md").contains("Written to"));
}
