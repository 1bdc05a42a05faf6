//! What is converted: a checkpoint folder, or a GGUF file that was made before.
//!
//! Both hand out bytes of tensors by range, and name file and tensor where something is wrong. How
//! tensors of a folder are found is `plan.rs`'s; those of a file are found here, since a file has
//! them under the names of the output already. Such a file is also the model of the output: order,
//! dimensions and keys are kept, and tensors that nobody here knows are copied as they are.

use std::ops::Range;

use gguf::{File, Format, Tensor};
use spec::{Class, Shape, TensorSpec};

use crate::checkpoint::Checkpoint;
use crate::decode::Coding;
use crate::error::{Error, NameList};
use crate::plan::Part;

/// Where the weights come from.
#[derive(Debug)]
pub enum Input {
    /// A checkpoint folder.
    Checkpoint(Checkpoint),
    /// A GGUF file, and the shape that it states.
    Model(File, Shape),
}

impl From<Checkpoint> for Input {
    fn from(checkpoint: Checkpoint) -> Input {
        Input::Checkpoint(checkpoint)
    }
}

impl Input {
    pub(crate) fn shape(&self) -> &Shape {
        match self {
            Input::Checkpoint(checkpoint) => checkpoint.shape(),
            Input::Model(_, shape) => shape,
        }
    }

    /// Reads a range of the weights of a part into `out`, which takes its length.
    pub(crate) fn read(
        &self,
        part: &Part,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Input::Checkpoint(checkpoint) => checkpoint.read(part.weight, range, out),
            Input::Model(file, _) => {
                let bytes = file.bytes(&file.tensors()[part.weight]);
                out.clear();
                out.extend_from_slice(&bytes[part.offset + range.start..part.offset + range.end]);
                Ok(())
            }
        }
    }

    /// Reads a range of the scales of a part that has some.
    pub(crate) fn read_scales(
        &self,
        scale: usize,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Input::Checkpoint(checkpoint) => checkpoint.read(scale, range, out),
            Input::Model(..) => panic!("blocks of GGUF files hold their scales"),
        }
    }

    /// An error about a value of a part.
    pub(crate) fn error(&self, part: &Part, row: usize, column: usize, problem: &str) -> Error {
        match self {
            Input::Checkpoint(checkpoint) => {
                checkpoint.error(part.weight, format!("value [{row}, {column}]: {problem}"))
            }
            Input::Model(file, _) => {
                let tensor = &file.tensors()[part.weight];
                let row = part.offset / tensor.row_bytes() + row;
                let problem = format!("value [{row}, {column}]: {problem}");
                Error::tensor(file.name(), &tensor.name, problem)
            }
        }
    }
}

/// How the values of a GGUF tensor are coded.
pub(crate) fn coding_of(format: Format) -> Coding {
    match format {
        Format::F32 => Coding::F32,
        Format::F16 => Coding::F16,
        Format::Bf16 => Coding::Bf16,
        Format::I32 => Coding::I32,
        blocks => Coding::Blocks(blocks),
    }
}

/// The parts of a tensor of a file: one, or one per expert. What does not fit is noted.
pub(crate) fn parts_of(
    file: &File,
    at: usize,
    spec: Option<&TensorSpec>,
    unfit: &mut NameList,
) -> Option<Vec<Part>> {
    let tensor = &file.tensors()[at];
    let coding = coding_of(tensor.format);
    if let Some(problem) = flaw(tensor, coding, spec) {
        unfit.push(|| format!("{} ({problem})", crate::error::quote(&tensor.name)));
        return None;
    }
    let stack = spec.is_some_and(|spec| matches!(spec.source, spec::Source::PerExpert { .. }));
    let count = if stack { tensor.dims[tensor.dims.len() - 1] } else { 1 };
    let bytes = tensor.byte_count / count;
    let part =
        |expert| Part { coding, weight: at, offset: expert * bytes, scale: None, hint: None };
    Some((0..count).map(part).collect())
}

/// What keeps a tensor of a file from being the one that the model has.
fn flaw(tensor: &Tensor, coding: Coding, spec: Option<&TensorSpec>) -> Option<String> {
    if let Format::Unknown(id) = tensor.format {
        return Some(format!("type {id}, which nobody here knows"));
    }
    let spec = spec?;
    // Some programs store the groups of an output projection as a third dimension.
    let same = spec.dims == tensor.dims
        || (spec.class == Class::Attention
            && spec.dims[0] == tensor.dims[0]
            && tensor.value_count() == spec.dims.iter().product::<usize>());
    if !same {
        return Some(format!("expected dimensions {:?}, found {:?}", spec.dims, tensor.dims));
    }
    let table = spec.class == Class::RouteTable;
    let integers = coding.is_integer();
    if table != integers {
        let expected = if table { "I32" } else { "floats or blocks of them" };
        return Some(format!("expected {expected}, found {}", tensor.format));
    }
    None
}
