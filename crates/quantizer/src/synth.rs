//! Random models: valid files of any shape, without a checkpoint.
//!
//! Speed depends on a file's shape and formats, not on what the weights say. A [`Synth`] is the
//! plan of a file that has everything a real one has (keys, tensors, formats, sizes) and random
//! values, scaled so that activations stay near one and logits are finite. The same shape, recipe
//! and seed give the same bytes, whatever the number of threads: a tensor is cut into chunks, and
//! each chunk has a random stream of its own.
//!
//! `synth/recipe.rs` says which format a tensor gets, `synth/random.rs` what its blocks hold.
//! Nothing here reads weights.

mod random;
mod recipe;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gguf::{File, Format, Metadata, TensorPlan, Writer};
use rayon::prelude::*;
use spec::{Class, Shape, TensorSpec};

use crate::error::Error;
use crate::metadata::shape_metadata;
use crate::output::Output;
use crate::run::Progress;
use random::Content;
pub use recipe::SynthRecipe;

/// Chunks that are made before they are written: some megabytes, enough to keep all cores busy.
const PIECE_CHUNKS: usize = 128;

/// How a random file was made.
const RECIPE_KEY: &str = "dwarfstar.synth.recipe";
const SEED_KEY: &str = "dwarfstar.synth.seed";

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct SynthOptions {
    /// The numbers of the model.
    pub shape: Shape,
    /// How matrices are stored.
    pub recipe: SynthRecipe,
    /// Another seed gives another model.
    pub seed: u64,
    /// The model's name as shown to people.
    pub name: String,
    /// The keys of a file of the same vocabulary, whose tokenizer is taken over. Without, the file
    /// understands token ids only.
    pub tokenizer: Option<Metadata>,
}

/// A random file, decided to the last byte count.
#[derive(Debug)]
pub struct Synth {
    seed: u64,
    metadata: Metadata,
    tensors: Vec<SynthTensor>,
    file_bytes: u64,
}

/// A tensor of a random file.
#[derive(Clone, Debug)]
pub struct SynthTensor {
    /// Its name in the file.
    pub name: String,
    /// In file order: `dims[0]` is the input width.
    pub dims: Vec<usize>,
    /// How its values are stored.
    pub format: Format,
    /// Bytes in the file, without padding.
    pub byte_count: u64,
    content: Content,
}

impl Synth {
    /// Plans a file.
    ///
    /// # Errors
    /// A shape whose tensors are larger than any file.
    pub fn new(options: SynthOptions) -> Result<Synth, Error> {
        let SynthOptions { shape, recipe, seed, name, tokenizer } = options;
        let mut metadata = shape_metadata(&shape, &name);
        metadata.set(RECIPE_KEY, recipe.name());
        metadata.set(SEED_KEY, seed);
        let keys = tokenizer.iter().flat_map(Metadata::iter);
        for (key, value) in keys.filter(|(key, _)| key.starts_with("tokenizer.")) {
            metadata.set(key, value.clone());
        }
        let specs = spec::tensors(&shape).into_iter();
        let tensors: Vec<_> = specs.map(|spec| tensor(spec, recipe, &shape)).collect();
        let file_bytes = Writer::file_bytes(&metadata, &plans(&tensors))?;
        Ok(Synth { seed, metadata, tensors, file_bytes })
    }

    /// The tensors, in file order.
    pub fn tensors(&self) -> &[SynthTensor] {
        &self.tensors
    }

    /// The keys.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Bytes of all tensors.
    pub fn byte_count(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.byte_count).sum()
    }

    /// Bytes of the whole file: header, tensors and the padding between them.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The same model without a file: a tensor is made when its bytes are asked for.
    pub fn into_file(self, name: &str) -> File {
        let Synth { seed, metadata, tensors, .. } = self;
        let plans = plans(&tensors);
        let by_name: HashMap<String, SynthTensor> =
            tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        File::made(name, metadata, plans, move |tensor| by_name[&tensor.name].bytes(seed))
    }

    /// Writes the file to `path`, replacing one that is there only if `overwrite` is set.
    ///
    /// `progress` is called after every piece of some megabytes; `cancel` is read as often.
    ///
    /// # Errors
    /// An unwritable output, or [`Error::Cancelled`]. In all cases nothing is left behind, and a
    /// file that was at `path` is as it was.
    pub fn run(
        &self,
        path: &Path,
        overwrite: bool,
        progress: &mut dyn FnMut(Progress<'_>),
        cancel: &AtomicBool,
    ) -> Result<(), Error> {
        let plans = plans(&self.tensors);
        let file = (&self.metadata, plans.as_slice());
        let bytes = (self.byte_count(), self.file_bytes);
        let mut output = Output::create((path, overwrite), file, bytes, progress, cancel)?;
        let mut piece = Vec::new();
        for tensor in &self.tensors {
            output.begin(&tensor.name);
            for first_chunk in (0..tensor.chunk_count()).step_by(PIECE_CHUNKS) {
                output.check()?;
                tensor.fill(self.seed, first_chunk, &mut piece);
                output.write(&piece)?;
            }
        }
        output.finish()
    }
}

impl SynthTensor {
    fn chunk_count(&self) -> usize {
        (self.byte_count as usize).div_ceil(self.content.chunk_bytes())
    }

    /// All bytes.
    fn bytes(&self, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.byte_count as usize];
        self.fill_chunks(seed, 0, &mut bytes);
        bytes
    }

    /// The bytes of the chunks from `first` on, as many as make a piece.
    fn fill(&self, seed: u64, first: usize, piece: &mut Vec<u8>) {
        let chunk_bytes = self.content.chunk_bytes();
        let left = self.byte_count as usize - first * chunk_bytes;
        piece.resize(left.min(PIECE_CHUNKS * chunk_bytes), 0);
        self.fill_chunks(seed, first, piece);
    }

    /// The chunks from `first` on, as many as `out` holds.
    fn fill_chunks(&self, seed: u64, first: usize, out: &mut [u8]) {
        out.par_chunks_mut(self.content.chunk_bytes()).enumerate().for_each(|(chunk, out)| {
            let mut stream = random::stream(seed, &self.name, first + chunk);
            self.content.fill(&mut stream, out);
        });
    }
}

fn tensor(spec: TensorSpec, recipe: SynthRecipe, shape: &Shape) -> SynthTensor {
    let format = recipe.format(spec.class, spec.dims[0]);
    let content = match spec.class {
        Class::RouteTable => Content::Ids { used: shape.experts_used, experts: shape.experts },
        _ => Content::Values { format, spread: random::spread(&spec) },
    };
    let row_bytes = format.row_bytes(spec.dims[0]).expect("the recipe chose whole blocks") as u64;
    let byte_count = spec.dims[1..].iter().fold(row_bytes, |bytes, &size| bytes * size as u64);
    SynthTensor { name: spec.name, dims: spec.dims, format, byte_count, content }
}

fn plans(tensors: &[SynthTensor]) -> Vec<TensorPlan> {
    let plan = |tensor: &SynthTensor| {
        let SynthTensor { name, dims, format, .. } = tensor.clone();
        TensorPlan { name, dims, format }
    };
    tensors.iter().map(plan).collect()
}
