//! The pack: blocks that one save wrote, behind a directory of their keys.
//!
//! ```text
//!  0  56  frame, count = how many blocks; the head is frame and directory
//! 56      for each block: key, 32 bytes; u64 length
//!         the blocks, one right after the other, to the end of the file
//! ```
//!
//! A key is the hash of the block, so blocks need no checksum of their own. A pack never changes;
//! it is deleted when no manifest names a block of it, or when what is left in it has been copied.

use std::path::Path;

use crate::entry::PAGE_BYTES_MAX;
use crate::error::Error;
use crate::frame::{self, array_at, u64_at};
use crate::key::PageKey;

const MAGIC: &[u8; 8] = b"DwarfKVP";
const ENTRY_BYTES: usize = 40;

/// Blocks of a pack at most.
const BLOCKS_MAX: usize = 1 << 21;

/// The head of a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Key and length of each block, in the order of the blocks.
    pub blocks: Vec<(PageKey, usize)>,
}

/// How much of a pack has to be read to know what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A directory of so many bytes, frame included.
    Ours(usize),
    /// It is of another version.
    Other(u32),
}

impl Directory {
    /// Adds a block.
    pub fn push(&mut self, key: PageKey, bytes: usize) {
        self.blocks.push((key, bytes));
    }

    /// Bytes of the head: where the first block begins.
    pub fn head_bytes(&self) -> u64 {
        (frame::BYTES + ENTRY_BYTES * self.blocks.len()) as u64
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.head_bytes() + self.blocks.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>()
    }

    /// Where each block begins.
    pub fn offsets(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().scan(self.head_bytes(), |next, (_, bytes)| {
            let at = *next;
            *next += *bytes as u64;
            Some(at)
        })
    }

    /// The head of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(ENTRY_BYTES * self.blocks.len());
        for (key, bytes) in &self.blocks {
            body.extend_from_slice(&key.0);
            body.extend_from_slice(&(*bytes as u64).to_le_bytes());
        }
        frame::seal(MAGIC, self.blocks.len(), &body, self.file_bytes() - self.head_bytes())
    }

    /// Reads the frame of a file that has `file_bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is no pack, or none of that length.
    pub fn head(path: &Path, frame: &[u8], file_bytes: u64) -> Result<Head, Error> {
        let frame = frame::read(path, MAGIC, frame, file_bytes)?;
        if frame.version != frame::VERSION {
            return Ok(Head::Other(frame.version));
        }
        let head_bytes = frame::BYTES + frame.count.min(BLOCKS_MAX) * ENTRY_BYTES;
        if frame.count > BLOCKS_MAX || head_bytes as u64 > file_bytes {
            let problem = format!("{} blocks do not fit into {file_bytes} bytes", frame.count);
            return Err(Error::damaged(path, problem));
        }
        Ok(Head::Ours(head_bytes))
    }

    /// Reads a head: as many bytes as [`Directory::head`] said, of a file that has `file_bytes`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if these are not bytes that a dwarfstar has written.
    pub fn parse(path: &Path, head: &[u8], file_bytes: u64) -> Result<Directory, Error> {
        frame::verify(path, head)?;
        let mut directory = Directory::default();
        let mut end = head.len() as u64;
        for entry in head[frame::BYTES..].as_chunks::<ENTRY_BYTES>().0 {
            let bytes = u64_at(entry, 32);
            if bytes > PAGE_BYTES_MAX as u64 {
                let problem =
                    format!("a block of {bytes} bytes, at most {PAGE_BYTES_MAX} expected");
                return Err(Error::damaged(path, problem));
            }
            end += bytes;
            directory.push(PageKey(array_at(entry, 0)), bytes as usize);
        }
        if end != file_bytes {
            let problem = format!("its blocks end at byte {end}, the file at byte {file_bytes}");
            return Err(Error::damaged(path, problem));
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], file_bytes: u64) -> Result<Directory, Error> {
        let path = Path::new("p");
        match Directory::head(path, bytes, file_bytes)? {
            Head::Ours(head) if head <= bytes.len() => {
                Directory::parse(path, &bytes[..head], file_bytes)
            }
            _ => Err(Error::invalid("another version, or cut")),
        }
    }

    #[test]
    fn a_directory_says_where_blocks_are() {
        let mut directory = Directory::default();
        directory.push(PageKey([1; 32]), 10);
        directory.push(PageKey([2; 32]), 0);
        directory.push(PageKey([3; 32]), 7);
        let head = directory.encode();
        assert_eq!(head.len(), 56 + 3 * 40);
        assert_eq!(directory.offsets().collect::<Vec<_>>(), [176, 186, 186]);
        assert_eq!(directory.file_bytes(), 193);
        assert_eq!(parse(&head, 193).unwrap(), directory);
        assert!(parse(&head, 194).is_err());
        for at in 0..head.len() {
            let mut other = head.clone();
            other[at] ^= 1 << (at % 8);
            assert!(parse(&other, 193).is_err(), "byte {at}");
        }
    }
}
