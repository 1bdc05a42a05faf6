//! `dwarfstar eval`: Nano answers a few questions; reports are kept, gone on with, judged again and
//! compared. How answers are judged is tested where it is done.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;

use crate::signals::signal;
use crate::support::{Ended, command, dwarfstar, ended_as, refuses, text, works};

/// Two questions of our own, the first of which Nano was trained for.
const TWO: [&str; 11] = [
    "eval",
    "-m",
    "nano",
    "--nothink",
    "-n",
    "64",
    "--only",
    "tools-02",
    "--only",
    "arithmetic-01",
    "--threads=1",
];

fn summary(ended: &Ended) -> Value {
    let mut json = ended.json();
    let mut all = json["summary"].take();
    // What the clock says differs.
    all["all"]["seconds"] = Value::Null;
    for domain in all["domains"].as_array_mut().unwrap() {
        domain["seconds"] = Value::Null;
    }
    all
}

#[test]
fn nano_answers_and_the_answers_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("nano.jsonl"));
    let kept = [&TWO[..], &["--out", &out]].concat();
    let first = works(&[&kept[..], &["--json"]].concat());
    let json = first.json();
    assert_eq!(json["report"]["model"]["name"], "nano.gguf (built in)");
    assert_eq!(json["report"]["set"]["items"], 2);
    assert_eq!((&json["complete"], &json["left_out"]), (&true.into(), &0.into()));
    let all = &json["summary"]["all"];
    assert_eq!((&all["items"], &all["answers"]), (&2.into(), &2.into()));
    let right = all["right"].as_u64().unwrap();
    assert!(right >= 1, "Nano reads files: {all}");
    assert_eq!(json["summary"]["domains"][1]["right"], 1, "{json}");
    // Whoever reads a pipe is told by lines, unless they want to be left alone.
    assert!(first.stderr.contains("2/2 right tools-02: \"read("), "{}", first.stderr);

    // The file says the same, whole or cut.
    refuses(&kept, 1, &["nano.jsonl: there is a report already", "--resume"]);
    let again = works(&[&kept[..], &["--resume", "--json", "--quiet"]].concat());
    assert_eq!((summary(&again), again.stderr.as_str()), (summary(&first), ""));
    let bytes = fs::read(&out).unwrap();
    fs::write(&out, &bytes[..bytes.len() - 20]).unwrap();
    let cut = works(&[&kept[..], &["--resume", "--json"]].concat());
    assert_eq!(summary(&cut), summary(&first));
    assert!(cut.stderr.contains("nano.jsonl: the last line was cut"), "{}", cut.stderr);
    let other = [&kept[..], &["--resume", "--temp", "1"]].concat();
    refuses(&other, 1, &["cannot go on with this report, because of its settings"]);

    // People get a table.
    let table = works(&[&kept[..], &["--resume"]].concat());
    for piece in ["nano.gguf (built in) on dwarfstar\n", "95 % interval", "\ntools ", "\nall  "] {
        assert!(table.text().contains(piece), "{piece:?} in {}", table.text());
    }

    // Without a model: judged again, and compared with itself.
    let judged = works(&["eval", "--regrade", &out, "--json"]);
    assert_eq!(judged.json()["changed"], 0);
    assert_eq!(judged.json()["summary"]["all"]["right"], right);
    let compared = works(&["eval", "--compare", &out, &out, "--json"]).json();
    assert_eq!((&compared["items"], &compared["difference"]), (&2.into(), &0.0.into()));
    assert_eq!(compared["p"], 1.0);
    let shown = works(&["eval", "--compare", &out, &out]);
    assert!(shown.text().contains("B - A: +0.0 points, 95 % interval"), "{}", shown.text());
    let few = ["eval", "--regrade", &out, "--only", "tools-02"];
    refuses(&few, 1, &["arithmetic-01, which the set does not have"]);
}

