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
    /// AVX-512 F, BW, DQ, VL and VNNI.
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

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
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
    fn store_biased(x: Self::I, out: &mut [u8; LANES]) {
        // SAFETY: AVX2 is there; the array holds sixteen bytes.
        unsafe {
            let words = _mm256_packs_epi32(x[0], x[1]); // lanes 0-3, 8-11 | 4-7, 12-15
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            let bytes = _mm_xor_si128(_mm_packs_epi16(low, high), _mm_set1_epi8(-128));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
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
            let wide = |x| _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x));
            let (low, high) = (wide(_mm_loadu_si128(at)), wide(_mm_loadu_si128(at.add(1))));
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        }
    }

    #[inline(always)]
    fn e4m3(codes: &[u8; LANES]) -> Self::F {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe {
            let x = _mm_loadu_si128(codes.as_ptr().cast());
            let x = [_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(x))];
            x.map(|x| {
                let sign = _mm256_slli_epi32::<24>(_mm256_and_si256(x, _mm256_set1_epi32(0x80)));
                let rest = _mm256_slli_epi32::<20>(_mm256_and_si256(x, _mm256_set1_epi32(0x7f)));
                let small = _mm256_castsi256_ps(_mm256_or_si256(sign, rest));
                _mm256_mul_ps(small, _mm256_set1_ps(E4M3_REBIAS))
            })
        }
    }

    #[inline(always)]
    fn i8(x: &[i8; LANES]) -> Self::F {
        // SAFETY: AVX2 is there; both halves lie in the array.
        unsafe {
            let x = _mm_loadu_si128(x.as_ptr().cast());
            let high = _mm_srli_si128::<8>(x);
            [_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(high)].map(|x| _mm256_cvtepi32_ps(x))
        }
    }

    #[inline(always)]
    fn sum(x: Self::F) -> f32 {
        // SAFETY: AVX2 is there: `Level::run`.
        unsafe { sum_eight(_mm256_add_ps(x[0], x[1])) }
    }

    #[inline(always)]
    fn block<const T: usize>(
        codes: &Codes,
        _minus: &[i32; LANES],
        x: [&[u8; BLOCK]; T],
    ) -> [Self::I; T] {
        // SAFETY: AVX2 is there; a step of codes is two vectors, four activations one integer.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; T];
            let ones = _mm256_set1_epi16(1);
            for (j, codes) in codes.iter().enumerate() {
                let at = codes.as_ptr().cast::<__m256i>();
                let codes = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
                let sizes = codes.map(|c| _mm256_abs_epi8(c));
                for (sums, x) in sums.iter_mut().zip(x) {
                    let four = x.as_ptr().add(4 * j).cast::<i32>().read_unaligned();
                    // Back to signed; the product's sign goes to the activation, which is never
                    // -128, so that bytes multiply as unsigned by signed without saturation.
                    let four = _mm256_set1_epi32(four ^ 0x8080_8080u32 as i32);
                    for h in 0..2 {
                        let signed = _mm256_sign_epi8(four, codes[h]);
                        let pairs = _mm256_maddubs_epi16(sizes[h], signed);
                        sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn minus(_codes: &Codes, _out: &mut [i32; LANES]) {}

    #[inline(always)]
    fn interleave(rows: [&[i8; BLOCK]; PANEL_ROWS], out: &mut Codes) {
        // SAFETY: AVX2 is there; a row is one vector, a step of the output two.
        unsafe {
            for half in 0..2 {
                let row = |r: usize| _mm256_loadu_si256(rows[8 * half + r].as_ptr().cast());
                let mut quads = [_mm256_setzero_si256(); 8];
                for four in 0..2 {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|r| row(4 * four + r));
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
                    let at = |out: &mut [i8; 64]| out.as_mut_ptr().cast::<__m256i>().add(half);
                    _mm256_storeu_si256(at(&mut out[j]), low);
                    _mm256_storeu_si256(at(&mut out[4 + j]), high);
                }
            }
        }
    }

    #[inline(always)]
    fn prefetch(bytes: &[u8]) {
        prefetch(bytes);
    }
}

/// The fixed order of summation from eight lanes on.
#[inline(always)]
unsafe fn sum_eight(x: __m256) -> f32 {
    // SAFETY: the caller has AVX.
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

#[inline(always)]
fn prefetch(bytes: &[u8]) {
    // SAFETY: a prefetch reads nothing and cannot fault.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

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
    fn store_biased(x: Self::I, out: &mut [u8; LANES]) {
        // SAFETY: AVX-512 is there; the array holds sixteen bytes.
        unsafe {
            let bytes = _mm_xor_si128(_mm512_cvtepi32_epi8(x), _mm_set1_epi8(-128));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        }
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
    fn i8(x: &[i8; LANES]) -> Self::F {
        // SAFETY: AVX-512 is there; the array holds sixteen bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn sum(x: Self::F) -> f32 {
        whole!(sum_eight(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x))))
    }

    #[inline(always)]
    fn block<const T: usize>(
        codes: &Codes,
        minus: &[i32; LANES],
        x: [&[u8; BLOCK]; T],
    ) -> [Self::I; T] {
        // SAFETY: AVX-512 VNNI is there; a step of codes is one vector, four activations one
        // integer.
        unsafe {
            let mut sums = [_mm512_loadu_si512(minus.as_ptr().cast()); T];
            for (j, codes) in codes.iter().enumerate() {
                let codes = _mm512_loadu_si512(codes.as_ptr().cast());
                for (sum, x) in sums.iter_mut().zip(x) {
                    let four = x.as_ptr().add(4 * j).cast::<i32>().read_unaligned();
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(four), codes);
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn minus(codes: &Codes, out: &mut [i32; LANES]) {
        // SAFETY: AVX-512 VNNI is there; a step of codes is one vector, the sums another.
        unsafe {
            let mut sum = _mm512_setzero_si512();
            for codes in codes {
                let codes = _mm512_loadu_si512(codes.as_ptr().cast());
                sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), codes);
            }
            let minus = _mm512_sub_epi32(_mm512_setzero_si512(), sum);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), minus);
        }
    }

    #[inline(always)]
    fn interleave(rows: [&[i8; BLOCK]; PANEL_ROWS], out: &mut Codes) {
        // SAFETY: AVX-512 is there; a row is half a vector, a step of the output a whole one.
        unsafe {
            // Rows r and r + 8 in the halves of one vector: two transpositions of 8 x 8 at once.
            let pair = |r: usize| {
                let low = _mm256_loadu_si256(rows[r].as_ptr().cast());
                let high = _mm256_loadu_si256(rows[r + 8].as_ptr().cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
            };
            let mut quads = [_mm512_setzero_si512(); 8];
            for four in 0..2 {
                let [a, b, c, d] = [0, 1, 2, 3].map(|r| pair(4 * four + r));
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

    #[inline(always)]
    fn prefetch(bytes: &[u8]) {
        prefetch(bytes);
    }
}
