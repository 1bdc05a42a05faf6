//! How the values of a tensor are stored.
//!
//! A format has a number in the file, a name, and blocks of so many values in so many bytes; a row
//! is whole blocks. Twelve formats can be decoded here. The other known ones have a size only, and
//! a type that this crate has never heard of is kept by its number, so that a file that holds one
//! can still be listed. The meaning of each block is in [`crate::blocks`].

use std::fmt;

use crate::blocks::{self, bf16, f16, iq2_xxs, mxfp4, q2_k, q3_k, q4_0, q4_k, q5_k, q6_k, q8_0};

/// The type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant is the ggml type of its name; see `blocks`
pub enum Format {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    /// A format of activations; no file holds it.
    Q8K,
    Iq2Xxs,
    I8,
    I16,
    I32,
    I64,
    F64,
    Bf16,
    Mxfp4,
    /// A type that is not in this list, by its number.
    Unknown(u32),
}

struct Facts {
    id: u32,
    name: &'static str,
    values: usize,
    bytes: usize,
}

impl Format {
    /// Every known format, by number.
    pub const KNOWN: [Format; 21] = {
        use Format::*;
        [
            F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K, Q8K, Iq2Xxs, I8, I16,
            I32, I64, F64, Bf16, Mxfp4,
        ]
    };

    const fn facts(self) -> Facts {
        const fn of(id: u32, name: &'static str, values: usize, bytes: usize) -> Facts {
            Facts { id, name, values, bytes }
        }
        match self {
            Format::F32 => of(0, "F32", blocks::f32::VALUES, blocks::f32::BYTES),
            Format::F16 => of(1, "F16", f16::VALUES, f16::BYTES),
            Format::Q4_0 => of(2, "Q4_0", q4_0::VALUES, q4_0::BYTES),
            Format::Q4_1 => of(3, "Q4_1", 32, 20),
            Format::Q5_0 => of(6, "Q5_0", 32, 22),
            Format::Q5_1 => of(7, "Q5_1", 32, 24),
            Format::Q8_0 => of(8, "Q8_0", q8_0::VALUES, q8_0::BYTES),
            Format::Q2K => of(10, "Q2_K", q2_k::VALUES, q2_k::BYTES),
            Format::Q3K => of(11, "Q3_K", q3_k::VALUES, q3_k::BYTES),
            Format::Q4K => of(12, "Q4_K", q4_k::VALUES, q4_k::BYTES),
            Format::Q5K => of(13, "Q5_K", q5_k::VALUES, q5_k::BYTES),
            Format::Q6K => of(14, "Q6_K", q6_k::VALUES, q6_k::BYTES),
            Format::Q8K => of(15, "Q8_K", 256, 292),
            Format::Iq2Xxs => of(16, "IQ2_XXS", iq2_xxs::VALUES, iq2_xxs::BYTES),
            Format::I8 => of(24, "I8", 1, 1),
            Format::I16 => of(25, "I16", 1, 2),
            Format::I32 => of(26, "I32", 1, 4),
            Format::I64 => of(27, "I64", 1, 8),
            Format::F64 => of(28, "F64", 1, 8),
            Format::Bf16 => of(30, "BF16", bf16::VALUES, bf16::BYTES),
            Format::Mxfp4 => of(39, "MXFP4", mxfp4::VALUES, mxfp4::BYTES),
            Format::Unknown(id) => of(id, "unknown", 0, 0),
        }
    }

    /// The format with this number in the file; `Unknown` if there is none.
    pub fn from_id(id: u32) -> Format {
        Format::KNOWN.into_iter().find(|f| f.id() == id).unwrap_or(Format::Unknown(id))
    }

