//! The good file that fuzzing starts from: every value type, every format, one block each.

use std::path::PathBuf;
use std::{fs, iter};

use gguf::{Array, File, Format, Metadata, Value};

use crate::{plan, testdata, write};

/// Where it is kept.
pub fn path() -> PathBuf {
    testdata("../fuzz/seeds/gguf_file/every-format.gguf")
}

fn metadata() -> Metadata {
    let values = [
        Value::U8(1),
        Value::I8(-1),
        Value::U16(2),
        Value::I16(-2),
        Value::U32(3),
        Value::I32(-3),
        Value::F32(0.5),
        Value::Bool(true),
        Value::from("text"),
        Value::U64(4),
        Value::I64(-4),
        Value::F64(0.25),
        Value::Array(Array::U8(vec![1])),
        Value::Array(Array::I8(vec![-1, 2])),
        Value::Array(Array::U16(vec![2])),
        Value::Array(Array::I16(vec![-2])),
        Value::Array(Array::U32(vec![3])),
        Value::Array(Array::I32(vec![-3])),
        Value::Array(Array::F32(vec![0.5])),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(Array::String(vec!["a".to_owned(), String::new()])),
        Value::Array(Array::U64(vec![4])),
        Value::Array(Array::I64(vec![-4])),
        Value::Array(Array::F64(vec![0.25])),
    ];
    let keys = (0..values.len()).map(|at| format!("key{at}"));
    let alignment = ("general.alignment".to_owned(), Value::U32(4));
    keys.zip(values).chain(iter::once(alignment)).collect()
}

fn write_to(path: &std::path::Path) {
    let formats = Format::KNOWN.iter();
    let plans: Vec<_> =
        formats.map(|format| plan(format.name(), &[format.block_values()], *format)).collect();
    let count = Format::KNOWN.iter().map(|format| format.block_bytes() as u32).sum();
    let noise = |at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0];
    write(path, &metadata(), &plans, &(0..count).map(noise).collect::<Vec<u8>>());
}

#[test]
#[ignore = "rewrites the seed of the fuzzer"]
fn write_seed() {
    write_to(&path());
}

#[test]
fn seed_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("fresh.gguf");
    write_to(&fresh);
    let same = fs::read(&fresh).unwrap() == fs::read(path()).unwrap();
    assert!(same, "the seed differs; run the ignored test write_seed");
    assert_eq!(File::open(&path()).unwrap().metadata(), &metadata());
}
