//! Recipes that quantize, from a checkpoint and from a file: formats, blocks, rules, importance.
//!
//! Expected values are those of the oracle's floats, encoded by the encoders that golden data
//! holds, decoded by `gguf`. Importance files are written here, byte by byte.

use std::fs;
use std::path::{Path, PathBuf};

use gguf::{File, Format, Metadata, TensorPlan, Writer};
use quantizer::{
    Checkpoint, DifferenceKind, Error, Importance, Input, Options, Plan, Recipe, Splice, Start,
    Template, compare, encode,
};
use serde_json::json;
use spec::{Class, Shape};
use tempfile::TempDir;

use crate::folder::{Folder, Random, Scales, shape_of};
use crate::{oracle, values};

/// The small model, wide enough for blocks of 256.
fn wide() -> Folder {
    let mut config = crate::folder::config();
    config["hidden_size"] = json!(256);
    config["moe_intermediate_size"] = json!(256);
    Folder::of(config, Scales::Half)
}

fn run(input: impl Into<Input>, options: Options, out: &Path) -> Result<File, Error> {
    Plan::new(input, options)?.run(out, (true, Start::Over), &mut |_| {}, &Default::default())?;
    Ok(File::open(out).unwrap())
}

/// Floats of an expert of a stack, as the oracle has them.
fn expert(folder: &Folder, name: &str, expert: usize) -> Vec<f32> {
    let spec = spec::tensors(&shape_of(&folder.config)).into_iter().find(|spec| spec.name == name);
    let spec::Source::PerExpert { before, after } = spec.unwrap().source else { panic!("{name}") };
    oracle::values(folder, &format!("{before}{expert}{after}"))
}

fn encoded(format: Format, values: &[f32], weights: Option<&[f32]>, columns: usize) -> Vec<u8> {
    let mut out = vec![0; format.row_bytes(values.len()).unwrap()];
    let bytes = format.row_bytes(columns).unwrap();
    for (row, out) in values.chunks(columns).zip(out.chunks_mut(bytes)) {
        encode(format, row, weights, out);
    }
    out
}

fn bytes(file: &File, name: &str) -> Vec<u8> {
    file.bytes(file.tensor(name).unwrap()).to_vec()
}

#[test]
fn recipes_give_the_formats_of_the_published_files() {
    let (folder, out) = (wide(), tempfile::tempdir().unwrap());
    let at = folder.write();
    let cases = [
        (Recipe::Q8, Format::Q8_0, Format::Q8_0),
        (Recipe::Q4, Format::Q4K, Format::Q4K),
        (Recipe::Q2, Format::Iq2Xxs, Format::Q2K),
        (Recipe::Mxfp4, Format::Mxfp4, Format::Mxfp4),
    ];
    for (recipe, gate_up, down) in cases {
        let checkpoint = Checkpoint::open(at.path()).unwrap();
        let specs = spec::tensors(checkpoint.shape());
        let plan = Plan::new(checkpoint, Options::new(recipe)).unwrap();
        for (tensor, spec) in plan.tensors().iter().zip(&specs) {
            let expected = match spec.class {
                Class::RouteTable => Format::I32,
                class if class.is_vector() => Format::F32,
                Class::ExpertGateUp => gate_up,
                Class::ExpertDown => down,
                Class::Head | Class::Attention | Class::SharedExpert => Format::Q8_0,
                _ => Format::F16,
            };
            assert_eq!(tensor.format, expected, "{recipe}: {}", tensor.name);
        }
        let path = out.path().join("m.gguf");
        plan.run(&path, (true, Start::Over), &mut |_| {}, &Default::default()).unwrap();
        let file = File::open(&path).unwrap();
        let name = "blk.1.attn_q_a.weight";
        let wanted = oracle::values(&folder, "layers.1.attn.wq_a.weight");
        assert_eq!(bytes(&file, name), encoded(Format::Q8_0, &wanted, None, 256));
        let name = "blk.1.ffn_down_exps.weight";
        let found = bytes(&file, name);
        for e in 0..3 {
            let wanted = expert(&folder, name, e);
            if recipe == Recipe::Mxfp4 {
                let all = values(&file, name);
                assert_eq!(all[e * wanted.len()..][..wanted.len()], wanted, "lossless");
                continue;
            }
            let wanted = encoded(down, &wanted, None, 256);
            assert_eq!(found[e * wanted.len()..][..wanted.len()], wanted, "{recipe}, expert {e}");
        }
    }
}

