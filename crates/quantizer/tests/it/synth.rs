//! Random models: sizes of the published files, the same bytes from the same seed, values that can
//! be read, and nothing left behind.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use gguf::{File, Format};
use quantizer::{Error, Synth, SynthOptions, SynthRecipe};
use spec::{Class, Indexer, LayerKind, Shape};

use crate::{integers, listing, values};

/// The published 2-bit file of Flash, in bytes.
const FLASH_Q2_BYTES: u64 = 86_720_111_488;

/// Every kind of layer, and rows of whole blocks of 256 values.
fn small() -> Shape {
    Shape {
        hidden: 256,
        vocab: 300,
        heads: 4,
        head_dim: 192,
        query_latent: 64,
        output_groups: 2,
        output_latent: 32,
        indexer: Some(Indexer { heads: 4, dim: 128, top_k: 16 }),
        experts: 7,
        experts_used: 3,
        expert_inner: 512,
        ..Shape::flash().first_layers(4)
    }
}

fn plan(shape: Shape, recipe: SynthRecipe, seed: u64) -> Synth {
    let name = "random".to_owned();
    Synth::new(SynthOptions { shape, recipe, seed, name, tokenizer: None }).expect("a plan")
}

fn write(plan: &Synth) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    plan.run(&path, false, &mut |_| {}, &AtomicBool::new(false)).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn flash_has_the_size_of_the_published_file() {
    let plan = plan(Shape::flash(), SynthRecipe::Q2, 0);
    assert_eq!(plan.tensors().len(), 1328);
    // What is missing is a vocabulary of 129,280 tokens and 127,741 merges, at 8 bytes of length
    // each and 4 of kind per token, and their texts: some 10 bytes each.
    let vocabulary = FLASH_Q2_BYTES - plan.file_bytes();
    let fixed = 129_280 * (8 + 4) + 127_741 * 8;
    let texts = (vocabulary - fixed) as f64 / f64::from(129_280 + 127_741);
    assert!((8.0..12.0).contains(&texts), "{vocabulary} bytes, {texts} per text");
}

/// Figures of the published files' names: 153.3 GiB in Q4_K.
#[test]
fn other_recipes_have_the_sizes_of_their_formats() {
    let gib = |recipe| plan(Shape::flash(), recipe, 0).file_bytes() as f64 / (1u64 << 30) as f64;
    assert!((gib(SynthRecipe::Q4) - 153.3).abs() < 0.1);
    // 277 billion values of experts, at 4.25 instead of 4.5 and at 8.5 bits.
    let experts = 43.0 * 256.0 * 3.0 * 4096.0 * 2048.0 / 8.0 / (1u64 << 30) as f64;
    assert!((gib(SynthRecipe::Q4) - gib(SynthRecipe::Mxfp4) - 0.25 * experts).abs() < 0.01);
    assert!((gib(SynthRecipe::Q8) - gib(SynthRecipe::Q4) - 4.0 * experts).abs() < 0.01);
}

#[test]
fn a_written_file_has_the_planned_size_and_finite_values_in_the_planned_formats() {
    let cases = [
        (SynthRecipe::Q2, Format::Iq2Xxs, Format::Q2K),
        (SynthRecipe::Q4, Format::Q4K, Format::Q4K),
        (SynthRecipe::Mxfp4, Format::Mxfp4, Format::Mxfp4),
        (SynthRecipe::Q8, Format::Q8_0, Format::Q8_0),
    ];
    for (recipe, gate, down) in cases {
        let plan = plan(small(), recipe, 5);
        let bytes = write(&plan);
        assert_eq!(bytes.len() as u64, plan.file_bytes(), "{recipe}");
        let file = File::from_bytes("synth", bytes).unwrap();
        let specs = spec::tensors(&small());
        for spec in &specs {
            let found = file.tensor(&spec.name).unwrap_or_else(|| panic!("{}", spec.name));
            assert_eq!(found.dims, spec.dims, "{}", spec.name);
            match spec.class {
                Class::ExpertGateUp => assert_eq!(found.format, gate),
                Class::ExpertDown => assert_eq!(found.format, down),
                _ => {}
            }
            if spec.class == Class::RouteTable {
                let ids = integers(&file, &spec.name);
                assert!(ids.iter().all(|id| (0..7).contains(id)), "{}", spec.name);
                continue;
            }
            let values = values(&file, &spec.name);
            assert!(values.iter().all(|value| value.abs() < 10.0), "{recipe} {}", spec.name);
        }
        assert_eq!(specs.len(), file.tensors().len());
    }
}

