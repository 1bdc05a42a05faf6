//! Any bytes as what a hub or a disk may say: lists of files, headers, redirects, journals.
//!
//! The first byte says which. Parsing may fail with a sentence; what was parsed must be within the
//! bounds that the rest of the crate relies on.
#![no_main]

use hub::hostile::{content_range, journal, listing, next_page, redirect};
use hub::{Endpoint, Entry, Plain, Repository, Token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match kind % 6 {
        0 => {
            for entry in listing(bytes).unwrap_or_default() {
                assert!(!entry.name().is_empty() && entry.name() != "..", "{entry:?}");
                assert!(!entry.name().contains(['/', '\\', '\n']), "{entry:?}");
            }
        }
        1 => {
            let size = u64::from(kind) << 8;
            let version = "9f2c".to_owned();
            let entry = Entry { path: "m".to_owned(), size, sha256: None, version };
            let head = format!("dwarfstar pull 1\nof {size} 9f2c\n");
            for bytes in [bytes.to_vec(), [head.as_bytes(), bytes].concat()] {
                assert!(journal(&bytes, &entry).unwrap_or_default().end() <= size);
            }
        }
        2 => {
            if let Some(to) = redirect("https://hub.example/a/b?c", &text) {
                let origin: Vec<_> = to.split(['/', '?']).take(3).collect();
                let endpoint = Endpoint::parse(&origin.join("/"), Plain::Loopback);
                assert!(endpoint.is_ok(), "{to} without encryption");
            }
        }
        3 => drop(next_page(&text)),
        4 => drop(content_range(&text)),
        _ => {
            drop(Token::new(&text));
            drop(Repository::parse(&text));
            drop(Endpoint::parse(&text, Plain::Anywhere));
        }
    }
});
