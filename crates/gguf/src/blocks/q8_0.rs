//! Q8_0: 32 values as signed bytes under one scale; 8.5 bits a value.
//!
//! ```text
//! byte 0..2    d       f16
//! byte 2..34   quants  i8[32], value i at quants[i]
//! ```
//!
//! `y = d * q`

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 32;
/// Bytes of a block.
pub const BYTES: usize = 34;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale, f16.
    pub d: [u8; 2],
    /// One value each.
    pub quants: [i8; 32],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let d = super::f16::value(block.d);
    for (y, q) in out.iter_mut().zip(block.quants) {
        *y = d * f32::from(q);
    }
}
