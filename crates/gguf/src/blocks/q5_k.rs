//! Q5_K: 256 values of 5 bits in 8 groups, each with a 6-bit scale and minimum; 5.5 bits a value.
//!
//! ```text
//! byte 0..2     d       f16, scale of the scales
//! byte 2..4     dmin    f16, scale of the minima
//! byte 4..16    scales  u8[12], packed as in Q4_K
//! byte 16..48   high    u8[32], fifth bit of value i at bit j of high[i % 32]
//! byte 48..176  quants  u8[128], low bits of value i in quants[32 (j / 2) + i % 32]:
//!                       low half for even j, high half for odd j
//!
//! j = i / 32, the group
//! ```
//!
//! `y = (d * scale) * q - dmin * minimum`

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 176;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale of the scales, f16.
    pub d: [u8; 2],
    /// Scale of the minima, f16.
    pub dmin: [u8; 2],
    /// Packed scales and minima of 32 values each.
    pub scales: [u8; 12],
    /// The fifth bit of eight values each.
    pub high: [u8; 32],
    /// The low four bits of two values each.
    pub quants: [u8; 128],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let (d, dmin) = (super::f16::value(block.d), super::f16::value(block.dmin));
    let (scales, minima) = super::q4_k::scales_and_minima(&block.scales);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = (d * f32::from(scales[j]), dmin * f32::from(minima[j]));
        let quants = &block.quants[j / 2 * 32..][..32];
        for ((y, low), high) in out.iter_mut().zip(quants).zip(&block.high) {
            let q = (low >> (j % 2 * 4)) & 15 | ((high >> j) & 1) << 4;
            *y = scale * f32::from(q) - minimum;
        }
    }
}
