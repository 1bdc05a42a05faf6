//! Any bytes as a file of questions, in our format or a published one, and as a reply.
//!
//! The first byte says which. Reading may fail with a sentence; an item that was read can be asked,
//! written and read again, and any reply to it judged.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use measure::eval::{Item, Layout, Reply, grade, own, read_from};

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let names = ["items", "gpqa-csv", "supergpqa", "mmlu-csv", "mmlu-pro", "arc", "gsm8k", "math"];
    let Some(name) = names.get(usize::from(kind)) else {
        let text = String::from_utf8_lossy(bytes);
        return own().iter().for_each(|item| drop(grade(item, Reply { text: &text, calls: &[] })));
    };
    let layout: Layout = name.parse().expect("a name of the list");
    let Ok(read) = read_from(Path::new("fuzzed"), bytes, layout, 0) else { return };
    for item in &read.items {
        let _ = item.conversation();
        let _ = grade(item, Reply { text: item.question(), calls: &[] });
        let line = item.to_json().to_string();
        let again = read_from(Path::new("again"), line.as_bytes(), Layout::Items, 0);
        let again: Vec<Item> = again.expect("what we write can be read").items;
        assert_eq!(&again[..], std::slice::from_ref(item));
    }
});
