//! The block formats as codes, scales and minima, for sixteen rows at a time.
//!
//! What a format means is said in `gguf::blocks`; here it is unpacked to bytes without sign, row by
//! row, and the rows are interleaved. Loops over bytes are written so that the compiler turns them
//! into vector instructions.

use gguf::blocks::{iq2_xxs, mxfp4, q4_k};

use super::panel::{Coding, Panel, Rows};
use crate::cpu::simd::{BLOCK, PANEL_ROWS, Simd};

/// Signed bytes, `−128` up.
pub(crate) struct Q8_0;
/// Four bits, less 8.
pub(super) struct Q4_0;
/// Four-bit floats, doubled.
pub(super) struct Mxfp4;
/// Two bits times a scale of four bits, which then reach 45.
pub(super) struct Q2K;
/// Four bits.
pub(super) struct Q4K;
/// Five bits.
pub(super) struct Q5K;
/// Points of the lattice with signs.
pub(super) struct Iq2Xxs;

impl Coding for Q8_0 {
    const ZERO: i32 = 0;
    const SIGNED: bool = true;
    const MINIMA: bool = false;

    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        decode_codes::<S>(panel, rows, first, count);
    }
}

/// Q8_0 holds the codes as they are, but with a sign.
#[inline(always)]
fn decode_codes<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
    const BYTES: usize = 34;
    for b in 0..count {
        let at = (first + b) * BYTES;
        rows.look_ahead::<S>(at);
        let mut codes: [&[u8; BLOCK]; PANEL_ROWS] = [&[0; BLOCK]; PANEL_ROWS];
        for (r, codes) in codes.iter_mut().enumerate() {
            let block: &[u8; BYTES] = rows.block(r, at);
            panel.halves[b][2 * r..2 * r + 2].copy_from_slice(&block[..2]);
            *codes = block[2..].as_array().expect("32 codes");
        }
        S::interleave::<true>(codes, &mut panel.codes[b]);
    }
    convert_halves::<S>(panel, count);
}

/// Scales from F16, in a pass of their own: bytes written one by one are not ready to be read as a
/// vector.
#[inline(always)]
fn convert_halves<S: Simd>(panel: &mut Panel, count: usize) {
    for (halves, scales) in panel.halves.iter().zip(panel.scales.iter_mut()).take(count) {
        S::store(S::f16(halves), scales);
    }
}

impl Coding for Q4_0 {
    const ZERO: i32 = 8;
    const SIGNED: bool = false;
    const MINIMA: bool = false;

    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        const BYTES: usize = 18;
        let mut unpacked = [[0; BLOCK]; PANEL_ROWS];
        for b in 0..count {
            let at = (first + b) * BYTES;
            rows.look_ahead::<S>(at);
            for (r, out) in unpacked.iter_mut().enumerate() {
                let block: &[u8; BYTES] = rows.block(r, at);
                panel.halves[b][2 * r..2 * r + 2].copy_from_slice(&block[..2]);
                nibbles(block[2..].as_array().expect("sixteen bytes"), out);
            }
            S::interleave::<false>(unpacked.each_ref(), &mut panel.codes[b]);
        }
        convert_halves::<S>(panel, count);
    }
}

/// Low halves first, then high halves.
#[inline(always)]
fn nibbles(bytes: &[u8; 16], out: &mut [u8; BLOCK]) {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

/// Twice the E2M1 values, plus 12: bytes without sign.
pub(crate) const TWICE_E2M1_FROM_ZERO: [u8; 16] = {
    let (mut table, mut i) = ([0; 16], 0);
    while i < 16 {
        table[i] = (mxfp4::TWICE_E2M1[i] + 12) as u8;
        i += 1;
    }
    table
};

impl Coding for Mxfp4 {
    const ZERO: i32 = 12;
    const SIGNED: bool = false;
    const MINIMA: bool = false;

    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        const BYTES: usize = 17;
        let mut unpacked = [[0; BLOCK]; PANEL_ROWS];
        for b in 0..count {
            let at = (first + b) * BYTES;
            rows.look_ahead::<S>(at);
            for (r, out) in unpacked.iter_mut().enumerate() {
                let block: &[u8; BYTES] = rows.block(r, at);
                panel.scales[b][r] = mxfp4::half_factor(block[0]);
                nibbles(block[1..].as_array().expect("sixteen bytes"), out);
                S::translate(&TWICE_E2M1_FROM_ZERO, out);
            }
            S::interleave::<false>(unpacked.each_ref(), &mut panel.codes[b]);
        }
    }
}

