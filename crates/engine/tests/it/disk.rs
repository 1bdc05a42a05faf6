//! Conversations that outlive their process.

use std::path::Path;

use engine::serve::{Event, Handle, Request, ServeOptions, Service, Source, Usage};
use engine::{DiskOptions, Engine, Error, OpenOptions};
use kvstore::{Policy, Store};
use spec::TokenId;

use crate::serve::{conversation, hear, sampler};
use crate::session::{logits_after, tiny};

/// Saves short conversations as well.
pub const EAGER: Policy =
    Policy { min: 64, cold_max: 30_000, trim: 32, align: 256, continued: 512, turn: 1 };

fn options() -> OpenOptions {
    OpenOptions {
        context: 2000,
        step_tokens: 128,
        sessions: 2,
        anchor_bytes_max: 64 << 20,
        anchor_tokens: 512,
        ..OpenOptions::default()
    }
}

fn open(model: &Path, options: OpenOptions, disk: Option<DiskOptions>) -> Result<Engine, Error> {
    let threads = backend::Threads { count: 1, processors: Vec::new() };
    let mut engine = Engine::open(model, backend::open_cpu(&threads, 0), options)?;
    if let Some(disk) = disk {
        engine.keep_on_disk(disk)?;
    }
    Ok(engine)
}

pub fn on_disk(dir: &Path, policy: Policy) -> Option<DiskOptions> {
    Some(DiskOptions { dir: dir.to_owned(), bytes_max: 1 << 30, policy })
}

fn serve(dir: Option<&Path>) -> Service {
    let disk = dir.and_then(|dir| on_disk(dir, EAGER));
    let open = move || open(&tiny(), options(), disk);
    Service::start(open, ServeOptions::default()).expect("a service")
}

fn ask(handle: &Handle, prompt: &[TokenId], tokens: usize) -> (Vec<TokenId>, Usage) {
    let request = Request::new(prompt.to_vec(), sampler(0.0, 0), tokens);
    hear(&mut handle.stream(request).expect("a place"))
}

/// Three turns, each in a service of its own: the same answers as in one that never ended.
#[test]
fn a_restart_changes_nothing_but_the_source() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let always = serve(None);
    let mut text = conversation(1, 900);
    for turn in 0..3 {
        let service = serve(Some(folder.path()));
        let (got, usage) = ask(&service.handle(), &text, 40);
        let (want, _) = ask(&always.handle(), &text, 40);
        assert_eq!(got, want, "turn {turn}");
        let cached = text.len() - 31;
        match turn {
            0 => assert_eq!((usage.source, usage.cached), (Source::Cold, 0)),
            _ => assert_eq!((usage.source, usage.cached), (Source::Disk, cached), "turn {turn}"),
        }
        text.extend(got);
        text.extend(conversation(7 + turn, 30));
    }
    // Another conversation with the same beginning goes on from a state on the way.
    let mut other = conversation(1, 800);
    other.extend(conversation(5, 100));
    let service = serve(Some(folder.path()));
    let (got, usage) = ask(&service.handle(), &other, 10);
    assert_eq!((usage.source, usage.cached), (Source::Disk, 512));
    assert_eq!(got, ask(&always.handle(), &other, 10).0);
}

/// Rows are written once: what a turn writes is one page, and what is no row.
#[test]
fn turns_write_what_is_new() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let policy = Policy { cold_max: 0, continued: 0, ..EAGER };
    let mut engine = open(&tiny(), options(), on_disk(folder.path(), policy)).expect("an engine");
    let mut session = engine.open_session().expect("a session");
    let text = conversation(1, 1900);
    // The same part of a page is open after each turn, so that only pages make a difference.
    let written = [1300, 1428, 1556, 1684].map(|end| {
        engine.sync(&mut session, &text[..end], &mut |_| engine::Flow::Continue).expect("a sync");
        engine.save_turn(&mut session);
        let saved =
            engine.flush_checkpoints().into_iter().map(|outcome| outcome.result.expect("saved"));
        saved.map(|saved| saved.bytes_written).sum::<u64>()
    });
    let page = engine.page_bytes() as u64;
    println!("written: {written:?}, a page has {page} bytes");
    for later in &written[1..] {
        // Ten pages then, one now. Tokens and text are written again, 4 and some 3 bytes each.
        let (rows, words) = (9 * page, 8 * 1684);
        assert!(*later > page && later + rows < written[0] + words, "{written:?}");
    }
}

