//! Panels: sixteen rows of a quantized weight as 8-bit codes, row beside row, and their product
//! with activations that are rounded to 8 bits.
//!
//! Every block format but those of float precision says, for each 32 columns of a row,
//!
//! ```text
//! w[i] = scale · code[i] − minimum[i / 16]        code a signed byte, minimum often 0
//! ```
//!
//! and with activations `x[i] = step · q[i]`, `q` a whole number within ±127, the product of the 32
//! columns is `scale · step · Σ code · q − Σ minimum · step · Σ q`. The sums of whole numbers are
//! exact; the floats are accumulated block after block. So a result depends on the row and on the
//! token's activations alone, never on how many tokens are computed together nor on the instruction
//! set.
//!
//! Rounding activations costs at most half a step, 1/254 of the largest of 32 neighbours; the
//! weights were trained with activations in E4M3, whose steps are up to 1/16 of each value.
//!
//! Decoding and multiplying go through the columns in stretches that fit into the first-level
//! cache; a decoded stretch serves all tokens.

use gguf::Format;

use crate::cpu::MatrixView;
use crate::cpu::simd::{BLOCK, Codes, Kernel, LANES, PANEL_ROWS, Simd, vector, vector_mut};

/// Blocks of 32 columns that are decoded at once: 8 KiB of codes.
const STRETCH: usize = 16;

/// Whether a format's values are codes under a scale, as this file needs them.
pub(crate) fn is_coded(format: Format) -> bool {
    use Format::*;
    matches!(format, Q8_0 | Q4_0 | Q2K | Q4K | Q5K | Iq2Xxs | Mxfp4)
}

/// 32 neighbouring activations of a token, rounded to 8 bits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rounded {
    /// `q + 128`.
    codes: [u8; BLOCK],
    /// `step`.
    step: f32,
    /// `step · Σ q` of each half.
    sums: [f32; 2],
}

/// Activations rounded to 8 bits, `[T, K]`; memory that is used again and again.
#[derive(Default)]
pub(crate) struct Activations {
    /// Blocks of a row, `K / 32`.
    pub row_blocks: usize,
    /// `[T, K / 32]`.
    pub blocks: Vec<Rounded>,
}

impl Activations {
    /// Makes room for `[rows, cols]`; what is in it has no meaning yet.
    pub fn shape(&mut self, rows: usize, cols: usize) {
        self.row_blocks = cols / BLOCK;
        self.blocks.resize(rows * self.row_blocks, Rounded::default());
    }

    /// Blocks `first..first + count` of a row.
    #[inline(always)]
    fn part(&self, row: usize, first: usize, count: usize) -> &[Rounded] {
        &self.blocks[row * self.row_blocks + first..][..count]
    }
}

/// Rounds a row `[K]`.
pub(crate) struct RoundRow<'a> {
    /// `[K]`.
    pub x: &'a [f32],
    /// `[K / 32]`.
    pub out: &'a mut [Rounded],
}

impl Kernel for RoundRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        for (x, out) in self.x.as_chunks::<BLOCK>().0.iter().zip(self.out) {
            round::<S>(x, out);
        }
    }
}

/// Rounds one block. A value that is not finite makes the step NaN, and with it every product.
#[inline(always)]
fn round<S: Simd>(x: &[f32; BLOCK], out: &mut Rounded) {
    // Magnitudes compare as their bits do; `f32::max` would lose a NaN.
    let largest = x.iter().fold(0u32, |largest, v| largest.max(v.to_bits() & 0x7fff_ffff));
    let (step, inverse) = match f32::from_bits(largest) {
        l if !l.is_finite() => (f32::NAN, 0.0),
        // So small that its inverse could overflow.
        l if l < f32::MIN_POSITIVE * 256.0 => (0.0, 0.0),
        l => (l / 127.0, 127.0 / l),
    };
    out.step = step;
    for (h, codes) in out.codes.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // Without a finite step the codes are zero: 0 · x may be NaN, which converts to anything.
        if inverse == 0.0 {
            codes.fill(128);
        } else {
            let scaled = S::mul(S::load(vector(x, h * LANES)), S::splat(inverse));
            S::store_biased(S::nearest(scaled), codes);
        }
        let sum: i32 = codes.iter().map(|c| i32::from(*c)).sum();
        out.sums[h] = step * (sum - 128 * LANES as i32) as f32;
    }
}

/// A stretch of sixteen decoded rows; memory that is used again and again.
pub(crate) struct Panel {
    codes: Box<[Codes; STRETCH]>,
    /// `scale`, per block and row.
    scales: Box<[[f32; LANES]; STRETCH]>,
    /// `−128 · Σ codes`, per block and row.
    minus: Box<[[i32; LANES]; STRETCH]>,
    /// `minimum`, per 16 columns and row.
    minima: Box<[[[f32; LANES]; 2]; STRETCH]>,
    /// Codes row by row, before they are interleaved: one superblock of 256 columns.
    rows: Box<[[i8; 256]; PANEL_ROWS]>,
}

