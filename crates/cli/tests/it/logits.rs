//! Logits against those of an independent implementation (float64, Python), from the same file.
//!
//! Exact arithmetic is held to 1e-4 of the largest logit. With the trained roundings a value near a
//! rounding boundary may fall to the other side, which moves single logits: the median is held to
//! 1e-4, the maximum to 5e-3.

use std::path::Path;

use crate::support::{
    array, difference, golden_array, prompt, refuses, testdata, text, tiny, works,
};

const VOCAB: u64 = 512;

/// The logits that the program writes: shape and values.
fn logits(tokens: &str, flags: &[&str]) -> (Vec<u64>, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("logits.npy"));
    let model = tiny();
    let args = ["logits", "-m", &model, "--tokens", tokens, "--out", &out];
    let ended = works(&[&args[..], flags].concat());
    assert_eq!(ended.text(), "", "nothing goes to standard output");
    let left: Vec<_> = folder.path().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left");
    array(&out)
}

#[test]
fn exact_arithmetic_agrees() {
    let (shape, found) = logits(&prompt("p7"), &["--no-activation-rounding"]);
    assert_eq!(shape, [7, VOCAB]);
    let (_, max) = difference(&found, &golden_array("tiny_gguf_logits.npz", "p7"));
    assert!(max < 1e-4, "{max:e}");
}

#[test]
fn trained_rounding_agrees_and_is_the_default() {
    let (shape, found) = logits(&prompt("p7"), &[]);
    assert_eq!(shape, [7, VOCAB]);
    let (median, max) = difference(&found, &golden_array("tiny_gguf_logits.npz", "p7_qat"));
    assert!(median < 1e-4 && max < 5e-3, "{median:e} {max:e}");
    assert_eq!(found, logits(&prompt("p7"), &["--rows", "f32"]).1);
}

#[test]
fn the_last_positions_of_a_prompt_of_several_steps() {
    for (name, golden) in [("p130", "p130_qat"), ("p300", "p300_qat")] {
        let (shape, found) = logits(&prompt(name), &["--last", "16"]);
        assert_eq!(shape, [16, VOCAB], "{name}");
        let (median, max) = difference(&found, &golden_array("tiny_gguf_logits.npz", golden));
        assert!(median < 1e-4 && max < 5e-3, "{name}: {median:e} {max:e}");
    }
}

#[test]
fn packed_rows_differ_by_their_rounding_only() {
    let (_, rounded) = logits(&prompt("p7"), &[]);
    let (_, packed) = logits(&prompt("p7"), &["--rows", "packed"]);
    let (_, max) = difference(&packed, &rounded);
    // BF16 has 8 significant bits: rotary channels move by up to 2^-9 of themselves.
    assert!(max > 0.0 && max < 2e-2, "{max:e}");
}

#[test]
fn ids_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("ids.json");
    std::fs::write(&list, "[321, 266,\n117]\n").unwrap();
    let from_file = logits(&format!("@{}", text(&list)), &[]);
    assert_eq!(from_file, logits("321,266,117", &[]));
}

#[test]
fn bad_lists_and_outputs() {
    let model = tiny();
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let out = inside("logits.npy");
    let missing = inside("no/such/folder/logits.npy");
    let list = inside("ids.txt");
    std::fs::write(&list, "1,two").unwrap();
    let list = format!("@{list}");
    let here = text(folder.path());
    let cases: [(&str, &str, &[&str], i32, &str); 9] = [
        ("1,512", &out, &[], 1, "entry 1 of the tokens is 512, this model's tokens are 0 to 511"),
        ("1,x", &out, &[], 2, "--tokens: entry 1 is \"x\""),
        ("", &out, &[], 2, "--tokens: the list is empty"),
        (&list, &out, &[], 1, "ids.txt: entry 1 is \"two\""),
        ("@nowhere.txt", &out, &[], 1, "nowhere.txt: could not open it: No such file"),
        ("1,2", &out, &["--last", "0"], 2, "--last 0: expected at least 1"),
        ("1", &out, &["--rows", "packed", "--no-activation-rounding"], 2, "cannot be used with"),
        ("1", &missing, &[], 1, "logits.npy: could not create it"),
        ("1", &here, &[], 1, "is a folder"),
    ];
    for (tokens, out, flags, code, piece) in cases {
        let args = ["logits", "-m", &model, "--tokens", tokens, "--out", out];
        refuses(&[&args[..], flags].concat(), code, &[piece]);
    }
    assert!(!Path::new(&out).exists(), "no output appears after an error");
}

/// On a trained model, the fast device and the reference nearly always choose the same token: the
/// 8-bit activations of the one cost about as much as the 8-bit weights of both.
#[test]
fn devices_agree_about_nano() {
    let folder = tempfile::tempdir().unwrap();
    let readme = text(&testdata("golden/README.md"));
    let ids = works(&["tokenize", "--json", "--file", &readme]).json();
    let ids: Vec<String> =
        ids["tokens"].as_array().unwrap().iter().take(600).map(|t| t["id"].to_string()).collect();
    let logits = |device: &str| {
        let out = text(&folder.path().join(device));
        let tokens = ids.join(",");
        let rows = ["--rows", "packed", "--device", device];
        works(&[&["logits", "--tokens", &tokens, "--out", &out], &rows[..]].concat());
        array(&out)
    };
    let ((shape, want), (_, got)) = (logits("reference"), logits("cpu"));
    assert!(difference(&got, &want).0 < 1e-2);
    let rows = || want.chunks_exact(shape[1] as usize).zip(got.chunks_exact(shape[1] as usize));
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let same = rows().filter(|(w, g)| best(w) == best(g)).count();
    assert!(same * 100 >= rows().count() * 92, "{same} of {} choices are equal", rows().count());
}
