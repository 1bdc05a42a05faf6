//! From a checkpoint folder, or another GGUF file, to a GGUF file, by recipe.
//!
//! This crate reads the layout in which the weights are published (`config.json` beside safetensors
//! files, with their FP8 and packed FP4 numbers) and writes the one that the engine loads. A
//! [`Recipe`] says how the values are stored; everything else of the output follows from the shape
//! of the model. Nothing is loaded whole: a tensor passes through in pieces of some megabytes, so a
//! checkpoint of 160 GB needs hardly more memory than a small one. The same input gives the
//! same bytes.
//!
//! A second job needs no weights at all: [`Synth`] writes a random model of any shape, as valid and
//! as large as the real one, for measuring speed and for tests.
//!
//! Two smaller ones take files that exist: [`Splice`] puts the expert layers of one into another,
//! [`compare()`] says where two differ.
//!
//! It does not know devices, sessions or terminals, and prints nothing: progress goes to a
//! callback.
//!
//! Start reading at [`Plan`] (`plan.rs`): what is decided before the first byte is written. Then
//! `run.rs`, which does it. `safetensors.rs`, `config.rs`, `importance.rs` and `decode.rs` read,
//! `recipe.rs`, `rule.rs`, `template.rs` and `metadata.rs` say what is written, `encode.rs` finds
//! the numbers of its blocks; `measured.rs` writes importance files, `partial.rs` is why a run can
//! be gone on with; `synth.rs` is the other job.

mod bind;
mod checkpoint;
mod compare;
mod config;
mod decode;
mod encode;
mod error;
mod importance;
mod input;
mod measured;
mod metadata;
mod output;
mod partial;
mod plan;
mod recipe;
mod rule;
mod run;
mod safetensors;
mod splice;
mod synth;
mod template;

/// Reading of bytes that may say anything, for the fuzzer and for hostile tests.
pub mod hostile {
    use std::path::Path;

    use crate::Error;

    pub use crate::partial::parse as journal;

    /// Reads the directory of a safetensors file, and all tensors of bounded size.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn safetensors(path: &Path) -> Result<(), Error> {
        let (shard, tensors) = crate::safetensors::Shard::open(path)?;
        let mut bytes = Vec::new();
        for tensor in tensors {
            let length = (tensor.range.end - tensor.range.start).min(1 << 20) as usize;
            shard.read(&tensor, 0..length, &mut bytes)?;
        }
        Ok(())
    }

    /// Opens an importance file, and reads its vectors.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn importance(path: &Path) -> Result<(), Error> {
        crate::Importance::open(path)?.check()
    }

    /// Reads an importance file that is not finished, of the published shape.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn unfinished(path: &Path) -> Result<(), Error> {
        crate::read_unfinished_origin(path)?;
        crate::read_unfinished_importance(path, &spec::Shape::flash()).map(|_| ())
    }
}

pub use checkpoint::Checkpoint;
pub use compare::{Difference, DifferenceKind, compare};
pub use encode::{encode, is_encodable};
pub use error::{Error, NameList};
pub use importance::Importance;
pub use input::Input;
pub use measured::{
    ExpertSums, Origin, Unfinished, read_unfinished_importance, read_unfinished_origin,
    write_importance, write_legacy_importance,
};
pub use metadata::read_vocabulary;
pub use partial::Start;
pub use plan::{Options, Plan, PlannedTensor, Skipped};
pub use recipe::Recipe;
pub use rule::Rule;
pub use run::{Progress, Stats};
pub use splice::Splice;
pub use synth::{Synth, SynthOptions, SynthRecipe, SynthTensor};
pub use template::Template;
