//! Stopping, and going on: what is there is never asked for again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hub::{Download, Entry, Error, Event, Outcome, Ranges};

use crate::good::{entry, names, options, pull};
use crate::site::{Act, Offer, Site, bytes, ranges, repository};

const SIZE: u64 = 60_000;

fn site() -> (Site, Vec<u8>, Entry) {
    let content = bytes(SIZE as usize);
    let site = Site::new(vec![Offer::new("m.gguf", content.clone())]);
    let entry = entry(&site, "m.gguf");
    site.asked();
    (site, content, entry)
}

/// Begins, and stops when so many bytes are there; how many are.
fn stopped(site: &Site, entry: &Entry, target: &Path, at: u64) -> u64 {
    let (hub, repository, stop) = (site.hub(None), repository(), AtomicBool::new(false));
    let mut told = |event: Event<'_>| {
        if matches!(event, Event::Have(bytes) if bytes >= at) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let outcome = Download::new(&hub, &repository, entry, target).run(&options(), &mut told, &stop);
    match outcome.unwrap() {
        Outcome::Stopped { have } => have,
        other => panic!("{other:?}"),
    }
}

/// What the journal says.
fn journal(target: &Path, entry: &Entry) -> Ranges {
    let path = target.with_added_extension("pulling.journal");
    hub::hostile::journal(&std::fs::read(path).unwrap(), entry).unwrap()
}

#[test]
fn only_what_is_missing_is_asked_for() {
    let (site, content, entry) = site();
    site.rule(|asked| match asked.of_hub {
        true => Act::Behave,
        false => Act::Slow(300, Duration::from_millis(10)),
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let mut have = 0;
    for at in [10_000, 20_000, 50_000] {
        have = stopped(&site, &entry, &target, at);
        assert!((at..SIZE).contains(&have), "{have}");
        let noted = journal(&target, &entry);
        assert_eq!(noted.bytes(), have);
        assert_eq!(names(folder.path()), ["m.gguf.pulling", "m.gguf.pulling.journal"]);
        // What the journal promises is there.
        let part = std::fs::read(target.with_added_extension("pulling")).unwrap();
        for range in noted.iter() {
            let range = range.start as usize..range.end as usize;
            assert!(part[range.clone()] == content[range]);
        }
    }
    site.rule(|_| Act::Behave);
    site.asked();
    let missing: u64 = journal(&target, &entry).missing(SIZE).bytes();
    assert_eq!(pull(&site, &entry, &target).unwrap(), Outcome::Whole { fetched: missing });
    let asked: u64 = ranges(&site.asked()).iter().map(|(first, last)| last - first + 1).sum();
    assert_eq!(asked, SIZE - have);
    assert!(std::fs::read(&target).unwrap() == content);
    assert_eq!(names(folder.path()), ["m.gguf"]);
}

#[test]
fn a_server_that_says_nothing_keeps_nobody_waiting() {
    let (site, _, entry) = site();
    site.rule(|asked| match asked.of_hub {
        true => Act::Behave,
        false => Act::Stall(1000, Duration::from_secs(20)),
    });
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    stopped(&site, &entry, &folder.path().join("m.gguf"), 1000);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn failing_keeps_what_came() {
    let (site, content, entry) = site();
    site.rule(|asked| match (asked.of_hub, asked.range) {
        (false, Some((first, _))) if first >= 40_000 => Act::Status(404, String::new()),
        _ => Act::Behave,
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let error = pull(&site, &entry, &target).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let have = journal(&target, &entry).bytes();
    assert!(have > 0);
    site.rule(|_| Act::Behave);
    assert_eq!(pull(&site, &entry, &target).unwrap(), Outcome::Whole { fetched: SIZE - have });
    assert!(std::fs::read(&target).unwrap() == content);
}

#[test]
fn complete_and_not_verified_is_verified_only() {
    let (site, content, entry) = site();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let (hub, repository, stop) = (site.hub(None), repository(), AtomicBool::new(false));
    // Stops when the last byte has come: nothing was verified then.
    let have = stopped(&site, &entry, &target, SIZE);
    assert_eq!(have, SIZE);
    site.asked();
    let download = Download::new(&hub, &repository, &entry, &target);
    assert_eq!(download.bytes_there().unwrap(), SIZE);
    let outcome = download.run(&options(), &mut |_| {}, &stop).unwrap();
    assert_eq!(outcome, Outcome::Whole { fetched: 0 });
    assert!(site.asked().is_empty());
    assert!(std::fs::read(&target).unwrap() == content);
}

#[test]
fn parts_of_another_version_are_not_used() {
    let (site, _, old) = site();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    site.rule(|asked| match asked.of_hub {
        true => Act::Behave,
        false => Act::Slow(300, Duration::from_millis(5)),
    });
    stopped(&site, &old, &target, 5000);
    site.rule(|_| Act::Behave);
    let mut content = bytes(SIZE as usize);
    content.reverse();
    site.offer(vec![Offer::new("m.gguf", content.clone())]);
    let new = entry(&site, "m.gguf");
    let (hub, repository) = (site.hub(None), repository());
    let mut anew = 0;
    let mut told = |event: Event<'_>| anew += usize::from(matches!(event, Event::Anew));
    let download = Download::new(&hub, &repository, &new, &target);
    assert_eq!(download.bytes_there().unwrap(), 0);
    let outcome = download.run(&options(), &mut told, &AtomicBool::new(false)).unwrap();
    assert_eq!((outcome, anew), (Outcome::Whole { fetched: SIZE }, 1));
    assert!(std::fs::read(&target).unwrap() == content);
}

#[test]
fn one_file_is_fetched_by_one_process_and_not_replaced_unasked() {
    let (site, content, entry) = site();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let part = std::fs::File::create(target.with_added_extension("pulling")).unwrap();
    part.lock().unwrap();
    let error = pull(&site, &entry, &target).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(part);
    std::fs::write(&target, "mine").unwrap();
    let error = pull(&site, &entry, &target).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
    let (hub, repository) = (site.hub(None), repository());
    let options = hub::Options { overwrite: true, ..options() };
    let download = Download::new(&hub, &repository, &entry, &target);
    download.run(&options, &mut |_| {}, &AtomicBool::new(false)).unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
}
