//! The memory layout of KV rows.
//!
//! Rows are stored in blocks of a fixed number of rows `N`, section after section, so that every
//! section of a full block is aligned and a device reads one section of many rows in one sweep:
//!
//! ```text
//! attention row, packed (583 bytes at hd = 512)   indexer row, packed (68 bytes at 128)
//!   codes    [N][hd − rotary]      E4M3             codes   [N][dim / 2]   E2M1, low nibble first
//!   rotary   [N][rotary]           BF16             scales  [N][dim / 32]  exponent bytes
//!   scales   [N][(hd − rotary)/64] exponent bytes
//! either, in F32:  [N][width]
//! ```
//!
//! A block is padded to a multiple of 16 bytes. An FP8-rounded row *is* its codes and scales, and
//! the rotary channels are BF16 in the published numerics. So packing loses nothing more than these
//! roundings do: [`RowFormat::UnpackedF32`] gives the same logits, and a test compares their bits.

use half::bf16;

use super::round::{
    FP4_GROUP, FP8_GROUP, e2m1_decode, e4m3_decode, fp4_encode, fp4_round, fp8_encode, fp8_round,
    hadamard, scale,
};

/// How rows are rounded and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowFormat {
    /// The trained rounding, stored as packed codes; rotary channels in BF16. What engines run.
    Packed,
    /// Exactly the values of packed rows, stored as floats: what shows that packing loses nothing.
    UnpackedF32,
    /// The trained rounding, stored as floats; rotary channels unrounded. What implementations that
    /// simulate the trained rounding compute.
    RoundedF32,
    /// No rounding: the exact-arithmetic model. A diagnostic.
    ExactF32,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Key and value of attention: `plain` channels, then `rotary` ones.
    Attention {
        /// Channels without rotation; a multiple of 64.
        plain: usize,
        /// Rotated channels.
        rotary: usize,
    },
    /// Key of the indexer.
    Indexer {
        /// Channels; a power of two, a multiple of 32.
        dim: usize,
    },
}

/// Kind and format of a row: everything that is needed to read or write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowLayout {
    /// What a row is.
    pub kind: RowKind,
    /// How it is rounded and stored.
    pub format: RowFormat,
}

/// Byte width of the sections of one packed row; the last is empty for indexer rows.
type Sections = [usize; 3];

impl RowLayout {
    /// Channels of a row.
    pub fn width(&self) -> usize {
        match self.kind {
            RowKind::Attention { plain, rotary } => plain + rotary,
            RowKind::Indexer { dim } => dim,
        }
    }

    fn sections(&self) -> Sections {
        match (self.format, self.kind) {
            (RowFormat::Packed, RowKind::Attention { plain, rotary }) => {
                [plain, 2 * rotary, plain / FP8_GROUP]
            }
            (RowFormat::Packed, RowKind::Indexer { dim }) => [dim / 2, dim / FP4_GROUP, 0],
            _ => [4 * self.width(), 0, 0],
        }
    }

    /// Bytes of one row: 583 and 68 packed, 2048 and 512 in F32, at the published widths.
    pub fn row_bytes(&self) -> usize {
        self.sections().iter().sum()
    }

    /// Bytes of a block of `rows` rows.
    pub fn block_bytes(&self, rows: usize) -> usize {
        (rows * self.row_bytes()).next_multiple_of(16)
    }

    /// Byte ranges of row `row` in a block of `rows` rows, one per section.
    pub(crate) fn ranges(&self, rows: usize, row: usize) -> [std::ops::Range<usize>; 3] {
        debug_assert!(row < rows);
        let mut start = 0;
        self.sections().map(|bytes| {
            let range = start + row * bytes..start + (row + 1) * bytes;
            start += rows * bytes;
            range
        })
    }

