//! Finds the tensors of a model in a checkpoint, or in another file, and collects what is wrong.
//!
//! Everything that is missing or does not fit goes into one error: a checkpoint of 160 GB is not
//! looked through twice for two mistakes. What a tensor becomes is the business of `plan.rs`.

use std::collections::HashMap;

use spec::{Class, Source, TensorSpec};

use crate::checkpoint::Checkpoint;
use crate::decode::Coding;
use crate::error::{Error, NameList};
use crate::input::parts_of;
use crate::plan::{Choice, Part, PlannedTensor, Skipped, planned};
use crate::safetensors::{Dtype, Tensor};

/// Tensors of draft layers begin with this.
const DRAFT_PREFIX: &str = "mtp.";

/// A tensor that only checkpoints saved again by other programs have.
const FOREIGN_NAME: &str = "model.embed_tokens.weight";

const FOREIGN_HINT: &str = "the tensors have the names of another program; \
                            expected those of the checkpoint as published, such as 'embed.weight'";

/// Finds the tensors of a model in a checkpoint, and collects what is wrong.
pub(crate) struct Binder<'a> {
    checkpoint: &'a Checkpoint,
    used: Vec<bool>,
    missing: NameList,
    unfit: NameList,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Binder<'a> {
        let used = vec![false; checkpoint.tensor_count()];
        Binder { checkpoint, used, missing: NameList::default(), unfit: NameList::default() }
    }

    /// The tensor with its parts, or `None` after noting what is wrong with one of them.
    pub(crate) fn bind(
        &mut self,
        spec: &TensorSpec,
        choice: &mut Choice<'_>,
    ) -> Option<PlannedTensor> {
        let parts: Vec<Option<Part>> = match &spec.source {
            Source::One(name) => vec![self.part(name, spec.class, &spec.dims)],
            Source::PerExpert { before, after } => {
                let (experts, dims) = spec.dims.split_last().expect("a stack has dimensions");
                let names = (0..*experts).map(|expert| format!("{before}{expert}{after}"));
                names.map(|name| self.part(&name, spec.class, dims)).collect()
            }
        };
        let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
        let planned = choice.plan(spec, &spec.dims, parts);
        planned.map_err(|problem| self.unfit.push(|| format!("{} ({problem})", spec.name))).ok()
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
        Some(Part { coding, weight, offset: 0, scale, hint: None })
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

    pub(crate) fn finish(self) -> Result<Skipped, Error> {
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

/// The tensors of another file, in its order; those that nobody knows as they are.
pub(crate) fn bind_file(
    file: &gguf::File,
    specs: &[TensorSpec],
    choice: &mut Choice<'_>,
) -> Result<Vec<Option<PlannedTensor>>, Error> {
    let (mut missing, mut unfit) = (NameList::default(), NameList::default());
    let by_name: HashMap<&str, &TensorSpec> =
        specs.iter().map(|spec| (spec.name.as_str(), spec)).collect();
    // A missing bias means zero.
    let required = specs.iter().filter(|spec| spec.class != Class::RouteBias);
    for spec in required.filter(|spec| file.tensor(&spec.name).is_none()) {
        missing.push(|| spec.name.clone());
    }
    let mut bound = Vec::with_capacity(file.tensors().len());
    for (at, tensor) in file.tensors().iter().enumerate() {
        let spec = by_name.get(tensor.name.as_str()).copied();
        let Some(parts) = parts_of(file, at, spec, &mut unfit) else { continue };
        let planned = match spec {
            Some(spec) => choice.plan(spec, &tensor.dims, parts),
            None => planned(&tensor.name, &tensor.dims, tensor.format, true, parts),
        };
        match planned {
            Ok(planned) => bound.push(Some(planned)),
            Err(problem) => unfit.push(|| format!("{} ({problem})", tensor.name)),
        }
    }
    if missing.count() + unfit.count() > 0 {
        let folder = file.name().to_owned();
        return Err(Error::Checkpoint { folder, missing, unfit, hint: None });
    }
    Ok(bound)
}