impl Default for Panel {
    fn default() -> Panel {
        Panel {
            codes: Box::new([[[0; 64]; 8]; STRETCH]),
            scales: Box::new([[0.0; LANES]; STRETCH]),
            minus: Box::new([[0; LANES]; STRETCH]),
            minima: Box::new([[[0.0; LANES]; 2]; STRETCH]),
            rows: Box::new([[0; 256]; PANEL_ROWS]),
        }
    }
}

/// `out[m][r] = W[r] · x[members[m]]` for up to sixteen rows of a weight.
pub(crate) struct Product<'a> {
    /// Between 1 and 16 rows, in a format that [`is_coded`].
    pub rows: MatrixView<'a>,
    /// The activations.
    pub x: &'a Activations,
    /// Which rows of `x`.
    pub members: Members<'a>,
    /// Scratch.
    pub panel: &'a mut Panel,
    /// `[members, 16]`.
    pub out: &'a mut [f32],
}

/// Rows of the activations that a product takes.
#[derive(Clone, Copy)]
pub(crate) enum Members<'a> {
    /// `count` rows, `step` apart, from `first` on.
    Strided { first: usize, step: usize, count: usize },
    /// These.
    List(&'a [u32]),
}

impl Members<'_> {
    /// How many.
    #[inline(always)]
    pub fn count(&self) -> usize {
        match self {
            Members::Strided { count, .. } => *count,
            Members::List(list) => list.len(),
        }
    }

    /// Row of the `i`-th.
    #[inline(always)]
    fn row(&self, i: usize) -> usize {
        match self {
            Members::Strided { first, step, .. } => first + i * step,
            Members::List(list) => list[i] as usize,
        }
    }
}

impl Kernel for Product<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Product { rows: matrix, x, members, panel, out } = self;
        out.fill(0.0);
        let format = matrix.format;
        // Rows beyond the last repeat it; nobody reads their results.
        let row = |r: usize| matrix.slice(r.min(matrix.rows - 1), 1).bytes;
        let rows: [&[u8]; PANEL_ROWS] = std::array::from_fn(row);
        let minima = matches!(format, Format::Q2K | Format::Q4K | Format::Q5K);
        let blocks = x.row_blocks;
        let mut first = 0;
        while first < blocks {
            let count = STRETCH.min(blocks - first);
            panel.decode::<S>(format, &rows, first, count);
            panel.multiply_all::<S>(x, members, first, count, minima, out);
            first += count;
        }
    }
}

impl Panel {
    /// Decodes blocks `first..first + count` of sixteen rows.
    #[inline(always)]
    fn decode<S: Simd>(
        &mut self,
        format: Format,
        rows: &[&[u8]; PANEL_ROWS],
        first: usize,
        count: usize,
    ) {
        match format {
            Format::Q8_0 => self.decode_q8_0::<S>(rows, first, count),
            Format::Q4_0 => self.decode_by_32::<S, 18>(rows, first, count, q4_0),
            Format::Mxfp4 => self.decode_by_32::<S, 17>(rows, first, count, mxfp4),
            Format::Q2K => self.decode_by_256::<S, 84>(rows, first, count, q2_k),
            Format::Q4K => self.decode_by_256::<S, 144>(rows, first, count, q4_k),
            Format::Q5K => self.decode_by_256::<S, 176>(rows, first, count, q5_k),
            Format::Iq2Xxs => self.decode_by_256::<S, 66>(rows, first, count, iq2_xxs),
            other => unreachable!("{other} has no codes"),
        }
        for (codes, minus) in self.codes.iter().zip(self.minus.iter_mut()).take(count) {
            S::minus(codes, minus);
        }
    }

    /// Q8_0 holds the codes as they are.
    #[inline(always)]
    fn decode_q8_0<S: Simd>(&mut self, rows: &[&[u8]; PANEL_ROWS], first: usize, count: usize) {
        for b in 0..count {
            let at = (first + b) * 34;
            let mut halves = [0; 2 * LANES];
            let codes: [&[i8; BLOCK]; PANEL_ROWS] = std::array::from_fn(|r| {
                let block: &[u8; 34] = rows[r][at..at + 34].as_array().expect("a block");
                halves[2 * r..2 * r + 2].copy_from_slice(&block[..2]);
                bytemuck::cast_slice(&block[2..]).as_array().expect("32 codes")
            });
            S::interleave(codes, &mut self.codes[b]);
            S::store(S::f16(&halves), &mut self.scales[b]);
        }
    }

