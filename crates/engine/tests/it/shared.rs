//! Conversations that share their beginnings: what is computed, what is shared, what goes first.
//! Logits are compared to the bit with those of a session that was fed from the start.

use engine::{Engine, Flow, OpenOptions, Plan, Session};
use spec::TokenId;

use crate::session::{logits_after, prompt, tiny};

const MIB: usize = 1 << 20;

fn open(options: OpenOptions) -> Engine {
    let threads = backend::Threads { count: 1, processors: Vec::new() };
    Engine::open(&tiny(), backend::open_cpu(&threads, 0), options).expect("the tiny model")
}

fn options() -> OpenOptions {
    OpenOptions {
        context: 1000,
        step_tokens: 100,
        sessions: 4,
        anchor_bytes_max: 64 * MIB,
        anchor_tokens: 256,
        ..OpenOptions::default()
    }
}

fn sync(engine: &mut Engine, session: &mut Session, tokens: &[TokenId]) -> (Plan, usize) {
    let synced = engine.sync(session, tokens, &mut |_| Flow::Continue).expect("a sync");
    assert!(synced.complete);
    (synced.plan, synced.fed)
}

/// Another ending of the same conversation.
fn other(tokens: &[TokenId], from: usize, len: usize) -> Vec<TokenId> {
    let tail = (0..len as u32).map(|i| TokenId(5 + i * 17 % 480));
    tokens[..from].iter().copied().chain(tail).collect()
}

#[test]
fn a_new_conversation_goes_on_from_a_known_beginning() {
    let mut engine = open(options());
    let mut plain = open(OpenOptions { anchor_bytes_max: 0, ..options() });
    let long = prompt(700);
    let mut first = engine.open_session().expect("a session");
    assert_eq!(sync(&mut engine, &mut first, &long), (Plan::Extend { from: 0 }, 700));
    assert_eq!(engine.held().anchors, 2, "after 256 and 512 tokens");

    let branch = other(&long, 600, 60);
    let mut second = engine.open_session().expect("a session");
    let (plan, fed) = sync(&mut engine, &mut second, &branch);
    assert!(matches!(plan, Plan::Fork { from: 512, .. }), "{plan:?}");
    assert_eq!(fed, 148);
    assert_eq!(second.logits(), logits_after(&mut plain, &branch));

    // The first one departs from what it holds, and rewinds.
    let branch = other(&long, 300, 10);
    let (plan, fed) = sync(&mut engine, &mut first, &branch);
    assert!(matches!(plan, Plan::Rewind { from: 256, .. }), "{plan:?}");
    assert_eq!(fed, 54);
    assert_eq!(first.logits(), logits_after(&mut plain, &branch));
    // Nothing that the other holds was disturbed.
    let more = other(second.tokens(), 660, 30);
    assert_eq!(sync(&mut engine, &mut second, &more), (Plan::Extend { from: 660 }, 30));
    assert_eq!(second.logits(), logits_after(&mut plain, &more));
}

#[test]
fn forks_share_all_full_pages() {
    let mut engine = open(options());
    let mut plain = open(OpenOptions { anchor_bytes_max: 0, ..options() });
    let long = prompt(650);
    let mut first = engine.open_session().expect("a session");
    sync(&mut engine, &mut first, &long);
    let before = engine.held().row_pages_left;
    let mut forks = [0, 1].map(|_| engine.fork_session(&first).expect("a fork"));
    assert_eq!(before - engine.held().row_pages_left, 2, "a part of a page for each");
    for (i, fork) in forks.iter_mut().enumerate() {
        assert_eq!(fork.logits(), first.logits());
        let branch = other(&long, 650, 40 + i);
        assert_eq!(sync(&mut engine, fork, &branch), (Plan::Extend { from: 650 }, 40 + i));
        assert_eq!(fork.logits(), logits_after(&mut plain, &branch));
    }
    drop(forks);
    assert_eq!(before, engine.held().row_pages_left);
}

/// Two sessions compute the same at once; from the first anchor on they hold the same pages.
#[test]
fn what_two_computed_is_held_once() {
    let mut engine = open(options());
    let long = prompt(512);
    let total = engine.held().row_pages_left;
    let mut sessions = [0, 1].map(|_| engine.open_session().expect("a session"));
    for end in [200, 400] {
        sync(&mut engine, &mut sessions[0], &long[..end]);
    }
    // The anchor after 256 tokens would be found, so this one begins where there is none yet.
    sync(&mut engine, &mut sessions[1], &long[..200]);
    sync(&mut engine, &mut sessions[1], &long);
    assert!(total - engine.held().row_pages_left <= 6, "{:?}", engine.held());
}

/// Row pages for two conversations and a half; anchors of old ones go, sessions never.
#[test]
fn old_states_make_room_and_sessions_do_not() {
    let page_bytes = {
        let engine = open(options());
        engine.page_bytes()
    };
    let row_bytes_max = Some(10 * page_bytes + 5);
    let mut engine = open(OpenOptions { row_bytes_max, ..options() });
    assert_eq!(engine.held().row_pages_left, 10);
    for kind in 0..6u32 {
        let tokens: Vec<_> = prompt(512).into_iter().map(|t| TokenId((t.0 + kind) % 512)).collect();
        let mut session = engine.open_session().expect("a session");
        assert_eq!(sync(&mut engine, &mut session, &tokens), (Plan::Extend { from: 0 }, 512));
    }
    let mut held = engine.open_session().expect("a session");
    sync(&mut engine, &mut held, &prompt(999));
    assert!(engine.held().row_pages_left <= 2, "eight pages are the session's");
    let mut more = engine.open_session().expect("a session");
    let tokens = other(&prompt(999), 0, 400);
    let error = engine.sync(&mut more, &tokens, &mut |_| Flow::Continue).expect_err("no room");
    let bytes = 10 * page_bytes;
    let said = format!("all 10 pages of 128 tokens ({bytes} bytes) are in use");
    assert!(error.to_string().contains(&said), "{error}");
    // Both are still valid, and there is room again when one is closed.
    assert_eq!(held.tokens(), prompt(999));
    drop(held);
    sync(&mut engine, &mut more, &tokens);
}

#[test]
fn kept_states_stay_within_their_budget() {
    let mut engine = open(options());
    let mut session = engine.open_session().expect("a session");
    sync(&mut engine, &mut session, &prompt(900));
    let held = engine.held();
    assert_eq!(held.anchors, 3);
    let one = held.anchor_bytes / 3;
    let mut engine = open(OpenOptions { anchor_bytes_max: 2 * one + one / 2, ..options() });
    let mut session = engine.open_session().expect("a session");
    sync(&mut engine, &mut session, &prompt(900));
    let held = engine.held();
    assert!(held.anchors == 2 && held.anchor_bytes <= 2 * one + one / 2, "{held:?}");
}
