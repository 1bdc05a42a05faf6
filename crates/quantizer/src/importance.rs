//! Importance files: how much each column of a matrix matters, measured on text.
//!
//! For a matrix of `columns` inputs there is the mean square of each input, for a stack of experts
//! one such vector per expert. Two layouts are read:
//!
//! ```text
//! legacy   i32 entries; per entry: i32 length and bytes of a name, i32 calls, i32 count,
//!          f32[count] sums over the calls;  then, maybe: i32 chunks, i32 length and bytes of the
//!          name of a dataset
//! GGUF     per matrix NAME: NAME.in_sum2 [columns, experts] and NAME.counts [1, experts], F32
//! ```
//!
//! Only the directory is kept; vectors are read when their matrix is written, so a file of half a
//! gigabyte costs no memory. Whatever is not a non-negative number is refused then, by its place.

use std::collections::HashMap;
use std::fs;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gguf::{Format, Metadata};
use spec::Source;

use crate::error::{Error, quote};

/// What GGUF files begin with.
const GGUF_MAGIC: &[u8; 4] = b"GGUF";

/// More entries, or longer names, than any model has.
const ENTRIES_MAX: i32 = 1 << 20;
const NAME_BYTES_MAX: i32 = 4096;

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// An open importance file.
#[derive(Debug)]
pub struct Importance {
    path: PathBuf,
    entries: HashMap<String, Entry>,
    layout: Layout,
    dataset: Option<String>,
    chunks: Option<u64>,
}

#[derive(Debug)]
enum Layout {
    Legacy(Mutex<fs::File>),
    Gguf(gguf::File),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The first byte of the values in the file (legacy), or the number of the tensor.
    at: u64,
    /// Values of all experts together.
    count: usize,
    /// Sums were taken over so many calls.
    calls: f32,
}

/// Where the vector of one matrix is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    entry: Entry,
    /// The first value, counted from that of the entry.
    first: usize,
}

impl Importance {
    /// Opens a file in either layout and checks its directory.
    ///
    /// # Errors
    /// The file cannot be read, is cut, or is not an importance file.
    pub fn open(path: &Path) -> Result<Importance, Error> {
        let doing = "could not open the importance file";
        let mut file = fs::File::open(path).map_err(|error| Error::io(path, doing, error))?;
        let mut magic = Vec::new();
        let read = (&mut file).take(4).read_to_end(&mut magic);
        read.map_err(|error| Error::io(path, doing, error))?;
        if magic == GGUF_MAGIC {
            return Importance::from_gguf(path);
        }
        Importance::from_legacy(path, file)
    }

