//! Conversations that are steered each in its own way share nothing: not rows, not kept states, not
//! checkpoints. On a CPU each has the bits that it has alone.

use std::path::Path;

use engine::serve::{Event, Request, ServeOptions, Service, Source, Usage};
use engine::{Engine, Error, Flow, OpenOptions, Plan, Point, Steer};
use kvstore::Store;
use spec::TokenId;

use crate::disk::{EAGER, on_disk};
use crate::serve::{conversation, hear, sampler};
use crate::session::tiny;

fn options() -> OpenOptions {
    OpenOptions {
        context: 1000,
        step_tokens: 128,
        sessions: 4,
        anchor_bytes_max: 64 << 20,
        anchor_tokens: 128,
        ..OpenOptions::default()
    }
}

/// Directions for the tiny model, `kind` telling them apart; `None` loads none.
fn open(kind: Option<usize>, usual: Steer, options: OpenOptions, disk: Option<&Path>) -> Engine {
    let threads = backend::Threads { count: 1, processors: Vec::new() };
    let mut engine =
        Engine::open(&tiny(), backend::open_cpu(&threads, 0), options).expect("the tiny model");
    if let Some(kind) = kind {
        let (layers, width) = (engine.shape().layers, engine.shape().hidden);
        let value = |i: usize| ((i * (7 + 2 * kind)) % 17) as f32 - 8.0;
        let scale = 1.0 / (24.0 * width as f32).sqrt();
        let directions: Vec<f32> = (0..layers * width).map(|i| value(i) * scale).collect();
        engine.load_directions(&directions, usual).expect("directions");
    }
    if let Some(disk) = disk.and_then(|dir| on_disk(dir, EAGER)) {
        engine.keep_on_disk(disk).expect("a folder");
    }
    engine
}

fn steer(ffn: f32, attention: f32) -> Steer {
    Steer::new(ffn, attention).expect("scales")
}

fn ways() -> [Steer; 4] {
    [Steer::NONE, steer(1.0, 0.0), steer(1.0, 0.5), steer(-2.0, 0.0)]
}

/// What a session steered like that comes to in an engine that keeps nothing.
fn alone(kind: Option<usize>, way: Steer, tokens: &[TokenId]) -> Vec<u32> {
    let mut engine = open(kind, way, OpenOptions { anchor_bytes_max: 0, ..options() }, None);
    let mut session = engine.open_session().expect("a session");
    engine.sync(&mut session, tokens, &mut |_| Flow::Continue).expect("a sync");
    bits(session.logits())
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|v| v.to_bits()).collect()
}

/// One session after the other, the same prompt, with kept states: nobody goes on from another's.
/// Coming back, each finds its own.
#[test]
fn kept_states_are_found_by_those_who_are_steered_alike() {
    let tokens = conversation(0, 300);
    let mut engine = open(Some(0), Steer::NONE, options(), None);
    let want = ways().map(|way| alone(Some(0), way, &tokens));
    assert_eq!(want[0], alone(None, Steer::NONE, &tokens), "directions alone change nothing");
    for (i, a) in want.iter().enumerate() {
        assert!(!want[i + 1..].contains(a), "way {i} is like another");
    }
    for round in 0..2 {
        for (way, want) in ways().into_iter().zip(&want) {
            let mut session = engine.open_session().expect("a session");
            engine.set_steer(&mut session, way).expect("directions");
            let synced = engine.sync(&mut session, &tokens, &mut |_| Flow::Continue);
            let plan = synced.expect("a sync").plan;
            match round {
                0 => assert_eq!(plan, Plan::Extend { from: 0 }, "{way:?}"),
                _ => assert!(matches!(plan, Plan::Fork { from: 256, .. }), "{way:?}: {plan:?}"),
            }
            assert_eq!(&bits(session.logits()), want, "{way:?}, round {round}");
            // A fork is steered as what it comes from.
            let fork = engine.fork_session(&session).expect("a fork");
            assert_eq!((fork.steer(), fork.logits()), (way, session.logits()));
        }
    }
    assert_eq!(engine.held().anchors, 4 * 2);
}

