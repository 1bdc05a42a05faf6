//! Q3_K: 256 values of 3 bits in 16 groups, each with a signed 6-bit scale; 3.4375 bits a value.
//!
//! ```text
//! byte 0..32     high    u8[32], third bit of value i at bit 4h + k of high[l]
//! byte 32..96    quants  u8[64], low bits of value i at bits 2k..2k+2 of quants[32 h + l]
//! byte 96..108   scales  u8[12], 16 six-bit scales, see `scales`
//! byte 108..110  d       f16
//!
//! h = i / 128    k = i % 128 / 32    l = i % 32
//! ```
//!
//! `y = (d * (scale - 32)) * (q - 4)`, where q has its third bit from `high`.

use bytemuck::{Pod, Zeroable};

/// Values in a block.
pub const VALUES: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 110;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// The third bit of eight values each.
    pub high: [u8; 32],
    /// The low two bits of four values each.
    pub quants: [u8; 64],
    /// Packed scales of 16 values each.
    pub scales: [u8; 12],
    /// Scale of the scales, f16.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Unpacks the 16 scales: low four bits from bytes 0..8 (low halves, then high halves), high two
/// bits from bytes 8..12 (four passes of two bits), less 32.
pub fn scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = if j < 8 { packed[j] & 15 } else { packed[j - 8] >> 4 };
        let high = (packed[8 + j % 4] >> (2 * (j / 4))) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let (d, scales) = (super::f16::value(block.d), scales(&block.scales));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group]);
        let (h, k, l) = (group / 8, group % 8 / 2, group % 2 * 16);
        let quants = &block.quants[32 * h + l..][..16];
        for ((y, low), high) in out.iter_mut().zip(quants).zip(&block.high[l..][..16]) {
            let q = (low >> (2 * k)) & 3 | ((high >> (4 * h + k)) & 1) << 2;
            *y = scale * f32::from(q as i8 - 4);
        }
    }
}
