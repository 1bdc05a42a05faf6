//! Measuring, on the tiny model: which figures come out, and that the work behind them is the same
//! every time. How fast it is, is not tested.

use serde_json::Value;

use crate::support::{dwarfstar, refuses, text, tiny, works};

/// A short measurement as JSON.
fn measured(flags: &[&str]) -> Value {
    let model = tiny();
    works(&[&["bench", "-m", &model, "--repeat", "2", "--json"], flags].concat()).json()
}

fn is_spread(value: &Value) -> bool {
    let [median, min, max] = ["median", "min", "max"].map(|key| value[key].as_f64().unwrap());
    0.0 < min && min <= median && median <= max
}

#[test]
fn every_figure_is_there() {
    let json =
        measured(&["--prompt", "9,5", "--decode", "2", "--contexts", "130,0", "--threads", "2"]);
    assert_eq!(json["complete"], true);
    assert_eq!(json["weights_in_memory"], true);
    assert_eq!((&json["threads"], &json["memory"]["threads"]), (&2.into(), &2.into()));
    assert_eq!((&json["seed"], &json["repeat"]), (&0.into(), &2.into()));
    assert!(is_spread(&json["memory"]["bytes_per_second"]));
    let bound = json["bound_tokens_per_second"].as_f64().unwrap();
    let bytes = json["weight_bytes_per_token"].as_f64().unwrap();
    let memory = json["memory"]["bytes_per_second"]["median"].as_f64().unwrap();
    assert!((bound * bytes / memory - 1.0).abs() < 1e-9);

    let prefill = json["prefill"].as_array().unwrap();
    let lengths: Vec<_> = prefill.iter().map(|figure| figure["tokens"].as_u64().unwrap()).collect();
    assert_eq!(lengths, [5, 9], "in order of length");
    for figure in prefill {
        assert!(
            is_spread(&figure["tokens_per_second"]) && is_spread(&figure["first_token_seconds"])
        );
        assert_eq!(figure["repeatable"], true);
    }
    let together = measured(&["--prompt", "0", "--decode", "2", "--sessions", "3,1"]);
    let sessions: Vec<_> = together["decode"].as_array().unwrap().iter().collect();
    assert_eq!((&sessions[0]["sessions"], &sessions[1]["sessions"]), (&1.into(), &3.into()));
    assert_eq!(sessions[0]["logits_hash"], sessions[1]["logits_hash"], "the first of three");
    assert!(
        sessions[1]["share_of_bound"].is_null() && is_spread(&sessions[1]["tokens_per_second"])
    );
    let decode = json["decode"].as_array().unwrap();
    let contexts: Vec<_> =
        decode.iter().map(|figure| figure["context"].as_u64().unwrap()).collect();
    assert_eq!(contexts, [0, 130]);
    for figure in decode {
        assert_eq!(figure["tokens"], 2);
        assert!(is_spread(&figure["tokens_per_second"]));
        let median = figure["tokens_per_second"]["median"].as_f64().unwrap();
        assert!((figure["share_of_bound"].as_f64().unwrap() - median / bound).abs() < 1e-9);
    }
}

/// Tiny has 512 tokens and 4 experts, of which 2 are used: half of the stacks, a row of the tables,
/// no vectors.
#[test]
fn a_token_reads_less_than_the_file() {
    let model = tiny();
    let tensors = works(&["inspect", &model, "--tensors", "--json"]).json();
    let (mut expected, mut all) = (0, 0);
    for tensor in tensors["tensors"].as_array().unwrap() {
        let (name, bytes) = (tensor["name"].as_str().unwrap(), tensor["bytes"].as_u64().unwrap());
        all += bytes;
        let dims = tensor["dims"].as_array().unwrap();
        expected += match name {
            _ if dims.len() == 1 => 0,
            _ if name.contains("_ape.") => bytes / dims[1].as_u64().unwrap(),
            _ if name.contains("_exps.") => bytes / 2,
            "token_embd.weight" | "blk.0.ffn_gate_tid2eid.weight" => bytes / 512,
            _ => bytes,
        };
    }
    let json = measured(&["--prompt", "1", "--decode", "0"]);
    assert_eq!(json["weight_bytes_per_token"], expected);
    assert!(expected < all);
    assert_eq!(json["decode"].as_array().unwrap().len(), 0);
}

/// What is computed depends on the seed, and not on how often, on how many threads, or beside what
/// it is measured.
#[test]
fn the_same_tokens_give_the_same_logits() {
    let hashes = |flags: &[&str]| {
        let json = measured(flags);
        let hash = |list: &str| json[list][0]["logits_hash"].as_str().unwrap().to_owned();
        [hash("prefill"), hash("decode")]
    };
    let flags = ["--prompt", "20", "--decode", "3", "--contexts", "17"];
    let first = hashes(&flags);
    assert_eq!(first[0].len(), 16);
    assert_eq!(first, hashes(&[&flags[..], &["--threads", "1"]].concat()));
    assert_ne!(first, hashes(&[&flags[..], &["--seed", "1"]].concat()));
    let other = ["--prompt", "20,30", "--decode", "3", "--contexts", "17,18"];
    assert_eq!(first, hashes(&other));
}

