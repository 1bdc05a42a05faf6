//! The sixteen lanes by AVX2 with FMA and F16C: two vectors of eight.
//!
//! `unsafe` stands here in the two forms that `x86_64.rs` names.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{avx2_rows, prefetch, sum_eight, translate};
use crate::cpu::simd::{BLOCK, Codes, E4M3_REBIAS, LANES, PANEL_ROWS, Simd};

/// Two vectors of eight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2;

/// Applies an expression to both halves.
macro_rules! halves {
    ($(|$($x:ident),+| $value:expr)?) => {
        // SAFETY: AVX2, FMA and F16C are there: `Level::run`.
        unsafe { $( [{ $(let $x = $x[0];)+ $value }, { $(let $x = $x[1];)+ $value }] )? }
    };
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];

    const SUMS: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self::F {
        // SAFETY: AVX2 is there: `Level::run`.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(x: &[f32; LANES]) -> Self::F {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn store(x: Self::F, out: &mut [f32; LANES]) {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), x[1]);
        }
    }

    #[inline(always)]
    fn add(a: Self::F, b: Self::F) -> Self::F {
        halves!(|a, b| _mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(a: Self::F, b: Self::F) -> Self::F {
        halves!(|a, b| _mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(a: Self::F, b: Self::F) -> Self::F {
        halves!(|a, b| _mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(a: Self::F, b: Self::F) -> Self::F {
        halves!(|a, b| _mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        halves!(|a, b, c| _mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(a: Self::F, b: Self::F) -> Self::F {
        halves!(|a, b| _mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn min(a: Self::F, b: Self::F) -> Self::F {
        halves!(|a, b| _mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn nearest(x: Self::F) -> Self::I {
        halves!(|x| _mm256_cvtps_epi32(x))
    }

    #[inline(always)]
    fn to_f(x: Self::I) -> Self::F {
        halves!(|x| _mm256_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn power_of_two(x: Self::I) -> Self::F {
        halves!(|x| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
            x,
            _mm256_set1_epi32(127)
        ))))
    }

    #[inline(always)]
    fn store_bytes(x: Self::I, out: &mut [i8; LANES]) {
        // SAFETY: AVX2 is there; the array holds sixteen bytes.
        unsafe {
            let words = _mm256_packs_epi32(x[0], x[1]); // lanes 0-3, 8-11 | 4-7, 12-15
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi16(low, high));
        }
    }

    #[inline(always)]
    fn f16(bytes: &[u8; 2 * LANES]) -> Self::F {
        // SAFETY: F16C is there; both halves lie in the array.
        unsafe {
            let at = bytes.as_ptr().cast::<__m128i>();
            [_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1)))]
        }
    }

    #[inline(always)]
    fn bf16(bytes: &[u8; 2 * LANES]) -> Self::F {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe {
            let at = bytes.as_ptr().cast::<__m128i>();
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(at));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.add(1)));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
    }

    #[inline(always)]
    fn e4m3(codes: &[u8; LANES]) -> Self::F {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe {
            let x = _mm_loadu_si128(codes.as_ptr().cast());
            let halves = [_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(x))];
            let mut values = [_mm256_setzero_ps(); 2];
            for (value, x) in values.iter_mut().zip(halves) {
                let sign = _mm256_slli_epi32::<24>(_mm256_and_si256(x, _mm256_set1_epi32(0x80)));
                let rest = _mm256_slli_epi32::<20>(_mm256_and_si256(x, _mm256_set1_epi32(0x7f)));
                let small = _mm256_castsi256_ps(_mm256_or_si256(sign, rest));
                *value = _mm256_mul_ps(small, _mm256_set1_ps(E4M3_REBIAS));
            }
            values
        }
    }

    #[inline(always)]
    fn u8(x: &[u8; LANES]) -> Self::F {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe {
            let x = _mm_loadu_si128(x.as_ptr().cast());
            let (low, high) = (_mm256_cvtepu8_epi32(x), _mm_srli_si128::<8>(x));
            [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high))]
        }
    }

    #[inline(always)]
    fn sum(x: Self::F) -> f32 {
        // SAFETY: AVX2 is there: `Level::run`.
        unsafe { sum_eight(_mm256_add_ps(x[0], x[1])) }
    }

    /// The multiplication takes bytes without sign times signed ones: the sign of a code moves to
    /// the activation. Magnitudes up to 128 are fine: 128 · 127 · 2 fits 16 bits.
    const SIGN_FLIP: u8 = 0;

    #[inline(always)]
    fn block<const T: usize, const SIGNED: bool>(
        codes: &Codes,
        x: [&[i8; BLOCK]; T],
        start: [i32; T],
    ) -> [Self::I; T] {
        // SAFETY: AVX2 is there; a step of codes is two vectors, four activations one integer.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; T];
            let ones = _mm256_set1_epi16(1);
            // Half by half: the sums of eight tokens must stay in sixteen registers.
            for h in 0..2 {
                let mut half = [_mm256_setzero_si256(); T];
                for (sum, start) in half.iter_mut().zip(start) {
                    *sum = _mm256_set1_epi32(start);
                }
                for (j, codes) in codes.iter().enumerate() {
                    let codes = _mm256_loadu_si256(codes.as_ptr().cast::<__m256i>().add(h));
                    let size = if SIGNED { _mm256_abs_epi8(codes) } else { codes };
                    for (sum, x) in half.iter_mut().zip(x) {
                        let four = x.as_ptr().add(4 * j).cast::<i32>().read_unaligned();
                        let four = _mm256_set1_epi32(four);
                        let four = if SIGNED { _mm256_sign_epi8(four, codes) } else { four };
                        let pairs = _mm256_maddubs_epi16(size, four);
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    }
                }
                for (sums, half) in sums.iter_mut().zip(half) {
                    sums[h] = half;
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn interleave<const SIGNED: bool>(rows: [&[u8; BLOCK]; PANEL_ROWS], out: &mut Codes) {
        // SAFETY: AVX2 is there; a row is one vector, a step of the output two.
        unsafe {
            for half in 0..2 {
                let mut loaded = [_mm256_setzero_si256(); 8];
                for (r, loaded) in loaded.iter_mut().enumerate() {
                    *loaded = _mm256_loadu_si256(rows[8 * half + r].as_ptr().cast());
                }
                let mut quads = [_mm256_setzero_si256(); 8];
                for four in 0..2 {
                    let [a, b, c, d] = *loaded[4 * four..4 * four + 4].as_array().expect("four");
                    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                    quads[4 * four] = _mm256_unpacklo_epi64(ab, cd); // steps 0 | 4
                    quads[4 * four + 1] = _mm256_unpackhi_epi64(ab, cd); // 1 | 5
                    let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                    quads[4 * four + 2] = _mm256_unpacklo_epi64(ab, cd); // 2 | 6
                    quads[4 * four + 3] = _mm256_unpackhi_epi64(ab, cd); // 3 | 7
                }
                for j in 0..4 {
                    let (a, b) = (quads[j], quads[4 + j]);
                    let low = _mm256_permute2x128_si256::<0x20>(a, b);
                    let high = _mm256_permute2x128_si256::<0x31>(a, b);
                    _mm256_storeu_si256(out[j].as_mut_ptr().cast::<__m256i>().add(half), low);
                    _mm256_storeu_si256(out[4 + j].as_mut_ptr().cast::<__m256i>().add(half), high);
                }
            }
        }
    }

    #[inline(always)]
    fn unpack_iq2_xxs(groups: &[u8; 64], scales: &mut [u8; 16], out: &mut [u8; 256]) {
        avx2_rows::unpack_iq2_xxs(groups, scales, out);
    }

    const BY_ROWS: bool = true;

    #[inline(always)]
    fn sums_iq2_xxs(
        rows: [&[u8; 64]; PANEL_ROWS],
        scales: &mut [[u8; 16]; PANEL_ROWS],
        x: [&[i8; BLOCK]; 8],
    ) -> [Self::I; 8] {
        avx2_rows::iq2_xxs(rows, scales, x)
    }

    #[inline(always)]
    fn sums_q2_k(
        scales: [&[u8; 16]; PANEL_ROWS],
        quants: [&[u8; 64]; PANEL_ROWS],
        x: [&[i8; BLOCK]; 8],
    ) -> [Self::I; 8] {
        avx2_rows::q2_k(scales, quants, x)
    }

    #[inline(always)]
    fn transpose(bytes: &[[u8; 16]; 16], out: &mut [[u8; 16]; 16]) {
        // SAFETY: AVX2 is there; a row is half a vector.
        unsafe {
            let mut rows = [_mm_setzero_si128(); 16];
            for (row, bytes) in rows.iter_mut().zip(bytes) {
                *row = _mm_loadu_si128(bytes.as_ptr().cast());
            }
            // Each pass interleaves the bytes of both halves, which turns the eight bits of a
            // place by one; four exchange row and column.
            for _ in 0..4 {
                let before = rows;
                for i in 0..8 {
                    rows[2 * i] = _mm_unpacklo_epi8(before[i], before[i + 8]);
                    rows[2 * i + 1] = _mm_unpackhi_epi8(before[i], before[i + 8]);
                }
            }
            for (row, out) in rows.into_iter().zip(out) {
                _mm_storeu_si128(out.as_mut_ptr().cast(), row);
            }
        }
    }

    #[inline(always)]
    fn translate(table: &[u8; 16], bytes: &mut [u8; BLOCK]) {
        translate(table, bytes);
    }

    #[inline(always)]
    fn prefetch(bytes: &[u8]) {
        prefetch(bytes);
    }
}
