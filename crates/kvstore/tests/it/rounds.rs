//! Saving and finding and loading, on the real disk, when nothing goes wrong.

use std::path::Path;
use std::sync::Arc;

use kvstore::{Entry, Error, Fingerprint, Id, PageKey, PageSource, Reason, Settings, Store};

use crate::disk::Sim;
use crate::talk::{self, PAGE_BYTES, entry, expected, known, open, open_dir, settings};

#[test]
fn what_was_saved_is_loaded_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("made/on/demand");
    let first = entry(&[1, 2, 3, 4, 5], b"notes");
    let store = open_dir(&dir).unwrap();
    let saved = store.save(&first).unwrap();
    assert_eq!(store.load(saved.id).unwrap(), expected(saved.id, &first));
    drop(store);
    let store = open_dir(&dir).unwrap();
    assert_eq!(store.remarks(), [""; 0]);
    assert_eq!(store.load(saved.id).unwrap(), expected(saved.id, &first));
}

#[test]
fn everything_may_be_empty_but_the_tokens() {
    let store = open(&Sim::new());
    let mut bare = entry(&[9], b"");
    (bare.text, bare.tail, bare.logits) = (Vec::new(), Vec::new(), Vec::new());
    let saved = store.save(&bare).unwrap();
    assert_eq!(store.load(saved.id).unwrap(), expected(saved.id, &bare));
    assert_eq!(store.find_text("", b"anything"), None);
    bare.tokens.clear();
    let message = store.save(&bare).unwrap_err().to_string();
    assert!(message.contains("without tokens"), "{message}");
}

#[test]
fn the_longest_beginning_is_found() {
    let store = open(&Sim::new());
    let talks: [&[u32]; 4] = [&[1, 2], &[1, 2, 3, 4, 5], &[1, 2, 3, 9], &[8]];
    for tokens in talks {
        store.save(&entry(tokens, b"")).unwrap();
    }
    let cases: [(&[u32], Option<usize>); 7] = [
        (&[1, 2, 3, 4, 5, 6], Some(5)),
        (&[1, 2, 3, 4, 5], Some(5)),
        (&[1, 2, 3, 4], Some(2)),
        (&[1, 2, 3, 9, 9], Some(4)),
        (&[1], None),
        (&[2, 1], None),
        (&[], None),
    ];
    for (prompt, length) in cases {
        let found = store.find_tokens("", prompt);
        assert_eq!(found.map(|found| found.tokens), length, "{prompt:?}");
        let found = store.find_text("", &talk::text(prompt));
        assert_eq!(found.map(|found| found.tokens), length, "{prompt:?} as text");
    }
    // A text may end inside a token.
    assert_eq!(store.find_text("", b"t1 t2 t3 t99").map(|found| found.tokens), Some(2));
}

#[test]
fn a_page_is_written_once() {
    let store = open(&Sim::new());
    let tokens: Vec<u32> = (0..41).collect();
    let saved = store.save(&entry(&tokens[..40], b"")).unwrap();
    assert!(saved.bytes_written > 10 * PAGE_BYTES as u64);
    let more = known(&store, entry(&tokens, b""));
    assert_eq!(
        more.pages,
        saved.pages.iter().map(|key| PageSource::Known(*key)).collect::<Vec<_>>()
    );
    let again = store.save(&more).unwrap();
    assert_eq!(again.pages, saved.pages);
    // Given by bytes, pages are recognized as well.
    assert_eq!(store.save(&entry(&tokens, b"")).unwrap().bytes_written, 0);
    let loaded = store.load(again.id).unwrap();
    assert_eq!(loaded, expected(again.id, &entry(&tokens, b"")));
}

