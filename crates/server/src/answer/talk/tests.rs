//! Answers of Nano that are forced to begin with what models write wrongly, told whole and in a
//! stream: what is sampled again, what is told, and what is not.
//!
//! The first attempt's words come from a grammar that allows nothing else; a later attempt has the
//! grammar of the tools, as any request has.

use engine::serve::{ServeOptions, Service};
use engine::{Engine, Grammars, OpenOptions};
use text::Event as Told;

use super::*;
use crate::body::ReadOptions;
use crate::prompt::Form;
use crate::said::{CallIds, OPENAI_CALL};
use crate::{Choosing, chat};

fn model() -> (Service, Arc<Model>) {
    let nano = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nano/nano.gguf");
    let open = move || {
        let threads = engine::Threads { count: 1, processors: Vec::new() };
        let options = OpenOptions { anchor_bytes_max: 64 << 20, ..OpenOptions::default() };
        Engine::open(nano.as_ref(), engine::open_cpu(&threads, 1 << 30), options)
    };
    let service = Service::start(open, ServeOptions::default()).expect("Nano");
    let sampling = engine::Sampling { temperature: 0.0, ..engine::Sampling::default() };
    let choosing = Choosing { sampling, honour: false };
    let model = Model::new(service.handle(), Form::default(), choosing).expect("a model");
    (service, Arc::new(model))
}

fn prepared(model: &Model, script: &str, strict: bool, tokens_max: usize) -> Prepared {
    let schema =
        r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}"#;
    let body = format!(
        r#"{{"model": "m", "messages": [{{"role": "user", "content": "List them"}}], "think": false,
        "max_tokens": {tokens_max}, "tools": [{{"type": "function", "function":
        {{"name": "ls", "strict": {strict}, "parameters": {schema}}}}}]}}"#
    );
    let ask = chat::read(body.as_bytes(), ReadOptions::default()).expect("a request").ask;
    let ids = vec![CallIds::new(OPENAI_CALL, 1 << 32, 0)];
    let mut prepared = model.prepare(&ask, 1, ids, Vec::new(), None).expect("ready");
    let grammars = Grammars::new(&model.tokenizer).expect("grammars");
    let script = serde_json::Value::from(script).to_string();
    let script = grammars.lark(&format!("start: {script}")).expect("a grammar");
    prepared.grammars.answer = Some(script);
    prepared
}

/// Everything that is told, and how it went.
fn hear(model: &Arc<Model>, prepared: Prepared, stream: bool) -> (Vec<Told>, Course) {
    let mut talk = Talk::begin(model.clone(), prepared, 1, stream).expect("a place");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut told = Vec::new();
    runtime.block_on(async {
        loop {
            for said in talk.next().await {
                match said {
                    Said::Seen(_) => {}
                    Said::Event(_, event, _) => told.push(event),
                    Said::Over(_) => return,
                    Said::Failed(refusal) => panic!("{refusal:?}"),
                }
            }
        }
    });
    (told, talk.course)
}

fn reply(told: &[Told]) -> Reply {
    let mut reply = Reply::default();
    reply.extend(told.iter().cloned());
    reply
}

#[test]
fn calls_that_broke_are_sampled_again_unless_they_were_told() {
    let (_service, model) = model();
    let spelled = "Grüße an die 世界.\n\n<｜DSML｜tool_calls>\noops";
    let begun = "Now.\n\n<tool_calls>\n<invoke name=\"ls\">\noops";
    let cut = "Now.\n\n<tool_calls>\n<invoke name=\"ls\">\n<parameter na";
    let prose = "The <tool_calls> tag";
    // What is said first, in a stream or not, the text that stands, attempts after the first.
    for (script, stream, text, tries) in [
        (spelled, true, "Grüße an die 世界.", 1),
        (spelled, false, "Grüße an die 世界.", 1),
        ("<DSML｜tool_calls>\n\noops", true, "", 1),
        (begun, false, "Now.", 1),
        (cut, false, "Now.", 1),
        (prose, true, prose, 0),
        (prose, false, prose, 0),
    ] {
        let (told, course) = hear(&model, prepared(&model, script, false, 300), stream);
        let reply = reply(&told);
        assert_eq!((reply.text.as_str(), course.tries), (text, tries), "{script:?} {stream}");
        let calls = usize::from(tries > 0);
        assert!(reply.calls.len() >= calls, "{script:?}: {told:?}");
        if calls > 0 {
            assert_eq!(reply.finish, Some(FinishReason::ToolCalls), "{script:?}: {told:?}");
            assert!(reply.calls.iter().all(|call| call.name == "ls"), "{told:?}");
            let dropped = |event: &Told| matches!(event, Told::CallsDropped { .. });
            assert!(!told.iter().any(dropped), "{told:?}");
        } else {
            assert_eq!(reply.finish, Some(FinishReason::Stop), "{script:?}: {told:?}");
        }
    }
    // Whoever was told of a call is told that it broke.
    for script in [begun, cut] {
        let (told, course) = hear(&model, prepared(&model, script, false, 300), true);
        assert_eq!(course.tries, 0, "{script:?}");
        assert!(told.iter().any(|event| matches!(event, Told::CallBegin { .. })), "{told:?}");
        assert!(matches!(told[told.len() - 2], Told::CallsDropped { first: 0, .. }), "{told:?}");
    }
}

/// A strict tool's calls are only taken where a grammar has guarded them.
#[test]
fn calls_of_strict_tools_are_never_taken_from_spelled_tags() {
    let (_service, model) = model();
    let call = |open: &str, close: &str| {
        format!(
            "<{open}tool_calls>\n<{open}invoke name=\"ls\">\n<{open}parameter name=\"n\" \
             string=\"true\">no number</{close}parameter>\n</{close}invoke>\n</{close}tool_calls>"
        )
    };
    let script = call("｜DSML｜", "｜DSML｜");
    let (told, course) = hear(&model, prepared(&model, &script, true, 300), true);
    let calls = reply(&told).calls;
    assert_eq!(course.tries, 1, "{told:?}");
    let arguments: serde_json::Value = serde_json::from_str(&calls[0].arguments).expect("JSON");
    assert!(arguments["n"].is_i64(), "{arguments}");
    let script = call("", "");
    let (told, _) = hear(&model, prepared(&model, &script, true, 300), true);
    assert_eq!((reply(&told).text, reply(&told).calls), (script, vec![]));
}

/// Where no token is left, there is no other attempt, and what was sampled is the answer.
#[test]
fn an_attempt_needs_room() {
    let (_service, model) = model();
    let script = "One two three four.\n\n<｜DSML｜tool_calls>\noops";
    let needed = (1..60).find(|tokens_max| {
        let (told, course) = hear(&model, prepared(&model, script, false, *tokens_max), false);
        let reply = reply(&told);
        assert!(course.usage.generated <= *tokens_max, "{tokens_max}: {course:?}");
        assert!(reply.text.starts_with("One") || *tokens_max == 0, "{reply:?}");
        course.tries > 0
    });
    assert!(needed.is_some_and(|tokens| tokens > 8), "{needed:?}");
}

#[test]
fn what_was_told_stands_to_the_byte() {
    let (_service, model) = model();
    let text = "Grüße, 世界! 🦀 a\n\n<";
    let tokens = model.tokenizer.encode_text(text);
    let spell = |tokens: &[TokenId]| -> Vec<u8> {
        tokens.iter().flat_map(|token| model.tokenizer.token_bytes(*token).to_vec()).collect()
    };
    for told in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
        assert_eq!(spell(&stands(&model, &tokens, told)), &text.as_bytes()[..told], "{told}");
    }
}
