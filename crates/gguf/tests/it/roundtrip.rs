//! What is written is read back, bit for bit; what is not finished does not exist.

use std::fs;
use std::path::Path;

use gguf::{Array, File, Format, Metadata, TensorPlan, Value, Writer};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::{plan, write};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(Value::String),
        array().prop_map(Value::Array),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::F64),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i8>(), 0..9).prop_map(Array::I8),
        vec(any::<u16>(), 0..9).prop_map(Array::U16),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<u32>(), 0..9).prop_map(Array::U32),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(any::<String>(), 0..9).prop_map(Array::String),
        vec(any::<u64>(), 0..9).prop_map(Array::U64),
        vec(any::<i64>(), 0..9).prop_map(Array::I64),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
    ]
}

fn tensors() -> impl Strategy<Value = Vec<TensorPlan>> {
    let tensor = (prop::sample::select(&Format::KNOWN[..]), 1..4_usize, vec(1..4_usize, 0..4));
    btree_map(any::<String>(), tensor, 0..6).prop_map(|tensors| {
        let plan = |(name, (format, blocks, rest)): (_, (Format, usize, Vec<usize>))| {
            let dims = [vec![blocks * format.block_values()], rest].concat();
            TensorPlan { name, dims, format }
        };
        tensors.into_iter().map(plan).collect()
    })
}

/// Any bytes, the same every time.
fn noise(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn byte_count(plan: &TensorPlan) -> usize {
    plan.dims.iter().product::<usize>() / plan.format.block_values() * plan.format.block_bytes()
}

proptest! {
    #[test]
    fn any_file_survives(
        entries in btree_map("[a-z.]{1,20}", value(), 0..12),
        alignment in prop::sample::select(vec![None, Some(0_u32), Some(1), Some(32), Some(4096)]),
        plans in tensors(),
        pieces in vec(1..5000_usize, 1..8),
    ) {
        let mut metadata: Metadata = entries.into_iter().collect();
        if let Some(alignment) = alignment {
            metadata.set("general.alignment", alignment);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.gguf");
        let data = noise(plans.iter().map(byte_count).sum());
        let mut writer = Writer::create(&path, &metadata, &plans).unwrap();
        let mut rest = &data[..];
        for size in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            writer.write(piece).unwrap();
            rest = after;
        }
        writer.finish().unwrap();

        let file = File::open(&path).unwrap();
        prop_assert_eq!(file.metadata(), &metadata);
        prop_assert_eq!(file.tensors().len(), plans.len());
        let mut at = 0;
        for (tensor, plan) in file.tensors().iter().zip(&plans) {
            prop_assert_eq!(&tensor.name, &plan.name);
            prop_assert_eq!(&tensor.dims, &plan.dims);
            prop_assert_eq!(tensor.format, plan.format);
            prop_assert_eq!(tensor.offset % u64::from(alignment.unwrap_or(32).max(1)), 0);
            let bytes = file.bytes(tensor);
            prop_assert_eq!(&bytes[..], &data[at..at + byte_count(plan)]);
            at += bytes.len();
        }
    }
}

#[test]
fn numbers_are_asked_for_by_meaning() {
    let array = Value::Array;
    assert_eq!(Value::I8(7).as_u64(), Some(7));
    assert_eq!(Value::I64(-1).as_u64(), None);
    assert_eq!(Value::U64(u64::MAX).as_u64(), Some(u64::MAX));
    assert_eq!(Value::F32(1.0).as_u64(), None);
    assert_eq!(Value::Bool(true).as_u64(), None);
    assert_eq!(Value::F32(0.5).as_f64(), Some(0.5));
    assert_eq!(Value::I16(-3).as_f64(), Some(-3.0));
    assert_eq!(Value::from("x").as_f64(), None);
    assert_eq!(array(Array::U8(vec![1, 255])).as_integers(), Some(vec![1, 255]));
    assert_eq!(array(Array::U64(vec![1, u64::MAX])).as_integers(), None);
    assert_eq!(array(Array::F32(vec![1.0])).as_integers(), None);
    assert_eq!(array(Array::F32(vec![0.5])).as_floats(), Some(vec![0.5]));
    assert_eq!(array(Array::I32(vec![-2])).as_floats(), Some(vec![-2.0]));
    assert_eq!(Value::U32(1).as_integers(), None);
}

#[test]
fn keys_keep_their_places() {
    let mut metadata = Metadata::from_iter([("a", 1_u32), ("b", 2), ("c", 3)]);
    metadata.set("b", "new");
    metadata.retain(|key| key != "a");
    metadata.set("d", true);
    let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b", "c", "d"]);
    assert_eq!(metadata.get("b").unwrap().as_str(), Some("new"));
    assert_eq!(metadata.get("c").unwrap().as_u64(), Some(3));
    assert_eq!(metadata.get("a"), None);
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn nothing_appears_before_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, b"the old one").unwrap();
    let plans = [plan("a", &[8], Format::F32), plan("b", &[8], Format::F32)];

    let mut writer = Writer::create(&path, &Metadata::new(), &plans).unwrap();
    writer.write(&[1; 40]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"the old one");
    assert_eq!(names_in(folder.path()).len(), 2, "the old file and the temporary one");
    let error = writer.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: tensor 'b': expected 32 bytes, got 8", path.display())
    );
    assert_eq!(names_in(folder.path()), ["model.gguf"], "an unfinished file is removed");
    assert_eq!(fs::read(&path).unwrap(), b"the old one");

    let mut writer = Writer::create(&path, &Metadata::new(), &plans).unwrap();
    writer.write(&[1; 64]).unwrap();
    let error = writer.write(&[1; 3]).unwrap_err().to_string();
    assert!(error.ends_with(": 3 bytes more than its tensors hold"), "{error}");
    drop(writer);
    assert_eq!(names_in(folder.path()), ["model.gguf"], "a dropped one too");

    write(&path, &Metadata::new(), &plans, &[1; 64]);
    assert_eq!(names_in(folder.path()), ["model.gguf"]);
    assert_eq!(File::open(&path).unwrap().tensors().len(), 2);
}

