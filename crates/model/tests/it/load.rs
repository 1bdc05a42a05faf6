//! Files that do not fit the shape they state, and feeds that do not fit the model.

use backend::{Cpu, RowFormat};
use gguf::{File, Format, Metadata, TensorPlan, Writer};
use model::{Feed, Limits, Model, Options};
use spec::TokenId;

use crate::support::{LIMITS, Rig, prompts, tiny};

const OPTIONS: Options = Options { rows: RowFormat::Packed, limits: LIMITS, importance: false };

/// A copy of the tiny file, changed.
fn changed(
    metadata: impl FnOnce(&mut Metadata),
    mut tensor: impl FnMut(&mut TensorPlan, &mut Vec<u8>) -> bool,
) -> File {
    let file = tiny();
    let mut keys = file.metadata().clone();
    metadata(&mut keys);
    let mut tensors = Vec::new();
    for t in file.tensors() {
        let mut plan = TensorPlan { name: t.name.clone(), dims: t.dims.clone(), format: t.format };
        let mut bytes = file.bytes(t).to_vec();
        if tensor(&mut plan, &mut bytes) {
            tensors.push((plan, bytes));
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("changed.gguf");
    let plans: Vec<_> = tensors.iter().map(|(plan, _)| plan.clone()).collect();
    let mut writer = Writer::create(&path, &keys, &plans).expect("a writable file");
    tensors.iter().for_each(|(_, bytes)| writer.write(bytes).expect("a write"));
    writer.finish().expect("a finished file");
    File::from_bytes("changed.gguf", std::fs::read(&path).expect("the file")).expect("valid")
}

fn error(file: &File) -> String {
    let load = |shape| Model::load(&mut Cpu::new(), file, shape, OPTIONS, &mut |_| {});
    model::read_shape(file).and_then(load).expect_err("must not load").to_string()
}

fn same_keys(_: &mut Metadata) {}

#[test]
fn all_missing_tensors_are_named_at_once() {
    let gone = ["blk.0.attn_kv.weight", "blk.1.indexer.proj.weight", "output.weight"];
    let message = error(&changed(same_keys, |plan, _| !gone.contains(&plan.name.as_str())));
    assert!(message.starts_with("changed.gguf: 3 tensors are missing: "), "{message}");
    for name in gone {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_missing_selection_bias_means_zero() {
    let bias = "blk.1.exp_probs_b.bias";
    let without = changed(same_keys, |plan, _| plan.name != bias);
    let zero = changed(same_keys, |plan, bytes| {
        if plan.name == bias {
            bytes.fill(0);
        }
        true
    });
    let prompt = &prompts()["p7"];
    let [a, b] = [without, zero].map(|file| Rig::new(&file, RowFormat::Packed).feed(prompt, 8));
    assert_eq!(a, b);
}

#[test]
fn dimensions_and_types_are_compared_with_the_metadata() {
    let message = error(&changed(same_keys, |plan, bytes| {
        if plan.name == "blk.2.attn_sinks.weight" {
            plan.dims = vec![2];
            bytes.truncate(8);
        }
        if plan.name == "blk.0.ffn_gate_tid2eid.weight" {
            plan.format = Format::F32;
        }
        true
    }));
    let expected = [
        "blk.2.attn_sinks.weight has dimensions [2], the file's own metadata asks for [4]",
        "blk.0.ffn_gate_tid2eid.weight has type F32, expected I32",
    ];
    for part in expected {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_grouped_projection_may_have_rank_three() {
    let split = changed(same_keys, |plan, _| {
        if plan.name.ends_with("attn_output_a.weight") {
            plan.dims = vec![plan.dims[0], plan.dims[1] / 2, 2];
        }
        true
    });
    let prompt = &prompts()["p7"];
    let want = Rig::new(&tiny(), RowFormat::Packed).feed(prompt, 8);
    assert_eq!(Rig::new(&split, RowFormat::Packed).feed(prompt, 8), want);
}

#[test]
fn wrong_metadata_names_key_and_bounds() {
    let message = error(&changed(
        |keys| {
            keys.set("deepseek4.expert_count", 0u32);
            keys.retain(|key| key != "deepseek4.embedding_length");
        },
        |_, _| true,
    ));
    assert!(message.contains("deepseek4.embedding_length: missing"), "{message}");
    assert!(message.contains("deepseek4.expert_count: expected 1 to"), "{message}");
}

#[test]
fn a_vector_with_a_value_that_is_no_number_is_named() {
    let message = error(&changed(same_keys, |plan, bytes| {
        if plan.name == "blk.1.attn_kv_a_norm.weight" {
            bytes[4 * 5..4 * 6].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        true
    }));
    assert!(message.contains("blk.1.attn_kv_a_norm.weight: value 5 is NaN"), "{message}");
}

#[test]
fn a_route_to_an_expert_that_does_not_exist_is_named() {
    let message = error(&changed(same_keys, |plan, bytes| {
        if plan.name == "blk.0.ffn_gate_tid2eid.weight" {
            bytes[4 * 7..4 * 8].copy_from_slice(&(-1i32).to_le_bytes());
        }
        true
    }));
    assert!(message.contains("token 3 is routed to expert -1, expected 0 to 3"), "{message}");
}

#[test]
fn feeds_are_checked_before_anything_changes() {
    let limits = Limits { sessions: 1, slots: 1, context: 256, ..LIMITS };
    let mut rig = Rig::with(&tiny(), Options { limits, ..OPTIONS });
    let prompt = &prompts()["p130"];
    let mut cache = rig.model.open(&mut rig.cpu).expect("a session");
    let mut feed = |rig: &mut Rig, tokens: &[TokenId]| {
        let feed = Feed { cache: &mut cache, tokens, outputs: 1 };
        rig.model.forward(&mut rig.cpu, &mut [feed]).map(|()| rig.model.logits(&mut rig.cpu))
    };
    let message = feed(&mut rig, &[TokenId(3), TokenId(512)]).unwrap_err().to_string();
    assert_eq!(message, "token 512 is not in the vocabulary (0 to 511)");
    feed(&mut rig, prompt).expect("a step");
    let message = feed(&mut rig, prompt).unwrap_err().to_string();
    assert!(message.contains("beyond the context of 256 tokens"), "{message}");
    // The session is as if the refused feeds had never been.
    let logits = feed(&mut rig, &prompt[..1]).expect("a step");
    let mut whole = prompt.clone();
    whole.push(prompt[0]);
    let message = rig.model.open(&mut rig.cpu).unwrap_err().to_string();
    assert_eq!(message, "all 1 sessions are in use");
    let mut other = Rig::new(&tiny(), RowFormat::Packed);
    let want = other.feed(&whole, 1024);
    assert_eq!(logits, other.tail(&want, 1));
}
