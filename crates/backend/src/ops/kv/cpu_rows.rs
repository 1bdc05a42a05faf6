//! Reading stored rows fast, on any instruction set: the same values as `RowLayout::load`.

use super::layout::{RowFormat, RowKind, RowLayout};
use super::round::{FP4_GROUP, FP8_GROUP, scale};
use crate::cpu::simd::{LANES, Simd};
use crate::ops::linear::coding::TWICE_E2M1_FROM_ZERO;

/// Reads row `index` of a block of `rows` rows into `out` `[width]`.
#[inline(always)]
pub(crate) fn load<S: Simd>(
    layout: RowLayout,
    block: &[u8],
    rows: usize,
    index: usize,
    out: &mut [f32],
) {
    let [first, second, third] = layout.ranges(rows, index);
    match (layout.format, layout.kind) {
        (RowFormat::Packed, RowKind::Attention { plain, .. }) => {
            let (plain, rotary) = out.split_at_mut(plain);
            let codes = block[first].as_chunks::<FP8_GROUP>().0;
            let groups = plain.as_chunks_mut::<FP8_GROUP>().0;
            for ((out, codes), &exponent) in groups.iter_mut().zip(codes).zip(&block[third]) {
                let factor = S::splat(scale(exponent));
                let codes = codes.as_chunks::<LANES>().0;
                for (out, codes) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(codes) {
                    S::store(S::mul(S::e4m3(codes), factor), out);
                }
            }
            let (wide, rest) = block[second].as_chunks::<{ 2 * LANES }>();
            let (out, out_rest) = rotary.as_chunks_mut::<LANES>();
            for (out, bytes) in out.iter_mut().zip(wide) {
                S::store(S::bf16(bytes), out);
            }
            for (out, bytes) in out_rest.iter_mut().zip(rest.as_chunks::<2>().0) {
                *out = half::bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        (RowFormat::Packed, RowKind::Indexer { .. }) => {
            let codes = block[first].as_chunks::<{ FP4_GROUP / 2 }>().0;
            let groups = out.as_chunks_mut::<FP4_GROUP>().0;
            for ((out, codes), &exponent) in groups.iter_mut().zip(codes).zip(&block[second]) {
                let mut values = [0; FP4_GROUP];
                for (pair, code) in values.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                    *pair = [code & 15, code >> 4];
                }
                S::translate(&TWICE_E2M1_FROM_ZERO, &mut values);
                let factor = S::splat(scale(exponent) * 0.5);
                let values = values.as_chunks::<LANES>().0;
                for (out, values) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(values) {
                    let value = S::sub(S::u8(values), S::splat(12.0));
                    S::store(S::mul(value, factor), out);
                }
            }
        }
        _ => layout.load(block, rows, index, out),
    }
}
