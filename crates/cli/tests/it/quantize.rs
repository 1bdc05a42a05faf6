//! From a checkpoint, or another file, to a file that the program itself runs.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use spec::{Class, Source};

use crate::signals::signal;
use crate::support::{
    array, command, difference, ended_as, golden_array, prompt, refuses, testdata, text, tiny,
    works,
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

/// The layout of a file that is there, with its tokenizer, and the checkpoint's weights.
#[test]
fn a_template_says_what_the_file_looks_like() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(&folder.path().join("model.gguf"));
    let (checkpoint, template) = (text(&testdata("golden")), tiny());
    let make = ["quantize", "--hf", &checkpoint, "--template", &template, "--out", &model];
    let made = works(&[&make[..], &["--json"]].concat()).json();
    assert_eq!(made["recipe"], "template");
    let layout = |path: &str| -> Vec<(String, String)> {
        let file = gguf::File::open(Path::new(path)).unwrap();
        let tensors = file.tensors().iter();
        tensors.map(|tensor| (tensor.name.clone(), tensor.format.to_string())).collect()
    };
    assert_eq!(layout(&model), layout(&template));
    let ended = works(&["run", "-m", &model, "-p", "The night train", "-n", "4", "--json"]);
    assert_eq!(ended.json()["tokens"].as_array().unwrap().len(), 4);
    let from = ["quantize", "--from", &template, "--template", &template, "--out", &model];
    refuses(&from, 2, &["--from", "--template"]);
    refuses(&["quantize", "--hf", &checkpoint, "--out", &model], 2, &["--recipe"]);
    let other = [
        "quantize",
        "--hf",
        &checkpoint,
        "--template",
        &text(&testdata("../nano/nano.gguf")),
        "--out",
        &model,
    ];
    refuses(&[&other[..], &["--force"]].concat(), 1, &["no template for this checkpoint", "is "]);
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
        (&["--hf", &checkpoint, "--recipe", "q1"], 2, &["--recipe", "f32, f16, as-is"]),
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

/// A model in the published naming and codings: FP8 and FP4 with scales, BF16 and F32 for the rest.
fn checkpoint(folder: &Path) {
    let config = json!({
        "model_type": "deepseek_v4", "num_hidden_layers": 3, "hidden_size": 256, "vocab_size": 512,
        "num_attention_heads": 4, "head_dim": 128, "qk_rope_head_dim": 64, "q_lora_rank": 128,
        "o_lora_rank": 64, "o_groups": 2, "compress_ratios": [0, 4, 128, 0], "index_n_heads": 16,
        "index_head_dim": 128, "index_topk": 16, "n_routed_experts": 8, "num_experts_per_tok": 2,
        "moe_intermediate_size": 256, "num_hash_layers": 1, "hc_mult": 4
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let single = folder.join("model.safetensors");
    fs::write(&single, [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
    let shape = quantizer::Checkpoint::open(folder).unwrap().shape().clone();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    let mut random = Random(7);
    for spec in spec::tensors(&shape) {
        let (names, dims) = match spec.source {
            Source::One(name) => (vec![name], &spec.dims[..]),
            Source::PerExpert { before, after } => {
                let names = (0..spec.dims[2]).map(|expert| format!("{before}{expert}{after}"));
                (names.collect(), &spec.dims[..2])
            }
        };
        for name in names {
            for (name, dtype, shape, bytes) in stored(&mut random, name, spec.class, dims) {
                let offsets = [data.len(), data.len() + bytes.len()];
                data.extend(bytes);
                let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
                header.insert(name, entry);
            }
        }
    }
    let header = serde_json::Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&single, [&length[..], header.as_bytes(), &data].concat()).unwrap();
}

/// Repeatable random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    /// About normal, of mean 0 and deviation 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.below(1 << 20) as f32 / (1 << 20) as f32).sum::<f32>() - 6.0
    }
}

type Entry = (String, &'static str, Vec<usize>, Vec<u8>);

/// A tensor, and its scales if it has some; values keep the width of what goes through them.
fn stored(random: &mut Random, name: String, class: Class, dims: &[usize]) -> Vec<Entry> {
    let shape: Vec<usize> = dims.iter().rev().copied().collect();
    let count: usize = dims.iter().product();
    let scale_name = name.replace(".weight", ".scale");
    let spread = (dims[0] as f32).powf(-0.5);
    let bf16 = |value: f32| (value.to_bits() >> 16) as u16;
    match class {
        Class::RouteTable => {
            let ids = (0..count).flat_map(|at| ((at as u64 * 5 + at as u64 / 2) % 8).to_le_bytes());
            vec![(name, "I64", shape, ids.collect())]
        }
        Class::ExpertGateUp | Class::ExpertDown => {
            // The nearest of the codes 0, 0.5, 1, 1.5, 2, 3, 4, 6 to a normal number of deviation
            // 2, as trained FP4 weights are spread; 2^-5 of that is 1/16.
            let mut code = || {
                let value = 2.0 * random.normal();
                let codes = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0f32];
                let away = |at: usize| (codes[at] - value.abs()).abs();
                let near = (0..8).min_by(|a, b| away(*a).total_cmp(&away(*b))).unwrap() as u8;
                if value < 0.0 { near | 8 } else { near }
            };
            let codes = (0..count / 2).map(|_| code() | code() << 4).collect();
            let scales = (0..count / 32).map(|at| 121 + (at % 3) as u8).collect();
            let packed = vec![shape[0], shape[1] / 2];
            let blocks = vec![shape[0], shape[1] / 32];
            vec![(name, "I8", packed, codes), (scale_name, "F8_E8M0", blocks, scales)]
        }
        Class::Attention | Class::SharedExpert => {
            // Codes 0x20 to 0x3f are 2^-3 to 1.9, of either sign.
            let codes = (0..count).map(|_| (random.below(32) + 32 + 128 * random.below(2)) as u8);
            let blocks = vec![shape[0].div_ceil(128), shape[1].div_ceil(128)];
            let codes = codes.collect();
            let scales = vec![123; blocks[0] * blocks[1]];
            vec![(name, "F8_E4M3", shape, codes), (scale_name, "F8_E8M0", blocks, scales)]
        }
        Class::Norm => {
            let values = (0..count).flat_map(|_| bf16(1.0 + 0.1 * random.normal()).to_le_bytes());
            vec![(name, "BF16", shape, values.collect())]
        }
        Class::HyperMatrix | Class::HyperVector | Class::Sinks | Class::RouteBias => {
            let values = (0..count).flat_map(|_| (spread * random.normal()).to_le_bytes());
            vec![(name, "F32", shape, values.collect())]
        }
        _ => {
            let values = (0..count).flat_map(|_| bf16(spread * random.normal()).to_le_bytes());
            vec![(name, "BF16", shape, values.collect())]
        }
    }
}

/// How far logits are from others: at each position the root mean square of the differences, over
/// that of the others around their mean; of all positions the median, since a token whose expert is
/// a close choice may get another one.
fn distance(found: &[f32], reference: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum();
    let positions = found.chunks(512).zip(reference.chunks(512));
    let mut distances: Vec<f64> = positions
        .map(|(found, reference)| {
            let mean = reference.iter().map(|&b| f64::from(b)).sum::<f64>() / 512.0;
            let pairs = found.iter().zip(reference);
            let apart: f64 = square(&mut pairs.map(|(&a, &b)| f64::from(a) - f64::from(b)));
            let spread: f64 = square(&mut reference.iter().map(|&b| f64::from(b) - mean));
            (apart / spread).sqrt()
        })
        .collect();
    distances.sort_by(f64::total_cmp);
    distances[distances.len() / 2]
}

/// Each recipe from the same checkpoint; logits of the engine against those from single precision.
/// The limits are about twice what is seen; logits that have nothing in common are 1.4 apart. Two
/// bits hold little of random weights: that recipe is bound by the bytes of its encoders.
#[test]
fn every_recipe_keeps_the_logits_as_well_as_its_bits_allow() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    checkpoint(folder.path());
    let (hf, out) = (text(folder.path()), inside("logits.npy"));
    let logits = |model: &str| {
        let exact = "--no-activation-rounding";
        let tokens = "3,141,59,26,5,358,97,93,238,46,264,338,327,9";
        works(&["logits", "-m", model, "--tokens", tokens, "--out", &out, exact]);
        array(&out).1
    };
    let make = |recipe: &str| {
        let model = inside(&format!("{recipe}.gguf"));
        works(&["quantize", "--hf", &hf, "--recipe", recipe, "--out", &model]);
        model
    };
    let reference = logits(&make("f32"));
    let limits =
        [("as-is", 1e-6), ("f16", 1e-4), ("mxfp4", 0.05), ("q8", 0.06), ("q4", 0.4), ("q2", 1.2)];
    let found = limits.map(|(recipe, _)| distance(&logits(&make(recipe)), &reference));
    println!("{found:?}");
    for ((recipe, limit), found) in limits.iter().zip(found) {
        assert!(found <= *limit, "{recipe}: {found:e}");
    }
    assert!(found.is_sorted(), "fewer bits, more error: {found:?}");
}

#[test]
fn from_a_file_with_rules_importance_and_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (model, importance) = (inside("m.gguf"), inside("m.dat"));
    let mut bytes = 1i32.to_le_bytes().to_vec();
    let name = "blk.1.ffn_down_exps.weight";
    bytes.extend((name.len() as i32).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend([1i32, 1024].map(i32::to_le_bytes).concat());
    bytes.extend((0..1024).flat_map(|at| ((at % 7) as f32).to_le_bytes()));
    fs::write(&importance, bytes).unwrap();
    let golden = tiny();
    let rule = "blk.2.*_exps.weight=q8_0";
    let args = ["quantize", "--from", &golden, "--recipe", "q4", "--rule", rule];
    let with = ["--imatrix", &importance, "--out", &model];
    let ended = works(&[&args[..], &with, &["--compare", &golden]].concat());
    assert!(ended.stderr.contains("leaves out 5 tensors"), "{}", ended.stderr);
    let shown = ended.text();
    for piece in ["wrote ", "recipe q4", "Q4_K", "compared: 9 tensors differ", "IQ2_XXS"] {
        assert!(shown.contains(piece), "expected {piece:?} in {shown}");
    }
    let ended = works(&["run", "-m", &model, "-p", "The night train", "-n", "4", "--json"]);
    assert_eq!(ended.json()["tokens"].as_array().unwrap().len(), 4);
    let strict = [&args[..], &["--dry-run", "--imatrix-strict", "--imatrix", &importance]].concat();
    refuses(&strict, 1, &["m.dat", "no importance for 5", "blk.0.ffn_gate_exps.weight"]);
    let same = ["quantize", "--from", &model, "--recipe", "as-is", "--out", &inside("same.gguf")];
    let ended = works(&[&same[..], &["--compare", &model]].concat());
    assert!(ended.text().contains("all 92 tensors are the same"), "{}", ended.text());
    refuses(&[&args[..5], &["--rule", "x=q9", "--dry-run"]].concat(), 2, &["--rule", "'q9'"]);
    refuses(&[&args[..5], &["--rule", "x=f16", "--dry-run"]].concat(), 1, &["rule 'x'"]);
    refuses(&["quantize", "--recipe", "q4", "--dry-run"], 2, &["--hf", "--from"]);
}

/// Nano in two bits takes seconds; Ctrl+C comes when some of it is written.
#[test]
fn an_interrupted_run_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (out, partial) = (inside("m.gguf"), folder.path().join("m.gguf.partial"));
    let nano = text(&testdata("../nano/nano.gguf"));
    let args = ["quantize", "--from", &nano, "--recipe", "q2", "--out", &out];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while fs::metadata(&partial).map_or(0, |found| found.len()) < 8 << 20 {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing was written");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "INT");
    let ended = ended_as(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("interrupted: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("the same command with --resume goes on"), "{}", ended.stderr);
    assert!(!Path::new(&out).exists());

    refuses(&args, 1, &["m.gguf.partial", "--resume", "--force"]);
    let go_on =
        |recipe| ["quantize", "--from", &nano, "--recipe", recipe, "--out", &out, "--resume"];
    refuses(&go_on("q4"), 1, &["m.gguf.partial", "other formats", "--force"]);
    works(&go_on("q2"));
    let whole = inside("whole.gguf");
    works(&["quantize", "--from", &nano, "--recipe", "q2", "--out", &whole]);
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap(), "other bytes");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn splicing_takes_whole_layers() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (q4, mixed) = (inside("q4.gguf"), inside("mixed.gguf"));
    let golden = tiny();
    works(&["quantize", "--from", &golden, "--recipe", "q4", "--out", &q4]);
    let args = ["splice", "--base", &golden, "--experts", &q4, "--layers"];
    let ended = works(&[&args[..], &["1-2", "--out", &mixed, "--json"]].concat()).json();
    assert_eq!((&ended["layers"], &ended["copied_tensors"]), (&json!([1, 2]), &json!(6)));
    let ended = works(&["run", "-m", &mixed, "-p", "The night train", "-n", "4", "--json"]);
    assert_eq!(ended.json()["tokens"].as_array().unwrap().len(), 4);
    let ended = works(&[&args[..], &["0", "--dry-run"]].concat());
    assert!(ended.text().starts_with("would write a file: 92 tensors"), "{}", ended.text());
    refuses(&[&args[..], &["2-3", "--dry-run"]].concat(), 1, &["blk.3.ffn_gate_exps.weight"]);
    refuses(&[&args[..], &["3-2", "--dry-run"]].concat(), 2, &["--layers 3-2"]);
    refuses(&[&args[..], &["1", "--out", &mixed]].concat(), 1, &["exists already", "add --force"]);
}
