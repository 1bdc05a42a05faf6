//! Tensors as the directory of a file describes them, and the arithmetic of their sizes.
//!
//! Dimensions are in the file's order: `dims[0]` is the fastest and is the input width of a matrix,
//! so a matrix of `out` rows by `in` columns has dims `[in, out]`, and a stack of experts
//! `[in, out, experts]`. Nothing here knows what a tensor is for.

use crate::format::Format;

/// Most dimensions that a tensor has.
pub(crate) const RANK_MAX: usize = 4;

/// Alignment of tensor data in files that do not name one, in bytes.
const ALIGNMENT_DEFAULT: u64 = 32;

/// Largest alignment that is believed: a huge page.
const ALIGNMENT_MAX: u64 = 2 << 20;

/// The key that names another alignment.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// A tensor of an open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Unique in the file.
    pub name: String,
    /// One to four sizes, none of them 0, fastest first.
    pub dims: Vec<usize>,
    /// How the values are stored.
    pub format: Format,
    /// First byte, counted from the start of the file that holds the tensor (of its shard).
    pub offset: u64,
    /// Bytes of all values; 0 if the format is unknown, as nobody can tell.
    pub byte_count: usize,
    /// Which file of a model in several holds the tensor, from 0.
    pub shard: usize,
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlan {
    /// Unique in the file.
    pub name: String,
    /// One to four sizes, none of them 0, fastest first.
    pub dims: Vec<usize>,
    /// How the values are stored; not an unknown format.
    pub format: Format,
}

impl Tensor {
    /// Number of values.
    pub fn value_count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Number of rows: the product of all dimensions but the first.
    pub fn row_count(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// Bytes of one row of `dims[0]` values; 0 if the format is unknown.
    pub fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.dims[0]).unwrap_or(0)
    }
}

/// Bytes of a tensor, 0 for an unknown format; or what is wrong with its dimensions.
pub(crate) fn byte_count(dims: &[usize], format: Format) -> Result<usize, String> {
    if dims.is_empty() || dims.len() > RANK_MAX {
        return Err(format!("expected 1 to {RANK_MAX} dimensions, found {}", dims.len()));
    }
    if let Some(at) = dims.iter().position(|&size| size == 0) {
        return Err(format!("expected dimensions of at least 1, found 0 as dimension {at}"));
    }
    let too_large = || format!("dimensions {dims:?} multiply to more than any file can hold");
    // Bounded well below the range of the type, so that offsets may be added without care.
    let fits = |count: usize| (count as u64) < 1 << 62;
    let product = |sizes: &[usize]| sizes.iter().try_fold(1, |a: usize, &b| a.checked_mul(b));
    if !product(dims).is_some_and(fits) {
        return Err(too_large());
    }
    if matches!(format, Format::Unknown(_)) {
        return Ok(0);
    }
    let Some(row_bytes) = format.row_bytes(dims[0]) else {
        let block = format.block_values();
        return Err(format!(
            "expected rows of whole {format} blocks of {block} values, found rows of {} values",
            dims[0]
        ));
    };
    let rows = product(&dims[1..]).unwrap_or(usize::MAX);
    row_bytes.checked_mul(rows).filter(|&bytes| fits(bytes)).ok_or_else(too_large)
}

/// The alignment that a file asks for, or what is wrong with it. Absent and 0 mean the usual one.
pub(crate) fn alignment(metadata: &crate::Metadata) -> Result<u64, String> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else { return Ok(ALIGNMENT_DEFAULT) };
    let Some(alignment) = value.as_u64() else {
        return Err(format!("expected an integer, found a {}", value.value_type().name()));
    };
    match alignment {
        0 => Ok(ALIGNMENT_DEFAULT),
        _ if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX => Ok(alignment),
        _ => Err(format!("expected a power of two up to {ALIGNMENT_MAX}, found {alignment}")),
    }
}
