//! Every block format against golden values, bit for bit.
//!
//! `quant_golden.npz` holds 64 random blocks of each quantized format and the values that ggml's
//! reference implementation gives them. The formats that are missing there are checked against
//! values computed by hand.

use std::fs::File;
use std::io::BufReader;

use gguf::Format;
use gguf::blocks::{f16, iq2_xxs, mxfp4, q4_0};
use npyz::NpyFile;
use zip::ZipArchive;

use crate::testdata;

fn array<T: npyz::Deserialize>(npz: &mut ZipArchive<File>, name: &str) -> Vec<T> {
    let array = npz.by_name(&format!("{name}.npy")).unwrap();
    NpyFile::new(BufReader::new(array)).unwrap().into_vec().unwrap()
}

/// Compares as bits, so that a zero of the wrong sign or a changed NaN counts.
#[track_caller]
fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{what}[{i}]: {found} {expected}");
    }
}

#[test]
fn golden_blocks_decode_bit_for_bit() {
    let mut npz =
        ZipArchive::new(File::open(testdata("golden/quant_golden.npz")).unwrap()).unwrap();
    for name in ["Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "MXFP4"] {
        let format = Format::from_name(name).unwrap();
        let blocks: Vec<u8> = array(&mut npz, &format!("{name}_blocks"));
        let values: Vec<f32> = array(&mut npz, &format!("{name}_values"));
        assert_eq!(blocks.len(), 64 * format.block_bytes(), "{name}");
        let mut out = vec![f32::NAN; 64 * format.block_values()];
        format.decode(&blocks, &mut out);
        assert_same_bits(&out, &values, name);
    }
}

#[test]
fn q4_0_by_hand() {
    // d = 0.5; the byte 0xf0 holds 0 for value 0 and 15 for value 16, 0x8c 12 and 8.
    let mut block = q4_0::Block { d: [0x00, 0x38], nibbles: [0x88; 16] };
    block.nibbles[0] = 0xf0;
    block.nibbles[15] = 0x8c;
    let mut expected = [0.0; 32];
    (expected[0], expected[16]) = (-4.0, 3.5);
    (expected[15], expected[31]) = (2.0, 0.0);
    let mut out = [f32::NAN; 32];
    q4_0::decode(bytemuck::cast_ref(&block), &mut out);
    assert_same_bits(&out, &expected, "Q4_0");
}

#[test]
fn mxfp4_factors_reach_both_ends() {
    for exponent in 0..=255_u8 {
        let expected = 2f64.powi(i32::from(exponent) - 128);
        assert_eq!(f64::from(mxfp4::half_factor(exponent)), expected, "exponent {exponent}");
    }
}

#[test]
fn iq2_xxs_tables_follow_their_rules() {
    assert!(iq2_xxs::codes().is_sorted_by(|a, b| a < b), "rows are distinct and ordered");
    let rows = iq2_xxs::GRID.iter().zip(iq2_xxs::codes());
    for (row, code) in rows {
        let again = row.iter().rev().fold(0, |code, magnitude| {
            let digit = iq2_xxs::MAGNITUDES.iter().position(|m| m == magnitude).unwrap();
            code << 2 | digit as u16
        });
        assert_eq!(again, *code);
    }
    for (code, mask) in iq2_xxs::SIGNS.iter().enumerate() {
        assert_eq!(usize::from(mask & 127), code);
        assert_eq!(mask.count_ones() % 2, 0, "an even number of minus signs");
    }
}

/// Every half there is, by arithmetic: sign, five bits of exponent, ten of fraction.
#[test]
fn f16_decodes_all_its_values_alone_and_in_rows() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut row = vec![0.0; 1 << 16];
    Format::F16.decode(&bytes, &mut row);
    for bits in 0..=u16::MAX {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
        };
        let expected = if bits >> 15 == 1 { -magnitude } else { magnitude } as f32;
        let mut alone = [0.0];
        f16::decode(&bits.to_le_bytes(), &mut alone);
        for found in [alone[0], row[usize::from(bits)]] {
            let same = found.to_bits() == expected.to_bits();
            assert!(same || found.is_nan() && expected.is_nan(), "{bits:04x}: {found} {expected}");
        }
    }
}

