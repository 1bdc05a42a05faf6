//! Files that are not what was written, and files that never were.
//!
//! Whatever a file holds, opening and loading end with an answer: the checkpoint as it was saved,
//! or an error. Nothing else, no panic, no memory for counts that are lies.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvstore::{Entry, Error, Id, Store};

use crate::disk::{Dice, Sim};
use crate::talk::{entry, expected, open, settings};

/// Names and bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// Three conversations in three packs.
fn folder() -> (Files, Vec<(Id, Entry)>) {
    let disk = Sim::new();
    let store = open(&disk);
    let talks =
        [entry(&[1, 2, 3, 4, 5], b"a"), entry(&[1, 2, 3, 4, 5, 6, 7, 8], b"b"), entry(&[9], b"c")];
    let saved = talks.map(|entry| (store.save(&entry).unwrap().id, entry));
    store.load(saved[0].0).unwrap();
    drop(store);
    (disk.files(), saved.into())
}

/// What remains loadable of a damaged folder; panics if something is loaded that was not saved.
fn survivors(disk: &Sim, saved: &[(Id, Entry)], what: &str) -> usize {
    let store = open(disk);
    let loads = |(id, entry): &&(Id, Entry)| match store.load(*id) {
        Ok(loaded) => {
            assert_eq!(loaded, expected(*id, entry), "{what}");
            true
        }
        Err(_) => false,
    };
    let count = saved.iter().filter(loads).count();
    // And it can be saved again, all of it.
    for (id, entry) in saved {
        assert_eq!(store.save(entry).unwrap().id, *id, "{what}");
        assert_eq!(store.load(*id).unwrap(), expected(*id, entry), "{what}");
    }
    count
}

#[test]
fn any_damaged_byte_costs_no_more_than_what_it_was_part_of() {
    let (files, saved) = folder();
    assert!(files.contains_key("uses"));
    for (name, bytes) in &files {
        let step = if name.ends_with(".pack") { 5 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let what = format!("{name}, byte {at}");
            let left = survivors(&Sim::with(&damaged), &saved, &what);
            match name.rsplit('.').next().unwrap() {
                "uses" => assert_eq!(left, 3, "{what}"),
                "kv" => assert_eq!(left, 2, "{what}"),
                // The zeros of all tails lie in one pack.
                _ => assert!(left < 3, "{what}"),
            }
        }
    }
}

#[test]
fn any_cut_file_and_any_missing_file_is_survived() {
    let (files, saved) = folder();
    for (name, bytes) in &files {
        for end in (0..bytes.len()).step_by(11) {
            let mut cut = files.clone();
            cut.get_mut(name).unwrap().truncate(end);
            survivors(&Sim::with(&cut), &saved, &format!("{name} cut at {end}"));
        }
        let mut longer = files.clone();
        longer.get_mut(name).unwrap().push(0);
        survivors(&Sim::with(&longer), &saved, &format!("{name}, a byte more"));
        let mut missing = files.clone();
        missing.remove(name);
        survivors(&Sim::with(&missing), &saved, &format!("{name} missing"));
    }
}

#[test]
fn files_that_have_changed_places_are_not_misread() {
    let (files, saved) = folder();
    let names: Vec<&String> = files.keys().filter(|name| *name != "uses").collect();
    for a in &names {
        for b in &names {
            let mut swapped = files.clone();
            swapped.insert((*a).clone(), files[*b].clone());
            swapped.insert((*b).clone(), files[*a].clone());
            survivors(&Sim::with(&swapped), &saved, &format!("{a} and {b}"));
        }
    }
}

#[test]
fn nonsense_is_a_remark() {
    let (files, saved) = folder();
    let mut dice = Dice(5);
    for round in 0..300 {
        let mut more = files.clone();
        let mut noise: Vec<u8> = (0..dice.below(300)).map(|_| dice.next() as u8).collect();
        let magic: &[u8] =
            if round % 2 == 0 { b"DwarfKVC\x01\0\0\0" } else { b"DwarfKVP\x01\0\0\0" };
        if round % 3 > 0 && noise.len() > magic.len() {
            noise[..magic.len()].copy_from_slice(magic);
        }
        let name = if round % 2 == 0 {
            format!("{}.kv", Id([9; 16]))
        } else {
            format!("{:016x}.pack", 77)
        };
        more.insert(name.clone(), noise);
        let disk = Sim::with(&more);
        let remarks = open(&disk).remarks().to_vec();
        assert!(remarks.iter().any(|remark| remark.contains(&name)), "{remarks:?}");
        assert_eq!(survivors(&disk, &saved, &name), 3);
        assert!(disk.files().contains_key(&name), "what is not understood is not deleted");
    }
}

