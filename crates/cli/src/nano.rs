//! Nano, the small real model that comes inside the program.
//!
//! Whoever names no model talks to it, so that the first command works offline and in a second. How
//! it was trained, and what it can and cannot do, is told in `nano/README.md`.

use anyhow::Result;

/// The file, as it is in the repository.
static BYTES: &[u8] = include_bytes!("../../../nano/nano.gguf");

/// What messages call it.
pub const NAME: &str = "nano.gguf (built in)";

/// Opens it.
///
/// # Errors
/// None but those of a broken build.
pub fn open() -> Result<gguf::File> {
    Ok(gguf::File::from_bytes(NAME, BYTES)?)
}
