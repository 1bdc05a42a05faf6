//! The sixteen lanes on 64-bit ARM: NEON, NEON with the dot products of ARMv8.2, and with those of
//! the i8mm extension, which multiply bytes without sign by bytes with one, as codes and
//! activations are: wide codes need no shift then.
//!
//! A vector is four registers. The dot products are written as assembly, since their intrinsics are
//! not in the stable compiler. The matrix products of i8mm are not used: `usmmla` takes two rows
//! and eight columns of each, which is another packing than the one that files are read in.
//!
//! `unsafe` stands here in three forms only. Intrinsics without pointers are called in functions
//! that are compiled into a wrapper with their target features; loads and stores take their address
//! from an array reference of the right size; the assembly computes in registers alone.

#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;
use std::arch::is_aarch64_feature_detected;

use crate::cpu::simd::{BLOCK, Codes, E4M3_REBIAS, Kernel, LANES, PANEL_ROWS, Portable, Simd};

/// An instruction set of this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Plain Rust.
    Portable,
    /// NEON.
    Neon,
    /// NEON with dot products of bytes: ARMv8.2 with `dotprod`, Apple M1, Graviton 2 and newer.
    NeonDot,
    /// NEON with dot products of mixed signs: ARMv8.6 with `i8mm`, Apple M2, Graviton 3 and newer.
    NeonI8mm,
}

impl Level {
    /// Every level that this processor has, slowest first.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![Level::Portable];
        if is_aarch64_feature_detected!("neon") {
            levels.push(Level::Neon);
            if is_aarch64_feature_detected!("dotprod") {
                levels.push(Level::NeonDot);
                if is_aarch64_feature_detected!("i8mm") {
                    levels.push(Level::NeonI8mm);
                }
            }
        }
        levels
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Neon => "NEON",
            Level::NeonDot => "NEON dotprod",
            Level::NeonI8mm => "NEON i8mm",
        }
    }

    /// Runs a kernel on this level.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            Level::Portable => kernel.run::<Portable>(),
            // SAFETY: a level other than `Portable` comes from `available` only, which has asked
            // the processor for every feature that the wrapper names.
            Level::Neon => unsafe { run_neon(kernel) },
            // SAFETY: as above.
            Level::NeonDot => unsafe { run_neon_dot(kernel) },
            // SAFETY: as above.
            Level::NeonI8mm => unsafe { run_neon_i8mm(kernel) },
        }
    }
}

#[target_feature(enable = "neon")]
fn run_neon<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Neon<MULTIPLY>>()
}

#[target_feature(enable = "neon,dotprod")]
fn run_neon_dot<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Neon<DOT>>()
}

#[target_feature(enable = "neon,dotprod,i8mm")]
fn run_neon_i8mm<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Neon<MIXED_DOT>>()
}

/// Products of bytes are widened and added.
const MULTIPLY: u8 = 0;
/// There are dot products of bytes with a sign.
const DOT: u8 = 1;
/// And of bytes without one by bytes with one.
const MIXED_DOT: u8 = 2;

/// Four vectors of four; how the processor multiplies bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon<const BYTES: u8>;

/// Applies an expression to every quarter.
macro_rules! quarters {
    (|$($x:ident),+| $value:expr) => {
        // SAFETY: NEON is there: `Level::run`.
        unsafe {
            [
                { $(let $x = $x[0];)+ $value },
                { $(let $x = $x[1];)+ $value },
                { $(let $x = $x[2];)+ $value },
                { $(let $x = $x[3];)+ $value },
            ]
        }
    };
}

