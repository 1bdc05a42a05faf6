//! Q2_K: 256 values of 2 bits in 16 groups, each with a 4-bit scale and minimum; 2.625 bits a
//! value.
//!
//! ```text
//! byte 0..16    scales  u8[16], group i / 16: low half scale, high half minimum
//! byte 16..80   quants  u8[64], value i at bits 2k..2k+2 of quants[32 h + l]
//! byte 80..82   d       f16, scale of the scales
//! byte 82..84   dmin    f16, scale of the minima
//!
//! h = i / 128    k = i % 128 / 32    l = i % 32
//! ```
//!
//! `y = (d * scale) * q - dmin * minimum`

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 84;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale and minimum of 16 values each.
    pub scales: [u8; 16],
    /// Four values each.
    pub quants: [u8; 64],
    /// Scale of the scales, f16.
    pub d: [u8; 2],
    /// Scale of the minima, f16.
    pub dmin: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let (d, dmin) = (super::f16::value(block.d), super::f16::value(block.dmin));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block.scales[group] & 15);
        let minimum = dmin * f32::from(block.scales[group] >> 4);
        let (h, k, l) = (group / 8, group % 8 / 2, group % 2 * 16);
        for (y, byte) in out.iter_mut().zip(&block.quants[32 * h + l..][..16]) {
            *y = scale * f32::from((byte >> (2 * k)) & 3) - minimum;
        }
    }
}
