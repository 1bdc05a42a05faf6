//! How many bytes of weights a decoded token reads.
//!
//! Every matrix once, of the stacks of routed experts the share that a token uses, of the tables by
//! token id or position (embedding, routing tables, position embeddings) one row. Vectors are too
//! few to count, a five-thousandth in Flash, and KV rows are not weights.

use spec::{Class, Shape};

/// Bytes of weights per token, for a file in which the tensor of a name has `byte_count` bytes; 0
/// for one that is not there.
pub fn weight_bytes(shape: &Shape, byte_count: impl Fn(&str) -> u64) -> u64 {
    let bytes = |spec: spec::TensorSpec| {
        let bytes = byte_count(&spec.name);
        match spec.class {
            Class::Embedding | Class::RouteTable => bytes / shape.vocab as u64,
            Class::ExpertGateUp | Class::ExpertDown => {
                bytes / shape.experts as u64 * shape.experts_used as u64
            }
            class if class.is_vector() => 0,
            _ if spec.name.ends_with("_ape.weight") => bytes / spec.dims[1] as u64,
            _ => bytes,
        }
    };
    spec::tensors(shape).into_iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use quantizer::{Synth, SynthOptions, SynthRecipe};

    use super::*;

    /// Worked out apart from this code, from the dimensions of Flash: in GB, without rows of
    /// tables, which are 0.1 MB and may move the last digit.
    #[test]
    fn flash_reads_what_was_worked_out_on_paper() {
        let cases = [
            (SynthRecipe::Q2, 9.554, 0.001),
            (SynthRecipe::Q4, 11.38, 0.005),
            (SynthRecipe::Mxfp4, 11.18, 0.005),
        ];
        for (recipe, expected, tolerance) in cases {
            let name = String::new();
            let shape = Shape::flash();
            let options = SynthOptions { shape, recipe, seed: 0, name, tokenizer: None };
            let plan = Synth::new(options).unwrap();
            let sizes: HashMap<_, _> =
                plan.tensors().iter().map(|t| (t.name.clone(), t.byte_count)).collect();
            let found = weight_bytes(&Shape::flash(), |name| sizes[name]) as f64 / 1e9;
            assert!((found - expected).abs() < tolerance, "{recipe}: {found}");
        }
    }

    /// A small shape, counted by hand: only what a token uses of stacks and tables.
    #[test]
    fn experts_and_tables_count_by_use() {
        let shape =
            Shape { vocab: 10, experts: 8, experts_used: 2, ..Shape::flash().first_layers(1) };
        let only = |wanted: &'static str| {
            weight_bytes(&shape, |name| if name == wanted { 8000 } else { 0 })
        };
        assert_eq!(only("token_embd.weight"), 800);
        assert_eq!(only("blk.0.ffn_gate_tid2eid.weight"), 800);
        assert_eq!(only("blk.0.ffn_up_exps.weight"), 2000);
        assert_eq!(only("blk.0.ffn_up_shexp.weight"), 8000);
        assert_eq!(only("output.weight"), 8000);
        assert_eq!(only("blk.0.attn_norm.weight"), 0);
        assert_eq!(only("blk.1.attn_kv.weight"), 0, "there is one layer only");
    }
}
