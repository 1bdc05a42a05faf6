//! Damaged and hostile folders: each is refused with a sentence that names what is at fault, and no
//! output is left behind.

use std::fs;
use std::path::Path;

use quantizer::{Checkpoint, Error, Recipe, Start};
use serde_json::{Value, json};

use crate::folder::{Folder, Random, Scales, safetensors, scale_name};
use crate::{convert, listing};

/// Tries to convert, in vain, and returns the complaint.
fn refused(folder: &Path, recipe: Recipe) -> String {
    let out = tempfile::tempdir().unwrap();
    let error = convert(folder, recipe, &out.path().join("m.gguf")).unwrap_err();
    assert_eq!(listing(out.path()), [""; 0], "something was left behind");
    error.to_string()
}

#[track_caller]
fn assert_mentions(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

/// A folder with a configuration and this file.
fn with_file(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), crate::folder::config().to_string()).unwrap();
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

fn tensor(dtype: &str, shape: &[u64], begin: u64, end: u64) -> Value {
    json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]})
}

#[test]
fn broken_files_are_named_with_the_tensor_at_fault() {
    let a = || tensor("F32", &[2], 0, 8);
    let good = safetensors(&json!({"a": a()}), &[0; 8]);
    let header = |header: Value| safetensors(&header, &[0; 16]);
    let huge = [&u64::MAX.to_le_bytes()[..], &[b'{'; 100]].concat();
    let lie = [&5000u64.to_le_bytes()[..], &good[8..]].concat();
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let deep = [&(deep.len() as u64).to_le_bytes()[..], deep.as_bytes()].concat();
    let twice = format!(r#"{{"a":{},"a":{}}}"#, a(), tensor("F32", &[2], 8, 16));
    let twice = [&(twice.len() as u64).to_le_bytes()[..], twice.as_bytes(), &[0; 16]].concat();
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (vec![], &["0 bytes are too few"]),
        (good[..7].to_vec(), &["7 bytes are too few"]),
        (huge, &["expected a header of at most 100 bytes, found one of 18446744073709551615"]),
        (lie, &["expected a header of at most", "found one of 5000"]),
        (good[..20].to_vec(), &["expected a header of at most 12 bytes"]),
        (safetensors(&json!([1]), &[]), &["the header is malformed", "an object of tensors"]),
        (safetensors(&json!({"a": {"dtype": "F32"}}), &[]), &["missing field `shape`"]),
        (header(json!({"a": tensor("F32", &[2], 8, 0)})), &["'a'", "data offsets [8, 0]"]),
        (deep, &["the header is malformed"]),
        (twice, &["tensor 'a': is in the header twice"]),
        (good[..good.len() - 1].to_vec(), &["'a'", "not within the 7 bytes", "is it cut?"]),
        ([good, vec![0]].concat(), &["expected the data to end at byte", "found"]),
        (
            header(json!({"a": a(), "b": tensor("F32", &[3], 4, 16)})),
            &["tensor 'b': overlaps 'a'", "expected its data at byte"],
        ),
        (
            header(json!({"a": a(), "b": tensor("F32", &[1], 12, 16)})),
            &["tensor 'b': leaves a gap after 'a'"],
        ),
        (header(json!({"a": tensor("F32", &[3], 0, 16)})), &["F32 of shape [3]", "16 bytes"]),
        (
            header(json!({"a": tensor("F32", &[1 << 40, 1 << 40], 0, 16)})),
            &["cannot have 16 bytes"],
        ),
        (header(json!({"a": tensor("F32", &[1; 9], 0, 4)})), &["at most 8 dimensions, found 9"]),
        (header(json!({"\u{1b}[31m\n": tensor("F32", &[1], 0, 16)})), &["tensor '\\u{1b}[31m\\n'"]),
    ];
    for (bytes, expected) in cases {
        let folder = with_file(&bytes);
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert_mentions(&message, expected);
        assert_mentions(&message, &["model.safetensors"]);
    }
}

#[test]
fn a_folder_without_its_files_says_which() {
    let folder = Folder::small(Scales::Bf16).write();
    let at = folder.path();
    let message = refused(&at.join("none"), Recipe::F32);
    assert_mentions(&message, &["none: not a folder"]);
    fs::remove_file(at.join("model.safetensors")).unwrap();
    let message = refused(at, Recipe::F32);
    assert_mentions(&message, &["has neither model.safetensors nor model.safetensors.index.json"]);
    fs::remove_file(at.join("config.json")).unwrap();
    let message = refused(at, Recipe::F32);
    assert_mentions(&message, &["config.json: not found; a checkpoint folder has a config.json"]);
}

