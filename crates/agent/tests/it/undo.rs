//! Turns are taken back: by tools and by commands, after restarts, and not over others' work.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use agent::undo::{Changed, Undo};
use serde_json::json;

use crate::site::Site;

#[test]
fn a_turn_of_tools_is_taken_back() {
    let site = Site::new();
    site.put("changed.sh", "old\n");
    let changed = site.tree().join("changed.sh");
    fs::set_permissions(&changed, fs::Permissions::from_mode(0o750)).unwrap();
    let undo = &site.place.undo;
    undo.begin_turn("1");
    site.call("write", json!({"path": "made/new.txt", "content": "1\n"}));
    undo.begin_turn("2");
    site.call("edit", json!({"path": "changed.sh", "old": "old", "new": "new"}));
    site.call("write", json!({"path": "changed.sh", "content": "newer\n"}));
    site.call("write", json!({"path": "made/new.txt", "content": "2\n"}));
    site.call("write", json!({"path": "made/second.txt", "content": "2\n"}));
    fs::set_permissions(&changed, fs::Permissions::from_mode(0o750)).unwrap();

    let undone = undo.undo_turn("2", false).unwrap();
    assert_eq!(undone.restored, [changed.clone(), site.tree().join("made/new.txt")]);
    assert_eq!(undone.removed, [site.tree().join("made/second.txt")]);
    assert!(undone.failed.is_empty() && undone.uncovered.is_empty(), "{undone:?}");
    assert_eq!(site.get("changed.sh"), "old\n");
    assert_eq!(changed.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(site.get("made/new.txt"), "1\n");
    assert!(!site.tree().join("made/second.txt").exists());

    assert_eq!(undo.undo_turn("2", false).unwrap(), Default::default(), "once is enough");
    let undone = undo.undo_turn("1", false).unwrap();
    assert_eq!(undone.removed, [site.tree().join("made/new.txt")]);
    assert_eq!(undo.undo_turn("never", false).unwrap(), Default::default());
}

#[test]
fn what_commands_did_is_taken_back() {
    let site = Site::new();
    site.put("kept.txt", "kept\n");
    site.put("gone.txt", "gone\n");
    site.put("changed.txt", "one\n");
    site.put(".gitignore", "build/\n");
    let undo = &site.place.undo;
    undo.begin_turn("1");
    let outcome = site.shell(
        "rm gone.txt; echo two >> changed.txt; chmod 600 kept.txt; mkdir -p n build; \
         echo new > n/new.txt; echo x > build/x",
    );
    assert!(!outcome.failed, "{}", outcome.text);
    site.shell("echo three >> changed.txt");
    let mut undone = undo.undo_turn("1", false).unwrap();
    undone.restored.sort();
    let at = |name: &str| site.tree().join(name);
    assert_eq!(undone.restored, [at("changed.txt"), at("gone.txt"), at("kept.txt")]);
    assert_eq!(undone.removed, [at("n/new.txt")]);
    assert_eq!(site.get("gone.txt"), "gone\n");
    assert_eq!(site.get("changed.txt"), "one\n");
    assert_eq!(at("kept.txt").metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(site.get("build/x"), "x\n", "what the project ignores is not covered");
}

#[test]
fn what_is_not_covered_is_said() {
    let site = Site::new();
    for index in 0..4001 {
        site.put(&format!("many/{index}"), "x");
    }
    let undo = &site.place.undo;
    undo.begin_turn("1");
    site.shell("echo changed > many/0");
    site.call("write", json!({"path": "many/1", "content": "y"}));
    let undone = undo.undo_turn("1", false).unwrap();
    assert_eq!(undone.uncovered, ["changes by commands: the tree is too large to be kept"]);
    assert_eq!(undone.restored, [site.tree().join("many/1")]);
    undo.begin_turn("2");
    site.call("bash", json!({"command": "sleep 60", "refresh_sec": 0}));
    let undone = undo.undo_turn("2", false).unwrap();
    assert!(undone.uncovered.iter().any(|line| line.contains("after its call")), "{undone:?}");
}

#[test]
fn a_command_that_changes_very_much_is_covered_as_far_as_it_is_said() {
    let site = Site::new();
    let undo = &site.place.undo;
    undo.begin_turn("1");
    let outcome = site.shell("for i in $(seq 1 2100); do echo $i > $i; done");
    assert!(!outcome.failed, "{}", outcome.text);
    let undone = undo.undo_turn("1", false).unwrap();
    assert_eq!(undone.removed.len(), 2000);
    assert_eq!(undone.uncovered, ["files after the first 2000 of a turn"]);
}

#[test]
fn work_of_others_is_not_overwritten_unless_forced() {
    let site = Site::new();
    site.put("a.txt", "old\n");
    let undo = &site.place.undo;
    undo.begin_turn("1");
    site.call("write", json!({"path": "a.txt", "content": "new\n"}));
    site.call("write", json!({"path": "b.txt", "content": "new\n"}));
    site.call("write", json!({"path": "c.txt", "content": "new\n"}));
    site.put("a.txt", "somebody else's\n");
    fs::remove_file(site.tree().join("c.txt")).unwrap();
    let changed = undo.undo_turn("1", false).unwrap_err();
    assert_eq!(changed, Changed(vec![site.tree().join("a.txt")]));
    assert_eq!(site.get("a.txt"), "somebody else's\n");
    assert_eq!(site.get("b.txt"), "new\n", "nothing was done");
    undo.undo_turn("1", true).unwrap();
    assert_eq!(site.get("a.txt"), "old\n");
    assert!(!site.tree().join("b.txt").exists());
}

#[test]
fn undoing_follows_no_link_out() {
    let site = Site::new();
    site.put("inner/secret.txt", "old\n");
    let undo = &site.place.undo;
    undo.begin_turn("1");
    site.call("write", json!({"path": "inner/secret.txt", "content": "new\n"}));
    fs::rename(site.tree().join("inner"), site.tree().join("moved")).unwrap();
    std::os::unix::fs::symlink(site.beside("outside"), site.tree().join("inner")).unwrap();
    assert!(undo.undo_turn("1", false).is_err());
    let undone = undo.undo_turn("1", true).unwrap();
    assert_eq!(undone.failed.len(), 1, "{undone:?}");
    assert_eq!(fs::read_to_string(site.beside("outside/secret.txt")).unwrap(), "the secret\n");
}

#[test]
fn a_turn_is_taken_back_after_a_restart_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
    fs::write(at("a.txt"), "old\n").unwrap();
    fs::write(at("b.txt"), "old b\n").unwrap();
    let undo = Undo::open(&at("undo")).unwrap();
    undo.begin_turn("1");
    undo.change(&at("a.txt"), Some(b"new\n")).unwrap();
    undo.change(&at("b.txt"), None).unwrap();
    drop(undo);
    for entry in fs::read_dir(at("undo/kept")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap() == b"old b\n" {
            fs::write(&path, "damaged\n").unwrap();
        }
    }
    let undo = Undo::open(&at("undo")).unwrap();
    let beside = Undo::open(&at("undo")).unwrap();
    assert_eq!(beside.undo_turn("1", false).unwrap(), Default::default(), "that is another's");
    let undone = undo.undo_turn("1", false).unwrap();
    assert_eq!(undone.restored, [at("a.txt")]);
    assert!(undone.failed[0].contains("gone or damaged"), "{undone:?}");
    assert_eq!(fs::read_to_string(at("a.txt")).unwrap(), "old\n");
    assert!(!at("b.txt").exists());
}

#[test]
fn what_is_kept_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
    let undo = Undo::open(&at("undo")).unwrap();
    let content = |turn: usize| vec![b'a' + (turn % 26) as u8; (15 << 20) + turn];
    fs::write(at("a"), content(0)).unwrap();
    for turn in 1..=20 {
        undo.begin_turn(&turn.to_string());
        undo.change(&at("a"), Some(&content(turn))).unwrap();
    }
    undo.begin_turn("last");
    let kept = fs::read_dir(at("undo/kept")).unwrap();
    let bytes: u64 = kept.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 256 << 20, "{bytes}");
    assert!(bytes > 200 << 20, "the newest are there: {bytes}");
    assert_eq!(undo.undo_turn("20", false).unwrap().restored, [at("a")]);
    assert_eq!(undo.undo_turn("1", true).unwrap(), Default::default(), "the oldest went");
    // What could not be kept is not changed.
    assert!(undo.change(&at("b"), Some(&vec![0; 17 << 20])).is_err() && !at("b").exists());
    fs::write(at("b"), vec![0; 17 << 20]).unwrap();
    assert!(undo.change(&at("b"), Some(b"x")).is_err());
    assert_eq!(at("b").metadata().unwrap().len(), 17 << 20);
}
