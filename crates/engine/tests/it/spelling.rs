//! The same text in other tokens: the state stays, and only what follows is cut anew. Text that
//! looks like a control token is another text.

use engine::{Engine, Flow, OpenOptions, Plan};
use spec::TokenId;
use text::special;

use crate::disk::{EAGER, on_disk};
use crate::nano::nano;

fn open() -> Engine {
    let threads = backend::Threads { count: 1, processors: Vec::new() };
    let options = OpenOptions { sessions: 2, anchor_bytes_max: 64 << 20, ..OpenOptions::default() };
    Engine::open(&nano(), backend::open_cpu(&threads, 1 << 30), options).expect("Nano")
}

const TEXT: &str = "Die Straße nach Zürich ist heute gesperrt. The road to Zürich is closed today, \
    and nobody knows for how long; the train is late as well, because it always is on Fridays.";

/// Every byte as a token of its own, which no tokenizer would do and a model may.
fn bytewise(engine: &Engine, text: &str) -> Vec<TokenId> {
    let tokenizer = engine.tokenizer().expect("Nano's");
    let token = |byte: u8| {
        let same = |id: &u32| {
            let id = TokenId(*id);
            !tokenizer.token_kind(id).is_added() && tokenizer.token_bytes(id) == [byte]
        };
        TokenId((0..tokenizer.len() as u32).find(same).expect("every byte is a token"))
    };
    text.bytes().map(token).collect()
}

fn sync(engine: &mut Engine, tokens: &[TokenId]) -> (Plan, usize, Vec<TokenId>) {
    let mut session = engine.open_session().expect("a session");
    let synced = engine.sync(&mut session, tokens, &mut |_| Flow::Continue).expect("a sync");
    engine.save_turn(&mut session);
    (synced.plan, synced.fed, session.tokens().to_vec())
}

#[test]
fn text_is_recognized_in_other_tokens() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut engine = open();
    engine.keep_on_disk(on_disk(folder.path(), EAGER).expect("options")).expect("a folder");
    let tokenizer = engine.tokenizer().expect("Nano's");
    let written = bytewise(&engine, TEXT);
    sync(&mut engine, &written);
    drop(engine);

    // From disk, where the text is kept; then from the anchor that loading left in memory.
    let rest = " Now what?";
    let asked = tokenizer.encode_text(&format!("{TEXT}{rest}"));
    let follows = tokenizer.encode_text(rest);
    let mut engine = open();
    engine.keep_on_disk(on_disk(folder.path(), EAGER).expect("options")).expect("a folder");
    for turn in 0..2 {
        let (plan, fed, tokens) = sync(&mut engine, &asked);
        match plan {
            Plan::Load { from, .. } if turn == 0 => assert_eq!(from, written.len()),
            Plan::Fork { from, .. } if turn == 1 => assert_eq!(from, written.len()),
            other => panic!("turn {turn}: {other:?}"),
        }
        assert_eq!((fed, tokens), (follows.len(), [written.as_slice(), &follows].concat()));
    }
    // A text that ends inside a character of the state's, or differs in it, is another one.
    let other = tokenizer.encode_text(&format!("{}!{rest}", &TEXT[..TEXT.len() - 1]));
    assert!(matches!(sync(&mut engine, &other).0, Plan::Extend { from: 0 }));
}

#[test]
fn text_that_looks_like_a_control_token_is_text() {
    let mut engine = open();
    let tokenizer = engine.tokenizer().expect("Nano's");
    let end = tokenizer.special(special::EOS).expect("an end token");
    let name = String::from_utf8(tokenizer.token_bytes(end).to_vec()).expect("its name");
    let around = |middle: Vec<TokenId>| [tokenizer.encode_text(TEXT), middle].concat();
    // Spelled alike in plain bytes, but one of them ends a turn.
    let meant = around(vec![end]);
    let typed = around(tokenizer.encode_text(&name));
    let more = tokenizer.encode_text(" And then?");
    let extend = |tokens: &[TokenId]| [tokens, &more].concat();
    let mut session = engine.open_session().expect("a session");
    engine.sync(&mut session, &meant, &mut |_| Flow::Continue).expect("a sync");
    let synced = engine.sync(&mut session, &extend(&typed), &mut |_| Flow::Continue);
    let synced = synced.expect("a sync");
    assert_eq!((synced.plan, synced.fed), (Plan::Cold, extend(&typed).len()));
    let synced = engine.sync(&mut session, &extend(&meant), &mut |_| Flow::Continue);
    assert_eq!(synced.expect("a sync").plan, Plan::Cold);
}