    /// Rounds a row as the format says, in place: what [`RowLayout::load`] returns after
    /// [`RowLayout::store`].
    pub fn round(&self, row: &mut [f32]) {
        if self.format == RowFormat::ExactF32 {
            return;
        }
        match self.kind {
            RowKind::Attention { plain, .. } => {
                let (plain, rotary) = row.split_at_mut(plain);
                fp8_round(plain);
                if self.format != RowFormat::RoundedF32 {
                    rotary.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32());
                }
            }
            RowKind::Indexer { .. } => {
                hadamard(row);
                fp4_round(row);
            }
        }
    }

    /// Rounds `row` and writes it as row `index` of a block of `rows` rows.
    pub fn store(&self, block: &mut [u8], rows: usize, index: usize, row: &mut [f32]) {
        let [first, second, third] = self.ranges(rows, index);
        match (self.format, self.kind) {
            (RowFormat::Packed, RowKind::Attention { plain, .. }) => {
                for (i, group) in row[..plain].chunks_exact(FP8_GROUP).enumerate() {
                    let codes = &mut block[first.start + i * FP8_GROUP..][..FP8_GROUP];
                    block[third.start + i] = fp8_encode(group, codes);
                }
                for (out, v) in block[second].chunks_exact_mut(2).zip(&row[plain..]) {
                    out.copy_from_slice(&bf16::from_f32(*v).to_le_bytes());
                }
            }
            (RowFormat::Packed, RowKind::Indexer { .. }) => {
                hadamard(row);
                for (i, group) in row.chunks_exact(FP4_GROUP).enumerate() {
                    let bytes = FP4_GROUP / 2;
                    let codes = &mut block[first.start + i * bytes..][..bytes];
                    block[second.start + i] = fp4_encode(group, codes);
                }
            }
            _ => {
                self.round(row);
                block[first].copy_from_slice(bytemuck::cast_slice(row));
            }
        }
    }

    /// Reads row `index` of a block of `rows` rows into `out` `[width]`.
    pub fn load(&self, block: &[u8], rows: usize, index: usize, out: &mut [f32]) {
        let [first, second, third] = self.ranges(rows, index);
        match (self.format, self.kind) {
            (RowFormat::Packed, RowKind::Attention { plain, .. }) => {
                let (plain, rotary) = out.split_at_mut(plain);
                let groups = plain.chunks_exact_mut(FP8_GROUP);
                let codes = block[first].chunks_exact(FP8_GROUP);
                for ((out, codes), &exponent) in groups.zip(codes).zip(&block[third]) {
                    let scale = scale(exponent);
                    out.iter_mut().zip(codes).for_each(|(v, &c)| *v = e4m3_decode(c) * scale);
                }
                for (v, bytes) in rotary.iter_mut().zip(block[second].chunks_exact(2)) {
                    *v = bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                }
            }
            (RowFormat::Packed, RowKind::Indexer { .. }) => {
                let groups = out.chunks_exact_mut(FP4_GROUP);
                let codes = block[first].chunks_exact(FP4_GROUP / 2);
                for ((out, codes), &exponent) in groups.zip(codes).zip(&block[second]) {
                    let scale = scale(exponent);
                    for (pair, &code) in out.chunks_exact_mut(2).zip(codes) {
                        pair[0] = e2m1_decode(code & 15) * scale;
                        pair[1] = e2m1_decode(code >> 4) * scale;
                    }
                }
            }
            _ => {
                for (v, bytes) in out.iter_mut().zip(block[first].chunks_exact(4)) {
                    *v = f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
            }
        }
    }

    /// Copies a row from one block to another, byte for byte.
    pub fn copy(&self, from: (&[u8], usize, usize), to: (&mut [u8], usize, usize)) {
        let ((source, source_rows, source_row), (target, target_rows, target_row)) = (from, to);
        let ranges = self.ranges(source_rows, source_row);
        for (from, to) in ranges.into_iter().zip(self.ranges(target_rows, target_row)) {
            target[to].copy_from_slice(&source[from]);
        }
    }
}
