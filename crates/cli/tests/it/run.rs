//! The main job: the same text for the same flags, the right streams, the right numbers.
//!
//! The tiny model has random weights. Its texts are nonsense, and that is enough: they must be the
//! same nonsense twice.

use serde_json::Value;

use crate::support::{Ended, Parts, ended_as, on_a_full_disk, refuses, tiny, works};

fn run(args: &[&str]) -> Ended {
    works(&[&["run", "-m", &tiny()], args].concat())
}

const RAW: [&str; 6] = ["--raw-prompt", "-p", "The night train", "-n", "16", "--quiet"];

/// Without a model named, the one inside the program answers, and says so in one line. What it says
/// may change with its training; that it knows its own name must not.
#[test]
fn the_built_in_model_answers() {
    let ended = works(&["run", "--nothink", "--temp", "0", "-p", "What is DwarfStar?"]);
    assert!(ended.text().contains("DwarfStar"), "{:?}", ended.text());
    let notes = ended.stderr.lines().filter(|line| line.contains("Nano answers")).count();
    assert_eq!(notes, 1, "{}", ended.stderr);
    let quiet = works(&["run", "-q", "--nothink", "--temp", "0", "-p", "What is DwarfStar?"]);
    assert_eq!((quiet.text(), quiet.stderr.as_str()), (ended.text(), ""));

    let inspected = works(&["inspect", "--check", "--json"]).json();
    assert_eq!(inspected["file"], "nano.gguf (built in)");
    assert_eq!(works(&["tokenize", "--count", "Hello there"]).code, 0);
}

#[test]
fn greedy_text_is_always_the_same() {
    let flags = [&RAW[..], &["--temp", "0"]].concat();
    let first = run(&flags);
    assert!(!first.text().is_empty());
    assert_eq!(run(&flags).text(), first.text());
    assert_eq!(run(&[&flags[..], &["--seed", "1"]].concat()).text(), first.text());
}

/// How many threads compute changes no token; numbers that make no sense are refused.
#[test]
fn threads_change_nothing() {
    let answer = |threads| {
        let flags = ["run", "-q", "--temp", "0", "-n", "40", "-p", "Tell me about the sea."];
        works(&[&flags[..], &["--threads", threads]].concat()).text().to_owned()
    };
    assert_eq!(answer("3"), answer("1"));
    for (threads, piece) in [("0", "expected at least 1"), ("5000", "expected at most 4096")] {
        refuses(&["run", "-p", "x", "--threads", threads], 2, &["--threads", piece]);
    }
    refuses(&["run", "-p", "x", "--device", "abacus"], 2, &["abacus", "reference"]);
}

#[test]
fn a_seed_repeats_a_run() {
    let with_seed = |seed| run(&[&RAW[..], &["--seed", seed]].concat()).text().to_owned();
    assert_eq!(with_seed("7"), with_seed("7"));
    let others = ["1", "2", "3"].map(with_seed);
    assert!(others.iter().any(|other| *other != others[0]), "seeds make a difference");
}

#[test]
fn the_seed_of_a_run_is_told_and_repeats_it() {
    let first = run(&["--raw-prompt", "-p", "The night train", "-n", "16", "--json"]);
    let first = first.json();
    let seed = first["seed"].to_string();
    let again = run(&[&RAW[..], &["--seed", &seed]].concat());
    assert_eq!(again.text(), first["text"].as_str().unwrap());
}

#[test]
fn sampling_flags_narrow_the_choice() {
    let greedy = run(&[&RAW[..], &["--temp", "0"]].concat()).text().to_owned();
    for flags in [["--top-k", "1"], ["--min-p", "1"], ["--top-p", "0.000001"]] {
        assert_eq!(run(&[&RAW[..], &flags].concat()).text(), greedy, "{flags:?}");
    }
}

