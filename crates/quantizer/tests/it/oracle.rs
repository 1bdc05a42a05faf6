//! Checkpoint values, slowly: straight from the definitions of the codings, in double precision,
//! one value at a time. It shares nothing with the crate's decoders.

use crate::folder::{Folder, Stored, scale_name};

/// All values of a tensor of a folder, in the order of its rows.
pub fn values(folder: &Folder, name: &str) -> Vec<f32> {
    let stored = &folder.tensors[name];
    let (rows, mut columns) = match stored.shape[..] {
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => panic!("{:?}", stored.shape),
    };
    if stored.dtype == "I8" {
        columns *= 2;
    }
    let mut out = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        out.extend((0..columns).map(|column| value(folder, name, stored, row, column, columns)));
    }
    out
}

fn value(
    folder: &Folder,
    name: &str,
    stored: &Stored,
    row: usize,
    column: usize,
    columns: usize,
) -> f32 {
    let at = row * columns + column;
    let bits16 = || u16::from_le_bytes([stored.bytes[2 * at], stored.bytes[2 * at + 1]]);
    let scale = |rows: usize, columns: usize| {
        let scale = &folder.tensors[&scale_name(name)];
        let code = scale.bytes[row / rows * scale.shape[1] + column / columns];
        2f64.powi(i32::from(code) - 127)
    };
    let exact = match stored.dtype {
        "F32" => f64::from(f32::from_le_bytes(stored.bytes[4 * at..][..4].try_into().unwrap())),
        "BF16" => float(bits16().into(), 8, 7),
        "F16" => float(bits16().into(), 5, 10),
        "F8_E4M3" => float(stored.bytes[at].into(), 4, 3) * scale(128, 128),
        "I8" => {
            let byte = stored.bytes[at / 2];
            let code = if column.is_multiple_of(2) { byte % 16 } else { byte / 16 };
            float(code.into(), 2, 1) * scale(1, 32)
        }
        other => panic!("{other}"),
    };
    let value = exact as f32;
    assert_eq!(f64::from(value), exact, "{name}[{row}, {column}] is not exact in single precision");
    value
}

/// A binary float of a sign, some exponent and some mantissa bits, from the textbook.
fn float(code: u32, exponent_bits: u32, mantissa_bits: u32) -> f64 {
    let mantissa = f64::from(code % (1 << mantissa_bits)) / f64::from(1 << mantissa_bits);
    let exponent = (code >> mantissa_bits) % (1 << exponent_bits);
    let bias = (1 << (exponent_bits - 1)) - 1;
    let magnitude = match exponent as i32 {
        0 => mantissa * 2f64.powi(1 - bias),
        exponent => (1.0 + mantissa) * 2f64.powi(exponent - bias),
    };
    if code >> (exponent_bits + mantissa_bits) == 0 { magnitude } else { -magnitude }
}