/// The finished file has the permissions of any new file, not those of a temporary one.
#[test]
fn others_may_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, usual) = (folder.path().join("model.gguf"), folder.path().join("usual"));
    write(&path, &Metadata::new(), &[], &[]);
    fs::write(&usual, b"").unwrap();
    let permissions = |path| fs::metadata(path).unwrap().permissions();
    assert_eq!(permissions(&path), permissions(&usual));
}

#[test]
fn plans_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let cases = [
        (vec![plan("t", &[], Format::F32)], "expected 1 to 4 dimensions, found 0"),
        (vec![plan("t", &[1; 5], Format::F32)], "expected 1 to 4 dimensions, found 5"),
        (vec![plan("t", &[4, 0], Format::F32)], "expected dimensions of at least 1"),
        (vec![plan("t", &[40], Format::Q8_0)], "expected rows of whole Q8_0 blocks of 32 values"),
        (vec![plan("t", &[1 << 40, 1 << 40], Format::F32)], "more than any file can hold"),
        (vec![plan("t", &[4], Format::Unknown(99))], "cannot write unknown type 99"),
        (vec![plan("t", &[4], Format::F32), plan("t", &[4], Format::F32)], "planned twice"),
    ];
    for (plans, expected) in cases {
        let error = Writer::create(&path, &Metadata::new(), &plans).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.tensor(), Some("t"));
    }
    let metadata = Metadata::from_iter([("general.alignment", 33_u32)]);
    let error = Writer::create(&path, &metadata, &[]).unwrap_err();
    assert_eq!(error.key(), Some("general.alignment"));
    let nowhere = folder.path().join("no/such/folder/model.gguf");
    let error = Writer::create(&nowhere, &Metadata::new(), &[]).unwrap_err().to_string();
    assert!(error.contains("could not create the file"), "{error}");
    assert_eq!(names_in(folder.path()), [""; 0]);
}

/// A file of three tensors, two of which end in padding, is gone on with behind every byte.
#[test]
fn a_file_that_was_begun_is_gone_on_with_behind_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let tensor = |name: &str, dims: &[usize]| TensorPlan {
        name: name.to_owned(),
        dims: dims.to_vec(),
        format: Format::F32,
    };
    let plans = [tensor("a", &[3]), tensor("b", &[8]), tensor("c", &[5, 2])];
    let data = noise(4 * (3 + 8 + 10));
    let mut metadata = Metadata::new();
    metadata.set("x", "y");
    let mut whole = Writer::create(&path("whole"), &metadata, &plans).unwrap();
    whole.write(&data).unwrap();
    whole.finish().unwrap();
    let (out, kept) = (path("out"), path("kept"));
    for count in 0..=data.len() {
        let mut first = Writer::begin(&out, &kept, &metadata, &plans).unwrap();
        // More than is relied on later, and one writer at a time.
        first.write(&data[..data.len().min(count + 7)]).unwrap();
        first.sync().unwrap();
        let other = Writer::go_on(&out, &kept, &metadata, &plans, 0).unwrap_err().to_string();
        assert!(other.contains("another process writes it"), "{other}");
        drop(first);
        assert!(kept.exists() && !out.exists());
        let mut second = Writer::go_on(&out, &kept, &metadata, &plans, count as u64).unwrap();
        second.write(&data[count..]).unwrap();
        second.finish().unwrap();
        assert_eq!(fs::read(&out).unwrap(), fs::read(path("whole")).unwrap(), "behind {count}");
        fs::remove_file(&out).unwrap();
        assert!(!kept.exists());
    }
    let go_on = |plans: &[TensorPlan], count| {
        let error = Writer::go_on(&out, &kept, &metadata, plans, count).unwrap_err();
        error.to_string()
    };
    assert!(go_on(&plans, 0).contains("kept"), "there is nothing to go on with");
    drop(Writer::begin(&out, &kept, &metadata, &plans).unwrap());
    assert!(go_on(&plans, 1).contains("that were complete, found"), "there is a header only");
    assert!(go_on(&plans[..2], 0).contains("begun with other tensors or keys"));
    assert!(go_on(&plans, u64::MAX).contains("more than its tensors hold"));
}
