//! The encoders of block formats: golden bytes, made by ggml's quantizers compiled without fused
//! multiply-add; IQ2_XXS against plain loops; MXFP4, which no golden data has, by its promises.

use std::fs::File;
use std::io::BufReader;
use std::time::{Duration, Instant};

use gguf::Format;
use npyz::NpyFile;
use quantizer::encode;
use rayon::prelude::*;
use zip::ZipArchive;

use crate::folder::Random;
use crate::{plain, testdata};

/// Values of a row of the golden data; it has 24 of them.
const COLUMNS: usize = 512;

struct Golden {
    archive: ZipArchive<File>,
    values: Vec<f32>,
    importance: Vec<f32>,
}

impl Golden {
    fn open() -> Golden {
        let file = File::open(testdata("golden/quantizer_golden.npz")).unwrap();
        let mut archive = ZipArchive::new(file).unwrap();
        let values = array(&mut archive, "x");
        let importance = array(&mut archive, "importance");
        assert_eq!((values.len(), importance.len()), (24 * COLUMNS, COLUMNS));
        Golden { archive, values, importance }
    }
}

fn array<T: npyz::Deserialize>(archive: &mut ZipArchive<File>, name: &str) -> Vec<T> {
    let array = archive.by_name(&format!("{name}.npy")).unwrap();
    NpyFile::new(BufReader::new(array)).unwrap().into_vec().unwrap()
}

fn encoded(format: Format, values: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0xaa; format.row_bytes(values.len()).unwrap()];
    encode(format, values, importance, &mut out);
    out
}

#[test]
fn golden_rows_become_the_golden_bytes() {
    let mut golden = Golden::open();
    let cases = [
        ("Q8_0", "plain"),
        ("Q2_K", "plain"),
        ("Q4_K", "plain"),
        ("Q2_K", "imatrix"),
        ("Q4_K", "imatrix"),
        ("IQ2_XXS", "imatrix"),
    ];
    for (name, kind) in cases {
        let format = Format::from_name(name).unwrap();
        let expected: Vec<u8> = array(&mut golden.archive, &format!("{name}_{kind}"));
        let weights = (kind == "imatrix").then_some(&golden.importance[..]);
        let rows = golden.values.chunks(COLUMNS);
        let found: Vec<u8> = rows.flat_map(|row| encoded(format, row, weights)).collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        let block = format.block_bytes();
        let pairs = found.chunks(block).zip(expected.chunks(block));
        for (at, (found, expected)) in pairs.enumerate() {
            assert_eq!(found, expected, "{name} {kind}, block {at}");
        }
    }
}

#[test]
fn the_plain_loops_give_the_golden_bytes_too() {
    let mut golden = Golden::open();
    let expected: Vec<u8> = array(&mut golden.archive, "IQ2_XXS_imatrix");
    let weights = golden.importance.chunks(256).cycle();
    let blocks = golden.values.chunks(256).zip(weights);
    let found: Vec<u8> = blocks.flat_map(|(x, w)| plain::encode(x, w)).collect();
    assert_eq!(found, expected);
}

/// About normal, for what matters here.
fn normal(random: &mut Random) -> f32 {
    (0..12).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).sum::<f32>() - 6.0
}

#[test]
fn unusual_blocks_are_encoded_like_in_plain_loops() {
    let mut random = Random::new(5);
    let mut compare = |what: &str, value: &mut dyn FnMut(&mut Random, usize) -> (f32, f32)| {
        for round in 0..200 {
            let (values, weights): (Vec<f32>, Vec<f32>) =
                (0..256).map(|i| value(&mut random, i)).unzip();
            let found = encoded(Format::Iq2Xxs, &values, Some(&weights));
            assert_eq!(found, plain::encode(&values, &weights), "{what}, round {round}");
        }
    };
    compare("normal", &mut |r, _| (normal(r), 0.5 + r.below(100) as f32));
    compare("heavy tails", &mut |r, _| (normal(r).powi(5) * 1e-3, normal(r).powi(4)));
    compare("no weight for most", &mut |r, _| (normal(r), (r.below(4) / 3) as f32));
    compare("few values", &mut |r, _| (r.below(5) as f32 - 2.0, 1.0));
    compare("FP4 codes", &mut |r, _| ([0.0, 0.5, 1.0, 6.0][r.below(4) as usize], normal(r).abs()));
    compare("mostly zero", &mut |r, i| {
        (if i / 32 % 2 == 0 && r.below(9) == 0 { normal(r) } else { 0.0 }, 1.0)
    });
    compare("one sign", &mut |r, _| (-normal(r).abs(), normal(r).powi(6)));
    compare("tiny", &mut |r, _| (normal(r) * 1e-14, 1.0));
}

