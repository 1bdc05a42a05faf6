//! Sixteen lanes: the few vector operations that the fast CPU path is written in.
//!
//! Kernels are generic over [`Simd`] and written once; an instruction set is a thin implementation
//! of the trait. What each operation returns is fixed to the bit (fused multiply-add, the order of
//! [`Simd::sum`], exact integer products), so **every instruction set computes the same bits**, and
//! a test asks for equality between all that the machine has. [`Portable`] is the trait in plain
//! Rust: it runs everywhere and says what the others mean.
//!
//! A [`Kernel`] enters an instruction set through `Level::run`, whose wrapper function carries the
//! `target_feature`s; everything below must be `#[inline(always)]` to become part of it, and may
//! not use vectors in closures, which are functions of their own without these features. The levels
//! of the machine's architecture are in `x86_64.rs`, `aarch64.rs` or `other.rs`; `lib.rs` chooses
//! the file.

mod portable;
#[cfg(test)]
mod tests;

pub(crate) use portable::Portable;

use crate::ops::linear::coding;

/// Lanes of a vector, on every machine.
pub(crate) const LANES: usize = 16;
/// Channels that share one scale once activations are rounded to 8 bits.
pub(crate) const BLOCK: usize = 32;
/// Rows of a weight that are multiplied side by side, one per lane.
pub(crate) const PANEL_ROWS: usize = LANES;
/// The 8-bit codes of `PANEL_ROWS` rows and `BLOCK` columns: `[BLOCK / 4][PANEL_ROWS][4]`.
pub(crate) type Codes = [[u8; 4 * PANEL_ROWS]; BLOCK / 4];

/// What lifts E4M3 bits, read with the exponent bias of F32, to their value: `2^(127 − 7)`.
pub(crate) const E4M3_REBIAS: f32 = f32::from_bits((127 + 120) << 23);

/// A computation that can run on any instruction set.
pub(crate) trait Kernel {
    /// What it returns.
    type Out;
    /// Runs with the operations of `S`; must be `#[inline(always)]`.
    fn run<S: Simd>(self) -> Self::Out;
}

