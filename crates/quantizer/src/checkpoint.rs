//! A checkpoint folder: the shape of its model, and all its tensors by name.
//!
//! The weights are in `model.safetensors`, or in several files that `model.safetensors.index.json`
//! lists. The index is the authority: what it does not list is not part of the checkpoint. This
//! room does not know what tensors a model needs; that is `plan.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use spec::Shape;

use crate::config::read_shape;
use crate::error::{Error, quote};
use crate::safetensors::{Shard, Tensor};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Largest index that is believed; the published one, of 69,187 names, has 5 MB.
const INDEX_BYTES_MAX: u64 = 100_000_000;

/// An open checkpoint folder.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    shape: Shape,
    shards: Vec<Shard>,
    tensors: Vec<Stored>,
    index: HashMap<String, usize>,
}

/// A tensor and the file it is in.
#[derive(Debug)]
pub(crate) struct Stored {
    pub tensor: Tensor,
    shard: usize,
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a folder: reads its `config.json` and the directory of every safetensors file, and
    /// checks that the files are whole.
    ///
    /// # Errors
    /// The folder or one of its files is missing, cut or malformed, or the configuration is not one
    /// of this family.
    pub fn open(folder: &Path) -> Result<Checkpoint, Error> {
        if !folder.is_dir() {
            return Err(Error::file(folder, "not a folder; expected that of a checkpoint"));
        }
        let shape = read_shape(folder)?;
        let mut checkpoint = Checkpoint {
            folder: folder.to_owned(),
            shape,
            shards: Vec::new(),
            tensors: Vec::new(),
            index: HashMap::new(),
        };
        let index = folder.join(INDEX);
        if index.exists() {
            checkpoint.add_indexed(&index)?;
        } else if folder.join(SINGLE).exists() {
            checkpoint.add_shard(SINGLE, None)?;
        } else {
            return Err(Error::file(folder, format!("has neither {SINGLE} nor {INDEX}")));
        }
        let names = checkpoint.tensors.iter().map(|stored| stored.tensor.name.clone());
        checkpoint.index = names.zip(0..).collect();
        Ok(checkpoint)
    }

    /// The shape of the model, from `config.json`.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The folder as it was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name for people: that of the folder.
    pub(crate) fn folder_name(&self) -> String {
        let resolved = self.folder.canonicalize().unwrap_or_default();
        let name = self.folder.file_name().or(resolved.file_name());
        name.map_or("model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// How many tensors the checkpoint has, those of scales and draft layers included.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().map(|stored| &stored.tensor)
    }

    /// The place of a tensor, for [`Checkpoint::tensor`].
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(crate) fn tensor(&self, at: usize) -> &Tensor {
        &self.tensors[at].tensor
    }

    /// Reads a range of the bytes of a tensor into `out`, which takes its length.
    pub(crate) fn read(
        &self,
        at: usize,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let Stored { tensor, shard } = &self.tensors[at];
        self.shards[*shard].read(tensor, range, out)
    }

    /// An error about a tensor, naming its file.
    pub(crate) fn error(&self, at: usize, problem: String) -> Error {
        let Stored { tensor, shard } = &self.tensors[at];
        Error::tensor(self.shards[*shard].name(), &tensor.name, problem)
    }

    fn add_indexed(&mut self, path: &Path) -> Result<(), Error> {
        let fail = |problem| Error::file(path, problem);
        let index: Index = serde_json::from_slice(&read_bounded(path, INDEX_BYTES_MAX)?)
            .map_err(|error| fail(format!("malformed: {error}")))?;
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            if !is_plain_name(file) {
                let (tensor, file) = (quote(tensor), quote(file));
                return Err(fail(format!("{tensor} is in {file}, expected a name without folder")));
            }
            files.entry(file).or_default().push(tensor);
        }
        for (file, tensors) in files {
            self.add_shard(file, Some(&tensors))?;
        }
        Ok(())
    }

    /// Adds a file: its tensors of the given names, which are sorted, or all.
    fn add_shard(&mut self, file: &str, names: Option<&[&str]>) -> Result<(), Error> {
        let (shard, mut tensors) = Shard::open(&self.folder.join(file))?;
        if let Some(names) = names {
            tensors.retain(|tensor| names.binary_search(&tensor.name.as_str()).is_ok());
            if tensors.len() < names.len() {
                let name = names.iter().find(|name| tensors.iter().all(|t| t.name != **name));
                let name = name.expect("names are unique, so one of them is not there");
                let problem = format!("not in this file, where {INDEX} says it is");
                return Err(Error::tensor(shard.name(), name, problem));
            }
        }
        let shard_at = self.shards.len();
        self.tensors.extend(tensors.into_iter().map(|tensor| Stored { tensor, shard: shard_at }));
        self.shards.push(shard);
        Ok(())
    }
}

/// Whether an index may name this file: one beside it, and no path to anywhere else.
fn is_plain_name(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == file)
}

/// The bytes of a file that is expected to be small.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Error> {
    let doing = "could not read the file";
    let file = File::open(path).map_err(|error| Error::io(path, doing, error))?;
    let mut bytes = Vec::new();
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(path, doing, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::file(path, format!("expected at most {bytes_max} bytes, found more")));
    }
    Ok(bytes)
}