impl Coding for Q2K {
    const ZERO: i32 = 0;
    const SIGNED: bool = false;
    const MINIMA: bool = true;
    const BY_ROWS: bool = true;

    /// Scales of 16 columns are in the codes.
    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        for b in (0..count).step_by(8) {
            superblock::<S, Self, 84>(panel, rows, first, b);
            scales_and_minima_of_16::<S>(panel, b);
        }
    }

    #[inline(always)]
    fn row_sums<S: Simd>(
        panel: &mut Panel,
        rows: &Rows,
        first: usize,
        x: [&[i8; BLOCK]; 8],
    ) -> [S::I; 8] {
        let (mut scales, mut quants) = ([&[0; 16]; PANEL_ROWS], [&[0; 64]; PANEL_ROWS]);
        let at = first / 8 * 84;
        look_ahead::<S, 84>(rows, at);
        for (r, (scales, quants)) in scales.iter_mut().zip(&mut quants).enumerate() {
            (*scales, *quants) = q2_k_parts(rows.block(r, at), &mut panel.facts, r);
        }
        let sums = S::sums_q2_k(scales, quants, x);
        scales_and_minima_of_16::<S>(panel, 0);
        sums
    }
}

/// Of a superblock of Q2_K: scales of 16 columns are in the codes.
#[inline(always)]
fn scales_and_minima_of_16<S: Simd>(panel: &mut Panel, b: usize) {
    let (d, dmin) = (S::f16(&panel.facts.d), S::f16(&panel.facts.dmin));
    let mut minima = [[0; PANEL_ROWS]; 16];
    S::transpose(&panel.facts.bytes, &mut minima);
    for j in 0..8 {
        S::store(d, &mut panel.scales[b + j]);
        for half in 0..2 {
            let minimum = minima[2 * j + half].map(|byte| byte >> 4);
            let minimum = S::mul(dmin, S::u8(&minimum));
            S::store(minimum, &mut panel.minima[b + j][half]);
        }
    }
}

impl Coding for Q4K {
    const ZERO: i32 = 0;
    const SIGNED: bool = false;
    const MINIMA: bool = true;

    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        for b in (0..count).step_by(8) {
            superblock::<S, Self, 144>(panel, rows, first, b);
            scales_and_minima_of_32::<S>(panel, b);
        }
    }
}

impl Coding for Q5K {
    const ZERO: i32 = 0;
    const SIGNED: bool = false;
    const MINIMA: bool = true;

    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        for b in (0..count).step_by(8) {
            superblock::<S, Self, 176>(panel, rows, first, b);
            scales_and_minima_of_32::<S>(panel, b);
        }
    }
}

/// What Q4_K and Q5_K have in common.
#[inline(always)]
fn scales_and_minima_of_32<S: Simd>(panel: &mut Panel, b: usize) {
    let (d, dmin) = (S::f16(&panel.facts.d), S::f16(&panel.facts.dmin));
    for j in 0..8 {
        S::store(S::mul(d, S::u8(&panel.facts.scales[j])), &mut panel.scales[b + j]);
        let minimum = S::mul(dmin, S::u8(&panel.facts.minima[j]));
        S::store(minimum, &mut panel.minima[b + j][0]);
        S::store(minimum, &mut panel.minima[b + j][1]);
    }
}

impl Coding for Iq2Xxs {
    const ZERO: i32 = 64;
    const SIGNED: bool = false;
    const MINIMA: bool = false;
    const BY_ROWS: bool = true;

    #[inline(always)]
    fn decode<S: Simd>(panel: &mut Panel, rows: &Rows, first: usize, count: usize) {
        for b in (0..count).step_by(8) {
            superblock::<S, Self, 66>(panel, rows, first, b);
            scales_of_32::<S>(panel, b);
        }
    }

    #[inline(always)]
    fn row_sums<S: Simd>(
        panel: &mut Panel,
        rows: &Rows,
        first: usize,
        x: [&[i8; BLOCK]; 8],
    ) -> [S::I; 8] {
        let mut groups: [&[u8; 64]; PANEL_ROWS] = [&[0; 64]; PANEL_ROWS];
        let at = first / 8 * 66;
        look_ahead::<S, 66>(rows, at);
        for (r, groups) in groups.iter_mut().enumerate() {
            let block: &[u8; 66] = rows.block(r, at);
            panel.facts.set_d(r, &block[..2]);
            *groups = block[2..].as_array().expect("eight groups");
        }
        let sums = S::sums_iq2_xxs(groups, &mut panel.facts.bytes, x);
        scales_of_32::<S>(panel, 0);
        sums
    }
}

