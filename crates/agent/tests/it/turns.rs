//! The loop, driven by a scripted model: what it tells, and what it asks the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent::event::{TurnEnd, Verdict};
use agent::gate::Decision;
use agent::{Event, Settings, Thinking, Wish};

use crate::script::Script;
use crate::support::{Held, Small, TestGate, block, done, read, settings, start};

const CONTEXT: usize = 8192;

/// Every request begins with what the engine held after the one before it, token by token.
fn nothing_was_read_twice(script: &Script) {
    let asked = script.asked();
    for (place, pair) in asked.windows(2).enumerate() {
        let (before, now) = (&pair[0], &pair[1]);
        assert!(now.cached >= before.prompt.len(), "request {}: {}", place + 1, now.text);
        assert!(now.prompt.starts_with(&before.prompt), "request {}", place + 1);
    }
}

fn last_request(script: &Script) -> String {
    script.asked().last().expect("a request").text.clone()
}

#[test]
fn two_calls_in_one_block_are_executed_in_order_and_nothing_is_read_twice() {
    let calls = block(&[("read", &[("path", "a.txt")]), ("read", &[("path", "b.txt")])]);
    let first = format!("I look.{calls}");
    let script = Script::new(CONTEXT, &[&first, "Both are there.", "Bye."]);
    let mut held = start(script.clone(), vec![read()], settings());
    let (end, cost) = held.ask("look at a and b");
    assert_eq!((end, cost.calls), (TurnEnd::Done, 2));
    assert_eq!(held.text(), "I look.Both are there.");
    let results = [(false, "content of a.txt".to_owned()), (false, "content of b.txt".to_owned())];
    assert_eq!(held.ended(), results);
    let request = last_request(&script);
    let told = "<tool_result>content of a.txt</tool_result>\n\n\
                <tool_result>content of b.txt</tool_result><｜Assistant｜></think>";
    assert!(request.ends_with(told), "{request}");
    assert_eq!(held.ask("bye").0, TurnEnd::Done);
    nothing_was_read_twice(&script);
    let boundary = script.asked()[0].boundaries[0];
    let tokens = &script.asked()[0].prompt;
    let user = tokens.iter().position(|token| token.0 == tokens[boundary].0);
    assert_eq!(user, Some(boundary), "what is shared ends before the first turn");
}

#[test]
fn reasoning_is_kept_as_it_was_sampled() {
    let script = Script::new(CONTEXT, &["Hm.</think>Yes.", "Again.</think>No."]);
    let settings = Settings { thinking: Thinking::On, ..settings() };
    let mut held = start(script.clone(), vec![], settings);
    held.ask("one");
    held.ask("two");
    nothing_was_read_twice(&script);
    let expected = "<｜User｜>one<｜Assistant｜><think>Hm.</think>Yes.<｜end▁of▁sentence｜>\
                    <｜User｜>two<｜Assistant｜><think>";
    assert!(last_request(&script).ends_with(expected));
    assert_eq!(held.text(), "Yes.No.");
}

fn call_read(path: &str) -> String {
    block(&[("read", &[("path", path)])])
}

#[test]
fn a_no_becomes_the_result_with_what_was_said() {
    let script = Script::new(CONTEXT, &[&call_read("a"), "Then not.", &call_read("a"), "Oh."]);
    let gate = Box::new(TestGate::asking());
    let mut held = start(script.clone(), vec![read()], Settings { gate, ..settings() });
    held.verdict = Verdict::No(Some("use b instead".to_owned()));
    let (end, cost) = held.ask("read a");
    assert_eq!((end, cost.calls), (TurnEnd::Done, 0));
    assert!(last_request(&script).contains("refused this call and said: use b instead"));
    assert!(!held.events.iter().any(|event| matches!(event, Event::ToolBegan { .. })));
    held.verdict = Verdict::No(None);
    held.ask("read a");
    assert!(last_request(&script).contains("The person refused this call. Do not try it again"));
    nothing_was_read_twice(&script);
}