    /// Formats with blocks of 32: `unpack` fills the codes and returns the scale.
    #[inline(always)]
    fn decode_by_32<S: Simd, const BYTES: usize>(
        &mut self,
        rows: &[&[u8]; PANEL_ROWS],
        first: usize,
        count: usize,
        unpack: impl Fn(&[u8; BYTES], &mut [i8; BLOCK]) -> f32,
    ) {
        let mut unpacked = [[0; BLOCK]; PANEL_ROWS];
        for b in 0..count {
            let at = (first + b) * BYTES;
            for (r, out) in unpacked.iter_mut().enumerate() {
                let block = rows[r][at..at + BYTES].as_array().expect("a block");
                self.scales[b][r] = unpack(block, out);
            }
            S::interleave(unpacked.each_ref(), &mut self.codes[b]);
        }
    }

    /// Formats with superblocks of 256, of which a stretch holds whole ones.
    #[inline(always)]
    fn decode_by_256<S: Simd, const BYTES: usize>(
        &mut self,
        rows: &[&[u8]; PANEL_ROWS],
        first: usize,
        count: usize,
        unpack: impl Fn(&[u8; BYTES], &mut [i8; 256], &mut Superblock),
    ) {
        let mut facts = Superblock::default();
        for b in (0..count).step_by(8) {
            let at = (first + b) / 8 * BYTES;
            for (r, out) in self.rows.iter_mut().enumerate() {
                unpack(rows[r][at..at + BYTES].as_array().expect("a block"), out, &mut facts);
                for j in 0..8 {
                    self.scales[b + j][r] = facts.scales[j];
                    self.minima[b + j][0][r] = facts.minima[2 * j];
                    self.minima[b + j][1][r] = facts.minima[2 * j + 1];
                }
            }
            for j in 0..8 {
                let row = |r: usize| self.rows[r][32 * j..32 * j + 32].as_array().expect("32");
                S::interleave(std::array::from_fn(row), &mut self.codes[b + j]);
            }
        }
    }

    /// The decoded stretch times all members, eight, four, two or one at a time.
    #[inline(always)]
    fn multiply_all<S: Simd>(
        &self,
        x: &Activations,
        members: Members,
        first: usize,
        count: usize,
        minima: bool,
        out: &mut [f32],
    ) {
        let (mut m, all) = (0, members.count());
        while m + 8 <= all {
            self.multiply::<S, 8>(x, members, m, first, count, minima, out);
            m += 8;
        }
        if m + 4 <= all {
            self.multiply::<S, 4>(x, members, m, first, count, minima, out);
            m += 4;
        }
        if m + 2 <= all {
            self.multiply::<S, 2>(x, members, m, first, count, minima, out);
            m += 2;
        }
        if m < all {
            self.multiply::<S, 1>(x, members, m, first, count, minima, out);
        }
    }

    /// The decoded stretch times members `m..m + T`, added to their rows of `out`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn multiply<S: Simd, const T: usize>(
        &self,
        x: &Activations,
        members: Members,
        m: usize,
        first: usize,
        count: usize,
        minima: bool,
        out: &mut [f32],
    ) {
        let x: [&[Rounded]; T] = std::array::from_fn(|t| x.part(members.row(m + t), first, count));
        let mut sums: [S::F; T] = std::array::from_fn(|t| S::load(vector(out, (m + t) * LANES)));
        for b in 0..count {
            let now = x.map(|x| &x[b]);
            let products = S::block(&self.codes[b], &self.minus[b], now.map(|x| &x.codes));
            let scales = S::load(&self.scales[b]);
            for t in 0..T {
                let scale = S::mul(scales, S::splat(now[t].step));
                sums[t] = S::fma(S::to_f(products[t]), scale, sums[t]);
            }
            if minima {
                for (half, minimum) in self.minima[b].iter().enumerate() {
                    let minimum = S::load(minimum);
                    for t in 0..T {
                        sums[t] = S::fma(minimum, S::splat(-now[t].sums[half]), sums[t]);
                    }
                }
            }
        }
        for (t, sum) in sums.into_iter().enumerate() {
            S::store(sum, vector_mut(out, (m + t) * LANES));
        }
    }
}

/// Scales of 32 and minima of 16 columns of a superblock.
#[derive(Default)]
struct Superblock {
    scales: [f32; 8],
    minima: [f32; 16],
}

/// An F16, without asking the processor for its conversion: here it must be cheap to inline.
#[inline(always)]
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, rest) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    // Infinity and NaN keep their exponent of ones; other numbers are read with the bias of F32 and
    // lifted by the difference, subnormal ones too.
    if rest >= 0x7c00 << 13 {
        f32::from_bits(sign | 0x7f80_0000 | rest & 0x007f_ffff)
    } else {
        f32::from_bits(sign | rest) * f32::from_bits((127 + 112) << 23)
    }
}