/// Of a superblock of IQ2_XXS.
#[inline(always)]
fn scales_of_32<S: Simd>(panel: &mut Panel, b: usize) {
    let d = S::f16(&panel.facts.d);
    let mut scales = [[0; PANEL_ROWS]; 16];
    S::transpose(&panel.facts.bytes, &mut scales);
    for (j, scales) in scales[..8].iter().enumerate() {
        let scale = S::add(S::u8(scales), S::splat(0.5));
        let scale = S::mul(S::mul(d, scale), S::splat(0.25));
        S::store(scale, &mut panel.scales[b + j]);
    }
}

/// What sixteen superblocks say of their columns, row beside row.
#[derive(Default)]
pub(crate) struct Facts {
    /// Scale of the scales, F16.
    d: [u8; 2 * PANEL_ROWS],
    /// Scale of the minima, F16.
    dmin: [u8; 2 * PANEL_ROWS],
    /// By group of 32 columns.
    scales: [[u8; PANEL_ROWS]; 8],
    /// By group of 32 columns.
    minima: [[u8; PANEL_ROWS]; 8],
    /// Row by row: scale and minimum by group of 16 columns, or scale by group of 32.
    bytes: [[u8; 16]; PANEL_ROWS],
}

/// A format with superblocks of 256 columns, of which a stretch holds whole ones.
trait Superblocks<const BYTES: usize> {
    /// Unpacks the codes of row `r`, and notes what the superblock says.
    fn unpack<S: Simd>(block: &[u8; BYTES], out: &mut [u8; 256], facts: &mut Facts, r: usize);
}

/// Asks for what will follow the superblocks at byte `at` of every row.
#[inline(always)]
fn look_ahead<S: Simd, const BYTES: usize>(rows: &Rows, at: usize) {
    for line in (0..BYTES).step_by(64) {
        rows.look_ahead::<S>(at + line);
    }
}

/// Unpacks a superblock of every row, and interleaves the codes.
#[inline(always)]
fn superblock<S: Simd, C: Superblocks<BYTES>, const BYTES: usize>(
    panel: &mut Panel,
    rows: &Rows,
    first: usize,
    b: usize,
) {
    let at = (first + b) / 8 * BYTES;
    look_ahead::<S, BYTES>(rows, at);
    for (r, out) in panel.rows.iter_mut().enumerate() {
        C::unpack::<S>(rows.block(r, at), out, &mut panel.facts, r);
    }
    for j in 0..8 {
        let mut rows: [&[u8; BLOCK]; PANEL_ROWS] = [&[0; BLOCK]; PANEL_ROWS];
        for (row, unpacked) in rows.iter_mut().zip(panel.rows.iter()) {
            *row = unpacked[32 * j..32 * j + 32].as_array().expect("32 codes");
        }
        S::interleave::<false>(rows, &mut panel.codes[b + j]);
    }
}

impl Facts {
    #[inline(always)]
    fn set_d(&mut self, r: usize, d: &[u8]) {
        self.d[2 * r..2 * r + 2].copy_from_slice(d);
    }

    #[inline(always)]
    fn set_dmin(&mut self, r: usize, dmin: &[u8]) {
        self.dmin[2 * r..2 * r + 2].copy_from_slice(dmin);
    }
}

impl Superblocks<84> for Q2K {
    #[inline(always)]
    fn unpack<S: Simd>(block: &[u8; 84], out: &mut [u8; 256], facts: &mut Facts, r: usize) {
        let (scales, quants) = q2_k_parts(block, facts, r);
        S::unpack_q2_k(scales, quants, out);
    }
}

/// Notes what a superblock of Q2_K says; its scales and quants.
#[inline(always)]
fn q2_k_parts<'a>(
    block: &'a [u8; 84],
    facts: &mut Facts,
    r: usize,
) -> (&'a [u8; 16], &'a [u8; 64]) {
    facts.set_d(r, &block[80..82]);
    facts.set_dmin(r, &block[82..]);
    let scales = block[..16].as_array().expect("sixteen bytes");
    facts.bytes[r] = *scales;
    (scales, block[16..80].as_array().expect("64 bytes"))
}