#[test]
fn json_says_everything_once() {
    let flags = ["-p", "The night train", "--nothink", "-n", "5", "--temp", "0", "--json"];
    let ended = run(&flags);
    let json = ended.json();
    assert_eq!(ended.text().lines().count(), 1);
    assert_eq!(json["tokens"].as_array().unwrap().len(), 5);
    assert_eq!((&json["finish"], &json["reasoning"]), (&"length".into(), &"".into()));
    // Three words, and four markers around them.
    assert_eq!(json["prompt_tokens"], 7);
    assert!(json["prefill_seconds"].as_f64().unwrap() > 0.0);
    assert!(json["decode_seconds"].as_f64().unwrap() > 0.0);
    let streamed = run(&["-p", "The night train", "--nothink", "-n", "5", "--temp", "0"]);
    assert_eq!(json["text"], streamed.text());
}

#[test]
fn speeds_and_seed_come_at_the_end_on_standard_error() {
    let ended = run(&["--raw-prompt", "-p", "The night train", "-n", "3", "--seed", "5"]);
    let line = &ended.stderr;
    assert!(
        line.starts_with("prefill 4 tokens, ") && line.contains("; decode 3 tokens, "),
        "{line}"
    );
    assert!(line.contains(" t/s; seed 5; ended by -n 3"), "{line}");
    assert_eq!(run(&RAW).stderr, "", "--quiet is quiet");
}

/// A reply that begins with reasoning and goes on to the answer: the greedy token after the prompt
/// is made to be `</think>` in a copy of the model.
#[test]
fn reasoning_stays_out_of_pipes() {
    let ask = ["-p", "The night train", "--think", "-n", "12", "--temp", "0"];
    let plain = run(&[&ask[..], &["--json"]].concat()).json();
    let tokens = plain["tokens"].as_array().unwrap();
    // The vocabulary is changed so that the fourth token spells the end of reasoning.
    let (third, end) = (tokens[3].as_u64().unwrap() as usize, 510);
    assert!(tokens[..3].iter().all(|t| *t != tokens[3]), "{tokens:?}");
    let folder = tempfile::tempdir().unwrap();
    let model = swapped(third, end).save(&folder.path().join("ends.gguf"));
    let run = |flags: &[&str]| works(&[&["run", "-m", &model], &ask[..], flags].concat());

    let json = run(&["--json"]).json();
    let (reasoning, text) = (json["reasoning"].as_str().unwrap(), json["text"].as_str().unwrap());
    assert!(!reasoning.is_empty() && !text.is_empty(), "{json}");
    assert_eq!(run(&[]).text(), text);
    let shown = run(&["--show-thinking"]);
    let line_end = if reasoning.ends_with('\n') { "" } else { "\n" };
    assert_eq!(shown.text(), format!("<think>\n{reasoning}{line_end}</think>\n\n{text}"));
    assert_eq!(run(&["--quiet"]).text(), text);
}

/// The tiny model with the places of two tokens in the vocabulary exchanged.
fn swapped(a: usize, b: usize) -> Parts {
    let mut parts = Parts::tiny();
    let texts = parts.metadata.get("tokenizer.ggml.tokens").unwrap().as_strings().unwrap();
    let kinds = parts.metadata.get("tokenizer.ggml.token_type").unwrap().as_integers().unwrap();
    let (mut texts, mut kinds) = (texts.to_vec(), kinds);
    texts.swap(a, b);
    kinds.swap(a, b);
    parts.metadata.set("tokenizer.ggml.tokens", texts);
    let kinds: Vec<i32> = kinds.into_iter().map(|kind| kind as i32).collect();
    parts.metadata.set("tokenizer.ggml.token_type", kinds);
    parts
}

#[test]
fn an_answer_that_did_not_begin_is_explained() {
    let ended = run(&["-p", "x", "--think", "-n", "2", "--temp", "0"]);
    assert_eq!(ended.text(), "");
    assert!(ended.stderr.contains("the answer had not begun"), "{}", ended.stderr);
}

