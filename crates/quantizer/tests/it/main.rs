//! What this crate promises, held against the golden checkpoint, made-up folders and hostile ones.
//!
//! `golden` converts the small model that all crates share and compares every value; `codings` does
//! so with the published codings, against a slow decoder written from their definitions (`oracle`);
//! `encoders` holds the quantizers against golden bytes and plain loops (`plain`), and `recipes`
//! what is made with them; `hostile` damages folders and reads the complaint; `running` is about
//! progress, cancelling and what is left behind; `synth` is about random models. `folder` makes
//! checkpoints.

mod codings;
mod encoders;
mod folder;
mod golden;
mod hostile;
mod measured;
mod oracle;
mod plain;
mod recipes;
mod running;
mod synth;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use quantizer::{Checkpoint, Error, Options, Plan, Recipe, Start, Stats};

/// A file of the test data that all crates share.
fn testdata(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata", path].iter().collect()
}

fn options(recipe: Recipe) -> Options {
    Options::new(recipe)
}

fn plan(folder: &Path, recipe: Recipe) -> Result<Plan, Error> {
    Plan::new(Checkpoint::open(folder)?, options(recipe))
}

/// Converts without watching or stopping.
fn convert(folder: &Path, recipe: Recipe, out: &Path) -> Result<Stats, Error> {
    plan(folder, recipe)?.run(out, (false, Start::New), &mut |_| {}, &AtomicBool::new(false))
}

/// The values of a tensor of an open file.
fn values(file: &gguf::File, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("{name} is not in the file"));
    let mut values = vec![0.0; tensor.value_count()];
    tensor.format.decode(&file.bytes(tensor), &mut values);
    values
}

/// A 32-bit integer tensor of an open file.
fn integers(file: &gguf::File, name: &str) -> Vec<i32> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("{name} is not in the file"));
    assert_eq!(tensor.format, gguf::Format::I32, "{name}");
    let bytes = file.bytes(tensor);
    bytes.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The files of a folder, hidden ones included.
fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
