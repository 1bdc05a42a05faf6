//! Sixteen rows times one token by AVX2, without interleaving the rows.
//!
//! A block of a row is one vector of 32 codes. Its products are added in pairs by `maddubs`, and
//! the pairs of eight rows are folded together until each row is one lane: as cheap as interleaving
//! the codes would be, but it replaces the multiplication of interleaved codes as well.
//!
//! `unsafe` stands here in the two forms that `x86_64.rs` names.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use gguf::blocks::iq2_xxs::GRID;

use crate::cpu::simd::{BLOCK, PANEL_ROWS};

/// Blocks of a superblock.
const BLOCKS: usize = 8;

/// See [`Simd::sums_iq2_xxs`](crate::cpu::simd::Simd::sums_iq2_xxs). Magnitudes have no sign; the
/// signs go to the activations.
#[inline(always)]
pub(super) fn iq2_xxs(
    rows: [&[u8; 64]; PANEL_ROWS],
    scales: &mut [[u8; 16]; PANEL_ROWS],
    x: [&[i8; BLOCK]; BLOCKS],
) -> [[__m256i; 2]; BLOCKS] {
    let mut signs = [[0; BLOCKS]; PANEL_ROWS];
    for ((groups, signs), scales) in rows.iter().zip(&mut signs).zip(scales) {
        signs_and_scales(groups, signs, scales);
    }
    // SAFETY: the caller has AVX2; a block of activations is one vector.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 2]; BLOCKS];
        for (j, (sums, x)) in sums.iter_mut().zip(x).enumerate() {
            let x = _mm256_loadu_si256(x.as_ptr().cast());
            for (half, sum) in sums.iter_mut().enumerate() {
                let mut words = [_mm256_setzero_si256(); 4];
                for (i, words) in words.iter_mut().enumerate() {
                    let r = 8 * half + 2 * i;
                    let a = points_times(rows[r], signs[r][j], j, x);
                    let b = points_times(rows[r + 1], signs[r + 1][j], j, x);
                    // At most 4 · 43 · 127: 16 bits hold it.
                    let (low, high) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
                    *words = _mm256_add_epi16(low, high);
                    *words = _mm256_madd_epi16(*words, _mm256_set1_epi16(1));
                }
                *sum = fold(words);
            }
        }
        sums
    }
}

/// See [`coding::unpack_iq2_xxs`](crate::ops::linear::coding::unpack_iq2_xxs) for the meaning.
#[inline(always)]
pub(super) fn unpack_iq2_xxs(groups: &[u8; 64], scales: &mut [u8; 16], out: &mut [u8; 256]) {
    let mut signs = [0; BLOCKS];
    signs_and_scales(groups, &mut signs, scales);
    for (j, (out, signs)) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(signs).enumerate() {
        let (points, minus) = (points(groups, j), spread(signs));
        // SAFETY: the caller has AVX2; the codes of a group are one vector.
        unsafe {
            // 64 + m, or 64 + !m + 1.
            let zero = _mm256_sub_epi8(_mm256_set1_epi8(64), minus);
            let codes = _mm256_add_epi8(_mm256_xor_si256(points, minus), zero);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), codes);
        }
    }
}

/// The products of group `j` of a row, added in pairs.
#[inline(always)]
fn points_times(groups: &[u8; 64], signs: u32, j: usize, x: __m256i) -> __m256i {
    let (points, minus) = (points(groups, j), spread(signs));
    // SAFETY: the caller has AVX2.
    unsafe {
        let x = _mm256_sub_epi8(_mm256_xor_si256(x, minus), minus);
        _mm256_maddubs_epi16(points, x)
    }
}

/// The magnitudes of group `j` of a row.
#[inline(always)]
fn points(groups: &[u8; 64], j: usize) -> __m256i {
    let rows = u32::from_le_bytes(*groups[8 * j..8 * j + 4].as_array().expect("four bytes"));
    let point = |k: u32| GRID[(rows >> (8 * k) & 255) as usize].as_ptr();
    let (a, b, c, d) = (point(0), point(1), point(2), point(3));
    // SAFETY: the caller has AVX2; every load is eight bytes, a row of the grid.
    unsafe {
        let low = _mm_castsi128_pd(_mm_loadl_epi64(a.cast()));
        let low = _mm_castpd_si128(_mm_loadh_pd(low, b.cast()));
        let high = _mm_castsi128_pd(_mm_loadl_epi64(c.cast()));
        let high = _mm_castpd_si128(_mm_loadh_pd(high, d.cast()));
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
    }
}

/// All ones in each byte whose bit is set.
#[inline(always)]
fn spread(bits: u32) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        // Each byte of bits to eight bytes, then a bit of it to each.
        let places = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let one_each = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), places);
        _mm256_cmpeq_epi8(_mm256_and_si256(bits, one_each), one_each)
    }
}

