//! The sixteen lanes on x86-64: AVX2 with FMA and F16C, and AVX-512 with VNNI.
//!
//! `unsafe` stands here in two forms only. Intrinsics without pointers are called in functions that
//! are compiled into a wrapper with their target features; loads and stores take their address from
//! an array reference of the right size.

#![allow(unsafe_code)]

mod avx2;
mod avx2_rows;
mod avx512;

use std::arch::x86_64::*;

use avx2::Avx2;
use avx512::Avx512;

use crate::cpu::simd::{BLOCK, Kernel, Portable};

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
