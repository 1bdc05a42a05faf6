//! BF16: the upper half of a single-precision float, one value to a block.
//!
//! ```text
//! byte 0..2   bits 16..32 of y
//! ```
//!
//! Encoding rounds to nearest, ties to even; a NaN keeps its upper bits and gets bit 6, so that it
//! stays one.

use half::bf16;

/// Values in a block.
pub const VALUES: usize = 1;
/// Bytes of a block.
pub const BYTES: usize = 2;

/// Reads one value.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16);
}

/// Writes one value, rounded to nearest, ties to even.
pub fn encode(values: &[f32; VALUES], block: &mut [u8; BYTES]) {
    *block = bf16::from_f32(values[0]).to_le_bytes();
}