#[test]
fn two_forks_share_all_pages() {
    let store = open(&Sim::new());
    let common: Vec<u32> = (0..400).collect();
    let fork = |token| [&common[..], &[token]].concat();
    let root = store.save(&entry(&common, b"")).unwrap();
    let forks = [500, 600].map(|token| store.save(&entry(&fork(token), b"")).unwrap());
    for saved in &forks {
        assert_eq!(saved.pages, root.pages);
    }
    // What a fork writes does not grow with what it shares: no page, and of the prompt nothing.
    let short = open(&Sim::new());
    short.save(&entry(&common[..8], b"")).unwrap();
    let tokens = [&common[..8], &[500]].concat();
    let small = short.save(&entry(&tokens, b"")).unwrap().bytes_written;
    let names = 32 * root.pages.len() as u64;
    let numbers = 2 * 4 * 400 + 5 * 400;
    for saved in &forks {
        assert!(saved.bytes_written < small + names + numbers, "{} {small}", saved.bytes_written);
    }
}

/// A state that stands for another text as well is found by both, and its bytes are there once.
#[test]
fn another_text_is_another_manifest() {
    let disk = Sim::new();
    let store = open(&disk);
    let mut talk = entry(&[1, 2, 3, 4, 5], b"notes");
    let alone = open(&Sim::new()).save(&talk).unwrap().bytes_written;
    talk.also = b"what clients send back".to_vec();
    let saved = store.save(&talk).unwrap();
    let other = store.find_text("", b"what clients send back, and more").unwrap();
    let own = store.find_text("", &[&talk.text[..], b"!"].concat()).unwrap();
    assert_eq!((own.id, own.tokens, other.tokens), (saved.id, 5, 5));
    assert_ne!(own.id, other.id);
    let manifest = disk.files()[&format!("{}.kv", other.id)].len() as u64;
    let more = manifest + 56 + 40 + talk.also.len() as u64;
    assert_eq!(saved.bytes_written, alone + more, "a manifest, and a pack of the text");
    let loaded = store.load(other.id).unwrap();
    assert_eq!((&loaded.loaded.text, &loaded.loaded.tail), (&talk.also, &talk.tail));
    assert_eq!(loaded.pages, store.load(own.id).unwrap().pages);
    // Either may go, and the other stays.
    store.remove(own.id).unwrap();
    drop(store);
    let loaded = open(&disk).load(other.id).unwrap();
    assert_eq!((loaded.loaded.tokens, loaded.loaded.notes), (talk.tokens, talk.notes));
}

#[test]
fn a_page_that_is_not_there_is_asked_for() {
    let store = open(&Sim::new());
    let key = PageKey([1; 32]);
    let mut unknown = entry(&[1, 2, 3, 4, 5, 6, 7, 8], b"");
    unknown.pages[1] = PageSource::Known(key);
    match store.save(&unknown) {
        Err(Error::MissingPage { position: 1, key: found }) => assert_eq!(found, key),
        other => panic!("{other:?}"),
    }
    assert!(store.list().is_empty());
    unknown.pages[1] = PageSource::New(vec![0; 3]);
    let message = store.save(&unknown).unwrap_err().to_string();
    assert_eq!(message, "page 1: expected 700 bytes, found 3");
}

/// The same tokens and text, computed in two ways: two checkpoints, each found by its own words.
#[test]
fn variants_are_found_by_their_own_words_only() {
    let disk = Sim::new();
    let store = open(&disk);
    let plain = entry(&[1, 2, 3, 4], b"");
    let other = Entry { variant: "; another way".to_owned(), tail: vec![9; 50], ..plain.clone() };
    let ids = [&plain, &other].map(|entry| store.save(entry).unwrap().id);
    assert_ne!(ids[0], ids[1]);
    drop(store);
    for _ in 0..2 {
        let store = open(&disk);
        let found = |variant| {
            let by_tokens = store.find_tokens(variant, &[1, 2, 3, 4, 5]).map(|found| found.id);
            assert_eq!(store.find_text(variant, &plain.text).map(|found| found.id), by_tokens);
            by_tokens
        };
        assert_eq!(
            ["", "; another way", "; another", "; a"].map(found),
            [Some(ids[0]), Some(ids[1]), None, None]
        );
        assert_eq!(store.remarks(), [""; 0], "both are ours");
        assert_eq!(Vec::from_iter(store.variants()), ["", "; another way"]);
        assert_eq!(store.load(ids[0]).unwrap(), expected(ids[0], &plain));
        assert_eq!(store.load(ids[1]).unwrap(), expected(ids[1], &other));
        let wrong = Entry { variant: "way".to_owned(), ..plain.clone() };
        assert!(matches!(store.save(&wrong), Err(Error::Invalid { .. })));
        let long = Entry { variant: format!(";{}", "x".repeat(255)), ..plain.clone() };
        assert!(matches!(store.save(&long), Err(Error::Invalid { .. })));
    }
}

