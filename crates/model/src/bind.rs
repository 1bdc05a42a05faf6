//! Binding: every tensor the shape asks for is found in the file, with dimensions and a format
//! that can be used, before anything is loaded.
//!
//! All problems are collected. A person who took the wrong file, or a file of another converter,
//! should see the whole difference at once.

use gguf::{File, Format, Tensor};
use spec::{Class, Shape, TensorSpec};

/// One way in which a file does not fit the shape it states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorProblem {
    /// The tensor is not there.
    Missing {
        /// Its name.
        name: String,
    },
    /// It has other dimensions.
    Dims {
        /// Its name.
        name: String,
        /// Dimensions that the shape asks for, in file order.
        expected: Vec<usize>,
        /// Dimensions in the file.
        found: Vec<usize>,
    },
    /// Its type has no decoder, or is not one that such a tensor can have.
    Format {
        /// Its name.
        name: String,
        /// What would do.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
}

/// Compares a file with the tensors its shape asks for. Other tensors are ignored.
pub fn check_tensors(file: &File, shape: &Shape) -> Vec<TensorProblem> {
    spec::tensors(shape).iter().filter_map(|spec| check(file, spec)).collect()
}

fn check(file: &File, spec: &TensorSpec) -> Option<TensorProblem> {
    let name = spec.name.clone();
    let Some(tensor) = file.tensor(&spec.name) else {
        // A missing selection bias means zero.
        return (spec.class != Class::RouteBias).then_some(TensorProblem::Missing { name });
    };
    if !same_dims(&spec.dims, tensor) {
        let (expected, found) = (spec.dims.clone(), tensor.dims.clone());
        return Some(TensorProblem::Dims { name, expected, found });
    }
    let (expected, fits) = match spec.class {
        Class::RouteTable => ("I32", tensor.format == Format::I32),
        _ => ("a type with a decoder", tensor.format.is_decodable()),
    };
    let found = tensor.format.to_string();
    (!fits).then_some(TensorProblem::Format { name, expected, found })
}

/// Whether the tensor holds the same rows. Trailing ones do not matter, and the rows of a matrix
/// may be split further (some files store the grouped output projection with rank 3).
fn same_dims(expected: &[usize], tensor: &Tensor) -> bool {
    let (expected, found) = (without_ones(expected), without_ones(&tensor.dims));
    match (expected, found) {
        ([inner, outer], [found, rest @ ..]) => {
            found == inner && rest.iter().product::<usize>() == *outer
        }
        (expected, found) => expected == found,
    }
}

/// Dimensions without trailing ones.
fn without_ones(dims: &[usize]) -> &[usize] {
    let kept = dims.iter().rposition(|&d| d != 1).map_or(0, |last| last + 1);
    &dims[..kept]
}

/// The problems as text: first all missing names in one sentence, then the others.
pub(crate) fn describe(problems: &[TensorProblem]) -> String {
    let (mut missing, mut others) = (Vec::new(), Vec::new());
    for problem in problems {
        match problem {
            TensorProblem::Missing { name } => missing.push(name.as_str()),
            TensorProblem::Dims { name, expected, found } => others.push(format!(
                "{name} has dimensions {found:?}, the file's own metadata asks for {expected:?}"
            )),
            TensorProblem::Format { name, expected, found } => {
                others.push(format!("{name} has type {found}, expected {expected}"));
            }
        }
    }
    let mut parts = Vec::new();
    match missing.as_slice() {
        [] => {}
        [one] => parts.push(format!("tensor {one} is missing")),
        names => parts.push(format!("{} tensors are missing: {}", names.len(), names.join(", "))),
    }
    parts.extend(others);
    parts.join("; ")
}
