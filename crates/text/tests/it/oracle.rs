//! The splitting of text by the vocabulary's own regular expressions, in a regular expression
//! engine: slow, and independent of the cuts made by hand.

use std::sync::LazyLock;

use fancy_regex::Regex;

/// The patterns of the model's tokenizer.json, in the order in which they apply.
static PATTERNS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        r"\p{N}{1,3}",
        r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+",
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
            r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
            r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ]
    .map(|pattern| Regex::new(pattern).expect("a valid pattern"))
});

/// The pieces of a text without special tokens.
pub fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = vec![text];
    for pattern in PATTERNS.iter() {
        pieces = pieces.into_iter().flat_map(|piece| isolate(pattern, piece)).collect();
    }
    pieces
}

/// Cuts the matches of `pattern` out as pieces of their own; what lies between stays whole.
fn isolate<'a>(pattern: &Regex, text: &'a str) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for found in pattern.find_iter(text) {
        let found = found.expect("no limit of the engine is met by short text");
        pieces.extend([&text[start..found.start()], found.as_str()]);
        start = found.end();
    }
    pieces.push(&text[start..]);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Characters and strings that stand for every class of character and for the places where
/// tokenizers differ.
#[rustfmt::skip]
pub const POOL: &[&str] = &[
    "a", "b", "c", "X", "Z", "0", "1", "9", " ", " ", "  ", "\t", "\n", "\r", "\r\n", ".", ",",
    ";", ":", "!", "?", "'", "\"", "(", ")", "[", "]", "{", "}", "<", ">", "/", "\\", "|", "~",
    "^", "_", "`", "@", "#", "$", "%", "&", "*", "+", "-", "=",
    // Letters with and without marks, marks alone, and scripts that join them.
    "\u{e9}", "e\u{301}", "\u{301}", "\u{d55c}", "\u{939}\u{94d}", "\u{e20}", "\u{1e900}",
    // Around the blocks that are cut out as runs, with the marks and signs inside them.
    "\u{4f60}", "\u{9fa5}", "\u{9fa6}", "\u{3042}", "\u{30fc}", "\u{30fb}", "\u{30a0}",
    "\u{3099}", "\u{3007}", "\u{3097}",
    // Signs, spaces, and characters of no kind at all.
    "\u{ff0c}", "\u{3002}", "\u{20ac}", "\u{2192}", "\u{1f600}", "\u{a0}", "\u{3000}", "\u{85}",
    "\u{2028}", "\u{b}", "\u{200b}", "\u{200d}", "\u{feff}", "\u{fe0f}", "\u{0}", "\u{7f}",
    "\u{e000}", "\u{378}",
    // Numerals beyond the digits.
    "\u{661}", "\u{b2}", "\u{bd}", "\u{2167}",
    // The spelling of special tokens, and parts of it.
    "<think>", "</think>", "<\u{ff5c}User\u{ff5c}>", "\u{ff5c}DSML\u{ff5c}", "<|EOT|>",
    "\u{ff5c}", "\u{2581}", "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    // Enough to merge.
    "abc", "the ", " night", "123", "        ",
];
