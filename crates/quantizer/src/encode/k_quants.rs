//! Q2_K and Q4_K: groups with a scale and a minimum, which are levels under a scale themselves.
//!
//! Each group is fitted alone ([`Affine`]). Then its scale and minimum are rounded to what the
//! block can hold, and the levels chosen again for the rounded ones. With an importance, rounding
//! the scales is a weighted search, too.
//!
//! Weights: without an importance, the magnitudes (Q2_K), or the magnitudes above their root mean
//! square (Q4_K). With an importance `v`: `v * sqrt(s + x^2)`, where `s` is the mean square of the
//! block, twice that for Q4_K.

use std::array::from_fn;

use gguf::blocks::{f16, q2_k, q4_k};

use pulp::Simd;

use super::fit::{Affine, Fit, larger, level, positive, side_by_side, smaller, sums, wrapped};
use super::{Encoder, half};

/// Values in a block of both formats.
const VALUES: usize = 256;

const Q2_PLAIN: Affine = Affine { most: 3.0, low: -0.5, step: 0.1, steps: 15, absolute: true };
const Q2_WEIGHED: Affine = Affine { most: 3.0, low: -0.9, step: 0.05, steps: 36, absolute: false };
const Q4_PLAIN: Affine = Affine { most: 15.0, low: -1.0, step: 0.1, steps: 20, absolute: false };
const Q4_WEIGHED: Affine = Affine { most: 15.0, low: -0.9, step: 0.05, steps: 36, absolute: false };

/// Scales and minima as levels under a common scale, one each per group.
struct Coarse<const L: usize> {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; L],
    minima: [u8; L],
}

/// The encoder of Q2_K.
pub(super) struct Q2K;

impl Encoder<VALUES, { q2_k::BYTES }> for Q2K {
    #[inline(always)]
    fn encode(
        _: impl Simd,
        values: &[f32; VALUES],
        importance: Option<&[f32; VALUES]>,
    ) -> [u8; q2_k::BYTES] {
        let x: [[f32; 16]; 16] = side_by_side(values);
        let (mut fit, coarse) = match importance {
            None => {
                let w = x.map(|x| x.map(f32::abs));
                let fit = Q2_PLAIN.fit(&x, &w);
                let coarse = by_largest(&fit, 15.0, f32::INFINITY);
                (fit, coarse)
            }
            Some(importance) => {
                let w = weights(values, &x, importance, 1.0);
                let fit = Q2_WEIGHED.fit(&x, &w);
                let coarse = by_search(&fit, &w, 15.0);
                (fit, coarse)
            }
        };
        refine(&x, &mut fit, &coarse, 3.0);
        let mut quants = [0; 64];
        for group in 0..16 {
            let (h, k, l) = (group / 8, group % 8 / 2, group % 2 * 16);
            for (byte, levels) in quants[32 * h + l..][..16].iter_mut().zip(&fit.levels) {
                *byte |= (levels[group] as u8) << (2 * k);
            }
        }
        let Coarse { d, dmin, scales, minima } = coarse;
        let scales = from_fn(|group| scales[group] | minima[group] << 4);
        bytemuck::cast(q2_k::Block { scales, quants, d, dmin })
    }
}

/// The encoder of Q4_K.
pub(super) struct Q4K;

