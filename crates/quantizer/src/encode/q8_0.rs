//! Q8_0: the largest magnitude becomes 127, the rest follows, rounded to nearest.
//!
//! No search: with 8 bits another scale would gain next to nothing, so an importance is not asked
//! for. Halves are rounded away from zero, as ggml does here and nowhere else.

use gguf::blocks::q8_0::{BYTES, Block, VALUES};

use pulp::Simd;

use super::{Encoder, half};

/// The encoder.
pub(super) struct Q8_0;

impl Encoder<VALUES, { BYTES }> for Q8_0 {
    #[inline(always)]
    fn encode(_: impl Simd, values: &[f32; VALUES], _: Option<&[f32; VALUES]>) -> [u8; BYTES] {
        let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let d = most / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        // Within -127..=127, but for scales so small that their inverse is not finite: those
        // saturate.
        let quants = values.map(|value| (value * inverse).round() as i8);
        bytemuck::cast(Block { d: half(d), quants })
    }
}
