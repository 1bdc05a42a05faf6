//! Templates: a file that says what the output of a checkpoint looks like, tensor by tensor.
//!
//! Keys, the order of tensors and, unless a recipe is named, their formats are those of the
//! template; every number of a weight comes from the checkpoint. So a release is made again in the
//! layout in which an earlier one was published. A template of another model, or one that has
//! tensors which the checkpoint cannot fill, is refused before anything is written.

use std::collections::{HashMap, HashSet};

use gguf::{File, Format};
use spec::Shape;

use crate::error::{Error, NameList};
use crate::metadata::value;
use crate::plan::PlannedTensor;

/// An open template.
#[derive(Debug)]
pub struct Template {
    /// The file.
    pub file: File,
    /// The shape that it states.
    pub shape: Shape,
    /// Whether matrices get its formats, and not those of the recipe.
    pub formats: bool,
}

impl Template {
    /// The format of a tensor, if that is the template's to say.
    pub(crate) fn format(&self, name: &str) -> Option<Format> {
        self.file.tensor(name).filter(|_| self.formats).map(|tensor| tensor.format)
    }

    /// Whether it is of a model of this shape: all numbers are the same as a file holds them.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), Error> {
        let (theirs, ours) = (self.shape.to_facts(), shape.to_facts());
        let other = theirs.into_iter().zip(ours).find_map(|((key, theirs), (_, ours))| {
            let (theirs, ours) = (value(theirs), value(ours));
            (theirs != ours).then(|| format!("{key} is {theirs:?}, in the checkpoint {ours:?}"))
        });
        other.map_or(Ok(()), |difference| Err(self.error(difference)))
    }

    /// Puts tensors into its order; those that it lacks come last.
    pub(crate) fn arrange(&self, tensors: &mut [PlannedTensor]) -> Result<(), Error> {
        let names = self.file.tensors().iter().enumerate();
        let places: HashMap<&str, usize> =
            names.map(|(place, tensor)| (tensor.name.as_str(), place)).collect();
        tensors
            .sort_by_key(|tensor| places.get(tensor.name.as_str()).copied().unwrap_or(usize::MAX));
        let mut missing = NameList::default();
        let made: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        for tensor in self.file.tensors() {
            if !made.contains(tensor.name.as_str()) {
                missing.push(|| crate::error::quote(&tensor.name));
            }
        }
        match missing.count() {
            0 => Ok(()),
            count => Err(self.error(format!("{count} of its tensors are not made: {missing}"))),
        }
    }

    fn error(&self, problem: String) -> Error {
        Error::Template { file: self.file.name().to_owned(), problem }
    }
}
