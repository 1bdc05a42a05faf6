//! Scores of stored continuations: against the rows that `dwarfstar logits` writes, against their
//! own table, and between two models; recorded answers in a small file of the same format.

use std::path::Path;

use serde_json::Value;

use crate::signals::interrupted_until;
use crate::support::{array, dwarfstar, refuses, testdata, text, tiny, works};

const ITEMS: &str = concat!(
    r#"{"id": "hello", "messages": [{"role": "user", "content": "Hello!"}], "#,
    r#""continuation": "Hello! How can I help you today?", "ends": true}"#,
    "\n\n",
    r#"{"prompt": "DwarfStar is", "continuation": " an engine for \"DeepSeek\",\nin Rust é"}"#,
    "\n",
    r#"{"id": "=1+2", "prompt": "One, two,", "continuation": " three"}"#,
    "\n",
);

fn written(folder: &Path, name: &str, what: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, what).unwrap();
    text(&path)
}

/// Rows of a CSV file whose cells have no line ends.
fn csv(path: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        for character in line.chars() {
            match character {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                other => cells.last_mut().unwrap().push(other),
            }
        }
        cells
    };
    text.lines().map(cells).collect()
}

fn near(found: &Value, expected: f64) {
    let value = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((value - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{value} {expected}");
}

#[test]
fn the_table_adds_up_to_the_items() {
    let folder = tempfile::tempdir().unwrap();
    let items = written(folder.path(), "a.jsonl", ITEMS);
    let table = text(&folder.path().join("tokens.csv"));
    let json = works(&["score", &items, "--table", &table, "--json"]).json();
    let rows = csv(&table);
    assert_eq!(rows[0].join(","), "item,position,token,text,nll,rank,top,top_text");
    assert!(rows.iter().all(|row| row.len() == 8), "{rows:?}");
    let list = json["items"].as_array().unwrap();
    let names: Vec<&str> = list.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["hello", "line 3", "=1+2"]);
    for item in list {
        let own: Vec<_> =
            rows.iter().filter(|row| row[0] == item["id"].as_str().unwrap()).collect();
        let sum: f64 = own.iter().map(|row| row[4].parse::<f64>().unwrap()).sum();
        assert_eq!(item["tokens"], own.len());
        near(&item["nll"], sum);
        near(&item["nll_per_token"], sum / own.len() as f64);
        assert_eq!(item["first"], own[0][5] == "1");
        assert!(own.iter().all(|row| (row[5] == "1") == (row[2] == row[6])), "{own:?}");
    }
    let nll = |item: &Value| item["nll_per_token"].as_f64().unwrap();
    near(&json["nll_over_items"]["mean"], list.iter().map(nll).sum::<f64>() / 3.0);
    let sum: f64 = list.iter().map(|item| item["nll"].as_f64().unwrap()).sum();
    near(&json["nll_over_tokens"]["mean"], sum / (rows.len() - 1) as f64);
    // The turn ended, and the end was predicted.
    let end = rows.iter().rfind(|row| row[0] == "hello").unwrap();
    assert_eq!(end[3], "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>");
}

/// The tokens of the prompt come from `tokenize`, the rows from `logits`.
#[test]
fn a_score_is_that_of_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    let items = written(folder.path(), "a.jsonl", ITEMS);
    let table = text(&folder.path().join("tokens.csv"));
    works(&["score", &items, "--table", &table, "--device", "cpu"]);
    let own: Vec<_> = csv(&table).into_iter().filter(|row| row[0] == "hello").collect();

    let ids = |args: &[&str]| -> Vec<String> {
        let json = works(&[&["tokenize", "--json"], args].concat()).json();
        json["ids"].as_array().unwrap().iter().map(Value::to_string).collect()
    };
    let prompt = ids(&["--chat", "--nothink", "Hello!"]);
    let answer = ids(&["Hello! How can I help you today?"]);
    let all = [prompt.clone(), answer, vec!["1".to_owned()]].concat();
    let out = text(&folder.path().join("rows.npy"));
    let how = ["--rows", "packed", "--device", "cpu"];
    works(&[&["logits", "--tokens", &all.join(","), "--out", &out], &how[..]].concat());
    let (shape, values) = array(&out);
    let rows: Vec<&[f32]> = values.chunks_exact(shape[1] as usize).collect();
    assert_eq!(own.len(), all.len() - prompt.len());
    for (row, at) in own.iter().zip(prompt.len()..) {
        let logits = rows[at - 1];
        let token: usize = all[at].parse().unwrap();
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let nll = sum.ln() - f64::from(logits[token]);
        let better = logits.iter().filter(|logit| **logit > logits[token]).count();
        assert_eq!((row[2].as_str(), row[5].as_str()), (&*all[at], &*(better + 1).to_string()));
        assert!((row[4].parse::<f64>().unwrap() - nll).abs() < 1e-9, "{row:?} {nll}");
    }
}

