//! Making room: when a conversation is summed up, what is left of it, and what is cut.

use agent::event::{Past, TurnEnd};
use agent::tools::Tool;
use agent::{Event, Settings};

use crate::script::Script;
use crate::support::{Small, block, done, kept_in, read, settings, start};

/// A text of about so many tokens.
fn words(tokens: usize) -> String {
    "one two ".repeat(tokens / 2)
}

#[test]
fn a_nearly_full_context_is_summed_up_before_the_next_turn() {
    let folder = tempfile::tempdir().unwrap();
    let long = words(1700);
    let script = Script::new(2048, &[&long, "SUMMARY of it", "And on."]);
    let mut held = start(script.clone(), vec![], kept_in(folder.path()));
    assert_eq!(held.ask("tell me much").0, TurnEnd::Done);
    let full = held.status().tokens;
    assert!(full > 1536, "{full}");
    assert_eq!(held.ask("go on").0, TurnEnd::Done);
    let asked = script.asked();
    assert!(asked[1].text.contains("Write that summary now"));
    assert!(asked[1].cached >= asked[0].prompt.len() + 1700, "the summary reads nothing twice");
    let text = &asked[2].text;
    let expected = "<｜User｜>What was said so far, summed up:\n\nSUMMARY of it";
    assert!(text.contains(expected) && text.ends_with("go on<｜Assistant｜></think>"), "{text}");
    assert!(!text.contains("one two"), "the long answer is more than a tenth of the context");
    assert_eq!(asked[2].cached, asked[2].boundaries[0], "instructions are not read again");
    assert!(held.status().tokens < 300, "{:?}", held.status());
    // People and the file have everything.
    let id = held.command("/save");
    let id = id.split_whitespace().nth(2).unwrap().trim_end_matches(':').to_owned();
    held.quit();
    let open = agent::Open::Id(id);
    let again = start(script, vec![], Settings { open, ..kept_in(folder.path()) });
    let history = again.events.iter().find_map(|event| match event {
        Event::Opened { history, .. } => Some(history.clone()),
        _ => None,
    });
    let history = history.expect("what was said");
    assert!(history.contains(&Past::Text(long)));
    assert!(history.contains(&Past::Notice("summary: SUMMARY of it".to_owned())));
    assert!(history.contains(&Past::Prompt("go on".to_owned())));
}

#[test]
fn the_last_turns_stay_word_for_word() {
    let script = Script::new(8192, &["first answer", "SUMMARY", "third answer"]);
    let mut held = start(script.clone(), vec![], settings());
    held.ask("first");
    held.command("/compact");
    held.ask("second");
    let asked = script.asked();
    let text = &asked[2].text;
    let tail = "I go on from there.<｜end▁of▁sentence｜><｜User｜>first<｜Assistant｜></think>\
                first answer<｜end▁of▁sentence｜><｜User｜>second<｜Assistant｜></think>";
    assert!(text.ends_with(tail), "{text}");
    let said = held.notices().join("\n");
    assert!(said.contains("summed up: "), "{said}");
    assert!(held.command("/stats").contains("summed up: 1 times"));
    // What is word for word can be taken back, what is summed up cannot.
    assert!(held.command("/undo").contains("taken back"));
    assert!(held.command("/undo").contains("taken back"));
    assert!(held.command("/undo").contains("summed up and cannot be taken back"));
}

fn big(tokens: usize) -> Box<dyn Tool> {
    Small::new("big", &["path"], move |_, _, _| done(words(tokens))).boxed()
}

/// A result that does not fit behind the conversation fits behind its summary.
#[test]
fn a_result_that_does_not_fit_makes_room() {
    let call = format!("Look.{}", block(&[("big", &[("path", "a")])]));
    let script = Script::new(4096, &[&words(2000), &call, "SUMMARY", "I see."]);
    let mut held = start(script.clone(), vec![big(1500)], settings());
    held.ask("tell me much");
    let (end, cost) = held.ask("look at a");
    assert_eq!((end, cost.calls), (TurnEnd::Done, 1));
    let text = &script.asked()[3].text;
    assert!(text.contains("SUMMARY") && text.contains(&words(1500)), "{text}");
    assert!(text.contains("<｜User｜>look at a<｜Assistant｜></think>Look."), "{text}");
    assert!(!text.contains("[cut here"), "{text}");
}

/// One that fits nowhere is cut, and says how to see the rest.
#[test]
fn a_result_that_fits_nowhere_is_cut() {
    let call = block(&[("big", &[("path", "a")]), ("read", &[("path", "b")])]);
    let script = Script::new(2048, &[&call, "SUMMARY", "I see."]);
    let mut held = start(script.clone(), vec![big(20_000), read()], settings());
    let (end, _) = held.ask("look at a");
    assert_eq!(end, TurnEnd::Done);
    let last = script.asked().pop().unwrap();
    assert!(last.prompt.len() + 256 <= 2048, "{} tokens and room for an answer", last.prompt.len());
    let text = last.text;
    let said = text.split("[cut here: ").nth(1).expect("a cut");
    assert!(said.starts_with("the first ") && said.contains("of 80000 bytes"), "{said}");
    assert!(said.contains("Ask for a smaller part"), "{said}");
    assert!(text.contains("<tool_result>content of b</tool_result>"), "{text}");
}

#[test]
fn a_prompt_that_fits_nowhere_is_refused_and_leaves_nothing() {
    let script = Script::new(1024, &["Hello."]);
    let mut held = start(script.clone(), vec![], settings());
    let (end, _) = held.ask(&words(2000));
    assert_eq!(end, TurnEnd::ContextFull);
    assert_eq!(held.ask("hi").0, TurnEnd::Done);
    assert!(script.asked()[0].text.contains("<｜User｜>hi<｜Assistant｜>"));
}

#[test]
fn instructions_that_leave_no_room_are_refused() {
    let script = Script::new(512, &[]);
    let settings = Settings { system: words(600), ..settings() };
    let refused = agent::Agent::start(script, vec![], settings);
    let Err(error) = refused else { panic!("it started") };
    assert!(error.to_string().contains("use a larger --ctx"), "{error}");
}

/// A model that says nothing when it is asked for a summary: the beginning is left out, and told.
#[test]
fn without_a_summary_the_beginning_is_left_out() {
    let script = Script::new(2048, &[&words(1700), " ", "And on."]);
    let mut held = start(script.clone(), vec![], settings());
    held.ask("tell me much");
    assert_eq!(held.ask("go on").0, TurnEnd::Done);
    let text = script.asked()[2].text.clone();
    assert!(text.contains("The beginning of this conversation is left out"), "{text}");
}