#[test]
fn other_models_are_neither_found_nor_loaded_nor_lost() {
    let disk = Sim::new();
    let mine = entry(&[1, 2, 3, 4], b"");
    let id = open(&disk).save(&mine).unwrap().id;
    let with = |model, recipe: &str, page_bytes| {
        let recipe = recipe.to_owned();
        let settings =
            Settings { model: Fingerprint(model), recipe, page_bytes, ..settings(u64::MAX) };
        Store::open_on(Arc::new(disk.clone()), settings).unwrap()
    };
    for (model, recipe, page) in
        [([8; 32], "q2", PAGE_BYTES), ([7; 32], "q4", PAGE_BYTES), ([7; 32], "q2", PAGE_BYTES + 1)]
    {
        let store = with(model, recipe, page);
        assert_eq!(store.find_tokens("", &[1, 2, 3, 4, 5]), None);
        assert_eq!(store.find_text("", &mine.text), None);
        assert!(matches!(store.load(id), Err(Error::Foreign { .. })));
        let remarks = store.remarks();
        assert_eq!(remarks, ["kv: 1 checkpoints of other models or recipes are left alone"]);
        assert_eq!(store.list().len(), 1);
    }
    assert_eq!(open(&disk).load(id).unwrap(), expected(id, &mine));
}

#[test]
fn removing_one_keeps_what_others_name() {
    let disk = Sim::new();
    let store = open(&disk);
    let (first, second) = (entry(&[1, 2, 3, 4], b""), entry(&[1, 2, 3, 4, 5, 6, 7, 8], b""));
    let ids = [&first, &second].map(|entry| store.save(entry).unwrap().id);
    store.remove(ids[0]).unwrap();
    assert!(matches!(store.remove(ids[0]), Err(Error::Gone { .. })));
    assert!(matches!(store.load(ids[0]), Err(Error::Gone { .. })));
    assert_eq!(store.load(ids[1]).unwrap(), expected(ids[1], &second));
    store.remove(ids[1]).unwrap();
    assert_eq!(disk.files().keys().collect::<Vec<_>>(), [""; 0], "nothing is left");
    assert_eq!(store.bytes(), 0);
}

#[test]
fn the_same_conversation_replaces_itself() {
    let disk = Sim::new();
    let store = open(&disk);
    let (old, mut new) = (entry(&[1, 2, 3], b"old"), entry(&[1, 2, 3], b"new"));
    new.reason = Reason::Shutdown;
    let id = store.save(&old).unwrap().id;
    assert_eq!(store.save(&new).unwrap().id, id);
    assert_eq!(store.list().len(), 1);
    assert_eq!(store.load(id).unwrap(), expected(id, &new));
    drop(store);
    assert_eq!(open(&disk).load(id).unwrap(), expected(id, &new));
}

#[test]
fn one_process_writes_and_others_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_dir(folder.path()).unwrap();
    let id = store.save(&entry(&[1, 2, 3], b"")).unwrap().id;
    let refused = open_dir(folder.path()).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert!(matches!(Store::manage(folder.path()), Err(Error::Locked { .. })));
    let look = Store::look(folder.path()).unwrap();
    assert_eq!(look.list()[0].id, id);
    assert_eq!(look.load(id).unwrap(), expected(id, &entry(&[1, 2, 3], b"")));
    assert!(matches!(look.remove(id), Err(Error::ReadOnly { .. })));
    drop(store);
    open_dir(folder.path()).unwrap();
}

