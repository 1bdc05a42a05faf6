//! Models in several files.
//!
//! The convention is llama.cpp's: file `n` of `N` is called `PREFIX-0000n-of-0000N.gguf`, counted
//! from 1, and says in its metadata which part it is (`split.no`, from 0), how many there are
//! (`split.count`) and how many tensors all of them hold together (`split.tensors.count`). The
//! metadata of the model is in the first file. The keys decide; the name only says where the others
//! are.

use std::path::{Path, PathBuf};

use crate::error::{Error, Subject, quote};
use crate::value::Metadata;

/// The path of file `shard` (from 0) of a model in `count` files.
pub fn shard_path(prefix: &Path, shard: usize, count: usize) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix(shard, count));
    path.into()
}

/// What one file says about its place among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// Which part this is, from 0.
    pub no: usize,
    pub count: usize,
    /// Tensors of all parts together.
    pub tensors: u64,
}

impl Split {
    /// Reads the three keys. `None` if the file is a whole model.
    pub fn of(file: &str, metadata: &Metadata) -> Result<Option<Split>, Error> {
        if metadata.get("split.count").is_none() {
            return Ok(None);
        }
        let count = integer(file, metadata, "split.count", u16::MAX.into())?;
        if count <= 1 {
            return Ok(None);
        }
        let no = integer(file, metadata, "split.no", count - 1)?;
        let tensors = integer(file, metadata, "split.tensors.count", u64::MAX)?;
        Ok(Some(Split { no: no as usize, count: count as usize, tensors }))
    }

    /// What the paths of all parts begin with, given the path of this one.
    pub fn prefix(&self, path: &Path) -> Result<PathBuf, Error> {
        let file = path.display().to_string();
        let suffix = suffix(self.no, self.count);
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(prefix) = name.and_then(|name| name.strip_suffix(&suffix)) else {
            let (no, count) = (self.no + 1, self.count);
            let problem = format!(
                "is part {no} of a model in {count} files; expected its name to end in {}, so that \
                 the others can be found",
                quote(&suffix)
            );
            return Err(Error::new(file, problem));
        };
        Ok(path.with_file_name(prefix))
    }

    /// Checks that `file`, found where part `no` should be, says the same about the model.
    pub fn check_part(&self, no: usize, file: &str, found: Option<Split>) -> Result<(), Error> {
        let expected = Split { no, ..*self };
        if found == Some(expected) {
            return Ok(());
        }
        let found = match found {
            Some(split) => split.describe(),
            None => "a whole model".to_owned(),
        };
        Err(Error::new(file, format!("expected {}, found {found}", expected.describe())))
    }

    fn describe(&self) -> String {
        let Split { no, count, tensors } = self;
        format!("part {} of {count} with {tensors} tensors in all", no + 1)
    }
}

fn suffix(shard: usize, count: usize) -> String {
    format!("-{:05}-of-{count:05}.gguf", shard + 1)
}

fn integer(file: &str, metadata: &Metadata, key: &str, max: u64) -> Result<u64, Error> {
    let fail = |problem| Err(Error::new(file, problem).about(Subject::Key(key.to_owned())));
    let Some(value) = metadata.get(key) else {
        return fail("missing, though the file is part of several".to_owned());
    };
    match value.as_u64() {
        Some(number) if number <= max => Ok(number),
        _ => {
            let kind = || format!("a {}", value.value_type().name());
            let found = value.as_f64().map_or_else(kind, |number| number.to_string());
            fail(format!("expected an integer from 0 to {max}, found {found}"))
        }
    }
}
