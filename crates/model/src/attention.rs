//! Attention of one layer: latent queries, one shared key-value row per token, compressed rows
//! beyond the window, grouped output projection.

use backend::ops::attend::{Beyond, Visible};
use backend::ops::compress::{Compressor, CompressorPlace};
use backend::ops::rope::Direction;
use backend::{Backend, Buffer, KvPools};
use spec::LayerKind;

use crate::layer::Pass;
use crate::scratch::{CompressorScratch, Scratch};
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

    // Queries, through a latent that the indexer shares.
    b.linear(&w.q_a, x, &mut a.q_low, t); // [T, D] -> [T, q]
    b.rms_norm(&a.q_low, &w.q_norm, eps, &mut a.q_latent, t);
    b.linear(&w.q_b, &a.q_latent, &mut a.q, t); // [T, q] -> [T, H·hd]
    b.unit_norm(&mut a.q, hd, eps, t);
    b.rotate(&mut a.q, hd, angles, Direction::Forward, t);

    // One row per token, key and value at once.
    b.linear(&w.kv, x, &mut a.kv_low, t); // [T, D] -> [T, hd]
    b.rms_norm(&a.kv_low, &w.kv_norm, eps, &mut a.kv, t);
    b.rotate(&mut a.kv, hd, angles, Direction::Forward, t);
    b.mark(layer, "kv", &a.kv, t);
    b.store_rows(&a.kv, &mut a.fresh, t);

    // Rows beyond the window. A row that closes in this step is stored before anyone attends.
    let beyond = match (kind, places.compressor, places.indexer) {
        (LayerKind::Indexed, Some(place), Some(index_place)) => {
            let (w_index, i) = (w.indexer.as_ref(), a.indexer.as_mut());
            let (w_index, i) = w_index.zip(i).expect("indexed layers have an indexer");
            compress(b, w.compressor.as_ref(), place, a.indexed.as_mut(), x, kv, pass);
            let index = (Some(&w_index.compressor), Some(&mut i.compressor));
            compress(b, index.0, index_place, index.1, x, kv, pass);
            let row = index_place.rows.layout;
            b.linear(&w_index.q_b, &a.q_latent, &mut i.q, t); // [T, q] -> [T, Hi·dim]
            b.rotate(&mut i.q, row.width(), angles, Direction::Forward, t);
            b.round_queries(row, &mut i.q, t);
            b.linear(&w_index.head_weights, x, &mut i.weights, t); // [T, D] -> [T, Hi]
            b.index_pick(index_place.rows, &i.q, &i.weights, step, kv, &mut i.picks);
            b.mark(layer, "picks", &i.picks, t);
            Beyond::Picked(place.rows, &i.picks)
        }
        (LayerKind::Compressed, Some(place), _) => {
            compress(b, w.compressor.as_ref(), place, a.compressed.as_mut(), x, kv, pass);
            Beyond::All(place.rows)
        }
        _ => Beyond::Nothing,
    };

    let visible = Visible { fresh: &a.fresh, ring: places.ring, beyond };
    b.attend(&a.q, &w.sinks, &visible, step, kv, &mut a.heads); // [T, H·hd]
    b.keep_window(&a.fresh, places.ring, step, kv);
    b.rotate(&mut a.heads, hd, angles, Direction::Inverse, t);
    b.mark(layer, "heads", &a.heads, t);
    b.linear_grouped(&w.output_a, shape.output_groups, &a.heads, &mut a.output_low, t); // [T, G·R]
    b.linear(&w.output_b, &a.output_low, &mut s.y, t); // [T, G·R] -> [T, D]
}

/// Feeds `x` `[T, D]` to one compressor.
fn compress(
    b: &mut dyn Backend,
    w: Option<&CompressorWeights>,
    place: CompressorPlace,
    s: Option<&mut CompressorScratch>,
    x: &Buffer<f32>,
    kv: &mut KvPools,
    pass: Pass,
) {
    let (w, s) = w.zip(s).expect("a layer with a compressor has its weights and scratch");
    let Pass { shape, step, frequencies, .. } = pass;
    let CompressorWeights { values, gates, ape, norm } = w;
    b.linear(values, x, &mut s.values, step.rows); // [T, D] -> [T, width]
    b.linear(gates, x, &mut s.gates, step.rows);
    let rms_eps = shape.rms_eps;
    let compressor = Compressor { ape, norm, frequencies, rms_eps, place };
    b.compress(&compressor, &s.values, &s.gates, step, kv);
}
