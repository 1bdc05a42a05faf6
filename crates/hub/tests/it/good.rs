//! Good days: files arrive whole, over several connections, and nobody learns the token.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use hub::{Download, Entry, Event, Hub, Options, Outcome};

use crate::site::{Act, Offer, Site, bytes, hasty, ranges, repository};

/// Small pieces, so that small files have many.
pub fn options() -> Options {
    Options { connections: 4, piece_bytes: (4000, 4000), patience: hasty(), overwrite: false }
}

pub fn entry(site: &Site, path: &str) -> Entry {
    let list = site.hub(None).list(&repository(), &hasty(), &mut |_, _| {}).unwrap();
    list.into_iter().find(|entry| entry.path == path).unwrap()
}

/// Fetches a file, without anybody who would stop it.
pub fn pull(site: &Site, entry: &Entry, to: &Path) -> Result<Outcome, hub::Error> {
    pull_with(&site.hub(None), entry, to)
}

/// The same, asking in some way.
pub fn pull_with(hub: &Hub, entry: &Entry, to: &Path) -> Result<Outcome, hub::Error> {
    let (repository, stop) = (repository(), AtomicBool::new(false));
    Download::new(hub, &repository, entry, to).run(&options(), &mut |_| {}, &stop)
}

/// The names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn lists_have_all_pages() {
    let offers = (0..5).map(|i| Offer::new(&format!("sub/{i}.gguf"), bytes(i))).collect();
    let site = Site::new(offers);
    let list = site.hub(None).list(&repository(), &hasty(), &mut |_, _| {}).unwrap();
    let names: Vec<_> = list.iter().map(|entry| (entry.name(), entry.size)).collect();
    let expected = [("0.gguf", 0), ("1.gguf", 1), ("2.gguf", 2), ("3.gguf", 3), ("4.gguf", 4)];
    assert_eq!(names, expected);
    assert_eq!(site.asked().len(), 3);
}

#[test]
fn a_file_arrives_whole_and_every_byte_is_asked_for_once() {
    let content = bytes(100_003);
    let site = Site::new(vec![Offer::new("a folder/m.gguf", content.clone())]);
    let site_entry =
        Entry { path: "a folder/m.gguf".to_owned(), ..entry(&site, "a folder/m.gguf") };
    // The imitation compares paths as they travel.
    site.offer(vec![Offer::new("a%20folder/m.gguf", content.clone())]);
    site.asked();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let outcome = pull(&site, &site_entry, &target).unwrap();
    assert_eq!(outcome, Outcome::Whole { fetched: 100_003 });
    assert!(std::fs::read(&target).unwrap() == content);
    assert_eq!(names(folder.path()), ["m.gguf"], "nothing else is left");
    let asked = ranges(&site.asked());
    assert_eq!(asked.len(), 100_003_usize.div_ceil(4000));
    let mut at = 0;
    for (first, last) in asked {
        assert_eq!(first, at);
        at = last + 1;
    }
    assert_eq!(at, 100_003);
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let site = Site::new(vec![Offer::new("m.gguf", bytes(9000))]);
    let (hub, repository) = (site.hub(Some("hf_secret")), repository());
    let list = hub.list(&repository, &hasty(), &mut |_, _| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let download = Download::new(&hub, &repository, &list[0], &folder.path().join("m.gguf"));
    download.run(&options(), &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let asked = site.asked();
    assert!(asked.iter().any(|asked| !asked.of_hub), "its files are elsewhere");
    for asked in asked {
        let expected = asked.of_hub.then(|| "Bearer hf_secret".to_owned());
        assert_eq!(asked.authorization, expected, "{asked:?}");
    }
}

#[test]
fn a_second_hub_is_not_the_first_one() {
    let other = Site::new(vec![Offer::new("m.gguf", bytes(5000))]);
    let site = Site::new(vec![Offer::new("m.gguf", bytes(5000))]);
    let there = other.address.clone();
    site.rule(move |asked| match asked.target.contains("/resolve/") {
        true => Act::Status(307, format!("Location: {there}{}\r\n", asked.target)),
        false => Act::Behave,
    });
    let (hub, repository) = (site.hub(Some("hf_secret")), repository());
    let list = hub.list(&repository, &hasty(), &mut |_, _| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let download = Download::new(&hub, &repository, &list[0], &folder.path().join("m.gguf"));
    download.run(&options(), &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let asked = other.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.authorization.is_none()));
}

#[test]
fn files_without_a_byte_and_files_without_a_hash() {
    let plain = Offer { sha256: None, ..Offer::new("README.md", bytes(3000)) };
    let site = Site::new(vec![Offer::new("empty", Vec::new()), plain]);
    let folder = tempfile::tempdir().unwrap();
    for (name, size) in [("empty", 0), ("README.md", 3000)] {
        let outcome = pull(&site, &entry(&site, name), &folder.path().join(name)).unwrap();
        assert_eq!(outcome, Outcome::Whole { fetched: size });
        assert_eq!(folder.path().join(name).metadata().unwrap().len(), size);
    }
}

#[test]
fn a_server_without_ranges_may_send_a_file_that_was_asked_for_whole() {
    let site = Site::new(vec![Offer::new("m.gguf", bytes(900))]);
    site.rule(|asked| if asked.of_hub { Act::Behave } else { Act::Whole });
    let folder = tempfile::tempdir().unwrap();
    let outcome = pull(&site, &entry(&site, "m.gguf"), &folder.path().join("m.gguf"));
    assert_eq!(outcome.unwrap(), Outcome::Whole { fetched: 900 });
}

#[test]
fn what_is_told_adds_up() {
    let site = Site::new(vec![Offer::new("m.gguf", bytes(50_000))]);
    let entry = entry(&site, "m.gguf");
    let folder = tempfile::tempdir().unwrap();
    let (hub, repository) = (site.hub(None), repository());
    let (mut have, mut verified) = (Vec::new(), Vec::new());
    let mut told = |event: Event<'_>| match event {
        Event::Have(bytes) => have.push(bytes),
        Event::Verifying(bytes) => verified.push(bytes),
        other => panic!("{other:?}"),
    };
    let download = Download::new(&hub, &repository, &entry, &folder.path().join("m.gguf"));
    download.run(&options(), &mut told, &AtomicBool::new(false)).unwrap();
    assert!(have.is_sorted() && verified.is_sorted());
    assert_eq!((have[0], have.last(), verified.last()), (0, Some(&50_000), Some(&50_000)));
}
