//! What goes over the wire for scripted answers: every dialect, whole and in events.
//!
//! The scripts are events as the parser gives them. The snapshots were read against the order of
//! events and the shapes that each API documents.

use serde_json::{Map, Value, json};
use server::{
    Answer, Head, Kind, Offers, Prob, ReadOptions, Refusal, Seen, Usage, Writer, chat, completions,
    messages, responses,
};
use text::{DropCause, Event, FinishReason, Prompt, Reply};

fn head() -> Head {
    let nonce = 0x0123_4567_89ab_cdef_0123_4567_89ab_0000;
    Head { nonce, model: "deepseek-v4-flash".to_owned(), created: 1_790_000_000 }
}

const USAGE: Usage = Usage { seen: Seen { prompt: 120, cached: 100 }, generated: 30, reasoning: 7 };

fn reasoning(text: &str) -> Event {
    Event::Reasoning(text.to_owned())
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

fn call(index: usize, name: &str, arguments: &[&str]) -> Vec<Event> {
    let begin = Event::CallBegin { index, name: name.to_owned() };
    let arguments = arguments.iter().map(|text| Event::CallArguments((*text).to_owned()));
    std::iter::once(begin).chain(arguments).chain([Event::CallEnd]).collect()
}

fn calls_end() -> Event {
    Event::CallsEnd { sampled: Prompt::default() }
}

/// Names of scripts, and what happens in them.
fn scripts() -> Vec<(&'static str, Vec<Event>)> {
    let mut tools = vec![reasoning("Look "), reasoning("there."), Event::ReasoningEnd];
    tools.push(text("I'll look."));
    tools.extend(call(0, "ls", &["{", "\"path\":\"", ".", "\"", "}"]));
    tools.extend(call(1, "agents__stop", &["{", "}"]));
    tools.extend(call(2, "patch", &["{\"input\":\"", "a\\nb", "\"}"]));
    tools.extend([calls_end(), Event::Finish(FinishReason::ToolCalls)]);
    let mut broken = vec![Event::CallBegin { index: 0, name: "ls".to_owned() }];
    broken.push(Event::CallArguments("{".to_owned()));
    let sampled = "<markup".to_owned();
    broken.push(Event::CallsDropped { first: 0, sampled, cause: DropCause::Malformed });
    broken.push(Event::Finish(FinishReason::Stop));
    let mut cut = vec![text("Now")];
    cut.push(Event::CallBegin { index: 0, name: "ls".to_owned() });
    cut.push(Event::CallArguments("{\"path\":\"".to_owned()));
    let sampled = "<markup".to_owned();
    cut.push(Event::CallsDropped { first: 0, sampled, cause: DropCause::Truncated });
    cut.push(Event::Finish(FinishReason::Length));
    let stopped = FinishReason::StopSequence("END".to_owned());
    vec![
        ("text", vec![text("Hello"), text(" there \"世界\""), Event::Finish(FinishReason::Stop)]),
        ("tools", tools),
        ("only reasoning, cut", vec![reasoning("Hm"), Event::Finish(FinishReason::Length)]),
        ("a stop sequence", vec![text("One"), Event::Finish(stopped)]),
        ("a full context", vec![text("One"), Event::Finish(FinishReason::ContextFull)]),
        ("nothing", vec![Event::Finish(FinishReason::Stop)]),
        ("a call that breaks", broken),
        ("a call that is cut", cut),
    ]
}

fn answer(events: &[Event]) -> Answer {
    let mut reply = Reply::default();
    reply.extend(events.iter().cloned());
    Answer { reply, probs: None }
}

fn streamed(mut writer: impl Writer, events: &[Event]) -> String {
    let mut out = writer.open() + &writer.start(USAGE.seen);
    for event in events {
        out += &writer.event(0, event, &[]);
    }
    out + &writer.end(&USAGE)
}

/// All scripts, by a function for streams and one for whole answers.
fn page(stream: impl Fn(&[Event]) -> String, whole: impl Fn(&Answer) -> Value) -> String {
    let mut page = String::new();
    for (name, events) in scripts() {
        page += &format!("=== {name}, in events\n{}\n", stream(&events));
        let whole = serde_json::to_string_pretty(&whole(&answer(&events))).expect("JSON");
        page += &format!("=== {name}, whole\n{whole}\n\n");
    }
    page
}

#[test]
fn of_chat() {
    insta::assert_snapshot!(page(
        |events| streamed(chat::Stream::new(head(), 1, true), events),
        |answer| chat::whole(&head(), std::slice::from_ref(answer), &USAGE),
    ));
}

#[test]
fn of_completions() {
    insta::assert_snapshot!(page(
        |events| streamed(completions::Stream::new(head(), 1, true, "Once ".to_owned()), events),
        |answer| completions::whole(&head(), std::slice::from_ref(answer), &USAGE, ""),
    ));
}

#[test]
fn of_messages() {
    insta::assert_snapshot!(page(
        |events| streamed(messages::Stream::new(head()), events),
        |answer| messages::whole(&head(), answer, &USAGE),
    ));
}

/// Tools of every kind, and what a client says about reasoning.
fn responses_request() -> responses::Responses {
    let body = json!({
        "model": "deepseek-v4-flash", "input": "Hi", "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "tools": [
            {"type": "function", "name": "ls"},
            {"type": "namespace", "name": "agents",
                "tools": [{"type": "function", "name": "stop"}]},
            {"type": "custom", "name": "patch"},
        ],
    });
    responses::read(body.to_string().as_bytes(), ReadOptions::default()).expect("a request")
}