/// The signs of a superblock, a bit for each value, and its eight scales.
#[inline(always)]
fn signs_and_scales(groups: &[u8; 64], signs: &mut [u32; BLOCKS], scales: &mut [u8; 16]) {
    // SAFETY: the caller has AVX2; every load is half of the groups, every store a whole array.
    unsafe {
        let at = groups.as_ptr().cast::<__m256i>();
        let low = _mm256_castsi256_ps(_mm256_loadu_si256(at));
        let high = _mm256_castsi256_ps(_mm256_loadu_si256(at.add(1)));
        // The upper half of each group; then groups in their order.
        let words = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);

        let nibbles = _mm256_srli_epi32::<28>(words);
        let nibbles = _mm256_packus_epi32(nibbles, nibbles);
        let nibbles = _mm256_packus_epi16(nibbles, nibbles); // 0 to 3 | 4 to 7
        let (first, last) =
            (_mm256_castsi256_si128(nibbles), _mm256_extracti128_si256::<1>(nibbles));
        _mm_storeu_si128(scales.as_mut_ptr().cast(), _mm_unpacklo_epi32(first, last));

        // Four times seven bits to 16-bit words, then to bytes.
        let a = _mm256_and_si256(words, _mm256_set1_epi32(0x3fff));
        let b = _mm256_and_si256(_mm256_slli_epi32::<2>(words), _mm256_set1_epi32(0x3fff_0000));
        let words = _mm256_or_si256(a, b);
        let a = _mm256_and_si256(words, _mm256_set1_epi16(0x7f));
        let b = _mm256_and_si256(_mm256_slli_epi16::<1>(words), _mm256_set1_epi16(0x7f00));
        let seven = _mm256_or_si256(a, b);
        // The eighth sign is the parity of the others.
        let odd = _mm256_broadcastsi128_si256(_mm_setr_epi8(
            0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0,
        ));
        let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(seven), _mm256_set1_epi8(7));
        let eighth = _mm256_shuffle_epi8(odd, seven);
        let eighth = _mm256_xor_si256(eighth, _mm256_shuffle_epi8(odd, upper));
        _mm256_storeu_si256(signs.as_mut_ptr().cast(), _mm256_or_si256(seven, eighth));
    }
}

/// See [`Simd::sums_q2_k`](crate::cpu::simd::Simd::sums_q2_k).
#[inline(always)]
#[allow(clippy::needless_range_loop)] // a half is an index into the rows and every block's sums
pub(super) fn q2_k(
    scales: [&[u8; 16]; PANEL_ROWS],
    quants: [&[u8; 64]; PANEL_ROWS],
    x: [&[i8; BLOCK]; BLOCKS],
) -> [[__m256i; 2]; BLOCKS] {
    // SAFETY: the caller has AVX2; every load and store is a whole array.
    unsafe {
        let mut low = [[0u8; 16]; PANEL_ROWS];
        for (low, scales) in low.iter_mut().zip(scales) {
            let scales = _mm_loadu_si128(scales.as_ptr().cast());
            let scales = _mm_and_si128(scales, _mm_set1_epi8(15));
            _mm_storeu_si128(low.as_mut_ptr().cast(), scales);
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; BLOCKS];
        for (h, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for half in 0..2 {
                let scales = &low.as_chunks::<8>().0[half];
                let quants = &quants.as_chunks::<8>().0[half];
                let j = 4 * h;
                sums[0][half] = q2_k_block::<0>(scales, quants, j, x[j]);
                sums[1][half] = q2_k_block::<2>(scales, quants, j + 1, x[j + 1]);
                sums[2][half] = q2_k_block::<4>(scales, quants, j + 2, x[j + 2]);
                sums[3][half] = q2_k_block::<6>(scales, quants, j + 3, x[j + 3]);
            }
        }
        sums
    }
}

/// Block `j` of eight rows, whose codes begin at bit `SHIFT`.
#[inline(always)]
fn q2_k_block<const SHIFT: i32>(
    scales: &[[u8; 16]; 8],
    quants: &[&[u8; 64]; 8],
    j: usize,
    x: &[i8; BLOCK],
) -> __m256i {
    // SAFETY: the caller has AVX2; scales are half a vector, the bytes of a block and the
    // activations a whole one.
    unsafe {
        let x = _mm256_loadu_si256(x.as_ptr().cast());
        // To 16 bits: scale 2 j in the lower half, 2 j + 1 in the upper one.
        let first = _mm256_set1_epi16(0x8000_u16 as i16 | (2 * j as i16));
        let places = _mm256_add_epi16(first, _mm256_setr_epi64x(0, 0, ONES, ONES));
        let mut words = [_mm256_setzero_si256(); 8];
        for (r, words) in words.iter_mut().enumerate() {
            let bytes = quants[r][j / 4 * BLOCK..][..BLOCK].as_ptr();
            let bytes = _mm256_srli_epi16::<SHIFT>(_mm256_loadu_si256(bytes.cast()));
            let codes = _mm256_and_si256(bytes, _mm256_set1_epi8(3));
            let scales = _mm_loadu_si128(scales[r].as_ptr().cast());
            let scales = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(scales), places);
            *words = _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), scales);
        }
        let mut pairs = [_mm256_setzero_si256(); 4];
        for (pair, words) in pairs.iter_mut().zip(words.as_chunks::<2>().0) {
            let [a, b] = *words;
            *pair = _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        }
        fold(pairs)
    }
}

/// A one in each 16 bits.
const ONES: i64 = 0x0001_0001_0001_0001;

/// Eight sums from four vectors, whose halves each hold two numbers of an even row, then two of the
/// odd one after it.
#[inline(always)]
fn fold(pairs: [__m256i; 4]) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let mut quads = [_mm256_setzero_si256(); 2];
        for (quad, pairs) in quads.iter_mut().zip(pairs.as_chunks::<2>().0) {
            let (a, b) = (_mm256_castsi256_ps(pairs[0]), _mm256_castsi256_ps(pairs[1]));
            let even = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
            let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
            *quad = _mm256_add_epi32(even, odd);
        }
        let [a, b] = quads;
        let low = _mm256_permute2x128_si256::<0x20>(a, b);
        _mm256_add_epi32(low, _mm256_permute2x128_si256::<0x31>(a, b))
    }
}
