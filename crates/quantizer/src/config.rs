//! `config.json`: the published names of a model's numbers.
//!
//! Owns the table between those names and the keys that [`Shape::from_facts`] reads. The bounds are
//! those of `spec`; problems are told in the names of this file, which are the ones a person sees
//! when opening it. What `config.json` leaves out has the family's common value, as in a GGUF file.

use std::path::Path;

use serde_json::Value;
use spec::{Fact, Shape};

use crate::checkpoint::read_bounded;
use crate::error::Error;

/// Real ones have two kilobytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Name in `config.json` (a dot leads into an object), key in a GGUF file.
const KEYS: [(&str, &str); 32] = [
    ("num_hidden_layers", "deepseek4.block_count"),
    ("max_position_embeddings", "deepseek4.context_length"),
    ("hidden_size", "deepseek4.embedding_length"),
    ("vocab_size", "deepseek4.vocab_size"),
    ("num_attention_heads", "deepseek4.attention.head_count"),
    ("num_key_value_heads", "deepseek4.attention.head_count_kv"),
    ("head_dim", "deepseek4.attention.key_length"),
    ("qk_rope_head_dim", "deepseek4.rope.dimension_count"),
    ("q_lora_rank", "deepseek4.attention.q_lora_rank"),
    ("o_lora_rank", "deepseek4.attention.output_lora_rank"),
    ("o_groups", "deepseek4.attention.output_group_count"),
    ("sliding_window", "deepseek4.attention.sliding_window"),
    ("compress_ratios", "deepseek4.attention.compress_ratios"),
    ("index_n_heads", "deepseek4.attention.indexer.head_count"),
    ("index_head_dim", "deepseek4.attention.indexer.key_length"),
    ("index_topk", "deepseek4.attention.indexer.top_k"),
    ("n_routed_experts", "deepseek4.expert_count"),
    ("num_experts_per_tok", "deepseek4.expert_used_count"),
    ("n_shared_experts", "deepseek4.expert_shared_count"),
    ("moe_intermediate_size", "deepseek4.expert_feed_forward_length"),
    ("num_hash_layers", "deepseek4.hash_layer_count"),
    ("routed_scaling_factor", "deepseek4.expert_weights_scale"),
    ("norm_topk_prob", "deepseek4.expert_weights_norm"),
    ("swiglu_limit", "deepseek4.swiglu_clamp_exp"),
    ("hc_mult", "deepseek4.hyper_connection.count"),
    ("hc_sinkhorn_iters", "deepseek4.hyper_connection.sinkhorn_iterations"),
    ("hc_eps", "deepseek4.hyper_connection.epsilon"),
    ("rms_norm_eps", "deepseek4.attention.layer_norm_rms_epsilon"),
    ("rope_theta", "deepseek4.rope.freq_base"),
    ("compress_rope_theta", "deepseek4.attention.compress_rope_freq_base"),
    ("n_group", "deepseek4.expert_group_count"),
    ("topk_group", "deepseek4.expert_group_used_count"),
];

/// The YaRN numbers, which are in an object of their own.
const YARN_KEYS: [(&str, &str); 4] = [
    ("rope_scaling.factor", "deepseek4.rope.scaling.factor"),
    ("rope_scaling.beta_fast", "deepseek4.rope.scaling.yarn_beta_fast"),
    ("rope_scaling.beta_slow", "deepseek4.rope.scaling.yarn_beta_slow"),
    (
        "rope_scaling.original_max_position_embeddings",
        "deepseek4.rope.scaling.original_context_length",
    ),
];

/// Keys whose other values mean a computation that is not this family's. They may be absent.
const FIXED_TEXTS: [(&str, &str); 4] = [
    ("scoring_func", "sqrtsoftplus"),
    ("hidden_act", "silu"),
    ("rope_scaling.type", "yarn"),
    ("rope_scaling.rope_type", "yarn"),
];

/// As [`FIXED_TEXTS`], for keys that are true or false.
const FIXED_FLAGS: [(&str, bool); 2] = [("attention_bias", false), ("tie_word_embeddings", false)];

/// Reads the shape of the model in a checkpoint folder.
pub(crate) fn read_shape(folder: &Path) -> Result<Shape, Error> {
    let path = folder.join("config.json");
    if !path.exists() {
        let problem = "not found; a checkpoint folder has a config.json beside its safetensors";
        return Err(Error::file(&path, problem));
    }
    let text = read_bounded(&path, CONFIG_BYTES_MAX)?;
    let json: Value = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("malformed: {error}")))?;
    shape(&json).map_err(|problems| Error::Config { file: path.display().to_string(), problems })
}

/// The shape that a configuration states, or everything that is wrong with it.
fn shape(json: &Value) -> Result<Shape, Vec<String>> {
    let mut problems = other_variants(json);
    let facts = |key: &str| match key {
        "general.architecture" => Some(Fact::Text("deepseek4".to_owned())),
        _ => find(json, name_of(key)?).map(fact),
    };
    match Shape::from_facts(&facts, 0) {
        Ok(shape) if problems.is_empty() => return Ok(shape),
        Ok(_) => {}
        Err(error) => problems.extend(error.problems.into_iter().map(|problem| {
            let name = name_of(&problem.key).unwrap_or(&problem.key);
            format!("{name}: {}", problem.message)
        })),
    }
    Err(problems)
}

