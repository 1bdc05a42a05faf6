//! Importance files that are written here, byte by byte against the description of their layouts,
//! and through the reader that the quantizer uses.

use std::fs;
use std::path::Path;

use quantizer::{
    Checkpoint, ExpertSums, Importance, Options, Origin, Plan, Recipe, Start, Unfinished, compare,
    hostile, read_unfinished_importance, read_unfinished_origin, write_importance,
    write_legacy_importance,
};
use spec::Shape;

use crate::folder::{Folder, Random, Scales};

/// A folder whose experts have rows that every format can store.
fn wide() -> Folder {
    let mut config = crate::folder::config();
    config["hidden_size"] = 256.into();
    config["moe_intermediate_size"] = 256.into();
    Folder::of(config, Scales::Half)
}

/// Sums of two floats each; the second expert was chosen by nobody.
fn sums(shape: &Shape) -> Vec<ExpertSums<'static>> {
    let mut random = Random::new(5);
    let mut value = |chosen: bool| {
        let first = (random.below(1 << 20) as f32 + 1.0) * 1.1;
        let rest = first * (random.below(1000) as f32) * 1e-11;
        if chosen { f64::from(first) + f64::from(rest) } else { 0.0 }
    };
    let mut layer = || {
        let mut values = |columns: usize| {
            (0..shape.experts * columns).map(|at| value(at / columns != 1)).collect::<Vec<_>>()
        };
        let (inputs, inner) = (values(shape.hidden), values(shape.expert_inner));
        let counts = (0..shape.experts).map(|e| if e == 1 { 0.0 } else { 3e9 + e as f64 });
        ExpertSums { inputs: inputs.into(), inner: inner.into(), counts: counts.collect() }
    };
    (0..shape.layers).map(|_| layer()).collect()
}

fn origin() -> Origin {
    let datasets = vec!["a.txt".to_owned(), "b.jsonl".to_owned()];
    Origin { datasets, chunk_count: 77, chunk_tokens: 512, unfinished: None }
}

fn unfinished() -> Unfinished {
    Unfinished { model: "m".to_owned(), texts: "t".to_owned(), tokens: 1 << 40 }
}

fn shape() -> (tempfile::TempDir, Shape) {
    let at = wide().write();
    let shape = Checkpoint::open(at.path()).unwrap().shape().clone();
    (at, shape)
}

/// To the bit, though a float holds half of the digits; and the file can be quantized with.
#[test]
fn what_is_kept_comes_back_as_it_was() {
    let (at, shape) = shape();
    let path = at.path().join("m.partial");
    let (sums, unfinished) = (sums(&shape), unfinished());
    let given = Origin { unfinished: Some(unfinished.clone()), ..origin() };
    write_importance(&path, &shape, &sums, &given).unwrap();
    assert_eq!(read_unfinished_origin(&path).unwrap(), (given, unfinished));
    assert_eq!(read_unfinished_importance(&path, &shape).unwrap(), sums);
    assert!(sums[0].inputs.iter().any(|sum| f64::from(*sum as f32) != *sum), "too easy");

    let finished = at.path().join("m.gguf");
    write_importance(&finished, &shape, &sums, &origin()).unwrap();
    let message = read_unfinished_origin(&finished).unwrap_err().to_string();
    assert!(message.contains("no measurement of importance that can be gone on with"), "{message}");
    assert!(read_unfinished_importance(&finished, &shape).is_err());
    hostile::importance(&path).unwrap();
    hostile::importance(&finished).unwrap();
    let count = |path: &Path| Importance::open(path).unwrap().entry_count();
    assert_eq!((count(&path), count(&finished)), (3 * shape.layers, 3 * shape.layers));

    let message = read_unfinished_importance(&path, &Shape::flash()).unwrap_err().to_string();
    assert!(message.contains("blk.0.ffn_gate_exps.weight.in_sum2"), "{message}");
}

/// The legacy layout, as it is described: entries in order, one call, means, ones for the expert
/// that nobody chose, chunks, the names of the texts.
#[test]
fn the_legacy_layout_is_the_described_one() {
    let (at, shape) = shape();
    let (path, sums) = (at.path().join("m.dat"), sums(&shape));
    write_legacy_importance(&path, &shape, &sums, &origin()).unwrap();
    let mut expected = (3 * shape.layers as i32).to_le_bytes().to_vec();
    for (layer, sums) in sums.iter().enumerate() {
        for part in ["gate", "up", "down"] {
            let name = format!("blk.{layer}.ffn_{part}_exps.weight");
            let values = if part == "down" { &sums.inner } else { &sums.inputs };
            expected.extend((name.len() as i32).to_le_bytes());
            expected.extend(name.as_bytes());
            expected.extend([1, values.len() as i32].map(i32::to_le_bytes).concat());
            for (at, value) in values.iter().enumerate() {
                let count = sums.counts[at / (values.len() / shape.experts)];
                let mean = if count == 0.0 { 1.0 } else { *value as f32 / count as f32 };
                expected.extend(mean.to_le_bytes());
            }
        }
    }
    expected.extend([77i32, 14].map(i32::to_le_bytes).concat());
    expected.extend(b"a.txt, b.jsonl");
    assert!(fs::read(&path).unwrap() == expected, "other bytes");
}

/// The same model comes out of both layouts, and out of what is not finished.
#[test]
fn all_layouts_mean_the_same() {
    let (at, shape) = shape();
    let path = |name: &str| at.path().join(name);
    let sums = sums(&shape);
    write_importance(&path("m.gguf"), &shape, &sums, &origin()).unwrap();
    write_legacy_importance(&path("m.dat"), &shape, &sums, &origin()).unwrap();
    let given = Origin { unfinished: Some(unfinished()), ..origin() };
    write_importance(&path("m.partial"), &shape, &sums, &given).unwrap();
    let made = ["m.gguf", "m.dat", "m.partial"].map(|name| {
        let importance = Some(Importance::open(&path(name)).unwrap());
        let options = Options { importance, strict: true, ..Options::new(Recipe::Q2) };
        let plan = Plan::new(Checkpoint::open(at.path()).unwrap(), options).unwrap();
        let out = path(&format!("{name}.out"));
        plan.run(&out, (true, Start::Over), &mut |_| {}, &Default::default()).unwrap();
        gguf::File::open(&out).unwrap()
    });
    assert_eq!(compare(&made[0], &made[1]), []);
    assert_eq!(compare(&made[0], &made[2]), []);
}

#[test]
fn any_damage_is_an_error_or_harmless() {
    let (at, shape) = shape();
    let path = at.path().join("m.partial");
    let given = Origin { unfinished: Some(unfinished()), ..origin() };
    write_importance(&path, &shape, &sums(&shape), &given).unwrap();
    let good = fs::read(&path).unwrap();
    let mut random = Random::new(11);
    for _ in 0..600 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            // The header is what may mislead; the rest are numbers.
            let at = random.below(4000.min(bytes.len() as u64)) as usize;
            bytes[at] = random.below(256) as u8;
        }
        if random.below(3) == 0 {
            bytes.truncate(random.below(good.len() as u64) as usize);
        }
        fs::write(&path, &bytes).unwrap();
        let _ = hostile::importance(&path);
        let _ = read_unfinished_origin(&path);
        let _ = read_unfinished_importance(&path, &shape);
    }
}
