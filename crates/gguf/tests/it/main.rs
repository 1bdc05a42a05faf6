//! What this crate promises, held against golden data, hostile files and random ones.
//!
//! `formats` decodes the golden blocks of every format; `golden` reads the small model that all
//! crates share; `attacks` walks the folder of hostile files; `hostile` cuts and corrupts a good
//! one; `roundtrip` writes and reads back; `shards` does so with models in several files.

mod formats;
mod golden;

use std::path::PathBuf;

/// A file of the test data that all crates share.
fn testdata(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata", path].iter().collect()
}
