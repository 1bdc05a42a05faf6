//! `dwarfstar kv`: folders of checkpoints as people look after them.
//!
//! The folders are made through `kvstore`, as the engine makes them: a conversation, a longer one,
//! and a fork of the first.

use std::fs;
use std::path::{Path, PathBuf};

use kvstore::{Entry, Fingerprint, PageSource, Reason, Settings, Store};

use crate::support::{command, dwarfstar, ended_as, refuses, text, works};

const PAGE_BYTES: usize = 6000;

fn open(dir: &Path) -> Store {
    let (model, recipe) = (Fingerprint([0xab; 32]), "q2".to_owned());
    let budget = 1 << 30;
    Store::open(Settings { dir: dir.to_owned(), budget, model, recipe, page_bytes: PAGE_BYTES })
        .unwrap()
}

fn entry(pages: u8, last: u8, reason: Reason) -> Entry {
    let page = |page: u8| PageSource::New((0..PAGE_BYTES).map(|i| (i as u8) ^ page).collect());
    Entry {
        also: Vec::new(),
        variant: String::new(),
        tokens: (0..128 * u32::from(pages)).chain([last.into()]).collect(),
        text: format!("A talk of {pages} pages, and {last} at the end.\n").into_bytes(),
        pages: (0..pages).map(page).collect(),
        tail: vec![last; 20_000],
        logits: vec![0.5; 100],
        notes: vec![last; 10],
        reason,
    }
}

/// Three checkpoints in a folder, and their ids in the order of saving.
fn folder(dir: &Path) -> Vec<String> {
    let store = open(dir);
    let talks =
        [entry(3, 1, Reason::Cold), entry(7, 2, Reason::TurnEnd), entry(3, 3, Reason::Evict)];
    talks.iter().map(|talk| store.save(talk).unwrap().id.to_string()).collect()
}

/// A folder that is not there yet, and its name as an argument.
fn place() -> (tempfile::TempDir, PathBuf, String) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("kv");
    let name = text(&dir);
    (temporary, dir, name)
}

/// Output without the name of the folder, and in an order that does not depend on clocks.
fn shown(output: &str, dir: &str) -> String {
    let mut lines: Vec<_> = output.lines().map(|line| line.replace(dir, "DIR")).collect();
    lines[2..].sort();
    lines.join("\n")
}

#[test]
fn lists_are_tables() {
    let (_temporary, dir, name) = place();
    let empty = works(&["kv", "list", "--kv-dir", &name]);
    assert_eq!(empty.text(), format!("{name}: no checkpoints\n"));
    folder(&dir);
    let listed = works(&["kv", "list", "--kv-dir", &name]);
    assert_eq!(listed.stderr, "");
    insta::assert_snapshot!(shown(listed.text(), &name));
}

#[test]
fn lists_are_json() {
    let (_temporary, dir, name) = place();
    let ids = folder(&dir);
    let listed = works(&["kv", "list", "--json", "--kv-dir", &name]).json();
    assert_eq!(listed["checkpoints"].as_array().unwrap().len(), 3);
    let first = listed["checkpoints"].as_array().unwrap().iter();
    let first = first.clone().find(|row| row["id"] == ids[0].as_str()).unwrap();
    assert_eq!((first["tokens"].as_u64(), first["pages"].as_u64()), (Some(385), Some(3)));
    assert_eq!(first["model"].as_str().unwrap(), "ab".repeat(32));
    assert_eq!(first["reason"], "cold");
    let size: u64 = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(listed["bytes"].as_u64(), Some(size));
}

#[test]
fn one_is_shown_by_its_first_digits() {
    let (_temporary, dir, name) = place();
    let ids = folder(&dir);
    insta::assert_snapshot!(works(&["kv", "show", &ids[0][..6], "--kv-dir", &name]).text());
    let said = works(&["kv", "show", &ids[1], "--text", "--kv-dir", &name]);
    assert_eq!(said.text(), "A talk of 7 pages, and 2 at the end.\n");
    let row = works(&["kv", "show", &ids[2], "--json", "--kv-dir", &name]).json();
    assert_eq!(row["id"], ids[2].as_str());
    refuses(&["kv", "show", "xyz", "--kv-dir", &name], 1, &["'xyz'", "dwarfstar kv list"]);
}

#[test]
fn removing_frees_what_nobody_shares() {
    let (_temporary, dir, name) = place();
    let ids = folder(&dir);
    let listed = works(&["kv", "list", "--json", "--kv-dir", &name]).json();
    let rows = listed["checkpoints"].as_array().unwrap();
    let own = rows.iter().find(|row| row["id"] == ids[1].as_str()).unwrap()["own_bytes"].as_u64();
    let removed = works(&["kv", "rm", &ids[1], "--json", "--kv-dir", &name]).json();
    assert_eq!(removed["removed"][0], ids[1].as_str());
    // The pack of what is freed has a directory as well.
    assert!(removed["freed_bytes"].as_u64() >= own);
    assert_eq!(open(&dir).list().len(), 2);
    let all = works(&["kv", "rm", "--all", "--kv-dir", &name]);
    assert!(all.text().starts_with("removed 2 checkpoints, freed "), "{}", all.text());
    assert!(open(&dir).list().is_empty());
}

