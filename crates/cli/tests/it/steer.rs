//! `dwarfstar steer` and the flags of steering, on the tiny golden model.

use std::fs;

use crate::support::{refuses, testdata, text, tiny, works};

const PAIRS: &str = concat!(
    "{\"positive\": \"The night train\", \"negative\": \"The day\"}\n",
    "{\"positive\": \"A long night\", \"negative\": \"A day\"}\n",
);

/// Pairs and prompts in a folder, and a way to name files in it.
fn folder() -> (tempfile::TempDir, impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pairs.jsonl"), PAIRS).unwrap();
    fs::write(folder.path().join("prompts.jsonl"), "{\"prompt\": \"The night train\"}\n").unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| text(&path.join(name)))
}

#[test]
fn build_finds_a_direction_for_each_layer() {
    let (_folder, at) = folder();
    let (pairs, out) = (at("pairs.jsonl"), at("d.f32"));
    let build = ["steer", "build", "-m", &tiny(), "--pairs", &pairs, "--out", &out, "--nothink"];
    let found = works(&[&build[..], &["--layers", "1-2", "--json"]].concat()).json();
    let shape =
        model::read_shape(&gguf::File::open(&testdata("golden/tiny.gguf")).unwrap()).unwrap();
    let bytes = fs::read(&out).unwrap();
    assert_eq!(bytes.len(), 4 * shape.layers * shape.hidden);
    // The first layer was not wanted; the others have length 1.
    let row = |layer: usize| -> f64 {
        let row = &bytes[4 * layer * shape.hidden..][..4 * shape.hidden];
        let numbers = row.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
        numbers.map(|v| f64::from(v) * f64::from(v)).sum()
    };
    assert_eq!(row(0), 0.0);
    assert!((row(1) - 1.0).abs() < 1e-5 && (row(2) - 1.0).abs() < 1e-5);
    assert_eq!(
        (&found["pairs"], &found["at"], &found["width"]),
        (&2.into(), &"ffn".into(), &shape.hidden.into())
    );
    let layers: Vec<_> =
        found["layers"].as_array().unwrap().iter().map(|l| l["layer"].as_u64()).collect();
    assert_eq!(layers, [Some(1), Some(2)]);
    refuses(&build, 1, &["d.f32: exists already", "--force"]);
    let shown = works(&[&build[..], &["--force", "--at", "attn", "--last", "2"]].concat());
    let lines: Vec<&str> = shown.text().lines().collect();
    assert_eq!(lines.len(), 1 + shape.layers + 1, "{}", shown.text());
    assert!(lines[0].ends_with("held out") && lines[1 + shape.layers].ends_with("from 2 pairs"));
}

