//! Panels: sixteen rows of a quantized weight as 8-bit codes, row beside row, and their product
//! with activations that are rounded to 8 bits.
//!
//! Every block format but those of float precision says, for each 32 columns of a row,
//!
//! ```text
//! w[i] = scale · (code[i] − zero) − minimum[i / 16]     code a byte, zero the format's
//! ```
//!
//! where most formats have no minimum. With activations `x[i] = step · q[i]`, `q` a whole number
//! within ±127, the product of the 32 columns is `scale · step · (Σ code · q − zero · Σ q) − Σ
//! minimum · step · Σ q`. The sums of whole numbers are exact; the floats are accumulated block
//! after block. So a result depends on the row and on the token's activations alone, never on how
//! many tokens are computed together nor on the instruction set.
//!
//! Rounding activations costs at most half a step, 1/254 of the largest of 32 neighbours; the
//! weights were trained with activations in E4M3, whose steps are up to 1/8 of each value.
//!
//! Decoding and multiplying go through the columns in stretches that fit into the first-level
//! cache; a decoded stretch serves all tokens. `coding.rs` has the formats.

use std::marker::PhantomData;

use gguf::Format;

use super::coding;
use crate::cpu::simd::{BLOCK, Codes, Kernel, LANES, PANEL_ROWS, Simd, vector, vector_mut};
use crate::cpu::{Level, MatrixView};

/// Blocks of 32 columns that are decoded at once: 8 KiB of codes.
pub(crate) const STRETCH: usize = 16;

/// 32 neighbouring activations of a token, rounded to 8 bits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rounded {
    /// `q`.
    codes: [i8; BLOCK],
    /// `step`.
    step: f32,
    /// `Σ q`.
    sum: i32,
    /// `step · Σ q` of each half.
    halves: [f32; 2],
}

impl Rounded {
    const NOTHING: Rounded = Rounded { codes: [0; BLOCK], step: 0.0, sum: 0, halves: [0.0; 2] };
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
    (out.step, out.sum) = (step, 0);
    for (h, codes) in out.codes.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // Without a finite step the codes are zero: 0 · x may be NaN, which converts to anything.
        let mut sum = 0;
        if inverse == 0.0 {
            codes.fill(0);
        } else {
            let scaled = S::mul(S::load(vector(x, h * LANES)), S::splat(inverse));
            let nearest = S::nearest(scaled);
            S::store_bytes(nearest, codes);
            // Exact: a sum of sixteen bytes.
            sum = S::sum(S::to_f(nearest)) as i32;
        }
        out.sum += sum;
        out.halves[h] = step * sum as f32;
    }
}

/// A stretch of sixteen decoded rows; memory that is used again and again.
pub(crate) struct Panel {
    /// `code`.
    pub codes: Box<[Codes; STRETCH]>,
    /// `scale`, per block and row.
    pub scales: Box<[[f32; LANES]; STRETCH]>,
    /// `minimum`, per 16 columns and row.
    pub minima: Box<[[[f32; LANES]; 2]; STRETCH]>,
    /// Codes row by row, before they are interleaved: one superblock of 256 columns.
    pub rows: Box<[[u8; 256]; PANEL_ROWS]>,
    /// What the superblocks say.
    pub facts: coding::Facts,
    /// Scales in F16, as the rows hold them.
    pub halves: Box<[[u8; 2 * LANES]; STRETCH]>,
}

impl Default for Panel {
    fn default() -> Panel {
        Panel {
            codes: Box::new([[[0; 64]; 8]; STRETCH]),
            scales: Box::new([[0.0; LANES]; STRETCH]),
            minima: Box::new([[[0.0; LANES]; 2]; STRETCH]),
            rows: Box::new([[0; 256]; PANEL_ROWS]),
            facts: coding::Facts::default(),
            halves: Box::new([[0; 2 * LANES]; STRETCH]),
        }
    }
}

/// Sixteen rows.
pub(crate) struct Rows<'a> {
    /// Each from its first byte to the end of the matrix.
    rows: [&'a [u8]; PANEL_ROWS],
    row_bytes: usize,
}

/// How far ahead of the decoder rows are fetched, in bytes of each row: memory answers late, and
/// sixteen rows are more streams than processors foresee by themselves.
const AHEAD: usize = 1024;

impl<'a> Rows<'a> {
    /// The block of `BYTES` bytes from byte `at` of row `r`.
    #[inline(always)]
    pub fn block<const BYTES: usize>(&self, r: usize, at: usize) -> &'a [u8; BYTES] {
        self.rows[r][at..at + BYTES].as_array().expect("a block")
    }

    /// Asks for the bytes that will be decoded some time after byte `at`: of these rows, or of the
    /// sixteen after them.
    #[inline(always)]
    pub fn look_ahead<S: Simd>(&self, at: usize) {
        let mut at = at + AHEAD;
        if at >= self.row_bytes {
            at += (PANEL_ROWS - 1) * self.row_bytes;
        }
        for row in self.rows {
            S::prefetch(row.get(at..).unwrap_or_default());
        }
    }
}