/// Vectors of sixteen `f32` or `i32` and what is done with them.
///
/// Implementations may assume that the processor has their instructions: only `Level::run` names
/// them, after it has asked the processor.
pub(crate) trait Simd: Copy + 'static {
    /// Sixteen floats.
    type F: Copy;
    /// Sixteen integers.
    type I: Copy;

    /// Vectors of sums that the registers hold beside what is multiplied; it changes no result.
    const SUMS: usize;

    /// `x` in every lane.
    fn splat(x: f32) -> Self::F;
    /// Sixteen floats from memory.
    fn load(x: &[f32; LANES]) -> Self::F;
    /// Sixteen floats to memory.
    fn store(x: Self::F, out: &mut [f32; LANES]);
    /// `a + b`.
    fn add(a: Self::F, b: Self::F) -> Self::F;
    /// `a − b`.
    fn sub(a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`.
    fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once.
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`: the second if either is NaN.
    fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`: the second if either is NaN.
    fn min(a: Self::F, b: Self::F) -> Self::F;
    /// The nearest integers, ties to even, of values within ±2^31; anything for NaN.
    fn nearest(x: Self::F) -> Self::I;
    /// Integers as floats.
    fn to_f(x: Self::I) -> Self::F;
    /// `2^x` for `x` in −126..=127.
    fn power_of_two(x: Self::I) -> Self::F;
    /// The lanes, which must be within −128..=127, as bytes.
    fn store_bytes(x: Self::I, out: &mut [i8; LANES]);
    /// Sixteen little-endian F16.
    fn f16(bytes: &[u8; 2 * LANES]) -> Self::F;
    /// Sixteen little-endian BF16.
    fn bf16(bytes: &[u8; 2 * LANES]) -> Self::F;
    /// Sixteen E4M3 codes, none of which is NaN (0x7f, 0xff).
    fn e4m3(codes: &[u8; LANES]) -> Self::F;
    /// Sixteen bytes.
    fn u8(x: &[u8; LANES]) -> Self::F;

    /// The sum of the lanes: halves are added (lane `i` and `i + 8`), then quarters, and so on.
    fn sum(x: Self::F) -> f32;

    /// What codes with a sign are combined with (`^`) before they are multiplied: 0x80 makes bytes
    /// without sign, 128 more, for processors that multiply such bytes by signed ones; 0 leaves
    /// them as they are.
    const SIGN_FLIP: u8;

    /// For each of `T` tokens and each row: `start + Σ code · x` over the block, exact.
    ///
    /// Codes are bytes without sign, at most 127; or if `SIGNED` any bytes with a sign, combined
    /// with [`Simd::SIGN_FLIP`] and then, unless that is 0, taken as bytes without sign.
    /// Activations are signed, at least −127.
    fn block<const T: usize, const SIGNED: bool>(
        codes: &Codes,
        x: [&[i8; BLOCK]; T],
        start: [i32; T],
    ) -> [Self::I; T];

    /// Rows side by side: `out[j][4 r ..][..4] = rows[r][4 j ..][..4]`, combined with
    /// [`Simd::SIGN_FLIP`] if `SIGNED`.
    #[inline(always)]
    fn interleave<const SIGNED: bool>(rows: [&[u8; BLOCK]; PANEL_ROWS], out: &mut Codes) {
        let flip = if SIGNED { Self::SIGN_FLIP } else { 0 };
        for (r, row) in rows.iter().enumerate() {
            for (out, four) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                out[4 * r..4 * r + 4].copy_from_slice(&four.map(|byte| byte ^ flip));
            }
        }
    }

    /// `bytes[i] = table[bytes[i]]`, for bytes below 16.
    #[inline(always)]
    fn translate(table: &[u8; 16], bytes: &mut [u8; BLOCK]) {
        for byte in bytes {
            *byte = table[usize::from(*byte & 15)];
        }
    }

    /// The eight scales of a superblock of IQ2_XXS, and the codes: 64 and the signed magnitude.
    #[inline(always)]
    fn unpack_iq2_xxs(groups: &[u8; 64], scales: &mut [u8; 16], out: &mut [u8; 256]) {
        coding::unpack_iq2_xxs(groups, scales, out);
    }

    /// The codes of a superblock of Q2_K, scales included.
    #[inline(always)]
    fn unpack_q2_k(scales: &[u8; 16], quants: &[u8; 64], out: &mut [u8; 256]) {
        coding::unpack_q2_k(scales, quants, out);
    }

    /// Whether one token times sixteen rows is faster by the two operations below, which take the
    /// codes as they are stored, than by interleaved codes.
    const BY_ROWS: bool = false;

    /// For each block of a superblock of sixteen rows of IQ2_XXS, and each row: `Σ w · x`, where
    /// `w` is the magnitude with its sign; exact. And the scales of each row.
    #[inline(always)]
    fn sums_iq2_xxs(
        rows: [&[u8; 64]; PANEL_ROWS],
        scales: &mut [[u8; 16]; PANEL_ROWS],
        x: [&[i8; BLOCK]; 8],
    ) -> [Self::I; 8] {
        let mut unpacked = [[0; 256]; PANEL_ROWS];
        for ((groups, scales), out) in rows.into_iter().zip(scales).zip(&mut unpacked) {
            Self::unpack_iq2_xxs(groups, scales, out);
        }
        interleaved_sums::<Self>(&unpacked, 64, x)
    }

    /// For each block of a superblock of sixteen rows of Q2_K, and each row: `Σ scale · code · x`,
    /// exact. The lower halves of the bytes are the scales.
    #[inline(always)]
    fn sums_q2_k(
        scales: [&[u8; 16]; PANEL_ROWS],
        quants: [&[u8; 64]; PANEL_ROWS],
        x: [&[i8; BLOCK]; 8],
    ) -> [Self::I; 8] {
        let mut unpacked = [[0; 256]; PANEL_ROWS];
        for ((scales, quants), out) in scales.into_iter().zip(quants).zip(&mut unpacked) {
            Self::unpack_q2_k(scales, quants, out);
        }
        interleaved_sums::<Self>(&unpacked, 0, x)
    }

    /// `out[i][j] = bytes[j][i]`.
    #[inline(always)]
    fn transpose(bytes: &[[u8; 16]; 16], out: &mut [[u8; 16]; 16]) {
        for (i, out) in out.iter_mut().enumerate() {
            for (out, row) in out.iter_mut().zip(bytes) {
                *out = row[i];
            }
        }
    }

    /// Asks the processor to bring the line at `bytes` nearer; a hint without effect on results.
    #[inline(always)]
    fn prefetch(_bytes: &[u8]) {}
}

/// For each block and row: `Σ (code − zero) · x`.
#[inline(always)]
fn interleaved_sums<S: Simd>(
    codes: &[[u8; 256]; PANEL_ROWS],
    zero: i32,
    x: [&[i8; BLOCK]; 8],
) -> [S::I; 8] {
    let mut sums = S::block::<8, false>(&[[0; 64]; 8], x, [0; 8]);
    for (j, (sums, x)) in sums.iter_mut().zip(x).enumerate() {
        let mut rows: [&[u8; BLOCK]; PANEL_ROWS] = [&[0; BLOCK]; PANEL_ROWS];
        for (row, codes) in rows.iter_mut().zip(codes) {
            *row = codes[BLOCK * j..][..BLOCK].as_array().expect("32 codes");
        }
        let mut block = [[0; 4 * PANEL_ROWS]; BLOCK / 4];
        S::interleave::<false>(rows, &mut block);
        let sum: i32 = x.iter().map(|x| i32::from(*x)).sum();
        [*sums] = S::block::<1, false>(&block, [x], [-zero * sum]);
    }
    sums
}

/// `Σ a[i] · b[i]`: lane `i mod 16` sums its products in order, then [`Simd::sum`], then the rest.
#[inline(always)]
pub(crate) fn dot<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = S::splat(0.0);
    for (a, b) in a.iter().zip(b) {
        lanes = S::fma(S::load(a), S::load(b), lanes);
    }
    S::sum(lanes) + dot_rest(a_rest, b_rest)
}

/// The products beyond the last whole vector.
#[inline(always)]
pub(crate) fn dot_rest(a: &[f32], b: &[f32]) -> f32 {
    let mut rest = 0.0f32;
    for (a, b) in a.iter().zip(b) {
        rest = a.mul_add(*b, rest);
    }
    rest
}

/// [`dot`] of `A` times `B` vectors at once, bit for bit the same: every load serves several.
#[inline(always)]
pub(crate) fn dots<S: Simd, const A: usize, const B: usize>(
    a: [&[f32]; A],
    b: [&[f32]; B],
) -> [[f32; B]; A] {
    if A * B <= S::SUMS {
        return dots_at_once::<S, A, B>(a, b);
    }
    let mut out = [[0.0; B]; A];
    for i in (0..A).step_by(2) {
        for j in (0..B).step_by(2) {
            // An odd one is paired with itself.
            let (next_i, next_j) = ((i + 1).min(A - 1), (j + 1).min(B - 1));
            let four = dots_at_once::<S, 2, 2>([a[i], a[next_i]], [b[j], b[next_j]]);
            (out[i][j], out[i][next_j]) = (four[0][0], four[0][1]);
            (out[next_i][j], out[next_i][next_j]) = (four[1][0], four[1][1]);
        }
    }
    out
}

/// [`dots`] whose sums are held in registers.
#[inline(always)]
fn dots_at_once<S: Simd, const A: usize, const B: usize>(
    a: [&[f32]; A],
    b: [&[f32]; B],
) -> [[f32; B]; A] {
    let len = a[0].len();
    let whole = len - len % LANES;
    let mut lanes = [[S::splat(0.0); B]; A];
    let mut at = 0;
    while at < whole {
        let mut b_now = [S::splat(0.0); B];
        for (now, b) in b_now.iter_mut().zip(b) {
            *now = S::load(vector(b, at));
        }
        for (lanes, a) in lanes.iter_mut().zip(a) {
            let a_now = S::load(vector(a, at));
            for (lane, b_now) in lanes.iter_mut().zip(b_now) {
                *lane = S::fma(a_now, b_now, *lane);
            }
        }
        at += LANES;
    }
    let mut out = [[0.0; B]; A];
    for i in 0..A {
        for j in 0..B {
            out[i][j] = S::sum(lanes[i][j]) + dot_rest(&a[i][whole..], &b[j][whole..]);
        }
    }
    out
}

/// `y += factor · x`.
#[inline(always)]
pub(crate) fn add_scaled<S: Simd>(factor: f32, x: &[f32], y: &mut [f32]) {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    let lanes = S::splat(factor);
    for (x, y) in x.iter().zip(y) {
        S::store(S::fma(lanes, S::load(x), S::load(y)), y);
    }
    for (x, y) in x_rest.iter().zip(y_rest) {
        *y = factor.mul_add(*x, *y);
    }
}

/// `e^x`, to about one unit in the last place; 0 below −104, infinite above 88.73, NaN for NaN.
/// Subnormal below −87.3, where units are coarse and the result is rounded twice.
///
/// `x = n ln 2 + r` with `|r| ≤ ln 2 / 2`; `e^r` by the Taylor series to the seventh power.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: S::F) -> S::F {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // The order of arguments keeps NaN.
    let x = S::min(S::splat(89.0), S::max(S::splat(-104.0), x));
    let n = S::nearest(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
    let n_float = S::to_f(n);
    let r = S::fma(n_float, S::splat(-LN2_HIGH), x);
    let r = S::fma(n_float, S::splat(-LN2_LOW), r);
    let mut sum = S::splat(1.0 / 5040.0);
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = S::fma(sum, r, S::splat(factor));
    }
    // Two factors: 2^n alone leaves the range of normal numbers at both ends.
    let half = S::nearest(S::mul(n_float, S::splat(0.499)));
    let rest = S::nearest(S::sub(n_float, S::to_f(half)));
    S::mul(S::mul(sum, S::power_of_two(half)), S::power_of_two(rest))
}

/// The sixteen values from `at` on.
#[inline(always)]
pub(crate) fn vector(x: &[f32], at: usize) -> &[f32; LANES] {
    x[at..at + LANES].as_array().expect("sixteen values")
}

/// Up to sixteen values, zeros beyond.
#[inline(always)]
pub(crate) fn padded<S: Simd>(x: &[f32]) -> S::F {
    match x.as_array() {
        Some(x) => S::load(x),
        None => {
            let mut lanes = [0.0; LANES];
            lanes[..x.len()].copy_from_slice(x);
            S::load(&lanes)
        }
    }
}

/// The sixteen values from `at` on, to write.
#[inline(always)]
pub(crate) fn vector_mut(x: &mut [f32], at: usize) -> &mut [f32; LANES] {
    x[at..at + LANES].as_mut_array().expect("sixteen values")
}
