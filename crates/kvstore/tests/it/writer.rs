//! The background writer: order, bounds, and that nobody waits.

use std::time::{Duration, Instant};

use kvstore::{Limits, PageSource, Writer};

use crate::disk::{Failing, Sim};
use crate::talk::{entry, expected, open};

const ROOMY: Limits = Limits { entries: 100, bytes: 1 << 30 };

#[test]
fn entries_are_saved_in_order_and_told() {
    let writer = Writer::start(open(&Sim::new()), ROOMY).unwrap();
    let talks: Vec<_> = (0..20u32).map(|i| entry(&[i, i + 1, i + 2, i + 3], b"")).collect();
    let tickets: Vec<_> = talks.iter().map(|e| writer.submit(e.clone()).unwrap()).collect();
    writer.flush();
    let outcomes = writer.outcomes();
    assert_eq!(outcomes.iter().map(|o| o.ticket).collect::<Vec<_>>(), tickets);
    for (outcome, talk) in outcomes.iter().zip(&talks) {
        let id = outcome.result.as_ref().unwrap().id;
        assert_eq!(writer.store().load(id).unwrap(), expected(id, talk));
    }
    assert!(writer.outcomes().is_empty());
}

#[test]
fn an_entry_may_name_pages_of_the_one_before() {
    let writer = Writer::start(open(&Sim::new()), ROOMY).unwrap();
    let first = entry(&[1, 2, 3, 4], b"");
    let mut second = entry(&[1, 2, 3, 4, 5], b"");
    let PageSource::New(page) = &first.pages[0] else { panic!("given as bytes") };
    second.pages[0] = PageSource::Known(kvstore::PageKey::of(page));
    writer.submit(first).unwrap();
    writer.submit(second).unwrap();
    writer.flush();
    assert!(writer.outcomes().iter().all(|outcome| outcome.result.is_ok()));
}

#[test]
fn what_is_too_much_comes_back_at_once() {
    let disk = Sim::new();
    let store = open(&disk);
    let talk = entry(&[1, 2, 3, 4], b"");
    let limits = Limits { entries: 3, bytes: 5 * talk.bytes() / 2 };
    let writer = Writer::start(store, limits).unwrap();
    let start = Instant::now();
    // Far faster than they can be saved; how many come back depends on the machine.
    let mut taken = 0;
    for i in 0..2000u32 {
        let another = entry(&[i, 2, 3, 4], b"");
        match writer.submit(another.clone()) {
            Ok(_) => taken += 1,
            Err(full) => assert_eq!(*full.0, another),
        }
    }
    assert!(taken >= 1);
    assert!(start.elapsed() < Duration::from_secs(60));
    writer.flush();
    assert_eq!(writer.outcomes().len().min(taken), taken.min(1024));
    // An entry above the limit is taken when nothing waits, or it could never be saved.
    let large = entry(&(0..40).collect::<Vec<_>>(), &vec![1; limits.bytes]);
    assert!(large.bytes() > limits.bytes);
    writer.submit(large).unwrap();
    drop(writer);
    assert_eq!(open(&disk).list().len(), taken + 1, "dropping a writer saves what it took");
}

#[test]
fn a_failure_is_told_and_the_next_entry_is_saved() {
    let disk = Sim::new();
    let writer = Writer::start(open(&disk), ROOMY).unwrap();
    disk.fail(Failing::Once(disk.operations() + 1));
    writer.submit(entry(&[1, 2, 3, 4], b"")).unwrap();
    writer.submit(entry(&[5, 6, 7, 8], b"")).unwrap();
    writer.flush();
    let told: Vec<bool> = writer.outcomes().iter().map(|o| o.result.is_ok()).collect();
    assert_eq!(told, [false, true]);
}
