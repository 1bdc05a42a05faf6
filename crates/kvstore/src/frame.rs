//! How every file of the store begins: what it is, which version, how long, and a checksum.
//!
//! ```text
//!  0  8  magic
//!  8  4  u32 version
//! 12  4  u32 count        how many entries follow, of what the file lists
//! 16  8  u64 file bytes   the whole file's length
//! 24 32  BLAKE3           of the head of the file, these 32 bytes left out
//! 56     ...
//! ```
//!
//! These 56 bytes are the same in every version. What the head is, besides them, says each format:
//! all of a manifest, the directory of a pack. Numbers are little-endian.

use std::path::Path;

use crate::error::Error;

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Bytes of a frame.
pub const BYTES: usize = 56;

const CHECKSUM_AT: usize = 24;

/// What a file says about itself first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub version: u32,
    pub count: usize,
    pub file_bytes: u64,
}

/// Puts a frame before `body`. `more` bytes will follow that are not part of the head.
pub fn seal(magic: &[u8; 8], count: usize, body: &[u8], more: u64) -> Vec<u8> {
    let count = u32::try_from(count).expect("entries are bounded far below 2^32");
    let mut head = Vec::with_capacity(BYTES + body.len());
    head.extend_from_slice(magic);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    head.extend_from_slice(&((BYTES + body.len()) as u64 + more).to_le_bytes());
    head.extend_from_slice(&[0; 32]);
    head.extend_from_slice(body);
    let checksum = checksum(&head);
    head[CHECKSUM_AT..BYTES].copy_from_slice(&checksum);
    head
}

/// Reads a frame, of any version. The checksum is not looked at: see [`verify`].
pub fn read(path: &Path, magic: &[u8; 8], bytes: &[u8], file_bytes: u64) -> Result<Frame, Error> {
    if bytes.len() < BYTES {
        let problem = format!("expected {BYTES} bytes at least, found {}", bytes.len());
        return Err(Error::damaged(path, problem));
    }
    if &bytes[..8] != magic {
        let (want, found) = (magic.escape_ascii(), bytes[..8].escape_ascii());
        return Err(Error::damaged(
            path,
            format!("expected to begin with '{want}', found '{found}'"),
        ));
    }
    let (version, count) = (u32_at(bytes, 8), u32_at(bytes, 12) as usize);
    let frame = Frame { version, count, file_bytes: u64_at(bytes, 16) };
    if frame.file_bytes != file_bytes {
        let problem = format!("expected {} bytes, found {file_bytes}", frame.file_bytes);
        return Err(Error::damaged(path, problem));
    }
    Ok(frame)
}

/// Holds a head against its checksum.
pub fn verify(path: &Path, head: &[u8]) -> Result<(), Error> {
    if checksum(head) == head[CHECKSUM_AT..BYTES] {
        return Ok(());
    }
    Err(Error::damaged(path, "the checksum is wrong: these are not the bytes that were written"))
}

fn checksum(head: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head[..CHECKSUM_AT]);
    hasher.update(&head[BYTES..]);
    *hasher.finalize().as_bytes()
}

/// The number at `at`. The caller has checked the length.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The number at `at`. The caller has checked the length.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The bytes at `at`. The caller has checked the length.
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("as many bytes as were asked for")
}
