//! Any text through the tokenizer, and any text as a tokenizer.json.
//!
//! Text comes back byte for byte, is the same in one piece as through a stream, and never
//! becomes a special token; a vocabulary is refused or works, and nothing panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use text::{Tokenizer, Utf8Stream, Vocabulary};

static TINY: LazyLock<Tokenizer> = LazyLock::new(|| {
    let json = include_str!("../../testdata/tokenize/tiny_vocabulary.json");
    Tokenizer::new(Vocabulary::from_tokenizer_json(json).expect("JSON")).expect("valid")
});

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    check(&TINY, &text);
    if let Ok(tokenizer) = Vocabulary::from_tokenizer_json(&text).and_then(Tokenizer::new) {
        check(&tokenizer, &text);
    }

    let mut stream = Utf8Stream::new();
    let mut joined: String = bytes.iter().map(|&byte| stream.push(&[byte])).collect();
    joined += &stream.finish();
    assert_eq!(joined, text);
});

fn check(tokenizer: &Tokenizer, text: &str) {
    let ids = tokenizer.encode_text(text);
    assert!(ids.iter().all(|&id| !tokenizer.token_kind(id).is_added()));
    assert_eq!(tokenizer.decode(&ids), text.as_bytes());
    assert_eq!(tokenizer.decode(&tokenizer.encode_rendered(text)), text.as_bytes());
}
