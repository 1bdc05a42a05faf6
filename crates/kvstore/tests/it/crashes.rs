//! Whatever the disk does, at whatever operation: what was reported saved is there afterwards.
//!
//! Scripts of saves and removals run on a disk that fails at its n-th operation, for every n until
//! the script comes through. Then the power goes, in several ways, and the folder is opened again.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvstore::{Checkpoint, Entry, Id, Store};

use crate::disk::{Failing, Left, Sim};
use crate::talk::{entry, expected, known, open, settings};

/// What a script does.
#[derive(Clone)]
enum Act {
    Save(Entry),
    /// Removes what the n-th act saved.
    Remove(usize),
    /// Loads it.
    Load(usize),
}

/// What is known of a checkpoint from outside.
#[derive(Clone, Default)]
struct Known {
    /// The last one that was reported saved, if nothing happened to it since.
    promised: Option<Entry>,
    /// Versions that may be there as well, or instead, since their saves or removals failed.
    possible: Vec<Entry>,
}

type Ledger = BTreeMap<Id, Known>;

/// A conversation that grows, forks, is replaced and removed.
fn script() -> Vec<Act> {
    let save = |tokens: &[u32], notes: &[u8]| Act::Save(entry(tokens, notes));
    vec![
        save(&[1, 2, 3, 4, 5], b""),
        save(&[1, 2, 3, 4, 5, 6, 7, 8, 9], b"second"),
        Act::Load(0),
        save(&[1, 2, 3, 4, 70, 71, 72, 73], b"fork"),
        save(&[1, 2, 3, 4, 5], b"the same with other notes"),
        Act::Remove(1),
        save(&[9, 8, 7], b""),
        Act::Remove(3),
        save(&[1, 2, 3, 4, 5, 6, 7, 8, 9], b"again"),
    ]
}

/// Runs a script, whatever fails, and notes what was promised.
fn run(store: &Store, script: &[Act], budget: u64) -> Ledger {
    let mut ledger = Ledger::new();
    let mut ids = Vec::new();
    for act in script {
        let mut id = None;
        match act {
            Act::Save(entry) => {
                let this = id_of(entry);
                id = Some(this);
                let result = store.save(&known(store, entry.clone()));
                for evicted in result.iter().flat_map(|saved| &saved.evicted) {
                    assert!(store.list().iter().all(|info| info.id != *evicted));
                }
                let known = ledger.entry(this).or_default();
                match result {
                    Ok(saved) => {
                        assert_eq!(saved.id, this);
                        *known = Known { promised: Some(entry.clone()), possible: Vec::new() };
                    }
                    Err(_) => known.possible.push(entry.clone()),
                }
            }
            Act::Remove(nth) => {
                let known = ledger.entry(ids[*nth]).or_insert_with(|| unreachable!());
                // From now on it may be there or not.
                let result = store.remove(ids[*nth]);
                known.possible.extend(known.promised.take());
                if result.is_ok() {
                    known.possible.clear();
                }
            }
            Act::Load(nth) => drop(store.load(ids[*nth])),
        }
        ids.push(id.unwrap_or(Id([0; 16])));
        if budget < u64::MAX {
            forget_evicted(store, &mut ledger);
        }
    }
    ledger
}

/// A checkpoint that had to go for a save is not promised any more, even if that save failed. Only
/// a list that does not show it may say so.
fn forget_evicted(store: &Store, ledger: &mut Ledger) {
    let listed: Vec<Id> = store.list().iter().map(|info| info.id).collect();
    for (id, known) in ledger {
        if !listed.contains(id) {
            known.possible.extend(known.promised.take());
        }
    }
}

fn id_of(entry: &Entry) -> Id {
    open(&Sim::new()).save(entry).unwrap().id
}

/// Holds a store against what was promised.
fn check(store: &Store, ledger: &Ledger, what: &str) {
    for (&id, Known { promised, possible }) in ledger {
        let loaded = store.load(id);
        let is = |entry: &Entry| loaded.as_ref().is_ok_and(|found| is(found, id, entry));
        match promised {
            // A replacement that failed may have come through all the same.
            Some(entry) => assert!(is(entry) || possible.iter().any(is), "{what}: {id} {loaded:?}"),
            None => assert!(loaded.is_err() || possible.iter().any(is), "{what}: {id}"),
        }
    }
    for info in store.list() {
        assert!(ledger.contains_key(&info.id), "{what}: {} came from nowhere", info.id);
    }
}

