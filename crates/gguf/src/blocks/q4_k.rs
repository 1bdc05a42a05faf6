//! Q4_K: 256 values of 4 bits in 8 groups, each with a 6-bit scale and minimum; 4.5 bits a value.
//!
//! ```text
//! byte 0..2     d       f16, scale of the scales
//! byte 2..4     dmin    f16, scale of the minima
//! byte 4..16    scales  u8[12], 8 scales and 8 minima of six bits, see `scales_and_minima`
//! byte 16..144  quants  u8[128], value i in quants[32 (j / 2) + i % 32]:
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
pub const BYTES: usize = 144;

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
    /// Two values each.
    pub quants: [u8; 128],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// Unpacks the 8 scales and 8 minima that Q4_K and Q5_K store in 12 bytes: the first four of each
/// whole in bytes 0..8, the others with their low bits in bytes 8..12 and their high two bits on
/// top of bytes 0..8.
pub fn scales_and_minima(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        minima[j] = packed[j + 4] & 63;
        scales[j + 4] = packed[j + 8] & 15 | (packed[j] >> 6) << 4;
        minima[j + 4] = packed[j + 8] >> 4 | (packed[j + 4] >> 6) << 4;
    }
    (scales, minima)
}

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let (d, dmin) = (super::f16::value(block.d), super::f16::value(block.dmin));
    let (scales, minima) = scales_and_minima(&block.scales);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = (d * f32::from(scales[j]), dmin * f32::from(minima[j]));
        for (y, byte) in out.iter_mut().zip(&block.quants[j / 2 * 32..][..32]) {
            *y = scale * f32::from((byte >> (j % 2 * 4)) & 15) - minimum;
        }
    }
}
