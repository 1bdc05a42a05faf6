//! Any bytes as a file of what models are asked or measured by: questions in our format or a
//! published one, stored answers, recorded vectors, pairs of prompts; and as a reply.
//!
//! The first byte says which. Reading may fail with a sentence; a question that was read can be
//! asked, written and read again, and any reply to it judged.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use measure::direction::prompts;
use measure::eval::{Item, Layout, Reply, grade, own, read_from};
use measure::lines::Lines;
use measure::{score, vectors};

/// Made once: it takes longer than judging.
static OWN: LazyLock<Vec<Item>> = LazyLock::new(own);

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let names = ["items", "gpqa-csv", "supergpqa", "mmlu-csv", "mmlu-pro", "arc", "gsm8k", "math"];
    let Some(name) = names.get(usize::from(kind)) else {
        let mut lines = Lines::new(Path::new("fuzzed"), bytes);
        match kind {
            8 => return drop(score::read_items(&mut lines)),
            9 => return drop(vectors::read_cases(&mut lines)),
            10 => return drop(prompts::read_pairs(&mut lines)),
            _ => {}
        }
        let text = String::from_utf8_lossy(bytes);
        return OWN.iter().for_each(|item| drop(grade(item, Reply { text: &text, calls: &[] })));
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
