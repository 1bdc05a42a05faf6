//! Reads the header of one file: preamble, metadata, tensor directory. All little endian, nothing
//! padded; a string is its u64 byte length and then UTF-8.
//!
//! ```text
//! "GGUF"  u32 version = 3  u64 tensor count  u64 key count
//! for each key:     string key   u32 value type  value
//! for each tensor:  string name  u32 rank        u64 dims[rank]  u32 format  u64 offset
//! zeros up to a multiple of the alignment, then the data that the offsets count from
//! ```
//!
//! Nothing that the file says is believed before it is checked: a count is compared with what the
//! rest of the file could hold before anything is allocated for it, a tensor with the end of the
//! file and with its neighbours before it is listed. What a file may *mean* is not decided here.
//! Start with [`read`].

use std::collections::HashSet;

use crate::error::{Error, Subject, quote};
use crate::format::Format;
use crate::sniff;
use crate::tensor::{ALIGNMENT_KEY, RANK_MAX, Tensor, alignment, byte_count};
use crate::value::{Array, Metadata, Value, ValueType};

const MAGIC: &[u8; 4] = b"GGUF";
pub(crate) const VERSION: u32 = 3;

/// No header is longer than this. The largest real ones (two vocabularies of 130,000 strings) take
/// 10 MB; the limit keeps a hostile file of a terabyte from filling memory with empty strings.
const HEADER_BYTES_MAX: usize = 256 << 20;

/// The least that a key takes in a file: empty name, type, one byte.
const KEY_BYTES_MIN: u64 = 8 + 4 + 1;

/// The least that a tensor takes in a file: empty name, rank 1, format, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;

/// What a file says about itself.
#[derive(Debug)]
pub(crate) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<Tensor>,
}

/// Reads and checks the header of the file `bytes`, called `file` in messages.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Header, Error> {
    check_magic(file, bytes)?;
    let mut cursor = Cursor::new(file, bytes);
    cursor.at = MAGIC.len();
    cursor.version()?;
    let tensor_count = cursor.count("tensors", TENSOR_BYTES_MIN)?;
    let key_count = cursor.count("keys", KEY_BYTES_MIN)?;
    let metadata = cursor.metadata(key_count)?;
    let alignment = alignment(&metadata).map_err(|problem| {
        Error::new(file, problem).about(Subject::Key(ALIGNMENT_KEY.to_owned()))
    })?;
    let entries = cursor.entries(tensor_count)?;
    let (data_start, file_bytes) = ((cursor.at as u64).next_multiple_of(alignment), bytes.len());
    let tensors: Vec<Tensor> = entries
        .into_iter()
        .map(|entry| place(file, entry, data_start, alignment, file_bytes as u64))
        .collect::<Result<_, _>>()?;
    check_overlaps(file, &tensors)?;
    Ok(Header { metadata, tensors })
}

fn check_magic(file: &str, bytes: &[u8]) -> Result<(), Error> {
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    if bytes.is_empty() {
        return Err(Error::new(file, "the file is empty, expected a GGUF file"));
    }
    if bytes.starts_with(b"FUGG") {
        return Err(Error::new(file, "is a big-endian GGUF file, expected little-endian"));
    }
    let problem = match sniff::looks_like(bytes) {
        Some(kind) => format!("not a GGUF file, it {kind}"),
        None => {
            let found = bytes[..bytes.len().min(MAGIC.len())].escape_ascii();
            format!("not a GGUF file: expected to begin with 'GGUF', found '{found}'")
        }
    };
    Err(Error::new(file, problem).at(0))
}

/// A tensor of the directory, not yet placed in the file.
struct Entry {
    name: String,
    dims: Vec<usize>,
    format: Format,
    byte_count: usize,
    /// From the start of the data.
    offset: u64,
    /// Where in the file the offset is written, for messages.
    offset_at: usize,
}

