//! Two files, tensor by tensor, bit by bit.
//!
//! For those who made the same file twice, by other means or on other machines, and want to know
//! where the two differ. Keys are not compared: they say how a file was made.

use gguf::{File, Format, Tensor};
use rayon::prelude::*;

/// Bytes that one core compares at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A tensor that is not the same in both files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub tensor: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a tensor differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Only the first file has it.
    OnlyFirst,
    /// Only the second file has it.
    OnlySecond,
    /// It has other dimensions.
    Dims,
    /// It has another format.
    Format {
        /// In the first file.
        first: Format,
        /// In the second file.
        second: Format,
    },
    /// It has other bytes.
    Bytes {
        /// Blocks that are not the same, and all blocks.
        blocks: u64,
        /// All blocks.
        block_count: u64,
        /// Bits that are not the same.
        bits: u64,
    },
}

/// All tensors that differ, in the order of the first file.
pub fn compare(first: &File, second: &File) -> Vec<Difference> {
    let mut found = Vec::new();
    for tensor in first.tensors() {
        let kind = match second.tensor(&tensor.name) {
            Some(other) => difference(first, tensor, second, other),
            None => Some(DifferenceKind::OnlyFirst),
        };
        found.extend(kind.map(|kind| Difference { tensor: tensor.name.clone(), kind }));
    }
    for tensor in second.tensors().iter().filter(|tensor| first.tensor(&tensor.name).is_none()) {
        let kind = DifferenceKind::OnlySecond;
        found.push(Difference { tensor: tensor.name.clone(), kind });
    }
    found
}

fn difference(first: &File, a: &Tensor, second: &File, b: &Tensor) -> Option<DifferenceKind> {
    if a.dims != b.dims {
        return Some(DifferenceKind::Dims);
    }
    if a.format != b.format {
        return Some(DifferenceKind::Format { first: a.format, second: b.format });
    }
    let block_bytes = a.format.block_bytes();
    // Nobody knows how many bytes a tensor of an unknown type has.
    if block_bytes == 0 {
        return None;
    }
    let (x, y) = (first.bytes(a), second.bytes(b));
    let piece = PIECE_BYTES / block_bytes * block_bytes;
    let pieces = x.par_chunks(piece).zip(y.par_chunks(piece));
    let count = |(x, y): (&[u8], &[u8])| {
        if x == y {
            return (0, 0);
        }
        let blocks = x.chunks(block_bytes).zip(y.chunks(block_bytes));
        let unequal = blocks.filter(|(x, y)| x != y);
        unequal.fold((0u64, 0u64), |(blocks, bits), (x, y)| {
            let here = x.iter().zip(y).map(|(x, y)| u64::from((x ^ y).count_ones()));
            (blocks + 1, bits + here.sum::<u64>())
        })
    };
    let (blocks, bits) = pieces.map(count).reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let block_count = (x.len() / block_bytes) as u64;
    (blocks > 0).then_some(DifferenceKind::Bytes { blocks, block_count, bits })
}