#[test]
fn a_lasting_yes_is_asked_for_once() {
    let script = Script::new(CONTEXT, &[&call_read("a"), &call_read("b"), "Done."]);
    let gate = TestGate::asking();
    let always = gate.always.clone();
    let mut held = start(script, vec![read()], Settings { gate: Box::new(gate), ..settings() });
    held.verdict = Verdict::Always;
    let (end, cost) = held.ask("read");
    assert_eq!((end, cost.calls), (TurnEnd::Done, 2));
    let asked = held.events.iter().filter(|event| matches!(event, Event::Consent(_))).count();
    assert_eq!((asked, always.lock().unwrap().len()), (1, 1));
}

#[test]
fn what_is_denied_is_told_to_the_model() {
    let script = Script::new(CONTEXT, &[&call_read("a"), "I may not."]);
    let decision = Decision::Deny("outside of the working tree".to_owned());
    let mode = "ask".to_owned();
    let gate = Box::new(TestGate { decision, mode, ..TestGate::default() });
    let mut held = start(script.clone(), vec![read()], Settings { gate, ..settings() });
    assert_eq!(held.ask("read a").0, TurnEnd::Done);
    assert!(
        last_request(&script).contains("<tool_result>outside of the working tree</tool_result")
    );
}

#[test]
fn calls_that_cannot_be_executed_say_why() {
    let wrong = block(&[("wreck", &[("path", "a")]), ("read", &[("file", "a")])]);
    let script = Script::new(CONTEXT, &[&wrong, "Sorry."]);
    let mut held = start(script.clone(), vec![read()], settings());
    assert_eq!(held.ask("go").0, TurnEnd::Done);
    let request = last_request(&script);
    assert!(request.contains("there is no tool \"wreck\"; the tools are: read"), "{request}");
    assert!(request.contains("path is missing"));
}