#[test]
fn f16_rounds_to_nearest_even() {
    let ulp = 2f32.powi(-10);
    let cases = [
        (1.0, 0x3c00),
        (1.0 + ulp / 2.0, 0x3c00),              // tie, down to even
        (1.0 + ulp * 1.5, 0x3c02),              // tie, up to even
        (1.0 + ulp * 0.5001, 0x3c01),           // above the tie
        (-1.0 - ulp * 1.5, 0xbc02),             // the same below zero
        (65504.0, 0x7bff),                      // the largest half
        (65519.996, 0x7bff),                    // just below the tie with infinity
        (65520.0, 0x7c00),                      // the tie
        (2f32.powi(-24), 0x0001),               // the smallest half
        (2f32.powi(-25), 0x0000),               // tie with zero
        (2f32.powi(-25) * 1.0001, 0x0001),      // above it
        (2f32.powi(-14) * (1.0 - ulp), 0x03ff), // the largest subnormal half
        (-0.0, 0x8000),
        (f32::INFINITY, 0x7c00),
    ];
    for (value, expected) in cases {
        let mut out = [0; 2];
        Format::F16.encode(&[value], &mut out);
        assert_eq!(u16::from_le_bytes(out), expected, "{value:e}");
    }
}

#[test]
fn bf16_rounds_to_nearest_even_and_keeps_nan() {
    let cases = [
        (0x3f80_0000, 0x3f80),
        (0x3f80_8000, 0x3f80), // tie, down to even
        (0x3f81_8000, 0x3f82), // tie, up to even
        (0x3f80_8001, 0x3f81), // above the tie
        (0xbf81_8000, 0xbf82),
        (0x7f7f_ffff, 0x7f80), // rounds to infinity
        (0x7f80_0000, 0x7f80),
        (0x7f80_0001, 0x7fc0), // a NaN whose upper half alone would be infinity
        (0xffa5_0001, 0xffe5), // sign and upper bits stay
        (0x0000_8000, 0x0000), // subnormal tie
    ];
    for (bits, expected) in cases {
        let mut out = [0; 2];
        Format::Bf16.encode(&[f32::from_bits(bits)], &mut out);
        assert_eq!(u16::from_le_bytes(out), expected, "{bits:08x}");
        let mut back = [0.0];
        Format::Bf16.decode(&out, &mut back);
        assert_eq!(back[0].to_bits(), u32::from(expected) << 16);
    }
}

#[test]
fn f32_is_copied() {
    let values =
        [0.0, -0.0, 1.5, f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::from_bits(0x7fa0_0001)];
    let mut bytes = [0; 24];
    Format::F32.encode(&values, &mut bytes);
    let mut back = [0.0; 6];
    Format::F32.decode(&bytes, &mut back);
    assert_same_bits(&back, &values, "F32");
}

#[test]
fn numbers_and_names_identify_formats() {
    let ids = [0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 28, 30, 39];
    assert_eq!(Format::KNOWN.map(Format::id), ids);
    for format in Format::KNOWN {
        assert_eq!(Format::from_id(format.id()), format);
        assert_eq!(Format::from_name(format.name()), Some(format));
        assert_eq!(format.row_bytes(3 * format.block_values()), Some(3 * format.block_bytes()));
    }
    assert_eq!(Format::from_id(18), Format::Unknown(18));
    assert_eq!(Format::Unknown(18).row_bytes(256), None);
    assert_eq!(Format::Unknown(18).to_string(), "unknown type 18");
    assert_eq!(Format::Q2K.row_bytes(255), None);
    assert_eq!(Format::F32.row_bytes(usize::MAX / 2), None);
}