#[test]
fn strangers_files_are_left_alone() {
    let (mut files, _) = folder();
    files.remove("uses");
    for name in ["letter.txt", "x.tmp", "00.pack", "photo.kv", "lock.tmp", "notes.kv.tmp"] {
        files.insert(name.to_owned(), b"mine".to_vec());
    }
    let disk = Sim::with(&files);
    let store = Store::open_on(Arc::new(disk.clone()), settings(1)).unwrap();
    assert!(store.list().is_empty(), "a budget of one byte evicts everything");
    drop(store);
    assert_eq!(disk.files().len(), 6);
    assert!(disk.files().values().all(|bytes| bytes == b"mine"));
}

#[test]
fn while_a_manifest_is_damaged_no_pack_is_deleted() {
    let (mut files, saved) = folder();
    let (id, _) = saved[1];
    let name = format!("{id}.kv");
    let good = files[&name].clone();
    files.get_mut(&name).unwrap()[100] ^= 1;
    let disk = Sim::with(&files);
    let store = open(&disk);
    let packs = |disk: &Sim| disk.files().keys().filter(|name| name.ends_with(".pack")).count();
    let before = packs(&disk);
    store.remove(saved[2].0).unwrap();
    assert_eq!(packs(&disk), before);
    // A person brings the manifest back: everything it names is still there.
    drop(store);
    disk.put(&name, &good);
    let store = open(&disk);
    assert_eq!(store.load(id).unwrap(), expected(id, &saved[1].1));
    assert_eq!(packs(&disk), before - 1, "the pack of what was removed is gone now");
    // Or gives it up.
    drop(store);
    disk.put(&name, b"nothing");
    let store = open(&disk);
    assert_eq!(store.remove_damaged().unwrap(), [name]);
    assert_eq!(store.list().len(), 1);
    assert_eq!(store.verify(|_, _| true).flaws.len(), 1, "the remark of opening stays");
    drop(store);
    assert_eq!(open(&disk).remarks(), [""; 0]);
}

#[test]
fn what_could_not_be_read_once_is_not_deleted_for_it() {
    let (files, saved) = folder();
    let (id, talk) = &saved[2];
    let more = |store: &Store| {
        // Enough to make the store look for packs to delete.
        let extra = store.save(&entry(&[50, 51, 52, 53], b"")).unwrap().id;
        store.remove(extra).unwrap();
    };
    // The disk does not answer for a while.
    let disk = Sim::with(&files);
    let store = open(&disk);
    disk.set_unreadable(true);
    assert!(matches!(store.load(*id), Err(Error::Io { .. })));
    saved.iter().for_each(|(id, _)| assert!(store.load(*id).is_err()));
    disk.set_unreadable(false);
    assert_eq!(store.find_tokens("", &talk.tokens), None, "the next best is looked for");
    more(&store);
    drop(store);
    assert_eq!(survivors(&disk, &saved, "read again"), 3);
    // A byte is wrong, and right again.
    let disk = Sim::with(&files);
    let store = open(&disk);
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".pack")) {
        disk.put(name, &[&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat());
    }
    assert_eq!(store.verify(|_, _| true).flaws.len(), 3);
    assert!(matches!(store.load(*id), Err(Error::Damaged { .. })));
    more(&store);
    drop(store);
    files.iter().for_each(|(name, bytes)| disk.put(name, bytes));
    assert_eq!(survivors(&disk, &saved, "put right"), 3);
}

#[test]
fn verify_finds_every_damaged_block_and_who_needs_it() {
    let (files, saved) = folder();
    assert_eq!(open(&Sim::with(&files)).verify(|_, _| true).flaws, []);
    let (name, bytes) =
        files.iter().find(|(name, _)| name.starts_with("0000000000000001")).unwrap();
    let mut damaged = files.clone();
    *damaged.get_mut(name).unwrap() =
        [&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat();
    let store = open(&Sim::with(&damaged));
    let verified = store.verify(|_, _| true);
    assert_eq!(verified.flaws.len(), 1, "{:?}", verified.flaws);
    assert_eq!(verified.flaws[0].checkpoints, [saved[1].0]);
    assert!(verified.flaws[0].problem.contains(name.as_str()));
    assert!(matches!(store.load(saved[1].0), Err(Error::Damaged { .. })));
    assert_eq!(store.list().iter().filter(|info| info.broken.is_some()).count(), 1);
    let stopped = store.verify(|_, _| false);
    assert!(stopped.stopped && stopped.packs == 0);
}