/// Gives a tensor its place counted from the start of the file, if it lies within.
fn place(
    file: &str,
    entry: Entry,
    data_start: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<Tensor, Error> {
    let Entry { name, dims, format, byte_count, offset, offset_at } = entry;
    let fail = |name, problem| {
        Err(Error::new(file, problem).about(Subject::Tensor(name)).at(offset_at as u64))
    };
    if !offset.is_multiple_of(alignment) {
        let problem = format!("expected an offset in multiples of {alignment}, found {offset}");
        return fail(name, problem);
    }
    let fits =
        |start: &u64| start.checked_add(byte_count as u64).is_some_and(|end| end <= file_bytes);
    let Some(start) = data_start.checked_add(offset).filter(fits) else {
        let problem = format!(
            "expected {byte_count} bytes at offset {offset} of the data, which starts at byte \
             {data_start}, but the file ends at byte {file_bytes}; it may be incomplete"
        );
        return fail(name, problem);
    };
    Ok(Tensor { name, dims, format, offset: start, byte_count, shard: 0 })
}

fn check_overlaps(file: &str, tensors: &[Tensor]) -> Result<(), Error> {
    let end = |tensor: &Tensor| tensor.offset + tensor.byte_count as u64;
    let mut by_place: Vec<&Tensor> = tensors.iter().collect();
    by_place.sort_by_key(|tensor| (tensor.offset, end(tensor)));
    for pair in by_place.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        if end(before) > after.offset {
            let (other, end) = (quote(&before.name), end(before));
            let problem = format!("shares bytes with tensor {other}, which ends at byte {end}");
            let subject = Subject::Tensor(after.name.clone());
            return Err(Error::new(file, problem).about(subject).at(after.offset));
        }
    }
    Ok(())
}

/// A place in the header, and what is being read there.
struct Cursor<'a> {
    file: &'a str,
    /// The whole file.
    bytes: &'a [u8],
    at: usize,
    subject: Subject,
}

impl<'a> Cursor<'a> {
    fn new(file: &'a str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { file, bytes, at: 0, subject: Subject::File }
    }

    fn version(&mut self) -> Result<(), Error> {
        let at = self.at;
        let version = self.number(u32::from_le_bytes)?;
        let problem = match version {
            VERSION => return Ok(()),
            1 | 2 => format!(
                "expected GGUF version {VERSION}, found version {version}, which is obsolete; \
                 convert the model again with current tools"
            ),
            _ if (1..=VERSION).contains(&version.swap_bytes()) => {
                "is a big-endian GGUF file, expected little-endian".to_owned()
            }
            _ => format!("expected GGUF version {VERSION}, found {version}"),
        };
        Err(self.error(at, problem))
    }

    /// A number of things that take at least `bytes_min` each.
    fn count(&mut self, what: &str, bytes_min: u64) -> Result<usize, Error> {
        let at = self.at;
        let count = self.number(u64::from_le_bytes)?;
        let most = self.remaining() as u64 / bytes_min;
        if count > most {
            let problem =
                format!("expected at most {most} {what} in the rest of the file, found {count}");
            return Err(self.error(at, problem));
        }
        Ok(count as usize)
    }