#[inline(always)]
fn q4_0(block: &[u8; 18], out: &mut [i8; BLOCK]) -> f32 {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[2..]) {
        (*low, *high) = ((byte & 15) as i8 - 8, (byte >> 4) as i8 - 8);
    }
    half([block[0], block[1]])
}

#[inline(always)]
fn mxfp4(block: &[u8; 17], out: &mut [i8; BLOCK]) -> f32 {
    use gguf::blocks::mxfp4::{TWICE_E2M1, half_factor};
    let (low, high) = out.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[1..]) {
        *low = TWICE_E2M1[usize::from(byte & 15)];
        *high = TWICE_E2M1[usize::from(byte >> 4)];
    }
    half_factor(block[0])
}

/// Scales are whole numbers up to 15 and go into the codes, which then reach 45.
#[inline(always)]
fn q2_k(block: &[u8; 84], out: &mut [i8; 256], facts: &mut Superblock) {
    let (d, dmin) = (half([block[80], block[81]]), half([block[82], block[83]]));
    facts.scales = [d; 8];
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = block[group] & 15;
        facts.minima[group] = dmin * f32::from(block[group] >> 4);
        let (h, k, l) = (group / 8, group % 8 / 2, group % 2 * 16);
        for (code, byte) in out.iter_mut().zip(&block[16 + 32 * h + l..][..16]) {
            *code = (((byte >> (2 * k)) & 3) * scale) as i8;
        }
    }
}

#[inline(always)]
fn q4_k(block: &[u8; 144], out: &mut [i8; 256], facts: &mut Superblock) {
    k_scales(block[..16].as_array().expect("sixteen bytes"), facts);
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (low, high) = out.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[16 + 32 * pair..][..32]) {
            (*low, *high) = ((byte & 15) as i8, (byte >> 4) as i8);
        }
    }
}

#[inline(always)]
fn q5_k(block: &[u8; 176], out: &mut [i8; 256], facts: &mut Superblock) {
    k_scales(block[..16].as_array().expect("sixteen bytes"), facts);
    let (fifth, low) = block[16..].split_at(32);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for ((code, low), fifth) in out.iter_mut().zip(&low[j / 2 * 32..][..32]).zip(fifth) {
            *code = ((low >> (j % 2 * 4)) & 15 | ((fifth >> j) & 1) << 4) as i8;
        }
    }
}

/// The head of Q4_K and Q5_K: scales and minima of 32 columns.
#[inline(always)]
fn k_scales(head: &[u8; 16], facts: &mut Superblock) {
    let (d, dmin) = (half([head[0], head[1]]), half([head[2], head[3]]));
    let packed = head[4..].as_array().expect("twelve bytes");
    let (scales, minima) = gguf::blocks::q4_k::scales_and_minima(packed);
    for j in 0..8 {
        facts.scales[j] = d * f32::from(scales[j]);
        facts.minima[2 * j] = dmin * f32::from(minima[j]);
        facts.minima[2 * j + 1] = facts.minima[2 * j];
    }
}

/// Eight codes at a time: the lattice point as one number, negated where its sign mask says so.
#[inline(always)]
fn iq2_xxs(block: &[u8; 66], out: &mut [i8; 256], facts: &mut Superblock) {
    use gguf::blocks::iq2_xxs::GRID;
    let d = half([block[0], block[1]]);
    let groups = block[2..].as_chunks::<8>().0;
    for (j, (group, out)) in groups.iter().zip(out.as_chunks_mut::<32>().0).enumerate() {
        let [a, b, c, e, signs @ ..] = *group;
        let signs = u32::from_le_bytes(signs);
        facts.scales[j] = d * (0.5 + (signs >> 28) as f32) * 0.25;
        for (k, (row, out)) in [a, b, c, e].into_iter().zip(out.as_chunks_mut::<8>().0).enumerate()
        {
            let point = u64::from_le_bytes(GRID[usize::from(row)]);
            let mask = SIGN_BYTES[(signs >> (7 * k) & 127) as usize];
            // Two's complement in every byte: magnitudes are not zero, so nothing carries over.
            let signed = (point ^ mask) + (mask & 0x0101_0101_0101_0101);
            *out = bytemuck::cast(signed.to_le_bytes());
        }
    }
}

/// The sign masks of IQ2_XXS, a byte of ones for every negative value.
static SIGN_BYTES: [u64; 128] = {
    let mut bytes = [0; 128];
    let mut at = 0;
    while at < 128 * 8 {
        if gguf::blocks::iq2_xxs::SIGNS[at / 8] >> (at % 8) & 1 == 1 {
            bytes[at / 8] |= 0xff << (8 * (at % 8));
        }
        at += 1;
    }
    bytes
};
