//! Random models that the program makes and runs.

use std::fs;

use crate::support::{array, refuses, text, tiny, works};

/// A random model like the tiny one, of each recipe, computes logits of the spread that its weights
/// are made for.
#[test]
fn every_recipe_gives_a_model_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (model, out, tiny) = (inside("model.gguf"), inside("logits.npy"), tiny());
    // More tokens than the window and two compressed rows of 128.
    let tokens = (0..300).map(|i| (i * 37 % 512).to_string()).collect::<Vec<_>>().join(",");
    for recipe in ["q2", "q4", "mxfp4", "q8"] {
        let make = ["synth", "--like", &tiny, "--recipe", recipe, "--force", "--out", &model];
        let made = works(&[&make[..], &["--json"]].concat()).json();
        assert_eq!(made["recipe"], recipe);
        assert_eq!(made["tensors"], 92);
        assert_eq!(made["file_bytes"], fs::metadata(&model).unwrap().len());
        assert!(works(&["inspect", &model]).text().contains("\n  can be run\n"));
        works(&["inspect", &model, "--check"]);

        works(&["logits", "-m", &model, "--tokens", &tokens, "--out", &out]);
        let (shape, logits) = array(&out);
        assert_eq!(shape, [300, 512]);
        for (position, row) in logits.chunks_exact(512).enumerate() {
            let mean = row.iter().sum::<f32>() / 512.0;
            let square = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 512.0;
            let spread = square.sqrt();
            assert!((0.5..2.0).contains(&spread), "{recipe}, position {position}: {spread}");
        }
    }
    // The tokenizer came along.
    let args = ["run", "-m", &model, "--raw-prompt", "-p", "The night", "-n", "3", "--json"];
    assert_eq!(works(&args).json()["prompt_tokens"].as_u64().map(|n| n > 1), Some(true));
}

#[test]
fn a_slice_of_flash_keeps_the_kinds_of_its_layers() {
    let args = ["synth", "--shape", "flash", "--recipe", "q2", "--dry-run", "--json"];
    let slice = works(&[&args[..], &["--layers", "4"]].concat()).json();
    assert_eq!((&slice["layers"], &slice["tensors"]), (&4.into(), &116.into()));
    assert!(slice["out"].is_null());
    let whole = works(&args).json();
    assert_eq!(whole["tensors"], 1328);
    // The published file without its vocabulary.
    assert_eq!(whole["file_bytes"], 86_714_865_664u64);
    let shown = works(&args[..6]);
    assert!(shown.text().starts_with("would write a file: 86.7 GB, 43 layers"), "{}", shown.text());

    let folder = tempfile::tempdir().unwrap();
    let model = text(&folder.path().join("nano.gguf"));
    works(&["synth", "--shape", "nano", "--layers", "3", "--recipe", "q2", "--out", &model]);
    let json = works(&["inspect", &model, "--json"]).json();
    assert_eq!(json["shape"]["window_layers"], 1);
    assert_eq!(json["shape"]["indexed_layers"], 1);
    assert_eq!(json["shape"]["compressed_layers"], 1);
    assert_eq!(json["name"], "Nano, 3 of 7 layers (random weights)");
}

#[test]
fn wrong_flags() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("m.gguf"));
    let tiny = tiny();
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["--recipe", "q2", "--out", &out], 2, &["--shape", "--like"]),
        (&["--shape", "flash", "--like", &tiny, "--recipe", "q2"], 2, &["cannot be used with"]),
        (&["--shape", "flash", "--recipe", "q3", "--dry-run"], 2, &["q2, q4, mxfp4, q8"]),
        (&["--shape", "tiny", "--recipe", "q2", "--dry-run"], 2, &["flash, pro, nano"]),
        (&["--shape", "flash", "--recipe", "q2"], 2, &["--out"]),
        (
            &["--shape", "flash", "--recipe", "q2", "--layers", "44", "--dry-run"],
            2,
            &["--layers 44: Flash has 43"],
        ),
        (
            &["--shape", "flash", "--recipe", "q2", "--layers", "0", "--dry-run"],
            2,
            &["--layers 0: expected at least 1"],
        ),
        (&["--like", "nowhere.gguf", "--recipe", "q2", "--out", &out], 1, &["nowhere.gguf"]),
    ];
    for (flags, code, pieces) in cases {
        refuses(&[&["synth"], flags].concat(), code, pieces);
    }
    let make = ["synth", "--like", &tiny, "--recipe", "q8", "--out", &out];
    works(&make);
    refuses(&make, 1, &["m.gguf: exists already", "add --force"]);
    works(&[&make[..], &["--force"]].concat());
}
