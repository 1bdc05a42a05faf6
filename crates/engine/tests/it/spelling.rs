//! The same text in other tokens: the state stays, and only what follows is cut anew. Text that
//! looks like a control token is another text.

use engine::serve::{Event, Request, ServeOptions, Service, Source};
use engine::{Engine, Flow, OpenOptions, Plan, Remember};
use spec::TokenId;
use text::special;

use crate::disk::{EAGER, on_disk};
use crate::nano::nano;
use crate::serve::sampler;

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

/// A conversation comes back without the reasoning that was in its answer. It is gone on from all
/// the same where that was said, in memory and after a restart, and the reasoning stays in it.
#[test]
fn what_clients_leave_out_stays_in_the_state() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let serve = || {
        let disk = on_disk(folder.path(), EAGER).expect("options");
        let open = move || {
            let mut engine = open();
            engine.keep_on_disk(disk)?;
            Ok(engine)
        };
        Service::start(open, ServeOptions::default()).expect("a service")
    };
    let ask = |service: &Service, prompt: &[TokenId]| {
        let request = Request::new(prompt.to_vec(), sampler(0.0, 0), 30);
        let mut stream = service.handle().stream(request).expect("a place");
        let (mut tokens, mut kept) = (Vec::new(), Vec::new());
        loop {
            match stream.next().expect("an end") {
                Event::Token(token) => tokens.push(token.id),
                Event::Resumed { notes, .. } => kept = notes,
                Event::Finished(usage) => return (tokens, usage, kept),
                Event::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    };
    let engine = open();
    let ids = |text: &str| engine.tokenizer().expect("Nano's").encode_text(text);
    let question = ids(&format!("{TEXT} {TEXT} Why is that?"));
    let asked = [&question[..], &ids(" Let me think.")].concat();
    let mut service = serve();
    let (answer, usage, _) = ask(&service, &asked);
    // The last token of an answer is not fed, and so not in the state.
    let fed = [&asked[..], &answer[..29]].concat();
    let visible = [&question[..], &answer[20..29]].concat();
    let notes = b"the exact calls".to_vec();
    let remember = Remember { visible: visible.clone(), notes: notes.clone() };
    let state = usage.state.expect("a state in memory");
    service.handle().remember(state, remember).expect("a worker");

    let more = ids(" And what then?");
    let (want, ..) = ask(&serve_plain(), &[&fed[..], &more].concat());
    for (source, came) in [(Source::Memory, &b""[..]), (Source::Disk, &notes)] {
        let (got, usage, kept) = ask(&service, &[&visible[..], &more].concat());
        assert_eq!((usage.source, usage.cached), (source, fed.len()));
        assert_eq!((got, kept.as_slice()), (want.clone(), came), "{source:?}");
        drop(service);
        service = serve();
    }
    // A state that nobody has is nothing to learn about.
    service.handle().remember(state, Remember::default()).expect("a worker");
    // What was left out elsewhere is another conversation.
    let other = [&question[..], &answer[19..29], &more].concat();
    assert_ne!(ask(&service, &other).1.cached, fed.len());
}

fn serve_plain() -> Service {
    Service::start(|| Ok(open()), ServeOptions::default()).expect("a service")
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
