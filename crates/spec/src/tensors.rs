//! The tensors of a model: name, dimensions, role, and what each is called in the published
//! checkpoint.
//!
//! This is the one table that loading, quantizing and inspecting share. Dimensions are in file
//! order (`dims[0]` is the fastest, a matrix's input width), names are those of GGUF architecture
//! `deepseek4`; checkpoint names are the published ones.

use crate::{LayerKind, Routing, Shape};

/// What a tensor is for. Recipes choose a block format per class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The token embedding, `[V, D]`.
    Embedding,
    /// The output head, `[V, D]`.
    Head,
    /// Weights of a root-mean-square norm; a vector, kept in F32.
    Norm,
    /// A matrix that computes the stream mix, `[mix_width, n·D]`.
    HyperMatrix,
    /// Base or scale of a stream mix; a vector, kept in F32.
    HyperVector,
    /// One attention sink per head; a vector, kept in F32.
    Sinks,
    /// A query, key-value or output projection of attention.
    Attention,
    /// A matrix or position table of a compressor of attention rows.
    Compressor,
    /// A matrix or position table of the indexer, its own compressor included.
    Indexer,
    /// The router's matrix, `[E, D]`.
    Router,
    /// The router's selection bias, `[E]`; a missing one means zero.
    RouteBias,
    /// Token id to expert ids, `[V, K]` 32-bit integers.
    RouteTable,
    /// The stacked gate or up matrices of the routed experts, `[E, F, D]`.
    ExpertGateUp,
    /// The stacked down matrices of the routed experts, `[E, D, F]`.
    ExpertDown,
    /// A matrix of the shared expert.
    SharedExpert,
}

impl Class {
    /// Whether the tensor is a plain vector that is always kept in F32.
    pub fn is_vector(self) -> bool {
        matches!(self, Class::Norm | Class::HyperVector | Class::Sinks | Class::RouteBias)
    }
}

/// Where a tensor's values are in the published checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One tensor of this name.
    One(String),
    /// One tensor per routed expert `e`, named `{before}{e}{after}`, stacked in order.
    PerExpert {
        /// The name up to the expert's number.
        before: String,
        /// The name after it.
        after: String,
    },
}

/// One tensor that a model of some shape has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file, for example `blk.3.attn_q_a.weight`.
    pub name: String,
    /// Dimensions in file order: `dims[0]` is the input width.
    pub dims: Vec<usize>,
    /// Its role.
    pub class: Class,
    /// Where the checkpoint has it.
    pub source: Source,
}

/// Every tensor of a model of this shape, in file order.
pub fn tensors(shape: &Shape) -> Vec<TensorSpec> {
    let mut table = Table { prefix: String::new(), source_prefix: String::new(), out: Vec::new() };
    let (d, v, n) = (shape.hidden, shape.vocab, shape.streams);
    table.add("token_embd.weight", &[d, v], Class::Embedding, "embed.weight");
    table.add("output_norm.weight", &[d], Class::Norm, "norm.weight");
    table.add("output.weight", &[d, v], Class::Head, "head.weight");
    table.add("output_hc_fn.weight", &[n * d, n], Class::HyperMatrix, "hc_head_fn");
    table.add("output_hc_base.weight", &[n], Class::HyperVector, "hc_head_base");
    table.add("output_hc_scale.weight", &[1], Class::HyperVector, "hc_head_scale");
    for layer in 0..shape.layers {
        table.prefix = format!("blk.{layer}.");
        table.source_prefix = format!("layers.{layer}.");
        hyper_tensors(&mut table, shape);
        attention_tensors(&mut table, shape);
        compressor_tensors(&mut table, shape, shape.kinds[layer]);
        expert_tensors(&mut table, shape, shape.routing(layer));
    }
    table.out
}

fn hyper_tensors(table: &mut Table, shape: &Shape) {
    for half in ["attn", "ffn"] {
        let (input, mix) = (shape.streams * shape.hidden, shape.mix_width());
        let name = |part: &str| format!("hc_{half}_{part}");
        let file = |part: &str| format!("hc_{half}_{part}.weight");
        table.add(&file("fn"), &[input, mix], Class::HyperMatrix, &name("fn"));
        table.add(&file("base"), &[mix], Class::HyperVector, &name("base"));
        table.add(&file("scale"), &[3], Class::HyperVector, &name("scale"));
        let norm = format!("{half}_norm.weight");
        table.add(&norm, &[shape.hidden], Class::Norm, &norm);
    }
}

fn attention_tensors(table: &mut Table, shape: &Shape) {
    let (d, q, hd) = (shape.hidden, shape.query_latent, shape.head_dim);
    let (heads, groups) = (shape.heads, shape.output_groups);
    let low = groups * shape.output_latent;
    use Class::{Attention, Norm, Sinks};
    table.add("attn_q_a.weight", &[d, q], Attention, "attn.wq_a.weight");
    table.add("attn_q_a_norm.weight", &[q], Norm, "attn.q_norm.weight");
    table.add("attn_q_b.weight", &[q, heads * hd], Attention, "attn.wq_b.weight");
    table.add("attn_kv.weight", &[d, hd], Attention, "attn.wkv.weight");
    table.add("attn_kv_a_norm.weight", &[hd], Norm, "attn.kv_norm.weight");
    table.add("attn_sinks.weight", &[heads], Sinks, "attn.attn_sink");
    table.add("attn_output_a.weight", &[heads * hd / groups, low], Attention, "attn.wo_a.weight");
    table.add("attn_output_b.weight", &[low, d], Attention, "attn.wo_b.weight");
}