/// A session that is steered otherwise has forgotten what it held; said again, it has not.
#[test]
fn another_steering_forgets_the_state() {
    let tokens = conversation(0, 60);
    let mut engine = open(Some(0), steer(1.0, 0.0), options(), None);
    let mut session = engine.open_session().expect("a session");
    assert_eq!(session.steer(), steer(1.0, 0.0), "as the engine's sessions are");
    for (way, plan) in [
        (steer(1.0, 0.0), Plan::Extend { from: 0 }),
        (steer(1.0, -0.0), Plan::Keep),
        (Steer::NONE, Plan::Extend { from: 0 }),
        (steer(1.0, 0.0), Plan::Extend { from: 0 }),
    ] {
        engine.set_steer(&mut session, way).expect("directions");
        let synced = engine.sync(&mut session, &tokens, &mut |_| Flow::Continue).expect("a sync");
        assert_eq!(synced.plan, plan, "{way:?}");
        assert_eq!(bits(session.logits()), alone(Some(0), way, &tokens));
    }
    let mut plain = open(None, Steer::NONE, options(), None);
    let mut session = plain.open_session().expect("a session");
    plain.set_steer(&mut session, Steer::NONE).expect("nothing is asked");
    let error = plain.set_steer(&mut session, steer(0.0, 1.0)).expect_err("nothing is loaded");
    assert!(matches!(error, Error::NoDirections), "{error}");
    assert!(error.to_string().contains("--steer FILE"), "{error}");
}

/// Across restarts: each way, and each file of directions, finds what it saved itself. What is not
/// steered is saved as without directions, under the same names.
#[test]
fn checkpoints_are_found_by_those_who_are_steered_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokens = conversation(0, 300);
    let visit = |kind: Option<usize>, way: Steer| {
        let mut engine = open(kind, way, options(), Some(folder.path()));
        let mut session = engine.open_session().expect("a session");
        let synced = engine.sync(&mut session, &tokens, &mut |_| Flow::Continue);
        engine.save_turn(&mut session);
        assert!(engine.flush_checkpoints().iter().all(|outcome| outcome.result.is_ok()));
        assert_eq!(engine.notices(), []);
        assert_eq!(bits(session.logits()), alone(kind, way, &tokens), "{kind:?} {way:?}");
        synced.expect("a sync").plan
    };
    let names = || -> Vec<String> {
        let store = Store::look(folder.path()).expect("a folder");
        let ids = store.list().into_iter().map(|info| format!("{} {}", info.id, info.recipe));
        let mut names: Vec<String> = ids.collect();
        names.sort();
        names
    };
    let loaded = |plan| matches!(plan, Plan::Load { from: 300, .. });
    assert_eq!(visit(Some(0), Steer::NONE), Plan::Extend { from: 0 });
    let plain = names();
    assert!(loaded(visit(None, Steer::NONE)), "without directions, as with them");
    assert_eq!(names(), plain);
    for way in &ways()[1..] {
        assert_eq!(visit(Some(0), *way), Plan::Extend { from: 0 }, "{way:?}");
    }
    assert_eq!(visit(Some(1), ways()[1]), Plan::Extend { from: 0 }, "other directions");
    for way in ways() {
        assert!(loaded(visit(Some(0), way)), "{way:?}");
    }
    assert!(loaded(visit(Some(1), ways()[1])));
    let steered: Vec<String> = names().into_iter().filter(|name| !plain.contains(name)).collect();
    assert!(steered.iter().all(|name| name.contains("; steered ")), "{steered:?}");
    let mut engine = open(Some(0), Steer::NONE, options(), Some(folder.path()));
    assert!(engine.forget(&tokens, 0).expect("a disk") > 4);
    drop(engine);
    assert_eq!(names(), [""; 0], "forgotten however it was steered");
}

fn serve(kind: Option<usize>, usual: Steer, options: OpenOptions) -> Service {
    let open = move || Ok(open(kind, usual, options, None));
    Service::start(open, ServeOptions::default()).expect("a service")
}