#[test]
fn ctrl_c_leaves_a_report_to_go_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("r.jsonl"));
    let args = ["eval", "--nothink", "-n", "200", "--threads=1", "--out", &out];
    let mut child =
        command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("1/74 ") {
        line.clear();
        assert!(messages.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    signal(&child, "INT");
    let mut rest = String::new();
    messages.read_to_string(&mut rest).unwrap();
    let ended = ended_as(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{rest}");
    assert!(rest.contains("interrupted; go on with --out "), "{rest}");
    assert!(ended.text().contains("not complete: "), "{}", ended.text());
    let report = fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> =
        report.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
    assert!((2..74).contains(&lines.len()) && lines[1]["id"] == "arithmetic-01");
    works(&["eval", "--regrade", &out]);
}

#[test]
fn questions_are_listed_and_checked_without_a_model() {
    let test = works(&["eval", "--self-test"]);
    assert!(test.text().ends_with("judgements checked, 0 wrong\n"), "{}", test.text());
    let list = works(&["eval", "--list"]);
    assert_eq!(list.text().lines().count(), 74);
    assert!(list.text().starts_with("arithmetic-01  number  arithmetic: What is 47 + 86?\n"));
    let tools = works(&["eval", "--list", "--only", "tools", "--limit", "3"]);
    assert_eq!(tools.text().lines().count(), 3);

    let folder = tempfile::tempdir().unwrap();
    let gsm = text(&folder.path().join("gsm.jsonl"));
    let line = r##"{"question": "Two dozen eggs\u001b?", "answer": "2 * 12\n#### 24"}"##;
    fs::write(&gsm, line).unwrap();
    let set = ["eval", "--set", &gsm, "--format", "gsm8k"];
    let listed = works(&[&set[..], &["--list"]].concat());
    assert_eq!(listed.text(), "gsm8k-1  number  gsm8k: Two dozen eggs\\u{1b}?\n");
    // What is listed as JSON is a set of our own format.
    let json = works(&[&set[..], &["--list", "--json"]].concat()).json();
    assert_eq!(json["items"][0]["answer"], "24");
    let own = text(&folder.path().join("own.jsonl"));
    fs::write(&own, json["items"][0].to_string()).unwrap();
    let checked = works(&["eval", "--set", &own, "--validate"]);
    assert!(checked.text().contains("own.jsonl: 1 item, all well formed\n"), "{}", checked.text());
    fs::write(&own, "{\"id\": 3}").unwrap();
    refuses(
        &["eval", "--set", &own, "--validate"],
        1,
        &["own.jsonl, line 1 (byte 0): invalid type"],
    );
}

#[test]
fn wrong_flags() {
    let cases: [(&[&str], i32, &[&str]); 13] = [
        (&["--only", "nothing"], 2, &["no item of dwarfstar has such an id, domain or source"]),
        (&["--limit", "0"], 2, &["--limit 0: expected at least 1"]),
        (&["-n", "0"], 2, &["--max-tokens 0: expected at least 1"]),
        (&["--repeat", "0"], 2, &["--repeat 0: expected 1 to 1000"]),
        (&["--sessions", "0"], 2, &["--sessions 0: expected 1 to 1024"]),
        (&["--temp", "-1"], 2, &["--temp -1: expected a number from 0"]),
        (&["-n", "100", "--hard-close", "100"], 2, &["--hard-close 100", "--nothink"]),
        (&["--resume"], 2, &["--out"]),
        (&["--format", "arc"], 2, &["--set"]),
        (&["--set", "x.csv", "--format", "excel"], 2, &["expected one of items, gpqa-csv"]),
        (&["--list", "--self-test"], 2, &["cannot be used with"]),
        (&["--set", "nowhere.jsonl"], 1, &["nowhere.jsonl: could not be read"]),
        (&["--compare", "a.jsonl", "b.jsonl"], 1, &["a.jsonl: could not be read"]),
    ];
    for (flags, code, pieces) in cases {
        refuses(&[&["eval"], flags].concat(), code, pieces);
    }
    assert_eq!(dwarfstar(&["eval", "stray"]).code, 2);
}
