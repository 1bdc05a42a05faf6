//! `/metrics`: every line is of the format that Prometheus reads, and counters move by exactly what
//! requests did.
//!
//! The parser follows the description of the text format, version 0.0.4, and knows nothing of the
//! server.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use server::Settings;

use crate::support::{Running, options, settings, start, start_with};

/// Samples by name and labels, as they stand there.
type Samples = BTreeMap<String, f64>;

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':');
    first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Labels between braces; their values here have nothing to escape.
fn check_labels(labels: &str) {
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("label {label}"));
        assert!(is_name(name) && !name.contains(':'), "label {label}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        assert!(value.is_some_and(|value| !value.contains(['"', '\\', '\n'])), "label {label}");
    }
}

/// Reads the text: families in one piece, each with help and type before its samples, no sample
/// twice.
fn parse(text: &str) -> (BTreeMap<String, String>, Samples) {
    assert!(text.ends_with('\n'));
    let (mut kinds, mut samples) = (BTreeMap::new(), Samples::new());
    let mut family = String::new();
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
            helped = name.to_owned();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "help comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            family = name.to_owned();
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value.is_finite(), "{line}");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        labels.strip_suffix('}').into_iter().for_each(check_labels);
        assert!(is_name(name) && labels.is_empty() != sample.contains('{'), "{line}");
        let suffixes: &[&str] =
            if kinds[&family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        assert_eq!(base, Some(family.as_str()), "not of its family: {line}");
        assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
    }
    (kinds, samples)
}

/// Buckets grow, and the last is all.
fn check_histogram(name: &str, samples: &Samples) {
    let start = format!("{name}_bucket{{le=\"");
    let end = |sample: &str| {
        let end = sample.strip_prefix(&start)?.strip_suffix("\"}")?;
        Some(if end == "+Inf" { f64::INFINITY } else { end.parse::<f64>().expect("a number") })
    };
    let mut buckets: Vec<(f64, f64)> =
        samples.iter().filter_map(|(sample, count)| Some((end(sample)?, *count))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(buckets.len() > 5 && buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}");
    let last = buckets.last().expect("buckets");
    assert_eq!((last.0, last.1), (f64::INFINITY, samples[&format!("{name}_count")]), "{name}");
    assert!(samples[&format!("{name}_sum")] >= 0.0);
}

fn figures(server: &Running) -> Samples {
    let got = server.get("/metrics");
    assert!(got.head.contains("content-type: text/plain; version=0.0.4"), "{}", got.head);
    let (kinds, samples) = parse(&got.body);
    for (name, _) in kinds.iter().filter(|(_, kind)| *kind == "histogram") {
        check_histogram(name, &samples);
    }
    samples
}

/// What moved, of all that only grows and does not depend on the clock.
fn moved(before: &Samples, after: &Samples) -> Samples {
    let counts = |name: &str| {
        (name.contains("_total") || name.ends_with("_count")) && !name.contains("_seconds_total")
    };
    let difference = |(name, value): (&String, &f64)| {
        let by = value - before[name];
        assert!(by >= 0.0 || !counts(name), "{name} fell by {by}");
        let short = name.strip_prefix("dwarfstar_").expect("our names begin with ours");
        (counts(name) && by != 0.0).then(|| (short.to_owned(), by))
    };
    after.iter().filter_map(difference).collect()
}

fn want(list: &[(&str, u64)]) -> Samples {
    let nonzero = list.iter().filter(|(_, by)| *by > 0);
    nonzero.map(|(name, by)| ((*name).to_owned(), *by as f64)).collect()
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {value}"))
}

#[test]
fn counters_move_by_what_a_request_did() {
    let server = start(settings());
    let start = figures(&server);
    assert_eq!(moved(&start, &figures(&server)), want(&[]), "asking changes nothing");
    let said = "Who are you? The night train crosses the plain. ".repeat(4);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": said}],
        "max_tokens": 30});
    let got = server.ok("/v1/chat/completions", &body);
    let cold = figures(&server);
    let prompt = number(&got, "/usage/prompt_tokens");
    let generated = number(&got, "/usage/completion_tokens");
    let reasoning = number(&got, "/usage/completion_tokens_details/reasoning_tokens");
    // Steps, from what a step is: the prompt takes two, since the state where the user's turn
    // begins is kept, and each later token one more, the end of the turn too if it ended so.
    let stopped = u64::from(got["choices"][0]["finish_reason"] == "stop");
    let answer_steps = generated - 1 + stopped;
    assert!(generated > 1 && (40..128).contains(&prompt), "{got}");
    assert_eq!(
        moved(&start, &cold),
        want(&[
            ("requests_total{dialect=\"chat\",status=\"2xx\"}", 1),
            ("prompts_total{source=\"cold\"}", 1),
            ("prompt_tokens_total", prompt),
            ("generated_tokens_total", generated),
            ("reasoning_tokens_total", reasoning),
            ("first_token_seconds_count", 1),
            ("between_tokens_seconds_count", 1),
            ("steps_total", 2 + answer_steps),
            ("step_tokens_total", prompt + answer_steps),
            ("step_prompt_tokens_total", prompt),
            ("step_answer_tokens_total", generated - 1),
        ])
    );
    assert!(cold["dwarfstar_step_seconds_total"] > 0.0 && cold["dwarfstar_step_seconds_max"] > 0.0);
    assert!(cold["dwarfstar_prefill_tokens_per_second"] > 0.0);
    assert!(cold["dwarfstar_decode_tokens_per_second"] > 0.0);

    // The same again, streamed: the prompt's state is in memory, and nothing of it is read.
    let mut again = body.clone();
    again["stream"] = true.into();
    assert_eq!(server.post("/v1/chat/completions", &again).status, 200);
    let warm = figures(&server);
    assert_eq!(
        moved(&cold, &warm),
        want(&[
            ("requests_total{dialect=\"chat\",status=\"2xx\"}", 1),
            ("prompts_total{source=\"memory\"}", 1),
            ("prompt_tokens_total", prompt),
            ("cached_tokens_total", prompt),
            ("generated_tokens_total", generated),
            ("reasoning_tokens_total", reasoning),
            ("first_token_seconds_count", 1),
            ("between_tokens_seconds_count", 1),
            ("steps_total", answer_steps),
            ("step_tokens_total", answer_steps),
            ("step_answer_tokens_total", generated - 1),
        ])
    );
    // A refusal is only that.
    assert_eq!(server.post("/v1/messages", &json!({"messages": 5})).status, 400);
    let refused = want(&[("requests_total{dialect=\"messages\",status=\"4xx\"}", 1)]);
    assert_eq!(moved(&warm, &figures(&server)), refused);
}

