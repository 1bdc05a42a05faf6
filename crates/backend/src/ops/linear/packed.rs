//! Q8_0 weights repacked when they are loaded: panels of sixteen rows as they are multiplied.
//!
//! Half of what a token reads are Q8_0 matrices, all of them, every time. As the file has them,
//! sixteen rows are sixteen streams that have to be interleaved; repacked they are one stream that
//! the processor foresees, in large pages of memory that is near the thread that reads it (the same
//! worker packs and multiplies a panel). It costs their size once more, so it is done only within
//! a budget.
//!
//! ```text
//! panel    [K / 32] blocks     sixteen rows, the last panel's missing rows repeat the last one
//! block    scales [16] F16, codes [8][16][4] bytes q, as `Simd::block` takes them
//! ```
//!
//! Products are those of the rows as they were, bit for bit.

use memmap2::MmapMut;

use super::coding::Q8_0;
use super::panel::{Blocks, Members, multiply_all};
use crate::cpu::MatrixView;
use crate::cpu::fast::Workers;
use crate::cpu::simd::{BLOCK, Codes, Kernel, LANES, PANEL_ROWS, Simd};
use crate::ops::linear::panel::Activations;

/// Bytes of a block of a panel.
const BLOCK_BYTES: usize = 2 * LANES + BLOCK * PANEL_ROWS;
/// Bytes of a block of a row of Q8_0.
const ROW_BLOCK_BYTES: usize = 34;

/// A repacked weight.
pub(crate) struct Packed {
    map: MmapMut,
    panel_bytes: usize,
}

impl Packed {
    /// Bytes that a matrix takes.
    pub fn bytes(rows: usize, cols: usize) -> usize {
        rows.div_ceil(PANEL_ROWS) * (cols / BLOCK) * BLOCK_BYTES
    }

    /// Repacks a matrix; `None` if the system has no memory for it.
    pub fn new(workers: &mut Workers, matrix: MatrixView) -> Option<Packed> {
        let mut map = MmapMut::map_anon(Packed::bytes(matrix.rows, matrix.cols)).ok()?;
        crate::prefer_large_pages(&map);
        let panel_bytes = matrix.cols / BLOCK * BLOCK_BYTES;
        workers.chunks(&mut map, panel_bytes, &|own, panel, out| {
            own.level.run(Pack { matrix, first_row: panel * PANEL_ROWS, out });
        });
        Some(Packed { map, panel_bytes })
    }

    /// Bytes that it holds.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The panel that begins with row `16 · panel`.
    pub fn panel(&self, panel: usize) -> PackedPanel<'_> {
        PackedPanel { bytes: &self.map[panel * self.panel_bytes..], first: 0 }
    }
}

/// Writes one panel.
struct Pack<'a> {
    matrix: MatrixView<'a>,
    first_row: usize,
    out: &'a mut [u8],
}

impl Kernel for Pack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Pack { matrix, first_row, out } = self;
        let row_bytes = matrix.bytes.len() / matrix.rows;
        for (b, out) in out.as_chunks_mut::<BLOCK_BYTES>().0.iter_mut().enumerate() {
            let (scales, codes) = out.split_at_mut(2 * LANES);
            let mut rows: [&[u8; BLOCK]; PANEL_ROWS] = [&[0; BLOCK]; PANEL_ROWS];
            for (r, row) in rows.iter_mut().enumerate() {
                let at = (first_row + r).min(matrix.rows - 1) * row_bytes + b * ROW_BLOCK_BYTES;
                let block = &matrix.bytes[at..at + ROW_BLOCK_BYTES];
                scales[2 * r..2 * r + 2].copy_from_slice(&block[..2]);
                *row = block[2..].as_array().expect("32 codes");
            }
            S::interleave::<true>(rows, bytemuck::from_bytes_mut(codes));
        }
    }
}

/// How far ahead of the product a panel is fetched, in blocks: by itself a processor stops at every
/// page and starts again slowly.
const AHEAD: usize = 4;

/// Blocks of one panel, from block `first` on; the bytes go on to the end of the weight.
#[derive(Clone, Copy)]
pub(crate) struct PackedPanel<'a> {
    bytes: &'a [u8],
    first: usize,
}

impl Blocks for PackedPanel<'_> {
    #[inline(always)]
    fn codes(&self, b: usize) -> &Codes {
        let at = (self.first + b) * BLOCK_BYTES;
        bytemuck::from_bytes(&self.bytes[at + 2 * LANES..at + BLOCK_BYTES])
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, b: usize) -> S::F {
        let at = (self.first + b) * BLOCK_BYTES;
        S::f16(self.bytes[at..at + 2 * LANES].as_array().expect("sixteen scales"))
    }

    #[inline(always)]
    fn look_ahead<S: Simd>(&self, b: usize) {
        // What follows a panel is the next one.
        let at = (self.first + b + AHEAD) * BLOCK_BYTES;
        if let Some(block) = self.bytes.get(at..at + BLOCK_BYTES) {
            for line in (0..BLOCK_BYTES).step_by(64) {
                S::prefetch(&block[line..]);
            }
        }
    }

    #[inline(always)]
    fn minimum<S: Simd>(&self, _b: usize, _half: usize) -> S::F {
        unreachable!("Q8_0 has no minima")
    }
}

/// `out[m][r] = W[r] · x[members[m]]` for the rows of a panel.
pub(crate) struct PackedProduct<'a> {
    /// The rows.
    pub panel: PackedPanel<'a>,
    /// The activations.
    pub x: &'a Activations,
    /// Which rows of `x`.
    pub members: Members<'a>,
    /// `[members, 16]`.
    pub out: &'a mut [f32],
}

/// Blocks that serve all members before the next ones are read.
const STRETCH: usize = 32;

impl Kernel for PackedProduct<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let PackedProduct { panel, x, members, out } = self;
        out.fill(0.0);
        // A single member needs no stretches.
        let stretch = if members.count() == 1 { x.row_blocks } else { STRETCH };
        for first in (0..x.row_blocks).step_by(stretch) {
            let count = stretch.min(x.row_blocks - first);
            let blocks = PackedPanel { first, ..panel };
            multiply_all::<S, Q8_0, _>(&blocks, x, members, first, count, out);
        }
    }
}
