//! MXFP4: 32 values as four-bit floats under a shared power of two; 4.25 bits a value.
//!
//! ```text
//! byte 0      exponent  u8, the factor is 2^(exponent - 127)
//! byte 1..17  nibbles   u8[16], value i in the low half of nibbles[i] for i < 16,
//!                       in the high half of nibbles[i - 16] for the others
//! ```
//!
//! `y = 2^(exponent - 127) * E2M1[q]`, where E2M1 codes 0..8 are 0, 0.5, 1, 1.5, 2, 3, 4, 6 and bit
//! 3 is the sign. As in ggml, code 8 is plain zero, and an exponent of 255 is an ordinary (huge)
//! factor although the OCP definition calls it not a number.

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 32;
/// Bytes of a block.
pub const BYTES: usize = 17;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Biased exponent of the factor.
    pub exponent: u8,
    /// Two values each.
    pub nibbles: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Twice the value of each code: whole numbers, to be scaled with [`half_factor`].
pub const TWICE_E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half the factor of a block, `2^(exponent - 128)`; a subnormal number for exponents 0 and 1.
pub const fn half_factor(exponent: u8) -> f32 {
    match exponent {
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits((exponent as u32 - 1) << 23),
    }
}

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let d = half_factor(block.exponent);
    let (lower, upper) = out.split_at_mut(16);
    for ((low, high), byte) in lower.iter_mut().zip(upper).zip(block.nibbles) {
        *low = d * f32::from(TWICE_E2M1[usize::from(byte & 15)]);
        *high = d * f32::from(TWICE_E2M1[usize::from(byte >> 4)]);
    }
}
