//! Writes GGUF files.
//!
//! The header is known before the first tensor byte, so a file of any size is written in one pass
//! with constant memory. Nothing appears under the final path before [`Writer::finish`]: the bytes
//! go to a temporary file beside it, which is renamed when it is complete and on the disk, and
//! removed if the writer is dropped earlier.
//!
//! A file that takes hours may be begun under a name of its own instead ([`Writer::begin`]), where
//! it stays whatever happens, and gone on with ([`Writer::go_on`]). How much of it can be relied on
//! after a crash is what [`Writer::sync`] has waited for; to remember that is the caller's.
//!
//! For a model in several files, write each with the three `split.*` keys under the path that
//! [`crate::shard_path`] gives.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Subject};
use crate::format::Format;
use crate::read::VERSION;
use crate::tensor::{ALIGNMENT_KEY, TensorPlan, alignment, byte_count};
use crate::value::{Array, Metadata, Value};

const CREATE: &str = "could not create the file";

/// Bytes collected before they are handed to the operating system.
const BUFFER_BYTES: usize = 1 << 20;

/// Where the bytes are until they are complete.
#[derive(Debug)]
enum Place {
    /// In a file that is removed if it never is.
    Temporary(NamedTempFile<fs::File>),
    /// In a file that stays.
    Kept(fs::File, PathBuf),
}

impl Place {
    fn file(&mut self) -> &mut fs::File {
        match self {
            Place::Temporary(file) => file.as_file_mut(),
            Place::Kept(file, _) => file,
        }
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for Place {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file().seek(to)
    }
}

/// A file in the making.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<Place>,
    alignment: usize,
    /// Name and byte count of every tensor.
    tensors: Vec<(String, usize)>,
    /// The tensor that the next byte belongs to, and how many of its bytes have come.
    at: usize,
    written: usize,
}

impl Writer {
    /// Plans a file and writes its header. The data of the tensors must follow, in this order.
    pub fn create(path: &Path, metadata: &Metadata, plans: &[TensorPlan]) -> Result<Writer, Error> {
        let file = temporary_beside(path)
            .map_err(|error| Error::io(path.display().to_string(), CREATE, error))?;
        let (mut writer, header) = Writer::new(path, Place::Temporary(file), metadata, plans)?;
        writer.put(&header)?;
        Ok(writer)
    }

    /// The same; until it is complete the file is at `kept`, and stays there if it never is. What
    /// was there before is lost.
    ///
    /// # Errors
    /// As for [`Writer::create`]; another process writes there.
    pub fn begin(
        path: &Path,
        kept: &Path,
        metadata: &Metadata,
        plans: &[TensorPlan],
    ) -> Result<Writer, Error> {
        let file = open_kept(kept, true)?;
        let fail = |error| Error::io(kept.display().to_string(), CREATE, error);
        file.set_len(0).map_err(fail)?;
        let place = Place::Kept(file, kept.into());
        let (mut writer, header) = Writer::new(path, place, metadata, plans)?;
        writer.put(&header)?;
        Ok(writer)
    }

    /// Goes on with a file that was begun with the same plan, behind the first `byte_count` bytes
    /// of tensor data. What is there behind them is cut off.
    ///
    /// # Errors
    /// As for [`Writer::begin`]; there is no such file, it was begun with another plan, or has
    /// fewer bytes.
    pub fn go_on(
        path: &Path,
        kept: &Path,
        metadata: &Metadata,
        plans: &[TensorPlan],
        byte_count: u64,
    ) -> Result<Writer, Error> {
        let name = kept.display().to_string();
        let fail = |error| Error::io(&name, "could not go on with the file", error);
        let file = open_kept(kept, false)?;
        let place = Place::Kept(file, kept.into());
        let (mut writer, header) = Writer::new(path, place, metadata, plans)?;
        let mut found = Vec::new();
        let file = &mut *writer.file.get_mut().file();
        file.take(header.len() as u64).read_to_end(&mut found).map_err(fail)?;
        if found != header {
            return Err(Error::new(name, "was begun with other tensors or keys"));
        }
        let end = header.len() as u64 + writer.skip(byte_count)?;
        let file = writer.file.get_mut().file();
        let length = file.metadata().map_err(fail)?.len();
        if length < end {
            let problem = format!("expected {end} bytes that were complete, found {length}");
            return Err(Error::new(name, problem));
        }
        file.set_len(end).map_err(fail)?;
        file.seek(SeekFrom::Start(end)).map_err(fail)?;
        Ok(writer)
    }