    /// How many matrices or stacks it has vectors for.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Says in the keys of an output what it was made with.
    pub(crate) fn note(&self, metadata: &mut Metadata) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        metadata.set("quantize.imatrix.file", name);
        if let Some(dataset) = &self.dataset {
            metadata.set("quantize.imatrix.dataset", dataset.as_str());
        }
        metadata.set("quantize.imatrix.entries_count", self.entries.len() as u64);
        if let Some(chunks) = self.chunks {
            metadata.set("quantize.imatrix.chunks_count", chunks);
        }
    }

    /// Finds the vector of a matrix: of an expert alone, of its stack, or under the name that the
    /// checkpoint has for it.
    ///
    /// # Errors
    /// What is there has neither the size of a vector nor of one per expert.
    pub(crate) fn find(
        &self,
        name: &str,
        source: &Source,
        expert: usize,
        experts: usize,
        columns: usize,
    ) -> Result<Option<Place>, Error> {
        let published = match source {
            Source::One(name) => name.clone(),
            Source::PerExpert { before, after } => format!("{before}{expert}{after}"),
        };
        let alone = [format!("{name}.expert.{expert}"), format!("{name}.expert_{expert}")];
        let names = alone.into_iter().chain([name.to_owned(), published]);
        let mut found = names.filter_map(|name| Some((self.entries.get(&name)?, name)));
        let Some((&entry, name)) = found.next() else { return Ok(None) };
        match entry.count {
            count if count == columns => Ok(Some(Place { entry, first: 0 })),
            count if Some(count) == columns.checked_mul(experts) => {
                Ok(Some(Place { entry, first: expert * columns }))
            }
            count => {
                let all = columns.saturating_mul(experts);
                let problem = match experts {
                    1 => format!("expected {columns} values, found {count}"),
                    _ => format!(
                        "expected {columns} values, or {all} for {experts} experts, found {count}"
                    ),
                };
                Err(self.error(&name, problem + "; was it measured on another model?"))
            }
        }
    }

    /// Reads a vector of so many columns: 1 in all of them for an expert that no token chose, which
    /// is what the legacy layout holds then. `None` if it says nothing, where all are zero.
    ///
    /// # Errors
    /// A value that is negative or no number, with its place in the file.
    pub(crate) fn read(&self, place: Place, columns: usize) -> Result<Option<Vec<f32>>, Error> {
        let Place { entry, first } = place;
        let (mut values, calls, start) = match &self.layout {
            Layout::Legacy(file) => {
                let start = entry.at + 4 * first as u64;
                (self.read_values(file, start, columns)?, entry.calls, start)
            }
            Layout::Gguf(file) => {
                let tensor = &file.tensors()[entry.at as usize];
                let bytes = file.bytes(tensor);
                let counts = floats(&file.bytes(counts(file, &tensor.name).expect("checked")));
                let expert = first / columns;
                let calls = counts.get(expert).or(counts.first()).copied().unwrap_or(0.0);
                let values = floats(&bytes[4 * first..][..4 * columns]);
                (values, calls, tensor.offset + 4 * first as u64)
            }
        };
        let wrong = |value: &f32| !(value.is_finite() && *value >= 0.0);
        if let Some(at) = values.iter().position(wrong) {
            let (byte, value) = (start + 4 * at as u64, values[at]);
            return Err(Error::file(
                &self.path,
                format!("byte {byte}: expected a number of at least 0, found {value}"),
            ));
        }
        if wrong(&calls) {
            let problem = format!("byte {start}: summed over {calls} calls");
            return Err(Error::file(&self.path, problem));
        }
        if matches!(self.layout, Layout::Gguf(_)) && calls == 0.0 {
            return Ok(Some(vec![1.0; columns]));
        }
        if calls > 0.0 {
            values.iter_mut().for_each(|value| *value /= calls);
        }
        Ok(values.iter().any(|value| *value > 0.0).then_some(values))
    }

    /// Reads every vector, which else are read one by one when they are needed.
    ///
    /// # Errors
    /// A value that is negative or no number, with its place in the file.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, &entry) in &self.entries {
            let experts = match &self.layout {
                Layout::Gguf(file) => {
                    counts(file, &format!("{name}{SUMS}")).map(|t| t.value_count())
                }
                Layout::Legacy(_) => None,
            };
            let columns = entry.count / experts.unwrap_or(1).max(1);
            for first in (0..entry.count).step_by(columns.max(1)) {
                self.read(Place { entry, first }, columns)?;
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, entry: &str, problem: String) -> Error {
        Error::file(&self.path, format!("entry {}: {problem}", quote(entry)))
    }

    fn read_values(
        &self,
        file: &Mutex<fs::File>,
        start: u64,
        count: usize,
    ) -> Result<Vec<f32>, Error> {
        let mut bytes = vec![0; 4 * count];
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let sought = file.seek(SeekFrom::Start(start));
        let read = sought.and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|error| Error::io(&self.path, "could not read the importance file", error))?;
        Ok(floats(&bytes))
    }

    fn from_legacy(path: &Path, file: fs::File) -> Result<Importance, Error> {
        let mut reader = Legacy::new(path, file)?;
        let mut entries = HashMap::new();
        let count = reader.integer("number of entries", 1, ENTRIES_MAX)?;
        for _ in 0..count {
            let start = reader.at;
            let length = reader.integer("length of a name", 1, NAME_BYTES_MAX)?;
            let name = reader.text(length, "a name")?;
            let calls = reader.integer("number of calls", 0, i32::MAX)? as f32;
            let count = reader.integer("number of values", 1, i32::MAX)? as usize;
            let entry = Entry { at: reader.at, count, calls };
            reader.skip(4 * count as u64, &format!("the values of {}", quote(&name)))?;
            if entries.insert(name.clone(), entry).is_some() {
                let problem = format!("byte {start}: entry {} is there twice", quote(&name));
                return Err(Error::file(path, problem));
            }
        }
        let (mut chunks, mut dataset) = (None, None);
        if reader.at < reader.size {
            chunks = Some(reader.integer("number of chunks", 0, i32::MAX)? as u64);
            let length = reader.integer("length of the dataset's name", 0, NAME_BYTES_MAX)?;
            dataset = Some(reader.text(length, "the dataset's name")?);
        }
        if reader.at < reader.size {
            let (at, size) = (reader.at, reader.size);
            let problem = format!("byte {at}: expected the end of the file, which has {size}");
            return Err(Error::file(path, problem));
        }
        let layout = Layout::Legacy(Mutex::new(reader.file.into_inner()));
        Ok(Importance { path: path.into(), entries, layout, dataset, chunks })
    }

    fn from_gguf(path: &Path) -> Result<Importance, Error> {
        let file = gguf::File::open(path)?;
        let mut entries = HashMap::new();
        for (at, tensor) in file.tensors().iter().enumerate() {
            let Some(name) = tensor.name.strip_suffix(SUMS) else { continue };
            let fail = |problem| Err(Error::tensor(file.name(), &tensor.name, problem));
            let Some(counts) = counts(&file, &tensor.name) else {
                return fail(format!("there is no {} with it", quote(&format!("{name}{COUNTS}"))));
            };
            if tensor.format != Format::F32 || counts.format != Format::F32 {
                let (sums, counts) = (tensor.format, counts.format);
                return fail(format!("expected F32 sums and counts, found {sums} and {counts}"));
            }
            let (matrices, found) = (tensor.row_count(), counts.value_count());
            if found != matrices {
                return fail(format!("{matrices} matrices, but counts for {found}"));
            }
            let entry = Entry { at: at as u64, count: tensor.value_count(), calls: 0.0 };
            entries.insert(name.to_owned(), entry);
        }
        if entries.is_empty() {
            let problem = format!("has no tensor {SUMS}, expected an importance file");
            return Err(Error::file(path, problem));
        }
        let get = |key: &str| file.metadata().get(&format!("imatrix.{key}"));
        let chunks = get("chunk_count").and_then(gguf::Value::as_u64);
        let datasets = get("datasets").and_then(gguf::Value::as_strings);
        let dataset = datasets.map(|names| names.join(", "));
        let layout = Layout::Gguf(file);
        Ok(Importance { path: path.into(), entries, layout, dataset, chunks })
    }
}

