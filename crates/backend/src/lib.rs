//! The only home of device code: memory, operations, and what each operation means.
//!
//! A [`Backend`] is a [`Device`] plus one trait per family of operations. Each family is a folder
//! under `ops/`: `mod.rs` states the meaning (formula, shapes, checks) in front functions on
//! `dyn Backend`, `cpu.rs` is the readable reference that every other implementation is held
//! against, `cases.rs` lists sizes and tolerances. [`conformance`] runs those cases on two backends
//! and compares.
//!
//! This crate must not know layers, sessions, tokens' meaning or tensor names. Start reading at
//! `ops/mod.rs`, then any family, for example `ops/attend/mod.rs`.

mod buffer;
pub mod conformance;
mod cpu;
pub mod cuda;
mod device;
mod error;
pub mod ops;
mod step;

// The instruction sets of the machine this is compiled for.
#[cfg(target_arch = "aarch64")]
#[path = "cpu/simd/aarch64.rs"]
mod level;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "cpu/simd/other.rs"]
mod level;
#[cfg(target_arch = "x86_64")]
#[path = "cpu/simd/x86_64.rs"]
mod level;

pub use buffer::{Buffer, Element, KvPools, Pool, Reserved, Weight, WeightSource};
pub use cpu::{Cpu, CpuSimd, Level, Mark, Threads};
pub use device::{Device, KernelTime, Meter};
pub use error::Error;
pub use ops::kv::{RowFormat, RowLayout};
pub use step::{Segment, SegmentRow, Step, StepLimits};

/// Tokens that one row page covers. Every compression ratio divides it.
pub const PAGE_TOKENS: usize = 128;

/// A device with every operation of the model.
pub trait Backend:
    Device
    + ops::attend::Attend
    + ops::compress::Compress
    + ops::embed::Embed
    + ops::experts::Experts
    + ops::fused::Fused
    + ops::hyper::Hyper
    + ops::importance::Importance
    + ops::index::Index
    + ops::kv::Kv
    + ops::linear::Linear
    + ops::norm::Norm
    + ops::rope::Rope
    + ops::route::Route
    + ops::steer::Steer
{
}

/// Opens the fast CPU backend. It is always there. Weights may be repacked for speed in so many
/// bytes.
pub fn open_cpu(threads: &Threads, repack_bytes_max: usize) -> Box<dyn Backend> {
    let level = Level::available().pop().expect("plain Rust runs everywhere");
    Box::new(CpuSimd::new(threads, level).repacking(repack_bytes_max))
}

/// Asks the system to back memory with large pages, where it has them: a hint.
fn prefer_large_pages(map: &memmap2::MmapMut) {
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}

/// Opens the reference that every other backend is held against: slow, in floats throughout.
pub fn open_reference() -> Box<dyn Backend> {
    Box::new(Cpu::new())
}
