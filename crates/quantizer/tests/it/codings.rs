//! The published codings by every recipe, against the oracle: FP8 and FP4 with their scales, BF16,
//! F16, F32 and I64, in one file and in several.

use std::path::Path;

use gguf::Format;
use quantizer::{Checkpoint, Recipe, Start};
use spec::{Class, Source, TensorSpec};

use crate::folder::{Folder, Scales, scale_name, shape_of};
use crate::{convert, integers, oracle, values};

fn names(spec: &TensorSpec) -> Vec<String> {
    match &spec.source {
        Source::One(name) => vec![name.clone()],
        Source::PerExpert { before, after } => {
            (0..spec.dims[2]).map(|expert| format!("{before}{expert}{after}")).collect()
        }
    }
}

/// Converts a folder and compares format and every value; `format` says what a matrix becomes.
fn check(
    folder: &Folder,
    at: &Path,
    recipe: Recipe,
    format: impl Fn(&[&str]) -> Format,
    expected: impl Fn(f32) -> f32,
) -> gguf::File {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    convert(at, recipe, &path).unwrap();
    let file = gguf::File::open(&path).unwrap();
    let shape = shape_of(&folder.config);
    for spec in spec::tensors(&shape) {
        let names = names(&spec);
        if spec.class == Class::RouteTable {
            let ids = folder.tensors[&names[0]].bytes.chunks_exact(8).map(|id| i32::from(id[0]));
            assert_eq!(integers(&file, &spec.name), ids.collect::<Vec<_>>());
            continue;
        }
        let dtypes: Vec<&str> = names.iter().map(|name| folder.tensors[name].dtype).collect();
        let vector = spec.class.is_vector();
        let stored = file.tensor(&spec.name).unwrap().format;
        assert_eq!(stored, if vector { Format::F32 } else { format(&dtypes) }, "{}", spec.name);
        let mut wanted: Vec<f32> =
            names.iter().flat_map(|name| oracle::values(folder, name)).collect();
        if !vector {
            wanted.iter_mut().for_each(|value| *value = expected(*value));
        }
        let found = values(&file, &spec.name);
        assert_eq!(found.len(), wanted.len());
        // MXFP4 readers give plain zero for the code of minus zero.
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a == 0.0 && b == 0.0);
        let bad = found.iter().zip(&wanted).position(|(&a, &b)| !same(a, b));
        if let Some(at) = bad {
            panic!("{}: value {at} is {:e}, expected {:e}", spec.name, found[at], wanted[at]);
        }
    }
    file
}

#[test]
fn single_precision_is_exact_for_every_coding_and_scale() {
    let folder = Folder::small(Scales::All);
    let at = folder.write();
    check(&folder, at.path(), Recipe::F32, |_| Format::F32, |value| value);
}

#[test]
fn half_precision_is_the_nearest_half() {
    let folder = Folder::small(Scales::Half);
    let at = folder.write();
    let nearest = |value| half::f16::from_f32(value).to_f32();
    check(&folder, at.path(), Recipe::F16, |_| Format::F16, nearest);
}

fn as_is(dtypes: &[&str]) -> Format {
    assert!(dtypes.iter().all(|dtype| *dtype == dtypes[0]));
    match dtypes[0] {
        "F32" => Format::F32,
        "F16" => Format::F16,
        "BF16" | "F8_E4M3" => Format::Bf16,
        "I8" => Format::Mxfp4,
        other => panic!("{other}"),
    }
}

#[test]
fn as_is_loses_nothing() {
    let folder = Folder::small(Scales::Bf16);
    let at = folder.write();
    check(&folder, at.path(), Recipe::AsIs, as_is, |value| value);
}

