//! IQ2_XXS: 256 values as points of a lattice and signs, in 8 groups of 32; 2.0625 bits a value.
//!
//! ```text
//! byte 0..2    d       f16
//! byte 2..66   groups  8 groups of 8 bytes:
//!                byte 0..4   rows   u8[4], one row of GRID for each 8 values
//!                byte 4..8   signs  u32, bits 7k..7k+7: sign code of the 8 values of row k;
//!                                   bits 28..32: scale of the group
//! ```
//!
//! `y = (d * (0.5 + scale) * 0.25) * GRID[row][t] * (bit t of SIGNS[code] ? -1 : 1)`
//!
//! A sign code has seven bits for eight values: the eighth sign makes the number of minus signs
//! even.

use bytemuck::{Pod, Zeroable};

use super::iq2_xxs_grid::CODES;

/// Values in a block.
pub const VALUES: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 66;

/// The layout drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Scale, f16.
    pub d: [u8; 2],
    /// 32 values each.
    pub groups: [Group; 8],
}

/// A group of 32 values in a [`Block`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Group {
    /// Rows of [`GRID`], eight values each.
    pub rows: [u8; 4],
    /// Four sign codes and the scale, u32.
    pub signs: [u8; 4],
}

const _: () = assert!(size_of::<Block>() == BYTES && align_of::<Block>() == 1);

/// The magnitudes that a code of the lattice stands for.
pub const MAGNITUDES: [u8; 3] = [8, 25, 43];

/// The lattice: 256 rows of eight magnitudes.
pub static GRID: [[u8; 8]; 256] = {
    let mut grid = [[0; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        let (row, t) = (at / 8, at % 8);
        grid[row][t] = MAGNITUDES[(CODES[row] >> (2 * t) & 3) as usize];
        at += 1;
    }
    grid
};

/// Sign masks: bit t is set where value t is negative. The low seven bits are the code itself.
pub static SIGNS: [u8; 128] = {
    let mut signs = [0; 128];
    let mut code: u8 = 0;
    while code < 128 {
        signs[code as usize] = code | (code.count_ones() as u8 & 1) << 7;
        code += 1;
    }
    signs
};

/// [`GRID`] in floats, ready to be multiplied.
static GRID_F32: [[f32; 8]; 256] = {
    let mut grid = [[0.0; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        grid[at / 8][at % 8] = GRID[at / 8][at % 8] as f32;
        at += 1;
    }
    grid
};

/// [`SIGNS`] as factors 1 and -1.
static SIGNS_F32: [[f32; 8]; 128] = {
    let mut signs = [[1.0; 8]; 128];
    let mut at = 0;
    while at < 128 * 8 {
        if SIGNS[at / 8] >> (at % 8) & 1 == 1 {
            signs[at / 8][at % 8] = -1.0;
        }
        at += 1;
    }
    signs
};

/// The 16-bit codes of the rows of [`GRID`]: bits 2t..2t+2 choose the magnitude of value t.
pub const fn codes() -> &'static [u16; 256] {
    &CODES
}

/// Reads one block.
pub fn decode(block: &[u8; BYTES], out: &mut [f32; VALUES]) {
    let block: &Block = bytemuck::cast_ref(block);
    let d = super::f16::value(block.d);
    for (group, out) in block.groups.iter().zip(out.as_chunks_mut::<32>().0) {
        let signs = u32::from_le_bytes(group.signs);
        let scale = d * (0.5 + (signs >> 28) as f32) * 0.25;
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let row = &GRID_F32[usize::from(group.rows[k])];
            let factors = &SIGNS_F32[(signs >> (7 * k) & 127) as usize];
            for ((y, magnitude), factor) in out.iter_mut().zip(row).zip(factors) {
                *y = scale * magnitude * factor;
            }
        }
    }
}
