//! F32: IEEE single precision, one value to a block.
//!
//! ```text
//! byte 0..4   y
//! ```

/// Values in a block.
pub const VALUES: usize = 1;
/// Bytes of a block.
pub const BYTES: usize = 4;

/// Reads one value.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    out[0] = f32::from_le_bytes(*block);
}

/// Writes one value.
pub fn encode(values: &[f32; VALUES], block: &mut [u8; BYTES]) {
    *block = values[0].to_le_bytes();
}
