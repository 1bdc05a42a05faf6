//! How fast checkpoints are written and read; prints figures and holds none of them.

use std::time::Instant;

use kvstore::{
    Disk, Entry, Fingerprint, PageKey, PageSource, Reason, Settings, Sink, Storage, Store,
};

use crate::talk::bytes;

const PAGE_BYTES: usize = 449_132;
const PAGES: usize = 512;

fn entry() -> Entry {
    let mut page = bytes("page", PAGE_BYTES);
    let mut next = |number: u64| {
        page[..8].copy_from_slice(&number.to_le_bytes());
        PageSource::New(page.clone())
    };
    Entry {
        tokens: (0..128 * PAGES as u32).collect(),
        also: Vec::new(),
        variant: String::new(),
        text: bytes("text", 512 * PAGES),
        pages: (0..PAGES as u64).map(&mut next).collect(),
        tail: bytes("tail", 15 << 20),
        logits: vec![0.5; 129_280],
        notes: Vec::new(),
        reason: Reason::Cold,
    }
}

/// Figures are those of the folder for temporary files: a real disk, if that is one.
#[test]
#[ignore = "measures the disk with 240 MB; run it alone, with --nocapture"]
fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        dir: folder.path().join("kv"),
        budget: u64::MAX,
        model: Fingerprint([1; 32]),
        recipe: "speed".to_owned(),
        page_bytes: PAGE_BYTES,
    };
    let entry = entry();
    let megabytes = entry.bytes() as f64 / 1e6;
    let timed = |what: &str, megabytes: f64, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        let seconds = start.elapsed().as_secs_f64();
        println!("{what:<34} {seconds:>7.3} s {:>8.0} MB/s", megabytes / seconds);
    };
    timed("one plain file, written and synced", megabytes, &mut || plain(folder.path(), &entry));
    timed("hashing all of it", megabytes, &mut || hash(&entry));
    let store = Store::open(settings.clone()).unwrap();
    let mut id = None;
    timed("save", megabytes, &mut || id = Some(store.save(&entry).unwrap().id));
    timed("save again, nothing new", megabytes, &mut || drop(store.save(&entry).unwrap()));
    let mut longer = entry.clone();
    longer.tokens.push(1);
    longer.tail = bytes("another tail", 15 << 20);
    timed("save, the tail is new", 15.7, &mut || drop(store.save(&longer).unwrap()));
    drop(store);
    let mut store = None;
    timed("open", megabytes, &mut || store = Some(Store::open(settings.clone()).unwrap()));
    let (store, id) = (store.unwrap(), id.unwrap());
    for round in 1..=3 {
        let what = format!("load, page by page, round {round}");
        let mut first = 0;
        timed(&what, megabytes, &mut || {
            drop(store.load_pages(id, |_, page| first ^= page[0]).unwrap());
        });
    }
    let prompt: Vec<u32> = (0..1_000_000).collect();
    timed("find in a prompt of a million", 4.0, &mut || {
        assert_eq!(store.find_tokens("", &prompt).map(|found| found.id), Some(id));
    });
}

fn plain(folder: &std::path::Path, entry: &Entry) {
    let mut file: Box<dyn Sink> = Disk.create(&folder.join("plain")).unwrap();
    for page in &entry.pages {
        let PageSource::New(bytes) = page else { continue };
        file.write_all(bytes).unwrap();
    }
    file.write_all(&entry.tail).unwrap();
    file.sync().unwrap();
}

fn hash(entry: &Entry) {
    let mut all = 0;
    for page in &entry.pages {
        let PageSource::New(bytes) = page else { continue };
        all ^= PageKey::of(bytes).0[0];
    }
    for block in entry.tail.chunks(16 << 10) {
        all ^= PageKey::of(block).0[0];
    }
    std::hint::black_box(all);
}
