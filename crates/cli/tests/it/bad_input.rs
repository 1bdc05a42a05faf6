//! Everything that may be wrong with what people hand to the program.
//!
//! Exit code 1 is the world, 2 is the command line, and nothing ends in a panic. Each row of a
//! table is a case. Messages are checked by the piece that a person needs to act: the name at
//! fault, the numbers, the next command.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use gguf::Format;

use crate::support::{
    Parts, command, ended_as, golden_array, prompt, refuses, testdata, text, tiny, works,
};

/// Runs a short prompt on a model file, which must be refused with exit code 1.
fn cannot_run(model: &str, pieces: &[&str]) {
    refuses(&["run", "-m", model, "-p", "The night train", "-n", "2"], 1, pieces);
}

#[test]
fn paths_of_other_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let here = text(folder.path());
    cannot_run(&inside("none.gguf"), &["none.gguf: no such file"]);
    cannot_run(&here, &["a folder, expected a GGUF file"]);
    cannot_run(&text(&testdata("golden")), &["a folder, name a file in it", "golden/tiny.gguf"]);
    cannot_run(
        &text(&testdata("golden/model.safetensors")),
        &["a safetensors file", "dwarfstar quantize --hf"],
    );
    fs::write(inside("config.json"), "{}").unwrap();
    cannot_run(&here, &["a checkpoint folder", &format!("dwarfstar quantize --hf {here}")]);
    fs::copy(tiny(), inside("a.gguf")).unwrap();
    cannot_run(&inside("b.gguf"), &["no such file; beside it there is", "a.gguf"]);
    fs::write(inside("text.txt"), "hello, this is a text").unwrap();
    cannot_run(&inside("text.txt"), &["text.txt", "not a GGUF file"]);
    fs::write(inside("empty"), "").unwrap();
    cannot_run(&inside("empty"), &["empty"]);
    for command in ["inspect", "tokenize -m", "logits --tokens 1 --out x.npy -m"] {
        let mut args: Vec<String> = command.split(' ').map(str::to_owned).collect();
        args.push(inside("none.gguf"));
        if command.starts_with("tokenize") {
            args.push("x".to_owned());
        }
        refuses(&args, 1, &["none.gguf: no such file"]);
    }
}

#[test]
fn truncated_files() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(tiny()).unwrap();
    let path = folder.path().join("cut.gguf");
    let model = text(&path);
    let cuts = [0, 3, 4, 7, 12, 23, 24, 40, 100, 1000, 5000, 12_000, whole.len() / 2];
    for cut in cuts.into_iter().chain([whole.len() - 1]) {
        fs::write(&path, &whole[..cut]).unwrap();
        cannot_run(&model, &["cut.gguf"]);
        refuses(&["inspect", &model], 1, &["cut.gguf"]);
    }
    fs::write(&path, &whole).unwrap();
    works(&["inspect", &model]);
}

#[test]
fn attack_files() {
    let mut count = 0;
    for entry in fs::read_dir(testdata("attacks/gguf")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            count += 1;
            cannot_run(&text(&path), &[]);
            refuses(&["tokenize", "-m", &text(&path), "x"], 1, &[]);
            // Some of them are strange but whole; they may be looked at.
            let args = ["inspect", &text(&path), "--tensors", "--check"];
            let ended = ended_as(command(&args).output().unwrap());
            assert!(ended.code <= 1, "{path:?}: {}", ended.stderr);
        }
    }
    assert!(count > 20, "{count} attack files");
}

#[test]
fn models_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let save = |parts: Parts, name: &str| parts.save(&folder.path().join(name));

    let other = Parts::tiny().with_key("general.architecture", "llama");
    cannot_run(&save(other, "other.gguf"), &["not a DeepSeek V4 model", "llama"]);

    let names = ["blk.1.attn_kv.weight", "output_norm.weight"];
    let pieces = ["2 tensors are missing", names[0], names[1]];
    cannot_run(&save(Parts::tiny().without(&names), "incomplete.gguf"), &pieces);

    let mut parts = Parts::tiny();
    let (plan, bytes) = parts.tensor("blk.2.attn_sinks.weight");
    plan.dims = vec![3];
    bytes.truncate(12);
    let pieces = ["blk.2.attn_sinks.weight has dimensions [3]", "[4]"];
    cannot_run(&save(parts, "dims.gguf"), &pieces);

    let parts = Parts::tiny();
    let tokens = parts.metadata.get("tokenizer.ggml.tokens").unwrap().as_strings().unwrap();
    let short = tokens[..511].to_vec();
    let short = save(parts.with_key("tokenizer.ggml.tokens", short), "short.gguf");
    let pieces = ["tokenizer.ggml.tokens has 511 entries", "512"];
    cannot_run(&short, &pieces);
    refuses(&["tokenize", "-m", &short, "x"], 1, &pieces);

    let hidden = Parts::tiny().with_key("deepseek4.embedding_length", 0u32);
    cannot_run(&save(hidden, "zero.gguf"), &["embedding_length"]);

    let markers = Parts::tiny().with_token(507, "<\u{ff5c}other\u{ff5c}>");
    let pieces = ["no token <\u{ff5c}User\u{ff5c}>", "--raw-prompt"];
    let markers = save(markers, "markers.gguf");
    cannot_run(&markers, &pieces);
    works(&["run", "-m", &markers, "--raw-prompt", "-p", "x", "-n", "1"]);
}