fn is(found: &Checkpoint, id: Id, entry: &Entry) -> bool {
    *found == expected(id, entry)
}

/// After a crash everything goes on: a new checkpoint is saved, and still there the next time.
fn check_after_crash(disk: &Sim, ledger: &Ledger, budget: u64, what: &str) {
    let reopen = || Store::open_on(Arc::new(disk.clone()), settings(budget)).unwrap();
    // Opening with a budget may evict; what is there is seen without one.
    check(&open(disk), ledger, what);
    let store = reopen();
    let next = entry(&[42, 43, 44, 45, 46], b"next");
    let id = store.save(&next).unwrap().id;
    assert!(disk.files().keys().all(|name| !name.ends_with(".tmp")), "{what}");
    drop(store);
    assert!(is(&reopen().load(id).unwrap(), id, &next), "{what}");
    assert!(
        budget < u64::MAX
            || reopen().list().len() > ledger.values().filter(|k| k.promised.is_some()).count()
    );
}

fn ways() -> Vec<Left> {
    let some = (1..=6).map(Left::Some);
    [Left::Nothing, Left::Everything].into_iter().chain(some).collect()
}

/// Every n, every way to fail, every way to crash.
fn torture(script: &[Act], budget: u64) {
    let run_on = |failing| {
        let disk = Sim::new();
        disk.fail(failing);
        let store = Store::open_on(Arc::new(disk.clone()), settings(budget)).unwrap();
        let ledger = run(&store, script, budget);
        (disk, store, ledger)
    };
    let (disk, store, ledger) = run_on(Failing::Never);
    let operations = disk.operations();
    assert!(operations > 40, "{operations}");
    check(&store, &ledger, "no failure");
    for n in 0..=operations {
        for failing in [Failing::From(n), Failing::Once(n)] {
            let what = format!(
                "operation {n}, {}",
                if failing == Failing::Once(n) { "once" } else { "for good" }
            );
            let (disk, store, ledger) = run_on(failing);
            disk.fail(Failing::Never);
            // The power goes while the store is open: it writes nothing any more.
            for left in ways() {
                let after = disk.crash(left);
                check_after_crash(
                    &after,
                    &ledger,
                    budget,
                    &format!("{what}, then {left:?} is left"),
                );
            }
            check(&store, &ledger, &what);
            drop(store);
            check_after_crash(&disk, &ledger, budget, &what);
        }
    }
}

#[test]
fn nothing_that_was_reported_saved_is_lost() {
    torture(&script(), u64::MAX);
}

#[test]
fn nor_when_room_is_short() {
    let disk = Sim::new();
    run(&open(&disk), &script()[..3], u64::MAX);
    // Too little for all: checkpoints are evicted and packs copied on the way.
    torture(&script(), disk.bytes() + 3000);
}

#[test]
fn a_crash_between_any_two_operations_leaves_what_was_there() {
    // Unlike a disk that fails, a crash gives no chance to clean up: the image is taken while
    // everything works, at every operation, by failing all later ones.
    let script = script();
    let total = {
        let disk = Sim::new();
        run(&open(&disk), &script, u64::MAX);
        disk.operations()
    };
    for n in 0..total {
        let disk = Sim::new();
        let store = open(&disk);
        disk.fail(Failing::From(n));
        let ledger = run(&store, &script, u64::MAX);
        for left in ways() {
            let what = format!("crash before operation {n}, {left:?} is left");
            check_after_crash(&disk.crash(left), &ledger, u64::MAX, &what);
        }
    }
}

#[test]
fn a_full_disk_costs_the_save_and_nothing_else() {
    let disk = Sim::new();
    let store = open(&disk);
    let first = entry(&[1, 2, 3, 4, 5], b"");
    let id = store.save(&first).unwrap().id;
    let next = entry(&[1, 2, 3, 4, 5, 6, 7, 8], b"next");
    let full = disk.bytes();
    let mut refused = 0;
    for spare in (0..20_000).step_by(61) {
        disk.set_capacity(Some(full + spare));
        match store.save(&next) {
            Ok(saved) => store.remove(saved.id).unwrap(),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("could not be written"), "{error}");
            }
        }
        assert_eq!(store.load(id).unwrap(), expected(id, &first));
        assert_eq!(disk.files().len(), 2 + usize::from(disk.files().contains_key("uses")));
    }
    assert!(refused > 5, "{refused}");
    disk.set_capacity(None);
    let saved = store.save(&next).unwrap();
    assert_eq!(store.load(saved.id).unwrap(), expected(saved.id, &next));
}
