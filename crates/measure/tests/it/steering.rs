//! Directions from real pairs, and what they do to answers.

use std::path::PathBuf;

use engine::{Engine, Flow, OpenOptions, Point, Steer};
use measure::direction::build::{Look, Observed, observe};
use measure::direction::prompts::tokens;
use measure::direction::sweep::{Sweep, answer, sweep};
use regex::Regex;
use spec::TokenId;
use text::{Conversation, Message, RenderOptions, ThinkMode};

fn nano() -> Engine {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../nano/nano.gguf");
    let threads = engine::Threads { count: 1, processors: Vec::new() };
    let default = OpenOptions::default();
    let options =
        OpenOptions { context: 256, sessions: 2, step_tokens: 64, all_logits: true, ..default };
    Engine::open(&path, engine::open_cpu(&threads, 1 << 30), options).expect("Nano")
}

fn prompt(engine: &Engine, text: &str) -> Vec<TokenId> {
    let conversation = Conversation { messages: vec![Message::user(text)] };
    let options = RenderOptions { mode: ThinkMode::Chat, ..RenderOptions::default() };
    let tokenizer = engine.tokenizer().expect("a tokenizer");
    tokens(&tokenizer, &conversation, &options).expect("markers of chats")
}

/// Questions that want one word, and others that want a story, about the same things.
fn observed(engine: &mut Engine, things: &[&str]) -> Observed {
    let both = |thing: &&str| {
        ["Write a long story about", "Answer with one word. What is"]
            .map(|wish| prompt(engine, &format!("{wish} {thing}.")))
    };
    let pairs: Vec<_> = things.iter().map(both).collect();
    let look = Look { point: Point::Ffn, last: 1 };
    let mut told = Vec::new();
    let observed = observe(engine, &pairs, look, &mut |done| {
        told.push(done);
        Flow::Continue
    });
    assert_eq!(told, (0..2 * things.len()).collect::<Vec<_>>());
    observed.expect("Nano can be looked at").expect("nobody stopped it")
}

const THINGS: [&str; 8] =
    ["the sea", "bread", "the moon", "cats", "music", "snow", "bicycles", "honey"];
const OTHERS: [&str; 5] = ["birds", "mountains", "tea", "rain", "gardens"];

/// Pairs that the directions were not made from are told apart by them, in every layer.
#[test]
fn directions_of_real_pairs_tell_others_apart() {
    let mut engine = nano();
    let (made_from, others) = (observed(&mut engine, &THINGS), observed(&mut engine, &OTHERS));
    let built = made_from.directions(0..made_from.layers);
    let width = others.width;
    for (layer, row) in built.directions.values.chunks_exact(width).enumerate() {
        let along = |seen: &Vec<f32>| -> f32 {
            seen[layer * width..][..width].iter().zip(row).map(|(y, v)| y * v).sum()
        };
        let right = others.pairs.iter().filter(|[a, b]| along(a) > along(b)).count();
        println!("layer {layer}: {right} of {}, {:?}", OTHERS.len(), built.layers[layer]);
        assert_eq!(right, OTHERS.len(), "layer {layer}");
    }
    let stopped = observe(
        &mut engine,
        &[[vec![TokenId(1)], vec![TokenId(2)]]],
        Look { point: Point::Attention, last: 1 },
        &mut |_| Flow::Stop,
    );
    assert_eq!(stopped.expect("no error"), None);
}

/// More of the story direction makes Nano's answers longer, and less likely for Nano as it is.
#[test]
fn answers_change_with_the_scale() {
    let mut engine = nano();
    let observed = observed(&mut engine, &THINGS);
    let built = observed.directions(0..observed.layers);
    engine.load_directions(&built.directions.values, Steer::NONE).expect("directions");
    let asked = ["a dog", "the night", "a road"];
    let prompts = asked.map(|thing| prompt(&engine, &format!("Tell me about {thing}.")));
    let steer = |ffn| Steer::new(ffn, 0.0).expect("a scale");
    let ways = [Steer::NONE, steer(-4.0)];
    let expression = Regex::new(r"\w+").expect("an expression");
    let asked =
        Sweep { prompts: &prompts, ways: &ways, tokens_max: 48, expression: Some(&expression) };
    let rows = sweep(&mut engine, &asked, &mut |_| Flow::Continue);
    let rows = rows.expect("a sweep").expect("nobody stopped it");
    rows.iter().for_each(|row| println!("{row:?}"));
    let [plain, pushed] = rows[..] else { panic!("two rows") };
    assert_eq!((plain.steer, plain.answers, plain.same), (Steer::NONE, 3, 3));
    assert_eq!(pushed.same, 0);
    assert!(pushed.tokens > 1.2 * plain.tokens);
    assert!(pushed.found > plain.found);
    assert!(pushed.nll > plain.nll);

    // The figures of the first row, by another way: token after token.
    let mut nats = 0.0;
    let mut count = 0;
    for prompt in &prompts {
        let mut session = engine.open_session().expect("a session");
        let go_on = &mut || Flow::Continue;
        let given = answer(&mut engine, &mut session, prompt, Steer::NONE, 48, go_on);
        let given = given.expect("an answer").tokens;
        engine.sync(&mut session, prompt, &mut |_| Flow::Continue).expect("a sync");
        for token in &given {
            let logits = session.logits();
            let sum: f64 = logits.iter().map(|v| f64::from(*v).exp()).sum();
            nats += sum.ln() - f64::from(logits[token.0 as usize]);
            engine.step(&mut session, *token).expect("a step");
        }
        count += given.len();
    }
    assert_eq!(plain.tokens, count as f64 / 3.0);
    let nll = plain.nll.expect("tokens");
    assert!((nll - nats / count as f64).abs() < 1e-9 * nll.max(1.0), "{nll}");
}

#[test]
fn a_sweep_can_be_stopped() {
    let mut engine = nano();
    let prompts = [prompt(&engine, "Tell me about a dog.")];
    let asked = Sweep { prompts: &prompts, ways: &[Steer::NONE], tokens_max: 20, expression: None };
    let mut left = 5;
    let rows = sweep(&mut engine, &asked, &mut |_| {
        left -= 1;
        if left == 0 { Flow::Stop } else { Flow::Continue }
    });
    assert_eq!(rows.expect("no error"), None);
}
