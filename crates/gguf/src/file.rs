//! An open model: one file, or several that belong together.
//!
//! [`File`] and [`Bytes`] are handles on shared, read-only memory: cloning them copies nothing and
//! they may be used from any thread. Whatever a `File` lists has been checked against the bytes
//! that are there, so nothing after opening can fail.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Subject};
use crate::map::Source;
use crate::read::{Header, read};
use crate::split::{Split, shard_path};
use crate::tensor::{Tensor, TensorPlan};
use crate::value::Metadata;

/// An open model.
#[derive(Clone)]
pub struct File {
    model: Arc<Model>,
}

struct Model {
    name: String,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
    shards: Vec<(String, Arc<Source>)>,
    /// Makes a tensor's bytes, in a model that is nowhere stored.
    make: Option<Box<Make>>,
}

/// The bytes of a tensor.
type Make = dyn Fn(&Tensor) -> Vec<u8> + Send + Sync;

impl File {
    /// Opens the model at `path`. If the file is one of several, all are opened, whichever was
    /// named; the others are looked for beside it.
    pub fn open(path: &Path) -> Result<File, Error> {
        let name = path.display().to_string();
        let part = Part::open(path)?;
        let Some(split) = part.split()? else { return File::assemble(name, vec![part]) };
        let prefix = split.prefix(path)?;
        let mut opened = Some(part);
        let mut parts = Vec::new();
        for no in 0..split.count {
            let part = match opened.take_if(|_| no == split.no) {
                Some(part) => part,
                None => Part::open_beside(&shard_path(&prefix, no, split.count), split.count)?,
            };
            split.check_part(no, &part.name, part.split()?)?;
            parts.push(part);
        }
        let found: usize = parts.iter().map(|part| part.header.tensors.len()).sum();
        if found as u64 != split.tensors {
            let (count, expected) = (split.count, split.tensors);
            let problem = format!("expected {expected} tensors in {count} files, found {found}");
            return Err(Error::new(name, problem));
        }
        File::assemble(name, parts)
    }

    /// Opens a model that is in memory already; `name` stands for the path in messages.
    pub fn from_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<File, Error> {
        let part = Part::read(name.to_owned(), Source::Memory(bytes.into()))?;
        if let Some(split) = part.split()? {
            let (no, count) = (split.no + 1, split.count);
            let problem = format!("is part {no} of a model in {count} files, expected all of it");
            return Err(Error::new(name, problem));
        }
        File::assemble(name.to_owned(), vec![part])
    }