/// A block format, as codes.
pub(crate) trait Coding {
    /// The code that stands for nothing, before a level combines its sign.
    const ZERO: i32;
    /// Whether codes are bytes with a sign; others are at most 127.
    const SIGNED: bool;
    /// Whether there are minima.
    const MINIMA: bool;

    /// Whether there are [`Coding::row_sums`].
    const BY_ROWS: bool = false;

    /// Fills `panel` with blocks `first..first + count` of sixteen rows.
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize);

    /// `Σ (code − zero) · q` for the eight blocks of a superblock, from block `first` on, times one
    /// token, without decoding: fills the first eight scales and minima of `panel` only.
    #[inline(always)]
    fn row_sums<S: Simd>(
        _panel: &mut Panel,
        _rows: &Rows,
        _first: usize,
        _x: [&[i8; BLOCK]; 8],
    ) -> [S::I; 8] {
        unreachable!("the format has no row sums")
    }
}

/// `out[m][r] = W[r] · x[members[m]]` for up to sixteen rows of a weight.
pub(crate) struct Product<'a> {
    /// The weight, in a format that [`is_coded`].
    pub matrix: MatrixView<'a>,
    /// The first row; sixteen, or as many as there are.
    pub first_row: usize,
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

impl Product<'_> {
    /// Computes it on an instruction set.
    pub fn run(self, level: Level) {
        match self.matrix.format {
            Format::Q8_0 => level.run(Coded::<coding::Q8_0>(self, PhantomData)),
            Format::Q4_0 => level.run(Coded::<coding::Q4_0>(self, PhantomData)),
            Format::Mxfp4 => level.run(Coded::<coding::Mxfp4>(self, PhantomData)),
            Format::Q2K => level.run(Coded::<coding::Q2K>(self, PhantomData)),
            Format::Q4K => level.run(Coded::<coding::Q4K>(self, PhantomData)),
            Format::Q5K => level.run(Coded::<coding::Q5K>(self, PhantomData)),
            Format::Iq2Xxs => level.run(Coded::<coding::Iq2Xxs>(self, PhantomData)),
            other => unreachable!("{other} has no codes"),
        }
    }
}

/// Whether [`Product::run`] knows a format.
pub(crate) fn is_coded(format: Format) -> bool {
    use Format::*;
    matches!(format, Q8_0 | Q4_0 | Mxfp4 | Q2K | Q4K | Q5K | Iq2Xxs)
}

/// A product whose rows are coded as `C`.
struct Coded<'a, C>(Product<'a>, PhantomData<C>);

impl<C: Coding> Kernel for Coded<'_, C> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Product { matrix, first_row, x, members, panel, out } = self.0;
        out.fill(0.0);
        let mut rows: [&[u8]; PANEL_ROWS] = [&[]; PANEL_ROWS];
        let row_bytes = matrix.bytes.len() / matrix.rows;
        for (r, row) in rows.iter_mut().enumerate() {
            // Rows beyond the last repeat it; nobody reads their results. Each goes on to the end
            // of the matrix, for the sake of looking ahead.
            *row = &matrix.bytes[(first_row + r).min(matrix.rows - 1) * row_bytes..];
        }
        let rows = Rows { rows, row_bytes };
        let blocks = x.row_blocks;
        if C::BY_ROWS && S::BY_ROWS && members.count() == 1 {
            let x = x.part(members.row(0), 0, blocks);
            let sums = multiply_rows::<S, C>(panel, &rows, x);
            return S::store(sums, vector_mut(out, 0));
        }
        let mut first = 0;
        while first < blocks {
            let count = STRETCH.min(blocks - first);
            C::decode::<S>(panel, &rows, first, count);
            multiply_all::<S, C, _>(panel, x, members, first, count, out);
            first += count;
        }
    }
}

/// A stretch of blocks of sixteen rows, ready to be multiplied.
pub(crate) trait Blocks {
    /// Codes of block `b`.
    fn codes(&self, b: usize) -> &Codes;
    /// Scales of block `b`, row by row.
    fn scales<S: Simd>(&self, b: usize) -> S::F;
    /// Minima of a half of block `b`, row by row.
    fn minimum<S: Simd>(&self, b: usize, half: usize) -> S::F;
    /// Asks for what will be multiplied some time after block `b`.
    #[inline(always)]
    fn look_ahead<S: Simd>(&self, _b: usize) {}
}