/// What a save takes from whoever computes is bounded, however long the conversation is: no full
/// page when it is asked for, a few between two steps, and none that the store has. What is saved
/// is the state of the moment, although the session goes on meanwhile.
#[test]
fn a_save_reads_a_few_pages_per_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let policy = Policy { cold_max: 0, continued: 0, ..EAGER };
    let mut engine = open(&tiny(), options(), on_disk(folder.path(), policy)).expect("an engine");
    let mut session = engine.open_session().expect("a session");
    let text = conversation(1, 1900);
    engine.sync(&mut session, &text, &mut |_| engine::Flow::Continue).expect("a sync");
    engine.save_turn(&mut session);
    let read = |engine: &Engine| engine.save_stats().pages_read;
    let mut per_step = vec![read(&engine)];
    for token in conversation(3, 4) {
        let before = read(&engine);
        engine.step(&mut session, token).expect("a step");
        per_step.push(read(&engine) - before);
    }
    assert_eq!(per_step, [0, engine::STEP_PAGES, 14 - engine::STEP_PAGES, 0, 0]);
    assert!(engine.flush_checkpoints().iter().all(|outcome| outcome.result.is_ok()));
    engine.save_turn(&mut session);
    engine.flush_checkpoints();
    let stats = engine.save_stats();
    assert_eq!((stats.states, stats.pages_read, stats.pages_known), (2, 14, 14));
    assert_eq!(stats.pages_at_once, engine::STEP_PAGES);
    drop((session, engine));

    let other = [&text[..], &conversation(5, 3)].concat();
    let mut engine = open(&tiny(), options(), on_disk(folder.path(), policy)).expect("an engine");
    let mut session = engine.open_session().expect("a session");
    let synced = engine.sync(&mut session, &other, &mut |_| engine::Flow::Continue);
    let plan = synced.expect("a sync").plan;
    assert!(matches!(plan, engine::Plan::Load { from: 1900, .. }), "{plan:?}");
    let mut fresh = open(&tiny(), options(), None).expect("an engine");
    assert_eq!(session.logits(), logits_after(&mut fresh, &other));
}

/// Row pages of idle sessions go to whoever needs them, a few per step since they are saved first.
#[test]
fn sessions_that_make_room_are_saved_first() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let policy = Policy { cold_max: 0, continued: 0, turn: 9999, ..EAGER };
    let page = open(&tiny(), options(), None).expect("an engine").page_bytes();
    let few = OpenOptions { row_bytes_max: Some(16 * page), sessions: 3, ..options() };
    let disk = on_disk(folder.path(), policy);
    let service = Service::start(move || open(&tiny(), few, disk), ServeOptions::default());
    let service = service.expect("a service");
    let texts = [1, 2, 3].map(|kind| conversation(kind, 1500));
    let plain = serve(None);
    let mut answer = Vec::new();
    for text in texts.iter().rev().chain(&texts).rev() {
        answer = ask(&service.handle(), text, 5).0;
        assert_eq!(answer, ask(&plain.handle(), text, 5).0);
    }
    let report = service.handle().report().expect("a worker");
    assert!(report.saves.states >= 3, "{report:?}");
    assert!(report.saves.pages_at_once <= engine::STEP_PAGES, "{report:?}");
    let disk = report.disk.expect("a folder");
    assert!(disk.checkpoints > 0 && (1..=disk.bytes_max).contains(&disk.bytes), "{disk:?}");
    assert_eq!(plain.handle().report().expect("a worker").disk, None);
    let more = [&texts[2][..], &answer, &conversation(7, 40)].concat();
    ask(&service.handle(), &texts[1], 1);
    assert_eq!(service.notices().expect("not taken").try_iter().count(), 0);
    drop(service);
    let service = serve(Some(folder.path()));
    let (_, usage) = ask(&service.handle(), &more, 1);
    assert_eq!((usage.source, usage.cached), (Source::Disk, 1504), "{usage:?}");
}

/// A folder without room fails no request, and is told once.
#[test]
fn what_cannot_be_saved_is_told_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = DiskOptions { dir: folder.path().to_owned(), bytes_max: 5000, policy: EAGER };
    let service =
        Service::start(move || open(&tiny(), options(), Some(disk)), ServeOptions::default());
    let service = service.expect("a service");
    let notices = service.notices().expect("not taken");
    assert!(service.notices().is_none());
    for kind in 0..3 {
        assert_eq!(ask(&service.handle(), &conversation(kind, 700), 3).0.len(), 3);
    }
    drop(service);
    let told: Vec<String> = notices.iter().map(|notice| notice.to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("a conversation was not saved: "), "{told:?}");
    assert!(told[0].contains("5000") && !told[0].contains('\n'), "{told:?}");
}

/// A session that goes back to an anchor holds another conversation, and saving that is its own
/// matter.
#[test]
fn a_branch_is_saved_although_the_trunk_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let policy = Policy { cold_max: 0, continued: 0, turn: 500, ..EAGER };
    let mut engine = open(&tiny(), options(), on_disk(folder.path(), policy)).expect("an engine");
    let mut session = engine.open_session().expect("a session");
    let trunk = conversation(1, 1300);
    let branch = [&trunk[..1100], &conversation(6, 100)].concat();
    for (text, back) in [(&trunk, false), (&branch, true)] {
        let synced = engine.sync(&mut session, text, &mut |_| engine::Flow::Continue);
        let plan = synced.expect("a sync").plan;
        assert_eq!(matches!(plan, engine::Plan::Rewind { from: 1024, .. }), back, "{plan:?}");
        engine.save_turn(&mut session);
        let saved = engine.flush_checkpoints();
        assert!(saved.len() == 1 && saved[0].result.is_ok(), "{saved:?}");
    }
}