#[test]
fn apply_sweep_and_run_steer() {
    let (_folder, at) = folder();
    let model = tiny();
    let (pairs, out, prompts) = (at("pairs.jsonl"), at("d.f32"), at("prompts.jsonl"));
    works(&["steer", "build", "-m", &model, "--pairs", &pairs, "--out", &out, "--nothink"]);
    let ask = ["--steer", &out, "-n", "5", "--nothink", "--ffn", "-20,20", "--attn=-20"];
    let apply = [&["steer", "apply", "-m", &model, "-p", "The night train"][..], &ask].concat();
    let answers = works(&[&apply[..], &["--json"]].concat()).json();
    let answers = answers["answers"].as_array().unwrap();
    let scales: Vec<_> = answers.iter().map(|a| (a["ffn"].as_f64(), a["attn"].as_f64())).collect();
    let (zero, off) = (Some(0.0), Some(-20.0));
    assert_eq!(scales, [(zero, zero), (Some(-20.0), off), (Some(20.0), off)]);
    assert_ne!(answers[0]["text"], answers[1]["text"]);
    let shown = works(&apply);
    assert!(shown.text().starts_with("== ffn 0, attn 0: 5 tokens"), "{}", shown.text());

    let sweep =
        [&["steer", "sweep", "-m", &model, "--prompts", &prompts, "--count", "."][..], &ask];
    let sweep = sweep.concat();
    let rows = works(&[&sweep[..], &["--json"]].concat()).json();
    let rows = rows["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["same"], &rows[1]["same"]), (3, &1.into(), &0.into()));
    assert!(rows[0]["nll"].as_f64().unwrap() < rows[1]["nll"].as_f64().unwrap());
    assert!(rows.iter().all(|row| row["found"].as_u64().unwrap() > 0));
    assert_eq!(works(&sweep).text().lines().count(), 1 + 3);

    // The same answers as `run` gives with the same scales.
    let run = [
        "run",
        "-m",
        &model,
        "-p",
        "The night train",
        "--nothink",
        "-n",
        "5",
        "--temp",
        "0",
        "--json",
    ];
    let answer = |flags: &[&str]| {
        let ended = works(&[&run[..], flags].concat()).json();
        ended["tokens"].clone()
    };
    let plain = answer(&[]);
    let zero = ["--steer", &out, "--steer-ffn", "0"];
    assert_eq!(answer(&zero), plain);
    let strong = ["--steer", &out, "--steer-ffn", "-20", "--steer-attn", "-20"];
    assert_ne!(answer(&strong), plain);

    // How far the steered model is from itself: not at all, if the scales are 0.
    let words = at("prompts.jsonl");
    let measure = ["perplexity", &words, "-m", &model, "--against", &model, "--device", "cpu"];
    let far = |flags: &[&str]| {
        let found = works(&[&measure[..], &["--json"], flags].concat()).json();
        (found["model"].clone(), found["divergence"]["mean"].as_f64().unwrap())
    };
    let (name, divergence) = far(&zero);
    assert!(name.as_str().unwrap().ends_with("steered by ffn 0, attn 0"), "{name}");
    assert_eq!(divergence, 0.0);
    assert!(far(&strong).1 > 0.0);
}

#[test]
fn what_measures_a_model_steers_it_too() {
    let (_folder, at) = folder();
    let model = tiny();
    let (pairs, out) = (at("pairs.jsonl"), at("d.f32"));
    works(&["steer", "build", "-m", &model, "--pairs", &pairs, "--out", &out, "--nothink"]);
    let zero = ["--steer", &out, "--steer-ffn", "0"];
    let strong = ["--steer", &out, "--steer-ffn=-20", "--steer-attn=-20"];
    let logits = |name: &str, flags: &[&str]| {
        let npy = at(name);
        let args = ["logits", "-m", &model, "--tokens", "0,5,9,130", "--out", &npy];
        works(&[&args[..], flags].concat());
        fs::read(&npy).unwrap()
    };
    let plain = logits("plain.npy", &[]);
    assert_eq!(logits("zero.npy", &zero), plain);
    assert_ne!(logits("strong.npy", &strong), plain);

    let items = at("items.jsonl");
    fs::write(&items, "{\"prompt\": \"The night\", \"continuation\": \" train\"}\n").unwrap();
    let score = |flags: &[&str]| {
        let args = ["score", &items, "-m", &model, "--json"];
        works(&[&args[..], flags].concat()).json()["items"][0]["nll"].as_f64().expect("a figure")
    };
    assert_eq!(score(&zero), score(&[]));
    assert_ne!(score(&strong), score(&[]));

    let args = ["bench", "-m", &model, "--prompt", "8", "--contexts", "8", "--decode", "2"];
    let measured = |flags: &[&str]| {
        works(&[&args[..], &["--repeat", "1", "--json"], flags].concat()).json()["steered"].clone()
    };
    assert!(measured(&zero).is_null());
    assert!(measured(&strong).as_str().unwrap().ends_with(" ffn -2e1 attn -2e1"));

    let args = ["eval", "-m", &model, "--limit", "1", "-n", "4", "--nothink", "-q", "--json"];
    let settings = |flags: &[&str]| {
        works(&[&args[..], flags].concat()).json()["report"]["settings"]["steered"].clone()
    };
    assert!(settings(&[]).is_null() && settings(&zero).is_null());
    let name = settings(&strong);
    assert!(name.as_str().unwrap().ends_with(" ffn -2e1 attn -2e1"), "{name}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (folder, at) = folder();
    let short = at("short.f32");
    fs::write(&short, vec![0; 100]).unwrap();
    let run = ["run", "-m", &tiny(), "-p", "x", "-n", "1"];
    let with = |flags: &[&str], code, pieces: &[&str]| {
        refuses(&[&run[..], flags].concat(), code, pieces);
    };
    with(&["--steer", &short], 1, &["short.f32: 100 bytes, expected", "numbers of 4 bytes"]);
    with(&["--steer", &at("none.f32")], 1, &["none.f32: could not be read"]);
    with(&["--steer-ffn", "1"], 2, &["--steer <FILE>"]);
    with(&["--steer", &short, "--steer-ffn", "100.5"], 2, &["--steer-ffn 100.5: expected", "100"]);
    with(&["--steer", &short, "--steer-attn", "NaN"], 2, &["--steer-attn NaN"]);
    let (pairs, out) = (at("pairs.jsonl"), at("out.f32"));
    let build = ["steer", "build", "-m", &tiny(), "--out", &out, "--pairs"];
    let with = |flags: &[&str], code, pieces: &[&str]| {
        refuses(&[&build[..], flags].concat(), code, pieces);
    };
    with(&[&pairs, "--layers", "2-3"], 1, &["--layers 2-3: this model has layers 0 to 2"]);
    with(&[&pairs, "--layers", "2-1"], 2, &["--layers 2-1: expected the first and the last"]);
    with(&[&pairs, "--last", "0"], 2, &["--last 0: expected at least 1"]);
    with(&[&at("prompts.jsonl")], 1, &["prompts.jsonl, line 1 (byte 0)", "\"positive\": ..."]);
    let sweep =
        ["steer", "sweep", "-m", &tiny(), "--steer", &short, "--prompts", &at("prompts.jsonl")];
    refuses(&[&sweep[..], &["--ffn", "0"]].concat(), 2, &["nothing to try"]);
    refuses(&[&sweep[..], &["--count", "("]].concat(), 2, &["--count (: "]);
    refuses(&sweep, 1, &["short.f32: 100 bytes"]);
    // Nothing was written, and nothing is left of the attempts.
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3);
}
