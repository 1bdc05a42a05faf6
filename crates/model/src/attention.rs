//! Attention of one layer: latent queries, one shared key-value row per token, compressed rows
//! beyond the window, grouped output projection.
//!
//! Products that wait for nothing but the layer's input come first, all at once.

use backend::ops::attend::{Beyond, Visible};
use backend::ops::compress::{Compressor, CompressorPlace};
use backend::ops::fused::{Fed, NormWeight, Normed, Projected};
use backend::{Backend, Buffer, KvPools};
use spec::LayerKind;

use crate::layer::Pass;
use crate::scratch::{AttentionScratch, CompressorScratch, Scratch};
use crate::weights::{AttentionWeights, CompressorWeights};

/// `s.normed` `[T, D]` to `s.y` `[T, D]`, updating the layer's KV state.
pub(crate) fn attention(
    b: &mut dyn Backend,
    w: &AttentionWeights,
    kv: &mut KvPools,
    s: &mut Scratch,
    pass: Pass,
) {
    let Pass { shape, step, layer, places, .. } = pass;
    let (eps, t) = (shape.rms_eps, step.rows);
    let kind = shape.kinds[layer];
    let angles = &s.angles[(kind != LayerKind::Window) as usize]; // [T, rotary]
    let (x, a) = (&s.normed, &mut s.attention);

    project(b, w, x, a, t); // everything that waits for nothing but x
    keep(b, w, kv, a, angles, pass); // and everything that waits for nothing but those
    b.mark(layer, "kv", &a.kv, t);

    // Queries, through the latent that the indexer shares; then the rows beyond the window.
    let beyond = match (kind, places.compressor, places.indexer) {
        (LayerKind::Indexed, Some(place), Some(index_place)) => {
            let (w_index, i) = (w.indexer.as_ref(), a.indexer.as_mut());
            let (w_index, i) = w_index.zip(i).expect("indexed layers have an indexer");
            // [T, q] -> [T, H·hd] and [T, Hi·dim]
            let queries = &mut [(&w.q_b, &mut a.q), (&w_index.q_b, &mut i.q)];
            b.linear_each(&a.q_latent, queries, t);
            b.rotate_round(index_place.rows.layout, &mut i.q, angles, t);
            b.index_pick(index_place.rows, &i.q, &i.weights, step, kv, &mut i.picks);
            b.mark(layer, "picks", &i.picks, t);
            Beyond::Picked(place.rows, &i.picks)
        }
        (kind, place, _) => {
            b.linear(&w.q_b, &a.q_latent, &mut a.q, t); // [T, q] -> [T, H·hd]
            match (kind, place) {
                (LayerKind::Compressed, Some(place)) => Beyond::All(place.rows),
                _ => Beyond::Nothing,
            }
        }
    };

    let visible = Visible { fresh: &a.fresh, ring: places.ring, beyond };
    let to = Projected {
        heads: &mut a.heads, // [T, H·hd]
        weight: &w.output_a,
        groups: shape.output_groups,
        out: &mut a.output_low, // [T, G·R]
    };
    b.attend_project(&mut a.q, eps, &w.sinks, &visible, angles, step, kv, to);
    b.mark(layer, "heads", &a.heads, t);
    b.linear(&w.output_b, &a.output_low, &mut s.y, t); // [T, G·R] -> [T, D]
}

/// The products of `x` `[T, D]` that the kinds of layers take: query latent `[T, q]`, key-value row
/// `[T, hd]`, values and gates of the compressors `[T, width]`, weights of the indexer's heads
/// `[T, Hi]`.
fn project(
    b: &mut dyn Backend,
    w: &AttentionWeights,
    x: &Buffer<f32>,
    a: &mut AttentionScratch,
    t: usize,
) {
    let q = (&w.q_a, &mut a.q_low);
    let kv = (&w.kv, &mut a.kv_low);
    match (&w.compressor, &w.indexer) {
        (None, _) => b.linear_each(x, &mut [q, kv], t),
        (Some(c), None) => {
            let s = a.compressed.as_mut().expect("a layer with a compressor has its scratch");
            let (values, gates) = ((&c.values, &mut s.values), (&c.gates, &mut s.gates));
            b.linear_each(x, &mut [q, kv, values, gates], t);
        }
        (Some(c), Some(index)) => {
            let s = a.indexed.as_mut().zip(a.indexer.as_mut());
            let (s, i) = s.expect("a layer with an indexer has its scratch");
            let (values, gates) = ((&c.values, &mut s.values), (&c.gates, &mut s.gates));
            let (c, s) = (&index.compressor, &mut i.compressor);
            let (index_values, index_gates) =
                ((&c.values, &mut s.values), (&c.gates, &mut s.gates));
            let weights = (&index.head_weights, &mut i.weights);
            b.linear_each(x, &mut [q, kv, values, gates, index_values, index_gates, weights], t);
        }
    }
}

/// From those products: the latent of queries `[T, q]`, one row `[T, hd]` per token, which is key
/// and value at once, and the rows beyond the window that close in this step: they are stored
/// before anyone attends.
fn keep(
    b: &mut dyn Backend,
    w: &AttentionWeights,
    kv: &mut KvPools,
    a: &mut AttentionScratch,
    angles: &Buffer<f32>,
    pass: Pass,
) {
    let Pass { shape, step, layer, places, .. } = pass;
    let AttentionScratch { q_low, q_latent, kv_low, kv: rows, fresh, .. } = a;
    let norm = |weight| NormWeight { weight, eps: shape.rms_eps };
    let query = Normed { x: q_low, norm: norm(&w.q_norm), out: q_latent };
    let row = Normed { x: kv_low, norm: norm(&w.kv_norm), out: rows };
    let fed = |place, weights, s| fed(place, weights, s, pass);
    match (shape.kinds[layer], places.compressor, places.indexer) {
        (LayerKind::Indexed, Some(place), Some(index_place)) => {
            let (w_index, i) = (w.indexer.as_ref(), a.indexer.as_ref());
            let (w_index, i) = w_index.zip(i).expect("indexed layers have an indexer");
            let own = fed(place, w.compressor.as_ref(), a.indexed.as_ref());
            let index = fed(index_place, Some(&w_index.compressor), Some(&i.compressor));
            b.keep(query, row, angles, fresh, &[own, index], step, kv);
        }
        (LayerKind::Compressed, Some(place), _) => {
            let own = fed(place, w.compressor.as_ref(), a.compressed.as_ref());
            b.keep(query, row, angles, fresh, &[own], step, kv);
        }
        _ => b.keep(query, row, angles, fresh, &[], step, kv),
    }
}

/// A compressor of this layer, with the values and gates of the step's tokens.
fn fed<'a>(
    place: CompressorPlace,
    w: Option<&'a CompressorWeights>,
    s: Option<&'a CompressorScratch>,
    pass: Pass<'a>,
) -> Fed<'a> {
    let (w, s) = w.zip(s).expect("a layer with a compressor has its weights and scratch");
    let Pass { shape, frequencies, .. } = pass;
    let CompressorWeights { ape, norm, .. } = w;
    let compressor = Compressor { ape, norm, frequencies, rms_eps: shape.rms_eps, place };
    Fed { compressor, values: &s.values, gates: &s.gates }
}