    /// The format with this name, such as "Q8_0", in any case of letters.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::KNOWN.into_iter().find(|f| f.name().eq_ignore_ascii_case(name))
    }

    /// The number in the file.
    pub const fn id(self) -> u32 {
        self.facts().id
    }

    /// The name that ggml gives it, such as "Q8_0"; "unknown" for an unknown one.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Values in a block; 0 for an unknown format.
    pub const fn block_values(self) -> usize {
        self.facts().values
    }

    /// Bytes of a block; 0 for an unknown format.
    pub const fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// Bytes of a row of so many values. `None` if they are not whole blocks, if the format is
    /// unknown, or if the number is absurd.
    pub fn row_bytes(self, values: usize) -> Option<usize> {
        let Facts { values: block, bytes, .. } = self.facts();
        if block == 0 || !values.is_multiple_of(block) {
            return None;
        }
        (values / block).checked_mul(bytes)
    }

    /// Whether [`Format::decode`] knows it.
    pub const fn is_decodable(self) -> bool {
        use Format::*;
        matches!(
            self,
            F32 | F16 | Bf16 | Q8_0 | Q4_0 | Q2K | Q3K | Q4K | Q5K | Q6K | Iq2Xxs | Mxfp4
        )
    }

    /// Whether [`Format::encode`] knows it.
    pub const fn is_encodable(self) -> bool {
        matches!(self, Format::F32 | Format::F16 | Format::Bf16)
    }

    /// Decodes whole blocks: one row, or several that follow each other.
    ///
    /// # Panics
    ///
    /// If the format is not decodable, `bytes` is not whole blocks, or `out` does not hold exactly
    /// their values. Sizes come from a checked directory, so these are bugs.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert!(self.is_decodable(), "no decoder for {self}");
        self.check_lengths(bytes.len(), out.len());
        match self {
            Format::F32 => each_block(bytes, out, blocks::f32::decode),
            Format::F16 => f16::decode_row(bytes, out),
            Format::Bf16 => each_block(bytes, out, bf16::decode),
            Format::Q8_0 => each_block(bytes, out, q8_0::decode),
            Format::Q4_0 => each_block(bytes, out, q4_0::decode),
            Format::Q2K => each_block(bytes, out, q2_k::decode),
            Format::Q3K => each_block(bytes, out, q3_k::decode),
            Format::Q4K => each_block(bytes, out, q4_k::decode),
            Format::Q5K => each_block(bytes, out, q5_k::decode),
            Format::Q6K => each_block(bytes, out, q6_k::decode),
            Format::Iq2Xxs => each_block(bytes, out, iq2_xxs::decode),
            Format::Mxfp4 => each_block(bytes, out, mxfp4::decode),
            _ => unreachable!("{self} is not decodable"),
        }
    }

    /// Encodes values to the nearest ones that the format has, ties to even. Quantized formats need
    /// more thought than that and are encoded elsewhere.
    ///
    /// # Panics
    ///
    /// If the format is not encodable, or `out` is not exactly the bytes of `values`.
    pub fn encode(self, values: &[f32], out: &mut [u8]) {
        assert!(self.is_encodable(), "no encoder for {self}");
        self.check_lengths(out.len(), values.len());
        match self {
            Format::F32 => each_value(values, out, blocks::f32::encode),
            Format::F16 => each_value(values, out, f16::encode),
            Format::Bf16 => each_value(values, out, bf16::encode),
            _ => unreachable!("{self} is not encodable"),
        }
    }

    fn check_lengths(self, bytes: usize, values: usize) {
        assert!(
            self.row_bytes(values) == Some(bytes),
            "{bytes} bytes of {self} for {values} values, at {} bytes for {} values",
            self.block_bytes(),
            self.block_values(),
        );
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Unknown(id) => write!(f, "unknown type {id}"),
            _ => f.write_str(self.name()),
        }
    }
}

fn each_block<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        decode(block, out);
    }
}

fn each_value<const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    encode: impl Fn(&[f32; 1], &mut [u8; BYTES]),
) {
    for (value, out) in values.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        encode(value, out);
    }
}