#[test]
fn configurations_are_checked_in_their_own_words() {
    let mut folder = Folder::small(Scales::Bf16);
    folder.config.as_object_mut().unwrap().remove("hidden_size");
    folder.config["num_attention_heads"] = json!(0);
    let message = refused(folder.write().path(), Recipe::F32);
    assert_mentions(&message, &["config.json: ", "hidden_size: missing", "num_attention_heads: "]);
    for text in ["", "{", "[]", "\u{0}", &"[".repeat(10_000)] {
        let at = folder.write();
        fs::write(at.path().join("config.json"), text).unwrap();
        assert_mentions(&refused(at.path(), Recipe::F32), &["config.json: "]);
    }
    let at = folder.write();
    fs::write(at.path().join("config.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert_mentions(&refused(at.path(), Recipe::F32), &["expected at most 1048576 bytes"]);
}

#[test]
fn an_index_leads_to_nowhere_else() {
    let folder = Folder::small(Scales::Bf16).write_sharded(2);
    let path = folder.path().join("model.safetensors.index.json");
    let index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |file: &str| {
        let mut index = index.clone();
        index["weight_map"]["embed.weight"] = file.into();
        fs::write(&path, index.to_string()).unwrap();
        refused(folder.path(), Recipe::F32)
    };
    for file in ["../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "x/", "./x"] {
        assert_mentions(&with(file), &["'embed.weight' is in", "expected a name without folder"]);
    }
    assert_mentions(&with("absent.safetensors"), &["absent.safetensors: could not open the file"]);
    let other = index["weight_map"]["norm.weight"].as_str().unwrap();
    let own = index["weight_map"]["embed.weight"].as_str().unwrap();
    let wrong = if own == other { "model-00002-of-00002.safetensors" } else { other };
    assert_mentions(&with(wrong), &[wrong, "tensor 'embed.weight': not in this file"]);
    fs::write(&path, "{}").unwrap();
    assert_mentions(&refused(folder.path(), Recipe::F32), &["missing field `weight_map`"]);
}

#[test]
fn all_missing_and_unfit_tensors_come_in_one_message() {
    let mut folder = Folder::small(Scales::Bf16);
    folder.tensors.remove("embed.weight");
    folder.tensors.remove(&scale_name("layers.1.attn.wq_a.weight"));
    folder.tensors.remove("layers.2.ffn.experts.1.w3.weight");
    folder.put("norm.weight", "F32", &[191], Scales::Bf16);
    folder.tensors.get_mut("layers.0.attn_norm.weight").unwrap().dtype = "U16";
    folder.tensors.get_mut("layers.0.ffn.gate.weight").unwrap().dtype = "F9";
    folder.put("layers.0.attn.attn_sink", "I64", &[4], Scales::Bf16);
    folder.put("layers.0.ffn.gate.tid2eid", "F32", &[2, 40], Scales::Bf16);
    let scale = folder.tensors.get_mut(&scale_name("layers.0.attn.wkv.weight")).unwrap();
    scale.shape.reverse();
    folder.tensors.get_mut(&scale_name("layers.0.attn.wq_b.weight")).unwrap().dtype = "I8";
    let message = refused(folder.write().path(), Recipe::AsIs);
    let parts = [
        "3 tensors missing: embed.weight, layers.1.attn.wq_a.scale, \
         layers.2.ffn.experts.1.w3.weight",
        "7 tensors unfit: ",
        "norm.weight (expected shape [192], found [191])",
        "layers.0.attn_norm.weight (expected F32, F16 or BF16, found 'U16')",
        "layers.0.ffn.gate.weight (expected F32, F16, BF16, F8_E4M3 or FP4 as I8, found 'F9')",
        "layers.0.attn.attn_sink (expected F32, F16 or BF16, found I64)",
        "layers.0.ffn.gate.tid2eid (expected I64 or I32, found F32)",
        "layers.0.attn.wkv.scale (expected shape [1, 2], found [2, 1])",
        "layers.0.attn.wq_b.scale (expected F8_E8M0, found I8)",
    ];
    assert_mentions(&message, &parts);

    folder.tensors.retain(|name, _| !name.contains("experts"));
    let message = refused(folder.write().path(), Recipe::AsIs);
    assert_mentions(&message, &[" and 18 more; 7 tensors unfit"]);
}

#[test]
fn vectors_take_no_scaled_codings_and_fp4_rows_are_whole_blocks() {
    let mut folder = Folder::small(Scales::Bf16);
    let vector = folder.tensors.get_mut("norm.weight").unwrap();
    (vector.dtype, vector.bytes) = ("F8_E4M3", vec![0; 192]);
    let message = refused(folder.write().path(), Recipe::AsIs);
    assert_mentions(&message, &["norm.weight (expected F32, F16 or BF16, found F8_E4M3)"]);

    let mut folder = Folder::small(Scales::Bf16);
    folder.config["q_lora_rank"] = json!(162);
    folder.put("layers.0.attn.wq_b.weight", "I8", &[162, 512], Scales::Bf16);
    let message = refused(folder.write().path(), Recipe::AsIs);
    assert_mentions(&message, &["wq_b.weight (FP4 in rows of 162, not of blocks of 32)"]);
}

#[test]
fn names_of_another_program_are_recognized() {
    let mut folder = Folder::small(Scales::Bf16);
    let embedding = folder.tensors.remove("embed.weight").unwrap();
    folder.tensors.insert("model.embed_tokens.weight".to_owned(), embedding);
    let message = refused(folder.write().path(), Recipe::AsIs);
    assert_mentions(&message, &["1 tensor missing: embed.weight; the tensors have the names of"]);
}

/// Weights that are not finite, and ids that are no experts: by tensor, place and cause.
#[test]
fn bad_values_are_named_with_their_place() {
    const FP8: &str = "layers.0.attn.wq_a.weight";
    const FP4: &str = "layers.1.ffn.experts.2.w1.weight";
    const TABLE: &str = "layers.0.ffn.gate.tid2eid";
    // Tensor, first byte, bytes, what is said. Rows of FP8 have 192 values, of FP4 96 bytes.
    let cases: [(&str, usize, &[u8], &[&str]); 11] = [
        (FP8, 192 * 3 + 17, &[0x7f], &["value [3, 17]", "found NaN (code 0x7f, scale"]),
        (FP8, 192 * 129, &[0xff], &["value [129, 0]", "code 0xff"]),
        (FP4, 96 * 5, &[0], &[]),
        (TABLE, 0, &3i64.to_le_bytes(), &["value [0, 0]", "expert id below 3, found 3"]),
        (TABLE, 16 * 7 + 8, &(-1i64).to_le_bytes(), &["value [7, 1]", "found -1"]),
        (TABLE, 8, &(1i64 << 32).to_le_bytes(), &["value [0, 1]", "found 4294967296"]),
        ("norm.weight", 10, &0x7f80u16.to_le_bytes(), &["value [0, 5]", "found inf"]),
        ("norm.weight", 10, &0x7fc0u16.to_le_bytes(), &["value [0, 5]", "found NaN"]),
        ("head.weight", 384 * 2, &0xfc00u16.to_le_bytes(), &["value [2, 0]", "found -inf"]),
        ("hc_head_fn", 4, &f32::NAN.to_le_bytes(), &["value [0, 1]", "found NaN"]),
        ("hc_head_base", 0, &f32::INFINITY.to_le_bytes(), &["value [0, 0]", "found inf"]),
    ];
    for (name, at, bytes, expected) in cases {
        let mut folder = Folder::small(Scales::Half);
        folder.tensors.get_mut(name).unwrap().bytes[at..at + bytes.len()].copy_from_slice(bytes);
        let at = folder.write();
        for recipe in Recipe::ALL {
            if expected.is_empty() {
                let out = tempfile::tempdir().unwrap();
                convert(at.path(), recipe, &out.path().join("m.gguf")).unwrap();
                continue;
            }
            let message = refused(at.path(), recipe);
            assert_mentions(&message, expected);
            assert_mentions(&message, &["model.safetensors: tensor '", name]);
        }
    }
}

/// Scales: 255 is not a number, and large ones overflow only with large codes.
#[test]
fn bad_scales_are_named_with_their_place() {
    // Scale byte, code byte; whether the value is finite in single precision.
    let fp8 = "layers.0.attn.wq_a.weight";
    let fp4 = "layers.0.ffn.experts.1.w2.weight";
    let cases = [
        (fp8, 255, 0, false),
        (fp8, 247, 0x7e, false), // 448 * 2^120
        (fp8, 246, 0x7e, true),
        (fp8, 254, 0x38, true), // 1 * 2^127
        (fp4, 255, 0, false),
        (fp4, 254, 0x44, false), // 2 * 2^127
        (fp4, 254, 0x33, true),
        (fp4, 253, 0x66, false), // 4 * 2^126
        (fp4, 253, 0x55, true),
        (fp4, 252, 0x77, true), // 6 * 2^125
    ];
    for (name, scale, code, finite) in cases {
        let mut folder = Folder::small(Scales::Half);
        let bytes = &mut folder.tensors.get_mut(name).unwrap().bytes;
        let one = if name == fp8 { 0x38 } else { 0 };
        bytes.fill(one);
        bytes[0] = code;
        folder.tensors.get_mut(&scale_name(name)).unwrap().bytes[0] = scale;
        let at = folder.write();
        for recipe in [Recipe::F32, Recipe::AsIs] {
            let out = tempfile::tempdir().unwrap();
            let result = convert(at.path(), recipe, &out.path().join("m.gguf"));
            let said = result.as_ref().map_or_else(Error::to_string, |_| String::new());
            assert_eq!(result.is_ok(), finite, "{name} {scale} {code:#x} {recipe}: {said}");
            if !finite {
                assert_mentions(&said, &[name, "value [0, 0]", &format!("scale {scale:#04x}")]);
            }
        }
    }
}

#[test]
fn values_that_a_recipe_cannot_store_are_named() {
    let mut folder = Folder::small(Scales::Half);
    let bytes = &mut folder.tensors.get_mut("hc_head_fn").unwrap().bytes;
    bytes[8..12].copy_from_slice(&65_520f32.to_le_bytes());
    let at = folder.write();
    let message = refused(at.path(), Recipe::F16);
    let parts = ["'hc_head_fn'", "value [0, 2]: 6.552e4 cannot be stored as F16", "recipe f32"];
    assert_mentions(&message, &parts);
    // A vector may have it: it stays in single precision.
    let mut folder = Folder::small(Scales::Half);
    folder.tensors.get_mut("hc_head_base").unwrap().bytes[..4]
        .copy_from_slice(&1e9f32.to_le_bytes());
    let (at, out) = (folder.write(), tempfile::tempdir().unwrap());
    convert(at.path(), Recipe::F16, &out.path().join("m.gguf")).unwrap();

    // 2^-9 * 2^-127 needs more than the subnormal bits of BF16.
    let mut folder = Folder::small(Scales::Half);
    folder.tensors.get_mut("layers.0.attn.wq_a.weight").unwrap().bytes[0] = 1;
    folder.tensors.get_mut("layers.0.attn.wq_a.scale").unwrap().bytes[0] = 0;
    let at = folder.write();
    let message = refused(at.path(), Recipe::AsIs);
    assert_mentions(&message, &["wq_a.weight", "value [0, 0]", "cannot be stored as BF16"]);
}

/// A file that shrinks after it was checked is an error, not a crash.
#[test]
fn a_file_cut_during_the_run_is_named() {
    let folder = Folder::small(Scales::Bf16).write();
    let plan = crate::plan(folder.path(), Recipe::F32).unwrap();
    let path = folder.path().join("model.safetensors");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(9000).unwrap();
    let out = tempfile::tempdir().unwrap();
    let run =
        plan.run(&out.path().join("m.gguf"), (false, Start::New), &mut |_| {}, &Default::default());
    assert_mentions(
        &run.unwrap_err().to_string(),
        &["model.safetensors: tensor '", "could not read"],
    );
    assert!(listing(out.path()).is_empty());
}

/// Whatever happens to a header, the answer is a plan or a sentence. A failure names its seed.
#[test]
fn corrupted_headers_never_panic() {
    let folder = Folder::small(Scales::Bf16).write();
    let path = folder.path().join("model.safetensors");
    let good = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap());
    let mut refused = 0;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(header) as usize;
            bytes[at] = b"0123456789[]{},:\"aF\xff"[random.below(20) as usize];
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
        }
        fs::write(&path, bytes).unwrap();
        let result = std::panic::catch_unwind(|| crate::plan(folder.path(), Recipe::AsIs).err());
        refused += usize::from(result.unwrap_or_else(|_| panic!("seed {seed} panics")).is_some());
    }
    assert!(refused > 250, "only {refused} of 300 corruptions were noticed");
}
