//! What `dwarfstar imatrix` was meant to do: counts are in range, the texts are a list.
//!
//! Nothing is opened here.

use std::path::PathBuf;

use anyhow::Result;
use measure::texts::Cut;

use super::{Compute, at_least_one, compute, model};
use crate::exit::usage;
use crate::open::Model;
use crate::typed::imatrix as typed_imatrix;

pub use typed_imatrix::Format;

/// More tokens than that are not summed in single precision.
const CHUNK_MAX: usize = 32 << 10;

/// Measure which columns matter.
#[derive(Debug)]
pub struct Imatrix {
    pub model: Model,
    /// At least one.
    pub texts: Vec<PathBuf>,
    pub cut: Cut,
    pub out: PathBuf,
    pub format: Format,
    pub resume: bool,
    pub overwrite: bool,
    /// Chunks, at least 1.
    pub save_every: usize,
    /// Tokens.
    pub few: u64,
    pub compute: Compute,
    pub json: bool,
}

/// `dwarfstar imatrix`.
pub fn imatrix(typed: typed_imatrix::Imatrix) -> Result<Imatrix> {
    let typed_imatrix::Imatrix { text, out, format, chunk, max_tokens, resume, .. } = typed;
    let typed_imatrix::Imatrix { force, save_every, few, json, .. } = typed;
    if !(2..=CHUNK_MAX).contains(&chunk) {
        return Err(usage(format!("--chunk {chunk}: expected 2 to {CHUNK_MAX}")));
    }
    let tokens_max = at_least_one("--max-tokens", max_tokens)?.unwrap_or(usize::MAX);
    let save_every = at_least_one("--save-every", Some(save_every))?.unwrap_or(1);
    Ok(Imatrix {
        model: model(typed.model),
        texts: text,
        cut: Cut { chunk_tokens: chunk, tokens_max },
        out,
        format,
        resume,
        overwrite: force,
        save_every,
        few,
        compute: compute(typed.compute.device, typed.compute.threads)?,
        json,
    })
}
