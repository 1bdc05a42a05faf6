//! The sixteen lanes by AVX-512 with VBMI and VNNI: one vector.
//!
//! `unsafe` stands here in the two forms that `x86_64.rs` names.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{prefetch, sum_eight, translate};
use crate::cpu::simd::{BLOCK, Codes, E4M3_REBIAS, LANES, PANEL_ROWS, Simd};

/// Where column `4 q + i` of sixteen rows of sixteen bytes is among eight of these rows.
static COLUMNS: [[u8; 64]; 4] = {
    let (mut places, mut at) = ([[0; 64]; 4], 0);
    while at < 256 {
        let (column, row) = (at / 16, at % 16);
        places[at / 64][at % 64] = (row % 8 * 16 + column) as u8;
        at += 1;
    }
    places
};

/// Low and high bytes of the codes of the IQ2_XXS lattice.
static POINT_CODES: [[u8; 256]; 2] = {
    let (mut bytes, mut i) = ([[0; 256]; 2], 0);
    while i < 256 {
        [bytes[0][i], bytes[1][i]] = gguf::blocks::iq2_xxs::codes()[i].to_le_bytes();
        i += 1;
    }
    bytes
};

/// One vector of sixteen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512;

/// An expression of intrinsics without pointers.
macro_rules! whole {
    ($value:expr) => {
        // SAFETY: AVX-512 F, BW, DQ, VL and VNNI are there: `Level::run`.
        unsafe { $value }
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;

    const SUMS: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> Self::F {
        whole!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(x: &[f32; LANES]) -> Self::F {
        // SAFETY: AVX-512 is there; the array is one vector.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(x: Self::F, out: &mut [f32; LANES]) {
        // SAFETY: AVX-512 is there; the array is one vector.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(a: Self::F, b: Self::F) -> Self::F {
        whole!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(a: Self::F, b: Self::F) -> Self::F {
        whole!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(a: Self::F, b: Self::F) -> Self::F {
        whole!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(a: Self::F, b: Self::F) -> Self::F {
        whole!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        whole!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(a: Self::F, b: Self::F) -> Self::F {
        whole!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(a: Self::F, b: Self::F) -> Self::F {
        whole!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn nearest(x: Self::F) -> Self::I {
        whole!(_mm512_cvtps_epi32(x))
    }

    #[inline(always)]
    fn to_f(x: Self::I) -> Self::F {
        whole!(_mm512_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn power_of_two(x: Self::I) -> Self::F {
        whole!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
            x,
            _mm512_set1_epi32(127)
        ))))
    }

    #[inline(always)]
    fn store_bytes(x: Self::I, out: &mut [i8; LANES]) {
        // SAFETY: AVX-512 is there; the array holds sixteen bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(x)) }
    }

    #[inline(always)]
    fn f16(bytes: &[u8; 2 * LANES]) -> Self::F {
        // SAFETY: AVX-512 is there; the array is one vector of halves.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn bf16(bytes: &[u8; 2 * LANES]) -> Self::F {
        // SAFETY: AVX-512 is there; the array is one vector of halves.
        unsafe {
            let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))
        }
    }

    #[inline(always)]
    fn e4m3(codes: &[u8; LANES]) -> Self::F {
        // SAFETY: AVX-512 is there; the array holds sixteen bytes.
        unsafe {
            let x = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
            let sign = _mm512_slli_epi32::<24>(_mm512_and_si512(x, _mm512_set1_epi32(0x80)));
            let rest = _mm512_slli_epi32::<20>(_mm512_and_si512(x, _mm512_set1_epi32(0x7f)));
            let small = _mm512_castsi512_ps(_mm512_or_si512(sign, rest));
            _mm512_mul_ps(small, _mm512_set1_ps(E4M3_REBIAS))
        }
    }

    #[inline(always)]
    fn u8(x: &[u8; LANES]) -> Self::F {
        // SAFETY: AVX-512 is there; the array holds sixteen bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn sum(x: Self::F) -> f32 {
        whole!(sum_eight(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x))))
    }

    const SIGN_FLIP: u8 = 0x80;

    #[inline(always)]
    fn block<const T: usize, const SIGNED: bool>(
        codes: &Codes,
        x: [&[i8; BLOCK]; T],
        start: [i32; T],
    ) -> [Self::I; T] {
        // SAFETY: AVX-512 VNNI is there; a step of codes is one vector, four activations one
        // integer.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); T];
            for (sum, start) in sums.iter_mut().zip(start) {
                *sum = _mm512_set1_epi32(start);
            }
            for (j, codes) in codes.iter().enumerate() {
                let codes = _mm512_loadu_si512(codes.as_ptr().cast());
                for (sum, x) in sums.iter_mut().zip(x) {
                    let four = x.as_ptr().add(4 * j).cast::<i32>().read_unaligned();
                    *sum = _mm512_dpbusd_epi32(*sum, codes, _mm512_set1_epi32(four));
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn interleave<const SIGNED: bool>(rows: [&[u8; BLOCK]; PANEL_ROWS], out: &mut Codes) {
        // SAFETY: AVX-512 is there; a row is half a vector, a step of the output a whole one.
        unsafe {
            // Rows r and r + 8 in the halves of one vector: two transpositions of 8 x 8 at once.
            let flip = _mm512_set1_epi8(Self::SIGN_FLIP as i8);
            let mut pairs = [_mm512_setzero_si512(); 8];
            for (r, pair) in pairs.iter_mut().enumerate() {
                let low = _mm256_loadu_si256(rows[r].as_ptr().cast());
                let high = _mm256_loadu_si256(rows[r + 8].as_ptr().cast());
                let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                *pair = if SIGNED { _mm512_xor_si512(both, flip) } else { both };
            }
            let mut quads = [_mm512_setzero_si512(); 8];
            for four in 0..2 {
                let [a, b, c, d] = *pairs[4 * four..4 * four + 4].as_array().expect("four");
                let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
                quads[4 * four] = _mm512_unpacklo_epi64(ab, cd); // steps 0 | 4
                quads[4 * four + 1] = _mm512_unpackhi_epi64(ab, cd); // 1 | 5
                let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
                quads[4 * four + 2] = _mm512_unpacklo_epi64(ab, cd); // 2 | 6
                quads[4 * four + 3] = _mm512_unpackhi_epi64(ab, cd); // 3 | 7
            }
            let low_lanes = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let high_lanes = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            for j in 0..4 {
                let (a, b) = (quads[j], quads[4 + j]);
                let low = _mm512_permutex2var_epi64(a, low_lanes, b);
                let high = _mm512_permutex2var_epi64(a, high_lanes, b);
                _mm512_storeu_si512(out[j].as_mut_ptr().cast(), low);
                _mm512_storeu_si512(out[4 + j].as_mut_ptr().cast(), high);
            }
        }
    }

    /// See [`coding::unpack_iq2_xxs`](crate::ops::linear::coding::unpack_iq2_xxs) for the meaning.
    #[inline(always)]
    fn unpack_iq2_xxs(groups: &[u8; 64], scales: &mut [u8; 16], out: &mut [u8; 256]) {
        // SAFETY: AVX-512 BW and VBMI are there; every load and store is a whole array, or one of
        // the four vectors of `out`.
        unsafe {
            let groups = _mm512_loadu_si512(groups.as_ptr().cast());
            let nibbles = _mm512_cvtepi64_epi8(_mm512_srli_epi64::<60>(groups));
            _mm_storeu_si128(scales.as_mut_ptr().cast(), nibbles);
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
            // Sign codes: seven bits from bits 32, 39, 46 and 53 of each group; the eighth sign is
            // the parity of the others.
            let places = _mm512_set1_epi64(0x0000_0000_352e_2720);
            let signs = _mm512_multishift_epi64_epi8(places, groups);
            let signs = _mm512_and_si512(signs, _mm512_set1_epi8(0x7f));
            let odd = _mm512_xor_si512(signs, _mm512_srli_epi64::<4>(signs));
            let odd = _mm512_xor_si512(odd, _mm512_srli_epi64::<2>(odd));
            let odd = _mm512_xor_si512(odd, _mm512_srli_epi64::<1>(odd));
            let odd = _mm512_and_si512(odd, _mm512_set1_epi8(1));
            let signs = _mm512_or_si512(signs, _mm512_slli_epi64::<7>(odd));
            let signs = _mm512_permutexvar_epi32(even, signs);
            // The 16-bit codes of the 32 lattice points, from tables of their low and high bytes.
            let rows = _mm512_permutexvar_epi32(even, groups);
            let upper = _mm512_movepi8_mask(rows);
            let mut halves = [_mm512_setzero_si512(); 2];
            for (half, table) in halves.iter_mut().zip(&POINT_CODES) {
                let at = table.as_ptr().cast::<__m512i>();
                let low = _mm512_permutex2var_epi8(
                    _mm512_loadu_si512(at),
                    rows,
                    _mm512_loadu_si512(at.add(1)),
                );
                let high = _mm512_permutex2var_epi8(
                    _mm512_loadu_si512(at.add(2)),
                    rows,
                    _mm512_loadu_si512(at.add(3)),
                );
                *half = _mm512_mask_blend_epi8(upper, low, high);
            }
            let [low, high] = halves;
            let fields = _mm512_set1_epi64(0x0e0c_0a08_0604_0200);
            let bits = _mm512_set1_epi64(0x8040_2010_0804_0201u64 as i64);
            let plus = _mm512_set1_epi32(i32::from_le_bytes([64 + 8, 64 + 25, 64 + 43, 64]));
            let minus = _mm512_set1_epi32(i32::from_le_bytes([64 - 8, 64 - 25, 64 - 43, 64]));
            for quarter in 0..4 {
                // Eight points, one to each eight bytes; then two bits of it to each byte.
                let first = _mm512_set1_epi64(8 * quarter);
                let eight = _mm512_add_epi64(first, _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
                let pair = _mm512_or_si512(
                    eight,
                    _mm512_slli_epi64::<8>(_mm512_add_epi64(eight, _mm512_set1_epi64(64))),
                );
                let code = _mm512_permutex2var_epi8(low, pair, high);
                let field = _mm512_multishift_epi64_epi8(fields, code);
                let field = _mm512_and_si512(field, _mm512_set1_epi8(3));
                let spread = _mm512_shuffle_epi8(
                    eight,
                    _mm512_broadcast_i32x4(_mm_set_epi64x(0x0808_0808_0808_0808, 0)),
                );
                let sign = _mm512_permutexvar_epi8(spread, signs);
                let negative = _mm512_test_epi8_mask(sign, bits);
                let value = _mm512_shuffle_epi8(plus, field);
                let value = _mm512_mask_shuffle_epi8(value, negative, minus, field);
                let to = out.as_mut_ptr().cast::<__m512i>().add(quarter as usize);
                _mm512_storeu_si512(to, value);
            }
        }
    }

    /// See [`coding::unpack_q2_k`](crate::ops::linear::coding::unpack_q2_k) for the meaning.
    #[inline(always)]
    fn unpack_q2_k(scales: &[u8; 16], quants: &[u8; 64], out: &mut [u8; 256]) {
        // SAFETY: AVX-512 BW is there; every load is a whole array, every store half a vector at a
        // multiple of 32 bytes below 256.
        unsafe {
            let scales = _mm_loadu_si128(scales.as_ptr().cast());
            let scales = _mm256_cvtepu8_epi16(_mm_and_si128(scales, _mm_set1_epi8(15)));
            let scales = _mm512_castsi256_si512(scales);
            // Both halves h side by side; a scale to each 16 bytes.
            let quants = _mm512_loadu_si512(quants.as_ptr().cast());
            let first = _mm512_setr_epi64(
                0,
                0,
                0x0001_0001_0001_0001,
                0x0001_0001_0001_0001,
                0x0008_0008_0008_0008,
                0x0008_0008_0008_0008,
                0x0009_0009_0009_0009,
                0x0009_0009_0009_0009,
            );
            let shifted = [
                quants,
                _mm512_srli_epi16::<2>(quants),
                _mm512_srli_epi16::<4>(quants),
                _mm512_srli_epi16::<6>(quants),
            ];
            for (k, quants) in shifted.into_iter().enumerate() {
                let which = _mm512_add_epi16(first, _mm512_set1_epi16(2 * k as i16));
                let scale = _mm512_permutexvar_epi16(which, scales);
                let bits = _mm512_and_si512(quants, _mm512_set1_epi8(3));
                let codes = _mm512_mullo_epi16(bits, scale);
                let at = out.as_mut_ptr().add(32 * k).cast::<__m256i>();
                _mm256_storeu_si256(at, _mm512_castsi512_si256(codes));
                _mm256_storeu_si256(at.add(4), _mm512_extracti64x4_epi64::<1>(codes));
            }
        }
    }

    #[inline(always)]
    fn transpose(bytes: &[[u8; 16]; 16], out: &mut [[u8; 16]; 16]) {
        // SAFETY: AVX-512 VBMI is there; both arrays are four vectors.
        unsafe {
            let at = bytes.as_ptr().cast::<__m512i>();
            let (a, b) = (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1)));
            let (c, d) = (_mm512_loadu_si512(at.add(2)), _mm512_loadu_si512(at.add(3)));
            let to = out.as_mut_ptr().cast::<__m512i>();
            for (quarter, places) in COLUMNS.iter().enumerate() {
                let index = _mm512_loadu_si512(places.as_ptr().cast());
                let low = _mm512_permutex2var_epi8(a, index, b);
                let high = _mm512_permutex2var_epi8(c, index, d);
                // Rows 0 to 7 are in `a` and `b`, rows 8 to 15 in `c` and `d`.
                let both = _mm512_mask_blend_epi8(0xff00_ff00_ff00_ff00, low, high);
                _mm512_storeu_si512(to.add(quarter), both);
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
