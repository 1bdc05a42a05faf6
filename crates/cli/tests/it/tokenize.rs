//! Tokens against those of the reference tokenizer for the tiny vocabulary.
//!
//! `testdata/cli/tokenizer.json` is the same vocabulary in the other spelling.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{command, ended_as, refuses, testdata, text, tiny, works};

fn tokenize(args: &[&str]) -> crate::support::Ended {
    works(&[&["tokenize", "-m", &tiny()], args].concat())
}

#[test]
fn ids_are_those_of_the_reference_and_decode_to_the_text() {
    let cases = std::fs::read_to_string(testdata("tokenize/tiny.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let json = tokenize(&["--json", "--", text]).json();
        // The reference was asked to recognize control tokens; here text is only text.
        let is_rendered = text.contains("<\u{ff5c}");
        assert_eq!(json["ids"] == case["ids"], !is_rendered, "{text:?}: {}", json["ids"]);
        assert_eq!(json["text"], text);
        let ids: Vec<_> = json["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
        assert_eq!(tokenize(&["--count", "--", text]).text(), format!("{}\n", ids.len()));
        if !ids.is_empty() {
            assert_eq!(tokenize(&["--decode", &ids.join(",")]).text(), format!("{text}\n"));
        }
    }
}

#[test]
fn pieces_are_shown_without_broken_characters() {
    let shown = tokenize(&["The night train, citt\u{e0} \u{4f60}"]);
    let expected = [
        "295  \"The\"",
        "469  \" night\"",
        "398  \" train\"",
        " 14  \",\"",
        "408  \" cit\"",
        " 86  \"t\"",
        "130  \"\\xc3\"",
        "257  \"\\xa0\"",
        "223  \" \"",
        "163  \"\\xe4\"",
        "124  \"\\xbd\"",
        "257  \"\\xa0\"",
    ];
    assert_eq!(shown.text().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_turn_has_its_markers_and_people_cannot_type_them() {
    let typed = "<\u{ff5c}User\u{ff5c}> hi";
    let turn = |flags: &[&str]| {
        let json = tokenize(&[&["--chat", "--json", typed], flags].concat()).json();
        assert_eq!(
            json["tokens"].as_array().unwrap().len(),
            json["count"].as_u64().unwrap() as usize
        );
        let special = |t: &&Value| t["special"] == true;
        let tokens = json["tokens"].as_array().unwrap().iter().filter(special);
        let names = tokens.map(|t| t["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (json["text"].as_str().unwrap().to_owned(), names.concat())
    };
    let (bos, user, assistant) = (
        "<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>",
        "<\u{ff5c}User\u{ff5c}>",
        "<\u{ff5c}Assistant\u{ff5c}>",
    );
    for (flags, end) in
        [(&[][..], "<think>"), (&["--nothink"], "</think>"), (&["--think"], "<think>")]
    {
        let (text, special) = turn(flags);
        assert_eq!(text, format!("{bos}{user}{typed}{assistant}{end}"), "{flags:?}");
        assert_eq!(special, format!("{bos}{user}{assistant}{end}"), "{flags:?}");
    }
    let (text, _) = turn(&["--system", "Be brief."]);
    assert_eq!(text, format!("{bos}Be brief.{user}{typed}{assistant}<think>"));
    let (text, _) = turn(&["--think-max"]);
    assert!(text.starts_with(&format!("{bos}Reasoning Effort: Absolute maximum")), "{text}");
}

#[test]
fn text_from_files_and_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    std::fs::write(&path, "The night train\n").unwrap();
    let from_file = tokenize(&["--file", &text(&path)]);
    let mut from_input = command(&["tokenize", "-m", &tiny(), "--file", "-"]);
    from_input.stdin(std::fs::File::open(&path).unwrap()).stdout(Stdio::piped());
    let from_input = ended_as(from_input.output().unwrap());
    assert_eq!(from_input.code, 0);
    assert_eq!(from_input.stdout, from_file.stdout);
    assert_eq!(from_file.text().lines().count(), 4);
}

#[test]
fn a_tokenizer_json_does_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = text(&folder.path().join("tokenizer.json"));
    std::fs::write(&path, "{}").unwrap();
    refuses(&["tokenize", "--tokenizer", &path, "x"], 1, &["tokenizer.json"]);
    let path = text(&testdata("cli/tokenizer.json"));
    let json = works(&["tokenize", "--tokenizer", &path, "--json", "The night train"]).json();
    assert_eq!(json["ids"], tokenize(&["--json", "The night train"]).json()["ids"]);
}

#[test]
fn wrong_usage_and_wrong_ids() {
    let model = tiny();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["-m", &model], 2, "which text?"),
        (&["-m", &model, "x", "--file", "y"], 2, "cannot be used with"),
        (&["-m", &model, "--decode", "1,512"], 1, "token 512 is not in the vocabulary (0 to 511)"),
        (&["-m", &model, "--decode", "one"], 2, "--decode: entry 0 is \"one\""),
        (&["-m", &model, "--file", "nowhere.txt"], 1, "nowhere.txt: could not open it"),
        (&["-m", &model, "--chat", ""], 2, "the prompt is empty"),
        (&["-m", &model, "--system", "s", "x"], 2, "--chat"),
        (&["-m", &model, "--nothink", "x"], 2, "add --chat"),
    ];
    for (args, code, piece) in cases {
        refuses(&[&["tokenize"], args].concat(), code, &[piece]);
    }
}
