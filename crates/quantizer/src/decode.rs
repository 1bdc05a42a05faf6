//! The numbers of a checkpoint: their codings, decoded row by row.
//!
//! Besides plain floats, published weights use two scaled codings, both exact in single precision:
//!
//! ```text
//! FP8   a byte per value, E4M3:  sign, 4 exponent bits (bias 7), 3 mantissa bits
//!       w[r][c] = E4M3(code) * 2^(scale[r/128][c/128] - 127)
//! FP4   two codes per byte, the even column in the low half, E2M1:  sign, 2 exponent, 1 mantissa
//!       w[r][c] = E2M1(code) * 2^(scale[r][c/32] - 127)
//! ```
//!
//! Scales are E8M0 bytes; 255 is not a number, nor are the E4M3 codes 0x7f and 0xff. A weight that
//! is not finite is refused, whatever its coding: a model with one computes nothing. An FP4 row can
//! also be repacked as MXFP4, which has the same codes and scales in another order.
//!
//! Nothing here knows a tensor's name or where its bytes come from.

use gguf::Format;
use gguf::blocks::mxfp4;

use crate::safetensors::Dtype;

/// Rows and columns that share an FP8 scale.
const FP8_BLOCK: (usize, usize) = (128, 128);

/// Rows and columns that share an FP4 scale.
const FP4_BLOCK: (usize, usize) = (1, mxfp4::VALUES);

/// The largest scale byte under which no FP4 code overflows: 6 * 2^125 is finite, 6 * 2^126 not.
const FP4_SCALE_SAFE: u8 = 252;

/// How the values of a tensor are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    F32,
    F16,
    Bf16,
    Fp8,
    Fp4,
    I32,
    I64,
    /// Blocks as a GGUF file has them.
    Blocks(Format),
}

impl Coding {
    /// The coding of a tensor stored as `dtype`; `None` if no weight is stored so.
    pub(crate) fn of(dtype: &Dtype) -> Option<Coding> {
        Some(match dtype {
            Dtype::F32 => Coding::F32,
            Dtype::F16 => Coding::F16,
            Dtype::Bf16 => Coding::Bf16,
            Dtype::F8E4M3 => Coding::Fp8,
            Dtype::I8 => Coding::Fp4,
            Dtype::I32 => Coding::I32,
            Dtype::I64 => Coding::I64,
            Dtype::F8E8M0 | Dtype::Other(_) => return None,
        })
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Coding::I32 | Coding::I64)
    }

    /// Bytes of a row of so many values, scales not counted.
    pub(crate) fn row_bytes(self, columns: usize) -> usize {
        match self {
            Coding::Fp4 => columns / 2,
            Coding::Fp8 => columns,
            Coding::F16 | Coding::Bf16 => columns * 2,
            Coding::F32 | Coding::I32 => columns * 4,
            Coding::I64 => columns * 8,
            Coding::Blocks(format) => format.row_bytes(columns).expect("whole blocks in a file"),
        }
    }

    /// Rows and columns that share a scale, if there are scales.
    pub(crate) fn scale_block(self) -> Option<(usize, usize)> {
        match self {
            Coding::Fp8 => Some(FP8_BLOCK),
            Coding::Fp4 => Some(FP4_BLOCK),
            _ => None,
        }
    }
}

/// Consecutive rows of a tensor as they are in the checkpoint, the first at the start of a scale
/// block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub coding: Coding,
    pub columns: usize,
    /// `[rows, row_bytes]`.
    pub weight: &'a [u8],
    /// `[ceil(rows / block rows), ceil(columns / block columns)]`, or nothing.
    pub scale: &'a [u8],
}

/// A value that cannot be taken over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub row: usize,
    pub column: usize,
    pub problem: String,
}