    /// A writer at its beginning, and the header with its padding.
    fn new(
        path: &Path,
        place: Place,
        metadata: &Metadata,
        plans: &[TensorPlan],
    ) -> Result<(Writer, Vec<u8>), Error> {
        let name = path.display().to_string();
        let alignment = checked_alignment(&name, metadata)?;
        let tensors = sizes(&name, plans)?;
        let mut header = header(metadata, plans, &tensors, alignment);
        header.resize(header.len().next_multiple_of(alignment), 0);
        let file = BufWriter::with_capacity(BUFFER_BYTES, place);
        Ok((Writer { path: path.into(), file, alignment, tensors, at: 0, written: 0 }, header))
    }

    /// Notes that the first `count` bytes of tensor data are there; the bytes that they take in the
    /// file, with padding.
    fn skip(&mut self, mut count: u64) -> Result<u64, Error> {
        let mut end = 0;
        while count > 0 {
            let Some((_, size)) = self.tensors.get(self.at) else {
                return Err(self.error(format!("{count} bytes more than its tensors hold")));
            };
            let size = *size as u64;
            if count < size {
                self.written = count as usize;
                return Ok(end + count);
            }
            (count, self.at) = (count - size, self.at + 1);
            end += size.next_multiple_of(self.alignment as u64);
        }
        Ok(end)
    }

    /// Waits until the disk has all bytes that were given so far.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn sync(&mut self) -> Result<(), Error> {
        let flushed = self.file.flush();
        let synced = flushed.and_then(|()| self.file.get_mut().file().sync_data());
        synced.map_err(|error| {
            Error::io(self.path.display().to_string(), "could not write the file", error)
        })
    }

    /// Bytes of the whole file that such a plan becomes: header, tensors and padding.
    ///
    /// # Errors
    /// As for [`Writer::create`], short of those of the disk.
    pub fn file_bytes(metadata: &Metadata, plans: &[TensorPlan]) -> Result<u64, Error> {
        let name = "the planned file";
        let alignment = checked_alignment(name, metadata)?;
        let tensors = sizes(name, plans)?;
        let header = header(metadata, plans, &tensors, alignment).len();
        let sizes = tensors.iter().map(|(_, size)| *size).chain([header]);
        Ok(sizes.map(|size| size.next_multiple_of(alignment) as u64).sum())
    }

    /// Appends tensor data: the bytes of all tensors, one after the other, in pieces of any size.
    /// The padding between tensors is added here.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.room(bytes.len())?);
            self.put(piece)?;
            self.advance(piece.len())?;
            bytes = rest;
        }
        Ok(())
    }

    /// Appends `count` zero bytes of tensor data as a hole, which takes no space on disks that can
    /// store files sparsely: a full-size directory without full-size data.
    pub fn write_zeros(&mut self, mut count: usize) -> Result<(), Error> {
        while count > 0 {
            let piece = self.room(count)?;
            let sought = self.file.seek(SeekFrom::Current(piece as i64));
            sought.map_err(|error| {
                Error::io(self.path.display().to_string(), "could not extend the file", error)
            })?;
            self.advance(piece)?;
            count -= piece;
        }
        Ok(())
    }

    /// How many of the next `count` bytes belong to the current tensor; at least one.
    fn room(&self, count: usize) -> Result<usize, Error> {
        match self.tensors.get(self.at) {
            Some((_, size)) => Ok(count.min(size - self.written)),
            None => Err(self.error(format!("{count} bytes more than its tensors hold"))),
        }
    }

    /// Notes that `count` bytes of the current tensor have come.
    fn advance(&mut self, count: usize) -> Result<(), Error> {
        let size = self.tensors[self.at].1;
        self.written += count;
        if self.written == size {
            self.pad(size)?;
            (self.at, self.written) = (self.at + 1, 0);
        }
        Ok(())
    }

    /// Checks that every tensor has all its bytes, waits until the disk has them, and gives the
    /// file its name, replacing one that may be there.
    pub fn finish(self) -> Result<(), Error> {
        if let Some((tensor, size)) = self.tensors.get(self.at) {
            let problem = format!("expected {size} bytes, got {}", self.written);
            return Err(self.error(problem).about(Subject::Tensor(tensor.clone())));
        }
        let name = self.path.display().to_string();
        let fail = |error| Error::io(&name, "could not finish the file", error);
        let mut place = self.file.into_inner().map_err(|error| fail(error.into_error()))?;
        // A hole at the end is only there once the file has its length.
        let end = place.stream_position().map_err(fail)?;
        place.file().set_len(end).map_err(fail)?;
        place.file().sync_all().map_err(fail)?;
        match place {
            Place::Temporary(file) => drop(file.persist(&self.path).map_err(|e| fail(e.error))?),
            Place::Kept(_, kept) => fs::rename(kept, &self.path).map_err(fail)?,
        }
        // Best effort: the rename itself reaches the disk with the folder, where folders can be
        // synchronized at all.
        if let Ok(folder) = fs::File::open(folder_of(&self.path)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| {
            Error::io(self.path.display().to_string(), "could not write the file", error)
        })
    }

    fn pad(&mut self, size: usize) -> Result<(), Error> {
        let padding = size.next_multiple_of(self.alignment) - size;
        self.put(&vec![0; padding])
    }

    fn error(&self, problem: String) -> Error {
        Error::new(self.path.display().to_string(), problem)
    }
}

