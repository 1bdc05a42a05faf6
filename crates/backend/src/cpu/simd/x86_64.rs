//! The sixteen lanes on x86-64: AVX2 with FMA and F16C, and AVX-512 with VNNI.
//!
//! `unsafe` stands here in two forms only. Intrinsics without pointers are called in functions that
//! are compiled into a wrapper with their target features; loads and stores take their address from
//! an array reference of the right size.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::cpu::simd::{BLOCK, Codes, E4M3_REBIAS, Kernel, LANES, PANEL_ROWS, Portable, Simd};

/// An instruction set of this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Plain Rust.
    Portable,
    /// AVX2, FMA, F16C.
    Avx2,
    /// AVX-512 F, BW, DQ, VL, VBMI and VNNI: Ice Lake, Zen 4 and newer.
    Avx512,
}

impl Level {
    /// Every level that this processor has, slowest first.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![Level::Portable];
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        if avx2 {
            levels.push(Level::Avx2);
        }
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        if avx2 && avx512 {
            levels.push(Level::Avx512);
        }
        levels
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "AVX2",
            Level::Avx512 => "AVX-512 VNNI",
        }
    }

    /// Runs a kernel on this level.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            Level::Portable => kernel.run::<Portable>(),
            // SAFETY: a level other than `Portable` comes from `available` only, which has asked
            // the processor for every feature that the wrapper names.
            Level::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: as above.
            Level::Avx512 => unsafe { run_avx512(kernel) },
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx2>()
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx512>()
}

/// Two vectors of eight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2;

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
    fn translate(table: &[u8; 16], bytes: &mut [u8; BLOCK]) {
        translate(table, bytes);
    }

    #[inline(always)]
    fn prefetch(bytes: &[u8]) {
        prefetch(bytes);
    }
}

/// The fixed order of summation from eight lanes on.
#[inline(always)]
fn sum_eight(x: __m256) -> f32 {
    // SAFETY: the callers have AVX.
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

#[inline(always)]
fn translate(table: &[u8; 16], bytes: &mut [u8; BLOCK]) {
    // SAFETY: the callers have AVX2; the table is half a vector, the bytes are a whole one.
    unsafe {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        let at = bytes.as_mut_ptr().cast::<__m256i>();
        _mm256_storeu_si256(at, _mm256_shuffle_epi8(table, _mm256_loadu_si256(at)));
    }
}

#[inline(always)]
fn prefetch(bytes: &[u8]) {
    // SAFETY: a prefetch reads nothing and cannot fault.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

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
pub(crate) struct Avx512;

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