#[test]
fn nothing_is_removed_if_one_id_is_not_understood() {
    let (_temporary, dir, name) = place();
    let ids = folder(&dir);
    refuses(&["kv", "rm", &ids[0], "nonsense", "--kv-dir", &name], 1, &["nonsense"]);
    assert_eq!(open(&dir).list().len(), 3);
    refuses(&["kv", "rm", "--kv-dir", &name], 2, &["required"]);
    refuses(&["kv", "rm", "--all", &ids[0], "--kv-dir", &name], 2, &["cannot be used with"]);
}

#[test]
fn damage_is_found_named_and_removed() {
    let (_temporary, dir, name) = place();
    let ids = folder(&dir);
    let good = works(&["kv", "verify", "--kv-dir", &name]);
    insta::assert_snapshot!(good.text());
    // The last byte of the second save: its notes, which nobody shares.
    let pack = dir.join("0000000000000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&pack, bytes).unwrap();
    fs::write(dir.join(format!("{}.kv", "0".repeat(32))), "no manifest").unwrap();
    let bad = dwarfstar(&["kv", "verify", "--kv-dir", &name]);
    assert_eq!(bad.code, 1);
    insta::assert_snapshot!(bad.text().replace(&name, "DIR"));
    let json = dwarfstar(&["kv", "verify", "--json", "--kv-dir", &name]).json();
    assert_eq!(json["flaws"].as_array().unwrap().len(), 2);
    assert!(json["flaws"].to_string().contains(&ids[1]));
    let removed = works(&["kv", "rm", "--damaged", "--kv-dir", &name]);
    let said = removed.text();
    assert!(said.starts_with("removed 1 checkpoint and 1 damaged file, freed "), "{said}");
    let rest = works(&["kv", "verify", "--kv-dir", &name]);
    assert!(rest.text().contains("of 2 checkpoints"), "{}", rest.text());
}

#[test]
fn a_checkpoint_travels_to_another_folder() {
    let (temporary, dir, name) = place();
    let ids = folder(&dir);
    let file = text(&temporary.path().join("talk.kvx"));
    let there = text(&temporary.path().join("there"));
    let export = ["kv", "export", &ids[1][..8], "--out", &file, "--kv-dir", &name];
    let said = works(&export).text().replace(&file, "FILE");
    assert!(said.starts_with(&format!("wrote checkpoint {} to FILE, ", &ids[1][..12])), "{said}");
    refuses(&export, 1, &["exists already", "--force"]);
    works(&[&export[..], &["--force"]].concat());
    let taken = works(&["kv", "import", &file, "--json", "--kv-dir", &there]).json();
    assert_eq!(taken["imported"][0]["id"], ids[1].as_str());
    let again = works(&["kv", "import", &file, "--kv-dir", &there]);
    assert!(again.text().contains("was there already"), "{}", again.text());
    let store = open(Path::new(&there));
    let found = store.find_tokens("", &entry(7, 2, Reason::Cold).tokens).unwrap();
    assert_eq!(found.id.to_string(), ids[1]);
    store.load(found.id).unwrap();
    drop(store);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    refuses(&["kv", "import", &file, "--kv-dir", &there], 1, &["talk.kvx", "expected"]);
    fs::write(&file, "a letter").unwrap();
    refuses(&["kv", "import", &file, "--kv-dir", &there], 1, &["talk.kvx"]);
}

#[test]
fn beside_a_running_program_one_may_look_but_not_change() {
    let (temporary, dir, name) = place();
    let ids = folder(&dir);
    let running = open(&dir);
    for args in [&["list"][..], &["show", &ids[0]], &["verify"]] {
        works(&[&["kv"], args, &["--kv-dir", &name]].concat());
    }
    let out = text(&temporary.path().join("x.kvx"));
    works(&["kv", "export", &ids[0], "--out", &out, "--kv-dir", &name]);
    let busy = ["another dwarfstar has this folder open"];
    refuses(&["kv", "rm", &ids[0], "--kv-dir", &name], 1, &busy);
    refuses(&["kv", "import", &out, "--kv-dir", &name], 1, &busy);
    drop(running);
    works(&["kv", "rm", &ids[0], "--kv-dir", &name]);
}

#[test]
fn without_a_folder_the_cache_is_meant() {
    let temporary = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = command(args).env("XDG_CACHE_HOME", temporary.path()).output().unwrap();
        ended_as(output)
    };
    let dir = temporary.path().join("dwarfstar/kv");
    let listed = run(&["kv", "list"]);
    assert_eq!(listed.text(), format!("{}: no checkpoints\n", dir.display()));
    assert!(!dir.exists(), "looking makes nothing");
    let missing = run(&["kv", "verify"]);
    assert!(missing.stderr.contains("no such folder; name another with --kv-dir"));
    folder(&dir);
    assert_eq!(run(&["kv", "list", "--json"]).json()["checkpoints"].as_array().unwrap().len(), 3);
}
