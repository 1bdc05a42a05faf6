//! Attention of one layer: latent queries, one shared key-value row per token, compressed rows
//! beyond the window, grouped output projection.
//!
//! Products that wait for nothing but the layer's input come first, all at once.

use backend::ops::attend::{Beyond, Visible};
use backend::ops::compress::{Compressor, CompressorPlace};
use backend::ops::fused::{NormWeight, Normed};
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
    let (eps, t, hd) = (shape.rms_eps, step.rows, shape.head_dim);
    let kind = shape.kinds[layer];
    let angles = &s.angles[(kind != LayerKind::Window) as usize]; // [T, rotary]
    let (x, a) = (&s.normed, &mut s.attention);

    project(b, w, x, a, t); // everything that waits for nothing but x

    // The latent of queries [T, q], and one row [T, hd] per token, key and value at once.
    let norm = |weight| NormWeight { weight, eps };
    let query = Normed { x: &a.q_low, norm: norm(&w.q_norm), out: &mut a.q_latent };
    let row = Normed { x: &a.kv_low, norm: norm(&w.kv_norm), out: &mut a.kv };
    b.latents(query, row, angles, &mut a.fresh, t);
    b.mark(layer, "kv", &a.kv, t);

    // Queries, through the latent that the indexer shares.
    b.linear(&w.q_b, &a.q_latent, &mut a.q, t); // [T, q] -> [T, H·hd]
    b.rotate_unit(&mut a.q, hd, eps, angles, t);

    // Rows beyond the window. A row that closes in this step is stored before anyone attends.
    let beyond = match (kind, places.compressor, places.indexer) {
        (LayerKind::Indexed, Some(place), Some(index_place)) => {
            let (w_index, i) = (w.indexer.as_ref(), a.indexer.as_mut());
            let (w_index, i) = w_index.zip(i).expect("indexed layers have an indexer");
            compress(b, w.compressor.as_ref(), place, a.indexed.as_ref(), kv, pass);
            let index = (Some(&w_index.compressor), Some(&i.compressor));
            compress(b, index.0, index_place, index.1, kv, pass);
            let row = index_place.rows.layout;
            b.linear(&w_index.q_b, &a.q_latent, &mut i.q, t); // [T, q] -> [T, Hi·dim]
            b.rotate_round(row, &mut i.q, angles, t);
            b.index_pick(index_place.rows, &i.q, &i.weights, step, kv, &mut i.picks);
            b.mark(layer, "picks", &i.picks, t);
            Beyond::Picked(place.rows, &i.picks)
        }
        (LayerKind::Compressed, Some(place), _) => {
            compress(b, w.compressor.as_ref(), place, a.compressed.as_ref(), kv, pass);
            Beyond::All(place.rows)
        }
        _ => Beyond::Nothing,
    };

    let visible = Visible { fresh: &a.fresh, ring: places.ring, beyond };
    b.attend_keep(&a.q, &w.sinks, &visible, angles, step, kv, &mut a.heads); // [T, H·hd]
    b.mark(layer, "heads", &a.heads, t);
    b.linear_grouped(&w.output_a, shape.output_groups, &a.heads, &mut a.output_low, t); // [T, G·R]
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

/// Feeds the values and gates of the step's tokens to one compressor.
fn compress(
    b: &mut dyn Backend,
    w: Option<&CompressorWeights>,
    place: CompressorPlace,
    s: Option<&CompressorScratch>,
    kv: &mut KvPools,
    pass: Pass,
) {
    let (w, s) = w.zip(s).expect("a layer with a compressor has its weights and scratch");
    let Pass { shape, step, frequencies, .. } = pass;
    let CompressorWeights { ape, norm, .. } = w;
    let rms_eps = shape.rms_eps;
    let compressor = Compressor { ape, norm, frequencies, rms_eps, place };
    b.compress(&compressor, &s.values, &s.gates, step, kv);
}
