//! The published shapes, as values.
//!
//! They are not used to decide how a model runs (that is what its file states); they give tools
//! something to write, `inspect` a name to print, and tests a full-size shape.

use crate::{Indexer, LayerKind, Shape, Yarn};

impl Shape {
    /// DeepSeek V4 Flash: 284 billion parameters, 13 billion active per token.
    pub fn flash() -> Shape {
        let kinds = (0..43).map(|i| match i {
            0 | 1 => LayerKind::Window,
            i if i % 2 == 0 => LayerKind::Indexed,
            _ => LayerKind::Compressed,
        });
        Shape {
            layers: 43,
            hidden: 4096,
            vocab: 129_280,
            heads: 64,
            head_dim: 512,
            rotary_dim: 64,
            query_latent: 1024,
            output_groups: 8,
            output_latent: 1024,
            window: 128,
            kinds: kinds.collect(),
            indexer: Some(Indexer { heads: 64, dim: 128, top_k: 512 }),
            experts: 256,
            experts_used: 6,
            expert_inner: 2048,
            hash_layers: 3,
            route_scale: 1.5,
            swiglu_clamp: vec![10.0; 43],
            streams: 4,
            sinkhorn_iterations: 20,
            hyper_eps: 1e-6,
            rms_eps: 1e-6,
            rope_base: 10_000.0,
            compressed_rope_base: 160_000.0,
            yarn: Yarn { factor: 16.0, beta_fast: 32.0, beta_slow: 1.0, original_context: 65_536 },
            context_max: 1_048_576,
        }
    }

    /// DeepSeek V4 Pro: 1.57 trillion parameters, 49 billion active per token.
    pub fn pro() -> Shape {
        let kinds = (0..61).map(|i| match i {
            0 | 1 => LayerKind::Compressed,
            i if i % 2 == 0 => LayerKind::Indexed,
            _ => LayerKind::Compressed,
        });
        Shape {
            layers: 61,
            hidden: 7168,
            heads: 128,
            query_latent: 1536,
            output_groups: 16,
            kinds: kinds.collect(),
            indexer: Some(Indexer { heads: 64, dim: 128, top_k: 1024 }),
            experts: 384,
            expert_inner: 3072,
            route_scale: 2.5,
            swiglu_clamp: vec![10.0; 61],
            ..Shape::flash()
        }
    }

    /// `Flash` or `Pro`, if the shape is a published one by its layers, widths and experts.
    pub fn published_name(&self) -> Option<&'static str> {
        let key = |shape: &Shape| (shape.layers, shape.hidden, shape.experts, shape.expert_inner);
        let known = [("Flash", Shape::flash()), ("Pro", Shape::pro())];
        known.into_iter().find(|(_, known)| key(known) == key(self)).map(|(name, _)| name)
    }
}