/// `edit` with an old text that is not there is stopped before the new text is sampled.
#[test]
fn a_refused_call_is_closed_where_it_stands() {
    let before = "I edit.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"edit\">\n\
        <｜DSML｜parameter name=\"path\" string=\"true\">a.txt</｜DSML｜parameter>\n\
        <｜DSML｜parameter name=\"old\" string=\"true\">nowhere</｜DSML｜parameter>\n\
        <｜DSML｜parameter name=\"new\" string=\"true\">some";
    let script = Script::new(CONTEXT, &[&format!("{before}\u{23f8} more"), "I read first."]);
    let mut edit = Small::new("edit", &["path", "old", "new"], |_, _, _| panic!("not executed"));
    edit.glance = |arguments| {
        let whole = arguments.contains("\"old\": \"nowhere\", ");
        whole.then(|| "old: not found in a.txt".to_owned())
    };
    let mut held = start(script.clone(), vec![edit.boxed()], settings());
    let (end, cost) = held.ask("edit a");
    assert_eq!((end, cost.calls), (TurnEnd::Done, 0));
    let request = last_request(&script);
    let closed = "some</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>\
        <｜end▁of▁sentence｜><｜User｜><tool_result>old: not found in a.txt</tool_result>";
    assert!(request.contains(closed), "{request}");
    assert_eq!(held.ended(), [(true, "old: not found in a.txt".to_owned())]);
    nothing_was_read_twice(&script);
    let arguments = |event: &Event| match event {
        Event::Said(text::Event::CallArguments(text)) => Some(text.clone()),
        _ => None,
    };
    let told: String = held.events.iter().filter_map(arguments).collect();
    assert_eq!(told, r#"{"path": "a.txt", "old": "nowhere", "new": "some"}"#);
}

/// The first arguments are not a string, so the call cannot be closed and goes as a whole.
#[test]
fn a_refused_call_without_text_goes_and_is_told() {
    let before = "I count.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"count\">\n\
        <｜DSML｜parameter name=\"n\" string=\"false\">[1, 2";
    let script = Script::new(CONTEXT, &[&format!("{before}\u{23f8}, 3"), "All right."]);
    let mut count = Small::new("count", &["n"], |_, _, _| panic!("not executed"));
    count.glance = |arguments| arguments.contains("n").then(|| "n: not a list".to_owned());
    let mut held = start(script.clone(), vec![count.boxed()], settings());
    assert_eq!(held.ask("count").0, TurnEnd::Done);
    let request = last_request(&script);
    // The blank line before the call is part of the last token of the text.
    let told = "I count.\n\n<｜end▁of▁sentence｜><｜User｜>Your call was stopped while you wrote it, \
                and nothing was executed: n: not a list<｜Assistant｜>";
    assert!(request.contains(told), "{request}");
}

#[test]
fn a_broken_call_is_told_twice_and_then_ends_the_turn() {
    let broken = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"read\">\nwhat?";
    let script = Script::new(CONTEXT, &[broken, &call_read("a"), "Fine.", broken, broken, broken]);
    let mut held = start(script.clone(), vec![read()], settings());
    let (end, cost) = held.ask("read a");
    assert_eq!((end, cost.calls), (TurnEnd::Done, 1));
    let told = "The tool call could not be read, so nothing was executed.";
    assert!(script.asked()[1].text.contains(told));
    let (end, _) = held.ask("read a");
    let TurnEnd::Failed(why) = end else { panic!("{end:?}") };
    assert!(why.contains("three times in a row"), "{why}");
    nothing_was_read_twice(&script);
    script.add(&["Hello."]);
    assert_eq!(held.ask("hello").0, TurnEnd::Done, "the conversation goes on");
    nothing_was_read_twice(&script);
}

#[test]
fn circles_are_told_to_the_model_and_then_to_the_person() {
    let call = call_read("a");
    let script = Script::new(CONTEXT, &[&call, &call, &call, &call, "not asked for"]);
    let mut held = start(script.clone(), vec![read()], settings());
    let (end, cost) = held.ask("read a");
    let TurnEnd::Failed(why) = end else { panic!("{end:?}") };
    assert!(why.contains("read again and again"), "{why}");
    assert_eq!((cost.calls, script.left()), (4, 1));
    let told = script
        .asked()
        .iter()
        .map(|asked| asked.text.contains("the same call three times"))
        .collect::<Vec<_>>();
    assert_eq!(told, [false, false, false, true]);
    // The last result is told with the next prompt.
    held.ask("go on");
    let request = last_request(&script);
    let end = "<｜User｜><tool_result>content of a</tool_result>\n\ngo on<｜Assistant｜></think>";
    assert!(request.ends_with(end), "{request}");
}

#[test]
fn prompts_wait_and_are_answered_in_order() {
    let script = Script::new(CONTEXT, &["one\u{23f8}", "three"]);
    let mut held = start(script.clone(), vec![], settings());
    held.wish(Wish::Prompt("first".to_owned()));
    held.until(|event| matches!(event, Event::Said(_)));
    held.wish(Wish::Prompt("second".to_owned()));
    held.until(|event| *event == Event::Queued { queued: 1 });
    // A stop gives back what waits.
    held.wish(Wish::Stop);
    assert_eq!(held.end_of_turn().0, TurnEnd::Stopped);
    assert_eq!(held.status().queued, 0);
    held.wish(Wish::Prompt("third".to_owned()));
    assert_eq!(held.end_of_turn().0, TurnEnd::Done);
    assert_eq!(held.text(), "onethree");
    nothing_was_read_twice(&script);

    let script = Script::new(CONTEXT, &["one", "two", "three"]);
    let mut held = start(script, vec![], settings());
    for prompt in ["first", "second", "third"] {
        held.wish(Wish::Prompt(prompt.to_owned()));
    }
    let mut prompts = Vec::new();
    for _ in 0..3 {
        let began = held.until(|event| matches!(event, Event::TurnBegan { .. }));
        let Event::TurnBegan { prompt, .. } = began else { panic!("{began:?}") };
        prompts.push(prompt);
        held.end_of_turn();
    }
    assert_eq!(prompts, ["first", "second", "third"]);
    assert_eq!(held.text(), "onetwothree");
}

fn slow(hears: bool) -> Box<dyn agent::tools::Tool> {
    Small::new("slow", &["path"], move |_, print, stop| {
        print("working");
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && !(hears && stop.is_stopped()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        done("half of it")
    })
    .boxed()
}

#[test]
fn a_running_tool_is_stopped_and_its_result_is_told_later() {
    let call = block(&[("slow", &[("path", "a")]), ("slow", &[("path", "b")])]);
    let script = Script::new(CONTEXT, &[&call, "As you like."]);
    let mut held = start(script.clone(), vec![slow(true)], settings());
    held.wish(Wish::Prompt("go".to_owned()));
    held.until(|event| matches!(event, Event::ToolOutput { .. }));
    let began = Instant::now();
    held.wish(Wish::Stop);
    let (end, cost) = held.end_of_turn();
    assert_eq!((end, cost.calls), (TurnEnd::Stopped, 1));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    held.ask("something else");
    let request = last_request(&script);
    let told = "<tool_result>half of it</tool_result>\n\n<tool_result>The person stopped this \
                before it was done.</tool_result>\n\nsomething else";
    assert!(request.contains(told), "{request}");
    nothing_was_read_twice(&script);
}

#[test]
fn a_tool_that_does_not_stop_is_left_to_itself() {
    let call = block(&[("slow", &[("path", "a")])]);
    let script = Script::new(CONTEXT, &[&call, "As you like."]);
    let mut held = start(script, vec![slow(false)], settings());
    held.wish(Wish::Prompt("go".to_owned()));
    held.until(|event| matches!(event, Event::ToolOutput { .. }));
    let began = Instant::now();
    held.wish(Wish::Stop);
    assert_eq!(held.end_of_turn().0, TurnEnd::Stopped);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(held.ask("hello").0, TurnEnd::Done);
}

#[test]
fn a_stop_while_a_call_is_sampled_leaves_nothing_of_it() {
    let call = call_read("a");
    let cut = format!("I read.{}\u{23f8}", &call[..call.find("a</").unwrap() + 1]);
    let script = Script::new(CONTEXT, &[&cut, "Hello."]);
    let mut held = start(script.clone(), vec![read()], settings());
    held.wish(Wish::Prompt("read a".to_owned()));
    held.until(|event| matches!(event, Event::Said(text::Event::CallBegin { .. })));
    held.wish(Wish::Stop);
    assert_eq!(held.end_of_turn().0, TurnEnd::Stopped);
    held.ask("hello");
    let end = "I read.\n\n<｜end▁of▁sentence｜><｜User｜>hello<｜Assistant｜></think>";
    assert!(last_request(&script).ends_with(end), "{}", last_request(&script));
}

#[test]
fn an_answer_that_is_cut_inside_reasoning_is_closed() {
    let script = Script::new(CONTEXT, &["Let me think about this for a while", "Yes.</think>No."]);
    let settings = Settings { thinking: Thinking::On, answer_tokens_max: 5, ..settings() };
    let mut held = start(script.clone(), vec![], settings);
    assert_eq!(held.ask("why?").0, TurnEnd::Length);
    held.ask("again");
    let request = last_request(&script);
    assert!(request.contains("</think><｜end▁of▁sentence｜><｜User｜>again"), "{request}");
    nothing_was_read_twice(&script);
}

#[test]
fn an_engine_that_fails_ends_the_turn_and_not_the_conversation() {
    let script = Script::new(CONTEXT, &[]);
    let mut held = start(script.clone(), vec![], settings());
    assert!(matches!(held.ask("hello").0, TurnEnd::Failed(_)));
    script.add(&["Here."]);
    assert_eq!(held.ask("hello?").0, TurnEnd::Done);
    let request = last_request(&script);
    let expected =
        "hello<｜Assistant｜></think><｜end▁of▁sentence｜><｜User｜>hello?<｜Assistant｜>";
    assert!(request.contains(expected), "{request}");
}

#[test]
fn a_tool_that_breaks_is_a_result() {
    let breaks = Small::new("breaks", &[], |_, _, _| panic!("on purpose, in a test"));
    let script = Script::new(CONTEXT, &[&block(&[("breaks", &[])]), "Oh."]);
    let mut held = start(script.clone(), vec![breaks.boxed()], settings());
    assert_eq!(held.ask("go").0, TurnEnd::Done);
    assert!(last_request(&script).contains("the tool broke, which is a bug of dwarfstar"));
}

#[test]
fn names_of_tools_are_unique() {
    let script = Script::new(CONTEXT, &[]);
    let refused = agent::Agent::start(script, vec![read(), read()], settings());
    assert!(matches!(refused, Err(agent::Error::Tools { name }) if name == "read"));
}

/// Commands that show something are answered while the model runs; others wait.
#[test]
fn commands_while_a_turn_runs() {
    let script = Script::new(CONTEXT, &["one\u{23f8}"]);
    let mut held = start(script, vec![], settings());
    held.wish(Wish::Prompt("first".to_owned()));
    held.until(|event| matches!(event, Event::Said(_)));
    held.wish(Wish::Command("/stats".to_owned()));
    held.until(|event| matches!(event, Event::Answer(_)));
    held.wish(Wish::Command("/new".to_owned()));
    held.until(|event| *event == Event::Queued { queued: 1 });
    held.wish(Wish::Command("/mode ask".to_owned()));
    held.until(|event| matches!(event, Event::Status(status) if status.mode == "ask"));
    held.wish(Wish::Stop);
    assert_eq!(held.end_of_turn().0, TurnEnd::Stopped);
    assert!(!held.events.iter().any(|event| matches!(event, Event::Opened { .. })));
    held.wish(Wish::Command("/nonsense".to_owned()));
    held.until(|event| matches!(event, Event::Notice(text) if text.contains("/help")));
    let events = held.quit();
    assert_eq!(events.last(), Some(&Event::Closed));
}

/// Whoever shows events reads nothing for a whole long answer: the loop goes on all the same.
#[test]
fn a_screen_that_does_not_read_holds_nobody_up() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let note = Small::new("note", &[], move |_, _, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        done("noted")
    });
    let long = format!("{}{}", "word ".repeat(3000), block(&[("note", &[])]));
    let script = Script::new(CONTEXT, &[&long, "Done."]);
    let mut held: Held = start(script, vec![note.boxed()], settings());
    held.wish(Wish::Prompt("talk".to_owned()));
    let until = Instant::now() + Duration::from_secs(30);
    while count.load(Ordering::Relaxed) == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(count.load(Ordering::Relaxed), 1, "the tool ran although nobody reads");
    assert_eq!(held.end_of_turn().0, TurnEnd::Done);
    assert_eq!(held.text(), format!("{}Done.", "word ".repeat(3000).trim_end()));
}

