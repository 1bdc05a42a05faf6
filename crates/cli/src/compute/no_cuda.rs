//! CUDA where there is none.

use anyhow::{Result, bail};
use gguf::File;

use super::Computer;

/// Never succeeds.
pub fn open(_ordinal: usize, _model: &File) -> Result<Computer> {
    bail!("there is no CUDA on this system: use --device cpu");
}

/// Nothing.
pub fn open_if_any(_model: &File) -> Option<Computer> {
    None
}