#[test]
fn reasoning_hardest_needs_room() {
    let flags = ["-p", "x", "--think-max", "-n", "1", "--temp", "0", "--json"];
    let tokens = |ended: &Ended| ended.json()["prompt_tokens"].as_u64().unwrap();
    let usual = run(&["-p", "x", "--think", "-n", "1", "--json"]);
    let small = run(&flags);
    assert!(small.stderr.contains("--think-max needs --ctx 393216"), "{}", small.stderr);
    assert_eq!(tokens(&small), tokens(&usual));
    let large = run(&[&flags[..], &["--ctx", "393216"]].concat());
    assert!(!large.stderr.contains("--think-max"), "{}", large.stderr);
    assert!(tokens(&large) > tokens(&usual) + 100);
}

#[test]
fn a_full_context_ends_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let model = crate::signals::endless(folder.path());
    let args = ["run", "-m", &model, "--raw-prompt", "-p", "The night train", "--ctx", "10"];
    let ended = works(&[&args[..], &["--json"]].concat());
    let json: Value = ended.json();
    assert_eq!(json["finish"], "context");
    // The last token needs no room: nothing is computed after it.
    assert_eq!(json["tokens"].as_array().unwrap().len(), 6);
    assert!(ended.stderr.contains("--ctx 10 was all"), "{}", ended.stderr);
}

#[test]
fn without_rounding_the_numbers_differ() {
    let with = run(&["--raw-prompt", "-p", "The night train", "-n", "40", "--temp", "0", "-q"]);
    let without = [&RAW[..4], &["40", "--temp", "0", "-q", "--no-activation-rounding"]].concat();
    // Forty greedy steps of a random model do not survive another arithmetic.
    assert_ne!(run(&without).text(), with.text());
}

/// A long prompt is read once: the second run finds its state in the folder, and says the same.
#[test]
fn conversations_are_kept_in_a_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kept = folder.path().join("kept").display().to_string();
    let text = "The night train crosses the plain. ".repeat(400);
    let flags = ["run", "--raw-prompt", "-p", &text, "-n", "8", "--temp", "0", "--kv-dir", &kept];
    let [first, second] = [works(&flags), works(&flags)];
    assert_eq!(first.text(), second.text());
    let read = |ended: &Ended| {
        let (_, line) = ended.stderr.split_once("prefill ").expect("speeds");
        line.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a count")
    };
    let [all, rest]: [usize; 2] = [read(&first), read(&second)];
    assert!(all > 2500 && rest <= all - 2048, "{all} tokens, then {rest}");
    let listed = works(&["kv", "list", "--kv-dir", &kept]);
    assert!(!listed.text().is_empty());

    refuses(&["run", "-p", "x", "--kv-disk-space", "3"], 2, &["--kv-dir"]);
    let none = ["run", "-p", "x", "--kv-dir", &kept, "--kv-disk-space", "0"];
    refuses(&none, 2, &["--kv-disk-space", "at least 1"]);
}

/// A checkpoint that cannot be read or written costs one line, also in quiet runs, and no word of
/// the answer.
#[test]
fn trouble_with_the_folder_is_told_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kept = folder.path().join("kept").display().to_string();
    let text = "The night train crosses the plain. ".repeat(400);
    let flags = ["run", "-q", "--raw-prompt", "-p", &text, "-n", "8", "--temp", "0"];
    let flags = [&flags[..], &["--kv-dir", &kept]].concat();

    let failed = ended_as(on_a_full_disk(&flags).output().expect("the program starts"));
    let Ended { code: 0, stderr: told, .. } = &failed else { panic!("{failed:?}") };
    assert!(told.starts_with("a conversation was not saved: ") && told.contains(&kept), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");

    let saved = works(&flags);
    assert_eq!((saved.text(), saved.stderr.as_str()), (failed.text(), ""));
    let files = std::fs::read_dir(&kept).expect("the folder").map(|file| file.unwrap().path());
    let packs = files.filter(|path| path.extension().is_some_and(|end| end == "pack"));
    for pack in packs {
        let mut bytes = std::fs::read(&pack).expect("a pack");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&pack, bytes).expect("a damaged pack");
    }

    let damaged = works(&flags);
    assert_eq!(damaged.text(), saved.text());
    let told = &damaged.stderr;
    assert!(told.starts_with("a saved conversation could not be used"), "{told}");
    assert!(told.contains(&kept) && told.contains(".pack"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
