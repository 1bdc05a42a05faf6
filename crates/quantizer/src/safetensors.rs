//! One safetensors file: its directory, checked, and reads of its tensors by range.
//!
//! ```text
//! byte 0..8      n, u64
//! byte 8..8+n    JSON: {name: {"dtype", "shape", "data_offsets": [begin, end)}};
//!                the name "__metadata__" is no tensor
//! the rest       data; offsets count from byte 8+n
//! ```
//!
//! The format demands that the tensors cover the data without overlap or gap, and that is checked
//! here, so that a cut or mixed-up download is found before anything is written. Names and types
//! mean nothing in this room; a type that it does not know is kept by its name, since files may
//! hold tensors that nobody asks for.
//!
//! The reader is our own and not the `safetensors` crate, whose checks want the whole file as one
//! slice (a memory map, which needs `unsafe`) and whose errors do not say which tensor is at fault.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, quote};

/// Largest header that is believed, as in the format's own implementation. The largest published
/// one, with 69,187 tensors in a single file, would be a tenth of it.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// Most dimensions that a tensor has.
const RANK_MAX: usize = 8;

/// The type of the stored numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
    /// FP8 with 4 exponent and 3 mantissa bits, no infinities.
    F8E4M3,
    /// A power of two as 8 exponent bits.
    F8E8M0,
    /// Signed bytes; in these checkpoints, two FP4 codes each.
    I8,
    I32,
    I64,
    /// Any other, by its name.
    Other(String),
}

impl Dtype {
    fn from_name(name: &str) -> Dtype {
        match name {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            "F8_E4M3" => Dtype::F8E4M3,
            "F8_E8M0" => Dtype::F8E8M0,
            "I8" => Dtype::I8,
            "I32" => Dtype::I32,
            "I64" => Dtype::I64,
            _ => Dtype::Other(name.to_owned()),
        }
    }

    /// Bytes of one number; `None` for types that are not known here.
    fn bytes(&self) -> Option<usize> {
        match self {
            Dtype::F8E4M3 | Dtype::F8E8M0 | Dtype::I8 => Some(1),
            Dtype::F16 | Dtype::Bf16 => Some(2),
            Dtype::F32 | Dtype::I32 => Some(4),
            Dtype::I64 => Some(8),
            Dtype::Other(_) => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dtype::F8E4M3 => f.write_str("F8_E4M3"),
            Dtype::F8E8M0 => f.write_str("F8_E8M0"),
            Dtype::Bf16 => f.write_str("BF16"),
            Dtype::Other(name) => f.write_str(&quote(name)),
            plain => write!(f, "{plain:?}"),
        }
    }
}

/// A tensor as the directory describes it; its bytes are known to be in the file.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    /// Slowest first: a matrix is `[out, in]`.
    pub shape: Vec<usize>,
    /// Where its bytes are, from the start of the file.
    pub range: Range<u64>,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Shard {
    name: String,
    // Positioned reads without a lock differ between operating systems; one thread reads anyway.
    file: Mutex<File>,
}

impl Shard {
    /// Opens a file and checks its directory. Tensors come in the order of their data.
    pub(crate) fn open(path: &Path) -> Result<(Shard, Vec<Tensor>), Error> {
        let doing = "could not open the file";
        let mut file = File::open(path).map_err(|error| Error::io(path, doing, error))?;
        let size = file.metadata().map_err(|error| Error::io(path, doing, error))?.len();
        let (data_start, header) = read_header(path, &mut file, size)?;
        let name = path.display().to_string();
        let mut tensors = Vec::with_capacity(header.0.len());
        for (tensor, entry) in header.0 {
            tensors.push(entry.checked(&name, tensor, data_start, size)?);
        }
        tensors.sort_by(|a, b| {
            (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name))
        });
        check_cover(&name, &tensors, data_start, size)?;
        check_names(&name, &tensors)?;
        Ok((Shard { name, file: Mutex::new(file) }, tensors))
    }

    /// The path, as it was given.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads a range of a tensor's bytes into `out`, which takes its length.
    pub(crate) fn read(
        &self,
        tensor: &Tensor,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (start, end) = (range.start as u64, range.end as u64);
        assert!(
            start <= end && end <= tensor.range.end - tensor.range.start,
            "bytes {start}..{end} of a tensor of {:?}",
            tensor.range
        );
        out.resize(range.len(), 0);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let sought = file.seek(SeekFrom::Start(tensor.range.start + start));
        sought.and_then(|_| file.read_exact(out)).map_err(|error| {
            Error::tensor(&self.name, &tensor.name, format!("could not read it: {error}"))
        })
    }
}