#[test]
fn two_models_item_by_item() {
    let folder = tempfile::tempdir().unwrap();
    let items = written(folder.path(), "a.jsonl", ITEMS);
    let model = text(&folder.path().join("q2.gguf"));
    let nano = text(&testdata("../nano/nano.gguf"));
    works(&["quantize", "--from", &nano, "--recipe", "q2", "--out", &model]);
    let same = works(&["score", &items, "--against", "nano", "--json"]).json();
    let nothing = &same["difference"];
    assert_eq!((nothing["mean"].as_f64(), &nothing["equal"]), (Some(0.0), &3.into()));

    let json = works(&["score", &items, "-m", &model, "--against", "nano", "--json"]).json();
    let old = works(&["score", &items, "--json"]);
    let new = works(&["score", &items, "-m", &model, "--json"]);
    let [a, b] = [&old, &new].map(|run| run.json());
    let pairs = a["items"].as_array().unwrap().iter().zip(b["items"].as_array().unwrap());
    let nll = |item: &Value| item["nll_per_token"].as_f64().unwrap();
    let differences: Vec<f64> = pairs.map(|(a, b)| nll(b) - nll(a)).collect();
    let mean = differences.iter().sum::<f64>() / 3.0;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    near(&json["difference"]["mean"], mean);
    near(&json["difference"]["standard_error"], (squares / 2.0 / 3.0).sqrt());
    let better = differences.iter().filter(|d| **d < 0.0).count();
    assert_eq!(json["difference"]["smaller"], better);

    let [first, second] = [("old.json", &old), ("new.json", &new)]
        .map(|(name, run)| written(folder.path(), name, run.text()));
    let compared = works(&["score", "--compare", &first, &second, "--json"]).json();
    near(&compared["difference"]["mean"], mean);
    assert_eq!(compared["difference"]["smaller"], better);
    let shown = works(&["score", "--compare", &first, &second]);
    assert!(shown.text().contains(&format!("better      {better} items")), "{}", shown.text());
    // An item that one of them lacks is named, and left out.
    let fewer: String = ITEMS.lines().take(1).collect();
    let fewer = written(folder.path(), "b.jsonl", &fewer);
    let third = works(&["score", &fewer, "--json"]);
    let third = written(folder.path(), "third.json", third.text());
    let ended = works(&["score", "--compare", &first, &third, "--json"]);
    assert_eq!(ended.json()["items"], 1);
    assert!(ended.stderr.contains("old.json: 2 items that the other one lacks"));
}

#[test]
fn ctrl_c_shows_the_items_that_are_complete() {
    let folder = tempfile::tempdir().unwrap();
    let item = format!("{{\"prompt\": \"{}\", \"continuation\": \" x\"}}\n", "a b ".repeat(400));
    let items = written(folder.path(), "a.jsonl", &item.repeat(2000));
    let table = text(&folder.path().join("tokens.csv"));
    let args = ["score", &items, "-m", &tiny(), "--table", &table, "--json"];
    let ended = interrupted_until(&args, |ended| !ended.stdout.is_empty());
    let json = ended.json();
    let count = json["items"].as_array().unwrap().len();
    assert!(0 < count && count < 2000 && json["complete"] == false, "{count}");
    assert_eq!(ended.stderr, "interrupted: what is shown is what was complete\n");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no table of a part");
}