#[test]
fn weights_that_are_not_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let save = |parts: Parts, name: &str| parts.save(&folder.path().join(name));
    let nan = f32::NAN.to_le_bytes();
    let norm = Parts::tiny().patched("blk.1.attn_norm.weight", Format::F32, 4, &nan);
    let norm = save(norm, "norm.gguf");
    cannot_run(&norm, &["tensor blk.1.attn_norm.weight: value 1 is NaN"]);

    let half_nan = [0x00, 0x7e];
    let matrix = Parts::tiny().patched("output.weight", Format::Q8_0, 0, &half_nan);
    let matrix = save(matrix, "matrix.gguf");
    let next = format!("dwarfstar inspect --check {matrix}");
    cannot_run(&matrix, &["is not a number", &next]);
    let out = folder.path().join("logits.npy");
    let args = ["logits", "-m", &matrix, "--tokens", &prompt("p7"), "--out", &text(&out)];
    refuses(&args, 1, &["position 0 is not a number", &next]);
    assert!(!out.exists());

    let table = "blk.0.ffn_gate_tid2eid.weight";
    let table = Parts::tiny().patched(table, Format::I32, 0, &(-1i32).to_le_bytes());
    cannot_run(&save(table, "table.gguf"), &["tid2eid", "token 0 is routed to expert -1"]);
    // The comparison that this module's neighbours make would notice such weights.
    assert!(golden_array("tiny_gguf_logits.npz", "p7").iter().all(|v| v.is_finite()));
}

#[test]
fn contexts_that_do_not_fit() {
    let run = ["run", "-m", &tiny(), "-p", "The night train"];
    let with = |flags: &[&str], code, pieces: &[&str]| {
        refuses(&[&run[..], flags].concat(), code, pieces);
    };
    with(&["--ctx", "7"], 1, &["the prompt has 7 tokens", "holds 7", "--ctx 8"]);
    with(&["--ctx", "1048577"], 1, &["a context of 1048577 tokens", "1048576 at most"]);
    with(&["--ctx", "0"], 2, &["--ctx 0: expected at least 1"]);
    refuses(&["inspect", &tiny(), "--ctx", "1048577"], 1, &["1048576 at most"]);
    works(&[&run[..], &["--ctx", "8", "-n", "1"]].concat());
}

#[test]
fn prompts_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        text(&folder.path().join(name))
    };
    let empty = file("empty.txt", b"");
    let latin = file("latin.txt", b"caff\xe8 nero");
    let here = text(folder.path());
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&[], 2, &["what is the question?", "-p TEXT"]),
        (&["-p", ""], 2, &["the prompt is empty"]),
        (&["-p", "a", "--prompt-file", "b"], 2, &["cannot be used with"]),
        (&["--prompt-file", &empty], 1, &["empty.txt: empty"]),
        (&["--prompt-file", "-"], 1, &["standard input: empty"]),
        (&["--prompt-file", "nowhere.txt"], 1, &["nowhere.txt: could not open it: No such file"]),
        (&["--prompt-file", &latin], 1, &["latin.txt: not UTF-8 text, byte 4"]),
        (&["--prompt-file", &here], 1, &["could not read it"]),
    ];
    for (flags, code, pieces) in cases {
        refuses(&[&["run", "-m", &tiny()], flags].concat(), code, pieces);
    }
}

#[test]
fn command_lines_that_make_no_sense() {
    let model = tiny();
    let run: Vec<&str> = vec!["run", "-m", &model, "-p", "x"];
    let cases: [(&[&str], &str); 16] = [
        (&["--temp", "-1"], "--temp -1: expected a number from 0"),
        (&["--temp", "NaN"], "--temp NaN: expected"),
        (&["--temp", "inf"], "--temp inf: expected"),
        (&["--temp", "hot"], "hot"),
        (&["--top-p", "2"], "--top-p 2: expected a probability above 0, up to 1"),
        (&["--top-p", "0"], "--top-p 0: expected"),
        (&["--top-p", "-0.5"], "--top-p -0.5: expected"),
        (&["--top-p", "nan"], "--top-p NaN: expected"),
        (&["--min-p", "1.5"], "--min-p 1.5: expected a fraction from 0 to 1"),
        (&["--min-p", "-1"], "--min-p -1: expected"),
        (&["--top-k", "-1"], "-1"),
        (&["-n", "0"], "-n 0: expected at least 1"),
        (&["-n", "many"], "many"),
        (&["--seed", "-7"], "-7"),
        (&["--think", "--nothink"], "cannot be used with"),
        (&["--raw-prompt", "--system", "s"], "cannot be used with"),
    ];
    for (flags, piece) in cases {
        refuses(&[&run[..], flags].concat(), 2, &[piece]);
    }
    refuses(&["frobnicate"], 2, &["frobnicate"]);
    refuses(&["run", "--frobnicate"], 2, &["--frobnicate"]);
    let nothing = ended_as(command::<&str>(&[]).stdin(Stdio::null()).output().unwrap());
    assert_eq!(nothing.code, 2);
    assert!(nothing.stderr.contains("Usage: dwarfstar"), "{}", nothing.stderr);
    assert!(Path::new(&model).exists());
}
