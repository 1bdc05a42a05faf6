//! From stated facts to a checked [`Shape`], and back.
//!
//! Everything a file states is bounded here before any other crate computes with it: counts have
//! ceilings, widths that must divide do divide, ratios are known ones. All problems are collected,
//! so a person sees the whole list at once. Keys that older or foreign files leave out have the
//! family's common value.

use crate::{Fact, Facts, Indexer, LayerKind, Shape, Yarn};

/// Every way in which the stated facts are not a shape of the family.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct ShapeError {
    /// What is wrong, one entry per key.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The full key.
    pub key: String,
    /// What was expected there, and what was found.
    pub message: String,
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
    lines.join("; ")
}

const PREFIX: &str = "deepseek4.";

impl Shape {
    /// Reads and checks a shape.
    ///
    /// `draft_layers` is how many of the stated `block_count` layers are draft layers stored after
    /// the main ones (some converters count them in); they are left out of the shape.
    ///
    /// # Errors
    /// All missing keys and all values out of bounds, in one error.
    pub fn from_facts(facts: &dyn Facts, draft_layers: usize) -> Result<Shape, ShapeError> {
        let mut r = Reader { facts, problems: Vec::new() };
        r.architecture();
        let layers = r.layers(draft_layers);
        let kinds = r.kinds(layers);
        let indexed = kinds.contains(&LayerKind::Indexed);
        let indexer = indexed.then(|| Indexer {
            heads: r.count("attention.indexer.head_count", None, 1..=256),
            dim: r.count("attention.indexer.key_length", None, 32..=1024),
            top_k: r.count("attention.indexer.top_k", None, 1..=65_536),
        });
        let shape = Shape {
            layers,
            hidden: r.count("embedding_length", None, 1..=65_536),
            vocab: r.count("vocab_size", None, 1..=1 << 20),
            heads: r.count("attention.head_count", None, 1..=1024),
            head_dim: r.count("attention.key_length", None, 1..=1024),
            rotary_dim: r.count("rope.dimension_count", Some(64), 2..=1024),
            query_latent: r.count("attention.q_lora_rank", None, 1..=65_536),
            output_groups: r.count("attention.output_group_count", None, 1..=1024),
            output_latent: r.count("attention.output_lora_rank", None, 1..=65_536),
            window: r.count("attention.sliding_window", Some(128), 1..=1024),
            kinds,
            indexer,
            experts: r.count("expert_count", None, 1..=4096),
            experts_used: r.count("expert_used_count", None, 1..=32),
            expert_inner: r.count("expert_feed_forward_length", None, 1..=65_536),
            hash_layers: r.count("hash_layer_count", Some(0), 0..=layers),
            route_scale: r.real("expert_weights_scale", 1.5, 1e-3..=1e3) as f32,
            swiglu_clamp: r.clamps(layers),
            streams: r.count("hyper_connection.count", Some(4), 1..=16),
            sinkhorn_iterations: r.count("hyper_connection.sinkhorn_iterations", Some(20), 1..=100),
            hyper_eps: r.real("hyper_connection.epsilon", 1e-6, 1e-9..=1e-2) as f32,
            rms_eps: r.real("attention.layer_norm_rms_epsilon", 1e-6, 0.0..=1e-2) as f32,
            rope_base: r.real("rope.freq_base", 10_000.0, 2.0..=1e12),
            compressed_rope_base: r.real(
                "attention.compress_rope_freq_base",
                160_000.0,
                2.0..=1e12,
            ),
            yarn: r.yarn(),
            context_max: r.count("context_length", Some(1 << 20), 1..=1 << 24),
        };
        r.refuse_other_variants(&shape);
        r.cross_rules(&shape);
        if r.problems.is_empty() { Ok(shape) } else { Err(ShapeError { problems: r.problems }) }
    }