/// Where the data begins, and what the header says.
fn read_header(path: &Path, file: &mut File, size: u64) -> Result<(u64, Header), Error> {
    let mut count = [0; 8];
    if size < 8 {
        let problem = format!("{size} bytes are too few for a safetensors file; is it cut?");
        return Err(Error::file(path, problem));
    }
    let doing = "could not read the header";
    file.read_exact(&mut count).map_err(|error| Error::io(path, doing, error))?;
    let count = u64::from_le_bytes(count);
    if count > HEADER_BYTES_MAX || count > size - 8 {
        let most = HEADER_BYTES_MAX.min(size - 8);
        return Err(Error::file(
            path,
            format!(
                "expected a header of at most {most} bytes, found one of {count}; \
                 the file is cut or not safetensors"
            ),
        ));
    }
    let mut json = vec![0; count as usize];
    file.read_exact(&mut json).map_err(|error| Error::io(path, doing, error))?;
    let header = serde_json::from_slice(&json)
        .map_err(|error| Error::file(path, format!("the header is malformed: {error}")))?;
    Ok((8 + count, header))
}

/// Tensors, sorted by their data, must follow each other and fill the file.
fn check_cover(file: &str, tensors: &[Tensor], start: u64, size: u64) -> Result<(), Error> {
    let mut previous: Option<&Tensor> = None;
    for tensor in tensors {
        let expected = previous.map_or(start, |tensor| tensor.range.end);
        let found = tensor.range.start;
        if found != expected {
            let what = if found < expected { "overlaps" } else { "leaves a gap after" };
            let before = previous.map_or("the header".into(), |tensor| quote(&tensor.name));
            let problem = format!(
                "{what} {before}: expected its data at byte {expected} of the file, found {found}"
            );
            return Err(Error::tensor(file, &tensor.name, problem));
        }
        previous = Some(tensor);
    }
    let end = previous.map_or(start, |tensor| tensor.range.end);
    if end != size {
        let problem = format!("expected the data to end at byte {end}, found {size} bytes");
        return Err(Error::file(Path::new(file), problem));
    }
    Ok(())
}

fn check_names(file: &str, tensors: &[Tensor]) -> Result<(), Error> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::tensor(file, pair[0], "is in the header twice")),
        None => Ok(()),
    }
}

/// The header's entries in the order of the JSON, so that a name given twice is not lost.
struct Header(Vec<(String, Entry)>);

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Entry {
    /// The entry as a tensor whose bytes are in the file.
    fn checked(
        self,
        file: &str,
        name: String,
        data_start: u64,
        size: u64,
    ) -> Result<Tensor, Error> {
        let fail = |problem| Err(Error::tensor(file, &name, problem));
        let Entry { dtype, shape, data_offsets: [begin, end] } = self;
        let data_bytes = size - data_start;
        if begin > end || end > data_bytes {
            return fail(format!(
                "data offsets [{begin}, {end}] are not within the {data_bytes} bytes of data \
                 that the file has; is it cut?"
            ));
        }
        if shape.len() > RANK_MAX {
            let rank = shape.len();
            return fail(format!("expected at most {RANK_MAX} dimensions, found {rank}"));
        }
        let dtype = Dtype::from_name(&dtype);
        if let Some(bytes) = dtype.bytes() {
            let expected = shape.iter().try_fold(bytes as u64, |a, &b| a.checked_mul(b));
            if expected != Some(end - begin) {
                let found = end - begin;
                return fail(format!("{dtype} of shape {shape:?} cannot have {found} bytes"));
            }
        }
        let range = data_start + begin..data_start + end;
        Ok(Tensor { name, dtype, shape: shape.iter().map(|&d| d as usize).collect(), range })
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
