//! One layer: read the streams, attend, write back; read them again, apply the experts. Writing
//! back and reading again is one pass over the streams.

use backend::ops::fused::NormWeight;
use backend::ops::hyper::HyperSettings;
use backend::{Backend, Buffer, KvPools, Step};
use spec::Shape;

use crate::attention::attention;
use crate::cache::LayerPlaces;
use crate::ffn::ffn;
use crate::scratch::Scratch;
use crate::steering::Point;
use crate::weights::LayerWeights;

/// What is the same for every operation of one layer in one step.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub shape: &'a Shape,
    pub hyper: HyperSettings,
    pub step: &'a Step,
    pub layer: usize,
    pub places: &'a LayerPlaces,
    /// Rotary frequencies of compressed layers, `[rotary / 2]`.
    pub frequencies: &'a Buffer<f32>,
}

/// Applies one layer to `s.streams` `[T, n·D]`.
///
/// What its experts give stays in `s.y` `[T, D]`, and is spread over the streams where they are
/// read next: by the layer after it, or by the caller after the last one.
pub(crate) fn layer(
    b: &mut dyn Backend,
    w: &LayerWeights,
    kv: &mut KvPools,
    s: &mut Scratch,
    pass: Pass,
) {
    let Pass { shape, hyper, step, layer, .. } = pass;
    let (eps, t) = (shape.rms_eps, step.rows);

    let (mix, norm) = (&w.attention_mix, NormWeight { weight: &w.attention_norm, eps });
    let (streams, gates, x, normed) = (&mut s.streams, &mut s.gates, &mut s.x, &mut s.normed);
    if layer == 0 {
        b.hyper_mix_norm(mix, hyper, streams, gates, x, norm, normed, t);
    } else {
        b.hyper_turn(mix, hyper, &s.y, streams, gates, x, norm, normed, t);
        b.mark(layer - 1, "hc", &s.streams, t);
    }
    b.mark(layer, "attn_in", &s.normed, t);
    attention(b, &w.attention, kv, s, pass); // s.normed [T, D] -> s.y [T, D]
    s.steering.apply(b, Point::Attention, &mut s.y, pass); // [T, D]
    b.mark(layer, "attn_out", &s.y, t);

    let (mix, norm) = (&w.ffn_mix, NormWeight { weight: &w.ffn_norm, eps });
    let (streams, gates, x, normed) = (&mut s.streams, &mut s.gates, &mut s.x, &mut s.normed);
    b.hyper_turn(mix, hyper, &s.y, streams, gates, x, norm, normed, t);
    b.mark(layer, "ffn_in", &s.normed, t);
    ffn(b, &w.ffn, s, pass); // s.normed [T, D] -> s.y [T, D]
    s.steering.apply(b, Point::Ffn, &mut s.y, pass); // [T, D]
    b.mark(layer, "ffn_out", &s.y, t);
}
