//! From the golden checkpoint to a file that the program itself runs.

use std::fs;

use crate::support::{
    array, difference, golden_array, prompt, refuses, testdata, text, tiny, works,
};

#[test]
fn a_checkpoint_becomes_a_file_with_the_right_logits() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (model, out) = (inside("model.gguf"), inside("logits.npy"));
    let checkpoint = text(&testdata("golden"));
    let make = ["quantize", "--hf", &checkpoint, "--recipe", "f32", "--out", &model];
    let json = works(&[&make[..], &["--json"]].concat()).json();
    assert_eq!(json["recipe"], "f32");
    assert_eq!(json["tensors"], 92);

    let exact = "--no-activation-rounding";
    works(&["logits", "-m", &model, "--tokens", &prompt("p7"), "--out", &out, exact]);
    // Of another implementation, from the same checkpoint.
    let (_, max) = difference(&array(&out).1, &golden_array("logits.npz", "p7"));
    assert!(max < 1e-4, "{max:e}");

    for (name, last) in [("p7", "7"), ("p130", "32")] {
        let args = ["logits", "-m", &model, "--tokens", &prompt(name), "--out", &out];
        for (rows, golden) in [("f32", "logits_qat.npz"), ("packed", "logits_packed.npz")] {
            works(&[&args[..], &["--rows", rows, "--last", last]].concat());
            let (median, max) = difference(&array(&out).1, &golden_array(golden, name));
            assert!(median < 1e-4 && max < 5e-3, "{name} {rows}: {median:e} {max:e}");
        }
    }
    let shown = works(&["inspect", &model]);
    assert!(shown.text().contains("on token ids only: it has no tokenizer"), "{}", shown.text());
    refuses(&["run", "-m", &model, "-p", "x"], 1, &["no tokenizer", "quantize --tokenizer"]);
    refuses(&make, 1, &["model.gguf: exists already", "add --force"]);
    works(&[&make[..], &["--force"]].concat());
}

#[test]
fn with_a_tokenizer_the_file_speaks() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(&folder.path().join("model.gguf"));
    let tokenizer = text(&testdata("cli/tokenizer.json"));
    let checkpoint = text(&testdata("golden"));
    let make = ["quantize", "--hf", &checkpoint, "--recipe", "f16", "--out", &model];
    works(&[&make[..], &["--tokenizer", &tokenizer, "--name", "Tiny"]].concat());
    assert_eq!(works(&["inspect", &model, "--json"]).json()["name"], "Tiny");
    let ended = works(&["run", "-m", &model, "-p", "The night train", "-n", "4", "--json"]);
    assert_eq!(ended.json()["tokens"].as_array().unwrap().len(), 4);
}

#[test]
fn a_dry_run_writes_nothing() {
    let checkpoint = text(&testdata("golden"));
    let args = ["quantize", "--hf", &checkpoint, "--recipe", "as-is", "--dry-run"];
    let ended = works(&args);
    assert!(ended.text().starts_with("would write a file: 92 tensors"), "{}", ended.text());
    let json = works(&[&args[..], &["--json"]].concat()).json();
    assert!(json["out"].is_null());
}

#[test]
fn wrong_paths_and_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let empty = text(folder.path());
    let model = tiny();
    let checkpoint = text(&testdata("golden"));
    let weights = text(&testdata("golden/model.safetensors"));
    let tokenizer = text(&testdata("golden/config.json"));
    let cases: [(&[&str], i32, &[&str]); 7] = [
        (&["--hf", &model, "--recipe", "f32"], 1, &["a GGUF file already", "dwarfstar inspect"]),
        (&["--hf", &weights, "--recipe", "f32"], 1, &["expected the folder of a checkpoint"]),
        (&["--hf", "nowhere", "--recipe", "f32"], 1, &["nowhere"]),
        (&["--hf", &empty, "--recipe", "f32"], 1, &["config.json"]),
        (&["--hf", &checkpoint, "--recipe", "q2"], 2, &["--recipe", "f32, f16, as-is"]),
        (&["--hf", &checkpoint], 2, &["--recipe"]),
        (&["--hf", &checkpoint, "--recipe", "f32", "--tokenizer", &tokenizer], 1, &["config.json"]),
    ];
    for (flags, code, pieces) in cases {
        refuses(&[&["quantize", "--dry-run"], flags].concat(), code, pieces);
    }
    let unwritable = text(&folder.path().join("no/such/model.gguf"));
    let args = ["quantize", "--hf", &checkpoint, "--recipe", "f32", "--out", &unwritable];
    refuses(&args, 1, &["model.gguf"]);
    refuses(&args[..5], 2, &["--out"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