#[test]
fn notes_come_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prompt = conversation(2, 300);
    let ask = |notes: &[u8]| {
        let service = serve(Some(folder.path()));
        let mut request = Request::new(prompt.clone(), sampler(0.0, 0), 3);
        request.notes = notes.to_vec();
        let mut stream = service.handle().stream(request).expect("a place");
        let mut kept = None;
        for event in stream.by_ref() {
            if let Event::Resumed { notes, .. } = event {
                kept = Some(notes);
            }
        }
        kept.expect("it had a session")
    };
    assert_eq!(ask(b"the replay map"), b"");
    assert_eq!(ask(b""), b"the replay map");
    assert_eq!(ask(b""), b"the replay map");
}

/// Damage anywhere costs a prefill, and is never taken for a state.
#[test]
fn damaged_checkpoints_are_not_used() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prompt = conversation(3, 600);
    let (want, _) = ask(&serve(Some(folder.path())).handle(), &prompt, 20);
    let packs = || {
        let files = std::fs::read_dir(folder.path()).expect("the folder");
        let paths = files.map(|file| file.expect("a file").path());
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "pack"))
    };
    assert!(packs().count() > 0);
    for path in packs() {
        let mut bytes = std::fs::read(&path).expect("a pack");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("a damaged pack");
    }
    let service = serve(Some(folder.path()));
    let notices = service.notices().expect("not taken");
    let (got, usage) = ask(&service.handle(), &prompt, 20);
    assert_eq!(got, want);
    assert_ne!((usage.source, usage.cached), (Source::Disk, 600), "{usage:?}");
    drop(service);
    let told: Vec<String> = notices.iter().map(|notice| notice.to_string()).collect();
    assert_eq!(told.len(), 1, "one line for one conversation: {told:?}");
    assert!(told[0].contains("computed again: ") && told[0].contains(".pack"), "{told:?}");
}

#[test]
fn one_process_at_a_time_and_one_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let service = serve(Some(folder.path()));
    ask(&service.handle(), &conversation(4, 300), 3);
    let second = open(&tiny(), options(), on_disk(folder.path(), EAGER));
    let message = second.map(|_| ()).expect_err("the folder is locked").to_string();
    assert!(message.contains(&folder.path().display().to_string()), "{message}");
    drop(service);
    assert!(!Store::look(folder.path()).expect("the folder").list().is_empty());
    // Rows in another format are another recipe: nothing is found, and nothing is lost.
    let exact = OpenOptions { rows: backend::RowFormat::RoundedF32, ..options() };
    let disk = on_disk(folder.path(), EAGER);
    let service = Service::start(move || open(&tiny(), exact, disk), ServeOptions::default());
    let service = service.expect("a service");
    let (_, usage) = ask(&service.handle(), &conversation(4, 300), 3);
    assert_eq!(usage.source, Source::Cold);
    drop(service);
    let (_, usage) = ask(&serve(Some(folder.path())).handle(), &conversation(4, 300), 3);
    assert_eq!(usage.source, Source::Disk);
}

/// One of two conversations that begin alike is forgotten: what is written, what waits to be, what
/// is in memory, and what would be saved at the end. The other one and the beginning stay.
#[test]
fn a_conversation_is_forgotten_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shared = 300;
    let of = |kind| [&conversation(1, shared)[..], &conversation(kind, 200)].concat();
    let (mut one, mut other) = (of(2), of(3));
    let told = |service: &Service, text: &[TokenId]| {
        let boundaries = vec![shared];
        let request = Request { boundaries, ..Request::new(text.to_vec(), sampler(0.0, 0), 20) };
        hear(&mut service.handle().stream(request).expect("a place"))
    };
    let kept = || -> Vec<usize> {
        let list = Store::look(folder.path()).expect("a folder").list();
        let mut tokens: Vec<_> = list.into_iter().map(|info| info.tokens).collect();
        tokens.sort_unstable();
        tokens
    };
    let service = serve(Some(folder.path()));
    other.extend(told(&service, &other).0);
    one.extend(told(&service, &one).0);
    assert_eq!(service.handle().forget(one.clone(), shared).expect("it goes"), 1);
    assert_eq!(service.handle().forget(one.clone(), shared).expect("nothing is left"), 0);
    drop(service);
    assert_eq!(kept(), [shared, shared + 200 + 19], "the beginning, and the other one");
    let service = serve(Some(folder.path()));
    let (_, usage) = told(&service, &one);
    assert_eq!((usage.source, usage.cached), (Source::Disk, shared));
    let (_, usage) = told(&service, &other);
    assert_eq!((usage.source, usage.cached), (Source::Disk, shared + 200 + 19));
    // In memory as well: the same prompt again is read again.
    service.handle().forget(one.clone(), shared).expect("it goes");
    let (_, usage) = told(&service, &one);
    assert_eq!(usage.cached, shared, "{usage:?}");
}