/// The codes of a superblock of Q2_K: two bits times the scale in the low half of `scales`.
///
/// Column 128 h + 32 k + l is at bits 2 k of byte 32 h + l. Two columns at a time: at most 45 each,
/// so that nothing is carried from one to the other.
#[inline(always)]
pub(crate) fn unpack_q2_k(scales: &[u8; 16], quants: &[u8; 64], out: &mut [u8; 256]) {
    for (h, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let quants: [[u16; 8]; 2] = bytemuck::pod_read_unaligned(&quants[32 * h..][..32]);
        for (k, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (half, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = u16::from(scales[8 * h + 2 * k + half] & 15);
                *out = bytemuck::cast(quants[half].map(|q| (q >> (2 * k) & 0x0303) * scale));
            }
        }
    }
}

impl Superblocks<144> for Q4K {
    #[inline(always)]
    fn unpack<S: Simd>(block: &[u8; 144], out: &mut [u8; 256], facts: &mut Facts, r: usize) {
        k_scales(block[..16].as_array().expect("sixteen bytes"), facts, r);
        for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let (low, high) = out.split_at_mut(32);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[16 + 32 * pair..][..32])
            {
                (*low, *high) = (byte & 15, byte >> 4);
            }
        }
    }
}

impl Superblocks<176> for Q5K {
    #[inline(always)]
    fn unpack<S: Simd>(block: &[u8; 176], out: &mut [u8; 256], facts: &mut Facts, r: usize) {
        k_scales(block[..16].as_array().expect("sixteen bytes"), facts, r);
        let (fifth, low) = block[16..].split_at(32);
        for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for ((code, low), fifth) in out.iter_mut().zip(&low[j / 2 * 32..][..32]).zip(fifth) {
                *code = low >> (j % 2 * 4) & 15 | (fifth >> j & 1) << 4;
            }
        }
    }
}

/// The head of Q4_K and Q5_K: scales and minima of 32 columns.
#[inline(always)]
fn k_scales(head: &[u8; 16], facts: &mut Facts, r: usize) {
    facts.set_d(r, &head[..2]);
    facts.set_dmin(r, &head[2..4]);
    let (scales, minima) = q4_k::scales_and_minima(head[4..].as_array().expect("twelve bytes"));
    for j in 0..8 {
        (facts.scales[j][r], facts.minima[j][r]) = (scales[j], minima[j]);
    }
}

impl Superblocks<66> for Iq2Xxs {
    #[inline(always)]
    fn unpack<S: Simd>(block: &[u8; 66], out: &mut [u8; 256], facts: &mut Facts, r: usize) {
        facts.set_d(r, &block[..2]);
        let groups = block[2..].as_array().expect("eight groups");
        S::unpack_iq2_xxs(groups, &mut facts.bytes[r], out);
    }
}

/// The scales of a superblock of IQ2_XXS, and its codes, eight at a time as one number: 64 and the
/// magnitude, with the bytes that are negative exchanged for 64 less the magnitude.
#[inline(always)]
pub(crate) fn unpack_iq2_xxs(groups: &[u8; 64], scales: &mut [u8; 16], out: &mut [u8; 256]) {
    let groups = groups.as_chunks::<8>().0.iter().zip(scales);
    for ((group, scale), out) in groups.zip(out.as_chunks_mut::<32>().0) {
        let group = u64::from_le_bytes(*group);
        *scale = (group >> 60) as u8;
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let [plus, exchange] = POINTS[(group >> (8 * k) & 255) as usize];
            let negative = SIGN_BYTES[(group >> (32 + 7 * k) & 127) as usize];
            *out = (plus ^ exchange & negative).to_le_bytes();
        }
    }
}

/// Points of the lattice as bytes `64 + m`, and what turns them to `64 − m`.
static POINTS: [[u64; 2]; 256] = {
    const ZEROS: u64 = 0x4040_4040_4040_4040;
    let (mut points, mut i) = ([[0; 2]; 256], 0);
    while i < 256 {
        // Magnitudes are at most 43: nothing is carried from byte to byte.
        let point = u64::from_le_bytes(iq2_xxs::GRID[i]);
        points[i] = [ZEROS + point, (ZEROS + point) ^ (ZEROS - point)];
        i += 1;
    }
    points
};

/// The sign masks of IQ2_XXS, a byte of ones for every negative value.
static SIGN_BYTES: [u64; 128] = {
    let (mut bytes, mut at) = ([0; 128], 0);
    while at < 128 * 8 {
        if iq2_xxs::SIGNS[at / 8] >> (at % 8) & 1 == 1 {
            bytes[at / 8] |= 0xff << (8 * (at % 8));
        }
        at += 1;
    }
    bytes
};