/// A model that is nowhere stored, and its file.
#[test]
fn what_is_made_is_what_is_written() {
    for recipe in SynthRecipe::ALL {
        let written = File::from_bytes("m", write(&plan(small(), recipe, 3))).unwrap();
        let made = plan(small(), recipe, 3).into_file("m");
        assert!(made.metadata().iter().eq(written.metadata().iter()), "{recipe}: keys");
        assert_eq!(made.tensors().len(), written.tensors().len(), "{recipe}: tensors");
        for tensor in written.tensors() {
            let same = made.tensor(&tensor.name).expect(&tensor.name);
            assert_eq!((&same.dims, same.format), (&tensor.dims, tensor.format), "{}", tensor.name);
            assert!(made.bytes(same)[..] == written.bytes(tensor)[..], "{}", tensor.name);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let written = |threads: usize, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        // The stacks of 16 experts are larger than a chunk, so threads share a tensor.
        let shape = Shape { experts: 16, vocab: 3000, ..small() };
        pool.install(|| write(&plan(shape, SynthRecipe::Q2, seed)))
    };
    let one = written(1, 11);
    assert!(one == written(2, 11) && one == written(5, 11), "the bytes differ");
    assert!(one != written(2, 12), "another seed gives the same bytes");
}

/// A tensor is named in its stream: the layers of a slice are those of the whole.
#[test]
fn the_first_layers_of_a_model_do_not_depend_on_the_others() {
    let whole = File::from_bytes("whole", write(&plan(small(), SynthRecipe::Q2, 3))).unwrap();
    let slice = plan(small().first_layers(3), SynthRecipe::Q2, 3);
    let slice = File::from_bytes("slice", write(&slice)).unwrap();
    assert_eq!(slice.metadata().get("deepseek4.block_count"), Some(&3u32.into()));
    for tensor in slice.tensors() {
        let other = whole.tensor(&tensor.name).unwrap();
        assert!(slice.bytes(tensor)[..] == whole.bytes(other)[..], "{}", tensor.name);
    }
}

#[test]
fn rows_that_are_no_whole_blocks_get_a_format_that_fits() {
    let shape = Shape { hidden: 96, expert_inner: 17, query_latent: 7, ..small() };
    assert_eq!(shape.kinds[2], LayerKind::Indexed);
    let plan = plan(shape, SynthRecipe::Q2, 0);
    let format = |name: &str| plan.tensors().iter().find(|t| t.name == name).unwrap().format;
    assert_eq!(format("blk.0.ffn_gate_exps.weight"), Format::Q8_0);
    assert_eq!(format("blk.0.ffn_down_exps.weight"), Format::F16);
    assert_eq!(format("blk.0.attn_q_b.weight"), Format::F16);
    assert_eq!(write(&plan).len() as u64, plan.file_bytes());
}

#[test]
fn a_cancelled_run_leaves_nothing_and_an_existing_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let plan = plan(small(), SynthRecipe::Q4, 0);
    let cancel = AtomicBool::new(false);
    let mut calls = 0;
    let mut stop = |at: quantizer::Progress<'_>| {
        calls += 1;
        assert_eq!(at.tensor, plan.tensors()[at.tensors_done].name);
        assert!(!path.exists() && listing(folder.path()).len() == 1);
        cancel.store(calls == 5, Ordering::Relaxed);
    };
    let error = plan.run(&path, false, &mut stop, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!((calls, listing(folder.path()).len()), (5, 0));

    fs::write(&path, "precious").unwrap();
    let run = |overwrite| plan.run(&path, overwrite, &mut |_| {}, &AtomicBool::new(false));
    let error = run(false).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    run(true).unwrap();
    assert!(File::open(&path).is_ok());
}
