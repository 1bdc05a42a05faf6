//! Reading ahead: what is there is read before anybody asks, and nobody waits for it.

use std::time::{Duration, Instant};

use agent::event::TurnEnd;
use agent::{Open, Settings};
use engine::serve::Source;

use crate::nano::{Seen, serve, watched};
use crate::script::Script;
use crate::support::{kept_in, read, settings, start};

/// Whoever asks does not wait: the script's model reads until it is told to end.
#[test]
fn a_prompt_ends_reading_ahead() {
    let script = Script::new(8192, &["\u{23f8}", "Hi.", "\u{23f8}", "Well."]);
    let mut held = start(script.clone(), vec![], Settings { read_ahead: true, ..settings() });
    let until = Instant::now() + Duration::from_secs(10);
    while script.asked().is_empty() {
        assert!(Instant::now() < until, "nothing is read ahead");
        std::thread::sleep(Duration::from_millis(1));
    }
    let tokens = held.status().tokens;
    let began = Instant::now();
    assert_eq!(held.ask("hello").0, TurnEnd::Done);
    assert!(began.elapsed() < Duration::from_secs(5));
    held.command("/new");
    while script.asked().len() < 3 {
        assert!(Instant::now() < until, "nothing is read ahead");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(held.ask("and?").0, TurnEnd::Done);
    let asked = script.asked();
    let ahead: Vec<_> = asked.iter().map(|asked| asked.most == 0).collect();
    assert_eq!(ahead, [true, false, true, false]);
    assert_eq!((asked[0].prompt.len(), asked[0].boundaries.as_slice()), (tokens, &[tokens][..]));
    assert!(asked[1].prompt.starts_with(&asked[0].prompt));
    held.quit();
}

/// With a real engine: instructions at the start, and a conversation that is gone on with.
#[test]
fn the_first_prompt_finds_everything_read() {
    let (kept, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = |open| Settings { read_ahead: true, open, ..kept_in(kept.path()) };
    let wait = |seen: &dyn Fn() -> Vec<Seen>, count: usize| {
        let until = Instant::now() + Duration::from_secs(60);
        while !seen().get(count - 1).is_some_and(|seen| seen.done) {
            assert!(Instant::now() < until, "nothing is read ahead");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let service = serve(4096, Some(disk.path()));
    let (model, list) = watched(&service);
    let seen = || list.lock().unwrap().clone();
    let mut held = start(model, vec![read()], settings(Open::New));
    wait(&seen, 1);
    held.ask("hello");
    let first = seen();
    assert_eq!((first[0].most, first[0].generated), (0, 0));
    assert_eq!((first[1].source, first[1].cached), (Source::Session, first[0].prompt.len()));
    let tokens = held.status().tokens;
    held.quit();
    drop(service);

    let service = serve(4096, Some(disk.path()));
    let (model, list) = watched(&service);
    let seen = || list.lock().unwrap().clone();
    let mut held = start(model, vec![read()], settings(Open::Last));
    wait(&seen, 1);
    held.ask("thanks");
    let again = seen();
    assert_eq!((again[0].most, again[0].source), (0, Source::Disk));
    assert_eq!((again[1].source, again[1].cached), (Source::Session, tokens));
    // Forgotten: from here on only the instructions are known, also after a restart.
    let said = held.command("/strip");
    assert!(said.contains("checkpoints on disk"), "{said}");
    held.quit();
    drop(service);
    let service = serve(4096, Some(disk.path()));
    let (model, list) = watched(&service);
    let mut held =
        start(model, vec![read()], Settings { read_ahead: false, ..settings(Open::Last) });
    held.ask("well?");
    let after = list.lock().unwrap().remove(0);
    assert_eq!((after.source, after.cached), (Source::Disk, first[0].prompt.len()));
}