#[test]
fn several_files_with_an_index_are_one_checkpoint() {
    let folder = Folder::small(Scales::Bf16);
    let at = folder.write_sharded(4);
    check(&folder, at.path(), Recipe::AsIs, as_is, |value| value);
    let (one, out) = (folder.write(), tempfile::tempdir().unwrap());
    let written = |at: &Path, name: &str| {
        let path = out.path().join(name);
        let mut options = crate::options(Recipe::AsIs);
        options.name = Some("same".to_owned());
        let plan = quantizer::Plan::new(Checkpoint::open(at).unwrap(), options).unwrap();
        plan.run(&path, (false, Start::New), &mut |_| {}, &Default::default()).unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(written(at.path(), "sharded") == written(one.path(), "single"), "the bytes differ");
}

/// The codes are those of the checkpoint, moved: checked nibble by nibble.
#[test]
fn mxfp4_blocks_hold_the_codes_of_the_checkpoint() {
    let folder = Folder::small(Scales::Bf16);
    let at = folder.write();
    let file = check(&folder, at.path(), Recipe::AsIs, as_is, |value| value);
    let tensor = file.tensor("blk.1.ffn_down_exps.weight").unwrap();
    assert_eq!(tensor.dims, [96, 192, 3]);
    let bytes = file.bytes(tensor);
    let mut blocks = bytes.chunks_exact(17);
    for expert in 0..3 {
        let name = format!("layers.1.ffn.experts.{expert}.w2.weight");
        let codes: Vec<u8> =
            folder.tensors[&name].bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).collect();
        let scales = &folder.tensors[&scale_name(&name)].bytes;
        for (codes, scale) in codes.chunks_exact(32).zip(scales) {
            let block = blocks.next().unwrap();
            assert_eq!(block[0], *scale);
            for i in 0..16 {
                assert_eq!((block[1 + i] & 15, block[1 + i] >> 4), (codes[i], codes[16 + i]));
            }
        }
    }
    assert!(blocks.next().is_none());
}

/// Experts of one stack may be coded differently; the stack gets a format that holds them all.
#[test]
fn a_mixed_stack_keeps_every_value() {
    for (dtype, expected) in
        [("F8_E4M3", Format::Bf16), ("BF16", Format::Bf16), ("F16", Format::F32)]
    {
        let mut folder = Folder::small(Scales::Bf16);
        let name = "layers.0.ffn.experts.1.w1.weight";
        folder.tensors.remove(&scale_name(name));
        folder.put(name, dtype, &[192, 96], Scales::Bf16);
        let mixed = move |dtypes: &[&str]| {
            if dtypes.iter().all(|dtype| *dtype == dtypes[0]) { as_is(dtypes) } else { expected }
        };
        let at = folder.write();
        check(&folder, at.path(), Recipe::AsIs, mixed, |value| value);
        check(&folder, at.path(), Recipe::F32, |_| Format::F32, |value| value);
    }
}

/// All 256 FP8 codes but two under one scale, and all 16 FP4 codes, with their values written out.
#[test]
fn codes_have_the_values_of_their_definition() {
    let mut folder = Folder::small(Scales::Half);
    let table = folder.tensors.get_mut("layers.0.attn.wq_a.weight").unwrap();
    table.bytes[..10].copy_from_slice(&[0, 1, 7, 8, 0x30, 0x38, 0x3c, 0x7e, 0x81, 0xfe]);
    folder.tensors.get_mut("layers.0.attn.wq_a.scale").unwrap().bytes[0] = 128;
    let expert = folder.tensors.get_mut("layers.0.ffn.experts.0.w1.weight").unwrap();
    expert.bytes[..8].copy_from_slice(&[0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    folder.tensors.get_mut("layers.0.ffn.experts.0.w1.scale").unwrap().bytes[0] = 126;
    let (at, out) = (folder.write(), tempfile::tempdir().unwrap());
    let path = out.path().join("m.gguf");
    convert(at.path(), Recipe::F32, &path).unwrap();
    let file = gguf::File::open(&path).unwrap();
    let half = 2f32.powi(-8);
    let expected = [0.0, half, 7.0 * half, 8.0 * half, 1.0, 2.0, 3.0, 896.0, -half, -896.0];
    assert_eq!(values(&file, "blk.0.attn_q_a.weight")[..10], expected);
    let magnitudes = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0];
    let found = values(&file, "blk.0.ffn_gate_exps.weight");
    assert_eq!(found[..8], magnitudes);
    assert_eq!(found[8..16], magnitudes.map(|value| -value));
}
