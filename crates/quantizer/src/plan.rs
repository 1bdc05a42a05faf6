//! What will be written, decided and checked before the first byte.
//!
//! A [`Plan`] ties every tensor that the model has to where the checkpoint has it, and gives it its
//! format. All that can be known without reading weights is found out here: missing tensors, wrong
//! shapes and types, a vocabulary of another model, the size of the output. Draft layers, which the
//! checkpoint keeps under `mtp.`, are not part of the output.
//!
//! `run.rs` carries the plan out.

use gguf::{Format, Metadata};
use spec::{Class, Shape, Source, TensorSpec};
use text::Vocabulary;

use crate::checkpoint::Checkpoint;
use crate::decode::Coding;
use crate::error::{Error, NameList};
use crate::metadata::metadata;
use crate::recipe::Recipe;
use crate::safetensors::{Dtype, Tensor};

/// Tensors of draft layers begin with this.
const DRAFT_PREFIX: &str = "mtp.";

/// A tensor that only checkpoints saved again by other programs have.
const FOREIGN_NAME: &str = "model.embed_tokens.weight";

const FOREIGN_HINT: &str = "the tensors have the names of another program; \
                            expected those of the checkpoint as published, such as 'embed.weight'";

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// How matrices are stored.
    pub recipe: Recipe,
    /// The tokens, as [`read_vocabulary`](crate::read_vocabulary) gives them. Without, the file
    /// understands token ids only.
    pub vocabulary: Option<Vocabulary>,
    /// The model's name as shown to people; without, the name of the checkpoint's folder.
    pub name: Option<String>,
}

/// An output file, decided to the last byte count.
#[derive(Debug)]
pub struct Plan {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) metadata: Metadata,
    tensors: Vec<PlannedTensor>,
    skipped: Skipped,
}

/// A tensor of the output.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Its name in the file.
    pub name: String,
    /// In file order: `dims[0]` is the input width.
    pub dims: Vec<usize>,
    /// How its values will be stored.
    pub format: Format,
    /// Bytes in the file, without padding.
    pub byte_count: u64,
    /// Where its rows come from, in order: one part, or one per expert.
    pub(crate) parts: Vec<Part>,
}

/// A tensor of the checkpoint: a matrix, or a vector as a matrix of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub coding: Coding,
    /// Places in the checkpoint.
    pub weight: usize,
    pub scale: Option<usize>,
}

/// What the checkpoint has and the output has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Tensors of draft layers.
    pub draft_count: usize,
    /// Tensors that this engine knows no use for.
    pub unknown: NameList,
}

impl Plan {
    /// Plans the output for a checkpoint.
    ///
    /// # Errors
    /// All tensors that are missing or have another shape or type than the model's, in one error;
    /// or a vocabulary that does not fit the model.
    pub fn new(checkpoint: Checkpoint, options: Options) -> Result<Plan, Error> {
        let Options { recipe, vocabulary, name } = options;
        let name = name.unwrap_or_else(|| folder_name(&checkpoint));
        let metadata = metadata(checkpoint.shape(), &name, recipe, vocabulary.as_ref())?;
        let mut binder = Binder::new(&checkpoint);
        let specs = spec::tensors(checkpoint.shape());
        let bound = specs.into_iter().map(|spec| binder.bind(spec, recipe)).collect::<Vec<_>>();
        let skipped = binder.finish()?;
        let tensors = bound.into_iter().flatten().collect();
        Ok(Plan { checkpoint, metadata, tensors, skipped })
    }

    /// The shape of the model.
    pub fn shape(&self) -> &Shape {
        self.checkpoint.shape()
    }

    /// The keys of the output.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors of the output, in file order.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Bytes of all tensors; the header comes on top of it.
    pub fn byte_count(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.byte_count).sum()
    }

    /// What the checkpoint has and the output will not have.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }
}

impl PlannedTensor {
    /// Values in a row.
    pub(crate) fn columns(&self) -> usize {
        self.dims[0]
    }

    /// Rows of one part: of the whole tensor, or of one expert.
    pub(crate) fn part_rows(&self) -> usize {
        self.dims[1..].iter().product::<usize>() / self.parts.len()
    }
}

