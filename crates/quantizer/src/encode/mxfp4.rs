//! MXFP4: a power of two for 32 values, then the nearest code for each.
//!
//! The largest magnitude lands in 4 to 8, where codes end at 6; it may be better to halve
//! everything and lose resolution instead of cutting it, so both powers are tried and the one with
//! the smaller (weighted) squared error is kept, the lower one if they are equal.
//!
//! Values that a block holds exactly stay exact: with the largest at 4 or 6, whatever half steps
//! the original block had become whole steps of this one.

use std::array::from_fn;

use gguf::blocks::mxfp4::{BYTES, Block, TWICE_E2M1, VALUES, half_factor};

use pulp::Simd;

use super::Encoder;

/// The largest exponent under which the largest code is finite.
const EXPONENT_MAX: i32 = 252;

/// The encoder.
pub(super) struct Mxfp4;

impl Encoder<VALUES, { BYTES }> for Mxfp4 {
    #[inline(always)]
    fn encode(
        _: impl Simd,
        values: &[f32; VALUES],
        weights: Option<&[f32; VALUES]>,
    ) -> [u8; BYTES] {
        let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        // A float's exponent field is its power of two plus 127; subnormal numbers have 0.
        let field = (most.to_bits() >> 23) as i32;
        let exponent = (field - 2).clamp(0, EXPONENT_MAX) as u8;
        let low = Tried::new(values, weights, exponent);
        let best = match i32::from(exponent) < EXPONENT_MAX && low.error > 0.0 {
            true => {
                let high = Tried::new(values, weights, exponent + 1);
                if high.error < low.error { high } else { low }
            }
            false => low,
        };
        let nibbles = from_fn(|i| best.codes[i] | best.codes[i + 16] << 4);
        bytemuck::cast(Block { exponent: best.exponent, nibbles })
    }
}

struct Tried {
    exponent: u8,
    codes: [u8; VALUES],
    error: f64,
}

impl Tried {
    #[inline(always)]
    fn new(values: &[f32; VALUES], weights: Option<&[f32; VALUES]>, exponent: u8) -> Tried {
        let factor = f64::from(half_factor(exponent));
        let codes = values.map(|value| nearest(f64::from(value) / factor));
        let mut error = 0.0;
        for (i, (&value, &code)) in values.iter().zip(&codes).enumerate() {
            let decoded = factor * f64::from(TWICE_E2M1[usize::from(code)]);
            let difference = f64::from(value) - decoded;
            error += f64::from(weights.map_or(1.0, |w| w[i])) * difference * difference;
        }
        Tried { exponent, codes, error }
    }
}

/// The code nearest to half of `twice`; between two, the even one.
#[inline(always)]
fn nearest(twice: f64) -> u8 {
    // Where the middle between two codes goes alternates: to the one below if that is even.
    let size = twice.abs();
    let code = u8::from(size > 0.5)
        + u8::from(size >= 1.5)
        + u8::from(size > 2.5)
        + u8::from(size >= 3.5)
        + u8::from(size > 5.0)
        + u8::from(size >= 7.0)
        + u8::from(size > 10.0);
    // Zero has no sign: code 8 decodes to plain zero.
    if twice < 0.0 && code > 0 { code | 8 } else { code }
}
