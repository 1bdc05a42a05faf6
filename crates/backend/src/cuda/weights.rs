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
//! The signs in groups of IQ2_XXS are moved to whole bytes. `R` counts the rows of all matrices of
//! a stack. Formats that no published file uses for a matrix are decoded to F32 here.

use std::borrow::Cow;
use std::ops::Range;

use gguf::Format;
use rayon::prelude::*;

use super::driver::{Address, Gpu, Memory};
use super::transfer::PIECE_BYTES;
use crate::{Error, WeightSource};

/// What kernels know IQ2_XXS by: its number in GGUF, as for all quantized formats.
pub const IQ2_XXS: usize = 16;
/// And Q2_K.
pub const Q2_K: usize = 10;

/// A weight on the device.
pub struct Stored {
    /// What the planes hold.
    pub format: Format,
    /// Where planes begin; 0 beyond the last.
    pub planes: [Address; 3],
    /// Bytes of all planes.
    pub bytes: usize,
    _memory: Memory,
}

/// The bytes of a block that go to each plane, as a range.
type Parts = &'static [(usize, usize)];

/// How a format is taken apart, if there are kernels for it.
fn parts(format: Format) -> Option<Parts> {
    Some(match format {
        Format::F32 => &[(0, 4)],
        Format::F16 | Format::Bf16 => &[(0, 2)],
        Format::Q8_0 => &[(2, 34), (0, 2)],
        Format::Q2K => &[(16, 80), (0, 16), (80, 84)],
        Format::Q4K => &[(16, 144), (0, 16)],
        Format::Iq2Xxs => &[(2, 66), (0, 2)],
        Format::Mxfp4 => &[(1, 17), (0, 1)],
        _ => return None,
    })
}

impl Stored {
    /// Copies a weight to the device.
    ///
    /// # Errors
    /// Out of device memory, or the device failed.
    pub fn load(gpu: &Gpu, source: &WeightSource) -> Result<Stored, Error> {
        let format = if parts(source.format).is_some() { source.format } else { Format::F32 };
        let parts = parts(format).expect("F32 has parts");
        let values = source.count * source.rows * source.cols;
        let mut offsets = [0; 4];
        for (plane, (from, to)) in parts.iter().enumerate() {
            let end = offsets[plane] + values / format.block_values() * (to - from);
            offsets[plane + 1] = end.next_multiple_of(256);
        }
        let bytes = offsets[parts.len()];
        let memory = gpu.allocate(bytes, "a weight")?;
        let mut planes = [0; 3];
        for (plane, offset) in planes.iter_mut().zip(offsets).take(parts.len()) {
            *plane = memory.address + offset as Address;
        }
        let widest = parts.iter().map(|(from, to)| to - from).max().expect("a format has parts");
        let at_once = PIECE_BYTES / widest * format.block_values();
        for first in (0..values).step_by(at_once) {
            let blocks = blocks(source, format, first, at_once.min(values - first));
            let (first_block, size) = (first / format.block_values(), format.block_bytes());
            for (plane, &(from, to)) in planes.iter().zip(parts) {
                let at = plane + (first_block * (to - from)) as Address;
                let bytes = blocks.len() / size * (to - from);
                let regroup = format == Format::Iq2Xxs && from == 2;
                gpu.send(at, bytes, |out| take_apart(&blocks, size, from..to, regroup, out))?;
            }
        }
        Ok(Stored { format, planes, bytes, _memory: memory })
    }

    /// The number that kernels know the format by.
    pub fn code(&self) -> usize {
        match self.format {
            Format::F32 => 0,
            Format::F16 => 1,
            Format::Q8_0 => 8,
            Format::Q2K => Q2_K,
            Format::Q4K => 12,
            Format::Iq2Xxs => IQ2_XXS,
            Format::Bf16 => 30,
            Format::Mxfp4 => 39,
            other => unreachable!("{other} is stored as F32"),
        }
    }
}

/// `count` values of a source from value `first` on, as blocks of `format`: its own, or F32.
fn blocks(source: &WeightSource, format: Format, first: usize, count: usize) -> Cow<'_, [u8]> {
    let at = |value: usize| value / source.format.block_values() * source.format.block_bytes();
    let bytes = &source.bytes[at(first)..at(first + count)];
    if source.format == format {
        return Cow::Borrowed(bytes);
    }
    let mut floats = vec![0.0f32; count];
    source.format.decode(bytes, &mut floats);
    Cow::Owned(bytemuck::cast_slice(&floats).to_vec())
}

/// Blocks that one thread takes at a time.
const STRETCH: usize = 4096;

/// A range of every block, side by side, by all threads: they wait for the disk together. Groups of
/// IQ2_XXS are regrouped on the way.
fn take_apart(blocks: &[u8], block: usize, range: Range<usize>, regroup: bool, out: &mut [u8]) {
    let len = range.len();
    let stretches = out.par_chunks_mut(STRETCH * len).zip(blocks.par_chunks(STRETCH * block));
    stretches.for_each(|(out, blocks)| {
        if len == block {
            return out.copy_from_slice(blocks);
        }
        for (out, block) in out.chunks_exact_mut(len).zip(blocks.chunks_exact(block)) {
            out.copy_from_slice(&block[range.clone()]);
        }
        if regroup {
            out.as_chunks_mut::<8>().0.iter_mut().for_each(signs_to_bytes);
        }
    });
}

/// A group of IQ2_XXS ends in four times seven signs and four bits of scale; every byte gets seven
/// signs and a bit.
fn signs_to_bytes(group: &mut [u8; 8]) {
    let [.., a, b, c, d] = *group;
    let word = u32::from_le_bytes([a, b, c, d]);
    for (k, byte) in group[4..].iter_mut().enumerate() {
        *byte = (word >> (7 * k) & 127 | (word >> (28 + k) & 1) << 7) as u8;
    }
}
