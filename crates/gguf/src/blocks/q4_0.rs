//! Q4_0: 32 values of 4 bits under one scale; 4.5 bits a value.
//!
//! ```text
//! byte 0..2    d        f16
//! byte 2..18   nibbles  u8[16], value i in the low half of nibbles[i] for i < 16,
//!                       in the high half of nibbles[i - 16] for the others
//! ```
//!
//! `y = d * (q - 8)`

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 32;
/// Bytes of a block.
pub const BYTES: usize = 18;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale, f16.
    pub d: [u8; 2],
    /// Two values each.
    pub nibbles: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let d = super::f16::value(block.d);
    let (lower, upper) = out.split_at_mut(16);
    for ((low, high), byte) in lower.iter_mut().zip(upper).zip(block.nibbles) {
        *low = d * f32::from((byte & 15) as i8 - 8);
        *high = d * f32::from((byte >> 4) as i8 - 8);
    }
}
