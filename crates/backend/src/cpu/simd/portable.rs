//! The sixteen lanes in plain Rust: for any processor, and the meaning of the others.
//!
//! Whatever another instruction set returns is compared with this, bit for bit. It is slow where
//! the compiler may not use a fused multiply-add.
//!
//! Written to be read. The compiler makes vectors of some of it, which is luck: where speed
//! matters, the architecture has a file of its own.

use half::{bf16, f16};

use super::{BLOCK, Codes, E4M3_REBIAS, LANES, Simd};

/// Plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

#[inline(always)]
fn map(x: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    x.map(f)
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type F = [f32; LANES];
    type I = [i32; LANES];

    const SUMS: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> Self::F {
        [x; LANES]
    }

    #[inline(always)]
    fn load(x: &[f32; LANES]) -> Self::F {
        *x
    }

    #[inline(always)]
    fn store(x: Self::F, out: &mut [f32; LANES]) {
        *out = x;
    }

    #[inline(always)]
    fn add(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn nearest(x: Self::F) -> Self::I {
        map(x, f32::round_ties_even).map(|v| v as i32)
    }

    #[inline(always)]
    fn to_f(x: Self::I) -> Self::F {
        x.map(|v| v as f32)
    }

    #[inline(always)]
    fn power_of_two(x: Self::I) -> Self::F {
        x.map(|v| f32::from_bits((v.wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    fn store_bytes(x: Self::I, out: &mut [i8; LANES]) {
        *out = x.map(|v| v as i8);
    }

    #[inline(always)]
    fn f16(bytes: &[u8; 2 * LANES]) -> Self::F {
        std::array::from_fn(|i| f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32())
    }

    #[inline(always)]
    fn bf16(bytes: &[u8; 2 * LANES]) -> Self::F {
        std::array::from_fn(|i| bf16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32())
    }

    #[inline(always)]
    fn e4m3(codes: &[u8; LANES]) -> Self::F {
        codes.map(|code| {
            let code = u32::from(code);
            // An E4M3 number under the exponent bias of an F32, subnormal ones included.
            let small = f32::from_bits((code & 0x80) << 24 | (code & 0x7f) << 20);
            small * E4M3_REBIAS
        })
    }

    #[inline(always)]
    fn u8(x: &[u8; LANES]) -> Self::F {
        x.map(f32::from)
    }

    #[inline(always)]
    fn sum(mut x: Self::F) -> f32 {
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                x[i] += x[i + width];
            }
            width /= 2;
        }
        x[0]
    }

    const SIGN_FLIP: u8 = 0x80;

    #[inline(always)]
    fn block<const T: usize, const SIGNED: bool>(
        codes: &Codes,
        x: [&[i8; BLOCK]; T],
        start: [i32; T],
    ) -> [Self::I; T] {
        let mut sums = start.map(|start| [start; LANES]);
        for (sums, x) in sums.iter_mut().zip(x) {
            for (codes, x) in codes.iter().zip(x.as_chunks::<4>().0) {
                for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<4>().0) {
                    for (code, x) in codes.iter().zip(x) {
                        *sum += i32::from(*code) * i32::from(*x);
                    }
                }
            }
        }
        sums
    }
}
