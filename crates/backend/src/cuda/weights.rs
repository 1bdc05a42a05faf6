//! Weights on the device: blocks of the file taken apart into planes, so that threads read aligned
//! words side by side.
//!
//! ```text
//! format     plane 0                    plane 1                       plane 2
//! F32 …      values [R][K]
//! Q8_0       codes [R][K]               scales F16 [R][K/32]
//! Q2_K       codes [R][K/256][64]       scales [R][K/256][16]         d, dmin F16 [R][K/256][2]
//! Q4_K       codes [R][K/256][128]      d, dmin, scales [R][K/256][16]
//! IQ2_XXS    groups [R][K/256][64]      d F16 [R][K/256]
//! MXFP4      codes [R][K/32][16]        exponents [R][K/32]
//! ```
//!
//! `R` counts the rows of all matrices of a stack. Formats that no published file uses for a matrix
//! are decoded to F32 here.

use gguf::Format;
use rayon::prelude::*;

use super::driver::{Address, Gpu, Memory};
use crate::{Error, WeightSource};

/// What kernels know IQ2_XXS by: its number in GGUF, as for all quantized formats.
pub const IQ2_XXS: u32 = 16;

/// A weight on the device.
pub struct Stored {
    /// What the planes hold.
    pub format: Format,
    /// Where planes begin; 0 beyond the last.
    pub planes: [Address; 3],
    /// Output width of one matrix.
    pub rows: usize,
    /// Bytes of all planes.
    pub bytes: usize,
    _memory: Memory,
}

/// Bytes of a block that go to each plane, as ranges in it.
type Parts = &'static [&'static [(usize, usize)]];

/// How a format is taken apart: bytes per block, columns per block, parts.
fn parts(format: Format) -> Option<Parts> {
    Some(match format {
        Format::F32 => &[&[(0, 4)]],
        Format::F16 | Format::Bf16 => &[&[(0, 2)]],
        Format::Q8_0 => &[&[(2, 34)], &[(0, 2)]],
        Format::Q2K => &[&[(16, 80)], &[(0, 16)], &[(80, 84)]],
        Format::Q4K => &[&[(16, 144)], &[(0, 16)]],
        Format::Iq2Xxs => &[&[(2, 66)], &[(0, 2)]],
        Format::Mxfp4 => &[&[(1, 17)], &[(0, 1)]],
        _ => return None,
    })
}

/// Bytes that are taken apart at once.
const CHUNK_BYTES: usize = 32 << 20;

impl Stored {
    /// Copies a weight to the device.
    ///
    /// # Errors
    /// Out of device memory, or the device failed.
    pub fn load(gpu: &Gpu, source: &WeightSource) -> Result<Stored, Error> {
        let format = if parts(source.format).is_some() { source.format } else { Format::F32 };
        let parts = parts(format).expect("F32 has parts");
        let block = format.block_bytes();
        let values = source.count * source.rows * source.cols;
        let blocks = values / format.block_values();
        let width = |plane: usize| parts[plane].iter().map(|(from, to)| to - from).sum::<usize>();
        let mut offsets = [0; 4];
        for plane in 0..parts.len() {
            offsets[plane + 1] = (offsets[plane] + blocks * width(plane)).next_multiple_of(256);
        }
        let bytes = offsets[parts.len()];
        let memory = gpu.allocate(bytes, "a weight")?;
        let source_block = source.format.block_bytes();
        let source_values = source.format.block_values();
        let step = CHUNK_BYTES / source_block.max(block) * source_values.max(256) / 256;
        let mut first = 0;
        while first < blocks * format.block_values() {
            let count = (step * 256).min(values - first);
            let from = first / source_values * source_block;
            let bytes = &source.bytes[from..from + count / source_values * source_block];
            let decoded;
            let bytes = if source.format == format {
                bytes
            } else {
                let mut floats = vec![0.0f32; count];
                source.format.decode(bytes, &mut floats);
                decoded = floats;
                bytemuck::cast_slice(&decoded)
            };
            for (plane, parts) in parts.iter().enumerate() {
                let width = width(plane);
                let at = memory.address
                    + (offsets[plane] + first / format.block_values() * width) as Address;
                if width == block {
                    gpu.upload(at, bytes)?;
                    continue;
                }
                let mut out = vec![0; bytes.len() / block * width];
                out.par_chunks_mut(width).zip(bytes.par_chunks(block)).for_each(|(out, block)| {
                    let mut at = 0;
                    for &(from, to) in *parts {
                        out[at..at + to - from].copy_from_slice(&block[from..to]);
                        at += to - from;
                    }
                });
                gpu.upload(at, &out)?;
            }
            first += count;
        }
        let mut planes = [0; 3];
        for (plane, address) in planes.iter_mut().enumerate().take(parts.len()) {
            *address = memory.address + offsets[plane] as Address;
        }
        Ok(Stored { format, planes, rows: source.rows, bytes, _memory: memory })
    }

    /// The number that kernels know the format by.
    pub fn code(&self) -> u32 {
        match self.format {
            Format::F32 => 0,
            Format::F16 => 1,
            Format::Q8_0 => 8,
            Format::Q2K => 10,
            Format::Q4K => 12,
            Format::Iq2Xxs => IQ2_XXS,
            Format::Bf16 => 30,
            Format::Mxfp4 => 39,
            other => unreachable!("{other} is stored as F32"),
        }
    }
}