fn folder_name(checkpoint: &Checkpoint) -> String {
    let folder = checkpoint.folder();
    let resolved = folder.canonicalize().unwrap_or_default();
    let name = folder.file_name().or(resolved.file_name());
    name.map_or("model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Finds the tensors of a model in a checkpoint, and collects what is wrong.
struct Binder<'a> {
    checkpoint: &'a Checkpoint,
    used: Vec<bool>,
    missing: NameList,
    unfit: NameList,
}

impl<'a> Binder<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Binder<'a> {
        let used = vec![false; checkpoint.tensor_count()];
        Binder { checkpoint, used, missing: NameList::default(), unfit: NameList::default() }
    }

    /// The tensor with its parts, or `None` after noting what is wrong with one of them.
    fn bind(&mut self, spec: TensorSpec, recipe: Recipe) -> Option<PlannedTensor> {
        let parts: Vec<Option<Part>> = match &spec.source {
            Source::One(name) => vec![self.part(name, spec.class, &spec.dims)],
            Source::PerExpert { before, after } => {
                let (experts, dims) = spec.dims.split_last().expect("a stack has dimensions");
                let names = (0..*experts).map(|expert| format!("{before}{expert}{after}"));
                names.map(|name| self.part(&name, spec.class, dims)).collect()
            }
        };
        let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
        let format = recipe.format(spec.class, parts.iter().map(|part| part.coding));
        let row_bytes = format.row_bytes(spec.dims[0]).expect("FP4 rows are whole blocks");
        let byte_count = spec.dims[1..].iter().fold(row_bytes as u64, |a, &b| a * b as u64);
        Some(PlannedTensor { name: spec.name, dims: spec.dims, format, byte_count, parts })
    }

    /// One tensor of the checkpoint, which should have these dimensions (in file order).
    fn part(&mut self, name: &str, class: Class, dims: &[usize]) -> Option<Part> {
        let weight = self.find(name)?;
        let tensor = self.checkpoint.tensor(weight);
        let coding = self.coding(tensor, class)?;
        let mut shape: Vec<usize> = dims.iter().rev().copied().collect();
        if coding == Coding::Fp4 {
            let columns = shape.last_mut().expect("every tensor has dimensions");
            if !columns.is_multiple_of(32) {
                let problem = format!("FP4 in rows of {columns}, not of blocks of 32");
                self.unfit.push(|| format!("{name} ({problem})"));
                return None;
            }
            *columns /= 2;
        }
        self.check_shape(tensor, &shape)?;
        let scale = match coding.scale_block() {
            Some(block) => Some(self.scale(name, dims, block)?),
            None => None,
        };
        Some(Part { coding, weight, scale })
    }

    /// How a tensor of this role is coded: tables as integers, vectors as plain floats, matrices as
    /// any floats.
    fn coding(&mut self, tensor: &Tensor, class: Class) -> Option<Coding> {
        let is_table = class == Class::RouteTable;
        let is_vector = class.is_vector();
        let coding = Coding::of(&tensor.dtype).filter(|coding| {
            coding.is_integer() == is_table && !(is_vector && coding.scale_block().is_some())
        });
        if coding.is_none() {
            let expected = match class {
                Class::RouteTable => "I64 or I32",
                _ if is_vector => "F32, F16 or BF16",
                _ => "F32, F16, BF16, F8_E4M3 or FP4 as I8",
            };
            let Tensor { name, dtype: found, .. } = tensor;
            self.unfit.push(|| format!("{name} (expected {expected}, found {found})"));
        }
        coding
    }

    /// The scales of a matrix: `layers.0.attn.wq_a.scale` for `layers.0.attn.wq_a.weight`.
    fn scale(&mut self, name: &str, dims: &[usize], block: (usize, usize)) -> Option<usize> {
        let base = name.strip_suffix(".weight").unwrap_or(name);
        let at = self.find(&format!("{base}.scale"))?;
        let tensor = self.checkpoint.tensor(at);
        if tensor.dtype != Dtype::F8E8M0 {
            let (name, found) = (&tensor.name, &tensor.dtype);
            self.unfit.push(|| format!("{name} (expected F8_E8M0, found {found})"));
            return None;
        }
        self.check_shape(tensor, &[dims[1].div_ceil(block.0), dims[0].div_ceil(block.1)])?;
        Some(at)
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let found = self.checkpoint.find(name);
        match found {
            Some(at) => self.used[at] = true,
            None => self.missing.push(|| name.to_owned()),
        }
        found
    }

    fn check_shape(&mut self, tensor: &Tensor, expected: &[usize]) -> Option<()> {
        let Tensor { name, shape: found, .. } = tensor;
        if found == expected {
            return Some(());
        }
        self.unfit.push(|| format!("{name} (expected shape {expected:?}, found {found:?})"));
        None
    }

    fn finish(self) -> Result<Skipped, Error> {
        let Binder { checkpoint, used, missing, unfit } = self;
        if missing.count() + unfit.count() > 0 {
            let foreign = checkpoint.find(FOREIGN_NAME).is_some();
            return Err(Error::Checkpoint {
                folder: checkpoint.folder().display().to_string(),
                missing,
                unfit,
                hint: foreign.then_some(FOREIGN_HINT),
            });
        }
        let mut skipped = Skipped::default();
        for (tensor, _) in checkpoint.tensors().zip(used).filter(|(_, used)| !used) {
            if tensor.name.starts_with(DRAFT_PREFIX) {
                skipped.draft_count += 1;
            } else {
                skipped.unknown.push(|| crate::error::quote(&tensor.name));
            }
        }
        Ok(skipped)
    }
}