fn request(way: Option<Steer>, tokens: &[TokenId], seed: u64) -> Request {
    Request { steer: way, ..Request::new(tokens.to_vec(), sampler(1.0, seed), 20) }
}

/// The same prompt in many ways at once: nobody follows one who is steered otherwise, and every
/// answer is the one that it is alone. Those who are steered alike still read a prompt once.
#[test]
fn answers_of_one_batch_are_those_of_each_alone() {
    let tokens = conversation(0, 300);
    let asked: Vec<Option<Steer>> =
        ways().into_iter().chain(ways()).map(Some).chain([None]).collect();
    let cold = OpenOptions { anchor_bytes_max: 0, ..options() };
    let service = serve(Some(0), steer(-2.0, 0.0), cold);
    let ask = |service: &Service, way, seed| -> (Vec<TokenId>, Usage) {
        hear(&mut service.handle().stream(request(way, &tokens, seed)).expect("a place"))
    };
    let seeds = || asked.iter().enumerate();
    let alone: Vec<_> = seeds().map(|(i, way)| ask(&service, *way, i as u64 % 4).0).collect();
    assert_eq!(alone[8], ask(&service, Some(steer(-2.0, 0.0)), 0).0, "the usual way");
    assert_ne!(alone[0], ask(&service, Some(steer(1.0, 0.0)), 0).0);
    let service = serve(Some(0), steer(-2.0, 0.0), OpenOptions { sessions: 9, ..options() });
    let stream = |(i, way): (usize, &Option<Steer>)| {
        service.handle().stream(request(*way, &tokens, i as u64 % 4)).expect("a place")
    };
    let mut streams: Vec<_> = seeds().map(stream).collect();
    let together: Vec<_> = streams.iter_mut().map(hear).collect();
    for (i, (answer, usage)) in together.iter().enumerate() {
        assert_eq!(answer, &alone[i], "answer {i}");
        let first = i < 4;
        let from = if first { (Source::Cold, 0) } else { (Source::Memory, 300) };
        assert_eq!((usage.source, usage.cached), from, "answer {i}");
    }
    // And again, one after the other, in sessions that were steered in all ways.
    for (i, way) in seeds() {
        assert_eq!(ask(&service, *way, i as u64 % 4).0, alone[i], "again, {i}");
    }
}

#[test]
fn a_request_that_cannot_be_steered_is_refused() {
    let service = serve(None, Steer::NONE, options());
    let tokens = conversation(0, 10);
    let hear_first =
        |way| service.handle().stream(request(way, &tokens, 0)).expect("a place").last();
    let Some(Event::Failed(error)) = hear_first(Some(steer(1.0, 0.0))) else { panic!("an answer") };
    assert!(matches!(*error, Error::NoDirections), "{error}");
    assert!(matches!(hear_first(Some(Steer::NONE)), Some(Event::Finished(_))));
    assert_eq!(service.handle().info().steering, None);
}

/// The mean over the last tokens is that of looking at each, and looking disturbs nobody.
#[test]
fn activations_are_means_over_the_last_tokens() {
    let tokens = conversation(0, 200);
    let mut engine = open(Some(0), steer(1.0, 0.0), options(), None);
    for point in [Point::Ffn, Point::Attention] {
        let mut each = [199, 200]
            .map(|end| engine.activations(&tokens[..end], 1, point).expect("activations"));
        let mean = engine.activations(&tokens, 2, point).expect("activations");
        let [first, last] = &mut each;
        assert_ne!(first, last);
        assert_eq!(mean.len(), engine.shape().layers * engine.shape().hidden);
        for ((mean, a), b) in mean.iter().zip(first).zip(last) {
            assert!((mean - (*a + *b) / 2.0).abs() <= 1e-6 * (a.abs() + b.abs()), "{mean} {a} {b}");
        }
    }
    let mut session = engine.open_session().expect("a session");
    engine.sync(&mut session, &tokens, &mut |_| Flow::Continue).expect("a sync");
    assert_eq!(bits(session.logits()), alone(Some(0), steer(1.0, 0.0), &tokens));
}