#[test]
fn people_get_text_and_tables() {
    let folder = tempfile::tempdir().unwrap();
    let csv = text(&folder.path().join("figures.csv"));
    let model = tiny();
    let args = ["bench", "-m", &model, "--prompt", "3", "--decode", "1", "--repeat", "1"];
    let svg = text(&folder.path().join("figures.svg"));
    let ended = works(&[&args[..], &["--csv", &csv, "--plot", &svg]].concat());
    for piece in
        ["memory: ", "bound: a token reads ", "\nPrefill\n", "\nDecode, 1 token at a time\n"]
    {
        assert!(ended.text().contains(piece), "{piece:?} in {}", ended.text());
    }
    assert_eq!(ended.stderr, "");
    let rows = std::fs::read_to_string(&csv).unwrap();
    let rows: Vec<_> = rows.lines().collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0].starts_with("figure,sessions,context,tokens,"), "{}", rows[0]);
    assert!(
        rows[1].starts_with("prefill,1,0,3,") && rows[2].starts_with("decode,1,0,1,"),
        "{rows:?}"
    );
    let drawing = std::fs::read_to_string(&svg).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("decode, t/s over context tokens"));
    assert_eq!(folder.path().read_dir().unwrap().count(), 2, "no temporary file is left");
}

/// A file without a tokenizer can be measured as well, and Nano is measured if nothing is named.
#[test]
fn any_model_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(&folder.path().join("m.gguf"));
    let checkpoint = text(&crate::support::testdata("golden"));
    works(&["quantize", "--hf", &checkpoint, "--recipe", "f16", "--out", &model]);
    let short = ["--prompt", "2", "--decode", "1", "--repeat", "1", "--json"];
    works(&[&["bench", "-m", &model], &short[..]].concat());
    let json = works(&[&["bench"], &short[..]].concat()).json();
    assert_eq!(json["model"], "nano.gguf (built in)");
}

/// A result with one figure of each kind, as `bench --json` prints it.
fn recorded(prefill: &[f64], decode: &[f64]) -> Value {
    let figure = |rates: &[f64]| {
        let mut sorted = rates.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (median, last) = (sorted[rates.len() / 2], rates.len() - 1);
        serde_json::json!({
            "sessions": 1, "context": 0, "tokens": 32, "logits_hash": "0123456789abcdef",
            "tokens_per_second": { "median": median, "min": sorted[0], "max": sorted[last] },
            "tokens_per_second_each": rates,
        })
    };
    let speed = serde_json::json!({ "median": 2e10, "min": 1.9e10, "max": 2.1e10 });
    serde_json::json!({
        "model": "a.gguf", "device": "cpu", "threads": 2, "seed": 0, "repeat": prefill.len(),
        "weights_in_memory": true, "memory": { "bytes_per_second": speed },
        "prefill": [figure(prefill)], "decode": [figure(decode)], "complete": true,
    })
}

