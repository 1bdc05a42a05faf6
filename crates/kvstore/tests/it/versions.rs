//! Folders that older programs wrote, and such as other ones will.
//!
//! `testdata/kv/v1` was written by [`write_the_sample`] when version 1 was new and must stay
//! readable as it is. `testdata/kv/mixed` is the same with a checkpoint of another model, and a
//! manifest and a pack of version 2, which no program has written yet: they are made by changing
//! the version of good files. `testdata/kv/v1.kvx` is a checkpoint exported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvstore::{Entry, Error, Fingerprint, Id, PageKey, Settings, Store};

use crate::disk::Sim;
use crate::talk::{entry, expected, open, settings};

fn testdata() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/kv"].iter().collect()
}

/// A folder of the test data.
fn sample(name: &str) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(testdata().join(name)).unwrap();
    let file = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    };
    files.map(|entry| file(entry.unwrap())).collect()
}

/// What the sample holds.
fn talks() -> [Entry; 2] {
    let mut short = entry(&[1, 2, 3, 4, 5], b"");
    let mut long = entry(&[1, 2, 3, 4, 5, 6, 7, 8, 9], b"a replay map");
    for entry in [&mut short, &mut long] {
        entry.tail.truncate(100);
    }
    [short, long]
}

fn id_of(entry: &Entry) -> Id {
    open(&Sim::new()).save(entry).unwrap().id
}

#[test]
fn version_1_is_read_as_it_was_written() {
    let disk = Sim::with(&sample("v1"));
    let store = open(&disk);
    assert_eq!(store.remarks(), [""; 0]);
    assert_eq!(store.list().iter().map(|info| info.hits).fold(0.0, f64::max), 2.0);
    for talk in talks() {
        let id = id_of(&talk);
        assert_eq!(store.load(id).unwrap(), expected(id, &talk));
    }
    // And written as it is read: whoever changes a byte of the format changes the version, too.
    let again = Sim::new();
    write_version_1(&again);
    assert!(again.files() == sample("v1"), "other bytes than version 1 wrote");
}

#[test]
fn an_exported_file_of_version_1_is_imported() {
    let store = open(&Sim::with(&BTreeMap::from([(
        "v1.kvx".to_owned(),
        std::fs::read(testdata().join("v1.kvx")).unwrap(),
    )])));
    let [_, long] = talks();
    let id = store.import(Path::new("v1.kvx")).unwrap().id;
    assert_eq!(store.load(id).unwrap(), expected(id, &long));
}

#[test]
fn what_others_wrote_is_told_in_a_line_each_and_survives() {
    let files = sample("mixed");
    let disk = Sim::with(&files);
    let store = open(&disk);
    let mut remarks = store.remarks().to_vec();
    remarks.sort();
    let newer = "is of version 2, this program reads 1; left alone";
    let [short, long] = talks().map(|talk| id_of(&talk));
    assert_eq!(
        remarks,
        [
            format!("kv/0000000000000003.pack: {newer}"),
            format!("kv/{long}.kv: {newer}"),
            "kv: 1 checkpoints of other models or recipes are left alone".to_owned(),
        ]
    );
    assert_eq!(
        store.find_tokens("", &[1, 2, 3, 4, 5, 6, 7, 8, 9]).map(|found| found.id),
        Some(short)
    );
    assert!(matches!(store.load(long), Err(Error::Gone { .. })));
    let stranger = store.list().into_iter().find(|info| info.id != short).unwrap();
    assert!(matches!(store.load(stranger.id), Err(Error::Foreign { .. })));
    // The newer checkpoint names blocks of ours: they stay when our own are removed.
    store.remove(short).unwrap();
    store.remove(stranger.id).unwrap();
    drop(store);
    open(&disk).save(&entry(&[77], b"")).unwrap();
    let after = disk.files();
    for name in [format!("{long}.kv"), "0000000000000003.pack".to_owned()] {
        assert_eq!(after[&name], files[&name]);
    }
    let named = &files[&format!("{long}.kv")];
    let packs: Vec<&Vec<u8>> =
        after.iter().filter(|(name, _)| name.ends_with(".pack")).map(|(_, bytes)| bytes).collect();
    let there = |key: &[u8]| packs.iter().any(|pack| pack.windows(32).any(|part| part == key));
    // Its keys are the last bytes of the file, in every version.
    let count = u32::from_le_bytes(named[12..16].try_into().unwrap()) as usize;
    for key in named[named.len() - 32 * count..].chunks(32) {
        assert!(there(key), "a block that a newer checkpoint names was deleted");
    }
}

/// Two checkpoints and a use.
fn write_version_1(disk: &Sim) {
    let store = open(disk);
    let ids = talks().map(|talk| store.save(&talk).unwrap().id);
    store.load(ids[0]).unwrap();
    store.load(ids[0]).unwrap();
}

/// Makes a file one of version 2. The checksum covers the version.
fn newer(mut file: Vec<u8>, head: usize) -> Vec<u8> {
    file[8] = 2;
    let checksum = PageKey::of(&[&file[..24], &file[56..head]].concat());
    file[24..56].copy_from_slice(&checksum.0);
    file
}

#[test]
#[ignore = "writes testdata/kv; run it once for a new version, into a new folder"]
fn write_the_sample() {
    let put = |folder: &str, files: &BTreeMap<String, Vec<u8>>| {
        let folder = testdata().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    };
    let disk = Sim::new();
    write_version_1(&disk);
    put("v1", &disk.files());
    let [short, long] = talks().map(|talk| id_of(&talk));
    let mut exported = Vec::new();
    open(&disk).export(long, Path::new("v1.kvx"), &mut exported).unwrap();
    std::fs::write(testdata().join("v1.kvx"), exported).unwrap();
    let other = Settings { model: Fingerprint([8; 32]), ..settings(u64::MAX) };
    let other = Store::open_on(Arc::new(disk.clone()), other).unwrap();
    other.save(&entry(&[1, 2, 3, 4, 5], b"")).unwrap();
    drop(other);
    let mut files = disk.files();
    let name = format!("{long}.kv");
    let file = files[&name].clone();
    files.insert(name, newer(file.clone(), file.len()));
    let pack = files["0000000000000000.pack"].clone();
    let blocks = u32::from_le_bytes(pack[12..16].try_into().unwrap()) as usize;
    files.insert("0000000000000003.pack".to_owned(), newer(pack, 56 + 40 * blocks));
    files.remove("uses");
    assert!(files.contains_key(&format!("{short}.kv")));
    put("mixed", &files);
}