/// A file that somebody else made of the same model: other order, other keys, a format of its own.
fn template(made: &File, path: &Path, change: impl FnOnce(&mut Metadata, &mut Vec<TensorPlan>)) {
    let mut metadata = made.metadata().clone();
    let plan = |tensor: &gguf::Tensor| TensorPlan {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        format: tensor.format,
    };
    let mut tensors: Vec<TensorPlan> = made.tensors().iter().rev().map(plan).collect();
    change(&mut metadata, &mut tensors);
    let mut writer = Writer::create(path, &metadata, &tensors).unwrap();
    for tensor in &tensors {
        let values: usize = tensor.dims.iter().product();
        // No number of a template is used: there are only zeros.
        writer.write_zeros(tensor.format.row_bytes(values).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_template_gives_keys_order_and_formats_and_no_number() {
    let (folder, out) = (wide(), tempfile::tempdir().unwrap());
    let at = folder.write();
    let path = |name: &str| out.path().join(name);
    let checkpoint = || Checkpoint::open(at.path()).unwrap();
    let plain = run(checkpoint(), Options::new(Recipe::Q4), &path("plain.gguf")).unwrap();
    let other = "blk.1.attn_q_a.weight";
    template(&plain, &path("template.gguf"), |metadata, tensors| {
        metadata.set("general.author", "somebody");
        metadata.set("quantize.imatrix.file", "old.dat");
        tensors.iter_mut().find(|t| t.name == other).unwrap().format = Format::F16;
    });
    let following = |formats| {
        let file = File::open(&path("template.gguf")).unwrap();
        let shape = shape_of(&folder.config);
        Some(Template { file, shape, formats })
    };
    let options =
        |formats, recipe| Options { template: following(formats), ..Options::new(recipe) };
    let made = run(checkpoint(), options(true, Recipe::AsIs), &path("a.gguf")).unwrap();
    let names = |file: &File| -> Vec<String> {
        file.tensors().iter().map(|tensor| tensor.name.clone()).collect()
    };
    let backwards: Vec<String> = names(&plain).into_iter().rev().collect();
    assert_eq!(names(&made), backwards);
    assert_eq!(made.metadata().get("general.author"), Some(&"somebody".into()));
    assert_eq!(made.metadata().get("quantize.imatrix.file"), None);
    assert_eq!(made.metadata().get("dwarfstar.quantize.recipe"), Some(&"template".into()));
    for tensor in plain.tensors() {
        if tensor.name == other {
            assert_eq!(made.tensor(other).unwrap().format, Format::F16);
            let wanted = oracle::values(&folder, "layers.1.attn.wq_a.weight");
            assert!(bytes(&made, other) == encoded(Format::F16, &wanted, None, 256), "{other}");
        } else {
            let (found, wanted) = (bytes(&made, &tensor.name), bytes(&plain, &tensor.name));
            assert!(found == wanted, "{}", tensor.name);
        }
    }
    // With a recipe it decides about keys and order only.
    let made = run(checkpoint(), options(false, Recipe::Q4), &path("b.gguf")).unwrap();
    assert_eq!(names(&made), backwards);
    assert!(bytes(&made, other) == bytes(&plain, other));
}

#[test]
fn a_template_of_another_model_is_refused() {
    let (folder, out) = (wide(), tempfile::tempdir().unwrap());
    let at = folder.write();
    let plan = |path: &Path, shape: Shape| {
        let template = Some(Template { file: File::open(path).unwrap(), shape, formats: true });
        let options = Options { template, ..Options::new(Recipe::AsIs) };
        Plan::new(Checkpoint::open(at.path()).unwrap(), options).unwrap_err().to_string()
    };
    let path = out.path().join("plain.gguf");
    let plain = run(Checkpoint::open(at.path()).unwrap(), Options::new(Recipe::Q4), &path).unwrap();
    let mut shape = shape_of(&folder.config);
    shape.window += 1;
    let refused = plan(&path, shape);
    assert!(refused.contains("plain.gguf: no template for this checkpoint"), "{refused}");
    assert!(refused.contains("sliding_window"), "{refused}");
    let more = out.path().join("more.gguf");
    template(&plain, &more, |_, tensors| {
        let (name, format) = ("blk.7.extra.weight".to_owned(), Format::F32);
        tensors.push(TensorPlan { name, dims: vec![32], format });
    });
    let refused = plan(&more, shape_of(&folder.config));
    assert!(refused.contains("1 of its tensors are not made: 'blk.7.extra.weight'"), "{refused}");
}

/// Without an importance IQ2_XXS takes the sums of squares of the expert's own columns.
#[test]
fn two_bits_without_importance_weigh_by_the_columns() {
    let (folder, out) = (wide(), tempfile::tempdir().unwrap());
    let at = folder.write();
    let checkpoint = Checkpoint::open(at.path()).unwrap();
    let file = run(checkpoint, Options::new(Recipe::Q2), &out.path().join("m.gguf")).unwrap();
    let name = "blk.0.ffn_up_exps.weight";
    let found = bytes(&file, name);
    for e in 0..3 {
        let x = expert(&folder, name, e);
        let sums = (0..256).map(|c| x.chunks(256).fold(0.0, |sum, row| sum + row[c] * row[c]));
        let sums: Vec<f32> = sums.collect();
        let wanted = encoded(Format::Iq2Xxs, &x, Some(&sums), 256);
        assert_eq!(found[e * wanted.len()..][..wanted.len()], wanted, "expert {e}");
    }
}

#[test]
fn rows_that_are_no_whole_blocks_get_a_format_that_fits() {
    let folder = Folder::small(Scales::Half).write();
    let plan = crate::plan(folder.path(), Recipe::Q2).unwrap();
    let format = |name: &str| plan.tensors().iter().find(|t| t.name == name).unwrap().format;
    assert_eq!(format("blk.1.ffn_up_exps.weight"), Format::Q8_0);
    let rule = |typed: &str| {
        let rules = vec![typed.parse().unwrap()];
        let options = Options { rules, ..Options::new(Recipe::F16) };
        Plan::new(Checkpoint::open(folder.path()).unwrap(), options).unwrap_err().to_string()
    };
    let message = rule("blk.1.ffn_up_exps.weight=q4_k");
    assert!(message.contains("blk.1.ffn_up_exps.weight (Q4_K needs rows of whole"), "{message}");
    // A vector stays one, so this rule has nothing to say.
    let message = rule("blk.*.attn_norm.weight=f16");
    assert!(message.contains("'blk.*.attn_norm.weight': no matrix has such a name"), "{message}");
}

#[test]
fn the_last_rule_that_matches_holds() {
    let at = wide().write();
    let rules = ["blk.{0,2}.ffn_*_exps.weight=q4_k", "blk.2.ffn_up_exps.weight=bf16"];
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let options = Options { rules, ..Options::new(Recipe::Q8) };
    let out = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(at.path()).unwrap();
    let file = run(checkpoint, options, &out.path().join("m.gguf")).unwrap();
    let format = |name: &str| file.tensor(name).unwrap().format;
    assert_eq!(format("blk.0.ffn_up_exps.weight"), Format::Q4K);
    assert_eq!(format("blk.1.ffn_up_exps.weight"), Format::Q8_0);
    assert_eq!(format("blk.2.ffn_up_exps.weight"), Format::Bf16);
    assert_eq!(format("blk.2.ffn_down_exps.weight"), Format::Q4K);
}

fn shape() -> Shape {
    shape_of(&wide().config)
}

/// A file gives the same bytes as the checkpoint that it holds exactly.
#[test]
fn a_file_is_converted_like_its_checkpoint() {
    let (at, out) = (wide().write(), tempfile::tempdir().unwrap());
    let path = |name: &str| out.path().join(name);
    let open = || Checkpoint::open(at.path()).unwrap();
    let master = run(open(), Options::new(Recipe::F32), &path("f32.gguf")).unwrap();
    let kept = run(open(), Options::new(Recipe::AsIs), &path("as-is.gguf")).unwrap();
    for recipe in [Recipe::Q2, Recipe::Q4, Recipe::Q8, Recipe::Mxfp4, Recipe::F16] {
        let direct = run(open(), Options::new(recipe), &path("direct.gguf")).unwrap();
        for (input, exact) in [(&kept, recipe != Recipe::F16), (&master, recipe != Recipe::Mxfp4)] {
            let input = Input::Model(input.clone(), shape());
            let found = run(input, Options::new(recipe), &path("found.gguf")).unwrap();
            if exact {
                assert_eq!(compare(&found, &direct), [], "{recipe}");
            }
            // From floats FP4 gets other scales and codes, but the same values; MXFP4 has no sign
            // of zero, which halves keep.
            for tensor in found.tensors().iter().filter(|t| t.format != Format::I32) {
                assert_eq!(values(&found, &tensor.name), values(&direct, &tensor.name));
            }
            let key = |key: &str| found.metadata().get(key).cloned();
            assert_eq!(key("dwarfstar.quantize.recipe"), Some(recipe.name().into()));
            assert_eq!(key("general.name"), master.metadata().get("general.name").cloned());
        }
    }
    let input = Input::Model(kept.clone(), shape());
    let again = run(input, Options::new(Recipe::AsIs), &path("again.gguf")).unwrap();
    assert_eq!(compare(&again, &kept), []);
}

/// An importance file in the legacy layout.
fn legacy(entries: &[(&str, i32, &[f32])], tail: bool) -> Vec<u8> {
    let mut out = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, calls, values) in entries {
        out.extend((name.len() as i32).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(calls.to_le_bytes());
        out.extend((values.len() as i32).to_le_bytes());
        values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    }
    if tail {
        out.extend(77i32.to_le_bytes());
        out.extend(5i32.to_le_bytes());
        out.extend(b"words");
    }
    out
}

/// One in the layout of GGUF files.
fn modern(path: &Path, entries: &[(&str, &[f32], &[f32])]) {
    let mut metadata = Metadata::new();
    metadata.set("general.type", "imatrix");
    metadata.set("imatrix.datasets", vec!["words".to_owned()]);
    metadata.set("imatrix.chunk_count", 77u32);
    let (mut plans, mut data) = (Vec::new(), Vec::new());
    for (name, sums, counts) in entries {
        for (suffix, values) in [("in_sum2", sums), ("counts", counts)] {
            let dims = vec![values.len() / counts.len(), counts.len()];
            let name = format!("{name}.{suffix}");
            plans.push(TensorPlan { name, dims, format: Format::F32 });
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    let mut writer = Writer::create(path, &metadata, &plans).unwrap();
    writer.write(&data).unwrap();
    writer.finish().unwrap();
}

fn importance(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.imatrix");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Vectors for all experts of a stack, one after the other.
fn vectors() -> Vec<f32> {
    let mut random = Random::new(77);
    (0..3 * 256).map(|_| random.below(1000) as f32 / 100.0 + 0.01).collect()
}

#[test]
fn importance_is_found_under_every_name_and_in_both_layouts() {
    let (folder, out) = (wide(), tempfile::tempdir().unwrap());
    let at = folder.write();
    let all = vectors();
    let doubled: Vec<f32> = all.iter().map(|value| value * 2.0).collect();
    let name = "blk.1.ffn_down_exps.weight";
    let one = |expert: usize| &all[expert * 256..][..256];
    let hf = |expert: usize| format!("layers.1.ffn.experts.{expert}.w2.weight");
    let alone = [format!("{name}.expert.0"), format!("{name}.expert_1"), hf(2)];
    let files = [
        legacy(&[(name, 1, &all)], true),
        legacy(&[(name, 2, &doubled)], false),
        legacy(&[(name, 0, &all)], false),
        legacy(&[(&alone[0], 1, one(0)), (&alone[1], 1, one(1)), (&alone[2], 1, one(2))], true),
    ];
    let mut files: Vec<_> = files.iter().map(|bytes| importance(bytes)).collect();
    let (keep, path) = importance(b"");
    modern(&path, &[(name, &doubled, &[2.0, 2.0, 2.0])]);
    files.push((keep, path));
    let rules = || vec![format!("{name}=q2_k").parse().unwrap()];
    for (number, (_keep, path)) in files.iter().enumerate() {
        let importance = Some(Importance::open(path).unwrap());
        let options = Options { rules: rules(), importance, ..Options::new(Recipe::Q8) };
        let checkpoint = Checkpoint::open(at.path()).unwrap();
        let file = run(checkpoint, options, &out.path().join("m.gguf")).unwrap();
        let found = bytes(&file, name);
        for e in 0..3 {
            let x = expert(&folder, name, e);
            let wanted = encoded(Format::Q2K, &x, Some(one(e)), 256);
            assert_ne!(wanted, encoded(Format::Q2K, &x, None, 256), "it should matter");
            let found = &found[e * wanted.len()..][..wanted.len()];
            assert_eq!(found, wanted, "file {number}, expert {e}");
        }
        let key = |key: &str| file.metadata().get(&format!("quantize.imatrix.{key}")).cloned();
        assert_eq!(key("file"), Some("m.imatrix".into()));
        assert_eq!(key("entries_count"), Some(if number == 3 { 3u64 } else { 1 }.into()));
        let told = number == 0 || number > 2;
        assert_eq!(key("dataset"), told.then(|| "words".into()));
        assert_eq!(key("chunks_count"), told.then(|| 77u64.into()));
    }
}

/// An expert that no token ever chose has nothing to say: all its columns weigh the same.
#[test]
fn columns_of_experts_without_a_count_matter_alike() {
    let (folder, out) = (wide(), tempfile::tempdir().unwrap());
    let at = folder.write();
    let name = "blk.1.ffn_down_exps.weight";
    let (_keep, path) = importance(b"");
    modern(&path, &[(name, &vectors(), &[1.0, 0.0, 1.0])]);
    let options = Options {
        rules: vec![format!("{name}=q4_k").parse().unwrap()],
        importance: Some(Importance::open(&path).unwrap()),
        ..Options::new(Recipe::Q8)
    };
    let checkpoint = Checkpoint::open(at.path()).unwrap();
    let file = run(checkpoint, options, &out.path().join("m.gguf")).unwrap();
    let wanted = encoded(Format::Q4K, &expert(&folder, name, 1), Some(&[1.0; 256]), 256);
    assert_eq!(bytes(&file, name)[wanted.len()..][..wanted.len()], wanted);
}

#[test]
fn strict_names_what_is_left_out() {
    let at = wide().write();
    let (_keep, path) = importance(&legacy(&[("blk.0.ffn_up_exps.weight", 1, &vectors())], true));
    let plan = |strict| {
        let importance = Some(Importance::open(&path).unwrap());
        let options = Options { importance, strict, ..Options::new(Recipe::Q2) };
        Plan::new(Checkpoint::open(at.path()).unwrap(), options)
    };
    assert_eq!(plan(false).unwrap().unweighted().count(), 8);
    let message = plan(true).unwrap_err().to_string();
    assert!(message.contains("no importance for 8 of the matrices"), "{message}");
    assert!(message.contains("blk.2.ffn_down_exps.weight"), "{message}");
}

#[test]
fn hostile_importance_files_are_refused_by_place() {
    let name = "blk.1.ffn_up_exps.weight";
    let good = legacy(&[(name, 1, &vectors())], true);
    let with = |at: usize, value: i32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let after = 8 + name.len();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "byte 0: expected 4 bytes for the number of entries, found 0"),
        (with(0, -1), "byte 0: expected a number of entries from 1 to 1048576, found -1"),
        (with(0, i32::MAX), "byte 0: expected a number of entries"),
        (with(0, 2), "byte 3116: expected 77 bytes for a name, found 9"),
        (with(4, 0), "byte 4: expected a length of a name from 1 to 4096, found 0"),
        (with(4, i32::MAX), "byte 4: expected a length of a name"),
        (with(after, -5), "byte 32: expected a number of calls from 0"),
        (with(after + 4, 0), "byte 36: expected a number of values from 1"),
        (with(after + 4, i32::MAX), "byte 40: expected 8589934588 bytes for the values of 'blk.1"),
        (good[..1000].to_vec(), "byte 40: expected 3072 bytes for the values of 'blk.1"),
        ([&good[..], b"x"].concat(), "expected the end of the file"),
        (good[..good.len() - 3].to_vec(), "expected 5 bytes for the dataset's name, found 2"),
        (legacy(&[("a", 1, &[1.0]), ("a", 1, &[1.0])], false), "byte 21: entry 'a' is there twice"),
        (b"GGUF, but not really".to_vec(), "m.imatrix"),
    ];
    for (bytes, expected) in cases {
        let (_keep, path) = importance(&bytes);
        let message = Importance::open(&path).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("m.imatrix"), "{message}");
    }
    let (_keep, path) = importance(b"");
    modern(&path, &[("a", &[1.0, 2.0], &[1.0])]);
    let sums = fs::read(&path).unwrap();
    let at = sums.windows(6).position(|window| window == b"counts").unwrap();
    let other = [&sums[..at], b"counds", &sums[at + 6..]].concat();
    fs::write(&path, other).unwrap();
    let message = Importance::open(&path).unwrap_err().to_string();
    assert!(message.contains("'a.in_sum2': there is no 'a.counts'"), "{message}");
}

#[test]
fn values_and_sizes_of_importance_are_checked() {
    let (at, out) = (wide().write(), tempfile::tempdir().unwrap());
    let name = "blk.1.ffn_up_exps.weight";
    let refused = |bytes: &[u8]| {
        let (_keep, path) = importance(bytes);
        let importance = Some(Importance::open(&path).unwrap());
        let options = Options { importance, ..Options::new(Recipe::Q2) };
        let checkpoint = Checkpoint::open(at.path()).unwrap();
        run(checkpoint, options, &out.path().join("m.gguf")).unwrap_err().to_string()
    };
    let message = refused(&legacy(&[(name, 1, &[1.0; 300])], true));
    let expected = "expected 256 values, or 768 for 3 experts, found 300";
    assert!(message.contains(expected) && message.contains(name), "{message}");
    for (bad, shown) in [(f32::NAN, "NaN"), (-1.0, "-1"), (f32::INFINITY, "inf")] {
        let mut values = vectors();
        values[300] = bad;
        let message = refused(&legacy(&[(name, 1, &values)], true));
        let byte = 4 + 4 + name.len() + 8 + 4 * 300;
        let expected = format!("byte {byte}: expected a number of at least 0, found {shown}");
        assert!(message.contains(&expected), "{message}");
    }
    assert_eq!(crate::listing(out.path()), [""; 0], "something was left behind");
}

#[test]
fn any_damage_to_an_importance_file_is_an_error_or_harmless() {
    let good = legacy(&[("blk.1.ffn_up_exps.weight", 1, &vectors()[..40]), ("b", 3, &[1.0])], true);
    let mut random = Random::new(9);
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.below(256) as u8;
        }
        bytes.truncate(good.len() - random.below(3) as usize * random.below(60) as usize);
        let (_keep, path) = importance(&bytes);
        let _ = Importance::open(&path);
    }
}

#[test]
fn spliced_layers_are_the_donors_and_the_rest_is_not() {
    let (at, out) = (wide().write(), tempfile::tempdir().unwrap());
    let path = |name: &str| out.path().join(name);
    let make = |recipe, name: &str| {
        run(Checkpoint::open(at.path()).unwrap(), Options::new(recipe), &path(name)).unwrap()
    };
    let (base, donor) = (make(Recipe::Q2, "q2.gguf"), make(Recipe::Q4, "q4.gguf"));
    let layers = [1, 2].into();
    let splice = Splice::new(base.clone(), donor.clone(), &layers).unwrap();
    splice.run(&path("mixed.gguf"), false, &mut |_| {}, &Default::default()).unwrap();
    let mixed = File::open(&path("mixed.gguf")).unwrap();
    let names = |other: &File| -> Vec<String> {
        compare(&mixed, other).into_iter().map(|difference| difference.tensor).collect()
    };
    let stacks = |layer: usize| {
        ["gate", "up", "down"].map(|part| format!("blk.{layer}.ffn_{part}_exps.weight"))
    };
    assert_eq!(names(&base), [stacks(1), stacks(2)].concat());
    assert_eq!(names(&donor), stacks(0));
    let bytes: u64 = mixed.tensors().iter().map(|tensor| tensor.byte_count as u64).sum();
    assert_eq!(splice.byte_count(), bytes);
    let message = Splice::new(base, donor, &[2, 3].into()).unwrap_err().to_string();
    assert!(message.contains("3 tensors missing: blk.3.ffn_gate_exps.weight (of "), "{message}");
}

#[test]
fn differences_are_counted() {
    let (at, out) = (wide().write(), tempfile::tempdir().unwrap());
    let path = out.path().join("m.gguf");
    let file = run(Checkpoint::open(at.path()).unwrap(), Options::new(Recipe::Q4), &path).unwrap();
    let name = "blk.1.ffn_up_exps.weight";
    let offset = file.tensor(name).unwrap().offset as usize;
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset] ^= 0b101;
    bytes[offset + 143] ^= 0b1;
    bytes[offset + 144 * 5] ^= 0xff;
    let other = File::from_bytes("other", bytes).unwrap();
    let [difference] = &compare(&file, &other)[..] else { panic!("one tensor differs") };
    assert_eq!(difference.tensor, name);
    let block_count = 256 * 3;
    assert_eq!(difference.kind, DifferenceKind::Bytes { blocks: 2, block_count, bits: 11 });
}
