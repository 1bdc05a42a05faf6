//! The reader of items: what it refuses, and that what it reads can be written again.

use std::path::Path;

use measure::eval::{Item, Layout, read_from};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(text: &str) -> Result<Vec<Item>, String> {
    let read = read_from(Path::new("a.jsonl"), text.as_bytes(), Layout::Items, 0);
    read.map(|read| read.items).map_err(|error| error.to_string())
}

/// An item that is fine, with something changed; `null` removes a field.
fn changed(base: &str, changes: Value) -> String {
    let mut item: Value = match base {
        "number" => json!({"id": "a", "kind": "number", "question": "1 + 1?", "answer": 2}),
        "choice" => {
            json!({"id": "a", "kind": "choice", "question": "q", "choices": ["x", "y"],
                "answer": "B"})
        }
        "regex" => json!({"id": "a", "kind": "regex", "question": "q", "answer": "^yes"}),
        "lines" => json!({"id": "a", "kind": "lines", "question": "q", "answer": "a.c:1-2"}),
        "call" => json!({"id": "a", "kind": "call", "question": "q", "tools": [{"name": "ls"}],
            "answer": {"name": "ls", "arguments": {}}}),
        other => panic!("no item {other}"),
    };
    let fields = item.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(fields.remove(key)),
            value => drop(fields.insert(key.clone(), value.clone())),
        }
    }
    item.to_string()
}

#[test]
fn every_kind_is_read_and_written_again() {
    for base in ["number", "choice", "regex", "lines", "call"] {
        let items = read(&changed(base, json!({}))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read(&items[0].to_json().to_string()), Ok(items.clone()), "{base}");
        assert_eq!((items[0].domain.as_str(), items[0].points), ("other", 1));
    }
}

#[test]
fn what_is_refused_is_named() {
    let long = "x".repeat(5000);
    let many: Vec<String> = (0..27).map(|n| n.to_string()).collect();
    let cases = [
        ("number", json!({"anser": 2}), "unknown field `anser`"),
        ("number", json!({"answer": null}), "missing field `answer`"),
        ("number", json!({"answer": "two"}), "expected a number such as 12"),
        ("number", json!({"answer": []}), "expected 1 to 64 of them, found 0"),
        ("number", json!({"answer": "1".repeat(40)}), "expected a number"),
        ("number", json!({"tolerance": -1}), "not negative"),
        ("number", json!({"kind": "essay"}), "unknown variant `essay`"),
        ("number", json!({"id": ""}), "id: expected 1 to 200 bytes"),
        ("number", json!({"id": "a b"}), "visible ASCII characters"),
        ("number", json!({"domain": "a\u{1b}[31m"}), "without control characters"),
        ("number", json!({"points": 0}), "points 0: expected 1 to 1000"),
        ("number", json!({"question": " \n"}), "question: it is empty"),
        ("number", json!({"question": null}), "expected a question, or messages"),
        ("number", json!({"messages": [{"role": "user", "content": "q"}]}), "and not both"),
        ("number", json!({"choices": ["a", "b"]}), "choices belongs to items of another kind"),
        ("choice", json!({"answer": "C"}), "there are only 2 choices"),
        ("choice", json!({"answer": "b"}), "expected one capital letter"),
        ("choice", json!({"choices": ["x"]}), "expected 2 to 26, found 1"),
        ("choice", json!({"choices": many}), "expected 2 to 26, found 27"),
        ("choice", json!({"choices": ["x", " "]}), "one of them is empty"),
        ("regex", json!({"answer": "a("}), "not a regular expression"),
        ("regex", json!({"answer": "((a{100}){100}){100}"}), "needs more than 1048576 bytes"),
        ("regex", json!({"answer": long}), "1 to 4096 bytes"),
        ("lines", json!({"answer": "a.c"}), "expected \"FILE:FIRST-LAST\""),
        ("lines", json!({"answer": "a.c:3-1"}), "expected \"FILE:FIRST-LAST\""),
        ("call", json!({"tools": null}), "offers at least one"),
        ("call", json!({"answer": {"name": "rm", "arguments": {}}}), "\"rm\" is not offered"),
        ("call", json!({"answer": {"name": "ls"}}), "missing field `arguments`"),
        ("call", json!({"tools": [{"name": "ls"}, {"name": "ls"}]}), "empty or used twice"),
        ("call", json!({"tools": [{"name": "ls", "parameters": 3}]}), "are no object"),
    ];
    for (base, change, piece) in cases {
        let line = changed(base, change);
        let error = read(&line).expect_err(&line);
        assert!(error.starts_with("a.jsonl, line 1 (byte 0): "), "{error}");
        assert!(error.contains(piece), "{error}: expected {piece:?}");
    }
}

#[test]
fn conversations_take_turns() {
    let turns =
        |turns: Value| read(&changed("regex", json!({"question": null, "messages": turns})));
    let user = json!({"role": "user", "content": "q"});
    let call = json!({"role": "assistant", "content": "", "call": {"name": "f", "arguments": {}}});
    let said = json!({"role": "assistant", "content": "a"});
    let tool = json!({"role": "tool", "content": "r"});
    for good in [json!([user, said, user]), json!([user, call, tool]), json!([user, user])] {
        assert!(turns(good.clone()).is_ok(), "{good}");
    }
    for bad in [
        json!([]),
        json!([said, user]),
        json!([user, said]),
        json!([user, tool]),
        json!([user, call, user]),
        json!([user, call, said, user]),
        json!([{"role": "system", "content": "s"}, user]),
        json!([{"role": "user", "content": "q", "call": {"name": "f", "arguments": {}}}]),
    ] {
        assert!(turns(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn files_are_refused_by_the_line() {
    let good = changed("number", json!({}));
    let twice = read(&format!("{good}\n\n{good}\n")).unwrap_err();
    let second = good.len() + 2;
    let expected = format!("a.jsonl, line 3 (byte {second}): the id \"a\" was used before");
    assert!(twice.starts_with(&expected), "{twice}");
    assert_eq!(read(" \n").unwrap_err(), "a.jsonl: there is nothing in it");
    assert!(read("[1]").unwrap_err().contains("line 1"));
    let deep = format!("{{\"id\":\"a\",\"answer\":{}", "[".repeat(100_000));
    assert!(read(&deep).unwrap_err().contains("recursion limit"));
}

proptest! {
    /// Whatever is read is an item that can be asked, written and read again.
    #[test]
    fn items_survive_writing(
        id in "[!-~]{1,20}",
        domain in "[a-z ]{1,10}[a-z]",
        question in "\\PC{0,60}[a-z]",
        choices in prop::collection::vec("\\PC{0,8}[a-z]", 2..26),
        right in any::<prop::sample::Index>(),
        points in 1u32..1000,
    ) {
        let letter = char::from(b'A' + right.index(choices.len()) as u8).to_string();
        let line = json!({"id": id, "kind": "choice", "domain": domain, "points": points,
            "question": question, "choices": choices, "answer": letter}).to_string();
        let items = read(&line).map_err(TestCaseError::fail)?;
        prop_assert_eq!(items[0].conversation().messages.len(), 1);
        prop_assert_eq!(read(&items[0].to_json().to_string()), Ok(items));
    }

    #[test]
    fn any_line_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = read(&text);
        for layout in [Layout::Gpqa, Layout::Mmlu, Layout::Arc, Layout::Math] {
            let _ = read_from(Path::new("a"), text.as_bytes(), layout, 0);
        }
    }
}