/// The alignment that the keys ask for, in bytes.
fn checked_alignment(file: &str, metadata: &Metadata) -> Result<usize, Error> {
    let problem = |problem| Error::new(file, problem).about(Subject::Key(ALIGNMENT_KEY.to_owned()));
    alignment(metadata).map(|alignment| alignment as usize).map_err(problem)
}

/// Name and byte count of every tensor.
fn sizes(file: &str, plans: &[TensorPlan]) -> Result<Vec<(String, usize)>, Error> {
    let mut names = HashSet::new();
    let mut sizes = Vec::with_capacity(plans.len());
    for TensorPlan { name, dims, format } in plans {
        let fail = |problem| Error::new(file, problem).about(Subject::Tensor(name.clone()));
        if let Format::Unknown(_) = format {
            return Err(fail(format!("cannot write {format}, whose size is not known")));
        }
        if !names.insert(name) {
            return Err(fail("planned twice".to_owned()));
        }
        sizes.push((name.clone(), byte_count(dims, *format).map_err(fail)?));
    }
    Ok(sizes)
}

fn header(
    metadata: &Metadata,
    plans: &[TensorPlan],
    tensors: &[(String, usize)],
    alignment: usize,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(b"GGUF");
    out.extend(VERSION.to_le_bytes());
    out.extend((plans.len() as u64).to_le_bytes());
    out.extend((metadata.iter().len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        put_string(&mut out, key);
        out.extend(value.value_type().id().to_le_bytes());
        put_value(&mut out, value);
    }
    let mut offset = 0;
    for (plan, (_, size)) in plans.iter().zip(tensors) {
        put_string(&mut out, &plan.name);
        out.extend((plan.dims.len() as u32).to_le_bytes());
        out.extend(plan.dims.iter().flat_map(|&size| (size as u64).to_le_bytes()));
        out.extend(plan.format.id().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += size.next_multiple_of(alignment);
    }
    out
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => out.extend(value.to_le_bytes()),
        Value::I8(value) => out.extend(value.to_le_bytes()),
        Value::U16(value) => out.extend(value.to_le_bytes()),
        Value::I16(value) => out.extend(value.to_le_bytes()),
        Value::U32(value) => out.extend(value.to_le_bytes()),
        Value::I32(value) => out.extend(value.to_le_bytes()),
        Value::F32(value) => out.extend(value.to_le_bytes()),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::String(value) => put_string(out, value),
        Value::Array(array) => put_array(out, array),
        Value::U64(value) => out.extend(value.to_le_bytes()),
        Value::I64(value) => out.extend(value.to_le_bytes()),
        Value::F64(value) => out.extend(value.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.element_type().id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(values) => out.extend(values),
        Array::I8(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::U16(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::I16(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::U32(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::I32(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::F32(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::U64(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::I64(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::F64(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Array::Bool(values) => out.extend(values.iter().map(|&value| u8::from(value))),
        Array::String(values) => values.iter().for_each(|value| put_string(out, value)),
    }
}

/// A temporary file in the folder of `path`, with the permissions that any new file gets.
fn temporary_beside(path: &Path) -> std::io::Result<NamedTempFile<fs::File>> {
    let create = |path: &Path| fs::File::options().write(true).create_new(true).open(path);
    tempfile::Builder::new().prefix(".gguf-").suffix(".tmp").make_in(folder_of(path), create)
}

/// Opens a file that stays, for one process at a time where the system can tell.
fn open_kept(kept: &Path, create: bool) -> Result<fs::File, Error> {
    let name = kept.display().to_string();
    let mut options = fs::File::options();
    let file = options.read(true).write(true).create(create).truncate(false).open(kept);
    let file = file.map_err(|error| Error::io(&name, CREATE, error))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Error::new(name, "another process writes it")),
        _ => Ok(file),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