#[test]
fn a_checkpoint_travels_as_one_file() {
    let here = open(&Sim::new());
    let talk = entry(&[1, 2, 3, 4, 5, 6, 7, 8, 9], b"notes");
    let id = here.save(&talk).unwrap().id;
    let path = Path::new("talk.kvx");
    let mut file = Vec::new();
    let bytes = here.export(id, path, &mut file).unwrap();
    assert_eq!(bytes, file.len() as u64);
    assert!(matches!(here.export(Id([0; 16]), path, &mut file), Err(Error::Gone { .. })));
    let disk = Sim::new();
    let there = open(&disk);
    // A part of it is there already.
    there.save(&entry(&[1, 2, 3, 4, 5], b"")).unwrap();
    disk.put("talk.kvx", &file);
    let imported = there.import(path).unwrap();
    assert_eq!((imported.id, imported.tokens), (id, 9));
    assert_eq!(there.load(id).unwrap(), expected(id, &talk));
    assert_eq!(there.import(path).unwrap().bytes_written, 0);
}

#[test]
fn of_a_file_to_import_not_one_byte_may_differ() {
    let here = open(&Sim::new());
    let id = here.save(&entry(&[1, 2, 3, 4, 5], b"notes")).unwrap().id;
    let mut file = Vec::new();
    here.export(id, Path::new("file"), &mut file).unwrap();
    let disk = Sim::new();
    let there = open(&disk);
    let refuse = |bytes: &[u8], what: String| {
        disk.put("file", bytes);
        let error = there.import(Path::new("file")).expect_err(&what).to_string();
        assert!(error.contains("file"), "{what}: {error}");
        assert_eq!((there.list().len(), there.bytes()), (0, 0), "{what}");
    };
    for at in 0..file.len() {
        let mut other = file.clone();
        other[at] ^= 1 << (at % 8);
        refuse(&other, format!("byte {at}"));
    }
    for end in (0..file.len()).step_by(7) {
        refuse(&file[..end], format!("cut at {end}"));
    }
    refuse(&[&file[..], b"x"].concat(), "a byte more".to_owned());
    disk.put("file", &file);
    assert_eq!(there.import(Path::new("file")).unwrap().id, id);
}

#[test]
fn what_is_used_stays_when_room_is_needed() {
    let disk = Sim::new();
    let mut talks: Vec<_> = (0..4).map(|i| entry(&[100 * i, 1, 2, 3, 4], b"")).collect();
    // Without the zeros that all tails share.
    talks.iter_mut().for_each(|talk| talk.tail.truncate(2000));
    let store = open(&disk);
    let ids: Vec<_> = talks[..3].iter().map(|entry| store.save(entry).unwrap().id).collect();
    drop(store);
    let budget = disk.bytes() + 1000;
    let limited = || Store::open_on(Arc::new(disk.clone()), settings(budget)).unwrap();
    let store = limited();
    disk.wait(60);
    store.load(ids[0]).unwrap();
    store.load(ids[1]).unwrap();
    // Uses outlive a restart.
    drop(store);
    let store = limited();
    let saved = store.save(&talks[3]).unwrap();
    assert_eq!(saved.evicted, [ids[2]]);
    assert!(disk.bytes() <= budget);
    // A hit loses its worth: later the one that was used long ago has to go.
    disk.wait(48 * 3600);
    store.load(ids[1]).unwrap();
    store.load(saved.id).unwrap();
    let evicted = store.save(&talks[2]).unwrap().evicted;
    assert_eq!(evicted, [ids[0]]);
}

#[test]
fn what_cannot_fit_is_refused_and_nothing_goes_for_it() {
    let disk = Sim::new();
    let small = entry(&[1, 2, 3, 4], b"");
    let id = open(&disk).save(&small).unwrap().id;
    let settings = settings(disk.bytes() + 1000);
    let store = Store::open_on(Arc::new(disk.clone()), settings).unwrap();
    let large = entry(&(0..1000).collect::<Vec<_>>(), b"");
    assert!(matches!(store.save(&large), Err(Error::NoRoom { .. })));
    assert_eq!(store.load(id).unwrap(), expected(id, &small));
}
