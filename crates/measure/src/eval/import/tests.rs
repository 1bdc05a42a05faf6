//! Small samples in the formats of the public sets, written for these tests.

use super::*;
use crate::eval::read_from;

fn imported(layout: Layout, name: &str, text: &str) -> Result<Read, String> {
    let read = read_from(Path::new(name), text.as_bytes(), layout, 0);
    read.map_err(|error| error.to_string())
}

/// Every item as its id, domain, question and right answer.
fn shown(read: &Read) -> Vec<[String; 4]> {
    let right = |item: &Item| match &item.kind {
        Kind::Choice { choices, right } => choices[*right].clone(),
        kind => kind.answer().as_str().unwrap_or_default().to_owned(),
    };
    let show = |item: &Item| {
        [item.id.clone(), item.domain.clone(), item.question().to_owned(), right(item)]
    };
    read.items.iter().map(show).collect()
}

const GPQA: &str = "\
Record ID,High-level domain,Question,Correct Answer,\
Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3
rec 1,Physics,\"Which unit has
force?\",newton,joule,watt,\"volt, or so\"
rec 2,Biology,Which has wings?,the owl,the eel,the ant-eater,the cod
";

#[test]
fn gpqa_shows_its_choices_in_an_order_of_the_seed() {
    let read = imported(Layout::Gpqa, "g.csv", GPQA).unwrap();
    assert_eq!(
        shown(&read),
        [
            ["gpqa-rec-1", "Physics", "Which unit has\nforce?", "newton"],
            ["gpqa-rec-2", "Biology", "Which has wings?", "the owl"],
        ]
    );
    let letters = |seed| {
        let read = read_from(Path::new("g.csv"), GPQA.as_bytes(), Layout::Gpqa, seed).unwrap();
        read.items.iter().map(|item| item.kind.answer()).collect::<Vec<_>>()
    };
    assert_eq!(letters(0), letters(0));
    // Of twenty seeds some put the right choice elsewhere, and none puts it always first.
    let orders: std::collections::HashSet<_> =
        (0..20).map(|seed| format!("{:?}", letters(seed))).collect();
    assert!(orders.len() > 5, "{orders:?}");
    let missing = imported(Layout::Gpqa, "g.csv", "Question,Correct Answer\na,b\n").unwrap_err();
    assert_eq!(missing, "g.csv, line 2 (byte 24): no column \"Incorrect Answer 1\"");
}

#[test]
fn mmlu_names_its_domain_after_the_file() {
    let text = "2 + 2?,3,4,5,6,B\n\"A, or \"\"B\"\"?\",w,x,y,z,D\n";
    let read = imported(Layout::Mmlu, "data/sums_test.csv", text).unwrap();
    assert_eq!(
        shown(&read),
        [["mmlu-1", "sums", "2 + 2?", "4"], ["mmlu-2", "sums", "A, or \"B\"?", "z"],]
    );
    let wrong = imported(Layout::Mmlu, "m.csv", "q,a,b,B\nq,a,b,c,d,E\n").unwrap_err();
    assert!(wrong.starts_with("m.csv, line 2 (byte 8): answer \"E\": there are only 4"), "{wrong}");
}