#[test]
fn damaged_files_are_named_by_line_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    let first = ITEMS.lines().next().unwrap();
    let bad = written(folder.path(), "bad.jsonl", &format!("{first}\n{{\"prompt\": \"x\"\n"));
    let place = format!("bad.jsonl, line 2 (byte {}): ", first.len() + 1);
    refuses(&["score", &bad], 1, &[&place, "EOF"]);
    let empty = written(folder.path(), "empty.jsonl", "\n\n");
    refuses(&["score", &empty], 1, &["empty.jsonl: no items"]);
    refuses(&["score", "nowhere.jsonl"], 1, &["nowhere.jsonl: could not be read"]);
    let text = written(folder.path(), "a.json", "[]");
    refuses(&["score", "--compare", &text, &text], 1, &["a.json", "dwarfstar score --json"]);
    let long = format!(r#"{{"prompt": "{}", "continuation": "y"}}"#, "a b ".repeat(40_000));
    let long = written(folder.path(), "long.jsonl", &long);
    refuses(&["score", &long], 1, &["item \"line 1\" has", "reads 65,536 at most"]);
    for args in [&["score"][..], &["score", "--compare", "one"], &["score", "a", "--vectors", "b"]]
    {
        assert_eq!(dwarfstar(args).code, 2, "{args:?}");
    }
}

/// `Hello` (3822), `!` (3) and others, as bytes of Nano's vocabulary.
const VECTORS: &str = "\
# made up for this test
case greeting 4096 2 vectors/prompts/hello.txt
step 0 48656c6c6f 3
top 48656c6c6f -0.25
top 20486f77 -2.5
top 6e6f6e65206f662069747320746f6b656e73 -9
step 1 21 1
top 21 -0.125
end
";

#[test]
fn recorded_answers() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("vectors");
    std::fs::create_dir_all(inside.join("prompts")).unwrap();
    std::fs::write(inside.join("prompts/hello.txt"), "Hello!").unwrap();
    let path = written(&inside, "official.vec", VECTORS);
    let json = works(&["score", "--vectors", &path, "--json"]).json();
    let case = &json["cases"][0];
    assert_eq!((&case["id"], &case["same_choice"]), (&"greeting".into(), &2.into()));
    assert_eq!(case["recorded"], 4);
    // The same answer as an item has the same figures.
    let item = r#"{"messages": [{"role": "user", "content": "Hello!"}], "continuation": "Hello!"}"#;
    let item = written(folder.path(), "a.jsonl", item);
    let score = works(&["score", &item, "--json"]).json();
    near(&case["nll"], score["items"][0]["nll"].as_f64().unwrap());
    // Two of the three recorded tokens of the first step are known; differences are of these.
    let step = &case["steps"][0];
    let greeting = (0.25 - step["nll"].as_f64().unwrap()).abs();
    assert!(step["shared"].as_u64().unwrap() >= 1 && step["recorded"] == 3);
    assert!(step["difference_max"].as_f64().unwrap() >= greeting - 1e-12);
    near(&case["steps"][1]["difference_max"], 0.125 - case["steps"][1]["nll"].as_f64().unwrap());
    // Steered, the model says something else.
    let nano = gguf::File::open(&testdata("../nano/nano.gguf")).unwrap();
    let shape = model::read_shape(&nano).unwrap();
    let numbers = 0.1f32.to_le_bytes().repeat(shape.layers * shape.hidden);
    let directions = folder.path().join("d.f32");
    std::fs::write(&directions, numbers).unwrap();
    let steered = ["score", "--vectors", &path, "--json", "--steer", &text(&directions)];
    assert_ne!(works(&steered).json()["cases"][0]["nll"], case["nll"]);
    let shown = works(&["score", "--vectors", &path]);
    assert!(shown.text().contains("2 of 2") && shown.text().contains("greeting"));

    let cases: [(&str, &str, &[&str]); 3] = [
        ("48656c6c6f 3", "48656c6c6f 4", &["official.vec, line 7 (byte ", "expected top TOKEN"]),
        ("step 1 21", "step 1 6e6f6e65206f66", &["case \"greeting\", step 1", "no token"]),
        ("hello.txt", "gone.txt", &["gone.txt", "neither beside it nor in a folder above"]),
    ];
    for (from, to, pieces) in cases {
        let path = written(&inside, "official.vec", &VECTORS.replacen(from, to, 1));
        refuses(&["score", "--vectors", &path], 1, pieces);
    }
}