/// How long a call took is how long it was executed, not how long a person thought about it.
#[test]
fn thinking_about_a_call_is_no_part_of_it() {
    let call = block(&[("read", &[("path", "a")])]);
    let gate = Box::new(TestGate::asking());
    let script = Script::new(CONTEXT, &[&call, "Done."]);
    let mut held = start(script, vec![read()], Settings { gate, ..settings() });
    let thought = Duration::from_millis(500);
    held.wish(Wish::Prompt("look".to_owned()));
    while !matches!(held.next(), Event::Consent(_)) {}
    std::thread::sleep(thought);
    held.wish(Wish::Consent(0, Verdict::Once));
    let ended = held.until(|event| matches!(event, Event::ToolEnded { .. }));
    let Event::ToolEnded { took, .. } = ended else { panic!("{ended:?}") };
    assert!(took < thought, "{took:?}");
    held.end_of_turn();
}

/// What the engine has to say is told while the conversation goes on, and given back after it.
#[test]
fn the_engine_is_heard_while_it_runs() {
    let mut held = start(Script::new(CONTEXT, &["\u{23f8}"]), vec![], settings());
    let notices = held.agent.notices.clone();
    notices.tell("the disk is full".to_owned()).unwrap();
    held.until(|event| *event == Event::Notice("the disk is full".to_owned()));
    held.wish(Wish::Prompt("go".to_owned()));
    held.until(|event| matches!(event, Event::TurnBegan { .. }));
    notices.tell("still full".to_owned()).unwrap();
    held.until(|event| *event == Event::Notice("still full".to_owned()));
    held.wish(Wish::Stop);
    held.end_of_turn();
    held.quit();
    assert_eq!(notices.tell("late".to_owned()), Err("late".to_owned()));
}