fn offers(request: &responses::Responses) -> Offers {
    let server::What::Dialogue(dialogue) = &request.ask.what else { panic!("a dialogue") };
    dialogue.offers.clone()
}

#[test]
fn of_responses() {
    let request = responses_request();
    let offers = offers(&request);
    assert_eq!(offers.kind("patch"), &Kind::Custom);
    let (summary, echo) = (request.summary, Map::new());
    let stream = || responses::Stream::new(head(), offers.clone(), summary, echo.clone());
    insta::assert_snapshot!(page(
        |events| streamed(stream(), events),
        |answer| responses::whole(&head(), answer, &USAGE, (&offers, summary, &echo)),
    ));
}

#[test]
fn reasoning_comes_back_as_it_was() {
    let request = responses_request();
    let events = [reasoning("Because 世"), Event::ReasoningEnd, text("So."), calls_end()];
    let answer = answer(&events);
    let parts = (&Offers::default(), request.summary, &Map::new());
    let whole = responses::whole(&head(), &answer, &USAGE, parts);
    let mut sealed = whole["output"][0].clone();
    sealed["summary"] = json!([]);
    let input = json!([{"role": "user", "content": "Why?"}, sealed, whole["output"][1],
        {"role": "user", "content": "And?"}]);
    let body = json!({"model": "m", "input": input, "tools": [{"type": "function", "name": "f"}]});
    let again = responses::read(body.to_string().as_bytes(), ReadOptions::default()).unwrap();
    let prompt = server::prompt(&again.ask, server::Form::default()).unwrap().text();
    assert!(prompt.contains("<think>Because 世</think>So.<｜end"), "{prompt}");
}

#[test]
fn log_probabilities() {
    let prob = |bytes: &[u8], logprob| Prob {
        bytes: bytes.to_vec(),
        logprob,
        top: vec![(bytes.to_vec(), logprob), (b"x".to_vec(), f32::NEG_INFINITY)],
    };
    let probs = vec![prob(b"He", -0.5), prob(&[0xe4], -0.25)];
    let answer = Answer { probs: Some(probs.clone()), ..answer(&[text("He世")]) };
    let answers = std::slice::from_ref(&answer);
    let mut out = vec![
        chat::whole(&head(), answers, &USAGE)["choices"].to_string(),
        completions::whole(&head(), answers, &USAGE, "")["choices"].to_string(),
    ];
    let mut streams: Vec<Box<dyn Writer>> = vec![
        Box::new(chat::Stream::new(head(), 1, false)),
        Box::new(completions::Stream::new(head(), 1, false, String::new())),
    ];
    out.extend(streams.iter_mut().map(|writer| writer.event(0, &text("He世"), &probs)));
    insta::assert_snapshot!(out.join("\n"));
}

/// The shapes of errors, in bodies and in streams, of both families.
#[test]
fn of_errors() {
    use server::Reason::*;
    let reasons = [
        Invalid,
        TooLong { tokens: 200_001, context: 200_000 },
        Key,
        Forbidden,
        NotFound,
        Method,
        Timeout,
        TooLarge,
        Encoding,
        TooMany,
        Busy,
        Loading { seconds: 40 },
        Failed,
    ];
    let mut page = String::new();
    for reason in reasons {
        let refusal = Refusal::new(reason, "why");
        let (openai, anthropic) = (refusal.openai(), refusal.anthropic("req_1"));
        page += &format!("{reason:?}\n{} {openai}\n    {anthropic}\n", refusal.status());
    }
    let refusal = Refusal::of("messages[2].content", "expected text");
    page += &format!("{}\n", refusal.openai());
    let offers = Offers::default();
    let request = responses_request();
    let mut streams: Vec<Box<dyn Writer>> = vec![
        Box::new(chat::Stream::new(head(), 1, true)),
        Box::new(completions::Stream::new(head(), 1, true, String::new())),
        Box::new(messages::Stream::new(head())),
        Box::new(responses::Stream::new(head(), offers, request.summary, Map::new())),
    ];
    for writer in &mut streams {
        page += &writer.keep_alive();
        page += &writer.fail(&Refusal::new(Failed, "it broke"));
        assert_eq!(writer.event(0, &text("more"), &[]), "");
        assert_eq!(writer.fail(&refusal) + &writer.end(&USAGE), "");
    }
    insta::assert_snapshot!(page);
}
