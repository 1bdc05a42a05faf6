//! F16: IEEE half precision, one value to a block.
//!
//! ```text
//! byte 0..2   y
//! ```
//!
//! Every half is a float, so decoding is exact; encoding rounds to nearest, ties to even, as the
//! hardware does. Rows go through the processor's own conversion, eight values at a time where it
//! has one, instead of value by value.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Values in a block.
pub const VALUES: usize = 1;
/// Bytes of a block.
pub const BYTES: usize = 2;

/// Values converted at once: enough to hide the call, few enough to stay on the stack.
const RUN_VALUES: usize = 256;

/// Reads one value.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    out[0] = value(*block);
}

/// One value, such as the scale of another block.
pub fn value(bytes: [u8; BYTES]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Writes one value, rounded to the nearest half, ties to even.
pub fn encode(values: &[f32; VALUES], block: &mut [u8; BYTES]) {
    *block = f16::from_f32(values[0]).to_le_bytes();
}

/// Reads as many values as `out` holds. The bytes need no alignment.
pub(crate) fn decode_row(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; RUN_VALUES];
    for (bytes, out) in bytes.chunks(RUN_VALUES * BYTES).zip(out.chunks_mut(RUN_VALUES)) {
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<BYTES>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}