/// What would be computed differently for this model, and so wrongly here.
fn other_variants(json: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let model_type = find(json, "model_type");
    if model_type.and_then(Value::as_str) != Some("deepseek_v4") {
        let found = model_type.map_or("nothing".to_owned(), Value::to_string);
        problems.push(format!(
            "model_type: expected \"deepseek_v4\", found {found} \
             (this engine runs DeepSeek V4 only)"
        ));
    }
    let texts = FIXED_TEXTS.map(|(name, text)| (name, Value::from(text)));
    let flags = FIXED_FLAGS.map(|(name, flag)| (name, Value::from(flag)));
    for (name, expected) in texts.into_iter().chain(flags) {
        if let Some(found) = find(json, name).filter(|found| **found != expected) {
            problems.push(format!("{name}: expected {expected}, found {found}"));
        }
    }
    problems
}

fn name_of(key: &str) -> Option<&'static str> {
    let mut table = KEYS.iter().chain(&YARN_KEYS);
    table.find(|(_, gguf_key)| *gguf_key == key).map(|(name, _)| *name)
}

/// The value under a dotted name; `null` counts as absent.
fn find<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    let mut steps = name.split('.');
    steps.try_fold(json, |json, step| json.get(step)).filter(|value| !value.is_null())
}

/// A JSON value as a fact. What has no kind of its own becomes a text, so that the complaint about
/// it is made where all others are.
fn fact(value: &Value) -> Fact {
    let other = || Fact::Text(value.to_string());
    match value {
        Value::Bool(flag) => Fact::Flag(*flag),
        Value::String(text) => Fact::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Fact::Integer(integer),
            (None, Some(float)) => Fact::Float(float),
            (None, None) => other(),
        },
        Value::Array(values) => {
            let integers: Option<Vec<_>> = values.iter().map(Value::as_i64).collect();
            let floats = || values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
            integers
                .map(Fact::Integers)
                .or_else(|| floats().map(Fact::Floats))
                .unwrap_or_else(other)
        }
        Value::Null | Value::Object(_) => other(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of Flash under their published names; 44 ratios, the last the draft layer's.
    fn flash() -> Value {
        let mut ratios = vec![0, 0];
        ratios.extend((2..43).map(|layer| if layer % 2 == 0 { 4 } else { 128 }));
        ratios.push(0);
        serde_json::json!({
            "model_type": "deepseek_v4", "num_hidden_layers": 43, "hidden_size": 4096,
            "vocab_size": 129280, "num_attention_heads": 64, "num_key_value_heads": 1,
            "head_dim": 512, "qk_rope_head_dim": 64, "q_lora_rank": 1024, "o_lora_rank": 1024,
            "o_groups": 8, "sliding_window": 128, "compress_ratios": ratios,
            "index_n_heads": 64, "index_head_dim": 128, "index_topk": 512,
            "n_routed_experts": 256, "num_experts_per_tok": 6, "n_shared_experts": 1,
            "moe_intermediate_size": 2048, "num_hash_layers": 3, "routed_scaling_factor": 1.5,
            "norm_topk_prob": true, "swiglu_limit": 10.0, "hc_mult": 4, "hc_sinkhorn_iters": 20,
            "hc_eps": 1e-6, "rms_norm_eps": 1e-6, "rope_theta": 10000,
            "compress_rope_theta": 160000, "max_position_embeddings": 1048576,
            "rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                             "original_max_position_embeddings": 65536},
            "scoring_func": "sqrtsoftplus", "hidden_act": "silu", "n_group": null,
            "num_nextn_predict_layers": 1
        })
    }

    #[test]
    fn the_published_names_state_flash() {
        assert_eq!(shape(&flash()), Ok(Shape::flash()));
    }

    /// Every number is read, and not taken from the family's defaults: another value changes the
    /// shape or is refused, in the words of the file.
    #[test]
    fn every_key_is_read() {
        for (name, _) in KEYS.iter().chain(&YARN_KEYS) {
            let mut json = flash();
            let object = match name.split_once('.') {
                Some((outer, _)) => &mut json[outer],
                None => &mut json,
            };
            let value = &mut object[name.rsplit('.').next().unwrap()];
            *value = match value {
                Value::Bool(flag) => Value::from(!*flag),
                Value::Array(values) => values.iter().skip(1).cloned().collect(),
                Value::Null => Value::from(8),
                Value::Number(number) if number.is_f64() => {
                    Value::from(number.as_f64().unwrap() * 1.5)
                }
                Value::Number(number) => Value::from(number.as_i64().unwrap() / 2),
                other => panic!("{name} is {other}"),
            };
            match shape(&json) {
                Ok(other) => assert_ne!(other, Shape::flash(), "{name} was not read"),
                Err(problems) => {
                    let foreign = problems.iter().find(|p| p.starts_with("deepseek4."));
                    assert_eq!(foreign, None, "{name}");
                }
            }
        }
    }

    #[test]
    fn problems_carry_the_names_of_the_file() {
        let mut json = flash();
        json.as_object_mut().unwrap().remove("hidden_size");
        json["rope_scaling"]["factor"] = Value::from("x");
        json["scoring_func"] = Value::from("softmax");
        json["compress_ratios"] = serde_json::json!([0, "4"]);
        let problems = shape(&json).unwrap_err().join("; ");
        for expected in [
            "scoring_func: expected \"sqrtsoftplus\", found \"softmax\"",
            "hidden_size: missing",
            "rope_scaling.factor: expected a number, found a text",
            "compress_ratios: expected a list of integers, found a text",
        ] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
        assert!(!problems.contains("deepseek4."), "{problems}");
    }

    #[test]
    fn another_model_is_refused_by_name() {
        let problems = shape(&serde_json::json!({"model_type": "llama"})).unwrap_err();
        assert!(problems[0].contains("expected \"deepseek_v4\", found \"llama\""), "{problems:?}");
    }
}