    /// A model that is nowhere stored: `make` gives a tensor's bytes whenever they are asked for,
    /// as many as its format and dimensions need.
    ///
    /// # Panics
    /// If two tensors have one name, or a row is no whole number of blocks.
    pub fn made(
        name: &str,
        metadata: Metadata,
        plans: Vec<TensorPlan>,
        make: impl Fn(&Tensor) -> Vec<u8> + Send + Sync + 'static,
    ) -> File {
        let tensors = plans.into_iter().map(|TensorPlan { name, dims, format }| {
            let row_bytes = format.row_bytes(dims[0]).expect("whole blocks");
            let byte_count = row_bytes * dims[1..].iter().product::<usize>();
            Tensor { name, dims, format, offset: 0, byte_count, shard: 0 }
        });
        let tensors: Vec<Tensor> = tensors.collect();
        let index = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at));
        let index: HashMap<String, usize> = index.collect();
        assert_eq!(index.len(), tensors.len(), "tensors of one name");
        let shards = vec![(name.to_owned(), Arc::new(Source::Memory(Cow::Borrowed(&[]))))];
        let (name, make) = (name.to_owned(), Some(Box::new(make) as Box<Make>));
        File { model: Arc::new(Model { name, metadata, tensors, index, shards, make }) }
    }

    /// The path as it was given, or the name.
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// The keys; for a model in several files, those of the first.
    pub fn metadata(&self) -> &Metadata {
        &self.model.metadata
    }

    /// All tensors, in the order of the directory, file by file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.model.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.model.index.get(name).map(|&at| &self.model.tensors[at])
    }

    /// The names of the files, in the numbering of [`Tensor::shard`].
    pub fn shard_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.model.shards.iter().map(|(name, _)| name.as_str())
    }

    /// The bytes of a tensor of this file: `row_count` rows of `row_bytes`.
    ///
    /// # Panics
    ///
    /// If the tensor is not of this file and lies outside it.
    pub fn bytes(&self, tensor: &Tensor) -> Bytes {
        if let Some(make) = &self.model.make {
            let bytes = make(tensor);
            assert_eq!(bytes.len(), tensor.byte_count, "bytes of {}", tensor.name);
            return Bytes::from(bytes);
        }
        let source = &self.model.shards[tensor.shard].1;
        let start = tensor.offset as usize;
        Bytes::of(Arc::clone(source), start..start + tensor.byte_count)
    }

    fn assemble(name: String, parts: Vec<Part>) -> Result<File, Error> {
        let (mut tensors, mut index) = (Vec::new(), HashMap::new());
        let (mut metadata, mut shards) = (None, Vec::<(String, Arc<Source>)>::new());
        for Part { name, source, header } in parts {
            for tensor in header.tensors {
                let at = tensors.len();
                if let Some(other) = index.insert(tensor.name.clone(), at) {
                    let other: &Tensor = &tensors[other];
                    let problem = format!("is also in {}", shards[other.shard].0);
                    return Err(Error::new(name, problem).about(Subject::Tensor(tensor.name)));
                }
                tensors.push(Tensor { shard: shards.len(), ..tensor });
            }
            metadata.get_or_insert(header.metadata);
            shards.push((name, Arc::new(source)));
        }
        let metadata = metadata.unwrap_or_default();
        let model = Model { name, metadata, tensors, index, shards, make: None };
        Ok(File { model: Arc::new(model) })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, tensors) = (self.metadata().iter().len(), self.tensors().len());
        write!(f, "File({}, {keys} keys, {tensors} tensors)", self.name())
    }
}

/// One file, read and checked by itself.
struct Part {
    name: String,
    source: Source,
    header: Header,
}

impl Part {
    fn open(path: &Path) -> Result<Part, Error> {
        Part::read(path.display().to_string(), Source::open(path)?)
    }

    /// Opens another file of a model in `count` files.
    fn open_beside(path: &Path, count: usize) -> Result<Part, Error> {
        if path.try_exists().is_ok_and(|exists| !exists) {
            let problem = format!(
                "no such file, but the model is in {count} files, which belong in one folder"
            );
            return Err(Error::new(path.display().to_string(), problem));
        }
        Part::open(path)
    }

    fn read(name: String, source: Source) -> Result<Part, Error> {
        let header = read(&name, source.bytes())?;
        Ok(Part { name, source, header })
    }

    fn split(&self) -> Result<Option<Split>, Error> {
        Split::of(&self.name, &self.header.metadata)
    }
}

/// A piece of a file. It keeps the file mapped for as long as it lives.
#[derive(Clone)]
pub struct Bytes {
    source: Arc<Source>,
    range: Range<usize>,
}

impl Bytes {
    fn of(source: Arc<Source>, range: Range<usize>) -> Bytes {
        let (end, file) = (range.end, source.bytes().len());
        assert!(range.start <= end && end <= file, "bytes {range:?} of a file of {file}");
        Bytes { source, range }
    }

    /// A piece of this piece, such as one expert of a stack.
    ///
    /// # Panics
    ///
    /// If the range does not lie within.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        let (end, len) = (range.end, self.range.len());
        assert!(range.start <= end && end <= len, "bytes {range:?} of a piece of {len}");
        let start = self.range.start;
        Bytes { source: Arc::clone(&self.source), range: start + range.start..start + range.end }
    }
}

impl From<Vec<u8>> for Bytes {
    /// Bytes that were made instead of read, such as a synthetic weight.
    fn from(bytes: Vec<u8>) -> Bytes {
        let range = 0..bytes.len();
        Bytes::of(Arc::new(Source::Memory(Cow::Owned(bytes))), range)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.source.bytes()[self.range.clone()]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({:?})", self.range)
    }
}
