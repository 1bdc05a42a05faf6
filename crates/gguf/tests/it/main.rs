//! What this crate promises, held against golden data, hostile files and random ones.
//!
//! `formats` decodes the golden blocks of every format; `golden` reads the small model that all
//! crates share; `attacks` walks the folder of hostile files, which `attack_files` made; `hostile`
//! cuts and corrupts good files, among them the one that `seed` makes; `roundtrip` writes and reads
//! back; `shards` does so with models in several files.

mod attack_files;
mod attacks;
mod formats;
mod golden;
mod hostile;
mod roundtrip;
mod seed;
mod shards;

use std::path::{Path, PathBuf};

use gguf::{File, Format, Metadata, TensorPlan, Writer};

/// Lets tests see how much memory an operation took.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// A file of the test data that all crates share.
fn testdata(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata", path].iter().collect()
}

fn plan(name: &str, dims: &[usize], format: Format) -> TensorPlan {
    TensorPlan { name: name.to_owned(), dims: dims.to_vec(), format }
}

/// Writes a file whose tensor data is `data`.
fn write(path: &Path, metadata: &Metadata, plans: &[TensorPlan], data: &[u8]) {
    let mut writer = Writer::create(path, metadata, plans).unwrap();
    writer.write(data).unwrap();
    writer.finish().unwrap();
}

/// Opens and reads everything, as a careless program would.
fn walk(file: &File) {
    for tensor in file.tensors() {
        let bytes = file.bytes(tensor);
        if tensor.format.is_decodable() && tensor.value_count() < 1 << 16 {
            tensor.format.decode(&bytes, &mut vec![0.0; tensor.value_count()]);
        }
    }
}