#[test]
fn sets_of_json_lines() {
    let cases = [
        (
            Layout::SuperGpqa,
            r#"{"uuid":"f0","question":"q","options":["a","b"],"answer":"b",
                "answer_letter":"B","discipline":"Law","field":"f","difficulty":"hard"}"#,
            ["supergpqa-f0", "Law", "q", "b"],
        ),
        (
            Layout::MmluPro,
            r#"{"question_id":70,"question":"q","options":["a","b","N/A","N/A"],
                "answer":"A","answer_index":0,"category":"history","src":"s"}"#,
            ["mmlu-pro-70", "history", "q", "a"],
        ),
        (
            Layout::Arc,
            r#"{"id":"M_1","question":{"stem":"q",
                "choices":[{"text":"a","label":"A"},{"text":"b","label":"B"}]},"answerKey":"B"}"#,
            ["arc-M_1", "arc", "q", "b"],
        ),
        (
            Layout::Arc,
            r#"{"id":"M_2","question":"q","choices":{"text":["a","b","c"],
                "label":["1","2","3"]},"answerKey":"3"}"#,
            ["arc-M_2", "arc", "q", "c"],
        ),
        (
            Layout::Gsm8k,
            r#"{"question":"q","answer":"He has 3 * 400 = <<3*400=1200>>1200.\n#### 1,200"}"#,
            ["gsm8k-1", "gsm8k", "q", "1200"],
        ),
        (
            Layout::Math,
            r#"{"problem":"q","answer":"\\dfrac{3}{6}","subject":"Algebra",
                "unique_id":"test/algebra/1.json"}"#,
            ["math-test/algebra/1.json", "Algebra", "q", "1/2"],
        ),
        (
            Layout::Math,
            r#"{"problem":"q","solution":"So $\\boxed{3}$, no, $\\boxed{1{,}024}$.",
                "type":"Algebra","level":"Level 2"}"#,
            ["math-1", "Algebra", "q", "1024"],
        ),
        (Layout::Math, r#"{"id":60,"question":"q","answer":204}"#, ["math-60", "math", "q", "204"]),
    ];
    for (layout, line, expected) in cases {
        let line = &line.replace('\n', "");
        let read = imported(layout, "s.jsonl", line).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(shown(&read), [expected], "{line}");
    }
}

#[test]
fn answers_that_nothing_judges_are_counted_and_left_out() {
    let line = |answer: &str| format!("{{\"problem\":\"q\",\"answer\":\"{answer}\"}}\n");
    let text = [line("7"), line("x^2 + 1"), line("8")].concat();
    let read = imported(Layout::Math, "m.jsonl", &text).unwrap();
    assert_eq!((read.items.len(), read.left_out), (2, 1));
    assert_eq!(read.items[1].id, "math-3", "ids count the lines, whatever is left out");
    let none = imported(Layout::Math, "m.jsonl", &line("x^2")).unwrap_err();
    assert!(none.contains("none of its 1 questions"), "{none}");
}

#[test]
fn lines_that_are_not_as_published_are_named() {
    let cases = [
        (
            Layout::SuperGpqa,
            r#"{"question":"q","options":["a","b"],"answer_letter":"C"}"#,
            "only 2",
        ),
        (Layout::SuperGpqa, r#"{"question":"q","options":["a",2],"answer_letter":"A"}"#, "not all"),
        (Layout::MmluPro, r#"{"question":"q","options":[],"answer":"A"}"#, "2 to 26, found 0"),
        (Layout::Arc, r#"{"question":"q","answerKey":"A"}"#, "no choices"),
        (
            Layout::Arc,
            r#"{"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"C"}"#,
            "not among the labels",
        ),
        (
            Layout::Arc,
            r#"{"question":"q","choices":{"text":["a"],"label":["A","B","C"]},"answerKey":"C"}"#,
            "not among the labels",
        ),
        (Layout::Gsm8k, r#"{"question":"q","answer":"12"}"#, "#### 42"),
        (Layout::Math, r#"{"problem":"q"}"#, "no \"answer\""),
        (Layout::Math, "[]", "no JSON object"),
        (Layout::Gsm8k, r#"{"question":" ","answer":"so #### 1"}"#, "the question is empty"),
    ];
    for (layout, line, piece) in cases {
        let error = imported(layout, "s.jsonl", line).expect_err(line);
        assert!(error.starts_with("s.jsonl, line 1 (byte 0): "), "{error}");
        assert!(error.contains(piece), "{error}: expected {piece:?}");
    }
    assert_eq!(
        imported(Layout::Arc, "s.jsonl", "\n\n").unwrap_err(),
        "s.jsonl: there is nothing in it"
    );
}
