//! The facts about the tiny model, and about files that cannot run.

use std::path::Path;

use engine::{Engine, Flow, OpenOptions};
use gguf::Format;
use serde_json::{Value, json};
use spec::TokenId;

use crate::support::{Parts, dwarfstar, testdata, text, tiny, works};

fn inspect(file: &str) -> Value {
    works(&["inspect", file, "--json"]).json()
}

#[test]
fn the_tiny_model_as_text() {
    // The path depends on where the tests run.
    let text = works(&["inspect", &tiny(), "--check"]).text().replace(&tiny(), "tiny.gguf");
    insta::assert_snapshot!(text);
}

/// Expected: the configuration that the file was made from.
#[test]
fn the_tiny_model_as_json() {
    let report = inspect(&tiny());
    let config = std::fs::read_to_string(testdata("golden/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let shape = &report["shape"];
    for (ours, published) in [
        ("layers", "num_hidden_layers"),
        ("hidden", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("head_dim", "head_dim"),
        ("rotary_dim", "qk_rope_head_dim"),
        ("query_latent", "q_lora_rank"),
        ("output_groups", "o_groups"),
        ("output_latent", "o_lora_rank"),
        ("window", "sliding_window"),
        ("indexer_heads", "index_n_heads"),
        ("indexer_dim", "index_head_dim"),
        ("indexer_top_k", "index_topk"),
        ("experts", "n_routed_experts"),
        ("experts_used", "num_experts_per_tok"),
        ("expert_inner", "moe_intermediate_size"),
        ("vocab", "vocab_size"),
    ] {
        assert!(shape[ours].is_u64(), "{ours}");
        assert_eq!(shape[ours], config[published], "{ours}");
    }
    for kind in ["window_layers", "indexed_layers", "compressed_layers", "hash_layers"] {
        assert_eq!(shape[kind], 1, "{kind}");
    }
    assert_eq!(report["architecture"], "deepseek4");
    assert_eq!(report["runnable"], true);
    assert_eq!((&report["problems"], &report["missing"]), (&json!([]), &json!([])));
    assert_eq!(report["tokenizer"]["tokens"], 512);
    let sum = |field: &str| {
        let groups = report["recipe"].as_array().unwrap();
        groups.iter().map(|group| group[field].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(report["tensor_count"], sum("tensors"));
    assert_eq!(report["bytes"], sum("bytes"));
    // The checkpoint's parameters: all of its values, but the ids of the routing table.
    assert_eq!(report["parameters"]["total"], sum("values"));
}

#[test]
fn every_tensor_is_listed() {
    let report = works(&["inspect", &tiny(), "--json", "--tensors"]).json();
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 92);
    let head = tensors.iter().find(|t| t["name"] == "output.weight").unwrap();
    assert_eq!((&head["dims"], &head["format"]), (&json!([256, 512]), &"Q8_0".into()));
    let text = works(&["inspect", &tiny(), "--tensors"]);
    assert!(tensors.iter().all(|tensor| text.text().contains(tensor["name"].as_str().unwrap())));
}

/// The memory that is promised is the memory that an engine holds when its context is full.
#[test]
fn memory_is_as_estimated() {
    const CONTEXT: usize = 700;
    let report = works(&["inspect", &tiny(), "--json", "--ctx", &CONTEXT.to_string()]).json();
    let memory = report["memory"].as_array().unwrap();
    let row = memory.iter().find(|row| row["context"] == CONTEXT).unwrap();
    let size = |name: &str| row[name].as_u64().unwrap() as usize;

    let options = OpenOptions { context: CONTEXT, ..OpenOptions::default() };
    let mut engine = Engine::open(Path::new(&tiny()), backend::open_reference(), options).unwrap();
    let mut session = engine.open_session().unwrap();
    let prompt = vec![TokenId(5); CONTEXT - 1];
    engine.sync(&mut session, &prompt, &mut |_| Flow::Continue).unwrap();
    let held = engine.reserved();
    assert_eq!(held.weights, size("weights"));
    assert_eq!(held.buffers, size("tables") + size("scratch"));
    assert_eq!(held.pools, size("slot") + size("rows"));
    assert_eq!(held.weights + held.buffers + held.pools, size("total"));
}

#[test]
fn contexts_are_shown_up_to_the_models_own() {
    let contexts = |file: &str, flags: &[&str]| {
        let report = works(&[&["inspect", file, "--json"], flags].concat()).json();
        let rows = report["memory"].as_array().unwrap().clone();
        rows.iter().map(|row| row["context"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(contexts(&tiny(), &[]), [4096, 32768, 131_072, 1_048_576]);
    assert_eq!(contexts(&tiny(), &["--ctx", "50000"]), [4096, 32768, 50000, 131_072, 1_048_576]);
    let folder = tempfile::tempdir().unwrap();
    let short = Parts::tiny().with_key("deepseek4.context_length", 10_000u32);
    let short = short.save(&folder.path().join("short.gguf"));
    assert_eq!(contexts(&short, &[]), [4096, 10_000]);
}

#[test]
fn files_that_cannot_run_are_shown_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names = ["blk.1.attn_kv.weight", "output_norm.weight"];
    let incomplete = Parts::tiny().without(&names).save(&path("incomplete.gguf"));
    let report = inspect(&incomplete);
    assert_eq!(report["runnable"], false);
    assert_eq!(report["missing"], json!(["output_norm.weight", "blk.1.attn_kv.weight"]));
    let problem = report["problems"][0].as_str().unwrap();
    assert!(names.iter().all(|name| problem.contains(name)), "{problem}");
    assert!(report["memory"][0]["weights"].is_null() && report["memory"][0]["rows"].is_u64());
    let ended = works(&["inspect", &incomplete]);
    assert!(ended.text().contains("cannot be run: 2 tensors are missing"), "{}", ended.text());

    let other = Parts::tiny().with_key("general.architecture", "llama");
    let other = other.save(&path("other.gguf"));
    let report = inspect(&other);
    assert_eq!((&report["runnable"], &report["shape"]), (&false.into(), &Value::Null));
    assert_eq!((&report["architecture"], &report["tensor_count"]), (&"llama".into(), &92.into()));
    let ended = works(&["inspect", &other, "--tensors", "--check"]);
    assert!(ended.text().contains("not DeepSeek V4 (architecture llama)"), "{}", ended.text());
    // The routing table has no decoder where nobody knows that it is one.
    assert!(ended.text().contains("not read: 1 tensor"), "{}", ended.text());

    let hostile = Parts::tiny().with_key("general.name", "\u{1b}[2Jx");
    let ended = works(&["inspect", &hostile.save(&path("hostile.gguf"))]);
    assert!(!ended.text().contains('\u{1b}') && ended.text().contains("[2Jx"), "{}", ended.text());
}

#[test]
fn a_model_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Parts::tiny();
    let total = whole.tensors.len();
    let mut rest = whole.tensors.clone();
    let second = rest.split_off(40);
    for (no, tensors) in [rest, second].into_iter().enumerate() {
        let mut parts = Parts { metadata: whole.metadata.clone(), tensors };
        parts = parts.with_key("split.no", no as u32).with_key("split.count", 2u32);
        parts = parts.with_key("split.tensors.count", total as i32);
        parts.save(&gguf::shard_path(&folder.path().join("model"), no as _, 2));
    }
    let first = text(&folder.path().join("model-00001-of-00002.gguf"));
    let report = inspect(&first);
    assert_eq!(report["shards"].as_array().unwrap().len(), 2);
    assert_eq!((&report["tensor_count"], &report["runnable"]), (&total.into(), &true.into()));
    let raw = ["--raw-prompt", "-p", "x", "-n", "3", "--temp", "0", "-q"];
    let run = |model: &str| works(&[&["run", "-m", model][..], &raw].concat()).stdout;
    assert_eq!(run(&first), run(&tiny()));
}

/// Damage in each kind of tensor is named with its place.
#[test]
fn damage_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let checked = |parts: Parts, name: &str| {
        let path = parts.save(&folder.path().join(name));
        let ended = dwarfstar(&["inspect", &path, "--check"]);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let json = dwarfstar(&["inspect", &path, "--check", "--json"]);
        assert_eq!(json.code, 1);
        (ended.text().to_owned(), json.json()["checked"]["flaws"].clone())
    };
    // A Q8_0 block is a half-precision scale and 32 codes: 8 blocks of 34 bytes in a row of 256.
    let nan = [0x00, 0x7e];
    let at = (5 * 8 + 3) * 34;
    let matrix = Parts::tiny().patched("output.weight", Format::Q8_0, at, &nan);
    let (text, flaws) = checked(matrix, "matrix.gguf");
    let expected = "output.weight: 32 bad values; the first is NaN, row 5, block 3 (value 96)";
    assert!(text.contains(expected), "{text}");
    let flaw = json!([{
        "tensor": "output.weight", "count": 32, "row": 5, "block": 3, "column": 96, "found": "NaN",
    }]);
    assert_eq!(flaws, flaw);

    let infinity = f32::NEG_INFINITY.to_le_bytes();
    let name = "blk.2.attn_norm.weight";
    let (text, _) = checked(Parts::tiny().patched(name, Format::F32, 8, &infinity), "norm.gguf");
    assert!(text.contains(&format!("{name}: 1 bad value; the first is -inf, row 0")), "{text}");

    let name = "blk.0.ffn_gate_tid2eid.weight";
    let table = Parts::tiny().patched(name, Format::I32, 4 * 21, &4i32.to_le_bytes());
    let (text, _) = checked(table, "table.gguf");
    let expected = format!("{name}: 1 bad value; the first is expert 4 of 4, row 10, block 1");
    assert!(text.contains(&expected), "{text}");
}