impl<const BYTES: u8> Simd for Neon<BYTES> {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];

    const SUMS: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self::F {
        // SAFETY: NEON is there: `Level::run`.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(x: &[f32; LANES]) -> Self::F {
        let x = x.as_chunks::<4>().0;
        // The quarters are arrays of four.
        quarters!(|x| vld1q_f32(x.as_ptr()))
    }

    #[inline(always)]
    fn store(x: Self::F, out: &mut [f32; LANES]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: NEON is there; the array is one quarter.
            unsafe { vst1q_f32(out.as_mut_ptr(), x) }
        }
    }

    #[inline(always)]
    fn add(a: Self::F, b: Self::F) -> Self::F {
        quarters!(|a, b| vaddq_f32(a, b))
    }

    #[inline(always)]
    fn sub(a: Self::F, b: Self::F) -> Self::F {
        quarters!(|a, b| vsubq_f32(a, b))
    }

    #[inline(always)]
    fn mul(a: Self::F, b: Self::F) -> Self::F {
        quarters!(|a, b| vmulq_f32(a, b))
    }

    #[inline(always)]
    fn div(a: Self::F, b: Self::F) -> Self::F {
        quarters!(|a, b| vdivq_f32(a, b))
    }

    #[inline(always)]
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        quarters!(|a, b, c| vfmaq_f32(c, a, b))
    }

    // `fmax` and `fmin` would return NaN whenever there is one, and order the zeros.
    #[inline(always)]
    fn max(a: Self::F, b: Self::F) -> Self::F {
        quarters!(|a, b| vbslq_f32(vcgtq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn min(a: Self::F, b: Self::F) -> Self::F {
        quarters!(|a, b| vbslq_f32(vcltq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn nearest(x: Self::F) -> Self::I {
        quarters!(|x| vcvtnq_s32_f32(x))
    }

    #[inline(always)]
    fn to_f(x: Self::I) -> Self::F {
        quarters!(|x| vcvtq_f32_s32(x))
    }

    #[inline(always)]
    fn power_of_two(x: Self::I) -> Self::F {
        quarters!(|x| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(x, vdupq_n_s32(127)))))
    }

    #[inline(always)]
    fn store_bytes(x: Self::I, out: &mut [i8; LANES]) {
        // SAFETY: NEON is there; the array holds sixteen bytes.
        unsafe {
            let low = vcombine_s16(vmovn_s32(x[0]), vmovn_s32(x[1]));
            let high = vcombine_s16(vmovn_s32(x[2]), vmovn_s32(x[3]));
            vst1q_s8(out.as_mut_ptr(), vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        }
    }

    #[inline(always)]
    fn f16(bytes: &[u8; 2 * LANES]) -> Self::F {
        let x = bytes.as_chunks::<8>().0;
        // The quarters are arrays of four halves.
        quarters!(|x| vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(x.as_ptr()))))
    }

    #[inline(always)]
    fn bf16(bytes: &[u8; 2 * LANES]) -> Self::F {
        let x = bytes.as_chunks::<8>().0;
        // The quarters are arrays of four halves.
        quarters!(|x| {
            let halves = vreinterpret_u16_u8(vld1_u8(x.as_ptr()));
            vreinterpretq_f32_u32(vshll_n_u16::<16>(halves))
        })
    }

    #[inline(always)]
    fn e4m3(codes: &[u8; LANES]) -> Self::F {
        let x = widen(codes);
        quarters!(|x| {
            let sign = vshlq_n_u32::<24>(vandq_u32(x, vdupq_n_u32(0x80)));
            let rest = vshlq_n_u32::<20>(vandq_u32(x, vdupq_n_u32(0x7f)));
            let small = vreinterpretq_f32_u32(vorrq_u32(sign, rest));
            vmulq_f32(small, vdupq_n_f32(E4M3_REBIAS))
        })
    }

    #[inline(always)]
    fn u8(x: &[u8; LANES]) -> Self::F {
        let x = widen(x);
        quarters!(|x| vcvtq_f32_u32(x))
    }

    #[inline(always)]
    fn sum(x: Self::F) -> f32 {
        // SAFETY: NEON is there: `Level::run`.
        unsafe {
            let x = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            vpadds_f32(vadd_f32(vget_low_f32(x), vget_high_f32(x)))
        }
    }

    const SIGN_FLIP: u8 = 0x80;

    #[inline(always)]
    fn block<const T: usize, const SIGNED: bool>(
        codes: &Codes,
        x: [&[i8; BLOCK]; T],
        start: [i32; T],
    ) -> [Self::I; T] {
        // SAFETY: NEON is there, and the dot products that `BYTES` says; the activations of a token
        // are two vectors.
        unsafe {
            let (mut first, mut halves) = ([vdupq_n_s32(0); T], [[vdupq_n_s8(0); 2]; T]);
            for t in 0..T {
                let at = x[t].as_ptr();
                halves[t] = [vld1q_s8(at), vld1q_s8(at.add(16))];
                // Where products are signed, wide codes are made smaller by 128, and the sums
                // larger.
                let shift = if SIGNED && BYTES != MIXED_DOT {
                    128 * i32::from(vaddlvq_s8(halves[t][0]) + vaddlvq_s8(halves[t][1]))
                } else {
                    0
                };
                first[t] = vdupq_n_s32(start[t].wrapping_add(shift));
            }
            // Four rows at a time: their sums and all activations of eight tokens fit in registers.
            let mut sums = [[vdupq_n_s32(0); 4]; T];
            for four in 0..4 {
                let sums_four = match BYTES {
                    MIXED_DOT => dot_four::<true, T>(steps::<false>(codes, four), halves, first),
                    DOT => dot_four::<false, T>(steps::<SIGNED>(codes, four), halves, first),
                    _ => multiply_four(steps::<SIGNED>(codes, four), x, first),
                };
                for (sums, sum) in sums.iter_mut().zip(sums_four) {
                    sums[four] = sum;
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn interleave<const SIGNED: bool>(rows: [&[u8; BLOCK]; PANEL_ROWS], out: &mut Codes) {
        for (four, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
            for half in 0..2 {
                let steps = quads::<SIGNED>(rows.map(|row| &row.as_chunks::<16>().0[half]));
                for (step, out) in steps.into_iter().zip(&mut out[4 * half..]) {
                    // SAFETY: NEON is there; the array is one vector.
                    unsafe { vst1q_u8(out.as_chunks_mut::<16>().0[four].as_mut_ptr(), step) }
                }
            }
        }
    }

    #[inline(always)]
    fn translate(table: &[u8; 16], bytes: &mut [u8; BLOCK]) {
        for half in bytes.as_chunks_mut::<16>().0 {
            // SAFETY: NEON is there; table and half are one vector each.
            unsafe {
                let translated = vqtbl1q_u8(vld1q_u8(table.as_ptr()), vld1q_u8(half.as_ptr()));
                vst1q_u8(half.as_mut_ptr(), translated);
            }
        }
    }

    #[inline(always)]
    fn transpose(bytes: &[[u8; 16]; 16], out: &mut [[u8; 16]; 16]) {
        // SAFETY: NEON is there; a row is one vector.
        unsafe {
            let mut rows = [vdupq_n_u8(0); 16];
            for (row, bytes) in rows.iter_mut().zip(bytes) {
                *row = vld1q_u8(bytes.as_ptr());
            }
            // Each pass interleaves the bytes of both halves, which turns the eight bits of a
            // place by one; four exchange row and column.
            for _ in 0..4 {
                let before = rows;
                for i in 0..8 {
                    rows[2 * i] = vzip1q_u8(before[i], before[i + 8]);
                    rows[2 * i + 1] = vzip2q_u8(before[i], before[i + 8]);
                }
            }
            for (row, out) in rows.into_iter().zip(out) {
                vst1q_u8(out.as_mut_ptr(), row);
            }
        }
    }

    #[inline(always)]
    fn prefetch(bytes: &[u8]) {
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe {
            asm!(
                "prfm pldl1keep, [{at}]",
                at = in(reg) bytes.as_ptr(),
                options(readonly, nostack, preserves_flags)
            );
        }
    }
}

/// Sixteen bytes as integers.
#[inline(always)]
fn widen(x: &[u8; LANES]) -> [uint32x4_t; 4] {
    // SAFETY: the callers have NEON; the array is one vector.
    unsafe {
        let x = vld1q_u8(x.as_ptr());
        let (low, high) = (vmovl_u8(vget_low_u8(x)), vmovl_high_u8(x));
        [
            vmovl_u16(vget_low_u16(low)),
            vmovl_high_u16(low),
            vmovl_u16(vget_low_u16(high)),
            vmovl_high_u16(high),
        ]
    }
}

/// The codes of rows `4 four` up, for each step; less 128 if they are wide.
#[inline(always)]
fn steps<const SIGNED: bool>(codes: &Codes, four: usize) -> [int8x16_t; BLOCK / 4] {
    // SAFETY: the callers have NEON; four rows of a step are one vector.
    unsafe {
        let mut steps = [vdupq_n_s8(0); BLOCK / 4];
        for (step, codes) in steps.iter_mut().zip(codes) {
            let codes = vld1q_u8(codes.as_chunks::<16>().0[four].as_ptr());
            let codes = if SIGNED { veorq_u8(codes, vdupq_n_u8(0x80)) } else { codes };
            *step = vreinterpretq_s8_u8(codes);
        }
        steps
    }
}

/// For each token, `first` and the products of four rows, by dot products.
#[inline(always)]
fn dot_four<const MIXED: bool, const T: usize>(
    codes: [int8x16_t; BLOCK / 4],
    x: [[int8x16_t; 2]; T],
    first: [int32x4_t; T],
) -> [int32x4_t; T] {
    let mut sums = first;
    for (half, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = dot_lane::<MIXED, 0>(*sum, codes[0], x[half]);
        }
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = dot_lane::<MIXED, 1>(*sum, codes[1], x[half]);
        }
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = dot_lane::<MIXED, 2>(*sum, codes[2], x[half]);
        }
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = dot_lane::<MIXED, 3>(*sum, codes[3], x[half]);
        }
    }
    sums
}

/// `sum[r] += Σ codes[4 r + i] · x[4 LANE + i]`, `i` below 4; codes without sign if `MIXED`.
#[inline(always)]
fn dot_lane<const MIXED: bool, const LANE: usize>(
    sum: int32x4_t,
    codes: int8x16_t,
    x: int8x16_t,
) -> int32x4_t {
    macro_rules! dot {
        ($instruction:literal) => {{
            let mut out = sum;
            // SAFETY: `dot_four` alone calls this, whose callers have such dot products.
            unsafe {
                asm!(
                    concat!($instruction, " {sum:v}.4s, {codes:v}.16b, {x:v}.4b[{lane}]"),
                    sum = inout(vreg) out,
                    codes = in(vreg) codes,
                    x = in(vreg) x,
                    lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            out
        }};
    }
    if MIXED { dot!("usdot") } else { dot!("sdot") }
}

/// For each token, `first` and the products of four rows, by products of 16 bits.
#[inline(always)]
fn multiply_four<const T: usize>(
    codes: [int8x16_t; BLOCK / 4],
    x: [&[i8; BLOCK]; T],
    first: [int32x4_t; T],
) -> [int32x4_t; T] {
    // SAFETY: the callers have NEON; four activations are read from an array of four.
    unsafe {
        // Two rows in each half of a pair, two sums of half the columns for each row.
        let mut sums = [[vdupq_n_s32(0); 2]; T];
        for (pair, codes) in codes.as_chunks::<2>().0.iter().enumerate() {
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = &x.as_chunks::<8>().0[pair];
                let (a, b) = (repeat(&x.as_chunks::<4>().0[0]), repeat(&x.as_chunks::<4>().0[1]));
                // Two products fit in 16 bits: activations are at least −127, codes −128 to 127.
                let low = vmull_s8(vget_low_s8(codes[0]), vget_low_s8(a));
                let low = vmlal_s8(low, vget_low_s8(codes[1]), vget_low_s8(b));
                let high = vmlal_high_s8(vmull_high_s8(codes[0], a), codes[1], b);
                *sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
            }
        }
        let mut out = first;
        for (out, [low, high]) in out.iter_mut().zip(sums) {
            *out = vaddq_s32(*out, vpaddq_s32(low, high));
        }
        out
    }
}

/// Four activations, four times.
#[inline(always)]
fn repeat(four: &[i8; 4]) -> int8x16_t {
    // SAFETY: the callers have NEON.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(four.map(|x| x as u8)))) }
}

/// Four rows of sixteen columns, four columns at a time: `out[j][4 r ..][..4] = rows[r][4 j ..]`.
#[inline(always)]
fn quads<const SIGNED: bool>(rows: [&[u8; 16]; 4]) -> [uint8x16_t; 4] {
    // SAFETY: the callers have NEON; a row is one vector.
    unsafe {
        let mut four = [vdupq_n_u32(0); 4];
        for (four, row) in four.iter_mut().zip(rows) {
            let row = vld1q_u8(row.as_ptr());
            let row = if SIGNED { veorq_u8(row, vdupq_n_u8(0x80)) } else { row };
            *four = vreinterpretq_u32_u8(row);
        }
        let [a, b, c, d] = four;
        let (ab, cd) = (vtrn1q_u32(a, b), vtrn1q_u32(c, d));
        let even = [vreinterpretq_u64_u32(ab), vreinterpretq_u64_u32(cd)];
        let (ab, cd) = (vtrn2q_u32(a, b), vtrn2q_u32(c, d));
        let odd = [vreinterpretq_u64_u32(ab), vreinterpretq_u64_u32(cd)];
        [
            vreinterpretq_u8_u64(vzip1q_u64(even[0], even[1])), // step 0
            vreinterpretq_u8_u64(vzip1q_u64(odd[0], odd[1])),   // 1
            vreinterpretq_u8_u64(vzip2q_u64(even[0], even[1])), // 2
            vreinterpretq_u8_u64(vzip2q_u64(odd[0], odd[1])),   // 3
        ]
    }
}
