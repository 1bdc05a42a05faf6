//! Holds the cuts made by hand against the reference's pieces and against the patterns.

use proptest::prelude::*;
use serde_json::Value;

use super::pieces;

#[path = "../../tests/it/oracle.rs"]
mod oracle;

fn cut(text: &str) -> Vec<&str> {
    pieces(text).collect()
}

#[test]
fn pieces_of_the_reference() {
    let golden = include_str!("../../../../testdata/tokenize/golden.json");
    let golden: Value = serde_json::from_str(golden).expect("JSON");
    let mut compared = 0;
    for case in golden["cases"].as_array().expect("a list of cases") {
        // Texts with special tokens have no pieces.
        let Some(expected) = case["pieces"].as_array() else { continue };
        assert_eq!(cut(case["text"].as_str().expect("a text")), *expected);
        compared += 1;
    }
    assert_eq!(compared, 82);
}

#[test]
fn cuts_worth_knowing() {
    assert_eq!(cut("    int"), ["   ", " int"]);
    assert_eq!(cut("a \n b"), ["a", " \n", " b"]);
    assert_eq!(cut(">;\n\n  }"), [">;\n\n", " ", " }"]);
    assert_eq!(cut("don't a.b"), ["don", "'t", " a", ".b"]);
    assert_eq!(cut("1234567"), ["123", "456", "7"]);
    assert_eq!(cut("x  "), ["x", "  "]);
    assert_eq!(cut("x  1"), ["x", "  ", "1"]);
    assert_eq!(
        cut("\u{30fc}\u{30a0}\u{30fb}\u{30fd}"),
        ["\u{30fc}", "\u{30a0}\u{30fb}", "\u{30fd}"]
    );
    assert_eq!(cut("\0\0a\0"), ["\0", "\0a", "\0"]);
    assert_eq!(cut(""), [""; 0]);
}

fn parts() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![
        12 => proptest::sample::select(oracle::POOL).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(part, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_text_is_cut_as_the_patterns_do(parts in parts()) {
        let text = parts.concat();
        prop_assert_eq!(cut(&text), oracle::pieces(&text));
    }
}

#[test]
fn every_character_is_cut_as_the_patterns_do() {
    for character in (0..=0x10_ffff).filter_map(char::from_u32) {
        let text = format!("a{character}b {character}1{character}\n");
        assert_eq!(cut(&text), oracle::pieces(&text), "{character:?}");
    }
}
