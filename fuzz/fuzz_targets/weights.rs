//! Any bytes as a file that weights or their importance are read from; the first byte says which.
//!
//! Opening may fail with a sentence. What was opened is within its file: reading all of it may find
//! numbers that are wrong, but ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quantizer::hostile::{importance, journal, safetensors, unfinished};

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    if kind % 4 == 3 {
        drop(journal(bytes));
        return;
    }
    // The readers seek in files. The name is this process's own.
    let path = std::env::temp_dir().join(format!("dwarfstar-fuzz-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a folder for temporary files");
    match kind % 4 {
        0 => drop(safetensors(&path)),
        1 => drop(importance(&path)),
        _ => drop(unfinished(&path)),
    }
});