impl Blocks for Panel {
    #[inline(always)]
    fn codes(&self, b: usize) -> &Codes {
        &self.codes[b]
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, b: usize) -> S::F {
        S::load(&self.scales[b])
    }

    #[inline(always)]
    fn minimum<S: Simd>(&self, b: usize, half: usize) -> S::F {
        S::load(&self.minima[b][half])
    }
}

/// The decoded stretch times all members, eight, four, two or one at a time.
#[inline(always)]
pub(crate) fn multiply_all<S: Simd, C: Coding, B: Blocks>(
    blocks: &B,
    x: &Activations,
    members: Members,
    first: usize,
    count: usize,
    out: &mut [f32],
) {
    let (mut m, all) = (0, members.count());
    while m + 8 <= all {
        multiply::<S, C, B, 8>(blocks, x, members, m, first, count, out);
        m += 8;
    }
    if m + 4 <= all {
        multiply::<S, C, B, 4>(blocks, x, members, m, first, count, out);
        m += 4;
    }
    if m + 2 <= all {
        multiply::<S, C, B, 2>(blocks, x, members, m, first, count, out);
        m += 2;
    }
    if m < all {
        multiply::<S, C, B, 1>(blocks, x, members, m, first, count, out);
    }
}

/// The decoded stretch times members `m..m + T`, added to their rows of `out`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // a block is an index into the stretch and every token's row
fn multiply<S: Simd, C: Coding, B: Blocks, const T: usize>(
    blocks: &B,
    x: &Activations,
    members: Members,
    m: usize,
    first: usize,
    count: usize,
    out: &mut [f32],
) {
    let mut rows: [&[Rounded]; T] = [&[]; T];
    let mut sums = [S::splat(0.0); T];
    for t in 0..T {
        rows[t] = x.part(members.row(m + t), first, count);
        sums[t] = S::load(vector(out, (m + t) * LANES));
    }
    let zero = C::ZERO + if C::SIGNED { i32::from(S::SIGN_FLIP) } else { 0 };
    for b in 0..count {
        if m == 0 {
            blocks.look_ahead::<S>(b);
        }
        let (mut codes, mut start): ([&[i8; BLOCK]; T], _) = ([&[0; BLOCK]; T], [0; T]);
        for t in 0..T {
            codes[t] = &rows[t][b].codes;
            start[t] = -zero * rows[t][b].sum;
        }
        let products = match C::SIGNED {
            true => S::block::<T, true>(blocks.codes(b), codes, start),
            false => S::block::<T, false>(blocks.codes(b), codes, start),
        };
        let mut x = [&Rounded::NOTHING; T];
        for t in 0..T {
            x[t] = &rows[t][b];
        }
        sums = accumulate::<S, C, B, T>(blocks, b, x, products, sums);
    }
    for (t, sum) in sums.into_iter().enumerate() {
        S::store(sum, vector_mut(out, (m + t) * LANES));
    }
}

/// The sums with block `b` added: the part in floats, the same for every way to the whole numbers.
#[inline(always)]
fn accumulate<S: Simd, C: Coding, B: Blocks, const T: usize>(
    blocks: &B,
    b: usize,
    x: [&Rounded; T],
    products: [S::I; T],
    mut sums: [S::F; T],
) -> [S::F; T] {
    let scales = blocks.scales::<S>(b);
    for t in 0..T {
        let scale = S::mul(scales, S::splat(x[t].step));
        sums[t] = S::fma(S::to_f(products[t]), scale, sums[t]);
    }
    if C::MINIMA {
        for half in 0..2 {
            let minimum = blocks.minimum::<S>(b, half);
            for t in 0..T {
                sums[t] = S::fma(minimum, S::splat(-x[t].halves[half]), sums[t]);
            }
        }
    }
    sums
}

/// Sixteen rows of whole superblocks times one token, as the rows are stored.
#[inline(always)]
fn multiply_rows<S: Simd, C: Coding>(panel: &mut Panel, rows: &Rows, x: &[Rounded]) -> S::F {
    let mut sums = [S::splat(0.0)];
    for (s, x) in x.as_chunks::<8>().0.iter().enumerate() {
        let mut codes = [&[0; BLOCK]; 8];
        for (codes, x) in codes.iter_mut().zip(x) {
            *codes = &x.codes;
        }
        let products = C::row_sums::<S>(panel, rows, 8 * s, codes);
        for (b, product) in products.into_iter().enumerate() {
            sums = accumulate::<S, C, Panel, 1>(panel, b, [&x[b]], [product], sums);
        }
    }
    sums[0]
}