#[test]
fn gauges_say_what_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let options = engine::OpenOptions { sessions: 2, ..options() };
    let server = start_with(Settings { ..settings() }, options, Some(folder.path()));
    let before = figures(&server);
    let pages = before["dwarfstar_row_pages"];
    // Of 128 tokens each, for two conversations of 4096.
    assert_eq!((pages, before["dwarfstar_row_pages_left"]), (64.0, 64.0));
    assert!(before["dwarfstar_row_page_bytes"] > 0.0);
    assert_eq!(before["dwarfstar_checkpoint_bytes_max"], f64::from(1 << 30));
    for name in ["batch_size", "queue_length", "sessions_idle", "states", "checkpoints"] {
        assert_eq!(before[&format!("dwarfstar_{name}")], 0.0, "{name}");
    }
    server.ok("/v1/completions", &json!({"prompt": "word ".repeat(300), "max_tokens": 3}));
    let after = figures(&server);
    // Three hundred words are at least as many tokens, and the rows of a page are 128 tokens'.
    assert!((3.0..=6.0).contains(&(pages - after["dwarfstar_row_pages_left"])), "{after:?}");
    assert_eq!(after["dwarfstar_sessions_idle"], 1.0);
    assert!(after["dwarfstar_states"] >= 1.0 && after["dwarfstar_state_bytes"] > 0.0);
    assert!(after["dwarfstar_saved_states_total"] >= 1.0);
    crate::support::wait("it is saved", || server.figure("dwarfstar_checkpoints") >= 1.0);
    let on_disk: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    crate::support::wait("nothing is being saved", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = server.figure("dwarfstar_checkpoint_bytes");
        now == server.figure("dwarfstar_checkpoint_bytes") && now > 0.0
    });
    assert!(server.figure("dwarfstar_checkpoint_bytes") >= on_disk as f64 * 0.5, "{on_disk}");
}