    fn metadata(&mut self, count: usize) -> Result<Metadata, Error> {
        let mut metadata = Metadata::new();
        for _ in 0..count {
            self.subject = Subject::File;
            let at = self.at;
            let key = self.string()?;
            self.subject = Subject::Key(key.to_owned());
            if metadata.get(key).is_some() {
                return Err(self.error(at, "expected every key once, found this one again"));
            }
            let value = self.value()?;
            metadata.set(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self) -> Result<Value, Error> {
        Ok(match self.value_type()? {
            ValueType::U8 => Value::U8(self.number(u8::from_le_bytes)?),
            ValueType::I8 => Value::I8(self.number(i8::from_le_bytes)?),
            ValueType::U16 => Value::U16(self.number(u16::from_le_bytes)?),
            ValueType::I16 => Value::I16(self.number(i16::from_le_bytes)?),
            ValueType::U32 => Value::U32(self.number(u32::from_le_bytes)?),
            ValueType::I32 => Value::I32(self.number(i32::from_le_bytes)?),
            ValueType::F32 => Value::F32(self.number(f32::from_le_bytes)?),
            ValueType::Bool => Value::Bool(self.bool()?),
            ValueType::String => Value::String(self.string()?.to_owned()),
            ValueType::Array => Value::Array(self.array()?),
            ValueType::U64 => Value::U64(self.number(u64::from_le_bytes)?),
            ValueType::I64 => Value::I64(self.number(i64::from_le_bytes)?),
            ValueType::F64 => Value::F64(self.number(f64::from_le_bytes)?),
        })
    }

    fn array(&mut self) -> Result<Array, Error> {
        let at = self.at;
        let element = self.value_type()?;
        if element == ValueType::Array {
            return Err(self.error(at, "expected an array of scalars or strings, found arrays"));
        }
        let count = self.count("array elements", element.bytes_min())?;
        Ok(match element {
            ValueType::U8 => Array::U8(self.numbers(count, u8::from_le_bytes)?),
            ValueType::I8 => Array::I8(self.numbers(count, i8::from_le_bytes)?),
            ValueType::U16 => Array::U16(self.numbers(count, u16::from_le_bytes)?),
            ValueType::I16 => Array::I16(self.numbers(count, i16::from_le_bytes)?),
            ValueType::U32 => Array::U32(self.numbers(count, u32::from_le_bytes)?),
            ValueType::I32 => Array::I32(self.numbers(count, i32::from_le_bytes)?),
            ValueType::F32 => Array::F32(self.numbers(count, f32::from_le_bytes)?),
            ValueType::U64 => Array::U64(self.numbers(count, u64::from_le_bytes)?),
            ValueType::I64 => Array::I64(self.numbers(count, i64::from_le_bytes)?),
            ValueType::F64 => Array::F64(self.numbers(count, f64::from_le_bytes)?),
            ValueType::Bool => Array::Bool(self.each(count, Cursor::bool)?),
            ValueType::String => {
                Array::String(self.each(count, |cursor| Ok(cursor.string()?.to_owned()))?)
            }
            ValueType::Array => unreachable!("refused above"),
        })
    }

    fn value_type(&mut self) -> Result<ValueType, Error> {
        let at = self.at;
        let id = self.number(u32::from_le_bytes)?;
        ValueType::from_id(id).ok_or_else(|| {
            self.error(at, format!("expected a value type from 0 to 12, found {id}"))
        })
    }

    fn entries(&mut self, count: usize) -> Result<Vec<Entry>, Error> {
        let mut names = HashSet::with_capacity(count);
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            self.subject = Subject::File;
            let at = self.at;
            let name = self.string()?;
            self.subject = Subject::Tensor(name.to_owned());
            if !names.insert(name) {
                return Err(self.error(at, "expected every tensor once, found this one again"));
            }
            entries.push(self.entry(name)?);
        }
        Ok(entries)
    }

    fn entry(&mut self, name: &str) -> Result<Entry, Error> {
        let shape_at = self.at;
        let rank = self.number(u32::from_le_bytes)?;
        if rank == 0 || rank as usize > RANK_MAX {
            let problem = format!("expected 1 to {RANK_MAX} dimensions, found {rank}");
            return Err(self.error(shape_at, problem));
        }
        let dims = self.each(rank as usize, |cursor| {
            let at = cursor.at;
            let size = cursor.number(u64::from_le_bytes)?;
            let unfit = |_| cursor.error(at, format!("dimension {size} is out of range"));
            usize::try_from(size).map_err(unfit)
        })?;
        let format = Format::from_id(self.number(u32::from_le_bytes)?);
        let byte_count =
            byte_count(&dims, format).map_err(|problem| self.error(shape_at, problem))?;
        let offset_at = self.at;
        let offset = self.number(u64::from_le_bytes)?;
        Ok(Entry { name: name.to_owned(), dims, format, byte_count, offset, offset_at })
    }

    fn string(&mut self) -> Result<&'a str, Error> {
        let length = self.count("bytes of a string", 1)?;
        let start = self.at;
        let bytes = self.take(length)?;
        str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            self.error(start + at, format!("expected UTF-8, found byte 0x{:02x}", bytes[at]))
        })
    }

    fn bool(&mut self) -> Result<bool, Error> {
        let at = self.at;
        match self.number(u8::from_le_bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.error(at, format!("expected 0 or 1 as a bool, found {other}"))),
        }
    }

    /// `count` elements that each know how to read themselves; the caller has checked the count.
    fn each<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(elements)
    }

    fn number<T, const N: usize>(&mut self, from: impl Fn([u8; N]) -> T) -> Result<T, Error> {
        let bytes = self.take(N)?;
        Ok(from(bytes.try_into().expect("as many bytes as were asked for")))
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: usize,
        from: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        let bytes = self.take(count * N)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|bytes| from(*bytes)).collect())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let remaining = self.remaining();
        if count > remaining {
            let end = match self.at + remaining {
                end if end == self.bytes.len() => "file",
                _ => "longest header that is read",
            };
            let problem =
                format!("expected {count} bytes, found {remaining} before the end of the {end}");
            return Err(self.error(self.at, problem));
        }
        let bytes = &self.bytes[self.at..][..count];
        self.at += count;
        Ok(bytes)
    }

    /// Bytes that the header may still take.
    fn remaining(&self) -> usize {
        self.bytes.len().min(HEADER_BYTES_MAX) - self.at
    }

    fn error(&self, at: usize, problem: impl Into<String>) -> Error {
        Error::new(self.file, problem).about(self.subject.clone()).at(at as u64)
    }
}