    /// The shape as facts, under the keys that [`Shape::from_facts`] reads.
    pub fn to_facts(&self) -> Vec<(String, Fact)> {
        let ratios = self.kinds.iter().map(|k| k.ratio().unwrap_or(0) as i64).collect();
        let clamps = self.swiglu_clamp.iter().map(|&c| c as f64).collect();
        let mut out = vec![("general.architecture".to_owned(), Fact::Text("deepseek4".to_owned()))];
        let mut put = |key: &str, fact: Fact| out.push((format!("{PREFIX}{key}"), fact));
        for (key, value) in self.counts() {
            put(key, Fact::Integer(value as i64));
        }
        for (key, value) in self.reals() {
            put(key, value);
        }
        put("attention.compress_ratios", Fact::Integers(ratios));
        put("swiglu_clamp_exp", Fact::Floats(clamps));
        put("rope.scaling.type", Fact::Text("yarn".to_owned()));
        put("expert_weights_norm", Fact::Flag(true));
        out
    }

    fn counts(&self) -> Vec<(&'static str, usize)> {
        let mut out = vec![
            ("block_count", self.layers),
            ("context_length", self.context_max),
            ("embedding_length", self.hidden),
            ("vocab_size", self.vocab),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", 1),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.rotary_dim),
            ("attention.q_lora_rank", self.query_latent),
            ("attention.output_lora_rank", self.output_latent),
            ("attention.output_group_count", self.output_groups),
            ("expert_count", self.experts),
            ("expert_used_count", self.experts_used),
            ("expert_shared_count", 1),
            ("expert_feed_forward_length", self.expert_inner),
            ("hash_layer_count", self.hash_layers),
            ("attention.sliding_window", self.window),
            ("hyper_connection.count", self.streams),
            ("hyper_connection.sinkhorn_iterations", self.sinkhorn_iterations),
            ("rope.scaling.original_context_length", self.yarn.original_context),
        ];
        if let Some(indexer) = &self.indexer {
            out.push(("attention.indexer.head_count", indexer.heads));
            out.push(("attention.indexer.key_length", indexer.dim));
            out.push(("attention.indexer.top_k", indexer.top_k));
        }
        out
    }

    fn reals(&self) -> Vec<(&'static str, Fact)> {
        vec![
            ("rope.freq_base", Fact::Float(self.rope_base)),
            ("attention.compress_rope_freq_base", Fact::Float(self.compressed_rope_base)),
            ("rope.scaling.factor", Fact::Float(self.yarn.factor)),
            ("rope.scaling.yarn_beta_fast", Fact::Float(self.yarn.beta_fast)),
            ("rope.scaling.yarn_beta_slow", Fact::Float(self.yarn.beta_slow)),
            ("expert_weights_scale", self.route_scale.into()),
            ("attention.layer_norm_rms_epsilon", self.rms_eps.into()),
            ("hyper_connection.epsilon", self.hyper_eps.into()),
        ]
    }
}