/// Nothing that is finite makes an encoder fail, and the result decodes to numbers.
#[test]
fn every_format_takes_every_finite_value() {
    let mut random = Random::new(11);
    for round in 0..300 {
        let extreme = |random: &mut Random| match random.below(6) {
            0 => 0.0,
            1 => f32::MAX * if random.below(2) == 0 { 1.0 } else { -1.0 },
            2 => f32::from_bits(random.below(1 << 23) as u32),
            3 => normal(random),
            _ => f32::from_bits(random.below(0x7f80_0000) as u32) * [1.0, -1.0][round % 2],
        };
        let values: Vec<f32> = (0..256).map(|_| extreme(&mut random)).collect();
        let weights: Vec<f32> = (0..256).map(|_| extreme(&mut random).abs()).collect();
        for format in [Format::Q8_0, Format::Q2K, Format::Q4K, Format::Iq2Xxs, Format::Mxfp4] {
            encoded(format, &values, Some(&weights));
            if format != Format::Iq2Xxs {
                encoded(format, &values, None);
            }
        }
    }
}

fn decoded(format: Format, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / format.block_bytes() * format.block_values()];
    format.decode(bytes, &mut out);
    out
}

#[test]
fn what_mxfp4_holds_exactly_it_keeps() {
    let mut random = Random::new(3);
    for exponent in 0..=252 {
        for _ in 0..20 {
            let mut block = [0; 17];
            block[0] = exponent;
            block[1..].fill_with(|| random.below(256) as u8);
            let values = decoded(Format::Mxfp4, &block);
            assert_eq!(decoded(Format::Mxfp4, &encoded(Format::Mxfp4, &values, None)), values);
        }
    }
}

/// For a few values the best block can be found by trying all.
#[test]
fn mxfp4_is_as_good_as_the_best_of_all_blocks() {
    const CODES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let mut random = Random::new(8);
    for _ in 0..200 {
        let values: Vec<f32> = (0..32).map(|_| normal(&mut random)).collect();
        let weights: Vec<f32> = (0..32).map(|_| normal(&mut random).powi(2)).collect();
        for weights in [None, Some(&weights[..])] {
            let weight = |i: usize| weights.map_or(1.0, |w| f64::from(w[i]));
            let found = decoded(Format::Mxfp4, &encoded(Format::Mxfp4, &values, weights));
            let squared = |i: usize, y: f64| weight(i) * (f64::from(values[i]) - y).powi(2);
            let error: f64 = (0..32).map(|i| squared(i, found[i].into())).sum();
            let best = |exponent: i32| -> f64 {
                let sizes = CODES.map(|code| code * 2f64.powi(exponent));
                let codes = || sizes.iter().flat_map(|size| [*size, -size]);
                let least = |i| codes().map(|y| squared(i, y)).fold(f64::INFINITY, f64::min);
                (0..32).map(least).sum()
            };
            // The two powers under which the largest value is at most one step beyond the codes.
            let most = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let power = most.log2().floor() as i32 - 2;
            let best = best(power).min(best(power + 1));
            assert!((error - best).abs() < 1e-9, "{error} {best}");
        }
    }
}

/// Two cores with vector units against one with plain loops, in one run: the ratios are printed,
/// and whatever else the machine does, vector units have to help.
#[test]
#[ignore = "measures for some seconds; meant for a machine that does nothing else"]
fn iq2_xxs_is_fast() {
    let mut random = Random::new(1);
    let values: Vec<f32> = (0..1 << 19).map(|_| normal(&mut random)).collect();
    let weights: Vec<f32> = (0..1 << 19).map(|_| normal(&mut random).powi(2) + 0.1).collect();
    let two = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let blocks = || values.par_chunks(4096).zip(weights.par_chunks(4096));
    let one_block = |(x, w): (&[f32], &[f32])| encoded(Format::Iq2Xxs, x, Some(w));
    let timed = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let plain = || {
        for (x, w) in values.chunks(256).zip(weights.chunks(256)) {
            std::hint::black_box(plain::encode(x, w));
        }
    };
    let fast = || two.install(|| blocks().for_each(|block| drop(one_block(block))));
    let single = || values.chunks(4096).zip(weights.chunks(4096)).for_each(|b| drop(one_block(b)));
    single();
    plain::encode(&values[..256], &weights[..256]);
    // Alternating, so that whatever else the machine does meets all three; the least counts.
    let mut times = [Duration::MAX; 3];
    for _ in 0..9 {
        let found = [timed(&plain), timed(&single), timed(&fast)];
        times = std::array::from_fn(|i| times[i].min(found[i]));
    }
    let [plain, single, fast] = times.map(|time| time.as_secs_f64());
    println!("plain {plain:.3} s, one core {single:.3} s, two cores {fast:.3} s");
    println!("ratios {:.1} and {:.1}", plain / single, plain / fast);
    assert!(plain / single >= 2.0, "{:.1} times", plain / single);
}