impl Encoder<VALUES, { q4_k::BYTES }> for Q4K {
    #[inline(always)]
    fn encode(
        _: impl Simd,
        values: &[f32; VALUES],
        importance: Option<&[f32; VALUES]>,
    ) -> [u8; q4_k::BYTES] {
        let x: [[f32; 8]; 32] = side_by_side(values);
        let (mut fit, coarse) = match importance {
            None => {
                let squares = sums::<8>(32, |n, l| x[n][l] * x[n][l]);
                let roots = squares.map(|sum| (sum / 32.0).sqrt());
                let w = x.map(|x| from_fn(|l| roots[l] + x[l].abs()));
                let fit = Q4_PLAIN.fit(&x, &w);
                let coarse = by_largest(&fit, 63.0, 63.0);
                (fit, coarse)
            }
            Some(importance) => {
                let w = weights(values, &x, importance, 2.0);
                let fit = Q4_WEIGHED.fit(&x, &w);
                let coarse = by_search(&fit, &w, 63.0);
                (fit, coarse)
            }
        };
        refine(&x, &mut fit, &coarse, 15.0);
        let mut quants = [0; 128];
        for group in 0..8 {
            let bytes = &mut quants[group / 2 * 32..][..32];
            for (byte, levels) in bytes.iter_mut().zip(&fit.levels) {
                *byte |= (levels[group] as u8) << (group % 2 * 4);
            }
        }
        let Coarse { d, dmin, scales, minima } = coarse;
        bytemuck::cast(q4_k::Block { d, dmin, scales: packed(&scales, &minima), quants })
    }
}

#[inline(always)]
fn weights<const N: usize, const L: usize>(
    values: &[f32; VALUES],
    x: &[[f32; L]; N],
    importance: &[f32; VALUES],
    factor: f32,
) -> [[f32; L]; N] {
    let [squares] = sums::<1>(VALUES, |n, _| values[n] * values[n]);
    let mean = factor * squares / VALUES as f32;
    let v: [[f32; L]; N] = side_by_side(importance);
    from_fn(|n| from_fn(|l| v[n][l] * (mean + x[n][l] * x[n][l]).sqrt()))
}

/// The largest scale gets the highest level, the others the nearest, at most `cap`.
#[inline(always)]
fn by_largest<const N: usize, const L: usize>(fit: &Fit<N, L>, most: f32, cap: f32) -> Coarse<L> {
    let levels = |values: &[f32; L]| {
        let largest = values.iter().fold(0.0, |a, &b| larger(b, a));
        let inverse = if largest > 0.0 { most / largest } else { 0.0 };
        let level = |value: f32| wrapped(smaller((inverse * value).round_ties_even(), cap)) as u8;
        (half(largest / most), values.map(level))
    };
    let ((d, scales), (dmin, minima)) = (levels(&fit.scale), levels(&fit.minus));
    Coarse { d, dmin, scales, minima }
}

/// The scale under which all scales together have the least weighted error.
#[inline(always)]
fn by_search<const N: usize, const L: usize>(
    fit: &Fit<N, L>,
    w: &[[f32; L]; N],
    most: f32,
) -> Coarse<L> {
    let weights = sums::<L>(N, |n, l| w[n][l]).map(|sum| [sum; 2]);
    let values: [[f32; 2]; L] = from_fn(|l| [fit.scale[l], fit.minus[l]]);
    let (scale, levels) = positive(&values, &weights, most);
    let [d, dmin] = scale.map(half);
    let [scales, minima] = [0, 1].map(|of| levels.map(|levels| levels[of] as u8));
    Coarse { d, dmin, scales, minima }
}

/// Chooses the levels again for the scales and minima that the block really has.
#[inline(always)]
fn refine<const N: usize, const L: usize>(
    x: &[[f32; L]; N],
    fit: &mut Fit<N, L>,
    coarse: &Coarse<L>,
    most: f32,
) {
    let (d, dmin) = (f16::value(coarse.d), f16::value(coarse.dmin));
    let scales = coarse.scales.map(|scale| d * f32::from(scale));
    let minima = coarse.minima.map(|minimum| dmin * f32::from(minimum));
    for (levels, x) in fit.levels.iter_mut().zip(x) {
        *levels = from_fn(|l| match scales[l] == 0.0 {
            true => levels[l],
            false => level((x[l] + minima[l]) / scales[l], most),
        });
    }
}

/// Eight scales and minima of six bits in twelve bytes, as `q4_k::scales_and_minima` reads them.
#[inline(always)]
fn packed(scales: &[u8; 8], minima: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = minima[j] | minima[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | minima[j + 4] << 4;
    }
    packed
}