#[test]
fn two_runs_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        text(&path)
    };
    let noise = [10.0, 10.4, 9.7, 10.1, 9.9];
    let twice = noise.map(|rate| 2.0 * rate);
    let old = written("old.json", &recorded(&noise, &twice));
    let new = written("new.json", &recorded(&twice, &[20.1, 20.7, 19.5, 20.0, 19.9]));
    let compare = |flags: &[&str], old: &str, new: &str| {
        dwarfstar(&[&["bench", "--compare", old, new], flags].concat())
    };
    let ended = compare(&["--json", "--fail-slower", "0"], &old, &new);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let json = ended.json();
    let verdicts = |json: &Value| [0, 1].map(|at| json["rows"][at]["verdict"].to_string());
    assert_eq!(verdicts(&json), ["\"faster\"", "\"not told apart\""]);
    assert_eq!(
        (&json["rows"][0]["ratio"], &json["rows"][0]["figure"]),
        (&2.0.into(), &"prefill".into())
    );

    // The other way around it is slower, by half.
    let ended = compare(&["--json"], &new, &old);
    assert_eq!((ended.code, verdicts(&ended.json())[0].as_str()), (0, "\"slower\""));
    assert_eq!(compare(&["--fail-slower", "60"], &new, &old).code, 0);
    let ended = compare(&["--fail-slower", "40"], &new, &old);
    assert_eq!(ended.code, 1);
    assert_eq!(ended.stderr, "1 of 2 figures are slower by more than 40 %\n");
    assert!(ended.text().contains("slower") && ended.text().contains("0.500"), "{}", ended.text());

    // One repeat tells nothing, however fast.
    let once = [recorded(&[10.0], &[10.0]), recorded(&[99.0], &[1.0])];
    let [first, second] = [("a.json", &once[0]), ("b.json", &once[1])].map(|(n, v)| written(n, v));
    let ended = compare(&["--json", "--fail-slower", "1"], &first, &second);
    assert_eq!(
        (ended.code, verdicts(&ended.json())),
        (0, ["\"too few repeats\""; 2].map(String::from))
    );

    // What is not the same is told.
    let mut other = recorded(&noise, &noise);
    (other["device"], other["threads"]) = ("cuda".into(), 0.into());
    other["memory"]["bytes_per_second"] =
        serde_json::json!({ "median": 3e12, "min": 3e12, "max": 3e12 });
    other["decode"][0]["context"] = 99.into();
    let other = written("other.json", &other);
    let ended = compare(&["--json"], &old, &other);
    for piece in ["device differs: cpu, then cuda", "threads differs: 2, then 0", "memory itself"] {
        assert!(ended.stderr.contains(piece), "{piece:?} in {}", ended.stderr);
    }
    assert!(ended.stderr.contains("newer run has 1 figures that the other one lacks"));
    assert_eq!(ended.json()["rows"].as_array().unwrap().len(), 1);

    // Damage.
    let half = written("half.json", &serde_json::json!({ "model": "a" }));
    refuses(&["bench", "--compare", &old, &half], 1, &["half.json", "dwarfstar bench --json"]);
    let mut bad = recorded(&noise, &noise);
    bad["prefill"][0]["tokens_per_second"]["min"] = (-1).into();
    let bad = written("bad.json", &bad);
    refuses(&["bench", "--compare", &bad, &old], 1, &["bad.json", "expected speeds"]);
    assert_eq!(dwarfstar(&["bench", "--compare", &old]).code, 2);
    assert_eq!(dwarfstar(&["bench", "--compare", &old, &new, "-m", "nano"]).code, 2);
    assert_eq!(compare(&["--fail-slower", "-3"], &old, &new).code, 2);
}

/// What a measurement prints can be compared with itself: it computed the same, and nothing is
/// told.
#[test]
fn a_run_beside_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let model = tiny();
    let short = ["--prompt", "4", "--decode", "2", "--contexts", "0,9", "--json"];
    let run = works(&[&["bench", "-m", &model], &short[..]].concat());
    let each = &run.json()["decode"][0]["tokens_per_second_each"];
    assert_eq!(each.as_array().unwrap().len(), 5);
    let steps = &run.json()["decode"][0]["step_seconds"];
    let [p50, p90, p99] = ["p50", "p90", "p99"].map(|key| steps[key].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p90 && p90 <= p99, "{steps}");
    std::fs::write(&path, run.text()).unwrap();
    let path = text(&path);
    let ended = works(&["bench", "--compare", &path, &path, "--json"]);
    assert_eq!(ended.stderr, "");
    let rows = ended.json()["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(
            (&row["verdict"], &row["same_logits"]),
            (&"not told apart".into(), &true.into())
        );
    }
}

#[test]
fn wrong_flags() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let csv = text(&folder.path().join("no/such/figures.csv"));
    let cases: [(&[&str], i32, &[&str]); 11] = [
        (&["--prompt", "0", "--decode", "0"], 2, &["nothing to measure", "--prompt or --decode"]),
        (&["--prompt", "a"], 2, &["--prompt", "invalid digit"]),
        (&["--contexts", "0,-1"], 2, &["--contexts"]),
        (&["--repeat", "0"], 2, &["--repeat 0: expected 1 to 10000"]),
        (&["--sessions", "0"], 2, &["--sessions 0: expected 1 to 1024"]),
        (&["--threads", "0"], 2, &["--threads 0: expected at least 1"]),
        (&["--threads", "5000"], 2, &["--threads 5000: expected at most 4096"]),
        (
            &["--contexts", "1048500"],
            2,
            &["the longest session has 1048692 tokens, this model has 1048576 at most"],
        ),
        (&["--prompt", "18446744073709551615"], 2, &["this model has 1048576 at most"]),
        (&["--csv", &csv], 1, &["figures.csv: could not create it"]),
        (&["-m", "nowhere.gguf"], 1, &["nowhere.gguf: no such file"]),
    ];
    for (flags, code, pieces) in cases {
        let model = if flags.contains(&"-m") { vec![] } else { vec!["-m", model.as_str()] };
        refuses(&[&["bench"], &model[..], flags].concat(), code, pieces);
    }
    let ended = dwarfstar(&["bench", "stray"]);
    assert_eq!(ended.code, 2);
}
