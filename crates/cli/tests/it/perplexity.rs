//! Perplexity and divergence against plain code here, over the rows that `dwarfstar logits` writes:
//! the chunks are cut again, and every sum is written as in a textbook.
//!
//! On a CPU the same bits come out however a prompt is cut into steps, so figures agree to the
//! rounding of sums.

use serde_json::Value;

use crate::signals::interrupted_until;
use crate::support::{
    array, dwarfstar, ended_as, on_a_full_disk, refuses, testdata, text, tiny, works,
};

/// A text that Nano has seen nothing of.
fn readme() -> String {
    text(&testdata("golden/README.md"))
}

fn ids(json: &Value) -> Vec<u64> {
    json["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// The tokens of each chunk, the first of which begins a text, cut by hand.
fn chunks(tokens: usize, chunk: usize) -> Vec<Vec<u64>> {
    let begin = ids(&works(&["tokenize", "--json", "--chat", "x"]).json())[0];
    let all = ids(&works(&["tokenize", "--json", "--file", &readme()]).json());
    let pieces = all[..tokens].chunks(chunk - 1);
    pieces.map(|piece| [&[begin], piece].concat()).collect()
}

/// For each counted token its probability and the probabilities of all, in F64.
fn predictions(model: &str, chunks: &[Vec<u64>], skip: usize) -> Vec<(usize, Vec<f64>)> {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("rows.npy"));
    let mut found = Vec::new();
    for chunk in chunks {
        let list: Vec<String> = chunk.iter().map(u64::to_string).collect();
        let list = list.join(",");
        let how = ["--rows", "packed", "--device", "cpu"];
        let args = ["logits", "-m", model, "--tokens", &list, "--out", &out];
        works(&[&args[..], &how].concat());
        let (shape, values) = array(&out);
        let rows: Vec<&[f32]> = values.chunks_exact(shape[1] as usize).collect();
        for position in skip + 1..chunk.len() {
            let powers: Vec<f64> =
                rows[position - 1].iter().map(|logit| f64::from(*logit).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let shares = powers.iter().map(|power| power / sum).collect();
            found.push((chunk[position] as usize, shares));
        }
    }
    found
}

fn near(found: &Value, expected: f64) {
    let value = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((value - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{value} {expected}");
}

/// Mean, and the standard error of the mean.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt() / n.sqrt())
}

fn measured(flags: &[&str]) -> Value {
    let readme = readme();
    let args = ["perplexity", &readme, "--device", "cpu", "--json"];
    works(&[&args[..], flags].concat()).json()
}

#[test]
fn the_figure_is_that_of_the_logits() {
    for (tokens, chunk, skip) in [(150, 64, 20), (150, 64, 0), (700, 690, 600)] {
        let counts = [tokens, chunk, skip].map(|count: usize| count.to_string());
        let json =
            measured(&["--max-tokens", &counts[0], "--chunk", &counts[1], "--skip", &counts[2]]);
        let rows = predictions("nano", &chunks(tokens, chunk), skip);
        let nll: Vec<f64> = rows.iter().map(|(token, shares)| -shares[*token].ln()).collect();
        let (expected, error) = mean(&nll);
        assert_eq!(json["text"]["counted"], nll.len(), "{json:#}");
        near(&json["nll"]["mean"], expected);
        near(&json["nll"]["standard_error"], error);
        near(&json["perplexity"]["value"], expected.exp());
        near(&json["perplexity"]["standard_error"], expected.exp() * error);
        assert_eq!(json["complete"], true);
    }
}

#[test]
fn chunks_are_as_the_help_says() {
    let json = measured(&["--max-tokens", "200", "--chunk", "50"]);
    // 49 tokens of the text in each; 4 left over, which are fewer than the 25 that are skipped.
    let expected = serde_json::json!({
        "tokens": 200, "counted": 4 * 24, "chunks": 4, "chunk": 50, "skip": 25
    });
    assert_eq!(json["text"], expected);
    let short = measured(&["--max-tokens", "20"]);
    assert_eq!((&short["text"]["chunk"], &short["text"]["counted"]), (&21.into(), &10.into()));
    // The bytes of all tokens are those of the text.
    let sentence = "The night train leaves at nine.";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    std::fs::write(&path, sentence).unwrap();
    let path_text = text(&path);
    let json = works(&["perplexity", &path_text, "--skip", "0", "--json"]).json();
    let counted = json["text"]["counted"].as_f64().unwrap();
    let bits = json["nll"]["mean"].as_f64().unwrap() * counted / 2f64.ln();
    near(&json["bits_per_byte"], bits / sentence.len() as f64);
}

#[test]
fn a_model_is_not_far_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = text(folder.path());
    let flags =
        ["--against", "nano", "--max-tokens", "150", "--chunk", "64", "--scratch", &scratch];
    let json = measured(&flags);
    for figure in ["mean", "standard_error", "median", "p99", "max"] {
        assert_eq!(json["divergence"][figure].as_f64(), Some(0.0), "{figure}");
    }
    assert_eq!(json["same_choice"]["share"].as_f64(), Some(1.0));
    assert_eq!(json["probability_rms"].as_f64(), Some(0.0));
    assert_eq!(json["difference"]["equal"], json["text"]["counted"]);
    assert_eq!(json["nll"], json["reference"]["nll"]);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_divergence_is_that_of_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(&folder.path().join("q2.gguf"));
    let nano = text(&testdata("../nano/nano.gguf"));
    works(&["quantize", "--from", &nano, "--recipe", "q2", "--out", &model]);
    let flags = ["--max-tokens", "150", "--chunk", "64", "--skip", "20"];
    let json = measured(&[&["-m", &model, "--against", "nano"], &flags[..]].concat());

    let chunks = chunks(150, 64);
    let [of_model, of_reference] = [model.as_str(), "nano"].map(|m| predictions(m, &chunks, 20));
    let (mut kl, mut nll, mut squares, mut same) = (vec![], vec![], vec![], 0);
    for ((token, q), (_, p)) in of_model.iter().zip(&of_reference) {
        kl.push(p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>());
        nll.push(p[*token].ln() - q[*token].ln());
        squares.push((q[*token] - p[*token]).powi(2));
        let best = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        same += usize::from(best(p) == best(q));
    }
    let (expected, error) = mean(&kl);
    assert!(expected > 0.01, "two bits cost something: {expected}");
    near(&json["divergence"]["mean"], expected);
    near(&json["divergence"]["standard_error"], error);
    near(&json["probability_rms"], mean(&squares).0.sqrt());
    near(&json["same_choice"]["share"], same as f64 / kl.len() as f64);
    let (difference, error) = mean(&nll);
    near(&json["difference"]["mean"], difference);
    near(&json["difference"]["standard_error"], error);
    kl.sort_by(f64::total_cmp);
    near(&json["divergence"]["max"], kl[kl.len() - 1]);
    let middle = kl.len() / 2;
    let median = if kl.len() % 2 == 1 { kl[middle] } else { (kl[middle - 1] + kl[middle]) / 2.0 };
    near(&json["divergence"]["median"], median);
    let share = kl.iter().filter(|kl| **kl <= json["divergence"]["p90"].as_f64().unwrap()).count();
    assert!((share as f64 / kl.len() as f64 - 0.9).abs() < 0.02);
}

#[test]
fn people_get_text() {
    let readme = readme();
    let short = ["--max-tokens", "60"];
    let ended = works(&[&["perplexity", &readme], &short[..]].concat());
    for piece in ["nano.gguf (built in)\n", "\n  nll            ", "\n  perplexity     ", " ± "] {
        assert!(ended.text().contains(piece), "{piece:?} in {}", ended.text());
    }
    assert_eq!(ended.stderr, "");
    let ended = works(&[&["perplexity", &readme, "--against", "nano"], &short[..]].concat());
    for piece in ["against", "model minus reference", "D(reference || model)", "100.00 % ("] {
        assert!(ended.text().contains(piece), "{piece:?} in {}", ended.text());
    }
}

#[test]
fn what_cannot_be_measured() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    let long = folder.path().join("long.txt");
    std::fs::write(&long, "The night train leaves. ".repeat(20_000)).unwrap();
    let (empty, long, tiny, readme) = (text(&empty), text(&long), tiny(), readme());
    let cases: [(&str, &[&str], i32, &[&str]); 10] = [
        (&long, &["--chunk", "70000"], 2, &["--chunk 70000: this model reads 65,536 tokens"]),
        (&empty, &[], 1, &["empty.txt: empty, expected a text"]),
        ("nowhere.txt", &[], 1, &["nowhere.txt: could not open it"]),
        (&readme, &["--chunk", "1"], 2, &["--chunk 1: expected at least 2"]),
        (&readme, &["--chunk", "8", "--skip", "7"], 2, &["--skip 7", "at most 6"]),
        (&readme, &["--max-tokens", "0"], 2, &["--max-tokens 0"]),
        (&readme, &["--max-tokens", "9", "--skip", "30"], 1, &["9 tokens", "smaller --skip"]),
        (&readme, &["-m", &tiny, "--against", "nano"], 1, &["512 tokens", "4608"]),
        (&readme, &["--against", "nowhere.gguf"], 1, &["nowhere.gguf: no such file"]),
        (
            &readme,
            &["--against", "nano", "--scratch", "/nonexistent"],
            1,
            &["/nonexistent: could not make a temporary file", "--scratch DIR"],
        ),
    ];
    for (file, flags, code, pieces) in cases {
        refuses(&[&["perplexity", file], flags].concat(), code, pieces);
    }
    assert_eq!(dwarfstar(&["perplexity"]).code, 2);
}

#[test]
fn a_disk_that_is_full_while_it_is_written() {
    let readme = readme();
    let args = ["perplexity", &readme, "--against", "nano", "--max-tokens", "100"];
    let ended = ended_as(on_a_full_disk(&args).output().unwrap());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("reference could not be written"), "{}", ended.stderr);
}

#[test]
fn ctrl_c_shows_what_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    std::fs::write(&path, "The night train ".repeat(40_000)).unwrap();
    let (path, tiny) = (text(&path), tiny());
    let args = ["perplexity", &path, "-m", &tiny, "--chunk", "512", "--skip", "0", "--json"];
    let ended = interrupted_until(&args, |ended| !ended.stdout.is_empty());
    let json = ended.json();
    let (counted, all) = (&json["text"]["counted"], &json["text"]["tokens"]);
    assert!(counted.as_u64().unwrap() > 0 && counted.as_u64() < all.as_u64(), "{json:#}");
    assert_eq!(json["complete"], false);
    assert!(ended.stderr.starts_with("interrupted: what is shown is of the first "));
}
