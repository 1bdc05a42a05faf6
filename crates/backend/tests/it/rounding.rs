//! Trained roundings and row layouts.

use std::path::PathBuf;

use backend::ops::kv::round::{
    e2m1_decode, e2m1_encode, e4m3_decode, e4m3_encode, fp4_round, fp8_round, hadamard, scale,
};
use backend::ops::kv::{RowFormat, RowKind, RowLayout};
use proptest::prelude::*;

fn golden(name: &str) -> Vec<f32> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../../testdata/golden/act_golden.npz");
    let file = std::fs::File::open(path).expect("golden file");
    let mut npz = zip::ZipArchive::new(file).expect("an archive");
    let array = npz.by_name(&format!("{name}.npy")).expect("a golden array");
    npyz::NpyFile::new(array).expect("an array").into_vec().expect("f32")
}

fn same(got: f32, want: f32) -> bool {
    got == want || (got.is_nan() && want.is_nan())
}

#[test]
fn every_code_decodes_to_the_golden_value() {
    for (code, want) in golden("e4m3_values").into_iter().enumerate() {
        assert!(same(e4m3_decode(code as u8), want), "E4M3 {code:#04x}");
    }
    for (exponent, want) in golden("e8m0_values").into_iter().enumerate() {
        assert!(same(scale(exponent as u8), want), "E8M0 {exponent}");
    }
}

/// The nearest code by search; of two equally near ones the even code.
fn nearest(v: f32, codes: impl Iterator<Item = u8>, decode: impl Fn(u8) -> f32) -> f32 {
    let key = |code: &u8| ((decode(*code) as f64 - v as f64).abs(), code & 1);
    let order = |a: &u8, b: &u8| key(a).partial_cmp(&key(b)).expect("no NaN");
    decode(codes.filter(|c| !decode(*c).is_nan()).min_by(order).expect("codes"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn encoding_finds_the_nearest_code(
        v in -448.0f32..448.0,
        small in -0.1f32..0.1,
        w in -6.0f32..6.0,
    ) {
        for v in [v, small] {
            prop_assert_eq!(e4m3_decode(e4m3_encode(v)), nearest(v, 0..=255, e4m3_decode), "{}", v);
        }
        prop_assert_eq!(e2m1_decode(e2m1_encode(w)), nearest(w, 0..16, e2m1_decode), "{}", w);
    }
}

/// Every midpoint between neighbours is a tie, and goes to the even code.
#[test]
fn ties_go_to_the_even_code() {
    for code in 0..126u8 {
        let middle = (e4m3_decode(code) + e4m3_decode(code + 1)) / 2.0;
        let even = if code % 2 == 0 { code } else { code + 1 };
        assert_eq!(e4m3_encode(middle), even, "between {code} and its neighbour");
        assert_eq!(e4m3_encode(-middle), even | 0x80);
    }
    for code in 0..7u8 {
        let middle = (e2m1_decode(code) + e2m1_decode(code + 1)) / 2.0;
        let even = if code % 2 == 0 { code } else { code + 1 };
        assert_eq!(e2m1_encode(middle), even);
        assert_eq!(e2m1_encode(-middle), even | 8);
    }
}

#[test]
fn rows_round_to_the_golden_values() {
    let (mut got, want) = (golden("kv_in"), golden("kv_out"));
    for (row, want) in got.chunks_exact_mut(512).zip(want.chunks_exact(512)) {
        fp8_round(&mut row[..448]);
        assert_eq!(row[..448], want[..448]);
    }
    let (mut got, middle) = (golden("index_in"), golden("index_hadamard"));
    let want = golden("index_out");
    for (i, row) in got.chunks_exact_mut(128).enumerate() {
        hadamard(row);
        let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (got, want) in row.iter().zip(&middle[i * 128..]) {
            assert!((got - want).abs() <= 1e-6 * largest, "{got} instead of {want}");
        }
        // Rounding itself is exact: start from the golden transform.
        let mut exact = middle[i * 128..][..128].to_vec();
        fp4_round(&mut exact);
        assert_eq!(exact, want[i * 128..][..128]);
    }
}

fn layouts() -> impl Iterator<Item = RowLayout> {
    let kinds = [
        RowKind::Attention { plain: 448, rotary: 64 },
        RowKind::Attention { plain: 128, rotary: 64 },
        RowKind::Indexer { dim: 128 },
    ];
    let formats =
        [RowFormat::Packed, RowFormat::UnpackedF32, RowFormat::RoundedF32, RowFormat::ExactF32];
    kinds.into_iter().flat_map(move |kind| formats.map(|format| RowLayout { kind, format }))
}

#[test]
fn published_rows_have_the_published_sizes() {
    let bytes: Vec<_> = layouts().map(|l| l.row_bytes()).collect();
    assert_eq!([bytes[0], bytes[1]], [583, 2048], "attention rows, packed and F32");
    assert_eq!([bytes[8], bytes[9]], [68, 512], "indexer rows, packed and F32");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Storing and loading is rounding, for every row of a block, and rows do not disturb each
    /// other; copying a row between blocks of other sizes changes no bit of its values.
    #[test]
    fn a_block_returns_the_rounded_rows(
        seed in proptest::collection::vec(-8.0f32..8.0, 512 * 5),
        size in -20i32..20,
    ) {
        for layout in layouts() {
            let rows: Vec<Vec<f32>> = seed
                .chunks_exact(512)
                .map(|row| row[..layout.width()].iter().map(|v| v * (size as f32).exp2()).collect())
                .collect();
            let mut block = vec![0xaa; layout.block_bytes(5)];
            for (i, row) in rows.iter().enumerate() {
                layout.store(&mut block, 5, i, &mut row.clone());
            }
            let mut other = vec![0; layout.block_bytes(9)];
            for (i, row) in rows.iter().enumerate() {
                let mut want = row.clone();
                layout.round(&mut want);
                let mut got = vec![0.0; layout.width()];
                layout.load(&block, 5, i, &mut got);
                prop_assert_eq!(&got, &want);
                layout.copy((&block, 5, i), (&mut other, 9, 8 - i));
                layout.load(&other, 9, 8 - i, &mut got);
                prop_assert_eq!(&got, &want);
            }
        }
    }

    /// Rounding what is rounded changes nothing.
    #[test]
    fn fp8_rounding_is_idempotent(mut row in proptest::collection::vec(-1e6f32..1e6, 128)) {
        fp8_round(&mut row);
        let once = row.clone();
        fp8_round(&mut row);
        prop_assert_eq!(row, once);
    }
}

/// A damaged value must not become a plausible number.
#[test]
fn values_that_are_not_finite_stay_so() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for layout in layouts() {
            let mut row = vec![0.5; layout.width()];
            row[3] = bad;
            let mut block = vec![0; layout.block_bytes(1)];
            layout.store(&mut block, 1, 0, &mut row);
            let mut got = vec![0.0; layout.width()];
            layout.load(&block, 1, 0, &mut got);
            assert!(!got[3].is_finite(), "{layout:?}: {bad} became {}", got[3]);
        }
    }
}