/// The counts that belong to a tensor of sums.
fn counts<'a>(file: &'a gguf::File, sums: &str) -> Option<&'a gguf::Tensor> {
    file.tensor(&format!("{}{COUNTS}", sums.strip_suffix(SUMS)?))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Reads the legacy layout from front to back.
struct Legacy<'a> {
    path: &'a Path,
    file: BufReader<fs::File>,
    size: u64,
    at: u64,
}

impl<'a> Legacy<'a> {
    fn new(path: &'a Path, mut file: fs::File) -> Result<Legacy<'a>, Error> {
        let doing = "could not read the importance file";
        let size = file.metadata().and_then(|found| file.rewind().map(|()| found.len()));
        let size = size.map_err(|error| Error::io(path, doing, error))?;
        Ok(Legacy { path, file: BufReader::new(file), size, at: 0 })
    }

    /// Fails if fewer than `count` bytes are left.
    fn need(&self, count: u64, what: &str) -> Result<(), Error> {
        let left = self.size - self.at;
        if count <= left {
            return Ok(());
        }
        let at = self.at;
        let problem = format!(
            "byte {at}: expected {count} bytes for {what}, found {left}; \
             the file is cut or no importance file"
        );
        Err(Error::file(self.path, problem))
    }

    fn bytes(&mut self, count: usize, what: &str) -> Result<Vec<u8>, Error> {
        self.need(count as u64, what)?;
        let mut bytes = vec![0; count];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|e| Error::io(self.path, "could not read the importance file", e))?;
        self.at += count as u64;
        Ok(bytes)
    }

    fn integer(&mut self, what: &str, low: i32, high: i32) -> Result<i32, Error> {
        let at = self.at;
        let bytes = self.bytes(4, &format!("the {what}"))?;
        let value = i32::from_le_bytes(bytes.try_into().expect("four bytes"));
        if (low..=high).contains(&value) {
            return Ok(value);
        }
        let problem = format!(
            "byte {at}: expected a {what} from {low} to {high}, found {value}; \
             is it an importance file?"
        );
        Err(Error::file(self.path, problem))
    }

    fn text(&mut self, length: i32, what: &str) -> Result<String, Error> {
        let at = self.at;
        let bytes = self.bytes(length as usize, what)?;
        String::from_utf8(bytes)
            .map_err(|_| Error::file(self.path, format!("byte {at}: expected {what} in UTF-8")))
    }

    fn skip(&mut self, count: u64, what: &str) -> Result<(), Error> {
        self.need(count, what)?;
        let sought = self.file.seek_relative(count as i64);
        sought.map_err(|e| Error::io(self.path, "could not read the importance file", e))?;
        self.at += count;
        Ok(())
    }
}