fn compressor_tensors(table: &mut Table, shape: &Shape, kind: LayerKind) {
    let Some(ratio) = kind.ratio() else { return };
    let (d, hd) = (shape.hidden, shape.head_dim);
    let mut compressor = |name: &str, source: &str, dim: usize, class: Class| {
        let width = dim * kind.overlap();
        let file = |part: &str| format!("{name}_{part}.weight");
        let from = |part: &str| format!("attn.{source}.{part}");
        table.add(&file("kv"), &[d, width], class, &from("wkv.weight"));
        table.add(&file("gate"), &[d, width], class, &from("wgate.weight"));
        table.add(&file("ape"), &[width, ratio], class, &from("ape"));
        table.add(&file("norm"), &[dim], Class::Norm, &from("norm.weight"));
    };
    compressor("attn_compressor", "compressor", hd, Class::Compressor);
    let (LayerKind::Indexed, Some(indexer)) = (kind, &shape.indexer) else { return };
    compressor("indexer_compressor", "indexer.compressor", indexer.dim, Class::Indexer);
    let queries = [shape.query_latent, indexer.heads * indexer.dim];
    table.add("indexer.attn_q_b.weight", &queries, Class::Indexer, "attn.indexer.wq_b.weight");
    let weights = [d, indexer.heads];
    table.add("indexer.proj.weight", &weights, Class::Indexer, "attn.indexer.weights_proj.weight");
}

fn expert_tensors(table: &mut Table, shape: &Shape, routing: Routing) {
    let (d, f, e) = (shape.hidden, shape.expert_inner, shape.experts);
    table.add("ffn_gate_inp.weight", &[d, e], Class::Router, "ffn.gate.weight");
    match routing {
        Routing::Hashed => {
            let dims = [shape.experts_used, shape.vocab];
            table.add("ffn_gate_tid2eid.weight", &dims, Class::RouteTable, "ffn.gate.tid2eid");
        }
        Routing::Learned => {
            table.add("exp_probs_b.bias", &[e], Class::RouteBias, "ffn.gate.bias");
        }
    }
    table.stack("ffn_gate_exps.weight", &[d, f, e], Class::ExpertGateUp, "w1");
    table.stack("ffn_up_exps.weight", &[d, f, e], Class::ExpertGateUp, "w3");
    table.stack("ffn_down_exps.weight", &[f, d, e], Class::ExpertDown, "w2");
    let mut shared = |name: &str, dims: [usize; 2], part: &str| {
        let source = format!("ffn.shared_experts.{part}.weight");
        table.add(name, &dims, Class::SharedExpert, &source);
    };
    shared("ffn_gate_shexp.weight", [d, f], "w1");
    shared("ffn_up_shexp.weight", [d, f], "w3");
    shared("ffn_down_shexp.weight", [f, d], "w2");
}

/// Collects the table; prefixes are those of the current layer.
struct Table {
    prefix: String,
    source_prefix: String,
    out: Vec<TensorSpec>,
}

impl Table {
    fn add(&mut self, name: &str, dims: &[usize], class: Class, source: &str) {
        let source = Source::One(format!("{}{source}", self.source_prefix));
        self.push(name, dims, class, source);
    }

    fn stack(&mut self, name: &str, dims: &[usize], class: Class, part: &str) {
        let source = Source::PerExpert {
            before: format!("{}ffn.experts.", self.source_prefix),
            after: format!(".{part}.weight"),
        };
        self.push(name, dims, class, source);
    }

    fn push(&mut self, name: &str, dims: &[usize], class: Class, source: Source) {
        let name = format!("{}{name}", self.prefix);
        self.out.push(TensorSpec { name, dims: dims.to_vec(), class, source });
    }
}

#[cfg(test)]
mod tests {
    use crate::{Shape, tensors};

    #[test]
    fn flash_has_the_published_number_of_tensors_and_parameters() {
        let shape = Shape::flash();
        assert_eq!(tensors(&shape).len(), 1328);
        let (total, active) = shape.parameters();
        assert!((total as f64 / 1e9 - 284.33).abs() < 0.01, "{total}");
        assert!((active as f64 / 1e9 - 13.27).abs() < 0.01, "{active}");
    }

    #[test]
    fn pro_has_the_published_number_of_parameters() {
        let (total, active) = Shape::pro().parameters();
        assert!((total as f64 / 1e9 - 1573.0).abs() < 1.0, "{total}");
        assert!((active as f64 / 1e9 - 48.85).abs() < 0.01, "{active}");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = tensors(&Shape::flash()).into_iter().map(|t| t.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
