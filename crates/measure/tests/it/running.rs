//! Asking Nano: what an answer is depends on its item and the settings, and on nothing else.

use std::collections::HashSet;
use std::path::PathBuf;

use engine::{Engine, Flow, OpenOptions, Threads};
use measure::eval::{
    Answer, Budget, Close, Event, Finish, Header, Item, ModelName, Report, SetName, Settings,
    Thinking, Writer, done, own, prompts, run,
};
use text::Checkpoint;

fn engine(sessions: usize) -> Engine {
    let nano = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../nano/nano.gguf");
    let threads = Threads { count: 1, processors: Vec::new() };
    let options = OpenOptions { sessions, context: 2048, ..OpenOptions::default() };
    Engine::open(&nano, engine::open_cpu(&threads, 1 << 30), options).expect("Nano")
}

fn settings(thinking: Thinking, budget: Budget) -> Settings {
    let (temperature, top_p, top_k, min_p) = (0.0, 1.0, 0, 0.05);
    let steered = None;
    Settings { thinking, budget, temperature, top_p, top_k, min_p, seed: 7, repeat: 1, steered }
}

fn short(tokens_max: usize) -> Budget {
    Budget { tokens_max, soft: 0, hard: 0 }
}

fn items(ids: &[&str]) -> Vec<Item> {
    let all = own();
    let find = |id: &&str| all.iter().find(|item| item.id == **id).expect("our own item").clone();
    ids.iter().map(find).collect()
}

/// Asks, until `stop` says so; whether everything was answered.
fn ask(
    engine: &mut Engine,
    items: &[Item],
    settings: &Settings,
    before: &HashSet<(String, usize)>,
    stop: &mut dyn FnMut(&Event) -> bool,
) -> (Vec<Answer>, bool) {
    let how = (settings.thinking, Checkpoint::default());
    let tokenizer = engine.tokenizer().unwrap();
    let prompts = prompts(&tokenizer, items, how, engine.context()).unwrap();
    let mut answers = Vec::new();
    let complete = run(engine, (items, &prompts), settings, before, &mut |event| {
        if let Event::Answered(answer) = &event {
            answers.push((*answer).clone());
        }
        Ok(if stop(&event) { Flow::Stop } else { Flow::Continue })
    });
    (answers, complete.unwrap())
}

fn all(sessions: usize, items: &[Item], settings: &Settings) -> Vec<Answer> {
    let (answers, complete) =
        ask(&mut engine(sessions), items, settings, &HashSet::new(), &mut |_| false);
    assert!(complete);
    sorted(answers)
}

/// Without what the clock says, in the order of names.
fn sorted(mut answers: Vec<Answer>) -> Vec<Answer> {
    answers.iter_mut().for_each(|answer| answer.seconds = 0.0);
    answers.sort_by(|a, b| (&a.id, a.sample).cmp(&(&b.id, b.sample)));
    answers
}

const IDS: [&str; 4] = ["tools-02", "arithmetic-01", "tools-14", "logic-04"];

#[test]
fn questions_answered_together_are_those_of_each_alone() {
    let items = items(&IDS);
    let chance = Settings { temperature: 0.8, repeat: 2, ..settings(Thinking::Off, short(16)) };
    let alone = all(1, &items, &chance);
    assert_eq!(alone.len(), 8);
    assert_eq!(all(3, &items, &chance), alone);
    let other = all(3, &items, &Settings { seed: 8, ..chance });
    assert!(other.iter().zip(&alone).any(|(a, b)| a.text != b.text), "the seed says nothing");
}

/// A tool that Nano was trained with is called, and that is right.
#[test]
fn a_call_is_heard_and_judged() {
    let items = items(&["tools-02"]);
    let answers = all(1, &items, &settings(Thinking::Off, short(64)));
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(answer.finish, Finish::Stop);
    assert_eq!(answer.calls.len(), 1, "{answer:?}");
    assert!(answer.right, "{answer:?}");
    assert!(answer.prompt_tokens > 100 && answer.tokens > 5);
}

/// Stopped at every kind of event, gone on with from the file: the same report in the end.
#[test]
fn an_interrupted_run_comes_to_the_same_report() {
    let items = items(&IDS);
    let settings = settings(Thinking::Off, short(12));
    let whole = all(1, &items, &settings);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let model = ModelName {
        name: "nano".to_owned(),
        fingerprint: engine::fingerprint(engine(1).file()).to_string(),
    };
    let head = Header::new(model, "cpu".to_owned(), SetName::of("own", &items), settings.clone());
    let mut engine = engine(2);
    // In the middle of the first answers, at the end of one, while a prompt is read.
    let mut tokens = 0;
    let mut stops: [&mut dyn FnMut(&Event) -> bool; 4] = [
        &mut |event| {
            tokens += usize::from(matches!(event, Event::Tokens(_)));
            tokens == 5
        },
        &mut |event| matches!(event, Event::Answered(_)),
        &mut |event| matches!(event, Event::Reading(_)),
        &mut |_| false,
    ];
    let mut complete = Vec::new();
    for stop in &mut stops {
        let (mut writer, before, dropped) = Writer::resume(&path, &head).unwrap();
        assert_eq!(dropped, 0);
        let (answers, all) = ask(&mut engine, &items, &settings, &done(&before), *stop);
        answers.iter().for_each(|answer| writer.add(answer).unwrap());
        complete.push(all);
    }
    assert_eq!(complete, [false, false, false, true]);
    assert_eq!(sorted(Report::read(&path).unwrap().answers), whole);
}

/// What Nano thinks is cut where the budget says; an answer follows, and before it nothing differs.
#[test]
fn reasoning_is_ended_in_time() {
    let items = items(&["tools-02"]);
    let free = &all(1, &items, &settings(Thinking::On, short(100)))[0];
    assert_eq!((free.closed, free.finish), (None, Finish::Stop), "{free:?}");
    assert!(free.reasoning_tokens > 8, "{free:?}");
    // With the fifth token 96 are left.
    let hard = Budget { tokens_max: 100, soft: 0, hard: 96 };
    let cut = &all(1, &items, &settings(Thinking::On, hard))[0];
    assert_eq!((cut.closed, cut.reasoning_tokens), (Some(Close::Hard), 5), "{cut:?}");
    assert!(free.reasoning.starts_with(&cut.reasoning), "{cut:?}");
    assert!(!cut.text.is_empty() || !cut.calls.is_empty(), "{cut:?}");
    // The soft end is not later than the model's own, and never earlier than it may be.
    let soft = Budget { tokens_max: 100, soft: 98, hard: 0 };
    let ended = &all(1, &items, &settings(Thinking::On, soft))[0];
    assert!((3..=free.reasoning_tokens).contains(&ended.reasoning_tokens), "{ended:?}");
    assert_eq!(ended.closed.is_some(), ended.reasoning_tokens < free.reasoning_tokens);
    assert_ne!(ended.closed, Some(Close::Hard));
}

#[test]
fn a_question_that_is_too_long_is_named() {
    let engine = engine(1);
    let mut items = items(&["arithmetic-01"]);
    items[0].turns = vec![measure::eval::Turn::User("long ".repeat(5000))];
    let tokenizer = engine.tokenizer().unwrap();
    let how = (Thinking::Off, Checkpoint::default());
    let error = prompts(&tokenizer, &items, how, 2048).unwrap_err().to_string();
    assert!(error.starts_with("item arithmetic-01: its prompt has "), "{error}");
    assert!(error.ends_with("tokens, the context holds 2048"), "{error}");
}
