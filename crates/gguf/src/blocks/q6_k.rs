//! Q6_K: 256 values of 6 bits in 16 groups, each with a signed byte as scale; 6.5625 bits a value.
//!
//! ```text
//! byte 0..128    low     u8[128], low bits of value i in low[64 h + 32 (k % 2) + l]:
//!                        low half for k < 2, high half for the others
//! byte 128..192  high    u8[64], high bits of value i at bits 2k..2k+2 of high[32 h + l]
//! byte 192..208  scales  i8[16], one for each 16 values
//! byte 208..210  d       f16, scale of the scales
//!
//! h = i / 128    k = i % 128 / 32    l = i % 32
//! ```
//!
//! `y = (d * scale) * (q - 32)`

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 210;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// The low four bits of two values each.
    pub low: [u8; 128],
    /// The high two bits of four values each.
    pub high: [u8; 64],
    /// Scale of 16 values each.
    pub scales: [i8; 16],
    /// Scale of the scales, f16.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let d = super::f16::value(block.d);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block.scales[group]);
        let (h, k, l) = (group / 8, group % 8 / 2, group % 2 * 16);
        let low = &block.low[64 * h + k % 2 * 32 + l..][..16];
        for ((y, low), high) in out.iter_mut().zip(low).zip(&block.high[32 * h + l..][..16]) {
            let q = (low >> (k / 2 * 4)) & 15 | ((high >> (2 * k)) & 3) << 4;
            *y = scale * f32::from(q as i8 - 32);
        }
    }
}