impl Rows<'_> {
    /// Decodes a row of floats.
    ///
    /// # Errors
    /// The first value that is not finite.
    pub(crate) fn decode(&self, row: usize, out: &mut [f32]) -> Result<(), Flaw> {
        assert_eq!(out.len(), self.columns, "values of a row");
        let (codes, scales) = (self.codes(row), self.scales(row));
        match self.coding {
            Coding::F32 => Format::F32.decode(codes, out),
            Coding::F16 => Format::F16.decode(codes, out),
            Coding::Bf16 => Format::Bf16.decode(codes, out),
            Coding::Fp8 => decode_fp8(codes, scales, out),
            Coding::Fp4 => decode_fp4(codes, scales, out),
            Coding::Blocks(format) => format.decode(codes, out),
            Coding::I32 | Coding::I64 => panic!("integers are no weights"),
        }
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(column) => Err(self.not_finite(row, column, out[column])),
        }
    }

    /// Takes over a row of blocks as they are.
    pub(crate) fn copy(&self, row: usize, out: &mut [u8]) {
        out.copy_from_slice(self.codes(row));
    }

    /// Repacks an FP4 row as MXFP4 blocks.
    ///
    /// # Errors
    /// The first value that is not finite.
    pub(crate) fn repack(&self, row: usize, out: &mut [u8]) -> Result<(), Flaw> {
        assert_eq!(self.coding, Coding::Fp4, "only FP4 codes are those of MXFP4");
        let (codes, _) = self.codes(row).as_chunks::<16>();
        let (blocks, _) = out.as_chunks_mut::<{ mxfp4::BYTES }>();
        assert_eq!(codes.len(), blocks.len(), "blocks of a row");
        if self.scales(row).iter().any(|&scale| scale > FP4_SCALE_SAFE) {
            self.decode(row, &mut vec![0.0; self.columns])?;
        }
        for ((codes, &scale), block) in codes.iter().zip(self.scales(row)).zip(blocks) {
            let code = |i: usize| codes[i / 2] >> (4 * (i % 2)) & 15;
            block[0] = scale;
            for (i, byte) in block[1..].iter_mut().enumerate() {
                *byte = code(i) | code(16 + i) << 4;
            }
        }
        Ok(())
    }

    /// Takes over a row of ids below `limit` as 32-bit integers.
    ///
    /// # Errors
    /// The first id that is negative or too large.
    pub(crate) fn ids(&self, row: usize, limit: usize, out: &mut [u8]) -> Result<(), Flaw> {
        let (out, _) = out.as_chunks_mut::<4>();
        let codes = self.codes(row).chunks_exact(self.coding.row_bytes(1));
        for (column, (code, out)) in codes.zip(out).enumerate() {
            let id = match self.coding {
                Coding::I64 => i64::from_le_bytes(code.try_into().expect("eight bytes")),
                Coding::I32 => i32::from_le_bytes(code.try_into().expect("four bytes")).into(),
                coding => panic!("{coding:?} values are no ids"),
            };
            if id < 0 || id >= limit as i64 {
                let problem = format!("expected an expert id below {limit}, found {id}");
                return Err(Flaw { row, column, problem });
            }
            *out = (id as i32).to_le_bytes();
        }
        Ok(())
    }

    fn codes(&self, row: usize) -> &[u8] {
        let bytes = self.coding.row_bytes(self.columns);
        &self.weight[row * bytes..][..bytes]
    }

    fn scales(&self, row: usize) -> &[u8] {
        let Some((rows, columns)) = self.coding.scale_block() else { return &[] };
        let count = self.columns.div_ceil(columns);
        &self.scale[row / rows * count..][..count]
    }

    fn not_finite(&self, row: usize, column: usize, value: f32) -> Flaw {
        let codes = match self.coding {
            Coding::Fp8 => {
                let (code, scale) = (self.codes(row)[column], self.scales(row)[column / 128]);
                format!(" (code {code:#04x}, scale {scale:#04x})")
            }
            Coding::Fp4 => {
                let code = self.codes(row)[column / 2] >> (4 * (column % 2)) & 15;
                format!(" (code {code:#x}, scale {:#04x})", self.scales(row)[column / 32])
            }
            _ => String::new(),
        };
        Flaw { row, column, problem: format!("expected a finite value, found {value}{codes}") }
    }
}

fn decode_fp8(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    let blocks = codes.chunks(FP8_BLOCK.1).zip(out.chunks_mut(FP8_BLOCK.1));
    for ((codes, out), &scale) in blocks.zip(scales) {
        let scale = e8m0(scale);
        for (&code, out) in codes.iter().zip(out) {
            *out = E4M3[usize::from(code)] * scale;
        }
    }
}

fn decode_fp4(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    let blocks = codes.chunks(FP4_BLOCK.1 / 2).zip(out.chunks_mut(FP4_BLOCK.1));
    for ((codes, out), &scale) in blocks.zip(scales) {
        let scale = e8m0(scale);
        for (&code, out) in codes.iter().zip(out.as_chunks_mut::<2>().0) {
            *out = [E2M1[usize::from(code & 15)] * scale, E2M1[usize::from(code >> 4)] * scale];
        }
    }
}

/// `2^(code - 127)`, a subnormal number for code 0; code 255 is not a number.
const fn e8m0(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(0x0040_0000),
        255 => f32::NAN,
        _ => f32::from_bits((code as u32) << 23),
    }
}

/// The value of every FP8 code.
const E4M3: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = (code as u32 >> 3 & 15, code as u32 & 7);
        let magnitude = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa as f32 / 512.0,
            // Bias 127 of a float instead of 7, the mantissa at the top of 23 bits.
            _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
        };
        table[code] = if code < 128 { magnitude } else { -magnitude };
        code += 1;
    }
    table
};

/// The value of every FP4 code.
const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