struct Reader<'a> {
    facts: &'a dyn Facts,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, message: String) {
        let key = if key.starts_with("general.") { key.into() } else { format!("{PREFIX}{key}") };
        self.problems.push(Problem { key, message });
    }

    fn fact(&self, key: &str) -> Option<Fact> {
        self.facts.fact(&format!("{PREFIX}{key}"))
    }

    fn architecture(&mut self) {
        match self.facts.fact("general.architecture") {
            Some(Fact::Text(name)) if name == "deepseek4" => {}
            Some(Fact::Text(name)) => self.problem(
                "general.architecture",
                format!(
                    "expected \"deepseek4\", found {name:?} (this engine runs DeepSeek V4 only)"
                ),
            ),
            _ => self.problem("general.architecture", "missing, expected \"deepseek4\"".into()),
        }
    }

    /// An integer within `range`. On a problem, notes it and returns the range's start, so that
    /// reading goes on and finds the other problems too.
    fn count(
        &mut self,
        key: &str,
        default: Option<usize>,
        range: std::ops::RangeInclusive<usize>,
    ) -> usize {
        let value = match (self.fact(key), default) {
            (Some(Fact::Integer(value)), _) => value,
            (None, Some(default)) => default as i64,
            (None, None) => {
                self.problem(key, "missing".into());
                return *range.start();
            }
            (Some(other), _) => {
                self.problem(key, format!("expected an integer, found {}", other.kind()));
                return *range.start();
            }
        };
        match usize::try_from(value) {
            Ok(count) if range.contains(&count) => count,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.problem(key, format!("expected {low} to {high}, found {value}"));
                *range.start()
            }
        }
    }

    /// A number within `range`; files may state it as an integer.
    fn real(&mut self, key: &str, default: f64, range: std::ops::RangeInclusive<f64>) -> f64 {
        let value = match self.fact(key) {
            None => return default,
            Some(Fact::Float(value)) => value,
            Some(Fact::Integer(value)) => value as f64,
            Some(other) => {
                self.problem(key, format!("expected a number, found {}", other.kind()));
                return default;
            }
        };
        if range.contains(&value) {
            return value;
        }
        let (low, high) = (range.start(), range.end());
        self.problem(key, format!("expected {low} to {high}, found {value}"));
        default
    }

    /// Main layers: the stated ones without the draft layers among them.
    fn layers(&mut self, draft_layers: usize) -> usize {
        let stated = self.count("block_count", None, 1..=1024);
        if draft_layers >= stated {
            let message = format!("expected fewer than all {stated} layers, found {draft_layers}");
            self.problem("nextn_predict_layers", message);
        }
        stated.saturating_sub(draft_layers).max(1)
    }

    fn kinds(&mut self, layers: usize) -> Vec<LayerKind> {
        const KEY: &str = "attention.compress_ratios";
        let fallback = vec![LayerKind::Window; layers];
        let ratios = match self.fact(KEY) {
            Some(Fact::Integers(ratios)) => ratios,
            Some(other) => {
                self.problem(KEY, format!("expected a list of integers, found {}", other.kind()));
                return fallback;
            }
            None => {
                self.problem(KEY, "missing".into());
                return fallback;
            }
        };
        if ratios.len() < layers {
            self.problem(
                KEY,
                format!("expected one entry per layer ({layers}), found {}", ratios.len()),
            );
            return fallback;
        }
        let mut kinds = Vec::with_capacity(layers);
        for (layer, &ratio) in ratios.iter().take(layers).enumerate() {
            let kind = LayerKind::from_ratio(ratio);
            if kind.is_none() {
                self.problem(KEY, format!("layer {layer}: expected 0, 4 or 128, found {ratio}"));
            }
            kinds.push(kind.unwrap_or(LayerKind::Window));
        }
        kinds
    }

    fn clamps(&mut self, layers: usize) -> Vec<f32> {
        self.clamps_at("swiglu_clamp_exp", layers).unwrap_or_else(|| vec![10.0; layers])
    }

    /// One clamp per layer, stated as a list or as one number for all.
    fn clamps_at(&mut self, key: &str, layers: usize) -> Option<Vec<f32>> {
        let clamps = match self.fact(key)? {
            Fact::Float(value) => vec![value; layers],
            Fact::Integer(value) => vec![value as f64; layers],
            Fact::Floats(values) => values,
            Fact::Integers(values) => values.into_iter().map(|v| v as f64).collect(),
            other => {
                self.problem(key, format!("expected numbers, found {}", other.kind()));
                return None;
            }
        };
        let found = clamps.len();
        let clamps: Vec<f64> = clamps.into_iter().take(layers).collect();
        if clamps.len() < layers {
            self.problem(key, format!("expected one entry per layer ({layers}), found {found}"));
            return None;
        }
        if let Some(bad) = clamps.iter().find(|c| !(1e-3..=1e6).contains(*c)) {
            self.problem(key, format!("expected 0.001 to 1000000, found {bad}"));
        }
        Some(clamps.into_iter().map(|c| c as f32).collect())
    }

    fn yarn(&mut self) -> Yarn {
        Yarn {
            factor: self.real("rope.scaling.factor", 16.0, 1.0..=1e6),
            beta_fast: self.real("rope.scaling.yarn_beta_fast", 32.0, 1e-3..=1e6),
            beta_slow: self.real("rope.scaling.yarn_beta_slow", 1.0, 1e-3..=1e6),
            original_context: self.count(
                "rope.scaling.original_context_length",
                Some(65_536),
                1..=1 << 30,
            ),
        }
    }

    /// Keys whose other values mean a different computation, which we would get silently wrong.
    fn refuse_other_variants(&mut self, shape: &Shape) {
        let fixed = [
            ("attention.head_count_kv", 1),
            ("attention.value_length", shape.head_dim),
            ("expert_shared_count", 1),
        ];
        for (key, expected) in fixed {
            let found = self.count(key, Some(expected), 0..=1 << 20);
            if found != expected {
                self.problem(key, format!("expected {expected}, found {found}"));
            }
        }
        for key in ["expert_group_count", "expert_group_used_count"] {
            let found = self.count(key, Some(0), 0..=1 << 20);
            if found > 1 {
                self.problem(
                    key,
                    format!("expert groups are not part of this family, found {found}"),
                );
            }
        }
        match self.fact("expert_weights_norm") {
            None | Some(Fact::Flag(true) | Fact::Integer(1)) => {}
            Some(other) => {
                self.problem("expert_weights_norm", format!("expected true, found {other:?}"));
            }
        }
        match self.fact("rope.scaling.type") {
            None => {}
            Some(Fact::Text(name)) if name == "yarn" => {}
            Some(other) => {
                self.problem("rope.scaling.type", format!("expected \"yarn\", found {other:?}"));
            }
        }
        // Some files state the shared expert's clamp apart; in this family it is the same.
        let shared = self.clamps_at("swiglu_clamp_shexp", shape.layers);
        if shared.is_some_and(|clamps| clamps != shape.swiglu_clamp) {
            let message = "the shared expert must have the clamp of the routed ones";
            self.problem("swiglu_clamp_shexp", message.into());
        }
        let gating = self.count("expert_gating_func", Some(4), 0..=1 << 20);
        if gating != 4 {
            self.problem(
                "expert_gating_func",
                format!("expected 4 (sqrt-softplus), found {gating}"),
            );
        }
    }

    /// What must hold between numbers for the formulas to make sense.
    fn cross_rules(&mut self, shape: &Shape) {
        let mut rule = |holds: bool, key: &str, message: String| {
            if !holds {
                self.problem(key, message);
            }
        };
        let (head, rotary) = (shape.head_dim, shape.rotary_dim);
        rule(
            rotary % 2 == 0 && rotary < head && (head - rotary) % 64 == 0,
            "attention.key_length",
            format!(
                "a head of {head} with {rotary} rotary channels: the rotary part must be even and \
                 smaller than the head, the rest a multiple of 64"
            ),
        );
        rule(
            shape.heads.is_multiple_of(shape.output_groups),
            "attention.output_group_count",
            format!("{} heads do not split into {} groups", shape.heads, shape.output_groups),
        );
        rule(
            shape.experts_used <= shape.experts,
            "expert_used_count",
            format!("{} of {} experts cannot be used", shape.experts_used, shape.experts),
        );
        if let Some(Indexer { dim, .. }) = shape.indexer {
            rule(
                dim.is_power_of_two() && dim % 32 == 0 && dim > rotary,
                "attention.indexer.key_length",
                format!("expected a power of two above {rotary}, found {dim}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn facts(shape: &Shape) -> HashMap<String, Fact> {
        shape.to_facts().into_iter().collect()
    }

    fn read(map: &HashMap<String, Fact>) -> Result<Shape, ShapeError> {
        Shape::from_facts(&|key: &str| map.get(key).cloned(), 0)
    }

    #[test]
    fn published_shapes_survive_the_round_trip() {
        for shape in [Shape::flash(), Shape::pro()] {
            assert_eq!(read(&facts(&shape)), Ok(shape));
        }
    }

    #[test]
    fn every_cut_of_a_published_shape_is_a_shape() {
        for shape in [Shape::flash(), Shape::pro()] {
            for layers in 1..=shape.layers {
                let cut = shape.first_layers(layers);
                assert_eq!(read(&facts(&cut)), Ok(cut), "{layers} layers");
            }
            assert_eq!(shape.first_layers(shape.layers), shape);
        }
        let four = Shape::flash().first_layers(4);
        use LayerKind::*;
        assert_eq!((four.kinds, four.hash_layers), (vec![Window, Window, Indexed, Compressed], 3));
        assert_eq!(Shape::flash().first_layers(2).indexer, None);
    }

    #[test]
    fn all_missing_keys_come_in_one_error() {
        let mut map = facts(&Shape::flash());
        map.remove("deepseek4.block_count");
        map.remove("deepseek4.expert_count");
        map.remove("deepseek4.attention.indexer.top_k");
        // Without a layer count one layer is assumed, which needs no indexer.
        let message = read(&map).unwrap_err().to_string();
        assert!(message.contains("deepseek4.block_count: missing"), "{message}");
        assert!(message.contains("deepseek4.expert_count: missing"), "{message}");
    }

    #[test]
    fn optional_keys_have_the_familys_values() {
        let mut map = facts(&Shape::flash());
        for key in ["rope.freq_base", "rope.scaling.factor", "swiglu_clamp_exp", "context_length"] {
            assert!(map.remove(&format!("deepseek4.{key}")).is_some());
        }
        assert_eq!(read(&map), Ok(Shape::flash()));
    }

    #[test]
    fn values_out_of_bounds_are_named_with_what_was_expected() {
        let cases = [
            ("block_count", Fact::Integer(0), "expected 1 to 1024, found 0"),
            ("block_count", Fact::Integer(i64::MAX), "expected 1 to 1024"),
            ("embedding_length", Fact::Integer(-1), "expected 1 to 65536, found -1"),
            ("embedding_length", Fact::Text("x".into()), "expected an integer, found a text"),
            ("rope.freq_base", Fact::Float(f64::NAN), "expected 2 to"),
            ("attention.compress_ratios", Fact::Integers(vec![0, 4]), "one entry per layer (43)"),
            ("attention.compress_ratios", Fact::Integers(vec![7; 43]), "layer 0: expected 0, 4 or"),
            ("attention.head_count_kv", Fact::Integer(8), "expected 1, found 8"),
            ("attention.key_length", Fact::Integer(500), "a head of 500 with 64 rotary"),
            ("attention.output_group_count", Fact::Integer(7), "do not split into 7 groups"),
            ("expert_used_count", Fact::Integer(33), "expected 1 to 32"),
            ("hash_layer_count", Fact::Integer(900), "expected 0 to 43, found 900"),
            ("swiglu_clamp_exp", Fact::Floats(vec![10.0; 42]), "one entry per layer (43)"),
            ("swiglu_clamp_exp", Fact::Floats(vec![0.0; 43]), "expected 0.001 to"),
            ("swiglu_clamp_shexp", Fact::Float(7.0), "the clamp of the routed ones"),
            ("rope.scaling.type", Fact::Text("none".into()), "expected \"yarn\""),
            ("expert_weights_norm", Fact::Integer(0), "expected true"),
            ("attention.indexer.key_length", Fact::Integer(96), "power of two"),
            ("expert_weights_norm", Fact::Flag(false), "expected true"),
        ];
        for (key, value, expected) in cases {
            let mut map = facts(&Shape::flash());
            map.insert(format!("deepseek4.{key}"), value);
            match read(&map) {
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(expected), "{key}: {message}");
                    assert!(message.contains(key), "{message}");
                }
                Ok(_) => panic!("{key} was accepted"),
            }
        }
    }

    #[test]
    fn more_experts_cannot_be_used_than_there_are() {
        let mut map = facts(&Shape::flash());
        map.insert("deepseek4.expert_count".into(), Fact::Integer(5));
        let message = read(&map).unwrap_err().to_string();
        assert_eq!(message, "deepseek4.expert_used_count: 6 of 5 experts cannot be used");
    }

    #[test]
    fn draft_layers_are_left_out_with_their_clamps() {
        let mut map = facts(&Shape::flash());
        map.insert("deepseek4.block_count".into(), Fact::Integer(44));
        let mut ratios = vec![0i64, 0];
        ratios.extend((2..43).map(|i| if i % 2 == 0 { 4 } else { 128 }));
        ratios.push(0);
        map.insert("deepseek4.attention.compress_ratios".into(), Fact::Integers(ratios));
        let mut clamps = vec![10.0; 43];
        clamps.push(0.0);
        map.insert("deepseek4.swiglu_clamp_exp".into(), Fact::Floats(clamps));
        let read = |drafts| Shape::from_facts(&|key: &str| map.get(key).cloned(), drafts);
        assert_eq!(read(1), Ok(Shape::flash()));
        let message = read(44).unwrap_err().to_string();
        assert!(message.contains("expected fewer than all 44 layers, found 44"), "{message}");
    }

    #[test]
    fn another_architecture_is_refused_by_name() {
        let mut map = facts(&Shape::flash());
        map.insert("general.architecture".into(), Fact::Text("llama".into()));
        let message = read(&map).unwrap_err().to_string();
        assert!(message.contains("expected \"deepseek4\", found \"llama\""), "{message}");
    }
}
